"""Shared by commands that act on many jobs: selecting them, and acting on each."""

from __future__ import annotations

import sys
import time

from .. import values
from ..errors import BadInput, Refused
from .terminal import complain, counted, print_id, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator, Sequence

    from ..store.client import Client

HOLD = 0.05  # Seconds that a batch holds the write lock.
BREATH = 0.02  # Seconds between batches, in which workers get it.


def selected_ids(args: Namespace, what: str, ids_of: Callable[[str | None], Sequence[str]]) -> Sequence[str]:
    """The ids in `args`, or `ids_of(queue)` with --all or --queue. Raises BadInput unless exactly one was given.

    `what` names the jobs in messages, such as "dead jobs".
    """
    if bool(args.ids) == (args.all or args.queue is not None):
        raise BadInput(f"give either the ids of {what}, or --all, or --queue")
    if args.ids:
        ids: Sequence[str] = args.ids
        return ids
    selected = ids_of(None if args.queue is None else values.name(args.queue, "--queue"))
    if not selected:
        tell(f"no {what}")
    return selected


class Acknowledgements:
    """Prints the id of each job that was changed; on a terminal, just their number if the user didn't name them."""

    def __init__(self, verb: str, is_bulk: bool) -> None:
        """`verb`: what was done to them, such as "cancelled"."""
        self._verb = verb
        self._is_counted = is_bulk and sys.stdout.isatty()
        self._count = 0

    def add(self, id: str) -> None:
        """This job's change is on disk."""
        self._count += 1
        if not self._is_counted:
            print_id(id)

    def __enter__(self) -> Acknowledgements:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_counted and self._count:  # After Ctrl-C too.
            tell(f"{self._verb} {counted(self._count, 'job')}")


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
    left = iter(dict.fromkeys(ids))
    while True:
        acted, refused, is_over = _batch(store, left, act)
        for id in acted:
            done.add(id)
        for refusal in () if is_bulk else refused:
            complain(f"queuectl: {refusal}")
            code = refusal.exit_code
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
