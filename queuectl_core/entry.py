"""Where the program starts: `main`.

Until `main` handles Ctrl-C, it just ends the process. Python would print a traceback, or discard the interrupt if it
came during a callback, which imports have.
"""

from _signal import SIG_DFL, SIGINT, default_int_handler, getsignal, signal  # type: ignore[import-not-found]

if getsignal(SIGINT) is default_int_handler:
    signal(SIGINT, SIG_DFL)

from .cli.main import main

__all__ = ["main"]
