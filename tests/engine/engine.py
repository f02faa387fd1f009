"""A real gpu-backend for a test: starts it with a model, finds its address, stops it.

Knows the process, and nothing of what is asked of it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai

from harness import ROOT, Process, binary, eventually

DEMO = ROOT / "gpu-backend" / "models" / "skerry-demo"
START_S_MAX = 30.0


class Engine(Process):
    """`gpu-backend serve`, from its start until it is ready."""

    def __init__(self, folder: Path, model: Path, *options: str):
        command = [str(binary("gpu-backend")), "serve", "--model", str(model)]
        command += ["--listen", "127.0.0.1:0", "--threads", "2", *options]
        super().__init__("gpu-backend", command, folder, dict(os.environ))
        pattern = re.compile(r"listening on (http://\S+)")
        found = eventually(
            lambda: pattern.search(self.printed()) or not self.running(),
            START_S_MAX,
            "the engine's address",
        )
        assert found is not True, f"the engine ended\n{self.tail()}"
        self.url: str = found[1]  # type: ignore[index]

    def http(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=60)

    def openai(self) -> openai.OpenAI:
        """The official client. It does not retry: a test sees the first answer."""
        return openai.OpenAI(api_key="none", base_url=f"{self.url}/v1", max_retries=0)


@contextlib.contextmanager
def serve(model: Path = DEMO, *options: str) -> Iterator[Engine]:
    """An engine, which is asked to end afterwards and must do so well."""
    folder = Path(tempfile.mkdtemp(prefix="skerry-engine-"))
    engine = None
    try:
        engine = Engine(folder, model, *options)
        yield engine
        status = engine.stop()
        assert status == 0, f"the engine ended with {status}\n{engine.tail()}"
    finally:
        if engine is not None and engine.running():
            engine.kill()
        shutil.rmtree(folder, ignore_errors=True)
