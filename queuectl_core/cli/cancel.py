"""`cancel`: a waiting job at once, a running one as soon as its worker has ended it."""

from __future__ import annotations

import os
import time

from .. import values
from .bulk import each, selected_ids
from .queue_file import open_store
from .terminal import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ..lifecycle import Job
    from ..store import Store

POLL = 0.01  # seconds
RESCUE_POLL = 0.2  # seconds, once it takes long


def cancel_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", metavar="ID", help="a job that is not finished")
    parser.add_argument("--all", action="store_true", help="all jobs that are not finished")
    parser.add_argument("-q", "--queue", metavar="QUEUE", help="all jobs of this queue that are not finished")


def cancel(args: Namespace) -> int:
    with open_store(args) as store:
        ids = selected_ids(args, "unfinished jobs", store.unfinished_ids)
        ending: list[Job] = []
        code = each(ids, lambda id: _cancel(store, id, ending))
        # All are asked before the first is waited for, so they end at the same time.
        return max(code, each([job.id for job in ending], lambda id: _wait_for_end(store, id)))


def _cancel(store: Store, id: str, ending: list[Job]) -> str | None:
    """Cancel one job; returns its id or, if it is still running, adds it to `ending`."""
    job = store.cancel(id)
    if job.state != "processing":
        return job.id
    ending.append(job)
    return None


def _wait_for_end(store: Store, id: str) -> str:
    """Wait until a job that is being cancelled isn't running any more; returns its id.

    Raises Refused if it ended by itself first.
    """
    from ..workers.rescue import Rescuer
    from ..workers.runner import RunnerKills

    job = store.get(id)
    began = time.monotonic()
    told = False
    rescuer = Rescuer(None, RunnerKills(dict(os.environb), tell), tell)
    while job.state != "cancelled":
        if not job.cancel:
            job = store.cancel(id)  # Its worker released it, or it ended, which is refused here.
        waited = time.monotonic() - began
        if waited > 1 and not told:
            told = True
            tell(f"waiting for job {id} to end; it is killed after {values.span(job.kill_grace)}")
        if waited > 1:
            rescuer.look(store)  # Its worker may be dead.
        time.sleep(POLL if waited < 1 else RESCUE_POLL)
        job = store.get(id)
    return id
