"""Drawings as SVG. Each has a text for users who can't see it."""

from __future__ import annotations

import math
import time

from ... import phrases
from ...values import counted, span
from .markup import Markup, h, url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Tuple

    from ...lifecycle import Job
    from ...records import Attempt
    from ..facts import Run

    Point = Tuple[float, Sequence[Tuple[str, int]]]


def gauge(parts: Sequence[tuple[str, int]], label: str, width: int = 120) -> Markup:
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
    label = f"{counted(len(attempts), 'attempt')} between {phrases.local(began)} and {phrases.local(ended)}"
    drawing = h("svg", *bars, viewBox=f"0 0 {width} {height}", class_="timeline", role="img", aria_label=label,
                preserveAspectRatio="none")  # fmt: skip
    ends = h("p", h("span", phrases.local(began)), h("span", phrases.local(ended) if job.finished_at else "now"),
             class_="ends", aria_hidden="true")  # fmt: skip
    return h("div", drawing, ends, class_="time")


# --- charts over time -----------------------------------------------------------------------------

# Round durations, where a scale may end.
MARKS = (0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 36000, 86400, 864000)
WIDTH, HEIGHT = 1000, 120  # Of a chart's own coordinates; the page stretches it.


def bars(points: Sequence[Point], step: int, label: str) -> Markup:
    """Stacked bars: for each point its time, and (kind, number) from the bottom up."""
    top = _rounded(max([sum(number for _, number in parts) for _, parts in points], default=0))
    width = WIDTH / max(len(points), 1)
    gap = min(width * 0.25, 3.0)
    pieces = _grid()
    for place, (moment, parts) in enumerate(points):
        base = float(HEIGHT)
        rects = []
        for kind, number in parts:
            height = HEIGHT * number / top
            base -= height
            if number:
                rects.append(
                    h("rect", x=f"{place * width + gap / 2:.1f}", y=f"{base:.1f}", width=f"{width - gap:.1f}",
                      height=f"{max(height, 1.5):.1f}", class_=f"f-{kind}")
                )  # fmt: skip
        if rects:
            words = ", ".join(f"{number:,} {kind}" for kind, number in parts if number)
            pieces.append(h("g", h("title", f"{_clock(moment, step)}: {words}"), *rects))
    return _chart(pieces, f"{top:,}", label, [moment for moment, _ in points], step)


def lines(
    times: Sequence[float], step: int, series: Sequence[tuple[str, Sequence[float | None]]], label: str
) -> Markup:
    """Lines of durations on a logarithmic scale: (kind, seconds at each time). A gap is None."""
    known = [value for _, values in series for value in values if value]
    low = max([mark for mark in MARKS if mark <= min(known, default=1.0)], default=MARKS[0])
    high = min([mark for mark in MARKS[1:] if mark > low and mark >= max(known, default=1.0)], default=MARKS[-1])
    pieces = _grid()
    width = WIDTH / max(len(times), 1)
    for kind, values in series:
        path = ""
        pen = "M"
        for place, value in enumerate(values):
            if not value:
                pen = "M"
                continue
            part = math.log(min(max(value, low), high) / low) / math.log(high / low)
            at = f"{(place + 0.5) * width:.1f} {HEIGHT - 4 - (HEIGHT - 8) * part:.1f}"
            # The short stroke makes a point visible that has no neighbors.
            path += f"{pen}{at}" + ("h.01" if pen == "M" else "")
            pen = "L"
        if path:
            pieces.append(h("path", h("title", kind), d=path, class_=f"line-{kind.split()[0]} {kind.split()[-1]}"))
    return _chart(pieces, span(high) if known else "", label, times, step, span(low) if known else "")


def sparkline(numbers: Sequence[int], label: str) -> Markup:
    """A small area without axes."""
    top = max(max(numbers, default=0), 1)
    width = 100 / max(len(numbers) - 1, 1)
    corners = [f"{place * width:.1f} {23 - 21 * number / top:.1f}" for place, number in enumerate(numbers)]
    line = h("path", d="M" + "L".join(corners), class_="spark-line")
    area = h("path", d=f"M0 24L{'L'.join(corners)}L100 24z", class_="spark-area")
    return h("svg", area, line, viewBox="0 0 100 24", class_="spark", role="img", aria_label=label,
             preserveAspectRatio="none")  # fmt: skip


def lane(runs: Sequence[Run], since: float, until: float, label: str) -> Markup:
    """What a worker ran, as bars that link to the jobs. Keyboards skip them: every job is in a list too."""
    length = max(until - since, 1.0)
    pieces = [h("rect", x="0", y="9", width=WIDTH, height="2", class_="track")]
    for run in runs:
        begin = max(0.0, WIDTH * (run.started_at - since) / length)
        ended = until if run.finished_at is None else run.finished_at
        size = max(2.0, WIDTH * (ended - since) / length - begin)
        kind = "processing" if run.outcome is None else "completed" if run.exit_code == 0 else "dead"
        words = f"{run.id} ({run.queue}), attempt {run.attempt}, {span(ended - run.started_at)}"
        rect = h("rect", h("title", words), x=f"{min(begin, WIDTH - 2):.1f}", y="2", width=f"{size:.1f}", height="16",
                 rx="1.5", class_=f"f-{kind}")  # fmt: skip
        pieces.append(h("a", rect, href=url("/job", id=run.id), tabindex="-1"))
    return h("svg", *pieces, viewBox=f"0 0 {WIDTH} 20", class_="lane", role="group", aria_label=label,
             preserveAspectRatio="none")  # fmt: skip


def ends(times: Sequence[float], step: int) -> Markup:
    """The labels of a time axis: its begin, its middle and its end."""
    if not times:
        return h("p")
    marks = (times[0], times[len(times) // 2], times[-1] + step)
    return h("p", *[h("span", _clock(mark, step)) for mark in marks], class_="ends", aria_hidden="true")


def _chart(
    pieces: Sequence[Markup], top: str, label: str, times: Sequence[float], step: int, bottom: str = "0"
) -> Markup:
    drawing = h("svg", *pieces, viewBox=f"0 0 {WIDTH} {HEIGHT}", class_="chart", role="img", aria_label=label,
                preserveAspectRatio="none")  # fmt: skip
    scale = h("p", h("span", top), h("span", bottom), class_="scale", aria_hidden="true")
    return h("div", scale, drawing, ends(times, step), class_="plot")


def _grid() -> list[Markup]:
    return [h("path", d=f"M0 {y}H{WIDTH}", class_="grid") for y in (0.5, HEIGHT / 2, HEIGHT - 0.5)]


def _rounded(number: int) -> int:
    """The next of 1, 2, 4, 5, 10, 20, 40, 50 … that isn't smaller."""
    unit = int("1" + "0" * (len(str(number)) - 1))
    return next(size for size in (unit, 2 * unit, 4 * unit, 5 * unit, 10 * unit) if size >= number)


def _clock(moment: float, step: int) -> str:
    form = "%H:%M" if step <= 900 else "%a %H:%M" if step < 86400 else "%d %b"
    return time.strftime(form, time.localtime(moment))
