"""`backup`: a copy of the queue, even while workers run."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace

from ..errors import BadInput
from .queue_file import open_reader
from .terminal import tell


def backup_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="where the copy goes")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")


def backup(args: Namespace) -> int:
    if not args.file:
        raise BadInput("FILE: must not be empty")
    with open_reader(args) as store:
        store.backup(args.file, args.force)
        target = os.path.abspath(args.file)
        tell(f"copied to {target}; workers on both files would run the same jobs twice")
    return 0
