"""Locks that show what is alive, even across PID namespaces and where processes are hidden.

Two files next to the bell of each worker or supervisor, locked with flock(2):

    ID.alive    by the process itself, for its whole life (a supervisor keeps it across a restart)
    ID.run      by the worker's current attempt: by the worker, and by the command and its children, which inherit it

The kernel releases a lock when the last process that holds it has ended, so a free lock proves that nothing holds it,
and a child that a killed worker had just forked holds it before it has any other mark. Any process that can see the
folder can check. A missing file proves nothing: a worker that can't lock files here leaves none.

An attempt's lock is released with LOCK_UN before the attempt is settled. So daemons that a job started on purpose,
which keep the descriptor, don't count as part of a later attempt.
"""

from __future__ import annotations

import fcntl
import os

from ..store import bell
from ..typed import once

# The command's descriptor. Shells use those below 10 themselves.
DESCRIPTOR = 198


def alive_path(database: str, id: int) -> str:
    """The file that a worker or supervisor keeps locked."""
    return os.path.join(bell.folder(database), f"{id}.alive")


def run_path(database: str, id: int) -> str:
    """The file that a worker's current attempt keeps locked."""
    return os.path.join(bell.folder(database), f"{id}.run")


def is_held(path: str) -> bool | None:
    """Whether a process holds this lock; None if we can't tell."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(fd)


def hold(path: str) -> int:
    """Create a lock and hold it; returns its descriptor. -1 if files can't be locked here; then there is none."""
    fd = -1
    try:
        bell.make_folder(path)
        bell.unlink(path)  # Left by an earlier database at this path, and perhaps still held.
        fd = _locked(path)
    except OSError:
        bell.unlink(path)
    return fd


def _locked(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        bell.make_folder(path)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError:
        os.close(fd)
        raise
    return fd


class Lifeline:
    """The lock of a worker's attempts. `fd` is for the command; -1 if there is none now."""

    def __init__(self, database: str, worker: int) -> None:
        """Call it before the first claim: from then on, a free lock means that no attempt is running."""
        self._path = run_path(database, worker)
        self.fd = hold(self._path)
        self._is_usable = self.fd >= 0
        self.end(may_be_shared=False)

    def begin(self) -> int:
        """Lock it for a new attempt, before anything of that is started; returns `fd`. Raises OSError."""
        if self.fd >= 0:
            fcntl.flock(self.fd, fcntl.LOCK_EX)
        elif self._is_usable:
            self.fd = _locked(self._path)
        return self.fd

    def end(self, may_be_shared: bool) -> None:
        """Release it: the attempt is over, and what it left running may stay.

        If that `may_be_shared`, the next attempt gets a new open file description: a daemon with this one would seem
        to be a part of it.
        """
        if self.fd >= 0:
            fcntl.flock(self.fd, fcntl.LOCK_UN)
            if may_be_shared:
                os.close(self.fd)
                self.fd = -1


@once
def descriptor() -> int:
    """The number under which commands inherit the lock."""
    limit = os.sysconf("SC_OPEN_MAX")
    return min(DESCRIPTOR, limit - 1) if limit > 0 else DESCRIPTOR
