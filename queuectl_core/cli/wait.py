"""`wait`: until jobs are finished, with a bar for people and JSON lines for pipelines."""

from __future__ import annotations

import json
import os
import select
import sys
import time
from argparse import ArgumentParser, Namespace

from .. import values
from ..errors import BadInput, WaitTimedOut
from ..jobjson import job_json  # Now, since a bundle may be replaced while we wait.
from ..lifecycle import FINISHED, Job
from .queue_file import open_reader
from .terminal import tell, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..store.reader import Reader

POLL = 0.004  # Seconds; a look at `data_version` costs some ten microseconds.
RECHECK = 1.0  # Seconds between two looks at all jobs: for what the quick look cannot see.
LONGEST_BAR = 30  # columns


def wait_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "ids", nargs="*", metavar="ID", help="a job; - reads ids from standard input as they come"
    )
    parser.add_argument("--all", action="store_true", help="all jobs that are unfinished now (default)")
    parser.add_argument("-q", "--queue", metavar="QUEUE", help="all that are unfinished now in this queue")
    parser.add_argument("--timeout", metavar="DURATION", help="wait no longer than this; exit 124 then")
    parser.add_argument(
        "--json", action="store_true", help="print each job as a line of JSON the moment it ends"
    )


def wait(args: Namespace) -> int:
    patience = None if args.timeout is None else values.duration(args.timeout, "--timeout")
    queue = None if args.queue is None else values.name(args.queue, "--queue")
    if args.ids and (args.all or queue):
        raise BadInput("give ids, or --all, or --queue")
    with open_reader(args) as store:
        waiting = _Waiting(store, args.json)
        lines = _Lines(0) if "-" in args.ids else None
        waiting.add([id for id in args.ids if id != "-"] if args.ids else store.unfinished_ids(queue))
        return waiting.wait(lines, None if patience is None else time.monotonic() + patience)


class _Waiting:
    """The jobs that are waited for, and what became of them."""

    def __init__(self, store: Reader, json: bool) -> None:
        self._store = store
        self._json = json
        self._left: dict[str, None] = {}
        self._new: list[str] = []
        self._known: set[str] = set()
        self._failed = 0
        self._last: Job | None = None
        self._since = time.time()
        self._looked_at = self._recheck_at = self._soonest_recheck = 0.0
        self._obstacle: str | None = None
        self._bar = _Bar()

    def add(self, ids: Sequence[str]) -> None:
        """Wait for these too. Raises Refused for an id that no job has."""
        found = {job.id: job for job in self._store.get_many(ids)}
        for id in ids:
            full = id if id in found else self._store.get(id).id
            if full not in self._known:
                self._known.add(full)
                self._left[full] = None
                self._new.append(full)

    def wait(self, lines: _Lines | None, until: float | None) -> int:
        """Wait for all, and for those whose ids `lines` brings; returns the exit code."""
        while True:
            version = self._store.data_version()
            if lines and lines.ready(0):
                self.add(lines.read())
                lines = None if lines.at_end else lines
            self._collect()
            count, left = len(self._known), len(self._left)
            self._bar.show(count - left, self._failed, count, self._obstacle)
            if not left and not lines:
                self._bar.clear()
                return self._exit_code()
            if until is not None and time.monotonic() >= until:
                self._bar.clear()
                raise WaitTimedOut(f"{left} of {count} jobs are not finished")
            self._sleep(version, lines, until)

    def _sleep(self, version: int, lines: _Lines | None, until: float | None) -> None:
        """Until something has changed, or it is time to look at all jobs, or `until`."""
        end = self._recheck_at if until is None else min(self._recheck_at, until)
        while self._store.data_version() == version and time.monotonic() < end:
            if lines is None:
                time.sleep(POLL)
            elif lines.ready(POLL):
                return

    def _collect(self) -> None:
        """Take out of `left` the jobs that have ended."""
        ended = self._store.finished_since(self._since)
        if ended:
            # Times of ends grow from commit to commit: they are read under the write lock.
            self._since = ended[-1].finished_at or self._since
        # Where one did not complete, others may be stuck now.
        if any(job.state != "completed" for job in ended if (job.finished_at or 0) > self._looked_at):
            self._recheck_at = min(self._recheck_at, self._soonest_recheck)
        if time.monotonic() >= self._recheck_at:
            candidates = self._look_at_all()
        else:
            candidates = [*ended, *self._store.get_many(self._new)]
        self._new = []
        for job in sorted(candidates, key=lambda job: job.finished_at or 0):
            if job.id in self._left and (job.state in FINISHED or self._store.is_stuck(job)):
                del self._left[job.id]
                self._end(job)

    def _look_at_all(self) -> list[Job]:
        """All jobs that are left, but those that are gone: these end here."""
        began, self._looked_at = time.monotonic(), time.time()
        found = self._store.get_many(list(self._left))
        for id in set(self._left).difference(job.id for job in found):
            del self._left[id]
            self._fail(f"job {id} was deleted")
        if self._bar.is_shown and found:
            runs = any(job.state == "processing" for job in found)
            self._obstacle = None if runs else self._store.reason(min(found))
        # A million jobs are not looked at all the time.
        now = time.monotonic()
        self._soonest_recheck = now + 10 * (now - began)
        self._recheck_at = max(now + RECHECK, self._soonest_recheck)
        return found

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


class _Lines:
    """Ids from a stream, as they come."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self.at_end = False

    def ready(self, seconds: float) -> bool:
        """Whether `read` would not block."""
        return bool(self._poll.poll(seconds * 1000))

    def read(self) -> list[str]:
        """The lines that one read completes."""
        data = os.read(self._fd, 65536)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if not data:
            self.at_end = True
            lines.append(self._rest)
        return [values.decode(line).strip() for line in lines if line.strip()]


class _Bar:
    """A progress bar on stderr, where that is a terminal and nobody said --quiet."""

    def __init__(self) -> None:
        self.is_shown = terminal.shows_progress()
        self._next = 0.0
        self._began = time.monotonic()
        self._is_drawn = False

    def show(self, done: int, failed: int, count: int, obstacle: str | None) -> None:
        """Draw it, ten times a second at most: done, failed, rate, time left.

        `obstacle` is why nothing runs, where nothing does.
        """
        now = time.monotonic()
        if not self.is_shown or now < self._next:
            return
        self._next = now + 0.1
        self._is_drawn = True
        rate = done / (now - self._began) if now > self._began else 0.0
        if obstacle:
            pace = obstacle
        elif rate:
            pace = f"{rate:.3g}/s, {values.span((count - done) / rate)} left"
        else:
            pace = f"running for {values.span(now - self._began)}"
        told = f"{done}/{count} done, {failed} failed, {pace}"
        width = min(LONGEST_BAR, max(0, os.get_terminal_size(2).columns - len(told) - 4))
        filled = width * done // count if count else 0
        bar = "#" * filled + "." * (width - filled)
        sys.stderr.write(f"\r\033[K[{bar}] {told}")
        sys.stderr.flush()

    def clear(self) -> None:
        """Take it away."""
        if self._is_drawn:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
            self._is_drawn = False
            self._next = 0.0
