"""`schedule add`, `edit`, `pause`, `resume`, `run` and `remove`."""

from __future__ import annotations

import time

from .. import jobspec, values
from ..errors import BadInput, Refused
from ..schedule import plan as plans, times, zones
from ..schedule.cron import Cron, parse_cron
from ..store.schedules import Wish
from ..suggestion import suggestion
from .enqueue import FIELDS as OPTION_HELP, OPTIONS, add_labels, directory, joined, standard_input, variable
from .queue_file import open_client
from .schedules import AT_BOOT, name_of, next_times, parse_schedule, schedule_arguments, time_line, zone_of
from .terminal import complain, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from ..schedule.times import Schedule
    from ..store.client import Client
    from ..store.firing import Row

FIELDS = (
    "queue priority cwd unique_key timeout max_retries backoff_base bury_on retry_only_on".split()
)
SHOWN = 5  # Times that `add` prints.


def schedule_add_arguments(parser: ArgumentParser) -> None:
    parser.usage = "queuectl schedule add NAME --cron EXPR [options] -- WORD ..."
    _arguments(parser, "the schedule's name")


def schedule_edit_arguments(parser: ArgumentParser) -> None:
    parser.usage = "queuectl schedule edit NAME [options] [-- WORD ...]"
    _arguments(parser, "a schedule; options that aren't given keep their values", is_edit=True)


def _arguments(parser: ArgumentParser, name_help: str, is_edit: bool = False) -> None:
    def default(value: str) -> str:
        return "" if is_edit else f" (default: {value})"  # An edit keeps the values of omitted options.

    parser.add_argument("name", metavar="NAME", help=name_help)
    schedule_arguments(parser)
    runs = parser.add_argument_group("runs")
    runs.add_argument(
        "--missed",
        choices=plans.MISSED,
        help="for times missed while no worker was free: one run for all, none, or one each" + default("once"),
    )
    runs.add_argument(
        "--overlap",
        choices=plans.OVERLAPS,
        help="if the previous run is unfinished: skip this run, queue it, or allow both at once" + default("skip"),
    )
    runs.add_argument("--jitter", metavar="DURATION", help="delay every run by the same amount, up to this much")
    runs.add_argument("--until", metavar="TIME", help="no runs after this time; 'never' removes the limit")
    runs.add_argument("--times", metavar="N", help="stop after N runs; 0 removes the limit")
    job = parser.add_argument_group("the job")
    job.add_argument("--command", metavar="LINE", help="the shell line to run, instead of -- WORD ...")
    for field in FIELDS:
        names, metavar, help = OPTION_HELP[field]
        if field == "unique_key":
            help = "skip a run while an unfinished job has this key"
        help = help.partition(" (default")[0] if is_edit else help
        job.add_argument(*names.split(), dest=field, metavar=metavar, help=help)
    job.add_argument("-e", "--env", action="append", default=[], metavar="K[=V]", help="set an environment variable")
    add_labels(job)
    job.add_argument("--stdin", action="store_true", help="save standard input and feed it to each job")


def schedule_add(args: Namespace) -> int:
    from ..workers.identity import machine_boot

    name = name_of(args.name, "add")
    wish = _wish(args, time.time(), args.tz)
    if wish.schedule is None:
        line = f"{suggestion('schedule add', name)} --every 10m -- ./poll"
        raise BadInput(f"no time given: use --cron, --every or --at; for instance, run: {line}")
    assert wish.job is not None
    if "command" not in wish.job:
        raise BadInput(f"no command: put it after --, as in: {suggestion('schedule add', name)} --every 10m -- ./poll")
    wish.job["cwd"] = directory(wish.job.get("cwd"))
    with open_client(args, creates=True) as store:
        row = store.add_schedule(name, wish, machine_boot())
        _print_runs(row, "added")
        if not any(worker.role == "worker" for worker in store.workers()):
            tell("no worker is running, so nothing will happen yet; run: queuectl worker start")
    return 0


def schedule_edit(args: Namespace) -> int:
    with open_client(args) as store:
        row = store.schedule(args.name)
        wish = _wish(args, time.time(), row.tz if args.tz is None else args.tz)
        if wish == Wish(job={}):
            raise BadInput("nothing to change: give at least one option (see 'queuectl schedule edit --help')")
        if wish.job and "cwd" in wish.job:
            wish.job["cwd"] = directory(wish.job["cwd"])
        _print_runs(store.edit_schedule(args.name, wish), "changed")
    return 0


def _names(parser: ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME", help="a schedule")


schedule_pause_arguments = schedule_resume_arguments = schedule_run_arguments = schedule_remove_arguments = _names


def schedule_pause(args: Namespace) -> int:
    return _each(args, lambda store, name: None if store.pause_schedule(name) else f"schedule {name} is already paused")


def schedule_resume(args: Namespace) -> int:
    return _each(args, lambda store, name: None if store.resume_schedule(name) else f"schedule {name} is not paused")


def schedule_run(args: Namespace) -> int:
    """Prints the jobs' ids."""

    def run(store: Client, name: str) -> None:
        print(store.run_schedule(name), flush=True)

    return _each(args, run)


def schedule_remove(args: Namespace) -> int:
    return _each(args, lambda store, name: store.remove_schedule(name))


def _each(args: Namespace, act: Callable[[Client, str], str | None]) -> int:
    """Act on each schedule named; returns 1 if one was refused. `act` may return a message to print."""
    code = 0
    with open_client(args) as store:
        for name in args.names:
            try:
                remark = act(store, name)
            except (Refused, BadInput) as refusal:
                complain(f"queuectl: {refusal}")
                code = refusal.exit_code
            else:
                if remark:
                    tell(remark)
    return code


# --- options ------------------------------------------------------------------------------------


def _wish(args: Namespace, now: float, tz: str | None) -> Wish:
    """What the options say. Raises BadInput."""
    tz = None if tz in (None, "local") else tz
    zone = zone_of(tz) if args.tz else zones.zone(tz, "--tz")
    until: float | None = None
    if args.until is not None:
        until = 0.0 if args.until == "never" else zones.moment(args.until, "--until", now, zone)
    return Wish(
        _schedule(args, now, zone),
        None if args.tz is None else tz or "",
        _job(args),
        args.missed,
        args.overlap,
        None if args.jitter is None else values.interval(args.jitter, "--jitter"),
        until,
        None if args.times is None else values.whole(args.times, "--times", 0, 2**31 - 1),
    )


def _schedule(args: Namespace, now: float, zone: zones.Zone) -> Schedule | None:
    if (args.cron, args.every, args.at) == (None, None, None):
        return None
    if args.cron is not None:
        return parse_cron(args.cron, "--cron")
    return parse_schedule(args, now if args.every is None else int(now), zone)


def _job(args: Namespace) -> dict[str, object]:
    """The fields of the job that the options give, validated."""
    job: dict[str, object] = {field: getattr(args, field) for field in FIELDS if getattr(args, field) is not None}
    if args.env:
        job["env"] = dict(map(variable, args.env))
    if args.labels:
        job["labels"] = args.labels
    if args.stdin:
        job["stdin"] = standard_input("--stdin")
    words = args.rest or []
    if args.command is not None:
        if words:
            raise BadInput("--command: cannot be used together with --")
        words = [args.command]
    if words:
        job["command"] = words[0] if len(words) == 1 else joined(words)
    elif args.rest is not None:
        raise BadInput("no command after --")
    jobspec.new_job({"command": "-", **job}, 0.0, {"command": "--command", **OPTIONS})
    return job


# --- output -------------------------------------------------------------------------------------


def _print_runs(row: Row, verb: str) -> None:
    """Print when a schedule runs next, and around the next clock change, to stderr: the data is in `next`."""
    plan = row.plan()
    schedule, zone, now = plan.schedule, plan.zone, int(time.time())
    if plans.is_at_boot(schedule):
        tell(f"schedule {row.name} {verb}; it {AT_BOOT}")
        return
    found = [] if row.paused else list(next_times(plan, row.since, SHOWN))
    if not found:
        why = "it is paused" if row.paused else "it never runs"
        tell(f"schedule {row.name} {verb}; {why}")
        return
    late = f", each {values.span(plan.delay)} later" if plan.delay else ""
    tell(f"schedule {row.name} {verb}; next runs{late}:")
    for at in found:
        tell("  " + time_line(schedule, at, zone, now))
    if not isinstance(schedule, Cron):
        return
    change = times.around_change(schedule, max(now, row.since), zone)
    if change is None or plan.left is not None:
        return
    last = change.time + 400 * 86400 if plan.until is None else plan.until
    around = [at for at in (change.before, change.after) if at is not None and row.since < at <= last]
    if around:
        tell(f"around the clock change on {zone.iso(change.time).replace('T', ' ')}:")
        for at in around:
            tell("  " + time_line(schedule, at, zone, now))
