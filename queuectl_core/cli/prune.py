"""`prune`: deletes finished jobs, and returns their disk space."""

from __future__ import annotations

import time

from .. import values
from ..errors import BadInput
from ..lifecycle import FINISHED
from .bulk import BREATH, HOLD
from .queue_file import open_client
from .terminal import print_id, size, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ..store.client import Client

BATCH = 1000  # Most jobs per transaction.
PATIENCE = 2.0  # Seconds to wait for programs that prevent emptying the log.


def prune_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--older-than", metavar="DURATION", default="0", help="only jobs that finished longer ago than this"
    )
    parser.add_argument(
        "-s",
        "--state",
        action="append",
        default=[],
        metavar="STATE",
        help="completed, dead or cancelled; may be repeated (default: completed)",
    )
    parser.add_argument("--keep", metavar="N", help="keep the N most recently finished jobs in each state")
    parser.add_argument("-q", "--queue", metavar="QUEUE", help="only jobs in this queue")
    parser.add_argument("--dry-run", action="store_true", help="delete nothing; print the ids that would be deleted")
    parser.add_argument(
        "--compact",
        action="store_true",
        help="then rewrite the whole file without unused space; nothing else can write meanwhile",
    )


def _state(word: str) -> str:
    if word in FINISHED:
        return word
    from .hints import state  # Deferred: needed only for other words.

    meant = state(word)
    if meant not in FINISHED:
        raise BadInput(f"--state: must be completed, dead or cancelled, not {values.quote(word)}")
    return meant


def prune(args: Namespace) -> int:
    age = values.duration(args.older_than, "--older-than")
    keep = 0 if args.keep is None else values.whole(args.keep, "--keep", 0)
    queue = None if args.queue is None else values.name(args.queue, "--queue")
    states = dict.fromkeys(map(_state, args.state or ["completed"]))
    before = time.time() - age
    with open_client(args) as store:
        for state in states:
            remaining = len(store.prune(state, before, queue, dry_run=True)) - keep
            while remaining > 0:
                limit = remaining if args.dry_run else min(remaining, BATCH)
                ids = store.prune(state, before, queue, limit, args.dry_run)
                for id in ids:
                    print_id(id)
                remaining = 0 if args.dry_run or not ids else remaining - len(ids)
                if remaining:
                    time.sleep(BREATH)
        if not args.dry_run:
            shrink(store, args.compact)
    return 0


def shrink(store: Client, is_rewritten: bool = False) -> None:
    """Return unused space to the file system: in short transactions, or by rewriting the file."""
    before = store.file_size() + store.wal_size()
    if is_rewritten:
        store.compact()
    while store.give_back(HOLD):
        time.sleep(BREATH)
    store.fold(PATIENCE)
    if is_rewritten:
        tell(f"{store.path}: {size(before)} before, {size(store.file_size() + store.wal_size())} now")
