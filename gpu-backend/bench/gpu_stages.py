"""Stages with a time limit: each writes its own file as it goes, and after each the table of
all is written anew, so that whatever ends the run leaves what was measured until then.

Knows nothing of GPUs. Needs Python's standard library only.
"""

import dataclasses
import os
import signal
import subprocess
import threading
import time

OK, WRONG, FAILED, TIMED_OUT, NOT_RUN, ABSENT = "ok", "WRONG", "failed", "timed out", "not run", "absent"
# The exit status is the sum of what happened; "not run" follows from another stage's failure,
# and what is absent on a machine (torch, a profiler) is no failure.
STATUS = {WRONG: 1, FAILED: 2, TIMED_OUT: 2}
KILL_AFTER_S = 2


@dataclasses.dataclass(frozen=True)
class Stage:
    name: str
    limit_s: int
    # Stages of which each must have given something.
    stands_on: tuple
    what: str


@dataclasses.dataclass
class Command:
    argv: list
    env: dict = dataclasses.field(default_factory=dict)
    cwd: str = None
    # Before each line, where several run at a time.
    prefix: str = ""


@dataclasses.dataclass
class Outcome:
    state: str
    note: str = ""
    lines: list = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    # Whether stages that stand on this one can run.
    useful: bool = False


class Absent(Exception):
    """A stage's program is not on this machine."""


class File:
    """A stage's file: lines are on disk once they are told."""

    def __init__(self, path):
        self.lines = []
        self._file = open(path, "w", encoding="utf-8")
        self._lock = threading.Lock()

    def tell(self, line):
        with self._lock:
            self.lines.append(line)
            self._file.write(line + "\n")
            self._file.flush()

    def close(self):
        self._file.close()


class Running:
    """A command in a session of its own, whose lines go to a file."""

    def __init__(self, command, file):
        self.process = subprocess.Popen(
            [str(part) for part in command.argv], env={**os.environ, **command.env}, cwd=command.cwd,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True)
        self._reader = threading.Thread(target=self._read, args=(command.prefix, file), daemon=True)
        self._reader.start()

    def _read(self, prefix, file):
        for line in self.process.stdout:
            file.tell(prefix + line.decode(errors="replace").rstrip())

    def wait(self, deadline):
        """The exit status, or None where the deadline came first."""
        try:
            code = self.process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return None
        # What it started may hold the pipe open; its own lines are all in it.
        self._reader.join(KILL_AFTER_S)
        return code

    def kill(self):
        """Ends the command and what it started: first so that a server may leave its device."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                return
            try:
                self.process.wait(KILL_AFTER_S)
            except subprocess.TimeoutExpired:
                pass


def run(commands, file, limit_s, together=False):
    """Exit statuses of commands, which run one after the other or all together within one
    limit; None for one that had to be ended or had no time left."""
    deadline = time.monotonic() + limit_s
    codes, started = [], []
    try:
        for command in commands:
            if time.monotonic() >= deadline:
                codes.append(None)
                continue
            started.append(Running(command, file))
            if not together:
                codes.append(started[-1].wait(deadline))
                started[-1].kill()
        if together:
            codes = [running.wait(deadline) for running in started]
    finally:
        for running in started:
            running.kill()
    return codes


class Run:
    """All stages in order."""

    def __init__(self, stages, folder, slower, table):
        self.stages = stages
        self.folder = folder
        self.slower = slower
        self.outcomes = {}
        self._table = table

    def path(self, stage):
        number = self.stages.index(stage) + 1
        return self.folder / f"{number:02}-{stage.name}.txt"

    def stage(self, stage, work):
        """Runs `work(file, limit in seconds)`, which returns an outcome, unless what it stands on
        gave nothing; an exception is a failure of this stage alone."""
        lacking = [name for name in stage.stands_on if not self.outcomes[name].useful]
        began = time.monotonic()
        file = File(self.path(stage))
        try:
            if lacking:
                outcome = Outcome(NOT_RUN, f"{lacking[0]} gave nothing to stand on")
            else:
                outcome = work(file, stage.limit_s * self.slower)
        except Absent as absent:
            outcome = Outcome(ABSENT, str(absent))
        except Exception as error:  # One stage must not take the others along.
            outcome = Outcome(FAILED, f"{type(error).__name__}: {error}")
        if outcome.note:
            file.tell(f"{outcome.state}: {outcome.note}")
        file.close()
        outcome.lines = list(file.lines)
        outcome.seconds = time.monotonic() - began
        self.outcomes[stage.name] = outcome
        self.write()
        return outcome

    def write(self):
        """Writes the table whole, under another name first: it is never half of one."""
        path = self.folder / "table.md"
        part = path.with_suffix(".part")
        part.write_text(self._table(self), encoding="utf-8")
        part.replace(path)

    def status(self):
        """1 where a result is wrong, 2 where a stage failed or had to be ended, 3 for both."""
        total = 0
        for outcome in self.outcomes.values():
            total |= STATUS.get(outcome.state, 0)
        return total
