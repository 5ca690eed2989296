"""`cancel`: cancels a waiting job immediately, and a running one once its worker has stopped it."""

from __future__ import annotations

import os
import time

from .. import values
from ..errors import Refused
from .bulk import Acknowledgements, each, selected_ids, selection_arguments
from .queue_file import open_store, own_job
from .terminal import complain, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ..lifecycle import Job
    from ..store import Store

POLL = 0.01  # Seconds.
RESCUE_POLL = 0.2  # Seconds, after the first second.


def cancel_arguments(parser: ArgumentParser) -> None:
    selection_arguments(parser, "an unfinished job", "all unfinished jobs")


def cancel(args: Namespace) -> int:
    with open_store(args) as store:
        ids = selected_ids(args, "unfinished jobs", store.unfinished_ids)
        own = own_job(store)
        if own and own.id in ids:
            ids = [*(id for id in ids if id != own.id), own.id]  # Last: that ends this command.
        ending: list[Job] = []
        is_bulk = not args.ids
        with Acknowledgements("cancelled", is_bulk, args.shows_ids) as done:
            code = each(store, ids, lambda id: _cancel(store, id, ending), done, is_bulk)
            # Request every cancellation before waiting for the first, so that the jobs stop in parallel.
            for job in ending:
                try:
                    done.add(_wait_for_end(store, job.id))
                except Refused as refusal:  # It finished on its own first.
                    if not is_bulk:
                        complain(f"queuectl: {refusal}")
                        code = refusal.exit_code
        return code


def _cancel(store: Store, id: str, ending: list[Job]) -> str | None:
    """Cancel a job. Returns its id, or None if it is still running; then it is added to `ending`."""
    job = store.cancel(id)
    if job.state != "processing":
        return job.id
    ending.append(job)
    return None


def _wait_for_end(store: Store, id: str) -> str:
    """Wait until a job that is being cancelled has stopped. Returns its id.

    Raises Refused if the job finished on its own first.
    """
    from ..workers.rescue import Rescuer
    from ..workers.runner import RunnerKills

    job = store.exact(id)
    began = time.monotonic()
    announced = False
    rescuer = Rescuer(None, RunnerKills(dict(os.environb), tell), tell)
    while job.state != "cancelled":
        if not job.cancel:
            job = store.cancel(id)  # Its worker released it, or it finished and this raises Refused.
        waited = time.monotonic() - began
        if waited > 1 and not announced:
            announced = True
            tell(f"waiting for job {id} to end; it will be killed after {values.span(job.kill_grace)}")
        if waited > 1:
            rescuer.look(store)  # In case its worker is dead.
        time.sleep(POLL if waited < 1 else RESCUE_POLL)
        job = store.exact(id)
    return id
