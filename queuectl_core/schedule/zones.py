"""Time zones: how far the clocks of a place are ahead of UTC, and when that changes.

A zone is a function from epoch seconds to an offset. Everything else follows from it, so the local zone of Python 3.8
works like those of zoneinfo. The clocks of a zone change at most once within `WINDOW`: of all zones since 1970, the
shortest time between two changes is a week.
"""

from __future__ import annotations

import sys
from datetime import datetime
from time import gmtime, localtime, strftime

from .. import values
from ..errors import BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Callable

WINDOW = 2 * 86400
EPOCH = datetime(1970, 1, 1)
FIRST, LAST = -2145916800, 253370764800  # The years 1902 and 9999.


class Zone:
    """A time zone. Its name is None for the local zone. `offset` is a function from epoch seconds to seconds."""

    def __init__(self, name: str | None, offset: Callable[[int], int]) -> None:
        self.name = name
        self._offset = offset

    def offset(self, epoch: int) -> int:
        """How far clocks are ahead of UTC at this time, in seconds."""
        return self._offset(min(max(epoch, FIRST), LAST))

    def wall(self, epoch: int) -> int:
        """What clocks show at this time, in seconds, as if the zone were UTC."""
        return epoch + self.offset(epoch)

    def change(self, start: int, end: int) -> int | None:
        """When clocks change for the first time after `start` and until `end`; None if they don't."""
        old = self.offset(start)
        while start < end:
            until = min(start + WINDOW, end)
            if self.offset(until) != old:
                while until - start > 1:
                    middle = (start + until) // 2
                    if self.offset(middle) == old:
                        start = middle
                    else:
                        until = middle
                return until
            start = until
        return None

    def epoch(self, wall: int) -> int:
        """When clocks first show a wall time. A time that they skip becomes the time of the change."""
        start, end = wall - WINDOW // 2, wall + WINDOW // 2
        old, new = self.offset(start), self.offset(end)
        if old == new:
            return wall - old
        change = self.change(start, end) or end
        if wall - old < change:
            return wall - old
        return max(wall - new, change)

    def later(self, given: datetime) -> float:
        """When clocks show a wall time for the second time, if they show it twice; in epoch seconds."""
        wall = (given - EPOCH).total_seconds()
        epoch = int(wall) - self.offset(int(wall) + WINDOW // 2)
        return (epoch if self.wall(epoch) == int(wall) else self.epoch(int(wall))) + wall % 1

    def latest_wall(self, epoch: int) -> int:
        """The latest wall time that clocks have shown or skipped, until this time."""
        wall = self.wall(epoch)
        change = self.change(epoch - WINDOW, epoch)
        return wall if change is None else max(wall, change - 1 + self.offset(change - 1))

    def comes_twice(self, epoch: int) -> bool:
        """Whether clocks show the same wall time again, soon after this time."""
        change = self.change(epoch, epoch + WINDOW)
        return change is not None and self.wall(change) <= self.wall(epoch)

    def iso(self, epoch: float) -> str:
        """A time as ISO 8601 with its offset from UTC, such as 2026-03-28T02:30:00+01:00."""
        seconds, milliseconds = divmod(int(epoch * 1000 + 0.5), 1000)
        offset = self.offset(seconds)
        fraction = f".{milliseconds:03d}" if milliseconds else ""
        minutes, rest = divmod(abs(offset), 60)
        sign, odd = "-" if offset < 0 else "+", f":{rest:02d}" if rest else ""
        wall = strftime("%Y-%m-%dT%H:%M:%S", gmtime(seconds + offset))
        return f"{wall}{fraction}{sign}{minutes // 60:02d}:{minutes % 60:02d}{odd}"


# Common names of time zones, and a place whose clocks they mean.
ABBREVIATIONS = {
    **dict.fromkeys("Z ZULU UTC+0 UTC-0 GMT+0".split(), "UTC"),
    **dict.fromkeys("PST PDT PT".split(), "America/Los_Angeles"),
    **dict.fromkeys("MST MDT MT".split(), "America/Denver"),
    **dict.fromkeys("CST CDT CT".split(), "America/Chicago"),
    **dict.fromkeys("EST EDT ET".split(), "America/New_York"),
    **dict.fromkeys("AEST AEDT".split(), "Australia/Sydney"),
    "AKST": "America/Anchorage",
    "BST": "Europe/London",
    "CEST": "Europe/Berlin",
    "EEST": "Europe/Athens",
    "IST": "Asia/Kolkata",
    "JST": "Asia/Tokyo",
    "KST": "Asia/Seoul",
    "MSK": "Europe/Moscow",
    "NZST": "Pacific/Auckland",
    "SGT": "Asia/Singapore",
}


FIXED = {"EST": "-05:00", "MST": "-07:00"}  # Zones without daylight saving time, although many expect it.
UTC = Zone("UTC", lambda epoch: 0)
LOCAL = Zone(None, lambda epoch: localtime(epoch).tm_gmtoff)


def zone(name: str | None, place: str) -> Zone:
    """The zone of this name, such as Europe/Berlin; None is the local zone. Raises BadInput if there is none."""
    if name is None:
        return LOCAL
    if name.upper() in ("UTC", "ETC/UTC"):
        return UTC
    zoneinfo = _zoneinfo()
    if zoneinfo is None:
        version = "{}.{}".format(*sys.version_info)
        raise BadInput(
            f"{place}: names of time zones need Python 3.9 or later, and this is {version};"
            " here, only UTC and local time work"
        )
    try:
        found = zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError; a directory is an OSError.
        raise BadInput(f"{place}: {_no_such_zone(zoneinfo, name)}") from None

    def offset(epoch: int) -> int:
        ahead = datetime.fromtimestamp(epoch, found).utcoffset()
        return 0 if ahead is None else ahead.days * 86400 + ahead.seconds

    return Zone(name, offset)


def remark(name: str | None) -> str | None:
    """A warning about a zone whose clocks aren't what its name suggests; None for other zones."""
    name = name or ""
    if name in FIXED:
        # EST and MST are the times of Panama and Arizona, which few people mean.
        return f"{name} is {FIXED[name]} all year; for clocks with daylight saving time, write {ABBREVIATIONS[name]}"
    sign, hours = name[7:8], name[8:]
    if name.startswith("Etc/GMT") and sign in ("+", "-") and hours.isdigit() and int(hours):
        offset = f"{'-' if sign == '+' else '+'}{int(hours):02d}:00"
        return f"{name} is {offset}: in these names, + means west of Greenwich"
    return None


def moment(text: str, place: str, now: float, zone: Zone) -> float:
    """Epoch seconds from a time like those of `values.moment`; without an offset, it is a time in `zone`."""
    found = values.moment(text, place, now)
    try:
        given = datetime.fromisoformat(text.strip())
    except ValueError:
        return found  # It ends in Z, or starts with "+".
    if given.tzinfo is not None or text.strip().replace(".", "", 1).isdigit():
        return found
    wall = (given - EPOCH).total_seconds()
    return zone.epoch(int(wall)) + wall % 1


def _zoneinfo() -> Any:
    """The module zoneinfo; None before Python 3.9."""
    from importlib import import_module

    try:
        return import_module("zoneinfo")
    except ImportError:
        return None


def _no_such_zone(zoneinfo: Any, name: str) -> str:
    known = zoneinfo.available_timezones()
    if len(known) < 100:
        return (
            f"no time zone {values.quote(name)}: this system has no time zones; install tzdata"
            " (apt install tzdata, or pip install tzdata)"
        )
    problem = f"no such time zone: {values.quote(name)}"
    meant = _zone_meant(known, name)
    return f"{problem}; did you mean {meant}?" if meant else f"{problem} (write a name such as Europe/Berlin, or UTC)"


def _zone_meant(known: Iterable[str], name: str) -> str | None:
    """The zone that an abbreviation, a city, or a misspelled name means; None if that is unclear."""
    place = ABBREVIATIONS.get(name.upper())
    if place is not None:
        return place
    from difflib import get_close_matches

    zones = {zone.lower(): zone for zone in sorted(known, key=len, reverse=True)}
    cities = {lower.rpartition("/")[2]: zone for lower, zone in zones.items() if "/" in lower}
    wanted = name.strip().lower().replace(" ", "_")
    for names in (zones, cities):
        similarity = 0.85 if len(wanted) > 4 else 1  # Short names differ by a letter.
        matches = get_close_matches(wanted, names, 1, similarity)
        if matches:
            return names[matches[0]]
    return None
