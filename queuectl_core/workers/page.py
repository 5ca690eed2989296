"""A page that a worker leaves to its supervisor, in case it is killed: which of its children aren't its attempt's.

All pages of a fleet are in one file in memory; see memfd_create(2). A worker writes its page only if a job that has
ended leaves processes running, so most jobs never touch it. It does so before it settles the job, so a page tells
which processes to spare for both cases: if that attempt counts as lost, and if it doesn't.
"""

from __future__ import annotations

import os

from ..typed import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import FrozenSet, Tuple

    # Processes, as (PID, birth).
    Known = FrozenSet[Tuple[int, str]]

SIZE = 65536  # Bytes, most of which are never allocated.
UNKNOWN = 2**32 - 1  # The length of a page that is being written, or whose contents don't fit.


def open_pages() -> int:
    """A descriptor of a file for pages; -1 if this system has none."""
    try:
        return os.memfd_create("queuectl-pages")
    except (AttributeError, OSError):
        return -1


class Page(NamedTuple):
    """Page `number` of the file `fd`."""

    fd: int
    number: int

    def clear(self) -> None:
        """Empty it for a new worker, and allocate its first bytes. Raises OSError."""
        self._write_length(0)

    def note(self, token: str, before: Known, after: Known) -> None:
        """The attempt with `token` has ended: spare `before` if it counts as lost, otherwise `after`."""
        text = "\n".join([token, *(" ".join(f"{pid}:{birth}" for pid, birth in known) for known in (before, after))])
        data = text.encode()
        self.forget()  # We may be killed at any point.
        if len(data) <= SIZE - 4:
            try:
                os.pwrite(self.fd, data, self.number * SIZE + 4)
            except OSError:
                return
            self._write_length(len(data))

    def forget(self) -> None:
        """We can't tell what to spare."""
        self._write_length(UNKNOWN)

    def spared(self, lost: Collection[str]) -> Known | None:
        """Which processes to spare if the attempts with these tokens are lost; None if unknown. Raises OSError."""
        length = int.from_bytes(os.pread(self.fd, 4, self.number * SIZE), "big")
        if length == UNKNOWN:
            return None
        if not length:
            return frozenset()
        token, before, after = os.pread(self.fd, length, self.number * SIZE + 4).decode().split("\n")
        words = (before if token in lost else after).split()
        return frozenset((int(pid), birth) for pid, _, birth in (word.partition(":") for word in words))

    def _write_length(self, length: int) -> None:
        os.pwrite(self.fd, length.to_bytes(4, "big"), self.number * SIZE)
