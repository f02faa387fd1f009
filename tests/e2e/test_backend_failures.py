"""A backend that misbehaves, behind the whole of edge: what its clients see."""

import asyncio
import json
import time

import openai
import pytest

from crowd import Client, all_at_once
from harness import eventually

# The longest that the router leaves a backend alone, and some.
AWAY_S_MAX = 15


@pytest.fixture
def client(scripted_edge):
    with scripted_edge.openai(scripted_edge.first_key) as client:
        yield client


@pytest.fixture(autouse=True)
def healthy(client):
    """A test begins with a backend that is asked: what the one before broke is forgotten."""

    def answers():
        try:
            return ask(client, "chunks=1").choices
        except openai.InternalServerError:
            return None

    eventually(answers, AWAY_S_MAX, "a plain request succeeds")


def ask(client, script, **options):
    messages = [{"role": "user", "content": f"[script {script}]"}]
    return client.chat.completions.create(model="scripted", messages=messages, **options)


def streamed(edge, script):
    messages = [{"role": "user", "content": f"[script {script}]"}]
    body = {"model": "scripted", "messages": messages}
    return asyncio.run(all_at_once([Client(edge, edge.first_key, body)]))[0]


def test_a_scripted_answer_passes_through_whole(client, scripted_edge):
    assert ask(client, "chunks=40").choices[0].message.content == "word " * 40
    stream = streamed(scripted_edge, "chunks=40")
    assert stream.is_whole()
    assert stream.text() == "word " * 40


@pytest.mark.parametrize("script", ["chunks=50 delay=5 cut_after=20", "chunks=50 error_after=20"])
def test_a_stream_that_breaks_ends_with_an_error_event(scripted_edge, script):
    stream = streamed(scripted_edge, script)
    assert stream.status == 200
    assert stream.ended, "the client's own connection is not cut"
    [error] = stream.errors()
    assert set(error) == {"message", "type", "param", "code"}
    assert json.loads(stream.events[-1]).get("error"), "the error is the last event"
    assert "[DONE]" not in stream.events


def test_the_official_client_raises_on_that_event(client):
    with pytest.raises(openai.APIError):
        list(ask(client, "chunks=50 delay=5 cut_after=20", stream=True))


def test_an_answer_that_is_not_streamed_and_breaks_is_a_5xx_of_ours(client):
    with pytest.raises(openai.InternalServerError) as raised:
        ask(client, "chunks=50 cut_after=20")
    assert raised.value.status_code == 502
    assert raised.value.code == "backend_error"
    assert set(raised.value.body) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_backend_is_told_with_the_time_to_wait(client, status):
    with pytest.raises(openai.APIStatusError) as raised:
        ask(client, f"status={status} retry_after=2")
    assert raised.value.status_code == 503
    assert raised.value.code == "overloaded"
    assert raised.value.response.headers["retry-after"] == "2"
    # Where there is no other, a busy one is asked all the same.
    assert ask(client, "chunks=1").choices[0].message.content == "word "


def test_a_backend_that_fails_is_not_taken_for_a_mistake_of_the_client(client):
    with pytest.raises(openai.APIStatusError) as raised:
        ask(client, "status=500")
    assert raised.value.status_code == 502
    assert raised.value.code == "backend_error"


def test_chunks_are_passed_on_as_they_come(scripted_edge):
    """Nothing is gathered on the way, beyond the guard's window."""

    async def first_and_last():
        messages = [{"role": "user", "content": "[script chunks=200 delay=10]"}]
        body = {"model": "scripted", "messages": messages}
        client = Client(scripted_edge, scripted_edge.first_key, body)
        began = time.monotonic()
        await client.send()
        await client.read(contents_max=1)
        first_s = time.monotonic() - began
        await client.read()
        return first_s, time.monotonic() - began

    first_s, last_s = asyncio.run(first_and_last())
    assert last_s > 1.9
    assert first_s < last_s / 2, (first_s, last_s)
