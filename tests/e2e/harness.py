"""A real Skerry for a test: starts `edge up`, finds what it printed, stops it.

Knows the processes and their ports, and nothing of what is asked of them.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import openai

ROOT = Path(__file__).resolve().parents[2]
# With nothing compiled before, on two cores that others use as well.
START_S_MAX = 150.0
STOP_S_MAX = 20.0
# Linux gives away the ports from here on, to clients and to who asks for port 0.
EPHEMERAL_PORT_MIN = 32_768


def binary(name: str) -> Path:
    """A built binary, from SKERRY_BIN_DIR or the clone's own target folder."""
    folder = Path(os.environ.get("SKERRY_BIN_DIR", ROOT / "target" / "release"))
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{path}: build it first, with tests/run build")
    return path


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives away by itself:
    what starts before it is listened on (an engine, a client) cannot be given it."""
    while True:
        port = random.randrange(10_000, EPHEMERAL_PORT_MIN)
        with contextlib.closing(socket.socket()) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def eventually(holds: Callable[[], object], within_s: float, what: str = "") -> object:
    """What `holds` returns once it is true."""
    deadline = time.monotonic() + within_s
    while True:
        value = holds()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what or holds}")
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def rss_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def forget_peak(pid: int) -> None:
    """From now on `peak_rss_bytes` tells of what comes, where the kernel can forget.

    Where it cannot, the peak is that of the process's life: a stricter measure.
    """
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_rss_bytes(pid: int) -> int:
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found, "the kernel tells no peak"
    return int(found[1]) << 10


def command_name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                if int(fields[1]) == pid and fields[0] not in "ZX":
                    found.append(int(entry.name))
    return found


def listening_ports(pid: int) -> list[int]:
    """The TCP ports that a process accepts connections on, as the kernel says."""
    inodes = set()
    with contextlib.suppress(OSError):
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if match := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(fd)):
                    inodes.add(match[1])
    ports = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in inodes:
            ports.append(int(fields[1].split(":")[1], 16))
    return ports


def connections_to(pid: int, port: int) -> int:
    """The TCP connections that a process has made to a port."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if match := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(fd)):
                inodes.add(match[1])
    fields = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    # 01 is ESTABLISHED.
    return sum(
        1
        for field in fields
        if field[3] == "01" and int(field[2].split(":")[1], 16) == port and field[9] in inodes
    )


class Process:
    """A process whose output goes into files that a failing test can show."""

    def __init__(self, name: str, command: list[str], folder: Path, env: dict[str, str]):
        self.name = name
        self.stdout = folder / f"{name}.out"
        self.stderr = folder / f"{name}.err"
        with self.stdout.open("ab") as out, self.stderr.open("ab") as err:
            self.popen = subprocess.Popen(
                command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, cwd=ROOT, env=env
            )
        self.pid = self.popen.pid

    def printed(self) -> str:
        return self.stdout.read_text(errors="replace")

    def logged(self) -> str:
        return self.stderr.read_text(errors="replace")

    def running(self) -> bool:
        return self.popen.poll() is None

    def stop(self, within_s: float = STOP_S_MAX) -> int:
        """Asks it to end, as Ctrl-C or a service manager does; its exit status."""
        if self.running():
            self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {within_s} s") from None

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()

    def tail(self) -> str:
        return (
            f"--- {self.name}, stdout\n{self.printed()[-4000:]}\n"
            f"--- {self.name}, stderr\n{self.logged()[-8000:]}"
        )


class Scripted(Process):
    """The scripted backend of tests/bench: an engine that does as the prompt says."""

    def __init__(self, folder: Path):
        command = [str(binary("scripted-backend")), "--listen", "127.0.0.1:0"]
        super().__init__("scripted-backend", command, folder, dict(os.environ))
        pattern = re.compile(r"listening on (http://\S+)")
        found = eventually(lambda: pattern.search(self.printed()), 10, "the backend's address")
        self.url = found[1]  # type: ignore[index]


class MachineCode:
    """What the first edge compiled, for the state folders of the ones that follow."""

    def __init__(self) -> None:
        self.folder: Path | None = None

    def give(self, state: Path) -> None:
        if self.folder and not (state / "cache").exists():
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copytree(self.folder / "cache", state / "cache")

    def take(self, state: Path) -> None:
        if not self.folder and (state / "cache").is_dir():
            self.folder = Path(tempfile.mkdtemp(prefix="skerry-e2e-code-"))
            atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
            shutil.copytree(state / "cache", self.folder / "cache")


MACHINE_CODE = MachineCode()


class Edge(Process):
    """`edge up`, from its start until it is ready."""

    def __init__(
        self, folder: Path, *options: str, state: Path | None = None, host: str = "127.0.0.1"
    ):
        self.folder = folder
        self.state = state or folder / "state"
        MACHINE_CODE.give(self.state)
        self.port = free_port()
        self.operator_port = free_port()
        command = [
            str(binary("edge")),
            "up",
            "--no-build",
            "--listen",
            f"{host}:{self.port}",
            "--operator",
            f"127.0.0.1:{self.operator_port}",
            "--state",
            str(self.state),
            *options,
        ]
        super().__init__("edge", command, folder, dict(os.environ))
        self.url = f"https://{'localhost' if host == '127.0.0.1' else host}:{self.port}"
        self.operator = f"http://127.0.0.1:{self.operator_port}"
        try:
            eventually(self._ready, START_S_MAX, "edge is ready")
        except BaseException as error:
            self.popen.kill()
            raise AssertionError(f"{error}\n{self.tail()}") from error
        MACHINE_CODE.take(self.state)

    def _ready(self) -> bool:
        if not self.running():
            raise AssertionError(f"edge ended with {self.popen.returncode}")
        try:
            if httpx2.get(f"{self.operator}/readyz", timeout=2).status_code != 200:
                return False
        except httpx2.TransportError:
            return False
        return self.url in self.printed()

    @property
    def certificate(self) -> Path:
        return self.state / "tls" / "cert.pem"

    @property
    def first_key(self) -> str:
        """Printed by the first start over a state folder, and by no other."""
        found = re.search(r"\bsk-[A-Za-z0-9_-]{16,}", self.printed())
        assert found, f"no key was printed:\n{self.printed()}"
        return found[0]

    @property
    def curl_line(self) -> str:
        """The command that the banner invites to paste, with its continuation lines."""
        found = re.search(r"^\s*(curl (?:.*\\\n)*.*)$", self.printed(), re.MULTILINE)
        assert found, f"no curl line was printed:\n{self.printed()}"
        return found[1]

    def holders(self, secret: str | bytes) -> list[Path]:
        """The files of its state, of its output and of its log that hold these bytes."""
        needle = secret.encode() if isinstance(secret, str) else secret
        folders = {self.folder, self.state}
        found = []
        for path in {path for folder in folders for path in folder.rglob("*")}:
            # It is at work: what was listed may be gone.
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                if path.is_file() and needle in path.read_bytes():
                    found.append(path)
        return found

    def engine_pids(self) -> list[int]:
        """The engines that it supervises: one, or none while one is started again."""
        return [pid for pid in children(self.pid) if command_name(pid) == "gpu-backend"]

    def engine_pid(self) -> int:
        [pid] = self.engine_pids()
        return pid

    def engine_url(self) -> str:
        pid = self.engine_pid()
        ports = eventually(lambda: listening_ports(pid), 10, "the engine listens")
        return f"http://127.0.0.1:{ports[0]}"  # type: ignore[index]

    def trust(self) -> ssl.SSLContext:
        """Trusts this edge's certificate, and no other."""
        return ssl.create_default_context(cafile=str(self.certificate))

    def http(self, key: str | None = None, **options: object) -> httpx2.Client:
        """A plain client."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        defaults: dict[str, object] = {"timeout": 60, "base_url": self.url, "headers": headers}
        return httpx2.Client(verify=self.trust(), **{**defaults, **options})

    def openai(self, key: str, **options: object) -> openai.OpenAI:
        """The official client. It does not retry: a test sees the first answer."""
        return openai.OpenAI(
            api_key=key,
            base_url=f"{self.url}/v1",
            max_retries=0,
            http_client=openai.DefaultHttpxClient(verify=self.trust()),
            **options,
        )


def metrics(url: str) -> dict[str, float]:
    """Prometheus' text: name with labels → value; the labels' sums under the bare name."""
    values: dict[str, float] = {}
    for line in httpx2.get(f"{url}/metrics", timeout=5).text.splitlines():
        if line and not line.startswith("#"):
            series, value = line.rsplit(" ", 1)
            values[series] = float(value)
            if "{" in series:
                name = series.split("{", 1)[0]
                values[name] = values.get(name, 0.0) + float(value)
    return values


@contextlib.contextmanager
def edge_up(
    *options: str, state: Path | None = None, host: str = "127.0.0.1"
) -> Iterator[Edge]:
    """An edge in a folder of its own, which is gone afterwards, and so is the edge."""
    folder = Path(tempfile.mkdtemp(prefix="skerry-e2e-"))
    edge = None
    try:
        edge = Edge(folder, *options, state=state, host=host)
        yield edge
        if edge.running():
            engines = children(edge.pid)
            status = edge.stop()
            assert status == 0, f"edge ended with {status}\n{edge.tail()}"
            assert not [pid for pid in engines if alive(pid)], "an engine outlived its edge"
    except BaseException:
        if edge is not None:
            print(edge.tail())
        raise
    finally:
        if edge is not None and edge.running():
            engines = children(edge.pid)
            edge.kill()
            for pid in engines:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
