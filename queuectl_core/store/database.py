"""The queue file: where it is; creating, opening, migrating, checking and backing it up.

Assumes a local disk: WAL mode needs shared memory. A connection must not cross a fork: close the database before
forking, and open it again afterwards.
"""

from __future__ import annotations

import os
import sqlite3

from ..errors import DatabaseGone, DatabaseUnusable, Refused
from . import sql
from .connection import PATIENCE, Connection, Transaction, translated

OLDEST_SQLITE = (3, 31)
SMALL_WAL = 16 * 1024 * 1024  # Bytes. Workers keep the log below this, unless a reader prevents it.
LARGE_WAL = 4 * SMALL_WAL  # Users are warned about a larger log.
LONG_LOG = 512 * 1024  # A longer log slows down the next process, which must read all of it.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypeVar

    Self = TypeVar("Self", bound="Database")

# Connections that Database.leave left open: without a reference, Python would close them.
_LEFT_OPEN: list[Connection] = []


def default_path(environ: dict[str, str]) -> str:
    """$QUEUECTL_DB, else $XDG_STATE_HOME/queuectl/queue.db, else ~/.local/state/queuectl/queue.db.

    Raises DatabaseUnusable if there is no home directory. Source: the XDG Base Directory Specification.
    """
    if environ.get("QUEUECTL_DB"):
        return environ["QUEUECTL_DB"]
    state = environ.get("XDG_STATE_HOME", "")
    if not state.startswith("/"):  # The specification says to ignore relative paths.
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

        `durable`: commits survive a power cut. `patience`: seconds to wait for a lock. `connection`: an open
        connection to the file, used as it is. Raises DatabaseUnusable if the file can't be used; such a file is never
        replaced. Raises DatabaseGone if it is from a newer queuectl, or if it `must_exist` and doesn't.
        """
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise DatabaseUnusable(f"needs SQLite 3.31 or later; this Python has {sqlite3.sqlite_version}")
        # Resolve symbolic links: SQLite keeps the WAL next to the target, and we keep the bells there.
        self.path = os.path.realpath(path)
        if not must_exist:
            _create_file(self.path)
        self._file = _device_and_inode(self.path)
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
        if _device_and_inode(self.path) != self._file:
            raise DatabaseGone(f"{self.path}: was removed or replaced")
        self._refuse_newer()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def leave(self) -> None:
        """Close the file if its log is long; otherwise leave it open until the process ends, which is soon.

        For processes that write a little and exit. The last one to close the file copies the log into it, which
        takes 3 ms. But if none ever did, each new process would have to read an ever-growing log first.
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
        """A `with` block that commits everything done in it, or nothing."""
        return self._transaction()

    def snapshot(self) -> Transaction:
        """A `with` block in which all reads see the same state."""
        return self._transaction("DEFERRED")

    def data_version(self) -> int:
        """A number that changes when another connection commits. Cheap."""
        version: int = self._one("PRAGMA data_version")
        return version

    def changes(self) -> int:
        """How many rows this connection has changed since it was opened, committed or not."""
        return self._connection.db.total_changes

    # --- the log --------------------------------------------------------------------------------

    def bound_wal(self) -> None:
        """Keep the WAL at SMALL_WAL, for the long-lived connections of workers."""
        # Pages: four times SQLite's default, for 7% more jobs per second.
        self._execute("PRAGMA wal_autocheckpoint = 4000")
        self._execute(f"PRAGMA journal_size_limit = {SMALL_WAL}")

    def expect_large_transactions(self) -> None:
        """Keep everything that a transaction changes in memory until it commits.

        SQLite's 2 MB cache is full after 10,000 jobs. After that, SQLite would write pages and read them again, up to
        thirty times each.
        """
        self._execute("PRAGMA cache_spill = OFF")

    def wal_size(self) -> int:
        """The size in bytes of the write-ahead log, which holds commits that aren't in the main file yet."""
        try:
            return os.stat(self.path + "-wal").st_size
        except OSError:
            return 0

    # --- health and backup ----------------------------------------------------------------------

    def faults(self) -> list[str]:
        """What SQLite finds wrong with the file, one line per fault. Reads the whole file."""
        try:
            lines = [str(row[0]) for row in self._rows(sql.INTEGRITY)]
        except DatabaseUnusable as error:
            return [str(error)]
        return [] if lines == ["ok"] else lines

    def backup(self, target: str, force: bool = False) -> None:
        """Copy a snapshot of the file to `target`, even while other processes write. It is on disk on return.

        The copy appears complete or not at all. Raises Refused if `target` exists (unless `force`) or is in use, and
        DatabaseUnusable if it can't be written.
        """
        target = os.path.realpath(target)
        if os.path.exists(target) and not force:
            raise Refused(f"{target} already exists; --force replaces it")
        if target == self.path or os.path.exists(target + "-wal"):
            # SQLite would replay the log there into the copy.
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
            (verdict,) = copy.execute(sql.QUICK_CHECK).fetchone()
        except sqlite3.Error as error:
            raise translated(error, target) from None
        finally:
            copy.close()
        if verdict != "ok":
            raise DatabaseUnusable(f"{self.path}: the database is damaged: {verdict}")

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
        from .migrations import migrate

        self._execute("PRAGMA journal_mode = WAL")
        self._execute("PRAGMA foreign_keys = OFF")  # Those of an application that refer to our tables.
        with self._transaction():
            # Check again under the lock: ten processes may open a new file at once.
            version = self._version()
            if version < sql.SCHEMA_VERSION:
                if version:
                    self._execute(sql.STOP_ALL)
                migrate(self._connection)
                self._execute(sql.SET_META, {"key": "schema", "value": sql.SCHEMA_VERSION})
        self._refuse_newer()

    def _refuse_newer(self) -> None:
        if self._version() > sql.SCHEMA_VERSION:
            raise DatabaseGone(
                f"{self.path}: created by a newer queuectl (schema {self._version()};"
                f" this one supports up to {sql.SCHEMA_VERSION}); use the newer one"
            )

    def _require_schema(self) -> None:
        self._refuse_newer()
        if self._version() < sql.SCHEMA_VERSION:
            raise DatabaseUnusable(
                f"{self.path}: has no queue tables of this version; open it once with Queue(path)"
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


def _create_file(path: str) -> None:
    """Create the file, readable only by its owner, and its folder if needed. Raises DatabaseUnusable."""
    try:
        if os.path.exists(path):
            return
        from .filesystem import refuse_network  # Deferred: most commands create no file.

        refuse_network(path)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        # Before SQLite opens it: closing any descriptor of the file later would drop SQLite's locks.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        pass  # Another process created it first.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DatabaseUnusable(f"{path}: cannot be created: {reason}") from None


def _device_and_inode(path: str) -> tuple[int, int] | None:
    """What identifies a file; None if it doesn't exist."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
