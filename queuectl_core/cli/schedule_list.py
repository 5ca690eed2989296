"""`schedule list` and `schedule show`."""

from __future__ import annotations

import json
import time

from .. import values
from ..errors import BadInput
from ..grid import Column
from ..phrases import local
from ..schedule import plan as plans
from ..schedule.times import At, Every
from ..store.schedules import last_runs, schedule_named, schedules
from ..values import iso
from .queue_file import open_reader
from .tables import table
from .terminal import print_json, print_json_array, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ..store.firing import Row
    from ..store.schedules import LastRun

COLUMNS = (
    Column("NAME", least=6),
    Column("WHEN", least=8),
    Column("NEXT", least=6),
    Column("LAST", drop=3),
    Column("RESULT", least=9),
    Column("RUNS", right=True, drop=2),
    Column("SKIPPED", least=8, drop=4),
    Column("COMMAND", least=8, drop=1),
)


def schedule_list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON array, one schedule per line")


def schedule_list(args: Namespace) -> int:
    with open_reader(args, may_be_unused=True) as store:
        rows, last = schedules(store), last_runs(store)
    if args.json:
        print_json_array(schedule_json(row, last.get(row.name)) for row in rows)
        return 0
    if not rows and not store.is_unused:
        tell("no schedules; to add one, run: queuectl schedule add NAME --cron '30 2 * * *' -- COMMAND")
    if rows:
        now = time.time()
        table(COLUMNS, [_cells(row, last.get(row.name), now) for row in rows])
    return 0


def schedule_show_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a schedule")
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def schedule_show(args: Namespace) -> int:
    with open_reader(args) as store:
        row = schedule_named(store, args.name)
        last = last_runs(store).get(row.name)
    if args.json:
        print_json(schedule_json(row, last))
        return 0
    for name, value in _sheet(row, last, time.time()).items():
        if value is not None:
            print(f"{name:<13} {values.escape(value)}")
    return 0


def schedule_json(row: Row, last: LastRun | None) -> dict[str, object]:
    """A schedule for output: times in ISO 8601, durations in seconds."""
    try:
        job: object = json.loads(row.template)
    except (ValueError, TypeError, RecursionError):
        job = None  # Another program stored garbage.
    return {
        "name": row.name,
        "cron": row.expression if row.kind == "cron" else None,
        "every": _number(row.expression) if row.kind == "every" else None,
        "at": iso(_number(row.expression)) if row.kind == "at" else None,
        "anchor": _time(row.anchor) if row.kind == "every" else None,
        "tz": row.tz,
        "missed": row.missed,
        "overlap": row.overlap,
        "jitter": row.jitter,
        "until": _time(row.until),
        "times_left": row.times_left,
        "paused": bool(row.paused),
        "fault": row.fault,
        "next_at": None if row.paused else _time(row.next_at),
        "last_at": _time(row.last_at),
        "last_job": row.last_job,
        "last_state": last.state if last else None,
        "last_exit_code": last.exit_code if last else None,
        "last_error": last.error if last else None,
        "runs": row.runs,
        "skipped": row.skipped,
        "skip_reason": row.skip_reason,
        "created_at": _time(row.created_at),
        "job": job,
    }


def when(row: Row) -> str:
    """When a schedule is due, in a few words."""
    zone = f" {row.tz}" if row.tz else ""
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


def _next(row: Row, now: float) -> str:
    if row.paused:
        return "paused"
    if row.kind == "cron" and row.expression == "@reboot":
        return "at boot"
    if not isinstance(row.next_at, (int, float)):
        return "ended"
    return f"in {values.span(row.next_at - now)}" if row.next_at > now else "due"


def _result(row: Row, last: LastRun | None) -> str | None:
    if row.fault:
        return f"fault: {row.fault}"
    if last is None:
        return "deleted" if row.last_job else None
    if last.state in ("dead", "failed") and last.error:
        return f"{last.state}: {last.error}"
    return last.state


def _skipped(row: Row) -> str:
    return f"{row.skipped}: {row.skip_reason}" if row.skipped and row.skip_reason else str(row.skipped)


def _cells(row: Row, last: LastRun | None, now: float) -> list[object]:
    ago = f"{values.span(now - row.last_at)} ago" if isinstance(row.last_at, (int, float)) else None
    return [
        row.name,
        when(row),
        _next(row, now),
        ago,
        _result(row, last),
        row.runs,
        (_skipped(row), str(row.skipped)),
        _command(row),
    ]


def _command(row: Row) -> object:
    job = schedule_json(row, None)["job"]
    return job.get("command") if isinstance(job, dict) else None


def _sheet(row: Row, last: LastRun | None, now: float) -> dict[str, object]:
    """Everything about a schedule that has a value."""
    next_at = _next(row, now)
    if next_at.startswith("in "):
        next_at = f"{_local(row.next_at)} ({next_at})"
    given = schedule_json(row, last)["job"]
    job = given if isinstance(given, dict) else {}
    options = {name: value for name, value in job.items() if name not in ("command", "stdin")}
    return {
        "name": row.name,
        "when": when(row),
        "next": next_at,
        "fault": row.fault,
        "last": _local(row.last_at),
        "last job": row.last_job,
        "result": _result(row, last),
        "runs": row.runs,
        "skipped": _skipped(row),
        "missed": row.missed,
        "overlap": row.overlap,
        "jitter": values.span(row.jitter) if isinstance(row.jitter, (int, float)) and row.jitter else None,
        "until": _local(row.until),
        "times left": row.times_left,
        "added": _local(row.created_at),
        "command": job.get("command", row.template if given is None else None),
        "stdin": f"{len(str(job['stdin']))} characters" if "stdin" in job else None,
        **{name: json.dumps(value) if isinstance(value, dict) else value for name, value in options.items()},
    }


def _number(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return int(number) if number.is_integer() else number


def _local(value: object) -> str | None:
    return local(value) if isinstance(value, (int, float)) else None


def _time(value: object) -> str | None:
    return iso(value) if isinstance(value, (int, float)) else None
