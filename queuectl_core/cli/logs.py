"""`logs`: what jobs printed, or print, as bytes."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace

from .. import values
from ..errors import BadInput, Refused
from ..lifecycle import FINISHED, Job
from . import open_store, tell

POLL = 0.02  # seconds


def logs_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("id", nargs="?", metavar="ID", help="the job; with -f all that run by default")
    parser.add_argument(
        "-f",
        "--follow",
        action="store_true",
        help="go on until the job is finished, across its retries",
    )
    parser.add_argument("-n", "--lines", metavar="N", help="begin N lines before the end")
    parser.add_argument("--attempt", metavar="N", help="of this attempt (default: the last)")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--stdout", action="store_true", help="only what went to standard output")
    only.add_argument("--stderr", action="store_true", help="only what went to standard error")


def logs(args: Namespace) -> int:
    streams = (1,) if args.stdout else (2,) if args.stderr else (1, 2)
    number = None if args.attempt is None else values.whole(args.attempt, "--attempt", 1)
    lines = None if args.lines is None else values.whole(args.lines, "--lines", 0)
    if args.id is None:
        if not args.follow:
            raise BadInput("give the id of a job, or -f to follow all that run")
        with open_store(args) as store:
            return _follow_all(store, streams)
    with open_store(args) as store:
        job = store.get(args.id)
        if number is not None and number > job.last_attempt:
            raise Refused("job %s has no attempt %d: it has had %d" % (job.id, number, job.last_attempt))
        reader = _Reader(store, job, number or max(job.last_attempt, 1), streams)
        _write(_last_lines(reader.read(), lines))
        if args.follow:
            _follow(store, job, reader, fixed=number is not None)
        elif job.last_attempt == 0:
            tell("job %s has not run yet" % job.id)
    return 0


class _Reader:
    """Reads on in the output of one attempt."""

    def __init__(self, store, job: Job, attempt: int, streams: tuple[int, ...]) -> None:
        self._store = store
        self._job = job
        self._streams = streams
        self._position = 0
        self._attempt = attempt

    def read(self) -> bytes:
        """What is new since the last call. A gap where output was not kept is said on stderr."""
        pieces = []
        for start, stream, data in self._store.output(self._job, self._attempt, self._position):
            if start > self._position:
                tell("[%d bytes were not kept: see output-limit]" % (start - self._position))
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
    return b"".join(data.splitlines(keepends=True)[-count:]) if count else b""


def _follow(store, job: Job, reader: _Reader, fixed: bool) -> None:
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


def _sleep_until_change(store, version: int) -> None:
    while store.data_version() == version:
        time.sleep(POLL)


def _follow_all(store, streams: tuple[int, ...]) -> int:
    """Write each line that any job prints, its id before it; until interrupted."""
    readers: dict[tuple[int, int], _Reader] = {}
    rests: dict[tuple[int, int], bytes] = {}
    began = since = time.time()
    while True:
        version, now = store.data_version(), time.time()
        with store.snapshot():
            running = [job for job, _ in store.list(("processing",))]
            # What began and ended between two looks.
            ended = store.finished_since(since) + [job for job, _ in store.list(("failed",), limit=100)]
            for job in running + [job for job in ended if (job.started_at or 0) >= began]:
                key = (job.seq, job.last_attempt)
                if key not in rests:
                    readers[key] = _Reader(store, job, job.last_attempt, streams)
                    rests[key] = b""
                elif key not in readers:
                    continue
                *lines, rests[key] = (rests[key] + readers[key].read()).split(b"\n")
                if job.state != "processing":
                    lines += [rests[key]] if rests[key] else []
                    del readers[key]
                prefix = values.encode(job.id) + b" | "
                _write(b"".join(prefix + line + b"\n" for line in lines))
        since = now - 1
        _sleep_until_change(store, version)
