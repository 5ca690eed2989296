"""The rows of the queue's file as values: processes, workers, attempts and their output.

Jobs are in lifecycle.py, new jobs in jobspec.py. Times are UTC epoch seconds.
"""

from __future__ import annotations

from .typed import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Dict, List, Tuple

    # A piece of output: its position, its stream (1 stdout, 2 stderr), its bytes.
    Chunk = Tuple[int, int, bytes]
    # For each worker that holds a job: the job's id and when the attempt started.
    Running = Dict[int, Tuple[str, float]]
    # For each queue, how many of its jobs are in each state.
    Counts = Dict[str, Dict[str, int]]
    # The jobs that a job was told to wait for: (id, state, whether that is met).
    Needs = List[Tuple[str, str, int]]


class Identity(NamedTuple):
    """One process, for all time: a PID alone is reused.

    `boot` is the boot of the machine and the PID namespace, `birth` is when the process started, in whatever
    unit the system reports (see workers/identity.py).
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
        """What it is doing, given the id of the job that it holds: "stopping", "busy" or "idle"."""
        return "stopping" if self.wanted != "run" else "busy" if job else "idle"

    def takes(self, queue: str) -> bool:
        """Whether it takes jobs of this queue."""
        return self.queues is None or queue in self.queues.split(",")


def worker_from(row: Sequence[Any]) -> Worker:
    """A Worker from the columns sql.WORKER_COLUMNS."""
    id, role, supervisor, pid, boot, birth, *rest = row
    return Worker(id, role, supervisor, Identity(pid, boot, birth), *rest)


class Attempt(NamedTuple):
    """A row of queuectl_attempts. `outcome` is None while it runs; `dropped` counts bytes of output not kept."""

    attempt: int
    worker: int
    started_at: float
    finished_at: float | None
    outcome: str | None
    exit_code: int | None
    error: str | None
    dropped: int


class NewOutput(NamedTuple):
    """What an attempt printed since its output was last stored.

    `fresh` are chunks to add, `stale` positions of stored chunks to delete, and `dropped` how many bytes of the
    attempt's output were not kept so far.
    """

    fresh: list[Chunk]
    stale: list[int]
    dropped: int


NO_OUTPUT = NewOutput([], [], 0)
