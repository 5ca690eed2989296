"""Compares our times with those of other implementations: `python3 -m tests.compare_cron [--count N] [--seed S]`.

It needs cronsim and croniter, which `.ci/run` installs. cronsim follows Debian's cron: expressions with a fixed time
are compared across changes of clocks. Others are compared away from changes, where cronsim loses times, or hangs.
croniter has rules of its own for changes, so it is compared in UTC. Exits 1 if any time differs.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import random
import sys
from typing import Iterator, List

import croniter
import cronsim
import zoneinfo

from queuectl_core.schedule import times, zones
from queuectl_core.schedule.cron import Cron, parse_cron
from tests.cron_oracle import random_expression

ZONES = ("UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Asia/Kolkata", "America/New_York",
         "Africa/Casablanca", "Asia/Tehran", "Pacific/Chatham", "America/St_Johns", "Atlantic/Azores")  # fmt: skip
START, END = 946684800, 2524608000  # 2000 to 2050.
TIMES = 8  # Of each expression.
WEEK = 7 * 86400

Times = List[float]


def ours(cron: Cron, start: int, zone: zones.Zone) -> Times:
    return list(itertools.islice(times.runs(cron, start, zone), TIMES))


def of_cronsim(text: str, start: datetime.datetime, reverse: bool = False) -> Times:
    found: Iterator[datetime.datetime] = cronsim.CronSim(text, start, reverse)
    return [time.timestamp() for time in itertools.islice(found, TIMES)]


def of_croniter(text: str, start: datetime.datetime) -> Times:
    found = croniter.croniter(text, start, ret_type=float, implement_cron_bug=True)
    return [found.get_next() for _ in range(TIMES)]


def near_change(zone: zones.Zone, generator: random.Random) -> int:
    """A time up to two days before a change of clocks, or any time if there is none."""
    start = generator.randrange(START, END)
    change = zone.change(start, start + 400 * 86400)
    return start if change is None else change - generator.randrange(2 * 86400)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    args = parser.parse_args()
    generator = random.Random(args.seed)
    different = compared = 0

    def compare(name: str, text: str, start: datetime.datetime, mine: Times, theirs: Times) -> None:
        nonlocal different
        if mine != theirs:
            different += 1
            at = next((at for at, pair in enumerate(zip(mine, theirs)) if pair[0] != pair[1]), 0)
            shown = [str(datetime.datetime.fromtimestamp(found[at], start.tzinfo)) for found in (mine, theirs)]
            print(f"{text!r} after {start} {start.tzinfo}: {shown[0]}, but {name} says {shown[1]}")

    for number in range(args.count):
        text = random_expression(generator)
        cron = parse_cron(text, "expression")
        name = ZONES[number % len(ZONES)]
        zone = zones.zone(name, "zone")
        start = near_change(zone, generator) if number % 2 else generator.randrange(START, END)
        mine = ours(cron, start, zone)
        given = datetime.datetime.fromtimestamp(start, zoneinfo.ZoneInfo(name))
        if not cron.is_wild or zone.change(start - WEEK, int(mine[-1]) + WEEK) is None:
            compare("cronsim", text, given, mine, of_cronsim(text, given))
            compared += 1
        utc = datetime.datetime.fromtimestamp(start, datetime.timezone.utc)
        compare("croniter", text, utc, ours(cron, start, zones.UTC), of_croniter(text, utc))
    print(f"{args.count} expressions, seed {args.seed}: {compared} compared with cronsim, {different} differ")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
