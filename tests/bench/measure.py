"""Rounds of load on each server, and the table of their medians.

The server under test is alone on the first core that this process may use; the load
generator (wrk) and the scripted backend share the second. What counts is the CPU time of the server's
process, from the kernel; requests per second are told beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("SKERRY_BIN_DIR", ROOT / "target" / "release"))
EDGE = Path(os.environ.get("SKERRY_EDGE", BIN / "edge"))
# Beside it, for it is built in the same way.
NATIVE, PROXY = EDGE.with_name("native-hyper"), EDGE.with_name("native-proxy")
CORES = sorted(os.sched_getaffinity(0))[:2]
START_S_MAX = 150
BARE = "target/wasm32-wasip2/component/bare.wasm"
CONNECTIONS = 16
CLOCK_HZ = os.sysconf("SC_CLK_TCK")
# Long and short streams, whose difference is the price of a chunk.
CHUNKS_SHORT, CHUNKS_LONG = 16, 272
# Between the chunks of paced streams, so that each comes alone; without pace they lie ready.
PACE_MS = 5
# Streams that are held open, a chunk every so many milliseconds. All of them come at once and
# from one address, which edge by its defaults refuses and sheds: the edge that holds them has
# other limits, and is measured in nothing else. Every other figure is of an edge with the
# default limits.
HELD, HELD_CHUNKS, HELD_DELAY_MS = (1_000, 5_000), 200, 1_000
LIMITS = ("connections-per-address=10000", "requests=10000", "queue-delay-ms=5000")
HOLDS = [option for limit in LIMITS for option in ("--limit", limit)]
# For wrk: looks at each answer's body, and tells at the end how many were not whole.
LOOK = """
local threads = {}
function setup(thread) table.insert(threads, thread) end
answers, broken = 0, 0
function response(status, headers, body)
  answers = answers + 1
  if not body:find([==[%s]==], 1, true) then broken = broken + 1 end
end
function done()
  print("broken answers: " .. threads[1]:get("broken") .. " of " .. threads[1]:get("answers"))
end
"""
# What can be measured beside edge, where it is installed.
PEERS = {
    "wasmtime": "the bare component behind `wasmtime serve`, too (`cargo install wasmtime-cli`)",
    "litellm": "the same chat through LiteLLM's proxy (`pip install 'litellm[proxy]'`)",
    "portkey": "the same chat through Portkey's gateway (`npm install @portkey-ai/gateway`)",
}
# For LiteLLM: where the backend listens, and the key that its clients bring.
LITELLM = """
model_list:
  - model_name: scripted
    litellm_params: { model: openai/scripted, api_base: "%s/v1", api_key: none }
general_settings: { master_key: %s }
"""
# No limit is what is measured here.
UNLIMITED = {
    "SPIN_VARIABLE_REQUESTS_PER_MINUTE": "4000000000",
    "SPIN_VARIABLE_TOKENS_PER_MINUTE": "4000000000",
}


@dataclass
class Server:
    popen: subprocess.Popen
    url: str
    key: str = ""
    https: str = ""
    """The same over TLS, if it does that."""
    headers: dict[str, str] = field(default_factory=dict)
    """What each request needs besides."""

    def encrypted(self) -> Server:
        return replace(self, url=self.https)

    def rss_kb(self) -> int:
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])

    def cpu_s(self) -> float:
        """User and system time of all its threads."""
        fields = Path(f"/proc/{self.popen.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_HZ


@dataclass
class Case:
    name: str
    server: Server
    path: str = "/"
    body: dict | None = None
    whole: str = ""
    """What stands in every answer that is whole."""
    rounds: list[dict[str, float]] = field(default_factory=list)

    def median(self, figure: str) -> float:
        return statistics.median(r[figure] for r in self.rounds)

    def spread(self, figure: str) -> str:
        """The lowest and the highest round: a range, and no interval of confidence."""
        values = [r[figure] for r in self.rounds]
        return f"{min(values):.3g}–{max(values):.3g}"


class Bench:
    def __init__(self, folder: Path):
        self.folder = folder
        self.started: list[subprocess.Popen] = []

    def start(
        self,
        name: str,
        core: int,
        *options: str,
        program: Path | None = None,
        env: dict[str, str] | None = None,
    ):
        program = program or BIN / name.split(":")[0]
        with self.printed(name).open("wb") as out, (self.folder / f"{name}.log").open("wb") as log:
            popen = subprocess.Popen(
                ["taskset", "-c", str(core), str(program), *options],
                stdout=out,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
            )
        self.started.append(popen)
        return popen

    def printed(self, name: str) -> Path:
        return self.folder / f"{name}.out"

    def told(self, name: str, popen: subprocess.Popen, pattern: str) -> re.Match:
        """What a server prints once it is up."""
        deadline = time.monotonic() + START_S_MAX
        while not (found := re.search(pattern, text := self.printed(name).read_text())):
            if popen.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{name} did not start: {text}\n{self.complaints()}")
            time.sleep(0.05)
        return found

    def printing(
        self, name: str, core: int, *options: str, program: Path | None = None
    ) -> Server:
        """A server that prints where it listens."""
        popen = self.start(name, core, *options, program=program)
        return Server(popen, self.told(name, popen, r"listening on (http://\S+)\n")[1])

    def edge(self, name: str, manifest: Path, backend: str, *options: str) -> Server:
        port, https, state = free_port(), free_port(), self.folder / f"{name}-state"
        popen = self.start(
            f"edge:{name}", CORES[0], "up", "--no-build", "--from", str(manifest),
            "--http", f"127.0.0.1:{port}", "--listen", f"127.0.0.1:{https}",
            "--operator", f"127.0.0.1:{free_port()}", "--state", str(state),
            "--backend", backend, *options, program=EDGE, env=UNLIMITED,
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        # The banner's last line: what stands before it is there as well.
        banner = self.told(f"edge:{name}", popen, r"(?s).*Ctrl-C stops it")[0]
        key = re.search(r"\bsk-[A-Za-z0-9_-]{16,}", banner)
        return Server(popen, url, key[0] if key else "", https=f"https://127.0.0.1:{https}")

    def star(self, name: str, backend: Server, *options: str) -> Server:
        """An edge with the whole star."""
        star = self.edge(name, ROOT / "spin.toml", backend.url, *options)
        if not star.key:
            sys.exit("edge printed no first key")
        return star

    def wasmtime(self, program: Path) -> Server:
        """wasmtime's own server, with the bare component."""
        port = free_port()
        popen = self.start(
            "wasmtime", CORES[0], "serve", "-Sp3,cli", "-Wcomponent-model-async",
            "--addr", f"127.0.0.1:{port}", str(ROOT / BARE), program=program,
        )  # fmt: skip
        return self.listening("wasmtime", popen, port)

    def litellm(self, program: Path, backend: Server) -> Server:
        """LiteLLM's proxy, one worker, with a master key and no database."""
        port, key = free_port(), "sk-bench-0123456789abcdef"
        config = self.folder / "litellm.yaml"
        config.write_text(LITELLM % (backend.url, key))
        popen = self.start(
            "litellm", CORES[0], "--config", str(config), "--num_workers", "1",
            "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False",
            program=program, env={"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        )  # fmt: skip
        return self.listening("litellm", popen, port, key=key)

    def portkey(self, program: Path, backend: Server) -> Server:
        """Portkey's gateway, which knows no keys of its own."""
        port = free_port()
        popen = self.start("portkey", CORES[0], f"--port={port}", "--headless", program=program)
        headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{backend.url}/v1"}
        return self.listening("portkey", popen, port, key="none", headers=headers)

    def listening(self, name: str, popen: subprocess.Popen, port: int, **more) -> Server:
        """A server that does not say when it is up."""
        deadline = time.monotonic() + START_S_MAX
        while not answers(port):
            if popen.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / f"{name}.log").read_text()
                sys.exit(f"{name} did not start: {said}")
            time.sleep(0.05)
        return Server(popen, f"http://127.0.0.1:{port}", **more)

    def stop(self) -> None:
        for popen in self.started:
            popen.terminate()
        for popen in self.started:
            try:
                popen.wait(20)
            except subprocess.TimeoutExpired:
                popen.kill()

    def look(self, case: Case, seconds: float) -> None:
        """A round whose every answer is looked at: a stream that breaks is a 200 as well.

        It is not measured, because the load generator is slower by it.
        """
        said = self.wrk(case, seconds, LOOK % case.whole if case.whole else "")
        if case.whole and not re.search(r"broken answers: 0 of [1-9]", said):
            sys.exit(f"{case.name}: not every answer was whole\n{said}\n{self.complaints()}")

    def load(self, case: Case, seconds: float) -> dict[str, float]:
        before, began = case.server.cpu_s(), time.monotonic()
        said = self.wrk(case, seconds)
        wall_s, cpu_s = time.monotonic() - began, case.server.cpu_s() - before
        requests = int(re.search(r"(\d+) requests in", said)[1])
        return {
            "requests_per_s": requests / wall_s,
            "cpu_s_per_1000": 1_000 * cpu_s / requests,
            "kcycles": cpu_s / requests * self.cycles_per_s() / 1_000,
        }

    def cycles_per_s(self) -> float:
        """Of the servers' core, right now: machines that others use have no fixed speed."""
        before = children_cpu_s()
        said = subprocess.run(
            ["taskset", "-c", str(CORES[0]), str(BIN / "yardstick")],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        return int(said) / (children_cpu_s() - before)

    def wrk(self, case: Case, seconds: float, script: str = "") -> str:
        """What wrk says of a load that was answered well, as far as statuses tell."""
        command = ["taskset", "-c", str(CORES[1]), "wrk", "-t1", f"-c{CONNECTIONS}"]
        command += [f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
        if case.body is not None:
            path = self.folder / "request.lua"
            headers = {
                "content-type": "application/json",
                "authorization": f"Bearer {case.server.key}",
                **case.server.headers,
            }
            path.write_text(
                f'{script}wrk.method = "POST"\n'
                f"wrk.body = [==[{json.dumps(case.body)}]==]\n"
                + "".join(
                    f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}\n"
                    for name, value in headers.items()
                )
            )
            command += ["-s", str(path)]
        said = subprocess.run(
            [*command, case.server.url + case.path], capture_output=True, text=True, check=True
        ).stdout
        requests = int(re.search(r"(\d+) requests in", said)[1])
        failed = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
        broken = re.search(r"Socket errors: (.*)", said)
        if failed or broken or not requests:
            sys.exit(f"{case.name}: not every request was answered well\n{said}\n{self.complaints()}")
        return said

    def client(self, case: Case, *load: str) -> list[str]:
        """The command of the client that keeps to its times, on the second core."""
        command = ["taskset", "-c", str(CORES[1]), str(BIN / "open-loop")]
        command += ["--url", case.server.url + case.path, "--key", case.server.key]
        if case.body is not None:
            path = self.folder / "request.json"
            path.write_text(json.dumps(case.body))
            command += ["--body", str(path)]
        return [*command, *load]

    def latency(self, case: Case, per_second: float, seconds: float) -> dict[str, float]:
        """Milliseconds to the end of an answer, at so many requests a second."""
        load = ("rate", "--per-second", f"{per_second:.1f}", "--seconds", str(seconds))
        said = subprocess.run(
            self.client(case, *load), capture_output=True, text=True, check=False
        )
        if said.returncode != 0:
            sys.exit(f"{case.name}: {said.stderr}\n{self.complaints()}")
        return json.loads(said.stdout)

    def held_kb(self, case: Case, streams: int, before_kb: int) -> float:
        """What one open stream adds to the server's memory, in KB."""
        with subprocess.Popen(
            self.client(case, "hold", "--streams", str(streams)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as client:  # fmt: skip
            if not client.stdout.readline():
                sys.exit(f"{case.name}: {streams} streams did not open\n{self.complaints()}")
            time.sleep(2 * HELD_DELAY_MS / 1_000)
            return (case.server.rss_kb() - before_kb) / streams

    def complaints(self) -> str:
        """The last lines of the servers' logs that tell of something wrong."""
        lines = [line for log in self.folder.glob("*.log") for line in log.read_text().splitlines()]
        wrong = re.compile(r"WARN|ERROR|^error|status=[45]\d\d")
        return "\n".join([line for line in lines if wrong.search(line)][-20:])


def needs_two_cores() -> None:
    if len(CORES) < 2:
        sys.exit("two cores are needed: one for the server, one for the load")


def free_port() -> int:
    """Below the ports that the system gives away by itself (from 32768 on)."""
    while True:
        port = random.randrange(10_000, 32_768)
        with contextlib.closing(socket.socket()) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def children_cpu_s() -> float:
    """Of all that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def answers(port: int) -> bool:
    """Does somebody listen there?"""
    with contextlib.closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def chat(chunks: int, stream: bool, delay_ms: int = 0) -> dict:
    content = f"[script chunks={chunks} delay={delay_ms}]"
    return {
        "model": "scripted",
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 512,
        "stream": stream,
    }


def cases(bench: Bench, backend: Server, peers: dict[str, Path | None]) -> list[Case]:
    native = bench.printing("native-hyper", CORES[0], program=NATIVE)
    proxy = bench.printing("native-proxy", CORES[0], "--to", backend.url, program=PROXY)
    bare = bench.edge("bare", ROOT / "tests/bench/bare/spin.toml", backend.url)
    star = bench.star("star", backend)
    path, done = "/v1/chat/completions", "data: [DONE]"
    short, long = chat(CHUNKS_SHORT, stream=True), chat(CHUNKS_LONG, stream=True)
    slow_short, slow_long = (
        chat(chunks, stream=True, delay_ms=PACE_MS) for chunks in (CHUNKS_SHORT, CHUNKS_LONG)
    )
    whole, stop = chat(CHUNKS_SHORT, stream=False), '"finish_reason":"stop"'
    hosts, gateways = [], []
    if program := peers["wasmtime"]:
        hosts.append(Case("the same, wasmtime", bench.wasmtime(program)))
    for name, start in {"LiteLLM": bench.litellm, "Portkey": bench.portkey}.items():
        if program := peers[name.lower()]:
            gateways.append(Case(f"the same, {name}", start(program, backend), path, whole, stop))
    streaming = bench.printing("scripted-backend:alone", CORES[0])
    return [
        Case("native hyper", native),
        Case("bare component", bare),
        *hosts,
        Case("star, chat", star, path, whole, stop),
        *gateways,
        Case(f"native, stream of {CHUNKS_SHORT}", streaming, path, short, done),
        Case(f"native, stream of {CHUNKS_LONG}", streaming, path, long, done),
        Case(f"proxy, stream of {CHUNKS_SHORT}", proxy, path, short, done),
        Case(f"proxy, stream of {CHUNKS_LONG}", proxy, path, long, done),
        Case(f"star, stream of {CHUNKS_SHORT}", star, path, short, done),
        Case(f"star, stream of {CHUNKS_LONG}", star, path, long, done),
        Case(f"proxy, paced {CHUNKS_SHORT}", proxy, path, slow_short, done),
        Case(f"proxy, paced {CHUNKS_LONG}", proxy, path, slow_long, done),
        Case(f"star, paced {CHUNKS_SHORT}", star, path, slow_short, done),
        Case(f"star, paced {CHUNKS_LONG}", star, path, slow_long, done),
    ]


def table(measured: list[Case]) -> list[str]:
    floor = measured[0].median("cpu_s_per_1000")
    heads = ("requests/s", "CPU s per 1,000", "range", "kcycles each", "x native")
    lines = ["{:<22} {:>11} {:>16} {:>15} {:>13} {:>9}".format("", *heads)]
    for case in measured:
        cpu = case.median("cpu_s_per_1000")
        lines.append(
            f"{case.name:<22} {case.median('requests_per_s'):>11,.0f} {cpu:>16.4f} "
            f"{case.spread('cpu_s_per_1000'):>15} {case.median('kcycles'):>13,.0f} "
            f"{cpu / floor:>9.1f}"
        )
    return lines


def of_a_chunk(short: Case, long: Case, figure: str) -> list[float]:
    """A streamed chunk's part of a figure, round by round."""
    chunks = CHUNKS_LONG - CHUNKS_SHORT
    return [
        (b[figure] - a[figure]) / chunks
        for a, b in zip(short.rounds, long.rounds, strict=True)
    ]


def added_ms(bench: Bench, star: Case, backend: Server, rounds: int, seconds: float) -> list[dict]:
    """What `edge` adds to the backend's own answers at half of the star's load."""
    direct = Case("the backend alone", backend, star.path, star.body)
    per_second = star.median("requests_per_s") / 2
    added = []
    for _ in range(rounds):
        took = {
            case.name: bench.latency(case, per_second, seconds)
            for case in random.sample([direct, star], 2)
        }
        added.append({
            name: took[star.name][name] - took[direct.name][name] for name in ("p50_ms", "p99_ms")
        })  # fmt: skip
    return added


def held_kb(bench: Bench, star: Case, backend: Server, seconds: float) -> dict[int, float]:
    """What an open stream costs in memory, by how many are open."""
    server = bench.star("held", backend, *HOLDS)
    bench.look(replace(star, server=server, rounds=[]), seconds)  # Which warms it.
    body = chat(HELD_CHUNKS, stream=True, delay_ms=HELD_DELAY_MS)
    case = Case("star, held streams", server, star.path, body)
    before_kb = server.rss_kb()
    return {streams: bench.held_kb(case, streams, before_kb) for streams in HELD}


def engine(threads: int) -> dict:
    said = subprocess.run(
        [
            str(BIN / "gpu-backend"), "bench", "--shape", "smollm2-135m",
            "--threads", str(threads), "--json",
        ],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    if said.returncode != 0:
        sys.exit(f"gpu-backend bench: {said.stderr}")
    return json.loads(said.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5, help="of each round of each case")
    parser.add_argument("--json", type=Path, default=ROOT / "target" / "bench.json")
    parser.add_argument("--without-engine", action="store_true")
    for peer, what in PEERS.items():
        parser.add_argument(f"--{peer}", type=Path, metavar="PROGRAM", help=what)
    options = parser.parse_args()
    needs_two_cores()

    _, files_max = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files_max, files_max))
    folder = Path(tempfile.mkdtemp(prefix="skerry-bench-"))
    bench = Bench(folder)
    try:
        backend = bench.printing("scripted-backend", CORES[1])
        measured = cases(bench, backend, {peer: getattr(options, peer) for peer in PEERS})
        named = {case.name: case for case in measured}
        for case in measured:
            bench.look(case, options.seconds)  # Which also warms it.
        for round_ in range(options.rounds):
            for case in random.sample(measured, len(measured)):
                case.rounds.append(bench.load(case, options.seconds))
            print(f"round {round_ + 1} of {options.rounds}", file=sys.stderr)
        for case in measured:
            bench.look(case, options.seconds)
        star = named["star, chat"]
        added = added_ms(bench, star, backend, options.rounds, options.seconds)
        held = held_kb(bench, star, backend, options.seconds)
    finally:
        bench.stop()
        shutil.rmtree(folder, ignore_errors=True)

    print(f"\nmedians of {options.rounds} interleaved rounds of {options.seconds:g} s; "
          f"one core for the server, {CONNECTIONS} connections\n")  # fmt: skip
    print("\n".join(table(measured)))
    print()
    chunk_us = {}
    kinds = {
        "from hyper alone": "native, stream of",
        "that lies ready, through a proxy that does nothing": "proxy, stream of",
        "that lies ready": "star, stream of",
        "that comes alone, through the proxy": "proxy, paced",
        "that comes alone": "star, paced",
    }
    for kind, name in kinds.items():
        short, long = (named[f"{name} {chunks}"] for chunks in (CHUNKS_SHORT, CHUNKS_LONG))
        # Seconds of a thousand requests are milliseconds of one.
        each = [ms * 1_000 for ms in of_a_chunk(short, long, "cpu_s_per_1000")]
        kcycles = statistics.median(of_a_chunk(short, long, "kcycles"))
        print(f"a streamed chunk {kind} costs {statistics.median(each):.1f} µs of CPU "
              f"({min(each):.1f}–{max(each):.1f}), {kcycles:.0f} kcycles")  # fmt: skip
        chunk_us[kind] = each
    for name in ("p50_ms", "p99_ms"):
        values = [round_[name] for round_ in added]
        print(f"at half load edge adds {statistics.median(values):.2f} ms to the {name[:3]} "
              f"({min(values):.2f}–{max(values):.2f})")  # fmt: skip
    for streams, kb in held.items():
        print(f"an open stream costs {kb:.0f} KB of memory, of {streams:,}")
    result = {
        "rounds": options.rounds,
        "seconds": options.seconds,
        "cases": {case.name: case.rounds for case in measured},
        "chunk_us": chunk_us,
        "added_ms": added,
        "held_kb": held,
    }
    if not options.without_engine:
        result["engine"] = engine(threads=2)
        print("\nengine, SmolLM2-135M's shape, 2 threads:")
        print(json.dumps(result["engine"], indent=2))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(f"\nevery round: {options.json}")


if __name__ == "__main__":
    main()
