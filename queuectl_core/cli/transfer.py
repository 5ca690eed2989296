"""`export` and `import`: move jobs from one queue to another."""

from __future__ import annotations

import sys
import time

from .. import values
from ..errors import BadInput
from ..values import counted
from .bulk import ids_argument
from .progress import Progress, goes_to_file, seconds
from .queue_file import open_client, open_reader
from .terminal import print_id, tell, tell_if_typed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

IMPORT = """\
Add jobs printed by export, or by mongoexport from the jobs collection of QueueCTL for Node.js, and
print their ids. On an error, none are added. Jobs whose id already exists are skipped. A job that
was running when it was exported becomes pending.
"""


def export_jobs_arguments(parser: ArgumentParser) -> None:
    parser.description = "Print all jobs with their history and output, and all schedules, one JSON object per line."


def export_jobs(args: Namespace) -> int:
    import json

    from .. import transfer
    from ..schedule_transfer import schedule_lines

    count = 0
    with open_reader(args) as store, Progress(goes_to_file(1)) as progress:
        total = sum(sum(states.values()) for states in store.counts().values())
        for count, job in enumerate(transfer.export_jobs(store), 1):
            sys.stdout.write(json.dumps(job) + "\n")
            progress.count(count, total, "jobs exported")
        for line in schedule_lines(store):
            sys.stdout.write(json.dumps(line) + "\n")
        if progress.is_shown:
            sys.stdout.flush()
            tell(f"exported {counted(count, 'job')} in {seconds(progress.elapsed())}")
    return 0


def import_jobs_arguments(parser: ArgumentParser) -> None:
    parser.description = IMPORT
    parser.add_argument("file", nargs="?", metavar="FILE", help="the file to read (default: standard input)")
    ids_argument(parser)


def import_jobs(args: Namespace) -> int:
    from .. import transfer

    if args.file in (None, "-"):
        tell_if_typed(0, "exported jobs")
    with open_client(args, creates=True) as store, Progress() as progress:
        try:
            with open(0 if args.file in (None, "-") else args.file, "rb") as file:
                added, skipped, schedules = transfer.import_jobs(store, file, time.time(), progress.count)
        except OSError as error:
            raise BadInput(f"{values.quote(args.file)}: {error.strerror}") from None
    if args.shows_ids or not sys.stdout.isatty():
        for id in added:
            print_id(id)
    there = f"; skipped {skipped:,} that already exist{'s' if skipped == 1 else ''}" if skipped else ""
    more = f" and {counted(schedules, 'schedule')}" if schedules else ""
    tell(f"imported {counted(len(added), 'job')}{more}{there}")
    return 0
