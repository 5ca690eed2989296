"""Many workers: look, stop, rescue, and what each worker's process does. (supervisor.py starts them.)

Rescue, in this order: make sure that nothing of the lost attempt runs any more, here or where its
runner took it, then settle the attempt as lost, then remove the worker's row. Whoever is killed in
between leaves a state from which the next rescuer does the same again.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections import namedtuple

from . import bell, runner, settings
from .errors import DatabaseUnusable, QueueError
from .identity import birth, boot, end_leftovers, is_alive, is_stopped, send
from .lifecycle import Job, Outcome, judge
from .process import CannotStart
from .store import Store, Worker as Row

RESTART_SIGNAL = signal.SIGUSR2
PATIENCE = 10.0  # Seconds that workers and supervisors wait for a lock before they look around.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

# What a user asked for: `queues` comma-separated or None for all, `environment` (bytes to bytes) for
# the jobs. `version` is that of the code which the fleet's processes have in memory.
Plan = namedtuple("Plan", "path count queues drain environment version")


# --- rescue --------------------------------------------------------------------------------------


def is_running(store: Store, row: Row) -> bool:
    """Whether the process behind a row of queuectl_workers runs."""
    alive = is_alive(row.pid, row.boot, row.birth)
    # In another PID namespace (a container) nobody can be looked up, but the kernel
    # still says whether somebody listens to the bell. A supervisor has none.
    return (row.role == "supervisor" or bell.ring(store.path, row.id)) if alive is None else alive


def rescue(store: Store, remote: Remote | None = None) -> list[str]:
    """Settle the attempts of all workers that are gone; returns the ids of their jobs.

    Those of queues with a runner-kill are left to who has a `remote`: the workers.
    """
    holders = store.holders()  # Before the rows: a worker registers before it claims.
    if not holders:
        return []
    rows = {row.id: row for row in store.workers()}
    return [
        id
        for holder in holders
        if holder not in rows or not is_running(store, rows[holder])
        for id in rescue_worker(store, holder, rows.get(holder), remote)
    ]


def rescue_worker(
    store: Store, worker: int, row: Row | None, remote: Remote | None = None
) -> list[str]:
    """Settle what a worker that is gone was doing, and remove its row (None: it has none)."""
    rescued: list[str] = []
    for job in store.held_by(worker):
        line = settings.of_queue(store.config(), job.queue, "runner-kill")
        if line:
            is_over = remote is not None and remote.end(store, job, row, line)
        else:
            is_over = _end_here(store, job, row)
        if not is_over:
            return rescued  # It still runs: never two at once. Tried again at the next look.
        outcome = Outcome("lost")
        if store.settle(job, outcome, judge(job, outcome, time.time()))[0]:
            rescued.append(job.id)
    store.unregister(worker)
    bell.remove_of(store.path, worker)
    return rescued


def _end_here(store: Store, job: Job, row: Row | None) -> bool:
    """End what the lost attempt left running on this machine; False: something still runs."""
    if row is not None and row.boot != boot():
        return True
    return end_leftovers(store.token(job), *store.command_of(job))


class Remote:
    """Ends lost attempts that may run on other machines, by the runner-kill of their queues.

    Of the living workers that take a queue the one with the lowest id does it: it has the
    environment for that, and a cluster is not asked a thousand times. (Where no such worker lives,
    a command does.) Nobody waits for a runner-kill: one that still runs is looked at at the next look.
    """

    def __init__(self, worker: int | None, environment: dict[bytes, bytes], say) -> None:
        """`worker` is who we are, None for a command; `say(line)` is told what happens."""
        self._worker = worker
        self._environment = environment
        self._say = say
        self._kills: dict[str, runner.Kill] = {}

    def look(self, store: Store) -> bool:
        """Rescue what can be rescued by now; returns whether a runner-kill is under way.

        Of the living workers that take the same queues the oldest alone looks: did all, the cost of
        looking would grow with the square of their number.
        """
        elders = store.elders(self._worker)
        if any(is_running(store, elder) and not is_stopped(elder.pid) for elder in elders):
            return False
        for id in rescue(store, self):
            self._say("rescue %s" % id)
        return bool(self._kills)

    def end(self, store: Store, job: Job, row: Row | None, line: str) -> bool:
        """Whether nothing of the lost attempt runs any more, by the runner-kill `line`."""
        token = store.token(job)
        try:
            if token in self._kills:
                return self._is_done(store, job, token)
            # Only who is in charge ends what runs here: a runner-kill bears the same mark.
            if self._is_in_charge(store, job.queue) and _end_here(store, job, row):
                environment = runner.environment(self._environment, job, token, store.path)
                self._kills[token] = runner.Kill(line, job, environment)
        except CannotStart as error:
            self._tell(store, job, runner.failure(str(error)))
        return False

    def _is_in_charge(self, store: Store, queue: str) -> bool:
        takers = [
            row.id for row in live_workers(store) if not row.queues or queue in row.queues.split(",")
        ]
        return self._worker == min(takers, default=None)

    def _is_done(self, store: Store, job: Job, token: str) -> bool:
        kill = self._kills[token]
        kill.command.read_all()
        kill.command.check()
        if kill.command.outcome is None:
            return False
        del self._kills[token]
        if kill.failure:
            self._tell(store, job, kill.failure)
        return kill.failure is None

    def _tell(self, store: Store, job: Job, failure: str) -> None:
        if job.error == failure:
            return  # It is said already.
        self._say("%s %s; trying again" % (job.id, failure))
        store.note(job, failure)


def sweep(store: Store) -> list[str]:
    """Rescue, and remove the rows of all processes that are gone."""
    rescued = rescue(store)
    for row in store.workers():
        if not is_running(store, row):
            rescued += rescue_worker(store, row.id, row)
    return rescued


# --- looking and stopping ------------------------------------------------------------------------


def live_workers(store: Store) -> list[Row]:
    """The rows of the workers that run."""
    return [row for row in store.workers() if row.role == "worker" and is_running(store, row)]


def restart(supervisors: list[Row]) -> None:
    """Ask these supervisors to become the code that is at their place by now."""
    for row in supervisors:
        send(row.pid, row.birth, RESTART_SIGNAL)


def stop(store: Store, rows: list[Row], now: bool) -> None:
    """Ask these workers or supervisors to stop: when their job is done, or `now`."""
    asked = set(store.want([row.id for row in rows], "stop-now" if now else "stop"))
    here = boot()
    for row in rows:
        if row.id in asked:
            if row.boot == here:
                send(row.pid, row.birth, signal.SIGTERM)
            bell.ring(store.path, row.id)


# --- the worker process --------------------------------------------------------------------------


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
    from .worker import Inbox, Orders, Worker  # Loaded by the supervisor; `status` does not need it.

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
