"""`schedule list` and `schedule show`."""

from __future__ import annotations

import json
import time

from .. import values
from ..errors import BadInput
from ..grid import Column
from ..schedule import plan as plans, zones
from ..store.schedules import last_runs, schedule_named
from ..suggestion import shell_line
from ..values import iso
from ..views.schedules import Schedule, due, moment, result, skipped, timetable, when
from .queue_file import open_reader
from .tables import table
from .terminal import print_json, print_json_array, tell, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from ..grid import Alternatives
    from ..store.firing import Row
    from ..store.schedules import LastRun

COLUMNS = (
    Column("NAME", least=6),
    Column("WHEN", least=12),
    Column("NEXT"),
    Column("LAST", drop=3),
    Column("RESULT", least=9),
    Column("RUNS", right=True, drop=1),
    Column("SKIPPED", least=8, drop=2),
    Column("COMMAND", least=8, drop=4),
)


def schedule_list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON array, one schedule per line")


def schedule_list(args: Namespace) -> int:
    with open_reader(args, may_be_unused=True) as store:
        found = timetable(store).schedules
    if args.json:
        print_json_array(schedule_json(*each) for each in found)
        return 0
    if not found and not store.is_unused:
        tell("no schedules; to add one, run: queuectl schedule add NAME --cron '30 2 * * *' -- COMMAND")
    if found:
        now = time.time()
        table(COLUMNS, [_cells(each, now) for each in found])
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
    for name, value in _sheet(Schedule(row, last), time.time()).items():
        if value is not None:
            print(f"{name:<13} {values.escape(value)}")
    if row.runs and terminal.width() is not None:
        tell(f"to list its jobs, run: {shell_line(['queuectl', 'list', '--schedule', row.name])}")
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
        "last_success_at": _time(row.last_success_at),
        "failing_since": _time(row.failing_since),
        "last_state": last.state if last else None,
        "last_exit_code": last.exit_code if last else None,
        "last_error": last.error if last else None,
        "runs": row.runs,
        "skipped": row.skipped,
        "skip_reason": row.skip_reason,
        "created_at": _time(row.created_at),
        "job": job,
    }


def _cells(schedule: Schedule, now: float) -> list[object]:
    row, ago = schedule.row, None
    if schedule.last_at is not None:
        ago = f"{values.span(now - schedule.last_at)} ago"
    return [
        row.name,
        when(row),
        due(schedule, now),
        ago,
        _result(schedule),
        row.runs,
        (skipped(schedule), str(row.skipped)),
        schedule.command,
    ]


def _result(schedule: Schedule) -> Alternatives | str | None:
    """The result of the last run, ever shorter: "dead: exit 1 (no such file)", "dead: exit 1", "exit 1"."""
    text = result(schedule)
    if text is None or schedule.row.fault or ": " not in text:
        return text
    code = text.partition(" (")[0]
    return text, code, code.partition(": ")[2]


def _sheet(schedule: Schedule, now: float) -> dict[str, object]:
    """Everything about a schedule that has a value."""
    row, job = schedule.row, schedule.job()
    local = _clock(row)
    next_at = due(schedule, now)
    if next_at.startswith("in "):
        next_at = f"{local(row.next_at)} ({next_at})"
    options = {name: value for name, value in job.items() if name not in ("command", "stdin")}
    return {
        "name": row.name,
        "when": when(row),
        "next": next_at,
        "fault": row.fault,
        "last": local(row.last_at),
        "last job": row.last_job,
        "result": result(schedule),
        "last success": local(row.last_success_at),
        "failing since": local(row.failing_since),
        "runs": row.runs,
        "skipped": skipped(schedule),
        "missed": row.missed,
        "overlap": row.overlap,
        "jitter": values.span(row.jitter) if isinstance(row.jitter, (int, float)) and row.jitter else None,
        "until": local(row.until),
        "times left": row.times_left,
        "added": local(row.created_at),
        "command": job.get("command", None if job else row.template),
        "stdin": f"{len(str(job['stdin']))} characters" if "stdin" in job else None,
        **{name: _text(value) for name, value in options.items()},
    }


def _text(value: object) -> object:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return json.dumps(value) if isinstance(value, dict) else value


def _number(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return int(number) if number.is_integer() else number


def _clock(row: Row) -> Callable[[object], str | None]:
    """Formats times as `next` does: by the clocks of the schedule's time zone, with their offset from UTC."""
    try:
        zone = plans.zone_from(row.tz)
    except BadInput:
        zone = zones.LOCAL  # Another program stored garbage.

    def text(value: object) -> str | None:
        at = moment(value)
        return None if at is None else zone.iso(int(at)).replace("T", " ")

    return text


def _time(value: object) -> str | None:
    return iso(moment(value))
