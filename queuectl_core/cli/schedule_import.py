"""`schedule import`: adds the jobs of a crontab as schedules."""

from __future__ import annotations

import os
import pwd
import sys

from .. import values
from ..errors import BadInput
from ..grid import Column
from ..schedule import plan as plans, zones
from ..schedule.crontab import Entry, Rejected, parse_crontab, seem_to_name_users, suggest_name
from ..store.firing import REBOOT
from ..store.schedules import Wish, schedules
from ..suggestion import suggestion
from ..values import counted
from .enqueue import joined
from .queue_file import open_client, open_reader
from .tables import table
from .terminal import complain, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Tuple

    from ..store.firing import Row
    from ..store.reader import Reader

    # A line's number, the name and what to add under it.
    Named = Tuple[int, str, Wish]
    # The name of a schedule, its expression, and the number of the line that seems to replace it.
    Replaced = Tuple[str, str, int]

DESCRIPTION = """\
Add the jobs of a crontab as schedules. Lines that can't be imported are reported with their number and the
reason; all others are added. Unchanged lines that you imported before are skipped. A line that you have
edited since is added again, and the schedule that it seems to replace is named, but kept. The crontab itself
is not changed.
"""
OURS = ("SHELL", "MAILTO", "CRON_TZ", "RANDOM_DELAY", "HOME")  # Settings that aren't only variables of the commands.
LARGEST = 16 * 1024**2  # Bytes of a crontab.
COLUMNS = (Column("LINE", right=True), Column("NAME", least=6), Column("WHEN", least=8), Column("COMMAND", least=8))


def schedule_import_arguments(parser: ArgumentParser) -> None:
    parser.description = DESCRIPTION
    parser.add_argument("file", nargs="?", metavar="FILE", help="the crontab (default or -: standard input)")
    parser.add_argument("--system", action="store_true", help="each line names a user, as in /etc/crontab")
    parser.add_argument("--dry-run", action="store_true", help="change nothing; print what would be added")
    parser.add_argument("-q", "--queue", metavar="QUEUE", help="the jobs' queue (default: default)")
    as_in_cron = "as in schedule add (default: {}, as in cron)"
    parser.add_argument("--missed", choices=plans.MISSED, default="skip", help=as_in_cron.format("skip"))
    parser.add_argument("--overlap", choices=plans.OVERLAPS, default="allow", help=as_in_cron.format("allow"))
    parser.add_argument("--max-retries", metavar="N", default="0", help="retry a failed job up to N times (default: 0)")


def schedule_import(args: Namespace) -> int:
    from ..workers.identity import machine_boot

    job: dict[str, object] = {"max_retries": values.whole(args.max_retries, "--max-retries", 0)}
    if args.queue is not None:
        job["queue"] = values.name(args.queue, "--queue")
    entries, rejected = _read(args)
    if args.dry_run:
        with open_reader(args, may_be_unused=True) as reader:
            found, existing, replaced = _named(args, reader, entries, rejected, job)
    else:
        with open_client(args, creates=True) as store, store.batch():
            found, existing, replaced = _named(args, store, entries, rejected, job)
            for _, name, wish in found:
                store.add_schedule(name, wish, machine_boot())
    if found:
        table(COLUMNS, [(line, name, _when(wish), (wish.job or {})["command"]) for line, name, wish in found])
        sys.stdout.flush()
    for line in sorted(rejected):
        complain(f"queuectl: {line.reason}")
    there = f"; {existing} were imported before" if existing else ""
    verb = "would import" if args.dry_run else "imported"
    tell(f"{verb} {counted(len(found), 'schedule')}, rejected {counted(len(rejected), 'line')}{there}")
    for name, expression, number in replaced:
        tell(
            f"schedule {name} ({expression}) is no longer in the crontab, and line {number} seems to replace it;"
            f" to remove it, run: {suggestion('schedule remove', name)}"
        )
    if found and not args.dry_run:
        tell("cron still runs these lines, too; remove them from the crontab")
    for remark in sorted({zones.remark(entry.zone) or "" for entry in entries} - {""}):
        tell(remark)
    if any(entry.mailto for entry in entries):
        tell("MAILTO: queuectl sends no mail; it keeps the output (queuectl logs ID); see docs/schedules.md")
    return 1 if rejected else 0


def _read(args: Namespace) -> tuple[list[Entry], list[Rejected]]:
    """The jobs of the crontab, and the lines that cron wouldn't understand."""
    place = "standard input" if args.file in (None, "-") else values.quote(args.file)
    try:
        with open(0 if args.file in (None, "-") else args.file, "rb", closefd=args.file not in (None, "-")) as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        raise BadInput(f"{place}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > LARGEST:
        raise BadInput(f"{place}: larger than {LARGEST // 1024**2} MiB; not a crontab")
    lines = list(parse_crontab(values.decode(data), args.system))
    entries = [line for line in lines if isinstance(line, Entry)]
    if not args.system and seem_to_name_users(entries, {user.pw_name for user in pwd.getpwall()}):
        raise BadInput(f"{place}: each command starts with a user, as in /etc/crontab; add --system")
    return entries, [line for line in lines if isinstance(line, Rejected)]


def _named(
    args: Namespace, store: Reader, entries: list[Entry], rejected: list[Rejected], job: dict[str, object]
) -> tuple[list[Named], int, list[Replaced]]:
    """What to add, under which name; how many exist already; and what seems to be replaced.

    Adds to `rejected` what can't be added.
    """
    rows = schedules(store)
    taken = {row.name for row in rows}
    known = {_key(row.expression, row.tz, row.template): row for row in rows}
    found: list[Named] = []
    seen = set()
    existing = 0
    for entry in entries:
        try:
            wish = _wish(args, entry, job)
            template = plans.template_text(wish.job or {})
        except BadInput as error:
            reason = str(error)
            prefix = f"line {entry.number}: "
            reason = reason if reason.startswith(prefix) else prefix + reason
            rejected.append(Rejected(entry.number, entry.command, reason))
            continue
        key = _key(entry.cron.text, wish.tz, template)
        seen.add(key)
        if key in known:
            existing += 1
            continue
        name = suggest_name(entry.command, taken)
        taken.add(name)
        found.append((entry.number, name, wish))
    return found, existing, _replaced([row for key, row in known.items() if key not in seen], found)


def _key(expression: str, tz: str | None, template: str) -> tuple[str, str | None, str]:
    """What makes two schedules the same. Older versions stored a time zone with @reboot."""
    return expression, None if expression == REBOOT else tz, template


def _replaced(missing: list[Row], found: list[Named]) -> list[Replaced]:
    """The schedules missing from the crontab that a new line resembles in its command or its time."""
    replaced = []
    for row in missing:
        for line, _, wish in found:
            is_same_time = _when(wish) == f"{row.expression} {row.tz or ''}".rstrip()
            if plans.template_text(wish.job or {}) == row.template or (is_same_time and _are_alike(row, wish)):
                replaced.append((row.name, str(row.expression), line))
                break
    return replaced


def _are_alike(row: Row, wish: Wish) -> bool:
    """Whether both commands run the same program."""
    try:
        command = str(plans.template_fields(row.template).get("command", ""))
    except BadInput:
        return False  # Another program stored garbage.
    return suggest_name(command, ()) == suggest_name(str((wish.job or {})["command"]), ())


def _wish(args: Namespace, entry: Entry, job: dict[str, object]) -> Wish:
    """The schedule for a line of a crontab. Raises BadInput if it can't be one."""
    me = pwd.getpwuid(os.geteuid()).pw_name
    if entry.user is not None and not _is_user(entry.user):
        raise BadInput(f"no such user: {values.quote(entry.user)}; if no line names a user, leave out --system")
    if entry.user is not None and entry.user != me:
        raise BadInput(f"runs as {entry.user}, but these workers run as {me}; import it as {entry.user}")
    zones.zone(entry.zone, "CRON_TZ")
    fields = {**job, "command": entry.command, "cwd": entry.home or os.path.expanduser("~")}
    if entry.shell != "/bin/sh":
        fields["command"] = joined([entry.shell, "-c", entry.command])
    env = {name: value for name, value in entry.environment.items() if name not in OURS}
    if entry.home:
        env["HOME"] = entry.home
    if env:
        fields["env"] = env
    if entry.stdin is not None:
        fields["stdin"] = entry.stdin
    zone = None if plans.is_at_boot(entry.cron) else entry.zone or None  # CRON_TZ means nothing to @reboot.
    return Wish(entry.cron, zone, fields, args.missed, args.overlap, float(entry.spread))


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _when(wish: Wish) -> str:
    kind_and_text = plans.stored(wish.schedule)[1] if wish.schedule is not None else ""
    return f"{kind_and_text} {wish.tz or ''}".rstrip()
