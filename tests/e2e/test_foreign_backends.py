"""Every client library, against every backend that others wrote: what each sees of the other
through edge, and nothing of the platform's own besides."""

from __future__ import annotations

import json

import pytest

from personas import ANSWER, CALLS, COMPLETION_TOKENS, PROMPT_TOKENS

USAGE = [PROMPT_TOKENS, COMPLETION_TOKENS, PROMPT_TOKENS + COMPLETION_TOKENS]
REPORT = {
    "wind": {"speed": 7, "direction": "Oslo"},
    "city": "Oslo",
    "celsius": 7,
    "alerts": ["Oslo"],
}
# Of our engine's fields; `own_fields` are those that a persona's server has as well.
OF_THE_PLATFORM = {"cache_salt", "cache_shared_messages"}


def models_with_tools(persona):
    return [model for model in persona.models if model not in persona.without_tools]


def is_whole(seen, finish_reason):
    assert "error" not in seen, seen
    assert seen["finish_reason"] == finish_reason, seen
    assert seen["usage"] == USAGE, seen


def calls_are_whole(seen):
    assert [(call["name"], call["arguments"]) for call in seen["calls"]] == CALLS, seen
    ids = {call["id"] for call in seen["calls"]}
    assert len(ids) == len(CALLS) and all(ids), seen


# ── What a client sees ───────────────────────────────────────────────────────


def test_a_chat_is_answered(behind, library):
    for model in behind.persona.models:
        seen = behind.do(library, "chat", model)
        is_whole(seen, "stop")
        assert (seen["text"], seen["calls"]) == (ANSWER, []), model


def test_a_stream_says_the_same_in_pieces(behind, library):
    for model in behind.persona.models:
        seen = behind.do(library, "stream", model)
        is_whole(seen, "stop")
        assert (seen["text"], seen["calls"]) == (ANSWER, []), model
        assert seen["pieces"] > 1, model


@pytest.mark.parametrize("task", ["tools", "tools_streamed"])
def test_two_tool_calls_arrive_apart_and_whole(behind, library, task):
    for model in models_with_tools(behind.persona):
        seen = behind.do(library, task, model)
        is_whole(seen, "tool_calls")
        calls_are_whole(seen)
        assert seen["text"] == "", model


def test_the_results_of_tools_reach_the_model(behind, library):
    for model in models_with_tools(behind.persona):
        seen = behind.do(library, "conversation", model)
        assert "error" not in seen, seen
        assert seen["text"] == "Oslo: 7 °C and Bergen: 7 °C.", model
        assert seen["finish_reason"] == "stop", model


def test_an_object_has_the_schemas_properties_in_its_order(behind, library):
    for model in behind.persona.models:
        seen = behind.do(library, "structured", model)
        assert "error" not in seen, seen
        assert seen["object"] == REPORT, model
        assert list(json.loads(seen["text"])) == list(REPORT), model


def test_a_refusal_of_tools_keeps_its_words(behind):
    """The model answers without them all the same: see above."""
    words = {
        "vllm": '"auto" tool choice requires --enable-auto-tool-choice',
        "ollama": "gemma3:4b does not support tools",
    }
    for model in behind.persona.without_tools:
        for stream in (False, True):
            answer = ask(behind, model, stream=stream, tools=[WEATHER])
            error = answer.json()["error"]
            assert set(error) == {"message", "type", "param", "code"}
            if behind.persona.name == "llama.cpp":
                # It says 500, and the words of a 500 are the operator's.
                assert answer.status_code == 502, error
            else:
                assert answer.status_code == 400, (model, error)
                assert words[behind.persona.name] in error["message"], (model, error)


# ── What a backend sees ──────────────────────────────────────────────────────

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def ask(behind, model, **fields):
    with behind.edge.http(behind.edge.first_key) as http:
        messages = [{"role": "user", "content": "When does the tide turn?"}]
        body = {"model": model, "messages": messages, **fields}
        return http.post("/v1/chat/completions", json=body)


def last_chat(behind, model, **fields):
    """What the backend was sent for a chat that it answered."""
    answer = ask(behind, model, **fields)
    assert answer.status_code == 200, answer.text
    return behind.backend.chats()[-1]


@pytest.mark.parametrize("fields", [{}, {"tools": [WEATHER]}, {"stream": True}])
def test_nothing_of_the_platform_reaches_it(behind, fields):
    persona = behind.persona
    sent = last_chat(behind, persona.models[0], **fields)
    assert not (set(sent.body) & OF_THE_PLATFORM) - persona.own_fields, sent.body
    assert sent.body.get("tools") == fields.get("tools"), sent.body
    if not fields.get("tools"):
        assert "tool_choice" not in sent.body and "parallel_tool_calls" not in sent.body
    assert [message["role"] for message in sent.body["messages"]] == ["user"], sent.body


def test_its_key_reaches_it_and_the_clients_does_not(behind):
    ask(behind, behind.persona.models[0])
    key = behind.persona.key
    for request in behind.backend.requests:
        assert request.headers.get("authorization") == (f"Bearer {key}" if key else None)
        assert behind.edge.first_key not in f"{request.headers}{request.raw.decode()}"


def test_its_models_are_listed_as_it_names_them(behind):
    with behind.edge.openai(behind.edge.first_key) as client:
        listed = client.models.list().data
    assert {model.id for model in listed} >= set(behind.persona.models)
    assert {request.path for request in behind.backend.requests} == {
        f"{behind.persona.base}/models",
        f"{behind.persona.base}/chat/completions",
    }


@pytest.mark.parametrize("task", ["tools", "structured"])
def test_a_librarys_json_arrives_byte_for_byte(behind, library, task):
    """As the library writes it where there is no edge in between."""
    model = behind.persona.models[0]
    behind.do_directly(library, task, model)
    directly = behind.backend.chats()[-1]
    behind.do(library, task, model)
    through = behind.backend.chats()[-1]
    field = {"tools": "tools", "structured": "response_format"}[task]
    assert directly.raw_field(field)
    assert through.raw_field(field) == directly.raw_field(field)


def test_a_schemas_numbers_order_and_spaces_arrive_as_written(behind):
    """What a parser would make others of: 1.0, an escape, an integer beyond 64 bits."""
    schema = (
        '{ "type":"object", "properties": {"z": {"type":"number","maximum":1.0,"minimum":1e2},\n'
        ' "a":{"type":"string","const":"\\u00e9\\/"},'
        ' "m":{"type":"integer","maximum":123456789012345678901234567890}},'
        ' "required":["z","a"] }'
    )
    tools = f'[ {{"type": "function", "function": {{"name":"f", "parameters": {schema}}}}} ]'
    format = f'{{"type": "json_schema", "json_schema": {{"name":"r", "schema": {schema}}}}}'
    for field, value in (("tools", tools), ("response_format", format)):
        plain = {"model": behind.persona.models[0], "messages": [{"role": "user", "content": "Hi"}]}
        body = f'{json.dumps(plain)[:-1]}, "{field}": {value}}}'
        with behind.edge.http(behind.edge.first_key) as http:
            json_type = {"content-type": "application/json"}
            answer = http.post("/v1/chat/completions", content=body.encode(), headers=json_type)
        assert answer.status_code == 200, answer.text
        assert behind.backend.chats()[-1].raw_field(field) == value


@pytest.mark.parametrize("asked", ["max_tokens", "max_completion_tokens"])
def test_the_ceiling_of_tokens_comes_by_the_name_that_it_knows(behind, asked):
    for model in behind.persona.models:
        sent = last_chat(behind, model, **{asked: 40}).body
        found = {
            name: sent[name] for name in ("max_tokens", "max_completion_tokens") if name in sent
        }
        assert list(found.values()) == [40], (model, found)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("user", "user-1"),
        ("prompt_cache_key", "session-1"),
        ("store", False),
        ("metadata", {"trace": "1"}),
        ("n", 1),
        ("parallel_tool_calls", True),
        ("stream_options", None),
    ],
)
def test_what_clients_send_with_every_request_is_no_refusal(behind, field, value):
    """LibreChat's user, Codex's cache key, and defaults that are written out."""
    last_chat(behind, behind.persona.models[0], **{field: value})


def test_a_seed_has_the_name_that_it_knows(behind):
    sent = last_chat(behind, behind.persona.models[0], seed=7, temperature=0.5, stop=["x"]).body
    name = "random_seed" if behind.persona.name == "mistral" else "seed"
    assert (sent[name], sent["temperature"], sent["stop"]) == (7, 0.5, ["x"])
