"""The official Python client against https, as a user's program uses it."""

import json

import openai
import pytest

CALCULATOR = {
    "type": "function",
    "function": {
        "name": "calculator",
        "description": "Evaluates an arithmetic expression.",
        "parameters": {
            "type": "object",
            "properties": {"expression": {"type": "string"}},
            "required": ["expression"],
        },
    },
}


def hello(model, **options):
    return {"model": model, "messages": [{"role": "user", "content": "Hello!"}], **options}


def test_models_are_listed_and_each_can_be_looked_up(client):
    models = client.models.list().data
    assert models
    for model in models:
        assert client.models.retrieve(model.id).id == model.id


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(**hello("no-such-model"))
    assert raised.value.code == "model_not_found"
    assert raised.value.param == "model"


def test_a_chat_is_answered(client, model):
    completion = client.chat.completions.create(**hello(model, temperature=0))
    assert completion.object == "chat.completion"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.choices[0].message.content.strip()
    usage = completion.usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_a_streamed_chat_says_the_same_and_ends_with_its_usage(client, model):
    whole = client.chat.completions.create(**hello(model, temperature=0))
    chunks = list(
        client.chat.completions.create(
            **hello(model, temperature=0, stream=True, stream_options={"include_usage": True})
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    finished = [c for c in chunks if c.choices and c.choices[0].finish_reason]
    assert [c.choices[0].finish_reason for c in finished] == ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert len({c.id for c in chunks}) == 1


def test_a_stream_without_the_option_carries_no_usage(client, model):
    chunks = list(client.chat.completions.create(**hello(model, stream=True)))
    assert all(c.choices for c in chunks)
    assert all(c.usage is None for c in chunks)


def test_max_tokens_ends_an_answer_as_length(client, model):
    completion = client.chat.completions.create(**hello(model, max_completion_tokens=2))
    assert completion.choices[0].finish_reason == "length"
    assert completion.usage.completion_tokens == 2


def test_the_same_seed_gives_the_same_answer(client, model):
    def sample(seed):
        # Past its end the model is unsure, so that chance decides.
        options = hello(model, temperature=2, seed=seed, max_tokens=48)
        completion = client.chat.completions.create(**options, extra_body={"ignore_eos": True})
        return completion.choices[0].message.content

    assert sample(7) == sample(7)
    assert len({sample(seed) for seed in range(1, 6)}) > 1


def test_a_stop_sequence_ends_an_answer_before_it(client, model, answers):
    whole = answers("Hello!")
    word = whole.split()[2]
    completion = client.chat.completions.create(**hello(model, temperature=0, stop=[word]))
    said = completion.choices[0].message.content
    assert word not in said
    assert whole.startswith(said)
    assert completion.choices[0].finish_reason == "stop"


def test_logprobs_come_with_each_token(client, model):
    options = hello(model, temperature=0, logprobs=True, top_logprobs=3, max_tokens=4)
    choice = client.chat.completions.create(**options).choices[0]
    assert len(choice.logprobs.content) == 4
    for token in choice.logprobs.content:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        # Greedy: what was chosen is the likeliest.
        assert token.logprob == pytest.approx(max(t.logprob for t in token.top_logprobs))


def test_a_tool_call_takes_two_steps(client, model):
    messages = [{"role": "user", "content": "What is 12*7?"}]
    asked = client.chat.completions.create(
        model=model, messages=messages, tools=[CALCULATOR], temperature=0
    ).choices[0]
    assert asked.finish_reason == "tool_calls"
    [call] = asked.message.tool_calls
    assert call.function.name == "calculator"
    expression = json.loads(call.function.arguments)["expression"]
    assert expression.replace(" ", "") == "12*7"

    messages += [asked.message, {"role": "tool", "tool_call_id": call.id, "content": "84"}]
    told = client.chat.completions.create(
        model=model, messages=messages, tools=[CALCULATOR], temperature=0
    ).choices[0]
    assert told.finish_reason == "stop"
    assert "84" in told.message.content


def test_a_streamed_tool_call_adds_up_to_the_same(client, model):
    chunks = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "What is 12*7?"}],
        tools=[CALCULATOR],
        temperature=0,
        stream=True,
    )
    name, arguments, reasons = "", "", []
    for choice in (c.choices[0] for c in chunks if c.choices):
        for call in choice.delta.tool_calls or []:
            assert call.index == 0
            name += call.function.name or ""
            arguments += call.function.arguments or ""
        reasons += [choice.finish_reason] if choice.finish_reason else []
    assert name == "calculator"
    assert json.loads(arguments)["expression"].replace(" ", "") == "12*7"
    assert reasons == ["tool_calls"]


def test_a_wrong_key_is_an_authentication_error(edge, model):
    for wrong in ["sk-" + "0" * 48, "not-a-key"]:
        with edge.openai(wrong) as client, pytest.raises(openai.AuthenticationError) as raised:
            client.chat.completions.create(**hello(model))
        assert raised.value.code == "invalid_api_key"
        assert wrong not in str(raised.value)


def test_a_key_over_its_rate_is_a_rate_limit_error(edge, admin, model):
    key = admin.make_key(name="slow", rate_limits={"requests_per_minute": 2})
    with edge.openai(key.secret) as client:
        for _ in range(2):
            client.chat.completions.create(**hello(model, max_tokens=1))
        with pytest.raises(openai.RateLimitError) as raised:
            client.chat.completions.create(**hello(model, max_tokens=1))
    headers = raised.value.response.headers
    assert raised.value.code == "rate_limit_exceeded"
    # A minute, and the step of two seconds in which the limiter counts.
    assert 1 <= int(headers["retry-after"]) <= 62
    assert headers["x-ratelimit-limit-requests"] == "2"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    for name in ("limit", "remaining", "reset"):
        assert headers[f"x-ratelimit-{name}-requests"]
        assert headers[f"x-ratelimit-{name}-tokens"]


def test_a_key_over_its_tokens_is_a_rate_limit_error(edge, admin, model):
    key = admin.make_key(name="short", rate_limits={"tokens_per_minute": 20})
    with edge.openai(key.secret) as client, pytest.raises(openai.RateLimitError) as raised:
        client.chat.completions.create(**hello(model, max_tokens=500))
    assert raised.value.response.headers["x-ratelimit-limit-tokens"] == "20"


def test_an_unsupported_field_is_refused_by_its_name(client, model):
    for field, value in [("store", True), ("functions", []), ("cache_salt", "x"), ("temprature", 1)]:
        with pytest.raises(openai.BadRequestError) as raised:
            client.chat.completions.create(**hello(model, extra_body={field: value}))
        assert raised.value.param == field
        assert field in raised.value.message


def test_several_answers_to_one_prompt(client, model):
    answer = client.chat.completions.create(**hello(model, n=2))
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert all(choice.message.content for choice in answer.choices)
    texts = ["", ""]
    for chunk in client.chat.completions.create(**hello(model, n=2, stream=True)):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert all(texts)


def test_a_field_of_the_wrong_type_is_refused_by_its_name(client, model):
    wrong = {
        "temperature": "hot",
        "top_p": 2,
        "max_tokens": -1,
        "stop": 5,
        "stream": "yes",
        "seed": "x",
        "tools": {},
        "tool_choice": 7,
        "logit_bias": [],
        "messages": "hello",
        "conversation": 7,
        "stream_options": True,
    }
    for field, value in wrong.items():
        with pytest.raises(openai.BadRequestError) as raised:
            client.chat.completions.create(**hello(model, extra_body={field: value}))
        assert raised.value.param == field, field
