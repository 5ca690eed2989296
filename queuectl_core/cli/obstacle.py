"""Why a job isn't running, and the command that helps: for commands that wait for it."""

from __future__ import annotations

import time

from ..phrases import waits
from ..suggestion import suggestion
from ..workers import fleet
from .terminal import tell

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
        return f"{SUSPENDED}; run: {suggestion('continue', job.id)}" if job.is_suspended else None
    reason = store.reason(job)
    if reason is not None and reason.partition(",")[0] == "held":
        return f"{reason}; run: {suggestion('release', job.id)}"
    if job.waits_for:
        needed = _first_needed(store, job)
        why = obstacle(store, needed) if needed else None
        return f"{reason}; job {needed.id}: {why}" if needed and why else reason
    # The rows of dead workers count as workers until they are rescued.
    if reason == NO_WORKER or (reason == "workers busy" and not fleet.live_workers(store)):
        return f"{NO_WORKER}; run: {START}"
    if reason is not None and reason.partition(",")[0] == "paused":
        return f"queue {job.queue} is {reason}; run: {suggestion('resume', job.queue)}"
    if reason == "all paused":
        return "all queues are paused; run: queuectl resume"
    return waits(job, reason, time.time())


def is_lasting(why: str | None) -> bool:
    """Whether an obstacle ends only if a user does something. Supervisors replace dead workers."""
    return why is not None and "; run: " in why and not why.startswith(DEAD_WORKER)


def tell_if_no_workers(store: Reader) -> None:
    """Say so if nothing runs that could stop the processes of a running job, let them continue, or end them."""
    if not any(fleet.is_running(store, row) for row in store.workers()):
        tell(f"no workers are running; run: {START}")


def _first_needed(store: Reader, job: Job) -> Job | None:
    """A job that this one waits for, directly or indirectly, and that waits for no other or is held itself."""
    seen = {job.seq}
    while job.waits_for and (len(seen) == 1 or not job.held):
        unmet = (store.find(id) for id, _, is_met, _ in store.needs(job) if not is_met)
        needed = next((found for found in unmet if found and found.seq not in seen), None)
        if needed is None:
            return None
        seen.add(needed.seq)
        job = needed
    return job
