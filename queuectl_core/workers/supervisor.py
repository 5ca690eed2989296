"""The supervisor: starts the workers of a fleet, replaces those that die, and moves them to new code.

A worker that dies is replaced: at once, or after a growing delay if its replacements keep dying young. A worker that
stops by itself (it was asked to, or everything is drained) isn't replaced. The supervisor isn't essential: if it is
killed, its workers continue, still obey `worker stop`, and rescue each other.

While it can't use the database (the disk is full, or another program holds the lock), it keeps trying, and so do its
workers. If the file is gone, or a newer queuectl has migrated it, it starts no more workers and exits after the last
one.

After a restart (`worker restart`, SIGUSR2; see handover.py), the new code asks each worker of the old code to stop
when its job is done, and replaces it. So no more jobs run at once than before, and none is interrupted.

It can be PID 1 of a container: it reaps all children, including orphans that it inherits. It reports to systemd with
sd_notify(3).
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import time

from ..errors import DatabaseGone, DatabaseUnusable
from ..store import Store, bell, filesystem, migrations, wal
from ..suggestion import suggestion
from . import handover, lifeline
from .handover import RESTART_SIGNAL
from .leftovers import tokens_in_use
from .log import no_log, stderr_logger
from .rescue import Deathbed, rescue_workers
from .slot import Slot
from .strays import Strays, WorkerDied
from .worker_process import PATIENCE, STOP_SIGNALS, Plan, Report, register, run_worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PRELOADED = (filesystem, migrations, wal)  # A bundle may be replaced while the fleet is running.
RETRY = 0.5  # Seconds between attempts to use the database while that fails.
HOLD_POLL = 1.0  # Seconds between looks at processes of lost attempts that we can't signal.
RETIRE_POLL = 0.05  # Seconds between checks for the row of a worker that must be asked to stop.


class Supervisor:
    """Keeps `plan.size` workers running until all have stopped by themselves."""

    def __init__(self, plan: Plan, report: Report, verbose: bool) -> None:
        self._plan = plan
        self._report = report
        self._verbose = verbose
        self._log = stderr_logger("supervisor") if verbose else no_log
        self._slots = [Slot(number) for number in range(plan.size)]
        self._began = time.time()
        self._id: int | None = None
        self._signals = 0
        self._passed_on = 0
        self._stop_now_at: float | None = None
        self._restart_wanted = False
        self._notified = ""
        self._gone: DatabaseGone | None = None
        self._lock = -1  # Proves that we are alive; see lifeline.py.
        self._strays = Strays()
        self._held: Sequence[int] = ()  # Dead workers whose attempts left processes that we can't end.

    def run(self) -> int:
        """Supervise until all workers have stopped; returns the exit code.

        It is 1 if `plan.drain` is set and a job was buried. Raises DatabaseGone at the end if the file is gone.
        """
        alarm = self._listen()
        events = select.poll()  # Unlike select, it takes a descriptor above 1023.
        events.register(alarm, select.POLLIN)
        gc.freeze()  # Otherwise garbage collection in each worker would copy the shared pages.
        with self._store() as store:
            if self._id is None:
                self._id = register(store, "supervisor", None, self._plan)
            else:
                store.renew(self._id, self._plan.version)
        self._reap()
        self._strays.adopt(self._live())
        if self._lock < 0:
            self._lock = lifeline.hold(lifeline.alive_path(self._plan.path, self._id))
        while True:
            is_usable = self._handle_events()
            if all(slot.is_done for slot in self._slots) and not self._held:
                break
            is_told = self._notify(f"READY=1\nSTATUS={self._status()}")
            pause = self._pause() if is_usable and is_told else RETRY
            if events.poll(None if pause is None else int(pause * 1000 + 0.999)):
                os.read(alarm, 4096)
        if self._gone:
            bell.remove(self._plan.path, self._id)
            raise self._gone
        with self._store() as store:
            store.unregister(self._id)
            bell.remove(store.path, self._id)
            buried = self._plan.drain and store.has_buried_since(self._began, self._plan.queues)
        return 1 if buried else 0

    def _handle_events(self) -> bool:
        """Do everything that is due; False if the database can't be used right now."""
        if self._restart_wanted:
            self._restart_wanted = False
            handover.become(self._state, self._log)
        self._reap()  # Always: the SIGCHLD of a worker that ended during a restart is lost.
        self._enforce_deadline()
        try:
            if not self._gone:
                self._pass_on_signals()
                self._retire()
                self._collect()
                self._fill()
        except DatabaseGone as error:
            self._gone = error
        except DatabaseUnusable as error:
            self._log(f"{error}; trying again")
            return False
        except OSError as error:  # We are out of descriptors or memory.
            self._log(f"{error}; trying again")
            return False
        if self._gone:
            self._wind_down()
        return True

    def _wind_down(self) -> None:
        """Without a database, only pass on signals and wait for the workers to end."""
        level = min(self._signals, 2)
        for slot in self._slots:
            if slot.pid is None or slot.status is not None:
                slot.pid, slot.is_done = None, True
                continue
            for _ in range(level - self._passed_on):
                os.kill(slot.pid, signal.SIGTERM)  # It hasn't been reaped, so the PID is still its own.
        self._passed_on = level

    def _store(self) -> Store:
        # Opened for each use: a connection must not cross the next fork.
        return Store(self._plan.path, durable=False, patience=PATIENCE, must_exist=True)

    # --- signals ---------------------------------------------------------------------------------

    def _listen(self) -> int:
        alarm, writer = os.pipe()
        for fd in (alarm, writer):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            # Under nohup SIGHUP is ignored, in a script's background job SIGINT. They stay ignored.
            if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._count)
        signal.signal(RESTART_SIGNAL, self._note_restart)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # A no-op handler: SIGCHLD must wake us.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*STOP_SIGNALS, RESTART_SIGNAL))
        return alarm

    def _count(self, *_: object) -> None:
        self._signals += 1
        self._set_deadline()

    def _set_deadline(self) -> None:
        if self._stop_now_at is None and self._plan.stop_timeout is not None:
            self._stop_now_at = time.monotonic() + self._plan.stop_timeout

    def _enforce_deadline(self) -> None:
        """After the stop timeout, act as if a second signal had arrived."""
        if self._stop_now_at is not None and time.monotonic() >= self._stop_now_at:
            self._signals = max(self._signals, 2)

    def _note_restart(self, *_: object) -> None:
        self._restart_wanted = True

    def _pass_on_signals(self) -> None:
        # By row and bell: if the whole process group got the signal, another one would make workers stop at once.
        level = min(self._signals, 2)
        if level == self._passed_on:
            return
        wanted = ("run", "stop", "stop-now")[level]
        self._log(wanted)
        self._notify("STOPPING=1")
        with self._store() as store:
            assert self._id is not None
            store.want([self._id], wanted)  # First: workers that register from now on take it over.
            own = [row.id for row in store.workers() if self._id in (row.id, row.supervisor)]
            store.want(own, wanted)
            suspended = store.running_ids(suspended=True) if wanted == "stop" else ()
            running = store.running() if suspended else {}
            for worker in own:
                bell.ring(store.path, worker)
                job = running[worker][0] if worker in running else ""
                if job in suspended:
                    self._log(f"waiting for job {job}, which is suspended; run: {suggestion('continue', job)}")
        self._passed_on = level

    # --- the workers -----------------------------------------------------------------------------

    def _fill(self) -> None:
        """Start a worker in each free place that is due."""
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

    def _start_worker(self, slot: Slot, own_id: int) -> None:
        slot.started_at = time.monotonic()
        page = self._strays.page(slot.number)
        slot.has_page = True
        # Blocked until the child has its own handlers, so no signal is lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            if page:
                page.clear()
            slot.pid = os.fork()
            if slot.pid == 0:
                if self._lock >= 0:
                    os.close(self._lock)  # Otherwise we would prove that it is alive.
                run_worker(self._plan, own_id, self._report, self._verbose, page)
        except OSError as error:  # There are too many processes right now.
            slot.schedule_replacement()
            self._log(f"cannot start a worker: {error.strerror}; trying again in {slot.delay:g}s")
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def _pause(self) -> float | None:
        """Seconds until there is something to do even without a signal; None if there isn't."""
        if any(slot.is_old and not slot.is_asked for slot in self._slots):
            return RETIRE_POLL
        due = [slot.start_at for slot in self._slots if slot.pid is None and not slot.is_done]
        if self._stop_now_at is not None and self._signals < 2:
            due.append(self._stop_now_at)
        if self._held:
            due.append(time.monotonic() + HOLD_POLL)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _live(self) -> set[int]:
        """The PIDs of our workers that haven't ended, as far as we know."""
        return {slot.pid for slot in self._slots if slot.pid is not None and slot.status is None}

    def _reap(self) -> None:
        """Reap all children that ended: our workers, and orphans that we have adopted."""
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
        """Rescue the jobs of workers that ended, and schedule their replacements."""
        if not self._held and all(slot.status is None for slot in self._slots):
            return
        with self._store() as store:
            while True:
                ended = {slot.pid: slot for slot in self._slots if slot.status is not None}
                rows = [row for row in store.workers() if row.supervisor == self._id]
                dead = [row.id for row in rows if row.pid in ended or row.id in self._held]
                try:
                    deathbed = self._end_strays(store, dead, ended.values())
                    break
                except WorkerDied:
                    self._reap()
            rescued, kept = rescue_workers(store, dead, deathbed=deathbed, log=self._log)
            for id in rescued:
                self._log(f"rescue {id}")
            if kept and (not deathbed.left or self._must_stop_now(store)):
                store.disown(kept)
                kept = []
            self._held = kept
            if self._plan.drain and any(slot.status == 0 for slot in ended.values()):
                for row in rows:
                    bell.ring(store.path, row.id)  # A worker that stopped by itself may have settled the last job.
        for slot in ended.values():
            self._vacate(slot, slot.status or 0)

    def _end_strays(self, store: Store, dead: Sequence[int], ended: Iterable[Slot]) -> Deathbed:
        """End what the attempts of these `dead` workers left running, as far as we can. Raises WorkerDied."""
        if self._strays.fd < 0:
            return Deathbed(None)
        lost = {store.token(attempt.job) for attempt in store.lost_attempts(dead)}
        pages = [self._strays.page(slot.number) if slot.has_page else None for slot in ended]
        left = self._strays.end(lost, pages, self._live())
        return Deathbed(left, tokens_in_use() if lost else ())

    def _must_stop_now(self, store: Store) -> bool:
        assert self._id is not None
        return self._signals >= 2 or store.wanted(self._id) == "stop-now"

    def _vacate(self, slot: Slot, status: int) -> None:
        """Free the slot of a worker that ended, and decide whether to replace it."""
        stopped_by_itself = status == 0
        slot.is_done = stopped_by_itself and not slot.is_old
        slot.is_old = False
        slot.pid = slot.status = None
        if not stopped_by_itself:
            slot.schedule_replacement()
            self._log(f"a worker died ({_how_it_ended(status)}); replacing it in {slot.delay:g}s")

    # --- restart ---------------------------------------------------------------------------------

    def _state(self) -> handover.State:
        """What the new code needs to know after a restart."""
        kept = [slot for slot in self._slots if not slot.is_done and slot.status != 0]
        live = [slot for slot in kept if slot.pid is not None and slot.status is None]
        return handover.State(
            self._plan._replace(size=len(kept)),  # Without the places of workers that stopped by themselves.
            self._id,
            self._began,
            self._verbose,
            self._signals,
            self._passed_on,
            [slot.pid for slot in live if slot.pid is not None],
            self._lock,
            [slot.number for slot in live],
            [(slot.pid, slot.number, slot.status) for slot in kept if slot.pid is not None and slot.status],
            self._strays.fd,
            list(self._strays.spared),
            list(self._held),
        )

    def inherit(self, state: handover.State) -> None:
        """Continue where the code before a restart left off."""
        self._id, self._began = state.id, state.began
        self._signals, self._passed_on = state.signals, state.passed_on
        self._lock = state.lock
        if state.signals:
            self._set_deadline()
        self._strays = Strays(state.pages, frozenset((pid, birth) for pid, birth in state.spared))
        self._held = state.held
        # An older version had no pages.
        numbers = list(state.numbers) or list(range(len(state.workers)))
        slots = [Slot(number, pid, bool(state.numbers)) for number, pid in zip(numbers, state.workers)]
        for pid, number, status in state.ended:
            slots.append(Slot(number, pid))
            slots[-1].status = status
        used = {slot.number for slot in slots}
        free = (number for number in range(2 * self._plan.size) if number not in used)
        slots += [Slot(next(free)) for _ in range(self._plan.size - len(slots))]
        self._slots = slots

    def _retire(self) -> None:
        """Ask the workers of the old code to stop when their jobs are done."""
        unasked = {slot.pid: slot for slot in self._slots if slot.is_old and not slot.is_asked}
        if not unasked:
            return
        with self._store() as store:
            # A worker that was just forked has no row yet.
            rows = [row for row in store.workers() if row.supervisor == self._id and row.pid in unasked]
            store.want([row.id for row in rows], "stop")
            for row in rows:
                unasked[row.pid].is_asked = True
                bell.ring(store.path, row.id)

    # --- systemd ---------------------------------------------------------------------------------

    def _status(self) -> str:
        running = sum(slot.pid is not None for slot in self._slots)
        return f"{running} of {self._plan.size} workers running"

    def _notify(self, text: str) -> bool:
        """Notify the service manager that started us, if it asked us to; see sd_notify(3).

        False if it must be told later, because it doesn't read. Waiting for it would leave dead workers unnoticed.
        """
        address = os.environ.get("NOTIFY_SOCKET") if self._verbose else None
        if not address or text == self._notified:
            return True
        if address.startswith("@"):
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
                connection.setblocking(False)
                connection.sendto(text.encode(), address)
        except BlockingIOError:
            return False
        except OSError:
            pass  # Nothing is listening.
        self._notified = text
        return True


def _how_it_ended(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return f"exit {os.WEXITSTATUS(status)}"
