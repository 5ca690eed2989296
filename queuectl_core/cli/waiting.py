"""`wait`: until jobs are finished."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace

from .. import values
from ..errors import WaitTimedOut
from ..lifecycle import FINISHED
from . import open_store, tell

POLL = 0.005  # Seconds; a look at `data_version` costs a few microseconds.


def wait_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", metavar="ID", help="a job (default: all that are unfinished)")
    parser.add_argument("--timeout", metavar="DURATION", help="wait no longer than this; exit 124 then")


def wait(args: Namespace) -> int:
    patience = None if args.timeout is None else values.duration(args.timeout, "--timeout")
    until = None if patience is None else time.monotonic() + patience
    with open_store(args) as store:
        ids = args.ids or [job.id for job in store.list(("pending", "processing", "failed"))]
        left = dict.fromkeys(ids)
        finished = {}
        while True:
            version = store.data_version()
            for id in list(left):
                job = store.get(id)
                if job.state in FINISHED:
                    finished[id] = job
                    del left[id]
            if not left:
                return _exit_code(list(finished.values()))
            while store.data_version() == version:
                if until is not None and time.monotonic() >= until:
                    raise WaitTimedOut("%d of %d jobs are not finished" % (len(left), len(ids)))
                time.sleep(POLL)


def _exit_code(jobs: list) -> int:
    for job in jobs:
        if job.state != "completed":
            tell("job %s is %s%s" % (job.id, job.state, ": %s" % job.error if job.error else ""))
    if len(jobs) == 1:
        job = jobs[0]
        return 0 if job.state == "completed" else job.exit_code or 1
    return 0 if all(job.state == "completed" for job in jobs) else 1
