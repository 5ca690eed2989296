"""`logs`: prints or follows the output of jobs, byte for byte."""

from __future__ import annotations

import sys
import time
from functools import partial

from .. import values
from ..errors import BadInput, Refused
from ..lifecycle import FINISHED, Job
from .output import OutputReader, last_lines
from .queue_file import open_reader
from .silence import Silence, of_all, of_job
from .tables import attempt_title
from .terminal import tell, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ..store.reader import Reader



def logs_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("id", nargs="?", metavar="ID", help="the job (with -f, default: all running jobs)")
    parser.add_argument(
        "-f",
        "--follow",
        action="store_true",
        help="keep printing until the job finishes, including its retries",
    )
    parser.add_argument("-n", "--lines", metavar="N", help="start with the last N lines (default: all)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--attempt", metavar="N", help="the output of attempt N (default: the latest)")
    which.add_argument("--all-attempts", action="store_true", help="all attempts, each under a header line")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--stdout", action="store_true", help="only standard output")
    only.add_argument("--stderr", action="store_true", help="only standard error")


def logs(args: Namespace) -> int:
    streams = (1,) if args.stdout else (2,) if args.stderr else (1, 2)
    number = None if args.attempt is None else values.whole(args.attempt, "--attempt", 1)
    lines = None if args.lines is None else values.whole(args.lines, "--lines", 0)
    if args.all_attempts and args.follow:
        raise BadInput("--all-attempts: cannot be used together with --follow")
    if args.id is None:
        if number is not None or args.all_attempts:
            raise BadInput(f"{'--attempt' if number else '--all-attempts'}: needs the id of a job")
        if not args.follow:
            raise BadInput(
                "logs needs the id of a job; to find it, run: queuectl list; to follow running jobs: queuectl logs -f"
            )
        with open_reader(args) as store, Silence(store) as silence:
            _FollowAll(store, silence, streams, lines).run()
    with open_reader(args) as store:
        job = store.get(args.id)
        if number is not None and number > job.last_attempt:
            latest = f"its latest is {job.last_attempt}" if job.last_attempt else "it has not run yet"
            raise Refused(f"job {job.id} has no attempt {number}; {latest}")
        if args.all_attempts:
            _write_all_attempts(store, job, streams, lines)
            return 0
        reader = OutputReader(store, job, number or max(job.last_attempt, 1), streams)
        _write(last_lines(reader.read(), lines))
        if args.follow:
            with Silence(store) as silence:
                _follow(store, silence, job, reader, one_attempt=number is not None)
        elif job.last_attempt == 0:
            tell(f"job {job.id} has not run yet")
    return 0


def _write_all_attempts(store: Reader, job: Job, streams: tuple[int, ...], lines: int | None) -> None:
    """Write a header line and the output of each attempt."""
    attempts = store.attempts(job)
    for attempt in attempts:
        _write(f"==> {values.escape(attempt_title(attempt))} <==\n".encode())
        data = last_lines(OutputReader(store, job, attempt.attempt, streams).read(), lines)
        # The next header starts a line, whatever the attempt ended with.
        _write(data if data.endswith(b"\n") or not data else data + b"\n")
    if not attempts:
        tell(f"job {job.id} has not run yet")


def _write(data: bytes) -> None:
    if data:
        terminal.erase()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _follow(store: Reader, silence: Silence, job: Job, reader: OutputReader, one_attempt: bool) -> None:
    """Write output until the job finishes or, with `one_attempt`, until the attempt ends."""
    while True:
        version = store.data_version()
        job = store.get(job.id)  # Read before the output, so that its end is not missed.
        data = reader.read()
        _write(data)
        silence.heard(data)
        if reader.is_behind(job) and not one_attempt:
            reader.next_attempt()
        elif job.state in FINISHED or reader.is_behind(job):
            return
        else:
            silence.wait(version, partial(of_job, store, job.id))


class _FollowAll:
    """Follows the output of all jobs, each line prefixed with the job's id."""

    def __init__(self, store: Reader, silence: Silence, streams: tuple[int, ...], lines: int | None) -> None:
        """For jobs already running, start with the last `lines` lines of their output (None: all)."""
        self._store = store
        self._silence = silence
        self._streams = streams
        self._lines = lines
        self._began = time.time()
        self._seen: dict[int, int] = {}  # By seq: the latest attempt handled so far.
        self._open: dict[int, tuple[OutputReader, bytes]] = {}  # By seq, with the start of an unfinished line.

    def run(self) -> None:
        """Write until interrupted."""
        since = self._began
        while True:
            version = self._store.data_version()
            jobs = self._store.tried_since(since)  # Read before the output, as in _follow.
            since = max([since, *(job.updated_at for job in jobs if job.state != "processing")])
            for seq in set(self._open).difference(job.seq for job in jobs):
                self._write_rest(seq)  # The job was deferred, released, or revived.
            for job in jobs:
                self._write_job(job)
            self._lines = None
            running = sum(job.state == "processing" for job in jobs)
            self._silence.wait(version, partial(of_all, self._store, running))

    def _write_job(self, job: Job) -> None:
        """Write a job's new output, including that of attempts since the last call."""
        first = self._seen.get(job.seq, 0) + 1
        if job.seq not in self._seen:
            # Skip attempts that ended before we started.
            ends = [attempt.finished_at for attempt in self._store.attempts(job)]
            first += sum(1 for end in ends if end is not None and end < self._began)
        for attempt in range(first, job.last_attempt + 1):
            self._write_rest(job.seq)
            self._open[job.seq] = OutputReader(self._store, job, attempt, self._streams), b""
        self._seen[job.seq] = job.last_attempt
        if job.seq in self._open:
            self._write_new(job.seq)
            if job.state != "processing":
                self._write_rest(job.seq)

    def _write_new(self, seq: int) -> None:
        reader, rest = self._open[seq]
        *lines, rest = (rest + last_lines(reader.read(), self._lines)).split(b"\n")
        self._open[seq] = reader, rest
        prefix = values.escape(reader.id).encode() + b" | "
        data = b"".join(prefix + line + b"\n" for line in lines)
        _write(data)
        self._silence.heard(data)

    def _write_rest(self, seq: int) -> None:
        """Write the rest of an attempt that has ended, including a last line without a newline."""
        if seq not in self._open:
            return
        self._write_new(seq)
        reader, rest = self._open.pop(seq)
        if rest:
            _write(values.escape(reader.id).encode() + b" | " + rest + b"\n")
