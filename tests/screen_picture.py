"""Turns a terminal's screen, as `tmux capture-pane -p -e` prints it, into an SVG."""

from __future__ import annotations

import re
from typing import NamedTuple
from xml.sax.saxutils import escape

from queuectl_core.cells import width

CELL_WIDTH, CELL_HEIGHT = 8.4, 18  # Pixels.
MARGIN = 12
BACKGROUND, TEXT, FAINT = "#14161b", "#d5d8de", "#7d828c"
# SGR 30 to 37: black, red, green, yellow, blue, magenta, cyan, white.
COLORS = ("#14161b", "#f2777a", "#99cc7f", "#f0c674", "#7aa6f0", "#c99ae0", "#6cc7d1", "#d5d8de")


class Style(NamedTuple):
    """How a run of text looks. Colors are indexes of COLORS; None is the default."""

    bold: bool = False
    faint: bool = False
    underline: bool = False
    reverse: bool = False
    color: int | None = None
    background: int | None = None

    def after(self, codes: str) -> Style:
        """The style after an SGR sequence with these codes."""
        style = self
        for code in map(int, codes.split(";") if codes else ["0"]):
            if code == 0:
                style = Style()
            elif code in (1, 2, 4, 7):
                style = style._replace(**{{1: "bold", 2: "faint", 4: "underline", 7: "reverse"}[code]: True})
            elif 30 <= code <= 37 or code == 39:
                style = style._replace(color=None if code == 39 else code - 30)
            elif 40 <= code <= 47 or code == 49:
                style = style._replace(background=None if code == 49 else code - 40)
        return style

    def paints(self) -> tuple[str, str | None]:
        """The colors of the text and of what is behind it (None: nothing)."""
        text = FAINT if self.faint else TEXT
        if self.color is not None:
            text = COLORS[self.color]
        behind = None if self.background is None else COLORS[self.background]
        return (behind or BACKGROUND, text) if self.reverse else (text, behind)


def svg(screen: str, title: str) -> str:
    """The SVG of a screen; `title` is for screen readers."""
    lines = screen.rstrip("\n").split("\n")
    columns = max(width(re.sub(r"\033\[[0-9;]*m|[\x0e\x0f]", "", line)) for line in lines)
    wide, high = columns * CELL_WIDTH + 2 * MARGIN, len(lines) * CELL_HEIGHT + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.0f} {high:.0f}" width="{wide:.0f}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
        '<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,\'DejaVu Sans Mono\',monospace" font-size="14">',
    ]
    style = Style()
    for row, line in enumerate(lines):
        column = 0
        for piece in re.split(r"(\033\[[0-9;]*m|[\x0e\x0f])", line):
            if piece.startswith("\033["):
                style = style.after(piece[2:-1])
            elif piece and piece not in "\x0e\x0f":
                parts += _run(piece, style, column, row)
                column += width(piece)
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _run(text: str, style: Style, column: int, row: int) -> list[str]:
    """A run of text in one style."""
    color, behind = style.paints()
    x, y = MARGIN + column * CELL_WIDTH, MARGIN + row * CELL_HEIGHT
    wide = width(text) * CELL_WIDTH
    parts = []
    if behind:
        parts.append(f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{CELL_HEIGHT}" fill="{behind}"/>')
    if style.underline:
        end = y + CELL_HEIGHT - 1.5
        parts.append(f'<path d="M{x:.1f} {end}h{wide:.1f}" stroke="{FAINT}" stroke-width="1"/>')
    if text.strip():
        lead = len(text) - len(text.lstrip(" "))
        text = text.strip(" ").replace(" ", "\u00a0")  # Browsers merge plain blanks.
        bold = ' font-weight="bold"' if style.bold else ""
        length = width(text) * CELL_WIDTH
        parts.append(
            f'<text x="{x + lead * CELL_WIDTH:.1f}" y="{y + 13.5}" fill="{color}"{bold} textLength="{length:.1f}"'
            f' lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
        )
    return parts
