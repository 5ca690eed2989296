"""The Store: opens and migrates the file; one method per verb, one short transaction each.

Assumes a local disk: WAL needs shared memory. Every write is a BEGIN IMMEDIATE: a read that becomes
a write later would fail at once, whatever the patience. A connection never crosses a fork: close the
store before forking, open another one after.

`synchronous` is FULL where somebody is told that it is done (durable=True: what was committed
survives a power cut) and NORMAL in workers: there a power cut can undo the end of a job, which then
runs again.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Sequence

from . import settings, sql, values
from .errors import BadInput, DatabaseBusy, DatabaseFull, DatabaseUnusable, DuplicateId, Refused
from .jobspec import NewJob
from .lifecycle import FINISHED, STATES, TRANSITIONS, WAITING, Job, Outcome, Verdict

# Works beside the clock of `time`; both are injected for tests.
Clock = Callable[[], float]

Worker = namedtuple("Worker", sql.WORKER_COLUMNS.replace(" ", "").split(","))
Attempt = namedtuple(
    "Attempt", "attempt worker started_at finished_at outcome exit_code error dropped pid birth"
)
# What a worker gets when it asks for work: a job or None; what is wanted of it ("run", "stop",
# "stop-now", or None: its row is gone, it has been taken for dead); when the next job is due.
Claim = namedtuple("Claim", "job wanted next_due")

# One piece of output: its position, its stream (1 stdout, 2 stderr), the bytes.
Chunk = tuple  # of int, int, bytes

PATIENCE = 60.0  # seconds that a command waits for a write lock
LONGEST_NAP = 0.02
ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Without i, l, o and u.
ID_LENGTH = 8


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


class Store:
    """One open database. Not for use by several threads or across a fork."""

    # Where SQLite is older than 3.35 a claim is a SELECT and an UPDATE in the same transaction.
    has_returning = sqlite3.sqlite_version_info >= (3, 35)

    def __init__(
        self,
        path: str,
        clock: Clock = time.time,
        durable: bool = True,
        patience: float = PATIENCE,
    ) -> None:
        """Open the queue in the file `path`, which is made where it is missing.

        Raises DatabaseUnusable, with words, when it cannot be used; it is never made anew then.
        """
        self.path = os.path.abspath(path)
        self._clock = clock
        self._patience = patience
        _make_file(self.path)
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None, timeout=0)
        except sqlite3.Error as error:
            raise _translated(error, self.path) from None
        try:
            # Bytes that are no UTF-8 can come in by foreign SQL: no text may break a reader.
            self._db.text_factory = values.decode
            self._execute("PRAGMA synchronous = %s" % ("FULL" if durable else "NORMAL"))
            self._migrate()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def __enter__(self) -> Store:
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
            except sqlite3.Error as error:
                problem = _translated(error, self.path)
                if not isinstance(problem, DatabaseBusy) or self._db.in_transaction:
                    raise problem from None
                now = time.monotonic()
                began = began or now
                if now - began > self._patience:
                    raise problem from None
            # Our own naps: SQLite's grow with the time waited, so that the oldest waiter loses.
            nap = min(LONGEST_NAP, 2 * nap + 0.0005)
            time.sleep(nap * (0.5 + os.urandom(1)[0] / 512))

    def _rows(self, statement: str, parameters: object = ()) -> list:
        return self._execute(statement, parameters).fetchall()

    def _one(self, statement: str, parameters: object = ()):
        rows = self._rows(statement, parameters)
        return rows[0][0] if rows else None

    def _transaction(self) -> _Transaction:
        return _Transaction(self)

    def data_version(self) -> int:
        """A number that changes when another connection has committed something. Cheap."""
        return self._one("PRAGMA data_version")

    def bound_wal(self) -> None:
        """Let the WAL shrink back after a burst; for the long-lived connections of workers."""
        self._execute("PRAGMA journal_size_limit = %d" % (16 * 1024 * 1024))

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
            # Looked at again under the lock: ten processes may open a new file at once.
            for version in range(self._version() + 1, sql.SCHEMA_VERSION + 1):
                for statement in sql.MIGRATIONS[version]:
                    self._execute(statement)
                self._execute(sql.SET_META, {"key": "schema", "value": version})
        self._refuse_newer()

    def _refuse_newer(self) -> None:
        if self._version() > sql.SCHEMA_VERSION:
            raise DatabaseUnusable(
                "%s: made by a newer queuectl (schema %d; this one knows %d): use that one"
                % (self.path, self._version(), sql.SCHEMA_VERSION)
            )

    # --- enqueue --------------------------------------------------------------------------------

    def enqueue(self, jobs: Sequence[NewJob]) -> list[str]:
        """Add all `jobs` in one transaction, or none; returns their ids, on disk by then.

        What a job leaves open (id, time, settings) is filled in. Raises DuplicateId for an id that
        exists. Idle workers of the jobs' queues are woken.
        """
        while True:
            try:
                with self._transaction():
                    ids = self._insert(jobs)
                    woken = self._choose_idle(jobs)
            except _MadeUpIdTaken:
                continue
            self._ring(woken)
            return ids

    def _insert(self, jobs: Sequence[NewJob]) -> list[str]:
        now = self._clock()
        config = self.config()
        settings_of: dict[str, tuple] = {}
        rows = []
        for job, made_up in zip(jobs, _made_up_ids(len(jobs))):
            queue = job.queue
            if queue not in settings_of:
                settings_of[queue] = tuple(settings.resolve(config, queue).values())
            rows.append(_row(job, made_up, settings_of[queue], now))
        try:
            self._db.executemany(sql.ENQUEUE, rows)
        except sqlite3.IntegrityError as error:
            self._refuse(jobs)
            if "queuectl_jobs.id" in str(error):
                raise _MadeUpIdTaken from None
            raise BadInput("refused by the database: %s" % error) from None
        return [row[0] for row in rows]

    def _refuse(self, jobs: Sequence[NewJob]) -> None:
        """Raise DuplicateId for the first job whose given id is taken, in the file or in `jobs`."""
        # Rows of this statement that went in before the failing one are still there.
        self._execute("ROLLBACK")
        self._execute("BEGIN IMMEDIATE")
        seen = set()
        for job in jobs:
            if job.id is None:
                continue
            if job.id in seen or self.find(job.id):
                raise DuplicateId("job %s exists already" % job.id, job.id)
            seen.add(job.id)

    def _choose_idle(self, jobs: Iterable[NewJob]) -> list[tuple[int, str]]:
        """Mark as woken as many idle workers as there are new jobs: (worker, queue) for each."""
        counts: dict[str, int] = {}
        for job in jobs:
            counts[job.queue] = counts.get(job.queue, 0) + 1
        return [pair for queue, count in counts.items() for pair in self._choose(queue, count)]

    def _choose(self, queue: str, count: int) -> list[tuple[int, str]]:
        chosen = self._rows(sql.WAKE, {"queue": queue, "count": count})
        for (worker,) in chosen:
            self._execute(sql.SET_IDLE, {"id": worker, "idle": 0})
        return [(worker, queue) for (worker,) in chosen]

    def _ring(self, chosen: list[tuple[int, str]]) -> None:
        """Wake the chosen workers, once what they are to see is committed."""
        if not chosen:
            return
        from .bell import ring

        while chosen:
            deaf = [queue for worker, queue in chosen if not ring(self.path, worker)]
            chosen = []
            for queue in deaf:  # Dead, or too old to hear: somebody else may be idle.
                with self._transaction():
                    chosen += self._choose(queue, 1)

    # --- the worker's verbs ---------------------------------------------------------------------

    def claim(self, worker: int, queues: str | None, idle: bool = False) -> Claim:
        """Take the best job that is ready; without one, note the worker as idle.

        `queues` is a comma-separated list, or None for all. An `idle` worker looks before it locks.
        """
        if idle and not self._is_worth_locking(queues):
            return Claim(None, self._one(sql.WANTED, {"id": worker}), self._one(sql.NEXT_DUE))
        with self._transaction():
            return self._claim(worker, queues, idle)

    def _is_worth_locking(self, queues: str | None) -> bool:
        due = self._one(sql.NEXT_DUE)
        if due is not None and due <= self._clock():
            return True
        return self._one(sql.CLAIMABLE, {"queues": queues}) is not None

    def _claim(self, worker: int, queues: str | None, idle: bool) -> Claim:
        wanted = self._one(sql.WANTED, {"id": worker})
        if wanted != "run":
            return Claim(None, wanted, None)
        now = self._clock()
        next_due = self._one(sql.NEXT_DUE)
        if next_due is not None and next_due <= now:
            self._execute(sql.PROMOTE, {"now": now})
            next_due = self._one(sql.NEXT_DUE)
        job = self._take(worker, queues, now)
        if job:
            attempt = {"job": job.seq, "attempt": job.last_attempt, "worker": worker, "now": now}
            self._execute(sql.BEGIN_ATTEMPT, attempt)
        if idle == (job is not None):
            self._execute(sql.SET_IDLE, {"id": worker, "idle": int(job is None)})
        return Claim(job, wanted, next_due)

    def _take(self, worker: int, queues: str | None, now: float) -> Job | None:
        parameters = {"worker": worker, "queues": queues, "now": now}
        if self.has_returning:
            rows = self._rows(sql.CLAIM_RETURNING, parameters)
            return _job(rows[0]) if rows else None
        parameters["seq"] = self._one(sql.CLAIMABLE, {"queues": queues})
        if parameters["seq"] is None:
            return None
        del parameters["queues"]
        self._execute(sql.CLAIM_SEQ, parameters)
        return self._find(sql.JOB_BY_SEQ, parameters["seq"])

    def settle(
        self,
        job: Job,
        outcome: Outcome,
        verdict: Verdict,
        fresh: Iterable[Chunk] = (),
        stale: Iterable[int] = (),
        dropped: int = 0,
        claim_for: str | None = "",
    ) -> tuple[bool, Claim | None]:
        """Write how the attempt ended and what becomes of the job, and claim the next one with it.

        The owner is `job.worker` in its attempt `job.last_attempt`: where the job is no longer
        theirs, nothing is written and False is returned. `claim_for` is the worker's queues as in
        `claim`, or "" to claim nothing.
        """
        claim = None
        with self._transaction():
            settled = self._settle(job, outcome, verdict, dropped)
            if settled:
                self._write_output(job, fresh, stale)
            if claim_for != "":
                claim = self._claim(job.worker, claim_for, idle=False)
            # A job that is ready again is somebody else's to take, unless it was just claimed.
            again = settled and claim is None and verdict.run_at is not None
            chosen = self._choose(job.queue, 1) if again else []
        self._ring(chosen)
        return settled, claim

    def _settle(self, job: Job, outcome: Outcome, verdict: Verdict, dropped: int) -> bool:
        now = self._clock()
        state = TRANSITIONS[verdict.move].to_state
        owner = {"job": job.seq, "attempt": job.last_attempt, "worker": job.worker, "now": now}
        how = {"exit_code": verdict.exit_code, "error": verdict.error}
        changed = self._execute(
            sql.SETTLE,
            {
                **owner,
                **how,
                "state": state,
                "ready": int(verdict.run_at <= now) if state in WAITING else None,
                "run_at": verdict.run_at,
                "finished_at": now if state in FINISHED else None,
                "refund": int(verdict.move == "release"),
            },
        ).rowcount
        if not changed:
            return False
        self._execute(
            sql.END_ATTEMPT, {**owner, **how, "outcome": outcome.kind, "dropped": dropped}
        )
        return True

    def _write_output(self, job: Job, fresh: Iterable[Chunk], stale: Iterable[int]) -> None:
        for position in stale:
            self._execute(sql.DROP_OUTPUT, (job.seq, job.last_attempt, position))
        for position, stream, data in fresh:
            self._execute(sql.ADD_OUTPUT, (job.seq, job.last_attempt, position, stream, data))

    def record(
        self,
        job: Job,
        fresh: Iterable[Chunk],
        stale: Iterable[int],
        pid: int | None = None,
        birth: str | None = None,
    ) -> None:
        """While an attempt runs: keep its output so far and, once, who its command is."""
        owner = {"job": job.seq, "attempt": job.last_attempt, "worker": job.worker}
        with self._transaction():
            if self._one(sql.HOLDS, owner) is None:
                return  # Not ours any more.
            if pid is not None:
                self._execute(sql.IDENTIFY_ATTEMPT, {**owner, "pid": pid, "birth": birth})
            self._write_output(job, fresh, stale)

    def asked(self, job: Job) -> str | None:
        """What is asked of the worker that runs `job`, the strongest first.

        "evicted" (the job is no longer its own), "cancelled", "stop-now", "stop", or "run".
        """
        owner = {"job": job.seq, "attempt": job.last_attempt, "worker": job.worker}
        cancel = self._one(sql.HOLDS, owner)
        if cancel is None:
            return "evicted"
        if cancel:
            return "cancelled"
        return self._one(sql.WANTED, {"id": job.worker}) or "evicted"

    def is_drained(self, queues: str | None) -> bool:
        """Whether no job of `queues` runs or can run any more."""
        return self._one(sql.LEFT_TO_DO, {"queues": queues}) is None

    def has_buried_since(self, moment: float, queues: str | None) -> bool:
        """Whether a job of `queues` went to the DLQ since `moment` (epoch seconds)."""
        return self._one(sql.DIED_SINCE, {"since": moment, "queues": queues}) is not None

    # --- workers --------------------------------------------------------------------------------

    def register(
        self,
        role: str,
        supervisor: int | None,
        pid: int,
        boot: str,
        birth: str,
        queues: str | None,
        version: str,
    ) -> int:
        """Add the row of a worker or a supervisor; returns its id, which is never reused."""
        with self._transaction():
            cursor = self._execute(
                sql.REGISTER,
                {
                    "role": role,
                    "supervisor": supervisor,
                    "pid": pid,
                    "boot": boot,
                    "birth": birth,
                    "queues": queues,
                    "version": version,
                    "now": self._clock(),
                },
            )
            return cursor.lastrowid or 0

    def unregister(self, worker: int) -> None:
        """Remove a worker's row; it holds no job by then."""
        with self._transaction():
            self._execute(sql.UNREGISTER, {"id": worker})

    def workers(self) -> list[Worker]:
        """All rows, of workers and supervisors, dead ones too: identity is not looked at here."""
        return [Worker(*row) for row in self._rows(sql.WORKERS)]

    def wanted(self, worker: int) -> str | None:
        """What is wanted of a worker; None when it has no row."""
        return self._one(sql.WANTED, {"id": worker})

    def want(self, workers: Iterable[int], wanted: str) -> list[int]:
        """Ask workers to "stop" or "stop-now"; returns those that were not asked for it before."""
        with self._transaction():
            return [
                worker
                for worker in workers
                if self._execute(sql.WANT, {"id": worker, "wanted": wanted}).rowcount
            ]

    def held_by(self, worker: int) -> list[Job]:
        """The jobs that a worker holds in `processing`: one at most, unless rows were forged."""
        return [_job(row) for row in self._rows(sql.HELD_BY, {"worker": worker})]

    def holders(self) -> list[int]:
        """The ids of the workers that hold a job."""
        return [row[0] for row in self._rows(sql.HOLDERS)]

    def command_of(self, job: Job) -> tuple[int | None, str | None]:
        """(PID, birth) of the command of the job's latest attempt, where they were recorded."""
        attempts = self.attempts(job)
        return (attempts[-1].pid, attempts[-1].birth) if attempts else (None, None)

    def token(self, job: Job) -> str:
        """The mark of the job's present attempt in the environment of its processes."""
        return "%s.%d.%d" % (self._one(sql.META, {"key": "file"}), job.seq, job.last_attempt)

    # --- acting ---------------------------------------------------------------------------------

    def cancel(self, id: str) -> Job:
        """Cancel a job: one that waits is cancelled, of one that runs it is wanted from now on.

        Returns the job as it is then. Raises Refused when there is none or it is finished.
        """
        with self._transaction():
            job = self.get(id)
            parameters = {"job": job.seq, "now": self._clock()}
            if not self._execute(sql.CANCEL_WAITING, parameters).rowcount:
                if not self._execute(sql.WANT_CANCEL, parameters).rowcount:
                    raise Refused("job %s is %s already" % (id, job.state))
            job = self.get(id)
        if job.worker is not None:
            from .bell import ring

            ring(self.path, job.worker)
        return job

    def revive(self, id: str, only_dead: bool = False) -> None:
        """Run a job again from its first attempt. Raises Refused where that cannot be.

        `only_dead` is for the DLQ: any other job is refused.
        """
        with self._transaction():
            job = self.get(id)
            if only_dead and job.state != "dead":
                raise Refused("job %s is not in the DLQ: it is %s" % (id, job.state))
            if not self._execute(sql.REVIVE, {"job": job.seq, "now": self._clock()}).rowcount:
                raise Refused("job %s is %s: it needs no retry" % (id, job.state))
            chosen = self._choose(job.queue, 1)
        self._ring(chosen)

    def dead_ids(self, queue: str | None = None) -> list[str]:
        """The ids of the jobs in the DLQ, oldest first."""
        return [id for id, its_queue in self._rows(sql.DEAD) if queue in (None, its_queue)]

    # --- looking --------------------------------------------------------------------------------

    def find(self, id: str) -> Job | None:
        """The job of this id, or None."""
        return self._find(sql.JOB_BY_ID, id)

    def get(self, id: str) -> Job:
        """The job of this id. Raises Refused when there is none."""
        job = self.find(id)
        if job is None:
            raise Refused("no such job: %s" % values.quote(id))
        return job

    def _find(self, statement: str, key: object) -> Job | None:
        rows = self._rows(statement, (key,))
        return _job(rows[0]) if rows else None

    def list(
        self, states: Sequence[str] = (), queue: str | None = None, limit: int | None = None
    ) -> Iterator[Job]:
        """Jobs, newest first; all states and queues unless some are named."""
        conditions = []
        parameters: dict[str, object] = {"limit": -1 if limit is None else limit, "queue": queue}
        if states:
            names = {"state%d" % number: state for number, state in enumerate(states)}
            parameters.update(names)
            conditions.append(sql.LIST_STATES % ", ".join(":" + name for name in names))
            if "pending" not in states:
                conditions.append(sql.LIST_INDEXED)
        if queue is not None:
            conditions.append(sql.LIST_QUEUE)
        where = "WHERE " + " AND ".join(conditions) if conditions else ""
        return map(_job, self._execute(sql.LIST % where, parameters))

    def counts(self) -> dict[str, dict[str, int]]:
        """For each queue that was ever used, how many jobs are in each state."""
        return {row[0]: dict(zip(STATES, row[1:])) for row in self._rows(sql.COUNTS)}

    def running(self) -> dict[int, tuple[str, float]]:
        """For each worker that holds a job: the job's id and when the attempt started."""
        return {worker: (id, started) for worker, id, started in self._rows(sql.RUNNING)}

    def attempts(self, job: Job) -> list[Attempt]:
        """The history of a job, oldest attempt first."""
        return [Attempt(*row) for row in self._rows(sql.ATTEMPTS, {"job": job.seq})]

    def output(self, job: Job, attempt: int, position: int = 0) -> Iterator[Chunk]:
        """The chunks (position, stream, data) of an attempt's output from `position` on."""
        return iter(
            self._execute(
                sql.OUTPUT, {"job": job.seq, "attempt": attempt, "position": position}
            )
        )

    def snapshot(self) -> _Transaction:
        """A `with` block in which all reads see the same moment."""
        return _Transaction(self, "DEFERRED")

    # --- configuration --------------------------------------------------------------------------

    def config(self) -> dict[str, int | float | str]:
        """What has been set, by canonical key."""
        return dict(self._rows(sql.CONFIG))

    def set_config(self, key: str, value: int | float | str) -> None:
        """Set a canonical key to a value that `settings.parse` made."""
        with self._transaction():
            self._execute(sql.CONFIG_SET, {"key": key, "value": value})

    def unset_config(self, key: str) -> bool:
        """Go back to the default of a canonical key; False when it was not set."""
        with self._transaction():
            return self._execute(sql.CONFIG_UNSET, {"key": key}).rowcount > 0


class _MadeUpIdTaken(Exception):
    """A made-up id exists already: make up another."""


class _Transaction:
    """BEGIN, then COMMIT or, on any exception, ROLLBACK."""

    def __init__(self, store: Store, kind: str = "IMMEDIATE") -> None:
        self._store = store
        self._kind = kind

    def __enter__(self) -> None:
        self._store._execute("BEGIN " + self._kind)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        store = self._store
        try:
            if kind is None:
                store._execute("COMMIT")
        finally:
            if store._db.in_transaction:
                store._db.execute("ROLLBACK")


def _row(job: NewJob, made_up: str, defaults: tuple, now: float) -> tuple:
    """The parameters of sql.ENQUEUE: NewJob's fields completed, then the time."""
    id, queue, priority, command, cwd, env, run_at, *given = job
    return (
        id or made_up,
        queue,
        priority,
        values.storable(command),
        cwd and values.storable(cwd),
        env,
        run_at,
        *[default if value is None else value for value, default in zip(given, defaults)],
        now,
    )


def _made_up_ids(count: int) -> Iterator[str]:
    """`count` ids that follow one another from a random one.

    Random, so that two machines' jobs can be put together; in sequence within a batch, so that
    the index of ids grows at one place (at ten million jobs, random places are many times slower).
    """
    number = int.from_bytes(os.urandom(5), "big")
    for offset in range(count):
        rest, letters = (number + offset) % 2**40, []
        for _ in range(ID_LENGTH):
            rest, digit = divmod(rest, 32)
            letters.append(ID_ALPHABET[digit])
        yield "".join(reversed(letters))


def _job(row: tuple) -> Job:
    job = Job(*row)
    if isinstance(job.command, bytes) or isinstance(job.cwd, bytes):
        job = job._replace(command=_text(job.command), cwd=_text(job.cwd))
    return job


def _text(value: str | bytes | None) -> str | None:
    return values.decode(value) if isinstance(value, bytes) else value


def _make_file(path: str) -> None:
    """Make the file, for its owner only, and its folder where that is missing too."""
    try:
        if os.path.exists(path):
            return
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        # Before SQLite has opened it: closing a descriptor of the file later would drop its locks.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        pass  # Somebody else was first.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DatabaseUnusable("%s: cannot be made: %s" % (path, reason)) from None


# What SQLite says, and what that means to a user. (Error codes came with Python 3.11.)
_MEANINGS = (
    ("locked", DatabaseBusy, "another program keeps it locked; try again when that is done"),
    ("locking protocol", DatabaseBusy, "another program keeps it locked; try again"),
    ("disk is full", DatabaseFull, "the disk is full; nothing was changed"),
    ("disk I/O error", DatabaseFull, "the disk cannot be read or written"),
    ("not a database", DatabaseUnusable, "is not a SQLite database; give another --db FILE"),
    ("malformed", DatabaseUnusable, "the database is damaged; restore a backup"),
    ("readonly", DatabaseUnusable, "cannot be written: check its permissions and its folder's"),
    ("unable to open", DatabaseUnusable, "cannot be opened: check its permissions and its folder's"),
)


def _translated(error: sqlite3.Error, path: str) -> DatabaseUnusable:
    told = str(error)
    for words, kind, meaning in _MEANINGS:
        if words in told:
            return kind("%s: %s" % (path, meaning))
    return DatabaseUnusable("%s: %s" % (path, told))
