"""Durations on a fixed logarithmic scale, so that counts per bucket can be added up over any time and any queue.

Bucket 0 holds durations up to 1 ms, and each further bucket ends √2 times as late as the one before: bucket 2n ends at
2**n ms. The last one, LAST, has no end and starts after about 30 days. The scale must never change, since files keep
counts for years. A quantile is interpolated within its bucket, so it is within 20 % of the exact one.
"""

from __future__ import annotations

from bisect import bisect_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Tuple

    # What the record has counted: queue, kind, bucket, how many, and their seconds.
    Events = Tuple[str, str, int, int, float]

LAST = 64
MOST_EVENTS = 2**53  # And seconds. Up to here, sums of whole numbers are exact.
# The ends of all buckets but the last, in seconds.
BOUNDS = tuple(0.001 * 2 ** (number / 2) for number in range(LAST))


def bucket(seconds: float) -> int:
    """The bucket of a duration; a negative one counts as none at all."""
    return bisect_left(BOUNDS, seconds)


def quantile(counts: Mapping[int, int], part: float) -> float | None:
    """The duration in seconds that a `part` (0 to 1) of the counted ones don't exceed; None if there are none.

    `counts` maps buckets to how many durations they hold. Interpolates on the logarithmic scale, in which durations
    within a bucket are assumed to be spread evenly.
    """
    total = sum(counts.values())
    if not total:
        return None
    rank = part * total
    seen = 0
    for number in sorted(counts):
        if seen + counts[number] >= rank and counts[number]:
            if number == 0:
                return BOUNDS[0] * (rank - seen) / counts[number]
            share = (rank - seen) / counts[number]
            return float(BOUNDS[min(number, LAST) - 1] * 2 ** (share / 2))
        seen += counts[number]
    return BOUNDS[-1]


def is_event(row: Sequence[Any]) -> bool:
    """Whether these columns can be Events, whatever another program stored."""
    _, kind, bucket, count, seconds = row
    is_known = isinstance(kind, str) and isinstance(bucket, int) and 0 <= bucket <= LAST
    return is_known and 0 <= count <= MOST_EVENTS and 0 <= seconds <= MOST_EVENTS


def event_from(row: Sequence[Any]) -> Events:
    """Events from their columns."""
    queue, kind, bucket, count, seconds = row
    return queue, kind, bucket, int(count), float(seconds)
