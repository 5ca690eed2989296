"""Tables and sheets for people.

On a terminal, a table fits: it drops its least useful columns, then shortens the widest. Anywhere else it has all its
columns in full, without symbols and colors, so scripts can rely on it (better: on --json).

Control characters in ids, commands and errors never reach the terminal: text is escaped (`\\n`, `\\x1b`, `\\u202e`).
"""

from __future__ import annotations

from ..grid import Column, cell, widths_of
from ..lifecycle import malformed, presentable
from ..phrases import (
    ATTEMPT_COLUMNS,
    JOB_COLUMNS,
    LOOKS,
    SLOT_COLUMN,
    WORKER_COLUMNS,
    attempt_row,
    job_row,
    local,
    outcome,
    sheet,
    took,
    worker_row,
)
from ..values import escape
from .terminal import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..grid import Alternatives
    from ..lifecycle import Job
    from ..records import Attempt, Needs, Running, Worker


def table(headers: Sequence[str | Column], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on stdout. None is shown as "-"; a tuple has alternatives, the longest first.

    A plain title is a column that shrinks; one that starts with ">" is right-aligned, and shrinks last. Cells of a
    column STATE get symbols and colors.
    """
    columns = [_column(header) for header in headers]
    lines: list[list[Alternatives]] = [[(column.title, column.short or column.title) for column in columns]]
    for row in rows:
        lines.append([_texts(value, column) for value, column in zip(row, columns)])
    widths = widths_of(columns, lines, terminal.width())
    for number, line in enumerate(lines):
        cells = [_cell(*parts) for parts in zip(line, columns, widths) if parts[-1]]
        text = "  ".join(cells).rstrip()
        print(f"\033[1m{text}\033[0m" if number == 0 and terminal.uses_color() else text)


def _cell(texts: Alternatives, column: Column, room: int) -> str:
    text = cell(texts, column, room, terminal.ellipsis())
    return _colored(text, texts[0].split()[-1]) if column.title == "STATE" and texts[0] else text


def _column(header: str | Column) -> Column:
    if isinstance(header, Column):
        return header
    return Column(header[1:], right=True) if header.startswith(">") else Column(header, least=8)


def _texts(value: object, column: Column) -> Alternatives:
    if isinstance(value, tuple):
        return tuple(map(escape, value))
    text = "-" if value is None else escape(value)
    return (_with_symbol(text) if column.title == "STATE" else text,)


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


def jobs_table(jobs: Sequence[tuple[Job, str | None]], last: Mapping[int, Attempt], now: float) -> None:
    """Print pairs of a job and the reason why it waits. `last` has each job's last attempt, by the job's seq."""
    columns = list(JOB_COLUMNS)
    rows = [job_row(job, reason, last.get(job.seq), now) for job, reason in jobs]
    if any(job.slot for job, _ in jobs):
        place = [column.title for column in columns].index("WHY")
        columns.insert(place, SLOT_COLUMN)
        rows = [(*row[:place], job.slot, *row[place:]) for row, (job, _) in zip(rows, jobs)]
    if terminal.width() is not None and len({job.queue for job, _ in jobs}) == 1:
        place = [column.title for column in columns].index("QUEUE")
        del columns[place]
        rows = [row[:place] + row[place + 1 :] for row in rows]
    table(columns, rows)


def job_sheet(
    job: Job, reason: str | None, needs: Needs, last: Attempt | None, now: float, waiters: Sequence[str] = ()
) -> None:
    """Print everything about one job, one line per field. `last` is its last attempt."""
    if malformed(job):
        job = presentable(job)
    for name, value in sheet(job, reason, needs, last, now, waiters).items():
        if name == "state":
            state, _, detail = str(value).partition(" ")
            print(f"{name:<13} {_colored(f'{_with_symbol(state)} {detail}', state)}")
        else:
            print(f"{name:<13} {escape(value)}")


def attempt_title(attempt: Attempt) -> str:
    """An attempt in a few words, such as "attempt 1, 2026-11-24 15:04:05, 4s: exit 1"."""
    duration = "" if attempt.finished_at is None else f", {took(attempt)}"
    return f"attempt {attempt.attempt}, {local(attempt.started_at)}{duration}: {outcome(attempt)}"


def attempts_table(attempts: Sequence[Attempt]) -> None:
    """Print the attempts of a job."""
    table(ATTEMPT_COLUMNS, map(attempt_row, attempts))


def workers_table(rows: Sequence[Worker], running: Running, now: float) -> None:
    """Print workers and what each is doing."""
    table(WORKER_COLUMNS, [worker_row(row, running.get(row.id), now) for row in rows])
