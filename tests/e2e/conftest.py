"""What tests ask for: a running edge, a key, the official client."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest

from admin import Admin, Key
from drivers import COMMANDS, Behind, Client, Tls, edge_before
from harness import Edge, Scripted, edge_up
from persona_server import Backend
from personas import PERSONAS


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


@pytest.fixture(scope="session")
def tls() -> Iterator[Tls]:
    tls = Tls()
    yield tls
    tls.remove()


@pytest.fixture(scope="session")
def clients(tls: Tls) -> Iterator[Callable[[str], Client]]:
    """A client library by its name, in a process that is started once."""
    started: dict[str, Client] = {}

    def client(name: str) -> Client:
        if name not in started:
            started[name] = Client(name, tls.certificate)
        return started[name]

    yield client
    for each in started.values():
        each.close()


@pytest.fixture(params=COMMANDS)
def library(request: pytest.FixtureRequest, clients: Callable[[str], Client]) -> Client:
    """Each client library in turn."""
    return clients(request.param)


@pytest.fixture(scope="session", params=PERSONAS, ids=lambda persona: persona.name)
def behind(request: pytest.FixtureRequest, tls: Tls) -> Iterator[Behind]:
    """Each persona in turn, with an edge before it."""
    with Backend(request.param) as backend, edge_before(backend, tls) as behind:
        yield behind
