"""Failures, grouped by what they have in common."""

from __future__ import annotations

from ..failures import MOST, failures
from . import periods
from .markup import Markup, h, join, url
from .parts import action, empty, job_link, since, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..failures import Group
    from .markup import Child
    from .view import View

MOST_GROUPS = 200


def page(view: View) -> tuple[str, Markup]:
    """The groups of a period, the latest failure first."""
    period, name = periods.period(view, "24h")
    found = failures(view.store, period.since)
    heading = h("div", h("h1", "Failures"), periods.choice(view, "/failures", "24h"), class_="heading")
    if not found.groups:
        return "Failures", join(heading, empty(f"Nothing failed in the {name}."))
    rows = [_row(view, group) for group in found.groups[:MOST_GROUPS]]
    titles = ("Failure", "Queue", ">Attempts", ">Dead", ">First", ">Last", "Example", "")
    left_out = len(found.groups) - MOST_GROUPS
    notes = [f"{left_out:,} more groups are not shown." if left_out > 0 else None,
             f"Only the latest {MOST:,} failed attempts were looked at." if found.is_partial else None]  # fmt: skip
    keys = [group.key for group in found.groups]
    return "Failures", join(
        heading,
        table("Failures", titles, rows, "failures", keys),
        *[h("p", note, class_="quiet") for note in notes if note],
    )


def _row(view: View, group: Group) -> list[Child]:
    retry = action(view.frame, "retry-like", "Retry", group=group.key) if group.dead else None
    dead = h("a", f"{group.dead:,}", href=url("/dlq", queue=group.queue), class_="s-dead") if group.dead else (
        h("span", "0", class_="none"))  # fmt: skip
    return [
        join(h("span", group.error, class_="error"), h("code", group.line, class_="line") if group.line else None),
        h("a", group.queue, href=url("/jobs", queue=group.queue), class_="queue"),
        f"{group.attempts:,}",
        dead,
        since(group.first, view.now),
        since(group.last, view.now),
        job_link(group.example),
        retry,
    ]
