"""Why a job isn't running, and the command that helps: for commands that wait for it."""

from __future__ import annotations

import time

from ..phrases import waits
from ..workers import fleet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..lifecycle import Job
    from ..store.reader import Reader

NO_WORKER = "no worker"
DEAD_WORKER = "its worker is dead"
SUSPENDED = "suspended"
START = "queuectl worker start"


def obstacle(store: Reader, job: Job) -> str | None:
    """Why a job isn't running, such as "no worker; run: queuectl worker start"; None if it runs or has finished."""
    if job.state == "processing":
        rows = [row for row in store.workers() if row.id == job.worker]
        is_lost = not any(fleet.is_running(store, row) for row in rows)
        if is_lost:
            return f"{DEAD_WORKER}; run: {START}"
        return f"{SUSPENDED}; run: {continue_line(job.id)}" if job.suspend == 1 else None
    reason = store.reason(job)
    # The rows of dead workers count as workers until they are rescued.
    if reason == NO_WORKER or (reason == "workers busy" and not fleet.live_workers(store)):
        return f"{NO_WORKER}; run: {START}"
    if reason is not None and reason.partition(",")[0] == "paused":
        from shlex import quote

        return f"queue {job.queue} is {reason}; run: queuectl resume {quote(job.queue)}"
    if reason == "all paused":
        return "all queues are paused; run: queuectl resume"
    return waits(job, reason, time.time())


def continue_line(id: str) -> str:
    """The command that lets a suspended job continue."""
    from ..views.commands import on_job, shell_line  # Deferred: few jobs are suspended.

    return shell_line(["queuectl", *on_job("continue", id)])
