"""Shared by the tests: a queue per test with real processes, and the audit of a queue.

Each test gets a temporary folder for its database and HOME, and its own environment. It kills only the processes it
started, which carry the folder's name in their environment, so several checkouts can run their tests at once, next
to a queue in use.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
from collections import namedtuple
from typing import Any, Callable, Dict, Iterable, Iterator, Optional

from queuectl_core.lifecycle import FINISHED, STATES, WAITING, Job
from queuectl_core.store import Store
from queuectl_core.workers.identity import TOKEN_VARIABLE, birth, own_identity

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAM = os.path.join(ROOT, "queuectl.py")
# What tests start the program with. Each machine's `site` may load anything: on one, a proxy's certificates, which took
# 25 ms at each of 4,700 starts. (.ci/run puts an old SQLite in place by `site`; what it installs starts as usual.)
PYTHON = (sys.executable,) if "pysqlite3" in sys.modules else (sys.executable, "-S")
# Variables that tests don't pass on: they change the output or (the last one) recompile the program at each of
# 4,700 starts.
DROPPED = ("NO_COLOR", "COLUMNS", "PYTHONDONTWRITEBYTECODE")
MARK = "QUEUECTL_TEST"  # In the environment of every process that a test starts; its value is the test's folder.
LONGEST_RUN = 60  # Seconds a command may run before its test fails.
IS_ROOT = os.geteuid() == 0


def restore_signals() -> None:
    """Start no process with an ignored or blocked signal.

    `nohup` ignores SIGHUP, and `&` in a script ignores SIGINT and SIGQUIT. Ignored signals stay ignored across exec,
    but caught ones are reset. So catch them and do nothing: children get the defaults, and this process still
    survives the signals its caller ignored.
    """
    for number in signal.valid_signals():
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


restore_signals()

Result = namedtuple("Result", "code stdout_bytes stderr_bytes")
Environment = Dict[str, Optional[str]]


class CommandResult(Result):
    """A command's output, as text and as bytes, and its exit code."""

    @property
    def stdout(self) -> str:
        return self.stdout_bytes.decode("utf-8", "surrogateescape")

    @property
    def stderr(self) -> str:
        return self.stderr_bytes.decode("utf-8", "surrogateescape")

    @property
    def lines(self) -> list[str]:
        """The lines of stdout."""
        return self.stdout.splitlines()

    @property
    def json(self) -> Any:
        """stdout, parsed as JSON."""
        return json.loads(self.stdout)


def wait_until(
    condition: Callable[[], Any],
    timeout: float = 20,
    message: str | Callable[[], str] = "the condition never came true",
) -> Any:
    """Poll `condition()` until it is true, and return its value; fail after `timeout` seconds."""
    until = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            text = message() if callable(message) else message
            raise AssertionError(f"{text} (waited {timeout:g} s)")
        time.sleep(0.01)


def sleep_to_see_nothing_happen(seconds: float) -> None:
    """Sleep for a fixed time: the absence of an event can't be polled for.

    If the machine is too slow for the event to happen in time, the test proves less but doesn't fail.
    """
    time.sleep(seconds)


def shown_on(terminal: int) -> bytes:
    """Read a pseudo-terminal from our end, `terminal`, until no process has the other end open."""
    shown = b""
    try:
        while True:
            piece = os.read(terminal, 65536)
            if not piece:
                return shown
            shown += piece
    except OSError:  # Linux: the other end is closed.
        return shown
    finally:
        os.close(terminal)


def shown_until(terminal: int, text: bytes, timeout: float = 20) -> bytes:
    """Read a pseudo-terminal from our end until `text` was on it; fail after `timeout` seconds without any output."""
    shown = b""
    while text not in shown:
        if not select.select([terminal], [], [], timeout)[0]:
            raise AssertionError(f"{text!r} was not shown, but {shown!r}")
        shown += os.read(terminal, 65536)
        if len(shown) > 1_000_000:
            raise AssertionError(f"{text!r} was not shown, but {shown[-1000:]!r}")
    return shown


# Shell condition for jobs: process $pid is running. (`kill -0` also succeeds for zombies, and init may reap late.)
RUNS = "ps -o stat= -p $pid | grep -q '^[^Z]'"


def children(pid: int) -> list[int]:
    """The children of a process, including zombies."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def process_is_gone(pid: int) -> bool:
    """Whether no process has this PID; zombies don't count."""
    return birth(pid) is None


def processes_with(variable: str, prefix: str, exact: bool = False) -> dict[int, str]:
    """Running processes with this variable in their environment: {PID: its value}.

    Its value must start with `prefix`, or equal it if `exact`.
    """
    mark = f"{variable}={prefix}".encode()
    found = {}
    for pid, words in _environments():
        for word in words:
            if word == mark or (not exact and word.startswith(mark)):
                found[pid] = word.partition(b"=")[2].decode("utf-8", "replace")
    found.pop(os.getpid(), None)
    return found


def _environments() -> Iterator[tuple[int, list[bytes]]]:
    """The PID and the variables of each process; on macOS and the BSDs, its arguments too."""
    if os.path.isdir("/proc/self"):
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open(f"/proc/{entry}/environ", "rb") as file:
                        yield int(entry), file.read().split(b"\0")
                except OSError:
                    pass  # It ended, or belongs to another user.
        return
    show = "-E" if sys.platform == "darwin" else "-e"
    listing = subprocess.run(
        ["ps", "-A", show, "-ww", "-o", "pid=,command="], stdout=subprocess.PIPE, check=False
    ).stdout
    for line in listing.splitlines():
        words = line.split()
        yield int(words[0]), words[1:]


class QueueTestCase(unittest.TestCase):
    """A test with its own queue."""

    python: tuple[str, ...] = PYTHON

    def setUp(self) -> None:
        super().setUp()
        self.folder = os.path.realpath(tempfile.mkdtemp(prefix="q-"))
        self.home = os.path.join(self.folder, "home")
        os.mkdir(self.home, 0o700)
        self.db = os.path.join(self.folder, "q.db")
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("QUEUECTL_", "XDG_")) and name not in DROPPED
        }
        self.environment.update(HOME=self.home, QUEUECTL_DB=self.db)
        self.environment[MARK] = self.folder
        self._started: list[subprocess.Popen[bytes]] = []
        self.addCleanup(self._clean_up)

    # --- running the program ---------------------------------------------------------------------

    def run_cli(
        self,
        *args: object,
        input: str | bytes | None = None,
        code: int | None = 0,
        env: Environment | None = None,
        cwd: str | None = None,
    ) -> CommandResult:
        """Run a command and wait for it; `code` is the expected exit code (None: any).

        `env` adds to the environment; a value of None removes the variable.
        """
        if isinstance(input, str):
            input = input.encode("utf-8", "surrogateescape")
        process = self.start_cli(
            *args,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        words = " ".join(map(str, args))
        try:
            stdout, stderr = process.communicate(input, timeout=LONGEST_RUN)
        except subprocess.TimeoutExpired:
            process.kill()
            _, stderr = process.communicate()
            self.fail(f"queuectl {words:.300} did not end; stderr: {stderr!r}")
        result = CommandResult(process.returncode, stdout, stderr)
        said = f"queuectl {words:.300}\nstdout: {result.stdout:.2000}\nstderr: {result.stderr:.2000}"
        self.assertNotIn("Traceback", result.stdout + result.stderr, said)
        if code is not None:
            self.assertEqual(result.code, code, said)
        return result

    def start_cli(
        self,
        *args: object,
        env: Environment | None = None,
        cwd: str | None = None,
        program: str = PROGRAM,
        **options: Any,
    ) -> subprocess.Popen[bytes]:
        """Start a command, with binary streams. `options` are Popen's."""
        environment = dict(self.environment)
        for name, value in (env or {}).items():
            if value is None:
                environment.pop(name, None)
            else:
                environment[name] = value
        process = subprocess.Popen(
            [*self.python, program, *map(_word, args)],
            env=environment,
            cwd=cwd or self.folder,
            **options,
        )
        self._started.append(process)
        return process

    def wait_until_open(self, pid: int) -> None:
        """Wait until a process has the queue file open. Without /proc, don't wait."""
        folder = f"/proc/{pid}/fd"

        def has_open() -> bool:
            try:
                return any(os.readlink(os.path.join(folder, fd)) == self.db for fd in os.listdir(folder))
            except FileNotFoundError:
                return False  # It closed a descriptor or exited in the meantime.

        if os.path.isdir("/proc/self/fd"):
            wait_until(has_open)

    def start_workers(self, *args: object, env: Environment | None = None) -> list[tuple[int, int]]:
        """Run `worker start`; return each worker's id and PID."""
        result = self.run_cli("worker", "start", *args, env=env)
        workers = []
        for line in result.lines:
            match = re.fullmatch(r"worker (\d+) started, pid (\d+)", line)
            self.assertTrue(match, f"unexpected: {line!r}")
            workers.append((int(match.group(1)), int(match.group(2))))
        return workers

    def enqueue(self, *args: object, **options: Any) -> str:
        """Run `enqueue` for one job; return its id."""
        (id,) = self.run_cli("enqueue", *args, **options).lines
        return id

    def enqueue_lines(self, lines: Iterable[str], *args: object) -> list[str]:
        """Enqueue one job per line; return their ids."""
        return self.run_cli("enqueue", *args, "-", input="".join(line + "\n" for line in lines)).lines

    def stop_workers(self, *args: object, **options: Any) -> CommandResult:
        """Run `worker stop`."""
        return self.run_cli("worker", "stop", *args, **options)

    def create_queue(self) -> None:
        """Create the file, with an empty queue."""
        Store(self.db).close()

    # --- inspecting the queue ----------------------------------------------------------------------

    def jobs(self) -> dict[str, dict[str, Any]]:
        """All jobs by id, as `list --json` shows them."""
        return {job["id"]: job for job in self.run_cli("list", "--json").json}

    def job(self, id: str) -> dict[str, Any]:
        """One job, with its `history`."""
        return self.run_cli("show", id, "--json").json

    def rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run a statement straight on the file, over its own connection; return its rows."""
        connection = sqlite3.connect(self.db, timeout=20, isolation_level=None)
        try:
            return connection.execute(statement, parameters).fetchall()
        finally:
            connection.close()

    def owner(self, id: str) -> int:
        """The PID of the worker that is running a job."""
        statement = (
            "SELECT worker.pid FROM queuectl_workers AS worker JOIN queuectl_jobs AS job"
            " ON job.worker = worker.id WHERE job.id = ?"
        )
        return self.rows(statement, id)[0][0]

    def state(self, id: str) -> str:
        """The state of a job, straight from the file."""
        return self.rows("SELECT state FROM queuectl_jobs WHERE id = ?", id)[0][0]

    def states(self) -> dict[str, int]:
        """How many jobs are in each state, straight from the file."""
        return dict(self.rows("SELECT state, count(*) FROM queuectl_jobs GROUP BY state"))

    def wait_for_state(self, id: str, *states: str, timeout: float = 20) -> str:
        """Wait until a job is in one of these states; return it."""
        return wait_until(
            lambda: self.state(id) in states and self.state(id),
            timeout,
            lambda: "job {} is {}, not {}".format(id, self.state(id), " or ".join(states)),
        )

    def wait_until_all_finished(self, timeout: float = 30) -> None:
        """Wait until all jobs are finished."""
        wait_until(lambda: set(self.states()) <= set(FINISHED), timeout, lambda: f"unfinished: {self.states()}")

    def store(self, **options: Any) -> Store:
        """Open the store in this process, and close it when the test ends."""
        store = Store(self.db, **options)
        self.addCleanup(store.close)
        return store

    def stored_jobs(self, store: Store) -> list[Job]:
        """All jobs as the store returns them, oldest first."""
        return [store.get(id) for (id,) in self.rows("SELECT id FROM queuectl_jobs ORDER BY seq")]

    def register_worker(self, store: Store, queues: str | None = None) -> int:
        """Register this process as a worker; return its id."""
        return store.register("worker", None, own_identity(), queues, "test")

    def audit(self, ids: Iterable[str] | None = None) -> None:
        """Audit this test's queue, as `audit` below does."""
        audit(self.db, ids)

    def path(self, name: str) -> str:
        """A path inside the test's folder."""
        return os.path.join(self.folder, name)

    def read(self, name: str) -> str:
        """The text of a file in the test's folder; "" if it doesn't exist."""
        try:
            with open(self.path(name)) as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def write(self, name: str, text: str | bytes) -> str:
        """Write a file in the test's folder; return its path."""
        with open(self.path(name), "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return self.path(name)

    # --- cleaning up -----------------------------------------------------------------------------

    def processes(self) -> dict[int, str]:
        """Running processes that this test started, and their descendants: {PID: the test's folder}."""
        return processes_with(MARK, self.folder, exact=True)

    def _clean_up(self) -> None:
        try:
            # Faster than `worker stop`, and works on a database that the test broke.
            self.kill_processes()
            for process in self._started:
                if process.poll() is None:
                    process.kill()
                process.wait()
                for stream in (process.stdin, process.stdout, process.stderr):
                    if stream:
                        stream.close()
            wait_until(self.kill_processes, 10, lambda: f"still running: {self.processes()}")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def kill_processes(self) -> bool:
        """Kill the processes that this test started; return True if there were none."""
        running = self.processes()
        for pid in running:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return not running


def _word(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")


# --- the audit -----------------------------------------------------------------------------------

FAILURES = ("exit", "signal", "timeout", "lost", "unstarted")
# Outcomes that a job's last attempt may have, by the job's state.
LAST_OUTCOMES = {
    "completed": ("exit",),
    "failed": FAILURES,
    "dead": FAILURES,
    "cancelled": (*FAILURES, "cancelled", "released", "evicted"),
    "pending": (*FAILURES, "cancelled", "released", "evicted"),
}


def audit(store_or_db: Store | str, ids: Iterable[str] | None = None) -> None:
    """Check every invariant of a queue, in use or not. Raises AssertionError.

    `ids` are acknowledged jobs: each must exist exactly once.
    """
    path = getattr(store_or_db, "path", store_or_db)
    connection = sqlite3.connect(path, timeout=20, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        connection.execute("BEGIN")
        _audit_rows(connection, ids)
        connection.execute("ROLLBACK")
        _audit_processes(connection)
    finally:
        connection.close()


def _audit_rows(connection: sqlite3.Connection, ids: Iterable[str] | None) -> None:
    (checked,) = connection.execute("PRAGMA integrity_check").fetchone()
    _expect(checked == "ok", "the file is damaged: %s", checked)
    jobs = connection.execute("SELECT * FROM queuectl_jobs ORDER BY seq").fetchall()
    known = [job["id"] for job in jobs]
    _expect(len(set(known)) == len(known), "two jobs have the same id")
    if ids is not None:
        ids = list(ids)
        _expect(len(set(ids)) == len(ids), "an id was acknowledged twice")
        _expect(set(ids) <= set(known), "lost: %s", sorted(set(ids) - set(known))[:10])
    attempts: dict[int, list[sqlite3.Row]] = {}
    for row in connection.execute("SELECT * FROM queuectl_attempts ORDER BY job, attempt"):
        attempts.setdefault(row["job"], []).append(row)
    for job in jobs:
        _audit_job(job, attempts.pop(job["seq"], []))
    _expect(not attempts, "attempts without a job: %s", list(attempts))
    orphans = connection.execute(
        "SELECT count(*) FROM queuectl_output AS output LEFT JOIN queuectl_attempts AS attempt"
        " ON attempt.job = output.job AND attempt.attempt = output.attempt WHERE attempt.job IS NULL"
    ).fetchone()[0]
    _expect(orphans == 0, "output without an attempt: %s rows", orphans)
    _audit_counts(connection, jobs)


def _audit_job(job: sqlite3.Row, attempts: list[sqlite3.Row]) -> None:
    id, state = job["id"], job["state"]
    _expect(state in STATES, "%s: unknown state: %s", id, state)
    limit = job["max_retries"] + 1
    _expect(0 <= job["attempts"] <= limit, "%s: %s attempts of %s", id, job["attempts"], limit)
    scheduled = job["ready"] in (0, 1)
    should_be = state in WAITING and job["waits_for"] == 0 and not job["held"]
    _expect(scheduled == should_be and (scheduled or job["ready"] is None), "%s: ready %s", id, job["ready"])
    if job["ready"] == 1:
        _expect(job["run_at"] <= time.time() + 1, "%s: ready too early", id)
    numbers = [attempt["attempt"] for attempt in attempts]
    last = job["last_attempt"]
    _expect(numbers == list(range(1, last + 1)), "%s: attempts %s, the last is %s", id, numbers, last)
    for attempt in attempts:
        is_open = attempt["outcome"] is None
        running = state == "processing" and attempt["attempt"] == last
        _expect(
            is_open == running, "%s is %s: attempt %s: %s", id, state, attempt["attempt"], attempt["outcome"]
        )
        if running:
            _expect(attempt["worker"] == job["worker"], "%s: two workers", id)
    for before, after in zip(attempts, attempts[1:]):
        _expect(before["finished_at"] <= after["started_at"], "%s: two attempts at once", id)
    if state in ("processing", "completed", "dead"):
        _expect(attempts, "%s is %s without an attempt", id, state)
    if attempts and state != "processing":
        outcome, code = attempts[-1]["outcome"], attempts[-1]["exit_code"]
        if state != "pending" or job["attempts"] > 0:
            _expect(outcome in LAST_OUTCOMES[state], "%s is %s after: %s", id, state, outcome)
        if state == "completed":
            _expect(code == 0 and job["exit_code"] == 0, "%s completed with exit %s", id, code)
        if state in ("failed", "dead"):
            _expect(job["error"] and (outcome != "exit" or code), "%s failed without a reason", id)
    if state == "dead" and not _buries_early(job):
        _expect(job["attempts"] == limit, "%s: buried after %s of %s", id, job["attempts"], limit)


def _buries_early(job: sqlite3.Row) -> bool:
    """Whether some exit codes bury the job before it runs out of retries."""
    return job["bury_on"] is not None or job["retry_only_on"] is not None


def _audit_counts(connection: sqlite3.Connection, jobs: list[sqlite3.Row]) -> None:
    """Compare each queue's counters, kept by triggers, with its jobs."""
    real: dict[str, dict[str, int]] = {}
    for job in jobs:
        counts = real.setdefault(job["queue"], dict.fromkeys(STATES, 0))
        counts[job["state"]] += 1
    kept = {
        row["name"]: {state: row[state] for state in STATES}
        for row in connection.execute("SELECT * FROM queuectl_queues")
    }
    for queue in set(real) | set(kept):
        zeros = dict.fromkeys(STATES, 0)
        jobs_found, counters = real.get(queue, zeros), kept.get(queue, zeros)
        _expect(jobs_found == counters, "queue %s: counters say %s, the jobs %s", queue, counters, jobs_found)


def _audit_processes(connection: sqlite3.Connection) -> None:
    """Check that no attempt that ended has a process running."""

    def strays() -> list[int]:
        found = processes_with(TOKEN_VARIABLE, "")
        tokens = dict(connection.execute("SELECT token, outcome IS NULL FROM queuectl_attempts"))
        return [pid for pid, token in found.items() if token in tokens and not tokens[token]]

    # An attempt may end between the two reads.
    wait_until(lambda: not strays(), 3, lambda: f"left running by attempts that ended: {strays()}")


def _expect(truth: object, text: str, *details: object) -> None:
    if not truth:
        raise AssertionError("audit: " + text % details)
