"""Start a supervisor: in the foreground, in the background, or after a restart."""

from __future__ import annotations

import os
import signal
import sys

from ..errors import BadInput, DatabaseUnusable, QueueError
from ..program.sources import program
from . import handover
from .identity import FLEET_VARIABLE, TOKEN_VARIABLE, send
from .supervisor import Supervisor
from .worker_process import Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..records import Worker
    from .worker_process import Plan


def start_foreground(plan: Plan) -> int:
    """Supervise in this process until all workers have stopped; returns the exit code."""
    _reset_signals()
    os.environ.pop(TOKEN_VARIABLE, None)
    # The descriptors stay open here: this process is the command that inherited them. Jobs don't get them.
    for fd in _descriptors():
        try:
            os.set_inheritable(fd, False)
        except OSError:
            pass
    return Supervisor(plan, Report(), verbose=True).run()


def start_detached(plan: Plan) -> list[tuple[int, int]]:
    """Start a supervisor that outlives this process; returns (id, PID) of each of its workers.

    Returns once all are registered. Raises DatabaseUnusable if that fails.
    """
    _reset_signals()
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _detach(plan, writer)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as file:
        lines = file.read().decode("utf-8", "replace").splitlines()
    for line in lines:
        if line.startswith("! "):
            raise DatabaseUnusable(line[2:])
    if len(lines) != plan.size:
        raise DatabaseUnusable(f"only {len(lines)} of {plan.size} workers could be started")
    return sorted((int(id), int(pid)) for id, pid in map(str.split, lines))


def take_over(fd: int, version: str) -> int:
    """Continue as supervisor after a restart, with the state read from `fd`; returns the exit code.

    `version` is our code's.
    """
    try:
        state = handover.receive(fd, version)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise BadInput(f"--take-over: descriptor {fd} does not hold the state of a supervisor") from None
    supervisor = Supervisor(state.plan, Report(), state.verbose)
    supervisor.inherit(state)
    return supervisor.run()


def restart(supervisors: Iterable[Worker]) -> None:
    """Ask these supervisors to execute the program that is now at their path."""
    for row in supervisors:
        send(row.identity, handover.RESTART_SIGNAL)


def shed_token() -> None:
    """If running inside a job, start over without its token: workers started here must outlive the job."""
    os.environ.pop(FLEET_VARIABLE, None)  # Not for the jobs of the fleet.
    if os.environ.pop(TOKEN_VARIABLE, None) is not None:
        os.environ[FLEET_VARIABLE] = "1"  # The worker that runs the job will adopt the fleet.
        # To other processes, our environment is what we were executed with.
        command = program()
        os.execv(command[0], [*command, *sys.argv[1:]])


def _detach(plan: Plan, writer: int) -> None:
    """In the first child: fork the supervisor into its own session. Does not return. `writer` is for its Report."""
    report = Report(writer)
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.environ.pop(TOKEN_VARIABLE, None)
        # The caller may wait for the end of a pipe, or hold a lock, on any of these.
        for fd in _descriptors():
            if fd != writer:
                _close(fd)
        Supervisor(plan, report, verbose=False).run()
    except QueueError as error:
        report.failed(error)
    except BaseException as error:  # There is no terminal for a traceback.
        report.failed(DatabaseUnusable(f"the supervisor failed: {error!r}"))
    finally:
        os._exit(0)


def _reset_signals() -> None:
    """Undo what our caller blocked or ignored, where that would stop a fleet from working.

    SIGHUP and SIGINT stay ignored if they were: that is what nohup and background jobs of a shell ask for.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _descriptors() -> list[int]:
    """Our open descriptors but the standard streams, and perhaps some that are closed by now."""
    try:
        return [int(entry) for entry in os.listdir("/dev/fd") if int(entry) > 2]
    except OSError:
        return list(range(3, 256))


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        pass
