"""Rows of the queue file as typed values: processes, workers, attempts and their output.

Job is in lifecycle.py, NewJob in jobspec.py. Times are UTC epoch seconds.
"""

from __future__ import annotations

from .typed import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Dict, List, Tuple

    # Output: position, stream (1 stdout, 2 stderr), bytes.
    Chunk = Tuple[int, int, bytes]
    # By id of a worker that holds a job: the job's id, and when the attempt started.
    Running = Dict[int, Tuple[str, float]]
    # The number of jobs, by queue and state.
    Counts = Dict[str, Dict[str, int]]
    # An attempt in a worker's lane: worker, id, queue, attempt, started_at, finished_at, outcome, exit_code.
    Lane = Tuple[int, str, str, int, float, "float | None", "str | None", "int | None"]
    # A job's dependencies: (id, state, whether it is satisfied, "ok", "notok" or "any").
    Needs = List[Tuple[str, str, int, str]]


class Identity(NamedTuple):
    """Identifies a process for all time; PIDs are reused.

    `boot` identifies the boot and the PID namespace, and `birth` is when the process started, in whatever unit the
    system reports (see workers/identity.py).
    """

    pid: int
    boot: str
    birth: str


class Worker(NamedTuple):
    """A row of queuectl_workers: a worker or a supervisor, dead or alive.

    `queues` is a comma-separated list, or None for all queues. `wanted` is "run", "stop" or "stop-now".
    """

    id: int
    role: str
    supervisor: int | None
    identity: Identity
    queues: str | None
    wanted: str
    idle: int
    version: str
    started_at: float

    @property
    def pid(self) -> int:
        return self.identity.pid

    def state(self, job: str | None) -> str:
        """What it is doing: "stopping", "busy" or "idle". `job` is the id of the job it holds, if any."""
        return "stopping" if self.wanted != "run" else "busy" if job else "idle"

    def takes(self, queue: str) -> bool:
        """Whether it takes jobs from this queue."""
        return self.queues is None or queue in self.queues.split(",")


def worker_from(row: Sequence[Any]) -> Worker:
    """A Worker from a row of sql.WORKER_COLUMNS."""
    id, role, supervisor, pid, boot, birth, *rest = row
    queues, wanted, idle, version, started_at = rest
    identity = Identity(_number(pid), _text(boot), _text(birth))
    return Worker(id, role, supervisor, identity, _text(queues), wanted, idle, _text(version), _number(started_at))


def _number(value: Any) -> Any:
    """The number, or 0 for what another program stored in its place. None stays None."""
    return value if value is None or (isinstance(value, (int, float)) and abs(value) <= 1e11) else 0


def _text(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else str(value)


class Attempt(NamedTuple):
    """A row of queuectl_attempts. `outcome` is None while it runs; `dropped` counts the bytes of output not kept.

    `progress` is how much is done, in percent, and `progress_text` more about it, as the command has reported; or None.
    `suspended` is how many seconds it was suspended, until `suspended_at` (epoch seconds), when it was suspended again;
    None if it isn't suspended now.
    """

    attempt: int
    worker: int
    started_at: float
    finished_at: float | None
    outcome: str | None
    exit_code: int | None
    error: str | None
    dropped: int
    progress: float | None = None
    progress_text: str | None = None
    suspended: float = 0.0
    suspended_at: float | None = None

    @property
    def is_suspended(self) -> bool:
        """Whether it was suspended and hasn't been told to continue."""
        return self.suspended_at is not None and self.outcome is None

    def ran(self, now: float) -> float:
        """Seconds that it has been running, not counting the time it was suspended."""
        until = now if self.suspended_at is None else self.suspended_at
        return max(0.0, until - self.started_at - self.suspended)

    def remaining(self, now: float) -> float | None:
        """Estimated seconds until it is done, at its pace so far; None if suspended or without progress."""
        if not self.progress or self.is_suspended:
            return None
        return self.ran(now) * (100 - self.progress) / self.progress


def attempt_from(row: Sequence[Any]) -> Attempt:
    """An Attempt from its columns, whatever another program stored in them."""
    attempt, worker, started_at, finished_at, outcome, exit_code, error, dropped, progress, text, suspended, at = row
    return Attempt(
        _number(attempt),
        _number(worker),
        _number(started_at) or 0,
        _number(finished_at),
        _text(outcome),
        _number(exit_code),
        _text(error),
        _number(dropped) or 0,
        progress if isinstance(progress, (int, float)) and 0 <= progress <= 100 else None,
        _text(text),
        _number(suspended) or 0.0,
        _number(at),
    )


class Failure(NamedTuple):
    """An attempt that failed at `at` (epoch seconds): its job, and the end of its output."""

    id: str
    queue: str
    exit_code: int | None
    error: str | None
    at: float
    is_dead: bool
    tail: bytes


class NewOutput(NamedTuple):
    """What an attempt has printed since its output was last stored.

    `fresh` holds the chunks to add, `stale` the positions of stored chunks to delete, and `dropped` the number of bytes
    of the attempt's output not kept so far.
    """

    fresh: list[Chunk]
    stale: list[int]
    dropped: int


NO_OUTPUT = NewOutput([], [], 0)
