"""The queue file: where it is; creating, opening, migrating and checking it, and returning the space it doesn't need.

Assumes a local disk: WAL mode needs shared memory. A connection must not cross a fork: close the database before
forking, and open it again afterwards.

Every process closes the file before it exits. The last one to do so makes SQLite copy the log into the file and remove
it, so a queue that no process has open is a single file, which `cp` can copy.
"""

from __future__ import annotations

import os
import time

from .. import values
from ..errors import DatabaseBusy, DatabaseFull, DatabaseGone, DatabaseUnusable, NoQueue
from . import sql
from .connection import PATIENCE, Connection, Transaction, copy_pages
from .sqlite import SQLITE_VERSION, sqlite3

OLDEST_SQLITE = (3, 31)
SMALL_WAL = 16 * 1024 * 1024  # Bytes. Workers keep the log below this, unless a reader prevents it.
LARGE_WAL = 4 * SMALL_WAL  # Users are warned about a larger log.
KEPT_PAGES = 1024  # Unused pages that workers keep.
TRIM_HOLD = 0.01  # Seconds for which trim() holds the lock to give pages back.
FOLD_NAP = 0.02  # Seconds between attempts to empty the log.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypeVar

    from .connection import Report

    Self = TypeVar("Self", bound="Database")

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

    # Whether it must be possible to write. A reader of a read-only file doesn't need that.
    _writes = False

    # Whether opening the file migrated it from an older version.
    was_upgraded = False

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
        replaced. Raises DatabaseGone if it is from a newer queuectl, and NoQueue if it `must_exist` and doesn't, or has
        no tables of ours.
        """
        if SQLITE_VERSION < OLDEST_SQLITE:
            raise DatabaseUnusable(f"needs SQLite 3.31 or later; this Python has {sqlite3.sqlite_version}")
        # Resolve symbolic links: SQLite keeps the WAL next to the target, and we keep the bells there.
        try:
            self.path = os.path.realpath(path)
        except ValueError as error:  # A NUL, or half of a surrogate pair.
            raise DatabaseUnusable(f"{values.quote(path)}: not a file name: {error}") from None
        if not must_exist and not os.path.exists(self.path):
            from .filesystem import create  # Deferred: most commands create no file.

            create(self.path)
        self._file = _device_and_inode(self.path)
        if self._file is None:
            raise NoQueue(f"{self.path}: is gone")
        if connection is None and _has_doubtful_log(self.path):
            from .wal import refuse_foreign_log  # Deferred: a log is nearly always younger than its file.

            refuse_foreign_log(self.path)
        self._use(connection or Connection(self.path, patience))
        if connection:
            self._require_schema()
            return
        try:
            version = self._version()
            if must_exist and not version:
                raise NoQueue(f"{self.path}: has no queue")
            self._execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._use_wal()
            if version != sql.SCHEMA_VERSION:
                self._migrate()
        except BaseException:
            self.close()
            raise

    def _use(self, connection: Connection) -> None:
        self._connection = connection
        self._execute, self._rows, self._transaction = connection.execute, connection.rows, connection.transaction

    def forbid_writes(self) -> None:
        """From now on, SQLite refuses every write on this connection."""
        self._execute("PRAGMA query_only = ON")

    def check_file(self) -> None:
        """Raise DatabaseGone if the file was removed, replaced or migrated since it was opened."""
        if not self.is_in_place():
            raise DatabaseGone(f"{self.path}: was removed or replaced")
        self._refuse_newer()

    def is_in_place(self) -> bool:
        """Whether the file that was opened is still there."""
        return _device_and_inode(self.path) == self._file

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

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

    # --- the log and the disk -------------------------------------------------------------------

    def _use_wal(self) -> None:
        """Set WAL mode unless it is set. `VACUUM INTO` makes files without it, and anyone can switch it off.

        Without it, a program that reads makes commits fail. The switch waits for such programs.
        """
        if self._one("PRAGMA journal_mode") == "wal":
            return
        try:
            if not self.file_size():
                self._execute("PRAGMA auto_vacuum = INCREMENTAL")  # See trim().
            if self._writes or not self._version():
                self._execute("PRAGMA journal_mode = WAL")
            else:
                self._connection.db.execute("PRAGMA journal_mode = WAL")
        except (DatabaseBusy, DatabaseFull, sqlite3.OperationalError):
            if self._writes:
                raise

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
        return _size(self.path + "-wal")

    def file_size(self) -> int:
        """The size in bytes of the main file."""
        return _size(self.path)

    def free_size(self) -> int:
        """How many bytes of the file are unused. New jobs use them first."""
        pages: int = self._one("PRAGMA freelist_count")
        size: int = self._one("PRAGMA page_size")
        return pages * size

    def disk_free(self) -> int:
        """How many bytes are free on the file's disk; 0 if unknown."""
        try:
            found = os.statvfs(os.path.dirname(self.path))
        except OSError:
            return 0
        return found.f_bavail * found.f_frsize

    def fold(self, patience: float = 0.0) -> bool:
        """Copy the log into the file and empty it; False if a program that reads or writes prevents that.

        `patience`: seconds to wait for such programs.
        """
        until = time.monotonic() + patience
        while self._one("PRAGMA wal_checkpoint(TRUNCATE)"):  # 1 means busy.
            if time.monotonic() >= until:
                return False
            time.sleep(FOLD_NAP)
        return True

    def give_back(self, seconds: float, kept: int = 0) -> bool:
        """Move unused pages to the end of the file and cut them off, in one transaction of about this length.

        Leaves `kept` of them. Returns whether there are more. A file from before incremental vacuum keeps them all,
        until it is compacted.
        """
        with self._transaction():
            until = time.monotonic() + seconds
            free = self._one("PRAGMA freelist_count")
            while free > kept:
                # One page each: Python takes a single step of a statement without columns.
                self._execute("PRAGMA incremental_vacuum(1)")
                free, before = self._one("PRAGMA freelist_count"), free
                if free == before:
                    return False
                if time.monotonic() > until:
                    break
        return bool(free > kept)

    def trim(self) -> None:
        """Give back a few of the unused pages if they are many, and empty the log if it is long.

        For workers, every few seconds. It keeps enough unused pages for the next jobs.
        """
        kept = max(KEPT_PAGES, self._one("PRAGMA page_count") // 4)
        if self._one("PRAGMA freelist_count") > kept:
            self.give_back(TRIM_HOLD, kept)
        if self.wal_size() > 2 * SMALL_WAL:
            self.fold()

    def compact(self) -> None:
        """Rewrite the file without unused space, and prepare it for `give_back`.

        Holds the write lock meanwhile, and needs as much free disk space as the file takes, twice.
        """
        self._execute("PRAGMA auto_vacuum = INCREMENTAL")
        self._execute("VACUUM")

    # --- health and copies ----------------------------------------------------------------------

    def has_other_tables(self) -> bool:
        """Whether an application keeps its own tables in the file."""
        return self._one(sql.OTHER_TABLES) is not None

    def copy_to(self, target: sqlite3.Connection, report: Report) -> None:
        """Copy a snapshot of the whole file to an empty database. `report` as in copy_pages."""
        copy_pages(self._connection.db, target, report)

    def faults(self) -> list[str]:
        """What SQLite finds wrong with the file, one line per fault. Reads the whole file.

        A row that a CHECK would reject isn't one: another program, or an older version, can have stored it.
        """
        try:
            self._execute("PRAGMA ignore_check_constraints = ON")
            lines = [str(row[0]) for row in self._rows(sql.INTEGRITY)]
        except DatabaseUnusable as error:
            return [str(error)]
        finally:
            self._execute("PRAGMA ignore_check_constraints = OFF")
        return [] if lines == ["ok"] else lines

    # --- schema ---------------------------------------------------------------------------------

    def _version(self) -> int:
        if self._one(sql.HAS_META) is None:
            return 0
        version = self._one(sql.META, {"key": "schema"})
        return version if isinstance(version, int) else 0

    def _migrate(self) -> None:
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
        self.was_upgraded = 0 < version < sql.SCHEMA_VERSION

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


def _device_and_inode(path: str) -> tuple[int, int] | None:
    """What identifies a file; None if it doesn't exist."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _size(path: str) -> int:
    """The size of a file in bytes; 0 if it doesn't exist."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _has_doubtful_log(path: str) -> bool:
    """Whether the file was changed or put there after the last write to its log (or the clock was set back).

    That is so after a checkpoint, and after a restart with a copy in the file's place. Two cheap calls, so that the
    log is read only then.
    """
    try:
        file, log = os.stat(path), os.stat(path + "-wal")
    except OSError:
        return False
    return log.st_size > 0 and not file.st_ctime_ns < log.st_mtime_ns <= time.time_ns()
