"""Embeddings and reranking by the official client, on small random encoders."""

import base64
import math
import struct

import openai
import pytest

from encoders import EMBEDDER, RERANKER

TEXTS = ["A rocky island.", "The ledger adds up.", "A rocky island."]


def length(vector):
    return math.sqrt(sum(value * value for value in vector))


@pytest.fixture(scope="session")
def embedder(encoders):
    return encoders["/v1/embeddings"]


@pytest.fixture(scope="session")
def embeddings(embedder):
    with embedder.openai() as client:
        yield lambda **options: client.embeddings.create(model=EMBEDDER, **options)


def test_each_input_has_a_vector(embeddings):
    answer = embeddings(input=TEXTS, encoding_format="float")
    assert [item.index for item in answer.data] == [0, 1, 2]
    first, second, third = (item.embedding for item in answer.data)
    assert first == pytest.approx(third, abs=1e-5) and first != pytest.approx(second, abs=1e-3)
    assert length(first) == pytest.approx(1, abs=1e-4)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0


def test_base64_is_the_same_vector(embedder, embeddings):
    """The official client asks for base64 by itself and decodes it."""
    floats = embeddings(input=TEXTS[0], encoding_format="float").data[0].embedding
    assert embeddings(input=TEXTS[0]).data[0].embedding == pytest.approx(floats, abs=1e-6)
    with embedder.http() as http:
        asked = {"model": EMBEDDER, "input": TEXTS[0], "encoding_format": "base64"}
        text = http.post("/v1/embeddings", json=asked).json()["data"][0]["embedding"]
    raw = base64.b64decode(text, validate=True)
    assert list(struct.unpack(f"<{len(floats)}f", raw)) == pytest.approx(floats, abs=1e-6)


def test_inputs_may_be_tokens(embedder, embeddings):
    with embedder.http() as http:
        tokens = http.post("/tokenize", json={"prompt": TEXTS[0]}).json()["tokens"]
    by_text = embeddings(input=TEXTS[0], encoding_format="float")
    by_token = embeddings(input=tokens, encoding_format="float")
    several = embeddings(input=[tokens, tokens], encoding_format="float")
    assert by_token.data[0].embedding == pytest.approx(by_text.data[0].embedding, abs=1e-5)
    assert by_token.usage.prompt_tokens == by_text.usage.prompt_tokens == len(tokens)
    assert len(several.data) == 2


def test_a_vector_can_be_shortened(embeddings):
    whole = embeddings(input=TEXTS[0], encoding_format="float").data[0].embedding
    short = embeddings(input=TEXTS[0], encoding_format="float", dimensions=8).data[0].embedding
    assert len(short) == 8 and length(short) == pytest.approx(1, abs=1e-4)
    part = length(whole[:8])
    assert short == pytest.approx([value / part for value in whole[:8]], abs=1e-4)


def test_what_cannot_be_embedded_is_named(embeddings):
    for field, options in [
        ("input", {"input": []}),
        ("input", {"input": "word " * 5000}),
        ("input", {"input": [10**9]}),
        ("dimensions", {"input": "a", "dimensions": 10**6}),
        ("encoding_format", {"input": "a", "encoding_format": "hex"}),
        ("temperature", {"input": "a", "extra_body": {"temperature": 1}}),
    ]:
        with pytest.raises(openai.BadRequestError) as raised:
            embeddings(**options)
        assert raised.value.param == field


def test_a_route_of_another_kind_of_model_says_so(embedder, client, model):
    with embedder.openai() as encoder, pytest.raises(openai.BadRequestError) as raised:
        encoder.completions.create(model=EMBEDDER, prompt="a")
    assert raised.value.code == "model_not_supported"
    with pytest.raises(openai.BadRequestError) as raised:
        client.embeddings.create(model=model, input="a")
    assert raised.value.code == "model_not_supported"
    assert "generates text" in raised.value.message


def test_documents_are_ranked(encoders):
    documents = ["An island.", "A ledger of debits and credits.", "Rocks."]
    with encoders["/v1/rerank"].http() as http:

        def rerank(**options):
            asked = {"model": RERANKER, "query": "islands", "documents": documents, **options}
            return http.post("/v1/rerank", json=asked)

        answer = rerank().json()
        scores = [result["relevance_score"] for result in answer["results"]]
        assert scores == sorted(scores, reverse=True) and len(scores) == 3
        assert {result["index"] for result in answer["results"]} == {0, 1, 2}
        for result in answer["results"]:
            assert result["document"] == {"text": documents[result["index"]]}
        assert answer["usage"]["total_tokens"] > 0

        best = rerank(top_n=1, return_documents=False).json()["results"]
        assert [result["index"] for result in best] == [answer["results"][0]["index"]]
        assert "document" not in best[0]
        objects = rerank(documents=[{"text": text} for text in documents]).json()
        assert objects["results"] == answer["results"]

        for field, options in [
            ("documents", {"documents": []}),
            ("documents[1]", {"documents": ["a", 7]}),
            ("top_n", {"top_n": 0}),
            ("query", {"query": None}),
            ("banana", {"banana": 1}),
        ]:
            refused = rerank(**options)
            assert refused.status_code == 400
            assert refused.json()["error"]["param"] == field

        embeddings = http.post("/v1/embeddings", json={"model": RERANKER, "input": "a"})
        assert embeddings.status_code == 400
        assert embeddings.json()["error"]["code"] == "model_not_supported"
