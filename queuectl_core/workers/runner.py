"""A queue's runner: the program that runs its jobs, on this machine or on others.

The runner is a command prefix, `/bin/sh -c` by default; a job's command becomes its last argument. So the process
that we start is the runner, and its exit code, output and signals are the job's. `{token}` in a runner is replaced by
the attempt's token, which can name the remote part:

    srun -Q -n1 --job-name={token} sh -c

A remote part may outlive its runner: after a lost connection, a SIGKILL or the death of the worker. The queue's
runner-kill makes sure that it has ended. It has the same token in its environment, runs after each attempt that didn't
exit 0 and before a dead worker's attempt is settled, and is repeated until it exits 0, which means that nothing of the
attempt is still running.
"""

from __future__ import annotations

import os
import shlex
import tempfile
import time
from functools import lru_cache

from .. import settings
from ..errors import BadInput
from ..jobspec import variables
from ..lifecycle import describe
from ..values import encode, quote
from .identity import TOKEN_VARIABLE
from .output import Output
from .process import CannotStart, CannotStartNow, Command, Invocation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..lifecycle import Job
    from ..settings import Config
    from ..store import Store
    from .log import Log

KILL_TIMEOUT = 60.0  # Seconds that a runner-kill may take.
KILL_GRACE = 2.0  # Seconds between SIGTERM and SIGKILL if it takes longer.
KILL_OUTPUT = 4096  # Bytes of its output to keep; the last line says why it failed.


def argv(config: Config, job: Job, token: str) -> list[bytes]:
    """The words to run for `job`: its queue's runner, then its command."""
    runner = str(settings.of_queue(config, job.queue, "runner"))
    try:
        words = [os.fsencode(word.replace("{token}", token)) for word in _split(runner)]
    except ValueError as error:  # Another program stored it.
        raise CannotStart(f"runner: {error}: {quote(runner)}") from None
    return [*words, job.command.encode("utf-8", "surrogateescape")]


@lru_cache(maxsize=64)
def _split(runner: str) -> list[str]:
    # Cached: splitting takes 25 µs, as long as settling a job.
    return shlex.split(runner)


def environment(base: dict[bytes, bytes], job: Job, token: str, database: str) -> dict[bytes, bytes]:
    """The environment of a job and of its queue's runner-kill: `base`, the job's variables, and ours.

    Raises CannotStart if another program stored an invalid `env`.
    """
    result = dict(base)
    try:
        for key, value in variables(job.env).items():
            result[os.fsencode(key)] = value.encode("utf-8", "surrogateescape")
    except BadInput as error:
        raise CannotStart(str(error)) from None
    result[b"QUEUECTL_JOB_ID"] = job.id.encode("utf-8", "surrogateescape")
    result[b"QUEUECTL_ATTEMPT"] = b"%d" % job.last_attempt
    result[b"QUEUECTL_QUEUE"] = job.queue.encode("utf-8", "surrogateescape")
    if job.slot:
        result[b"QUEUECTL_SLOT"] = b"%d" % job.slot
    result[b"QUEUECTL_DB"] = os.fsencode(database)
    result[TOKEN_VARIABLE.encode()] = token.encode()
    return result


def stored_input(store: Store, job: Job) -> int:
    """A descriptor of an unnamed file with the job's standard input. Raises CannotStartNow."""
    try:
        with tempfile.TemporaryFile() as file:
            file.write(store.input(job) or b"")
            file.seek(0)
            return os.dup(file.fileno())
    except OSError as error:
        raise CannotStartNow(f"its standard input: {error.strerror}") from None


class RunnerKills:
    """Repeats runner-kills until they succeed. Callers call `drive` again and again; nothing here waits."""

    def __init__(self, environment: dict[bytes, bytes], log: Log) -> None:
        self._environment = environment
        self._log = log
        self._running: dict[str, _Kill] = {}
        self._failures: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._running)

    @property
    def pids(self) -> set[int]:
        """The PIDs of the runner-kills that are running."""
        return {kill.command.pid for kill in self._running.values()}

    def is_running(self, token: str) -> bool:
        """Whether the runner-kill of this attempt is running."""
        return token in self._running

    def fds(self, token: str) -> list[int]:
        """The pipes of the runner-kill of this attempt, to poll before the next `drive`."""
        return self._running[token].command.fds if token in self._running else []

    def due_in(self, token: str) -> float:
        """Seconds until `drive` must be called even if nothing happens."""
        return max(0.0, self._running[token].command.due_at() - time.monotonic())

    def failure(self, token: str) -> str | None:
        """Why the last runner-kill of this attempt failed."""
        return self._failures.get(token)

    def drive(self, store: Store, job: Job, line: str) -> bool:
        """Start the runner-kill `line` for the job's latest attempt, or check on it.

        True once it has succeeded. If it fails, the reason becomes the job's error, and the next call starts it again.
        """
        token = store.token(job)
        try:
            if token not in self._running:
                kill_environment = environment(self._environment, job, token, store.path)
                self._running[token] = _Kill(line, job, kill_environment)
                return False
            kill = self._running[token]
            if not kill.is_over():
                return False
            del self._running[token]
            failure = kill.failure
        except CannotStart as error:
            failure = str(error)
        if failure is None:
            self._failures.pop(token, None)
            return True
        failure = f"may still run: runner-kill: {failure}"
        if failure not in (job.error, self._failures.get(token)):
            self._failures[token] = failure
            self._log(f"{job.id} {failure}; trying again")
            store.note(job, failure)
        return False


class _Kill:
    """One run of a runner-kill."""

    def __init__(self, line: str, job: Job, environment: dict[bytes, bytes]) -> None:
        """Start it. Raises CannotStart."""
        self._job = job._replace(timeout=KILL_TIMEOUT)
        self._output = Output(KILL_OUTPUT)
        null = os.open(os.devnull, os.O_RDONLY)
        try:
            invocation = Invocation([b"/bin/sh", b"-c", encode(line)], b"/", environment, null)
            self.command = Command(invocation, KILL_TIMEOUT, KILL_GRACE, self._output)
        finally:
            os.close(null)

    def is_over(self) -> bool:
        self.command.read_all()
        self.command.check()
        return self.command.outcome is not None

    @property
    def failure(self) -> str | None:
        """Why the attempt may still be running; None if the runner-kill succeeded."""
        assert self.command.outcome
        reason = describe(self._job, self.command.outcome)[1]
        if reason is None:
            return None
        printed = b"".join(data for _, _, data in self._output.pending().fresh)
        lines = [line.strip() for line in printed.decode("utf-8", "replace").split("\n")]
        return ": ".join([reason, *[line for line in lines if line][-1:]])
