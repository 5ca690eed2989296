"""Why `logs -f` prints nothing: the job waits, or runs and has printed nothing.

A terminal gets a line that is erased once there is output; elsewhere, each reason is a message, once.
"""

from __future__ import annotations

import time

from ..lifecycle import WAITING
from ..store.search import Search, find
from ..values import counted, span
from .obstacle import obstacle
from .progress import Progress
from .terminal import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Tuple

    from ..store.reader import Reader

    # Two equal keys are the same reason, though its text may change with time. "running": true until there is output.
    Reason = Tuple[str, str]

POLL = 0.02  # Seconds between looks for a change.
PATIENCE = 1.0  # Seconds of silence before the first word, and between words.
RUNNING = "running"


class Silence:
    """Waits for changes, and says why there is no output. Use it in a `with` block."""

    def __init__(self, store: Reader) -> None:
        self._store = store
        self._progress = Progress(patience=0)
        self._next = time.monotonic() + PATIENCE
        self._said: str | None = None  # The key of the last reason.
        self._has_output = False
        self._is_mid_line = False  # The cursor is behind output without a newline.

    def __enter__(self) -> Silence:
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.clear()

    def heard(self, data: bytes) -> None:
        """This output was printed."""
        if data:
            self._next = time.monotonic() + PATIENCE
            self._has_output = True
            self._is_mid_line = not data.endswith(b"\n")

    def wait(self, version: int, why: Callable[[], Reason]) -> None:
        """Sleep until the file changes from `version`; if nothing was printed for a while, say `why()`."""
        while self._store.data_version() == version:
            time.sleep(POLL)
            if time.monotonic() >= self._next and not self._is_mid_line:
                self._next = time.monotonic() + PATIENCE
                self._say(*why())

    def _say(self, key: str, text: str) -> None:
        if key == RUNNING and self._has_output:
            self._progress.clear()
        elif self._progress.is_shown:
            self._progress.show(text)
        elif key != self._said:
            tell(text)
        self._said = key


def of_job(store: Reader, id: str) -> Reason:
    """Why a job prints nothing."""
    job = store.exact(id)
    problem = obstacle(store, job)
    if problem is None:
        began = job.started_at if isinstance(job.started_at, (int, float)) else time.time()
        return RUNNING, f"job {id} has been running for {span(time.time() - began)} and has printed nothing yet"
    reason = store.reason(job)
    return reason or problem, f"job {id} is waiting: {problem}"


def of_all(store: Reader, running: int) -> Reason:
    """Why no job prints anything, if this many are running."""
    if running:
        return RUNNING, f"{counted(running, 'job')} running, without output yet"
    waiting = sum(states["pending"] + states["failed"] for states in store.counts().values())
    oldest, _ = find(store, Search(states=WAITING, reverse=True), 1, is_bounded=True)
    for job, reason in oldest:
        jobs = f"{counted(waiting, 'job')} {'is' if waiting == 1 else 'are'}"
        return reason or "", f"{jobs} waiting: {obstacle(store, job)}"
    return "nothing", "no job is running or waiting"
