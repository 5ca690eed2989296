"""The queue file. Each module adds one kind of operation; each operation is one short transaction.

    Database ← Reader ← Roster ← Intake (enqueue) ← Hooks ← Firing ← Schedules ← Client  (users and programs)
                                                                   ← Claims              (workers)

A Store has them all. Clients commit with `synchronous = FULL`, so what a user was told is done survives a power
cut. Workers use NORMAL: a power cut can undo the last settles, and those jobs run again.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .store import Store as Store


def __getattr__(name: str) -> object:
    # Deferred: `enqueue` needs only the intake, `list` and `status` only the reader.
    if name == "Store":
        from .store import Store

        return Store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
