"""No minute gives more tokens than its limit, by whatever way they are asked for."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from town import town_of
from crowd import Client, all_at_once
from harness import edge_up

CHAT = "/v1/chat/completions"
LIMIT = 2_000
STREAMS = 4
WORDS = 20_000
# Minutes that a host may forget each time that it is killed: the windows are a cache.
FORGOTTEN_MAX = 1
# Words of a request that is too large for a minute by far: text is no more than 6 letters a token.
LARGE = "tide turns at noon " * 2_000


def endless(town, words: int = WORDS) -> dict:
    """A chat that does not say how long its answer may be."""
    body = town.chat(f"[script chunks={words}]")
    del body["max_tokens"]
    return body


def words_of(town, secret: str, streams: int = STREAMS) -> int:
    clients = [Client(town.edge, secret, endless(town)) for _ in range(streams)]
    return sum(len(stream.text().split()) for stream in asyncio.run(all_at_once(clients)))


def test_answers_of_one_minute_are_no_longer_than_its_tokens(stage, members):
    with stage.neighbours().beside() as neighbours:
        for _ in range(members.count(2)):
            key = stage.key(tokens_per_minute=LIMIT)
            shown = words_of(stage, key.secret)
            # Each may go over by the event that it is at.
            assert 0 < shown <= LIMIT + STREAMS, f"{shown} tokens in a minute of {LIMIT}"
            with stage.edge.http(key.secret) as http:
                again = http.post(CHAT, json=endless(stage, 600))
            assert again.status_code == 429, again.status_code
            assert int(again.headers["retry-after"]) > 0
    neighbours.unharmed()


def large_requests(stage) -> dict[str, dict]:
    function = {"name": "act", "description": LARGE, "parameters": {"type": "object"}}
    schema = {"type": "object", "description": LARGE}
    format = {"type": "json_schema", "json_schema": {"name": "f", "schema": schema}}
    called = {"name": "act", "arguments": '{"a":"%s"}' % LARGE}
    messages = [
        {"role": "user", "content": "Act!"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": called}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "[script chunks=1]"},
    ]
    chat = stage.chat("[script chunks=1]")
    return {
        "prompt": stage.chat(f"{LARGE} [script chunks=1]"),
        "tools": {**chat, "tools": [{"type": "function", "function": function}]},
        "form": {**chat, "response_format": format},
        "past call": {**chat, "messages": messages},
    }


def test_all_that_is_sent_to_a_model_counts_before_it_is_sent(stage):
    admitted = {}
    for name, body in large_requests(stage).items():
        with stage.edge.http(stage.key(tokens_per_minute=LIMIT).secret) as http:
            answer = http.post(CHAT, json=body)
        if answer.status_code not in (400, 429):
            admitted[name] = answer.status_code
    assert not admitted, admitted


def test_a_stored_history_counts(stage):
    with stage.edge.http(stage.key(tokens_per_minute=LIMIT).secret) as http:
        items = [{"type": "message", "role": "user", "content": LARGE[:6_000]}]
        made = http.post("/v1/conversations", json={"items": items}).json()["id"]
        body = {**stage.chat("[script chunks=1]"), "conversation": made}
        answer = http.post(CHAT, json=body)
    assert answer.status_code in (400, 429), answer.status_code


def test_a_host_that_is_killed_forgets_one_minute_and_no_more(scripted):
    with tempfile.TemporaryDirectory(prefix="skerry-hostile-") as folder:
        state = Path(folder) / "state"
        shown, starts = [], 3
        key = ""
        for _ in range(starts):
            with edge_up("--backend", scripted.url, state=state) as edge:
                if not key:
                    with town_of(edge) as town:
                        key = town.key(tokens_per_minute=LIMIT).secret
                clients = [Client(edge, key, endless(town)) for _ in range(STREAMS)]
                streams = asyncio.run(all_at_once(clients))
                shown.append(sum(len(stream.text().split()) for stream in streams))
                edge.kill()
    first, *later = shown
    assert 0 < first <= LIMIT + STREAMS, shown
    # The first start used all that there was.
    assert sum(later) <= FORGOTTEN_MAX * len(later) * first + STREAMS, shown
