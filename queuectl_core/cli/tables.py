"""Tables and sheets for people.

Control characters in ids, commands and errors never reach the terminal: text is escaped (`\\n`, `\\x1b`, `\\u202e`).
"""

from __future__ import annotations

from ..lifecycle import WAITING, malformed, presentable
from ..values import escape, span
from .terminal import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..lifecycle import Job
    from ..records import Attempt, Needs, Running, Worker

COLORS = {
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


MOST_NEEDS = 5  # Of the jobs that a job waits for, in `show`.


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on stdout. On a terminal, the widest columns are truncated until it fits.

    A column whose header starts with ">" is right-aligned. None is shown as "-".
    """
    right = [header.startswith(">") for header in headers]
    lines = [[header.lstrip(">") for header in headers]]
    lines += [["-" if cell is None else escape(cell) for cell in row] for row in rows]
    widths = _fit([max(map(_width, column)) for column in zip(*lines)], terminal.width())
    for number, line in enumerate(lines):
        cells = [_cut(cell, width) for cell, width in zip(line, widths)]
        padded = [_pad(cell, width, to_right) for cell, width, to_right in zip(cells, widths, right)]
        text = "  ".join((*padded[:-1], padded[-1] if right[-1] else cells[-1]))
        print(_colored(text.rstrip(), line, bold=number == 0))


def _fit(widths: list[int], room: int | None) -> list[int]:
    """Column widths, the widest reduced until all fit into `room` terminal columns; None means no limit."""
    if room is None:
        return widths
    room -= 2 * (len(widths) - 1)
    limit = max(widths)
    while limit > 1 and sum(min(width, limit) for width in widths) > room:
        limit -= 1
    fitted = [min(width, limit) for width in widths]
    for column, width in enumerate(widths):  # Hand out the columns that a common limit leaves over.
        fitted[column] += min(width - fitted[column], max(0, room - sum(fitted)))
    return fitted


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


def _colored(text: str, cells: list[str], bold: bool) -> str:
    if not terminal.uses_color():
        return text
    if bold:
        return f"\033[1m{text}\033[0m"
    for cell in cells:
        if cell in COLORS:
            return text.replace(cell, f"\033[{COLORS[cell]}m{cell}\033[0m", 1)
    return text


# --- jobs, attempts and workers ---------------------------------------------------------------------


def jobs_table(jobs: Sequence[tuple[Job, str | None]], now: float) -> None:
    """Print pairs of a job and the reason why it waits. WHY says why a job waits or failed."""
    shows_queue = any(job.queue != "default" for job, _ in jobs)
    headers = ["ID", "STATE", ">TRIES", "WHEN", *(["QUEUE"] if shows_queue else []), "WHY", "COMMAND"]
    rows = [_job_row(job, reason, now, shows_queue) for job, reason in jobs]
    table(headers, rows)


def _job_row(job: Job, reason: str | None, now: float, shows_queue: bool) -> tuple[object, ...]:
    try:
        tries, at = f"{job.attempts}/{job.max_retries + 1}", when(job, now)
    except (TypeError, ValueError, OverflowError):
        return _job_row(presentable(job), reason, now, shows_queue)
    return (job.id, job.state, tries, at, *([job.queue] if shows_queue else []), job.error or reason, job.command)


def when(job: Job, now: float) -> str:
    """When a job runs, ran or ended: "in 4s", "for 2m10s", "3h02m ago"; for a ready job, how long it has waited."""
    if job.state in WAITING:
        return "in " + span(job.run_at - now) if job.run_at > now else span(now - job.created_at)
    if job.started_at is not None and job.state == "processing":
        return f"for {span(now - job.started_at)}"
    return f"{span(now - job.finished_at)} ago" if job.finished_at is not None else ""


def job_sheet(job: Job, reason: str | None, needs: Needs, now: float) -> None:
    """Print everything about one job, one line per field."""
    if malformed(job):
        job = presentable(job)
    lines = {
        "id": job.id,
        "state": f"{job.state} ({when(job, now)})",
        "reason": reason,
        "error": job.error,
        "after": _after(needs),
        "command": job.command,
        "queue": job.queue,
        "priority": job.priority,
        "attempts": f"{job.attempts} of {job.max_retries + 1}",
        "directory": job.cwd,
        "environment": job.env,
        "created": local(job.created_at),
        "not before": local(job.run_at) if job.run_at > job.created_at else None,
        "started": local(job.started_at),
        "finished": local(job.finished_at),
        "worker": job.worker,
        "unique": job.unique_key,
        "stdin": None if job.stdin is None else f"{job.stdin} bytes",
        "bury on": job.bury_on,
        "retry only on": job.retry_only_on,
        "deferrals": f"{job.deferrals} of {job.defer_limit}" if job.deferrals else None,
        "backoff": f"{job.backoff_base:g} ** n, at most {span(job.backoff_max)}",
        "timeout": span(job.timeout) if job.timeout else "none",
    }
    for name, value in lines.items():
        if value is not None:
            print(f"{name:<13} {escape(value)}")


def _after(needs: Needs) -> str | None:
    """The first jobs that a job waits for, those that it still waits for before the others; None if there are none."""
    first = sorted(needs, key=lambda need: (need[2], need[1] not in ("dead", "cancelled")))[:MOST_NEEDS]
    more = f" and {len(needs) - len(first):,} more" if len(needs) > len(first) else ""
    return ", ".join(f"{id} ({state})" for id, state, _ in first) + more or None


def attempt_title(attempt: Attempt) -> str:
    """An attempt in a few words, such as "attempt 1, 2026-11-24 15:04:05, 4s: exit 1"."""
    took = "" if attempt.finished_at is None else f", {span(attempt.finished_at - attempt.started_at)}"
    return f"attempt {attempt.attempt}, {local(attempt.started_at)}{took}: {_outcome(attempt)}"


def attempts_table(attempts: Sequence[Attempt]) -> None:
    """Print the attempts of a job."""
    rows = [
        (
            attempt.attempt,
            local(attempt.started_at),
            None if attempt.finished_at is None else span(attempt.finished_at - attempt.started_at),
            attempt.worker,
            _outcome(attempt),
        )
        for attempt in attempts
    ]
    table((">ATTEMPT", "STARTED", ">TOOK", ">WORKER", "ENDED"), rows)


def _outcome(attempt: Attempt) -> str:
    if attempt.outcome is None:
        return "running"
    return attempt.error or ("exit 0" if attempt.outcome == "exit" else attempt.outcome)


def workers_table(rows: Sequence[Worker], running: Running, now: float) -> None:
    """Print workers and what each is doing."""
    lines = []
    for row in rows:
        job, since = running.get(row.id) or (None, None)
        lines.append(
            (
                row.id,
                row.pid,
                row.state(job),
                job,
                None if since is None else span(now - since),
                span(now - row.started_at),
                row.queues or "all",
            )
        )
    table((">WORKER", ">PID", "STATE", "JOB", ">SINCE", ">UP", "QUEUES"), lines)


def local(seconds: float | None) -> str | None:
    """Local time, such as 2026-11-24 15:04:05; None for None."""
    import time

    return None if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
