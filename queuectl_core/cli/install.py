"""`bundle` and `service`: queuectl on a server."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace

from .. import values
from ..errors import BadInput
from ..program import sources


def bundle_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="the file to write; one that is there is replaced")
    parser.add_argument(
        "--python",
        metavar="COMMAND",
        default="/usr/bin/env python3",
        help="what runs the file, in its first line (default: %(default)s)",
    )


def bundle(args: Namespace) -> int:
    from ..program.bundle import write_bundle

    write_bundle(args.path, args.python)
    print(args.path)
    return 0


def service_arguments(parser: ArgumentParser) -> None:
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--system", action="store_true", help="a unit of the system rather than your own")
    kind.add_argument("--cron", action="store_true", help="a crontab line: workers while there are jobs")
    parser.add_argument("--run-as", metavar="USER", help="with --system: who runs the jobs (default: you)")
    parser.add_argument(
        "--stop-timeout",
        metavar="DURATION",
        default="5m",
        help="at a stop, kill jobs that are not done by then (default: 5m)",
    )
    parser.add_argument("-c", "--count", default="1", metavar="N", help="how many workers (default: 1)")
    parser.add_argument(
        "-q", "--queue", action="append", default=[], metavar="QUEUE", help="as of worker start"
    )
    parser.add_argument("--env-file", metavar="FILE", help="as of worker start")


def service(args: Namespace) -> int:
    from ..program.service import crontab, unit
    from ..store.database import default_path

    database = os.path.abspath(args.db or default_path(dict(os.environ)))
    words = [*sources.program(), "--db", database, "worker", "start"]
    words += ["--count", str(values.whole(args.count, "--count", 1, 1000))]
    for queue in args.queue:
        words += ["--queue", values.name(queue, "--queue")]
    if args.env_file is not None:
        words += ["--env-file", os.path.abspath(args.env_file)]
    for word in words:
        if not word.isprintable():
            raise BadInput(f"not printable, and so not for a service: {values.quote(word)}")
    if args.cron:
        sys.stdout.write(crontab([*words, "--drain", "--top-up"]))
        return 0
    user = None
    if args.system:
        user = values.name(args.run_as or _own_name(), "--run-as")
    elif args.run_as:
        raise BadInput("--run-as: for --system only; a user's own unit runs as that user")
    patience = values.duration(args.stop_timeout, "--stop-timeout")
    sys.stdout.write(unit([*words, "--foreground"], database, patience, user))
    return 0


def _own_name() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name
