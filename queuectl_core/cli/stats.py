"""`stats`: statistics over a period."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace

from .. import values
from ..errors import BadInput
from ..grid import Column
from ..typed import NamedTuple
from ..values import counted, iso, span
from ..views import facts, history
from ..views.history import Span, Stats
from ..views.schedules import Schedule, by_urgency, due, result, skipped, timetable
from .queue_file import open_reader
from .tables import table
from .terminal import print_json, tell, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..store.reader import Reader
    from ..views.facts import Overview

PARTS = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
BY = ("hour", "day", "queue")
BARS = " ▁▂▃▄▅▆▇█"
MOST_BARS = 60
MOST_SCHEDULES = 10  # In the table.
HOURS = 3600


def stats_arguments(parser: ArgumentParser) -> None:
    _span_arguments(parser, "24h")
    parser.add_argument("--by", metavar="WHAT", help="a line for each hour, day or queue")
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def _span_arguments(parser: ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--since", metavar="TIME", default=default, help=f"from this time on: 24h, 7d or ISO 8601 (default: {default})"
    )
    parser.add_argument("--until", metavar="TIME", help="up to this time (default: now)")
    parser.add_argument(
        "-q", "--queue", metavar="QUEUE", action="append", default=[], help="only this queue; may be repeated"
    )


def stats(args: Namespace) -> int:
    if args.by not in (None, *BY):
        raise BadInput(f"--by: must be hour, day or queue, not {values.quote(args.by)}")
    period, queues, now = _selection(args)
    with open_reader(args) as store, store.snapshot():
        overview = facts.overview(store, now)
        report = _Report(
            period=period,
            queues=queues,
            total=history.total(store, period, queues),
            by=args.by,
            groups=_groups(store, args.by, period, queues),
            chosen=[queue for queue in overview.queues if not queues or queue.name in queues],
            overview=overview,
            bars=history.series(store, period, period.step(MOST_BARS), queues),
            schedules=[each for each in timetable(store).schedules if not queues or each.queue in queues],
        )
    if args.json:
        print_json(_json(report))
    elif args.by:
        _print_groups(args.by, report.groups, report.total)
    else:
        _print(report)
    return 0


class _Report(NamedTuple):
    """What `stats` shows of a time and some queues, or of all if `queues` is empty.

    `groups` are the statistics by the word in `by`, if any; `chosen` are the queues as they are now, and
    `schedules` those that add jobs to them.
    """

    period: Span
    queues: list[str]
    total: Stats
    by: str | None
    groups: list[tuple[str, Stats]]
    chosen: list[facts.Queue]
    overview: Overview
    bars: list[tuple[float, Stats]]
    schedules: list[Schedule]

    def oldest(self) -> tuple[float, str] | None:
        """When the longest-waiting job became ready, and its queue."""
        return min(((queue.oldest, queue.name) for queue in self.chosen if queue.oldest is not None), default=None)

    def remaining(self) -> facts.Remaining:
        """How long the jobs of these queues will take."""
        if not self.queues:
            return self.overview.remaining
        unknown = [queue.remaining for queue in self.chosen if queue.remaining.seconds is None]
        seconds = max((queue.remaining.seconds or 0.0 for queue in self.chosen), default=0.0)
        return unknown[0] if unknown else facts.Remaining(seconds)


def _selection(args: Namespace) -> tuple[Span, list[str], float]:
    """The time and the queues that the options name, and the time now."""
    now = time.time()
    since = values.past(args.since, "--since", now)
    until = now if args.until is None else values.past(args.until, "--until", now)
    if since >= until:
        raise BadInput("--since: must be before --until")
    return Span(since, until), list(values.distinct_names(args.queue, "--queue")), now


def _groups(store: Reader, by: str | None, period: Span, queues: Sequence[str]) -> list[tuple[str, Stats]]:
    if by == "queue":
        found = history.by_queue(store, period)
        return [(name, found[name]) for name in found if not queues or name in queues]
    if by == "day":
        return history.by_day(store, period, queues)
    if by == "hour":
        hours = history.series(store, period, HOURS, queues)
        return [
            (time.strftime("%Y-%m-%d %H:%M", time.localtime(start)), stats) for start, stats in hours if stats.counts
        ]
    return []


def _print(report: _Report) -> None:
    period, total = report.period, report.total
    where = f" in {', '.join(map(values.escape, report.queues))}" if report.queues else ""
    print(f"From {_local(period.since)} to {_local(period.until)}{where}\n")
    _line("added", f"{counted(total.added, 'job')}")
    _line("finished", f"{counted(total.finished, 'job')}{_share(total)}")
    _line("throughput", _rate(total.finished, period.seconds))
    _line("attempts", f"{total.attempts:,}{_tries(total)}{_endings(total.counts)}")
    _line("wait", _quantiles([total.wait(part) for _, part in PARTS]))
    _line("run", _quantiles([total.run(part) for _, part in PARTS]))
    _line("oldest", _oldest(report.oldest(), report.overview.now))
    _line("remaining", _remaining(report.remaining(), sum(queue.waiting + queue.running for queue in report.chosen)))
    if terminal.width() is not None and terminal.shows_unicode() and total.attempts:
        unit = _unit(period.step(MOST_BARS))
        print()
        _sparkline("finished", [stats.finished for _, stats in report.bars], f"jobs per {unit}")
        _sparkline("failed", [stats.failures for _, stats in report.bars], f"attempts per {unit}")
    if report.schedules:
        print()
        _print_schedules(by_urgency(report.schedules), report.overview.now)


def _print_schedules(schedules: Sequence[Schedule], now: float) -> None:
    rows = []
    for each in schedules[:MOST_SCHEDULES]:
        last = None if each.last_at is None else f"{span(max(0.0, now - each.last_at))} ago"
        rows.append([each.name, due(each, now), last, result(each), (skipped(each), str(each.skipped))])
    table(
        (
            Column("SCHEDULE", least=8),
            Column("NEXT", least=6),
            Column("LAST"),
            Column("RESULT", least=9),
            Column("SKIPPED", least=8),
        ),
        rows,
    )
    left_out = len(schedules) - len(rows)
    if left_out:
        tell(f"… and {left_out:,} more; to list them, run: queuectl schedule list")


def _line(name: str, text: str) -> None:
    print(f"{name:<11} {text}")


def _share(total: Stats) -> str:
    if total.success is None:
        return ""
    dead = total.counts.get("dead", 0)
    return f", {percentage(total.success)} completed" + (f", {dead:,} dead" if dead else "")


def percentage(part: float) -> str:
    """A share as a percentage that isn't rounded up to 100% or down to 0%."""
    rounded = round(part * 100, 1)
    if part < 1 and rounded == 100:
        return "99.9%"
    if part > 0 and rounded == 0:
        return "0.1%"
    return f"{rounded:g}%"


def _tries(total: Stats) -> str:
    return "" if total.tries is None else f", {total.tries:.3g} per finished job"


def _endings(counts: dict[str, int]) -> str:
    named = [f"{counts[kind]:,} {kind}" for kind in history.RAN[1:] if counts.get(kind)]
    return f" ({', '.join(named)})" if named else ""


def _rate(number: int, seconds: float) -> str:
    """How often something happens, in the unit that makes it a handy number."""
    for unit, length in (("s", 1), ("min", 60), ("h", 3600)):
        if number * length >= seconds:
            return f"{number * length / seconds:,.3g}/{unit}"
    return f"{number * 86400 / seconds:,.3g}/day"


def _quantiles(found: Sequence[float | None]) -> str:
    if found[0] is None:
        return "no data yet"
    return "  ".join(f"{name} {span(value or 0)}" for (name, _), value in zip(PARTS, found))


def _oldest(oldest: tuple[float, str] | None, now: float) -> str:
    if oldest is None:
        return "no job is ready"
    return f"{span(max(0.0, now - oldest[0]))} ready, in {values.escape(oldest[1])}"


def _remaining(remaining: facts.Remaining, left: int) -> str:
    if not left:
        return "nothing to do"
    time_left = remaining.reason if remaining.seconds is None else f"about {span(remaining.seconds)}"
    return f"{time_left}, for {counted(left, 'job')}"


def _unit(step: int) -> str:
    """One of history.STEPS in words."""
    for seconds, unit in ((86400, "day"), (3600, "h")):
        if step % seconds == 0:
            return unit if step == seconds else f"{step // seconds} {unit}{'s' if unit == 'day' else ''}"
    return f"{step // 60} min"


def _sparkline(name: str, numbers: Sequence[int], unit: str) -> None:
    """A bar for each number; the highest is as high as the line."""
    highest = max(numbers)
    room = max(1, (terminal.width() or MOST_BARS) - 48)
    numbers = numbers[-room:]
    bars = "".join(BARS[-(-number * (len(BARS) - 1) // highest) if highest else 0] for number in numbers)
    _line(name, f"{bars}  at most {highest:,} {unit}")


def _print_groups(by: str, groups: Sequence[tuple[str, Stats]], total: Stats) -> None:
    if not groups:
        tell("nothing happened in this period")
        return
    rows = [_row(name, stats) for name, stats in groups]
    if len(rows) > 1:
        rows.append(_row("(all)", total))
    columns = [Column({"queue": "QUEUE", "hour": "HOUR", "day": "DAY"}[by], least=8)]
    titles = ("ADDED", "FINISHED", "DEAD", "SUCCESS", "TRIES", "WAIT p50", "WAIT p95", "RUN p50", "RUN p95")
    drops = (5, 0, 0, 0, 4, 2, 1, 3, 0)
    table(columns + [Column(title, right=True, drop=drop) for title, drop in zip(titles, drops)], rows)


def _row(name: str, stats: Stats) -> list[object]:
    times = [stats.wait(0.5), stats.wait(0.95), stats.run(0.5), stats.run(0.95)]
    return [
        name,
        f"{stats.added:,}",
        f"{stats.finished:,}",
        f"{stats.counts.get('dead', 0):,}",
        None if stats.success is None else percentage(stats.success),
        None if stats.tries is None else f"{stats.tries:.2f}",
        *(None if seconds is None else span(seconds) for seconds in times),
    ]


def _json(report: _Report) -> dict[str, object]:
    oldest, remaining = report.oldest(), report.remaining()
    result: dict[str, object] = {
        "since": iso(report.period.since),
        "until": iso(report.period.until),
        "queues": report.queues or None,
        **_figures(report.total, report.period.seconds),
        "oldest_ready_seconds": None if oldest is None else round(max(0.0, report.overview.now - oldest[0]), 3),
        "remaining_seconds": None if remaining.seconds is None else round(remaining.seconds, 3),
        "remaining_unknown_because": remaining.reason or None,
        "schedules": [_schedule_json(each) for each in report.schedules],
    }
    if report.by:
        result["by"] = report.by
        result["groups"] = [{report.by: name, **_figures(stats, None)} for name, stats in report.groups]
    return result


def _schedule_json(schedule: Schedule) -> dict[str, object]:
    row, last = schedule
    return {
        "name": schedule.name,
        "queue": schedule.queue,
        "paused": schedule.is_paused,
        "fault": row.fault,
        "next_at": iso(schedule.next_at),
        "last_at": iso(schedule.last_at),
        "last_state": last.state if last else None,
        "last_success_at": iso(schedule.last_success_at),
        "failing_since": iso(schedule.failing_since),
        "skipped": schedule.skipped,
        "skip_reason": row.skip_reason,
    }


def _figures(stats: Stats, seconds: float | None) -> dict[str, object]:
    """What JSON says of statistics; `seconds` is the length of their time, for the throughput."""
    figures: dict[str, object] = {
        "added": stats.added,
        "finished": stats.finished,
        "attempts": {kind: stats.counts.get(kind, 0) for kind in history.RAN},
        "success_rate": _rounded(stats.success),
        "attempts_per_job": _rounded(stats.tries),
        "wait_seconds": {name: _rounded(stats.wait(part)) for name, part in PARTS},
        "run_seconds": {name: _rounded(stats.run(part)) for name, part in PARTS},
    }
    if seconds is not None:
        figures["finished_per_second"] = _rounded(stats.finished / seconds)
    return figures


def _rounded(number: float | None) -> float | None:
    """The number with six significant digits."""
    return None if number is None else float(f"{number:.6g}")


def _local(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
