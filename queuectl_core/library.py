"""The Python API: `from queuectl_core import Queue`.

    with Queue() as queue:                          # The file that the command line uses.
        id = queue.enqueue("sleep 2; echo done")
        job = queue.wait(id, timeout=60)

An application that keeps the queue's tables in its own database file can enqueue inside its own transactions: the job
exists if, and only if, the application's rows do.

    connection.execute("INSERT INTO orders …")
    Queue(connection=connection).enqueue(["mail", "--order", "17"])
    connection.commit()

On an application's connection we touch only the queue's rows: we never commit or roll back, and leave its settings
alone. We can't see the commit either, so we wake no idle workers; they poll, and find the job within half a second.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Mapping

from . import values
from .errors import BadInput, Refused, WaitTimedOut
from .jobspec import new_job
from .lifecycle import FINISHED, Job
from .store.client import Client
from .store.database import default_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta, tzinfo
    from typing import Any, Union

    from .schedule.zones import Zone

    Path = Union[str, os.PathLike[str]]
    Command = Union[str, Sequence[Path]]
    Duration = Union[float, str, timedelta]  # Seconds, or text such as "5m".
    Moment = Union[float, str, datetime]  # Epoch seconds, ISO 8601, or "+5m".
    Words = Union[str, Iterable[str]]  # One, or several.

POLL = 0.004  # Seconds between polls in `wait`; each costs about ten microseconds.


class Queue:
    """One queue. Don't share it between threads, or use it across a fork.

    Every error its methods raise is a QueueError (see queuectl_core.errors) with a message for users: BadInput, Refused
    (DuplicateId if the id already exists), WaitTimedOut, and DatabaseUnusable (DatabaseBusy, DatabaseFull).
    """

    def __init__(
        self, path: Path | None = None, *, connection: sqlite3.Connection | None = None
    ) -> None:
        """Open the queue file `path`, creating it if it is missing.

        The default is the file that the command line uses ($QUEUECTL_DB and so on). A `connection` must be to a file
        that already has the queue's tables; to create them once, use `Queue(path)` or `enqueue` with `--db`.
        Raises DatabaseUnusable, or TypeError if given both or something that isn't a path.
        """
        if connection is not None:
            if path is not None:
                raise TypeError("Queue takes a path or a connection, not both")
            from .store.borrowed import BorrowedConnection

            borrowed = BorrowedConnection(connection)
            self._store = Client(borrowed.path, connection=borrowed)
        else:
            self._store = Client(default_path(dict(os.environ)) if path is None else os.fsdecode(path))
        self._connection = connection

    def close(self) -> None:
        """Close the file; the application's connection stays open."""
        self._store.close()

    def __enter__(self) -> Queue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def enqueue(
        self,
        command: Command,
        *,
        id: str | None = None,
        queue: str = "default",
        priority: int = 0,
        labels: Words | None = None,
        delay: Duration | None = None,
        run_at: Moment | None = None,
        after: Words | None = None,
        after_notok: Words | None = None,
        after_any: Words | None = None,
        held: bool = False,
        unique: str | None = None,
        stdin: bytes | str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        max_retries: int | None = None,
        backoff_base: float | None = None,
        timeout: Duration | None = None,
        bury_on: str | int | None = None,
        retry_only_on: str | int | None = None,
    ) -> str:
        """Add a job and return its id.

        `command` is a shell command line, or a sequence of words (text or paths) to run as they are. The other
        arguments work like the options of `queuectl enqueue`: durations are seconds, a timedelta or text such as "5m",
        `run_at` is epoch seconds, a datetime (without a time zone, in local time) or ISO 8601, and exit codes are
        written "2,64-78". `after` lists the ids of jobs that must complete first, `after_notok` of those that must die
        or be cancelled, `after_any` of those that must finish either way. A `held` job waits until it is released.
        `cwd` defaults to the current directory, settings to the queue's configuration. If an unfinished job has the
        same `unique` key, nothing is added, and the id is that job's.

        The job is on disk when this returns or, on an application's connection, when its transaction commits.
        Raises BadInput, and Refused (DuplicateId if the id already exists). Raises DatabaseBusy too if an application's
        transaction has read something before another program wrote: roll it back and start over. BEGIN IMMEDIATE
        rules that out.
        """
        given = locals()
        fields = {field: value for field, value in given.items() if field not in ("self", "command", "cwd", "held")}
        return self._store.enqueue([new_job(_fields(command, cwd, held=held or None, **fields), time.time())])[0]

    def schedule(
        self,
        name: str,
        command: Command,
        *,
        cron: str | None = None,
        every: Duration | None = None,
        at: Moment | None = None,
        tz: str | tzinfo | None = None,
        missed: str = "once",
        overlap: str = "skip",
        jitter: Duration = 0,
        until: Moment | None = None,
        times: int | None = None,
        queue: str | None = None,
        priority: int | None = None,
        labels: Words | None = None,
        unique: str | None = None,
        stdin: bytes | str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        max_retries: int | None = None,
        backoff_base: float | None = None,
        timeout: Duration | None = None,
        bury_on: str | int | None = None,
        retry_only_on: str | int | None = None,
    ) -> float | None:
        """Run a job on a schedule; returns when it is next due (epoch seconds; None if it has ended).

        Give one of `cron` (an expression such as "30 2 * * *"), `every` (a duration) and `at` (a time; without a time
        zone, in that of `tz`). If there is a schedule of this name, it becomes what the arguments say; if it is due as
        before, its times stay. So an application can call this whenever it starts. `missed` is "once", "skip" or "all",
        `overlap` "skip", "queue" or "allow"; these, `until` and `times` are as in docs/schedules.md. The other
        arguments are those of `enqueue`. Raises BadInput.
        """
        from .schedule import plan, zones
        from .store.schedules import Wish
        from .workers.identity import machine_boot

        job = locals()
        now, tz = time.time(), None if tz is None else str(tz)  # A ZoneInfo's text is its name.
        zone = zones.zone(tz, "tz")
        for argument, value, known in (("missed", missed, plan.MISSED), ("overlap", overlap, plan.OVERLAPS)):
            if value not in known:
                raise BadInput(f"{argument}: must be one of {', '.join(known)}, not {values.quote(value)}")
        every, at, until = _plain(every), _plain(at, zone), _plain(until, zone)
        wish = Wish(
            plan.wanted(cron, every, at, now, zone),
            tz,
            _fields(command, cwd, **{field: job[field] for field in OF_A_SCHEDULE}),
            missed,
            overlap,
            values.interval(_plain(jitter), "jitter"),
            None if until is None else plan.moment(until, "until", now, zone),
            None if times is None else values.whole(times, "times", 1),
        )
        return self._store.put_schedule(values.name(name, "name"), wish, machine_boot()).next_at

    def unschedule(self, name: str) -> None:
        """Remove a schedule; its jobs stay. Raises Refused if there is none of this name."""
        self._store.remove_schedule(values.name(name, "name"))

    def get(self, id: str) -> Job:
        """The job as it is now, with times in epoch seconds. Raises Refused if there is no such job."""
        job = self._store.find(id) if isinstance(id, str) else None
        if job is None:
            raise Refused(f"no such job: {values.quote(id)}")
        return job

    def wait(self, id: str, timeout: Duration | None = None) -> Job:
        """Wait until a job is finished, or can never run because a job it depends on failed.

        Returns the job; check its `state`. Raises WaitTimedOut after `timeout` (a duration), and
        Refused inside a transaction or if there is no such job. (A connection with `autocommit=False` is always in a
        transaction: wait with `Queue(path)`.)
        """
        if self._connection is not None and self._connection.in_transaction:
            raise Refused("cannot wait inside a transaction: workers can't see the job until it commits")
        if isinstance(_plain(timeout), (int, float)):
            timeout = max(0, _plain(timeout))  # The time left until a deadline may be negative.
        deadline = None if timeout is None else time.monotonic() + values.duration(timeout, "timeout")
        while True:
            version = self._store.data_version()
            job = self.get(id)
            if job.state in FINISHED or self._store.is_stuck(job):
                return job
            while self._store.data_version() == version:
                if deadline is not None and time.monotonic() >= deadline:
                    raise WaitTimedOut(f"job {job.id} is still {job.state}")
                time.sleep(POLL)

    def cancel(self, id: str) -> Job:
        """Cancel a job. If it is running, its worker kills it soon afterward; use `wait` to wait for that.

        Returns the job as it is now. Raises Refused if there is no such job, or if it is already finished.
        """
        return self._store.cancel(self.get(id).id)

    def suspend(self, id: str) -> None:
        """Stop all processes of a running job (SIGSTOP) and its timeout, until `continue_`.

        Its worker does that a moment later. Raises Refused if there is no such job, or if it isn't running.
        """
        self._store.suspend(self.get(id).id)

    def continue_(self, id: str) -> None:
        """Let a suspended job continue. Raises Refused if there is no such job, or if it isn't suspended."""
        self._store.continue_(self.get(id).id)


# Quoted, a first word that is one of these names a program, as it does in exec.
RESERVED_WORDS = frozenset("case do done elif else esac fi for function if in select then time until while".split())


# The arguments of `enqueue` that `schedule` also takes.
OF_A_SCHEDULE = (
    *("queue", "priority", "labels", "unique", "stdin", "env", "max_retries", "backoff_base", "timeout", "bury_on"),
    "retry_only_on",
)


def _fields(command: Command, cwd: Path | None, **given: object) -> dict[str, object]:
    """The fields of a job from the arguments of `enqueue` that aren't None. Raises BadInput."""
    fields = {"unique_key" if field == "unique" else field: _plain(value) for field, value in given.items()}
    fields["command"] = command if isinstance(command, str) else _shell_line(command)
    fields["cwd"] = _directory(cwd)
    return {field: value for field, value in fields.items() if value is not None and value != []}


def _plain(value: Any, zone: Zone | None = None) -> Any:
    """A duration, a time, or a collection, as one of the command line's types: a number, text, a list or a dict.

    A time without a zone is in `zone`, or local.
    """
    if hasattr(value, "total_seconds"):
        return value.total_seconds()
    if hasattr(value, "isoformat"):
        if getattr(value, "fold", 0) and value.tzinfo is None:  # The later of two, which its text doesn't say.
            return value.timestamp() if zone is None else zone.later(value)
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return list(value)
    return value


def _shell_line(words: object) -> str:
    """A shell line that runs `words` as they are. Raises BadInput."""
    if not isinstance(words, Iterable) or isinstance(words, (bytes, bytearray)):
        raise BadInput(f"command: must be a shell line or a list of words, not {values.quote(words)}")
    import shlex

    texts = [_text(word, "command") for word in words]
    if not texts:
        raise BadInput("command: no words")
    first = texts[0]
    if first in RESERVED_WORDS or "=" in first:  # To the shell, a=b is an assignment.
        quoted = "'" + first.replace("'", "'\"'\"'") + "'"
    else:
        quoted = shlex.quote(first)
    return " ".join([quoted, *map(shlex.quote, texts[1:])])


def _directory(path: object) -> str:
    try:
        here = values.decode(os.getcwdb())
    except OSError as error:
        if path is None:
            raise BadInput(f"cwd: cannot read the working directory ({error.strerror}); give an absolute one") from None
        here = "/"
    if path is None:
        return here
    found = os.path.normpath(os.path.join(here, _text(path, "cwd")))
    if not os.path.isdir(found):
        raise BadInput(f"cwd: no such directory: {values.quote(found)}")
    return found


def _text(word: object, place: str) -> str:
    """Text, or a path as text. Raises BadInput."""
    if isinstance(word, os.PathLike):
        word = os.fspath(word)
    if not isinstance(word, (str, bytes)):
        raise BadInput(f"{place}: must be text, not {values.quote(word)}")
    return os.fsdecode(word)
