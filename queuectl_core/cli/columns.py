"""The columns that `list --columns` can show."""

from __future__ import annotations

from ..lifecycle import presentable
from ..values import span
from .tables import local, table, when

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..lifecycle import Job
    from ..store.search import Listed


def _took(job: Job, now: float) -> str | None:
    end = now if job.state == "processing" else job.finished_at
    return None if end is None or job.started_at is None else span(end - job.started_at)


# By name; a function of a job, why it waits, and the time.
COLUMNS: dict[str, Callable[[Job, str | None, float], object]] = {
    "id": lambda job, reason, now: job.id,
    "state": lambda job, reason, now: job.state,
    "tries": lambda job, reason, now: f"{job.attempts}/{job.max_retries + 1}",
    "when": lambda job, reason, now: when(job, now),
    "queue": lambda job, reason, now: job.queue,
    "why": lambda job, reason, now: job.error or reason,
    "command": lambda job, reason, now: job.command,
    "took": lambda job, reason, now: _took(job, now),
    "exit": lambda job, reason, now: job.exit_code,
    "priority": lambda job, reason, now: job.priority,
    "created": lambda job, reason, now: local(job.created_at),
    "started": lambda job, reason, now: local(job.started_at),
    "finished": lambda job, reason, now: local(job.finished_at),
    "directory": lambda job, reason, now: job.cwd,
    "unique": lambda job, reason, now: job.unique_key,
}
NUMBERS = ("tries", "took", "exit", "priority")


def columns_table(jobs: Sequence[Listed], names: Sequence[str], now: float) -> None:
    """Print these columns of the jobs."""
    headers = [(">" if name in NUMBERS else "") + name.upper() for name in names]
    table(headers, [_row(job, reason, names, now) for job, reason in jobs])


def _row(job: Job, reason: str | None, names: Sequence[str], now: float) -> list[object]:
    try:
        return [COLUMNS[name](job, reason, now) for name in names]
    except (TypeError, ValueError, OverflowError):
        job = presentable(job)
        return [COLUMNS[name](job, reason, now) for name in names]
