"""`list` shows jobs; `show` shows everything about one."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace

from .. import lifecycle, values
from ..errors import BadInput
from .queue_file import open_reader
from .tables import attempts_table, job_sheet, jobs_table
from .terminal import print_json, print_json_array, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..store.reader import Reader

TABLE_LIMIT = 20


# --- list ----------------------------------------------------------------------------------------


def list_jobs_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "-s",
        "--state",
        action="append",
        default=[],
        metavar="STATE",
        help=f"only jobs in this state; may be repeated: {', '.join(lifecycle.STATES)}",
    )
    parser.add_argument("-q", "--queue", metavar="QUEUE", help="only jobs in this queue")
    parser.add_argument(
        "-n",
        "--limit",
        metavar="N",
        help=f"at most N jobs; 0 means all (default: {TABLE_LIMIT} in a table, all in JSON)",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def list_jobs(args: Namespace) -> int:
    states = [_state(word) for word in args.state]
    queue = None if args.queue is None else values.name(args.queue, "--queue")
    limit = None if args.json else TABLE_LIMIT
    if args.limit is not None:
        limit = values.whole(args.limit, "--limit", 0) or None
    with open_reader(args) as store:
        print_jobs(store, states, queue, limit, args.json)
    return 0


def _state(word: str) -> str:
    """The state that --state names, in any case or in a word of other tools."""
    if word in lifecycle.STATES:
        return word
    from .hints import state  # Deferred: needed only for other words.

    meant = state(word)
    if meant is None:
        nearest = values.nearest(word, list(lifecycle.STATES))
        raise BadInput(f"--state: no such state: {values.quote(word)} ({nearest})")
    return meant


def print_jobs(store: Reader, states: list[str], queue: str | None, limit: int | None, json: bool) -> None:
    """Print jobs as a table or as JSON. With a table, stderr says how many the limit left out."""
    with store.snapshot():
        jobs = store.jobs(states, queue, limit)
        if json:
            from ..jobjson import job_json

            print_json_array(job_json(job, reason) for job, reason in jobs)
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
    jobs_table(shown, time.time())
    if matching > len(shown):
        tell(f"… and {matching - len(shown)} more; use --limit 0 to show all")


# --- show ----------------------------------------------------------------------------------------


def show_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the job's id")
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def show(args: Namespace) -> int:
    with open_reader(args) as store, store.snapshot():
        job = store.get(args.id)
        reason, needs, attempts = store.reason(job), store.needs(job), store.attempts(job)
    if args.json:
        from ..jobjson import attempts_json, job_json

        after, history = [id for id, _, _ in needs], attempts_json(attempts)
        print_json(dict(job_json(job, reason), after=after, history=history))
        return 0
    job_sheet(job, reason, needs, time.time())
    if attempts:
        print()
        attempts_table(attempts)
    return 0
