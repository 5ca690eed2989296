"""Debian's cron, minute by minute: a slow and independent answer to when an expression is due.

`CronDaemon.run` follows the loop of cron 3.0pl1 with Debian's changes (cron.c): every minute it compares the clock with
its own *virtual time*, and decides which jobs to run.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Iterable

EPOCH = datetime(1970, 1, 1)
NAMES: dict[str, int] = {
    **{name: number for number, name in enumerate("sun mon tue wed thu fri sat".split())},
    **{name: number + 1 for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split())},
}
RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


@lru_cache(maxsize=None)
def clock(minute: int, zone: tzinfo) -> int:
    """Local time in minutes, at a minute since 1970."""
    shown = datetime.fromtimestamp(minute * 60, zone).replace(tzinfo=None)
    return (shown - EPOCH) // timedelta(minutes=1)


@lru_cache(maxsize=None)
def moment_of(wall: int) -> datetime:
    return EPOCH + timedelta(minutes=wall)


class CronDaemon:
    """One entry of a crontab, in a time zone."""

    def __init__(self, text: str, zone: tzinfo) -> None:
        words = text.split()
        self.zone = zone
        self.minutes, self.hours, self.days, self.months, weekdays = map(self._numbers, words, RANGES)
        self.weekdays = {number % 7 for number in weekdays}
        self.is_wild = words[0][0] == "*" or words[1][0] == "*"
        self.has_star = words[2][0] == "*" or words[4][0] == "*"

    def _numbers(self, word: str, limits: tuple[int, int]) -> set[int]:
        found: set[int] = set()
        for part in word.split(","):
            span, _, step = part.partition("/")
            first, _, last = span.partition("-")
            low = limits[0] if span == "*" else NAMES.get(first) if first in NAMES else int(first)
            high = limits[1] if span == "*" else NAMES[last] if last in NAMES else int(last or low)
            found.update(range(low, high + 1, int(step or 1)))
        return found

    def matches(self, wall: int) -> bool:
        """Whether the entry matches a minute of local time, in minutes."""
        shown = moment_of(wall)
        if shown.minute not in self.minutes or shown.hour not in self.hours or shown.month not in self.months:
            return False
        day, weekday = shown.day in self.days, shown.isoweekday() % 7 in self.weekdays
        return (day and weekday) if self.has_star else (day or weekday)

    def run(self, minutes: Iterable[int]) -> list[int]:
        """The minutes since 1970, among consecutive ones, in which the entry runs at least once."""
        ran = []
        virtual = None
        for minute in minutes:
            now = clock(minute, self.zone)
            virtual = now - 1 if virtual is None else virtual
            passed = now - virtual
            wild = fixed = False
            if passed == 1 or passed > 180 or passed <= -180:
                virtual = now
                wild = fixed = self.matches(now)
            elif passed > 5:  # Clocks were set forward.
                wild = self.matches(now)
                fixed = any(map(self.matches, range(virtual + 1, now + 1)))
                virtual = now
            else:  # Clocks were set back; virtual time waits until they catch up.
                wild = self.matches(now)
            if wild if self.is_wild else fixed:
                ran.append(minute)
        return ran


def random_expression(generator: random.Random) -> str:
    """An expression that is due now and then, of the kinds that people write and of those that they don't."""

    def field(low: int, high: int, star: float, names: str = "") -> str:
        if generator.random() < star:
            step = generator.choice([1, 1, 2, 3, 5, 7, 10])
            return f"*/{step}" if step > 1 and step <= high - low + (high != 7) else "*"
        parts = []
        for _ in range(generator.choice([1, 1, 1, 2, 3])):
            first = generator.randint(low, high)
            last = generator.randint(min(first + 1, high), high)
            span = f"{first}-{last}" if first < last and generator.random() < 0.5 else str(first)
            step = f"/{generator.randint(1, 5)}" if "-" in span and generator.random() < 0.5 else ""
            parts.append(span + step)
        if names and generator.random() < 0.3:
            return generator.choice(names.split())
        return ",".join(parts)

    while True:
        words = [
            field(0, 59, 0.3),
            generator.choice([field(0, 23, 0.4), field(0, 4, 0)]),
            field(1, 31, 0.7),
            field(1, 12, 0.8, "jan feb mar apr may jun jul aug sep oct nov dec"),
            field(0, 7, 0.7, "sun mon tue wed thu fri sat"),
        ]
        # Day 30 or 31 may never come.
        if not words[2].startswith(("30", "31")) and not (words[2].startswith("29") and words[3][:1] == "2"):
            return " ".join(words)
