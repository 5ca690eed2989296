"""The first page: what needs attention, the numbers, the queues, and what runs now."""

from __future__ import annotations

from ... import lifecycle
from ...store.search import Search, find
from ...workers import fleet
from .charts import gauge
from .joblist import job_table
from .markup import Markup, each, h, join, url
from .parts import action, command, empty, panel, since, state, symbol, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...records import Counts, Worker
    from .markup import Child
    from .view import View

HOUR = 3600
MOST_RUNNING = 10  # Jobs.
MOST_QUEUES = 200
LARGE_WAL = 64 * 1024 * 1024


def overview(view: View) -> tuple[str, Markup]:
    """The first page."""
    store = view.store
    counts, paused, workers = store.counts(), store.paused(), fleet.live_workers(store)
    totals = {name: sum(queue[name] for queue in counts.values()) for name in lifecycle.STATES}
    running = list(find(store, Search(states=("processing",)), MOST_RUNNING)[0])
    return "Overview", join(
        h("div", h("h1", "Overview"), _pause_button(view, paused), class_="heading"),
        _notices(view, totals, paused, workers),
        _tiles(view, totals, workers),
        _queues(view, counts, paused),
        _running(view, running, totals["processing"]),
    )


def _pause_button(view: View, paused: Sequence[str | None]) -> Markup:
    if None in paused:
        return action(view.frame, "resume", "Resume all")
    return action(view.frame, "pause", "Pause all")


def _notices(view: View, totals: Mapping[str, int], paused: Sequence[str | None], workers: Sequence[Worker]) -> Markup:
    """What needs attention, each with the command that helps."""
    shell, store = view.frame.shell, view.store
    waiting = totals["pending"] + totals["failed"]
    notices = []
    if None in paused:
        notices.append(("All queues are paused.", shell.line("resume")))
    holders = store.running()
    orphaned = totals["processing"] - len(holders.keys() & {row.id for row in workers})
    if orphaned > 0:
        verb = "job was" if orphaned == 1 else "jobs were"
        notices.append((f"{orphaned:,} {verb} left behind by dead workers.", shell.line("worker", "start")))
    elif waiting and not workers:
        verb = "job waits" if waiting == 1 else "jobs wait"
        notices.append((f"No worker is running, and {waiting:,} {verb}.", shell.line("worker", "start")))
    if store.wal_size() > LARGE_WAL:
        notices.append(("The write-ahead log is large. To find out why:", shell.line("doctor")))
    return each(
        [
            h("p", symbol("note"), " ", h("span", sentence), " ", command(line), class_="notice")
            for sentence, line in notices
        ]
    )


def _tiles(view: View, totals: Mapping[str, int], workers: Sequence[Worker]) -> Markup:
    store = view.store
    died, failed = store.failed_since(view.now - HOUR)
    holders = store.running()
    busy = sum(1 for row in workers if row.id in holders)
    people: Child = f"{busy} busy, {len(workers) - busy} idle" if workers else "none running"
    tiles = [
        _tile("Waiting", totals["pending"], "pending", url("/jobs", state="pending"), None),
        _tile("Running", totals["processing"], "processing", url("/jobs", state="processing"), None),
        _tile("Retrying", totals["failed"], "failed", url("/jobs", state="failed"), f"{failed:,} in the last hour"),
        _tile("Completed", totals["completed"], "completed", url("/jobs", state="completed"), None),
        _tile("Dead", totals["dead"], "dead", "/dlq", f"{died:,} in the last hour"),
        _tile("Workers", len(workers), "busy" if busy else "idle", "/workers", people),
    ]
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


def _queues(view: View, counts: Counts, paused: Sequence[str | None]) -> Markup:
    config = view.store.config()
    limits = {key: str(value) for key, value in config.items() if key.endswith((".limit", ".rate"))}
    noted = {key.rpartition(".")[0] for key in limits} | {queue for queue in paused if queue is not None}
    names = [name for name in {**counts, **dict.fromkeys(sorted(noted))} if name in noted or any(counts[name].values())]
    if not names:
        start = command(view.frame.shell.line("enqueue", "--", "echo", "It works"))
        return panel("Queues", empty("No jobs yet. To add one, run:", start))
    rows: list[list[Child]] = []
    for name in names[:MOST_QUEUES]:
        by_state = counts.get(name) or dict.fromkeys(lifecycle.STATES, 0)
        is_paused = name in paused
        rows.append(
            [
                join(h("a", name, href=url("/jobs", queue=name), class_="queue"), _notes(name, is_paused, limits)),
                _load(by_state),
                *[_count(name, state, by_state[state]) for state in lifecycle.STATES],
                h(
                    "span",
                    action(
                        view.frame, "resume" if is_paused else "pause", "Resume" if is_paused else "Pause", queue=name
                    ),
                    action(view.frame, "limits", "Limits", queue=name),
                    class_="buttons",
                ),
            ]
        )
    titles = ("Queue", "Load", ">Waiting", ">Running", ">Completed", ">Retrying", ">Dead", ">Cancelled", "")
    more = f"{len(names) - MOST_QUEUES:,} more queues are not shown." if len(names) > MOST_QUEUES else None
    return panel(
        "Queues",
        table("Queues", titles, rows, "queues", names[:MOST_QUEUES]),
        h("p", more, class_="quiet") if more else None,
    )


def _notes(name: str, is_paused: bool, limits: Mapping[str, str]) -> Markup:
    notes = [state("paused")] if is_paused else []
    for word in ("limit", "rate"):
        if f"{name}.{word}" in limits:
            notes.append(h("span", f"{word} {limits[f'{name}.{word}']}", class_="chip"))
    return each(notes)


def _load(by_state: Mapping[str, int]) -> Markup:
    parts = [(state, by_state[state]) for state in ("processing", "pending", "failed", "dead")]
    label = ", ".join(f"{number:,} {state}" for state, number in parts if number) or "nothing to do"
    return gauge(parts, label)


def _count(queue: str, state: str, number: int) -> Child:
    if not number:
        return h("span", "0", class_="none")
    target = url("/dlq", queue=queue) if state == "dead" else url("/jobs", state=state, queue=queue)
    return h(
        "a", f"{number:,}", href=target, class_=f"s-{state}" if state in ("dead", "failed", "processing") else None
    )


def _running(view: View, running: Sequence[tuple[lifecycle.Job, str | None]], total: int) -> Markup:
    if not running:
        return panel("Running now", empty("Nothing is running."))
    more = h("a", f"All {total:,}", href=url("/jobs", state="processing")) if total > len(running) else None
    return panel("Running now", job_table(view, running), more=more)


def workers(view: View) -> tuple[str, Markup]:
    """The workers, and what each is doing."""
    store = view.store
    rows, holders = fleet.live_workers(store), store.running()
    heading = h("h1", "Workers")
    if not rows:
        start = command(view.frame.shell.line("worker", "start", "-c", "2"))
        return "Workers", join(heading, empty("No worker is running. To start two, run:", start))
    lines: list[list[Child]] = []
    for row in rows:
        id, started = holders.get(row.id) or (None, None)
        link = h("a", id, href=url("/job", id=id), class_="id") if id else None
        lines.append(
            [
                f"{row.id}",
                state(row.state(id)),
                link,
                since(started, view.now, "{}"),
                row.queues or "all",
                f"{row.pid}",
                since(row.started_at, view.now, "{}"),
            ]
        )
    titles = (">Worker", "State", "Job", ">Since", "Queues", ">Pid", ">Up")
    return "Workers", join(
        heading, panel("Running", table("Workers", titles, lines, "workers", [row.id for row in rows]))
    )
