"""Answers that are held to a form, by the official client's helpers."""

import json
import re
from typing import Literal

import openai
import pydantic
import pytest


class Verdict(pydantic.BaseModel):
    animal: Literal["cat", "dog", "island"]
    certain: bool
    reasons: list[Literal["rock", "water", "fur"]] = pydantic.Field(max_length=3)


def ask(model, **options):
    question = {"role": "user", "content": "Is Skerry a cat, a dog or an island?"}
    # The bundled model's own limit is shorter than some of these answers.
    return {"model": model, "messages": [question], "max_completion_tokens": 900, **options}


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_an_answer_is_parsed_into_a_model(client, model, temperature):
    for seed in range(5):
        completion = client.chat.completions.parse(
            **ask(model, response_format=Verdict, temperature=temperature, seed=seed)
        )
        choice = completion.choices[0]
        assert choice.finish_reason == "stop"
        assert isinstance(choice.message.parsed, Verdict)
        assert choice.message.parsed == Verdict.model_validate_json(choice.message.content)


def test_a_streamed_answer_is_parsed_at_its_end(client, model):
    with client.chat.completions.stream(
        **ask(model, response_format=Verdict, temperature=1.5, seed=3)
    ) as stream:
        kinds = {event.type for event in stream}
        completion = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert isinstance(completion.choices[0].message.parsed, Verdict)


def test_several_answers_are_each_held_to_the_form(client, model):
    completion = client.chat.completions.parse(
        **ask(model, response_format=Verdict, temperature=2, seed=1, n=4)
    )
    assert len(completion.choices) == 4
    assert all(isinstance(choice.message.parsed, Verdict) for choice in completion.choices)


def test_a_completion_is_held_to_vllms_forms(client, model):
    def complete(**structured):
        completion = client.completions.create(
            model=model,
            prompt="Skerry:",
            temperature=1.5,
            seed=9,
            max_tokens=64,
            extra_body={"structured_outputs": structured},
        )
        return completion.choices[0].text

    assert complete(choice=["cliff", "shore"]) in ("cliff", "shore")
    assert re.fullmatch(r"[0-9]{3}-[a-f]{2}", complete(regex=r"[0-9]{3}-[a-f]{2}"))
    assert complete(grammar='start: "a" "b"') == "ab"
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}
    assert json.loads(complete(json={**schema, "additionalProperties": False}))["n"] in (1, 2)


def test_a_form_that_cannot_be_honoured_is_named(client, model):
    for field, options in [
        ("response_format.type", {"response_format": {"type": "yaml"}}),
        ("structured_outputs.regex", {"extra_body": {"structured_outputs": {"regex": "("}}}),
        (
            "ignore_eos",
            {"response_format": {"type": "json_object"}, "extra_body": {"ignore_eos": True}},
        ),
    ]:
        with pytest.raises(openai.BadRequestError) as raised:
            client.chat.completions.create(**ask(model, **options))
        assert raised.value.param == field
