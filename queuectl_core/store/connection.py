"""A connection to the file: statements, waiting for locks, transactions, and readable errors.

Every write runs in a BEGIN IMMEDIATE: a read transaction that turns into a write fails at once if another process
wrote in between, however long we would wait.
"""

from __future__ import annotations

import os
import time

from .. import values
from ..errors import DatabaseBusy, DatabaseDamaged, DatabaseFull, DatabaseUnusable, QueueError, Refused
from .sqlite import sqlite3

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, Union

    Report = Callable[[int, int], None]

    Parameters = Union[Mapping[str, object], Sequence[object]]

COPIED = 1000  # Pages between two reports on a copy.
PATIENCE = 60.0  # Seconds that a command waits for the write lock.
SHORTEST_NAP = 0.0001  # Seconds between attempts to get the lock.
LONGEST_NAP = 0.25  # With a thousand waiting workers, naps of 0.1 s would cost as much CPU as all else that they do.


class Connection:
    """Our own connection to the file `path`, which must exist."""

    # Whether commits on this connection wake idle workers.
    wakes_workers = True

    def __init__(self, path: str, patience: float = PATIENCE) -> None:
        """`patience`: seconds to wait for a lock. Raises DatabaseUnusable."""
        try:
            self.db = sqlite3.connect(path, isolation_level=None, timeout=0)
        except sqlite3.Error as error:
            raise translated(error, path) from None
        # Other programs can store text that isn't UTF-8, which must not break readers.
        self.db.text_factory = values.decode
        self.path = path
        self._patience = patience

    def execute(self, statement: str, parameters: Parameters = ()) -> sqlite3.Cursor:
        """Run one statement, waiting while the database is locked. Raises DatabaseUnusable."""
        began = nap = 0.0
        while True:
            try:
                return self.db.execute(statement, parameters)
            except UnicodeEncodeError:
                statement, parameters = _cast(statement, parameters)
                continue
            except ERRORS as error:
                problem = translated(error, self.path)
                if not isinstance(problem, DatabaseBusy) or self.db.in_transaction:
                    raise problem from None
                now = time.monotonic()
                began = began or now
                if now - began > self._patience:
                    raise problem from None
            # Jittered: with SQLite's own fixed naps, the oldest waiter loses to every newcomer.
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
        """The rows of a query one at a time, for large results."""
        try:
            # `yield from` would close the cursor, perhaps after the connection is closed.
            for row in self.execute(statement, parameters):  # noqa: UP028
                yield row
        except ERRORS as error:
            raise translated(error, self.path) from None

    def insert(self, statement: str, parameters: Parameters) -> int:
        """Insert a row; returns its rowid. Raises sqlite3.IntegrityError untranslated."""
        try:
            rowid = self.db.execute(statement, parameters).lastrowid
        except UnicodeEncodeError:
            return self.insert(*_cast(statement, parameters))
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise translated(error, self.path) from None
        assert rowid is not None
        return rowid

    def insert_many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Insert rows. Raises sqlite3.IntegrityError untranslated."""
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


def copy_pages(source: sqlite3.Connection, target: sqlite3.Connection, report: Report) -> None:
    """Copy a snapshot of a whole database. `report(done, total)` is called after every few of its pages."""
    source.execute("BEGIN")
    try:
        # Between two steps without a snapshot, any commit would make SQLite start over.
        source.execute("SELECT 1 FROM sqlite_master").fetchone()
        source.backup(target, pages=COPIED, progress=lambda _, left, total: report(total - left, total))
    finally:
        if source.in_transaction:
            source.execute("ROLLBACK")


class Transaction:
    """BEGIN, then COMMIT or, on any exception, ROLLBACK. Inside another one, a savepoint."""

    def __init__(self, connection: Connection, kind: str) -> None:
        self._connection = connection
        self._kind = kind
        self._is_inner = False

    def __enter__(self) -> None:
        self._is_inner = self._connection.db.in_transaction
        self._connection.execute("SAVEPOINT inner" if self._is_inner else "BEGIN " + self._kind)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        connection = self._connection
        if self._is_inner:
            if connection.db.in_transaction:  # Otherwise the disk was full, and SQLite rolled back everything.
                if kind is not None:
                    connection.execute("ROLLBACK TO inner")
                connection.execute("RELEASE inner")
            return
        try:
            if kind is None:
                connection.execute("COMMIT")
        finally:
            if connection.db.in_transaction:
                connection.db.execute("ROLLBACK")


def _cast(statement: str, parameters: Parameters) -> tuple[str, Parameters]:
    """The same statement with text that isn't UTF-8 bound as bytes, and cast.

    Other programs can store such text, and we read it with lone surrogates, which sqlite3 doesn't bind.
    """
    import re
    from collections.abc import Mapping

    if isinstance(parameters, Mapping):
        named = {name: _stored(value) for name, value in parameters.items()}
        for name, value in parameters.items():
            if named[name] is not value:
                statement = re.sub(rf":{name}\b", f"CAST(:{name} AS TEXT)", statement)
        return statement, named
    first, *rest = statement.split("?")
    stored = [_stored(value) for value in parameters]
    for raw, value, text in zip(stored, parameters, rest):
        first += ("?" if raw is value else "CAST(? AS TEXT)") + text
    return first, stored


def _stored(value: object) -> object:
    return values.storable(value) if isinstance(value, str) else value


# What a statement can raise. UnicodeDecodeError: SQLite's message quotes garbage from a damaged file.
ERRORS = (sqlite3.Error, UnicodeDecodeError)

# SQLite's messages, and what they mean to users. (Error codes need Python 3.11.)
_MEANINGS = (
    ("locked", DatabaseBusy, "locked by another program; try again when it is done"),
    ("locking protocol", DatabaseBusy, "locked by another program; try again"),
    ("disk is full", DatabaseFull, "the disk is full; nothing was changed"),
    ("disk I/O error", DatabaseFull, "the disk cannot be read or written"),
    ("not a database", DatabaseDamaged, "not a SQLite database; give another --db FILE"),
    ("malformed", DatabaseDamaged, "the database is damaged; to put a backup in its place, run: queuectl restore FILE"),
    ("readonly", DatabaseFull, "not writable; check the permissions of the file and its folder"),
    ("unable to open", DatabaseUnusable, "cannot be opened; check the permissions of the file and its folder"),
)


def translated(error: Exception, path: str) -> QueueError:
    """One of ERRORS as an error that users of the file `path` understand."""
    message = str(error)
    if isinstance(error, sqlite3.IntegrityError):  # A row that another program stored with CHECKs off.
        return Refused(f"rejected by the database: {' '.join(message.split())}")
    if isinstance(error, UnicodeDecodeError):
        message = "malformed"
    for words, kind, meaning in _MEANINGS:
        if words in message:
            return kind(f"{path}: {meaning}")
    return DatabaseUnusable(f"{path}: {message}")
