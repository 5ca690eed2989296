"""Run one command: start it in its own session, collect its output, enforce its timeout, end it.

Three things are tracked separately: `_ending`, why we asked the command to end, if we did; `_status`, how its first
process ended; and its process group, which may outlive that process. The command is over when its first process has
ended *and* its group is empty. A pipe that an escaped grandchild still holds open doesn't matter; we keep what was
written so far.

Until then we hold the write ends of the pipes too, so end-of-file doesn't wake us: a command that prints nothing wakes
us once, with its SIGCHLD. With short jobs this saves a twelfth of a worker's time.
"""

from __future__ import annotations

import errno
import math
import os
import select
import signal
import time
from functools import lru_cache

from ..lifecycle import Outcome
from ..typed import NamedTuple
from ..values import escape
from . import lifeline, oom
from .leftovers import described, has_hidden_members, members
from .output import CHUNK, Output

MOST_IN_PIPE = 1024 * 1024  # The most bytes that an unprivileged user's pipe can hold; see pipe(7).
GROUP_POLL = 0.02  # Seconds between checks of a process group, for which we can't wait.
FOREIGN_POLL = 1.0  # The same for a group of other users' processes, which may take long.
# What the machine runs out of, as opposed to what is wrong with a command.
MACHINE_ERRORS = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.EIO}
# Signals that Python or our parent may ignore, and that jobs expect to work.
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


class CannotStartNow(CannotStart):
    """The same, but the machine is out of processes, memory, descriptors or disk space. That isn't the job's fault."""


class Invocation(NamedTuple):
    """A command to run. `stdin` and `lock` are descriptors; the command inherits `lock` unless that is -1.

    `program` is the file to execute, if it isn't what argv[0] names.
    """

    argv: list[bytes]
    cwd: bytes
    environment: dict[bytes, bytes]
    stdin: int
    lock: int = -1
    program: bytes | None = None


class Command:
    """A running command. Callers poll `fds`, then call `read` and `check`, until there is an `outcome`."""

    def __init__(self, invocation: Invocation, timeout: float, kill_grace: float, output: Output) -> None:
        """Start it. Times are in seconds; a timeout of 0 means none. Raises CannotStart."""
        self.invocation = invocation
        self.output = output
        self.outcome: Outcome | None = None
        self._kill_grace = kill_grace
        self._ending: str | None = None
        self._status: int | None = None
        self._kill_at = 0.0
        self._check_group_at = 0.0
        self._obstacle = ""  # What remains of its group, once its first process has ended.
        self._pipes: dict[int, int] = {}
        self._writers: list[int] = []
        try:
            for stream in (1, 2):
                reader, writer = os.pipe()
                self._pipes[reader] = stream
                self._writers.append(writer)
            self.pid = _spawn(invocation, self._writers)
        except (OSError, ValueError) as error:
            self._close()
            reason = getattr(error, "strerror", None) or str(error)
            kind = CannotStartNow if getattr(error, "errno", None) in MACHINE_ERRORS else CannotStart
            raise kind(f"{escape(os.fsdecode(invocation.argv[0]))}: {reason}") from None
        except CannotStart:
            self._close()
            raise
        self.started = time.monotonic()
        self._times_out_at = self.started + (timeout or math.inf)
        self._time_left: float | None = None  # Until it times out, in seconds, while it is suspended.

    @property
    def dumped_core(self) -> bool:
        """Whether its first process was killed by a signal and left its memory in a file."""
        return self._status is not None and os.WIFSIGNALED(self._status) and os.WCOREDUMP(self._status)

    @property
    def fds(self) -> list[int]:
        """The pipes to read from, open until there is an `outcome`."""
        return list(self._pipes)

    def due_at(self) -> float:
        """When (by time.monotonic) to call `check` even if nothing happens."""
        if self._status is not None:
            return self._check_group_at
        if self._ending:
            return self._kill_at
        return self._times_out_at

    def read(self, fd: int) -> None:
        """Read a chunk of output from a readable pipe."""
        data = os.read(fd, CHUNK)
        if data:
            self.output.add(self._pipes[fd], data)

    def read_all(self) -> None:
        """Read what is in the pipes now: at most what a full pipe holds, since the writer may never stop."""
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
        """End it for `reason` (an Outcome's kind): SIGTERM now, SIGKILL after the grace period."""
        if self._ending or self._status is not None:
            return
        self._ending = reason
        self._kill_at = time.monotonic() + self._kill_grace
        self._signal_group(signal.SIGTERM)
        self._signal_group(signal.SIGCONT)  # A stopped process doesn't handle SIGTERM.

    @property
    def is_ending(self) -> bool:
        """Whether it has been told to end, or its first process has ended."""
        return self._ending is not None or self._status is not None

    def suspend(self) -> None:
        """Stop its process group and its timeout. If called again, it only stops the group."""
        if self._time_left is None:
            self._time_left = self._times_out_at - time.monotonic()
            self._times_out_at = math.inf
        self._signal_group(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `suspend`. Once its first process has ended, its group is left alone."""
        if self._time_left is not None:
            self._times_out_at = time.monotonic() + self._time_left
            self._time_left = None
        if self._status is None:
            self._signal_group(signal.SIGCONT)

    def check(self) -> None:
        """Check whether it has ended or timed out, and set `outcome` once it is over."""
        now = time.monotonic()
        if self._status is None and not self._reap(now):
            if self._ending:
                if now >= self._kill_at:
                    self._signal_group(signal.SIGKILL)
                    self._kill_at = now + 1
            elif now >= self._times_out_at:
                self.end("timeout")
            return
        if self._group_remains(now):
            return
        self.read_all()
        self._close()
        self.outcome = self._judge_end()

    def _reap(self, now: float) -> bool:
        # Signal the group before reaping: until then neither the PID nor the group's number can be reused.
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

    def _group_remains(self, now: float) -> bool:
        if not self._signal_group(0):
            return False
        # Adopted orphans are zombies until we reap them.
        if self._reap_orphans() and now < self._kill_at:
            self._check_group_at = now + GROUP_POLL
            return True
        if not self._signal_group(0):
            return False  # It had only zombies. Most groups end here, without a look through /proc.
        # killpg counts zombies too, and PID 1 of a container may never reap them.
        try:
            remaining = members(self.pid)
            if not remaining and not has_hidden_members(self.pid):
                return False
        except OSError:  # We are out of descriptors or memory, so we can't look.
            self._check_group_at = now + FOREIGN_POLL
            return True
        self._obstacle = described(remaining)
        if now >= self._kill_at:
            self._signal_group(signal.SIGKILL)
        is_ours = any(_may_signal(process.pid) for process in remaining)
        self._check_group_at = now + (GROUP_POLL if is_ours else FOREIGN_POLL)
        return True

    def _reap_orphans(self) -> bool:
        """Reap those of the group that are our children (see orphans.py); returns whether others are running."""
        try:
            while hasattr(os, "waitid"):
                if os.waitid(os.P_PGID, self.pid, os.WEXITED | os.WNOHANG) is None:
                    return True
        except ChildProcessError:
            pass
        return False

    @property
    def obstacle(self) -> str | None:
        """Why the command isn't over though its first process has ended and the grace period is over."""
        return self._obstacle if self._obstacle and time.monotonic() >= self._kill_at else None

    def _signal_group(self, number: int) -> bool:
        # The group, not the PID: the shell may have forked. Its number isn't reused until it is empty and its first
        # process has been reaped.
        try:
            os.killpg(self.pid, number)
            return True
        except PermissionError:
            return True  # All its members belong to other users, but they are there.
        except ProcessLookupError:
            return False

    def _close(self) -> None:
        for fd in (*self._pipes, *self._writers):
            os.close(fd)

    def _judge_end(self) -> Outcome:
        assert self._status is not None
        if self._ending:
            return Outcome(self._ending)
        if os.WIFSIGNALED(self._status):
            return Outcome("signal", os.WTERMSIG(self._status), None)
        return Outcome("exit", os.WEXITSTATUS(self._status), None)  # A default costs 1 µs, see typed.py.


def _may_signal(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return False
    except ProcessLookupError:
        pass
    return True


def _spawn(invocation: Invocation, writers: list[int]) -> int:
    """Start a command in a new session; returns its PID. Raises OSError, ValueError or CannotStart.

    `writers` become its stdout and stderr.
    """
    # posix_spawn uses vfork on every Python; subprocess forks before 3.10, which is half as fast.
    # posix_spawn can't set the working directory, so we change ours.
    try:
        os.chdir(invocation.cwd)
    except OSError as error:
        raise CannotStart(f"working directory {escape(os.fsdecode(invocation.cwd))}: {error.strerror}") from None
    inherited = [*enumerate((invocation.stdin, *writers))]
    if invocation.lock >= 0:
        inherited.append((lifeline.descriptor(), invocation.lock))
    score = oom.score(os.getpid())
    score.raise_it()
    try:
        return os.posix_spawnp(
            invocation.program or invocation.argv[0],
            invocation.argv,
            invocation.environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in inherited],
            setsid=True,
            setsigmask=[],
            setsigdef=_reset_signals(),
        )
    except NotImplementedError:
        return _spawn_by_subprocess(invocation, writers)
    finally:
        score.restore()


@lru_cache(maxsize=1)
def _reset_signals() -> tuple[int, ...]:
    """The signals to reset in a command: DEFAULT_SIGNALS, and all that aren't ignored.

    Naming the latter changes nothing, but saves 11 µs: in the child, glibc asks the kernel about each one not named.
    """
    fixed = (signal.SIGKILL, signal.SIGSTOP)
    return tuple(
        number
        for number in signal.valid_signals()
        if number in DEFAULT_SIGNALS or (number not in fixed and signal.getsignal(number) != signal.SIG_IGN)
    )


def _spawn_by_subprocess(invocation: Invocation, writers: list[int]) -> int:
    """The same, for systems where posix_spawn can't create a session."""
    import subprocess

    stdout, stderr = writers
    process = subprocess.Popen(
        invocation.argv,
        executable=invocation.program,
        stdin=invocation.stdin,
        stdout=stdout,
        stderr=stderr,
        env=invocation.environment,
        start_new_session=True,
        preexec_fn=_restore_signals,  # noqa: PLW1509  (We have no threads.)
        pass_fds=[invocation.lock] if invocation.lock >= 0 else [],
    )
    process.returncode = 0  # We reap it ourselves.
    return process.pid


def _restore_signals() -> None:
    for number in DEFAULT_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
