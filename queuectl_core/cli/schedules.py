"""`schedule next`: when a schedule, a cron expression, an interval or a time is due."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace

from .. import values
from ..errors import BadInput, Refused
from ..schedule import times, zones
from ..schedule.cron import Cron, parse_cron
from ..schedule.plan import SHORTEST_INTERVAL
from ..suggestion import suggestion
from .queue_file import open_reader
from .terminal import print_json_array, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..schedule.plan import Plan
    from ..schedule.times import Schedule
    from ..schedule.zones import Zone

MOST_TIMES = 10_000
AT_BOOT = "runs when the first worker starts after a boot"


def schedule_arguments(parser: ArgumentParser) -> None:
    """Add the options that say when to run."""
    when = parser.add_mutually_exclusive_group()
    when.add_argument(
        "--cron",
        metavar="EXPR",
        help="MINUTE HOUR DAY MONTH WEEKDAY, quoted, such as '30 2 * * mon-fri', or @daily, @hourly and so on",
    )
    when.add_argument("--every", metavar="DURATION", help="an interval, such as 10m, in elapsed time")
    when.add_argument("--at", metavar="TIME", help="a single time: ISO 8601, epoch seconds, or +5m")
    parser.add_argument(
        "--tz", metavar="ZONE", help="a time zone, such as Europe/Berlin or UTC (default: local time)"
    )


def schedule_next_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="a schedule; or give --cron, --every or --at instead")
    schedule_arguments(parser)
    parser.add_argument("--from", dest="start", metavar="TIME", help="print times after this one (default: now)")
    parser.add_argument("-n", "--count", metavar="N", default="5", help="how many times to print (default: 5)")
    parser.add_argument("--json", action="store_true", help="print a JSON array of ISO 8601 times")


def schedule_next(args: Namespace) -> int:
    now = int(time.time())
    most = values.whole(args.count, "--count", 1, MOST_TIMES)
    if args.name is not None:
        return _next_of_name(args, now, most)
    zone = zone_of(args.tz)
    start = now if args.start is None else zones.moment(args.start, "--from", now, zone)
    schedule = parse_schedule(args, start, zone)
    found = [at for at, _ in zip(times.runs(schedule, start, zone), range(most))]
    return _print_times(args, schedule, zone, start, found)


def _next_of_name(args: Namespace, now: float, most: int) -> int:
    """Print the next times of a schedule in the queue."""
    from ..store.schedules import schedule_named

    if (args.cron, args.every, args.at, args.tz) != (None, None, None, None):
        raise BadInput("give either the name of a schedule, or --cron, --every or --at")
    name = name_of(args.name, "next")
    with open_reader(args) as store:
        try:
            row = schedule_named(store, name)
        except Refused as refusal:
            from .schedule_hints import instead_of_name  # Deferred: needed only for errors.

            raise Refused(instead_of_name(name, "next") or str(refusal)) from None
    plan = row.plan()
    start = max(now, row.since) if args.start is None else zones.moment(args.start, "--from", now, plan.zone)
    code = _print_times(args, plan.schedule, plan.zone, start, list(next_times(plan, start, most)))
    if row.paused:
        tell(f"schedule {row.name} is paused; to resume it, run: {suggestion('schedule resume', row.name)}")
    return code


def next_times(plan: Plan, since: float, most: int) -> Iterator[float]:
    """The next times of a schedule, at most `most`."""
    for _ in range(most if plan.left is None else min(most, plan.left)):
        found = plan.next_after(since)
        if found is None:
            return
        yield found
        since = found


def _print_times(args: Namespace, schedule: Schedule, zone: Zone, start: float, found: list[float]) -> int:
    if args.json:
        print_json_array(map(zone.iso, found))
    else:
        now = int(time.time())
        for at in found:
            print(time_line(schedule, at, zone, now))
    if not found:
        at_boot = isinstance(schedule, Cron) and schedule.at_boot
        tell(f"it {AT_BOOT}" if at_boot else f"it never runs after {zone.iso(start)}")
    return 0 if found else 1


def name_of(text: str, verb: str) -> str:
    """A schedule's name. Raises BadInput, with the correct command for an expression or a crontab line."""
    try:
        return values.name(text, "NAME")
    except BadInput as error:
        from .schedule_hints import instead_of_name  # Deferred: needed only for errors.

        raise BadInput(instead_of_name(text, verb) or str(error)) from None


def zone_of(name: str | None) -> Zone:
    """The zone that --tz names. Raises BadInput, and says so if its clocks aren't what the name suggests."""
    zone = zones.zone(name, "--tz")
    remark = zones.remark(name)
    if remark:
        tell(remark)
    return zone


def parse_schedule(args: Namespace, anchor: float, zone: Zone) -> Schedule:
    """What --cron, --every or --at asks for. An interval starts at `anchor`. Raises BadInput."""
    if args.cron is not None:
        cron = parse_cron(args.cron, "--cron")
        if cron.at_boot:
            raise BadInput(f"--cron: @reboot {AT_BOOT}, not at a certain time")
        return cron
    if args.every is not None:
        seconds = values.interval(args.every, "--every")
        if seconds < SHORTEST_INTERVAL:
            raise BadInput(f"--every: shorter than a second: {values.quote(args.every)}")
        return times.Every(seconds, anchor)
    if args.at is not None:
        return times.At(zones.moment(args.at, "--at", anchor, zone))
    raise BadInput(
        "name a schedule, or use --cron, --every or --at; for instance, run: queuectl schedule next --cron '30 2 * * *'"
    )


def time_line(schedule: Schedule, at: float, zone: Zone, now: float) -> str:
    """A time for people: the day of the week, local time and its offset from UTC, how far away it is, and a remark."""
    weekday = time.strftime("%a", time.gmtime(zone.wall(int(at))))
    local = zone.iso(at).replace("T", " ")
    away = f"in {values.span(at - now)}" if at >= now else f"{values.span(now - at)} ago"
    remark = _remark(schedule, int(at), zone) if isinstance(schedule, Cron) and not schedule.is_wild else ""
    return f"{weekday} {local}  {away:<8}  {remark}".rstrip()


def _remark(cron: Cron, at: int, zone: Zone) -> str:
    """What a change of clocks does to a time of an expression with a fixed time; "" if nothing."""
    wall, due = zone.wall(at), cron.next(zone.latest_wall(at - 1))
    if due is not None and due < wall:
        return f"{_clock(due)} is skipped: clocks go forward to {_clock(wall)}"
    if zone.comes_twice(at):
        return f"{_clock(wall)} comes twice: clocks go back"
    return ""


def _clock(wall: int) -> str:
    return time.strftime("%H:%M", time.gmtime(wall))
