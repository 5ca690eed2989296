"""The first page: what needs attention, the numbers, charts, the queues, and what runs now."""

from __future__ import annotations

from ...lifecycle import STATES
from ...store.database import LARGE_WAL
from ...store.search import Search, find
from ...suggestion import on_job
from ...values import counted, span
from .. import facts, history
from ..schedules import result, timetable
from . import charts, periods
from .joblist import job_table
from .markup import Markup, each, h, join, url
from .parts import action, command, empty, panel, since, state, symbol, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...store.search import Listed
    from ..facts import Overview, Queue, Remaining
    from ..history import Span, Stats
    from .markup import Child
    from .view import View

MOST_RUNNING = 10  # Jobs.
MOST_NAMED = 3  # Schedules in trouble.
MOST_QUEUES = 200
POINTS = 60  # Of a chart.
LOAD = ("processing", "pending", "failed", "dead")  # The parts of a queue's gauge.


def overview(view: View) -> tuple[str, Markup]:
    """The first page."""
    store = view.store
    now = facts.overview(store, view.now)
    period, name = periods.period(view, "1h")
    step = period.step(POINTS)
    series = history.series(store, period, step)
    running = list(find(store, Search(states=("processing",)), MOST_RUNNING)[0])
    buttons = h("div", periods.choice(view, "/", "1h"), _pause_button(view, now), class_="buttons")
    return "Overview", join(
        h("div", h("h1", "Overview"), buttons, class_="heading"),
        _notices(view, now),
        _tiles(view, now, history.total(store, period), name),
        h("div", _throughput(view, series, step, name), _durations(series, step, name), class_="charts"),
        _queues(view, now, period, name),
        _running(view, running, now.counts["processing"]),
    )


def _pause_button(view: View, now: Overview) -> Markup:
    if now.is_paused:
        return action(view.frame, "resume", "Resume all")
    return action(view.frame, "pause", "Pause all")


def _notices(view: View, now: Overview) -> Markup:
    """What needs attention, each with the command that helps."""
    shell = view.frame.shell
    waiting = sum(queue.startable for queue in now.queues if not queue.is_paused)
    notices: list[tuple[Child, str]] = []
    if now.is_paused:
        notices.append(("All queues are paused.", shell.line("resume")))
    if now.orphaned > 0:
        verb = "job was" if now.orphaned == 1 else "jobs were"
        notices.append((f"{now.orphaned:,} {verb} left behind by dead workers.", shell.line("worker", "start")))
    elif waiting and not now.workers:
        verb = "job waits" if waiting == 1 else "jobs wait"
        notices.append((f"No worker is running, and {waiting:,} {verb}.", shell.line("worker", "start")))
    notices += _schedule_notices(view)
    if now.wal_bytes > LARGE_WAL:
        notices.append(("The write-ahead log is large. To find out why:", shell.line("doctor")))
    return each(
        [
            h("p", symbol("note"), " ", h("span", sentence), " ", command(line), class_="notice")
            for sentence, line in notices
        ]
    )


def _schedule_notices(view: View) -> list[tuple[Child, str]]:
    """Notices about schedules that fail or are invalid."""
    table, shell = timetable(view.store), view.frame.shell
    notices: list[tuple[Child, str]] = []
    for troubled, one, many in (
        (table.failing, "fails", "schedules fail"),
        (table.faulty, "was paused because it is invalid", "schedules were paused because they are invalid"),
    ):
        link = h("a", f"{len(troubled):,} {many}", href="/schedules")
        if len(troubled) > 1:
            names = ", ".join(schedule.name for schedule in troubled[:MOST_NAMED])
            more = f" and {len(troubled) - MOST_NAMED:,} more" if len(troubled) > MOST_NAMED else ""
            notices.append((join(link, ": ", h("bdi", names), more), shell.line("schedule", "list")))
        for schedule in troubled if len(troubled) == 1 else ():
            link = h("a", "Schedule ", h("bdi", schedule.name), href="/schedules")
            line = shell.line("schedule", "show", *on_job("", schedule.name))
            notices.append((join(link, f" {one}: {schedule.row.fault or result(schedule)}"), line))
    return notices


# --- the numbers ----------------------------------------------------------------------------------


def _tiles(view: View, now: Overview, past: Stats, name: str) -> Markup:
    counts = now.counts
    busy = sum(1 for row in now.workers if row.id in now.running)
    people = f"{busy} busy, {len(now.workers) - busy} idle" if now.workers else "none running"
    oldest = min([queue.oldest for queue in now.queues if queue.oldest is not None], default=None)
    died, failed = now.failed
    tiles = [
        _tile("Waiting", counts["pending"], "pending", url("/jobs", state="pending"),
              join("oldest ", since(oldest, view.now, "{}")) if oldest is not None else None),
        _tile("Running", counts["processing"], "processing", url("/jobs", state="processing"), _left(now.remaining)),
        _tile("Retrying", counts["failed"], "failed", url("/jobs", state="failed"), f"{failed:,} in the last hour"),
        _tile("Completed", counts["completed"], "completed", url("/jobs", state="completed"),
              f"{past.counts.get('completed', 0):,} in the {name}"),
        _tile("Dead", counts["dead"], "dead", "/dlq", f"{died:,} in the last hour"),
        _tile("Workers", len(now.workers), "busy" if busy else "idle", "/workers", people),
    ]  # fmt: skip
    return h("div", *tiles, class_="tiles")


def _tile(title: str, number: int, kind: str, target: str, note: Child) -> Markup:
    return h(
        "a",
        h("span", symbol(kind), title, class_="name"),
        h("strong", f"{number:,}"),
        h("span", note, class_="quiet"),
        href=target,
        class_=f"tile s-{kind}" + ("" if number else " zero"),
    )


def _left(remaining: Remaining) -> str | None:
    """How long everything that is waiting or running will take."""
    if remaining.seconds is None:
        return f"time left: {remaining.reason}"
    return f"about {span(remaining.seconds)} left in all" if remaining.seconds else None


# --- the charts -----------------------------------------------------------------------------------


def _throughput(view: View, series: Sequence[tuple[float, Stats]], step: int, name: str) -> Markup:
    points = [
        (start, (("completed", stats.counts.get("completed", 0)), ("dead", stats.failures))) for start, stats in series
    ]
    done, failed = (sum(parts[place][1] for _, parts in points) for place in (0, 1))
    label = f"In the {name}, {counted(done, 'attempt')} completed and {failed:,} failed."
    legend = _legend(("completed", f"{done:,} completed"), ("dead", f"{failed:,} failed"))
    chart = charts.bars([(start, parts) for start, parts in points], step, label)
    line = command(view.frame.shell.line("stats", "--since", periods.word(view, "1h")))
    return panel(f"Attempts per {_step_name(step)}", legend, chart, line, kind="figure")


def _durations(series: Sequence[tuple[float, Stats]], step: int, name: str) -> Markup:
    times = [start for start, _ in series]
    drawn = [
        ("wait p95", [stats.wait(0.95) for _, stats in series]),
        ("run p95", [stats.run(0.95) for _, stats in series]),
        ("run p50", [stats.run(0.5) for _, stats in series]),
    ]
    longest = {kind: max([value for value in values if value], default=None) for kind, values in drawn}
    said = [f"{kind} up to {span(value)}" for kind, value in longest.items() if value is not None]
    label = f"In the {name}: {', '.join(said)}." if said else f"Nothing ran in the {name}."
    legend = _legend(("wait", "wait, p95"), ("run95", "run, p95"), ("run50", "run, median"))
    return panel("Waiting and running times", legend, charts.lines(times, step, drawn, label), kind="figure")


def _legend(*entries: tuple[str, str]) -> Markup:
    return h("ul", *[h("li", h("span", class_=f"key k-{kind}"), label) for kind, label in entries], class_="legend")


def _step_name(step: int) -> str:
    names = {60: "minute", 3600: "hour", 86400: "day"}
    return names.get(step) or span(step).replace("m00s", " minutes").replace("h00m", " hours").replace("d00h", " days")


# --- queues and jobs ------------------------------------------------------------------------------


def _queues(view: View, now: Overview, period: Span, name: str) -> Markup:
    listed = [queue for queue in now.queues if _is_used(queue, now)]
    if not listed:
        start = command(view.frame.shell.line("enqueue", "--", "echo", "It works"))
        return panel("Queues", empty("No jobs yet. To add one, run:", start))
    recent = history.series_by_queue(view.store, period, period.step(POINTS))
    rows: list[list[Child]] = []
    for queue in listed[:MOST_QUEUES]:
        finished = [stats.finished for _, stats in recent.get(queue.name, ())]
        label = f"{sum(finished):,} finished in the {name}"
        is_paused = queue.is_paused and not now.is_paused
        rows.append(
            [
                join(h("a", queue.name, href=url("/jobs", queue=queue.name), class_="queue"), _notes(queue)),
                charts.sparkline(finished, label) if any(finished) else None,
                charts.gauge([(one, queue.counts[one]) for one in LOAD], _load(queue)),
                *[_count(queue.name, one, queue.counts) for one in STATES],
                _queue_left(queue),
                h(
                    "span",
                    action(view.frame, "resume" if is_paused else "pause", "Resume" if is_paused else "Pause",
                           queue=queue.name),
                    action(view.frame, "limits", "Limits", queue=queue.name),
                    class_="buttons",
                ),
            ]
        )  # fmt: skip
    titles = ("Queue", "Finished", "Load", ">Waiting", ">Running", ">Completed", ">Retrying", ">Dead", ">Cancelled",
              ">Left", "")  # fmt: skip
    more = f"{len(listed) - MOST_QUEUES:,} more queues are not shown." if len(listed) > MOST_QUEUES else None
    names = [queue.name for queue in listed]
    return panel(
        "Queues", table("Queues", titles, rows, "queues", names), h("p", more, class_="quiet") if more else None
    )


def _is_used(queue: Queue, now: Overview) -> bool:
    """Whether a queue has jobs, or settings that keep them from running."""
    is_paused = queue.is_paused and not now.is_paused
    return any(queue.counts.values()) or is_paused or (queue.limit, queue.rate) != (None, None)


def _notes(queue: Queue) -> Markup:
    notes = [state("paused")] if queue.is_paused else []
    if queue.paused_because:
        notes.append(h("span", queue.paused_because, class_="chip"))
    if queue.limit is not None:
        notes.append(h("span", f"limit {queue.limit}", class_="chip"))
    if queue.rate is not None:
        notes.append(h("span", f"rate {queue.rate}", class_="chip"))
    if queue.held:
        notes.append(h("span", f"{queue.held:,} held", class_="chip"))
    return each(notes)


def _load(queue: Queue) -> str:
    return ", ".join(f"{queue.counts[one]:,} {one}" for one in LOAD if queue.counts[one]) or "nothing to do"


def _count(queue: str, name: str, counts: Mapping[str, int]) -> Child:
    if not counts[name]:
        return h("span", "0", class_="none")
    target = url("/dlq", queue=queue) if name == "dead" else url("/jobs", state=name, queue=queue)
    look = f"s-{name}" if name in ("dead", "failed", "processing") else None
    return h("a", f"{counts[name]:,}", href=target, class_=look)


def _queue_left(queue: Queue) -> Child:
    if not queue.waiting and not queue.running:
        return None
    seconds, reason = queue.remaining
    return h("span", reason, class_="quiet") if seconds is None else f"~{span(seconds)}"


def _running(view: View, running: Sequence[Listed], total: int) -> Markup:
    if not running:
        return panel("Running now", empty("Nothing is running."))
    more = h("a", f"All {total:,}", href=url("/jobs", state="processing")) if total > len(running) else None
    return panel("Running now", job_table(view, running), more=more)
