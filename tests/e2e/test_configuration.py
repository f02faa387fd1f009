"""Variables that mean nothing: they are named at the start, before anything is served."""

import subprocess

import pytest

from harness import MACHINE_CODE, ROOT, binary, free_port

EXIT_CONFIG = 64


def start(tmp_path, *options):
    state = tmp_path / "state"
    MACHINE_CODE.give(state)
    command = [binary("edge"), "up", "--no-build", "--no-operator", "--state", state]
    command += ["--listen", f"127.0.0.1:{free_port()}"]
    # No engine is asked, and none is started.
    command += ["--backend", f"http://127.0.0.1:{free_port()}", *options]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tool_rounds_max", "ten"),
        ("tool_rounds_max", "1000"),
        ("requests_per_minute", "lots"),
        ("tokens_per_minute", "-1"),
        ("project_items_max", "-1"),
        ("project_stored_bytes_max", "1 GiB"),
        ("mask", "emial"),
        ("block_list", "x" * 10_000),
    ],
)
def test_a_variable_that_means_nothing_is_named_at_the_start(edge, tmp_path, name, value):
    ended = start(tmp_path, "--variable", f"{name}={value}")
    assert ended.returncode == EXIT_CONFIG, ended.stderr
    assert name in ended.stderr, ended.stderr
    assert "is up" not in ended.stdout
