"""Slow bodies without a key, or with one, take no place from anybody else."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from town import ATTACKERS
from harness import eventually, forget_peak, peak_rss_bytes, rss_bytes
from http2 import Connection

CONNECTIONS, STREAMS = 19, 225
CHATS = 24
HELD_BODIES, HELD_BYTES = 64, 3_900_000
MEMORY_GROWTH_BYTES_MAX = 400 << 20
# Of the regional halves and of the gateway; the gateway refuses an unknown key by its head.
REGIONAL = ["/v1/conversations", "/v1/organization/projects"]
ROUTES = [*REGIONAL, "/v1/chat/completions"]
IDLE_S_MAX = 30
# The attacker alone is told: too slow, too many, not known, or not allowed.
REFUSALS = {400, 401, 403, 408, 413, 429, 503}


def hold(connection: Connection, route: str, fields: list[tuple[str, str]]) -> list[int]:
    """As many requests as a connection may have, each with one byte of its body."""
    streams = []
    for _ in range(STREAMS):
        head = ("content-type", "application/json"), *fields
        streams.append(connection.request("POST", route, *head, ends=False))
        connection.drip(streams[-1], b"{")
    connection.flush()
    return streams


@pytest.fixture(autouse=True)
def free(stage):
    """What one attack held, and what was shed for it, is over before the next."""
    yield
    body = stage.chat("[script chunks=1]")

    def answered() -> bool:
        answers = [http.post("/v1/chat/completions", json=body) for _ in range(8)]
        return all(answer.status_code == 200 for answer in answers)

    with stage.edge.http(stage.other.secret) as http:
        eventually(answered, IDLE_S_MAX, "places are free")


@pytest.mark.parametrize("with_key", [False, True], ids=["without-a-key", "with-a-key"])
def test_thousands_of_slow_bodies_refuse_no_neighbour(stage, members, with_key):
    dice = members.random()
    fields = [("authorization", f"Bearer {stage.attacker.secret}")] if with_key else []
    with ExitStack() as stack:
        neighbours = stack.enter_context(stage.neighbours().beside(lanes_a_secret=2))
        held = []
        for _ in range(CONNECTIONS):
            connection = Connection(stage.edge, ATTACKERS)
            stack.callback(connection.close)
            route = dice.choice(ROUTES if with_key else REGIONAL)
            held.append((connection, hold(connection, route, fields)))
        # A byte on each, for as long as the neighbours take for so many chats.
        for _ in range(members.count(CHATS) // 4):
            for connection, streams in held:
                connection.receive_all()
                for stream in streams:
                    connection.drip(stream, b" ")
                connection.flush()
            neighbours.wait_for(4)
        told = {status for connection, _ in held for status in connection.statuses.values()}
    neighbours.unharmed()
    assert told <= REFUSALS, told


def test_bodies_that_are_held_cost_a_bounded_memory(stage):
    before = rss_bytes(stage.edge.pid)
    forget_peak(stage.edge.pid)
    piece = b" " * 16_000
    with ExitStack() as stack:
        neighbours = stack.enter_context(stage.neighbours().beside())
        for _ in range(HELD_BODIES):
            connection = Connection(stage.edge, ATTACKERS)
            stack.callback(connection.close)
            stream = connection.request(
                "POST", "/v1/conversations", ("content-type", "application/json"), ends=False
            )
            sent = 0
            # As far as it is taken: what the server does not read, it does not hold.
            while sent < HELD_BYTES and not connection.over and stream not in connection.ended:
                window = connection.state.local_flow_control_window(stream)
                if window < len(piece) and not connection.receive(0.05):
                    break
                if window >= len(piece):
                    connection.drip(stream, piece)
                    connection.flush()
                    sent += len(piece)
        neighbours.wait_for(4)
        grown = peak_rss_bytes(stage.edge.pid) - before
    neighbours.unharmed()
    assert grown < MEMORY_GROWTH_BYTES_MAX, f"{grown >> 20} MiB"
