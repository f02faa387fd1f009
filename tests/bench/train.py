"""Load of each kind that `edge` serves, for a build that is guided by a profile of it.

Nothing is measured: the program counts by itself what it does, and is slow by it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import (
    BIN, CHUNKS_LONG, CHUNKS_SHORT, CORES, PACE_MS, ROOT, Bench, Case, chat, needs_two_cores,
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="of each kind of load")
    options = parser.parse_args()
    needs_two_cores()
    folder = Path(tempfile.mkdtemp(prefix="skerry-train-"))
    bench = Bench(folder)
    try:
        backend = bench.printing("scripted-backend", CORES[1])
        bare = bench.edge("bare", ROOT / "tests/bench/bare/spin.toml", backend.url)
        star = bench.edge("star", ROOT / "spin.toml", backend.url)
        bodies = {
            "chat": chat(CHUNKS_SHORT, stream=False),
            f"stream of {CHUNKS_SHORT}": chat(CHUNKS_SHORT, stream=True),
            f"stream of {CHUNKS_LONG}": chat(CHUNKS_LONG, stream=True),
            f"paced {CHUNKS_SHORT}": chat(CHUNKS_SHORT, stream=True, delay_ms=PACE_MS),
        }
        cases = [Case("bare", bare)]
        for name, body in bodies.items():
            cases.append(Case(name, star, "/v1/chat/completions", body))
        for case in cases:
            print(case.name, file=sys.stderr)
            train(bench, case, options.seconds)
    finally:
        # They write their counts when they end.
        bench.stop()
        shutil.rmtree(folder, ignore_errors=True)


def train(bench: Bench, case: Case, seconds: float) -> None:
    """HTTP/1.1 with and without TLS, HTTP/2 and HTTP/3."""
    bench.wrk(case, seconds)
    case = Case(case.name, case.server.encrypted(), case.path, case.body)
    bench.wrk(case, seconds)
    body = bench.folder / "request.json"
    body.write_text(json.dumps(case.body) if case.body else "")
    pinned = ["taskset", "-c", str(CORES[1])]
    url, key = case.server.url + case.path, case.server.key
    http2 = ["h2load", "-t1", "-c2", "-m8", f"-D{max(1, round(seconds))}"]
    http2 += ["-H", f"authorization: Bearer {key}"]
    http3 = [str(BIN / "http3-load"), "--url", url, "--key", key, "--seconds", str(seconds)]
    if case.body:
        http2 += ["-H", "content-type: application/json", "-d", str(body)]
        http3 += ["--body", str(body)]
    said = subprocess.run([*pinned, *http2, url], capture_output=True, text=True, check=True).stdout
    if ", 0 failed, 0 errored" not in said or "status codes: 0 2xx" in said:
        sys.exit(f"{case.name} over HTTP/2 was not answered well\n{said}")
    subprocess.run([*pinned, *http3], stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    main()
