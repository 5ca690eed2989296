"""`pause` and `resume` a queue, or all of them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from .. import values
from .queue_file import open_client
from .terminal import tell


def pause_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("queue", nargs="?", metavar="QUEUE", help="this queue only (default: all queues)")


def pause(args: Namespace) -> int:
    queue = None if args.queue is None else values.name(args.queue, "queue")
    with open_client(args) as store:
        if not store.pause(queue):
            tell("it was paused already")
    return 0


resume_arguments = pause_arguments


def resume(args: Namespace) -> int:
    queue = None if args.queue is None else values.name(args.queue, "queue")
    with open_client(args) as store:
        if not store.resume(queue):
            tell("it was not paused")
        if queue is not None and None in store.paused():
            tell("all queues are paused still: queuectl resume")
    return 0
