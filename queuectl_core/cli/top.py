"""`top`: the queue, live, on a terminal. The screens are in views/."""

from __future__ import annotations

import os
import sys

from ..errors import BadInput, QueueError, Refused
from .queue_file import open_client, open_reader
from .terminal import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

PATIENCE = 0.2  # Seconds to wait for a lock before the screen says that the file is locked.
CHANGE_PATIENCE = 3.0  # Seconds that a change waits for the write lock.


def top_arguments(parser: ArgumentParser) -> None:
    """It takes no arguments but those of all commands."""


def top(args: Namespace) -> int:
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout)):
        raise BadInput("top: needs a terminal; in a script, run: queuectl status --json")
    try:
        from ..views.top import run
        from ..views.top_screens import Files
    except ImportError as error:
        if "curses" not in str(error):
            raise
        raise Refused(f"top: {sys.executable} lacks the module curses; run: queuectl status --watch") from None
    files = Files(
        reader=lambda: open_reader(args, patience=PATIENCE),
        client=lambda: open_client(args, patience=CHANGE_PATIENCE),
        prefix=["queuectl", *([] if args.db is None else ["--db", args.db])],
    )
    try:
        open_reader(args, patience=PATIENCE).close()  # It may have something to say, and the screen isn't there yet.
    except QueueError:
        pass  # The screen shows it.
    has_color = terminal.color == "always" or (terminal.color == "auto" and not os.environ.get("NO_COLOR"))
    run(files, has_color, terminal.shows_unicode())
    return 0
