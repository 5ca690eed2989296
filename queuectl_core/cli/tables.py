"""Tables and sheets for people.

On a terminal, a table fits: it drops its least useful columns, then shortens the widest. Anywhere else it has all its
columns in full, without symbols and colors, so scripts can rely on it (better: on --json).

Control characters in ids, commands and errors never reach the terminal: text is escaped (`\\n`, `\\x1b`, `\\u202e`).
"""

from __future__ import annotations

from ..lifecycle import malformed, presentable
from ..typed import NamedTuple
from ..values import escape, span
from .cells import cut, cut_middle, pad, width
from .terminal import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Tuple

    from ..lifecycle import Job
    from ..records import Attempt, Needs, Running, Worker

    Alternatives = Tuple[str, ...]  # The texts of a cell, the longest first.


class Look(NamedTuple):
    """How a state looks: a symbol of one column, one for terminals without Unicode, and a color's SGR code."""

    symbol: str
    ascii: str
    color: str


# No symbol's East Asian Width is ambiguous: some terminals draw those two columns wide.
LOOKS = {
    "pending": Look("◦", ".", "36"),
    "processing": Look("▸", ">", "34"),
    "completed": Look("✓", "+", "32"),
    "failed": Look("↻", "~", "33"),
    "dead": Look("✗", "x", "31"),
    "cancelled": Look("⊘", "-", "35"),
    "idle": Look("◦", ".", "32"),
    "busy": Look("▸", ">", "34"),
    "stopping": Look("⊘", "-", "33"),
}


MOST_NEEDS = 5  # Of the jobs that a job waits for, in `show`.


class Column(NamedTuple):
    """A column of a table.

    `least` is how far it shrinks to make the table fit (0: not at all, while others can). Columns with a `drop` are
    dropped before that, the lowest first. `keeps_end`: it is shortened in the middle.
    """

    title: str
    right: bool = False
    least: int = 0
    drop: int = 0
    keeps_end: bool = False


def table(headers: Sequence[str | Column], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on stdout. None is shown as "-"; a tuple has alternatives, the longest first.

    A plain title is a column that shrinks; one that starts with ">" is right-aligned, and shrinks last. Cells of a
    column STATE get symbols and colors.
    """
    columns = [_column(header) for header in headers]
    lines: list[list[Alternatives]] = [[(column.title,) for column in columns]]
    for row in rows:
        lines.append([_texts(cell, column) for cell, column in zip(row, columns)])
    natural = [max(width(cell[0]) for cell in cells) for cells in zip(*lines)]
    widths = _fit(columns, natural, terminal.width())
    for number, line in enumerate(lines):
        cells = [_cell(*parts) for parts in zip(line, columns, widths) if parts[-1]]
        text = "  ".join(cells).rstrip()
        print(f"\033[1m{text}\033[0m" if number == 0 and terminal.uses_color() else text)


def _cell(texts: Alternatives, column: Column, room: int) -> str:
    """The first text that fits, else the last one shortened, in exactly `room` columns."""
    text = next((text for text in texts if width(text) <= room), texts[-1])
    shortened = (cut_middle if column.keeps_end else cut)(text, room, terminal.ellipsis())
    padded = pad(shortened, room, column.right)
    return _colored(padded, text.split()[-1]) if column.title == "STATE" and text else padded


def _column(header: str | Column) -> Column:
    if isinstance(header, Column):
        return header
    return Column(header[1:], right=True) if header.startswith(">") else Column(header, least=8)


def _texts(cell: object, column: Column) -> Alternatives:
    if isinstance(cell, tuple):
        return tuple(map(escape, cell))
    text = "-" if cell is None else escape(cell)
    return (_with_symbol(text) if column.title == "STATE" else text,)


def _fit(columns: Sequence[Column], natural: list[int], room: int | None) -> list[int]:
    """The width of each column so that all fit into `room` terminal columns; 0 drops it. None means no limit."""
    if room is None:
        return natural
    least = [min(wanted, column.least or wanted) for column, wanted in zip(columns, natural)]
    widths = list(natural)
    for _, number in sorted((column.drop, number) for number, column in enumerate(columns) if column.drop):
        if _total(least) <= room:
            break
        least[number] = widths[number] = 0
    widths = _limited(_limited(widths, least, room), [min(1, floor) for floor in least], room)
    for number, wanted in enumerate(natural):  # Hand out the columns that a common limit leaves over.
        if widths[number]:
            widths[number] += min(wanted - widths[number], max(0, room - _total(widths)))
    return widths


def _limited(widths: list[int], least: list[int], room: int) -> list[int]:
    """These widths with the widest reduced until they fit, none below its least."""
    limit = max(widths)
    while _total(widths) > room and limit > 1:
        limit -= 1
        widths = [min(wanted, max(limit, floor)) for wanted, floor in zip(widths, least)]
    return widths


def _total(widths: Sequence[int]) -> int:
    """The width of a table with these columns."""
    return sum(wanted + 2 for wanted in widths if wanted) - 2


def _with_symbol(state: str) -> str:
    """The state after its symbol, on a terminal."""
    if state not in LOOKS or terminal.width() is None:
        return state
    look = LOOKS[state]
    return f"{look.symbol if terminal.shows_unicode() else look.ascii} {state}"


def _colored(text: str, state: str) -> str:
    if state not in LOOKS or not terminal.uses_color():
        return text
    return f"\033[{LOOKS[state].color}m{text}\033[0m"


# --- jobs, attempts and workers ---------------------------------------------------------------------


JOB_COLUMNS = (
    Column("ID", least=12),
    Column("STATE"),
    Column("TRIES", right=True, drop=1),
    Column("WHEN", drop=3),
    Column("TOOK", right=True, drop=2),
    Column("QUEUE", least=8, drop=4),
    Column("WHY", least=18, keeps_end=True),
    Column("COMMAND", least=12, drop=5),
)


def jobs_table(jobs: Sequence[tuple[Job, str | None]], last: Mapping[int, Attempt], now: float) -> None:
    """Print pairs of a job and the reason why it waits. `last` has each job's last attempt, by the job's seq."""
    columns = list(JOB_COLUMNS)
    rows = [_job_row(job, reason, last.get(job.seq), now) for job, reason in jobs]
    if terminal.width() is not None and len({job.queue for job, _ in jobs}) == 1:
        place = [column.title for column in columns].index("QUEUE")
        del columns[place]
        rows = [row[:place] + row[place + 1 :] for row in rows]
    table(columns, rows)


def _job_row(job: Job, reason: str | None, last: Attempt | None, now: float) -> tuple[object, ...]:
    try:
        tries = f"{job.attempts}/{job.max_retries + 1}"
        times = when(job, last, now), ran(job, last, now)
        explanation = why(job, reason, now)
    except (TypeError, ValueError, OverflowError):
        return _job_row(presentable(job), reason, last, now)
    return (job.id, job.state, tries, *times, job.queue, explanation, job.command)


def when(job: Job, last: Attempt | None, now: float) -> str:
    """When a job ended, last failed or was enqueued ("3h02m ago"), or how long it has been running ("for 2m10s")."""
    if job.state == "processing" and job.started_at is not None:
        return f"for {span(now - job.started_at)}"
    moment = last.finished_at if last and job.state == "failed" else job.finished_at
    return f"{span(now - (job.created_at if moment is None else moment))} ago"


def ran(job: Job, last: Attempt | None, now: float) -> str | None:
    """How long a job has been running, or else its last attempt ran."""
    if job.state == "processing" and job.started_at is not None:
        return span(now - job.started_at)
    return took(last)


def took(attempt: Attempt | None) -> str | None:
    """How long an attempt ran; None if it hasn't ended."""
    if attempt is None or attempt.finished_at is None:
        return None
    return span(attempt.finished_at - attempt.started_at)


def waits(job: Job, reason: str | None, now: float) -> str | None:
    """The reason why a job waits, with the time left: "retrying in 4s"."""
    verb = {"delayed": "starts", "retrying": "retrying"}.get(reason or "")
    if verb is None:
        return reason
    return f"{verb} in {span(job.run_at - now)}" if job.run_at > now else f"{verb} now"


def why(job: Job, reason: str | None, now: float) -> str | Alternatives | None:
    """Why a job failed and why it waits."""
    return _reasons(job.error, waits(job, reason, now))


def _reasons(error: str | None, reason: str | None) -> str | Alternatives | None:
    """Why a job failed and why it waits: "exit 127 (command not found), retrying in 4s", or less if that's too long."""
    if not error:
        return reason
    code = str(error).partition(" (")[0]
    return (f"{error}, {reason}", f"{code}, {reason}", reason) if reason else (error, code)


def job_sheet(job: Job, reason: str | None, needs: Needs, last: Attempt | None, now: float) -> None:
    """Print everything about one job, one line per field. `last` is its last attempt."""
    if malformed(job):
        job = presentable(job)
    lines = {
        "id": job.id,
        "state": f"{_with_symbol(job.state)} ({when(job, last, now)})",
        "reason": waits(job, reason, now),
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
        "took": took(last),
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
            text = escape(value)
            print(f"{name:<13} {_colored(text, job.state) if name == 'state' else text}")


def _after(needs: Needs) -> str | None:
    """The first jobs that a job waits for, those that it still waits for before the others; None if there are none."""
    first = sorted(needs, key=lambda need: (need[2], need[1] not in ("dead", "cancelled")))[:MOST_NEEDS]
    more = f" and {len(needs) - len(first):,} more" if len(needs) > len(first) else ""
    return ", ".join(f"{id} ({state})" for id, state, _ in first) + more or None


def attempt_title(attempt: Attempt) -> str:
    """An attempt in a few words, such as "attempt 1, 2026-11-24 15:04:05, 4s: exit 1"."""
    duration = "" if attempt.finished_at is None else f", {took(attempt)}"
    return f"attempt {attempt.attempt}, {local(attempt.started_at)}{duration}: {_outcome(attempt)}"


def attempts_table(attempts: Sequence[Attempt]) -> None:
    """Print the attempts of a job."""
    rows = [
        (
            attempt.attempt,
            local(attempt.started_at),
            took(attempt),
            attempt.worker,
            _reasons(_outcome(attempt), None),
        )
        for attempt in attempts
    ]
    columns = (
        Column("ATTEMPT", right=True),
        Column("STARTED"),
        Column("TOOK", right=True),
        Column("WORKER", right=True, drop=1),
        Column("ENDED", least=18, keeps_end=True),
    )
    table(columns, rows)


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
    columns = (
        Column("WORKER", right=True),
        Column("PID", right=True, drop=2),
        Column("STATE"),
        Column("JOB", least=10),
        Column("SINCE", right=True),
        Column("UP", right=True, drop=1),
        Column("QUEUES", least=8),
    )
    table(columns, lines)


def local(seconds: float | None) -> str | None:
    """Local time, such as 2026-11-24 15:04:05; None for None."""
    import time

    return None if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
