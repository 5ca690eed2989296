"""All queries about a queue. Nothing here writes."""

from __future__ import annotations

import time

from .. import values
from ..errors import Refused
from ..lifecycle import STATES, Job
from . import queries, sql
from .database import Database

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from ..histogram import Events
    from ..records import Attempt, Chunk, Counts, Failure, Lane, Needs, Running, Worker
    from ..settings import Config

LAST_TIME = 253402300800.0  # The year 10000, which no job reaches.
LAST_SEQ = 2**63 - 1


class Reader(Database):
    """One open queue, read-only."""

    # Whether the file doesn't exist: see unused.py.
    is_unused = False

    def __init__(self, path: str, *, clock: Callable[[], float] = time.time, **options: Any) -> None:
        """Open the queue file as Database does, with its `options`. `clock` returns epoch seconds."""
        self._clock = clock
        super().__init__(path, **options)

    # --- jobs -----------------------------------------------------------------------------------

    def find(self, id: str) -> Job | None:
        """The job with exactly this id, or None."""
        return self._find(queries.JOB_BY_ID, id)

    def exact(self, id: str) -> Job:
        """The job with exactly this id, for changing it. Raises Refused if there is none.

        A prefix won't do: once job1 is pruned, "job1" must not mean job10.
        """
        job = self.find(id)
        if job is None:
            matches = self._rows(queries.JOBS_BY_PREFIX, {"prefix": id}) if id else []
            hint = f"; changing a job takes its whole id, such as {matches[0][0]}" if matches else self._other_hint(id)
            raise Refused(f"no such job: {values.quote(id)}{hint}")
        return job

    def get(self, id: str) -> Job:
        """The job with this id, or the only one whose id starts with it. Raises Refused if there isn't exactly one."""
        job = self.find(id)
        if job is None:
            matches = self._rows(queries.JOBS_BY_PREFIX, {"prefix": id}) if id else []
            if not matches:
                raise Refused(f"no such job: {values.quote(id)}{self._other_hint(id)}")
            if len(matches) > 1:
                ids = [match[0] for match in matches]
                choices = f"{ids[0]} or {ids[1]}" if len(ids) == 2 else f"{ids[0]}, {ids[1]} or another"
                raise Refused(f"{values.quote(id)} is ambiguous: it could be {choices}")
            job = self.find(matches[0][0])
            assert job
        return job

    def _other_hint(self, id: str) -> str:
        """A hint for the message about an unknown job, if a schedule has this name."""
        if self._one(queries.IS_SCHEDULE, {"name": values.storable(id)}) is None:
            return ""
        from ..suggestion import shell_line  # Deferred: needed only for errors.

        line = shell_line(["queuectl", "list", "--schedule", id])
        return f"; it is a schedule; to list its jobs, run: {line}"

    def get_many(self, ids: Sequence[str]) -> list[Job]:
        """The jobs with exactly these ids, in no particular order; unknown ids are skipped."""
        rows: list[Any] = []
        for start in range(0, len(ids), 500):
            part = ids[start : start + 500]
            rows += self._rows(queries.JOBS_BY_IDS % ", ".join("?" * len(part)), part)
        return [job_from(row) for row in rows]

    def _find(self, statement: str, key: object) -> Job | None:
        rows = self._rows(statement, (key,))
        return job_from(rows[0]) if rows else None

    def listed(self, clause: str, parameters: Mapping[str, object]) -> Iterator[tuple[Job, str | None]]:
        """(job, why it waits or None) for the jobs that a clause of search.py finds."""
        known: dict[str, str] = {}  # Measured once.
        rows = self._connection.each(queries.LIST % clause, parameters)
        return ((job_from(row[:-1]), _with_figures(row[-1], known)) for row in rows)

    def nth_newest(self, count: int, before: int | None = None) -> int | None:
        """The `seq` of the count-th newest job, or of those below the seq `before`; None if there are fewer."""
        limits = {"count": count, "before": LAST_SEQ if before is None else before}
        seq: int | None = self._one(queries.NTH_NEWEST, limits)
        return seq

    def nth_finished(self, state: str, count: int, until: float | None) -> float | None:
        """When the latest job in a finished state ended that `count` others ended after; None if there are fewer.

        Only jobs that ended at `until` (epoch seconds) or before count.
        """
        latest = LAST_TIME if until is None else until
        moment: float | None = self._one(queries.NTH_FINISHED, {"state": state, "count": count, "until": latest})
        return moment

    def reason(self, job: Job) -> str | None:
        """Why a waiting job isn't running, or "suspended"; None otherwise."""
        listed = self.listed("WHERE " + queries.LIST_SEQ, {"seq": job.seq, "limit": 1})
        return next(listed)[1]

    def oldest_first(self) -> Iterator[Job]:
        """All jobs, in the order they were enqueued."""
        return map(job_from, self._connection.each(queries.OLDEST_FIRST))

    def unfinished_ids(self, queue: str | None = None, labels: Sequence[str] = ()) -> Sequence[str]:
        """The ids of all unfinished jobs, or those of a queue or with all these labels, oldest first."""
        return [row[0] for row in self._rows(queries.UNFINISHED_IDS, queries.selection(queue, labels))]

    def running_ids(
        self, queue: str | None = None, labels: Sequence[str] = (), suspended: bool = False
    ) -> Sequence[str]:
        """The ids of running jobs that are suspended, or aren't; of a queue or with all these labels, oldest first."""
        selected = {**queries.selection(queue, labels), "suspend": int(suspended)}
        return [row[0] for row in self._rows(queries.RUNNING_IDS, selected)]

    def waiting_ids(self, queue: str | None = None, labels: Sequence[str] = (), held: bool = False) -> Sequence[str]:
        """The ids of the waiting jobs that are held, or aren't; of a queue or with all these labels, oldest first."""
        selected = {**queries.selection(queue, labels), "held": int(held)}
        return [row[0] for row in self._rows(queries.WAITING_IDS, selected)]

    def unsuccessful_ids(self, queue: str | None = None, labels: Sequence[str] = ()) -> Sequence[str]:
        """The ids of jobs that failed, died or were cancelled; of a queue or with all these labels, oldest first."""
        return [row[0] for row in self._rows(queries.UNSUCCESSFUL_IDS, queries.selection(queue, labels))]

    def dead_ids(self, queue: str | None = None, labels: Sequence[str] = ()) -> Sequence[str]:
        """The ids of the jobs in the DLQ, or those of a queue or with all these labels, oldest first."""
        rows = self._rows(queries.DEAD, queries.selection(queue, labels))
        return [id for id, job_queue in rows if queue in (None, job_queue)]

    def labels_of(self, job: Job) -> list[str]:
        """The labels of a job."""
        return [row[0] for row in self._rows(queries.LABELS, {"job": job.seq})]

    def has_labels(self) -> bool:
        """Whether any job has a label."""
        return self._one(queries.ANY_LABEL) is not None

    def has_schedules(self) -> bool:
        """Whether there is any schedule."""
        return self._one(queries.ANY_SCHEDULE) is not None

    def finished_since(self, moment: float) -> Sequence[Job]:
        """The jobs that finished at `moment` (epoch seconds) or later, in that order."""
        return [job_from(row) for row in self._rows(queries.FINISHED_SINCE, {"since": moment})]

    def tried_since(self, moment: float) -> Sequence[Job]:
        """The jobs that are running, or had an attempt end at `moment` (epoch seconds) or later."""
        return [job_from(row) for row in self._rows(queries.TRIED_SINCE, {"since": moment})]

    def failed_since(self, moment: float) -> tuple[int, int]:
        """How many jobs died since `moment` (epoch seconds), and how many failed then and wait for their retry.

        Reads at most 10,000 of each.
        """
        (row,) = self._rows(queries.FAILED_SINCE, {"since": moment})
        return row[0], row[1]

    def has_buried_since(self, moment: float, queues: str | None) -> bool:
        """Whether a job of `queues` (None: any) entered the DLQ since `moment` (epoch seconds)."""
        return self._one(sql.DIED_SINCE, {"since": moment, "queues": queues}) is not None

    def is_drained(self, queues: str | None) -> bool:
        """Whether no job of `queues` (None: all) is running or could still run."""
        named = {"queues": queues}
        return self._one(sql.LEFT_TO_DO, named) is None and (
            queues is None or self._one(sql.LEFT_TO_WAIT_FOR, named) is None
        )

    # --- what belongs to a job ------------------------------------------------------------------

    def needs(self, job: Job) -> Needs:
        """The jobs that `job` was enqueued to wait for: (id, state, whether it has ended as needed, the condition)."""
        return self._rows(sql.NEEDS, {"job": job.seq})

    def waiters(self, job: Job) -> list[str]:
        """The ids of the jobs that wait for `job` itself."""
        return [row[0] for row in self._rows(queries.WAITERS, {"job": job.seq})]

    def is_stuck(self, job: Job) -> bool:
        """Whether a job waits for one that is dead or cancelled, directly or through others."""
        return job.waits_for > 0 and self._one(queries.IS_STUCK, {"job": job.seq}) is not None

    def all_stuck(self) -> set[int]:
        """The `seq` of each job that waits for one that is dead or cancelled, directly or through others."""
        return {seq for (seq,) in self._rows(queries.ALL_STUCK)}

    def dependents(self, job: Job) -> set[str]:
        """The ids of all pending jobs that wait for `job`, directly or through others."""
        return {row[0] for row in self._rows(queries.DEPENDENTS, {"job": job.seq})}

    def running_with(self, id: str, token: str) -> Job | None:
        """The job with this id, if it is running and this is the token of its attempt."""
        job = self.find(id)
        if job is None or job.state != "processing":
            return None
        return job if self._one(sql.TOKEN, {"job": job.seq, "attempt": job.last_attempt}) == token else None

    def stuck(self) -> Sequence[tuple[str, str, str]]:
        """(id, id of a job it waits for, "dead" or "cancelled") for jobs that can't run."""
        return self._rows(queries.STUCK)

    def attempts(self, job: Job) -> Sequence[Attempt]:
        """The history of a job, oldest attempt first."""
        from ..records import attempt_from  # Deferred: enqueue doesn't need records.

        return [attempt_from(row) for row in self._rows(queries.ATTEMPTS, {"job": job.seq})]

    def last_attempts(self, jobs: Sequence[Job]) -> dict[int, Attempt]:
        """The last attempt of each job that has run, by the job's seq."""
        from ..records import attempt_from

        rows: list[Any] = []
        for start in range(0, len(jobs), 500):
            part = [job.seq for job in jobs[start : start + 500]]
            rows += self._rows(queries.LAST_ATTEMPTS % ", ".join("?" * len(part)), part)
        return {seq: attempt_from(row) for seq, *row in rows}

    def output(self, job: Job, attempt: int, position: int = 0) -> Iterator[Chunk]:
        """The chunks (position, stream, data) of an attempt's output, starting at `position`."""
        at = {"job": job.seq, "attempt": attempt, "position": position}
        return self._connection.each(queries.OUTPUT, at)

    def recent_output(self, job: Job, attempt: int, position: int, most: int) -> Sequence[Chunk]:
        """The same, but only the last `most` bytes or so."""
        at = {"job": job.seq, "attempt": attempt, "position": position, "most": most}
        return self._rows(queries.RECENT_OUTPUT, at)

    def output_end(self, job: Job, attempt: int, most: int) -> Sequence[Chunk]:
        """The chunks of the last `most` bytes of an attempt's output, in order."""
        chunks: list[Chunk] = []
        size = 0
        at = {"job": job.seq, "attempt": attempt, "most": most}
        for position, stream, data in self._connection.each(queries.OUTPUT_BACKWARDS, at):
            rest = most - size
            chunks.append((position + max(0, len(data) - rest), stream, data[-rest:]))
            size += len(data)
            if size >= most:
                break
        return chunks[::-1]

    def input(self, job: Job) -> bytes | None:
        """The job's standard input; None if it has none."""
        data: bytes | None = None if job.stdin is None else self._one(sql.INPUT, {"job": job.seq})
        return data

    def miscounts(self) -> list[str]:
        """What disagrees with the rows that it was derived from, one line each. Reads all jobs."""
        from . import upkeep  # Deferred: few commands need it.

        queues = [row[0] for row in self._rows(upkeep.MISCOUNTED_QUEUES)]
        found = [f"queue {values.escape(queue)} has wrong counts" for queue in queues]
        for fault, (count, _) in upkeep.REPAIRS.items():
            number = self._one(count)
            if number:
                found.append(f"{fault} ({number} time{'' if number == 1 else 's'})")
        return found

    # --- for views ------------------------------------------------------------------------------

    def recorded(self, since: float, until: float, step: int) -> Iterator[tuple[int, str, str, int, int, float]]:
        """(start, queue, kind, bucket, count, seconds): the record of a time (epoch seconds), summed up in steps.

        `step` is in seconds; `start` is a multiple of it. See sql.py for kinds and histogram.py for buckets.
        """
        from ..histogram import event_from, is_event  # Deferred: most commands don't need it.

        for start, *event in self._connection.each(queries.RECORD, {"since": since, "until": until, "step": step}):
            if isinstance(start, int) and is_event(event):
                yield (start, *event_from(event))

    def recorded_ever(self) -> Iterator[Events]:
        """(queue, kind, bucket, count, seconds): all of the record, summed up. Reads all of it."""
        from ..histogram import event_from, is_event

        return map(event_from, filter(is_event, self._connection.each(queries.RECORD_EVER)))

    def oldest_ready(self, queue: str) -> float | None:
        """When the longest-waiting job of a queue became ready (epoch seconds); None if none is ready."""
        moment = self._one(queries.OLDEST_READY, {"queue": queue})
        return moment if isinstance(moment, (int, float)) else None

    def oldest_due(self, now: float) -> dict[str, float]:
        """By queue: since when a job is due (epoch seconds) that no worker has made ready. Bounded."""
        rows = self._rows(queries.OLDEST_DUE, {"now": now})
        return {queue: moment for queue, moment in rows if isinstance(moment, (int, float))}

    def run_times(self, limit: int) -> Iterator[tuple[str | bytes, float]]:
        """(command, seconds) of the newest `limit` jobs that completed."""
        return self._connection.each(queries.RUN_TIMES, {"limit": limit})

    def lanes(self, since: float, until: float, limit: int) -> Sequence[Lane]:
        """The attempts that ran between two moments, by worker; of each state, those of the newest `limit` jobs."""
        return self._rows(queries.LANES, {"since": since, "until": until, "limit": limit})

    def failed_attempts(self, since: float, queues: Sequence[str], limit: int) -> Iterator[Failure]:
        """Attempts that failed since a moment (epoch seconds), newest first; without `queues`, in all queues."""
        named = {f"queue{number}": queue for number, queue in enumerate(queues)}
        condition = queries.LIST_QUEUES % ", ".join(f":{name}" for name in named) if queues else "1"
        rows = self._connection.each(queries.FAILED_ATTEMPTS % condition, {**named, "since": since, "limit": limit})
        return map(failure_from, rows)

    def last_failures(self) -> Iterator[Failure]:
        """The last attempt of every dead job, oldest job first."""
        return map(failure_from, self._connection.each(queries.LAST_FAILURES))

    # --- queues and workers ---------------------------------------------------------------------

    def counts(self) -> Counts:
        """For each queue that was ever used, how many jobs are in each state."""
        return {row[0]: dict(zip(STATES, row[1:])) for row in self._rows(queries.COUNTS)}

    def held(self) -> dict[str, int]:
        """How many jobs are held in each queue that has any."""
        return dict(self._rows(queries.HELD))

    def paused(self) -> Sequence[str | None]:
        """The paused queues; None among them means all queues."""
        pause_of_all = [None] if self._one(sql.META, {"key": "paused"}) else []
        return pause_of_all + [row[0] for row in self._rows(sql.PAUSED)]

    def pauses(self) -> dict[str, str | None]:
        """By paused queue: why it paused itself, or None if a user paused it."""
        return dict(self._rows(sql.PAUSED))

    def gates(self) -> dict[str, list[str]]:
        """By queue ("": all): its max-load and min-free-memory, with the current value if the machine is too busy."""
        found: dict[str, list[str]] = {}
        for key, value in self.config().items():
            queue, _, name = key.rpartition(".")
            if name in sql.GATES and value != "none":
                found.setdefault(queue, []).append(_with_figures(f"{name} {value}", {}) or "")
        return found

    def workers(self) -> list[Worker]:
        """The rows of all workers and supervisors, including dead ones."""
        from ..records import worker_from

        return [worker_from(row) for row in self._rows(sql.WORKERS)]

    def running(self) -> Running:
        """For each worker that holds a job: the job's id and when the attempt started."""
        return {worker: (id, started) for worker, id, started in self._rows(queries.RUNNING)}

    def config(self) -> Config:
        """The keys that are set, in canonical spelling, with their values."""
        return dict(self._rows(sql.CONFIG))


def _with_figures(reason: str | None, known: dict[str, str]) -> str | None:
    """A reason, with the current load or memory if it is about these; `known` has those of other rows."""
    if not reason or not reason.startswith(sql.GATES):
        return reason
    from . import machine  # Deferred: few jobs wait for the machine.

    return known.get(reason) or known.setdefault(reason, machine.explained(reason))


def failure_from(row: Sequence[Any]) -> Failure:
    """A Failure from its columns, whatever another program stored in them."""
    from ..records import Failure

    id, queue, code, error, at, is_dead, tail = row
    is_code, is_time = isinstance(code, int), isinstance(at, (int, float))
    error = None if error is None else str(error)
    return Failure(id, queue, code if is_code else None, error, at if is_time else 0.0, bool(is_dead), tail or b"")


def job_from(row: Sequence[Any]) -> Job:
    """A Job from its columns. Bytes that aren't UTF-8 become lone surrogates."""
    if bytes in map(type, row):  # A command that isn't UTF-8, or what another program stored.
        row = [values.decode(value) if isinstance(value, bytes) else value for value in row]
    return Job(*row)
