"""`pause` and `resume`: stop and resume starting jobs, in one queue or in all."""

from __future__ import annotations

from .. import values
from .queue_file import open_client
from .terminal import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def pause_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("queue", nargs="?", metavar="QUEUE", help="a queue (default: all queues)")


def pause(args: Namespace) -> int:
    queue = None if args.queue is None else values.name(args.queue, "queue")
    with open_client(args, creates=True) as store:
        if not store.pause(queue):
            tell("all queues are already paused" if queue is None else f"queue {queue} is already paused")
    return 0


resume_arguments = pause_arguments


def resume(args: Namespace) -> int:
    queue = None if args.queue is None else values.name(args.queue, "queue")
    with open_client(args) as store:
        if not store.resume(queue):
            tell("no queue is paused" if queue is None else f"queue {queue} was not paused individually")
        if queue is not None and None in store.paused():
            tell("all queues are still paused; to resume them, run: queuectl resume")
    return 0
