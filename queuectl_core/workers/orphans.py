"""Orphans: what a worker's attempts leave behind, even if it hides.

On Linux, a worker adopts the orphans among its descendants (PR_SET_CHILD_SUBREAPER in prctl(2)). A process that forks
twice, starts a session and clears its environment loses every mark of its attempt, but becomes the worker's child. So a
worker without children knows, without looking through /proc, that nothing is left.

Children that existed before an attempt started aren't part of it: they are daemons that earlier jobs started on
purpose. What such a daemon starts later has its token, so it isn't taken for a part of a later attempt either. The
worker notes them on its page, since its supervisor adopts all of its children if it is killed (see strays.py).

Without ctypes or on other systems, nothing is adopted, and orphans are found by their marks alone.
"""

from __future__ import annotations

import os
import signal

try:
    import ctypes  # Takes 2 ms. The supervisor does it for all its workers.
except ImportError:  # It is optional when Python is built.
    ctypes = None  # type: ignore[assignment]

from .identity import LINUX, birth, children
from .leftovers import attempt_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .page import Known, Page
    from .runner import RunnerKills

SET_CHILD_SUBREAPER = 36  # From linux/prctl.h.


def adopt() -> bool:
    """Adopt the orphans among our descendants from now on; False if this system can't. Forked children don't."""
    if not LINUX or not ctypes:
        return False
    try:
        return bool(ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


class Orphans:
    """The children of a worker, but for its command and its runner-kills.

    Those in `spared`, as (PID, birth), aren't part of its current attempt. None: orphans aren't adopted. They are noted
    on `page` too, for the supervisor.
    """

    def __init__(self, kills: RunnerKills, page: Page | None = None) -> None:
        self._kills = kills
        self.spared: Known | None = frozenset() if adopt() else None
        self._may_be_left = False  # What the last `reap` returned.
        self._page = page
        self._noted: Known = frozenset()

    def reap(self, command: int = 0) -> bool:
        """Reap orphans that have ended, and neither `command`, a PID, nor runner-kills.

        Returns whether there may be children left.
        """
        self._may_be_left = True
        while self.spared is not None:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                self._may_be_left = False
                break
            if ended is None or ended.si_pid == command or ended.si_pid in self._kills.pids:
                break
            os.waitpid(ended.si_pid, 0)
        return self._may_be_left

    def begin(self) -> None:
        """Before an attempt starts, and after the last `reap`: spare all children that there are. Raises OSError.

        Runner-kills, which may have been started since, have the tokens of other attempts.
        """
        if self.spared is not None:
            self.spared = self._note("", self.spared) if self._may_be_left else frozenset()

    def end(self, token: str) -> bool:
        """After the attempt with `token`, before it is settled: what it left running is spared from then on.

        Between attempts the token is "". Returns whether there may be children left.
        """
        if self.reap() and self.spared is not None:
            try:
                self._note(token, self.spared)
            except OSError:  # We can't look, so the supervisor must know that it can't know.
                self._noted = frozenset()
                if self._page:
                    self._page.forget()
        return self._may_be_left

    def kill(self, token: str) -> bool:
        """SIGKILL our children that belong to the attempt with `token`; returns whether there were any, even zombies.

        A chain of processes that fork and exit may be faster than a look through /proc, but each is our child.
        """
        found = False
        for pid in children() if self.spared is not None else ():
            if (pid, birth(pid) or "") in (self.spared or ()) or pid in self._kills.pids:
                continue
            if attempt_of(pid) in (None, token):
                try:
                    os.kill(pid, signal.SIGKILL)
                    found = True
                except OSError:
                    pass  # It is another user's. Its PID can't have been reused, since only we reap it.
        return found

    def _note(self, token: str, before: Known) -> Known:
        """Note on the page, if that is news, what to spare once the attempt with `token` is settled; returns that.

        `before` is what to spare if it isn't. Raises OSError if we can't look.
        """
        after = frozenset((pid, birth(pid) or "") for pid in children())
        if self._page and not after <= self._noted:
            self._page.note(token, before, after)
            self._noted = after
        return after
