"""`cancel`, `retry`, `edit`, `pause`, `resume`, `prune`, and the dead letter queue."""

from __future__ import annotations

import os
import time
from argparse import SUPPRESS, ArgumentParser, Namespace

from .. import values
from ..errors import BadInput
from ..lifecycle import FINISHED
from . import each, open_store, tell

POLL = 0.01  # seconds
RESCUE_POLL = 0.2  # seconds, from when it takes long on
BITE = 1000  # Jobs deleted in one transaction: workers get in between.


def cancel_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("ids", nargs="+", metavar="ID", help="a job that is not finished")


def cancel(args: Namespace) -> int:
    with open_store(args) as store:
        return each(args.ids, lambda id: _cancel(store, id))


def _cancel(store, id: str) -> str:
    """Cancel one job; returns its id when it does not run any more."""
    from .. import fleet

    job = store.cancel(id)
    began = time.monotonic()
    told = False
    remote = fleet.Remote(None, dict(os.environb), tell)
    while job.state == "processing" and job.cancel:
        waited = time.monotonic() - began
        if waited > 1 and not told:
            told = True
            tell(
                "waiting for job %s to end; after %s it is killed" % (id, values.span(job.kill_grace))
            )
        if waited > 1:
            remote.look(store)  # Its worker may be gone.
        time.sleep(POLL if waited < 1 else RESCUE_POLL)
        job = store.get(job.id)
    return job.id


def retry_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "ids", nargs="+", metavar="ID", help="a job that is dead, cancelled, completed or failed"
    )


def retry(args: Namespace) -> int:
    with open_store(args) as store:
        return each(args.ids, store.revive)


def dlq_list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("-q", "--queue", metavar="QUEUE", help="only jobs of this queue")
    parser.add_argument(
        "-n", "--limit", metavar="N", help="at most N jobs (default: 20 in a table, all in JSON)"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def dlq_list(args: Namespace) -> int:
    from .looking import list_jobs

    args.state = ["dead"]
    return list_jobs(args)


def dlq_retry_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", metavar="ID", help="a job in the DLQ")
    parser.add_argument("--all", action="store_true", help="all jobs in the DLQ")
    parser.add_argument("-q", "--queue", metavar="QUEUE", help="all jobs of this queue in the DLQ")


def dlq_retry(args: Namespace) -> int:
    with open_store(args) as store:
        return each(_dead_ids(store, args), lambda id: store.revive(id, only_dead=True))


def dlq_purge_arguments(parser: ArgumentParser) -> None:
    dlq_retry_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what would be deleted")


def dlq_purge(args: Namespace) -> int:
    with open_store(args) as store:
        if args.dry_run:
            return each(_dead_ids(store, args), lambda id: store.get(id).id)
        return each(_dead_ids(store, args), store.purge)


def _dead_ids(store, args: Namespace) -> list[str]:
    """The ids given, or those in the DLQ that --all or --queue names."""
    if bool(args.ids) == (args.all or args.queue is not None):
        raise BadInput("give the ids of dead jobs, or --all, or --queue")
    if args.ids:
        return args.ids
    queue = None if args.queue is None else values.name(args.queue, "--queue")
    ids = store.dead_ids(queue)
    if not ids:
        tell("the DLQ is empty")
    return ids


# --- changing ------------------------------------------------------------------------------------

EDIT_OPTIONS = {
    "command": "--command",
    "queue": "--queue",
    "priority": "--priority",
    "delay": "--delay",
    "run_at": "--run-at",
    "max_retries": "--max-retries",
    "backoff_base": "--backoff-base",
    "timeout": "--timeout",
    "bury_on": "--bury-on",
    "retry_only_on": "--retry-only-on",
    "cwd": "--cwd",
}


def edit_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="a job that is pending or waits for its retry")
    parser.add_argument("-q", "--queue", metavar="QUEUE", default=SUPPRESS)
    parser.add_argument("-p", "--priority", metavar="N", default=SUPPRESS)
    for option in EDIT_OPTIONS.values():
        if option not in ("--queue", "--priority"):
            parser.add_argument(option, metavar="VALUE", default=SUPPRESS, help="as of enqueue")


def edit(args: Namespace) -> int:
    from .. import jobspec

    given = {name: getattr(args, name) for name in EDIT_OPTIONS if hasattr(args, name)}
    if not given:
        raise BadInput("say what to change (see 'queuectl edit --help')")
    checked = jobspec.new_job({"command": "-", **given}, time.time(), EDIT_OPTIONS)
    names = {"run_at" if name == "delay" else name for name in given}
    with open_store(args) as store:
        print(store.edit(args.id, {name: getattr(checked, name) for name in names}))
    return 0


# --- queues --------------------------------------------------------------------------------------


def pause_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("queue", nargs="?", metavar="QUEUE", help="default: all queues")


def pause(args: Namespace) -> int:
    queue = None if args.queue is None else values.name(args.queue, "queue")
    with open_store(args) as store:
        if not store.pause(queue):
            tell("it was paused already")
    return 0


resume_arguments = pause_arguments


def resume(args: Namespace) -> int:
    queue = None if args.queue is None else values.name(args.queue, "queue")
    with open_store(args) as store:
        if not store.resume(queue):
            tell("it was not paused")
        if queue is not None and None in store.paused():
            tell("all queues are paused still: queuectl resume")
    return 0


# --- pruning -------------------------------------------------------------------------------------


def prune_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--older-than", metavar="DURATION", default="0", help="only jobs that ended so long ago"
    )
    parser.add_argument(
        "-s",
        "--state",
        action="append",
        default=[],
        metavar="STATE",
        help="completed, dead or cancelled; may be repeated (default: completed)",
    )
    parser.add_argument("--keep", metavar="N", help="keep the N that ended last, of each state")
    parser.add_argument("-q", "--queue", metavar="QUEUE", help="only jobs of this queue")
    parser.add_argument("--dry-run", action="store_true", help="print what would be deleted")


def prune(args: Namespace) -> int:
    age = values.duration(args.older_than, "--older-than")
    keep = 0 if args.keep is None else values.whole(args.keep, "--keep", 0)
    queue = None if args.queue is None else values.name(args.queue, "--queue")
    states = dict.fromkeys(args.state or ["completed"])
    for state in states:
        if state not in FINISHED:
            raise BadInput("--state: only finished jobs can be pruned: %s" % ", ".join(FINISHED))
    before = time.time() - age
    with open_store(args) as store:
        for state in states:
            number = len(store.prune(state, before, queue, dry_run=True)) - keep
            while number > 0:
                limit = number if args.dry_run else min(number, BITE)
                ids = store.prune(state, before, queue, limit, args.dry_run)
                for id in ids:
                    print(id)
                number = 0 if args.dry_run or not ids else number - len(ids)
    return 0
