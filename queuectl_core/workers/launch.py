"""Start a supervisor: in the foreground, in the background, or after a restart."""

from __future__ import annotations

import os
import sys

from ..errors import DatabaseUnusable, QueueError
from ..program.sources import program
from . import handover
from .identity import TOKEN_VARIABLE, send
from .supervisor import Supervisor
from .worker_process import Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..records import Worker
    from .worker_process import Plan


def start_foreground(plan: Plan) -> int:
    """Supervise in this process until all workers have stopped; returns the exit code."""
    _inherit_nothing()
    return Supervisor(plan, Report(), verbose=True).run()


def start_detached(plan: Plan) -> list[tuple[int, int]]:
    """Start a supervisor that outlives this process; returns (id, PID) of each of its workers.

    Returns once all are registered. Raises DatabaseUnusable if that fails.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _detach(plan, Report(writer))
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
    state = handover.receive(fd, version)
    supervisor = Supervisor(state.plan, Report(), state.verbose)
    supervisor.inherit(state)
    return supervisor.run()


def restart(supervisors: Iterable[Worker]) -> None:
    """Ask these supervisors to execute the program that is now at their path."""
    for row in supervisors:
        send(row.identity, handover.RESTART_SIGNAL)


def shed_token() -> None:
    """If running inside a job, start over without its token: workers started here must outlive the job."""
    if os.environ.pop(TOKEN_VARIABLE, None) is not None:
        # To other processes, our environment is what we were executed with.
        command = program()
        os.execv(command[0], [*command, *sys.argv[1:]])


def _detach(plan: Plan, report: Report) -> None:
    """In the first child: fork the supervisor into its own session. Does not return."""
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        _inherit_nothing()
        Supervisor(plan, report, verbose=False).run()
    except QueueError as error:
        report.failed(error)
    except BaseException as error:  # There is no terminal for a traceback.
        report.failed(DatabaseUnusable(f"the supervisor failed: {error!r}"))
    finally:
        os._exit(0)


def _inherit_nothing() -> None:
    """Don't pass on the descriptors that we inherited, nor the token of a job that we run in."""
    os.environ.pop(TOKEN_VARIABLE, None)
    try:
        fds = [int(entry) for entry in os.listdir("/dev/fd")]
    except OSError:
        fds = list(range(3, 256))
    for fd in fds:
        if fd > 2:
            try:
                os.set_inheritable(fd, False)
            except OSError:
                pass
