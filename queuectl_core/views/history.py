"""Figures from the record: what was added, how attempts ended, how long jobs waited and ran, over any time.

They outlive pruning. Times are UTC epoch seconds, durations are seconds. Beyond the last two days the record knows only
whole hours, and beyond ninety days only whole days (UTC): a period that starts within one includes all of it.
"""

from __future__ import annotations

import time

from ..histogram import quantile
from ..typed import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Dict, Tuple, TypeVar

    from ..store.reader import Reader

    Key = TypeVar("Key")
    Row = Tuple[int, str, str, int, int, float]
    # Counts by bucket of histogram.py.
    Histogram = Dict[int, int]

RAN = ("completed", "failed", "dead", "lost", "cancelled", "deferred", "released")  # How an attempt can end.
FAILED = ("failed", "dead", "lost")
TRIED = ("completed", *FAILED)  # The attempts whose durations count: the others were ended early.
FINEST = 60  # Seconds: the shortest step.
MOST_POINTS = 120  # Of a series.
STEPS = (60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 7 * 86400, 28 * 86400)


class Span(NamedTuple):
    """The time from `since` until `until`."""

    since: float
    until: float

    @property
    def seconds(self) -> float:
        return self.until - self.since

    def step(self, points: int = MOST_POINTS) -> int:
        """The shortest of STEPS that divides it into at most this many points."""
        return next((step for step in STEPS if self.seconds <= points * step), STEPS[-1])


class Stats(NamedTuple):
    """What happened in a queue, or in several, during a span.

    `counts` has the number of jobs added and of attempts that ended in each way of RAN; `seconds` has their total
    duration by the same words, and the total of `wait`. `waits` and `runs` are histograms.
    """

    counts: dict[str, int]
    seconds: dict[str, float]
    waits: Histogram
    runs: Histogram

    @property
    def added(self) -> int:
        return self.counts.get("added", 0)

    @property
    def finished(self) -> int:
        """How many jobs ran to their end: completed or dead."""
        return self.counts.get("completed", 0) + self.counts.get("dead", 0)

    @property
    def attempts(self) -> int:
        return sum(self.counts.get(kind, 0) for kind in RAN)

    @property
    def failures(self) -> int:
        """How many attempts failed, whether or not the job was retried."""
        return sum(self.counts.get(kind, 0) for kind in FAILED)

    @property
    def success(self) -> float | None:
        """The share of finished jobs that completed, from 0 to 1; None if none finished."""
        return self.counts.get("completed", 0) / self.finished if self.finished else None

    @property
    def tries(self) -> float | None:
        """Attempts per finished job; None if none finished."""
        tried = sum(self.counts.get(kind, 0) for kind in TRIED)
        return tried / self.finished if self.finished else None

    @property
    def waited(self) -> float:
        """How long jobs were ready before they first started: the sum of all, in seconds."""
        return self.seconds.get("wait", 0.0)

    @property
    def ran(self) -> float:
        """How long attempts that completed or failed ran: the sum of all, in seconds."""
        return sum(self.seconds.get(kind, 0.0) for kind in TRIED)

    @property
    def work(self) -> float | None:
        """The run time of all attempts per finished job, in seconds; None if none finished."""
        return self.ran / self.finished if self.finished else None

    def wait(self, part: float) -> float | None:
        """How long jobs were ready before they first started: the quantile `part` (0 to 1), within 20 %."""
        return quantile(self.waits, part)

    def run(self, part: float) -> float | None:
        """How long attempts that completed or failed ran: the quantile `part` (0 to 1), within 20 %."""
        return quantile(self.runs, part)


def empty() -> Stats:
    """Statistics of nothing."""
    return Stats({}, {}, {}, {})


def _add(stats: Stats, kind: str, bucket: int, count: int, seconds: float) -> None:
    if kind == "wait":
        stats.waits[bucket] = stats.waits.get(bucket, 0) + count
    else:
        stats.counts[kind] = stats.counts.get(kind, 0) + count
        if kind in TRIED:
            stats.runs[bucket] = stats.runs.get(bucket, 0) + count
    stats.seconds[kind] = stats.seconds.get(kind, 0.0) + seconds


def _grouped(rows: Iterable[Row], group: Callable[[int, str], Key], queues: Sequence[str] = ()) -> dict[Key, Stats]:
    """Statistics by whatever `group` makes of a row's start and queue; without `queues`, of all queues."""
    found: dict[Key, Stats] = {}
    for start, queue, kind, bucket, count, seconds in rows:
        if not queues or queue in queues:
            key = group(start, queue)
            stats = found.get(key)
            if stats is None:
                stats = found[key] = empty()
            _add(stats, kind, bucket, count, seconds)
    return found


def total(store: Reader, span: Span, queues: Sequence[str] = ()) -> Stats:
    """The statistics of a span; without `queues`, of all queues."""
    rows = store.recorded(_minute(span.since), span.until, STEPS[-1])
    return _grouped(rows, lambda start, queue: None, queues).get(None) or empty()


def by_queue(store: Reader, span: Span) -> dict[str, Stats]:
    """The statistics of each queue in which something happened during a span."""
    rows = store.recorded(_minute(span.since), span.until, STEPS[-1])
    found = _grouped(rows, lambda start, queue: queue)
    return {queue: found[queue] for queue in sorted(found)}


def ever(store: Reader) -> dict[str, Stats]:
    """The statistics of each queue since its first job. Nothing lowers them. Reads the whole record."""
    found: dict[str, Stats] = {}
    for queue, kind, bucket, count, seconds in store.recorded_ever():
        _add(found.setdefault(queue, empty()), kind, bucket, count, seconds)
    return found


def series(store: Reader, span: Span, step: int, queues: Sequence[str] = ()) -> list[tuple[float, Stats]]:
    """The statistics of each `step` seconds of a span, including those in which nothing happened, oldest first.

    The steps are multiples of `step`, so the first one may begin before the span.
    """
    first = int(span.since // step * step)
    found = _grouped(store.recorded(first, span.until, step), lambda start, queue: start, queues)
    return [(start, found.get(start) or empty()) for start in _steps(first, span.until, step)]


def series_by_queue(store: Reader, span: Span, step: int) -> dict[str, list[tuple[float, Stats]]]:
    """What `series` returns, for each queue in which something happened during the span; reads the record once."""
    first = int(span.since // step * step)
    found = _grouped(store.recorded(first, span.until, step), lambda start, queue: (queue, start))
    return {
        queue: [(start, found.get((queue, start)) or empty()) for start in _steps(first, span.until, step)]
        for queue in sorted({queue for queue, _ in found})
    }


def by_day(store: Reader, span: Span, queues: Sequence[str] = ()) -> list[tuple[str, Stats]]:
    """(date, statistics) of each local day of a span in which something happened, oldest first."""
    # The offsets of time zones are multiples of a quarter of an hour.
    rows = store.recorded(_minute(span.since), span.until, 900)
    days = _grouped(rows, lambda start, queue: time.strftime("%Y-%m-%d", time.localtime(start)), queues)
    return sorted(days.items())


def _steps(first: int, until: float, step: int) -> Iterator[int]:
    while first < until:
        yield first
        first += step


def _minute(moment: float) -> float:
    return moment // FINEST * FINEST
