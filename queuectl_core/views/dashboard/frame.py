"""What is around every page: the document, the navigation, the page that asks for the key, and pages about errors."""

from __future__ import annotations

import os
import pkgutil

from ...errors import DatabaseBusy, DatabaseDamaged, DatabaseGone
from ...version import __version__
from .markup import Markup, h, join
from .parts import command, symbol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...errors import DatabaseUnusable
    from .view import Frame

HTML = "text/html; charset=utf-8"
# The page's files, with their types. They hold nothing of the queue.
FILES = {
    "/app.js": "text/javascript; charset=utf-8",
    "/style.css": "text/css; charset=utf-8",
    "/icon.svg": "image/svg+xml",
}
WRONG_KEY = "That key is wrong. A dashboard that was started again has a new one."
SCREENS = (
    ("/", "Overview"),
    ("/jobs", "Jobs"),
    ("/dlq", "Dead letters"),
    ("/failures", "Failures"),
    ("/schedules", "Schedules"),
    ("/workers", "Workers"),
)


def file(path: str) -> bytes:
    """One of FILES, from a folder or from inside a bundle."""
    data = pkgutil.get_data(__package__, "page" + path)
    if data is None:
        raise FileNotFoundError(path)
    return data


def document(frame: Frame, path: str, title: str, main: Markup) -> str:
    """A whole page."""
    links = [
        h("li", h("a", label, href=target, aria_current="page" if target == _screen(path) else None))
        for target, label in SCREENS
    ]
    body = join(
        h("a", "Skip to content", href="#main", class_="skip"),
        h(
            "header",
            h("a", _logo(), h("span", "queuectl"), href="/", class_="brand"),
            h("nav", h("ul", *links), aria_label="Screens"),
            h("div", _badge(frame), _tools(), class_="tools"),
            class_="bar",
        ),
        h("main", main, id="main", tabindex="-1"),
        h("footer", h("span", h("bdi", frame.file)), h("span", f"queuectl {__version__}"), class_="foot"),
        h("dialog", id="dialog", aria_labelledby="question"),
        h("p", id="said", role="status", class_="unseen"),
    )
    return _html(f"{title} · {os.path.basename(frame.file)}", body, frame.theme)


def _html(title: str, body: Markup, theme: str | None) -> str:
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("title", f"{title} · queuectl"),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("meta", name="color-scheme", content=theme or "light dark"),
        h("meta", name="referrer", content="no-referrer"),
        h("link", rel="icon", href="/icon.svg", type="image/svg+xml"),
        h("link", rel="stylesheet", href="/style.css"),
        h("script", src="/app.js", defer=True),
    )
    return "<!doctype html>\n" + h("html", head, h("body", body), lang="en", data_theme=theme)


def _screen(path: str) -> str:
    return {"/job": "/jobs"}.get(path, path)


def _logo() -> Markup:
    bars = [h("rect", x="3", y=y, width=width, height="3.4", rx="1.7") for y, width in ((4, 14), (10.3, 18), (16.6, 9))]
    return h("svg", *bars, viewBox="0 0 24 24", class_="logo", aria_hidden="true")


def _badge(frame: Frame) -> Markup:
    if frame.writes:
        return h("span", "read-write", class_="badge rw", title="Buttons on this page change the queue")
    return h("span", "read-only", class_="badge", title="Started without --read-write: buttons only show commands")


def _tools() -> Markup:
    return join(
        h("span", h("span", class_="dot"), h("span", "live", class_="word"), id="live", hidden=True),
        h(
            "button",
            symbol("theme"),
            h("span", "Dark or light", class_="unseen"),
            type="button",
            id="theme",
            hidden=True,
        ),
        h("button", "?", h("span", "Keyboard shortcuts", class_="unseen"), type="button", id="help", hidden=True),
    )


def sign_in(theme: str | None, wrong: bool = False) -> str:
    """The page for users who haven't given the key."""
    form = h(
        "form",
        h("label", "Key", for_="key"),
        h("input", type="password", id="key", name="key", autocomplete="off", required=True, maxlength="200"),
        h("button", "Open", type="submit", class_="button primary"),
        method="post",
        action="/session",
    )
    main = h(
        "main",
        h("h1", _logo(), "queuectl"),
        h("p", "Open the address that ", h("code", "queuectl dashboard"), " printed, or paste the part behind its ",
          h("code", "#"), ":"),
        h("p", WRONG_KEY, class_="error") if wrong else None,
        form,
        id="main",
        class_="sign-in",
    )  # fmt: skip
    return _html("Sign in", join(main, h("p", id="said", role="status", class_="unseen")), theme)


def unusable(frame: Frame, error: DatabaseUnusable) -> tuple[str, Markup]:
    """The page for a file that can't be read now: its title and content. app.js retries automatically."""
    advice: Markup | str = "This page retries automatically."
    if isinstance(error, DatabaseBusy):
        advice = "Another program has locked it. This page retries automatically."
    elif isinstance(error, DatabaseGone) and "newer" in str(error):
        advice = "A newer queuectl has changed the file. End this dashboard, and start that version's."
    elif isinstance(error, DatabaseGone):
        advice = join("Put it back, or start over with ", command(frame.shell.line("enqueue", "true")), ".")
    elif isinstance(error, DatabaseDamaged):
        advice = join("To find out more, run ", command(frame.shell.line("doctor")), ".")
    content = join(
        h("h1", "The queue cannot be read"),
        h("div", h("p", symbol("note"), " ", str(error)), h("p", advice), class_="notice bad", role="alert"),
    )
    return "Unavailable", h("div", content, data_retry=True)


def refused(frame: Frame, reason: str) -> tuple[str, Markup]:
    """A page that says why there is none: its title and content."""
    content = h("div", h("p", symbol("note"), " ", reason), h("p", h("a", "Back to the overview", href="/")),
                class_="notice bad")  # fmt: skip
    return "Not possible", join(h("h1", "Not possible"), content)
