"""Copies of the queue file: `backup` makes one while the queue is in use, and `restore` puts one in its place.

`restore` writes the copy's pages into the present file in one transaction with a rollback journal, while it holds
SQLite's exclusive lock. So at every moment there is the old queue or the new one, and no log that belongs to the other;
programs that wait for the lock continue with the new one. Putting another file in place could do neither: such programs
would still have the old file open, but SQLite finds logs by name. Only a damaged file, which SQLite can't write to, is
moved out of the way first, with its log.
"""

from __future__ import annotations

import fcntl
import os

from ..errors import DatabaseDamaged, DatabaseUnusable, Refused
from . import sql
from .connection import copy_pages, translated
from .filesystem import create, sync_folder
from .sqlite import sqlite3
from .wal import open_without_log, refuse_foreign_log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .connection import Report
    from .database import Database

PATIENCE = 5.0  # Seconds that restore waits for other programs to close the file.
# The bytes that SQLite locks (https://sqlite.org/src/file/src/os.h, PENDING_BYTE and on).
_LOCKED_FROM, _LOCKED_BYTES = 0x40000000, 512
_PARTS = ("-wal", "-journal", "")  # The suffixes of a queue's files; SQLite recreates -shm.


def backup(store: Database, target: str, force: bool, report: Report) -> None:
    """Copy a snapshot of the file to `target`, even while other processes write. It is on disk on return.

    `report` as in copy_pages. The copy appears complete or not at all. Raises Refused if `target` exists
    (unless `force`) or is in use, and DatabaseUnusable if it can't be written.
    """
    target = os.path.realpath(target)
    exists = f"{target} already exists; --force replaces it"
    if os.path.exists(target) and not force:
        raise Refused(exists)
    if target == store.path or os.path.exists(target + "-wal"):
        # SQLite would replay the log there into the copy.
        raise Refused(f"{target} is a database in use; choose another name")
    partial = f"{target}.{os.getpid()}"
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            _copy(store, partial, report)
            if not force:
                _claim_name(partial, target)
            os.replace(partial, target)
        finally:
            _remove(partial)
        sync_folder(os.path.dirname(target))
    except FileExistsError:
        raise Refused(exists) from None
    except OSError as error:
        raise DatabaseUnusable(f"{target}: cannot be written: {error.strerror}") from None


def _claim_name(partial: str, target: str) -> None:
    """Give the file the name `target` too, or reserve that name. Raises FileExistsError if another file has it."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError:  # No hard links here, as on FAT.
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _copy(store: Database, target: str, report: Report) -> None:
    copy = sqlite3.connect(target, isolation_level=None)
    try:
        store.copy_to(copy, report)
        copy.execute("PRAGMA ignore_check_constraints = ON")  # As in Database.faults.
        (verdict,) = copy.execute(sql.QUICK_CHECK).fetchone()
        if verdict == "ok":
            _give_new_mark(copy)
    except sqlite3.Error as error:
        raise translated(error, target) from None
    finally:
        copy.close()
    if verdict != "ok":
        raise DatabaseDamaged(f"{store.path}: the database is damaged: {verdict}")


def _give_new_mark(db: sqlite3.Connection) -> None:
    """Tell this file's logs from those of the file that it is a copy of (see wal.py)."""
    db.execute("BEGIN IMMEDIATE")
    for statement in sql.NEW_MARK:
        db.execute(statement)
    db.execute("COMMIT")


def _remove(path: str) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        _remove_one(path + suffix)


def _remove_one(name: str) -> None:
    try:
        os.unlink(name)
    except FileNotFoundError:
        pass


# --- restore -------------------------------------------------------------------------------------


def restore(path: str, source: str, examine: Callable[[], int | None], report: Report) -> str | None:
    """Replace the queue file `path` with the copy `source`, which may be damaged or missing. On disk on return.

    `examine` looks at the present file and returns how many jobs may be replaced (None: any number). It raises to stop
    the restore; with DatabaseDamaged, the damaged file is moved aside. Returns its new path, or None. `report` as in
    copy_pages.

    Raises Refused if a program has the file open, and DatabaseUnusable if `source` isn't an intact queue or the file
    can't be written.
    """
    path, source = os.path.realpath(path), os.path.realpath(source)
    if not os.path.exists(source):
        raise Refused(f"{source}: no such file")
    if os.path.exists(path) and os.path.samefile(path, source):
        raise Refused(f"{source} is the queue file itself; name a backup")
    copy = _open_copy(source)
    try:
        _check(copy, source)
        aside: str | None = None
        limit: int | None = 0
        if os.path.exists(path):
            try:
                limit = examine()
            except DatabaseDamaged:
                aside = _move_aside(path)
        create(path)
        _replace(path, copy, limit, report)
        sync_folder(os.path.dirname(path))
    except sqlite3.Error as error:
        raise translated(error, source) from None
    except OSError as error:
        raise DatabaseUnusable(f"{path}: cannot be replaced: {error.strerror}") from None
    finally:
        copy.close()
    return aside


def _open_copy(source: str) -> sqlite3.Connection:
    """Open a copy. Without a log, it is only read, and may be in a folder that can't be written."""
    try:
        if any(_has_bytes(source + suffix) for suffix in ("-wal", "-journal")):
            refuse_foreign_log(source)
            return sqlite3.connect(source, isolation_level=None)
        return open_without_log(source)
    except sqlite3.Error as error:
        raise translated(error, source) from None


def _has_bytes(path: str) -> bool:
    return os.path.exists(path) and os.path.getsize(path) > 0


def _check(copy: sqlite3.Connection, source: str) -> None:
    """Raise DatabaseUnusable unless the copy is an intact queue that this program can read."""
    try:
        copy.execute("PRAGMA ignore_check_constraints = ON")  # As in Database.faults.
        (verdict,) = copy.execute(sql.INTEGRITY).fetchone()
        version = _version(copy)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise DatabaseUnusable(f"{source}: not an intact backup: {error}; nothing was changed") from None
    if verdict != "ok":
        raise DatabaseUnusable(f"{source}: the backup is damaged: {verdict}; nothing was changed")
    if not version:
        raise DatabaseUnusable(f"{source}: has no queue; nothing was changed")
    if version > sql.SCHEMA_VERSION:
        raise DatabaseUnusable(f"{source}: from a newer queuectl; restore it with that one")


def _version(db: sqlite3.Connection) -> int:
    if db.execute(sql.HAS_META).fetchone() is None:
        return 0
    row = db.execute(sql.META, {"key": "schema"}).fetchone()
    return row[0] if row and isinstance(row[0], int) else 0


def _replace(path: str, copy: sqlite3.Connection, limit: int | None, report: Report) -> None:
    """Overwrite the file `path` with a copy, unless it has more than `limit` jobs."""
    db = sqlite3.connect(path, isolation_level=None, timeout=PATIENCE)
    try:
        # From here until it is closed, no other connection can even read.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = DELETE")  # Folds the log, and removes it.
        db.execute("BEGIN EXCLUSIVE")
        jobs = db.execute(sql.COUNT_JOBS).fetchone()[0] if _version(db) else 0
        db.execute("COMMIT")
        if limit is not None and jobs > limit:
            raise Refused(f"{path}: jobs were added meanwhile; nothing was changed")
        copy_pages(copy, db, report)
        if _version(db) == sql.SCHEMA_VERSION:  # Otherwise the migration does it.
            _give_new_mark(db)
        db.execute("PRAGMA journal_mode = WAL")
        _remove_one(path + "-journal")  # SQLite keeps it, with an empty header, while the lock is exclusive.
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise Refused(f"{path}: another program has it open; end it first; nothing was changed") from None
        raise translated(error, path) from None
    except sqlite3.Error as error:
        raise translated(error, path) from None
    finally:
        db.close()


def _move_aside(path: str) -> str:
    """Rename a damaged file and its log; returns the new path. Raises Refused if a program has the file open."""
    fd = os.open(path, os.O_RDWR)
    try:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, _LOCKED_BYTES, _LOCKED_FROM)
        except OSError:
            raise Refused(f"{path}: another program has it open; end it first; nothing was changed") from None
        aside = _unused(f"{path}.damaged", path)
        # The log first: next to whatever comes to be at `path`, SQLite would apply it.
        for suffix in _PARTS:
            if os.path.exists(path + suffix):
                os.rename(path + suffix, aside + suffix)
        _remove_one(path + "-shm")
        sync_folder(os.path.dirname(path))
    finally:
        os.close(fd)
    return aside


def _unused(name: str, path: str) -> str:
    """`name`, with a number after it if renaming `path` and its log to it would overwrite a file."""
    candidate, number = name, 1
    while any(os.path.exists(candidate + suffix) and os.path.exists(path + suffix) for suffix in _PARTS):
        number += 1
        candidate = f"{name}-{number}"
    return candidate
