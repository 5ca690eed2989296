"""Runs one command: spawns it in a session of its own, streams its output, times out, ends it.

The command's life is observed in three separate things: `_ending` is what we asked of it (nothing,
or a reason to end), `_status` is how its first process ended, and its process group may outlive
both. It is over when the first process has ended *and* nothing of its group is left. A pipe that
an escaped grandchild still holds does not keep it: what was written until then is taken.

We hold the pipes' writing ends too until then, so that no end of file wakes anybody: a command that
prints nothing is heard of once, by its SIGCHLD. (A twelfth of a worker's time with short jobs.)
"""

from __future__ import annotations

import math
import os
import select
import signal
import time
from collections import deque

from .identity import group_lives
from .lifecycle import Outcome

CHUNK = 65536
MOST_IN_PIPE = 1024 * 1024  # Linux lets a user's pipe hold this much.
# A process group cannot be waited for: looked at this often (seconds) until it is gone.
GROUP_POLL = 0.02
# Signals that a parent may have told us to ignore, and that a job expects to work.
DEFAULT_SIGNALS = (
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
)


class CannotStart(Exception):
    """The command could not be started; the text says why."""


class Output:
    """What an attempt printed, bounded: the first and the last half of `limit` bytes are kept.

    Each chunk is (position, stream, data), where position counts all bytes of both streams. `fresh`
    is what is not stored yet, `stale` the positions of what was stored and has fallen out since.
    """

    def __init__(self, limit: int) -> None:
        self._head_room = limit // 2
        self._tail_room = limit - limit // 2
        self._tail: deque[tuple[int, int, bytes, bool]] = deque()
        self._tail_size = 0
        self._fresh_head: list[tuple[int, int, bytes]] = []
        self._stale: list[int] = []
        self._position = 0
        self.dropped = 0

    def add(self, stream: int, data: bytes) -> None:
        """Take in what `stream` (1 stdout, 2 stderr) printed."""
        position = self._position
        self._position += len(data)
        if self._head_room:
            head, data = data[: self._head_room], data[self._head_room :]
            self._head_room -= len(head)
            self._add_head(position, stream, head)
            position += len(head)
        if data:
            self._add_tail(position, stream, data)

    def _add_head(self, position: int, stream: int, data: bytes) -> None:
        if self._fresh_head:
            start, last_stream, last = self._fresh_head[-1]
            # Many small writes make one chunk.
            if last_stream == stream and len(last) < CHUNK:
                self._fresh_head[-1] = (start, stream, last + data)
                return
        self._fresh_head.append((position, stream, data))

    def _add_tail(self, position: int, stream: int, data: bytes) -> None:
        self._tail_size += len(data)
        last = self._tail[-1] if self._tail else None
        if last and not last[3] and last[1] == stream and len(last[2]) + len(data) <= CHUNK:
            self._tail[-1] = (last[0], stream, last[2] + data, False)
        else:
            self._tail.append((position, stream, data, False))
        while self._tail_size > self._tail_room:
            position, stream, data, stored = self._tail.popleft()
            excess = min(len(data), self._tail_size - self._tail_room)
            if stored:
                self._stale.append(position)
            if excess < len(data):
                self._tail.appendleft((position + excess, stream, data[excess:], False))
            self._tail_size -= excess
            self.dropped += excess

    def pending(self) -> tuple[list[tuple[int, int, bytes]], list[int]]:
        """(fresh, stale): what has to be stored and to be deleted; call `stored` once it is."""
        return self._fresh_head + [chunk[:3] for chunk in self._tail if not chunk[3]], self._stale

    def stored(self) -> None:
        """What `pending` told last is in the database now."""
        self._fresh_head, self._stale = [], []
        self._tail = deque((*chunk[:3], True) for chunk in self._tail)


class Command:
    """One running command. The caller polls `fds`, then calls `read` and `check` until `outcome`."""

    def __init__(
        self,
        argv: list[bytes],
        cwd: bytes,
        environment: dict[bytes, bytes],
        timeout: float,
        kill_grace: float,
        output: Output,
        stdin: int,
    ) -> None:
        """Start it; times in seconds, a timeout of 0 is none. Raises CannotStart.

        `stdin` is a descriptor for it to read from.
        """
        self.output = output
        self.outcome: Outcome | None = None
        self._kill_grace = kill_grace
        self._ending: str | None = None
        self._status: int | None = None
        self._kill_at = 0.0
        self._look_at = 0.0
        self._pipes: dict[int, int] = {}
        self._writers: list[int] = []
        try:
            for stream in (1, 2):
                reader, writer = os.pipe()
                self._pipes[reader] = stream
                self._writers.append(writer)
            self.pid = _spawn(argv, cwd, environment, (stdin, *self._writers))
        except (OSError, ValueError) as error:
            self._close()
            reason = getattr(error, "strerror", None) or str(error)
            raise CannotStart("%s: %s" % (os.fsdecode(argv[0]), reason)) from None
        except CannotStart:
            self._close()
            raise
        self.started = time.monotonic()
        self._times_out_at = self.started + (timeout or math.inf)

    @property
    def fds(self) -> list[int]:
        """The pipes to read from; they are open until there is an `outcome`."""
        return list(self._pipes)

    def due_at(self) -> float:
        """When (by time.monotonic) `check` has something to do without any event."""
        if self._status is not None:
            return self._look_at
        if self._ending:
            return self._kill_at
        return self._times_out_at

    def read(self, fd: int) -> None:
        """Take in one chunk of output from a pipe that is readable."""
        data = os.read(fd, CHUNK)
        if data:
            self.output.add(self._pipes[fd], data)

    def read_all(self) -> None:
        """Take in what is in the pipes by now: one pipe's worth, since who prints may print on."""
        poll = select.poll()
        for fd in self._pipes:
            poll.register(fd, select.POLLIN)
        for _ in range(MOST_IN_PIPE // CHUNK):
            readable = [fd for fd, event in poll.poll(0) if event & select.POLLIN]
            if not readable:
                return
            for fd in readable:
                self.read(fd)

    def end(self, reason: str) -> None:
        """Ask it to end, for `reason` (an Outcome's kind): SIGTERM now, SIGKILL after the grace."""
        if self._ending or self._status is not None:
            return
        self._ending = reason
        self._kill_at = time.monotonic() + self._kill_grace
        self._signal_group(signal.SIGTERM)
        self._signal_group(signal.SIGCONT)  # A stopped process would not see the SIGTERM.

    def check(self) -> None:
        """Notice that it ended or ran out of time; sets `outcome` once it is over."""
        now = time.monotonic()
        if self._status is None and not self._reap(now):
            if self._ending:
                if now >= self._kill_at:
                    self._signal_group(signal.SIGKILL)
                    self._kill_at = now + 1
            elif now >= self._times_out_at:
                self.end("timeout")
            return
        if self._group_is_left(now):
            return
        self.read_all()
        self._close()
        self.outcome = self._judge_end()

    def _reap(self, now: float) -> bool:
        # Look first, reap later: until it is reaped its PID, and so the group's, cannot be reused.
        if hasattr(os, "waitid"):
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return False
            self._signal_group(signal.SIGTERM)
            _, self._status = os.waitpid(self.pid, 0)
        else:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid == 0:
                return False
            self._status = status
            self._signal_group(signal.SIGTERM)
        if not self._ending:
            self._kill_at = now + self._kill_grace
        return True

    def _group_is_left(self, now: float) -> bool:
        # The kernel counts zombies too, and a container's first process may never reap them.
        if not self._signal_group(0) or not group_lives(self.pid):
            return False
        if now >= self._kill_at:
            self._signal_group(signal.SIGKILL)
        self._look_at = now + GROUP_POLL
        return True

    def _signal_group(self, number: int) -> bool:
        # The group, not the PID: the shell may have forked. While a member lives (or the first
        # process is not reaped) the group's number is not given to anybody else.
        try:
            os.killpg(self.pid, number)
            return True
        except (ProcessLookupError, PermissionError):
            return False

    def _close(self) -> None:
        for fd in (*self._pipes, *self._writers):
            os.close(fd)

    def _judge_end(self) -> Outcome:
        assert self._status is not None
        if self._ending:
            return Outcome(self._ending)
        if os.WIFSIGNALED(self._status):
            return Outcome("signal", os.WTERMSIG(self._status))
        return Outcome("exit", os.WEXITSTATUS(self._status))


def _spawn(
    argv: list[bytes], cwd: bytes, environment: dict[bytes, bytes], streams: tuple[int, ...]
) -> int:
    """Start argv in a new session; returns its PID. Raises OSError, ValueError or CannotStart.

    `streams` are the descriptors that it gets as 0, 1 and 2.
    """
    # posix_spawn uses vfork on every Python; subprocess forks before 3.10, at half the speed.
    # It knows no working directory, so we go there ourselves.
    try:
        os.chdir(cwd)
    except OSError as error:
        raise CannotStart("working directory %s: %s" % (os.fsdecode(cwd), error.strerror)) from None
    try:
        return os.posix_spawnp(
            argv[0],
            argv,
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(streams)],
            setsid=True,
            setsigmask=[],
            setsigdef=DEFAULT_SIGNALS,
        )
    except NotImplementedError:
        return _spawn_by_subprocess(argv, environment, streams)


def _spawn_by_subprocess(
    argv: list[bytes], environment: dict[bytes, bytes], streams: tuple[int, ...]
) -> int:
    """The same where posix_spawn cannot make a session."""
    import subprocess

    stdin, stdout, stderr = streams
    process = subprocess.Popen(
        argv, stdin=stdin, stdout=stdout, stderr=stderr, env=environment, start_new_session=True
    )
    process.returncode = 0  # We reap it ourselves.
    return process.pid
