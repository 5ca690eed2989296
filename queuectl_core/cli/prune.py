"""`prune`: deletes finished jobs, and returns their disk space."""

from __future__ import annotations

import time

from .. import values
from ..errors import BadInput
from ..lifecycle import FINISHED
from ..values import counted
from .bulk import BREATH, HOLD, Acknowledgements, given_labels, ids_argument, label_argument
from .progress import Progress
from .queue_file import open_client
from .terminal import size, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator, Sequence

    from ..store.client import Client

BATCH = 1000  # Most jobs per transaction.
PATIENCE = 2.0  # Seconds to wait for programs that prevent emptying the log.
NOTABLE = 1024**2  # Bytes. Less unused space isn't worth a hint.


def prune_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--older-than", metavar="DURATION", help="only jobs that finished longer ago than this")
    parser.add_argument(
        "-s",
        "--state",
        action="append",
        default=[],
        metavar="STATE",
        help="completed, dead or cancelled; may be repeated (default: completed)",
    )
    parser.add_argument("--keep", metavar="N", help="keep the N most recently finished jobs in each state")
    parser.add_argument("-q", "--queue", action="one", metavar="QUEUE", help="only jobs in this queue")
    label_argument(parser, "only jobs")
    ids_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="delete nothing; print the ids that would be deleted")
    parser.add_argument(
        "--compact",
        action="store_true",
        help="return all unused space by rewriting the file; nothing else can write meanwhile. By itself, this deletes"
        " no jobs",
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
    if args.compact and args.dry_run:
        raise BadInput("--compact: cannot be used together with --dry-run")
    chosen = args.older_than, args.state, args.keep, args.queue, args.labels
    deletes = not args.compact or any(chosen)
    age = 0.0 if args.older_than is None else values.duration(args.older_than, "--older-than")
    keep = 0 if args.keep is None else values.whole(args.keep, "--keep", 0)
    queue = None if args.queue is None else values.name(args.queue, "--queue")
    labels = given_labels(args)
    states = dict.fromkeys(map(_state, args.state or ["completed"]))
    before = time.time() - age
    done = Acknowledgements("would delete" if args.dry_run else "deleted", True, args.shows_ids or args.dry_run)
    with open_client(args) as store, done:
        taken = space(store)
        if deletes:
            found = {state: len(store.prune(state, before, queue, dry_run=True, labels=labels)) for state in states}
            numbers = {state: max(0, number - keep) for state, number in found.items()}
            with done.progress() as progress:
                for state, number in numbers.items():
                    for ids in _batches(store, (state, before, queue, labels), number, args.dry_run):
                        for id in ids:
                            done.add(id)
                        progress.count(done.count, sum(numbers.values()), "jobs deleted")
            for state in states:
                _tell_kept(*store.kept(state, before, queue, labels))
        returned = "" if args.dry_run else shrink(store, taken, args.compact)
        done.note = returned and f"; {returned}"
        if deletes and not done.count:
            tell(f"no jobs to delete{done.note}")
        elif not deletes:
            tell(returned)
    return 0


def _tell_kept(count: int, id: str | None) -> None:
    if count == 1:
        tell(f"job {id} is kept: other jobs wait for it")
    elif count:
        tell(f"{counted(count, 'job')}, such as {id}, are kept: other jobs wait for them")


def _batches(
    store: Client, which: tuple[str, float, str | None, Sequence[str]], number: int, is_dry: bool
) -> Iterator[list[str]]:
    """Delete up to this many jobs of a state that finished before a time, in a queue, with all of these labels.

    Yields the ids in each transaction.
    """
    state, before, queue, labels = which
    while number > 0:
        ids = store.prune(state, before, queue, number if is_dry else min(number, BATCH), is_dry, labels)
        if not ids:
            return
        yield ids
        number = 0 if is_dry else number - len(ids)
        if number:
            time.sleep(BREATH)


def space(store: Client) -> int:
    """How many bytes the queue takes on the disk."""
    return store.file_size() + store.wal_size()


def shrink(store: Client, before: int, is_rewritten: bool = False) -> str:
    """Return unused space to the file system: in short transactions, or by rewriting the file.

    Returns what to say about it, such as "returned 1.2 MiB to the disk"; `before` is the `space` it took.
    """
    unused = store.free_size()
    with Progress(patience=0 if is_rewritten else PATIENCE) as progress:
        if is_rewritten:
            progress.show("rewriting the file")
            store.compact()
        while store.give_back(HOLD):
            progress.show(f"returning space: {size(store.free_size())} left", 1 - store.free_size() / max(1, unused))
            time.sleep(BREATH)
        store.fold(PATIENCE)
    now, unused = space(store), store.free_size()
    text = f"returned {size(before - now)} to the disk" if now < before else ""
    if is_rewritten:
        return f"{text or 'no space to return'}; the file takes {size(now)}"
    if unused >= NOTABLE:
        return f"{size(unused)} stay unused in the file; to return them, run: queuectl prune --compact"
    return text
