"""Suspension: stop all processes of a running attempt, and let them continue.

These are the processes that a rescue would kill if the attempt's worker died (see leftovers.py): its process group,
processes that left the group with setsid, and the orphans that its worker adopted. A process may fork before its
SIGSTOP arrives, so passes repeat until two in a row find nothing that could still run.

Parents stop before their children, and continue after them: a shell with job control would notice a stopped child and
run its next command.
"""

from __future__ import annotations

import time
from signal import SIGCONT, SIGSTOP

from ..records import Identity
from .identity import LINUX, Process, boot, identity_of, is_stopped, run_state, send
from .leftovers import described, leftovers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..lifecycle import Job
    from ..store import Store
    from .orphans import Orphans
    from .process import Command

PATIENCE = 0.5  # Seconds after which the rest is left to the next call.
PASS = 0.005  # Seconds between passes.
QUIET = 2  # Passes in a row that find nothing: a process may fork after the first listed it, and stop before it looks.
# States after SIGSTOP. A process in uninterruptible sleep (D) stops before it returns to its program; a parent in
# vfork(2) sleeps like that while its child is stopped.
STOPPED = (b"T", b"t", b"D")


class Suspension:
    """Stops an attempt while its job is suspended. `hold` and `lift` can be called again and again."""

    def __init__(self, token: str, command: Command, orphans: Orphans) -> None:
        self._token = token
        self._command = command
        self._orphans = orphans
        self._first: Identity | None = None  # Its first process.
        self._stopped: dict[Process, None] = {}  # In the order in which they stopped.
        self._denied: list[Process] = []  # Processes that we aren't permitted to signal.
        self._obstacle: str | None = None  # What the job's error says about them.
        self._is_on = False
        self._is_sure = False  # A later call found nothing more to stop.

    def follow(self, store: Store, job: Job, is_wanted: bool) -> None:
        """Stop it or let it continue; its error names other users' processes, which we can't stop.

        If the queue's file is gone, no command could continue it, so it continues now. Once it is being ended, it isn't
        stopped any more, and the request is withdrawn.
        """
        if self._command.is_ending:
            store.withdraw_suspension(job)
        if is_wanted and store.is_in_place():
            self.hold()
        else:
            self.lift()
        obstacle = described(self._denied) if self._denied else None
        if obstacle != self._obstacle:
            store.note(job, obstacle)
            self._obstacle = obstacle

    def hold(self) -> None:
        """Stop all of its processes, unless it has been told to end.

        If we are out of descriptors or memory, only the process group stops, until the next call.
        """
        if self._command.is_ending:
            return
        is_first, self._is_on = not self._is_on, True
        until = time.monotonic() + PATIENCE
        found_any = False
        try:
            if self._is_sure and run_state(self._command.pid) in STOPPED:
                return  # Nothing has woken it since: its first process is still stopped.
            self._command.suspend()
            self._first = identity_of(self._command.pid)
            quiet = 0
            while quiet < QUIET and time.monotonic() < until:
                quiet += 1
                if self._stop_more():
                    found_any, quiet = True, 0
                    time.sleep(PASS)
            self._is_sure = LINUX and not is_first and not found_any
        except OSError:
            pass

    def lift(self) -> None:
        """Let all of its stopped processes continue, even those that another program stopped."""
        if not self._is_on:
            return
        self._is_on = self._is_sure = False
        try:
            found = {**self._stopped, **dict.fromkeys(self._find())}
        except OSError:  # We can't search, but we know what we stopped.
            found = self._stopped
        for process in reversed(found):
            _send(process, SIGCONT)
        self._command.resume()
        self._stopped, self._denied = {}, []

    def _find(self) -> list[Process]:
        """The attempt's processes, parents before children."""
        found, _ = leftovers(self._token, self._first, spared=self._orphans.spared)
        return sorted((each for each in found if each.birth), key=lambda each: (len(each.birth), each.birth, each.pid))

    def _stop_more(self) -> bool:
        """Stop what isn't stopped yet; returns whether there was anything."""
        awake = [process for process in self._find() if self._may_run(process)]
        for process in awake:
            if _send(process, SIGSTOP):
                self._stopped[process] = None
            else:
                self._denied.append(process)
        return bool(awake)

    def _may_run(self, process: Process) -> bool:
        if process in self._denied:
            return False
        if process not in self._stopped:
            return not is_stopped(process.pid)
        return LINUX and run_state(process.pid) not in (*STOPPED, b"Z", b"X", b"")


def _send(process: Process, number: int) -> bool:
    """Signal a process; returns whether that is permitted."""
    try:
        send(Identity(process.pid, boot(), process.birth), number)
    except PermissionError:
        return False
    return True
