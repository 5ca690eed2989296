"""`status`, `list`, `show`, `logs`: looking changes nothing."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace

from .. import lifecycle, render, values
from ..errors import BadInput, Refused
from . import open_store, tell

TABLE_LIMIT = 20


# --- status --------------------------------------------------------------------------------------


def status_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def status(args: Namespace) -> int:
    from .. import fleet

    with open_store(args) as store, store.snapshot():
        counts = store.counts()
        rows, running = fleet.live_workers(store), store.running()
    totals = {state: sum(queue[state] for queue in counts.values()) for state in lifecycle.STATES}
    if args.json:
        render.print_json(
            {
                "database": store.path,
                "jobs": totals,
                "queues": counts,
                "workers": [render.worker_json(row, running) for row in rows],
                "dlq": totals["dead"],
            }
        )
        return 0
    _print_counts(counts, totals)
    print()
    if rows:
        render.workers_table(rows, running, time.time())
    else:
        print("No worker runs.")
    if totals["dead"]:
        print("\nIn the dead letter queue: %d (see: queuectl dlq list)" % totals["dead"])
    waiting = totals["pending"] + totals["failed"]
    if waiting and not rows:
        tell("%d jobs wait for a worker: queuectl worker start" % waiting)
    return 0


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
            render.print_json_array(map(render.job_json, jobs))
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
        attempts = store.attempts(job)
    if args.json:
        render.print_json(dict(render.job_json(job), history=render.attempts_json(attempts)))
        return 0
    render.job_sheet(job, time.time())
    if attempts:
        print()
        render.attempts_table(attempts)
    return 0


# --- logs ----------------------------------------------------------------------------------------


def logs_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the job")
    parser.add_argument("--attempt", metavar="N", help="of this attempt (default: the last)")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--stdout", action="store_true", help="only what went to standard output")
    only.add_argument("--stderr", action="store_true", help="only what went to standard error")


def logs(args: Namespace) -> int:
    """The bytes as the job printed them, in the order they came, on stdout."""
    streams = (1,) if args.stdout else (2,) if args.stderr else (1, 2)
    number = None if args.attempt is None else values.whole(args.attempt, "--attempt", 1)
    with open_store(args) as store, store.snapshot():
        job = store.get(args.id)
        if number is not None and number > job.last_attempt:
            raise Refused("job %s has no attempt %d: it has had %d" % (job.id, number, job.last_attempt))
        if job.last_attempt == 0:
            tell("job %s has not run yet" % job.id)
            return 0
        position = 0
        for start, stream, data in store.output(job, number or job.last_attempt):
            if start > position:
                sys.stdout.flush()
                tell("[%d bytes were not kept: see output-limit]" % (start - position))
            position = start + len(data)
            if stream in streams:
                sys.stdout.buffer.write(data)
    return 0
