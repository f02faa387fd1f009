"""The official client's chat completions, against the engine itself."""

import concurrent.futures

import pytest


def hello(model, **options):
    return {"model": model, "messages": [{"role": "user", "content": "Hello!"}], **options}


def unsure(model, **options):
    """Past its end the model is unsure, so that chance decides."""
    extra = {"ignore_eos": True}
    return hello(model, temperature=2, max_tokens=32, extra_body=extra, **options)


def said(completion):
    return [choice.message.content for choice in completion.choices]


def test_models_are_listed_and_looked_up(client, model):
    found = client.models.retrieve(model)
    assert found.id == model and found.object == "model"


def test_a_chat_is_answered_and_counted(client, model):
    completion = client.chat.completions.create(**hello(model, temperature=0))
    assert completion.object == "chat.completion"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.choices[0].message.content.strip()
    usage = completion.usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 0 <= usage.prompt_tokens_details.cached_tokens <= usage.prompt_tokens


def test_a_streamed_chat_says_the_same(client, model):
    whole = client.chat.completions.create(**hello(model, temperature=0))
    options = {"include_usage": True}
    chunks = list(
        client.chat.completions.create(
            **hello(model, temperature=0, stream=True, stream_options=options)
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert [c.usage for c in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_usage_can_come_with_every_event(client, model):
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = list(
        client.chat.completions.create(
            **hello(model, temperature=0, max_tokens=5, stream=True, stream_options=options)
        )
    )
    counts = [chunk.usage.completion_tokens for chunk in chunks]
    assert counts == sorted(counts) and counts[0] == 0 and counts[-1] == 5
    assert all(chunk.usage.prompt_tokens == chunks[0].usage.prompt_tokens for chunk in chunks)


def test_three_answers_differ_and_come_again(client, model):
    three = client.chat.completions.create(**unsure(model, n=3, seed=5))
    assert [choice.index for choice in three.choices] == [0, 1, 2]
    assert len(set(said(three))) == 3
    assert said(client.chat.completions.create(**unsure(model, n=3, seed=5))) == said(three)
    one = client.chat.completions.create(**unsure(model, seed=5))
    assert said(one) == said(three)[:1]
    assert three.usage.prompt_tokens == one.usage.prompt_tokens, "the prompt counts once"
    assert three.usage.completion_tokens == 3 * 32


def test_three_streamed_answers_are_told_apart_by_index(client, model):
    three = said(client.chat.completions.create(**unsure(model, n=3, seed=5)))
    texts, ends = [""] * 3, []
    for chunk in client.chat.completions.create(**unsure(model, n=3, seed=5, stream=True)):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            ends += [choice.index] if choice.finish_reason else []
    assert texts == three
    assert sorted(ends) == [0, 1, 2]


def test_a_seed_says_the_same_in_a_busy_batch(client, model):
    def ask(seed):
        return said(client.chat.completions.create(**unsure(model, seed=seed)))

    alone = ask(7)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        crowd = list(pool.map(ask, [7, *range(20, 35)]))
    assert crowd[0] == alone
    assert len({text for [text] in crowd}) > 10


def test_logprobs_come_with_each_token(client, model):
    options = hello(model, temperature=0, logprobs=True, top_logprobs=3, max_tokens=4)
    tokens = client.chat.completions.create(**options).choices[0].logprobs.content
    assert len(tokens) == 4
    for token in tokens:
        assert len(token.top_logprobs) == 3
        assert token.logprob == pytest.approx(max(t.logprob for t in token.top_logprobs))


def test_a_stop_sequence_can_be_shown(client, model):
    whole = said(client.chat.completions.create(**hello(model, temperature=0)))[0]
    word = whole.split()[1]
    hidden = client.chat.completions.create(**hello(model, temperature=0, stop=[word]))
    extra = {"include_stop_str_in_output": True}
    shown = client.chat.completions.create(
        **hello(model, temperature=0, stop=[word], extra_body=extra)
    )
    assert word not in said(hidden)[0]
    assert said(shown) == [said(hidden)[0] + word]
    assert shown.choices[0].stop_reason == word


def test_min_tokens_keeps_an_answer_going(client, model):
    short = client.chat.completions.create(**hello(model, temperature=0))
    least = short.usage.completion_tokens + 10
    extra = {"min_tokens": least}
    long = client.chat.completions.create(**hello(model, temperature=0, extra_body=extra))
    assert long.usage.completion_tokens >= least
