"""Rows to tables and JSON: what people and scripts see.

Nothing here lets a raw control character of an id, a command or an error reach a terminal: text in
tables is escaped (`\\n`, `\\x1b`, `\\u202e`), and JSON is ASCII.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

from .errors import BadInput
from .jobspec import variables
from .lifecycle import WAITING, Job
from .values import escape, iso, span

TYPE_CHECKING = False
if TYPE_CHECKING:  # Complaints are rendered too, also that there is no SQLite.
    from .store import Attempt, Worker

COLOURS = {
    "pending": "36",
    "processing": "34",
    "completed": "32",
    "failed": "33",
    "dead": "31",
    "cancelled": "35",
    "idle": "32",
    "busy": "34",
    "stopping": "33",
}

COLOUR_MODE = ["auto"]  # What --color says.

JOB_FIELDS = (
    "id command state attempts max_retries created_at updated_at queue priority run_at started_at"
    " finished_at exit_code error cwd env backoff_base backoff_max timeout kill_grace output_limit"
    " bury_on retry_only_on defer_limit deferrals unique_key stdin worker"
).split()
TIMES = frozenset(("created_at", "updated_at", "run_at", "started_at", "finished_at"))


# --- JSON ----------------------------------------------------------------------------------------


def job_json(job: Job, reason: str | None) -> dict[str, object]:
    """A job as an object: times in ISO 8601, durations in seconds; `reason` is why it waits."""
    made = {}
    for field in JOB_FIELDS:
        value = getattr(job, field)
        made[field] = iso(value) if field in TIMES else _number(value)
    try:
        made["env"] = variables(job.env)
    except BadInput:
        made["env"] = None  # Foreign SQL stored what is none: the job cannot be started.
    made["reason"] = reason
    return made


def _number(value: object) -> object:
    """2 rather than 2.0: SQLite keeps some columns as floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def print_json(value: object) -> None:
    """One JSON value on stdout, indented."""
    import json

    print(json.dumps(value, indent=2))


def print_json_array(items: Iterable[object]) -> None:
    """One JSON array on stdout, one item a line, written as the items come."""
    import json

    before = "["
    for item in items:
        sys.stdout.write("%s\n%s" % (before, json.dumps(item)))
        before = ","
    print("[]" if before == "[" else "\n]")


# --- tables --------------------------------------------------------------------------------------


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on stdout; on a terminal, its widest columns are cut until it fits.

    A column whose head starts with ">" is aligned to the right. None is shown as "-".
    """
    right = [head.startswith(">") for head in heads]
    lines = [[head.lstrip(">") for head in heads]]
    lines += [["-" if cell is None else escape(cell) for cell in row] for row in rows]
    widths = _fitting([max(map(_width, column)) for column in zip(*lines)], terminal_width())
    for number, line in enumerate(lines):
        cells = [_cut(cell, width) for cell, width in zip(line, widths)]
        padded = [_pad(cell, width, to_right) for cell, width, to_right in zip(cells, widths, right)]
        text = "  ".join((*padded[:-1], padded[-1] if right[-1] else cells[-1]))
        print(_coloured(text.rstrip(), line, bold=number == 0))


def _fitting(widths: list[int], room: int | None) -> list[int]:
    """The widths of columns, the widest of them lowered until all fit into `room` columns."""
    if room is None:
        return widths
    room -= 2 * (len(widths) - 1)
    highest = max(widths)
    while highest > 1 and sum(min(width, highest) for width in widths) > room:
        highest -= 1
    fitting = [min(width, highest) for width in widths]
    for column, width in enumerate(widths):  # What rounding left over.
        fitting[column] += min(width - fitting[column], max(0, room - sum(fitting)))
    return fitting


def _pad(cell: str, width: int, to_right: bool) -> str:
    blank = " " * (width - _width(cell))
    return blank + cell if to_right else cell + blank


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _cut(text: str, room: int) -> str:
    if _width(text) <= room:
        return text
    text = text[:room]
    while _width(text) > room - 1:
        text = text[:-1]
    return text + "…"


def _coloured(text: str, cells: list[str], bold: bool) -> str:
    if not colour_is_wanted():
        return text
    if bold:
        return "\033[1m%s\033[0m" % text
    for cell in cells:
        if cell in COLOURS:
            return text.replace(cell, "\033[%sm%s\033[0m" % (COLOURS[cell], cell), 1)
    return text


def colour_is_wanted() -> bool:
    """On a terminal that can, unless NO_COLOR (no-color.org) is set; or as --color says."""
    if COLOUR_MODE != ["auto"]:
        return COLOUR_MODE == ["always"]
    return (
        sys.stdout is not None
        and sys.stdout.isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
    )


def terminal_width() -> int | None:
    """Columns of the terminal on stdout; None where there is none: then nothing is cut."""
    try:
        return max(20, os.get_terminal_size(1).columns)
    except (OSError, ValueError):
        return None


# --- what is shown of jobs, attempts and workers -------------------------------------------------


def jobs_table(jobs: Sequence[tuple[Job, str | None]], now: float) -> None:
    """Jobs for people. The last column but one says why: why it waits, or why it failed."""
    several = any(job.queue != "default" for job, _ in jobs)
    heads = ["ID", "STATE", ">TRIES", "WHEN", *(["QUEUE"] if several else []), "WHY", "COMMAND"]
    rows = [
        (
            job.id,
            job.state,
            "%d/%d" % (job.attempts, job.max_retries + 1),
            when(job, now),
            *([job.queue] if several else []),
            job.error or reason,
            job.command,
        )
        for job, reason in jobs
    ]
    table(heads, rows)


def when(job: Job, now: float) -> str:
    """What the clock says of a job: "in 4s", "for 2m10s", "3h02m ago"."""
    if job.state in WAITING:
        return "in " + span(job.run_at - now) if job.run_at > now else span(now - job.created_at)
    if job.state == "processing":
        return "for " + span(now - job.started_at)
    return span(now - job.finished_at) + " ago"


def job_sheet(
    job: Job, reason: str | None, needs: Sequence[tuple[str, str, int]], now: float
) -> None:
    """All about one job, a line each; `needs` as store.needs() tells it."""
    lines = {
        "id": job.id,
        "state": "%s (%s)" % (job.state, when(job, now)),
        "reason": reason,
        "error": job.error,
        "after": ", ".join("%s (%s)" % (id, state) for id, state, _ in needs) or None,
        "command": job.command,
        "queue": job.queue,
        "priority": job.priority,
        "attempts": "%d of %d" % (job.attempts, job.max_retries + 1),
        "directory": job.cwd,
        "environment": job.env,
        "created": local(job.created_at),
        "not before": local(job.run_at) if job.run_at > job.created_at else None,
        "started": local(job.started_at),
        "finished": local(job.finished_at),
        "worker": job.worker,
        "unique": job.unique_key,
        "stdin": None if job.stdin is None else "%d bytes" % job.stdin,
        "bury on": job.bury_on,
        "retry only on": job.retry_only_on,
        "deferrals": "%d of %d" % (job.deferrals, job.defer_limit) if job.deferrals else None,
        "backoff": "%g ** n, at most %s" % (job.backoff_base, span(job.backoff_max)),
        "timeout": span(job.timeout) if job.timeout else "none",
    }
    for name, value in lines.items():
        if value is not None:
            print("%-13s %s" % (name, escape(value)))


def attempts_table(attempts: Sequence[Attempt]) -> None:
    """The history of a job."""
    rows = [
        (
            attempt.attempt,
            local(attempt.started_at),
            None if attempt.finished_at is None else span(attempt.finished_at - attempt.started_at),
            attempt.worker,
            _ending(attempt),
        )
        for attempt in attempts
    ]
    table((">ATTEMPT", "STARTED", ">TOOK", ">WORKER", "ENDED"), rows)


def _ending(attempt: Attempt) -> str:
    if attempt.outcome is None:
        return "running"
    return attempt.error or ("exit 0" if attempt.outcome == "exit" else attempt.outcome)


def attempts_json(attempts: Sequence[Attempt]) -> list[dict[str, object]]:
    """The history of a job, as `show --json` has it."""
    return [
        {
            "attempt": attempt.attempt,
            "worker": attempt.worker,
            "started_at": iso(attempt.started_at),
            "finished_at": iso(attempt.finished_at),
            "outcome": attempt.outcome,
            "exit_code": attempt.exit_code,
            "error": attempt.error,
            "output_dropped": attempt.dropped,
        }
        for attempt in attempts
    ]


def worker_json(row: Worker, running: dict[int, tuple[str, float]]) -> dict[str, object]:
    """A worker as an object; `running` as store.running() tells it."""
    job, since = running.get(row.id) or (None, None)
    return {
        "id": row.id,
        "pid": row.pid,
        "state": worker_state(row, job),
        "job": job,
        "job_started_at": iso(since),
        "queues": row.queues.split(",") if row.queues else None,
        "started_at": iso(row.started_at),
        "version": row.version,
    }


def worker_state(row: Worker, job: str | None) -> str:
    """What a worker does: stopping, busy or idle."""
    return "stopping" if row.wanted != "run" else "busy" if job else "idle"


def workers_table(rows: Sequence[Worker], running: dict[int, tuple[str, float]], now: float) -> None:
    """Workers for people."""
    lines = []
    for row in rows:
        job, since = running.get(row.id) or (None, None)
        lines.append(
            (
                row.id,
                row.pid,
                worker_state(row, job),
                job,
                None if since is None else span(now - since),
                span(now - row.started_at),
                row.queues or "all",
            )
        )
    table((">WORKER", ">PID", "STATE", "JOB", ">SINCE", ">UP", "QUEUES"), lines)


def local(seconds: float | None) -> str | None:
    """A local time for people: 2026-11-24 15:04:05."""
    import time

    return None if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
