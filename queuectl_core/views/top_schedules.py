"""The screen of schedules in `top`, as lines: when each is due, and its result. Uses no terminal, clock or file."""

from __future__ import annotations

from ..grid import Column
from ..phrases import local
from . import schedules
from .top_main import Place
from .top_text import clipped, coarse, selected, spread, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .schedules import Schedule
    from .top_data import SchedulesPicture
    from .top_text import Charset, Line, Value

COLUMNS = [
    Column("SCHEDULE", least=12),
    Column("WHEN", least=10, drop=2),
    Column("NEXT", least=6),
    Column("LAST", drop=3),
    Column("RESULT", least=20),
    Column("SKIPPED", right=True, drop=4),
    Column("COMMAND", least=16, drop=1),
]
LEAST = {"NEXT": 9, "LAST": 8, "RESULT": 10}
FEWEST_ROWS = 3


class ScheduleScreen:
    """The schedules, by name. `picture` is what was read last."""

    def __init__(self, picture: SchedulesPicture, charset: Charset) -> None:
        self.picture = picture
        self.charset = charset
        self.place = Place()

    def keys(self) -> list[object]:
        """What identifies each row."""
        return [each.row.seq for each in self.picture.table.schedules]

    def schedule(self) -> Schedule | None:
        """The schedule under the cursor."""
        rows = self.picture.table.schedules
        return rows[self.place.index] if rows else None

    def move(self, action: str) -> None:
        """Move the cursor: up, down, page_up, page_down, home or end."""
        if action == "home":
            self.place.home()
            return
        keys, page = self.keys(), max(1, self.place.height - 1)
        steps = {"up": -1, "down": 1, "page_up": -page, "page_down": page, "end": len(keys)}
        self.place.move(keys, steps[action])

    def lines(self, columns: int, lines: int, now: float, notice: Line) -> list[Line]:
        """The screen, of exactly this size. `notice` is shown in its first line."""
        charset, found = self.charset, self.picture.table.schedules
        self.place.settle(self.keys(), self.place.height)
        details = self._details(columns, now)[: max(0, lines - FEWEST_ROWS - 4)]
        self.place.settle(self.keys(), max(1, lines - len(details) - 4))
        summary = charset.clean(schedules.summary(self.picture.table, now))
        title: Line = [(" Schedules ", "name"), (f"  {summary}", "dim")]
        shown = [spread(title, notice, columns, charset.ellipsis), []]
        if not found:
            text = "No schedules; to add one, run: queuectl schedule add NAME --cron '30 2 * * *' -- COMMAND"
            shown.append(clipped([(f" {text}", "dim")], columns, charset.ellipsis))
        else:
            place = self.place
            rows = [_row(each, now) for each in found[place.top : place.top + place.height]]
            header, body = table(COLUMNS, rows, columns, charset, LEAST)
            body[place.index - place.top] = selected(body[place.index - place.top], columns, "selected")
            shown += [header, *body, *[[] for _ in range(place.height - len(body))], [], *details]
        return shown[:lines] + [[] for _ in range(lines - len(shown))]

    def _details(self, room: int, now: float) -> list[Line]:
        """Everything about the schedule under the cursor, one fact per line."""
        schedule = self.schedule()
        if schedule is None:
            return []
        row, last = schedule.row, schedule.last
        facts = {
            "command": schedule.command,
            "when": f"{schedules.when(row)}; queue {schedule.queue}; missed: {row.missed}; overlap: {row.overlap}",
            "next": _moment(schedule.next_at, now) or schedules.due(schedule, now),
            "last": _moment(schedule.last_at, now),
            "job": f"{row.last_job}: {schedules.result(schedule)}" if row.last_job else None,
            "success": _moment(schedule.last_success_at, now),
            "failing": None if schedule.failing_since is None else f"since {_moment(schedule.failing_since, now)}",
            "skipped": schedules.skipped(schedule) if schedule.skipped else None,
            "fault": row.fault,
        }
        styles = {"failing": "error", "fault": "error", "skipped": "warning"}
        if last is not None and last.state in ("dead", "failed"):
            styles["job"] = last.state
        lines: list[Line] = [
            [(f" {name:<9} ", "dim"), (self.charset.clean(text), styles.get(name, ""))]
            for name, text in facts.items()
            if text is not None
        ]
        return [clipped(line, room, self.charset.ellipsis) for line in lines]


def _row(schedule: Schedule, now: float) -> list[Value]:
    last = schedule.last
    state = "dead" if schedule.failing_since is not None or schedule.row.fault else last.state if last else "dim"
    is_due = schedule.next_at is not None and schedule.next_at <= now
    next_style = "warning" if schedule.is_paused or is_due else ""
    ago = None if schedule.last_at is None else f"{coarse(now - schedule.last_at)} ago"
    return [
        (schedule.name, ""),
        (schedules.when(schedule.row), "dim"),
        (schedules.due(schedule, now), next_style),
        (ago, "dim"),
        (schedules.result(schedule), state),
        (schedule.skipped or "", "warning"),
        (schedule.command or "", ""),
    ]


def _moment(time: float | None, now: float) -> str | None:
    """A time, and how far away it is."""
    if time is None:
        return None
    return f"{local(time)} ({f'in {coarse(time - now)}' if time > now else f'{coarse(now - time)} ago'})"
