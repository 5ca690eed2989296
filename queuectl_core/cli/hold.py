"""`hold` and `release`: keep single jobs from starting."""

from __future__ import annotations

from .bulk import Acknowledgements, each
from .queue_file import open_client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def hold_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("ids", nargs="+", metavar="ID", help="a waiting job")


def hold(args: Namespace) -> int:
    with open_client(args) as store, Acknowledgements("held", False) as done:
        return each(store, args.ids, store.hold, done)


def release_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("ids", nargs="+", metavar="ID", help="a held job")


def release(args: Namespace) -> int:
    with open_client(args) as store, Acknowledgements("released", False) as done:
        return each(store, args.ids, store.release, done)
