"""`dashboard`: the queue in a browser."""

from __future__ import annotations

import os
import signal
import threading
from argparse import ArgumentParser, Namespace

from .. import values
from ..errors import Refused
from .queue_file import open_reader, queue_path
from .terminal import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..views.dashboard.server import Dashboard

PORT = 7838  # QUEU on a telephone.


def dashboard_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--port", metavar="N", help=f"the port to listen on; 0 takes any free one (default: {PORT})")
    parser.add_argument(
        "--read-write", action="store_true", help="let users cancel, retry, edit and delete jobs, and pause queues"
    )
    parser.add_argument(
        "--metrics", action="store_true", help="let every program on this machine read /metrics, for Prometheus"
    )
    parser.add_argument("--open", action="store_true", help="open it in the browser")


def dashboard(args: Namespace) -> int:
    port = PORT if args.port is None else values.whole(args.port, "--port", 0, 65535)
    server = _server(args, port)
    server.shows_metrics = args.metrics
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP.
            signal.signal(number, lambda *_: ended.set())
    server.start()
    page = None
    try:
        print(server.address, flush=True)
        mode = "changes are allowed" if args.read_write else "read-only; to allow changes, add --read-write"
        tell(f"Serving {server.file} until Ctrl-C ({mode}).")
        tell(f"From another machine, first run there: ssh -N -L {server.port}:127.0.0.1:{server.port} HOST")
        if args.metrics:
            tell(f"Every program on this machine can read http://127.0.0.1:{server.port}/metrics.")
        if args.open:
            page = _open(server.address)
        ended.wait()
    finally:
        server.stop()
        if page:
            os.unlink(page)
    return 0


def _server(args: Namespace, port: int) -> Dashboard:
    """The server, listening. Raises DatabaseUnusable if its file can't be used."""
    from ..program.sources import program
    from ..views.dashboard.server import Dashboard
    from ..views.dashboard.view import Shell

    open_reader(args).close()
    try:
        return Dashboard(queue_path(args.db), port, Shell(args.db), args.read_write, program())
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Refused(
            f"--port: cannot listen on port {port}: {reason.lower()}; take another one, or any free one with --port 0"
        ) from None


def _open(address: str) -> str:
    """Open the browser by way of a private file, whose path is returned: other users can see a process's arguments."""
    import tempfile
    import webbrowser

    link = f'<a href="{address}">Open the dashboard</a>'
    page = f'<!doctype html><meta http-equiv="refresh" content="0;url={address}">{link}'
    fd, path = tempfile.mkstemp(".html", "queuectl-", os.environ.get("XDG_RUNTIME_DIR"))
    with os.fdopen(fd, "w") as file:
        file.write(page)
    if not webbrowser.open("file://" + path):
        tell("no browser was found; open the address above")
    return path
