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
from collections.abc import Mapping, Sequence

from . import sql, values
from .database import Transaction, default_path
from .errors import DatabaseUnusable, Refused, WaitTimedOut
from .jobspec import new_job
from .lifecycle import FINISHED, Job
from .store import Store

POLL = 0.004  # Seconds between two looks of `wait`; a look costs some ten microseconds.


class Queue:
    """One queue. Not for use by several threads or across a fork.

    Its methods raise BadInput, Refused (DuplicateId for an id that exists already), WaitTimedOut,
    and DatabaseUnusable (DatabaseBusy, DatabaseFull), all of them a QueueError of
    queuectl_core.errors, with a text for people.
    """

    def __init__(
        self, path: str | os.PathLike | None = None, *, connection: sqlite3.Connection | None = None
    ) -> None:
        """Open the queue in the file `path`, which is made where it is missing.

        Without a path it is the file that the command line uses ($QUEUECTL_DB and so on). A
        `connection` is to a file that has the queue's tables already: once `Queue(path)` or any
        command with `--db` puts them there. Raises DatabaseUnusable.
        """
        if connection is not None:
            if path is not None:
                raise TypeError("Queue: either a path or a connection")
            self._store: Store = _Guest(connection)
        else:
            self._store = Store(default_path(dict(os.environ)) if path is None else os.fspath(path))
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
        cwd: str | os.PathLike | None = None,
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
            raise Refused("no such job: %s" % values.quote(id))
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
                    raise WaitTimedOut("job %s is not finished: it is %s" % (job.id, job.state))
                time.sleep(POLL)

    def cancel(self, id: str) -> Job:
        """Cancel a job; one that runs is ended by its worker soon (`wait` for it).

        Returns the job as it is then. Raises Refused when there is none or it is finished.
        """
        return self._store.cancel(self.get(id).id)


def _joined(words: list[str]) -> str:
    import shlex

    return shlex.join(words)


class _Guest(Store):
    """The store on a connection of somebody else's, inside the transactions of its owner."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        (_, _, path), *_ = self._rows("PRAGMA database_list")
        if not path:
            raise DatabaseUnusable("the connection is to no file: no worker could see its jobs")
        super().__init__(path)

    def _open(self, durable: bool) -> None:
        self._refuse_newer()
        if self._version() < sql.SCHEMA_VERSION:
            raise DatabaseUnusable(
                "%s: has no queue of this version in it yet; open it once with Queue(path)" % self.path
            )

    def close(self) -> None:
        """Leave the connection open: it is its owner's."""

    def _rows(self, statement: str, parameters: object = ()) -> list:
        factories = self._db.row_factory, self._db.text_factory
        self._db.row_factory, self._db.text_factory = None, values.decode
        try:
            return super()._rows(statement, parameters)
        finally:
            self._db.row_factory, self._db.text_factory = factories

    def _transaction(self) -> _Savepoint:
        return _Savepoint(self)

    def _choose(self, queue: str, count: int) -> list[tuple[int, str]]:
        return []  # A worker that is woken before the commit finds nothing.


class _Savepoint(Transaction):
    """All or nothing of one verb, inside the transaction that is open.

    Where none is open one begins, as with any statement that writes: it is the owner's to commit,
    unless the connection commits each statement by itself.
    """

    def __enter__(self) -> None:
        self._began = not self._database._db.in_transaction
        if self._began:
            super().__enter__()
        self._database._execute("SAVEPOINT queuectl")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        db = self._database._db
        if not db.in_transaction:
            return  # A full disk: SQLite has rolled back everything.
        if kind is not None:
            self._database._execute("ROLLBACK TO queuectl")
        self._database._execute("RELEASE queuectl")
        commits_itself = db.isolation_level is None or getattr(db, "autocommit", None) is True
        if self._began and (commits_itself or kind is not None):
            super().__exit__(kind, error, trace)
