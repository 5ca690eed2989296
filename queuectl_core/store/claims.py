"""Operations for workers: claim a job, record its output, settle it, and find the attempts of dead workers."""

from __future__ import annotations

import os

from .. import settings
from ..errors import Refused
from ..histogram import bucket
from ..lifecycle import FINISHED, TRANSITIONS, WAITING, Job, Outcome, judge
from ..records import NO_OUTPUT, Identity, worker_from
from ..typed import NamedTuple
from . import machine, queries, sql, upkeep
from .firing import Firing
from .reader import job_from
from .sqlite import SQLITE_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..lifecycle import Verdict
    from ..records import NewOutput, Worker
    from ..settings import Config
    from .machine import Busy


# What the record calls an attempt, by what became of its job; or "lost", if its worker died and it is retried.
ENDINGS = {
    "succeed": "completed",
    "fail": "failed",
    "bury": "dead",
    "cancel": "cancelled",
    "defer": "deferred",
    "release": "released",
}
GATE_RECHECK = 1.0  # Seconds between checks of a machine that is too busy.
MINUTES_KEPT, HOURS_KEPT = 2 * 86400, 90 * 86400  # Seconds that the record keeps minutes and hours.


class Claim(NamedTuple):
    """The answer to a worker that asked for work.

    `wanted` is what it should do: "run", "stop", "stop-now", or None if its row is gone because it was taken for
    dead. Without a job, `next_due` is when one may become claimable, or a schedule is due, just because time passes
    (epoch seconds; None if unknown). With one, `config` is the configuration it was claimed under.
    """

    job: Job | None
    wanted: str | None
    next_due: float | None
    config: Config


class LostAttempt(NamedTuple):
    """An attempt whose worker is dead, with all that a rescuer needs to know.

    `job` is as the worker held it, `boot` is the boot that the worker ran in (None if its row is gone), `command`
    is the attempt's first process if it was recorded, and `runner_kill` is the queue's runner-kill or "".
    """

    job: Job
    boot: str | None
    command: Identity | None
    runner_kill: str


class Claims(Firing):
    """One open queue, with the operations for workers."""

    # Before SQLite 3.35 a claim is a SELECT and an UPDATE in the same transaction.
    has_returning = SQLITE_VERSION >= (3, 35)

    _token_of: tuple[int, int] | None = None  # The job and attempt that _token belongs to.
    _token = ""
    # Why the last settle paused the job's queue, such as "3 deaths in a row", and how many jobs wait there; or None.
    halted: tuple[str, int] | None = None

    # --- claim ----------------------------------------------------------------------------------

    def claim(self, worker: int, queues: str | None, idle: bool = False) -> Claim:
        """Take the best job that is ready; if there is none, mark the worker as idle.

        `queues` is a comma-separated list, or None for all. A worker already marked as `idle` checks for work before
        it takes the write lock.
        """
        if idle and not self._is_worth_locking(queues):
            return Claim(None, self.wanted(worker), self._next_due(queues, self.config()), {})
        with self._transaction():
            claim, added = self._claim(worker, queues, idle, self.config())
            chosen = self._choose_others(added, claim.job) if added else []
        self._ring(chosen)
        return claim

    def _is_worth_locking(self, queues: str | None) -> bool:
        now = self._clock()
        due: float | None = self._one(sql.NEXT_DUE)
        if due is not None and due <= now:
            return True
        return self._claimable(queues, now, self._busy(self.config(), now)) is not None

    def _claim(
        self, worker: int, queues: str | None, idle: bool, config: Config
    ) -> tuple[Claim, dict[str, int] | None]:
        """Claim; also returns how many jobs schedules added, by queue."""
        rows = self._rows(sql.WANTED_AND_DUE, {"id": worker})
        wanted, next_due, next_schedule = rows[0] if rows else (None, None, None)
        if wanted != "run":
            return Claim(None, wanted, None, {}), None
        now = self._clock()
        added = None
        if next_schedule is not None and next_schedule <= now:
            added = self._fire_due(now)
            now = self._clock()  # No job starts before it was added.
        if next_due is not None and next_due <= now:
            self._execute(sql.PROMOTE, {"now": now})
        job = self._take(worker, queues, now, self._busy(config, now))
        if job:
            self._token_of, self._token = (job.seq, job.last_attempt), _new_token(job)
            attempt = {"job": job.seq, "attempt": job.last_attempt, "worker": worker, "now": now}
            self._execute(sql.BEGIN_ATTEMPT, {**attempt, "token": self._token})
            if job.queue + ".limit" in config:
                job = self._give_slot(job)
            if job.queue + ".rate" in config:
                self._execute(sql.COUNT_START, {"queue": job.queue, "now": now})
        if idle == (job is not None):
            self._execute(sql.SET_IDLE, {"id": worker, "idle": int(job is None)})
        return Claim(job, wanted, None if job else self._next_due(queues, config), config), added

    def _give_slot(self, job: Job) -> Job:
        """Give a job that was just claimed the lowest free number of its queue's running jobs."""
        slot = self._one(sql.FREE_SLOT, {"queue": job.queue})
        self._execute(sql.SET_SLOT, {"job": job.seq, "slot": slot})
        return job._replace(slot=slot)

    def _next_due(self, queues: str | None, config: Config) -> float | None:
        """When a job may become claimable, or a schedule is due, just because time passes; in epoch seconds."""
        now = self._clock()
        times = [self._one(sql.NEXT_DUE), self._one(sql.NEXT_START, {"now": now})]
        if config and machine.is_gated(config) and self._claimable(queues, now, machine.UNKNOWN) is not None:
            times.append(now + GATE_RECHECK)
        return min((time for time in times if time), default=None)

    def _busy(self, config: Config, now: float) -> Busy:
        """The machine's load and free memory, if any setting depends on them."""
        if not config or not machine.is_gated(config):
            return machine.UNKNOWN
        busy = machine.busy()
        young = sum(now - machine.YOUNG < started <= now for (started,) in self._rows(sql.STARTS))
        return busy if busy.load is None else busy._replace(load=busy.load + young)

    def _claimable(self, queues: str | None, now: float, busy: Busy) -> int | None:
        """The `seq` of the best job that is ready."""
        seq: int | None = self._one(sql.CLAIMABLE, {"queues": queues, "now": now, **busy._asdict()})
        return seq

    def _take(self, worker: int, queues: str | None, now: float, busy: Busy) -> Job | None:
        if self.has_returning:
            parameters = {"worker": worker, "queues": queues, "now": now, "load": busy.load, "memory": busy.memory}
            rows = self._rows(sql.CLAIM_RETURNING, parameters)
            return job_from(rows[0]) if rows else None
        seq = self._claimable(queues, now, busy)
        if seq is None:
            return None
        self._execute(sql.CLAIM_SEQ, {"worker": worker, "seq": seq, "now": now})
        return self._find(queries.JOB_BY_SEQ, seq)

    # --- while an attempt runs ------------------------------------------------------------------

    def token(self, job: Job) -> str:
        """The token of the job's latest attempt, for the environment of its processes."""
        attempt = (job.seq, job.last_attempt)
        if self._token_of != attempt:
            stored = self._one(sql.TOKEN, {"job": job.seq, "attempt": job.last_attempt})
            # An attempt without a token was made by another program. A new token matches no process.
            self._token_of, self._token = attempt, str(stored or _new_token(job))
        return self._token

    def record(self, job: Job, output: NewOutput, command: Identity | None = None) -> None:
        """Store a running attempt's new output and, if given, which process its `command` is."""
        owner = _owner(job)
        with self._transaction():
            if self._one(sql.HOLDS, owner) is None:
                return  # The job was taken from its worker.
            if command is not None:
                self._execute(sql.IDENTIFY_ATTEMPT, {**owner, "pid": command.pid, "birth": command.birth})
            self._write_output(job, output)

    def note(self, job: Job, error: str | None) -> None:
        """Record why an attempt that should be over or suspended isn't. Until it is settled, that is its error."""
        with self._transaction():
            self._execute(sql.NOTE, {**_owner(job), "error": error, "now": self._clock()})

    def asked(self, job: Job) -> str:
        """What the worker running `job` has been asked to do.

        The strongest of "evicted" (the job was taken from it), "cancelled", "stop-now", "suspended", "stop" and "run".
        """
        rows = self._rows(sql.HOLDS, _owner(job))
        if not rows or job.worker is None:
            return "evicted"
        if rows[0][0]:
            return "cancelled"
        wanted = self.wanted(job.worker) or "evicted"
        return "suspended" if rows[0][1] and wanted in ("run", "stop") else wanted

    # --- settle ---------------------------------------------------------------------------------

    def settle(self, job: Job, outcome: Outcome, verdict: Verdict, output: NewOutput = NO_OUTPUT) -> bool:
        """Record how an attempt ended and what becomes of its job.

        The attempt's owner is `job.worker` in attempt `job.last_attempt`. If the job has been taken from it, writes
        nothing and returns False.
        """
        with self._transaction():
            ready = self._settle(job, outcome, verdict, output, self.config())
            chosen = self._choose_others(ready, None)
        self._ring(chosen)
        return ready is not None

    def settle_or_bury(self, job: Job, outcome: Outcome, verdict: Verdict, output: NewOutput = NO_OUTPUT) -> bool:
        """Settle; if the database rejects the result (another program has a trigger on the table), bury the job."""
        try:
            return self.settle(job, outcome, verdict, output)
        except Refused as error:
            outcome = Outcome("unrunnable", detail=str(error))
            return self.settle(job, outcome, judge(job, outcome, self._clock()), output)

    def settle_and_claim(
        self, job: Job, outcome: Outcome, verdict: Verdict, output: NewOutput, queues: str | None
    ) -> tuple[bool, Claim]:
        """Settle, and claim the worker's next job in the same transaction; `queues` is as in `claim`."""
        assert job.worker is not None
        with self._transaction():
            config = self.config()
            ready = self._settle(job, outcome, verdict, output, config)
            claim, added = self._claim(job.worker, queues, False, config)
            chosen = self._choose_others(ready, claim.job) + self._choose_numbers(added or {})
        self._ring(chosen)
        return ready is not None, claim

    def _settle(
        self, job: Job, outcome: Outcome, verdict: Verdict, output: NewOutput, config: Config
    ) -> dict[str, int] | None:
        """Settle, unless the job has been taken from its worker; returns None then.

        Otherwise returns how many jobs became claimable, or may have, by queue.
        """
        self.halted = None
        # The clock may have been set back, but a duration must not be negative.
        now = max(self._clock(), job.started_at or 0)
        state = TRANSITIONS[verdict.move].to_state
        owner = {**_owner(job), "now": now}
        result = {"exit_code": verdict.exit_code, "error": verdict.error}
        is_ready = verdict.run_at is not None and verdict.run_at <= now
        changed = self._execute(
            sql.SETTLE,
            {
                **owner,
                **result,
                "state": state,
                "ready": int(is_ready) if state in WAITING else None,
                "run_at": verdict.run_at,
                "finished_at": now if state in FINISHED else None,
                "refund": int(verdict.move in ("release", "defer")),
                "deferral": int(verdict.move == "defer"),
            },
        ).rowcount
        if not changed:
            return None
        end = {**owner, **result, "outcome": outcome.kind, "dropped": output.dropped}
        self._execute(sql.END_ATTEMPT, end)
        self._count(job, outcome, verdict, now)
        if verdict.move in ("succeed", "bury"):
            self._note_end(job, verdict.move == "succeed", now)
        self._write_output(job, output)
        ready: dict[str, int] = {}
        unneeded: list[int] = []
        if state in FINISHED and self._one(sql.HAS_DEPENDENTS, {"job": job.seq}):
            ready, unneeded = self._release_dependents(job, verdict.move == "succeed")
        if verdict.run_at is not None or job.queue + ".limit" in config:
            ready[job.queue] = ready.get(job.queue, 0) + 1
        if config:
            self._count_deaths(job, verdict, config)
        if config and self._trigger_hooks(job, verdict, config, now) + self._trigger_empty(unneeded, now, job.queue):
            ready[settings.HOOK_QUEUE] = ready.get(settings.HOOK_QUEUE, 0) + 1
        return ready

    def _count_deaths(self, job: Job, verdict: Verdict, config: Config) -> None:
        """Pause a queue in which as many jobs died in a row as its `halt-on-dead` says."""
        most = settings.of_queue(config, job.queue, "halt-on-dead")
        if job.queue == settings.HOOK_QUEUE:  # One broken hook must not silence the others, unless a user wants that.
            most = config.get(settings.HOOK_QUEUE + ".halt-on-dead", "none")
        if not isinstance(most, int):
            return
        if verdict.move == "succeed":
            self._execute(sql.FORGET_DEATHS, {"queue": job.queue})
        elif verdict.move == "bury":
            self._execute(sql.COUNT_DEATH, {"queue": job.queue})
            if self._execute(sql.HALT, {"queue": job.queue, "most": most}).rowcount:
                because, waiting = self._rows(sql.HALTED, {"queue": job.queue})[0]
                self.halted = str(because), waiting

    def _count(self, job: Job, outcome: Outcome, verdict: Verdict, now: float) -> None:
        """Add an attempt that ended to the record and, if it was the job's first, how long the job had waited."""
        started = job.started_at or now
        is_retried = verdict.move == "fail"
        counted = {
            "job": job.seq,
            "queue": job.queue,
            "minute": int(now) // sql.MINUTE * sql.MINUTE,
            "kind": "lost" if is_retried and outcome.kind == "lost" else ENDINGS[verdict.move],
            "bucket": bucket(now - started),
            "seconds": now - started,
        }
        if job.last_attempt != 1 or outcome.kind == "unrunnable":  # Its times may be garbage.
            self._execute(sql.COUNT_ATTEMPT, counted)
            return
        wait = max(started - max(job.run_at, job.created_at), 0.0)
        self._execute(sql.COUNT_FIRST_ATTEMPT, {**counted, "wait": wait, "wait_bucket": bucket(wait)})

    def roll_up(self) -> bool:
        """Move a bounded part of what is old in the record to wider tiers: one period each, in one transaction.

        Returns whether there was anything to move.
        """
        moved = False
        for tier, wider, kept in ((sql.MINUTE, sql.HOUR, MINUTES_KEPT), (sql.HOUR, sql.DAY, HOURS_KEPT)):
            if self._oldest_period(tier, wider, kept) is None:  # Look before taking the lock.
                continue
            with self._transaction():
                # Read again: another worker may have moved it. Without a period, nothing matches.
                period = {"tier": tier, "wider": wider, "start": self._oldest_period(tier, wider, kept)}
                self._execute(upkeep.ROLL_UP, period)
                self._execute(upkeep.DROP_ROLLED_UP, period)
            moved = True
        return moved

    def _oldest_period(self, tier: int, wider: int, kept: float) -> int | None:
        """The start of the oldest period of the tier `wider` that must leave `tier`; None if there is none."""
        oldest: float | None = self._one(upkeep.OLDEST_IN_TIER, {"tier": tier})
        if oldest is None or oldest // wider * wider + wider > self._clock() - kept:
            return None
        return int(oldest // wider * wider)

    def _write_output(self, job: Job, output: NewOutput) -> None:
        for position in output.stale:
            self._execute(sql.DROP_OUTPUT, (job.seq, job.last_attempt, position))
        for position, stream, data in output.fresh:
            self._execute(sql.ADD_OUTPUT, (job.seq, job.last_attempt, position, stream, data))

    def _choose_others(self, ready: dict[str, int] | None, next_job: Job | None) -> list[tuple[int, str]]:
        """Choose idle workers for the jobs that a settle made claimable, other than `next_job`."""
        ready = ready or {}
        if next_job:
            ready[next_job.queue] = ready.get(next_job.queue, 0) - 1
        return [
            pair for queue, count in ready.items() if count > 0 for pair in self._choose(queue, count)
        ]

    # --- rescue ---------------------------------------------------------------------------------

    def holders(self) -> list[tuple[int, Worker | None]]:
        """(id, row) of each worker that holds a job; a worker without a row is gone."""
        return [
            (row[0], None if row[1] is None else worker_from(row[1:])) for row in self._rows(upkeep.HOLDERS)
        ]

    def lost_attempts(self, workers: Sequence[int]) -> list[LostAttempt]:
        """The attempts of these dead workers: at most one each, unless another program edited the rows."""
        return [
            LostAttempt(
                job_from(job),
                boot,
                None if birth is None else Identity(pid, boot or "", birth),
                str(runner_kill),
            )
            for worker in workers
            for boot, pid, birth, runner_kill, *job in self._rows(upkeep.LOST_ATTEMPTS, {"worker": worker})
        ]


def _new_token(job: Job) -> str:
    """A token for the job's latest attempt. Random, since other files have the same numbers, and this one may reuse
    them once jobs have been deleted."""
    return f"{os.urandom(8).hex()}.{job.seq}.{job.last_attempt}"


def _owner(job: Job) -> dict[str, object]:
    """What guards every write to an attempt: the job, the attempt, and the worker that holds it."""
    return {"job": job.seq, "attempt": job.last_attempt, "worker": job.worker}
