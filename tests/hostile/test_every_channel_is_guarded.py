"""Everything that leaves is guarded, to the model and to the client, and not a list of fields."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from parrot import MODEL, chunk, counted, streamed
from persona_server import Stream
from personas import event
from spellings import Spelling, luhn

CALL = "/v1/chat/completions"


@pytest.fixture
def card(members) -> Spelling:
    number = luhn(members.random(), 16, "4")
    return Spelling("card", number, (number[:8], number[-8:]))


def strings(value: object) -> Iterator[str]:
    """Every text of a value, names of fields too, and of JSON within texts."""
    match value:
        case dict():
            for name, part in value.items():
                yield name
                yield from strings(part)
        case list():
            for part in value:
                yield from strings(part)
        case str():
            yield value
            if value.lstrip().startswith(("{", "[", '"')):
                try:
                    yield from strings(json.loads(value))
                except json.JSONDecodeError:
                    pass  # No JSON: the text alone is what can be read.


# ── To the model ─────────────────────────────────────────────────────────────


def tool(schema: dict, description: str = "Acts.") -> dict:
    function = {"name": "act", "description": description, "parameters": schema}
    return {"tools": [{"type": "function", "function": function}]}


def schema_of(part: dict) -> dict:
    return {"type": "object", "properties": {"a": {"type": "string", **part}}}


def form(part: dict) -> dict:
    schema = {"name": "form", "schema": schema_of(part)}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def history(call_id: str, arguments: str, result: str) -> dict:
    function = {"name": "act", "arguments": arguments}
    return {
        "messages": [
            {"role": "user", "content": "Act!"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": call_id, "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": call_id, "content": result},
            {"role": "user", "content": "And then?"},
        ]
    }


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in text)


PROMPTS: dict[str, Callable[[str], dict]] = {
    "content": lambda s: {"messages": [{"role": "user", "content": s}]},
    "parts": lambda s: {
        "messages": [{"role": "user", "content": [{"type": "text", "text": s}]}]
    },
    "two parts": lambda s: {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": p} for p in (s[:8], s[8:])]}
        ]
    },
    "system": lambda s: {
        "messages": [{"role": "system", "content": s}, {"role": "user", "content": "Hi"}]
    },
    "tool description": lambda s: tool(schema_of({}), f"For {s}"),
    "parameter description": lambda s: tool(schema_of({"description": s})),
    "parameter enum": lambda s: tool(schema_of({"enum": [s]})),
    "parameter default": lambda s: tool(schema_of({"default": s})),
    "form description": lambda s: form({"description": s}),
    "form enum": lambda s: form({"enum": [s, "b"]}),
    "form const": lambda s: form({"const": s}),
    "form description at the top": lambda s: {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "form", "description": s, "schema": schema_of({})},
        }
    },
    "stop": lambda s: {"stop": s},
    "stops": lambda s: {"stop": ["END", f"card {s}"]},
    "call id": lambda s: history(s, "{}", "done"),
    "call arguments": lambda s: history("call_1", json.dumps({"a": s}), "done"),
    "escaped arguments": lambda s: history("call_1", f'{{"a":"{escaped(s)}"}}', "done"),
    "tool result": lambda s: history("call_1", "{}", s),
    "user": lambda s: {"user": s},
}


@pytest.mark.parametrize("channel", PROMPTS)
def test_no_channel_to_the_model_has_a_secret(aviary, parrot, card, channel):
    asked = len(parrot.chats())
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
    with aviary.edge.http(aviary.attacker.secret) as http:
        answer = http.post(CALL, json={**body, **PROMPTS[channel](card.text)})
    # It may be refused, but then for all to see.
    assert answer.status_code in (200, 400), answer.text
    assert (answer.status_code == 200) == (len(parrot.chats()) > asked), answer.text
    for request in parrot.chats()[asked:]:
        leaked = [text for text in strings(request.body) if card.can_be_read_in(text)]
        assert not leaked, leaked
        joined = "".join(
            part["text"]
            for message in request.body["messages"]
            if isinstance(message["content"], list)
            for part in message["content"]
        )
        assert not card.can_be_read_in(joined), joined


# ── To the client ────────────────────────────────────────────────────────────


def call(**fields: object) -> dict:
    function = {"name": "act", "arguments": "{}", **fields.pop("function", {})}
    return {"tool_calls": [{"index": 0, "id": "call_1", "type": "function"} | fields | {"function": function}]}


def in_pieces(arguments: str) -> list[dict]:
    first = call(function={"arguments": ""})
    more = [
        {"tool_calls": [{"index": 0, "function": {"arguments": arguments[at : at + 5]}}]}
        for at in range(0, len(arguments), 5)
    ]
    return [first, *more]


def alternatives(secret: str) -> Stream:
    """The answer is harmless; the likeliest others beside it spell the secret."""
    events = []
    for letter in secret:
        others = [{"token": letter, "logprob": -1.0, "bytes": list(letter.encode())}]
        chosen = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": others}
        events.append(chunk({"content": "a"}, logprobs={"content": [chosen]}))
    return Stream(iter([*events, chunk({}, "stop"), counted(9, len(secret)), event("[DONE]")]))


ANSWERS: dict[str, Callable[[str], Stream]] = {
    "content": lambda s: streamed({"content": letter} for letter in s),
    "reasoning": lambda s: streamed({"reasoning_content": letter} for letter in s),
    "arguments": lambda s: streamed(in_pieces(json.dumps({"a": s})), "tool_calls"),
    "escaped arguments": lambda s: streamed(in_pieces(f'{{"a":"{escaped(s)}"}}'), "tool_calls"),
    "escaped name of an argument": lambda s: streamed(
        in_pieces(f'{{"{escaped(s)}":1}}'), "tool_calls"
    ),
    "call name": lambda s: streamed([call(function={"name": s})], "tool_calls"),
    "call id": lambda s: streamed([call(id=s)], "tool_calls"),
    "alternatives": alternatives,
}


def joined(answer: str) -> Iterator[str]:
    """Each channel of a stream, its pieces put together as a client does."""
    channels: dict[str, str] = {}

    def add(name: str, text: object) -> None:
        channels[name] = channels.get(name, "") + (text if isinstance(text, str) else "")

    for line in answer.splitlines():
        data = line.removeprefix("data: ")
        if not line.startswith("data: ") or data == "[DONE]":
            continue
        for choice in json.loads(data).get("choices", []):
            delta = choice["delta"]
            for name in ("content", "reasoning_content", "refusal"):
                add(name, delta.get(name))
            for one in delta.get("tool_calls") or []:
                add("id", one.get("id"))
                add("name", one.get("function", {}).get("name"))
                add("arguments", one.get("function", {}).get("arguments"))
            for token in (choice.get("logprobs") or {}).get("content") or []:
                add("tokens", token["token"])
                for at, other in enumerate(token.get("top_logprobs") or []):
                    add(f"alternative {at}", other["token"])
                    add(f"bytes {at}", bytes(other.get("bytes") or []).decode(errors="replace"))
    yield from strings(list(channels.values()))


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("channel", ANSWERS)
def test_no_channel_to_the_client_has_a_secret(aviary, parrot, card, channel, stream):
    prompt = parrot.persona.plays(lambda: ANSWERS[channel](card.text))
    body = {"model": MODEL, "messages": [{"role": "user", "content": prompt}], "stream": stream}
    fields = {"logprobs": True, "top_logprobs": 1} if channel == "alternatives" else tool({})
    with aviary.edge.http(aviary.attacker.secret) as http:
        answer = http.post(CALL, json={**body, **fields})
    assert answer.status_code == 200, answer.text
    texts = list(joined(answer.text) if stream else strings(answer.json()))
    if not stream and channel == "alternatives":
        tokens = answer.json()["choices"][0]["logprobs"]["content"]
        texts.append("".join(other["token"] for t in tokens for other in t["top_logprobs"]))
    leaked = [text for text in texts if card.can_be_read_in(text)]
    assert not leaked, leaked
    if "arguments" in channel:
        # What is masked stays what a client's parser takes.
        calls = [text for text in texts if text.startswith("{")]
        assert calls and all(isinstance(json.loads(text), dict) for text in calls)
