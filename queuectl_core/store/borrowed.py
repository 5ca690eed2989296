"""A connection borrowed from an application: everything happens inside the application's own transactions.

We never commit or roll back its transaction, nor change its settings: on some Pythons even setting
`isolation_level` commits. So each operation is a savepoint, and each read restores the application's factories.
"""

from __future__ import annotations

import sqlite3

from .. import values
from ..errors import DatabaseUnusable
from . import sql
from .connection import PATIENCE, Connection, Transaction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .connection import Parameters


class BorrowedConnection(Connection):
    """The application's connection, which the application closes."""

    # The application commits, and we can't tell when; a worker woken earlier would find nothing.
    wakes_workers = False

    def __init__(self, db: sqlite3.Connection) -> None:
        """Raises DatabaseUnusable if `db` isn't connected to a file."""
        self.db = db
        self._patience = PATIENCE
        self.path = ""
        (_, _, self.path), *_ = self.rows("PRAGMA database_list")
        if not self.path:
            raise DatabaseUnusable("the connection isn't to a file, so no worker could see its jobs; connect to a file")

    def rows(self, statement: str, parameters: Parameters = ()) -> list[Any]:
        factories = self.db.row_factory, self.db.text_factory
        self.db.row_factory, self.db.text_factory = None, values.decode
        try:
            return super().rows(statement, parameters)
        finally:
            self.db.row_factory, self.db.text_factory = factories

    def each(self, statement: str, parameters: Parameters = ()) -> Iterator[Any]:
        # All at once: the caller's code must not run with our factories.
        return iter(self.rows(statement, parameters))

    def transaction(self, kind: str = "IMMEDIATE") -> Transaction:
        return _Savepoint(self, kind)

    def close(self) -> None:
        pass


class _Savepoint(Transaction):
    """Makes one operation all-or-nothing, inside the transaction that is open.

    If none is open, begins one, as any statement that writes would. Its owner commits it, unless the connection is
    in autocommit mode.
    """

    def __enter__(self) -> None:
        self._began = not self._connection.db.in_transaction
        if self._began:
            super().__enter__()
        elif self._kind == "IMMEDIATE":
            # We read before we write; another program's write in between would make ours fail.
            self._connection.execute(sql.LOCK)
        self._connection.execute("SAVEPOINT queuectl")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        db = self._connection.db
        if not db.in_transaction:
            return  # The disk was full, and SQLite rolled back the whole transaction.
        if kind is not None:
            self._connection.execute("ROLLBACK TO queuectl")
        self._connection.execute("RELEASE queuectl")
        autocommits = db.isolation_level is None or getattr(db, "autocommit", None) is True
        if self._began and (autocommits or kind is not None):
            super().__exit__(kind, error, trace)
