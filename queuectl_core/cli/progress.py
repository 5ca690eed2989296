"""How far a command is, on one line of the terminal.

The line is drawn on stderr, if that is a terminal and --quiet was not given, and only once a command has taken a
moment. It is erased before the command prints anything else, and when it ends or is interrupted.
"""

from __future__ import annotations

import os
import stat
import time

from ..cells import cut
from ..values import escape, span
from .terminal import terminal

INTERVAL = 0.1  # Seconds between two drawings.
PATIENCE = 0.3  # Seconds before the first line: most commands don't take as long.
MOST_COLUMNS = 30  # Of a bar.
MARGIN = 3  # Columns left empty: a terminal shows "^C" there, and a full line would move the cursor to the next.


class Progress:
    """A line of progress. Use it in a `with` block, which erases it at the end."""

    def __init__(self, is_wanted: bool = True, patience: float = PATIENCE) -> None:
        """`is_wanted`: False never draws it, just as without a terminal. `patience`: seconds before the first one."""
        self.is_shown = is_wanted and terminal.shows_progress()
        self.began = time.monotonic()
        self._next = self.began + patience
        self._first: tuple[str, int, float] = ("", 0, 0.0)  # What `count` counts, its first number, and when that was.

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def is_due(self, is_last: bool = False) -> bool:
        """Whether `show` would draw the line now. Ask if its text is expensive."""
        return self.is_shown and time.monotonic() >= self._next - (INTERVAL if is_last else 0)

    def show(self, text: str, share: float | None = None, is_last: bool = False) -> None:
        """Draw the line if it is due; with `share`, what is done of all (0 to 1), after a bar.

        `is_last`: the next one will take a while, so don't skip this one.
        """
        if not self.is_due(is_last):
            return
        self._next = time.monotonic() + INTERVAL
        try:
            columns = (os.get_terminal_size(2).columns or 80) - MARGIN  # Some terminals don't know their size.
        except OSError:
            columns = 80 - MARGIN
        text = escape(text)
        if share is not None:
            text = _bar(share, columns - len(text)) + text
        terminal.draw(cut(text, max(1, columns), terminal.ellipsis()))

    def start(self, what: str, done: int) -> None:
        """Begin to measure the rate, unless that was done for the same `what`; `done` ended before."""
        if what != self._first[0]:
            self._first = what, done, time.monotonic()

    def count(self, done: int, total: int | None, what: str) -> None:
        """Show how many are done, of how many, how fast, and when the rest will be. `what` says it: "jobs imported"."""
        self.start(what, done)
        if not self.is_due():
            return
        pace = self.pace(done, total)
        if total is None:
            self.show(f"{done:,} {what}{pace}")
        else:
            self.show(f"{done:,}/{total:,} {what}{pace}", min(1.0, done / max(1, total)))

    def elapsed(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self.began

    def pace(self, done: int, total: int | None) -> str:
        """The rate since `start`, and the time left: ", 1,150/s, 3s left"; "" if nothing was done."""
        _, first, began = self._first
        took = time.monotonic() - began
        if done <= first or took <= 0:
            return ""
        speed = (done - first) / took
        left = "" if total is None or done >= total else f", {span(max(1.0, (total - done) / speed))} left"
        return f", {rate(speed)}{left}"

    def clear(self) -> None:
        """Erase the line."""
        terminal.erase()


def _bar(share: float, room: int) -> str:
    """A bar that is filled to this share, in brackets; nothing if there is no room for it."""
    columns = min(MOST_COLUMNS, room - 3)
    if columns < 5:
        return ""
    filled = int(columns * share)
    return f"[{'#' * filled}{'.' * (columns - filled)}] "


def rate(per_second: float) -> str:
    """A rate, such as "1,150/s", "2.5/s" or "6/min"."""
    if per_second >= 9.95:
        return f"{per_second:,.0f}/s"
    if per_second >= 0.95:
        return f"{per_second:.1f}/s"
    return f"{per_second * 60:.2g}/min"


def seconds(number: float) -> str:
    """How long something took: "0.4s", "4.2s", or "1m05s"."""
    return f"{number:.1f}s" if number < 9.95 else span(number)


def goes_to_file(fd: int) -> bool:
    """Whether a descriptor is a file or /dev/null: not a terminal, nor a pipe to a program that draws there too."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not os.isatty(fd))
