"""What wakes a worker."""

from __future__ import annotations

import os
import select
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..store.bell import Bell


class Inbox:
    """Everything that can wake a worker: signals (including SIGCHLD), its bell, and its job's pipes."""

    def __init__(self) -> None:
        self._bell: Bell | None = None
        self._pipes: list[int] = []
        self._poll = select.poll()
        self._signals = 0
        self._alarm, writer = os.pipe()
        for fd in (self._alarm, writer):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._count)
        signal.signal(signal.SIGINT, self._count)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # A no-op handler: SIGCHLD must wake us.
        self._poll.register(self._alarm, select.POLLIN)

    def listen_to(self, bell: Bell) -> None:
        """Let this bell wake the worker too."""
        if bell.fd >= 0:
            self._bell = bell
            self._poll.register(bell.fd, select.POLLIN)

    def watch(self, pipes: list[int]) -> None:
        """Let these pipes wake the worker, instead of the previous ones."""
        for fd in self._pipes:
            self._poll.unregister(fd)
        for fd in pipes:
            self._poll.register(fd, select.POLLIN)
        self._pipes = pipes

    def _count(self, *_: object) -> None:
        self._signals += 1

    @property
    def wanted(self) -> str:
        """What the signals so far ask for: "run", "stop" or "stop-now"."""
        return ("run", "stop", "stop-now")[min(self._signals, 2)]

    def wait(self, seconds: float) -> tuple[list[int], bool]:
        """Sleep until something happens; returns (readable pipes, whether the bell rang)."""
        readable = []
        rang = False
        # Rounded up, so waiting for a fraction of a millisecond doesn't spin.
        for fd, _ in self._poll.poll(int(seconds * 1000 + 0.999)):
            if fd == self._alarm:
                os.read(fd, 4096)  # SIGCHLD, or signals already counted.
            elif self._bell is not None and fd == self._bell.fd:
                self._bell.silence()
                rang = True
            else:
                readable.append(fd)
        return readable, rang
