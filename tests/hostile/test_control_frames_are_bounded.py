"""A flood of control frames is cut off, and the neighbours' chats take no longer for it."""

from __future__ import annotations

import struct
import threading
from contextlib import ExitStack
from random import Random

import pytest

from town import ATTACKERS
from harness import eventually
from http2 import ACK, PING, SETTINGS, WINDOW_UPDATE, Connection, frame

CHATS = 40
FLOODERS = 4
BURST = 500
FRAMES_MAX = 1_000_000
# Of the neighbours' slowest chats: beside a flood, of those without.
SLOWER_MAX = 6.0


def settings(dice: Random) -> bytes:
    return frame(SETTINGS, struct.pack(">HI", 0x4, dice.randrange(65_535, 1 << 20)))


def many_settings(dice: Random) -> bytes:
    value = struct.pack(">HI", 0x4, dice.randrange(65_535, 1 << 20))
    return frame(SETTINGS, value * 100)


def ping(dice: Random) -> bytes:
    return frame(PING, dice.randbytes(8))


def ping_answers(dice: Random) -> bytes:
    return frame(PING, dice.randbytes(8), flags=ACK)


def windows(_: Random) -> bytes:
    return frame(WINDOW_UPDATE, struct.pack(">I", 1))


def unknown(dice: Random) -> bytes:
    return frame(dice.randrange(0x20, 0x80), dice.randbytes(4))


FLOODS = [settings, many_settings, ping, ping_answers, windows, unknown]


def flood(connection: Connection, frames: bytes, over: threading.Event) -> int:
    """Sends until it is cut off; how many bursts were taken."""
    bursts = 0
    while not over.is_set() and not connection.over and bursts * BURST < FRAMES_MAX:
        connection.send_bytes(frames)
        connection.receive_all()
        bursts += 1
    return bursts


def slowest(seconds: list[float]) -> float:
    """The 95th of a hundred: one that met a busy core says nothing."""
    return sorted(seconds)[int(0.95 * (len(seconds) - 1))]


@pytest.mark.parametrize("kind", FLOODS, ids=lambda kind: kind.__name__)
def test_a_flood_is_cut_off_and_slows_no_neighbour(stage, members, kind):
    dice = members.random()
    with stage.neighbours().beside(lanes_a_secret=2) as unloaded:
        unloaded.wait_for(members.count(CHATS))
    over = threading.Event()
    with ExitStack() as stack:
        neighbours = stack.enter_context(stage.neighbours().beside(lanes_a_secret=2))
        flooders = [Connection(stage.edge, ATTACKERS) for _ in range(FLOODERS)]
        frames = b"".join(kind(dice) for _ in range(BURST))
        threads = [
            threading.Thread(target=flood, args=(connection, frames, over))
            for connection in flooders
        ]
        for thread in threads:
            thread.start()
        stack.callback(lambda: [thread.join() for thread in threads])
        stack.callback(over.set)
        neighbours.wait_for(members.count(CHATS))
        eventually(lambda: all(c.over for c in flooders), 20, "each flooder is cut off")
    for connection in flooders:
        connection.close()
    neighbours.unharmed()
    ratio = slowest(neighbours.seconds) / slowest(unloaded.seconds)
    assert ratio < SLOWER_MAX, f"{ratio:.1f} times as slow"
