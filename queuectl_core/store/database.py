"""The file of a queue: where it is, creating, opening and migrating it, backups, and its health.

Assumes a local disk: WAL mode needs shared memory. A connection never crosses a fork: close the database before
forking and open another one afterwards.
"""

from __future__ import annotations

import os
import sqlite3

from ..errors import DatabaseGone, DatabaseUnusable, Refused
from . import sql
from .connection import PATIENCE, Connection, Transaction, translated

OLDEST_SQLITE = (3, 31)
SMALL_WAL = 16 * 1024 * 1024  # Workers keep the log below this many bytes, unless a reader prevents it.
LARGE_WAL = 4 * SMALL_WAL  # Users are warned about a log above this size.
LONG_LOG = 512 * 1024  # A log of this many bytes slows down the next process, which reads all of it.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypeVar

    Self = TypeVar("Self", bound="Database")

# Keeps what Database.leave left open: Python closes what nothing refers to.
_LEFT_OPEN: list[Connection] = []


def default_path(environ: dict[str, str]) -> str:
    """$QUEUECTL_DB, else $XDG_STATE_HOME/queuectl/queue.db, else ~/.local/state/queuectl/queue.db."""
    if environ.get("QUEUECTL_DB"):
        return environ["QUEUECTL_DB"]
    state = environ.get("XDG_STATE_HOME", "")
    if not state.startswith("/"):  # The XDG specification says to ignore relative paths.
        home = os.path.expanduser("~")
        if not home.startswith("/"):
            raise DatabaseUnusable("no home directory to keep the queue in; give --db FILE")
        state = os.path.join(home, ".local", "state")
    return os.path.join(state, "queuectl", "queue.db")


class Database:
    """One open queue file. Not for use by several threads or across a fork."""

    def __init__(
        self,
        path: str,
        *,
        durable: bool = True,
        patience: float = PATIENCE,
        must_exist: bool = False,
        connection: Connection | None = None,
    ) -> None:
        """Open the queue file, creating it if it is missing and migrating an old schema.

        `durable`: commits survive a power cut. `patience`: seconds to wait for a lock. A `connection` to the file
        that is open already is used as it is. Raises DatabaseUnusable if the file can't be used; it is never
        recreated then. Raises DatabaseGone if it `must_exist` and doesn't, or is from a newer queuectl.
        """
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise DatabaseUnusable(f"needs SQLite 3.31 or later; this Python has {sqlite3.sqlite_version}")
        # A symbolic link is resolved: SQLite keeps the WAL next to its target, and we keep the bells there.
        self.path = os.path.realpath(path)
        if not must_exist:
            _make_file(self.path)
        self._file = _identity(self.path)
        if self._file is None:
            raise DatabaseGone(f"{self.path}: is gone")
        self._connection = connection or Connection(self.path, patience)
        self._execute = self._connection.execute
        self._rows = self._connection.rows
        self._transaction = self._connection.transaction
        if connection:
            self._require_schema()
            return
        try:
            self._execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._migrate()
        except BaseException:
            self.close()
            raise

    def check_file(self) -> None:
        """Raise DatabaseGone if the file was removed, replaced or migrated since it was opened."""
        if _identity(self.path) != self._file:
            raise DatabaseGone(f"{self.path}: was removed or replaced")
        self._refuse_newer()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def leave(self) -> None:
        """Close the file if its log is long; otherwise leave it open until the process ends, which is soon.

        For processes that write a little and exit. The last one to close the file copies the log into it, which
        takes 3 ms. But if no process ever did, each would first have to read an ever-growing log.
        """
        if self.wal_size() > LONG_LOG:
            self.close()
        else:
            _LEFT_OPEN.append(self._connection)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _one(self, statement: str, parameters: Mapping[str, object] | None = None) -> Any:
        """The first value of a query's first row; None if it has no row."""
        rows = self._rows(statement, parameters or ())
        return rows[0][0] if rows else None

    def transaction(self) -> Transaction:
        """A `with` block that commits all that is done in it, or nothing."""
        return self._transaction()

    def snapshot(self) -> Transaction:
        """A `with` block in which all reads see the same moment."""
        return self._transaction("DEFERRED")

    def data_version(self) -> int:
        """A number that changes when another connection has committed something. Cheap."""
        version: int = self._one("PRAGMA data_version")
        return version

    def changes(self) -> int:
        """How many rows this connection has changed since it was opened, committed or not."""
        return self._connection.db.total_changes

    # --- the log --------------------------------------------------------------------------------

    def bound_wal(self) -> None:
        """Keep the WAL at SMALL_WAL, for the long-lived connections of workers."""
        # Four times SQLite's default: 7 % more jobs per second.
        self._execute("PRAGMA wal_autocheckpoint = 4000")
        self._execute(f"PRAGMA journal_size_limit = {SMALL_WAL}")

    def expect_large_transactions(self) -> None:
        """Keep all that a transaction changes in memory until it commits.

        SQLite's cache of 2 MB is full after 10,000 jobs. After that, pages are written and read again, up to
        thirty times each.
        """
        self._execute("PRAGMA cache_spill = OFF")

    def wal_size(self) -> int:
        """The size in bytes of the write-ahead log: commits that aren't in the main file yet."""
        try:
            return os.stat(self.path + "-wal").st_size
        except OSError:
            return 0

    # --- health and backup ----------------------------------------------------------------------

    def faults(self) -> list[str]:
        """What SQLite finds wrong with the file, a line each. Reads the whole file."""
        try:
            found = [str(row[0]) for row in self._rows(sql.INTEGRITY)]
        except DatabaseUnusable as error:
            return [str(error)]
        return [] if found == ["ok"] else found

    def backup(self, target: str, force: bool = False) -> None:
        """Copy the file as it is at one moment to `target`, even while others write; durable on return.

        The copy appears complete or not at all. Raises Refused if `target` exists, unless `force`, and
        DatabaseUnusable if it can't be written.
        """
        target = os.path.realpath(target)
        if os.path.exists(target) and not force:
            raise Refused(f"{target} already exists; --force replaces it")
        if target == self.path or os.path.exists(target + "-wal"):
            # SQLite would take the log there for the copy's own.
            raise Refused(f"{target} is a database in use; choose another name")
        partial = f"{target}.{os.getpid()}"
        try:
            os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            try:
                self._copy(partial)
                if force:
                    os.replace(partial, target)
                else:
                    os.link(partial, target)  # Unlike a rename, never replaces another file.
            finally:
                _remove(partial)
            _sync_folder(os.path.dirname(target))
        except FileExistsError:
            raise Refused(f"{target} already exists; --force replaces it") from None
        except OSError as error:
            raise DatabaseUnusable(f"{target}: cannot be written: {error.strerror}") from None

    def _copy(self, target: str) -> None:
        copy = sqlite3.connect(target, isolation_level=None)
        try:
            self._connection.db.backup(copy)
            (found,) = copy.execute(sql.QUICK_CHECK).fetchone()
        except sqlite3.Error as error:
            raise translated(error, target) from None
        finally:
            copy.close()
        if found != "ok":
            raise DatabaseUnusable(f"{self.path}: the database is damaged: {found}")

    # --- schema ---------------------------------------------------------------------------------

    def _version(self) -> int:
        if self._one(sql.HAS_META) is None:
            return 0
        version = self._one(sql.META, {"key": "schema"})
        return version if isinstance(version, int) else 0

    def _migrate(self) -> None:
        if self._version() == sql.SCHEMA_VERSION:
            return
        self._refuse_newer()
        from .schema import MIGRATIONS

        self._execute("PRAGMA journal_mode = WAL")
        with self._transaction():
            # Checked again under the lock: ten processes may open a new file at once.
            found = self._version()
            if 0 < found < sql.SCHEMA_VERSION:
                self._execute(sql.STOP_ALL)
            for version in range(found + 1, sql.SCHEMA_VERSION + 1):
                for statement in MIGRATIONS[version]:
                    self._execute(statement)
                self._execute(sql.SET_META, {"key": "schema", "value": version})
        self._refuse_newer()

    def _refuse_newer(self) -> None:
        if self._version() > sql.SCHEMA_VERSION:
            raise DatabaseGone(
                f"{self.path}: made by a newer queuectl (schema {self._version()};"
                f" this one knows {sql.SCHEMA_VERSION}); use that one"
            )

    def _require_schema(self) -> None:
        self._refuse_newer()
        if self._version() < sql.SCHEMA_VERSION:
            raise DatabaseUnusable(
                f"{self.path}: has no queue of this version; open it once with Queue(path)"
            )


def _remove(path: str) -> None:
    for name in (path, path + "-journal", path + "-wal", path + "-shm"):
        try:
            os.unlink(name)
        except FileNotFoundError:
            pass


def _sync_folder(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _make_file(path: str) -> None:
    """Create the file, readable only by its owner, and its folder if that is missing too."""
    try:
        if os.path.exists(path):
            return
        from .filesystem import refuse_network  # Deferred: most commands create no file.

        refuse_network(path)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        # Before SQLite opens it: closing a descriptor of the file later would drop SQLite's locks.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        pass  # Another process was first.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DatabaseUnusable(f"{path}: cannot be created: {reason}") from None


def _identity(path: str) -> tuple[int, int] | None:
    """(device, inode) of a file; None if it doesn't exist."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
