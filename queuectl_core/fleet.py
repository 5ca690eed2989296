"""Many workers: start, supervise, stop, rescue.

`start` forks a supervisor, which forks the workers and replaces one that dies: at once, and after a
growing delay when it keeps dying young. A worker that leaves of its own will (it was asked to, or
everything is drained) is not replaced. The supervisor is not needed: when it is killed, its workers
go on, listen to `stop` as before, and rescue each other.

Rescue, in this order: make sure that nothing of the lost attempt runs any more, here or where its
runner took it, then settle the attempt as lost, then remove the worker's row. Whoever is killed in
between leaves a state from which the next rescuer does the same again.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import time
from collections import namedtuple
from multiprocessing.connection import wait

from . import __version__, bell, runner, settings
from .errors import DatabaseUnusable, QueueError
from .identity import TOKEN_VARIABLE, birth, boot, end_leftovers, is_alive, send
from .lifecycle import Job, Outcome, judge
from .process import CannotStart
from .store import Store, Worker as Row
from .worker import Inbox, Orders, Worker

YOUNG = 10.0  # A worker that dies before this age (seconds) died young;
FIRST_DELAY = 0.1  # its replacement waits, twice as long each time,
LONGEST_DELAY = 30.0  # but never longer than this.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

# What a user asked for: `queues` comma-separated or None for all, `environment` for the jobs.
Plan = namedtuple("Plan", "path count queues drain environment")


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
        """Rescue what can be rescued by now; returns whether a runner-kill is under way."""
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
        for fd in kill.command.fds:
            kill.command.read(fd)
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


def _work(plan: Plan, supervisor: int, report: int, verbose: bool) -> None:
    """What a forked worker does. Ends the process: 0 is leaving of its own will."""
    os.setsid()  # Ctrl-C in a terminal is for the supervisor, which passes it on as it should.
    inbox = Inbox()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    store = Store(plan.path, durable=False, patience=10.0)
    store.bound_wal()
    id = _register(store, "worker", supervisor, plan.queues)
    its_bell = bell.Bell(store.path, id)
    inbox.listen_to(its_bell)
    if report >= 0:
        os.write(report, b"%d %d\n" % (id, os.getpid()))
        os.close(report)
    say = _speaker("worker %d" % id) if verbose else _be_quiet
    remote = Remote(id, plan.environment, say)
    orders = Orders(plan.queues, plan.drain, plan.environment, remote.look, say)
    say("started, pid %d" % os.getpid())
    try:
        stayed_itself = Worker(store, id, orders, inbox).run()
    finally:
        its_bell.close()
    store.unregister(id)
    store.close()
    say("stopped" if stayed_itself else "was taken for dead; leaving")
    sys.exit(0 if stayed_itself else 1)


def _run_worker(plan: Plan, supervisor: int, report: int, verbose: bool) -> None:
    try:
        _work(plan, supervisor, report, verbose)
    except QueueError as error:
        _tell(report, error)
        _speaker("worker")(str(error))
        sys.exit(1)
    except Exception as error:  # A fault of ours: one line all the same; it will be replaced.
        _tell(report, error)
        _speaker("worker")("failed: %r" % error)
        sys.exit(1)


def _register(store: Store, role: str, supervisor: int | None, queues: str | None) -> int:
    pid = os.getpid()
    return store.register(role, supervisor, pid, boot(), birth(pid) or "", queues, __version__)


def _speaker(who: str):
    def say(line: str) -> None:
        try:
            print(time.strftime("%H:%M:%S"), "%s: %s" % (who, line), file=sys.stderr, flush=True)
        except (OSError, ValueError):
            pass  # Nobody listens any more.

    return say


def _be_quiet(line: str) -> None:
    pass


def _tell(report: int, error: Exception) -> None:
    """Let `worker start` know why there will be no worker."""
    try:
        os.write(report, b"! %s\n" % str(error).encode("utf-8", "backslashreplace"))
    except OSError:
        pass


# --- the supervisor process ----------------------------------------------------------------------


class _Slot:
    """A place in the fleet: the worker in it, and when it may be replaced once it died."""

    def __init__(self) -> None:
        self.process: multiprocessing.process.BaseProcess | None = None
        self.is_done = False
        self.started_at = 0.0
        self.start_at = 0.0
        self.delay = 0.0


class Supervisor:
    """Keeps `plan.count` workers running until all have left of their own will."""

    def __init__(self, plan: Plan, report: int, verbose: bool) -> None:
        self._plan = plan
        self._report = report
        self._verbose = verbose
        self._say = _speaker("supervisor") if verbose else _be_quiet
        self._slots = [_Slot() for _ in range(plan.count)]
        self._signals = 0
        self._passed_on = 0

    def run(self) -> int:
        """Supervise to the end; returns the exit code."""
        began = time.time()
        alarm = self._listen()
        gc.freeze()  # Or each worker's collector would copy the pages that they all share.
        with self._store() as store:
            self._id = _register(store, "supervisor", None, self._plan.queues)
        try:
            while not all(slot.is_done for slot in self._slots):
                self._pass_on_signals()
                self._fill()
                running = [slot.process.sentinel for slot in self._slots if slot.process]
                for ready in wait([alarm, *running], self._pause()):
                    if ready == alarm:
                        os.read(alarm, 4096)
                self._collect()
        finally:
            with self._store() as store:
                store.unregister(self._id)
                buried = self._plan.drain and store.has_buried_since(began, self._plan.queues)
        return 1 if buried else 0

    def _store(self) -> Store:
        # Opened for each use: a connection must not be carried across the next fork.
        return Store(self._plan.path, durable=False)

    def _listen(self) -> int:
        alarm, writer = os.pipe()
        for fd in (alarm, writer):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            signal.signal(number, self._count)
        return alarm

    def _count(self, number: int, frame: object) -> None:
        self._signals += 1

    def _pass_on_signals(self) -> None:
        # By row and bell, not by signal: where the whole group got the signal, a worker would
        # count a second one and stop at once.
        level = min(self._signals, 2)
        if level == self._passed_on:
            return
        self._passed_on = level
        wanted = ("run", "stop", "stop-now")[level]
        self._say("%s" % wanted)
        with self._store() as store:
            own = [row.id for row in store.workers() if self._id in (row.id, row.supervisor)]
            store.want(own, wanted)
            for worker in own:
                bell.ring(store.path, worker)

    def _fill(self) -> None:
        """Start a worker in each place that is free and due."""
        now = time.monotonic()
        due = [s for s in self._slots if not s.process and not s.is_done and s.start_at <= now]
        if not due:
            return
        with self._store() as store:
            stopping = store.wanted(self._id) != "run"
        context = multiprocessing.get_context("fork")
        for slot in due:
            if stopping:
                slot.is_done = True
                continue
            arguments = (self._plan, self._id, self._report, self._verbose)
            slot.process = context.Process(target=_run_worker, args=arguments)
            # Held back until the child has handlers of its own: none may get lost in between.
            signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
            slot.process.start()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
            slot.started_at = now
        if self._report >= 0:
            os.close(self._report)
            self._report = -1

    def _pause(self) -> float | None:
        """Seconds until a replacement is due; None when none is."""
        free = [slot.start_at for slot in self._slots if not slot.process and not slot.is_done]
        return max(0.0, min(free) - time.monotonic()) if free else None

    def _collect(self) -> None:
        """Look after the workers that ended: rescue their jobs, and plan their replacements."""
        for slot in self._slots:
            if not slot.process or slot.process.exitcode is None:
                continue
            pid, code = slot.process.pid, slot.process.exitcode
            slot.process.close()
            slot.process = None
            with self._store() as store:
                siblings = [row for row in store.workers() if row.supervisor == self._id]
                for row in siblings:
                    if row.pid == pid:
                        for id in rescue_worker(store, row.id, row):
                            self._say("rescue %s" % id)
                    elif code == 0 and self._plan.drain:
                        bell.ring(store.path, row.id)  # Perhaps that was the last job.
            slot.is_done = code == 0
            if code != 0:
                age = time.monotonic() - slot.started_at
                slot.delay = min(LONGEST_DELAY, max(FIRST_DELAY, slot.delay * 2)) if age < YOUNG else 0.0
                slot.start_at = time.monotonic() + slot.delay
                self._say("a worker died (%s); replaced in %gs" % (_manner(code), slot.delay))


def _manner(code: int) -> str:
    return "exit %d" % code if code > 0 else "signal %d" % -code


# --- starting ------------------------------------------------------------------------------------


def start_foreground(plan: Plan) -> int:
    """Supervise in this process until all workers have left; returns the exit code."""
    _inherit_nothing()
    return Supervisor(plan, report=-1, verbose=True).run()


def start_detached(plan: Plan) -> list[tuple[int, int]]:
    """Start a supervisor that outlives this process; returns (id, PID) of each of its workers.

    Returns when all are registered. Raises DatabaseUnusable when they could not be.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reader, report = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _detach(plan, report)
    os.close(report)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as file:
        lines = file.read().decode("utf-8", "replace").splitlines()
    for line in lines:
        if line.startswith("! "):
            raise DatabaseUnusable(line[2:])
    if len(lines) != plan.count:
        raise DatabaseUnusable("only %d of %d workers could be started" % (len(lines), plan.count))
    return sorted((int(id), int(pid)) for id, pid in map(str.split, lines))


def _detach(plan: Plan, report: int) -> None:
    """In the first child: fork the supervisor into a session of its own. Does not return."""
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
        _tell(report, error)
    except BaseException as error:  # There is no terminal to show a traceback on.
        _tell(report, DatabaseUnusable("the supervisor failed: %r" % error))
    finally:
        os._exit(0)


def _inherit_nothing() -> None:
    """Keep descriptors that we inherited from the jobs, and the mark of a job that we run in."""
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
