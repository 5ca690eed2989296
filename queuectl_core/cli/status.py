"""`status`: the queue at a glance."""

from __future__ import annotations

import io
import os
import sys
import time

from .. import lifecycle, values
from ..errors import BadInput
from ..grid import Column
from ..phrases import running
from ..store.database import LARGE_WAL, SMALL_WAL
from ..store.search import Search, find
from ..typed import NamedTuple
from ..values import counted
from .queue_file import open_reader
from .tables import table, workers_table
from .terminal import print_json, size, tell, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

    from ..grid import Alternatives
    from ..lifecycle import Job
    from ..records import Attempt, Counts, Running, Worker
    from ..store.reader import Reader
    from ..views.schedules import Timetable


MOST_RUNNING = 10  # Jobs that are shown.
HOUR = 3600
REFRESH = 1.0  # Seconds.
NOTABLE = 1024**2  # Bytes. Less unused space isn't worth a word.


def status_arguments(parser: ArgumentParser) -> None:
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--watch", action="store_true", help="redraw every second until Ctrl-C, on a terminal")
    how.add_argument("--json", action="store_true", help="print a JSON object")


def status(args: Namespace) -> int:
    if args.watch and (sys.stdout is None or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb"):
        raise BadInput("--watch: needs a terminal; in a script, run: queuectl status --json")
    with open_reader(args, may_be_unused=not args.watch) as store:
        if args.watch:
            _watch(store)
        with store.snapshot():
            facts = _facts(store, time.time())
    if args.json:
        _print_json(facts)
    else:
        _print(facts, time.time())
    return 0


class _Facts(NamedTuple):
    """What `status` shows: the first `running` jobs, and how many died and how many failed in the last hour.

    `held` is how many jobs are held, by queue, and `could_run` whether a worker could run any job, now or later.
    `timetable` is None if there are no schedules.
    """

    path: str
    counts: Counts
    paused: Sequence[str | None]
    pauses: dict[str, str | None]
    held: dict[str, int]
    could_run: bool
    limits: dict[str, str]
    gates: dict[str, list[str]]
    workers: list[Worker]
    holders: Running
    running: list[Job]
    attempts: dict[int, Attempt]
    failed: tuple[int, int]
    timetable: Timetable | None
    space: dict[str, int]

    def totals(self) -> dict[str, int]:
        """The number of jobs in each state."""
        return {state: sum(queue[state] for queue in self.counts.values()) for state in lifecycle.STATES}


def _facts(store: Reader, now: float) -> _Facts:
    config = store.config()
    running = [job for job, _ in find(store, Search(states=("processing",)), MOST_RUNNING)[0]]
    return _Facts(
        path=store.path,
        counts=store.counts(),
        paused=store.paused(),
        pauses=store.pauses(),
        held=store.held(),
        could_run=not store.is_drained(None),
        gates=store.gates(),
        limits={key: str(value) for key, value in config.items() if key.endswith((".limit", ".rate"))},
        workers=_live_workers(store),
        holders=store.running(),
        running=running,
        attempts=store.last_attempts(running),
        failed=store.failed_since(now - HOUR),
        timetable=_timetable(store),
        space={
            "database_bytes": store.file_size(),
            "wal_bytes": store.wal_size(),
            "free_bytes": store.free_size(),
            "disk_free_bytes": store.disk_free(),
        },
    )


def _live_workers(store: Reader) -> list[Worker]:
    if not store.workers():
        return []
    from ..workers import fleet  # Deferred: it takes 1 ms to load what tells whether a process is alive.

    return fleet.live_workers(store)


def _timetable(store: Reader) -> Timetable | None:
    if not store.has_schedules():
        return None
    from ..views import schedules  # Deferred: loading the code for schedules takes 5 ms.

    return schedules.timetable(store)


def _schedules_json(timetable: Timetable | None) -> dict[str, object]:
    following = timetable.next if timetable else None
    return {
        "total": len(timetable.schedules) if timetable else 0,
        "paused": timetable.paused if timetable else 0,
        "failing": [schedule.name for schedule in timetable.failing] if timetable else [],
        "next": following.name if following else None,
        "next_at": values.iso(following.next_at) if following else None,
    }


def _print_json(facts: _Facts) -> None:
    from ..jobjson import worker_json
    from ..program import sources

    totals = facts.totals()
    print_json(
        {
            "database": facts.path,
            "version": sources.version(),
            **facts.space,
            "jobs": totals,
            "queues": facts.counts,
            "workers": [worker_json(row, facts.holders) for row in facts.workers],
            "held": sum(facts.held.values()),
            "dlq": totals["dead"],
            "schedules": _schedules_json(facts.timetable),
            "paused": None in facts.paused,
            "paused_queues": [queue for queue in facts.paused if queue is not None],
        }
    )


def _print(facts: _Facts, now: float) -> None:
    totals, space, rows = facts.totals(), facts.space, facts.workers
    _print_counts(facts.counts, totals, _notes(facts))
    if None in facts.paused:
        print("Paused: all queues")
    if facts.held:
        print(f"Held: {counted(sum(facts.held.values()), 'job')}; run: queuectl list --held")
    for gate in facts.gates.get("", ()):
        print(f"All queues: {gate}")
    if facts.running:
        print(f"\nRunning: {counted(totals['processing'], 'job')}")
        jobs = sorted(facts.running, key=lambda job: job.seq)
        done = {job.seq: running(job, facts.attempts.get(job.seq), now) for job in jobs}
        headers = (Column("ID", least=8), Column("FOR", right=True), Column("DONE"), Column("COMMAND", least=8))
        lines = [(job.id, _duration(job, now), done[job.seq], job.command) for job in jobs]
        kept = [place for place, column in enumerate(headers) if column.title != "DONE" or any(done.values())]
        table([headers[place] for place in kept], [[row[place] for place in kept] for row in lines])
        if totals["processing"] > len(jobs):
            print(f"… and {totals['processing'] - len(jobs):,} more (to list them, run: queuectl list -s processing)")
    print(f"\nActive workers: {sum(row.role == 'worker' for row in rows)}")
    if rows:
        workers_table(rows, facts.holders, now)
        _print_versions(rows)
    else:
        print("No workers are running.")
    if facts.timetable:
        from ..views.schedules import summary

        print(f"\nSchedules: {values.escape(summary(facts.timetable, now))}")
    print(f"\nFile: {values.escape(facts.path)} ({_room(space)})")
    died, failed = facts.failed
    if died or failed:
        print(f"\nFailures in the last hour: {died:,} dead, {failed:,} to be retried")
        print("To list them, run: queuectl list --attempted --since 1h")
    if totals["dead"]:
        print(f"\nDead letter queue: {counted(totals['dead'], 'job')}; run: queuectl dlq list")
    _warn(facts, totals)


def _room(space: dict[str, int]) -> str:
    """How much space the file takes, and how much is left."""
    if not space["database_bytes"]:
        return "does not exist yet"
    unused = f", {size(space['free_bytes'])} of it unused" if space["free_bytes"] >= NOTABLE else ""
    log = f", its log {size(space['wal_bytes'])}" if space["wal_bytes"] > SMALL_WAL else ""
    return f"{size(space['database_bytes'])}{unused}{log}; {size(space['disk_free_bytes'])} free"


def _duration(job: Job, now: float) -> str | None:
    return values.span(now - job.started_at) if isinstance(job.started_at, (int, float)) else None


def _warn(facts: _Facts, totals: dict[str, int]) -> None:
    """Say on stderr what needs attention."""
    if facts.space["wal_bytes"] > LARGE_WAL:
        tell("the write-ahead log is large; to find out why, run: queuectl doctor")
    orphaned = totals["processing"] - len(facts.holders.keys() & {row.id for row in facts.workers})
    if orphaned:
        verb = "was" if orphaned == 1 else "were"
        tell(f"{counted(orphaned, 'job')} {verb} left behind by dead workers; run: queuectl worker start")
    waiting = _waiting_for_a_worker(facts)
    if waiting and not facts.workers:
        verb = "is" if waiting == 1 else "are"
        tell(f"{counted(waiting, 'job')} {verb} waiting for a worker; run: queuectl worker start")


def _waiting_for_a_worker(facts: _Facts) -> int:
    """How many jobs wait for a worker: not those that are held, or in a paused queue."""
    if None in facts.paused or not facts.could_run:
        return 0
    open_queues = {queue: states for queue, states in facts.counts.items() if queue not in facts.paused}
    return sum(states["pending"] + states["failed"] - facts.held.get(queue, 0) for queue, states in open_queues.items())


def _watch(store: Reader) -> NoReturn:
    """Redraw the status on one screen of the terminal until interrupted, and leave the terminal as it was."""
    from contextlib import redirect_stderr, redirect_stdout

    sys.stdout.write("\033[?1049h\033[?25l\033[?7l")  # The alternate screen, without a cursor or wrapped lines.
    try:
        while True:
            store.check_file()
            with store.snapshot():
                facts = _facts(store, time.time())
            screen = _Screen()
            with redirect_stdout(screen), redirect_stderr(screen):
                _print(facts, time.time())
            lines = screen.getvalue().splitlines()[: max(1, os.get_terminal_size(1).lines - 1)]
            sys.stdout.write("\033[H" + "".join(line + "\033[K\r\n" for line in lines) + "\033[J")
            sys.stdout.flush()
            time.sleep(REFRESH)
    finally:
        sys.stdout.write("\033[?7h\033[?25h\033[?1049l")
        sys.stdout.flush()


class _Screen(io.StringIO):
    """Collects what is printed, which is meant for a terminal."""

    def isatty(self) -> bool:
        return True


def _print_versions(rows: list[Worker]) -> None:
    from ..program import sources

    version = sources.version()
    others = sorted({row.version for row in rows} - {version})
    if others:
        print(f"\nWorkers run {', '.join(others)}, but this is {version}; to update them, run: queuectl worker restart")


def _notes(facts: _Facts) -> dict[str, list[str]]:
    """By queue: its pause, limit and rate."""
    notes = {queue: [f"paused: {why}" if why else "paused"] for queue, why in facts.pauses.items()}
    for key, value in sorted(facts.limits.items()):
        queue, _, name = key.rpartition(".")
        notes.setdefault(queue, []).append(f"{name} {value}")
    for queue, gates in facts.gates.items():
        if queue:
            notes.setdefault(queue, []).extend(gates)
    return notes


def _print_counts(counts: Counts, totals: dict[str, int], notes: Mapping[str, Sequence[str]]) -> None:
    """A row for each queue that has jobs, or a limit, a rate or a pause."""
    rows: list[list[object]] = []
    for queue in {**counts, **notes}:
        by_state = counts.get(queue) or dict.fromkeys(lifecycle.STATES, 0)
        if queue in notes or any(by_state.values()):
            rows.append([queue, *_figures(by_state), _limits(notes.get(queue, ()))])
    if not rows:
        print("No jobs." if counts else "No jobs yet.")
        return
    if len(rows) > 1:
        rows.append(["(all)", *_figures(totals), ("",)])
    headers = [Column("QUEUE", least=8)]
    for place, state in enumerate(lifecycle.STATES, 1):
        least = max(4, *(len(str(row[place])) for row in rows))  # Never truncate a number.
        title = state.upper()
        headers.append(Column(title, right=True, least=least, drop=int(not totals[state]), short=title[:4]))
    headers.append(Column("LIMITS", least=6, drop=2))
    if not any(notes.values()):
        headers, rows = headers[:-1], [row[:-1] for row in rows]
    table(headers, rows)


def _limits(notes: Sequence[str]) -> Alternatives:
    """The notes of a queue, with and without their reasons."""
    return ", ".join(notes), ", ".join(note.partition(":")[0] for note in notes)


def _figures(by_state: Mapping[str, int]) -> list[str]:
    """The numbers of jobs, with commas for people: a script that reads the table gets digits."""
    return [f"{number:,}" if terminal.width() is not None else str(number) for number in by_state.values()]
