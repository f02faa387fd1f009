"""A secret is masked however it is spelled: in prompts, and in streams however they are cut."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import Edge
from parrot import said
from spellings import all_secrets, chunkings, phrases

SPELLINGS_MIN = 300
CHUNKINGS = 1
AT_ONCE = 4


@pytest.fixture
def spellings(members):
    found = all_secrets(members.random())
    assert len(found) >= SPELLINGS_MIN
    return found


def shown(edge: Edge, secret: str, prompt: str) -> str:
    """The text of a stream."""
    body = {"model": "parrot", "stream": True, "messages": [{"role": "user", "content": prompt}]}
    with edge.http(secret) as http:
        answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    events = [e.removeprefix("data: ") for e in answer.text.split("\n\n") if e.startswith("data: ")]
    assert events[-1] == "[DONE]", events
    choices = [choice for e in events[:-1] for choice in json.loads(e).get("choices", [])]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def test_no_spelling_in_a_prompt_reaches_the_backend(aviary, parrot, spellings):
    missed = {}
    with aviary.edge.http(aviary.attacker.secret) as http:
        for spelling in spellings:
            asked = len(parrot.chats())
            messages = [{"role": "user", "content": spelling.text}]
            answer = http.post(
                "/v1/chat/completions", json={"model": "parrot", "messages": messages}
            )
            assert answer.status_code == 200, (spelling, answer.text)
            [request] = parrot.chats()[asked:]
            got = request.body["messages"][-1]["content"]
            if spelling.can_be_read_in(got):
                missed[spelling.kind] = got
    assert not missed, f"{len(missed)} of {len(spellings)}: {missed}"


def test_no_spelling_in_a_stream_reaches_the_client(aviary, parrot, spellings, members):
    dice = members.random()
    cut = [
        (spelling, pieces)
        for spelling in spellings
        for pieces in chunkings(spelling.text, dice, members.count(CHUNKINGS))
    ]

    def ask(at: int) -> str | None:
        spelling, pieces = cut[at]
        prompt = parrot.persona.plays(lambda: said(["Here: ", *pieces, " and more."]))
        text = shown(aviary.edge, aviary.attacker.secret, prompt)
        return f"{pieces} → {text!r}" if spelling.can_be_read_in(text) else None

    with ThreadPoolExecutor(AT_ONCE) as asking:
        answers = list(asking.map(ask, range(len(cut))))
    missed = {cut[at][0].kind: answer for at, answer in enumerate(answers) if answer}
    assert not missed, f"{len(missed)} kinds, of {len(cut)} streams: {missed}"


def test_a_blocked_phrase_is_refused_however_it_is_spelled(stage):
    passed = {}
    with stage.edge.http(stage.attacker.secret) as http:
        for name, phrase in phrases("forbidden", "fruit").items():
            body = stage.chat(f"I want {phrase} [script chunks=1]")
            answer = http.post("/v1/chat/completions", json=body)
            reason = answer.json()["choices"][0]["finish_reason"]
            if reason != "content_filter":
                passed[name] = reason
        split = stage.chat("fruit [script chunks=1]")
        split["messages"].insert(0, {"role": "user", "content": "I want forbidden"})
        answer = http.post("/v1/chat/completions", json=split)
        if answer.json()["choices"][0]["finish_reason"] != "content_filter":
            passed["over two messages"] = "stop"
    assert not passed, passed
