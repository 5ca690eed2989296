"""A worker's bell: a FIFO next to the database. Ringing it means "check your row and the queue".

A bell is a hint and carries no data: the change is already committed, and a worker that misses the ring finds it at
its next poll. Only the worker that a bell is named after listens to it, so an enqueue wakes exactly one: if none is
listening, opening the FIFO for writing fails with ENXIO; see fifo(7). The folder of the bells also holds the locks that
show who is alive; see workers/lifeline.py.
"""

from __future__ import annotations

import errno
import os


def folder(database: str) -> str:
    """The folder that holds the bells of this database's workers."""
    return database + "-bells"


def ring(database: str, worker: int) -> bool:
    """Wake `worker`; False if it isn't listening."""
    try:
        fd = os.open(
            os.path.join(folder(database), str(worker)),
            os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC,
        )
    except OSError:
        return False
    try:
        os.write(fd, b".")
    except OSError as error:
        return error.errno == errno.EAGAIN  # EAGAIN: full of rings already, so the worker will wake.
    finally:
        os.close(fd)
    return True


class Bell:
    """The listening side. `fd` becomes readable when the bell is rung."""

    def __init__(self, database: str, worker: int) -> None:
        self._path = os.path.join(folder(database), str(worker))
        self.fd = self._writer = -1
        try:
            self._create()
            self.fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            # Hold a writer too: with none, poll() would report a hang-up forever.
            self._writer = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            self.close()  # The file system has no FIFOs: rely on the slow poll.

    def _create(self) -> None:
        for _ in range(10):
            make_folder(self._path)
            try:
                os.mkfifo(self._path, 0o600)
                return
            except FileExistsError:
                os.unlink(self._path)  # Left by an earlier database at this path.
            except FileNotFoundError:
                pass  # Another worker just removed the last bell, and the folder with it.

    def silence(self) -> None:
        """Discard the rings so far."""
        try:
            while len(os.read(self.fd, 4096)) == 4096:
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Stop listening, and remove the bell."""
        for fd in (self.fd, self._writer):
            if fd >= 0:
                os.close(fd)
        self.fd = self._writer = -1
        unlink(self._path)


def make_folder(path: str) -> None:
    """Create the folder for the bell or lock at `path`."""
    bells = os.path.dirname(path)
    os.makedirs(bells, mode=0o700, exist_ok=True)
    if os.path.islink(bells):
        raise NotADirectoryError(bells)  # Another user's trap: we would remove files elsewhere.


def unlink(path: str) -> None:
    """Remove a bell or lock, if it exists."""
    if os.path.islink(os.path.dirname(path)):
        return
    try:
        os.unlink(path)
    except OSError:
        pass


def remove(database: str, worker: int) -> None:
    """Remove the bell and the locks of a worker or supervisor that is gone, and the folder if it is empty then."""
    path = os.path.join(folder(database), str(worker))
    for name in (path, path + ".alive", path + ".run"):
        unlink(name)
    try:
        os.rmdir(os.path.dirname(path))
    except OSError:
        pass
