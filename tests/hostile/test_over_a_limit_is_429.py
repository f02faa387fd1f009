"""Who is over a limit is told so: 429 and when to come back, on every route, never 503."""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx2

from town import ATTACKERS
from crowd import Client, all_at_once

CROWD, LIMIT = 200, 20
WAVES = 8
# Lanes of each: the platform has something else to do.
NEIGHBOURS = 8
CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}
GUESSES = 600
# What an address may guess of keys before it is told to wait, with room for another choice.
GUESSES_MAX = 300
UNKNOWN_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def test_a_crowd_with_one_key_is_admitted_as_far_as_its_limit(stage, members):
    """It is new, so all of its first requests find nothing of it in any cache; and the crowd
    comes again for longer than a cache remembers it."""
    for _ in range(members.count(1)):
        key, statuses = stage.key(requests_per_minute=LIMIT), Counter()
        with stage.neighbours().beside(lanes_a_secret=NEIGHBOURS) as neighbours:
            for _ in range(WAVES):
                crowd = [
                    Client(stage.edge, key.secret, stage.chat("[script chunks=2]"))
                    for _ in range(CROWD)
                ]
                streams = asyncio.run(all_at_once(crowd))
                statuses += Counter(stream.status for stream in streams)
        assert statuses == {200: LIMIT, 429: WAVES * CROWD - LIMIT}, statuses
        neighbours.unharmed()


def test_a_limit_of_a_project_holds_for_all_of_its_keys_at_once(stage):
    limits = {"requests_per_minute": LIMIT, "tokens_per_minute": 1_000_000}
    project = stage.admin.make_project("small", rate_limits=limits)
    keys = [stage.admin.make_key(project=project, name=f"k{at}") for at in range(4)]
    crowd = [
        Client(stage.edge, keys[at % 4].secret, stage.chat("[script chunks=2]"))
        for at in range(CROWD // 2)
    ]
    statuses = Counter(stream.status for stream in asyncio.run(all_at_once(crowd)))
    assert statuses == {200: LIMIT, 429: CROWD // 2 - LIMIT}, statuses


def exhaust(http: httpx2.Client, *request: object, **fields: object) -> Counter:
    """Asks three times as often as it may; what is over the limit says when to come back."""
    statuses = Counter()
    for _ in range(3 * LIMIT):
        answer = http.request(*request, **fields)
        statuses[answer.status_code] += 1
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) > 0
    return statuses


ROUTES = [
    ("GET", "/v1/models", {}, 200),
    ("GET", "/v1/conversations", {}, 200),
    ("GET", "/v1/organization/usage/completions?start_time=1", {}, 200),
    ("POST", CHAT, {"content": b"{", "headers": JSON}, 400),
    ("POST", CHAT, {"content": b"[]", "headers": JSON}, 400),
    ("POST", CHAT, {"json": {"model": "absent", "messages": []}}, 400),
    ("POST", "/v1/conversations", {"content": b"{", "headers": JSON}, 400),
]


def test_every_route_counts_also_what_it_refuses(stage):
    wrong = {}
    for method, path, fields, status in ROUTES:
        key = stage.key(requests_per_minute=LIMIT)
        with stage.edge.http(key.secret) as http:
            statuses = exhaust(http, method, path, **fields)
        if statuses != {status: LIMIT, 429: 2 * LIMIT}:
            wrong[f"{method} {path} {fields}"] = dict(statuses)
    assert not wrong, wrong


def test_keys_cannot_be_guessed_for_long(stage, members):
    dice = members.random()

    def guess(secret: str) -> int:
        return http.get("/v1/models", headers={"authorization": f"Bearer {secret}"}).status_code

    guesses = ["sk-skerry-" + "".join(dice.choices(UNKNOWN_ALPHABET, k=46)) for _ in range(GUESSES)]
    transport = httpx2.HTTPTransport(local_address=ATTACKERS, verify=stage.edge.trust())
    with (
        stage.neighbours().beside() as neighbours,
        httpx2.Client(transport=transport, base_url=stage.edge.url) as http,
        ThreadPoolExecutor(4) as guessing,
    ):
        statuses = Counter(guessing.map(guess, guesses))
    neighbours.unharmed()
    assert set(statuses) == {401, 429}, statuses
    assert statuses[401] <= GUESSES_MAX, statuses
