"""Columns of a table: how wide each is, so that all fit. For tables that are printed and for `top`."""

from __future__ import annotations

from .cells import cut, cut_middle, pad, width
from .typed import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Tuple

    Alternatives = Tuple[str, ...]  # The texts of a cell, the longest first.


class Column(NamedTuple):
    """A column of a table.

    `least` is how far it shrinks to make the table fit (0: not at all, while others can). Columns with a `drop` are
    dropped before that, the lowest first. `keeps_end`: it is shortened in the middle. `short` is its title where the
    whole one doesn't fit.
    """

    title: str
    right: bool = False
    least: int = 0
    drop: int = 0
    keeps_end: bool = False
    short: str = ""


def cell(texts: Alternatives, column: Column, room: int, ellipsis: str) -> str:
    """The first text that fits, else the last one shortened, in exactly `room` columns."""
    text = _chosen(texts, room)
    return pad((cut_middle if column.keeps_end else cut)(text, room, ellipsis), room, column.right)


def _chosen(texts: Alternatives, room: int) -> str:
    return next((text for text in texts if width(text) <= room), texts[-1])


def widths_of(columns: Sequence[Column], lines: Sequence[Sequence[Alternatives]], room: int | None) -> list[int]:
    """The width of each column of a table with these cells, titles included, so that all fit into `room`; see `fit`."""
    natural = [max(width(texts[0]) for texts in cells) for cells in zip(*lines)]
    widths = fit(columns, natural, room)
    if widths == natural:
        return widths
    # The room that shorter texts leave goes to other columns.
    shown = [max(width(_chosen(texts, wide)) for texts in cells) for cells, wide in zip(zip(*lines), widths)]
    return fit(columns, [min(pair) if wide else 0 for *pair, wide in zip(natural, shown, widths)], room)


def fit(columns: Sequence[Column], natural: list[int], room: int | None) -> list[int]:
    """The width of each column so that all fit into `room` terminal columns; 0 drops it. None means no limit."""
    if room is None:
        return natural
    least = [min(wanted, column.least or wanted) for column, wanted in zip(columns, natural)]
    widths = list(natural)
    for _, number in sorted((column.drop, number) for number, column in enumerate(columns) if column.drop):
        if _total(least) <= room:
            break
        least[number] = widths[number] = 0
    widths = _limited(_limited(widths, least, room), [min(1, floor) for floor in least], room)
    # Hand out the columns that a common limit leaves over: where they complete a text, before where they only help.
    for number in sorted(range(len(natural)), key=lambda number: natural[number] - widths[number]):
        if widths[number]:
            widths[number] += min(natural[number] - widths[number], max(0, room - _total(widths)))
    return widths


def _limited(widths: list[int], least: list[int], room: int) -> list[int]:
    """These widths with the widest reduced until they fit, none below its least."""
    limit = max(widths)
    while _total(widths) > room and limit > 1:
        limit -= 1
        widths = [min(wanted, max(limit, floor)) for wanted, floor in zip(widths, least)]
    return widths


def _total(widths: Sequence[int]) -> int:
    """The width of a table with these columns."""
    return sum(wanted + 2 for wanted in widths if wanted) - 2
