"""Operations for users and programs on schedules: add, edit, pause, resume, run and remove them; read them."""

from __future__ import annotations

from math import floor

from ..errors import BadInput, Refused
from ..typed import NamedTuple
from ..values import decode, nearest
from . import schedule_sql
from .firing import REBOOT, Firing, Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..schedule.times import Schedule
    from .reader import Reader


class Wish(NamedTuple):
    """What a user wants of a schedule. None leaves a default or, in an edit, what there is.

    `schedule` is parsed; `tz` names a time zone, or is "" for local time. `job` has fields of a job (jobspec.FIELDS).
    `until` (epoch seconds) and `times` can be removed with 0.
    """

    schedule: Schedule | None = None
    tz: str | None = None
    job: dict[str, object] | None = None
    missed: str | None = None
    overlap: str | None = None
    jitter: float | None = None
    until: float | None = None
    times: int | None = None


class LastRun(NamedTuple):
    """What became of a schedule's last job, so far."""

    state: str
    exit_code: int | None
    error: str | None
    finished_at: float | None


class Schedules(Firing):
    """One open queue, with the operations on schedules. Each raises Refused for a schedule that doesn't exist."""

    def schedule(self, name: str) -> Row:
        """The schedule of this name."""
        return schedule_named(self, name)

    def add_schedule(self, name: str, wish: Wish, boot: str) -> Row:
        """Add a schedule. Its times from now on are due; `boot` identifies the boot of the machine.

        Raises Refused if there is one of this name, and BadInput if it is never due.
        """
        with self._transaction():
            if self._rows(schedule_sql.BY_NAME, {"name": name}):
                from ..suggestion import suggestion  # Deferred: needed only for errors.

                raise Refused(f"schedule {name} exists; to change it, run: {suggestion('schedule edit', name)} …")
            now = self._clock()
            empty = dict.fromkeys(schedule_sql.COLUMNS)
            new = {**empty, "name": name, "missed": "once", "overlap": "skip", "jitter": 0.0, "created_at": now}
            row = _changed(Row(**new)._replace(paused=0, runs=0, skipped=0, boot=boot), wish, now)  # type: ignore[arg-type]
            self._execute(schedule_sql.ADD, row._asdict())
            chosen = self._choose_any(row)
        self._ring(chosen)
        return self.schedule(name)

    def edit_schedule(self, name: str, wish: Wish) -> Row:
        """Change a schedule. If that changes when it is due, only its times from now on count."""
        with self._transaction():
            row = _changed(self.schedule(name), wish, self._clock())
            self._execute(schedule_sql.EDIT, row._asdict())
            chosen = self._choose_any(row)
        self._ring(chosen)
        return row

    def pause_schedule(self, name: str) -> bool:
        """Pause a schedule: it adds no jobs until it is resumed. False if it was already paused."""
        with self._transaction():
            row = self.schedule(name)
            self._execute(schedule_sql.EDIT, row._replace(paused=1, next_at=None)._asdict())
        return not row.paused

    def resume_schedule(self, name: str) -> bool:
        """Undo `pause_schedule`; runs missed in the meantime are not made up for. False if it wasn't paused."""
        with self._transaction():
            row = self.schedule(name)
            if not row.paused:
                return False
            row = _planned(row._replace(paused=0, fault=None, since=self._clock()))
            self._execute(schedule_sql.EDIT, row._asdict())
            chosen = self._choose_any(row)
        self._ring(chosen)
        return True

    def run_schedule(self, name: str) -> str:
        """Add a schedule's job now, whatever its times are; returns the job's id.

        Raises Refused if the schedule's last job or its unique key doesn't let it.
        """
        from ..schedule import plan as plans

        with self._transaction():
            row, now = self.schedule(name), self._clock()
            plan, fields = row.plan(), plans.template_fields(row.template)
            run = self._run(row, plan, fields, (now,))
            if not run.jobs:
                raise Refused(f"schedule {name}: {run.reason}")
            (id,) = run.jobs
            self._execute(
                schedule_sql.EDIT, row._replace(last_at=now, last_job=id, runs=row.runs + 1)._asdict()
            )
            chosen = self._choose(str(fields.get("queue", "default")), 1)
        self.check_file()
        self._ring(chosen)
        return id

    def put_schedule(self, name: str, wish: Wish, boot: str) -> Row:
        """Add a schedule, or make the one of this name what `wish` says. If that is due as before, its times stay."""
        with self._transaction():
            if not self._rows(schedule_sql.BY_NAME, {"name": name}):
                return self.add_schedule(name, wish, boot)
            old, now = self.schedule(name), self._clock()
            new = _changed(old._replace(template="", tz=None, until=None, times_left=None), wish, now)
            if (new.kind, new.expression, new.tz) == (old.kind, old.expression, old.tz):
                left = old.times_left if wish.times is None or old.times_left is not None else wish.times
                new = _planned(new._replace(anchor=old.anchor, since=old.since, times_left=left))
            self._execute(schedule_sql.EDIT, new._asdict())
            chosen = self._choose_any(new)
        self._ring(chosen)
        return new

    def import_schedule(self, row: Row) -> bool:
        """Add a schedule as it was in another file. If its name exists here, does nothing and returns False."""
        if self._rows(schedule_sql.BY_NAME, {"name": row.name}):
            return False
        self._execute(schedule_sql.ADD, _planned(row)._asdict())
        return True

    def remove_schedule(self, name: str) -> None:
        """Remove a schedule. Its jobs stay."""
        with self._transaction():
            if not self._execute(schedule_sql.REMOVE, {"name": name}).rowcount:
                raise Refused(_missing(self, name))

    def _choose_any(self, row: Row) -> list[tuple[int, str]]:
        """Choose an idle worker that is to learn when the schedule is due."""
        from ..schedule.plan import template_fields

        return self._choose(str(template_fields(row.template).get("queue", "default")), 1)


# --- reading ------------------------------------------------------------------------------------


def schedules(store: Reader) -> list[Row]:
    """All schedules, by name."""
    return list(map(_row_from, store._rows(schedule_sql.ALL)))


def schedule_named(store: Reader, name: str) -> Row:
    """The schedule of this name. Raises Refused if there is none."""
    rows = store._rows(schedule_sql.BY_NAME, {"name": name})
    if not rows:
        raise Refused(_missing(store, name))
    return _row_from(rows[0])


def last_runs(store: Reader) -> dict[str, LastRun]:
    """By name, what became of the last job of each schedule whose last job still exists."""
    return {name: LastRun(*rest) for name, *rest in store._rows(schedule_sql.LAST_JOBS)}


def _missing(store: Reader, name: str) -> str:
    names = [str(known) for (known,) in store._rows(schedule_sql.NAMES)]
    if not names:
        return f"no such schedule: {name}; there are none yet"
    hint = nearest(name, names) if len(names) < 10 or nearest(name, names).startswith("did") else "see: schedule list"
    return f"no such schedule: {name} ({hint})"


# --- rows ---------------------------------------------------------------------------------------


def _row_from(columns: Sequence[object]) -> Row:
    """A Row from its columns. Bytes that aren't UTF-8 become lone surrogates."""
    return Row._make(decode(value) if isinstance(value, bytes) else value for value in columns)


def _changed(row: Row, wish: Wish, now: float) -> Row:
    """A row with what a user wants of it. Raises BadInput if that is invalid."""
    from ..schedule import plan as plans

    if wish.schedule is not None:
        kind, expression, anchor = plans.stored(wish.schedule)
        row = row._replace(kind=kind, expression=expression, anchor=floor(now) if anchor is None else anchor)
    old = plans.template_fields(row.template) if row.template else {}
    job = {**old, **(wish.job or {})}
    given = {field: getattr(wish, field) for field in ("missed", "overlap", "jitter")}
    row = row._replace(
        template=plans.template_text(job), **{field: value for field, value in given.items() if value is not None}
    )
    if wish.tz is not None:
        row = row._replace(tz=wish.tz or None)
    if row.kind == "every" or row.expression == REBOOT:
        if wish.tz:
            what = "an interval" if row.kind == "every" else REBOOT
            raise BadInput(f"schedule {row.name}: {what} has no time zone; only cron expressions and times have one")
        row = row._replace(tz=None)
    if wish.until is not None:
        row = row._replace(until=wish.until or None)
    if wish.times is not None:
        row = row._replace(times_left=wish.times or None)
    if (wish.schedule, wish.tz, wish.until, wish.times) == (None, None, None, None):
        return _planned(row)
    row = _planned(row._replace(since=now))
    if row.plan().next_after(now) is None and row.expression != REBOOT:
        raise BadInput(f"schedule {row.name} would never run: there is no such time from now on")
    return row


def _planned(row: Row) -> Row:
    """A row with the next time that it is due. Raises BadInput if it can't be."""
    plan = row.plan()
    time = plan.next_after(row.since)
    return row._replace(next_at=None if row.paused or time is None else time + plan.delay)
