"""`progress`: what a running job reports about itself."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace

from .. import values
from ..errors import BadInput, Refused
from .queue_file import open_client, own_job

LONGEST_TEXT = 200  # Characters that are kept.


def progress_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("percent", metavar="PERCENT", help="how much is done: 40, 40%% or 3/8")
    parser.add_argument("text", nargs="*", metavar="TEXT", help="a note, such as the current step")


def progress(args: Namespace) -> int:
    percent = values.percent(args.percent, "PERCENT")
    text = " ".join(" ".join(args.text).split())[:LONGEST_TEXT]
    if not os.environ.get("QUEUECTL_JOB_ID"):
        raise BadInput("progress: works only inside a job, which QUEUECTL_JOB_ID and QUEUECTL_TOKEN name")
    with open_client(args) as store:
        job = own_job(store)
        if job is None:
            raise Refused(f"job {os.environ['QUEUECTL_JOB_ID']} is not running here any more")
        store.report_progress(job, percent, text or None)
    return 0
