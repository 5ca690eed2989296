"""Fires schedules: adds a job for each time that is due.

Any worker does it, inside the transaction of its claim. One transaction marks a time as handled, adds its job and
stores when the next one is due, so each time gets exactly one job, with any number of workers, whichever is killed.
`schedule/plan.py` decides what to do; this module reads and writes.

    claim: WANTED_AND_DUE says that a schedule is due → DUE → decide → add jobs, ADVANCE → take a job → commit

An invalid row, stored by another program, is paused and says why. It never ends a worker.
"""

from __future__ import annotations

from math import floor

from ..errors import BadInput, DatabaseUnusable, QueueError
from ..jobspec import schedule_of
from ..lifecycle import FINISHED
from ..typed import NamedTuple
from ..values import storable
from . import schedule_sql, sql
from .hooks import Hooks
from .intake import MOST_TRIES
from .sqlite import sqlite3

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..lifecycle import Job
    from ..schedule.plan import Plan

REBOOT = "@reboot"  # As in schedule/cron.py, which only workers load.
# Why a schedule's last job keeps the next one from being added, by its state.
STILL = {"pending": "is still waiting", "processing": "is still running", "failed": "is still waiting to be retried"}


class Row(NamedTuple):
    """A row of queuectl_schedules; see schema.py. Another program may have stored anything."""

    seq: int
    name: str
    kind: str
    expression: str
    anchor: float
    tz: str | None
    template: str
    missed: str
    overlap: str
    jitter: float
    until: float | None
    times_left: int | None
    paused: int
    fault: str | None
    since: float
    next_at: float | None
    boot: str | None
    last_at: float | None
    last_job: str | None
    last_success_at: float | None
    failing_since: float | None
    runs: int
    skipped: int
    skip_reason: str | None
    created_at: float

    def plan(self) -> Plan:
        """What the row asks for. Raises BadInput if another program stored garbage."""
        from ..schedule import plan

        try:
            return plan.Plan(
                str(self.name),
                plan.schedule_from(self.kind, self.expression, self.anchor),
                plan.zone_from(self.tz),
                self.missed,
                self.overlap,
                float(self.jitter),
                None if self.until is None else float(self.until),
                None if self.times_left is None else int(self.times_left),
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise BadInput(f"schedule {self.name} is malformed: {error}") from None


class Run(NamedTuple):
    """What one schedule did at one moment: the jobs added, by id, and what was skipped and why."""

    jobs: tuple[str, ...]
    skipped: int
    reason: str | None


class Firing(Hooks):
    """One open queue, with what fires schedules."""

    def fire(self) -> None:
        """Fire what is due, for a worker that is too busy to claim. Looks before it takes the lock."""
        due: float | None = self._one(sql.NEXT_SCHEDULE)
        if due is None or due > self._clock():
            return
        with self._transaction():
            chosen = self._choose_numbers(self._fire_due(self._clock()))
        self._ring(chosen)

    def fire_at_boot(self, boot: str) -> None:
        """Fire the schedules that are due when the machine has booted, unless they were for this boot.

        A worker calls it when it starts. `boot` identifies the boot.
        """
        if not self._rows(schedule_sql.AT_BOOT, {"boot": boot}):  # Look before taking the lock.
            return
        fired: dict[str, int] = {}
        with self._transaction():
            now = self._clock()
            for values in self._rows(schedule_sql.AT_BOOT, {"boot": boot}):
                row = Row(*values)
                # Another program's row that names no boot waits for the next one.
                times = () if row.boot is None or row.times_left == 0 else (now,)
                self._guarded(row._replace(boot=boot), times, now, fired)
            chosen = self._choose_numbers(fired)
        self._ring(chosen)

    def realign(self) -> None:
        """If the clock was set back by hours, plan all schedules again. Called when a worker starts, or notices it."""
        from ..schedule.plan import CORRECTION

        limit = {"limit": self._clock() + CORRECTION}
        if not self._rows(schedule_sql.AHEAD, limit):  # Look before taking the lock.
            return
        with self._transaction():
            now = self._clock()
            for values in self._rows(schedule_sql.AHEAD, limit):
                row = Row(*values)
                # An interval that began in what is now the future begins now.
                anchor = floor(now) if isinstance(row.anchor, float) and row.anchor > now else row.anchor
                self._guarded(row._replace(since=now, anchor=anchor), (), now, {})

    # --- inside a transaction -------------------------------------------------------------------

    def _note_end(self, job: Job, is_success: bool, now: float) -> None:
        """Store that a job completed or died now, if a schedule added it. Other jobs cost nothing."""
        found = schedule_of(job.env)
        if found is None:
            return
        try:
            name = storable(found[0])
        except BadInput:
            return  # Another program stored it. The job must still be settled.
        self._execute(schedule_sql.SUCCEED if is_success else schedule_sql.DIE, {"name": name, "now": now})

    def _fire_due(self, now: float) -> dict[str, int]:
        """Fire the schedules that are due; returns how many jobs were added, by queue."""
        fired: dict[str, int] = {}
        for values in self._rows(schedule_sql.DUE, {"now": now}):
            self._guarded(Row(*values), None, now, fired)
        return fired

    def _guarded(self, row: Row, times: Sequence[float] | None, now: float, fired: dict[str, int]) -> None:
        """Fire a schedule for these times, or for those that are due; pause it if that is impossible.

        Counts the jobs that it adds in `fired`.
        """
        try:
            with self._transaction():
                queue, count = self._fire(row, times, now)
        except DatabaseUnusable:
            raise  # The whole transaction is repeated.
        except Exception as error:  # Whatever is wrong with this row, jobs must run.
            fault = str(error) if isinstance(error, QueueError) else repr(error)
            self._execute(schedule_sql.SET_ASIDE, {"seq": row.seq, "fault": fault})
            return
        fired[queue] = fired.get(queue, 0) + count

    def _fire(self, row: Row, times: Sequence[float] | None, now: float) -> tuple[str, int]:
        """Handle a schedule's times; returns the queue of its jobs, and how many there are."""
        from ..schedule import plan as plans

        plan = row.plan()
        fields = plans.template_fields(row.template)
        due = plans.Due(tuple(times), 0, row.since) if times is not None else plans.decide(plan, row.since, now)
        run = self._run(row, plan, fields, due.times)
        skipped = due.skipped + run.skipped
        reason = run.reason or (plans.REASON_MISSED if due.skipped else None)
        left = None if plan.left is None else max(0, plan.left - len(run.jobs))
        time = plan._replace(left=left).next_after(due.since)
        self._execute(
            schedule_sql.ADVANCE,
            {
                "seq": row.seq,
                "since": due.since,
                "anchor": row.anchor,
                "next_at": None if time is None else time + plan.delay,
                "boot": row.boot,
                "times_left": left,
                "last_at": due.times[-1] if run.jobs else None,
                "last_job": run.jobs[-1] if run.jobs else None,
                "runs": len(run.jobs),
                "skipped": skipped,
                "skip_reason": reason,
            },
        )
        return str(fields.get("queue", "default")), len(run.jobs)

    def _run(self, row: Row, plan: Plan, fields: dict[str, object], times: Sequence[float]) -> Run:
        """Add a schedule's jobs for these times, unless something keeps them from being added.

        Several at once, which were missed, run one after another, unless they may overlap.
        """
        from ..schedule.plan import job_for

        added: list[str] = []
        skipped, reason = 0, None
        last = row.last_job
        for time in times:
            state = None if last is None else self._one(schedule_sql.STATE, {"id": last})
            is_unfinished = state is not None and state not in FINISHED
            obstacle = self._key_holder(fields)
            if is_unfinished and not added and plan.overlap == "skip":
                obstacle = f"job {last} {STILL.get(str(state))}"
            if obstacle:
                skipped, reason = skipped + 1, obstacle
                continue
            needs = last if is_unfinished and plan.overlap != "allow" else None
            last = self._add(job_for(plan.name, fields, time, plan.zone, needs))
            added.append(last)
        return Run(tuple(added), skipped, reason)

    def _key_holder(self, fields: dict[str, object]) -> str | None:
        """Why the unique key of a schedule's jobs keeps one from being added; None if it doesn't."""
        key = fields.get("unique_key")
        holder = self._holder_of(key) if isinstance(key, str) else None
        return f"job {holder[0]} has the unique key {key}" if holder else None

    def _add(self, job: Any) -> str:
        """Add a job; returns its id."""
        for _ in range(MOST_TRIES):
            try:
                with self._transaction():
                    return self._insert([job])[0]
            except sqlite3.IntegrityError as error:
                self._refuse([job], error)  # Unless a generated id was taken.
        raise BadInput("every generated id is taken")

    def _choose_numbers(self, numbers: dict[str, int]) -> list[tuple[int, str]]:
        """Choose idle workers for this many new jobs of each queue."""
        return [pair for queue, count in numbers.items() if count > 0 for pair in self._choose(queue, count)]
