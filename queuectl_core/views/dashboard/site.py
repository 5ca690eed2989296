"""Which address shows which page."""

from __future__ import annotations

from . import actions, failurepage, schedulepage
from .joblist import dead, jobs
from .jobpage import job
from .overview import overview
from .workerpage import workers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Tuple

    from .markup import Markup
    from .view import View

    # Returns the title and the content; a title "" means that what the address names doesn't exist.
    Page = Callable[[View], Tuple[str, Markup]]

PAGES: dict[str, Page] = {
    "/": overview,
    "/jobs": jobs,
    "/job": job,
    "/dlq": dead,
    "/failures": failurepage.page,
    "/schedules": schedulepage.page,
    "/workers": workers,
}
ACTION = "/do/"


def page(path: str) -> Page | None:
    """The page at a path; None if there is none."""
    if path.startswith(ACTION):
        return lambda view: actions.page(view, path[len(ACTION) :])
    return PAGES.get(path)
