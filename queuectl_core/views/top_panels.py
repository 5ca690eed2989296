"""The panels of `top`'s main screen as tables: which columns, and the cells of each row. No terminal, no clock."""

from __future__ import annotations

from ..grid import Column
from ..lifecycle import FINISHED, STATES, presentable
from ..phrases import JOB_COLUMNS, SLOT_COLUMN, job_row, last_event
from ..values import span
from .top_text import coarse, sparkline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import List, Tuple

    from ..lifecycle import Job
    from ..records import Attempt
    from .facts import Busy, Queue, Remaining
    from .top_data import Picture, Wanted
    from .top_text import Charset, Line, Value

    Rows = List[List[Value]]
    Table = Tuple[List[Column], Rows]

QUEUE_COLUMNS = [
    Column("QUEUE", least=8),
    Column("PENDING", right=True),
    Column("RUNNING", right=True),
    Column("FAILED", right=True, drop=4),
    Column("DEAD", right=True, drop=6),
    Column("COMPLETED", right=True, drop=3),
    Column("CANCELLED", right=True, drop=2),
    Column("LAST HOUR", drop=1),
    Column("LEFT", right=True),
    Column("RATE", drop=5),
    Column("NOTE", least=10),
]
WORKER_COLUMNS = [
    Column("WORKER", right=True),
    Column("PID", right=True, drop=1),
    Column("STATE"),
    Column("FOR", right=True),
    Column("LEFT", right=True, drop=4),
    Column("JOB", least=10),
    Column("COMMAND", least=18, drop=5),
    Column("QUEUES", least=8, drop=3),
    Column("UP", right=True, drop=2),
]
RECENT = 5  # Minutes of which the throughput is the mean.
LEAST_JOB = {"ID": 9, "WHY": 18, "COMMAND": 10}
# Widths that most values fit into, so that columns stay where they are while values change.
LEAST = {"STATE": 12, "WHEN": 10, "TOOK": 6, "TRIES": 5, "ID": 8, "FOR": 6, "LEFT": 6, "UP": 4, "PENDING": 8}


def queues_table(picture: Picture, charset: Charset) -> Table:
    """The queues."""
    rows = [_queue_row(queue, picture, charset) for queue in picture.queues]
    used = {"RATE": any(queue.rate for queue in picture.queues), "CANCELLED": picture.overview.counts["cancelled"]}
    return _without(QUEUE_COLUMNS, rows, [title for title, is_used in used.items() if not is_used])


def _queue_row(queue: Queue, picture: Picture, charset: Charset) -> list[Value]:
    counts = queue.counts
    limit = "" if queue.limit is None else f"/{queue.limit:,}"
    cells: list[Value] = [(queue.name, "")]
    for state in ("pending", "processing", "failed", "dead", "completed", "cancelled"):
        number = f"{counts[state]:,}" + (limit if state == "processing" else "")
        cells.append((number, state if counts[state] else "dim"))
    finished = picture.finished_by_queue.get(queue.name, ())
    cells += [
        (sparkline(finished, charset) if any(finished) else "", "completed"),
        (left(queue.remaining) if queue.waiting or queue.running else "", ""),
        (queue.rate or "", ""),
        _queue_note(queue, picture.overview.is_paused),
    ]
    return cells


def _queue_note(queue: Queue, all_paused: bool) -> Value:
    """Why a queue's jobs don't run."""
    if all_paused:
        return "all queues are paused", "warning"
    if queue.is_paused:
        return f"paused: {queue.paused_because}" if queue.paused_because else "paused", "warning"
    if queue.startable and not queue.workers:
        return "no worker", "warning"
    if queue.counts["pending"] and queue.limit is not None and queue.running >= queue.limit:
        return "at its limit", "dim"
    return (f"{queue.held:,} held", "dim") if queue.held else ("", "")


def left(remaining: Remaining) -> str:
    """An approximate time left: "~12m"; "-" if it isn't known."""
    if remaining.seconds is None:
        return "-"
    return ("" if remaining.reason == "reported" else "~") + coarse(remaining.seconds)


def workers_table(picture: Picture, now: float) -> Table:
    """The workers and what they run."""
    rows: Rows = []
    for worker in picture.overview.workers:
        id, since = picture.overview.running.get(worker.id) or (None, None)
        busy = picture.busy.get(id or "")
        rows.append(
            [
                (worker.id, ""),
                (worker.pid, "dim"),
                (worker.state(id), ""),
                ("" if since is None else span(now - since), ""),
                (progress(busy), "dim"),
                (id or "", ""),
                (busy.job.command if busy else "", "dim"),
                (worker.queues or "all", ""),
                (coarse(now - worker.started_at), "dim"),
            ]
        )
    used = {"LEFT": any(map(progress, picture.busy.values())), "COMMAND": picture.busy}
    return _without(WORKER_COLUMNS, rows, [title for title, is_used in used.items() if not is_used])


def progress(busy: Busy | None) -> str:
    """A running job's progress, and how long it will still take: "40% 2m", "~5m", "suspended", or ""."""
    if busy is None:
        return ""
    percent = "" if busy.percent is None else f"{busy.percent:.0f}% "
    if busy.job.is_suspended:
        return f"{percent}suspended"
    return (percent + ("" if busy.remaining.seconds is None else left(busy.remaining))).rstrip()


def jobs_table(jobs: Sequence[tuple[Job, str | None]], picture: Picture, now: float) -> Table:
    """Some of a picture's jobs."""
    columns = [column._replace(least=LEAST_JOB.get(column.title, column.least)) for column in JOB_COLUMNS]
    columns.insert(3, Column("PRI", right=True, drop=2))
    columns.insert(-2, SLOT_COLUMN)
    alive = {worker.id for worker in picture.overview.workers}
    rows = [_job_row(job, reason, picture.last.get(job.seq), (now, job.worker in alive)) for job, reason in jobs]
    hidden = []
    if len({job.queue for job, _ in jobs}) < 2:
        hidden.append("QUEUE")
    if not any(job.priority for job, _ in jobs):
        hidden.append("PRI")
    if not any(job.slot for job, _ in jobs):
        hidden.append("SLOT")
    return _without(columns, rows, hidden)


def _job_row(job: Job, reason: str | None, last: Attempt | None, moment: tuple[float, bool]) -> list[Value]:
    """A row. `moment` is the time, and whether the job's worker is running."""
    now, is_alive = moment
    id, state, tries, when, took, queue, why, command = job_row(job, reason, last, now)
    if state == "processing":
        took = ""  # WHEN says it.
        troubled = "its worker is dead" if not is_alive else "being cancelled" if job.cancel else None
        why = troubled or why
        why_style = "warning" if troubled or job.is_suspended else ""
    else:
        why_style = "dim" if state in FINISHED else "warning"
        try:
            when = f"{coarse(now - last_event(job, last))} ago"
        except TypeError:
            when = f"{coarse(now - last_event(presentable(job), last))} ago"
    return [
        (id, ""),
        (state, ""),
        (tries, "dim"),
        (job.priority or "", "dim"),
        (when, "dim" if state != "processing" else ""),
        (took or "", "dim"),
        (queue, ""),
        (job.slot or "", "dim"),
        (why or "", why_style),
        (command, ""),
    ]


def _without(columns: Sequence[Column], rows: Rows, titles: Sequence[str]) -> Table:
    """The table without these columns."""
    kept = [number for number, column in enumerate(columns) if column.title not in titles]
    return [columns[number] for number in kept], [[row[number] for number in kept] for row in rows]


# --- around the tables ------------------------------------------------------------------------------


def totals_line(picture: Picture, room: int, charset: Charset) -> Line:
    """How many jobs are in each state. States without jobs are left out if there is no room."""
    totals = picture.overview.counts
    for shown in (STATES, [state for state in STATES if totals[state]]):
        line: Line = [(" ", "")]
        for state in shown:
            style = state if totals[state] else "dim"
            line += [(f"{charset.symbol(state)} {totals[state]:,}", style), (f" {state}   ", "dim")]
        if sum(len(text) for text, _ in line) - 3 <= room:
            break
    return line


def schedules_note(picture: Picture) -> Line:
    """How many schedules fail or are invalid, and the key that shows them; empty if none are."""
    number = len(picture.timetable.failing) + len(picture.timetable.faulty)
    if not number:
        return []
    return [(f"{number:,} {'schedule fails' if number == 1 else 'schedules fail'}: ", "dead"), ("S ", "key")]


def jobs_note(picture: Picture, wanted: Wanted, index: int, charset: Charset) -> tuple[Line, Line]:
    """What the list of jobs is narrowed to, and where the cursor is."""
    parts: Line = []
    if wanted.state:
        parts += [(f"  {charset.symbol(wanted.state)} {wanted.state}", wanted.state)]
    if wanted.queue:
        parts += [("  queue ", "dim"), (charset.clean(wanted.queue), "bold")]
    if wanted.text:
        parts += [("  with ", "dim"), (f'"{charset.clean(wanted.text)}"', "bold")]
    number = len(picture.jobs)
    if picture.number is not None:
        number = picture.number
    place = f"{index + 1:,} of {number:,}" if picture.jobs else ""
    if picture.number is None and len(picture.jobs) >= 1000:
        place += "+"
    if picture.searched:
        place += f" in the newest {picture.searched:,}"
    return parts, [(place + " ", "dim")] if place else []


def empty_note(panel: str, wanted: Wanted) -> str:
    """What to say in a panel without rows."""
    if panel == "queues":
        return "No jobs yet; to add one, run: queuectl enqueue 'echo hello'"
    if panel == "workers":
        return "No workers are running; to start one, run: queuectl worker start"
    return "No jobs match; Esc shows all" if any(wanted) else "No jobs."


def pulse(picture: Picture, room: int, charset: Charset) -> Line:
    """How many jobs finish, how long the rest will take, and how many workers there are, in about `room` columns."""
    overview = picture.overview
    recent = sum(picture.finished[-RECENT:]) / RECENT
    line: Line = []
    bars = 14 if room < 100 else 30 if room < 150 else 60
    if any(picture.finished[-bars:]):
        line = [(sparkline(picture.finished[-bars:], charset), "completed"), (f" {_pace(recent)}  ", "")]
    waiting = overview.counts["pending"] + overview.counts["failed"] + overview.counts["processing"]
    if waiting and overview.remaining.seconds is not None:
        line += [(left(overview.remaining), "bold"), (" left  ", "dim")]
    busy = sum(worker.id in overview.running for worker in overview.workers)
    number = len(overview.workers)
    workers = f"{number} {'worker' if number == 1 else 'workers'}, {busy} busy" if number else "no workers"
    return [*line, (workers + " ", "dim" if number or not waiting else "warning")]


def _pace(per_minute: float) -> str:
    """A throughput: "12/s", "30/min" or "4/h"."""
    if per_minute >= 600:
        return f"{per_minute / 60:,.0f}/s"
    return f"{per_minute * 60:.0f}/h" if 0 < per_minute < 1 else f"{per_minute:.0f}/min"
