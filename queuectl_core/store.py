"""The Store: one method per verb, one short transaction each.

`synchronous` is FULL where somebody is told that it is done (durable=True: what was committed
survives a power cut) and NORMAL in workers: there a power cut can undo the end of a job, which then
runs again.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter, namedtuple
from collections.abc import Callable, Iterable, Iterator, Sequence

from . import settings, sql, values
from .database import PATIENCE, Database, translated
from .errors import BadInput, DatabaseUnusable, DuplicateId, JobRefused, Refused
from .jobspec import NewJob
from .lifecycle import FINISHED, STATES, TRANSITIONS, UNFINISHED, WAITING, Job, Outcome, Verdict

Worker = namedtuple(
    "Worker", "id role supervisor pid boot birth queues wanted idle version started_at"
)
Attempt = namedtuple(
    "Attempt", "attempt worker started_at finished_at outcome exit_code error dropped pid birth"
)
# What a worker gets when it asks for work: a job or None; what is wanted of it ("run", "stop",
# "stop-now", or None: its row is gone, it has been taken for dead); when the next job is due.
# Last, the configuration of that moment.
Claim = namedtuple("Claim", "job wanted next_due config")

Config = dict  # of canonical key to int, float or str
# One piece of output: its position, its stream (1 stdout, 2 stderr), the bytes.
Chunk = tuple  # of int, int, bytes

# What may be changed of a job that waits.
EDITABLE = (
    "queue priority command cwd env bury_on retry_only_on run_at max_retries backoff_base backoff_max"
    " timeout kill_grace output_limit defer_limit"
).split()
# Where a NewJob has the settings that the configuration completes.
SETTINGS_FIELDS = slice(
    NewJob._fields.index(settings.JOB_SETTINGS[0].column),
    NewJob._fields.index(settings.JOB_SETTINGS[-1].column) + 1,
)
NO_SETTINGS = (None,) * len(settings.JOB_SETTINGS)
# What most jobs have none of: the columns behind these, and what goes into other tables.
EXTRA_COLUMNS = slice(SETTINGS_FIELDS.stop, NewJob._fields.index("run_at") + 1)
EXTRAS = slice(SETTINGS_FIELDS.stop, len(NewJob._fields))
NO_EXTRAS = (None,) * len(NewJob._fields[EXTRAS])

FEW = 10_000  # So many pending jobs are looked up one by one; of more, the newest are soon found.
RETENTION_BITE = 1000  # jobs
ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Without i, l, o and u.


class Store(Database):
    """One open queue. Not for use by several threads or across a fork (see Database)."""

    # Where SQLite is older than 3.35 a claim is a SELECT and an UPDATE in the same transaction.
    has_returning = sqlite3.sqlite_version_info >= (3, 35)

    def __init__(
        self,
        path: str,
        clock: Callable[[], float] = time.time,
        durable: bool = True,
        patience: float = PATIENCE,
        must_exist: bool = False,
    ) -> None:
        """Open the queue in the file `path`; see Database. `clock` tells epoch seconds."""
        super().__init__(path, durable, patience, must_exist)
        self._clock = clock
        self._file_token: str | None = None

    # --- enqueue --------------------------------------------------------------------------------

    def enqueue(self, jobs: Sequence[NewJob]) -> list[str]:
        """Add all `jobs` in one transaction, or none; returns their ids, on disk by then.

        What a job leaves open (id, time, settings) is filled in. A job whose unique key an
        unfinished job has already is not added: that one's id is returned in its place. Raises
        DuplicateId for an id that exists, JobRefused for one in `after` that does not. Idle workers
        of the jobs' queues are woken.
        """
        while True:
            try:
                with self._transaction():
                    ids = self._insert(jobs)
                    woken = self._choose_idle(jobs)
            except sqlite3.IntegrityError as error:
                self._refuse(jobs, error)
                continue  # A made-up id was taken: others are made up.
            self._ring(woken)
            return ids

    def _insert(self, jobs: Sequence[NewJob]) -> list[str]:
        now = self._clock()
        config = self.config()
        settings_of: dict[str, tuple] = {}
        rows = []
        are_plain = True
        for job, made_up in zip(jobs, _made_up_ids(len(jobs))):
            queue = job.queue
            if queue not in settings_of:
                settings_of[queue] = tuple(settings.resolve(config, queue).values())
            rows.append(_row(job, made_up, settings_of[queue], now))
            are_plain = are_plain and job[EXTRAS] == NO_EXTRAS
        try:
            if are_plain:
                self._db.executemany(sql.ENQUEUE_PLAIN, rows)
            else:
                rows = [(*row[:-1], *job[EXTRA_COLUMNS], now) for job, row in zip(jobs, rows)]
                return [self._insert_one(index, job, row) for index, (job, row) in enumerate(zip(jobs, rows))]
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:  # Not by _execute: a full disk, in the midst of a batch.
            raise translated(error, self.path) from None
        return [row[0] for row in rows]

    def _insert_one(self, index: int, job: NewJob, row: tuple) -> str:
        """Insert a job that has more to it than its row; returns its id."""
        if job.unique_key:
            holder = self._rows(sql.HOLDER_OF_KEY, {"key": job.unique_key})
            if holder:
                return self._keep_or_replace(job, row, *holder[0])
        seq: int = self._db.execute(sql.ENQUEUE, row).lastrowid  # type: ignore[assignment]
        try:
            self._add_dependencies(seq, job.after or ())
        except Refused as refusal:
            raise JobRefused(str(refusal), index) from None
        if job.stdin is not None:
            self._set_input(seq, job.stdin)
        return row[0]

    def _add_dependencies(self, seq: int, ids: Sequence[str]) -> None:
        for id in ids:
            needed = self.get(id)
            if needed.seq == seq:
                raise Refused("job %s cannot wait for itself" % id)
            self._execute(sql.ADD_DEPENDENCY, {"job": seq, "needs": needed.seq})
        if ids:
            self._execute(sql.WAIT_FOR_THEM, {"job": seq})

    def _keep_or_replace(self, job: NewJob, row: tuple, id: str, state: str) -> str:
        if job.replace and state in WAITING:
            old = self.get(id)
            fields = dict(zip(NewJob._fields, row))
            fields["run_at"] = fields["run_at"] or self._clock()
            self._edit(old, {name: fields[name] for name in EDITABLE})
            self._set_input(old.seq, job.stdin)
        return id

    def _set_input(self, seq: int, data: bytes | None) -> None:
        self._execute(sql.DROP_INPUT, {"job": seq})
        if data is not None:
            self._execute(sql.ADD_INPUT, {"job": seq, "data": data})
        self._execute(sql.NOTE_INPUT, {"job": seq, "bytes": None if data is None else len(data)})

    def _refuse(self, jobs: Sequence[NewJob], error: sqlite3.IntegrityError) -> None:
        """Say why the database refused `jobs`; returns only where it refused an id that we made up.

        Raises DuplicateId for the first job whose given id is taken, in the file or in `jobs`.
        """
        if "queuectl_jobs.id" not in str(error):
            raise BadInput("refused by the database: %s" % error) from None
        seen = set()
        for index, job in enumerate(jobs):
            if job.id is None:
                continue
            if job.id in seen or self.find(job.id):
                raise DuplicateId("job %s exists already" % job.id, index)
            seen.add(job.id)

    def restore(
        self,
        job: Job,
        needs: Sequence[str],
        attempts: Sequence[tuple[Attempt, Sequence[Chunk]]],
        data: bytes | None,
    ) -> bool:
        """Add a job as it was in another file; False, and nothing is done, where its id is here already.

        For the inside of a transaction of the caller's. `needs` are the ids that it waits for, `data` is
        its standard input. Raises Refused or BadInput.
        """
        if self.find(job.id):
            return False
        if job.unique_key and job.state in UNFINISHED:
            holder = self._rows(sql.HOLDER_OF_KEY, {"key": job.unique_key})
            if holder:
                raise Refused("job %s: job %s has its unique key" % (job.id, holder[0][0]))
        row = job._asdict()
        row.update(
            command=values.storable(job.command),
            cwd=job.cwd and values.storable(job.cwd),
            ready=int(job.run_at <= self._clock()) if job.state in WAITING else None,
        )
        try:
            seq: int = self._db.execute(sql.RESTORE, row).lastrowid  # type: ignore[assignment]
        except sqlite3.IntegrityError as error:
            raise BadInput("refused by the database: %s" % error) from None
        except sqlite3.Error as error:
            raise translated(error, self.path) from None
        for id in needs:
            if not self.find(id):
                raise Refused("after: no such job: %s" % values.quote(id))
        self._add_dependencies(seq, needs)
        if data is not None:
            self._set_input(seq, data)
        for attempt, output in attempts:
            self._execute(sql.RESTORE_ATTEMPT, {"job": seq, **attempt._asdict()})
            for chunk in output:
                self._execute(sql.ADD_OUTPUT, (seq, attempt.attempt, *chunk))
        return True

    def _choose_idle(self, jobs: Iterable[NewJob]) -> list[tuple[int, str]]:
        """Mark as woken as many idle workers as there are new jobs: (worker, queue) for each."""
        counts = Counter([job.queue for job in jobs])
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
                try:
                    with self._transaction():
                        chosen += self._choose(queue, 1)
                except DatabaseUnusable:
                    return  # What this is about is committed: it must not look as if it were not.

    # --- the worker's verbs ---------------------------------------------------------------------

    def claim(self, worker: int, queues: str | None, idle: bool = False) -> Claim:
        """Take the best job that is ready; without one, note the worker as idle.

        `queues` is a comma-separated list, or None for all. An `idle` worker looks before it locks.
        """
        if idle and not self._is_worth_locking(queues):
            return Claim(None, self.wanted(worker), self._next_due(), {})
        with self._transaction():
            return self._claim(worker, queues, idle, self.config())

    def _is_worth_locking(self, queues: str | None) -> bool:
        now = self._clock()
        due = self._one(sql.NEXT_DUE)
        if due is not None and due <= now:
            return True
        return self._one(sql.CLAIMABLE, {"queues": queues, "now": now}) is not None

    def _claim(self, worker: int, queues: str | None, idle: bool, config: Config) -> Claim:
        rows = self._rows(sql.WANTED_AND_DUE, {"id": worker})
        wanted, next_due = rows[0] if rows else (None, None)
        if wanted != "run":
            return Claim(None, wanted, None, {})
        now = self._clock()
        if next_due is not None and next_due <= now:
            self._execute(sql.PROMOTE, {"now": now})
        job = self._take(worker, queues, now)
        if job:
            attempt = {"job": job.seq, "attempt": job.last_attempt, "worker": worker, "now": now}
            self._execute(sql.BEGIN_ATTEMPT, attempt)
            if job.queue + ".rate" in config:
                self._execute(sql.COUNT_START, {"queue": job.queue, "now": now})
        if idle == (job is not None):
            self._execute(sql.SET_IDLE, {"id": worker, "idle": int(job is None)})
        return Claim(job, wanted, None if job else self._next_due(), config)

    def _next_due(self) -> float | None:
        """When something may become claimable by time alone."""
        due = self._one(sql.NEXT_DUE)
        start = self._one(sql.NEXT_START, {"now": self._clock()})
        return min(time for time in (due, start) if time) if due or start else None

    def _take(self, worker: int, queues: str | None, now: float) -> Job | None:
        parameters = {"worker": worker, "queues": queues, "now": now}
        if self.has_returning:
            rows = self._rows(sql.CLAIM_RETURNING, parameters)
            return _job(rows[0]) if rows else None
        seq = self._one(sql.CLAIMABLE, {"queues": queues, "now": now})
        if seq is None:
            return None
        self._execute(sql.CLAIM_SEQ, {"worker": worker, "seq": seq, "now": now})
        return self._find(sql.JOB_BY_SEQ, seq)

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
            config = self.config()
            settled = self._settle(job, outcome, verdict, dropped)
            if settled:
                self._write_output(job, fresh, stale)
            if claim_for != "":
                claim = self._claim(job.worker, claim_for, False, config)
            chosen = self._wake_others(job, verdict, claim, config) if settled else []
        self._ring(chosen)
        return settled, claim

    def _wake_others(
        self, job: Job, verdict: Verdict, claim: Claim | None, config: Config
    ) -> list[tuple[int, str]]:
        """Choose idle workers for what this settlement made claimable, beyond the next claim."""
        ready = {}
        if verdict.move == "succeed" and self._one(sql.HAS_DEPENDENTS, {"job": job.seq}):
            ready = dict(self._rows(sql.RELEASED, {"job": job.seq}))
        if verdict.run_at is not None or job.queue + ".limit" in config:
            ready[job.queue] = ready.get(job.queue, 0) + 1
        if claim and claim.job:
            ready[claim.job.queue] = ready.get(claim.job.queue, 0) - 1
        return [
            pair for queue, count in ready.items() if count > 0 for pair in self._choose(queue, count)
        ]

    def _settle(self, job: Job, outcome: Outcome, verdict: Verdict, dropped: int) -> bool:
        now = max(self._clock(), job.started_at)  # A clock that was set back: no negative duration.
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
                "refund": int(verdict.move in ("release", "defer")),
                "deferral": int(verdict.move == "defer"),
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

    def note(self, job: Job, error: str) -> None:
        """Say of an attempt that it cannot be settled yet, and why; it is the job's error until it is."""
        owner = {"job": job.seq, "attempt": job.last_attempt, "worker": job.worker}
        with self._transaction():
            self._execute(sql.NOTE, {**owner, "error": error, "now": self._clock()})

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
        named = {"queues": queues}
        return self._one(sql.LEFT_TO_DO, named) is None and (
            queues is None or self._one(sql.LEFT_TO_WAIT_FOR, named) is None
        )

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

    def renew(self, worker: int, version: str) -> None:
        """Note that this process runs other code from now on."""
        with self._transaction():
            self._execute(sql.RENEW, {"id": worker, "version": version, "now": self._clock()})

    def unregister(self, worker: int) -> None:
        """Remove a worker's row; it holds no job by then."""
        with self._transaction():
            self._execute(sql.UNREGISTER, {"id": worker})

    def workers(self) -> list[Worker]:
        """All rows, of workers and supervisors, dead ones too: identity is not looked at here."""
        return [Worker(*row) for row in self._rows(sql.WORKERS)]

    def elders(self, worker: int | None) -> list[Worker]:
        """Rows of workers that take the same queues as this one and are older, the oldest first."""
        return [Worker(*row) for row in self._rows(sql.ELDERS, {"id": worker})]

    def lookout(self, worker: int, queues: str | None) -> tuple[bool, bool]:
        """Of an idle worker: (whether it is the youngest of its queues, whether its row says idle).

        The youngest one polls for all of them. A row that does not say idle means that somebody is
        about to ring, or died before.
        """
        youngest, is_noted = self._rows(sql.LOOKOUT, {"id": worker, "queues": queues})[0]
        return youngest is None or youngest <= worker, bool(is_noted)

    def hand_over(self, worker: int, queues: str | None) -> None:
        """Wake the next lookout, if `worker`, which is idle no more, was it."""
        from .bell import ring

        for (idle,) in self._rows(sql.IDLE, {"queues": queues}):
            if idle > worker or ring(self.path, idle):
                return

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

    def input(self, job: Job) -> bytes | None:
        """What the job is to read on its standard input; None: nothing."""
        return None if job.stdin is None else self._one(sql.INPUT, {"job": job.seq})

    def needs(self, job: Job) -> list[tuple[str, str, int]]:
        """The jobs that `job` was told to wait for: (id, state, whether that is met)."""
        return self._rows(sql.NEEDS, {"job": job.seq})

    def token(self, job: Job) -> str:
        """The mark of the job's present attempt in the environment of its processes."""
        if self._file_token is None:
            self._file_token = self._one(sql.META, {"key": "file"})
        return "%s.%d.%d" % (self._file_token, job.seq, job.last_attempt)

    # --- acting ---------------------------------------------------------------------------------

    def cancel(self, id: str) -> Job:
        """Cancel a job: one that waits is cancelled; one that runs is ended by its worker soon.

        Returns the job as it is then. Raises Refused when there is none or it is finished.
        """
        with self._transaction():
            job = self.get(id)
            parameters = {"job": job.seq, "now": self._clock()}
            if not self._execute(sql.CANCEL_WAITING, parameters).rowcount:
                if not self._execute(sql.WANT_CANCEL, parameters).rowcount:
                    raise Refused("job %s is %s already" % (job.id, job.state))
            job = self.get(job.id)
        if job.worker is not None:
            from .bell import ring

            ring(self.path, job.worker)
        return job

    def retain(self) -> None:
        """Prune a bite of what `keep-completed` and `keep-dead` do not keep."""
        config = self.config()
        for state in ("completed", "dead"):
            age = config.get("keep-" + state, "forever")
            if age == "forever":
                continue
            before = self._clock() - age
            if self.prune(state, before, limit=1, dry_run=True):  # Look before the lock.
                self.prune(state, before, limit=RETENTION_BITE)

    def edit(self, id: str, changes: dict[str, object]) -> str:
        """Change a job that waits: `changes` by column (see EDITABLE); returns its id.

        Raises Refused for a job that does not wait.
        """
        with self._transaction():
            job = self.get(id)
            if not self._edit(job, changes):
                raise Refused("job %s is %s: only a job that waits can be changed" % (job.id, job.state))
            chosen = self._choose(self.get(job.id).queue, 1)
        self._ring(chosen)
        return job.id

    def _edit(self, job: Job, changes: dict[str, object]) -> bool:
        fields = {**{name: getattr(job, name) for name in EDITABLE}, **changes}
        for name in ("command", "cwd"):
            if isinstance(fields[name], str):
                fields[name] = values.storable(fields[name])
        parameters = {**fields, "job": job.seq, "now": self._clock()}
        return self._execute(sql.EDIT, parameters).rowcount > 0

    def revive(self, id: str, only_dead: bool = False) -> str:
        """Run a job again from its first attempt; returns its id. Raises Refused where that cannot be.

        `only_dead` is for the DLQ: any other job is refused.
        """
        with self._transaction():
            job = self.get(id)
            if only_dead and job.state != "dead":
                raise Refused("job %s is not in the DLQ: it is %s" % (job.id, job.state))
            if job.unique_key and job.state in FINISHED:
                holder = self._rows(sql.HOLDER_OF_KEY, {"key": job.unique_key})
                if holder:
                    raise Refused("job %s: job %s has its unique key now" % (job.id, holder[0][0]))
            if not self._execute(sql.REVIVE, {"job": job.seq, "now": self._clock()}).rowcount:
                raise Refused("job %s is %s: it needs no retry" % (job.id, job.state))
            chosen = self._choose(job.queue, 1)
        self._ring(chosen)
        return job.id

    def purge(self, id: str, dry_run: bool = False) -> str:
        """Delete a job in the DLQ for good; returns its id. Raises Refused for any other.

        With `dry_run`, only say what would become of it.
        """
        with self._transaction():
            job = self.get(id)
            if job.state != "dead":
                raise Refused("job %s is not in the DLQ: it is %s" % (job.id, job.state))
            if self._one(sql.IS_WAITED_FOR, {"job": job.seq}):
                raise Refused("other jobs wait for job %s: cancel these first" % job.id)
            if not dry_run:
                self._execute(sql.DELETE, {"job": job.seq})
        return job.id

    def prune(
        self,
        state: str,
        before: float,
        queue: str | None = None,
        limit: int = -1,
        dry_run: bool = False,
    ) -> list[str]:
        """Delete finished jobs of `state` that ended before `before` (epoch seconds), oldest first.

        At most `limit` (-1: all); returns their ids. One that others wait for is kept.
        """
        found = {"state": state, "before": before, "queue": queue, "limit": limit}
        if dry_run:
            return [id for id, _ in self._rows(sql.PRUNABLE, found)]
        with self._transaction():
            rows = self._rows(sql.PRUNABLE, found)
            for _, seq in rows:
                self._execute(sql.DELETE, {"job": seq})
        return [id for id, _ in rows]

    def dead_ids(self, queue: str | None = None) -> list[str]:
        """The ids of the jobs in the DLQ, oldest first."""
        return [id for id, its_queue in self._rows(sql.DEAD) if queue in (None, its_queue)]

    def pause(self, queue: str | None) -> bool:
        """Start no more jobs of a queue, or (None) of any; False when it was so already."""
        with self._transaction():
            if queue is None:
                return self._execute(sql.PAUSE_ALL).rowcount > 0
            self._execute(sql.KNOW_QUEUE, {"queue": queue})
            return self._execute(sql.PAUSE, {"queue": queue, "paused": 1}).rowcount > 0

    def resume(self, queue: str | None) -> bool:
        """Undo `pause` of a queue, or (None) every pause; False when there was none."""
        with self._transaction():
            changed = self._execute(sql.PAUSE, {"queue": queue, "paused": 0}).rowcount
            if queue is None:
                changed += self._execute(sql.RESUME_ALL).rowcount
            idle = [row.id for row in self.workers() if row.idle]
            for worker in idle:
                self._execute(sql.SET_IDLE, {"id": worker, "idle": 0})
        self._ring([(worker, queue or "") for worker in idle])
        return changed > 0

    def paused(self) -> list[str | None]:
        """The queues that are paused; None stands for the pause of all."""
        everything = [None] if self._one(sql.META, {"key": "paused"}) else []
        return everything + [row[0] for row in self._rows(sql.PAUSED)]

    # --- looking --------------------------------------------------------------------------------

    def find(self, id: str) -> Job | None:
        """The job of exactly this id, or None."""
        return self._find(sql.JOB_BY_ID, id)

    def get(self, id: str) -> Job:
        """The job of this id, or of the one id that starts so. Raises Refused when there is none."""
        job = self.find(id)
        if job is None:
            matches = self._rows(sql.JOBS_BY_PREFIX, {"prefix": id}) if id else []
            if not matches:
                raise Refused("no such job: %s" % values.quote(id))
            if len(matches) > 1:
                raise Refused(
                    "%s is not enough: several ids start so, %s and %s among them"
                    % (values.quote(id), matches[0][0], matches[1][0])
                )
            job = self.find(matches[0][0])
            assert job
        return job

    def get_many(self, ids: Sequence[str]) -> list[Job]:
        """The jobs of exactly these ids, in no order; ids without a job are left out."""
        found = []
        for start in range(0, len(ids), 500):
            part = ids[start : start + 500]
            found += self._rows(sql.JOBS_BY_IDS % ", ".join("?" * len(part)), part)
        return [_job(row) for row in found]

    def _find(self, statement: str, key: object) -> Job | None:
        rows = self._rows(statement, (key,))
        return _job(rows[0]) if rows else None

    def list(
        self, states: Sequence[str] = (), queue: str | None = None, limit: int | None = None
    ) -> Iterator[tuple[Job, str | None]]:
        """(job, why it waits), newest first; all states and queues unless some are named.

        The jobs of one finished state are in the order of their ends, others in that of enqueue.
        """
        conditions = []
        parameters: dict[str, object] = {"limit": -1 if limit is None else limit, "queue": queue}
        if states:
            names = {"state%d" % number: state for number, state in enumerate(states)}
            parameters.update(names)
            conditions.append(sql.LIST_STATES % ", ".join(":" + name for name in names))
            if "pending" not in states:
                conditions.append(sql.LIST_INDEXED)
            elif len(states) == 1 and self._number_waiting() <= FEW:
                conditions.append(sql.LIST_WAITING)
        if queue is not None:
            conditions.append(sql.LIST_QUEUE)
        where = "WHERE " + " AND ".join(conditions) if conditions else ""
        by_end = len(states) == 1 and states[0] in FINISHED
        where += " " + (sql.LIST_BY_END if by_end else sql.LIST_BY_SEQ)
        return ((_job(row[:-1]), row[-1]) for row in self._each(sql.LIST % where, parameters))

    def _number_waiting(self) -> int:
        return sum(queue[state] for queue in self.counts().values() for state in WAITING)

    def reason(self, job: Job) -> str | None:
        """Why a job that waits is not running; None for one that does not wait."""
        return self._rows(sql.LIST % ("WHERE " + sql.LIST_SEQ), {"seq": job.seq, "limit": 1})[0][-1]

    def oldest_first(self) -> Iterator[Job]:
        """All jobs, in the order in which they came."""
        return map(_job, self._each(sql.OLDEST_FIRST))

    def unfinished_ids(self, queue: str | None = None) -> Sequence[str]:
        """The ids of all jobs that are not finished, oldest first."""
        return [row[0] for row in self._rows(sql.UNFINISHED_IDS, {"queue": queue})]

    def finished_since(self, moment: float) -> Sequence[Job]:
        """The jobs that ended at `moment` (epoch seconds) or later, in the order of their ends."""
        return [_job(row) for row in self._rows(sql.FINISHED_SINCE, {"since": moment})]

    def tried_since(self, moment: float) -> Sequence[Job]:
        """The jobs that run, and those whose attempt ended at `moment` (epoch seconds) or later."""
        return [_job(row) for row in self._rows(sql.TRIED_SINCE, {"since": moment})]

    def is_stuck(self, job: Job) -> bool:
        """Whether a job waits for one that is dead or cancelled, directly or through others."""
        return job.waits_for > 0 and self._one(sql.IS_STUCK, {"job": job.seq}) is not None

    def stuck(self) -> Sequence[tuple[str, str, str]]:
        """(job, the one it waits for, "dead" or "cancelled") for jobs that wait in vain."""
        return self._rows(sql.STUCK)

    def counts(self) -> dict[str, dict[str, int]]:
        """For each queue that was ever used, how many jobs are in each state."""
        return {row[0]: dict(zip(STATES, row[1:])) for row in self._rows(sql.COUNTS)}

    def running(self) -> dict[int, tuple[str, float]]:
        """For each worker that holds a job: the job's id and when the attempt started."""
        return {worker: (id, started) for worker, id, started in self._rows(sql.RUNNING)}

    def attempts(self, job: Job) -> Sequence[Attempt]:
        """The history of a job, oldest attempt first."""
        return [Attempt(*row) for row in self._rows(sql.ATTEMPTS, {"job": job.seq})]

    def output(self, job: Job, attempt: int, position: int = 0) -> Iterator[Chunk]:
        """The chunks (position, stream, data) of an attempt's output from `position` on."""
        return self._each(sql.OUTPUT, {"job": job.seq, "attempt": attempt, "position": position})

    # --- configuration --------------------------------------------------------------------------

    def config(self) -> Config:
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


def _row(job: NewJob, made_up: str, defaults: tuple, now: float) -> tuple:
    """The parameters of sql.ENQUEUE_PLAIN: NewJob's fields completed, then the time."""
    given = job[SETTINGS_FIELDS]
    if given == NO_SETTINGS:  # As of most jobs, and of all lines of most batches.
        given = defaults
    else:
        given = tuple(theirs if ours is None else ours for ours, theirs in zip(given, defaults))
    id, queue, priority, command, cwd = job[:5]
    return (
        id or made_up,
        queue,
        priority,
        command if command.isascii() else values.storable(command),
        cwd if cwd is None or cwd.isascii() else values.storable(cwd),
        *given,
        now,
    )


def _made_up_ids(count: int) -> Iterator[str]:
    """`count` ids that follow one another from a random one.

    Random, so that two machines' jobs can be put together; in sequence within a batch, so that
    the index of ids grows at one place (at ten million jobs, random places are many times slower).
    """
    number = int.from_bytes(os.urandom(5), "big")
    made = 0
    while made < count:
        # The last two letters count fastest: 1,024 ids have the others in common.
        stem = "".join(ID_ALPHABET[number >> shift & 31] for shift in (35, 30, 25, 20, 15, 10))
        for last in range(number & 1023, min(1024, (number & 1023) + count - made)):
            yield stem + ID_ALPHABET[last >> 5] + ID_ALPHABET[last & 31]
            made += 1
        number = ((number | 1023) + 1) % 2**40


def _job(row: tuple) -> Job:
    job = Job(*row)
    if isinstance(job.command, bytes) or isinstance(job.cwd, bytes):
        job = job._replace(command=_text(job.command), cwd=_text(job.cwd))
    return job


def _text(value: str | bytes | None) -> str | None:
    return values.decode(value) if isinstance(value, bytes) else value
