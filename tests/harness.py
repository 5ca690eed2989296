"""What the tests share: a queue per test with real processes, and the audit of a queue.

Every test owns a temporary folder with its database, its HOME and its environment. It ends the processes that it
started and no others: they have the folder's name in their environment. So several checkouts can run their tests at
once, next to a queue that is in use.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
from collections import namedtuple

from queuectl_core.lifecycle import FINISHED, STATES, WAITING
from queuectl_core.store import Store
from queuectl_core.workers.identity import TOKEN_VARIABLE, birth, own_identity

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAM = os.path.join(ROOT, "queuectl.py")
# Variables that tests don't pass on: they would change the output or (the last one) have each of about 2,000 starts
# compile the program again.
DROPPED = ("NO_COLOR", "COLUMNS", "PYTHONDONTWRITEBYTECODE")
MARK = "QUEUECTL_TEST"  # In the environment of everything that a test starts; the value is its folder.
LONGEST_RUN = 60  # Seconds that a command may take before the test fails.
IS_ROOT = os.geteuid() == 0


def restore_signals() -> None:
    """Make sure that nothing the tests start inherits an ignored or blocked signal.

    `nohup` ignores SIGHUP, and `&` in a script ignores SIGINT and SIGQUIT. An ignored signal stays ignored
    across exec, but a caught one is reset. So catch them and do nothing: children get the defaults, and
    this process still survives what its caller wanted it to survive.
    """
    for number in signal.valid_signals():
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


restore_signals()

Result = namedtuple("Result", "code stdout_bytes stderr_bytes")


class CommandResult(Result):
    """What a command printed, as text and as bytes, and its exit code."""

    @property
    def stdout(self) -> str:
        return self.stdout_bytes.decode("utf-8", "surrogateescape")

    @property
    def stderr(self) -> str:
        return self.stderr_bytes.decode("utf-8", "surrogateescape")

    @property
    def lines(self) -> list:
        """The lines of stdout."""
        return self.stdout.splitlines()

    @property
    def json(self):
        """stdout parsed as JSON."""
        return json.loads(self.stdout)


def wait_until(condition, timeout: float = 20, message: object = "the condition did not come true"):
    """Poll `condition()` until it is true and return its value; fail after `timeout` seconds.

    `message` is a string, or a function that returns one.
    """
    until = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            text = message() if callable(message) else message
            raise AssertionError(f"{text} (waited {timeout:g}s)")
        time.sleep(0.01)


def sleep_to_see_nothing_happen(seconds: float) -> None:
    """Sleep for a fixed time, because the absence of an event can't be awaited.

    On a machine too slow for the event to happen in time, the test proves less but doesn't fail.
    """
    time.sleep(seconds)


def shown_on(terminal: int) -> bytes:
    """Everything written to a pseudo-terminal until no process has it open. `terminal` is our side of it."""
    shown = b""
    try:
        while True:
            piece = os.read(terminal, 65536)
            if not piece:
                return shown
            shown += piece
    except OSError:  # Linux: the other side has closed.
        return shown
    finally:
        os.close(terminal)


# For jobs: true while process $pid is running. (`kill -0` also succeeds for zombies, and init may reap late.)
RUNS = "ps -o stat= -p $pid | grep -q '^[^Z]'"


def process_is_gone(pid: int) -> bool:
    """Whether no process with this PID is running; zombies don't count."""
    return birth(pid) is None


def processes_with(variable: str, starts_with: str, ends: bool = False) -> dict:
    """Running processes with this variable in their environment: {pid: its value}.

    Its value must start with `starts_with`, or equal it if `ends`.
    """
    mark = (f"{variable}={starts_with}").encode()
    found = {}
    for pid, words in _environments():
        for word in words:
            if word == mark or (not ends and word.startswith(mark)):
                found[pid] = word.partition(b"=")[2].decode("utf-8", "replace")
    found.pop(os.getpid(), None)
    return found


def _environments():
    if os.path.isdir("/proc/self"):
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open(f"/proc/{entry}/environ", "rb") as file:
                        yield int(entry), file.read().split(b"\0")
                except OSError:
                    pass  # It has ended, or belongs to another user.
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
        self._started = []
        self.addCleanup(self._clean_up)

    # --- running the program ---------------------------------------------------------------------

    def run_cli(
        self, *args, input=None, code: int = 0, env: dict | None = None, cwd: str | None = None
    ) -> CommandResult:
        """Run a command to its end; `code` is the expected exit code (None: any).

        `env` adds to the environment; a value of None removes a variable.
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
        self, *args, env: dict | None = None, cwd: str | None = None, program: str = PROGRAM, **options
    ) -> subprocess.Popen:
        """Start a command; returns its Popen, with binary streams. `options` are Popen's."""
        environment = dict(self.environment)
        for name, value in (env or {}).items():
            if value is None:
                environment.pop(name, None)
            else:
                environment[name] = value
        process = subprocess.Popen(
            [sys.executable, program, *map(_word, args)],
            env=environment,
            cwd=cwd or self.folder,
            **options,
        )
        self._started.append(process)
        return process

    def start_workers(self, *args, env: dict | None = None) -> list:
        """Run `worker start` with `args`; returns (id, PID) of each worker."""
        result = self.run_cli("worker", "start", *args, env=env)
        workers = []
        for line in result.lines:
            match = re.fullmatch(r"worker (\d+) started, pid (\d+)", line)
            self.assertTrue(match, f"not as promised: {line!r}")
            workers.append((int(match.group(1)), int(match.group(2))))
        return workers

    def enqueue(self, *args, **options) -> str:
        """Run `enqueue` with `args` for one job; returns its id."""
        (id,) = self.run_cli("enqueue", *args, **options).lines
        return id

    def enqueue_lines(self, lines, *args) -> list:
        """Enqueue a job per line; returns their ids."""
        return self.run_cli("enqueue", *args, "-", input="".join(line + "\n" for line in lines)).lines

    def stop_workers(self, *args, **options) -> CommandResult:
        """Run `worker stop`."""
        return self.run_cli("worker", "stop", *args, **options)

    # --- looking ---------------------------------------------------------------------------------

    def jobs(self) -> dict:
        """All jobs by id, as `list --json` shows them."""
        return {job["id"]: job for job in self.run_cli("list", "--json").json}

    def job(self, id: str) -> dict:
        """One job, with its `history`."""
        return self.run_cli("show", id, "--json").json

    def rows(self, statement: str, *parameters) -> list:
        """Rows straight from the file, over a separate connection."""
        connection = sqlite3.connect(self.db, timeout=20, isolation_level=None)
        try:
            return connection.execute(statement, parameters).fetchall()
        finally:
            connection.close()

    def owner(self, id: str) -> int:
        """The PID of the worker that runs a job."""
        statement = (
            "SELECT worker.pid FROM queuectl_workers AS worker JOIN queuectl_jobs AS job"
            " ON job.worker = worker.id WHERE job.id = ?"
        )
        return self.rows(statement, id)[0][0]

    def state(self, id: str) -> str:
        """The state of a job, straight from the file."""
        return self.rows("SELECT state FROM queuectl_jobs WHERE id = ?", id)[0][0]

    def states(self) -> dict:
        """How many jobs are in each state, straight from the file."""
        return dict(self.rows("SELECT state, count(*) FROM queuectl_jobs GROUP BY state"))

    def wait_for_state(self, id: str, *states: str, timeout: float = 20) -> str:
        """Wait until a job is in one of these states."""
        return wait_until(
            lambda: self.state(id) in states and self.state(id),
            timeout,
            lambda: "job {} is {}, not {}".format(id, self.state(id), " or ".join(states)),
        )

    def wait_until_all_finished(self, timeout: float = 30) -> None:
        """Wait until all jobs are finished."""
        wait_until(lambda: set(self.states()) <= set(FINISHED), timeout, lambda: f"left: {self.states()}")

    def store(self, **options) -> Store:
        """The store, opened in this process; closed when the test ends."""
        store = Store(self.db, **options)
        self.addCleanup(store.close)
        return store

    def stored_jobs(self, store: Store) -> list:
        """All jobs as the store reads them, oldest first."""
        return [store.get(id) for (id,) in self.rows("SELECT id FROM queuectl_jobs ORDER BY seq")]

    def register_worker(self, store: Store, queues: str | None = None) -> int:
        """Register this process as a worker; returns its id."""
        return store.register("worker", None, own_identity(), queues, "test")

    def audit(self, ids=None) -> None:
        """Check everything that must be true of any queue; `ids` were acknowledged."""
        audit(self.db, ids)

    def path(self, name: str) -> str:
        """A path inside the test's folder."""
        return os.path.join(self.folder, name)

    def read(self, name: str) -> str:
        """The text of a file in the test's folder; "" where there is none."""
        try:
            with open(self.path(name)) as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def write(self, name: str, text) -> str:
        """Write a file in the test's folder; returns its path."""
        with open(self.path(name), "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return self.path(name)

    # --- the end ---------------------------------------------------------------------------------

    def processes(self) -> dict:
        """The running processes that this test started, and their children: {pid: the test's folder}."""
        return processes_with(MARK, self.folder, ends=True)

    def _clean_up(self) -> None:
        try:
            # Not by `worker stop`: a test may have broken its database, and this is quicker.
            self._nothing_is_left()
            for process in self._started:
                if process.poll() is None:
                    process.kill()
                process.wait()
                for stream in (process.stdin, process.stdout, process.stderr):
                    if stream:
                        stream.close()
            wait_until(self._nothing_is_left, 10, lambda: f"left running: {self.processes()}")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _nothing_is_left(self) -> bool:
        """Kill what this test started; True if nothing was left running."""
        left = self.processes()
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return not left


def _word(value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")


# --- the audit -----------------------------------------------------------------------------------

FAILURES = ("exit", "signal", "timeout", "lost", "unstarted")
# How the last attempt can have ended, by the job's state.
LAST_OUTCOMES = {
    "completed": ("exit",),
    "failed": FAILURES,
    "dead": FAILURES,
    "cancelled": (*FAILURES, "cancelled", "released"),
    "pending": (*FAILURES, "cancelled", "released"),
}


def audit(store_or_db, ids=None) -> None:
    """Check everything that must be true of any queue at any time. Raises AssertionError.

    `ids` were acknowledged, so each must exist once.
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


def _audit_rows(connection, ids) -> None:
    (checked,) = connection.execute("PRAGMA integrity_check").fetchone()
    _expect(checked == "ok", "the file is damaged: %s", checked)
    jobs = connection.execute("SELECT * FROM queuectl_jobs ORDER BY seq").fetchall()
    known = [job["id"] for job in jobs]
    _expect(len(set(known)) == len(known), "an id is there twice")
    if ids is not None:
        ids = list(ids)
        _expect(len(set(ids)) == len(ids), "an id was acknowledged twice")
        _expect(set(ids) <= set(known), "lost: %s", sorted(set(ids) - set(known))[:10])
    attempts = {}
    for row in connection.execute("SELECT * FROM queuectl_attempts ORDER BY job, attempt"):
        attempts.setdefault(row["job"], []).append(row)
    for job in jobs:
        _audit_job(job, attempts.pop(job["seq"], []))
    _expect(not attempts, "attempts of no job: %s", list(attempts))
    stray = connection.execute(
        "SELECT count(*) FROM queuectl_output AS output LEFT JOIN queuectl_attempts AS attempt"
        " ON attempt.job = output.job AND attempt.attempt = output.attempt WHERE attempt.job IS NULL"
    ).fetchone()[0]
    _expect(stray == 0, "output of no attempt: %s rows", stray)
    _audit_counts(connection, jobs)


def _audit_job(job, attempts) -> None:
    id, state = job["id"], job["state"]
    _expect(state in STATES, "%s: no state: %s", id, state)
    limit = job["max_retries"] + 1
    _expect(0 <= job["attempts"] <= limit, "%s: %s attempts of %s", id, job["attempts"], limit)
    filed = job["ready"] in (0, 1)
    should_be = state in WAITING and job["waits_for"] == 0
    _expect(filed == should_be and (filed or job["ready"] is None), "%s: ready %s", id, job["ready"])
    if job["ready"] == 1:
        _expect(job["run_at"] <= time.time() + 1, "%s: ready before its time", id)
    numbers = [attempt["attempt"] for attempt in attempts]
    last = job["last_attempt"]
    _expect(numbers == list(range(1, last + 1)), "%s: %s, last %s", id, numbers, last)
    for attempt in attempts:
        is_open = attempt["outcome"] is None
        runs = state == "processing" and attempt["attempt"] == last
        _expect(
            is_open == runs, "%s is %s: attempt %s: %s", id, state, attempt["attempt"], attempt["outcome"]
        )
        if runs:
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
            _expect(job["error"] and (outcome != "exit" or code), "%s failed without reason", id)
    if state == "dead" and not _buries_early(job):
        _expect(job["attempts"] == limit, "%s: buried after %s of %s", id, job["attempts"], limit)


def _buries_early(job) -> bool:
    """Whether some exit codes bury the job before its retries are used up."""
    return job["bury_on"] is not None or job["retry_only_on"] is not None


def _audit_counts(connection, jobs) -> None:
    real = {}
    for job in jobs:
        counts = real.setdefault(job["queue"], dict.fromkeys(STATES, 0))
        counts[job["state"]] += 1
    kept = {
        row["name"]: {state: row[state] for state in STATES}
        for row in connection.execute("SELECT * FROM queuectl_queues")
    }
    for queue in set(real) | set(kept):
        nothing = dict.fromkeys(STATES, 0)
        found, counted = real.get(queue, nothing), kept.get(queue, nothing)
        _expect(found == counted, "queue %s: counted %s, there are %s", queue, counted, found)


def _audit_processes(connection) -> None:
    """No process of an attempt may be running once that attempt has ended."""

    def strays() -> list:
        found = processes_with(TOKEN_VARIABLE, "")
        tokens = dict(connection.execute("SELECT token, outcome IS NULL FROM queuectl_attempts"))
        return [pid for pid, token in found.items() if token in tokens and not tokens[token]]

    # A job may have ended between the two looks.
    wait_until(lambda: not strays(), 3, lambda: f"left by attempts that ended: {strays()}")


def _expect(is_true: object, text: str, *details: object) -> None:
    if not is_true:
        raise AssertionError("audit: " + text % details)
