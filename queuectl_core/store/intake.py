"""Operations that add jobs to a queue: enqueue, and import from another file."""

from __future__ import annotations

import os

from .. import settings, values
from ..errors import BadInput, DuplicateId, JobRefused, QueueError, Refused
from ..jobspec import Alike, NewJob, conditions
from ..lifecycle import UNFINISHED, WAITING
from . import sql
from .roster import Roster
from .sqlite import sqlite3

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, Tuple, Union

    from ..lifecycle import Job
    from ..records import Attempt, Chunk

    Jobs = Union[Sequence[NewJob], Alike]
    Row = Tuple[Any, ...]

# What `edit` can change.
EDITABLE = (
    "queue priority command cwd env bury_on retry_only_on run_at max_retries backoff_base backoff_max"
    " backoff_jitter timeout kill_grace output_limit defer_limit"
).split()

# The parts of a NewJob: settings, which default to the configuration, and extras, which most jobs lack. Some extras
# are columns; the rest go to other tables.
_FIELDS = NewJob._fields
_SETTINGS = slice(_FIELDS.index(settings.JOB_SETTINGS[0].column), _FIELDS.index(sql.EXTRA_COLUMNS[0]))
_EXTRAS = slice(_SETTINGS.stop, len(_FIELDS))
_EXTRA_COLUMNS = slice(_SETTINGS.stop, _SETTINGS.stop + len(sql.EXTRA_COLUMNS))
_NO_SETTINGS = (None,) * len(_FIELDS[_SETTINGS])
_NO_EXTRAS = (None,) * len(_FIELDS[_EXTRAS])

# With a million jobs, one generated id in a million is taken. Ten in a row mean something else is wrong.
MOST_TRIES = 10
SMALLEST_BATCH = 20  # Jobs. The statements around a batch cost as much as counting this many.
ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Without i, l, o and u.


class Intake(Roster):
    """One open queue, with the operations that add jobs."""

    # --- enqueue --------------------------------------------------------------------------------

    def enqueue(self, jobs: Jobs) -> list[str]:
        """Add all `jobs` in one transaction, or none; returns their ids. They are on disk on return.

        Fills in what a job leaves out (id, time, settings). A job with the unique key of an unfinished job isn't
        added; that job's id is returned instead. Wakes idle workers of the jobs' queues. Raises DuplicateId for an
        id that exists, JobRefused for one in `after` that doesn't, and BadInput for what the schema rejects.
        """
        for _ in range(MOST_TRIES):
            try:
                with self._transaction():
                    ids = self._insert(jobs)
                    chosen = self._choose_for(jobs)
            except sqlite3.IntegrityError as error:
                self._refuse(jobs, error)
                continue  # A generated id was taken; generate others.
            self.check_file()  # A job in a file that was replaced meanwhile would be lost.
            self._ring(chosen)
            return ids
        raise QueueError("every generated id is taken; try again")

    def _insert(self, jobs: Jobs) -> list[str]:
        now = self._clock()
        config = self.config()
        if isinstance(jobs, Alike):
            row = _row(jobs.job, "", tuple(settings.resolve(config, jobs.job.queue).values()), now)
            fields: Row = jobs.job
            if fields[_EXTRAS] == _NO_EXTRAS:
                ids = list(_new_ids(len(jobs)))
                own = {"id": ids, "command": jobs.commands}
                columns = [own.get(name) or [value] * len(ids) for name, value in zip(sql.PLAIN_COLUMNS, row)]
                self._insert_plain(columns, _numbers(jobs))
                self._count_added(jobs.job.queue, len(jobs), now)
                return ids
        settings_of: dict[str, Row] = {}
        rows: list[Row] = []
        are_plain = True
        for job, new_id in zip(jobs, _new_ids(len(jobs))):
            queue = job.queue
            if queue not in settings_of:
                settings_of[queue] = tuple(settings.resolve(config, queue).values())
            rows.append(_row(job, new_id, settings_of[queue], now))
            fields = tuple(job)
            are_plain = are_plain and fields[_EXTRAS] == _NO_EXTRAS
        if are_plain:
            ids, added = [row[0] for row in rows], _numbers(jobs)
            self._insert_plain(list(zip(*rows)), added)
        else:
            added = {}
            ids = [self._insert_one(index, job, row, added) for index, (job, row) in enumerate(zip(jobs, rows))]
        for queue, count in added.items():
            self._count_added(queue, count, now)
        return ids

    def _insert_plain(self, columns: Sequence[Sequence[object]], numbers: dict[str, int]) -> None:
        """Insert jobs that are ready, and count them.

        `columns` are their sql.PLAIN_COLUMNS; `numbers` says how many there are in each queue.
        """
        if sum(numbers.values()) >= SMALLEST_BATCH:
            from . import batch_sql  # Deferred: a single job doesn't need it.

            if not self._one(batch_sql.HAS_OTHER_TRIGGERS):
                self._execute(batch_sql.BEGIN)
                for statement, parameters in batch_sql.inserts(columns):
                    self._connection.insert(statement, parameters)
                self._execute(batch_sql.END)
                for queue, number in numbers.items():
                    self._execute(batch_sql.COUNT, {"queue": queue, "count": number})
                return
        self._connection.insert_many(sql.ENQUEUE_PLAIN, zip(*columns))

    def _count_added(self, queue: str, count: int, now: float) -> None:
        minute = int(now) // sql.MINUTE * sql.MINUTE
        self._execute(sql.COUNT_ADDED, {"minute": minute, "queue": queue, "count": count})

    def _insert_one(self, index: int, job: NewJob, row: Row, added: dict[str, int]) -> str:
        """Insert a job that may have extras; returns its id. `row` is its row without them, `added` counts it."""
        id: str = row[0]
        fields: Row = job
        now = row[-1]
        *extras, held, run_at = fields[_EXTRA_COLUMNS]
        run_at = now if run_at is None else run_at
        row = (*row[:-3], *extras, int(bool(held)), run_at, now, now, None if held else int(run_at <= now))
        if job.unique_key:
            holder = self._holder_of(job.unique_key)
            if holder:
                self._replace(job, row, *holder)
                return holder[0]
        seq = self._connection.insert(sql.ENQUEUE, row)
        added[job.queue] = added.get(job.queue, 0) + 1
        try:
            self._add_dependencies(seq, conditions(job))
        except Refused as refusal:
            raise JobRefused(str(refusal), index) from None
        if job.stdin is not None:
            self._set_input(seq, job.stdin)
        self._add_labels(seq, job.labels or ())
        return id

    def _holder_of(self, key: str) -> tuple[str, str] | None:
        """(id, state) of the unfinished job with this unique key; None if there isn't one."""
        rows = self._rows(sql.HOLDER_OF_KEY, {"key": key})
        return rows[0] if rows else None

    def _replace(self, job: NewJob, row: Row, id: str, state: str) -> None:
        """If `job.replace` is set, give the waiting job `id` the fields of `job`."""
        if not job.replace or state not in WAITING:
            return
        old = self.exact(id)
        fields = dict(zip(_FIELDS, row))
        self._edit(old, {name: fields[name] for name in EDITABLE})
        self._set_input(old.seq, job.stdin)

    def _add_dependencies(self, seq: int, needs: Sequence[tuple[str, str]]) -> None:
        """Make a new job wait for others: pairs of an id and a condition ("ok", "notok" or "any")."""
        unneeded_by = None
        for id, condition in needs:
            needed = self.find(id)
            if needed is None:
                if not self._is_met_by_pruned(id, condition):
                    unneeded_by = id
                continue
            if needed.seq == seq:
                raise Refused(f"job {id} cannot wait for itself")
            self._execute(sql.ADD_DEPENDENCY, {"job": seq, "needs": needed.seq, "condition": condition})
        if needs:
            self._execute(sql.WAIT_FOR_DEPENDENCIES, {"job": seq})
            unneeded_by = unneeded_by or self._one(sql.UNNEEDED_BY, {"job": seq})
        if unneeded_by:
            self._cancel_unneeded(seq, unneeded_by)

    def _is_met_by_pruned(self, id: str, condition: str) -> bool:
        """Whether a job that has been deleted had ended as another one needs it. Raises Refused for any other id."""
        state = self._one(sql.PRUNED_STATE, {"id": id})
        if state is None or (condition == "ok" and state != "completed"):
            self.exact(id)  # Refuses it.
        return condition != "notok" or state != "completed"

    def _cancel_unneeded(self, seq: int, needed: str) -> list[int]:
        """Cancel a waiting job that was to run only if `needed` failed, which completed, and those that wait for it.

        Returns the `seq` of each job that it cancels.
        """
        parameters = {"now": self._clock(), "error": f"not needed: {needed} completed"}
        left, cancelled = [seq], []
        while left:
            job = left.pop()
            if self._execute(sql.CANCEL_WAITING, {**parameters, "job": job}).rowcount:
                cancelled.append(job)
                left += [waiter for (waiter,) in self._rows(sql.LEFT_WAITING, {"job": job})]
        return cancelled

    def _release_dependents(self, job: Job, is_success: bool) -> tuple[dict[str, int], list[int]]:
        """How many jobs became claimable because `job` finished, by queue.

        If it was a success, cancels those that were to run only if it failed; also returns the `seq` of each.
        """
        ended = [job.seq]
        for (waiter,) in self._rows(sql.LEFT_WAITING, {"job": job.seq}) if is_success else ():
            ended += self._cancel_unneeded(waiter, job.id)
        ready: dict[str, int] = {}
        for seq in ended:
            for queue, count in self._rows(sql.RELEASED, {"job": seq}):
                ready[queue] = ready.get(queue, 0) + count
        return ready, ended[1:]

    def _add_labels(self, seq: int, labels: Sequence[str]) -> None:
        for label in labels:
            self._execute(sql.ADD_LABEL, {"label": label, "job": seq})

    def _set_input(self, seq: int, data: bytes | None) -> None:
        self._execute(sql.DROP_INPUT, {"job": seq})
        if data is not None:
            self._execute(sql.ADD_INPUT, {"job": seq, "data": data})
        self._execute(sql.SET_INPUT_SIZE, {"job": seq, "bytes": None if data is None else len(data)})

    def _refuse(self, jobs: Jobs, error: sqlite3.IntegrityError) -> None:
        """Raise why the database rejected `jobs`. Returns only if a generated id was taken.

        Raises DuplicateId for the first job whose given id is taken, in the file or in `jobs`; otherwise BadInput.
        """
        if "queuectl_jobs.id" not in str(error):
            raise BadInput(f"rejected by the database: {error}") from None
        seen = set()
        for index, job in enumerate(jobs):
            if job.id is None:
                continue
            if job.id in seen or self.find(job.id):
                raise DuplicateId(f"job {job.id} already exists", index)
            seen.add(job.id)

    def _choose_for(self, jobs: Jobs) -> list[tuple[int, str]]:
        """Choose idle workers for new jobs, one for each."""
        return [pair for queue, count in _numbers(jobs).items() for pair in self._choose(queue, count)]

    # --- jobs from another file -----------------------------------------------------------------

    def import_job(
        self,
        job: Job,
        needs: Sequence[tuple[str, str]],
        attempts: Sequence[tuple[Attempt, Sequence[Chunk]]],
        data: bytes | None,
        labels: Sequence[str] = (),
    ) -> bool:
        """Add a job as it was in another file. If its id exists here, does nothing and returns False.

        Call it inside a transaction. `needs` are the ids that the job waits for, each with a condition, and `data` is
        its standard input. Raises Refused if an id in `needs` doesn't exist or the unique key is taken, and BadInput
        for what the schema rejects.
        """
        if self.find(job.id):
            return False
        if job.unique_key and job.state in UNFINISHED:
            holder = self._holder_of(job.unique_key)
            if holder:
                raise Refused(f"job {job.id}: job {holder[0]} has its unique key")
        row = job._asdict()
        row.update(
            command=values.storable(job.command),
            cwd=job.cwd and values.storable(job.cwd),
            held=int(bool(job.held)),
            ready=int(job.run_at <= self._clock()) if job.state in WAITING and not job.held else None,
        )
        try:
            seq = self._connection.insert(sql.IMPORT_JOB, row)
        except sqlite3.IntegrityError as error:
            raise BadInput(f"rejected by the database: {error}") from None
        for id, _ in needs:
            if not self.find(id):
                raise Refused(f"after: no such job: {values.quote(id)}")
        self._add_dependencies(seq, needs)
        if data is not None:
            self._set_input(seq, data)
        self._add_labels(seq, labels)
        for attempt, output in attempts:
            self._execute(sql.IMPORT_ATTEMPT, {"job": seq, **attempt._asdict()})
            for chunk in output:
                self._execute(sql.ADD_OUTPUT, (seq, attempt.attempt, *chunk))
        return True

    def _edit(self, job: Job, changes: dict[str, object]) -> bool:
        fields = {**{name: getattr(job, name) for name in EDITABLE}, **changes}
        for name in ("command", "cwd"):
            text = fields[name]
            if isinstance(text, str):
                fields[name] = values.storable(text)
        parameters = {**fields, "job": job.seq, "now": self._clock()}
        return self._execute(sql.EDIT, parameters).rowcount > 0


def _numbers(jobs: Jobs) -> dict[str, int]:
    """How many of these jobs are in each queue."""
    if isinstance(jobs, Alike):
        return {jobs.job.queue: len(jobs)}
    numbers: dict[str, int] = {}
    for job in jobs:
        numbers[job.queue] = numbers.get(job.queue, 0) + 1
    return numbers


def _row(job: NewJob, new_id: str, defaults: Row, now: float) -> Row:
    """The parameters of sql.ENQUEUE_PLAIN: the job's fields, with the gaps filled in, and its times."""
    fields: Row = job
    resolved = fields[_SETTINGS]
    if resolved == _NO_SETTINGS:  # The fast path: true of most jobs.
        resolved = defaults
    else:
        resolved = tuple(default if own is None else own for own, default in zip(resolved, defaults))
    id, queue, priority, command, cwd = job[:5]
    return (
        id or new_id,
        queue,
        priority,
        command if command.isascii() else values.storable(command),
        cwd if cwd is None or cwd.isascii() else values.storable(cwd),
        *resolved,
        now,
        now,
        now,
    )


def _new_ids(count: int) -> Iterator[str]:
    """Generate `count` consecutive ids, starting at a random one.

    Random, so jobs from two machines can be merged. Consecutive within a batch, so the index of ids grows in one
    place; with ten million jobs, inserting at random places is many times slower.
    """
    number = int.from_bytes(os.urandom(5), "big")
    done = 0
    while done < count:
        # 1,024 consecutive ids differ only in their last two characters.
        stem = "".join(ID_ALPHABET[number >> shift & 31] for shift in (35, 30, 25, 20, 15, 10))
        for last in range(number & 1023, min(1024, (number & 1023) + count - done)):
            yield stem + ID_ALPHABET[last >> 5] + ID_ALPHABET[last & 31]
            done += 1
        number = ((number | 1023) + 1) % 2**40
