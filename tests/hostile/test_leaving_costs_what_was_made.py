"""What was made is charged: to who stays, to who leaves, and to who never reads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

from crowd import Client
from harness import eventually, metrics
from parrot import chunk, said, streamed
from persona_server import Reply, Stream

STREAMS = 40
# Of each stream that is cut, below, and twice that above: what the engine makes from the last count that was
# heard until it hears of the cut, some hundredths of a second, is estimated.
STEP_TOKENS = 12
SETTLED_S_MAX = 30
LEAVING = 8
PIECE = "tide turn noon moon wave foam salt wind "
PIECE_TOKENS = 8
# An estimate errs upward, and not without bound.
ESTIMATE_MAX = 6


def charged(town, key, requests: int) -> dict[str, int]:
    """The key's usage once so many requests are in the ledger."""
    eventually(
        lambda: town.usage_of(key)["num_model_requests"] >= requests,
        SETTLED_S_MAX,
        f"the usage of {requests} requests is in the ledger",
    )
    return town.usage_of(key)


def leave(town, key, prompts: list[str], contents: list[int], **fields: object) -> None:
    """Streams that are each cut after so many chunks of content."""

    async def one(prompt: str, contents_max: int) -> None:
        body = {**town.chat(prompt), "max_tokens": 200, **fields}
        client = Client(town.edge, key.secret, body)
        await client.send()
        if contents_max:
            await client.read(contents_max)
        client.vanish()

    async def all_of_them() -> None:
        await asyncio.gather(*(one(p, c) for p, c in zip(prompts, contents, strict=True)))

    asyncio.run(asyncio.wait_for(all_of_them(), 120))


# ── By our own engine ────────────────────────────────────────────────────────


def made(town) -> dict[str, int]:
    figures = metrics(town.edge.engine_url())
    # What stood in its cache was computed for another request, and is a prompt's all the same.
    prompts = figures["vllm:prompt_tokens_total"] + figures["vllm:prefix_cache_hits_total"]
    answers = figures["vllm:generation_tokens_total"]
    return {"input_tokens": int(prompts), "output_tokens": int(answers)}


def idle(town) -> bool:
    figures = metrics(town.edge.engine_url())
    return figures["vllm:num_requests_running"] + figures["vllm:num_requests_waiting"] == 0


def test_the_engines_count_is_charged_for_streams_that_are_cut(town, members):
    dice, streams = members.random(), members.count(STREAMS)
    eventually(lambda: idle(town), SETTLED_S_MAX, "the engine is idle")
    before, key = made(town), town.key("a leaver")
    prompts = [f"Hello! I am number {at}." for at in range(streams)]
    cuts = [dice.randrange(1, 40) for _ in prompts]
    leave(town, key, prompts, cuts, ignore_eos=True)
    eventually(lambda: idle(town), SETTLED_S_MAX, "the engine is idle")
    computed = {name: count - before[name] for name, count in made(town).items()}
    paid = charged(town, key, streams)
    assert paid["input_tokens"] == computed["input_tokens"], (paid, computed)
    missing = computed["output_tokens"] - paid["output_tokens"]
    # An estimate of what is under way errs upward.
    assert -2 * STEP_TOKENS * streams <= missing <= STEP_TOKENS * streams, (paid, computed)


def test_whole_answers_are_charged_to_the_token(town, members):
    eventually(lambda: idle(town), SETTLED_S_MAX, "the engine is idle")
    before, key = made(town), town.key("a stayer")
    rounds = members.count(6)
    with town.edge.http(key.secret) as http:
        for at in range(rounds):
            body = town.chat(f"Hello {at}", stream=bool(at % 2))
            assert http.post("/v1/chat/completions", json=body).status_code == 200
    paid = charged(town, key, rounds)
    computed = {name: count - before[name] for name, count in made(town).items()}
    assert {name: paid[name] for name in computed} == computed


# ── By backends that others wrote ────────────────────────────────────────────


def held(deltas: list[dict], over: threading.Event) -> Stream:
    """These chunks, then one of content, and no end until the client has left."""

    def writes() -> Iterator[str]:
        for delta in deltas:
            yield chunk(delta)
        yield chunk({"content": "At noon it turns. "})
        over.wait(SETTLED_S_MAX)
        yield chunk({}, "stop")

    return Stream(writes(), cut=True)


def pay_for(aviary, parrot, deltas: list[dict]) -> int:
    key, over = aviary.key("a leaver"), threading.Event()
    prompts = [parrot.persona.plays(lambda: held(deltas, over)) for _ in range(LEAVING)]
    # An estimate is never more than a client's own ceiling.
    leave(aviary, key, prompts, [1] * LEAVING, max_tokens=4_000)
    over.set()
    return charged(aviary, key, LEAVING)["output_tokens"]


def test_pieces_of_many_tokens_are_charged_as_many(aviary, parrot):
    pieces = 20
    paid = pay_for(aviary, parrot, [{"content": PIECE}] * pieces)
    # The client left when it saw the first piece; the others had been made.
    least = LEAVING * PIECE_TOKENS
    assert least <= paid <= ESTIMATE_MAX * pieces * least, paid


def test_hidden_reasoning_is_charged_to_who_leaves_in_it(aviary, parrot):
    pieces = 50
    paid = pay_for(aviary, parrot, [{"reasoning_content": PIECE}] * pieces)
    least = LEAVING * pieces * PIECE_TOKENS
    assert least <= paid <= ESTIMATE_MAX * least, paid


def test_a_usage_of_nothing_is_not_believed(aviary, parrot):
    key, pieces = aviary.key("a customer"), 30
    deltas = [{"content": PIECE}] * pieces
    for usage in ((0, 0), (0, 5), (5, 0)):
        prompt = parrot.persona.plays(lambda u=usage: streamed(deltas, usage=u))
        for stream in (True, False):
            body = {**aviary.chat(prompt, stream=stream), "max_tokens": 4_000}
            with aviary.edge.http(key.secret) as http:
                assert http.post("/v1/chat/completions", json=body).status_code == 200
    paid = charged(aviary, key, 6)
    # Two of the six say five of hundreds; what is more than nothing may be believed.
    least = 4 * pieces * PIECE_TOKENS
    assert paid["output_tokens"] >= least and paid["input_tokens"] >= 4, paid


def test_a_prompt_is_paid_by_who_leaves_before_the_answer_begins(aviary, parrot):
    key, over = aviary.key("a leaver"), threading.Event()

    def late() -> Stream:
        over.wait(SETTLED_S_MAX)
        return said(["noon"])

    words = "tide " * 400
    prompts = [f"{words} {parrot.persona.plays(late)}" for _ in range(LEAVING)]
    asked = len(parrot.chats())

    async def leave_early() -> None:
        clients = [Client(aviary.edge, key.secret, aviary.chat(prompt)) for prompt in prompts]
        await asyncio.gather(*(client.ask() for client in clients))
        there = lambda: len(parrot.chats()) >= asked + LEAVING  # noqa: E731
        await asyncio.to_thread(eventually, there, SETTLED_S_MAX, "the backend has them")
        for client in clients:
            client.vanish()

    asyncio.run(leave_early())
    try:
        paid = charged(aviary, key, LEAVING)
    finally:
        over.set()
    assert paid["input_tokens"] >= LEAVING * 400, paid


def test_a_backend_that_fails_charges_no_prompt_twice(aviary, parrot):
    key = aviary.key("a customer")
    failing = parrot.persona.plays(lambda: Reply(500, {"error": {"message": "no"}}))
    prompt = "tide " * 200
    with aviary.edge.http(key.secret) as http:
        for _ in range(4):
            body = aviary.chat(f"{prompt} {failing}")
            assert http.post("/v1/chat/completions", json=body).status_code >= 400
        honest = http.post("/v1/chat/completions", json=aviary.chat(prompt))
    assert honest.status_code == 200
    paid = charged(aviary, key, 1)
    # Its own usage says 9; an estimate would be of one prompt.
    assert paid["input_tokens"] <= 9, paid
