"""The process around a worker's loop: registers, listens to its bell, reports, and exits."""

from __future__ import annotations

import os
import signal

from ..errors import DatabaseBusy, DatabaseFull, DatabaseGone, DatabaseUnusable, QueueError

# The store imports these when a schedule is due, perhaps much later.
from ..schedule import plan as _plan  # noqa: F401
from ..store import Store, batch_sql as _batch_sql  # noqa: F401
from ..store.bell import Bell, remove
from ..typed import NamedTuple
from . import lifeline
from .identity import machine_boot, own_identity
from .inbox import Inbox
from .log import no_log, stderr_logger
from .rescue import Rescuer
from .runner import RunnerKills
from .worker import Orders, Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .page import Page

PATIENCE = 10.0  # Seconds that workers and supervisors wait for a lock before they check for signals again.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Plan(NamedTuple):
    """The fleet that a user asked for.

    `queues` is a comma-separated list, or None for all; `environment` is for the jobs; `version` is that of the code
    that the fleet's processes have in memory. `stop_timeout` is how many seconds jobs get to finish when the fleet
    stops, or None for no limit.
    """

    path: str
    size: int
    queues: str | None
    drain: bool
    environment: dict[bytes, bytes]
    version: str
    stop_timeout: float | None


class Report:
    """The pipe to a `worker start` that waits for its workers: a line "ID PID" or "! ERROR" for each."""

    def __init__(self, fd: int = -1) -> None:
        self._fd = fd

    def started(self, id: int) -> None:
        """Report that this worker is ready."""
        self._write(f"{id} {os.getpid()}\n")

    def failed(self, error: BaseException) -> None:
        """Report why there won't be a worker."""
        self._write(f"! {error}\n")

    def _write(self, line: str) -> None:
        if self._fd >= 0:
            try:
                os.write(self._fd, line.encode("utf-8", "backslashreplace"))
            except OSError:
                pass  # `worker start` was interrupted.

    def close(self) -> None:
        """Report nothing more. The descriptor's number may be reused from here on."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


def run_worker(plan: Plan, supervisor: int, report: Report, verbose: bool, page: Page | None) -> None:
    """What a forked worker does. Exits the process, with code 0 if the worker stopped by itself."""
    code = 1
    try:
        code = _work(plan, supervisor, report, verbose, page)
    except QueueError as error:
        report.failed(error)
        stderr_logger("worker")(str(error))
    except BaseException as error:  # A bug: report one line, then get replaced.
        report.failed(error)
        stderr_logger("worker")(f"failed: {error!r}")
    finally:
        os._exit(code)  # Returning would run the supervisor's code.


def _work(plan: Plan, supervisor: int, report: Report, verbose: bool, page: Page | None) -> int:
    os.setsid()  # Ctrl-C in a terminal goes to the supervisor, which passes it on.
    inbox = Inbox()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    store = Store(plan.path, durable=False, patience=PATIENCE, must_exist=True)
    store.bound_wal()
    id = register(store, "worker", supervisor, plan)
    lifeline.hold(lifeline.alive_path(store.path, id))
    bell = Bell(store.path, id)
    inbox.listen_to(bell)
    report.started(id)
    report.close()
    log = stderr_logger(f"worker {id}") if verbose else no_log
    rescuer = Rescuer(id, RunnerKills(plan.environment, log), log)
    orders = Orders(plan.queues, plan.drain, plan.environment, rescuer, log, page)
    log(f"started, pid {os.getpid()}")
    _begin_schedules(store)
    try:
        stopped = Worker(store, id, orders, inbox).run()
    except DatabaseGone:
        remove(store.path, id)
        raise
    finally:
        bell.close()
    try:
        store.unregister(id)
        remove(store.path, id)
        store.hand_over(id, plan.queues)
    except DatabaseUnusable:
        pass  # The next sweep removes the row.
    store.close()
    log("stopped" if stopped else "was taken for dead; exiting")
    return 0 if stopped else 1


def _begin_schedules(store: Store) -> None:
    """Do what is due for schedules when a worker starts."""
    try:
        store.realign()
        store.fire_at_boot(machine_boot())
    except (DatabaseBusy, DatabaseFull):
        pass  # The next worker that starts does it.


def register(store: Store, role: str, supervisor: int | None, plan: Plan) -> int:
    """Add this process's row; returns its id."""
    return store.register(role, supervisor, own_identity(), plan.queues, plan.version)
