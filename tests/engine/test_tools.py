"""The official client's tool calls, whole and streamed, against the engine itself."""

import json

import openai
import pydantic
import pytest


class Calculate(pydantic.BaseModel):
    """What `expression` comes to."""

    model_config = pydantic.ConfigDict(extra="forbid")
    operation: str = pydantic.Field(pattern="^(add|subtract|multiply)$")
    left: int = pydantic.Field(ge=0, le=999)
    right: int = pydantic.Field(ge=0, le=999)


class Now(pydantic.BaseModel):
    """The time somewhere."""

    model_config = pydantic.ConfigDict(extra="forbid")
    zone: str = pydantic.Field(pattern="^(UTC|CET)$")


TOOLS = [
    openai.pydantic_function_tool(Calculate, name="calculate"),
    openai.pydantic_function_tool(Now, name="now"),
]
ARGUMENTS = {"calculate": Calculate, "now": Now}
REQUIRED = "required"
NAMED = {"type": "function", "function": {"name": "now"}}
ALLOWED = {
    "type": "allowed_tools",
    "allowed_tools": {
        "mode": "required",
        "tools": [{"type": "function", "function": {"name": "calculate"}}],
    },
}
# What a choice leaves to be called.
CHOICES = [(REQUIRED, {"calculate", "now"}), (NAMED, {"now"}), (ALLOWED, {"calculate"})]


def asked(model, **options):
    messages = [{"role": "user", "content": "How much is 17 times 24?"}]
    defaults = {"max_completion_tokens": 300, "temperature": 1, "seed": 11}
    return {"model": model, "messages": messages, "tools": TOOLS, **defaults, **options}


def checked(call, names):
    """The call's arguments are what its function's schema asks for."""
    assert call.type == "function" and call.id
    assert call.function.name in names
    ARGUMENTS[call.function.name].model_validate_json(call.function.arguments)
    return call.function.name, json.loads(call.function.arguments)


@pytest.mark.parametrize(("choice", "names"), CHOICES, ids=["required", "named", "allowed"])
@pytest.mark.parametrize("seed", range(4))
def test_a_call_that_must_be_made_fits_its_schema(client, model, choice, names, seed):
    request = asked(model, tool_choice=choice, seed=seed, parallel_tool_calls=False)
    completion = client.chat.completions.create(**request)
    [choice] = completion.choices
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls
    checked(call, names)


@pytest.mark.parametrize(("choice", "names"), CHOICES, ids=["required", "named", "allowed"])
def test_a_streamed_call_is_the_same_call(client, model, choice, names):
    request = asked(model, tool_choice=choice, parallel_tool_calls=False)
    whole = client.chat.completions.create(**request).choices[0].message.tool_calls
    heads, arguments, finish = [], [], None
    for chunk in client.chat.completions.create(**request, stream=True):
        for answer in chunk.choices:
            finish = answer.finish_reason or finish
            for delta in answer.delta.tool_calls or []:
                assert delta.index == 0
                if delta.id:
                    heads.append((delta.id, delta.type, delta.function.name))
                arguments.append(delta.function.arguments or "")
    assert finish == "tool_calls"
    [(_, kind, name)] = heads
    assert kind == "function" and name == whole[0].function.name and name in names
    assert "".join(arguments) == whole[0].function.arguments
    assert len([part for part in arguments if part]) > 1, "they come as the model writes them"


def test_the_client_s_own_stream_puts_a_call_together(client, model):
    request = asked(model, tool_choice=NAMED, parallel_tool_calls=False)
    with client.chat.completions.stream(**request) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.delta" in kinds
    assert "tool_calls.function.arguments.done" in kinds
    [call] = final.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Now)


def test_several_calls_are_told_apart_by_index(client, model):
    # No end within so many tokens, so that one call does not do.
    extra = {"min_tokens": 100}
    request = asked(model, tool_choice=REQUIRED, max_completion_tokens=1000, extra_body=extra)
    most = 0
    for seed in range(6):
        completion = client.chat.completions.create(**{**request, "seed": seed})
        calls = completion.choices[0].message.tool_calls
        if completion.choices[0].finish_reason == "length":
            continue
        most = max(most, len(calls))
        said = [checked(call, ARGUMENTS) for call in calls]
        parts = {}
        for chunk in client.chat.completions.create(**{**request, "seed": seed}, stream=True):
            for answer in chunk.choices:
                for delta in answer.delta.tool_calls or []:
                    name, text = parts.get(delta.index, ("", ""))
                    function = delta.function
                    name, text = name + (function.name or ""), text + (function.arguments or "")
                    parts[delta.index] = (name, text)
        streamed = [(name, json.loads(text)) for _, (name, text) in sorted(parts.items())]
        assert streamed == said
        assert len({call.id for call in calls}) == len(calls)
    assert most > 1, "no answer had more than one call"


def test_none_means_none(client, model):
    completion = client.chat.completions.create(**asked(model, tool_choice="none"))
    assert completion.choices[0].message.tool_calls is None


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"tool_choice": {"type": "function", "function": {"name": "nobody"}}}, "tool_choice"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        (
            {"tools": [{"type": "function", "function": {"name": "a b", "parameters": {}}}]},
            "tools",
        ),
        (
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {
                            "name": "odd",
                            "strict": True,
                            "parameters": {"type": "object", "if": {"type": "null"}},
                        },
                    }
                ]
            },
            "tools",
        ),
    ],
    ids=["unknown name", "unknown word", "no tools", "a name with a space", "a strict schema"],
)
def test_what_cannot_be_held_to_is_refused_by_name(client, model, options, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**asked(model, **options))
    assert param in (caught.value.param or ""), caught.value.body
