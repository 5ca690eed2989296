"""`bundle` and `service`: install queuectl on a server."""

from __future__ import annotations

import os
import sys

from .. import values
from ..errors import BadInput
from ..program import sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def bundle_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="the file to write; an existing file is replaced")
    parser.add_argument(
        "--python",
        metavar="COMMAND",
        help="the interpreter named on the #! line (default: find a Python 3.8 or later when it runs)",
    )


def bundle(args: Namespace) -> int:
    from ..program.bundle import write_bundle

    write_bundle(args.path, args.python)
    print(args.path)
    return 0


def service_arguments(parser: ArgumentParser) -> None:
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--system", action="store_true", help="print a system unit instead of a user unit")
    kind.add_argument("--cron", action="store_true", help="print a crontab line that runs workers while there are jobs")
    parser.add_argument("--run-as", metavar="USER", help="with --system: the user to run jobs as (default: you)")
    parser.add_argument(
        "--stop-timeout",
        metavar="DURATION",
        default="5m",
        help="when the service stops, give jobs this long to finish, then return them to the queue (default: 5m)",
    )
    parser.add_argument("-c", "--count", default="1", metavar="N", help="number of workers (default: 1)")
    parser.add_argument(
        "-q",
        "--queue",
        action="append",
        default=[],
        metavar="QUEUE",
        help="take only jobs in this queue; may be repeated (default: all queues)",
    )
    parser.add_argument(
        "--env-file", metavar="FILE", help="read KEY=VALUE lines for the jobs' environment when workers start"
    )


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
            raise BadInput(f"a service cannot contain unprintable characters: {values.quote(word)}")
    if args.cron:
        sys.stdout.write(crontab([*words, "--drain", "--top-up"]))
        return 0
    user = None
    if args.system:
        user = values.name(args.run_as or _user_name(), "--run-as")
    elif args.run_as:
        raise BadInput("--run-as: needs --system; a user unit always runs as its owner")
    words += ["--stop-timeout", args.stop_timeout, "--foreground"]
    sys.stdout.write(unit(words, database, values.duration(args.stop_timeout, "--stop-timeout"), user))
    return 0


def _user_name() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name
