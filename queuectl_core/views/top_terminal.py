"""The terminal of `top`: draws lines with curses, reads keys, and always leaves the terminal as it was.

Signals are bytes in a pipe, which the loop reads next to the keys (signal.set_wakeup_fd), so no handler runs code in
the middle of a redraw. Nothing is written while the lines stay the same: curses compares cells, and we compare lines.
Mouse events are not asked for, so selecting text works as in any other program.
"""

from __future__ import annotations

import curses
import os
import select
import signal
import sys

from ..cells import width
from ..errors import BadInput
from ..phrases import LOOKS
from ..typed import NamedTuple
from ..values import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import Any

    from .top_text import Line

# These end the program once the terminal is restored, as if it had not caught them.
ENDING = tuple(
    getattr(signal, name) for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM")
)
CAUGHT = (*ENDING, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)
ESCAPE_DELAY = 50  # Milliseconds in which the rest of a key's sequence must follow its escape character.

NAMES = {
    "\n": "enter", "\r": "enter", "\t": "tab", "\x1b": "esc", "\x7f": "backspace", "\b": "backspace",
    curses.KEY_ENTER: "enter", curses.KEY_BACKSPACE: "backspace", curses.KEY_BTAB: "shift-tab",
    curses.KEY_UP: "up", curses.KEY_DOWN: "down", curses.KEY_LEFT: "left", curses.KEY_RIGHT: "right",
    curses.KEY_PPAGE: "pgup", curses.KEY_NPAGE: "pgdn", curses.KEY_HOME: "home", curses.KEY_END: "end",
}  # fmt: skip

# Style: attributes, and the SGR color of its text (0: the terminal's own).
STYLES = {
    "": (0, 0),
    "dim": (curses.A_DIM, 0),
    "bold": (curses.A_BOLD, 0),
    "name": (curses.A_BOLD | curses.A_REVERSE, 0),
    "title": (curses.A_BOLD, 0),
    "focus": (curses.A_BOLD | curses.A_REVERSE, 36),
    "head": (curses.A_DIM | curses.A_UNDERLINE, 0),
    "selected": (curses.A_REVERSE, 0),
    "rule": (curses.A_UNDERLINE, 0),
    "marked": (curses.A_BOLD, 0),
    "warning": (0, 33),
    "error": (curses.A_BOLD, 31),
    "ok": (0, 32),
    "stderr": (0, 33),
    "command": (curses.A_BOLD, 36),
    "key": (curses.A_BOLD, 36),
    **{state: (0, int(look.color)) for state, look in LOOKS.items()},
}


class Event(NamedTuple):
    """What happened: a key's name, or a signal's number, or "closed" if the terminal is gone."""

    key: str = ""
    signal: int = 0


class Terminal:
    """The terminal on stdin and stdout, as a context manager."""

    def __init__(self, has_color: bool) -> None:
        """Raises BadInput if the terminal can't be redrawn."""
        name = os.environ.get("TERM", "")
        try:
            curses.setupterm(term=name or "unknown", fd=sys.stdout.fileno())
            can_move = curses.tigetstr("cup")
        except curses.error:
            shown = quote(name) if name else "unset"
            raise BadInput(f"top: unknown terminal: TERM={shown}; try: TERM=xterm queuectl top") from None
        if not can_move:
            raise BadInput(f"top: TERM={name or 'unset'} can't be redrawn; run: queuectl status")
        self._has_color = has_color
        self._shown: list[Line] = []
        self._attributes: dict[str, int] = {}
        self._previous: dict[int, Any] = {}
        self._pipe = (-1, -1)

    def __enter__(self) -> Terminal:
        self._catch()
        os.environ.setdefault("ESCDELAY", str(ESCAPE_DELAY))
        self._window = curses.initscr()
        self._start()
        return self

    def _start(self) -> None:
        curses.noecho()
        curses.cbreak()
        curses.nonl()
        self._window.keypad(True)
        self._window.nodelay(True)
        try:
            curses.curs_set(0)
        except curses.error:
            pass  # This terminal can't hide it.
        colors = self._start_colors()
        for style, (attributes, color) in STYLES.items():
            self._attributes[style] = attributes | colors.get(color, 0)
        self.resize()

    def _start_colors(self) -> dict[int, int]:
        """The attribute of each SGR color; none without color."""
        if not self._has_color or not curses.has_colors():
            return {}
        try:
            curses.start_color()
            curses.use_default_colors()
            for number in range(1, 7):
                curses.init_pair(number, number, -1)
        except curses.error:
            return {}
        return {30 + number: curses.color_pair(number) for number in range(1, 7)}

    def __exit__(self, *_: object) -> None:
        try:
            curses.endwin()
        except curses.error:
            pass  # The terminal is gone.
        self._release()

    # --- signals ---------------------------------------------------------------------------------------

    def _catch(self) -> None:
        self._pipe = os.pipe()
        for end in self._pipe:
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        for number in CAUGHT:
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP, for instance.
                self._previous[number] = signal.signal(number, _do_nothing)

    def _release(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        for end in self._pipe:
            os.close(end)

    def suspend(self) -> None:
        """Stop this process, as Ctrl-Z does, with the terminal restored meanwhile."""
        curses.endwin()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, _do_nothing)
        self.redraw()

    # --- input -----------------------------------------------------------------------------------------

    def wait(self, seconds: float) -> list[Event]:
        """Wait for keys and signals for at most this long; returns them."""
        ready, _, _ = select.select([0, self._pipe[0]], [], [], max(0, seconds))  # On macOS, poll() ignores terminals.
        events = []
        if self._pipe[0] in ready:
            events += [Event(signal=number) for number in os.read(self._pipe[0], 4096)]
        if 0 in ready:
            keys = self._keys()
            events += keys
            if not keys and _is_closed():
                events.append(Event(key="closed"))
        return events

    def _keys(self) -> list[Event]:
        events: list[Event] = []
        while True:
            try:
                letter = self._window.get_wch()
            except curses.error:  # There is no more.
                return events
            if letter == curses.KEY_RESIZE:
                continue  # SIGWINCH says so.
            name = NAMES.get(letter, letter)
            if isinstance(name, str):
                events.append(Event(key=f"ctrl-{chr(ord(name) + 96)}" if name < " " else name))

    # --- output ----------------------------------------------------------------------------------------

    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        lines, columns = self._window.getmaxyx()
        return columns, lines

    def resize(self) -> None:
        """Adapt to the size of the terminal."""
        try:
            columns, lines = os.get_terminal_size(1)
        except OSError:
            columns = lines = 0
        if columns > 0 and lines > 0:
            curses.resizeterm(lines, columns)
        self._shown = []

    def redraw(self) -> None:
        """Draw everything again, whatever the terminal shows: something else may have written on it."""
        curses.reset_prog_mode()
        try:
            curses.curs_set(0)
        except curses.error:
            pass
        self._shown = []
        self._window.redrawwin()

    def draw(self, lines: Sequence[Line]) -> bool:
        """Show these lines. Returns whether any is new; if not, nothing is written."""
        if lines == self._shown:
            return False
        for y, line in enumerate(lines):
            if y >= len(self._shown) or self._shown[y] != line:
                self._draw_line(y, line)
        self._shown = list(lines)
        self._window.noutrefresh()
        curses.doupdate()
        return True

    def _draw_line(self, y: int, line: Line) -> None:
        x = 0
        try:
            self._window.move(y, 0)
            self._window.clrtoeol()
            for text, style in line:
                if text:
                    self._window.addstr(y, x, text, self._attributes[style])
                    x += width(text)
        except curses.error:
            pass  # The last column of the last line: curses draws it, but can't move on. Or the terminal has shrunk.


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """The loop reads the signal's number from the pipe."""


def _is_closed() -> bool:
    """Whether the terminal on stdin is gone: it has an end, or can't be asked."""
    try:
        os.tcgetpgrp(0)
    except OSError:
        return True
    return False


def die(number: int) -> None:
    """End this process by a signal, as if it had not been caught."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


