"""`top`: the queue, live, on a terminal.

    Source (top_data) → MainScreen, JobScreen (top_main, top_job) → lines → Terminal (top_terminal)
                           ↑ App (top_app): keys (top_keys), changes (top_actions), overlays

The loop waits for keys and signals. Four times a second it asks whether the file has changed; once a second it lays
out the screen again, because durations grow. Only lines that differ are drawn.
"""

from __future__ import annotations

import signal
import time

from .top_app import App, Quit
from .top_screens import Files
from .top_terminal import ENDING, Terminal, die
from .top_text import Charset

POLL = 0.25  # Seconds between looks at whether the file has changed.
SHORT_POLL = 0.1  # The same, while the output of a running job is shown.
TICK, LONGEST_TICK = 1.0, 5.0  # Seconds between layouts; more and more while they change nothing.


class _Signaled(Exception):
    """A signal ends the program."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run(files: Files, has_color: bool, is_unicode: bool) -> None:
    """Show the queue until the user quits. A signal ends the process as if it had not been caught.

    Raises BadInput if the terminal can't be redrawn, and DatabaseUnusable if the file can't be read.
    """
    terminal = Terminal(has_color)
    app = App(files, Charset(is_unicode))
    number = 0
    try:
        with terminal:
            _loop(app, terminal)
    except Quit:
        pass
    except _Signaled as signaled:
        number = signaled.number
    finally:
        app.close()
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    if number:
        die(number)


def _loop(app: App, terminal: Terminal) -> None:
    tick = TICK
    laid_out = 0.0
    is_changed = True
    while True:
        now = time.monotonic()
        if app.refresh() or is_changed or now - laid_out >= tick:
            drawn = terminal.draw(app.lines(*terminal.size()))
            tick = TICK if drawn else min(LONGEST_TICK, tick * 1.5)
            laid_out = now
        is_changed = False
        for event in terminal.wait(SHORT_POLL if app.is_live() else POLL):
            is_changed = True
            if event.signal:
                _obey(event.signal, terminal)
            elif event.key == "closed":
                raise _Signaled(signal.SIGHUP)
            elif event.key == "ctrl-l":
                terminal.redraw()
            else:
                app.press(event.key)


def _obey(number: int, terminal: Terminal) -> None:
    """Do what a signal asks for."""
    if number in ENDING:
        raise _Signaled(number)
    if number == signal.SIGWINCH:
        terminal.resize()
    elif number == signal.SIGTSTP:
        terminal.suspend()
    elif number == signal.SIGCONT:
        terminal.redraw()
