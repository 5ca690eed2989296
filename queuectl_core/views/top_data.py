"""What `top` shows, read from the file in one short snapshot; and the file itself, which may be locked or disappear.

Every query is bounded, so a million jobs are as fast as a hundred. While nothing has changed, only
`PRAGMA data_version` is asked. If the file can't be read, `Source` says why and returns nothing, so the screen stays.
"""

from __future__ import annotations

import time

from ..errors import DatabaseBusy, DatabaseDamaged, DatabaseGone, DatabaseUnusable
from ..store.search import Search, is_filtered, matching, running_first
from ..typed import NamedTuple
from ..workers import fleet
from . import facts
from .history import Span, series, series_by_queue
from .schedules import Timetable, timetable
from .top_actions import is_same
from .top_log import MOST_BYTES, Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from ..lifecycle import Job
    from ..records import Attempt, Needs, Worker
    from ..store.reader import Reader
    from ..store.search import Listed
    from .facts import Busy, Overview, Queue
    from .history import Stats

    Found = TypeVar("Found")

MOST_JOBS = 1000  # In the list of jobs. To see others, users search.
MOST_BUSY = 200  # Running jobs whose command and time left are shown.
RECORD_AGE = 10.0  # Seconds for which figures from the record are used again.
MINUTES = 60  # For which the number of finished jobs is shown.
STEP = 300  # Seconds: the same, for each queue.


class Wanted(NamedTuple):
    """Which jobs to list: any queue, state and text if None."""

    queue: str | None = None
    state: str | None = None
    text: str | None = None

    def search(self) -> Search:
        """The search for them."""
        return Search(
            queues=() if self.queue is None else (self.queue,),
            states=() if self.state is None else (self.state,),
            text=self.text,
        )


class Picture(NamedTuple):
    """What the main screen shows.

    `queues` are those that are in use. `finished` is how many jobs finished in each of the last MINUTES, and
    `finished_by_queue` the same by queue. `busy`: by id, the jobs that workers hold. `jobs` are the first ones that
    match, `number` is how many do (None: unknown), and `searched` how many were looked at, if not all. The `timetable`
    may be some seconds old.
    """

    read_at: float
    overview: Overview
    queues: list[Queue]
    finished: list[int]
    finished_by_queue: dict[str, list[int]]
    busy: dict[str, Busy]
    jobs: list[Listed]
    last: dict[int, Attempt]
    number: int | None
    searched: int | None
    timetable: Timetable


class History:
    """Figures of the record, and schedules: read only every few seconds, as that is slow and they change slowly."""

    def __init__(self) -> None:
        self.day: dict[str, Stats] = {}
        self.finished: list[int] = []
        self.finished_by_queue: dict[str, list[int]] = {}
        self.timetable = Timetable(())
        self._read_at: float | None = None

    def read(self, store: Reader, now: float) -> None:
        """Read the record unless that was done a moment ago."""
        if self._read_at is not None and 0 <= now - self._read_at < RECORD_AGE:
            return
        self._read_at = now
        hour = Span(now - MINUTES * 60, now + 1)
        self.day = facts.last_day(store, now)
        self.finished = [stats.finished for _, stats in series(store, hour, 60)]
        by_queue = series_by_queue(store, hour, STEP)
        self.finished_by_queue = {name: [stats.finished for _, stats in found] for name, found in by_queue.items()}
        self.timetable = timetable(store)


def read_picture(store: Reader, wanted: Wanted, limit: int, now: float, history: History) -> Picture:
    """Read what the main screen shows, with at most `limit` jobs."""
    with store.snapshot():
        history.read(store, now)
        overview = facts.overview(store, now, history.day)
        queues = [queue for queue in overview.queues if _is_in_use(queue, overview.is_paused)]
        search = wanted.search()
        jobs, searched = running_first(store, search, min(limit, MOST_JOBS), is_bounded=True)
        held = [overview.running[row.id][0] for row in overview.workers if row.id in overview.running]
        return Picture(
            read_at=now,
            overview=overview,
            queues=queues,
            finished=history.finished,
            finished_by_queue=history.finished_by_queue,
            busy={each.job.id: each for each in facts.busy(store, store.get_many(held[:MOST_BUSY]), now)},
            jobs=jobs,
            last=store.last_attempts([job for job, _ in jobs]),
            number=None if is_filtered(search) else matching(store, search),
            searched=searched,
            timetable=history.timetable,
        )


def _is_in_use(queue: Queue, all_paused: bool) -> bool:
    """Whether a queue has jobs, or a limit, a rate or a pause."""
    is_paused = queue.is_paused and not all_paused
    return any(queue.counts.values()) or is_paused or (queue.limit, queue.rate) != (None, None)


class SchedulesPicture(NamedTuple):
    """What the screen of schedules shows."""

    read_at: float
    table: Timetable


class JobPicture(NamedTuple):
    """What the screen of one job shows.

    `job` is as it was last seen if it `is_gone`. `busy` is None unless it runs. `attempt` is the one whose output is
    shown, or 0.
    """

    read_at: float
    job: Job
    is_gone: bool
    busy: Busy | None
    reason: str | None
    needs: Needs
    attempts: Sequence[Attempt]
    attempt: int
    labels: Sequence[str] = ()


class JobReader:
    """Reads one job and the output of an attempt as they change. `attempt` is None for the latest."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.attempt: int | None = None
        self.log = Log()
        self._shown = 0  # The attempt that `log` has.
        self._position = 0

    def read(self, store: Reader, now: float) -> JobPicture:
        """Read what has changed."""
        with store.snapshot():
            job = store.find(self.job.id)
            if job is None or not is_same(job, self.job):
                return JobPicture(now, self.job, True, None, None, [], [], self._shown)
            self.job = job
            attempt = self.attempt or job.last_attempt
            if attempt != self._shown:
                self.log.clear()
                self._shown, self._position = attempt, 0
            for start, stream, data in store.recent_output(job, attempt, self._position, MOST_BYTES):
                self.log.add(start, stream, data)
                self._position = start + len(data)
            running = facts.busy(store, [job], now) if job.state == "processing" else []
            return JobPicture(
                read_at=now,
                job=job,
                is_gone=False,
                busy=running[0] if running else None,
                reason=store.reason(job),
                needs=store.needs(job),
                attempts=store.attempts(job),
                attempt=self._shown,
                labels=store.labels_of(job),
            )


class Source:
    """The queue file, opened by `opener` whenever it is there. `problem` says why it can't be read, if so."""

    def __init__(self, opener: Callable[[], Reader], clock: Callable[[], float] = time.time) -> None:
        """Open the file. Raises DatabaseUnusable."""
        self._opener = opener
        self._clock = clock
        self._store: Reader | None = opener()
        self._version: int | None = None  # Of the data that were read last.
        self._history = History()
        self.problem: str | None = None

    def has_changed(self) -> bool:
        """Whether there may be something new to read. Cheap: it asks for no job."""
        try:
            store = self._open()
            store.check_file()
            version = store.data_version()
        except DatabaseUnusable as error:
            self._fail(error)
            return False
        return version != self._version or self.problem is not None

    def read_picture(self, wanted: Wanted, limit: int) -> Picture | None:
        """What the main screen shows; None if the file can't be read now."""
        return self._read(lambda store: read_picture(store, wanted, limit, self._clock(), self._history))

    def read_job(self, reader: JobReader) -> JobPicture | None:
        """What the screen of one job shows; None if the file can't be read now."""
        return self._read(lambda store: reader.read(store, self._clock()))

    def read_schedules(self) -> SchedulesPicture | None:
        """What the screen of schedules shows; None if the file can't be read now."""

        def read(store: Reader) -> SchedulesPicture:
            with store.snapshot():
                return SchedulesPicture(self._clock(), timetable(store))

        return self._read(read)

    def ask(self, question: Callable[[Reader], Found]) -> Found | None:
        """The answer of a query; None if the file can't be read now."""
        try:
            return question(self._open())
        except DatabaseUnusable as error:
            self._fail(error)
            return None

    def are_running(self, workers: Sequence[Worker]) -> bool:
        """Whether these workers are running. One that was killed leaves its row, so the file doesn't tell."""
        store = self._store
        return store is None or all(fleet.is_running(store, row) for row in workers)

    def close(self) -> None:
        """Close the file."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _open(self) -> Reader:
        if self._store is None:
            self._store = self._opener()
            self._version = None
            self._history = History()
        return self._store

    def _read(self, read: Callable[[Reader], Found]) -> Found | None:
        try:
            store = self._open()
            version = store.data_version()  # Before the read, so that no later change is missed.
            found = read(store)
        except DatabaseUnusable as error:
            self._fail(error)
            return None
        self._version, self.problem = version, None
        return found

    def _fail(self, error: DatabaseUnusable) -> None:
        """Remember what is wrong. Unless the file is only busy, it is opened again: another may be in its place."""
        self.problem = str(error)
        if isinstance(error, (DatabaseGone, DatabaseDamaged)) or not isinstance(error, DatabaseBusy):
            self.close()
