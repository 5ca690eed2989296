"""What all threads of a run share: the queue, the model of it, and the record of what was done."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import Iterator

from tests.harness import MARK, PROGRAM, processes_with

LONGEST_COMMAND = 70  # seconds


class World:
    """`acknowledged` maps ids to the kinds of their jobs; `cancelled` and `pruned` are ids; `problems` are failures."""

    def __init__(self, folder: str, seed: int) -> None:
        self.folder = folder
        self.db = os.path.join(folder, "q.db")
        self.environment = dict(os.environ, QUEUECTL_DB=self.db, HOME=folder)
        self.environment[MARK] = folder
        self.seed = seed
        self.is_over = threading.Event()
        self.lock = threading.Lock()
        self.gate = Gate()
        self.acknowledged: dict[str, str] = {}
        self.cancelled: set[str] = set()
        self.pruned: set[str] = set()
        self.problems: list[str] = []
        self.counts: Counter[str] = Counter()
        self._began = time.monotonic()
        self._steps = open(os.path.join(folder, "steps"), "a", buffering=1)  # noqa: SIM115
        # A thread that dies, such as the killer, must not make the run look easy.
        threading.excepthook = lambda failed: self.problem(f"{failed.thread}: {failed.exc_value!r}")
        os.mkdir(os.path.join(folder, "locks"))

    def random(self, name: str) -> random.Random:
        """The choices of one thread."""
        return random.Random(f"{self.seed} {name}")

    def minutes(self) -> float:
        """How long the run has taken."""
        return (time.monotonic() - self._began) / 60

    def step(self, text: str) -> None:
        """Record what is about to be done."""
        self._steps.write(f"{time.monotonic() - self._began:9.3f} {threading.current_thread().name}: {text}\n")

    def last_steps(self, count: int) -> list[str]:
        """The last lines of the record."""
        with open(self._steps.name) as file:
            return file.read().splitlines()[-count:]

    def problem(self, text: str) -> None:
        """Record a failure."""
        self.step(f"wrong: {text}")
        self.problems.append(text)

    def run(self, *words: str, input: bytes = b"", kill_after: float | None = None) -> bytes:
        """Run a command, killing it after `kill_after` seconds; returns its stdout."""
        return self.run_under([], *words, input=input, kill_after=kill_after)

    def run_under(
        self, prefix: list[str], *words: str, input: bytes = b"", kill_after: float | None = None
    ) -> bytes:
        """The same, with the words of another command before it."""
        line = " ".join(words)
        self.step(line if kill_after is None else f"{line} (killed after {kill_after:.3f} s)")
        process = subprocess.Popen(
            [*prefix, sys.executable, PROGRAM, *words],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        killer = threading.Timer(kill_after or LONGEST_COMMAND, process.kill)
        killer.start()
        try:
            stdout, stderr = process.communicate(input)
        finally:
            killer.cancel()
        with self.lock:
            self.counts["commands"] += 1
            if process.returncode == -signal.SIGKILL:
                if kill_after is None:
                    self.problem(f"did not end: {line}")
                self.counts["clients killed"] += kill_after is not None
            # 1 is fine: the job is gone, or in another state by now.
            elif process.returncode not in (0, 1, 124) or b"Traceback" in stderr:
                self.problem(f"{line}: exit {process.returncode}: {stderr[:500]!r}")
        return stdout

    def count(self, what: str, number: int = 1) -> None:
        """Count something for the report."""
        with self.lock:
            self.counts[what] += number

    def left(self) -> dict[int, str]:
        """Our running processes."""
        return processes_with(MARK, self.folder, exact=True)

    def kill_all(self) -> None:
        """SIGKILL every process of this run until none is left."""
        while self.left():
            for pid in self.left():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass


class Gate:
    """Clients pass one step at a time. While it is closed, none is between two steps."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._is_closed = False

    @contextlib.contextmanager
    def passing(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_closed)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        with self._changed:
            self._is_closed = True
            self._changed.wait_for(lambda: self._inside == 0)
        try:
            yield
        finally:
            with self._changed:
                self._is_closed = False
                self._changed.notify_all()
