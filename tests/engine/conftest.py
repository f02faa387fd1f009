"""What tests ask for: a running engine with the bundled model, and clients for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import httpx2
import openai
import pytest

from encoders import write
from engine import Engine, serve


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with serve() as engine:
        yield engine


@pytest.fixture(scope="session")
def client(engine: Engine) -> Iterator[openai.OpenAI]:
    with engine.openai() as client:
        yield client


@pytest.fixture(scope="session")
def http(engine: Engine) -> Iterator[httpx2.Client]:
    with engine.http() as http:
        yield http


@pytest.fixture(scope="session")
def model(client: openai.OpenAI) -> str:
    return client.models.list().data[0].id


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Engine]]:
    """An engine with an encoder for each route that needs one."""
    with contextlib.ExitStack() as stack:
        made = write(tmp_path_factory.mktemp("encoders"))
        yield {route: stack.enter_context(serve(model)) for route, model in made.items()}
