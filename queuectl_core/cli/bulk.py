"""What commands that act on many jobs share: which jobs, and doing it to each."""

from __future__ import annotations

from .. import values
from ..errors import BadInput, Refused
from .terminal import complain, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence


def selected_ids(args: Namespace, what: str, ids_of: Callable[[str | None], Sequence[str]]) -> Sequence[str]:
    """The ids given, or those that --all or --queue selects: `ids_of(queue)`. `what` names them in messages."""
    if bool(args.ids) == (args.all or args.queue is not None):
        raise BadInput(f"give the ids of {what}, or --all, or --queue")
    if args.ids:
        ids: Sequence[str] = args.ids
        return ids
    found = ids_of(None if args.queue is None else values.name(args.queue, "--queue"))
    if not found:
        tell(f"no {what}")
    return found


def each(ids: Sequence[str], act: Callable[[str], str | None]) -> int:
    """Do `act(id)` for each id and print the full id that it returns, if any; returns 1 if any was refused."""
    code = 0
    for id in dict.fromkeys(ids):
        try:
            done = act(id)
            if done is not None:
                print(done, flush=True)
        except Refused as refusal:
            complain(f"queuectl: {refusal}")
            code = refusal.exit_code
    return code
