"""The queue's file. Each module adds one kind of operation, each operation one short transaction.

    Database ← Reader ← Roster ← Client  (users and programs)
                               ← Claims  (workers)

A Store has them all. `synchronous` is FULL when a user is told that something is done, so it survives a power
cut, and NORMAL in workers, where a power cut can undo the end of a job, which then runs again.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .store import Store as Store


def __getattr__(name: str) -> object:
    # Deferred: `enqueue` needs the client half only, `list` and `status` the reader.
    if name == "Store":
        from .store import Store

        return Store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
