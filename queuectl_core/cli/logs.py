"""`logs`: what jobs printed, or print, as bytes."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace

from .. import values
from ..errors import BadInput, Refused
from ..lifecycle import FINISHED, Job
from .queue_file import open_reader
from .terminal import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..store.reader import Reader

POLL = 0.02  # seconds


def logs_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("id", nargs="?", metavar="ID", help="the job (default, with -f: all that run)")
    parser.add_argument(
        "-f",
        "--follow",
        action="store_true",
        help="go on until the job is finished, across its retries",
    )
    parser.add_argument("-n", "--lines", metavar="N", help="begin N lines before the end (default: all)")
    parser.add_argument("--attempt", metavar="N", help="of this attempt (default: the last)")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--stdout", action="store_true", help="only what went to standard output")
    only.add_argument("--stderr", action="store_true", help="only what went to standard error")


def logs(args: Namespace) -> int:
    streams = (1,) if args.stdout else (2,) if args.stderr else (1, 2)
    number = None if args.attempt is None else values.whole(args.attempt, "--attempt", 1)
    lines = None if args.lines is None else values.whole(args.lines, "--lines", 0)
    if args.id is None:
        if not args.follow or number is not None:
            raise BadInput("give the id of a job, or -f alone to follow all that run")
        with open_reader(args) as store:
            _FollowAll(store, streams, lines).run()
    with open_reader(args) as store:
        job = store.get(args.id)
        if number is not None and number > job.last_attempt:
            raise Refused(f"job {job.id} has no attempt {number}: it has had {job.last_attempt}")
        reader = _Reader(store, job, number or max(job.last_attempt, 1), streams)
        _write(_last_lines(reader.read(), lines))
        if args.follow:
            _follow(store, job, reader, fixed=number is not None)
        elif job.last_attempt == 0:
            tell(f"job {job.id} has not run yet")
    return 0


class _Reader:
    """Reads on in the output of one attempt."""

    def __init__(self, store: Reader, job: Job, attempt: int, streams: tuple[int, ...]) -> None:
        self._store = store
        self._job = job
        self._streams = streams
        self._position = 0
        self._attempt = attempt

    @property
    def id(self) -> str:
        """The job's id."""
        return self._job.id

    def read(self) -> bytes:
        """What is new since the last call. A gap where output was not kept is said on stderr."""
        pieces = []
        for start, stream, data in self._store.output(self._job, self._attempt, self._position):
            if start > self._position:
                tell(f"[{start - self._position} bytes were not kept: see output-limit]")
            self._position = start + len(data)
            if stream in self._streams:
                pieces.append(data)
        return b"".join(pieces)

    def is_behind(self, job: Job) -> bool:
        """Whether the job has begun a later attempt."""
        return job.last_attempt > self._attempt

    def go_on(self) -> None:
        """Turn to the next attempt."""
        self._attempt += 1
        self._position = 0


def _write(data: bytes) -> None:
    if data:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _last_lines(data: bytes, count: int | None) -> bytes:
    if count is None:
        return data
    if count == 0:
        return b""
    at = len(data) - 1  # A newline at the very end ends the last line, and begins none.
    while count and at >= 0:
        at = data.rfind(b"\n", 0, at)
        count -= 1
    return data[at + 1 :]


def _follow(store: Reader, job: Job, reader: _Reader, fixed: bool) -> None:
    """Write what comes until the job or, if it is `fixed`, the attempt has ended."""
    while True:
        version = store.data_version()
        job = store.get(job.id)  # Before its output: nothing of its end is missed.
        _write(reader.read())
        if reader.is_behind(job) and not fixed:
            reader.go_on()
        elif job.state in FINISHED or reader.is_behind(job):
            return
        else:
            _sleep_until_change(store, version)


def _sleep_until_change(store: Reader, version: int) -> None:
    while store.data_version() == version:
        time.sleep(POLL)


class _FollowAll:
    """Writes each line that any job prints from now on, the job's id before it."""

    def __init__(self, store: Reader, streams: tuple[int, ...], lines: int | None) -> None:
        """Of jobs that run already, begin `lines` lines before the end of what they printed."""
        self._store = store
        self._streams = streams
        self._lines = lines
        self._began = time.time()
        self._seen: dict[int, int] = {}  # The latest attempt of each job that was looked at.
        self._open: dict[int, tuple[_Reader, bytes]] = {}  # With the beginning of an unended line.

    def run(self) -> None:
        """Write until interrupted."""
        since = self._began
        while True:
            version = self._store.data_version()
            jobs = self._store.tried_since(since)  # Before their output: nothing of an end is missed.
            since = max([since, *(job.updated_at for job in jobs if job.state != "processing")])
            for seq in set(self._open).difference(job.seq for job in jobs):
                self._write_rest(seq)  # It was deferred, released or revived.
            for job in jobs:
                self._write_of(job)
            self._lines = None
            _sleep_until_change(self._store, version)

    def _write_of(self, job: Job) -> None:
        """Write what is new of a job's latest attempts."""
        first = self._seen.get(job.seq, 0) + 1
        if job.seq not in self._seen:
            # Only what ended, or goes on, since we began.
            ended = [attempt.finished_at for attempt in self._store.attempts(job)]
            first += sum(1 for moment in ended if moment is not None and moment < self._began)
        for attempt in range(first, job.last_attempt + 1):
            self._write_rest(job.seq)
            self._open[job.seq] = _Reader(self._store, job, attempt, self._streams), b""
        self._seen[job.seq] = job.last_attempt
        if job.seq in self._open:
            self._write_new(job.seq)
            if job.state != "processing":
                self._write_rest(job.seq)

    def _write_new(self, seq: int) -> None:
        reader, rest = self._open[seq]
        *lines, rest = (rest + _last_lines(reader.read(), self._lines)).split(b"\n")
        self._open[seq] = reader, rest
        prefix = values.encode(reader.id) + b" | "
        _write(b"".join(prefix + line + b"\n" for line in lines))

    def _write_rest(self, seq: int) -> None:
        """Write the last of an attempt that has ended, its last line too, ended or not."""
        if seq not in self._open:
            return
        self._write_new(seq)
        reader, rest = self._open.pop(seq)
        if rest:
            _write(values.encode(reader.id) + b" | " + rest + b"\n")
