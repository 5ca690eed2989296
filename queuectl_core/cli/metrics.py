"""`metrics`: figures for Prometheus and others that read its formats."""

from __future__ import annotations

import os
import stat
import sys
import time

from ..errors import BadInput, Refused
from ..values import quote
from ..views.metrics import FORMATS, text
from .queue_file import open_reader
from .terminal import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

EVERYONE_READS = 0o644  # The collector runs as another user.


def metrics_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--textfile",
        metavar="PATH",
        help="replace this file, in one step, for node_exporter's textfile collector; its name should end in .prom",
    )
    parser.add_argument(
        "--format",
        choices=list(FORMATS),
        metavar="FORMAT",
        help="openmetrics, or prometheus: the older text format, which --textfile, promtool and Pushgateway need",
    )


def metrics(args: Namespace) -> int:
    if args.textfile == "":
        raise BadInput("--textfile: must not be empty")
    with open_reader(args) as store:
        found = text(store, time.time(), args.format or ("prometheus" if args.textfile else "openmetrics"))
    if args.textfile is None:
        sys.stdout.write(found)
        return 0
    _replace(args.textfile, found.encode())
    if not args.textfile.endswith(".prom"):
        tell(f"node_exporter reads only files that end in .prom, not {quote(args.textfile)}")
    return 0


def _replace(path: str, content: bytes) -> None:
    """Write a file so that readers see either the old content or the new. Raises Refused if that is impossible.

    Without fsync: the next run replaces what a power cut damages.
    """
    try:
        target = os.path.realpath(path)
        if os.path.exists(target) and not stat.S_ISREG(os.stat(target).st_mode):
            raise Refused(f"{quote(path)}: is not a regular file")
        partial = f"{target}.{os.getpid()}"  # Doesn't end in .prom, so it isn't collected.
        file = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, EVERYONE_READS)
        try:
            with open(file, "wb") as stream:
                os.fchmod(file, EVERYONE_READS)  # Whatever the umask.
                stream.write(content)
            os.replace(partial, target)
        except BaseException:
            os.unlink(partial)
            raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name.
        reason = error.strerror if isinstance(error, OSError) else error
        raise Refused(f"{quote(path)}: cannot be written: {reason}") from None
