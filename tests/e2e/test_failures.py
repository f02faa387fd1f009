"""Processes that die without a word, and a stop in mid-stream."""

import asyncio
import os
import signal
import subprocess
import threading
import time

import openai

from admin import Admin
from crowd import Client
from harness import ROOT, Edge, alive, edge_up, eventually

# As long as the bundled model's context allows.
LONG = {"max_tokens": 900, "ignore_eos": True}


def question(model, text="Hello!", **options):
    return {"model": model, "messages": [{"role": "user", "content": text}], **options}


def first_model(edge):
    with edge.openai(edge.first_key) as client:
        return client.models.list().data[0].id


def test_kill_9_of_the_engine_ends_open_streams_with_an_error_and_it_comes_back():
    with edge_up() as edge:
        model, engine = first_model(edge), edge.engine_pid()

        async def kill_in_mid_stream():
            clients = [Client(edge, edge.first_key, question(model, **LONG)) for _ in range(8)]
            await asyncio.gather(*(client.send() for client in clients))
            await asyncio.gather(*(client.read(contents_max=1) for client in clients))
            os.kill(engine, signal.SIGKILL)
            return await asyncio.gather(*(client.read() for client in clients))

        streams = asyncio.run(kill_in_mid_stream())
        # One that was whole before the engine died has nothing to tell of it.
        broken = [stream for stream in streams if not stream.is_whole()]
        assert broken, "every stream had ended before the engine was killed"
        for stream in broken:
            assert stream.ended, "the client's own connection is not cut"
            [error] = stream.errors()
            assert set(error) == {"message", "type", "param", "code"}
            assert "[DONE]" not in stream.events

        eventually(lambda: set(edge.engine_pids()) - {engine}, 15, "the engine is started again")
        with edge.openai(edge.first_key) as client:

            def answered():
                try:
                    return client.chat.completions.create(**question(model)).choices
                except openai.APIStatusError as error:
                    # Until it is loaded: an honest "try again".
                    assert error.status_code in (502, 503), error
                    return None

            eventually(answered, 20, "the next request succeeds")


def test_kill_9_of_edge_loses_nothing_that_was_acknowledged(tmp_path):
    state = tmp_path / "state"
    with edge_up(state=state) as edge:
        key, model = edge.first_key, first_model(edge)
        with edge.openai(key) as client, edge.http(key) as http:
            project = Admin(http).default_project()
            before = Admin(http).usage(project_ids=[project])
            conversation = client.conversations.create().id
            options = {"extra_body": {"conversation": conversation}}
            said = [client.chat.completions.create(**question(model, "Hello!", **options))]
            # The cache goes to disk every second: now it holds a history without what follows.
            time.sleep(1.5)
            named = question(model, "My name is Marta.", **options)
            said.append(client.chat.completions.create(**named))
        engines = [edge.engine_pid()]
        # At once: what was acknowledged a moment ago counts.
        edge.kill()
    for pid in engines:
        eventually(lambda pid=pid: not alive(pid), 10, "no engine is left without its edge")

    with edge_up(state=state) as edge:
        assert "sk-" not in edge.printed().replace(key, ""), "a second first key was made"
        with edge.openai(key) as client, edge.http(key) as http:
            items = client.conversations.items.list(conversation, order="asc").data
            texts = ["".join(part.text for part in item.content) for item in items]
            assert texts == [
                "Hello!",
                said[0].choices[0].message.content,
                "My name is Marta.",
                said[1].choices[0].message.content,
            ]
            asked = question(model, "What is my name?", **options)
            said.append(client.chat.completions.create(**asked))
            assert "Marta" in said[-1].choices[0].message.content, "the model was not told"
            expected = {
                "input_tokens": sum(s.usage.prompt_tokens for s in said),
                "output_tokens": sum(s.usage.completion_tokens for s in said),
                "num_model_requests": len(said),
            }

            def grown():
                now = Admin(http).usage(project_ids=[project])
                return {name: now[name] - before[name] for name in now}

            eventually(lambda: grown() == expected, 20, "the usage is all there")
            # And is not applied a second time by what the outbox still holds.
            time.sleep(6)
            assert grown() == expected


def test_kill_9_again_and_again_keeps_every_acknowledged_turn(tmp_path):
    state, kept, conversation, key = tmp_path / "state", [], None, None
    for round_ in range(3):
        with edge_up(state=state) as edge:
            key = key or edge.first_key
            with edge.openai(key) as client:
                model = client.models.list().data[0].id
                conversation = conversation or client.conversations.create().id
                stop = threading.Timer(0.6 + 0.2 * round_, edge.kill)
                stop.start()
                try:
                    while True:
                        # The round makes a turn that was stored, but not seen, another one.
                        text = f"Hello number {len(kept)} of round {round_}!"
                        client.chat.completions.create(
                            **question(model, text, max_tokens=4),
                            extra_body={"conversation": conversation},
                        )
                        kept.append(text)
                except openai.OpenAIError:
                    pass  # The moment of death.
                stop.join()
    assert kept
    with edge_up(state=state) as edge, edge.openai(key) as client:
        items = client.conversations.items.list(conversation, order="asc", limit=100)
        stored = ["".join(p.text for p in i.content) for i in items if i.role == "user"]
    # A turn whose answer was never seen may be there; one that was seen must be.
    assert [text for text in kept if text not in stored] == []
    assert len(stored) == len(set(stored)), "a turn was stored twice"


def test_a_stop_lets_an_open_stream_end(scripted):
    with edge_up("--backend", scripted.url) as edge:
        body = question("scripted", "[script chunks=60 delay=25]")

        async def stop_in_mid_stream():
            client = Client(edge, edge.first_key, body)
            await client.send()
            await client.read(contents_max=1)
            edge.popen.send_signal(signal.SIGINT)
            return await client.read()

        stream = asyncio.run(stop_in_mid_stream())
        assert stream.is_whole()
        assert edge.popen.wait(10) == 0


def test_while_it_drains_nobody_new_is_let_in(scripted):
    with edge_up("--backend", scripted.url) as edge:
        body = question("scripted", "[script chunks=80 delay=25]")

        async def stop_in_mid_stream():
            client = Client(edge, edge.first_key, body)
            await client.send()
            await client.read(contents_max=1)
            edge.popen.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.5)
            late = Client(edge, edge.first_key, body)
            try:
                await late.send()
                refused = late.stream.status == 503
            except OSError:
                refused = True
            return refused, await client.read()

        refused, stream = asyncio.run(stop_in_mid_stream())
        assert refused
        assert stream.is_whole()


def test_the_port_being_taken_is_a_clear_error_before_anything_starts(edge: Edge):
    command = [str(edge.popen.args[0]), "up", "--no-build", "--state", str(edge.folder / "other")]
    command += ["--listen", f"127.0.0.1:{edge.port}", "--operator", "127.0.0.1:0"]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=20, cwd=ROOT, check=False
    )
    assert ended.returncode not in (0, 101), ended.stderr
    assert str(edge.port) in ended.stderr
    assert "panicked" not in ended.stderr
    assert "Starting the backend" not in ended.stdout
    assert "Loading components" not in ended.stdout
