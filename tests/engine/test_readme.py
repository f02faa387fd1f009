"""Every example of the engine's README that asks a server runs, and is answered well.

An example is a fenced block of shell with `curl http://127.0.0.1:8000`; it is run with
the address of the test's own server. Documentation that no longer works fails here.
"""

import json
import re
import subprocess

import pytest

from harness import ROOT

README = (ROOT / "gpu-backend" / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
ADDRESS = "http://127.0.0.1:8000"
ROUTES = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/rerank",
    "/tokenize",
    "/detokenize",
    "/v1/models",
    "/health",
    "/load",
    "/metrics",
]


def examples():
    """One command each; a line that ends in a backslash goes on."""
    for block in BLOCKS:
        for command in re.split(r"(?<!\\)\n(?=\S)", block.strip()):
            if ADDRESS in command:
                yield command


def path(command):
    return re.search(re.escape(ADDRESS) + r"([^\s'\"]*)", command)[1]


def test_every_route_has_an_example():
    shown = {path(command) for command in examples()}
    assert set(ROUTES) <= shown


@pytest.mark.parametrize("command", list(examples()), ids=path)
def test_the_example_is_answered(command, engine, encoders):
    route = path(command)
    engine = encoders.get(route, engine)
    command = command.replace(ADDRESS, engine.url).replace("curl ", "curl -sS --fail-with-body ", 1)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    answer = done.stdout
    assert answer.strip()
    if "data: " in answer:
        events = [line.removeprefix("data: ") for line in answer.splitlines() if line]
        assert events[-1] == "[DONE]"
        assert all("error" not in json.loads(event) for event in events[:-1])
    elif route != "/metrics":
        assert "error" not in json.loads(answer)
