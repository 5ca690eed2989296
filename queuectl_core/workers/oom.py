"""If memory runs out, let the kernel kill a job rather than the workers: see oom_score_adj in proc(5).

A command of many small processes has no process that is larger than a worker, so the kernel would kill whole fleets.
A child inherits its parent's score, so a worker raises its own while it spawns a command: half the price of writing the
child's, and the command can't fork before it. Lowering it again to what it was needs no privileges.
"""

from __future__ import annotations

import os
from functools import lru_cache

RAISE = 250  # As if a process used this many thousandths of the memory (or of its control group's) more than it does.


class Score:
    """Our own process's score."""

    def __init__(self) -> None:
        self._fd = -1
        try:
            self._fd = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
            self._own = os.read(self._fd, 16).strip()
            self._raised = b"%d" % min(1000, int(self._own) + RAISE)
        except (OSError, ValueError):
            self._forgo()

    def raise_it(self) -> None:
        """From here on, our children are killed before us."""
        self._write(self._raised)

    def restore(self) -> None:
        """Be as unlikely to be killed as before."""
        self._write(self._own)

    def _write(self, score: bytes) -> None:
        if self._fd >= 0:
            try:
                os.write(self._fd, score)
            except OSError:
                self._forgo()

    def _forgo(self) -> None:
        """Not Linux, or not allowed."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._own = self._raised = b""


@lru_cache(maxsize=1)
def score(pid: int) -> Score:
    """The score of this process, whose PID is `pid`: after a fork, the file is still the parent's."""
    return Score()
