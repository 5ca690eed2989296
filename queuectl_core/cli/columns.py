"""The columns that `list --columns` can show."""

from __future__ import annotations

from ..grid import Column
from ..jobspec import schedule_of
from ..lifecycle import presentable
from ..phrases import JOB_COLUMNS, local, ran, when, why
from .tables import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..lifecycle import Job
    from ..records import Attempt
    from ..store.search import Listed

# By name; a function of a job, why it waits, its last attempt, and the time.
COLUMNS: dict[str, Callable[[Job, str | None, Attempt | None, float], object]] = {
    "id": lambda job, reason, last, now: job.id,
    "state": lambda job, reason, last, now: job.state,
    "tries": lambda job, reason, last, now: f"{job.attempts}/{job.max_retries + 1}",
    "when": lambda job, reason, last, now: when(job, last, now),
    "queue": lambda job, reason, last, now: job.queue,
    "why": lambda job, reason, last, now: why(job, reason, now),
    "command": lambda job, reason, last, now: job.command,
    "took": lambda job, reason, last, now: ran(job, last, now),
    "exit": lambda job, reason, last, now: job.exit_code,
    "priority": lambda job, reason, last, now: job.priority,
    "created": lambda job, reason, last, now: local(job.created_at),
    "started": lambda job, reason, last, now: local(job.started_at),
    "finished": lambda job, reason, last, now: local(job.finished_at),
    "directory": lambda job, reason, last, now: job.cwd,
    "unique": lambda job, reason, last, now: job.unique_key,
    "schedule": lambda job, reason, last, now: (schedule_of(job.env) or [None])[0],
    "slot": lambda job, reason, last, now: job.slot,
}
NUMBERS = ("exit", "priority", "slot")
LABELS = "labels"  # The one column that isn't in COLUMNS.


def columns_table(
    jobs: Sequence[Listed],
    last: Mapping[int, Attempt],
    labels: Mapping[int, Sequence[str]],
    names: Sequence[str],
    now: float,
) -> None:
    """Print exactly these columns of the jobs. `last` and `labels` hold last attempts and labels, by the jobs' seq."""
    known = {column.title: column._replace(drop=0) for column in JOB_COLUMNS}
    columns = [known.get(name.upper(), Column(name.upper(), name in NUMBERS, least=8)) for name in names]
    rows = []
    for job, reason in jobs:
        row = _row(job, reason, last.get(job.seq), [name for name in names if name != LABELS], now)
        rows.append([",".join(labels.get(job.seq, ())) or None if name == LABELS else row[name] for name in names])
    table(columns, rows)


def _row(job: Job, reason: str | None, last: Attempt | None, names: Sequence[str], now: float) -> dict[str, object]:
    try:
        return {name: COLUMNS[name](job, reason, last, now) for name in names}
    except (TypeError, ValueError, OverflowError):
        return {name: COLUMNS[name](presentable(job), reason, last, now) for name in names}
