"""A connection to the file: statements, waiting for locks, transactions, and readable errors.

Every write is in a BEGIN IMMEDIATE: a read that turns into a write would fail at once if another process wrote
in between, no matter how long we are willing to wait.
"""

from __future__ import annotations

import os
import sqlite3
import time

from .. import values
from ..errors import DatabaseBusy, DatabaseFull, DatabaseUnusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any, Union

    Parameters = Union[Mapping[str, object], Sequence[object]]

PATIENCE = 60.0  # Seconds that a command waits for the write lock.
SHORTEST_NAP = 0.0001
LONGEST_NAP = 0.1  # With a thousand workers waiting, shorter naps alone would keep two cores busy.


class Connection:
    """A connection of our own to the file `path`, which must exist."""

    # Whether what this connection commits wakes idle workers.
    wakes_workers = True

    def __init__(self, path: str, patience: float = PATIENCE) -> None:
        """`patience`: seconds to wait for a lock. Raises DatabaseUnusable."""
        try:
            self.db = sqlite3.connect(path, isolation_level=None, timeout=0)
        except sqlite3.Error as error:
            raise translated(error, path) from None
        # Other programs can store text that isn't UTF-8; no text may break a reader.
        self.db.text_factory = values.decode
        self.path = path
        self._patience = patience

    def execute(self, statement: str, parameters: Parameters = ()) -> sqlite3.Cursor:
        """Run one statement, waiting while the database is locked. Raises DatabaseUnusable."""
        began = nap = 0.0
        while True:
            try:
                return self.db.execute(statement, parameters)
            except ERRORS as error:
                problem = translated(error, self.path)
                if not isinstance(problem, DatabaseBusy) or self.db.in_transaction:
                    raise problem from None
                now = time.monotonic()
                began = began or now
                if now - began > self._patience:
                    raise problem from None
            # SQLite's own naps grow with the time waited, so the oldest waiter would lose.
            nap = min(LONGEST_NAP, max(SHORTEST_NAP, nap * 1.5))
            time.sleep(nap * (0.5 + os.urandom(1)[0] / 512))

    def rows(self, statement: str, parameters: Parameters = ()) -> list[Any]:
        """All rows of a query."""
        cursor = self.execute(statement, parameters)
        try:
            return cursor.fetchall()
        except ERRORS as error:
            raise translated(error, self.path) from None

    def each(self, statement: str, parameters: Parameters = ()) -> Iterator[Any]:
        """The rows of a query one at a time, for when there may be many."""
        try:
            # `yield from` would close the cursor, perhaps after its connection.
            for row in self.execute(statement, parameters):  # noqa: UP028
                yield row
        except ERRORS as error:
            raise translated(error, self.path) from None

    def insert(self, statement: str, parameters: Parameters) -> int:
        """Insert a row; returns its rowid. Leaves sqlite3.IntegrityError to the caller."""
        try:
            rowid = self.db.execute(statement, parameters).lastrowid
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise translated(error, self.path) from None
        assert rowid is not None
        return rowid

    def insert_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Insert rows. Leaves sqlite3.IntegrityError to the caller."""
        try:
            self.db.executemany(statement, rows)
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise translated(error, self.path) from None

    def transaction(self, kind: str = "IMMEDIATE") -> Transaction:
        """A `with` block that commits, or rolls back on any exception."""
        return Transaction(self, kind)

    def close(self) -> None:
        """Close the connection."""
        self.db.close()


class Transaction:
    """BEGIN, then COMMIT or, on any exception, ROLLBACK."""

    def __init__(self, connection: Connection, kind: str) -> None:
        self._connection = connection
        self._kind = kind

    def __enter__(self) -> None:
        self._connection.execute("BEGIN " + self._kind)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        connection = self._connection
        try:
            if kind is None:
                connection.execute("COMMIT")
        finally:
            if connection.db.in_transaction:
                connection.db.execute("ROLLBACK")


# What a statement may raise: sqlite3 cannot decode a message that quotes a damaged file.
ERRORS = (sqlite3.Error, UnicodeDecodeError)

# What SQLite says, and what it means to a user. (Error codes came with Python 3.11.)
_MEANINGS = (
    ("locked", DatabaseBusy, "another program keeps it locked; try again when it is done"),
    ("locking protocol", DatabaseBusy, "another program keeps it locked; try again"),
    ("disk is full", DatabaseFull, "the disk is full; nothing was changed"),
    ("disk I/O error", DatabaseFull, "the disk cannot be read or written"),
    ("not a database", DatabaseUnusable, "not a SQLite database; give another --db FILE"),
    ("malformed", DatabaseUnusable, "the database is damaged; restore a backup"),
    ("readonly", DatabaseFull, "not writable; check its permissions and its folder's"),
    ("unable to open", DatabaseUnusable, "cannot be opened; check its permissions and its folder's"),
)


def translated(error: Exception, path: str) -> DatabaseUnusable:
    """One of ERRORS, as what it means to a user of the file `path`."""
    message = str(error)
    if isinstance(error, UnicodeDecodeError):
        message = "malformed"
    for words, kind, meaning in _MEANINGS:
        if words in message:
            return kind(f"{path}: {meaning}")
    return DatabaseUnusable(f"{path}: {message}")
