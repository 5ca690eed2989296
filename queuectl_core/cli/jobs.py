"""`list` shows jobs; `show` shows everything about one."""

from __future__ import annotations

import sys
import time

from .. import lifecycle, values
from ..errors import BadInput, Refused
from ..store.search import MOST, SORTS, Search, find, is_filtered, matching, running_first
from .queue_file import open_reader
from .tables import attempts_table, job_sheet, jobs_table
from .terminal import print_json, print_json_array, tell, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable, Sequence

    from ..lifecycle import Job
    from ..store.reader import Reader
    from ..store.search import Listed

TABLE_LIMIT = 20
LAST_LINES = 10  # Of output, in `show`.
# What --columns takes: the names of columns.COLUMNS.
COLUMNS = (
    *("id", "state", "tries", "when", "queue", "why", "command", "took", "exit", "priority", "created", "started"),
    *("finished", "directory", "unique", "schedule", "slot", "labels"),
)


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
    parser.add_argument("--held", action="store_true", help="only held jobs, which wait for queuectl release")
    search_arguments(parser)


def search_arguments(parser: ArgumentParser) -> None:
    """Add the arguments that `list` and `dlq list` share."""
    add = parser.add_argument
    add("-q", "--queue", action="append", default=[], metavar="QUEUE", help="only jobs in this queue; may be repeated")
    add(
        "--since",
        metavar="WHEN",
        help="only jobs that finished, or if unfinished were enqueued, at this time or later: 7d (ago), or a time",
    )
    add("--until", metavar="WHEN", help="the same, at this time or earlier")
    add("--grep", metavar="TEXT", help="only jobs with this text in the command, id or error, in any case")
    add("--exit", metavar="CODES", help="only jobs whose last attempt exited with one of these, such as 2,64-78")
    add("--attempted", action="store_true", help="only jobs that have failed at least once")
    add("--label", action="append", default=[], metavar="LABEL", help="only jobs with this label (all, if repeated)")
    add("--schedule", action="one", metavar="NAME", help="only jobs that this schedule added")
    add("--sort", metavar="FIELD", help=f"sort by this, smallest first: {', '.join(SORTS)}")
    add("--reverse", action="store_true", help="reverse the order")
    add("--columns", metavar="NAMES", help=f"show these columns, such as id,took,command: {', '.join(COLUMNS)}")
    add(
        "-n",
        "--limit",
        metavar="N",
        help=f"at most N jobs; 0 means all (default: {TABLE_LIMIT} on a terminal). Without 0, a table covers the newest"
        f" {MOST:,} jobs if there are more",
    )
    add("--json", action="store_true", help="print a JSON array")


def list_jobs(args: Namespace) -> int:
    search = _search(args)
    columns = None if args.columns is None else _columns(args)
    limit = TABLE_LIMIT if not args.json and sys.stdout is not None and sys.stdout.isatty() else None
    if args.limit is not None:
        limit = values.whole(args.limit, "--limit", 0) or None
    with open_reader(args, may_be_unused=True) as store, store.snapshot():
        if args.json:
            from ..jobjson import job_json

            jobs, _ = find(store, search, limit)
            labels = store.labels_of if store.has_labels() else lambda job: []
            print_json_array({**job_json(job, reason), "labels": labels(job)} for job, reason in jobs)
            return 0
        is_all = args.limit is not None and limit is None
        shown, searched = running_first(store, search, None if limit is None else limit + 1, not is_all)
        number = None if is_filtered(search) else matching(store, search)
        last = store.last_attempts([job for job, _ in shown])
        unknown = None if shown or search.schedule is None else _unknown_schedule(store, search.schedule)
        shown_labels = _labels_by_job(store, shown) if columns and "labels" in columns else {}
        _warn(store, (job for job, _ in shown))
    left_out = limit is not None and len(shown) > limit
    shown = shown[:limit]
    if columns and shown:
        from .columns import columns_table  # Deferred: few lists need it.

        columns_table(shown, last, shown_labels, columns, time.time())
    elif shown:
        jobs_table(shown, last, time.time())
    elif not store.is_unused:
        tell(_nothing(search) + (f"; {unknown}" if unknown else ""))
    if left_out:
        more = "more" if number is None else f"{number - len(shown):,} more"
        tell(f"… and {more}; use --limit 0 to show all")
    elif searched:
        tell(f"only the newest {searched:,} jobs were searched; to search all, add --limit 0")
    return 0


def _warn(store: Reader, jobs: Iterable[Job]) -> None:
    """Say so if one of these jobs is suspended, but no worker runs that could let it continue."""
    if any(job.is_suspended for job in jobs):
        from .obstacle import tell_if_no_workers  # Deferred: few jobs are suspended.

        tell_if_no_workers(store)


def _unknown_schedule(store: Reader, name: str) -> str | None:
    """The message if there is no schedule with this name; None if there is one."""
    from ..store.schedules import schedule_named

    try:
        schedule_named(store, name)
    except Refused as refusal:
        return str(refusal)
    return None


def _labels_by_job(store: Reader, jobs: Sequence[Listed]) -> dict[int, list[str]]:
    """The labels of each job that has any, by its seq."""
    if not store.has_labels():
        return {}
    found = {job.seq: store.labels_of(job) for job, _ in jobs}
    return {seq: labels for seq, labels in found.items() if labels}


def _search(args: Namespace) -> Search:
    """What the options ask for."""
    now = time.time()
    if args.sort is not None and args.sort not in SORTS:
        raise BadInput(f"--sort: no such field: {values.quote(args.sort)} ({values.nearest(args.sort, list(SORTS))})")
    return Search(
        states=tuple(dict.fromkeys(_state(word) for word in args.state)),
        queues=values.distinct_names(args.queue, "--queue"),
        since=None if args.since is None else values.past(args.since, "--since", now),
        until=None if args.until is None else values.past(args.until, "--until", now),
        text=args.grep or None,
        codes=None if args.exit is None else values.exit_codes(args.exit, "--exit"),
        attempted=args.attempted,
        held=getattr(args, "held", False),  # `dlq list` has no such option.
        labels=values.distinct_names(args.label, "--label"),
        schedule=None if args.schedule is None else values.name(args.schedule, "--schedule"),
        sort=args.sort,
        reverse=args.reverse,
    )


def _columns(args: Namespace) -> list[str]:
    if args.json:
        raise BadInput("--columns: cannot be used together with --json")
    names = [name.strip().lower() for name in args.columns.split(",")]
    for name in names:
        if name not in COLUMNS:
            raise BadInput(f"--columns: no such column: {values.quote(name)} ({values.nearest(name, list(COLUMNS))})")
    return names


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


def _nothing(search: Search) -> str:
    if is_filtered(search):
        return "no jobs match"
    return "no jobs" + (" in this state" if search.states else "") + (" in this queue" if search.queues else "")


# --- show ----------------------------------------------------------------------------------------


def show_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the job's id")
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def show(args: Namespace) -> int:
    from .output import OutputReader, last_lines  # Deferred: `list` doesn't need it.

    with open_reader(args) as store, store.snapshot():
        job = store.get(args.id)
        reason, needs, attempts = store.reason(job), store.needs(job), store.attempts(job)
        waiters, labels = store.waiters(job), store.labels_of(job)
        reader = OutputReader(store, job, job.last_attempt, (1, 2))
        output = b"" if args.json else last_lines(reader.read(), LAST_LINES)
        if not args.json:
            _warn(store, [job])
    if args.json:
        from ..jobjson import whole_json

        print_json(whole_json(job, reason, labels, needs, waiters, attempts))
        return 0
    job_sheet(job, reason, needs, attempts[-1] if attempts else None, time.time(), waiters)
    if labels:
        print(f"{'labels':<13} {values.escape(', '.join(labels))}")
    if attempts:
        print()
        attempts_table(attempts)
    if output:
        print()
        for line in output.rstrip(b"\n").split(b"\n"):
            print(values.escape(values.decode(line)))
    if job.state == "dead" and terminal.width() is not None:
        from ..suggestion import suggestion  # Deferred: it takes as long as the rest.

        print()
        tell(f"to run it again, run: {suggestion('retry', job.id)}")
    return 0
