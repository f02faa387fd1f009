"""A body of very many small values costs its sender an answer, and cuts nobody's stream."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from random import Random

from parrot import MODEL, chunk, counted
from persona_server import Stream
from personas import event

BODIES = 12
AT_ONCE = 3
BODY_BYTES = (4 << 20) - 4_096
# Said by the attacker's own fault, or by the attacker's own limit.
REFUSALS = {400, 413, 422, 429}
CHAT = "/v1/chat/completions"
LONG = "[script chunks=150 delay=4]"


def many(value: str, bytes_max: int) -> str:
    """An array of as many of this value as there is room for."""
    return "[" + ",".join([value] * (bytes_max // (len(value) + 1))) + "]"


def body(model: str, place: str, values: str) -> bytes:
    """A chat whose field has them, as bytes: a client's library would count them too."""
    chat = {"model": model, "messages": [{"role": "user", "content": "[script chunks=1]"}]}
    text = json.dumps({**chat, "HERE": 0} if "HERE" not in place else {**chat, **json.loads(place)})
    return text.replace('"HERE": 0', f'"{place}": {values}', 1).replace('"HERE"', values).encode()


def tool_with(schema: str) -> str:
    return '{"tools": [{"type": "function", "function": {"name": "f", "parameters": %s}}]}' % schema


PLACES = [
    "unknown",
    "messages",
    "tools",
    "stop",
    "metadata",
    "logit_bias",
    "stream_options",
    "stop_token_ids",
    "chat_template_kwargs",
    tool_with('{"anyOf": "HERE"}'),
    tool_with('{"properties": "HERE"}'),
    '{"response_format": {"type": "json_schema", "json_schema": {"name": "f", "schema": {"anyOf": "HERE"}}}}',
    '{"messages": [{"role": "user", "content": "HERE"}]}',
    '{"messages": [{"role": "assistant", "tool_calls": "HERE"}]}',
]
VALUES = ["{}", '{"":0}', "[]", "0", '""', "null", "[[]]", '{"a":{"b":{}}}', '{"const":1}']


def member(dice: Random, place: str) -> tuple[str, str]:
    return place, dice.choice(VALUES)


def escaped_arguments(model: str) -> bytes:
    """A past call whose arguments are themselves such a body."""
    arguments = '{"a":' + many("{}", BODY_BYTES // 2) + "}"
    function = {"name": "f", "arguments": arguments}
    called = {"id": "call_1", "type": "function", "function": function}
    messages = [
        {"role": "user", "content": "Act!"},
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "call_1", "content": "[script chunks=1]"},
    ]
    return json.dumps({"model": model, "messages": messages}).encode()


def attack(town, secret: str, bodies: list[bytes]) -> Counter:
    def send(one: bytes) -> int:
        with town.edge.http(secret, headers={"authorization": f"Bearer {secret}"}) as http:
            fields = {"content-type": "application/json"}
            return http.post(CHAT, content=one, headers=fields).status_code

    with ThreadPoolExecutor(AT_ONCE) as attackers:
        return Counter(attackers.map(send, bodies))


def test_no_body_of_small_values_cuts_a_neighbours_stream(stage, members):
    rules = [lambda dice, p=place: member(dice, p) for place in PLACES]
    bodies = [escaped_arguments(stage.model)]
    for place, value in members.each(rules, BODIES):
        bodies.append(body(stage.model, place, many(value, BODY_BYTES)))
    limited = stage.key(requests_per_minute=1)
    before = stage.edge_metrics().get("edge_traps_total", 0)
    watched = stage.neighbours()
    watched.body["messages"][0]["content"] = LONG
    watched.body["max_tokens"] = 1_000
    with watched.beside(lanes_a_secret=3) as neighbours:
        statuses = attack(stage, stage.attacker.secret, bodies)
        statuses += attack(stage, limited.secret, bodies[:4])
    neighbours.unharmed()
    # Past calls may have any arguments, if they fit.
    assert set(statuses) <= REFUSALS | {200}, statuses
    assert stage.edge_metrics().get("edge_traps_total", 0) == before


def long_answer() -> Stream:
    """8,000 tokens with twenty alternatives each, as an honest backend gives them."""
    others = [{"token": f" t{at}", "logprob": -1.5, "bytes": [32, 116]} for at in range(20)]
    chosen = {"token": " a", "logprob": -0.1, "bytes": [32, 97], "top_logprobs": others}
    part = chunk({"content": " a"}, logprobs={"content": [chosen]})
    return Stream(iter([part] * 8_000 + [chunk({}, "stop"), counted(9, 8_000), event("[DONE]")]))


def test_an_honest_long_answer_with_alternatives_is_answered(aviary, parrot):
    """Whole or streamed; one of them beside neighbours, who keep theirs."""
    prompt = parrot.persona.plays(long_answer)
    fields = {"logprobs": True, "top_logprobs": 20}
    body = {"model": MODEL, "messages": [{"role": "user", "content": prompt}], **fields}
    with aviary.neighbours().beside() as neighbours:
        with aviary.edge.http(aviary.attacker.secret, timeout=120) as http:
            whole = http.post(CHAT, json=body)
    neighbours.unharmed()
    assert whole.status_code == 200, whole.text[:300]
    assert len(whole.json()["choices"][0]["logprobs"]["content"]) == 8_000
