"""The workers, and what each ran when."""

from __future__ import annotations

from ...values import counted
from ...workers import fleet
from .. import facts
from . import charts, periods
from .markup import Markup, h, join
from .parts import command, empty, job_link, panel, since, state, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...records import Worker
    from ..facts import Run
    from ..history import Span
    from .markup import Child
    from .view import View

MOST_LANES = 40  # Of workers that are gone, and of workers that run.
MOST_RUNS = 1500  # On the page.


def workers(view: View) -> tuple[str, Markup]:
    """The workers, with their lanes."""
    store = view.store
    rows, holders = fleet.live_workers(store), store.running()
    period, name = periods.period(view, "1h")
    lanes = facts.lanes(store, period)
    running = {row.id for row in rows}
    held = [holders[row.id][0] for row in rows[:MOST_LANES] if row.id in holders]
    slots = {job.worker: job.slot for job in store.get_many(held) if job.slot}
    gone = [worker for worker in sorted(lanes, reverse=True) if worker not in running][:MOST_LANES]
    each_most = max(20, MOST_RUNS // max(1, min(len(rows), MOST_LANES) + len(gone)))
    step = period.step(60)
    axis = charts.ends([period.since, (period.since + period.until) / 2, period.until - step], step)
    drawn: list[Child] = []
    for row in rows[:MOST_LANES]:
        id = holders.get(row.id, (None,))[0]
        slot = h("span", f"slot {slots[row.id]}", class_="chip") if row.id in slots else None
        drawn.append(_lane(view, row.id, join(state(row.state(id)), slot), lanes.get(row.id, [])[-each_most:], period))
    for worker in gone:
        drawn.append(_lane(view, worker, h("span", "gone", class_="quiet"), lanes[worker][-each_most:], period))
    choice = periods.choice(view, "/workers", "1h", "24h")
    heading = h("div", h("h1", "Workers"), choice, class_="heading")
    start = command(view.frame.shell.line("worker", "start", "-c", "2"))
    return "Workers", join(
        heading,
        None if rows else empty("No worker is running. To start two, run:", start),
        panel(f"Who ran what in the {name}", *drawn, h("div", axis, class_="under-lanes")) if drawn else None,
        panel("Running workers", _table(view, rows)) if rows else None,
    )


def _lane(view: View, worker: int, what: Markup, runs: list[Run], period: Span) -> Markup:
    label = f"Worker {worker} ran {counted(len(runs), 'attempt')}"
    drawing = charts.lane(runs, period.since, period.until, label)
    return h("div", h("span", h("b", f"{worker}"), what, class_="who"), drawing, class_="lane-row", data_key=worker)


def _table(view: View, rows: list[Worker]) -> Markup:
    holders = view.store.running()
    lines: list[list[Child]] = []
    for row in rows:
        id, started = holders.get(row.id) or (None, None)
        link = job_link(id) if id else None
        for_how_long, up = since(started, view.now, "{}"), since(row.started_at, view.now, "{}")
        queues = row.queues or "all"
        lines.append([f"{row.id}", state(row.state(id)), link, for_how_long, queues, f"{row.pid}", up])
    titles = (">Worker", "State", "Job", ">Since", "Queues", ">Pid", ">Up")
    return table("Workers", titles, lines, "workers", [row.id for row in rows])
