"""Schedules: when each is due, the result of its last run, and which are in trouble.

Part of the one layer of figures (see facts.py), with the words for them that the command line, top and the dashboard
share. Times are UTC epoch seconds. Another program may have stored anything; what makes no sense is left out.
"""

from __future__ import annotations

import json

from .. import values
from ..errors import BadInput
from ..schedule import plan as plans
from ..schedule.times import At, Every
from ..store.firing import REBOOT
from ..store.reader import LAST_TIME
from ..store.schedules import last_runs, schedules
from ..typed import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..store.firing import Row
    from ..store.reader import Reader
    from ..store.schedules import LastRun


class Schedule(NamedTuple):
    """A schedule, and its last job; None if that was deleted, or there was none."""

    row: Row
    last: LastRun | None

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def is_paused(self) -> bool:
        return bool(self.row.paused)

    @property
    def next_at(self) -> float | None:
        """When it is due; None if it is paused, has ended, or waits for a boot."""
        return None if self.row.paused or self.is_at_boot else moment(self.row.next_at)

    @property
    def is_at_boot(self) -> bool:
        """Whether it runs when the first worker starts after a boot."""
        return (self.row.kind, self.row.expression) == ("cron", REBOOT)

    @property
    def last_at(self) -> float | None:
        """The latest time for which it added a job."""
        return moment(self.row.last_at)

    @property
    def last_success_at(self) -> float | None:
        """When one of its jobs last completed."""
        return moment(self.row.last_success_at)

    @property
    def skipped(self) -> int:
        """How many of its runs were skipped."""
        return max(0, self.row.skipped) if isinstance(self.row.skipped, int) else 0

    @property
    def failing_since(self) -> float | None:
        """When the first job died since one last completed; None if none has."""
        return moment(self.row.failing_since)

    def job(self) -> dict[str, object]:
        """The fields of its jobs; none if they are invalid."""
        try:
            found = json.loads(self.row.template)
        except (ValueError, TypeError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def queue(self) -> str:
        """The queue of its jobs."""
        return str(self.job().get("queue", "default"))

    @property
    def command(self) -> str | None:
        """The command of its jobs."""
        command = self.job().get("command")
        return None if command is None else str(command)


class Timetable(NamedTuple):
    """All schedules of a file, by name."""

    schedules: Sequence[Schedule]

    @property
    def paused(self) -> int:
        """How many are paused."""
        return sum(schedule.is_paused for schedule in self.schedules)

    @property
    def next(self) -> Schedule | None:
        """The one that is due next."""
        listed = [(schedule.next_at, place) for place, schedule in enumerate(self.schedules)]
        due = [(time, place) for time, place in listed if time is not None]
        return self.schedules[min(due)[1]] if due else None

    @property
    def faulty(self) -> list[Schedule]:
        """Those that a worker paused because they are invalid."""
        return [schedule for schedule in self.schedules if schedule.row.fault]

    @property
    def failing(self) -> list[Schedule]:
        """Other schedules whose jobs died, with none completed since."""
        return [each for each in self.schedules if each.failing_since is not None and not each.row.fault]


def by_urgency(schedules: Sequence[Schedule]) -> list[Schedule]:
    """Schedules in trouble first, then in the order in which they are due; paused and ended ones last."""

    def urgency(schedule: Schedule) -> tuple[bool, bool, float]:
        is_fine = not schedule.row.fault and schedule.failing_since is None
        return is_fine, schedule.next_at is None, schedule.next_at or 0.0

    return sorted(schedules, key=urgency)


def timetable(store: Reader) -> Timetable:
    """All schedules. Takes time proportional to their number, not to the number of jobs."""
    rows = schedules(store)
    last = last_runs(store) if rows else {}
    return Timetable([Schedule(row, last.get(row.name)) for row in rows])


def moment(value: object) -> float | None:
    """A stored time; None if there is none, or another program stored garbage."""
    return value if isinstance(value, (int, float)) and 0 <= value <= LAST_TIME else None


# --- for display ---------------------------------------------------------------------------------


def when(row: Row) -> str:
    """When a schedule is due, in a few words: "every 10m", "30 2 * * * Europe/Berlin"."""
    zone = f" {row.tz}" if row.tz and row.expression != REBOOT else ""
    try:
        schedule = plans.schedule_from(row.kind, row.expression, row.anchor)
        if isinstance(schedule, Every):
            return f"every {_interval(schedule.seconds)}"
        if isinstance(schedule, At):
            return f"at {plans.zone_from(row.tz).iso(schedule.time).replace('T', ' ')}"
    except (BadInput, TypeError, ValueError):
        pass  # Another program stored garbage.
    return f"{row.expression}{zone}"


def _interval(seconds: float) -> str:
    """An interval as a user would write it, such as 10m."""
    for unit, factor in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % factor == 0:
            return f"{seconds / factor:.0f}{unit}"
    return f"{seconds:g}s"


def summary(table: Timetable, now: float) -> str:
    """How many schedules there are, and which is next due: "3, 1 failing, 1 paused; next: backup in 3h12m"."""
    numbers = {"failing": len(table.failing), "paused": table.paused}
    parts = [f"{len(table.schedules):,}", *[f"{number:,} {word}" for word, number in numbers.items() if number]]
    following = "" if table.next is None else f"; next: {table.next.name} {due(table.next, now)}"
    return ", ".join(parts) + following


def due(schedule: Schedule, now: float) -> str:
    """When a schedule is next due: "in 3h12m", "due", "paused", "at boot" or "ended"."""
    if schedule.is_paused:
        return "paused"
    if schedule.is_at_boot:
        return "at boot"
    if schedule.next_at is None:
        return "ended"
    return f"in {values.span(schedule.next_at - now)}" if schedule.next_at > now else "due"


def result(schedule: Schedule) -> str | None:
    """The result of the last run, and whether the schedule fails, if that isn't clear; None without a run."""
    row, last = schedule
    if row.fault:
        return f"fault: {row.fault}"
    if last is not None and last.state in ("dead", "failed") and last.error:
        return f"{last.state}: {last.error}"
    state = last.state if last is not None else "deleted" if row.last_job else None
    return state if schedule.failing_since is None or state in (None, "dead") else f"{state}, failing"


def skipped(schedule: Schedule) -> str:
    """How many runs were skipped, and why the latest one was: "3: job 4k7rm2xp is still running"."""
    number, reason = schedule.skipped, schedule.row.skip_reason
    return f"{number}: {reason}" if number and reason else str(number)
