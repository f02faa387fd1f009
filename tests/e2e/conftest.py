"""What tests ask for: a running edge, a key, the official client."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest

from admin import Admin, Key
from harness import Edge, Scripted, edge_up


@pytest.fixture(scope="session")
def edge() -> Iterator[Edge]:
    """An edge with its own engine and the bundled model, as the README starts it."""
    with edge_up() as edge:
        yield edge


@pytest.fixture(scope="session")
def admin(edge: Edge) -> Iterator[Admin]:
    with edge.http(edge.first_key) as http:
        yield Admin(http)


# For tests that measure something other than limits.
UNLIMITED = {"requests_per_minute": 100_000, "tokens_per_minute": 1_000_000_000}


@pytest.fixture(scope="session")
def key(admin: Admin) -> Key:
    project = admin.make_project("tests", rate_limits=UNLIMITED)
    return admin.make_key(project=project, name="the tests", rate_limits=UNLIMITED)


@pytest.fixture(scope="session")
def client(edge: Edge, key: Key) -> Iterator[openai.OpenAI]:
    with edge.openai(key.secret) as client:
        yield client


@pytest.fixture(scope="session")
def model(client: openai.OpenAI) -> str:
    return client.models.list().data[0].id


@pytest.fixture(scope="session")
def scripted() -> Iterator[Scripted]:
    """A backend that does as the prompt says."""
    with tempfile.TemporaryDirectory(prefix="skerry-e2e-") as folder:
        backend = Scripted(Path(folder))
        try:
            yield backend
        finally:
            backend.kill()


@pytest.fixture(scope="session")
def scripted_edge(scripted: Scripted) -> Iterator[Edge]:
    """An edge in front of it, without an engine of its own."""
    with edge_up("--backend", scripted.url) as edge:
        yield edge


@pytest.fixture
def answers(client: openai.OpenAI, model: str) -> Callable[..., str]:
    """Asks one question and gives the answer's text."""

    def ask(question: str, **options: object) -> str:
        completion = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": question}],
            temperature=0,
            **options,
        )
        return completion.choices[0].message.content or ""

    return ask
