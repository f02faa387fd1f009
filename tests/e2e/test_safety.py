"""What must not go to a model does not, and what must not come back does not."""

import asyncio

import pytest

from crowd import Client, all_at_once
from harness import edge_up


@pytest.fixture(scope="module")
def strict(scripted):
    """An edge with a block list, as an operator sets it for a whole installation."""
    with pytest.MonkeyPatch.context() as environment:
        # Spin's default provider of variables is the environment.
        environment.setenv("SPIN_VARIABLE_BLOCK_LIST", "word word,forbidden fruit")
        with edge_up("--backend", scripted.url) as edge:
            yield edge


def stream(edge, text):
    body = {"model": "scripted", "messages": [{"role": "user", "content": text}]}
    return asyncio.run(all_at_once([Client(edge, edge.first_key, body)]))[0]


def test_a_blocked_prompt_is_refused_as_content_filter(strict):
    refused = stream(strict, "I want forbidden fruit [script chunks=1]")
    assert refused.status == 200
    assert refused.finish_reasons() == ["content_filter"]
    assert "word" not in refused.text()


def test_a_blocked_phrase_split_over_chunks_is_caught(strict):
    # The backend says "word " a chunk at a time; the phrase never stands in one.
    cut = stream(strict, "[script chunks=10]")
    assert cut.finish_reasons() == ["content_filter"]
    assert "word word" not in cut.text()
    assert cut.events[-1] == "[DONE]"


def test_what_is_not_blocked_passes(strict):
    passed = stream(strict, "[script chunks=1]")
    assert passed.finish_reasons() == ["stop"]
    assert passed.text() == "word "
