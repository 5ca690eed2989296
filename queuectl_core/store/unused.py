"""The queue of a file that doesn't exist yet: an empty one, so that reading it creates nothing."""

from __future__ import annotations

import os
import time

from .connection import Connection
from .migrations import migrate
from .reader import Reader


class UnusedQueue(Reader):
    """A queue without jobs, workers and settings, in memory."""

    is_unused = True

    def __init__(self, path: str) -> None:
        """`path` is where the file would be."""
        self._clock = time.time
        self.path = os.path.realpath(path)
        self._use(Connection(":memory:"))
        with self._transaction():
            migrate(self._connection)
