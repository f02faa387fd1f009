"""What the attacks ask for: running platforms, and the members of a kind."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import Scripted, edge_up
from members import Members
from parrot import Parrot
from persona_server import Backend
from town import BLOCKED, STORED_BYTES_MAX, Town, town_of


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hostile")
    group.addoption("--length", type=float, default=1.0, help="times the usual number of members")
    group.addoption("--seed", type=int, default=14, help="of the rules that make members")


@pytest.fixture
def members(request: pytest.FixtureRequest) -> Members:
    options = request.config
    return Members(options.getoption("--seed"), request.node.name, options.getoption("--length"))


@pytest.fixture(scope="session")
def town() -> Iterator[Town]:
    """A platform with its own engine and the bundled model."""
    with edge_up() as edge, town_of(edge) as town:
        yield town


@pytest.fixture(scope="session")
def scripted() -> Iterator[Scripted]:
    with tempfile.TemporaryDirectory(prefix="skerry-hostile-") as folder:
        backend = Scripted(Path(folder))
        try:
            yield backend
        finally:
            backend.kill()


@pytest.fixture(scope="session")
def stage(scripted: Scripted) -> Iterator[Town]:
    """A platform before a backend that does as the prompt says. It has a block list and
    small quotas, and logs all that it can."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SPIN_VARIABLE_BLOCK_LIST", BLOCKED)
        environment.setenv("SPIN_VARIABLE_PROJECT_STORED_BYTES_MAX", str(STORED_BYTES_MAX))
        environment.setenv("EDGE_LOG", "debug")
        with edge_up("--backend", scripted.url) as edge, town_of(edge) as town:
            yield town


@pytest.fixture(scope="session")
def parrot() -> Iterator[Backend]:
    """A backend that answers with what a test puts down, and keeps what it was asked."""
    with Backend(Parrot()) as backend:
        yield backend


@pytest.fixture(scope="session")
def aviary(parrot: Backend) -> Iterator[Town]:
    """A platform in front of it."""
    with edge_up("--backend", parrot.address) as edge, town_of(edge) as town:
        yield town
