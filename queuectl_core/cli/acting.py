"""`cancel`, `retry`, and the dead letter queue."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace

from .. import values
from ..errors import BadInput
from . import each, open_store, tell

POLL = 0.01  # seconds


def cancel_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("ids", nargs="+", metavar="ID", help="a job that is not finished")


def cancel(args: Namespace) -> int:
    with open_store(args) as store:
        return each(args.ids, lambda id: _cancel(store, id))


def _cancel(store, id: str) -> None:
    """Cancel one job; returns when it does not run any more."""
    from .. import fleet

    job = store.cancel(id)
    began = time.monotonic()
    told = False
    while job.state == "processing" and job.cancel:
        waited = time.monotonic() - began
        if waited > 1 and not told:
            told = True
            tell(
                "waiting for job %s to end; after %s it is killed" % (id, values.span(job.kill_grace))
            )
        if waited > 1:
            fleet.rescue(store)  # Its worker may be gone.
        time.sleep(POLL)
        job = store.get(id)


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


def dlq_retry(args: Namespace) -> int:
    if bool(args.ids) == args.all:
        raise BadInput("give the ids of dead jobs, or --all")
    with open_store(args) as store:
        ids = store.dead_ids() if args.all else args.ids
        if not ids:
            tell("the DLQ is empty")
        return each(ids, lambda id: store.revive(id, only_dead=True))
