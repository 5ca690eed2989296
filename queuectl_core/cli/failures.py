"""`failures`: failed attempts grouped by their cause."""

from __future__ import annotations

import time

from .. import values
from ..grid import Column
from ..values import iso, span
from ..views.failures import MOST, failures as find
from .queue_file import open_reader
from .tables import table
from .terminal import print_json_array, tell, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from ..views.failures import Group


def failures_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--since", metavar="TIME", default="7d", help="attempts that failed from this time on (default: 7d)"
    )
    parser.add_argument(
        "-q", "--queue", metavar="QUEUE", action="append", default=[], help="only this queue; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def failures(args: Namespace) -> int:
    now = time.time()
    since = values.past(args.since, "--since", now)
    queues = values.distinct_names(args.queue, "--queue")
    with open_reader(args) as store:
        groups, is_partial = find(store, since, queues)
    if args.json:
        print_json_array(map(_group_json, groups))
    elif groups:
        _print_failures(groups, now)
    else:
        tell(f"nothing failed since {_local(since)}")
    if is_partial:
        tell(f"looked only at the newest {MOST:,} failed attempts; to narrow the search, use --since or --queue")
    return 0


def _print_failures(groups: Sequence[Group], now: float) -> None:
    columns = (
        Column("GROUP"),
        Column("COUNT", right=True),
        Column("DEAD", right=True),
        Column("FIRST", drop=3),
        Column("LAST"),
        Column("QUEUE", least=8, drop=2),
        Column("EXAMPLE", least=8, drop=1),
        Column("ERROR", least=6),
        Column("LAST LINE OF OUTPUT", least=20),
    )
    several = len({group.queue for group in groups}) > 1 or terminal.width() is None
    rows = []
    for group in groups:
        ages = f"{span(now - group.first)} ago", f"{span(now - group.last)} ago"
        numbers = f"{group.attempts:,}", f"{group.dead:,}"
        error = group.error.partition(" (")[0]
        rows.append([group.key, *numbers, *ages, group.queue, group.example, (group.error, error), group.line or None])
    kept = [place for place, column in enumerate(columns) if several or column.title != "QUEUE"]
    table([columns[place] for place in kept], [[row[place] for place in kept] for row in rows])
    dead = next((group for group in groups if group.dead), None)
    if dead:
        tell(f"to run the dead jobs of a group again, run: queuectl dlq retry --like {dead.key}")


def _group_json(group: Group) -> dict[str, object]:
    return {
        "group": group.key,
        "queue": group.queue,
        "error": group.error,
        "last_line": group.line,
        "count": group.attempts,
        "dead": group.dead,
        "first": iso(group.first),
        "last": iso(group.last),
        "example": group.example,
    }


def _local(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
