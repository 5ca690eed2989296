"""`backup` copies the queue, even while workers run; `restore` puts such a copy in its place."""

from __future__ import annotations

import os
import sys

from ..errors import BadInput, DatabaseDamaged, Refused
from ..store import bell, copies
from ..store.reader import Reader
from ..values import counted
from ..workers import fleet
from .progress import Progress
from .queue_file import open_reader, queue_path
from .terminal import size, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def backup_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the file to write")
    parser.add_argument("--force", action="store_true", help="overwrite FILE if it exists")


def backup(args: Namespace) -> int:
    if not args.file:
        raise BadInput("FILE: must not be empty")
    with open_reader(args) as store, Progress() as progress:
        copies.backup(store, args.file, args.force, _reporter(progress))
        target = os.path.abspath(args.file)
    bytes = size(os.path.getsize(target))
    tell(f"Backed up to {target} ({bytes}). Don't run workers on both: pending jobs would run twice.")
    return 0


def restore_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a file that backup wrote, or any copy of a queue")
    parser.add_argument("--force", action="store_true", help="replace a queue that has jobs without asking")


def restore(args: Namespace) -> int:
    if not args.file:
        raise BadInput("FILE: must not be empty")
    path = os.path.realpath(queue_path(args.db))

    def examine() -> int | None:
        _refuse_listeners(path)
        jobs, has_more = _examine(path)
        if args.force:
            return None
        if jobs:
            _confirm(f"{path} has {counted(jobs, 'job')}, which the backup replaces")
        elif has_more:
            _confirm(f"{path} also has tables of another program, which the backup replaces")
        return jobs

    with Progress() as progress:
        aside = copies.restore(path, args.file, examine, _reporter(progress))
    if aside:
        tell(f"{path} was damaged; what is left of it is now {aside}")
    with Reader(path) as store:
        jobs = sum(sum(states.values()) for states in store.counts().values())
    tell(f"Restored {counted(jobs, 'job')} from {os.path.abspath(args.file)}.")
    return 0


def _reporter(progress: Progress) -> Callable[[int, int], None]:
    """What shows how much of a file was copied."""

    def report(done: int, total: int) -> None:
        share = done / max(1, total)
        progress.show(f"{share:.0%} copied" if share < 1 else "checking the copy", share, is_last=share == 1)

    return report


def _refuse_listeners(path: str) -> None:
    """Raise Refused if a worker listens to its bell, which works even if the file is damaged."""
    try:
        bells = os.listdir(bell.folder(path))
    except OSError:
        return
    if any(name.isdigit() and bell.ring(path, int(name)) for name in bells):
        raise Refused(f"{path}: workers are running; run: queuectl worker stop")


def _examine(path: str) -> tuple[int, bool]:
    """How many jobs the file has, and whether it has other tables too.

    Raises Refused if workers are running, and DatabaseDamaged if the file is damaged.
    """
    with Reader(path) as store:
        if store.faults():
            raise DatabaseDamaged(path)
        if any(fleet.is_running(store, row) for row in store.workers()):
            raise Refused(f"{path}: workers are running; run: queuectl worker stop")
        return sum(sum(states.values()) for states in store.counts().values()), store.has_other_tables()


def _confirm(text: str) -> None:
    """Ask on the terminal whether to continue. Raises Refused if not, or without a terminal."""
    if not (os.isatty(0) and os.isatty(2)):
        raise Refused(f"{text}; --force does that without asking")
    sys.stderr.write(f"{text}. Continue? [y/N] ")
    sys.stderr.flush()
    if os.read(0, 1000).strip().lower() not in (b"y", b"yes"):
        raise Refused("nothing was changed")
