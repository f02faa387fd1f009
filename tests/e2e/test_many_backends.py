"""Several backends at once, as an operator writes them into the manifest's `backends`."""

from __future__ import annotations

import json
import os
import re
from contextlib import ExitStack
from unittest import mock

import pytest

from broken_backend import Broken
from drivers import Behind
from harness import ROOT, edge_up
from persona_server import Backend
from personas import ANSWER, Ollama, OpenAi, Vllm


def backends(openai, ollama, vllm, broken):
    """A hosted API with a key and a header; aliases; a dialect that the list does not tell;
    and a model that two of them serve, of which the first is broken."""
    return [
        {
            "name": "hosted",
            "url": openai.url,
            "api_key_variable": "backend_api_key",
            "headers": {"x-team": "tides"},
            "models": ["gpt-4o-mini"],
        },
        {
            "name": "local",
            "url": ollama.origin,
            "priority": 1,
            "models": {"small": "llama3.2:3b", "shared": "llama3.2:3b"},
        },
        {"name": "plain", "url": vllm.origin, "dialect": "other", "models": [Vllm.models[0]]},
        {"name": "broken", "url": broken.origin, "models": {"shared": "page-as-502"}},
    ]


def manifest(folder, backends):
    """The platform's own, with these backends."""
    text = (ROOT / "spin.toml").read_text()
    text = text.replace('source = "', f'source = "{ROOT}/')
    # In a manifest two braces begin a variable.
    value = json.dumps(backends, indent=1).replace("{", "{ ")
    text, found = re.subn(r"^backends = .*$", f"backends = '''{value}'''", text, flags=re.MULTILINE)
    assert found == 1
    hosts = [f'"{backend["url"].removesuffix("/v1")}"' for backend in backends]
    grant = '"{{ backend_url }}",'
    assert grant in text
    path = folder / "spin.toml"
    path.write_text(text.replace(grant, f"{grant} {', '.join(hosts)},"))
    return path


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """By name: the edge behind which all stand, and each backend."""
    folder = tmp_path_factory.mktemp("many")
    with ExitStack() as stack:
        played = [Backend(persona) for persona in (OpenAi(), Ollama(), Vllm(), Broken())]
        openai, ollama, vllm, broken = (stack.enter_context(backend) for backend in played)
        path = manifest(folder, backends(openai, ollama, vllm, broken))
        key = {"SPIN_VARIABLE_BACKEND_API_KEY": OpenAi.key}
        with mock.patch.dict(os.environ, key):
            # The one of the manifest is not among them: it keeps edge from starting an engine.
            options = ("--from", str(path), "--backend", openai.origin)
            edge = stack.enter_context(edge_up(*options))
        yield {backend.persona.name: Behind(edge, backend) for backend in played}


def ask(many, model, **fields):
    edge = many["openai"].edge
    with edge.http(edge.first_key) as http:
        messages = [{"role": "user", "content": "When does the tide turn?"}]
        return http.post(
            "/v1/chat/completions", json={"model": model, "messages": messages, **fields}
        )


def is_answered(answer):
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == ANSWER


def test_models_are_offered_under_the_operators_names(many):
    edge = many["openai"].edge
    with edge.openai(edge.first_key) as client:
        listed = {model.id for model in client.models.list().data}
    assert listed - {"auto"} == {"gpt-4o-mini", "small", "shared", Vllm.models[0]}


def test_an_alias_is_asked_by_its_own_name_and_answered_by_the_clients(many):
    answer = ask(many, "small")
    is_answered(answer)
    assert answer.json()["model"] == "small"
    assert many["ollama"].backend.chats()[-1].body["model"] == "llama3.2:3b"


def test_a_model_that_is_not_offered_is_unknown(many):
    for model in ("o4-mini", "llama3.2:3b", "page-as-502"):
        answer = ask(many, model)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_a_key_and_headers_reach_their_own_backend_alone(many):
    is_answered(ask(many, "gpt-4o-mini"))
    is_answered(ask(many, "small"))
    for name, behind in many.items():
        for request in behind.backend.requests:
            expected = (f"Bearer {OpenAi.key}", "tides") if name == "openai" else (None, None)
            found = (request.headers.get("authorization"), request.headers.get("x-team"))
            assert found == expected, (name, request.path)


def test_a_dialect_that_is_set_beats_what_the_list_tells(many):
    is_answered(ask(many, Vllm.models[0], max_completion_tokens=40))
    sent = many["vllm"].backend.chats()[-1].body
    assert "cache_salt" not in sent and "max_completion_tokens" not in sent
    assert sent["max_tokens"] == 40


@pytest.mark.parametrize("stream", [False, True])
def test_another_backend_answers_for_one_that_fails(many, stream):
    answer = ask(many, "shared", stream=stream)
    assert answer.status_code == 200, answer.text
    assert "error" not in answer.json() if not stream else "[DONE]" in answer.text
    assert many["ollama"].backend.chats()[-1].body["model"] == "llama3.2:3b"
    assert many["broken"].backend.chats(), "it was asked first"
