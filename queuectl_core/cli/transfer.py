"""`export` and `import`: jobs from one queue to another."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace

from .. import values
from ..errors import BadInput
from .queue_file import open_client
from .terminal import tell

IMPORT = """\
Add the jobs that export printed, or mongoexport of the jobs of the QueueCTL for Node.js, and print
their ids. All are added or none. A job whose id is here already is left as it is; one that ran when
it was exported is pending.
"""


def export_jobs_arguments(parser: ArgumentParser) -> None:
    parser.description = "Print all jobs, with their history and output, one as a line of JSON."


def export_jobs(args: Namespace) -> int:
    import json

    from .. import transfer

    with open_client(args) as store:
        for job in transfer.export_jobs(store):
            sys.stdout.write(json.dumps(job) + "\n")
    return 0


def import_jobs_arguments(parser: ArgumentParser) -> None:
    parser.description = IMPORT
    parser.add_argument("file", nargs="?", metavar="FILE", help="where to read (default: standard input)")


def import_jobs(args: Namespace) -> int:
    from .. import transfer

    with open_client(args) as store:
        try:
            with open(0 if args.file in (None, "-") else args.file, "rb") as file:
                added, found = transfer.import_jobs(store, file, time.time())
        except OSError as error:
            raise BadInput(f"{values.quote(args.file)}: {error.strerror}") from None
    for id in added:
        print(id)
    tell(f"imported: {len(added)}; here already: {found}")
    return 0
