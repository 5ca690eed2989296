"""`wait`: waits for jobs to finish, with a progress bar on a terminal and JSON lines for pipelines."""

from __future__ import annotations

import json
import os
import select
import sys
import time

from .. import values
from ..errors import BadInput, Refused, WaitTimedOut
from ..jobjson import job_json  # Not deferred: the bundle may be replaced while we wait.
from ..lifecycle import FINISHED, Job
from .queue_file import open_reader, own_job
from .terminal import counted, tell, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from ..store.reader import Reader

POLL = 0.004  # Seconds between reads of `data_version`, which take about 10 µs each.
RECHECK = 1.0  # Seconds between checks of all jobs, for what `finished_since` misses, such as deleted jobs.
MAX_BAR_WIDTH = 30  # Columns.


def wait_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "ids", nargs="*", metavar="ID", help="a job; - reads ids from standard input as they arrive"
    )
    parser.add_argument("--all", action="store_true", help="all jobs that are unfinished now (default)")
    parser.add_argument("-q", "--queue", metavar="QUEUE", help="all jobs in this queue that are unfinished now")
    parser.add_argument("--timeout", metavar="DURATION", help="give up after this long, with exit code 124")
    parser.add_argument(
        "--json", action="store_true", help="print each job as a line of JSON when it finishes"
    )


def wait(args: Namespace) -> int:
    timeout = None if args.timeout is None else values.duration(args.timeout, "--timeout")
    queue = None if args.queue is None else values.name(args.queue, "--queue")
    if args.ids and (args.all or queue):
        raise BadInput("give ids, or --all or --queue, not both")
    deadline = None if timeout is None else time.monotonic() + timeout
    stream = _IdStream(0) if "-" in args.ids else None
    given = [id for id in args.ids if id != "-"]
    # The program at the other end of the pipe may be about to create the file.
    if stream and not given and not stream.ready(timeout):
        raise WaitTimedOut(_timeout_message(0, 0))
    with open_reader(args, may_be_unused=not given) as store:
        waiting = _Waiting(store, args.json)
        waiting.add(given if args.ids else waiting.others(store.unfinished_ids(queue)))
        return waiting.wait(stream, deadline)


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
        self._bar = _Bar()
        self._own = own = own_job(store)
        self._dependents = store.dependents(own) if own else set()

    def others(self, ids: Sequence[str]) -> list[str]:
        """`ids` without the job that runs this command and those that wait for it. Says so if it leaves any out."""
        own = self._own
        others = [id for id in ids if not own or (id != own.id and id not in self._dependents)]
        if own and len(others) < len(ids):
            waiters = len(ids) - len(others) - (own.id in ids)
            tell(f"leaving out job {own.id}, which runs this{f', and {waiters} that wait for it' if waiters else ''}")
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
                stream = None if stream.at_end else stream
            self._collect()
            count, left = len(self._known), len(self._left)
            self._bar.show(count - left, self._failed, count, self._obstacle)
            if not left and not stream:
                self._bar.clear()
                return self._exit_code()
            if deadline is not None and time.monotonic() >= deadline:
                self._bar.clear()
                raise WaitTimedOut(_timeout_message(left, count))
            self._sleep(version, stream, deadline)

    def _sleep(self, version: int, stream: _IdStream | None, deadline: float | None) -> None:
        """Sleep until the file changes, input arrives, or the next check of all jobs or the deadline is due."""
        end = self._recheck_at if deadline is None else min(self._recheck_at, deadline)
        while self._store.data_version() == version and time.monotonic() < end:
            if stream is None:
                time.sleep(POLL)
            elif stream.ready(POLL):
                return

    def _collect(self) -> None:
        """Handle the jobs that have ended since the last call."""
        ended = self._store.finished_since(self._since)
        if ended:
            # Finish times increase from commit to commit: they are read under the write lock.
            self._since = ended[-1].finished_at or self._since
        # A job that did not complete may have left others stuck, and a new one may be.
        has_failed = any(job.state != "completed" for job in ended if _end_of(job) > self._checked_at)
        if has_failed or self._new:
            self._recheck_at = min(self._recheck_at, self._earliest_recheck)
        if time.monotonic() >= self._recheck_at:
            candidates = self._check_all()
        else:
            candidates, self._stuck = [*ended, *self._store.get_many(self._new)], set()
        self._new = []
        for job in sorted(candidates, key=_end_of):
            if job.id in self._left and (job.state in FINISHED or job.seq in self._stuck):
                del self._left[job.id]
                self._end(job)

    def _check_all(self) -> list[Job]:
        """The jobs still waited for. Deleted ones are dropped and count as failed."""
        began, self._checked_at = time.monotonic(), time.time()
        jobs = self._store.get_many(list(self._left))
        self._stuck = self._store.all_stuck() if any(job.waits_for for job in jobs) else set()
        for id in set(self._left).difference(job.id for job in jobs):
            del self._left[id]
            self._fail(f"job {id} was deleted")
        if self._bar.is_shown and jobs:
            is_running = any(job.state == "processing" for job in jobs)
            self._obstacle = None if is_running else self._store.reason(min(jobs))
        # Spend at most a tenth of the time on this: there may be a million jobs.
        now = time.monotonic()
        self._earliest_recheck = now + 10 * (now - began)
        self._recheck_at = max(now + RECHECK, self._earliest_recheck)
        return jobs

    def _end(self, job: Job) -> None:
        self._last = job
        reason = None if job.state in FINISHED else self._store.reason(job)
        if job.state != "completed":
            detail = job.error or reason
            self._fail(f"job {job.id} is {job.state}{f': {detail}' if detail else ''}")
        if self._json:
            print(json.dumps(job_json(job, reason)), flush=True)

    def _fail(self, text: str) -> None:
        self._failed += 1
        self._bar.clear()
        tell(text)

    def _exit_code(self) -> int:
        if len(self._known) == 1 and self._last:
            return 0 if self._last.state == "completed" else self._last.exit_code or 1
        return 1 if self._failed else 0


def _timeout_message(left: int, count: int) -> str:
    if not left:
        return "timed out waiting for more ids on standard input"
    return f"timed out: {left} of {counted(count, 'job')} unfinished"


class _IdStream:
    """Ids read from a stream as they arrive, one per line."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._partial = b""
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self.at_end = False

    def ready(self, seconds: float | None) -> bool:
        """Wait up to `seconds` (None: for ever); returns whether `read` would not block."""
        return bool(self._poll.poll(None if seconds is None else seconds * 1000))

    def read(self) -> list[str]:
        """Read once; returns the ids whose lines are now complete."""
        data = os.read(self._fd, 65536)
        *lines, self._partial = (self._partial + data).split(b"\n")
        if not data:
            self.at_end = True
            lines.append(self._partial)
        return [values.decode(line).strip() for line in lines if line.strip()]


class _Bar:
    """A progress bar on stderr, if that is a terminal and --quiet was not given."""

    def __init__(self) -> None:
        self.is_shown = terminal.shows_progress()
        self._next = 0.0
        self._began = time.monotonic()
        self._is_drawn = False

    def show(self, done: int, failed: int, count: int, obstacle: str | None) -> None:
        """Draw the bar, at most ten times a second: jobs done and failed, rate, time left.

        `obstacle` is why no job is running, or None if one is.
        """
        now = time.monotonic()
        if not self.is_shown or now < self._next:
            return
        self._next = now + 0.1
        self._is_drawn = True
        rate = done / (now - self._began) if now > self._began else 0.0
        if obstacle:
            progress = obstacle
        elif rate:
            progress = f"{rate:.3g}/s, {values.span((count - done) / rate)} left"
        else:
            progress = f"{values.span(now - self._began)} elapsed"
        text = f"{done}/{count} done, {failed} failed, {progress}"
        width = min(MAX_BAR_WIDTH, max(0, os.get_terminal_size(2).columns - len(text) - 4))
        filled = width * done // count if count else 0
        bar = "#" * filled + "." * (width - filled)
        sys.stderr.write(f"\r\033[K[{bar}] {text}")
        sys.stderr.flush()

    def clear(self) -> None:
        """Erase the bar."""
        if self._is_drawn:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
            self._is_drawn = False
            self._next = 0.0


def _end_of(job: Job) -> float:
    # Another program can store anything there.
    return job.finished_at if isinstance(job.finished_at, (int, float)) else 0
