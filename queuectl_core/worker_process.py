"""What the process of a worker does around its loop: registers, listens, tells, and ends."""

from __future__ import annotations

import os
import select
import signal
import time
from collections import namedtuple

from . import bell
from .errors import DatabaseUnusable, QueueError
from .identity import birth, boot
from .rescue import Remote
from .store import Store
from .worker import Inbox, Orders, Worker

PATIENCE = 10.0  # Seconds that workers and supervisors wait for a lock before they look around.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

# What a user asked for: `queues` comma-separated or None for all, `environment` (bytes to bytes) for
# the jobs. `version` is that of the code which the fleet's processes have in memory.
Plan = namedtuple("Plan", "path count queues drain environment version")


class Report:
    """The pipe to a `worker start` that waits to hear of its workers, a line each."""

    def __init__(self, fd: int = -1) -> None:
        self._fd = fd

    def started(self, id: int) -> None:
        """A worker is there."""
        self._write("%d %d\n" % (id, os.getpid()))

    def failed(self, error: BaseException) -> None:
        """Why there will be no worker."""
        self._write("! %s\n" % error)

    def _write(self, line: str) -> None:
        if self._fd >= 0:
            try:
                os.write(self._fd, line.encode("utf-8", "backslashreplace"))
            except OSError:
                pass  # It was interrupted.

    def close(self) -> None:
        """Say no more: the descriptor's number is somebody else's from now on."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


def run_worker(plan: Plan, supervisor: int, report: Report, verbose: bool) -> None:
    """What a forked worker does. Ends the process: 0 is leaving of its own will."""
    code = 1
    try:
        code = _work(plan, supervisor, report, verbose)
    except QueueError as error:
        report.failed(error)
        speaker("worker")(str(error))
    except BaseException as error:  # A fault of ours: one line all the same; it will be replaced.
        report.failed(error)
        speaker("worker")("failed: %r" % error)
    finally:
        os._exit(code)  # Back up the stack is the supervisor's own end.


def _work(plan: Plan, supervisor: int, report: Report, verbose: bool) -> int:
    os.setsid()  # Ctrl-C in a terminal is for the supervisor, which passes it on as it should.
    inbox = Inbox()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    store = Store(plan.path, durable=False, patience=PATIENCE, must_exist=True)
    store.bound_wal()
    id = register(store, "worker", supervisor, plan)
    its_bell = bell.Bell(store.path, id)
    inbox.listen_to(its_bell)
    report.started(id)
    report.close()
    say = speaker("worker %d" % id) if verbose else be_quiet
    remote = Remote(id, plan.environment, say)
    orders = Orders(plan.queues, plan.drain, plan.environment, remote.look, say)
    say("started, pid %d" % os.getpid())
    try:
        stayed_itself = Worker(store, id, orders, inbox).run()
    finally:
        its_bell.close()
    try:
        store.unregister(id)
        store.hand_over(id, plan.queues)
    except DatabaseUnusable:
        pass  # A row of somebody who is gone: the next sweep removes it.
    store.close()
    say("stopped" if stayed_itself else "was taken for dead; leaving")
    return 0 if stayed_itself else 1


def register(store: Store, role: str, supervisor: int | None, plan: Plan) -> int:
    """Add the row of this process; returns its id."""
    pid = os.getpid()
    return store.register(role, supervisor, pid, boot(), birth(pid) or "", plan.queues, plan.version)


def speaker(who: str):
    """A function that tells whoever watches the terminal a line."""
    ears = select.poll()
    ears.register(2, select.POLLOUT)

    def say(line: str) -> None:
        if not ears.poll(0):
            return  # Nobody reads: a line is lost rather than a job held up.
        told = "%s %s: %s\n" % (time.strftime("%H:%M:%S"), who, line)
        try:
            os.write(2, told.encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # Nobody listens any more.

    return say


def be_quiet(line: str) -> None:
    """A speaker for those whom nobody watches."""
