"""`wait`: until jobs are finished, with a bar for people and JSON lines for pipelines."""

from __future__ import annotations

import os
import select
import sys
import time
from argparse import ArgumentParser, Namespace

from .. import values
from ..errors import BadInput, WaitTimedOut
from ..lifecycle import FINISHED, Job
from . import open_store, tell

POLL = 0.004  # Seconds; a look at `data_version` costs some ten microseconds.
RECHECK = 1.0  # Seconds between two looks at all jobs: for what the quick look cannot see.
BAR_WIDTH = 30


def wait_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "ids", nargs="*", metavar="ID", help="a job; - reads ids from standard input, a line each"
    )
    parser.add_argument("--all", action="store_true", help="all jobs that are unfinished now (default)")
    parser.add_argument("-q", "--queue", metavar="QUEUE", help="all that are unfinished in this queue")
    parser.add_argument("--timeout", metavar="DURATION", help="wait no longer than this; exit 124 then")
    parser.add_argument(
        "--json", action="store_true", help="print each job as a line of JSON the moment it ends"
    )


def wait(args: Namespace) -> int:
    patience = None if args.timeout is None else values.duration(args.timeout, "--timeout")
    queue = None if args.queue is None else values.name(args.queue, "--queue")
    if args.ids and (args.all or queue):
        raise BadInput("give ids, or --all, or --queue")
    with open_store(args) as store:
        waiting = _Waiting(store, args.json)
        lines = None
        if args.ids == ["-"]:
            lines = _Lines(0)
        else:
            waiting.add(args.ids or store.unfinished_ids(queue))
        return waiting.wait(lines, None if patience is None else time.monotonic() + patience)


class _Waiting:
    """The jobs that are waited for, and what became of them."""

    def __init__(self, store, json: bool) -> None:
        self._store = store
        self._json = json
        self._left: dict[str, None] = {}
        self._new: list[str] = []
        self._count = self._failed = 0
        self._last: Job | None = None
        self._since = time.time()
        self._recheck_at = 0.0
        self._bar = _Bar()

    def add(self, ids: list[str]) -> None:
        """Wait for these too. Raises Refused for an id that no job has."""
        found = {job.id: job for job in self._store.get_many(ids)}
        for id in ids:
            full = id if id in found else self._store.get(id).id
            if full not in self._left:
                self._left[full] = None
                self._count += 1
                self._new.append(full)

    def wait(self, lines: _Lines | None, until: float | None) -> int:
        """Wait for all, and for those whose ids `lines` brings; returns the exit code."""
        while True:
            version = self._store.data_version()
            self._collect()
            done = self._count - len(self._left)
            self._bar.show(done, self._failed, self._count)
            if not self._left and (lines is None or lines.at_end):
                self._bar.clear()
                return self._exit_code()
            while not self._new and self._is_quiet(version):
                if until is not None and time.monotonic() >= until:
                    self._bar.clear()
                    raise WaitTimedOut("%d of %d jobs are not finished" % (len(self._left), self._count))
                if lines is None or lines.at_end:
                    time.sleep(POLL)
                elif lines.ready(POLL):
                    self.add(lines.read())
                    if lines.at_end:
                        break

    def _is_quiet(self, version: int) -> bool:
        return self._store.data_version() == version and time.monotonic() < self._recheck_at

    def _collect(self) -> None:
        """Take out of `left` the jobs that have ended."""
        now = time.time()
        if time.monotonic() >= self._recheck_at:
            candidates = self._store.get_many(list(self._left))
            # A million jobs are not looked at each second.
            self._recheck_at = time.monotonic() + max(RECHECK, 10 * (time.time() - now))
        else:
            candidates = self._store.finished_since(self._since) + self._store.get_many(self._new)
        self._new = []
        self._since = now - 1
        for job in sorted(candidates, key=lambda job: job.finished_at or 0):
            if job.id in self._left and (job.state in FINISHED or self._store.is_stuck(job)):
                del self._left[job.id]
                self._end(job)

    def _end(self, job: Job) -> None:
        self._last = job
        if job.state != "completed":
            self._failed += 1
            self._bar.clear()
            reason = job.error or self._store.reason(job)
            tell("job %s is %s%s" % (job.id, job.state, ": %s" % reason if reason else ""))
        if self._json:
            import json

            from ..render import job_json

            print(json.dumps(job_json(job, None)), flush=True)

    def _exit_code(self) -> int:
        if self._count == 1 and self._last:
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
    """A progress bar on stderr, where that is a terminal."""

    def __init__(self) -> None:
        self._shows = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._next = 0.0
        self._began = time.monotonic()
        self._is_drawn = False

    def show(self, done: int, failed: int, count: int) -> None:
        """Draw it, ten times a second at most: done, failed, rate, time left."""
        now = time.monotonic()
        if not self._shows or now < self._next:
            return
        self._next = now + 0.1
        self._is_drawn = True
        filled = BAR_WIDTH * done // count if count else 0
        rate = done / (now - self._began) if now > self._began else 0.0
        left = values.span((count - done) / rate) if rate and done < count else "-"
        sys.stderr.write(
            "\r\033[K[%s%s] %d/%d done, %d failed, %.3g/s, %s left"
            % ("#" * filled, "." * (BAR_WIDTH - filled), done, count, failed, rate, left)
        )
        sys.stderr.flush()

    def clear(self) -> None:
        """Take it away."""
        if self._is_drawn:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
            self._is_drawn = False
            self._next = 0.0
