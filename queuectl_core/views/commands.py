"""The shell command that does what a key or a button does, and the one that ends a job's wait."""

from __future__ import annotations

from ..lifecycle import WAITING
from ..suggestion import on_job
from ..typed import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..lifecycle import Job


def set_priority(id: str, priority: int) -> list[str]:
    """The words that give a waiting job a priority."""
    return on_job(f"edit --priority {priority}", id)


class Remedy(NamedTuple):
    """What ends a job's wait, for people, and the words of the command that does it."""

    meaning: str
    words: list[str]


def remedy(job: Job, reason: str | None, needs: Sequence[tuple[str, str, int, str]] = ()) -> Remedy | None:
    """What a user can do about a wait (see queries.REASON); None if it only takes time.

    `needs`, if known, are the jobs that it waits for; otherwise the reason names the first of them.
    """
    if reason == "suspended":
        return Remedy("let it continue", on_job("continue", job.id))
    if job.state not in WAITING or not reason:
        return None
    kind, _, detail = reason.partition(" ")
    if reason == "all paused":
        return Remedy("resume all queues", ["resume"])
    if kind.rstrip(",") == "paused":
        return Remedy("resume its queue", ["resume", job.queue])
    if reason == "no worker":
        return Remedy("start a worker", ["worker", "start", "-q", job.queue])
    if reason == "workers busy":
        return Remedy("start another worker", ["worker", "start", "-q", job.queue])
    if kind.rstrip(",") == "held":
        return Remedy("release it", on_job("release", job.id))
    if kind == "retrying":
        return Remedy("retry it now", on_job("retry", job.id))
    if kind == "delayed":
        return Remedy("start it now", on_job("edit --delay 0", job.id))
    if kind == "limit":
        return Remedy("remove the limit", ["config", "unset", f"{job.queue}.limit"])
    if kind == "rate":
        return Remedy("remove the rate", ["config", "unset", f"{job.queue}.rate"])
    stuck = next((id for id, state, is_met, _ in needs if not is_met and state in ("dead", "cancelled")), None)
    if stuck is None and kind == "after" and detail.partition(" (")[2].startswith(("dead)", "cancelled)")):
        stuck = detail.partition(" (")[0]
    return None if stuck is None else Remedy("retry the job that it waits for", on_job("retry", stuck))
