"""Shared by commands that act on many jobs: selecting them, and acting on each."""

from __future__ import annotations

import sys
import time

from .. import values
from ..errors import BadInput, CannotSuspend, DatabaseFull, Refused
from ..values import counted
from .progress import Progress, goes_to_file
from .terminal import complain, print_id, tell, tell_if_typed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Iterator, Sequence

    from ..store.client import Client

STDIN = "; - reads ids from standard input"  # For the help texts of commands that use `selected_ids`.
HOLD = 0.05  # Seconds that a batch holds the write lock.
BREATH = 0.02  # Seconds between batches, in which workers get it.


def selection_arguments(parser: ArgumentParser, one: str, every: str) -> None:
    """Add the arguments that select jobs: ids, --all, --queue and --label; and --ids.

    `one` and `every` describe the jobs, such as "a dead job" and "all dead jobs".
    """
    parser.add_argument("ids", nargs="*", metavar="ID", help=one + STDIN)
    parser.add_argument("--all", action="store_true", help=every)
    parser.add_argument("-q", "--queue", action="one", metavar="QUEUE", help=f"{every} in this queue")
    label_argument(parser, every)
    ids_argument(parser)


def selected_ids(
    args: Namespace,
    what: str,
    ids_of: Callable[[str | None, Sequence[str]], Sequence[str]],
    queue_option: str = "queue",
) -> Sequence[str]:
    """The ids in `args`, or `ids_of(queue, labels)` with --all, --queue or --label. Raises BadInput unless given one.

    `what` names the jobs in messages, such as "dead jobs". Not all commands have --all; `queue_option` is the name of
    the option for the queue.
    """
    queue = getattr(args, queue_option)
    if bool(args.ids) == (getattr(args, "all", False) or queue is not None or bool(args.labels)):
        bulk = f"{'--all, ' if hasattr(args, 'all') else ''}--{queue_option} or --label"
        raise BadInput(f"give either the ids of {what}, or {bulk}")
    if args.ids:
        return _named_ids(args)
    selected = ids_of(None if queue is None else values.name(queue, f"--{queue_option}"), given_labels(args))
    if not selected:
        tell(f"no {what}")
    return selected


def _named_ids(args: Namespace) -> Sequence[str]:
    """The ids in `args`, with "-" replaced by those on standard input, one per line."""
    if "-" not in args.ids:
        ids: Sequence[str] = args.ids
        return ids
    tell_if_typed(0, "ids, one per line")
    try:
        with open(0, "rb", closefd=False) as stream:
            typed = values.decode(stream.read()).split("\n")
    except OSError as error:
        raise BadInput(f"standard input: {error.strerror}") from None
    return [id.strip() for given in args.ids for id in (typed if given == "-" else [given]) if id.strip()]


def label_argument(parser: ArgumentParser, what: str) -> None:
    """Add --label, which selects `what`, such as "dead jobs"."""
    help = f"{what} with this label (all, if repeated)"
    parser.add_argument("--label", dest="labels", action="append", default=[], metavar="LABEL", help=help)


def given_labels(args: Namespace) -> tuple[str, ...]:
    """The labels that --label names, each once."""
    return values.distinct_names(args.labels, "--label")


def ids_argument(parser: ArgumentParser) -> None:
    """Add --ids."""
    help = "print each job's id, even on a terminal, which otherwise shows only their number"
    parser.add_argument("--ids", action="store_true", dest="shows_ids", help=help)


class Acknowledgements:
    """Prints the id of each job that was changed, and how many there were if the user didn't name them.

    On a terminal, ids that the user didn't name are only counted, unless --ids was given.
    """

    def __init__(self, verb: str, is_bulk: bool, shows_ids: bool = False) -> None:
        """`verb`: what was done to them, such as "cancelled"."""
        self.verb = verb
        self._is_bulk = is_bulk
        self.shows_ids = shows_ids or not is_bulk or not sys.stdout.isatty()
        self.count = 0
        self.note = ""  # To add to the message.

    def add(self, id: str) -> None:
        """This job's change is on disk."""
        self.count += 1
        if self.shows_ids:
            print_id(id)

    def progress(self) -> Progress:
        """A line of progress, unless the ids are on the terminal or go to a program that may draw there."""
        return Progress(not self.shows_ids or goes_to_file(1))

    def __enter__(self) -> Acknowledgements:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._is_bulk and self.count:  # After Ctrl-C too.
            tell(f"{self.verb} {counted(self.count, 'job')}{self.note}")
        if isinstance(error, DatabaseFull) and self.count:
            raise error.but(f"{self.verb} only {counted(self.count, 'job')}") from None


def each(
    store: Client,
    ids: Sequence[str],
    act: Callable[[str], str | None],
    done: Acknowledgements,
    is_bulk: bool = False,
) -> int:
    """Call `act(id)` for each id, and acknowledge the full id it returns, if any. Returns 1 if any was refused, else 0.

    Commits many at a time, and acknowledges a job once its change is on disk. `is_bulk`: the user didn't name the jobs,
    so one that has changed meanwhile isn't an error.
    """
    code = 0
    unique = dict.fromkeys(ids)
    left = iter(unique)
    with done.progress() as progress:
        while True:
            acted, refused, is_over = _batch(store, left, act)
            for id in acted:
                done.add(id)
            for refusal in refused:
                if is_bulk and not isinstance(refusal, CannotSuspend):
                    continue
                complain(f"queuectl: {refusal}")
                code = refusal.exit_code
            progress.count(done.count, len(unique), f"jobs {done.verb}")
            if is_over:
                return code
            time.sleep(BREATH)


def _batch(
    store: Client, ids: Iterator[str], act: Callable[[str], str | None]
) -> tuple[list[str], list[Refused], bool]:
    """Act on as many as fit into HOLD; returns the ids to print, what was refused, and whether none is left."""
    acted, refused = [], []
    with store.batch():
        until = time.monotonic() + HOLD
        for id in ids:
            try:
                full_id = act(id)
            except Refused as refusal:
                refused.append(refusal)
            else:
                acted += [] if full_id is None else [full_id]
            if time.monotonic() > until:
                return acted, refused, False
    return acted, refused, True
