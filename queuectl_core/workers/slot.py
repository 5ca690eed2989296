"""A place in a fleet."""

from __future__ import annotations

import time

YOUNG = 10.0  # A worker that dies before this age, in seconds, dies young.
FIRST_DELAY = 0.1  # Seconds until it is replaced. Doubles each time,
LONGEST_DELAY = 30.0  # up to this.


class Slot:
    """A place in the fleet: its worker, or when to start the next one. `number` is that of its workers' page."""

    def __init__(self, number: int, pid: int | None = None, has_page: bool = True) -> None:
        self.number = number
        self.has_page = has_page  # The worker writes its page.
        self.pid = pid
        self.status: int | None = None  # How it ended, until we have handled that.
        self.is_old = pid is not None  # It runs the code from before a restart.
        self.is_asked = False  # It has been asked to stop because of that.
        self.is_done = False
        self.started_at = 0.0
        self.start_at = 0.0
        self.delay = 0.0

    def schedule_replacement(self) -> None:
        """Decide when to replace a worker that died or could not be started."""
        age = time.monotonic() - self.started_at
        self.delay = min(LONGEST_DELAY, max(FIRST_DELAY, self.delay * 2)) if age < YOUNG else 0.0
        self.start_at = time.monotonic() + self.delay
