"""Files of records belong to their owner alone, also in a folder that was there before."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from harness import edge_up


def open_to_others(state: Path) -> dict[str, str]:
    return {
        str(path.relative_to(state)): oct(stat.S_IMODE(path.lstat().st_mode))
        for path in [state, *state.rglob("*")]
        if not path.is_symlink() and path.lstat().st_mode & 0o077
    }


def test_no_file_of_a_state_is_open_to_others(stage):
    with stage.edge.http(stage.other.secret) as http:
        conversation = http.post("/v1/conversations", json={}).json()["id"]
        body = {**stage.chat("[script chunks=1]"), "conversation": conversation}
        assert http.post("/v1/chat/completions", json=body).status_code == 200
    found = open_to_others(stage.edge.state)
    assert not found, found


def test_a_folder_that_was_open_is_closed(scripted):
    before = os.umask(0)
    try:
        with tempfile.TemporaryDirectory(prefix="skerry-hostile-") as folder:
            state = Path(folder) / "state"
            state.mkdir(mode=0o755)
            with edge_up("--backend", scripted.url, state=state) as edge:
                with edge.http(edge.first_key) as http:
                    assert http.post("/v1/conversations", json={}).status_code == 200
                found = open_to_others(state)
    finally:
        os.umask(before)
    # Left out is what the test itself put there: machine code, which says nothing of anybody.
    found = {path: mode for path, mode in found.items() if not path.startswith("cache/")}
    assert not found, found
