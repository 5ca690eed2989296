"""Watches the file for the browsers that listen, and tells them that something has changed.

One thread polls `PRAGMA data_version` for all of them, and sleeps while there are none. It never says what has
changed: browsers fetch the page they show again, so nothing is lost when a connection breaks.
"""

from __future__ import annotations

import threading
import time

from ...errors import DatabaseUnusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ...store.reader import Reader

POLL = 0.5  # Seconds. A busy queue changes all the time, so this also bounds how often browsers are told.
RETRY = 2.0  # Seconds between attempts to open an unusable file.


class Live:
    """The number of changes seen so far, and a way to wait for the next one."""

    def __init__(self, open_reader: Callable[[], Reader]) -> None:
        self._open_reader = open_reader
        self._condition = threading.Condition()
        self._changes = 0
        self._listeners = 0
        self._is_over = False
        self._thread = threading.Thread(target=self._watch, name="live", daemon=True)

    def start(self) -> None:
        """Start watching whenever there is a listener."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, and end every wait."""
        with self._condition:
            self._is_over = True
            self._condition.notify_all()
        self._thread.join(RETRY + 1)

    def listen(self, most: int) -> bool:
        """Count a listener in, unless there are `most` already. Each must call `leave`."""
        with self._condition:
            if self._listeners >= most:
                return False
            self._listeners += 1
            self._condition.notify_all()
            return True

    def leave(self) -> None:
        """Count a listener out."""
        with self._condition:
            self._listeners -= 1

    def wait(self, seen: int | None, seconds: float) -> int | None:
        """The number of changes once it isn't `seen`, or after this long; None when the dashboard ends."""
        with self._condition:
            self._condition.wait_for(lambda: self._is_over or self._changes != seen, seconds)
            return None if self._is_over else self._changes

    def _watch(self) -> None:
        store: Reader | None = None
        version: int | None = None
        while self._has_listeners():
            pause = POLL
            try:
                if store is None:
                    store, version = self._open_reader(), None
                    self._tell()  # It was unusable, or there was no listener.
                store.check_file()
                found = store.data_version()
                if version is not None and found != version:
                    self._tell()
                version = found
            except DatabaseUnusable:
                if store is not None:
                    store.close()
                    self._tell()
                store, pause = None, RETRY
            self._pause(pause)
        if store is not None:
            store.close()

    def _has_listeners(self) -> bool:
        """Wait for a listener; False when the dashboard ends."""
        with self._condition:
            self._condition.wait_for(lambda: self._is_over or self._listeners > 0)
            return not self._is_over

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        with self._condition:
            while not self._is_over and time.monotonic() < until:
                self._condition.wait(until - time.monotonic())

    def _tell(self) -> None:
        with self._condition:
            self._changes += 1
            self._condition.notify_all()
