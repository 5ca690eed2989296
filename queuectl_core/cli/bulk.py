"""Shared by commands that act on many jobs: selecting them, and acting on each."""

from __future__ import annotations

from .. import values
from ..errors import BadInput, Refused
from .terminal import complain, print_id, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence


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


def each(ids: Sequence[str], act: Callable[[str], str | None], skip_refused: bool = False) -> int:
    """Call `act(id)` for each id and print the full id it returns, if any. Returns 1 if any was refused, else 0.

    `skip_refused`: the user didn't name the jobs, so one that has meanwhile changed isn't an error.
    """
    code = 0
    for id in dict.fromkeys(ids):
        try:
            full_id = act(id)
            if full_id is not None:
                print_id(full_id)
        except Refused as refusal:
            if skip_refused:
                continue
            complain(f"queuectl: {refusal}")
            code = refusal.exit_code
    return code
