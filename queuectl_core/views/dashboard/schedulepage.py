"""Schedules: when each is due, the result of its last run, and what was skipped."""

from __future__ import annotations

from ...values import counted
from .. import schedules
from ..schedules import by_urgency, timetable
from .markup import Markup, h, join, url
from .parts import action, command, empty, job_link, short, since, state, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..schedules import Schedule
    from .markup import Child
    from .view import View

MOST_SCHEDULES = 200


def page(view: View) -> tuple[str, Markup]:
    """The schedules: those in trouble first, then in the order in which they are due."""
    found = timetable(view.store)
    heading = h("div", h("h1", "Schedules"), class_="heading")
    add = view.frame.shell.line("schedule", "add", "NAME", "--cron", "30 2 * * *", "--", "COMMAND")
    if not found.schedules:
        return "Schedules", join(heading, empty("No schedules yet. To add one, run:", command(add)))
    listed = by_urgency(found.schedules)
    rows = [_row(view, each) for each in listed[:MOST_SCHEDULES]]
    titles = ("Schedule", "Command", ">Next", ">Last", "Result", "Skipped", "")
    left_out = len(listed) - len(rows)
    more = f"Not shown: {counted(left_out, 'more schedule')}." if left_out else None
    return "Schedules", join(
        heading,
        table("Schedules", titles, rows, "schedules", [each.row.seq for each in listed[:MOST_SCHEDULES]]),
        h("p", more, class_="quiet") if more else None,
    )


def _row(view: View, schedule: Schedule) -> list[Child]:
    paused = state("paused") if schedule.is_paused else None
    due = since(schedule.next_at, view.now, "in {}") if schedule.next_at is not None else None
    is_late = schedule.next_at is not None and schedule.next_at <= view.now
    queue = schedule.queue
    verb = "resume" if schedule.is_paused else "pause"
    return [
        join(
            h("span", schedule.name, class_="name"),
            paused,
            h("span", schedules.when(schedule.row), class_="quiet"),
        ),
        join(
            h("code", short(schedule.command), class_="line") if schedule.command else None,
            h("a", queue, href=url("/jobs", queue=queue), class_="queue"),
        ),
        due if due is not None and not is_late else schedules.due(schedule, view.now),
        since(schedule.last_at, view.now),
        _result(view, schedule),
        _skipped(schedule),
        h(
            "span",
            action(view.frame, "schedule-run", "Run", schedule=schedule.name),
            action(view.frame, f"schedule-{verb}", verb.capitalize(), schedule=schedule.name),
            class_="buttons",
        ),
    ]


def _result(view: View, schedule: Schedule) -> Child:
    row, last = schedule
    if row.fault:
        return h("span", row.fault, class_="error")
    parts: list[Child] = []
    if last is not None and row.last_job is not None:
        parts.append(join(state(last.state), " ", job_link(row.last_job)))
        if last.error and last.state in ("dead", "failed"):
            parts.append(h("span", short(last.error), class_="error"))
    elif row.last_job is not None:
        parts.append(h("span", "deleted", class_="quiet"))
    if schedule.failing_since is not None:
        parts.append(h("span", "failing ", since(schedule.failing_since, view.now, "for {}"), class_="error"))
    elif schedule.last_success_at is not None and (last is None or last.state != "completed"):
        parts.append(h("span", "succeeded ", since(schedule.last_success_at, view.now), class_="quiet"))
    return h("span", *parts, class_="result") if parts else None


def _skipped(schedule: Schedule) -> Child:
    if not schedule.skipped:
        return h("span", "0", class_="none")
    return join(f"{schedule.skipped:,}", h("span", short(schedule.row.skip_reason or ""), class_="quiet"))
