"""What tests ask for: a running engine with the bundled model, and clients for it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import openai
import pytest

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
