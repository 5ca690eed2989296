"""Lines of styled text for `top`, without a terminal.

A line is a list of spans: text and the name of a style (see top_terminal.py). Text from other programs is escaped, and
only characters whose width all terminals agree on are left: a screen that is redrawn in place can't afford a guess.
"""

from __future__ import annotations

from math import ceil

from ..cells import cut, width
from ..grid import cell, fit
from ..phrases import LOOKS
from ..typed import NamedTuple
from ..values import escape, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import List, Tuple

    from ..grid import Alternatives, Column

    Span = Tuple[str, str]
    Line = List[Span]
    Value = Tuple[object, str]  # Of a cell: the value, or alternatives as a tuple, and its style.

LONGEST_CELL = 2000  # Characters of a value that are looked at.
# Joiners and selectors make one emoji of several, or a wide one of a narrow one, on some terminals only.
JOINING = dict.fromkeys((0x200D, 0xFE0E, 0xFE0F, *range(0x1F3FB, 0x1F400)))


class Charset(NamedTuple):
    """What the terminal can show."""

    is_unicode: bool

    def clean(self, value: object) -> str:
        """A value as text that is safe to draw, on one line."""
        text = str(value)[:LONGEST_CELL]
        if text.isascii() and text.isprintable():
            return text
        text = escape(text.translate(JOINING))
        return text if self.is_unicode else text.encode("ascii", "backslashreplace").decode()

    def symbol(self, state: str) -> str:
        """The symbol of a state, in one column."""
        return LOOKS[state].symbol if self.is_unicode else LOOKS[state].ascii

    @property
    def ellipsis(self) -> str:
        """What stands for text that was cut off."""
        return "…" if self.is_unicode else "..."


def length(line: Line) -> int:
    """The number of columns that a line takes."""
    return sum(width(text) for text, _ in line)


def clipped(line: Line, room: int, ellipsis: str) -> Line:
    """The start of a line, in at most `room` columns, with a mark if something was cut off."""
    if length(line) <= room:
        return line
    kept: Line = []
    for text, style in line:
        shortened = cut(text, room, ellipsis)
        kept.append((shortened, style))
        room -= width(shortened)
        if shortened != text or room <= 0:
            break
    return kept


def spread(left: Line, right: Line, room: int, ellipsis: str) -> Line:
    """Text at both ends of a line; the left one is shortened to make room."""
    right = clipped(right, room, ellipsis)
    left = clipped(left, max(0, room - length(right) - 2), ellipsis) if right else clipped(left, room, ellipsis)
    return [*left, (" " * (room - length(left) - length(right)), ""), *right]


def selected(line: Line, room: int, style: str) -> Line:
    """The line in one style, over the whole width."""
    text = "".join(text for text, _ in line)
    return [(text + " " * (room - width(text)), style)]


def beside(left: Sequence[Line], right: Sequence[Line], room: int, gap: int = 2) -> list[Line]:
    """Two blocks next to each other; the left one gets `room` columns."""
    lines: list[Line] = []
    for number in range(max(len(left), len(right))):
        start = left[number] if number < len(left) else []
        end = right[number] if number < len(right) else []
        lines.append([*start, (" " * (room - length(start) + gap), ""), *end])
    return lines


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[Value]], room: int, charset: Charset, least: dict[str, int]
) -> tuple[Line, list[Line]]:
    """The header and the rows of a table of `room` columns. `least`: by title, widths that keep it from jumping.

    Cells of a column STATE get a symbol, and the state as their style.
    """
    room -= 2  # A margin on both sides.
    texts = [[_texts(value, column, charset) for (value, _), column in zip(row, columns)] for row in rows]
    natural = [max(width(column.title), least.get(column.title, 0)) for column in columns]
    for row in texts:
        natural = [max(wide, width(alternatives[0])) for wide, alternatives in zip(natural, row)]
    widths = fit(columns, [min(wide, room) for wide in natural], room)
    header: Line = [(" ", "head")]
    lines: list[Line] = [[(" ", "")] for _ in rows]
    for number, (column, wide) in enumerate(zip(columns, widths)):
        if not wide:
            continue
        header.append((cell((column.title,), column, wide, charset.ellipsis) + "  ", "head"))
        for line, values, cells in zip(lines, rows, texts):
            value, style = values[number]
            if column.title == "STATE":
                style = str(value)
            line += [(cell(cells[number], column, wide, charset.ellipsis), style), ("  ", "")]
    header.append((" " * max(0, room + 2 - length(header)), "head"))
    return clipped(header, room + 2, ""), [clipped(line, room + 1, "") for line in lines]


def _texts(value: object, column: Column, charset: Charset) -> Alternatives:
    if isinstance(value, tuple):
        return tuple(map(charset.clean, value))
    if value is None:
        return ("-",)
    text = charset.clean(value)
    return (f"{charset.symbol(text)} {text}",) if column.title == "STATE" and text in LOOKS else (text,)


def coarse(seconds: float) -> str:
    """A duration that doesn't change every second: 5s, 12m, 3h02m, 8d."""
    if seconds < 60:
        return f"{max(0, int(seconds))}s"
    return f"{int(seconds // 60)}m" if seconds < 3600 else span(seconds)


def sparkline(numbers: Sequence[float], charset: Charset) -> str:
    """Numbers as bars of one column each; nothing for 0."""
    bars = " ▁▂▃▄▅▆▇█" if charset.is_unicode else " .:-=+*%#"
    most = max(numbers, default=0) or 1
    return "".join(bars[ceil(number / most * 8)] for number in numbers)
