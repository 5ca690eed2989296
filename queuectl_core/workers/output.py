"""An attempt's output, bounded."""

from __future__ import annotations

from collections import deque

from ..records import NewOutput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..records import Chunk

CHUNK = 65536


class Output:
    """An attempt's output, bounded: keeps the first and the last `limit` / 2 bytes.

    A chunk's position is an offset into both streams combined.
    """

    def __init__(self, limit: int) -> None:
        self._head_room = limit // 2
        self._tail_room = limit - limit // 2
        self._tail: deque[tuple[int, int, bytes, bool]] = deque()
        self._tail_size = 0
        self._fresh_head: list[Chunk] = []
        self._stale: list[int] = []
        self._position = 0
        self._dropped = 0

    def add(self, stream: int, data: bytes) -> None:
        """Add data printed to `stream` (1 stdout, 2 stderr)."""
        position = self._position
        self._position += len(data)
        if self._head_room:
            head, data = data[: self._head_room], data[self._head_room :]
            self._head_room -= len(head)
            self._add_head(position, stream, head)
            position += len(head)
        if data:
            self._add_tail(position, stream, data)

    def _add_head(self, position: int, stream: int, data: bytes) -> None:
        if self._fresh_head:
            start, last_stream, last = self._fresh_head[-1]
            # Merge small writes into one chunk.
            if last_stream == stream and len(last) < CHUNK:
                self._fresh_head[-1] = (start, stream, last + data)
                return
        self._fresh_head.append((position, stream, data))

    def _add_tail(self, position: int, stream: int, data: bytes) -> None:
        self._tail_size += len(data)
        last = self._tail[-1] if self._tail else None
        if last and not last[3] and last[1] == stream and len(last[2]) + len(data) <= CHUNK:
            self._tail[-1] = (last[0], stream, last[2] + data, False)
        else:
            self._tail.append((position, stream, data, False))
        while self._tail_size > self._tail_room:
            position, stream, data, stored = self._tail.popleft()
            excess = min(len(data), self._tail_size - self._tail_room)
            if stored:
                self._stale.append(position)
            if excess < len(data):
                self._tail.appendleft((position + excess, stream, data[excess:], False))
            self._tail_size -= excess
            self._dropped += excess

    def pending(self) -> NewOutput:
        """The output that isn't stored yet. Call `stored` once it is."""
        fresh = self._fresh_head + [chunk[:3] for chunk in self._tail if not chunk[3]]
        return NewOutput(fresh, self._stale, self._dropped)

    def stored(self) -> None:
        """Mark what `pending` last returned as stored in the database."""
        self._fresh_head, self._stale = [], []
        self._tail = deque((*chunk[:3], True) for chunk in self._tail)
