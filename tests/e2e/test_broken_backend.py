"""A backend that breaks the protocol, a model a fault: either its answer is understood, or the
client is told in OpenAI's words that there is none."""

from __future__ import annotations

import json

import pytest

from broken_backend import CALLING, FAULTS, HOPELESS, READABLE, REFUSALS, WORDS, Broken
from drivers import edge_before
from harness import eventually
from persona_server import Backend
from personas import ANSWER, CALLS, OpenAi

# The longest that the router leaves a backend alone, and some.
AWAY_S_MAX = 15
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {}}}


@pytest.fixture(scope="module")
def broken(tls):
    with Backend(Broken()) as backend, edge_before(backend, tls) as behind:
        yield behind


@pytest.fixture(scope="module")
def http(broken):
    with broken.edge.http(broken.edge.first_key, timeout=30) as http:
        yield http


@pytest.fixture
def healthy(http):
    """The backend is asked: what the test before broke is forgotten."""
    eventually(lambda: ask(http, "sound").status_code == 200, AWAY_S_MAX, "a chat is answered")


def ask(http, model, **fields):
    messages = [{"role": "user", "content": "When does the tide turn?"}]
    body = {"model": model, "messages": messages, **fields}
    return http.post("/v1/chat/completions", json=body)


def streamed(http, model, **fields):
    """The answer's events, without their frames."""
    options = {"include_usage": True}
    answer = ask(http, model, stream=True, stream_options=options, **fields)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [event.removeprefix("data: ") for event in answer.text.split("\n\n") if event]


def chunks_of(events):
    assert events[-1] == "[DONE]", events
    return [json.loads(event) for event in events[:-1]]


def counts_are_integers(usage):
    assert usage["prompt_tokens"] > 0 and usage["completion_tokens"] > 0, usage
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"], usage
    assert all(type(usage[name]) is int for name in ("prompt_tokens", "completion_tokens"))


def is_openais_error(error):
    assert set(error) == {"message", "type", "param", "code"}, error
    assert error["message"] and "<html" not in error["message"], error


# ── What can be understood ───────────────────────────────────────────────────


def test_a_list_with_odd_entries_still_offers_the_others(http):
    listed = http.get("/v1/models").json()["data"]
    assert {model["id"] for model in listed} >= {"sound", *FAULTS}
    assert all(type(model["created"]) is int and model["owned_by"] for model in listed)


@pytest.mark.parametrize("fault", READABLE)
def test_an_answer_is_understood(healthy, http, fault):
    answer = ask(http, fault)
    assert answer.status_code == 200, answer.text
    [choice] = answer.json()["choices"]
    assert choice["message"]["content"] == ANSWER
    assert choice["finish_reason"] == "stop"
    counts_are_integers(answer.json()["usage"])


@pytest.mark.parametrize("fault", READABLE)
def test_a_stream_is_understood(healthy, http, fault):
    chunks = chunks_of(streamed(http, fault))
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == ANSWER
    assert [c["finish_reason"] for c in choices if c["finish_reason"]] == ["stop"]
    counts_are_integers(chunks[-1]["usage"])


@pytest.mark.parametrize("fault", CALLING)
def test_calls_are_told_apart(healthy, http, fault):
    answer = ask(http, fault, tools=[WEATHER])
    assert answer.status_code == 200, answer.text
    [choice] = answer.json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    calls = choice["message"]["tool_calls"]
    read = [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls]
    assert read == CALLS
    assert len({call["id"] for call in calls if call["id"]}) == len(CALLS)


@pytest.mark.parametrize("fault", CALLING)
def test_streamed_calls_are_told_apart(healthy, http, fault):
    chunks = chunks_of(streamed(http, fault, tools=[WEATHER]))
    calls, reasons = {}, []
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        reasons += [choice["finish_reason"]] if choice["finish_reason"] else []
        for delta in choice["delta"].get("tool_calls") or []:
            call = calls.setdefault(delta["index"], {"id": "", "name": "", "arguments": ""})
            call["id"] += delta.get("id") or ""
            call["name"] += delta["function"].get("name") or ""
            call["arguments"] += delta["function"].get("arguments") or ""
    assert list(calls) == [0, 1], calls
    assert [(c["name"], json.loads(c["arguments"])) for c in calls.values()] == CALLS
    assert len({call["id"] for call in calls.values() if call["id"]}) == len(CALLS)
    assert reasons == ["tool_calls"]


# ── What cannot ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", HOPELESS)
def test_no_answer_is_an_error_of_the_backend(healthy, http, fault):
    answer = ask(http, fault)
    assert answer.status_code in (500, 502, 503), answer.text
    is_openais_error(answer.json()["error"])


@pytest.mark.parametrize("fault", HOPELESS)
def test_a_stream_that_cannot_go_on_ends_with_an_error(healthy, http, fault):
    answer = ask(http, fault, stream=True)
    if answer.status_code != 200:
        assert answer.status_code in (500, 502, 503), answer.text
        is_openais_error(answer.json()["error"])
        return
    events = [event.removeprefix("data: ") for event in answer.text.split("\n\n") if event]
    assert "[DONE]" not in events
    is_openais_error(json.loads(events[-1])["error"])
    assert not any('"finish_reason":"stop"' in event for event in events)


@pytest.mark.parametrize("fault", ["cut-in-the-middle", "error-object-as-200", "page-as-502"])
@pytest.mark.parametrize("task", ["chat", "stream"])
def test_every_library_raises_on_it(healthy, broken, library, task, fault):
    error = broken.do(library, task, fault).get("error")
    assert error and error["class"], fault
    if error["status"] is not None:
        assert error["status"] >= 500, error


@pytest.mark.parametrize("shape", REFUSALS)
def test_a_refusal_keeps_its_status_and_words(healthy, http, shape):
    for stream in (False, True):
        answer = ask(http, f"refuses/{shape}", stream=stream)
        assert answer.status_code == REFUSALS[shape][0], answer.text
        is_openais_error(answer.json()["error"])
        assert WORDS in answer.json()["error"]["message"]


def test_every_library_tells_a_refusals_words(healthy, broken, library):
    for shape in ("openai", "old-vllm", "text-of-ollama", "mistral"):
        error = broken.do(library, "chat", f"refuses/{shape}")["error"]
        assert error["status"] == REFUSALS[shape][0], error
        assert WORDS in error["message"], error


def test_a_key_that_the_backend_refuses_is_no_fault_of_the_client(tls):
    wrong = "sk-wrong-key-of-the-operator"
    with Backend(OpenAi()) as backend, edge_before(backend, tls, key=wrong) as behind:
        with behind.edge.http(behind.edge.first_key) as http:
            answer = ask(http, OpenAi.models[0])
        assert answer.status_code >= 500, answer.text
        is_openais_error(answer.json()["error"])
        assert wrong[-4:] not in answer.text
        assert backend.requests[-1].headers["authorization"] == f"Bearer {wrong}"


def test_a_backend_that_is_not_there_is_said_at_once(tls):
    with Backend(OpenAi()) as backend, edge_before(backend, tls) as behind:
        backend.close()
        with behind.edge.http(behind.edge.first_key) as http:
            answer = ask(http, OpenAi.models[0])
    assert answer.status_code in (502, 503), answer.text
    is_openais_error(answer.json()["error"])
