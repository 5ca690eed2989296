"""Pieces that several pages share: states, times, commands, tables, and why a job waits."""

from __future__ import annotations

from ...values import iso, span
from .. import commands
from .markup import Markup, each, h, join, url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...lifecycle import Job
    from ...records import Attempt
    from ..facts import Busy
    from .markup import Child
    from .view import Frame, Shell

# The outlines of the states' symbols, in a box of 16 by 16.
SYMBOLS = {
    "pending": "M8 2.8a5.2 5.2 0 1 0 0 10.4a5.2 5.2 0 1 0 0-10.4M8 5.2V8l1.9 1.4",
    "processing": "M5.5 3.6v8.8L12 8z",
    "completed": "M3.4 8.4l3 3l6.2-6.8",
    "failed": "M12.6 8a4.6 4.6 0 1 1-1.5-3.4M12.8 2.6v2.9H9.9",
    "dead": "M4.2 4.2l7.6 7.6M11.8 4.2l-7.6 7.6",
    "cancelled": "M8 2.8a5.2 5.2 0 1 0 0 10.4a5.2 5.2 0 1 0 0-10.4M4.4 11.6l7.2-7.2",
    "idle": "M8 5a3 3 0 1 0 0 6a3 3 0 1 0 0-6",
    "busy": "M5.5 3.6v8.8L12 8z",
    "stopping": "M5 5h6v6H5z",
    "paused": "M5.8 4v8M10.2 4v8",
    "theme": "M8 2.5a5.5 5.5 0 1 0 0 11zM8 2.5a5.5 5.5 0 0 1 0 11",
    "note": "M8 3v6M8 11.6v.9",
}
LONGEST_LINE = 300  # Characters of a command or an error in a list.


def symbol(name: str) -> Markup:
    """A small picture; what it stands for must be written next to it."""
    path = h("path", d=SYMBOLS.get(name, SYMBOLS["note"]))
    return h("svg", path, class_=f"symbol s-{name}", viewBox="0 0 16 16", aria_hidden="true")


def state(name: str, label: str | None = None) -> Markup:
    """A state: its symbol, and its name or another label."""
    return h("span", symbol(name), h("span", label or name), class_=f"state s-{name}")


def since(moment: float | None, now: float, form: str = "{} ago") -> Markup | None:
    """How long ago a moment was, which app.js keeps up to date; the moment itself is its tooltip."""
    if not isinstance(moment, (int, float)):
        return None
    kind = "ago" if form == "{} ago" else "until" if form.startswith("in ") else "for"
    span_text = span(moment - now if kind == "until" else now - moment)
    return h(
        "time", form.format(span_text), datetime=iso(moment), title=iso(moment), data_at=f"{moment:.3f}", data_form=form
    )


def command(line: str, label: str = "Copy") -> Markup:
    """A shell command with a button that copies it."""
    button = h("button", label, type="button", class_="copy", data_copy=True, aria_label=f"Copy: {line}")
    return h("span", h("code", line), button, class_="command")


def short(value: object) -> Markup:
    """A command or an error on one line of a list."""
    line = str(value)
    return join(line if len(line) <= LONGEST_LINE else line[:LONGEST_LINE] + "…")


def job_link(id: str, label: Child = None) -> Markup:
    """A link to a job's page."""
    return h("a", label or id, href=url("/job", id=id), class_="id")


def table(
    label: str, titles: Sequence[str], rows: list[list[Child]], kind: str, keys: Sequence[object] | None = None
) -> Markup:
    """A table. `keys` tell its rows apart, so that app.js can follow them.

    A title that starts with ">" is of a column of numbers, and an empty one isn't shown. Narrow screens show each row
    as a card; the roles keep it a table for screen readers.
    """
    head = [
        h(
            "th",
            title.lstrip(">") or h("span", "Actions", class_="unseen"),
            scope="col",
            role="columnheader",
            class_=_column(title),
        )
        for title in titles
    ]
    body = [
        h("tr", *[
            h("td", cell, role="cell", class_=_column(title), data_title=title.lstrip(">") or None)
            for title, cell in zip(titles, row)
        ], role="row", data_key=key)
        for row, key in zip(rows, keys or [None] * len(rows))
    ]  # fmt: skip
    return h(
        "table",
        h("caption", label, class_="unseen"),
        h("thead", h("tr", *head, role="row"), role="rowgroup"),
        h("tbody", each(body), role="rowgroup"),
        class_=kind,
        role="table",
    )


def _column(title: str) -> str:
    return ("number " if title.startswith(">") else "") + "c-" + (title.lstrip(">").lower() or "more")


def panel(title: str, *children: Child, more: Child = None, kind: str = "") -> Markup:
    """A titled part of a page."""
    head = h("header", h("h2", title), more)
    return h("section", head, *children, class_=f"panel {kind}".strip())


def empty(sentence: str, *children: Child) -> Markup:
    """What to show where there is nothing."""
    return h("div", h("p", sentence), *children, class_="empty")


def action(frame: Frame, name: str, label: str, kind: str = "", /, **parameters: object) -> Markup:
    """A button for one of actions.ACTIONS. It leads to a page that shows the command and asks."""
    return h("a", label, href=url(f"/do/{name}", **parameters), class_=f"button {kind}".strip(), data_action=True)


# --- jobs -----------------------------------------------------------------------------------------


def took(job: Job, last: Attempt | None, now: float) -> Child:
    """How long a job has been running, or its last attempt ran."""
    if job.state == "processing" and job.started_at is not None:
        return since(job.started_at, now, "{}")
    return None if last is None or last.finished_at is None else span(last.finished_at - last.started_at)


def when(job: Job, last: Attempt | None, now: float) -> Child:
    """When a job ended, last failed or was enqueued."""
    moment = last.finished_at if last and job.state == "failed" else job.finished_at
    return since(job.created_at if moment is None else moment, now)


def waits(job: Job, reason: str | None, now: float) -> Child:
    """Why a job waits, with the time left."""
    verb = {"delayed": "starts", "retrying": "retries"}.get(reason or "")
    if verb is None:
        return reason
    return join(f"{verb} ", since(job.run_at, now, "in {}")) if job.run_at > now else f"{verb} now"


def remedy(shell: Shell, job: Job, reason: str | None) -> str | None:
    """The command that changes why a job waits; None if nothing but time does."""
    found = commands.remedy(job, reason)
    return None if found is None else shell.line(*found.words)


def progress(busy: Busy) -> Markup | None:
    """How far a running job is, and how long it will take; None if nothing is known."""
    seconds, reason = busy.remaining
    if busy.percent is None and seconds is None:
        return None
    words = []
    if busy.percent is not None:
        words.append(f"{busy.percent:.0f} %")
    if seconds is not None:
        words.append(
            f"{span(seconds)} left" if reason == "reported" else f"about {span(seconds)} left, as it took before"
        )
    if busy.text:
        words.append(busy.text)
    label = ", ".join(words)
    bar = None
    if busy.percent is not None:
        done = max(0.0, min(100.0, busy.percent))
        bar = h("svg", h("rect", width="100", height="6", class_="track"),
                h("rect", width=f"{done:.1f}", height="6", class_="f-processing"), viewBox="0 0 100 6", class_="gauge",
                aria_hidden="true", preserveAspectRatio="none")  # fmt: skip
    return h("span", bar, h("span", short(label)), class_="progress")


def why(shell: Shell, job: Job, reason: str | None, now: float) -> Child:
    """Why a job failed, why it waits, and the command that changes that."""
    waiting = waits(job, reason, now)
    parts: list[Markup] = []
    if job.error:
        parts.append(h("span", short(job.error), class_="error"))
    if waiting is not None:
        line = remedy(shell, job, reason)
        parts.append(h("span", waiting, class_="reason"))
        if line:
            parts.append(command(line))
    return h("span", *parts, class_="why") if parts else None
