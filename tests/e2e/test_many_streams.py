"""Two hundred clients at once, and a hundred that vanish."""

import asyncio
import time
from collections import Counter

from crowd import Client, all_at_once
from harness import (
    command_name,
    connections_to,
    eventually,
    forget_peak,
    metrics,
    peak_rss_bytes,
    rss_bytes,
)

STREAMS = 200
VANISHING = 100
# Of the edge to its engine: they are multiplexed.
CONNECTIONS_MAX = 8
# Failures in a row that make the router leave a backend alone.
BREAKER_FAILURES = 3
# As many as a fast engine may have answered before the last client is gone.
FINISHED_MAX = 10
# Of the edge and of the engine, at any moment, for all streams together.
MEMORY_GROWTH_BYTES_MAX = 256 << 20


def question(model, number=0, **options):
    messages = [{"role": "user", "content": f"Hello! I am client {number}."}]
    # A number may look like sums to the model; here it shall only talk.
    return {"model": model, "messages": messages, "tool_choice": "none", **options}


def totals(edge):
    figures = metrics(edge.engine_url())
    return Counter(
        cancelled=int(figures.get("skerry:requests_cancelled_total", 0)),
        finished=int(figures.get("vllm:request_success_total", 0)),
    )


def idle(edge):
    figures = metrics(edge.engine_url())
    return (
        figures["vllm:num_requests_running"] == 0 and figures["vllm:num_requests_waiting"] == 0
    )


def test_two_hundred_streams_all_end_exactly_once(edge, key, model):
    before = {pid: rss_bytes(pid) for pid in (edge.pid, edge.engine_pid())}
    for pid in before:
        forget_peak(pid)
    clients = [
        Client(edge, key.secret, question(model, n, max_tokens=32, ignore_eos=True))
        for n in range(STREAMS)
    ]
    port = int(edge.engine_url().rsplit(":", 1)[1])
    connections = []

    async def watched():
        answers = asyncio.create_task(all_at_once(clients))
        while not answers.done():
            connections.append(connections_to(edge.pid, port))
            await asyncio.wait([answers], timeout=0.2)
        return answers.result()

    streams = asyncio.run(watched())
    assert 0 < max(connections) <= CONNECTIONS_MAX, connections
    assert Counter(stream.status for stream in streams) == {200: STREAMS}
    broken = [stream for stream in streams if not stream.is_whole()]
    assert not broken, broken[:3]
    silent = [stream.events for stream in streams if not stream.text()]
    assert not silent, silent[:2]
    assert Counter(r for s in streams for r in s.finish_reasons()) == {"length": STREAMS}
    for pid, bytes_before in before.items():
        grown = peak_rss_bytes(pid) - bytes_before
        print(f"{command_name(pid)} grew by {grown >> 20} MiB")
        assert grown < MEMORY_GROWTH_BYTES_MAX, f"{pid} grew by {grown >> 20} MiB"
    eventually(lambda: idle(edge), 5, "the engine is idle")


def test_memory_does_not_grow_with_the_streams_that_have_been(edge, key, model):
    def wave():
        clients = [Client(edge, key.secret, question(model, n, max_tokens=8)) for n in range(100)]
        streams = asyncio.run(all_at_once(clients))
        assert all(stream.is_whole() for stream in streams)
        return rss_bytes(edge.pid) + rss_bytes(edge.engine_pid())

    first = [wave(), wave()][-1]
    last = [wave() for _ in range(4)][-1]
    assert last < first + (64 << 20), f"{first >> 20} MiB became {last >> 20} MiB"


def test_a_hundred_that_vanish_free_their_sequences(edge, key, model):
    eventually(lambda: idle(edge), 5, "the engine is idle")
    before = totals(edge)

    async def vanish():
        # As long as the context allows, so that hardly one ends before its client goes.
        body = [question(model, n, max_tokens=900, ignore_eos=True) for n in range(VANISHING)]
        clients = [Client(edge, key.secret, one) for one in body]
        await asyncio.gather(*(client.send() for client in clients))
        # Some are being answered, the others wait for their turn.
        first = [asyncio.create_task(client.read(contents_max=1)) for client in clients]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        for client in clients:
            client.vanish()
        for task in first:
            task.cancel()
        await asyncio.gather(*first, return_exceptions=True)

    asyncio.run(vanish())
    began = time.monotonic()
    eventually(lambda: idle(edge), 3, "no sequence of a vanished client is left")
    print(f"idle {1_000 * (time.monotonic() - began):.0f} ms after the last one vanished")
    seen = totals(edge) - before
    assert seen["cancelled"] + seen["finished"] == VANISHING, seen
    assert seen["finished"] <= FINISHED_MAX, seen
    # The engine is as good as before.
    streams = asyncio.run(all_at_once([Client(edge, key.secret, question(model))]))
    assert streams[0].is_whole()


def test_a_hundred_that_leave_before_their_whole_answer_free_their_sequences(edge, key, model):
    eventually(lambda: idle(edge), 5, "the engine is idle")
    before = totals(edge)

    async def leave():
        body = [
            question(model, n, stream=False, max_tokens=900, ignore_eos=True)
            for n in range(VANISHING)
        ]
        clients = [Client(edge, key.secret, one) for one in body]
        await asyncio.gather(*(client.ask() for client in clients))
        # Until the engine has them all, for what never came to it cannot be cancelled.
        came = 0
        while came < VANISHING:
            figures = await asyncio.to_thread(metrics, edge.engine_url())
            finished = (await asyncio.to_thread(totals, edge))["finished"] - before["finished"]
            came = figures["vllm:num_requests_running"] + figures["vllm:num_requests_waiting"]
            came += finished
        for client in clients:
            client.vanish()

    asyncio.run(asyncio.wait_for(leave(), 60))
    began = time.monotonic()
    eventually(lambda: idle(edge), 3, "no sequence of a client that left is left")
    print(f"idle {1_000 * (time.monotonic() - began):.0f} ms after the last one left")
    seen = totals(edge) - before
    assert seen["cancelled"] + seen["finished"] == VANISHING, seen
    assert seen["finished"] <= FINISHED_MAX, seen


def test_impatient_clients_do_not_make_the_backend_look_broken(scripted_edge):
    """Before the backend's head, and between it and the answer."""
    for script in ("[script wait=4000 chunks=3]", "[script chunks=300 delay=20]"):
        body = question("scripted", stream=False)
        body["messages"][0]["content"] = script

        async def leave(body=body):
            for _ in range(2 * BREAKER_FAILURES):
                client = Client(scripted_edge, scripted_edge.first_key, body)
                await client.ask()
                await asyncio.sleep(0.3)
                client.vanish()

        asyncio.run(leave())
        messages = [{"role": "user", "content": "[script chunks=2]"}]
        with scripted_edge.openai(scripted_edge.first_key) as client:
            for _ in range(3):
                answer = client.chat.completions.create(model="scripted", messages=messages)
                assert answer.choices[0].message.content == "word " * 2


def test_a_client_that_vanishes_is_told_to_the_backend(scripted_edge, scripted):
    """The same against a backend whose streams last as long as we like."""
    before = metrics(scripted.url)["skerry:requests_cancelled_total"]

    async def vanish():
        body = question("scripted", max_tokens=4_000)
        body["messages"][0]["content"] = "[script chunks=2000 delay=20]"
        clients = [Client(scripted_edge, scripted_edge.first_key, body) for _ in range(20)]
        await asyncio.gather(*(client.send() for client in clients))
        await asyncio.gather(*(client.read(contents_max=1) for client in clients))
        assert metrics(scripted.url)["vllm:num_requests_running"] == 20
        for client in clients:
            client.vanish()

    asyncio.run(vanish())
    eventually(lambda: metrics(scripted.url)["vllm:num_requests_running"] == 0, 2)
    assert metrics(scripted.url)["skerry:requests_cancelled_total"] == before + 20
