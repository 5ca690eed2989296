"""The queue as a library: `from queuectl_core import Queue`.

    with Queue() as queue:                          # The file that the command line uses.
        id = queue.enqueue("sleep 2; echo done")
        job = queue.wait(id, timeout=60)

An application that keeps the queue's tables in its own database file enqueues inside its own
transaction: the job is there if, and only if, the application's own rows are.

    connection.execute("INSERT INTO orders …")
    Queue(connection=connection).enqueue(["mail", "--order", "17"])
    connection.commit()

On a connection of the application's nothing but the queue's rows is touched: its transaction is
neither committed nor rolled back, and its settings stay. Idle workers are not woken then, since
nobody tells us of the commit: they see it when they look by themselves, within half a second.
"""

from __future__ import annotations

import os
import sqlite3
import time

from . import values
from .errors import Refused, WaitTimedOut
from .jobspec import new_job
from .lifecycle import FINISHED, Job
from .store.client import Client
from .store.database import default_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Union

    Path = Union[str, os.PathLike[str]]

POLL = 0.004  # Seconds between two looks of `wait`; a look costs some ten microseconds.


class Queue:
    """One queue. Not for use by several threads or across a fork.

    Its methods raise BadInput, Refused (DuplicateId for an id that exists already), WaitTimedOut,
    and DatabaseUnusable (DatabaseBusy, DatabaseFull), all of them a QueueError of
    queuectl_core.errors, with a text for people.
    """

    def __init__(
        self, path: Path | None = None, *, connection: sqlite3.Connection | None = None
    ) -> None:
        """Open the queue in the file `path`, which is made where it is missing.

        Without a path it is the file that the command line uses ($QUEUECTL_DB and so on). A
        `connection` is to a file that has the queue's tables already: once `Queue(path)` or any
        command with `--db` puts them there. Raises DatabaseUnusable.
        """
        if connection is not None:
            if path is not None:
                raise TypeError("Queue: either a path or a connection")
            from .store.borrowed import BorrowedConnection

            borrowed = BorrowedConnection(connection)
            self._store = Client(borrowed.path, connection=borrowed)
        else:
            self._store = Client(default_path(dict(os.environ)) if path is None else os.fspath(path))
        self._connection = connection

    def close(self) -> None:
        """Close the file; a connection that was given stays open."""
        self._store.close()

    def __enter__(self) -> Queue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def enqueue(
        self,
        command: str | Sequence[str],
        *,
        id: str | None = None,
        queue: str = "default",
        priority: int = 0,
        delay: float | str | None = None,
        run_at: float | str | None = None,
        after: Sequence[str] | None = None,
        unique: str | None = None,
        stdin: bytes | str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        max_retries: int | None = None,
        backoff_base: float | None = None,
        timeout: float | str | None = None,
        bury_on: str | int | None = None,
        retry_only_on: str | int | None = None,
    ) -> str:
        """Add a job; returns its id.

        `command` is a shell line, or the words of a command that are run as they are. All else is as
        of the options of `queuectl enqueue`: durations in seconds or as "5m", `run_at` in epoch
        seconds or ISO 8601, `after` the ids of jobs that must have completed, exit codes as in
        "2,64-78". `cwd` is the present directory by default; what is left out otherwise is taken
        from the queue's configuration. With `unique`, the id may be that of an unfinished job.

        The job is on the disk when this returns; with a connection, when its transaction commits.
        """
        words = [command] if isinstance(command, str) else list(command)
        fields: dict[str, object] = {
            "command": words[0] if len(words) == 1 else _joined(words),
            "id": id,
            "queue": queue,
            "priority": priority,
            "delay": delay,
            "run_at": run_at,
            "after": after,
            "unique_key": unique,
            "stdin": stdin,
            "env": None if env is None else dict(env),
            "cwd": os.path.abspath(os.getcwd() if cwd is None else cwd),
            "max_retries": max_retries,
            "backoff_base": backoff_base,
            "timeout": timeout,
            "bury_on": bury_on,
            "retry_only_on": retry_only_on,
        }
        given = {field: value for field, value in fields.items() if value is not None}
        return self._store.enqueue([new_job(given, time.time())])[0]

    def get(self, id: str) -> Job:
        """The job as it is now: times in epoch seconds. Raises Refused when there is none."""
        job = self._store.find(id)
        if job is None:
            raise Refused(f"no such job: {values.quote(id)}")
        return job

    def wait(self, id: str, timeout: float | None = None) -> Job:
        """Wait until a job is finished, or can never run since it waits for one that failed.

        Returns the job: look at its `state`. Raises WaitTimedOut after `timeout` seconds.
        """
        if self._connection is not None and self._connection.in_transaction:
            raise Refused("cannot wait inside a transaction: nobody sees the job before it commits")
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            version = self._store.data_version()
            job = self.get(id)
            if job.state in FINISHED or self._store.is_stuck(job):
                return job
            while self._store.data_version() == version:
                if until is not None and time.monotonic() >= until:
                    raise WaitTimedOut(f"job {job.id} is not finished: it is {job.state}")
                time.sleep(POLL)

    def cancel(self, id: str) -> Job:
        """Cancel a job; one that runs is ended by its worker soon (`wait` for it).

        Returns the job as it is then. Raises Refused when there is none or it is finished.
        """
        return self._store.cancel(self.get(id).id)


def _joined(words: list[str]) -> str:
    import shlex

    return shlex.join(words)
