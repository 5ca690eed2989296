"""A connection that an application lends us: everything happens inside its own transactions.

Its transaction is neither committed nor rolled back, and its settings stay as they are: on some Pythons even
setting `isolation_level` would commit. So each operation is a savepoint, and the factories are put back after
each read.
"""

from __future__ import annotations

import sqlite3

from .. import values
from ..errors import DatabaseUnusable
from .connection import PATIENCE, Connection, Transaction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .connection import Parameters


class BorrowedConnection(Connection):
    """The application's connection. Closing it is left to its owner."""

    # We don't see the commit, and a worker that was woken before it would find nothing.
    wakes_workers = False

    def __init__(self, db: sqlite3.Connection) -> None:
        """Raises DatabaseUnusable if `db` isn't connected to a file."""
        self.db = db
        self._patience = PATIENCE
        self.path = ""
        (_, _, self.path), *_ = self.rows("PRAGMA database_list")
        if not self.path:
            raise DatabaseUnusable("the connection isn't to a file: no worker could see its jobs")

    def rows(self, statement: str, parameters: Parameters = ()) -> list[Any]:
        factories = self.db.row_factory, self.db.text_factory
        self.db.row_factory, self.db.text_factory = None, values.decode
        try:
            return super().rows(statement, parameters)
        finally:
            self.db.row_factory, self.db.text_factory = factories

    def each(self, statement: str, parameters: Parameters = ()) -> Iterator[Any]:
        # All at once: the factories must not stay ours while the caller's code runs.
        return iter(self.rows(statement, parameters))

    def transaction(self, kind: str = "IMMEDIATE") -> Transaction:
        return _Savepoint(self, kind)

    def close(self) -> None:
        pass


class _Savepoint(Transaction):
    """All or nothing of one operation, inside the transaction that is open.

    If none is open, one begins, as for any statement that writes. It is the owner's to commit, unless the
    connection commits each statement by itself.
    """

    def __enter__(self) -> None:
        self._began = not self._connection.db.in_transaction
        if self._began:
            super().__enter__()
        self._connection.execute("SAVEPOINT queuectl")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        db = self._connection.db
        if not db.in_transaction:
            return  # The disk was full: SQLite has rolled back everything.
        if kind is not None:
            self._connection.execute("ROLLBACK TO queuectl")
        self._connection.execute("RELEASE queuectl")
        commits_itself = db.isolation_level is None or getattr(db, "autocommit", None) is True
        if self._began and (commits_itself or kind is not None):
            super().__exit__(kind, error, trace)
