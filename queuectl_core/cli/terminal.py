"""Messages on stderr, JSON on stdout, and whether to use color."""

from __future__ import annotations

import os
import sys

from ..values import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Terminal:
    """Output as --quiet and --color ask. The process has one instance: `terminal`."""

    def __init__(self) -> None:
        self.quiet = False
        self.color = "auto"
        self._is_drawn = False  # Whether a line of progress is on the terminal.

    def tell(self, text: str) -> None:
        """Print a message to stderr, unless --quiet was given."""
        if not self.quiet:
            self.complain(text)

    def complain(self, text: str) -> None:
        """Print an error message to stderr."""
        from ..values import escape

        self.erase()
        try:
            print(escape(text), file=sys.stderr)
        except OSError:
            pass  # Whether stderr can be written doesn't change what happened.

    def draw(self, line: str) -> None:
        """Draw a line of progress on stderr, over the last one."""
        self._is_drawn = True
        self._write(f"\r{line}\033[K")

    def erase(self) -> None:
        """Erase the line of progress, if there is one."""
        if self._is_drawn:
            self._is_drawn = False
            self._write("\r\033[K")

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            pass  # As in complain.

    def shows_progress(self) -> bool:
        """Whether to draw progress on stderr."""
        return not self.quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def uses_color(self) -> bool:
        """What --color says; by default, color on a terminal unless NO_COLOR is set (https://no-color.org)."""
        if self.color != "auto":
            return self.color == "always"
        return (
            sys.stdout is not None
            and sys.stdout.isatty()
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM") != "dumb"
        )

    def width(self) -> int | None:
        """Columns of the terminal on stdout; None if stdout isn't a terminal, so nothing is truncated."""
        try:
            return max(20, os.get_terminal_size(1).columns)
        except (OSError, ValueError):
            return None

    def shows_unicode(self) -> bool:
        """Whether symbols are shown: not if the locale names another encoding than UTF-8."""
        names = (os.environ.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
        encoding = next(filter(None, names), "utf-8").lower()
        return "utf-8" in encoding or "utf8" in encoding

    def ellipsis(self) -> str:
        """What stands for text that was cut off."""
        return "…" if self.shows_unicode() else "..."


terminal = Terminal()
tell = terminal.tell
complain = terminal.complain


def tell_if_typed(fd: int, what: str) -> None:
    """Say so if this input, such as "jobs, one per line", has to be typed: the command would seem to hang."""
    if os.isatty(fd):
        tell(f"reading {what}, from this terminal; press Ctrl-D to finish")


def size(number: int) -> str:
    """A number of bytes for people, such as "4.0 KiB" or "1.2 GiB"."""
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return counted(number, "byte")


def print_id(id: str) -> None:
    """Print an id: raw for a script, escaped on a terminal, since other programs can store anything in it."""
    from ..values import encode, escape

    if sys.stdout.isatty():
        print(escape(id), flush=True)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(encode(id) + b"\n")
        sys.stdout.buffer.flush()


def print_json(value: object) -> None:
    """Print an indented JSON value."""
    import json

    print(json.dumps(value, indent=2))


def print_json_array(items: Iterable[object]) -> None:
    """Print a JSON array, one item per line, as the items arrive."""
    import json

    before = "["
    for item in items:
        sys.stdout.write(f"{before}\n{json.dumps(item)}")
        before = ","
    print("[]" if before == "[" else "\n]")
