"""Where a queue is: not on a network file system, where SQLite locks don't work, nor under another user's control.

A new file's name, and each new folder's, is on disk once the folder that contains it has been fsynced.
"""

from __future__ import annotations

import errno
import os
import stat

from ..errors import DatabaseUnusable
from .bell import folder

# File systems that several machines can share. Not 9p: sandboxes use it for a local root.
NETWORK_FILE_SYSTEMS = frozenset(
    "nfs nfs4 cifs smb2 smb3 smbfs ncpfs afs ceph lustre gpfs beegfs glusterfs ocfs2 gfs2 fuse.sshfs"
    " fuse.glusterfs fuse.ceph fuse.s3fs fuse.rclone fuse.gcsfuse fuse.goofys fuse.juicefs".split()
)


def file_system(path: str, mounts: str | None = None) -> str | None:
    """The type of the file system that `path` is on, such as "ext4"; None if unknown.

    `mounts` is text in the format of /proc/self/mounts (see proc(5)), which is read by default.
    """
    if mounts is None:
        try:
            with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
                mounts = file.read()
        except OSError:
            return None
    best, kind = "", None
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = fields[1]
        for escaped, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
            point = point.replace(escaped, character)
        point = point.rstrip("/") + "/"
        # Of two mounts at the same point, the later one hides the earlier.
        if path.startswith(point) and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def refuse_network(path: str, mounts: str | None = None) -> None:
    """Raise DatabaseUnusable if `path` is on a network file system; `mounts` as in file_system."""
    kind = file_system(path, mounts)
    if kind in NETWORK_FILE_SYSTEMS:
        raise DatabaseUnusable(
            f"{path}: SQLite's locks don't work on a network file system ({kind}); give --db FILE on a local disk"
        )


def refuse_foreign(path: str) -> None:
    """Raise DatabaseUnusable if another user could have workers on this file run commands or delete files as us.

    The file must be ours, and not writable by everyone. Its bells must be in a real folder of ours: through a symbolic
    link, workers would create and remove files elsewhere.
    """
    found = os.stat(path)
    if found.st_uid != os.geteuid():
        raise DatabaseUnusable(
            f"{path}: belongs to {_user(found.st_uid)}, whose commands workers would run as {_user(os.geteuid())};"
            " start workers as the file's owner, or give another --db FILE"
        )
    if found.st_mode & stat.S_IWOTH:
        from ..suggestion import shell_line  # Deferred: needed only for errors.

        line = shell_line(["chmod", "o-w", os.path.abspath(path)])
        raise DatabaseUnusable(f"{path}: every user can write commands to it; run: {line}")
    bells = folder(path)
    try:
        found = os.lstat(bells)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "not a folder"
        raise DatabaseUnusable(f"{bells}: {kind}, of {_user(found.st_uid)}; check it, and remove it")


def create(path: str) -> None:
    """Create an empty file, readable only by its owner, and its folder if needed; they are on disk on return.

    If the file exists, does nothing. Raises DatabaseUnusable if it can't be created or is on a network file system.
    """
    refuse_network(path)
    try:
        _create_folder(os.path.dirname(path))
        # Before SQLite opens it: closing any descriptor of the file later would drop SQLite's locks.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        sync_folder(os.path.dirname(path))
    except FileExistsError:
        pass  # Another process created it first.
    except (OSError, ValueError, RecursionError) as error:  # The last: a path of a thousand folders.
        reason = getattr(error, "strerror", None) or error
        raise DatabaseUnusable(f"{path}: cannot be created: {reason}") from None


def _create_folder(path: str) -> None:
    try:
        os.stat(path)
    except FileNotFoundError:
        pass  # Any other error, such as a name that is too long, comes before a folder is made.
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for path in reversed(missing):
        _create_one(path)


def _create_one(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
    sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    """Return once the names in a folder are on disk. Raises OSError."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except PermissionError:
        return  # A folder that we may only create files in.
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # Some file systems can't.
            raise
    finally:
        os.close(fd)


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
