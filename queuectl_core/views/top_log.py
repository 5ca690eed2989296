"""The output of an attempt as lines, bounded: the last MOST_BYTES and MOST_LINES, however much a job prints."""

from __future__ import annotations

import re
from collections import deque

from ..typed import NamedTuple
from ..values import decode

MOST_BYTES = 4 * 1024 * 1024
MOST_LINES = 100_000
LONGEST_LINE = 16 * 1024  # Bytes that are kept of a line.
NOTICE = 0  # The stream of a line that says something about the output.

# What colors text, moves the cursor or sets a title: in a log, only noise.
SEQUENCES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][0-9A-B]")


class LogLine(NamedTuple):
    """A line, without its end, and its stream: 1 stdout, 2 stderr, or NOTICE."""

    stream: int
    data: bytes


class Log:
    """Lines of output, the oldest of which are forgotten."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.lines: deque[LogLine] = deque()
        self.forgotten = 0  # Lines.
        self._size = 0
        self._position = 0  # Of the next byte.
        self._is_open = False  # Whether the last line can still grow.

    def add(self, position: int, stream: int, data: bytes) -> None:
        """Add a chunk that starts at `position` of the output."""
        if position > self._position:
            self.lines.append(LogLine(NOTICE, f"[{position - self._position:,} bytes left out]".encode()))
            self._is_open = False
        self._position = position + len(data)
        *whole, rest = data.split(b"\n")
        for line in whole:
            self._append(stream, line)
            self._is_open = False
        if rest:
            self._append(stream, rest)
            self._is_open = True
        while len(self.lines) > MOST_LINES or (self._size > MOST_BYTES and len(self.lines) > 1):
            self._size -= len(self.lines.popleft().data)
            self.forgotten += 1

    def _append(self, stream: int, data: bytes) -> None:
        """Continue the last line, or start one."""
        if self._is_open and self.lines:
            last = self.lines[-1]
            more = data[: max(0, LONGEST_LINE - len(last.data))]
            self.lines[-1] = last._replace(data=last.data + more)
            self._size += len(more)
        else:
            self.lines.append(LogLine(stream, data[:LONGEST_LINE]))
            self._size += min(len(data), LONGEST_LINE)


def plain(data: bytes) -> str:
    """A line as a terminal would leave it: without escape sequences, after the last carriage return, tabs expanded."""
    text = decode(data)
    if "\x1b" in text:
        text = SEQUENCES.sub("", text)
    text = text.rstrip("\r")
    return text[text.rfind("\r") + 1 :].expandtabs()
