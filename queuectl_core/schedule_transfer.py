"""Export and import of schedules, as JSON lines next to those of jobs; see transfer.py.

A line is a schedule's row: {"schedule": NAME, "kind": …, "job": {…}}. It arrives as it was, with the time until which
its times are dealt with. So what passes until workers run on the other queue counts as missed.
"""

from __future__ import annotations

import json

from . import values
from .errors import BadInput
from .schedule.plan import MISSED, OVERLAPS, template_text
from .store.firing import Row
from .store.schedules import schedules
from .values import iso

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .store.reader import Reader

    Parser = Callable[[object, str], Any]

TIMES = ("anchor", "until", "since", "last_at", "last_success_at", "failing_since", "created_at")


def schedule_lines(store: Reader) -> Iterator[dict[str, object]]:
    """All schedules, by name. One that another program stored as garbage can't be moved, and is left out."""
    for row in schedules(store):
        try:
            row.plan()
            job = json.loads(row.template)
            fields: dict[str, object] = {
                name: iso(value) if name in TIMES else value
                for name, value in row._asdict().items()
                if name not in ("seq", "name", "template", "next_at", "boot") and value is not None
            }
        except (BadInput, TypeError, ValueError, RecursionError):
            continue
        yield {"schedule": row.name, **fields, "job": job}


def schedule_from(given: dict[str, object], now: float) -> Row:
    """The row of a line. Raises BadInput."""
    for name in given:
        if name not in FIELDS:
            raise BadInput(f"{values.quote(name)}: no such field ({values.nearest(name, sorted(FIELDS))})")
    for name in ("schedule", "kind", "expression", "job"):
        if given.get(name) is None:
            raise BadInput(f"{name}: missing")
    checked = {name: parse(given[name], name) for name, parse in FIELDS.items() if given.get(name) is not None}
    fields: dict[str, Any] = {**dict.fromkeys(Row._fields), **DEFAULTS, "since": now, "anchor": now, "created_at": now}
    fields.update(checked, name=checked["schedule"], template=checked["job"])
    del fields["schedule"], fields["job"]
    row = Row(**fields)
    row.plan()
    return row


def _choice(*known: str) -> Parser:
    def parse(value: object, place: str) -> str:
        if value not in known:
            raise BadInput(f"{place}: must be one of {', '.join(known)}, not {values.quote(value)}")
        return str(value)

    return parse


def _text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise BadInput(f"{place}: must be a string, not {values.quote(value)}")
    return value


def _count(value: object, place: str) -> int:
    return values.whole(value, place, 0, 2**31 - 1)


def _moment(value: object, place: str) -> float:
    return values.moment(value, place, 0.0, any_epoch=True)


def _job(value: object, place: str) -> str:
    if not isinstance(value, dict):
        raise BadInput(f"{place}: must be an object, not {values.quote(value)}")
    return template_text(value)


DEFAULTS: dict[str, object] = {
    "missed": "once", "overlap": "skip", "jitter": 0.0, "paused": 0, "runs": 0, "skipped": 0,
}  # fmt: skip
FIELDS: dict[str, Parser] = {
    "schedule": values.name,
    "kind": _choice("cron", "every", "at"),
    "expression": _text,
    "tz": _text,
    "job": _job,
    "missed": _choice(*MISSED),
    "overlap": _choice(*OVERLAPS),
    "jitter": values.duration,
    "times_left": _count,
    "paused": lambda value, place: values.whole(value, place, 0, 1),
    "fault": _text,
    "last_job": _text,
    "runs": _count,
    "skipped": _count,
    "skip_reason": _text,
    **dict.fromkeys(TIMES, _moment),
}
