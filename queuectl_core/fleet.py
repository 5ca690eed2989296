"""Many workers: who runs, and asking them to stop.

supervisor.py starts them, rescue.py settles what dead ones left.
"""

from __future__ import annotations

from . import bell
from .identity import boot, is_alive, send
from .store import Store, Worker as Row


def is_running(store: Store, row: Row) -> bool:
    """Whether the process behind a row of queuectl_workers runs."""
    alive = is_alive(row.pid, row.boot, row.birth)
    # In another PID namespace (a container) nobody can be looked up, but the kernel
    # still says whether somebody listens to the bell. A supervisor has none.
    return (row.role == "supervisor" or bell.ring(store.path, row.id)) if alive is None else alive


def live_workers(store: Store) -> list[Row]:
    """The rows of the workers that run."""
    return [row for row in store.workers() if row.role == "worker" and is_running(store, row)]


def stop(store: Store, rows: list[Row], now: bool) -> None:
    """Ask these workers or supervisors to stop: when their job is done, or `now`."""
    import signal  # `status` does without: it makes enums, 0.5 ms.

    asked = set(store.want([row.id for row in rows], "stop-now" if now else "stop"))
    here = boot()
    for row in rows:
        if row.id in asked:
            if row.boot == here:
                send(row.pid, row.birth, signal.SIGTERM)
            bell.ring(store.path, row.id)
