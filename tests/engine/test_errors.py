"""What the official client makes of the engine's refusals."""

import openai
import pytest


def hello(model, **options):
    return {"model": model, "messages": [{"role": "user", "content": "Hello!"}], **options}


def test_an_unknown_model_is_not_found(client, model):
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(**hello("no-such-model"))
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="no-such-model", prompt="a")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_a_chat_field_that_is_not_honoured_is_named(client, model):
    for field, value in [
        ("store", True),
        ("functions", []),
        ("temprature", 1),
        ("spaces_between_special_tokens", False),
        ("truncate_prompt_tokens", -1),
    ]:
        with pytest.raises(openai.BadRequestError) as raised:
            client.chat.completions.create(**hello(model, extra_body={field: value}))
        assert raised.value.param == field
        assert field in raised.value.message


def test_a_completion_field_that_is_not_honoured_is_named(client, model):
    for field, value in [
        ("suffix", "end"),
        ("best_of", 2),
        ("use_beam_search", True),
        ("messages", []),
        ("n", 0),
        ("logprobs", 21),
        ("max_tokens", 0),
        ("temprature", 1),
    ]:
        with pytest.raises(openai.BadRequestError) as raised:
            client.completions.create(model=model, prompt="a", extra_body={field: value})
        assert raised.value.param == field
        assert field in raised.value.message


def test_a_prompt_that_is_too_long_is_named(client, model):
    for prompt, max_tokens, param in [
        ("word " * 5000, 1, "prompt"),
        ("a", 10_000_000, "max_tokens"),
    ]:
        with pytest.raises(openai.BadRequestError) as raised:
            client.completions.create(model=model, prompt=prompt, max_tokens=max_tokens)
        assert raised.value.param == param
        assert raised.value.code == "context_length_exceeded"


def test_an_unknown_route_is_not_found(client, model):
    with pytest.raises(openai.NotFoundError):
        client.moderations.create(input="a")
