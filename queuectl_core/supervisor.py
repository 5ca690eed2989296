"""The supervisor: starts the workers of a fleet, replaces those that die, and moves them to new code.

`start_…` forks a supervisor, which forks the workers and replaces one that dies: at once, and after
a growing delay when it keeps dying young. A worker that leaves of its own will (it was asked to, or
everything is drained) is not replaced. The supervisor is not needed: when it is killed, its workers
go on, listen to `stop` as before, and rescue each other.

While it cannot use the database (the disk is full, somebody keeps it locked) it tries again, and its
workers do the same. Where the file is gone for good, or of a newer queuectl, it starts no more
workers and leaves with the last one.

Restart (`worker restart`, SIGUSR2). The supervisor executes the program that is at its place by then,
in the same process, so that its PID, its terminal, its children and its place in systemd or as the
first process of a container stay. What it knows goes through a pipe: the jobs' environment may hold
secrets that belong into no file, no argument and no environment but a job's. The new code asks each
worker of the old to leave when its job is done, and puts one of its own in its place. So at each
moment no more jobs run than before, and none is ended.

It is fit to be the first process of a container: it waits for all children, also for those that
it inherits, and passes on what it is asked to do. To systemd it speaks sd_notify(3).
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time

from . import bell
from .errors import DatabaseGone, DatabaseUnusable, QueueError
from .identity import TOKEN_VARIABLE, send
from .rescue import rescue_worker
from .sources import program
from .store import Store, Worker as Row
from .worker_process import (
    PATIENCE,
    STOP_SIGNALS,
    Plan,
    Report,
    be_quiet,
    register,
    run_worker,
    speaker,
)

RESTART_SIGNAL = signal.SIGUSR2
YOUNG = 10.0  # A worker that dies before this age (seconds) died young;
FIRST_DELAY = 0.1  # its replacement waits, twice as long each time,
LONGEST_DELAY = 30.0  # but never longer than this.
RETRY = 0.5  # Seconds between two tries of a supervisor that cannot use the database.
RETIRE_POLL = 0.05  # Seconds between two looks for the row of a worker that has to be asked to leave.


class _Slot:
    """A place in the fleet: the worker in it, and when it may be replaced once it died."""

    def __init__(self, pid: int | None = None) -> None:
        self.pid = pid
        self.status: int | None = None  # How it ended, until that has been looked after.
        self.is_old = pid is not None  # It runs the code from before a restart:
        self.is_asked = False  # whether it has been asked to leave for that.
        self.is_done = False
        self.started_at = 0.0
        self.start_at = 0.0
        self.delay = 0.0

    def put_off(self) -> None:
        """Plan the replacement of a worker that died or could not be started."""
        age = time.monotonic() - self.started_at
        self.delay = min(LONGEST_DELAY, max(FIRST_DELAY, self.delay * 2)) if age < YOUNG else 0.0
        self.start_at = time.monotonic() + self.delay


class Supervisor:
    """Keeps `plan.count` workers running until all have left of their own will."""

    def __init__(self, plan: Plan, report: Report, verbose: bool) -> None:
        self._plan = plan
        self._report = report
        self._verbose = verbose
        self._say = speaker("supervisor") if verbose else be_quiet
        self._slots = [_Slot() for _ in range(plan.count)]
        self._began = time.time()
        self._id: int | None = None
        self._signals = 0
        self._passed_on = 0
        self._is_to_restart = False
        self._notified = ""
        self._gone: DatabaseGone | None = None

    def run(self) -> int:
        """Supervise to the end; returns the exit code. Raises DatabaseGone then, if it is."""
        alarm = self._listen()
        gc.freeze()  # Or each worker's collector would copy the pages that they all share.
        with self._store() as store:
            if self._id is None:
                self._id = register(store, "supervisor", None, self._plan)
            else:
                store.renew(self._id, self._plan.version)
        while True:
            is_usable = self._look_after()
            if all(slot.is_done for slot in self._slots):
                break
            self._notify("READY=1\nSTATUS=%s" % self._status())
            if select.select([alarm], [], [], self._pause() if is_usable else RETRY)[0]:
                os.read(alarm, 4096)
        if self._gone:
            raise self._gone
        with self._store() as store:
            store.unregister(self._id)
            buried = self._plan.drain and store.has_buried_since(self._began, self._plan.queues)
        return 1 if buried else 0

    def _look_after(self) -> bool:
        """Do all that is due; False when the database does not let us, for now."""
        if self._is_to_restart:
            self._restart()
        self._reap()  # Before the sleep: who ended during a restart rang no alarm.
        try:
            if not self._gone:
                self._pass_on_signals()
                self._retire()
                self._collect()
                self._fill()
        except DatabaseGone as error:
            self._gone = error
        except DatabaseUnusable as error:
            self._say("%s; trying again" % error)
            return False
        if self._gone:
            self._leave()
        return True

    def _leave(self) -> None:
        """What is left to do without a database: pass on signals, and see the workers end."""
        level = min(self._signals, 2)
        for slot in self._slots:
            if slot.pid is None or slot.status is not None:
                slot.pid, slot.is_done = None, True
                continue
            for _ in range(level - self._passed_on):
                os.kill(slot.pid, signal.SIGTERM)  # Not waited for yet: it is ours.
        self._passed_on = level

    def _store(self) -> Store:
        # Opened for each use: a connection must not be carried across the next fork.
        return Store(self._plan.path, durable=False, patience=PATIENCE, must_exist=True)

    # --- signals ---------------------------------------------------------------------------------

    def _listen(self) -> int:
        alarm, writer = os.pipe()
        for fd in (alarm, writer):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            signal.signal(number, self._count)
        signal.signal(RESTART_SIGNAL, self._note_restart)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # Its wake-up is all that is wanted of it.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*STOP_SIGNALS, RESTART_SIGNAL))
        return alarm

    def _count(self, number: int, frame: object) -> None:
        self._signals += 1

    def _note_restart(self, number: int, frame: object) -> None:
        self._is_to_restart = True

    def _pass_on_signals(self) -> None:
        # By row and bell, not by signal: where the whole group got the signal, a worker would
        # count a second one and stop at once.
        level = min(self._signals, 2)
        if level == self._passed_on:
            return
        wanted = ("run", "stop", "stop-now")[level]
        self._say("%s" % wanted)
        self._notify("STOPPING=1")
        with self._store() as store:
            own = [row.id for row in store.workers() if self._id in (row.id, row.supervisor)]
            store.want(own, wanted)
            for worker in own:
                bell.ring(store.path, worker)
        self._passed_on = level

    # --- the workers -----------------------------------------------------------------------------

    def _fill(self) -> None:
        """Start a worker in each place that is free and due."""
        free = [slot for slot in self._slots if slot.pid is None and not slot.is_done]
        if not free:
            return
        assert self._id is not None
        with self._store() as store:
            stopping = store.wanted(self._id) != "run"
        for slot in free:
            if stopping:
                slot.is_done = True
            elif slot.start_at <= time.monotonic():
                self._start_worker(slot, self._id)
        self._report.close()

    def _start_worker(self, slot: _Slot, own_id: int) -> None:
        slot.started_at = time.monotonic()
        # Held back until the child has handlers of its own: none may get lost in between.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            slot.pid = os.fork()
            if slot.pid == 0:
                run_worker(self._plan, own_id, self._report, self._verbose)
        except OSError as error:  # Too many processes, for now.
            slot.put_off()
            self._say("cannot start a worker: %s; trying again in %gs" % (error.strerror, slot.delay))
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def _pause(self) -> float | None:
        """Seconds until there is something to do without a signal; None: nothing."""
        if any(slot.is_old and not slot.is_asked for slot in self._slots):
            return RETIRE_POLL
        free = [slot.start_at for slot in self._slots if slot.pid is None and not slot.is_done]
        return max(0.0, min(free) - time.monotonic()) if free else None

    def _reap(self) -> None:
        """Wait for all children that ended: our workers, and what a container's first process inherits."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for slot in self._slots:
                if slot.pid == pid:
                    slot.status = status

    def _collect(self) -> None:
        """Look after the workers that ended."""
        for slot in self._slots:
            if slot.status is not None:
                self._look_after_end(slot, slot.status)
                slot.pid = slot.status = None

    def _look_after_end(self, slot: _Slot, status: int) -> None:
        """A worker ended: rescue its job, and plan its replacement."""
        left_by_itself = status == 0
        with self._store() as store:
            for row in store.workers():
                if row.supervisor != self._id:
                    continue
                if row.pid == slot.pid:
                    for id in rescue_worker(store, row.id, row):
                        self._say("rescue %s" % id)
                elif left_by_itself and self._plan.drain:
                    bell.ring(store.path, row.id)  # Perhaps that was the last job.
        slot.is_done = left_by_itself and not slot.is_old
        slot.is_old = False
        if not left_by_itself:
            slot.put_off()
            self._say("a worker died (%s); replaced in %gs" % (_manner(status), slot.delay))

    # --- restart ---------------------------------------------------------------------------------

    def _restart(self) -> None:
        """Become the program that is at our place now; returns only where that cannot be."""
        self._is_to_restart = False
        command = program()
        nobody = subprocess.DEVNULL
        try:
            # It might be half copied, or too new for this Python: the fleet is not to end by that.
            if subprocess.call([*command, "--version"], stdin=nobody, stdout=nobody, stderr=nobody):
                self._say("no restart: %s does not run" % " ".join(command))
                return
            self._say("restart")
            # What comes until the new code has handlers waits for these.
            signal.pthread_sigmask(signal.SIG_BLOCK, (*STOP_SIGNALS, RESTART_SIGNAL))
            reader = self._hand_over()
            os.execv(command[0], [*command, "worker", "start", "--take-over", str(reader)])
        except OSError as error:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (*STOP_SIGNALS, RESTART_SIGNAL))
            self._say("no restart: %s" % error)

    def _hand_over(self) -> int:
        """A descriptor from which the next code can read what we know, as JSON.

        A field may be added here, and none renamed: who reads it is of another version.
        """
        known = {
            **self._plan._asdict(),
            "environment": {
                os.fsdecode(name): os.fsdecode(value) for name, value in self._plan.environment.items()
            },
            "id": self._id,
            "began": self._began,
            "verbose": self._verbose,
            "signals": self._signals,
            "passed_on": self._passed_on,
            "workers": [slot.pid for slot in self._slots if slot.pid is not None and slot.status is None],
        }
        reader, writer = os.pipe()
        if os.fork() == 0:  # A pipe holds 64 KiB: somebody has to feed the rest.
            os.close(reader)
            try:
                with os.fdopen(writer, "w") as file:
                    json.dump(known, file)
            finally:
                os._exit(0)
        os.close(writer)
        os.set_inheritable(reader, True)
        return reader

    def inherit(self, known: dict) -> None:
        """Go on where another code's `_hand_over` left off."""
        self._id, self._began = known["id"], known["began"]
        self._signals, self._passed_on = known["signals"], known["passed_on"]
        for number, pid in enumerate(known["workers"]):
            self._slots[number] = _Slot(pid)

    def _retire(self) -> None:
        """Ask the workers of the old code to leave when their jobs are done."""
        unasked = {slot.pid: slot for slot in self._slots if slot.is_old and not slot.is_asked}
        if not unasked:
            return
        with self._store() as store:
            # (One that was forked a moment ago has no row yet.)
            rows = [r for r in store.workers() if r.supervisor == self._id and r.pid in unasked]
            store.want([row.id for row in rows], "stop")
            for row in rows:
                unasked[row.pid].is_asked = True
                bell.ring(store.path, row.id)

    # --- systemd ---------------------------------------------------------------------------------

    def _status(self) -> str:
        running = sum(slot.pid is not None for slot in self._slots)
        return "%d of %d workers run" % (running, self._plan.count)

    def _notify(self, text: str) -> None:
        """Tell the service manager that started us, if it wants to know: sd_notify(3)."""
        address = os.environ.get("NOTIFY_SOCKET") if self._verbose else None
        if not address or text == self._notified:
            return
        self._notified = text
        if address.startswith("@"):
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
                connection.sendto(text.encode(), address)
        except OSError:
            pass  # Nobody listens: then nobody waits for it.


def _manner(status: int) -> str:
    if os.WIFSIGNALED(status):
        return "signal %d" % os.WTERMSIG(status)
    return "exit %d" % os.WEXITSTATUS(status)


# --- starting ------------------------------------------------------------------------------------


def restart(supervisors: list[Row]) -> None:
    """Ask these supervisors to become the code that is at their place by now."""
    for row in supervisors:
        send(row.pid, row.birth, RESTART_SIGNAL)


def start_foreground(plan: Plan) -> int:
    """Supervise in this process until all workers have left; returns the exit code."""
    _inherit_nothing()
    return Supervisor(plan, Report(), verbose=True).run()


def take_over(fd: int, version: str) -> int:
    """Supervise what the code before us in this process handed over; returns the exit code.

    `version` is that of our code.
    """
    with os.fdopen(fd) as file:
        known = json.load(file)
    environment = {os.fsencode(name): os.fsencode(value) for name, value in known["environment"].items()}
    plan = Plan(
        known["path"], known["count"], known["queues"], known["drain"], environment, version
    )
    supervisor = Supervisor(plan, Report(), known["verbose"])
    supervisor.inherit(known)
    return supervisor.run()


def start_detached(plan: Plan) -> list[tuple[int, int]]:
    """Start a supervisor that outlives this process; returns (id, PID) of each of its workers.

    Returns when all are registered. Raises DatabaseUnusable when they could not be.
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
    if len(lines) != plan.count:
        raise DatabaseUnusable("only %d of %d workers could be started" % (len(lines), plan.count))
    return sorted((int(id), int(pid)) for id, pid in map(str.split, lines))


def shed_mark() -> None:
    """Where we run in a job, start over without its mark: workers that it starts outlive it."""
    if os.environ.pop(TOKEN_VARIABLE, None) is not None:
        # What others see of our environment is what we were executed with.
        command = program()
        os.execv(command[0], [*command, *sys.argv[1:]])


def _detach(plan: Plan, report: Report) -> None:
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
        report.failed(error)
    except BaseException as error:  # There is no terminal to show a traceback on.
        report.failed(DatabaseUnusable("the supervisor failed: %r" % error))
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
