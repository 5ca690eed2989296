"""Measuring: whole processes, run alternately, medians, and a table of the results."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from contextlib import closing, contextmanager

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.join(CHECKOUT, "queuectl.py")

# A line of the table: what was measured, the figure and its unit, what it is compared with (a peer, or the same thing
# in other circumstances) and its figure (None if it is missing here), the ratio, and the goal.
Row = namedtuple("Row", "what figure unit beside other ratio goal")


def row(
    what: str, figure: float, unit: str, beside: str = "", other: float | None = None, goal: str = ""
) -> Row:
    """A Row; its ratio is figure / other."""
    return Row(what, figure, unit, beside, other, figure / other if other else None, goal)


class Queue:
    """A queue in its own folder, driven by the command line."""

    def __init__(self, folder: str, program: str = PROGRAM) -> None:
        self.folder = folder
        self.program = program
        self.database = os.path.join(folder, "queue.db")
        self.environment = {**os.environ, "QUEUECTL_DB": self.database, "HOME": folder}
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)  # Users have their bytecode cached.

    def argv(self, *words: str) -> list[str]:
        """The command line of a command."""
        return [sys.executable, self.program, *words]

    def run(self, *words: str, **options) -> subprocess.CompletedProcess:
        """Run a command to its end; returns its output."""
        options.setdefault("stdout", subprocess.PIPE)
        return subprocess.run(
            self.argv(*words), env=self.environment, stderr=subprocess.PIPE, check=True, **options
        )

    def start(self, count: int) -> list[int]:
        """Start workers; returns the PIDs of them and of their supervisor."""
        self.run("worker", "start", "-c", str(count))
        return self.pids("supervisor") + self.pids("worker")

    def pids(self, role: str) -> list[int]:
        """The PIDs of the workers, or of the supervisors. Works with the files of other revisions, too."""
        with closing(sqlite3.connect(self.database, timeout=60)) as db:
            return [pid for (pid,) in db.execute("SELECT pid FROM queuectl_workers WHERE role = ?", [role])]

    def stop(self) -> None:
        """Stop all workers now."""
        self.run("worker", "stop", "--now")

    def drain(self, count: int) -> float:
        """Run all queued jobs with this many workers; returns the seconds it took."""
        return seconds(
            self.argv("worker", "start", "-c", str(count), "--drain", "--foreground"), self.environment
        )

    def store(self, **options):
        """The queue, opened in this process."""
        from queuectl_core.store import Store

        return Store(self.database, **options)

    def add(self, count: int, command: str = "true", **fields) -> None:
        """Enqueue many identical jobs through the store, which is fast."""
        from queuectl_core.jobspec import new_job

        job = new_job({"command": command, "cwd": self.folder, **fields}, time.time())
        with self.store() as store:
            for start in range(0, count, 10000):
                store.enqueue([job] * min(10000, count - start))

    def add_finished(self, count: int) -> None:
        """Add completed jobs with one attempt each, as in an old file."""
        with self.store() as store:
            store._execute("PRAGMA synchronous = OFF")
            for start in range(0, count, 100000):
                number = min(100000, count - start)
                with store._transaction():
                    store._execute(FINISHED_JOBS, {"count": number})
                    store._execute(FINISHED_ATTEMPTS)


FINISHED_JOBS = """
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
    INSERT INTO queuectl_jobs (command, cwd, state, ready, max_retries, backoff_base, backoff_max, timeout,
        kill_grace, output_limit, defer_limit, attempts, last_attempt, started_at, finished_at, exit_code)
    SELECT 'true', '/tmp', 'completed', NULL, 3, 2, 86400, 0, 10, 1048576, 20, 1, 1, 1.7e9, 1.7e9 + i, 0
    FROM n
"""
FINISHED_ATTEMPTS = """
    INSERT INTO queuectl_attempts (job, attempt, worker, started_at, finished_at, outcome, exit_code)
    SELECT seq, 1, 1, started_at, finished_at, 'exit', 0 FROM queuectl_jobs
    WHERE seq > coalesce((SELECT max(job) FROM queuectl_attempts), 0)
"""


@contextmanager
def queue(program: str = PROGRAM):
    """A Queue that is removed at the end, with its workers."""
    folder = tempfile.mkdtemp(prefix="queuectl-bench-")
    made = Queue(folder, program)
    try:
        yield made
    finally:
        if os.path.exists(made.database):
            made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def seconds(argv: list[str], environment: dict[str, str] | None = None) -> float:
    """How long a whole process takes; its output is discarded."""
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    began = time.perf_counter()
    subprocess.run(argv, env=environment, check=True, **quiet)
    return time.perf_counter() - began


def processor_usage(
    argv: list[str], environment: dict[str, str] | None = None, stdin: str = os.devnull
) -> tuple[float, float]:
    """CPU seconds that a whole process and its children use, and its peak memory in MB.

    Its input is the file `stdin`; its output is discarded.
    """
    with open(stdin, "rb") as file:
        quiet = {"stdin": file, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(argv, env=environment, **quiet)
        _, process.returncode, usage = os.wait4(process.pid, 0)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, argv)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def processor_seconds(argv: list[str], environment: dict[str, str] | None = None) -> float:
    """CPU seconds that a whole process and its children use."""
    return processor_usage(argv, environment)[0]


def in_turn(runs: int, *measures) -> list[float]:
    """The median of each measure (a callable that returns a figure), called A B A B … after a warm-up."""
    figures: list[list[float]] = [[] for _ in measures]
    for number in range(runs + 1):
        for measure, into in zip(measures, figures):
            figure = measure()
            if number:
                into.append(figure)
    return [statistics.median(into) for into in figures]


@contextmanager
def revision(name: str):
    """The program of another revision of this repository, such as "HEAD~3"."""
    with tempfile.TemporaryDirectory(prefix="queuectl-bench-") as folder:
        archive = subprocess.run(["git", "-C", CHECKOUT, "archive", name], stdout=subprocess.PIPE, check=True)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        yield os.path.join(folder, "queuectl.py")


def children_seconds(measure) -> float:
    """CPU seconds that the processes started by `measure()` used, with their children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    measure()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def percentile(figures: list[float], share: float) -> float:
    """The quantile of figures at this share (0 to 1)."""
    return sorted(figures)[min(len(figures) - 1, int(len(figures) * share))]


def cpu_seconds(pids: list[int]) -> float:
    """CPU seconds used by these processes so far (Linux; to the nanosecond, not in ticks)."""
    used = 0
    for pid in pids:
        with open(f"/proc/{pid}/schedstat") as file:
            used += int(file.read().split()[0])
    return used / 1e9


def memory(pids: list[int], kind: str = "Pss") -> float:
    """MB of memory of these processes, from smaps_rollup (Linux); shared pages count proportionally."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith(kind + ":"))
    return total / 1024
