"""What a schedule must do now: a pure decision, made from its row each time.

All of a schedule's times until `since` have been handled. When a later one is due, it gets a job or is skipped:

    since ────── missed times ────── the latest one ── now ────── next
                 --missed all: a job for each        │
                 once, skip: skipped                 └ a job; with --missed skip, only if it is less than LATE ago

Then `since` is now. So each time is handled once, whatever the clock does, as long as the caller that stores the
decision also stores the jobs. Times are epoch seconds.
"""

from __future__ import annotations

import json
from math import floor

from .. import jobspec, values
from ..errors import BadInput
from ..typed import NamedTuple
from . import times, zones
from .cron import REBOOT, parse_cron

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .times import Schedule
    from .zones import Zone

MISSED = ("once", "skip", "all")
OVERLAPS = ("skip", "queue", "allow")
LATE = 60.0  # Seconds after which `--missed skip` skips a time.
MOST_MISSED = 1000  # Times that `--missed all` makes up for; the latest ones.
SHORTEST_INTERVAL = 1  # Seconds.
CORRECTION = 3 * 3600  # If clocks are set back by more seconds, times come twice; as in cron.

# Of a job, what a schedule may say. The rest is for single jobs.
TEMPLATE_FIELDS = sorted({*jobspec.FIELDS} - {"id", "after", "after_notok", "after_any", "held", "replace"})

REASON_MISSED = "missed: no worker was running or free"


class Plan(NamedTuple):
    """What a schedule's row asks for. `spread` is its --jitter, `left` how many runs are left, or None."""

    name: str
    schedule: Schedule
    zone: Zone
    missed: str
    overlap: str
    spread: float
    until: float | None
    left: int | None

    @property
    def delay(self) -> float:
        """How much later than its times it is due. A multiple of a power of two, so that sums are exact."""
        return floor(times.jitter(self.name, self.spread) * 1024) / 1024

    def next_after(self, since: float) -> float | None:
        """Its first time after `since`; None if there is none, or it has ended."""
        time = times.next_after(self.schedule, since, self.zone)
        if time is None or self.left == 0 or (self.until is not None and time > self.until):
            return None
        return time


class Due(NamedTuple):
    """The times that get a job, oldest first, and how many are skipped because they were missed. After that, all times
    until `since` are dealt with."""

    times: tuple[float, ...]
    skipped: int
    since: float


def decide(plan: Plan, since: float, now: float) -> Due:
    """What a schedule must do now, if all of its times until `since` have been handled."""
    latest = now - plan.delay
    until = latest if plan.until is None else min(latest, plan.until)
    longest = MOST_MISSED if plan.missed == "all" else 1
    if plan.left is not None:
        longest = min(longest, plan.left)
    found = times.missed(plan.schedule, since, until, plan.zone, longest)
    if plan.missed == "skip" and found.times and latest - found.times[0] > LATE:
        found = times.Missed((), found.skipped + 1)
    return Due(found.times, found.skipped, max(since, latest))


def wanted(cron: object, every: object, at: object, now: float, zone: Zone) -> Schedule:
    """The schedule of a program that gives one of these. Raises BadInput."""
    if [cron, every, at].count(None) != 2:
        raise BadInput("give exactly one of cron, every and at")
    if cron is not None:
        if not isinstance(cron, str):
            raise BadInput(f"cron: must be a string, not {values.quote(cron)}")
        return parse_cron(cron, "cron")
    if every is not None:
        return schedule_from("every", values.interval(every, "every"), floor(now))
    return times.At(moment(at, "at", now, zone))


def moment(value: object, place: str, now: float, zone: Zone) -> float:
    """Epoch seconds from a program's time: a number, or text, which is in `zone` if it has no offset."""
    return zones.moment(value, place, now, zone) if isinstance(value, str) else values.moment(value, place, now)


def schedule_from(kind: object, expression: object, anchor: object) -> Schedule:
    """A stored schedule: "cron" and an expression, "every" and seconds from `anchor` on, or "at" and a time."""
    if kind == "cron":
        return parse_cron(str(expression), "cron")
    number = _number(expression, str(kind))
    if kind == "every":
        if not number >= SHORTEST_INTERVAL:
            raise BadInput(f"every: shorter than a second: {values.quote(expression)}")
        return times.Every(number, _number(anchor, "anchor"))
    if kind == "at":
        return times.At(number)
    raise BadInput(f"kind: not cron, every or at: {values.quote(kind)}")


def stored(schedule: Schedule) -> tuple[str, str, float | None]:
    """The kind, the expression and the anchor to store for a schedule; the reverse of schedule_from."""
    if isinstance(schedule, times.Every):
        return "every", _plain(schedule.seconds), schedule.anchor
    if isinstance(schedule, times.At):
        return "at", _plain(schedule.time), None
    return "cron", schedule.text, None


def is_at_boot(schedule: Schedule) -> bool:
    """Whether it runs when the first worker starts after a boot."""
    return not isinstance(schedule, (times.Every, times.At)) and schedule.text == REBOOT


def zone_from(name: object) -> Zone:
    """A stored time zone; None is local time."""
    return zones.zone(None if name is None else str(name), "tz")


def template_text(fields: dict[str, object]) -> str:
    """The fields of a job as the text to store. Raises BadInput if they aren't a job's, or are for single jobs only."""
    for field in fields:
        if field not in TEMPLATE_FIELDS:
            raise BadInput(f"{field}: applies to a single job, not to a schedule")
    jobspec.new_job(fields, 0.0)
    shown = {
        field: values.decode(value) if isinstance(value, bytes) else value
        for field, value in fields.items()
        if value is not None
    }
    return json.dumps(shown, sort_keys=True)


def template_fields(text: object) -> dict[str, object]:
    """The fields of a job from the stored text. Raises BadInput if another program stored garbage."""
    try:
        fields = json.loads(str(text))
    except (ValueError, RecursionError):
        raise BadInput(f"template: not valid JSON: {values.quote(text)}") from None
    if not isinstance(fields, dict):
        raise BadInput(f"template: not a JSON object: {values.quote(text)}")
    template_text(fields)
    return fields


def job_for(name: str, fields: dict[str, object], at: float, zone: Zone, needs: str | None) -> jobspec.NewJob:
    """The job of a schedule for one of its times. It waits for the job `needs` to finish, if given."""
    env = fields.get("env") or {}
    given = env if isinstance(env, dict) else {}
    own = {**given, jobspec.SCHEDULE: name, jobspec.SCHEDULED_AT: zone.iso(at)}
    waits = {} if needs is None else {"after_any": needs}
    return jobspec.new_job({**fields, "env": own, **waits}, 0.0)


def _number(value: object, place: str) -> float:
    try:
        number = float(str(value))
    except ValueError:
        raise BadInput(f"{place}: not a number: {values.quote(value)}") from None
    if not -1e11 < number < 1e12:
        raise BadInput(f"{place}: not a time: {values.quote(value)}")
    return number


def _plain(number: float) -> str:
    return repr(int(number)) if number == int(number) else repr(number)
