"""The official client's completions: prompts in every form, echo, log-probabilities."""

import math

import pytest

PROMPT = "The capital of France is"


def test_a_text_is_continued(client, model):
    whole = client.completions.create(model=model, prompt=PROMPT, temperature=0, max_tokens=12)
    assert whole.object == "text_completion"
    assert whole.usage.completion_tokens <= 12
    chunks = client.completions.create(
        model=model, prompt=PROMPT, temperature=0, max_tokens=12, stream=True
    )
    assert "".join(c.choices[0].text for c in chunks) == whole.choices[0].text


def test_prompts_may_be_tokens_and_several(client, http, model):
    def tokens(text):
        answer = http.post("/tokenize", json={"prompt": text, "add_special_tokens": True})
        return answer.json()["tokens"]

    texts = [PROMPT, "Hello"]
    ask = {"model": model, "temperature": 0, "max_tokens": 8}
    by_text = client.completions.create(prompt=texts, **ask)
    by_token = client.completions.create(prompt=[tokens(text) for text in texts], **ask)
    assert [c.text for c in by_token.choices] == [c.text for c in by_text.choices]
    assert [c.index for c in by_text.choices] == [0, 1]
    assert by_text.usage.prompt_tokens == sum(len(tokens(text)) for text in texts)


def test_an_echo_is_scored_token_by_token(client, model):
    echoed = client.completions.create(
        model=model, prompt=PROMPT, echo=True, logprobs=2, temperature=0, max_tokens=6
    )
    choice = echoed.choices[0]
    lists = choice.logprobs
    assert choice.text.startswith(PROMPT)
    assert "".join(lists.tokens) == choice.text
    assert lists.token_logprobs[0] is None and lists.top_logprobs[0] is None
    assert all(logprob <= 0 for logprob in lists.token_logprobs[1:])
    for token, logprob, top in zip(
        lists.tokens[1:], lists.token_logprobs[1:], lists.top_logprobs[1:], strict=True
    ):
        assert 2 <= len(top) <= 3
        # Two tokens may be written alike; the likelier one stays.
        assert top[token] >= logprob
    for token, offset in zip(lists.tokens, lists.text_offset, strict=True):
        assert choice.text[offset : offset + len(token)] == token


def test_a_streamed_echo_comes_first_and_scores_the_same(client, model):
    ask = {"model": model, "prompt": PROMPT, "echo": True, "logprobs": 1, "temperature": 0}
    whole = client.completions.create(max_tokens=4, **ask).choices[0]
    chunks = [c.choices[0] for c in client.completions.create(max_tokens=4, stream=True, **ask)]
    assert chunks[0].text == PROMPT
    assert "".join(c.text for c in chunks) == whole.text
    scored = [p for c in chunks if c.logprobs for p in c.logprobs.token_logprobs]
    assert scored == pytest.approx(whole.logprobs.token_logprobs)
    offsets = [o for c in chunks if c.logprobs for o in c.logprobs.text_offset]
    assert offsets == whole.logprobs.text_offset


def test_a_token_keeps_its_score_however_it_is_asked_for(client, http, model):
    """What a chat says of its tokens, a completion says of them as a prompt."""
    messages = [{"role": "user", "content": "Hello!"}]
    chat = client.chat.completions.create(
        model=model, messages=messages, temperature=0, logprobs=True, max_tokens=16
    )
    said = [token.logprob for token in chat.choices[0].logprobs.content]
    rendered = http.post("/tokenize", json={"messages": messages}).json()["tokens"]
    text = chat.choices[0].message.content
    answer = http.post("/tokenize", json={"prompt": text, "add_special_tokens": False})
    tokens = answer.json()["tokens"]
    scored = client.completions.create(
        model=model, prompt=rendered + tokens, echo=True, logprobs=0, max_tokens=0
    )
    lists = scored.choices[0].logprobs
    again = lists.token_logprobs[len(rendered) :]
    assert sum(again) == pytest.approx(sum(said[: len(again)]), abs=1e-3)
    assert scored.usage.completion_tokens == 0


def test_an_evaluation_harness_gets_its_log_likelihoods(client, http, model):
    """As lm-eval asks: token prompts in a list, echo, one token more, which it drops."""

    def tokens(text):
        answer = http.post("/tokenize", json={"prompt": text, "add_special_tokens": False})
        return answer.json()["tokens"]

    context = tokens("Skerry is")
    endings = [" a platform", " a small island", " zzzzzz"]
    ask = {"model": model, "temperature": 0, "logprobs": 1, "echo": True, "seed": 1234}
    prompts = [context + tokens(ending) for ending in endings]
    answer = client.completions.create(prompt=prompts, max_tokens=1, **ask)
    likelihoods = []
    for choice, prompt in zip(
        sorted(answer.choices, key=lambda c: c.index), prompts, strict=True
    ):
        lists = choice.logprobs
        assert len(lists.tokens) == len(prompt) + 1
        scores = lists.token_logprobs[len(context) : -1]
        assert len(scores) == len(prompt) - len(context)
        # "Greedy" is when each token was the best.
        tops = lists.top_logprobs[len(context) : -1]
        assert all(score <= max(top.values()) for score, top in zip(scores, tops, strict=True))
        likelihoods.append(sum(scores))
    assert all(math.isfinite(x) and x < 0 for x in likelihoods)
    assert likelihoods[0] > likelihoods[2], "nonsense is less likely"
    # One prompt alone, and no token more: the same numbers.
    alone = client.completions.create(prompt=[prompts[0]], max_tokens=0, **ask)
    scores = alone.choices[0].logprobs.token_logprobs[len(context) :]
    assert sum(scores) == pytest.approx(likelihoods[0], abs=1e-4)


def test_several_answers_to_several_prompts(client, model):
    answer = client.completions.create(
        model=model,
        prompt=[PROMPT, "Hello"],
        n=2,
        seed=3,
        temperature=2,
        max_tokens=12,
        extra_body={"ignore_eos": True},
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert len({choice.text for choice in answer.choices}) == 4
    assert answer.usage.completion_tokens == 4 * 12


def test_tokens_go_there_and_back(http):
    text = "Grüße, <|im_start|>!"
    asked = {"prompt": text, "return_token_strs": True, "add_special_tokens": False}
    answer = http.post("/tokenize", json=asked).json()
    assert answer["count"] == len(answer["tokens"]) == len(answer["token_strs"])
    assert answer["max_model_len"] > 0
    back = http.post("/detokenize", json={"tokens": answer["tokens"]}).json()
    assert back == {"prompt": text}
