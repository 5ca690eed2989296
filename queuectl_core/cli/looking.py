"""`status`, `list`, `show`: looking changes nothing."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace

from .. import lifecycle, render, sources, values
from ..database import LARGE_WAL
from ..errors import BadInput
from . import open_store, tell

TABLE_LIMIT = 20


# --- status --------------------------------------------------------------------------------------


def status_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def status(args: Namespace) -> int:
    from .. import fleet

    with open_store(args) as store, store.snapshot():
        counts, paused = store.counts(), store.paused()
        rows, running = fleet.live_workers(store), store.running()
    totals = {state: sum(queue[state] for queue in counts.values()) for state in lifecycle.STATES}
    if args.json:
        render.print_json(
            {
                "database": store.path,
                "version": sources.version(),
                "jobs": totals,
                "queues": counts,
                "workers": [render.worker_json(row, running) for row in rows],
                "dlq": totals["dead"],
                "paused": None in paused,
                "paused_queues": [queue for queue in paused if queue is not None],
            }
        )
        return 0
    _print_counts(counts, totals)
    for queue in paused:
        print("Paused: %s" % ("all queues" if queue is None else "queue " + render.escape(queue)))
    print()
    if rows:
        render.workers_table(rows, running, time.time())
        _print_versions(rows)
    else:
        print("No worker runs.")
    if totals["dead"]:
        print("\nIn the dead letter queue: %d (see: queuectl dlq list)" % totals["dead"])
    if store.wal_size() > LARGE_WAL:
        tell("its log grows: some program has been reading it for long; see queuectl doctor")
    left = totals["processing"] - len(running.keys() & {row.id for row in rows})
    if left:
        tell("left by workers that are gone: %d (queuectl worker start takes care of that)" % left)
    waiting = totals["pending"] + totals["failed"]
    if waiting and not rows:
        tell("%d jobs wait for a worker: queuectl worker start" % waiting)
    return 0


def _print_versions(rows: list) -> None:
    version = sources.version()
    others = sorted({row.version for row in rows} - {version})
    if others:
        text = "\nWorkers run %s, this is %s (see: queuectl worker restart)"
        print(text % (", ".join(others), version))


def _print_counts(counts: dict, totals: dict) -> None:
    if not counts:
        print("No jobs yet.")
        return
    heads = ["QUEUE"] + [">" + state.upper() for state in lifecycle.STATES]
    rows = [[queue, *by_state.values()] for queue, by_state in counts.items()]
    if len(rows) > 1:
        rows.append(["(all)", *totals.values()])
    render.table(heads, rows)


# --- list ----------------------------------------------------------------------------------------


def list_jobs_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "-s",
        "--state",
        action="append",
        default=[],
        metavar="STATE",
        help="only jobs in this state; may be repeated: %s" % ", ".join(lifecycle.STATES),
    )
    parser.add_argument("-q", "--queue", metavar="QUEUE", help="only jobs of this queue")
    parser.add_argument(
        "-n",
        "--limit",
        metavar="N",
        help="at most N jobs; 0 is all (default: %d in a table, all in JSON)" % TABLE_LIMIT,
    )
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def list_jobs(args: Namespace) -> int:
    for state in args.state:
        if state not in lifecycle.STATES:
            nearest = values.nearest(state, list(lifecycle.STATES))
            raise BadInput("--state: no such state: %s (%s)" % (values.quote(state), nearest))
    queue = None if args.queue is None else values.name(args.queue, "--queue")
    limit = None if args.json else TABLE_LIMIT
    if args.limit is not None:
        limit = values.whole(args.limit, "--limit", 0) or None
    with open_store(args) as store:
        print_jobs(store, args.state, queue, limit, args.json)
    return 0


def print_jobs(store, states: list[str], queue: str | None, limit: int | None, json: bool) -> None:
    """Print jobs as a table or as JSON; what a limit leaves out is said on stderr."""
    with store.snapshot():
        jobs = store.list(states, queue, limit)
        if json:
            render.print_json_array(render.job_json(job, reason) for job, reason in jobs)
            return
        shown = list(jobs)
        counts = store.counts()
    matching = sum(
        number
        for name, by_state in counts.items()
        for state, number in by_state.items()
        if queue in (None, name) and (not states or state in states)
    )
    if not shown:
        tell("no jobs" + (" in this state" if states else "") + (" in this queue" if queue else ""))
        return
    render.jobs_table(shown, time.time())
    if matching > len(shown):
        tell("… and %d more (--limit 0 shows all)" % (matching - len(shown)))


# --- show ----------------------------------------------------------------------------------------


def show_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the job")
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def show(args: Namespace) -> int:
    with open_store(args) as store, store.snapshot():
        job = store.get(args.id)
        reason, needs, attempts = store.reason(job), store.needs(job), store.attempts(job)
    if args.json:
        after, history = [id for id, _, _ in needs], render.attempts_json(attempts)
        render.print_json(dict(render.job_json(job, reason), after=after, history=history))
        return 0
    render.job_sheet(job, reason, needs, time.time())
    if attempts:
        print()
        render.attempts_table(attempts)
    return 0
