"""`cancel`, `retry`, `edit`, `pause`, `resume`, `prune`, and the dead letter queue."""

from __future__ import annotations

import os
import time
from argparse import SUPPRESS, ArgumentParser, Namespace

from .. import values
from ..errors import BadInput
from ..lifecycle import FINISHED, Job
from . import each, open_store, tell

POLL = 0.01  # seconds
RESCUE_POLL = 0.2  # seconds, from when it takes long on
BITE = 1000  # Jobs deleted in one transaction: workers get in between.


def cancel_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", metavar="ID", help="a job that is not finished")
    parser.add_argument("--all", action="store_true", help="all jobs that are not finished")
    parser.add_argument("-q", "--queue", metavar="QUEUE", help="all jobs of this queue that are not finished")


def cancel(args: Namespace) -> int:
    with open_store(args) as store:
        ids = _ids(args, "jobs", store.unfinished_ids)
        ending: list[Job] = []
        code = each(ids, lambda id: _cancel(store, id, ending))
        # All are told before the first is waited for: they end side by side.
        return max(code, each([job.id for job in ending], lambda id: _wait_for_end(store, id)))


def _cancel(store, id: str, ending: list[Job]) -> str | None:
    """Cancel one job; returns its id or, where it runs still, adds it to `ending`."""
    job = store.cancel(id)
    if job.state != "processing":
        return job.id
    ending.append(job)
    return None


def _wait_for_end(store, id: str) -> str:
    """Wait until a job that is to be cancelled runs no more; returns its id.

    Raises Refused where it ended by itself before.
    """
    from ..rescue import Remote

    job = store.get(id)
    began = time.monotonic()
    told = False
    remote = Remote(None, dict(os.environb), tell)
    while job.state != "cancelled":
        if not job.cancel:
            job = store.cancel(id)  # Its worker released it, or it ended: that is refused here.
        waited = time.monotonic() - began
        if waited > 1 and not told:
            told = True
            tell("waiting for job %s to end; after %s it is killed" % (id, values.span(job.kill_grace)))
        if waited > 1:
            remote.look(store)  # Its worker may be gone.
        time.sleep(POLL if waited < 1 else RESCUE_POLL)
        job = store.get(id)
    return id


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
        return each(_ids(args, "dead jobs", store.dead_ids), lambda id: store.revive(id, only_dead=True))


def dlq_purge_arguments(parser: ArgumentParser) -> None:
    dlq_retry_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what would be deleted")


def dlq_purge(args: Namespace) -> int:
    with open_store(args) as store:
        ids = _ids(args, "dead jobs", store.dead_ids)
        return each(ids, lambda id: store.purge(id, args.dry_run))


def _ids(args: Namespace, what: str, ids_of) -> list[str]:
    """The ids given, or those that --all or --queue means: `ids_of(queue)`."""
    if bool(args.ids) == (args.all or args.queue is not None):
        raise BadInput("give the ids of %s, or --all, or --queue" % what)
    if args.ids:
        return args.ids
    ids = ids_of(None if args.queue is None else values.name(args.queue, "--queue"))
    if not ids:
        tell("there are none")
    return ids


# --- changing ------------------------------------------------------------------------------------

# Options of enqueue that edit has too.
EDITABLE = (
    "queue priority delay run_at max_retries backoff_base timeout bury_on retry_only_on cwd"
).split()


def edit_arguments(parser: ArgumentParser) -> None:
    from .enqueue import FIELDS

    parser.add_argument("id", metavar="ID", help="a job that is pending or waits for its retry")
    parser.add_argument("--command", metavar="LINE", default=SUPPRESS, help="the shell line that it runs")
    for field in EDITABLE:
        names, metavar, help = FIELDS[field]
        help = help.partition(" (default")[0]  # Here it stays what it is.
        parser.add_argument(*names.split(), dest=field, metavar=metavar, default=SUPPRESS, help=help)


def edit(args: Namespace) -> int:
    from .. import jobspec
    from .enqueue import OPTIONS, directory

    places = {"command": "--command", **OPTIONS}
    given = {name: getattr(args, name) for name in ("command", *EDITABLE) if hasattr(args, name)}
    if not given:
        raise BadInput("say what to change (see 'queuectl edit --help')")
    if "cwd" in given:
        given["cwd"] = directory(given["cwd"])
    checked = jobspec.new_job({"command": "-", **given}, time.time(), places)
    names = {"run_at" if name == "delay" else name for name in given}
    with open_store(args) as store:
        print(store.edit(args.id, {name: getattr(checked, name) for name in names}))
    return 0


# --- queues --------------------------------------------------------------------------------------


def pause_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("queue", nargs="?", metavar="QUEUE", help="this queue only (default: all queues)")


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
