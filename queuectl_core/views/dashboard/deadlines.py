"""When each connection must be done with what it is doing.

A socket's timeout bounds one read or write. A client that sends a byte every few seconds stays below that, and holds a
thread for as long as it likes; a deadline it can't move.
"""

from __future__ import annotations

import socket
import threading
import time

SWEEP = 0.5  # Seconds between looks at the deadlines.


class Deadlines:
    """When each connection must be done with what it is doing. Closes those that aren't."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at: dict[socket.socket, float] = {}
        self._over = threading.Event()

    def set(self, connection: socket.socket, seconds: float) -> None:
        """Give a connection this long from now."""
        with self._lock:
            self._at[connection] = time.monotonic() + seconds

    def drop(self, connection: socket.socket) -> None:
        """Forget a connection that is closed."""
        with self._lock:
            self._at.pop(connection, None)

    def count(self) -> int:
        """How many connections there are."""
        with self._lock:
            return len(self._at)

    def run(self) -> None:
        """Close what is late, until `end`."""
        while not self._over.wait(SWEEP):
            self._close(time.monotonic())

    def end(self) -> None:
        """Close everything."""
        self._over.set()
        self._close(float("inf"))

    def _close(self, now: float) -> None:
        with self._lock:
            late = [connection for connection, at in self._at.items() if at <= now]
            for connection in late:
                try:
                    connection.shutdown(socket.SHUT_RDWR)  # Wakes its thread, which closes it.
                except OSError:
                    pass
