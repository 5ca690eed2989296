"""One job: what it is, why it waits, its attempts as a timeline, and its output."""

from __future__ import annotations

import re

from ... import phrases, values
from ...lifecycle import FINISHED, WAITING, malformed, presentable
from ...values import span
from .. import facts
from .charts import timeline
from .frame import refused
from .joblist import LABELS
from .markup import Markup, each, h, join, text, url
from .parts import action, command, job_link, panel, progress, since, state, table, why

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...lifecycle import Job
    from ...records import Attempt, Chunk, Needs
    from .markup import Child
    from .view import Frame, View

MOST_ATTEMPTS = 50
MOST_OUTPUT = 64 * 1024  # Bytes of output on the page.
_COLOR = re.compile(r"\x1b\[[0-9;:]*[mK]")


def job(view: View) -> tuple[str, Markup]:
    """The page of the job that the address names; its title is "" if there is none."""
    frame, store = view.frame, view.store
    id = frame.query.get("id", "")
    found = store.find(id)
    if found is None:
        gone = f"There is no job {values.quote(id)}. It may have been deleted or pruned."
        return "", refused(frame, gone)[1]
    reason, needs, attempts = store.reason(found), store.needs(found), store.attempts(found)
    one = presentable(found) if malformed(found) else found
    shown = _shown_attempt(frame, one)
    # With too many attempts to show, the timeline starts at the first one shown.
    parts = join(
        _heading(view, one, attempts),
        _explanation(view, one, reason, needs),
        progress(facts.busy(store, [one], view.now)[0]) if one.state == "processing" else None,
        h("pre", text(one.command, keep="\n\t"), class_="line-of-job", tabindex="0", aria_label="Command"),
        panel("Attempts", timeline(one, attempts[-MOST_ATTEMPTS:], view.now), _attempts(view, one, attempts, shown))
        if attempts
        else None,
        _output(view, found, shown) if attempts else None,
        panel("Details", _details(one, reason, needs, attempts, store.labels_of(found))),
    )
    return f"{values.escape(one.id)[:80]}", h("div", parts, class_="job")


def _shown_attempt(frame: Frame, job: Job) -> int:
    """The attempt whose output the address asks for; the last one by default."""
    wanted = frame.get("attempt")
    number = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 10 else 0
    return number if 0 < number <= job.last_attempt else job.last_attempt


def _heading(view: View, job: Job, attempts: Sequence[Attempt]) -> Markup:
    frame = view.frame
    last = attempts[-1] if attempts else None
    if job.state == "processing" and job.started_at is not None:
        moment = join("for ", since(job.started_at, view.now, "{}"))
    else:
        ended = last.finished_at if last and job.state == "failed" else job.finished_at
        moment = join(since(job.created_at if ended is None else ended, view.now))
    buttons = []
    if job.state != "processing" and (job.state in FINISHED or job.state == "failed"):
        buttons.append(action(frame, "retry", "Retry now" if job.state == "failed" else "Run again", id=job.id))
    if job.state in WAITING:
        verb = "release" if job.held else "hold"
        buttons.append(action(frame, verb, verb.capitalize(), id=job.id))
        buttons.append(action(frame, "edit", "Edit", id=job.id))
    if job.state == "processing" and not job.cancel:
        verb = "continue" if job.is_suspended else "suspend"
        buttons.append(action(frame, verb, verb.capitalize(), id=job.id))
    if job.state not in FINISHED:
        buttons.append(action(frame, "cancel", "Cancel", "danger", id=job.id))
    if job.state == "dead":
        buttons.append(action(frame, "purge", "Delete", "danger", id=job.id))
    return h(
        "div",
        h("div", h("h1", job.id), h("p", state(job.state, LABELS.get(job.state)), " ", moment, " in ",
                                    h("a", job.queue, href=url("/jobs", queue=job.queue))), class_="title"),
        h("div", *buttons, class_="buttons"),
        class_="heading",
    )  # fmt: skip


def _explanation(view: View, job: Job, reason: str | None, needs: Needs) -> Child:
    explanation = why(view.frame.shell, job, reason, view.now)
    if explanation is None:
        return None
    first = sorted(needs, key=lambda need: (need[2], need[1] not in ("dead", "cancelled")))[: phrases.MOST_NEEDS]
    links = [h("li", job_link(id), " ", state(now, LABELS.get(now))) for id, now, is_met, _ in first if not is_met]
    waits_for = h("ul", *links, class_="needs") if links else None
    return h("div", explanation, waits_for, class_="notice bad" if job.state == "dead" else "notice")


def _attempts(view: View, job: Job, attempts: Sequence[Attempt], shown: int) -> Markup:
    """A table of the last attempts, newest first."""
    rows: list[list[Child]] = []
    for attempt in reversed(attempts[-MOST_ATTEMPTS:]):
        number = h("a", f"{attempt.attempt}", href=url("/job", id=job.id, attempt=attempt.attempt) + "#output",
                   aria_current="true" if attempt.attempt == shown else None,
                   aria_label=f"Output of attempt {attempt.attempt}")  # fmt: skip
        result = phrases.outcome(attempt)
        ended: Child = (
            since(attempt.started_at, view.now, "for {}") if attempt.outcome is None else phrases.took(attempt)
        )
        look = "processing" if attempt.outcome is None else "completed" if result == "exit 0" else "failed"
        symbol = "dead" if look == "failed" else look
        rows.append([number, state(symbol, result), since(attempt.started_at, view.now), ended, f"{attempt.worker}"])
    more = f"Only the last {MOST_ATTEMPTS} of {len(attempts):,} are shown." if len(attempts) > MOST_ATTEMPTS else None
    titles = (">Attempt", "Ended", ">Started", ">Took", ">Worker")
    return join(
        table("Attempts", titles, rows, "attempts", [a.attempt for a in reversed(attempts[-MOST_ATTEMPTS:])]),
        h("p", more, class_="quiet") if more else None,
    )


def _output(view: View, job: Job, shown: int) -> Markup:
    chunks = view.store.output_end(job, shown, MOST_OUTPUT)
    line = view.frame.shell.line("logs", *([] if shown == job.last_attempt else ["--attempt", shown]), job.id)
    is_running = job.state == "processing" and shown == job.last_attempt
    note: Child = None
    if chunks and chunks[0][0] > 0:
        note = h("p", "Only the end is shown. All that was kept: ", command(line), class_="quiet")
    elif not chunks:
        note = h("p", "Nothing yet." if is_running else "No output.", class_="quiet")
    log = h("pre", *_pieces(chunks), id="log", tabindex="0", aria_label="Output", data_follow=is_running or None)
    label = "Output" if shown == job.last_attempt else f"Output of attempt {shown}"
    following = h("span", h("span", class_="dot"), "live", class_="following") if is_running else None
    return h("section", h("header", h("h2", label, id="output"), following, command(line) if chunks else None), note,
             log if chunks else None, class_="panel output")  # fmt: skip


def _pieces(chunks: Sequence[Chunk]) -> list[Markup]:
    """Output as text, stderr marked. Neighboring chunks of a stream are decoded together: letters may be split."""
    joined: list[tuple[int, bytes]] = []
    end = chunks[0][0] if chunks else 0
    for position, stream, data in chunks:
        if position > end:
            joined.append((0, f"\n[{position - end:,} bytes not kept: see output-limit]\n".encode()))
        if joined and joined[-1][0] == stream:
            joined[-1] = (stream, joined[-1][1] + data)
        else:
            joined.append((stream, data))
        end = position + len(data)
    return [h("span", _plain(values.decode(data)), class_=("gap", "out", "err")[stream]) for stream, data in joined]


def _plain(output: str) -> Markup:
    """Output without colors and without what it has drawn over; everything else that is invisible is shown."""
    lines = _COLOR.sub("", output).replace("\r\n", "\n").split("\n")
    return each([text("\n".join(map(_as_drawn, lines)), keep="\n\t")])


def _as_drawn(line: str) -> str:
    """What a terminal shows of a line in which a progress bar goes back to the start with a carriage return."""
    return next((part for part in reversed(line.split("\r")) if part), "")


def _details(
    job: Job, reason: str | None, needs: Needs, attempts: Sequence[Attempt], labels: Sequence[str]
) -> Markup:
    fields = phrases.sheet(job, reason, needs, attempts[-1] if attempts else None, job.updated_at)
    left_out = ("id", "state", "reason", "error", "command", "queue")
    pairs = [h("div", h("dt", name), h("dd", str(value))) for name, value in fields.items() if name not in left_out]
    waited = None
    if attempts and isinstance(attempts[0].started_at, (int, float)):
        waited = span(attempts[0].started_at - max(job.created_at, min(job.run_at, attempts[0].started_at)))
    first = h("div", h("dt", "waited"), h("dd", waited)) if waited and len(attempts) == 1 else None
    links = [join(h("a", label, href=url("/jobs", label=label)), " ") for label in labels]
    named = h("div", h("dt", "labels"), h("dd", *links)) if labels else None
    return h("dl", *pairs, named, first, class_="details")
