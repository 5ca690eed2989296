"""The period that a page is about, which its address names."""

from __future__ import annotations

from ..history import Span
from .markup import Markup, h, url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .view import View

HOUR = 3600
# By the word in the address: the seconds, and what it is called.
PERIODS = {
    "1h": (HOUR, "last hour"),
    "6h": (6 * HOUR, "last 6 hours"),
    "24h": (24 * HOUR, "last 24 hours"),
    "7d": (7 * 24 * HOUR, "last 7 days"),
    "30d": (30 * 24 * HOUR, "last 30 days"),
}


def word(view: View, default: str) -> str:
    """The period that the address names, or the default."""
    given = view.frame.get("span")
    return given if given in PERIODS else default


def period(view: View, default: str) -> tuple[Span, str]:
    """The period that the address names, until now, and what it is called."""
    seconds, name = PERIODS[word(view, default)]
    return Span(view.now - seconds, view.now), name


def choice(view: View, path: str, default: str, longest: str = "30d") -> Markup:
    """Links to the page about other periods, up to the longest."""
    chosen = word(view, default)
    words = list(PERIODS)[: list(PERIODS).index(longest) + 1]
    links = [h("a", one, href=url(path, span=one), aria_current="true" if one == chosen else None,
               title=f"The {PERIODS[one][1]}") for one in words]  # fmt: skip
    return h("nav", *links, class_="periods", aria_label="Period")
