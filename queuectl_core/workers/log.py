"""The log of workers and supervisors in the foreground: one line on stderr per event."""

from __future__ import annotations

import os
import select
import time

from ..suggestion import suggestion
from ..values import counted, escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from ..lifecycle import Job

    # Writes one line.
    Log = Callable[[str], None]


def stderr_logger(name: str) -> Log:
    """A function that writes a line to stderr: the time, `name` and the line."""
    writable = select.poll()
    writable.register(2, select.POLLOUT)

    def log(line: str) -> None:
        if not writable.poll(0):
            return  # Drop the line rather than block a job.
        # Ids come from users and other programs, and may contain control characters.
        text = f"{time.strftime('%H:%M:%S')} {name}: {escape(line)}\n"
        try:
            os.write(2, text.encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # The terminal is gone.

    return log


def halt_text(job: Job, because: str, waiting: int) -> str:
    """The log line for a queue that the death of this job has paused, and where this many jobs wait."""
    left = counted(waiting, "job")
    return f"queue {job.queue} is paused after {because}, with {left} waiting; run: {suggestion('resume', job.queue)}"


def no_log(line: str) -> None:
    """A Log for processes in the background."""
