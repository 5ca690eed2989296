"""A queue's metrics for monitoring systems, in OpenMetrics or in the older Prometheus text format.

The formats differ in how they declare counters and `queuectl_build_info`, and OpenMetrics adds units and an end marker.
Prometheus scrapes either; node_exporter's textfile collector, Pushgateway and promtool read only the older one.

Sources: https://prometheus.io/docs/specs/om/open_metrics_spec/ and
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import re
import sys

from ..histogram import BOUNDS
from ..lifecycle import STATES
from ..program import sources
from ..store.sqlite import sqlite3
from ..typed import NamedTuple
from .facts import meters
from .history import RAN, empty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..store.reader import Reader
    from .facts import Meters
    from .history import Histogram, Stats

# The formats, with their content types in HTTP.
FORMATS = {
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
    "prometheus": "text/plain; version=0.0.4; charset=utf-8",
}
# The bounds of histogram.py that are exported: powers of two in milliseconds from 64 ms to 70 minutes and, outside that
# range, powers of four from 4 ms to 3 days.
ENDS = (4, 8, *range(12, 45, 2), 48, 52, 56)
LONGEST_NAME = 200  # Characters of a queue's name, as in the schema.


class Family(NamedTuple):
    """Metrics of one name: "counter", "gauge", "histogram" or "info", its unit or "", and a line for each sample."""

    name: str
    kind: str
    unit: str
    help: str
    lines: list[str]


def text(store: Reader, now: float, form: str = "openmetrics") -> str:
    """A queue's metrics at `now` (epoch seconds), in one of FORMATS."""
    with store.snapshot():
        found = meters(store, now)
    is_new = form == "openmetrics"
    lines = []
    for name, kind, unit, help, samples in (*_of_queues(found), *_of_schedules(found), *_of_the_file(found)):
        if not is_new and kind in ("counter", "info"):
            name, kind = (f"{name}_total", kind) if kind == "counter" else (f"{name}_info", "gauge")
        lines.append(f"# HELP {name} {help}")
        lines.append(f"# TYPE {name} {kind}")
        if is_new and unit:
            lines.append(f"# UNIT {name} {unit}")
        lines += samples
    if is_new:
        lines.append("# EOF")
    return "\n".join(lines) + "\n"


def label(name: str) -> str:
    r"""A queue's name as a label's value, in quotes, and different for each name.

    Control characters, and bytes that aren't UTF-8, become \x1b or \xff; a backslash before such a word, \x5c.
    """
    shown = _UNSHOWN.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", name)
    shown = shown.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{shown}"'


# Bytes that aren't UTF-8 are lone surrogates, whose last eight bits are the byte (see values.decode).
_UNSHOWN = re.compile("[\0-\x1f\x7f\ud800-\udfff]|\\\\(?=x[0-9a-f]{2})")


def _of_queues(found: Meters) -> list[Family]:
    queues = [(label(queue.name), queue) for queue in found.queues if len(queue.name) <= LONGEST_NAME]
    names = {*found.ever, *(queue.name for queue in found.queues)}
    ever = [(label(name), found.ever.get(name) or empty()) for name in sorted(names) if len(name) <= LONGEST_NAME]
    jobs = [
        f'queuectl_jobs{{queue={name},state="{state}"}} {queue.counts[state]}'
        for name, queue in queues
        for state in STATES
    ]
    attempts = [
        f'queuectl_attempts_total{{queue={name},outcome="{kind}"}} {stats.counts.get(kind, 0)}'
        for name, stats in ever
        for kind in RAN
    ]
    added = [f"queuectl_jobs_added_total{{queue={name}}} {stats.added}" for name, stats in ever]
    ages = [
        f"queuectl_queue_oldest_ready_seconds{{queue={name}}} {_number(found.ages[queue.name])}"
        for name, queue in queues
    ]
    paused = [f"queuectl_queue_paused{{queue={name}}} {int(queue.is_paused)}" for name, queue in queues]
    limits = [
        f"queuectl_queue_limit{{queue={name}}} {queue.limit}" for name, queue in queues if queue.limit is not None
    ]
    return [
        Family("queuectl_jobs", "gauge", "", "Jobs in each state, not counting pruned ones.", jobs),
        Family("queuectl_jobs_added", "counter", "", "Jobs enqueued.", added),
        Family("queuectl_attempts", "counter", "", "Attempts that ended, by how they ended.", attempts),
        _waits(ever),
        _runs(ever),
        Family(
            "queuectl_queue_oldest_ready_seconds",
            "gauge",
            "seconds",
            "How long the longest-waiting ready job has been ready; 0 if there is none.",
            ages,
        ),
        Family("queuectl_queue_paused", "gauge", "", "Whether the queue is paused.", paused),
        Family("queuectl_queue_limit", "gauge", "", "How many jobs of the queue may run at once, if limited.", limits),
    ]


def _waits(ever: list[tuple[str, Stats]]) -> Family:
    name = "queuectl_job_wait_seconds"
    lines = [line for queue, stats in ever for line in _histogram(name, queue, stats.waits, stats.waited)]
    return Family(name, "histogram", "seconds", "How long jobs were ready before their first attempt began.", lines)


def _runs(ever: list[tuple[str, Stats]]) -> Family:
    name = "queuectl_attempt_duration_seconds"
    lines = [line for queue, stats in ever for line in _histogram(name, queue, stats.runs, stats.ran)]
    return Family(name, "histogram", "seconds", "Run time of attempts that completed or failed.", lines)


def _histogram(name: str, queue: str, counts: Histogram, seconds: float) -> list[str]:
    """The lines of a histogram. They add up the record's buckets, so they are exact."""
    lines, total, at = [], 0, 0
    for end in ENDS:
        while at <= end:
            total += counts.get(at, 0)
            at += 1
        lines.append(f'{name}_bucket{{queue={queue},le="{BOUNDS[end]:.10g}"}} {total}')
    count = sum(counts.values())
    lines.append(f'{name}_bucket{{queue={queue},le="+Inf"}} {count}')
    lines.append(f"{name}_count{{queue={queue}}} {count}")
    lines.append(f"{name}_sum{{queue={queue}}} {_number(seconds)}")
    return lines


def _of_schedules(found: Meters) -> list[Family]:
    listed = [(label(each.name), each) for each in found.schedules if len(each.name) <= LONGEST_NAME]
    paused = [f"queuectl_schedule_paused{{schedule={name}}} {int(each.is_paused)}" for name, each in listed]
    skipped = [f"queuectl_schedule_skipped_total{{schedule={name}}} {each.skipped}" for name, each in listed]
    return [
        _moments(
            "last_success",
            "When a job of the schedule last completed; 0 if none has.",
            [(name, each.last_success_at or 0.0) for name, each in listed],
        ),
        _moments(
            "last_run",
            "The latest time for which the schedule added a job; 0 if there was none.",
            [(name, each.last_at or 0.0) for name, each in listed],
        ),
        _moments(
            "next_run",
            "When the schedule is next due; absent if it is paused or has ended.",
            [(name, each.next_at) for name, each in listed if each.next_at is not None],
        ),
        Family("queuectl_schedule_paused", "gauge", "", "Whether the schedule is paused.", paused),
        Family("queuectl_schedule_skipped", "counter", "", "Runs of the schedule that were skipped.", skipped),
    ]


def _moments(what: str, help: str, times: list[tuple[str, float]]) -> Family:
    """A family of times, in epoch seconds, by the schedules' labels."""
    name = f"queuectl_schedule_{what}_timestamp_seconds"
    lines = [f"{name}{{schedule={schedule}}} {_number(time)}" for schedule, time in times]
    return Family(name, "gauge", "seconds", help, lines)


def _of_the_file(found: Meters) -> list[Family]:
    workers = [f'queuectl_workers{{state="{state}"}} {count}' for state, count in found.workers.items()]
    size, log = f"queuectl_database_bytes {found.database_bytes}", f"queuectl_wal_bytes {found.wal_bytes}"
    software = _labels({"version": sources.version(), "python": _python(), "sqlite": sqlite3.sqlite_version})
    build = f"queuectl_build_info{software} 1"
    return [
        Family("queuectl_workers", "gauge", "", "Running workers, by what they are doing.", workers),
        Family("queuectl_database_bytes", "gauge", "bytes", "Size of the queue file.", [size]),
        Family("queuectl_wal_bytes", "gauge", "bytes", "Size of its write-ahead log.", [log]),
        Family("queuectl_build", "info", "", "The program that reports these metrics.", [build]),
    ]


def _python() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def _labels(values: Mapping[str, str]) -> str:
    return "{" + ",".join(f"{name}={label(value)}" for name, value in values.items()) + "}"


def _number(seconds: float) -> str:
    """Seconds, to the millisecond.

    Durations are differences of epoch seconds, so they are multiples of 2**-22, and any sum below 2**31 is exact:
    rolling up the record, which adds them in another order, doesn't lower it. Rounding hides the error of larger sums.
    """
    return f"{seconds:.3f}".rstrip("0").rstrip(".")
