"""When a schedule is due.

Cron expressions follow local time, and changes of the clock, as Debian's cron does (cron(8)):

- An expression with a fixed time is due once per time. If clocks skip the time, it is due right after the change,
  once, even if several of its times were skipped. If a time comes twice, it is due the first time.
- An expression whose minute or hour starts with "*" is due whenever clocks match it. So `*/10 * * * *` follows elapsed
  time, and `*/10 2 * * *` is never due on a day without that hour.

This holds for changes of any length; cron treats those of more than three hours as corrections, and no zone has had
one since 2023. Intervals follow elapsed time.

All times are epoch seconds, "after" and "before" exclude the time itself, and None means never.
"""

from __future__ import annotations

from binascii import crc32
from math import ceil, floor

from ..typed import NamedTuple
from .cron import Cron
from .zones import FIRST, LAST, WINDOW, Zone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Union

    Schedule = Union[Cron, "Every", "At"]


class Every(NamedTuple):
    """An interval in seconds, at least one. The first time is one interval after `anchor`."""

    seconds: float
    anchor: float


class At(NamedTuple):
    """A single time."""

    time: float


class Missed(NamedTuple):
    """Times that have passed: the latest ones, oldest first, and how many came before them."""

    times: tuple[float, ...]
    skipped: int


class Change(NamedTuple):
    """A change of clocks: when, the last time of a schedule before it, and the first one from then on."""

    time: int
    before: float | None
    after: float | None


def next_after(schedule: Schedule, after: float, zone: Zone) -> float | None:
    """The first time after `after`."""
    if isinstance(schedule, At):
        return schedule.time if schedule.time > after else None
    if isinstance(schedule, Every):
        step = max(1, _steps(schedule, after) + 1)
        return _time(schedule, step)
    if schedule.at_boot or after >= LAST:
        return None
    start = max(floor(after), FIRST)
    return _next_wild(schedule, start + 1, zone) if schedule.is_wild else _next_fixed(schedule, start, zone)


def previous(schedule: Schedule, before: float, zone: Zone) -> float | None:
    """The last time before `before`."""
    if isinstance(schedule, At):
        return schedule.time if schedule.time < before else None
    if isinstance(schedule, Every):
        step = _steps(schedule, before)
        step -= _time(schedule, step) >= before
        return _time(schedule, step) if step >= 1 else None
    if schedule.at_boot or before <= FIRST:
        return None
    last = min(ceil(before), LAST) - 1
    if schedule.is_wild:
        return _previous_wild(schedule, last, zone)
    wall = schedule.previous(zone.latest_wall(last) + 1)
    return None if wall is None else zone.epoch(wall)


def runs(schedule: Schedule, after: float, zone: Zone, until: float = LAST) -> Iterator[float]:
    """The times after `after` and until `until`, one by one."""
    time = next_after(schedule, after, zone)
    while time is not None and time <= until:
        yield time
        time = next_after(schedule, time, zone)


def count(schedule: Schedule, after: float, until: float, zone: Zone) -> int:
    """The number of times after `after` and until `until`, without going through them."""
    if until <= after:
        return 0
    if isinstance(schedule, At):
        return int(after < schedule.time <= until)
    if isinstance(schedule, Every):
        return max(0, _steps(schedule, until)) - max(0, _steps(schedule, after))
    start, end = max(floor(after), FIRST), min(floor(until), LAST)
    total, at = 0, start
    while at < end:
        change = zone.change(at, end)
        if schedule.is_wild:
            last = end if change is None else change - 1
            total += schedule.between(zone.wall(at + 1) if at == start else zone.wall(at), zone.wall(last) + 1)
        elif change is not None:
            # Of the times that clocks skip, and the first one after them, only one is left.
            skipped = schedule.between(change + zone.offset(change - 1), zone.wall(change) + 1)
            total -= max(0, skipped - 1)
        at = end if change is None else change
    if not schedule.is_wild:
        total += schedule.between(zone.latest_wall(start) + 1, zone.latest_wall(end) + 1)
    return total


def missed(schedule: Schedule, after: float, now: float, zone: Zone, longest: int) -> Missed:
    """The times after `after` and until `now`: the latest `longest` of them, and the number of those before.

    Takes as long for a year as for a day.
    """
    times: list[float] = []
    before = previous(schedule, now + 1, zone)
    while before is not None and before > now:
        before = previous(schedule, before, zone)
    while before is not None and before > after and len(times) < longest:
        times.insert(0, before)
        before = previous(schedule, before, zone)
    return Missed(tuple(times), count(schedule, after, now, zone) - len(times))


def around_change(schedule: Schedule, after: float, zone: Zone) -> Change | None:
    """The next change of clocks within 400 days; None if there is none."""
    start = floor(after)
    change = zone.change(start, start + 400 * 86400)
    if change is None:
        return None
    return Change(change, previous(schedule, change, zone), next_after(schedule, change - 1, zone))


def jitter(name: str, spread: float) -> float:
    """A delay of less than `spread` seconds that is always the same for the same name."""
    return crc32(name.encode("utf-8", "surrogateescape")) / 2**32 * spread


def _steps(every: Every, until: float) -> int:
    """The number of intervals from the anchor until a time."""
    step = floor((until - every.anchor) / every.seconds)
    # The division may round across a whole number.
    while _time(every, step) > until:
        step -= 1
    while _time(every, step + 1) <= until:
        step += 1
    return step


def _time(every: Every, step: int) -> float:
    return every.anchor + step * every.seconds


def _next_fixed(cron: Cron, after: int, zone: Zone) -> float | None:
    wall = cron.next(zone.latest_wall(after))
    return None if wall is None else zone.epoch(wall)


def _next_wild(cron: Cron, start: int, zone: Zone) -> float | None:
    """The first time from `start` on at which clocks match."""
    while start < LAST:
        offset = zone.offset(start)
        wall = cron.next(start + offset - 1)
        if wall is None:
            return None
        found = wall - offset
        end = min(found, start + WINDOW)
        change = zone.change(start, end)
        if change is not None:
            start = change  # Clocks are set, so look again.
        elif end == found:
            return found
        else:
            start = max(end, found - WINDOW)  # Nothing in between matches, not even if a change repeats it.
    return None


def _previous_wild(cron: Cron, last: int, zone: Zone) -> float | None:
    """The last time until `last` at which clocks match."""
    while last > FIRST:
        offset = zone.offset(last)
        wall = cron.previous(last + offset + 1)
        if wall is None:
            return None
        found = wall - offset
        start = max(found, last - WINDOW)
        change = zone.change(start, last)
        if change is not None:
            last = change - 1
        elif start == found:
            return found
        else:
            last = min(start, found + WINDOW)
    return None
