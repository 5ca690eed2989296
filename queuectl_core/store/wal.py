"""Whether a write-ahead log belongs to the file next to it.

SQLite finds the log of `queue.db` by its name, `queue.db-wal`. If a crash leaves a log behind, and a user then copies
a backup over the file, SQLite would apply the log to the backup: pages of two files would mix, or the log would undo
what the user did. It has no way to notice.

So each file has a mark: a random text in queuectl_meta and in every row of queuectl_queues. Nearly every transaction
writes a page of queuectl_queues, so the log contains the mark too, at no cost. `backup` and `restore` give a file a new
mark. A log that contains marks, but not that of its file, is from another file.
"""

from __future__ import annotations

import re

from ..errors import DatabaseDamaged
from . import sql
from .sqlite import sqlite3

MARK = re.compile(rb"queuectl-file:[0-9a-f]{16}")
_BLOCK = 1024 * 1024  # Bytes of the log read at a time.
_MARK_LENGTH = 30  # Bytes.


def refuse_foreign_log(path: str) -> None:
    """Raise DatabaseDamaged if the log next to the file `path` belongs to another file. Changes neither."""
    own = _mark(path)
    if own is not None and not _may_contain(path + "-wal", own):
        raise DatabaseDamaged(
            f"{path}: was replaced by a copy, and {path}-wal is the log of the file that was here before;"
            " put the copy in place with: queuectl restore FILE"
        )


def open_without_log(path: str) -> sqlite3.Connection:
    """Open a file only to read it, without its log and without creating others next to it. Raises sqlite3.Error."""
    name = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return sqlite3.connect(f"file:{name}?immutable=1", uri=True, isolation_level=None)


def _mark(path: str) -> bytes | None:
    """The mark of the file `path` without its log; None if it has none or can't be read."""
    try:
        # By SQLite: closing a descriptor of our own would drop the locks of this process's other connections.
        db = open_without_log(path)
    except sqlite3.Error:
        return None
    try:
        row = db.execute(sql.META, {"key": "file"}).fetchone()
    except (sqlite3.Error, UnicodeDecodeError):
        return None
    finally:
        db.close()
    mark = str(row[0]).encode("utf-8", "replace") if row else b""
    return mark if MARK.fullmatch(mark) else None


def _may_contain(log: str, own: bytes) -> bool:
    """Whether a log contains this mark, or none."""
    is_foreign = False
    rest = b""
    try:
        with open(log, "rb") as file:
            while True:
                block = file.read(_BLOCK)
                if not block:
                    return not is_foreign
                found = MARK.findall(rest + block)
                if own in found:
                    return True
                is_foreign = is_foreign or bool(found)
                rest = block[-_MARK_LENGTH:]
    except OSError:
        return True
