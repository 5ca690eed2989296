"""The state of a queue now: queues, workers, what runs, what is left to do, and what to do about it.

The one layer of figures behind stats, top, the dashboard and metrics, together with history.py, failures.py and
schedules.py, so that no two views disagree. Everything is read-only, needs no running worker, works on a backup, and
takes a time that depends on the number of queues and workers, not of jobs. Call it inside `store.snapshot()` for
figures of one moment. Times are UTC epoch seconds, durations are seconds.
"""

from __future__ import annotations

from statistics import median

from .. import suggestion, values
from ..lifecycle import STATES
from ..typed import NamedTuple
from ..workers import fleet
from . import commands
from .history import Span, Stats, by_queue, empty, ever
from .schedules import timetable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..lifecycle import Job
    from ..records import Attempt, Worker
    from ..store.reader import Reader
    from .schedules import Schedule

DAY = 86400
NEWEST = 2000  # How many completed jobs an estimate of a run time looks at.
MOST_IN_LANES = 1000  # Jobs of each state.


class Remaining(NamedTuple):
    """How long something will take: `seconds`, or None and why that isn't known."""

    seconds: float | None
    reason: str = ""


class Queue(NamedTuple):
    """A queue. `limit` and `rate` are as configured, `workers` is how many running workers take its jobs. `held` is how
    many of its jobs are held.

    `oldest` is when the longest-waiting job became ready, or due; None if none could start. `recent` has the statistics
    of the last day. `remaining` is how long its jobs will take.
    """

    name: str
    counts: dict[str, int]
    held: int
    is_paused: bool
    paused_because: str | None
    limit: int | None
    rate: str | None
    workers: int
    oldest: float | None
    recent: Stats
    remaining: Remaining

    @property
    def waiting(self) -> int:
        return self.counts["pending"] + self.counts["failed"]

    @property
    def startable(self) -> int:
        """How many jobs wait that aren't held."""
        return max(0, self.waiting - self.held)

    @property
    def running(self) -> int:
        return self.counts["processing"]


class Busy(NamedTuple):
    """A running job: its worker, its progress in percent with a text if it reports any, and how long it will take."""

    job: Job
    percent: float | None
    text: str | None
    remaining: Remaining


class Overview(NamedTuple):
    """The state of a file. `workers` are running; `running` has the job that each of them holds, by the worker's id.

    `orphaned` is how many jobs dead workers have left behind. `failed` is how many jobs died, and how many wait for a
    retry after failing, within the last hour. Sizes are in bytes.
    """

    now: float
    path: str
    counts: dict[str, int]
    queues: list[Queue]
    is_paused: bool
    workers: list[Worker]
    running: dict[int, tuple[str, float]]
    orphaned: int
    failed: tuple[int, int]
    remaining: Remaining
    database_bytes: int
    wal_bytes: int
    free_bytes: int


def last_day(store: Reader, now: float) -> dict[str, Stats]:
    """The statistics of each queue for the last day."""
    return by_queue(store, Span(now - DAY, now + 1))


def overview(store: Reader, now: float, recent: Mapping[str, Stats] | None = None) -> Overview:
    """The state of the file, and of each queue that was ever used or configured.

    `recent` is what `last_day` returned a moment ago, which saves most of the time.
    """
    workers = fleet.live_workers(store)
    running = store.running()
    listed = queues(store, now, workers, recent)
    paused = store.paused()
    counts = {state: sum(queue.counts[state] for queue in listed) for state in STATES}
    return Overview(
        now=now,
        path=store.path,
        counts=counts,
        queues=listed,
        is_paused=None in paused,
        workers=workers,
        running=running,
        orphaned=counts["processing"] - len(running.keys() & {row.id for row in workers}),
        failed=store.failed_since(now - 3600),
        remaining=_together(listed, len(workers), None in paused),
        database_bytes=store.file_size(),
        wal_bytes=store.wal_size(),
        free_bytes=store.free_size(),
    )


def queues(
    store: Reader, now: float, workers: Sequence[Worker], recent: Mapping[str, Stats] | None = None
) -> list[Queue]:
    """All queues, by name. `workers` are the running ones; `recent` as for `overview`."""
    if recent is None:
        recent = last_day(store, now)
    found = [queue._replace(recent=recent.get(queue.name) or queue.recent) for queue in _queues(store, now, workers)]
    return [queue._replace(remaining=_remaining(queue)) for queue in found]


def _queues(store: Reader, now: float, workers: Sequence[Worker]) -> list[Queue]:
    """All queues, by name, without what the record knows."""
    config = store.config()
    paused, pauses = set(store.paused()), store.pauses()
    counts = store.counts()
    due, held = store.oldest_due(now), store.held()
    configured = {key.rpartition(".")[0] for key in config if "." in key}
    found = []
    for name in sorted({*counts, *configured, *filter(None, paused)}):
        limit, rate = config.get(f"{name}.limit"), config.get(f"{name}.rate")
        by_state = counts.get(name) or dict.fromkeys(STATES, 0)
        ready = store.oldest_ready(name) if by_state["pending"] or by_state["failed"] else None
        queue = Queue(
            name=name,
            counts=by_state,
            held=held.get(name, 0),
            is_paused=name in paused or None in paused,
            paused_because=pauses.get(name),
            limit=limit if isinstance(limit, int) else None,
            rate=None if rate is None else str(rate),
            workers=sum(row.takes(name) and row.wanted == "run" for row in workers),
            oldest=min((moment for moment in (ready, due.get(name)) if moment is not None), default=None),
            recent=empty(),
            remaining=Remaining(None),
        )
        found.append(queue)
    return found


class Meters(NamedTuple):
    """What monitoring reads: the state of a file, and counters of each queue that never go down.

    `ages` is, by queue, for how many seconds the longest-waiting job has been ready; 0 if none is. `workers` is how
    many running workers are idle, busy and stopping. `ever` has the statistics of the queues since their first job.
    Sizes are in bytes.
    """

    queues: list[Queue]
    ages: dict[str, float]
    workers: dict[str, int]
    ever: dict[str, Stats]
    schedules: Sequence[Schedule]
    database_bytes: int
    wal_bytes: int


def meters(store: Reader, now: float) -> Meters:
    """What monitoring reads. The `recent` and `remaining` of its queues are empty."""
    workers = fleet.live_workers(store)
    running = store.running()
    listed = _queues(store, now, workers)
    by_state = dict.fromkeys(("idle", "busy", "stopping"), 0)
    for row in workers:
        by_state[row.state(running[row.id][0] if row.id in running else None)] += 1
    return Meters(
        queues=listed,
        ages={queue.name: 0.0 if queue.oldest is None else max(0.0, now - queue.oldest) for queue in listed},
        workers=by_state,
        ever=ever(store),
        schedules=timetable(store).schedules,
        database_bytes=store.file_size(),
        wal_bytes=store.wal_size(),
    )


def _remaining(queue: Queue) -> Remaining:
    """The work that is left, divided by the workers that may do it; or what the queue's rate makes of it.

    A job is assumed to take as long as those that finished within a day did, on average and with all their attempts.
    """
    left = queue.startable + queue.running
    if not left:
        return Remaining(None, "held") if queue.held else Remaining(0.0)
    if queue.is_paused:
        return Remaining(None, "paused")
    workers = queue.workers if queue.limit is None else min(queue.workers, queue.limit)
    if not workers:
        return Remaining(None, "no worker" if not queue.workers else "limit 0")
    if queue.recent.work is None:
        return Remaining(None, "no data yet")
    # Those that run are half done, on average.
    seconds = (queue.startable + queue.running / 2) * queue.recent.work / min(workers, left)
    return Remaining(max(seconds, _by_rate(queue)))


def _by_rate(queue: Queue) -> float:
    """The seconds that a queue's rate, such as "10/min", makes its waiting jobs take."""
    number, _, unit = (queue.rate or "").partition("/")
    if not number.isdecimal() or int(number) == 0:
        return 0.0
    return queue.startable * {"min": 60, "h": 3600}.get(unit, 1) / int(number)


def _together(listed: Iterable[Queue], workers: int, is_paused: bool) -> Remaining:
    """How long all queues that aren't paused will take, sharing the workers."""
    if is_paused:
        return Remaining(None, "paused")
    longest = work = 0.0
    for queue in listed:
        seconds, reason = queue.remaining
        if seconds is None and reason not in ("paused", "held"):
            return queue.remaining
        longest = max(longest, seconds or 0.0)
        if seconds:
            work += (queue.startable + queue.running / 2) * (queue.recent.work or 0.0)
    return Remaining(max(longest, work / max(workers, 1)))


def busy(store: Reader, jobs: Sequence[Job], now: float) -> list[Busy]:
    """These running jobs with their progress, and how long they will take.

    That follows from the progress that a job reports or, if it reports none, it is the median of earlier runs of the
    same command, an estimate.
    """
    attempts = store.last_attempts(jobs)
    commands = {job.command for job in jobs if job.seq not in attempts or not attempts[job.seq].progress}
    earlier: dict[str, list[float]] = {}
    for command, seconds in store.run_times(NEWEST) if commands else ():
        text = values.decode(command) if isinstance(command, bytes) else str(command)
        if text in commands:
            earlier.setdefault(text, []).append(seconds)
    return [_busy(job, attempts.get(job.seq), earlier.get(job.command, ()), now) for job in jobs]


def _busy(job: Job, attempt: Attempt | None, earlier: Sequence[float], now: float) -> Busy:
    """A running job, its attempt, and how long its command took earlier."""
    percent, text = (attempt.progress, attempt.progress_text) if attempt else (None, None)
    reported = attempt.remaining(now) if attempt else None
    if job.is_suspended:
        remaining = Remaining(None, "suspended")
    elif reported is not None:
        remaining = Remaining(reported, "reported")
    elif earlier:
        remaining = Remaining(max(0.0, median(earlier) - (attempt.ran(now) if attempt else 0.0)), "estimate")
    else:
        remaining = Remaining(None, "no data yet")
    return Busy(job, percent, text, remaining)


class Run(NamedTuple):
    """An attempt in a worker's lane. `finished_at` and `outcome` are None while it runs."""

    id: str
    queue: str
    attempt: int
    started_at: float
    finished_at: float | None
    outcome: str | None
    exit_code: int | None


def lanes(store: Reader, span: Span) -> dict[int, list[Run]]:
    """What each worker ran during a span, by the worker's id, oldest first.

    Looks at the newest MOST_IN_LANES jobs of each state only.
    """
    found: dict[int, list[Run]] = {}
    for row in store.lanes(span.since, span.until, MOST_IN_LANES):
        found.setdefault(row[0], []).append(Run(*row[1:]))
    return found


def remedy(job: Job, reason: str | None) -> str | None:
    """The command that starts a job that waits for this reason (see queries.REASON); None if it only takes time."""
    found = commands.remedy(job, reason)
    return None if found is None else suggestion.shell_line(["queuectl", *found.words])
