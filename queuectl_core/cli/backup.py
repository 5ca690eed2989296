"""`backup`: copies the queue, even while workers run."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace

from ..errors import BadInput
from .queue_file import open_reader
from .terminal import tell


def backup_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the file to write")
    parser.add_argument("--force", action="store_true", help="overwrite FILE if it exists")


def backup(args: Namespace) -> int:
    if not args.file:
        raise BadInput("FILE: must not be empty")
    with open_reader(args) as store:
        store.backup(args.file, args.force)
        target = os.path.abspath(args.file)
        tell(f"Backed up to {target}. Don't run workers on both: pending jobs would run twice.")
    return 0
