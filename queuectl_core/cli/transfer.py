"""`export` and `import`: move jobs from one queue to another."""

from __future__ import annotations

import sys
import time

from .. import values
from ..errors import BadInput
from .queue_file import open_client, open_reader
from .terminal import counted, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

IMPORT = """\
Add jobs printed by export, or by mongoexport from the jobs collection of QueueCTL for Node.js, and
print their ids. On an error, none are added. Jobs whose id already exists are skipped. A job that
was running when it was exported becomes pending.
"""


def export_jobs_arguments(parser: ArgumentParser) -> None:
    parser.description = "Print all jobs with their history and output, one JSON object per line."


def export_jobs(args: Namespace) -> int:
    import json

    from .. import transfer

    with open_reader(args) as store:
        for job in transfer.export_jobs(store):
            sys.stdout.write(json.dumps(job) + "\n")
    return 0


def import_jobs_arguments(parser: ArgumentParser) -> None:
    parser.description = IMPORT
    parser.add_argument("file", nargs="?", metavar="FILE", help="the file to read (default: standard input)")


def import_jobs(args: Namespace) -> int:
    from .. import transfer

    with open_client(args, creates=True) as store:
        try:
            with open(0 if args.file in (None, "-") else args.file, "rb") as file:
                added, skipped = transfer.import_jobs(store, file, time.time())
        except OSError as error:
            raise BadInput(f"{values.quote(args.file)}: {error.strerror}") from None
    for id in added:
        print(id)
    tell(f"imported {counted(len(added), 'job')}; skipped {skipped} that already exist")
    return 0
