"""Drawings as SVG. Each has a text for those who can't see it."""

from __future__ import annotations

from ... import phrases
from .markup import Markup, h

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...lifecycle import Job
    from ...records import Attempt


def gauge(parts: Sequence[tuple[str, int]], label: str, width: int = 140) -> Markup:
    """A bar whose parts are as long as their numbers; each is (kind, number)."""
    total = sum(number for _, number in parts)
    at = 0.0
    pieces = [h("rect", x="0", y="0", width=width, height="6", class_="track")]
    for kind, number in parts:
        if number > 0 and total:
            # Even one of a million can be seen.
            size = max(2.0, width * number / total)
            size = min(size, width - at)
            pieces.append(h("rect", x=f"{at:.1f}", y="0", width=f"{size:.1f}", height="6", class_=f"f-{kind}"))
            at += size
    return h(
        "svg", *pieces, viewBox=f"0 0 {width} 6", class_="gauge", role="img", aria_label=label,
        preserveAspectRatio="none",
    )  # fmt: skip


def timeline(job: Job, attempts: Sequence[Attempt], now: float) -> Markup:
    """The attempts of a job as bars, from its first shown one (or its enqueueing) until now."""
    began = min(job.created_at, attempts[0].started_at) if attempts[0].attempt == 1 else attempts[0].started_at
    ended = max([now if job.finished_at is None else job.finished_at, *(a.finished_at or now for a in attempts)])
    length = max(ended - began, 0.001)
    width, height = 1000, 26
    bars = [h("rect", x="0", y="11", width=width, height="4", rx="2", class_="track")]
    for attempt in attempts:
        at = width * max(0.0, attempt.started_at - began) / length
        end = now if attempt.finished_at is None else attempt.finished_at
        size = max(4.0, width * max(0.0, end - attempt.started_at) / length)
        result = phrases.outcome(attempt)
        kind = "processing" if attempt.outcome is None else "completed" if result == "exit 0" else "dead"
        bars.append(
            h(
                "rect",
                h("title", f"attempt {attempt.attempt}: {result}"),
                x=f"{min(at, width - size):.1f}",
                y="4",
                width=f"{size:.1f}",
                height="18",
                rx="3",
                class_=f"f-{kind}",
            )
        )
    label = f"{len(attempts)} attempts between {phrases.local(began)} and {phrases.local(ended)}"
    drawing = h("svg", *bars, viewBox=f"0 0 {width} {height}", class_="timeline", role="img", aria_label=label,
                preserveAspectRatio="none")  # fmt: skip
    ends = h("p", h("span", phrases.local(began)), h("span", phrases.local(ended) if job.finished_at else "now"),
             class_="ends", aria_hidden="true")  # fmt: skip
    return h("div", drawing, ends, class_="time")
