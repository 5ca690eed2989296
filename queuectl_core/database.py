"""The database file: opening, making and migrating it, transactions, and errors in words.

Assumes a local disk: WAL needs shared memory. Every write is a BEGIN IMMEDIATE: a read that becomes
a write later would fail at once, whatever the patience. A connection never crosses a fork: close the
database before forking, open another one after.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator

from . import sql, values
from .errors import DatabaseBusy, DatabaseFull, DatabaseGone, DatabaseUnusable, Refused

OLDEST_SQLITE = (3, 31)
PATIENCE = 60.0  # seconds that a command waits for a write lock
SHORTEST_NAP = 0.0001
LONGEST_NAP = 0.1  # Long, for a thousand workers at once: short naps alone would fill two cores.
SMALL_WAL = 16 * 1024 * 1024  # Bytes that workers keep the log at, unless a reader holds them up;
LARGE_WAL = 4 * SMALL_WAL  # with more than this one does, and people are warned.
LONG_LOG = 512 * 1024  # Bytes of a log that the next process should not have to read.

LEFT_OPEN: list[sqlite3.Connection] = []  # What `leave` left; Python closes what nobody refers to.

# Where several machines see one file, and no memory is shared between them. (Not 9p: sandboxes have
# it as a local root.)
NETWORK_FILE_SYSTEMS = frozenset(
    "nfs nfs4 cifs smb2 smb3 smbfs ncpfs afs ceph lustre gpfs beegfs glusterfs ocfs2 gfs2 fuse.sshfs"
    " fuse.glusterfs fuse.ceph fuse.s3fs fuse.rclone fuse.gcsfuse fuse.goofys fuse.juicefs".split()
)


def default_path(environ: dict[str, str]) -> str:
    """$QUEUECTL_DB, else $XDG_STATE_HOME/queuectl/queue.db, else ~/.local/state/queuectl/queue.db."""
    if environ.get("QUEUECTL_DB"):
        return environ["QUEUECTL_DB"]
    state = environ.get("XDG_STATE_HOME", "")
    if not state.startswith("/"):  # The XDG specification: a relative one is to be ignored.
        home = os.path.expanduser("~")
        if not home.startswith("/"):
            raise DatabaseUnusable("no home directory to keep the queue in; give --db FILE")
        state = os.path.join(home, ".local", "state")
    return os.path.join(state, "queuectl", "queue.db")


class Database:
    """One open file. Not for use by several threads or across a fork."""

    def __init__(
        self,
        path: str,
        durable: bool = True,
        patience: float = PATIENCE,
        must_exist: bool = False,
    ) -> None:
        """Open the file `path`, which is made where it is missing, with the schema of today.

        `durable`: what was committed survives a power cut. `patience`: seconds to wait for a lock.
        Raises DatabaseUnusable, with words, when it cannot be used; it is never made anew then.
        DatabaseGone, where it `must_exist` and does not, or is of a newer queuectl.
        """
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise DatabaseUnusable(
                "needs SQLite 3.31 or later; this Python has %s" % sqlite3.sqlite_version
            )
        # Of a link, what it points to: SQLite keeps the WAL beside that, and we the bells.
        self.path = os.path.realpath(path)
        self._patience = patience
        if not must_exist:
            _make_file(self.path)
        self._file = _identity(self.path)
        if self._file is None:
            raise DatabaseGone("%s: is gone" % self.path)
        self._open(durable)

    def _open(self, durable: bool) -> None:
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None, timeout=0)
        except sqlite3.Error as error:
            raise translated(error, self.path) from None
        try:
            # Bytes that are no UTF-8 can come in by foreign SQL: no text may break a reader.
            self._db.text_factory = values.decode
            self._execute("PRAGMA synchronous = %s" % ("FULL" if durable else "NORMAL"))
            self._migrate()
        except BaseException:
            self.close()
            raise

    def check_file(self) -> None:
        """Raise DatabaseGone if the file was removed, replaced or migrated since it was opened."""
        if _identity(self.path) != self._file:
            raise DatabaseGone("%s: was removed or replaced" % self.path)
        self._refuse_newer()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def leave(self) -> None:
        """Close the file if its log is long; else leave that to the end of the process, which is near.

        For who writes a little and ends. Closing last moves the log into the file: 3 ms. But where
        nobody ever closes, each process has to read the whole log first, which grows and grows.
        """
        if self.wal_size() > LONG_LOG:
            self.close()
        else:
            LEFT_OPEN.append(self._db)

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- transactions ---------------------------------------------------------------------------

    def _execute(self, statement: str, parameters: object = ()) -> sqlite3.Cursor:
        """Run one statement; waits while the database is locked, and speaks of errors in words."""
        began = nap = 0.0
        while True:
            try:
                return self._db.execute(statement, parameters)  # type: ignore[arg-type]
            except ERRORS as error:
                problem = translated(error, self.path)
                if not isinstance(problem, DatabaseBusy) or self._db.in_transaction:
                    raise problem from None
                now = time.monotonic()
                began = began or now
                if now - began > self._patience:
                    raise problem from None
            # Our own naps: SQLite's grow with the time waited, so that the oldest waiter loses.
            nap = min(LONGEST_NAP, max(SHORTEST_NAP, nap * 1.5))
            time.sleep(nap * (0.5 + os.urandom(1)[0] / 512))

    def _rows(self, statement: str, parameters: object = ()) -> list:
        cursor = self._execute(statement, parameters)
        try:
            return cursor.fetchall()
        except ERRORS as error:
            raise translated(error, self.path) from None

    def _each(self, statement: str, parameters: object = ()) -> Iterator[tuple]:
        """The rows one after another, where they may be many."""
        try:
            # (`yield from` would close the cursor, perhaps of a file that is closed by then.)
            for row in self._execute(statement, parameters):  # noqa: UP028
                yield row
        except ERRORS as error:
            raise translated(error, self.path) from None

    def _one(self, statement: str, parameters: object = ()):
        rows = self._rows(statement, parameters)
        return rows[0][0] if rows else None

    def _transaction(self) -> Transaction:
        return Transaction(self)

    def data_version(self) -> int:
        """A number that changes when another connection has committed something. Cheap."""
        return self._one("PRAGMA data_version")

    def changes(self) -> int:
        """How many rows this connection has changed since it was opened, committed or not."""
        return self._db.total_changes

    def bound_wal(self) -> None:
        """Keep the WAL at SMALL_WAL; for the long-lived connections of workers.

        (Checkpoints four times as rare as SQLite's own give 7 % more jobs a second.)
        """
        self._execute("PRAGMA wal_autocheckpoint = 4000")
        self._execute("PRAGMA journal_size_limit = %d" % SMALL_WAL)

    def expect_large_transactions(self) -> None:
        """Keep all that a transaction changes in memory until its commit.

        (SQLite's cache of 2 MB is full after 10,000 jobs; then pages that are still needed are written
        and read again and again: up to thirty times as many writes.)
        """
        self._execute("PRAGMA cache_spill = OFF")

    def wal_size(self) -> int:
        """Bytes in the write-ahead log: what has been committed and not yet moved into the file."""
        try:
            return os.stat(self.path + "-wal").st_size
        except OSError:
            return 0

    def faults(self) -> list[str]:
        """What SQLite finds wrong with the file, a line each; reads all of it."""
        try:
            found = [str(row[0]) for row in self._rows(sql.INTEGRITY)]
        except DatabaseUnusable as error:
            return [str(error)]
        return [] if found == ["ok"] else found

    def backup(self, target: str, force: bool = False) -> None:
        """Copy the file as it is at one moment to `target`, while others go on; on disk by then.

        The copy appears whole or not at all. Raises Refused where `target` exists, unless `force`,
        and DatabaseUnusable, in words, when it cannot be made.
        """
        target = os.path.realpath(target)
        if os.path.exists(target) and not force:
            raise Refused("%s exists already; --force replaces it" % target)
        if target == self.path or os.path.exists(target + "-wal"):
            # A log that is left there would be taken for the copy's own.
            raise Refused("%s is a database that is in use; give another name" % target)
        partial = "%s.%d" % (target, os.getpid())
        try:
            os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            try:
                self._copy(partial)
                if force:
                    os.replace(partial, target)
                else:
                    os.link(partial, target)  # Unlike a rename: never over another file.
            finally:
                _remove(partial)
            _sync_folder(os.path.dirname(target))
        except FileExistsError:
            raise Refused("%s exists already; --force replaces it" % target) from None
        except OSError as error:
            raise DatabaseUnusable("%s: cannot be made: %s" % (target, error.strerror)) from None

    def _copy(self, target: str) -> None:
        copy = sqlite3.connect(target, isolation_level=None)
        try:
            self._db.backup(copy)
            (found,) = copy.execute(sql.QUICK_CHECK).fetchone()
        except sqlite3.Error as error:
            raise translated(error, target) from None
        finally:
            copy.close()
        if found != "ok":
            raise DatabaseUnusable("%s: the database is damaged: %s" % (self.path, found))

    def snapshot(self) -> Transaction:
        """A `with` block in which all reads see the same moment."""
        return Transaction(self, "DEFERRED")

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
        self._execute("PRAGMA journal_mode = WAL")
        with self._transaction():
            # Looked at again under the lock: ten processes may open a file at once.
            found = self._version()
            if 0 < found < sql.SCHEMA_VERSION:
                self._execute(sql.STOP_ALL)
            for version in range(found + 1, sql.SCHEMA_VERSION + 1):
                for statement in sql.MIGRATIONS[version]:
                    self._execute(statement)
                self._execute(sql.SET_META, {"key": "schema", "value": version})
        self._refuse_newer()

    def _refuse_newer(self) -> None:
        if self._version() > sql.SCHEMA_VERSION:
            raise DatabaseGone(
                "%s: made by a newer queuectl (schema %d; this one knows %d): use that one"
                % (self.path, self._version(), sql.SCHEMA_VERSION)
            )


class Transaction:
    """BEGIN, then COMMIT or, on any exception, ROLLBACK."""

    def __init__(self, database: Database, kind: str = "IMMEDIATE") -> None:
        self._database = database
        self._kind = kind

    def __enter__(self) -> None:
        self._database._execute("BEGIN " + self._kind)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        database = self._database
        try:
            if kind is None:
                database._execute("COMMIT")
        finally:
            if database._db.in_transaction:
                database._db.execute("ROLLBACK")


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
    """Make the file, for its owner only, and its folder where that is missing too."""
    try:
        if os.path.exists(path):
            return
        refuse_network(path)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        # Before SQLite has opened it: closing a descriptor of the file later would drop its locks.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        pass  # Somebody else was first.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DatabaseUnusable("%s: cannot be made: %s" % (path, reason)) from None


def _identity(path: str) -> tuple[int, int] | None:
    """(device, inode) of a file; None when there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def file_system(path: str, mounts: str | None = None) -> str | None:
    """The kind of file system that `path` is on, such as "ext4"; None where that cannot be told.

    `mounts` is the text of /proc/self/mounts, which is read where it is not given.
    """
    if mounts is None:
        try:
            with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
                mounts = file.read()
        except OSError:
            return None
    best, kind = "", None
    for line in mounts.splitlines():
        words = line.split(" ")
        if len(words) < 3:
            continue
        point = words[1]
        for escaped, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
            point = point.replace(escaped, character)
        point = point.rstrip("/") + "/"
        # Of two at the same place the later one covers the earlier.
        if path.startswith(point) and len(point) >= len(best):
            best, kind = point, words[2]
    return kind


def refuse_network(path: str, mounts: str | None = None) -> None:
    """Raise DatabaseUnusable if `path` is on a network file system; `mounts` as in file_system."""
    kind = file_system(path, mounts)
    if kind in NETWORK_FILE_SYSTEMS:
        raise DatabaseUnusable(
            "%s: is on a network file system (%s), where SQLite's locks do not hold;"
            " give --db FILE on a local disk" % (path, kind)
        )


# What a statement may raise. (sqlite3 cannot decode a message that quotes a damaged file.)
ERRORS = (sqlite3.Error, UnicodeDecodeError)

# What SQLite says, and what that means to a user. (Error codes came with Python 3.11.)
_MEANINGS = (
    ("locked", DatabaseBusy, "another program keeps it locked; try again when that is done"),
    ("locking protocol", DatabaseBusy, "another program keeps it locked; try again"),
    ("disk is full", DatabaseFull, "the disk is full; nothing was changed"),
    ("disk I/O error", DatabaseFull, "the disk cannot be read or written"),
    ("not a database", DatabaseUnusable, "is not a SQLite database; give another --db FILE"),
    ("malformed", DatabaseUnusable, "the database is damaged; restore a backup"),
    ("readonly", DatabaseFull, "cannot be written: check its permissions and its folder's"),
    ("unable to open", DatabaseUnusable, "cannot be opened: check its permissions and its folder's"),
)


def translated(error: Exception, path: str) -> DatabaseUnusable:
    """One of ERRORS, as what it means to a user of the file `path`."""
    told = str(error)
    if isinstance(error, UnicodeDecodeError):
        told = "malformed"
    for words, kind, meaning in _MEANINGS:
        if words in told:
            return kind("%s: %s" % (path, meaning))
    return DatabaseUnusable("%s: %s" % (path, told))
