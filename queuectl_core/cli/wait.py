"""`wait`: waits for jobs to finish, with a progress bar on a terminal and JSON lines for pipelines."""

from __future__ import annotations

import json
import os
import select
import time

from .. import values
from ..errors import BadInput, Refused, WaitTimedOut
from ..jobjson import job_json  # Not deferred: the bundle may be replaced while we wait.
from ..lifecycle import FINISHED, Job
from ..values import counted
from .bulk import given_labels, label_argument
from .obstacle import is_lasting, obstacle
from .progress import Progress, seconds
from .queue_file import open_reader, own_job
from .terminal import tell, tell_if_typed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from ..store.reader import Reader

POLL = 0.004  # Seconds between reads of `data_version`, which take about 10 µs each.
RECHECK = 1.0  # Seconds between checks of all jobs, for what `finished_since` misses, such as deleted jobs.


def wait_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "ids", nargs="*", metavar="ID", help="a job; - reads ids from standard input as they arrive"
    )
    parser.add_argument("--all", action="store_true", help="all jobs that are unfinished now (default)")
    help = "all jobs in this queue that are unfinished now"
    parser.add_argument("-q", "--queue", action="one", metavar="QUEUE", help=help)
    label_argument(parser, "all jobs that are unfinished now,")
    parser.add_argument("--timeout", metavar="DURATION", help="give up after this long, with exit code 124")
    parser.add_argument(
        "--json", action="store_true", help="print each job as a line of JSON when it finishes"
    )


def wait(args: Namespace) -> int:
    timeout = None if args.timeout is None else values.duration(args.timeout, "--timeout")
    queue = None if args.queue is None else values.name(args.queue, "--queue")
    if args.ids and (args.all or queue or args.labels):
        raise BadInput("give ids, or --all, --queue or --label, not both")
    deadline = None if timeout is None else time.monotonic() + timeout
    stream = _IdStream(0) if "-" in args.ids else None
    given = [id for id in args.ids if id != "-"]
    if stream:
        tell_if_typed(0, "ids, one per line")
    # The program at the other end of the pipe may be about to create the file.
    if stream and not given and not stream.ready(timeout):
        raise WaitTimedOut(_timeout_message(0, 0))
    with open_reader(args, may_be_unused=not given) as store:
        waiting = _Waiting(store, args.json)
        waiting.add(given if args.ids else waiting.others(store.unfinished_ids(queue, given_labels(args))))
        with waiting.progress:
            try:
                code = waiting.wait(stream, deadline)
            except KeyboardInterrupt:
                waiting.conclude()
                raise
            waiting.conclude()
            return code


class _Waiting:
    """The jobs being waited for, and how they ended."""

    def __init__(self, store: Reader, json: bool) -> None:
        self._store = store
        self._json = json
        self._left: dict[str, None] = {}
        self._new: list[str] = []
        self._known: set[str] = set()
        self._failed = 0
        self._last: Job | None = None
        self._since = time.time()
        self._checked_at = self._recheck_at = self._earliest_recheck = 0.0
        self._stuck: set[int] = set()  # Known only after a check of all jobs.
        self._obstacle: str | None = None
        self._told = False  # Whether a lasting obstacle was reported.
        self.progress = Progress(patience=0)
        self._own = own = own_job(store)
        self._dependents = store.dependents(own) if own else set()

    def others(self, ids: Sequence[str]) -> list[str]:
        """`ids` without the job that runs this command and those that wait for it. Says so if it leaves any out."""
        own = self._own
        others = [id for id in ids if not own or (id != own.id and id not in self._dependents)]
        if own and len(others) < len(ids):
            waiters = len(ids) - len(others) - (own.id in ids)
            verb = "waits" if waiters == 1 else "wait"
            those = f", and {waiters:,} that {verb} for it" if waiters else ""
            tell(f"leaving out job {own.id}, which runs this{those}")
        return others

    def add(self, ids: Sequence[str]) -> None:
        """Wait for these jobs too.

        Raises Refused if an id matches no job, or several, or one that waits for this command to end.
        """
        exact = {job.id for job in self._store.get_many(ids)}
        for id in ids:
            full = id if id in exact else self._store.get(id).id
            if self._own and full == self._own.id:
                raise Refused(f"job {full} runs this command, so it cannot wait for itself")
            if self._own and full in self._dependents:
                raise Refused(f"job {full} waits for job {self._own.id}, which runs this command")
            if full not in self._known:
                self._known.add(full)
                self._left[full] = None
                self._new.append(full)

    def wait(self, stream: _IdStream | None, deadline: float | None) -> int:
        """Wait for all jobs, including those whose ids arrive on `stream`; returns the exit code.

        Raises WaitTimedOut at `deadline` (monotonic seconds).
        """
        while True:
            version = self._store.data_version()
            if stream and stream.ready(0):
                self.add(stream.read())
                if stream.at_end:
                    stream = None
                    self._recheck_at = self._earliest_recheck
            self._collect(stream is not None)
            count, left = len(self._known), len(self._left)
            self._show(count - left, count)
            if not left and not stream:
                return self._exit_code()
            if deadline is not None and time.monotonic() >= deadline:
                self._give_up(self._check_all())
                raise WaitTimedOut(_timeout_message(left, count))
            self._sleep(version, stream, deadline)

    def _show(self, ended: int, count: int) -> None:
        """Draw the progress bar: jobs ended and failed, how fast, and the time left or why none is running."""
        progress = self.progress
        progress.start("jobs", ended)
        if not progress.is_due():
            return
        failed = f", {self._failed:,} failed" if self._failed else ""
        pace = f", {self._obstacle}" if self._obstacle else progress.pace(ended, count)
        elapsed = pace or f", {values.span(progress.elapsed())} elapsed"
        progress.show(f"{ended:,}/{count:,} jobs{failed}{elapsed}", ended / max(1, count))

    def conclude(self) -> None:
        """Say on a terminal how the jobs ended, such as "5,000 done, 3 failed in 4.2s", or how many are unfinished."""
        if not self.progress.is_shown:
            return
        count, left = len(self._known), len(self._left)
        took = seconds(self.progress.elapsed())
        if left:
            tell(f"stopped waiting after {took}: {left:,} of {counted(count, 'job')} unfinished")
        elif count:
            failed = f", {self._failed:,} failed" if self._failed else ""
            tell(f"{count - self._failed:,} done{failed} in {took}")
        else:
            tell("no unfinished jobs")

    def _sleep(self, version: int, stream: _IdStream | None, deadline: float | None) -> None:
        """Sleep until the file changes, input arrives, or the next check of all jobs or the deadline is due."""
        end = self._recheck_at if deadline is None else min(self._recheck_at, deadline)
        while self._store.data_version() == version and time.monotonic() < end:
            if stream is None:
                time.sleep(POLL)
            elif stream.ready(POLL):
                return

    def _collect(self, more: bool) -> None:
        """Handle the jobs that have ended since the last call. With `more`, further ids will arrive."""
        ended = self._store.finished_since(self._since)
        if ended:
            # Finish times increase from commit to commit: they are read under the write lock.
            self._since = ended[-1].finished_at or self._since
        # A failed or cancelled job may leave others stuck, a new one may be stuck, and now all that are left may be.
        has_failed = any(job.state != "completed" for job in ended if _end_of(job) > self._checked_at)
        if has_failed or self._new or (self._stuck and any(job.id in self._left for job in ended)):
            self._recheck_at = min(self._recheck_at, self._earliest_recheck)
        is_due = time.monotonic() >= self._recheck_at
        jobs = self._check_all() if is_due else [*ended, *self._store.get_many(self._new)]
        self._new = []
        for job in sorted(jobs, key=_end_of):
            if job.id in self._left and job.state in FINISHED:
                self._end(job)
        # Until all are stuck, another one may free those that are, by a `cancel` or a `retry`.
        if is_due and not more and all(job.seq in self._stuck for job in jobs if job.id in self._left):
            self._give_up(jobs)

    def _give_up(self, jobs: Sequence[Job]) -> None:
        """Report those of these jobs that are stuck, and wait for them no longer."""
        for job in jobs:
            if job.id in self._left and job.seq in self._stuck:
                self._end(job)

    def _check_all(self) -> list[Job]:
        """The jobs still waited for. Deleted ones are dropped and count as failed."""
        began, self._checked_at = time.monotonic(), time.time()
        jobs = self._store.get_many(list(self._left))
        self._stuck = self._store.all_stuck() if any(job.waits_for for job in jobs) else set()
        for id in set(self._left).difference(job.id for job in jobs):
            del self._left[id]
            self._fail(f"job {id} was deleted")
        if jobs:
            self._find_obstacle([job for job in jobs if job.seq not in self._stuck] or jobs)
        # Spend at most a tenth of the time on this: there may be a million jobs.
        now = time.monotonic()
        self._earliest_recheck = now + 10 * (now - began)
        self._recheck_at = max(now + RECHECK, self._earliest_recheck)
        return jobs

    def _find_obstacle(self, jobs: Sequence[Job]) -> None:
        """Find out why none of these jobs is running, for the bar; without one, say once what only a user can fix."""
        running = [job for job in jobs if job.state == "processing"]
        awake = [job for job in running if not job.is_suspended]
        self._obstacle = obstacle(self._store, min(awake or running or jobs))
        has_waited = self.progress.elapsed() > RECHECK
        if is_lasting(self._obstacle) and has_waited and not (self.progress.is_shown or self._told):
            self._told = True
            tell(f"{counted(len(self._left), 'job')} unfinished: {self._obstacle}")

    def _end(self, job: Job) -> None:
        del self._left[job.id]
        self._last = job
        reason = None if job.state in FINISHED else self._store.reason(job)
        if job.state != "completed":
            detail = job.error or reason
            self._fail(f"job {job.id} is {job.state}{f': {detail}' if detail else ''}")
        if self._json:
            self.progress.clear()
            print(json.dumps(job_json(job, reason)), flush=True)

    def _fail(self, text: str) -> None:
        self._failed += 1
        tell(text)

    def _exit_code(self) -> int:
        if len(self._known) == 1 and self._last:
            return 0 if self._last.state == "completed" else self._last.exit_code or 1
        return 1 if self._failed else 0


def _timeout_message(left: int, count: int) -> str:
    if not left:
        return "timed out waiting for more ids on standard input"
    return f"timed out: {left:,} of {counted(count, 'job')} unfinished"


class _IdStream:
    """Ids read from a stream as they arrive, one per line."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._partial = b""
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self.at_end = False

    def ready(self, seconds: float | None) -> bool:
        """Wait up to `seconds` (None: forever); returns whether `read` would not block."""
        return bool(self._poll.poll(None if seconds is None else seconds * 1000))

    def read(self) -> list[str]:
        """Read once; returns the ids whose lines are now complete."""
        data = os.read(self._fd, 65536)
        *lines, self._partial = (self._partial + data).split(b"\n")
        if not data:
            self.at_end = True
            lines.append(self._partial)
        return [values.decode(line).strip() for line in lines if line.strip()]


def _end_of(job: Job) -> float:
    # Another program can store anything there.
    return job.finished_at if isinstance(job.finished_at, (int, float)) else 0
