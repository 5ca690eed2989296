"""Strays: the children of a supervisor that aren't its workers.

On Linux a supervisor adopts orphans, as its workers do (see orphans.py). When a worker is killed, the supervisor gets
what the worker's attempt left running, however it hides, and ends it before the attempt is settled. It also gets the
daemons that earlier jobs of that worker started on purpose. Those are on the worker's page, and are spared.

That is sound only if all its descendants come from its workers. So a supervisor adopts nothing if it is PID 1 of a
container, where others may start processes too, or if it has children from the start: a script may have started some
and then executed us. Then leftovers are found by their marks alone, as on other systems.

Only we can reap our children, so their PIDs can't be reused between a look and a signal.
"""

from __future__ import annotations

import os
import signal
import time

from .identity import LINUX, Process, children, process_of
from .leftovers import attempt_of
from .orphans import adopt
from .page import Page, open_pages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from .page import Known

PATIENCE = 10.0  # Seconds to wait for strays to end after SIGKILL.
POLL = 0.005
FAREWELL = 1.0  # Seconds for the child that fed us our state after a restart to end; see handover.py.


class WorkerDied(Exception):
    """Another worker died, so we may have got children of it, too. Start over with its page and its attempt."""


class Strays:
    """The children of this process, but for its workers. `fd` has the workers' pages; -1: orphans aren't adopted."""

    def __init__(self, fd: int = -1, spared: Known = frozenset()) -> None:
        self.fd = fd
        self.spared = spared  # Daemons of earlier jobs of dead workers.

    def adopt(self, workers: Collection[int]) -> None:
        """Adopt orphans from now on, if we can and may. `workers` are our children now."""
        try:
            if self.fd < 0 and LINUX and os.getpid() != 1 and _has_only(workers):
                self.fd = open_pages()
        except OSError:
            return  # We can't look.
        if self.fd >= 0 and not adopt():
            os.close(self.fd)
            self.fd = -1

    def page(self, number: int) -> Page | None:
        """A page for a worker."""
        return Page(self.fd, number) if self.fd >= 0 else None

    def end(self, lost: Collection[str], pages: Iterable[Page | None], workers: Collection[int]) -> list[Process]:
        """SIGKILL all that the attempts with the tokens `lost` left running; returns what is still running.

        Their workers are dead, and `pages` are theirs. All others that we have now are spared from then on. `workers`
        are our other workers. Raises WorkerDied if one of them dies, and OSError if we can't look.
        """
        spared = self._spared(lost, pages)
        until = time.monotonic() + PATIENCE
        while True:
            pids = [pid for pid in children() if pid not in workers]
            if pids and any(map(_has_ended, workers)):
                raise WorkerDied
            ended = [pid for pid in pids if _has_ended(pid)]
            found = [process_of(pid) or Process(pid, os.getpid(), 0, -1, "") for pid in pids if pid not in ended]
            left = [process for process in found if lost and self._is_left(process, lost, spared)]
            denied = [process for process in left if not _kill(process.pid)]
            is_settled = len(denied) == len(left) and not ended
            if is_settled or time.monotonic() > until:
                self.spared = frozenset((process.pid, process.birth) for process in found if process not in left)
                return left
            for pid in ended:  # We get their children, so look again.
                os.waitpid(pid, 0)
            if left:
                time.sleep(POLL)

    def _spared(self, lost: Collection[str], pages: Iterable[Page | None]) -> Known | None:
        """What to spare; None if a worker's page can't tell, which leaves those that say what they belong to."""
        spared = set(self.spared)
        for page in pages:
            try:
                noted = page.spared(lost) if page else None
            except (OSError, ValueError):
                noted = None
            if noted is None:
                return None
            spared |= noted
        return frozenset(spared)

    def _is_left(self, process: Process, lost: Collection[str], spared: Known | None) -> bool:
        """Whether this child belongs to one of the lost attempts."""
        known = (process.pid, process.birth)
        # An attempt has a session of its own. We may share ours with a terminal.
        if known in self.spared or process.session == os.getsid(0):
            return False
        attempt = attempt_of(process.pid)
        if attempt is not None:
            return attempt in lost
        return spared is not None and known not in spared


def _has_only(workers: Collection[int]) -> bool:
    """Whether these are all children that we have, perhaps after those that are just exiting."""
    until = time.monotonic() + (FAREWELL if workers else 0)
    while True:
        others = [pid for pid in children() if pid not in workers and not _has_ended(pid)]
        if not others or time.monotonic() > until:
            return not others
        time.sleep(POLL)


def _has_ended(child: int) -> bool:
    try:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _kill(child: int) -> bool:
    """SIGKILL a child; False if it belongs to another user."""
    try:
        os.kill(child, signal.SIGKILL)
    except PermissionError:
        return False
    return True
