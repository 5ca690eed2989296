"""`prune`: deletes finished jobs."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace

from .. import values
from ..errors import BadInput
from ..lifecycle import FINISHED
from .queue_file import open_client

BITE = 1000  # Jobs deleted per transaction, so workers get in between.


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
            raise BadInput(f"--state: only finished jobs can be pruned: {', '.join(FINISHED)}")
    before = time.time() - age
    with open_client(args) as store:
        for state in states:
            number = len(store.prune(state, before, queue, dry_run=True)) - keep
            while number > 0:
                limit = number if args.dry_run else min(number, BITE)
                ids = store.prune(state, before, queue, limit, args.dry_run)
                for id in ids:
                    print(id)
                number = 0 if args.dry_run or not ids else number - len(ids)
    return 0
