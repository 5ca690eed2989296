"""Cron expressions: parsing, and which dates and times of day they match.

The syntax is that of Vixie and Debian cron's crontab(5): five fields with numbers, names, lists, ranges and steps, or
@daily and its like. Where crons differ or ignore what they don't understand, an expression is rejected: a step after a
single number (5/10), ranges that run backwards, steps larger than their field, seconds, and L, W and #.

A *wall time* is what a clock on the wall shows, in seconds, as if the zone were UTC. Nothing here knows about zones;
`times` does.

A field is a bit mask, and a search moves from month to month. So it takes microseconds, and less than a millisecond
even for the rarest date: a certain weekday on 29 February, at most 40 years away.
"""

from __future__ import annotations

from datetime import date

from ..errors import BadInput
from ..typed import NamedTuple
from ..values import interval, nearest, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, NoReturn

    Fail = Callable[[str], NoReturn]

MONTHS = tuple("jan feb mar apr may jun jul aug sep oct nov dec".split())
WEEKDAYS = tuple("sun mon tue wed thu fri sat".split())
LENGTHS = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # Of the months, in days; at most.
LONGEST = 1000  # Characters of an expression. All minutes as a list need 169.
LONGEST_GAP = 41  # Years. 29 February is on a given weekday every 28 years, or 40 across 2100.
EPOCH = date(1970, 1, 1).toordinal()
LAST_YEAR = 9998

NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
REBOOT = "@reboot"


class Field(NamedTuple):
    """One of the five fields: its name, its smallest and largest number, and the names of numbers from `low` on."""

    name: str
    low: int
    high: int
    names: tuple[str, ...]


FIELDS = (
    Field("minute", 0, 59, ()),
    Field("hour", 0, 23, ()),
    Field("day", 1, 31, ()),
    Field("month", 1, 12, MONTHS),
    Field("weekday", 0, 7, WEEKDAYS),
)


class Cron(NamedTuple):
    """A cron expression.

    `minutes`, `hours`, `days`, `months` and `weekdays` are bit masks; bit 0 of `weekdays` is Sunday. `needs_both`: a
    date must match day and weekday, because one of the fields starts with "*". `is_wild`: minute or hour starts with
    "*", so changes of the clock are followed and not made up for. `at_boot`: @reboot, which matches no time.
    """

    text: str
    minutes: int
    hours: int
    days: int
    months: int
    weekdays: int
    needs_both: bool
    is_wild: bool
    at_boot: bool

    def next(self, wall: int) -> int | None:
        """The first match after the wall time `wall`; None if there is none before the year 9999."""
        day, minute = divmod(wall // 60 + 1, 1440)
        time = self._time_from(minute) if self._matches(day) else None
        if time is None:
            later = self._day_from(day + 1)
            if later is None:
                return None
            day, time = later, (_lowest(self.hours, 0) or 0) * 60 + (_lowest(self.minutes, 0) or 0)
        return (day * 1440 + time) * 60

    def previous(self, wall: int) -> int | None:
        """The last match before the wall time `wall`; None if there is none since the year 1."""
        day, minute = divmod((wall - 1) // 60, 1440)
        time = self._time_until(minute) if self._matches(day) else None
        if time is None:
            earlier = self._day_until(day - 1)
            if earlier is None:
                return None
            day, time = earlier, (self.hours.bit_length() - 1) * 60 + self.minutes.bit_length() - 1
        return (day * 1440 + time) * 60

    def between(self, start: int, end: int) -> int:
        """The number of matches from the wall time `start` on, and before `end`."""
        if self.at_boot or start >= end:
            return 0
        first, last = -(-start // 60), -(-end // 60)
        first_day, last_day = first // 1440, last // 1440
        whole = self._days_between(first_day, last_day) * _size(self.hours) * _size(self.minutes)
        return whole + self._in_day(last_day, last % 1440) - self._in_day(first_day, first % 1440)

    def _in_day(self, day: int, minute: int) -> int:
        """The number of matches in a day before a minute of the day."""
        if not minute or not self._matches(day):
            return 0
        hour, minute = divmod(minute, 60)
        in_hour = _size(self.minutes & ((1 << minute) - 1)) if self.hours >> hour & 1 else 0
        return _size(self.hours & ((1 << hour) - 1)) * _size(self.minutes) + in_hour

    def _days_between(self, day: int, end: int) -> int:
        """The number of days that match, from `day` on and before `end`."""
        total = 0
        while day < end:
            start = date.fromordinal(EPOCH + day)
            length = _length(start.year, start.month)
            mask = self._days_of(start.year, start.month) >> start.day << start.day
            after = start.day + end - day
            total += _size(mask & ((1 << after) - 1) if after <= length else mask)
            day += length - start.day + 1
        return total

    def _time_from(self, minute: int) -> int | None:
        """The first minute of the day that matches, from `minute` on."""
        hour, minute = divmod(minute, 60)
        if self.hours >> hour & 1:
            found = _lowest(self.minutes, minute)
            if found is not None:
                return hour * 60 + found
        later = _lowest(self.hours, hour + 1)
        return None if later is None else later * 60 + (_lowest(self.minutes, 0) or 0)

    def _time_until(self, minute: int) -> int | None:
        """The last minute of the day that matches, until `minute`."""
        hour, minute = divmod(minute, 60)
        if self.hours >> hour & 1:
            found = _highest(self.minutes, minute)
            if found is not None:
                return hour * 60 + found
        earlier = _highest(self.hours, hour - 1)
        return None if earlier is None else earlier * 60 + self.minutes.bit_length() - 1

    def _matches(self, day: int) -> bool:
        if not 1 <= EPOCH + day <= LAST_ORDINAL:
            return False
        found = date.fromordinal(EPOCH + day)
        return bool(self._days_of(found.year, found.month) >> found.day & 1)

    def _day_from(self, day: int) -> int | None:
        if not 1 <= EPOCH + day <= LAST_ORDINAL:
            return None
        start = date.fromordinal(EPOCH + day)
        from_day = start.day
        for year in range(start.year, min(start.year + LONGEST_GAP, LAST_YEAR) + 1):
            for month in range(start.month if year == start.year else 1, 13):
                found = _lowest(self._days_of(year, month), from_day)
                if found is not None:
                    return date(year, month, found).toordinal() - EPOCH
                from_day = 1
        return None

    def _day_until(self, day: int) -> int | None:
        if not 1 <= EPOCH + day <= LAST_ORDINAL:
            return None
        start = date.fromordinal(EPOCH + day)
        until_day = start.day
        for year in range(start.year, max(start.year - LONGEST_GAP, 1) - 1, -1):
            for month in range(start.month if year == start.year else 12, 0, -1):
                found = _highest(self._days_of(year, month), until_day)
                if found is not None:
                    return date(year, month, found).toordinal() - EPOCH
                until_day = 31
        return None

    def _days_of(self, year: int, month: int) -> int:
        """The days of a month that match, as a bit mask."""
        if not self.months >> month & 1:
            return 0
        first = date(year, month, 1).isoweekday() % 7
        week = (self.weekdays >> first | self.weekdays << (7 - first)) & 0x7F  # Bit 0 is the first day of the month.
        by_weekday = week * 0x10204081 << 1  # Five weeks.
        days = self.days & by_weekday if self.needs_both else self.days | by_weekday
        return days & ((2 << _length(year, month)) - 1)


LAST_ORDINAL = date(LAST_YEAR, 12, 31).toordinal()


def parse_cron(text: str, place: str) -> Cron:
    """Parse an expression. Raises BadInput if it is invalid or matches no date at all."""

    def fail(problem: str) -> NoReturn:
        if place == "cron":  # Called by a program.
            before, option, interval = problem.partition("--every ")
            problem = f'{before}every="{interval}"' if option else problem
        raise BadInput(f"{place}: {problem}")

    words = text.split() if len(text) <= LONGEST else fail(f"longer than {LONGEST} characters")
    given = " ".join(words)
    if not words:
        fail("is empty (write MINUTE HOUR DAY MONTH WEEKDAY, such as '30 2 * * *', or @daily)")
    if words[0].startswith("@"):
        nickname = words[0].lower()
        if len(words) == 1 and nickname == REBOOT:
            return Cron(REBOOT, 0, 0, 0, 0, 0, False, False, True)
        if nickname == "@every":
            fail(f"{quote(given)} is not cron's; intervals have an option of their own: --every 10m")
        if nickname not in NICKNAMES:
            fail(f"no such name: {quote(words[0])}; {nearest(nickname, [*NICKNAMES, REBOOT])}")
        words[:1] = NICKNAMES[nickname].split()
    if len(words) != 5:
        fail(_wrong_number(given, len(words)))
    masks = [_mask(word, field, fail) for word, field in zip(words, FIELDS)]
    minutes, hours, days, months, weekdays = masks
    wild = [word.startswith("*") for word in words]
    found = Cron(given, minutes, hours, days, months, (weekdays | weekdays >> 7) & 0x7F,
                 wild[2] or wild[4], wild[0] or wild[1], False)  # fmt: skip
    longest = max(length for month, length in enumerate(LENGTHS) if months >> month & 1)
    if found.needs_both and (_lowest(days, 1) or 0) > longest:
        fail(f"{quote(given)} never happens: there is no such date")
    return found


def _wrong_number(given: str, count: int) -> str:
    text = f"{quote(given)} has {count} field{'' if count == 1 else 's'}, not 5 (MINUTE HOUR DAY MONTH WEEKDAY)"
    if _is_interval(given):
        return f"{quote(given)} is not cron's; for an interval, use --every {given.rsplit(maxsplit=1)[-1]}"
    if count < 5:
        return f"{text}; quote the expression: '30 2 * * *'"
    return f"{text}; there are no seconds, years or commands; for seconds, use an interval: --every 10s"


def _is_interval(text: str) -> bool:
    """Whether it is an interval, such as "5m" or "every 5m"."""
    words = text.lower().split()
    try:
        interval(words[-1], "")
    except BadInput:
        return False
    return not words[-1].isdigit() and words[:-1] in ([], ["every"])


def _mask(text: str, field: Field, fail: Fail) -> int:
    """The numbers that a field names, as a bit mask."""
    mask = 0
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            low, high = field.low, field.high
        else:
            if not first or (dash and not last):
                fail(f"{field.name}: a number is missing in {quote(text)}")
            low = _number(first, field, fail)
            high = _number(last, field, fail) if dash else low
            if slash and not dash:
                fail(f"{field.name}: a step needs a range: for {quote(part)}, write {low}-{field.high}/{step_text}")
        if field.high == 7 and high == 0 < low:
            high = 7  # sat-sun
        if low > high:
            least = f"{field.low}" if high == field.low else f"{field.low}-{high}"
            most = f"{low}" if low == field.high else f"{low}-{field.high}"
            fail(f"{field.name}: {quote(span)} runs backwards; write {least},{most}")
        step = _step(step_text, field, fail) if slash else 1
        for number in range(low, high + 1, step):
            mask |= 1 << number
    return mask


def _number(word: str, field: Field, fail: Fail) -> int:
    if word.isascii() and word.isdigit():
        number = int(word) if len(word) < 5 else field.high + 1
        if not field.low <= number <= field.high:
            fail(f"{field.name} {quote(word)} is not from {field.low} to {field.high}")
        return number
    lower = word.lower()
    if lower in field.names:
        return field.names.index(lower) + field.low
    problem = f"{field.name}: {quote(word)} is not a number" + (" or a name" if field.names else "")
    if lower[:3] in field.names and lower.isalpha():
        problem += f"; write {lower[:3]}"
    elif set(word) & set("LW#?H~"):
        problem += "; cron has no L, W, #, ?, H or ~"
    return fail(problem)


def _step(word: str, field: Field, fail: Fail) -> int:
    step = int(word) if word.isascii() and word.isdigit() and len(word) < 5 else 0
    size = min(field.high, 6) - field.low + 1 if field.names == WEEKDAYS else field.high - field.low + 1
    if not 1 <= step <= size:
        hint = "; a step starts again in each hour, so use an interval: --every 90m" if field.name == "minute" else ""
        fail(f"{field.name}: the step {quote(word)} is not from 1 to {size}{hint}")
    return step


def _length(year: int, month: int) -> int:
    """The number of days of a month."""
    if month == 2 and (year % 4 or (year % 100 == 0 and year % 400)):
        return 28
    return LENGTHS[month]


def _lowest(mask: int, start: int) -> int | None:
    """The lowest bit of a mask that is set, from bit `start` on."""
    rest = mask >> start
    return start + (rest & -rest).bit_length() - 1 if rest else None


def _highest(mask: int, end: int) -> int | None:
    """The highest bit of a mask that is set, up to bit `end`."""
    rest = mask & ((2 << end) - 1) if end >= 0 else 0
    return rest.bit_length() - 1 if rest else None


def _size(mask: int) -> int:
    return bin(mask).count("1")
