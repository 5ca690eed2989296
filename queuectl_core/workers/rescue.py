"""Rescue: settle the attempts of dead workers.

In this order: make sure that nothing of the lost attempt is still running, here or wherever its runner took it; settle
the attempt as lost; remove the worker's row. If a rescuer is killed in between, the next one starts over.

A dead worker is left to its supervisor while that is awake, since only the supervisor finds all that the attempt left
running (see strays.py). Once it has done what it can, it gives the worker up, so that others may try.
"""

from __future__ import annotations

import time

from ..errors import Refused
from ..lifecycle import Outcome, judge, malformed
from ..store import bell
from ..typed import NamedTuple
from . import lifeline
from .fleet import is_running, live_workers
from .identity import LINUX, boot, is_same_boot, is_stopped, pulse
from .leftovers import described, end_leftovers
from .log import halt_text, no_log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ..records import Worker
    from ..store import Store
    from ..store.claims import LostAttempt
    from .identity import Process
    from .log import Log
    from .runner import RunnerKills

SWEEP_POLL = 0.02  # Seconds between looks at what supervisors have rescued.
SILENCE = 5.0  # Seconds without a pulse until a worker counts as frozen. Live ones wake every two.


class Deathbed(NamedTuple):
    """What a supervisor knows that has just seen workers die.

    `left` are processes of their attempts that it couldn't end, or None if it doesn't adopt orphans (see strays.py).
    `tokens` are those of all running processes.
    """

    left: list[Process] | None
    tokens: Collection[str] = ()


def rescue(store: Store, rescuer: Rescuer | None = None) -> list[str]:
    """Settle the attempts of all dead workers; returns the ids of their jobs.

    Jobs of queues with a runner-kill need a `rescuer`.
    """
    gone = [(id, row) for id, row in store.holders() if row is None or not is_running(store, row)]
    supervisors = _supervisors(store) if gone else {}
    ours = [id for id, row in gone if not (row and _has_guardian(store, row, supervisors, rescuer))]
    return rescue_workers(store, ours, rescuer, log=rescuer.log if rescuer else no_log)[0]


def rescue_workers(
    store: Store,
    workers: Sequence[int],
    rescuer: Rescuer | None = None,
    deathbed: Deathbed | None = None,
    log: Log = no_log,
) -> tuple[list[str], list[int]]:
    """Settle the attempts of these dead workers and remove their rows.

    Returns the ids of their jobs, and which workers still hold a job, since something of it may still be running. Logs
    that a death paused a queue.
    """
    rescued = []
    kept = set()
    for lost in store.lost_attempts(workers):
        job = lost.job
        try:
            is_over = _is_over(store, lost, rescuer, deathbed)
        except OSError as error:  # We are out of descriptors or memory.
            _note(store, lost, f"may still run: cannot list processes: {error.strerror}")
            is_over = False
        if not is_over:
            kept.add(job.worker)  # Attempts must not overlap. The next look tries again.
            continue
        fault = malformed(job)
        outcome = Outcome("unrunnable", detail=fault) if fault else Outcome("lost")
        try:
            if store.settle_or_bury(job, outcome, judge(job, outcome, time.time())):
                rescued.append(job.id)
                if store.halted:
                    log(halt_text(job, *store.halted))
        except Refused:
            kept.add(job.worker)  # Another program's trigger forbids even that. Others must still be rescued.
    for worker in workers:
        if worker not in kept:
            store.unregister(worker)
            bell.remove(store.path, worker)
    return rescued, [worker for worker in workers if worker in kept]


def sweep(store: Store, patience: float = SILENCE) -> list[str]:
    """Rescue, and remove the rows of all dead workers and supervisors; returns the ids of the rescued jobs.

    Waits at most `patience` seconds for the supervisors of dead workers to do it, and leaves the rest to them.
    """
    rescued = rescue(store)
    until = time.monotonic() + patience
    while are_left_to_supervisors(store) and time.monotonic() < until:
        time.sleep(SWEEP_POLL)
        rescued += rescue(store)
    supervisors = _supervisors(store)
    gone = [
        row.id
        for row in store.workers()
        if not is_running(store, row) and not _has_guardian(store, row, supervisors, None)
    ]
    return rescued + rescue_workers(store, gone)[0]


def are_left_to_supervisors(store: Store) -> bool:
    """Whether a dead worker holds a job that its supervisor must settle."""
    gone = [row for _, row in store.holders() if row and not is_running(store, row)]
    supervisors = _supervisors(store) if gone else {}
    return any(_has_guardian(store, row, supervisors, None) for row in gone)


def _supervisors(store: Store) -> dict[int, Worker]:
    return {row.id: row for row in store.workers() if row.role == "supervisor"}


def _has_guardian(
    store: Store, row: Worker, supervisors: dict[int, Worker], rescuer: Rescuer | None
) -> bool:
    """Whether a dead worker must be left to its supervisor, which has adopted what its attempt left running.

    It must unless the supervisor is dead, stopped or frozen, or has given the worker up.
    """
    guardian = supervisors.get(row.supervisor or 0)
    if not LINUX or guardian is None or not is_running(store, guardian):
        return False
    if rescuer:
        return rescuer.is_awake(guardian, row.id)
    return guardian.identity.boot != boot() or not is_stopped(guardian.pid)


def _is_over(store: Store, lost: LostAttempt, rescuer: Rescuer | None, deathbed: Deathbed | None) -> bool:
    """Make sure that nothing of a lost attempt is running; False if something may still be running."""
    if deathbed and deathbed.left:
        _note(store, lost, described(deathbed.left))
        return False
    if lost.runner_kill:
        return rescuer is not None and rescuer.end(store, lost)
    return _end_here(store, lost, deathbed)


def _end_here(store: Store, lost: LostAttempt, deathbed: Deathbed | None = None) -> bool:
    """End the lost attempt's processes on this machine; False, and noted as the job's error, if some still run."""
    there = lost.boot or boot()
    if not is_same_boot(there):
        return True
    is_near = there == boot()
    lock = lifeline.run_path(store.path, lost.job.worker or 0)
    token = store.token(lost.job)
    if deathbed and deathbed.left is not None and token not in deathbed.tokens and not lifeline.is_held(lock):
        return True  # All that the attempt started was adopted, and has ended. That saves a look through /proc.
    # The PID of a command in another PID namespace means nothing here. But we may see its token or its lock.
    left = end_leftovers(token, lost.command if is_near else None, deathbed is not None, lock=lock)
    obstacle = described(left) if left else _obstacle(lifeline.is_held(lock), is_near)
    if obstacle:
        _note(store, lost, obstacle)
    return obstacle is None


def _note(store: Store, lost: LostAttempt, obstacle: str) -> None:
    if lost.job.error != obstacle:
        store.note(lost.job, obstacle)


def _obstacle(is_held: bool | None, is_near: bool) -> str | None:
    """Why an attempt may still be running though we see nothing of it; None if it isn't. `is_held` is about its lock.

    Without a lock, all that we know is what we see.
    """
    if is_near:
        return described([]) if is_held else None
    return "may still run: in another container" if is_held is not False else None


class Rescuer:
    """Looks for dead workers, each time `look` is called.

    Also ends attempts that may be running on other machines, with their queue's runner-kill. Of the live workers that
    take a queue, only the one with the lowest id does that: it has the environment for it, and a thousand workers
    don't all ask the cluster. Without such a worker, a command does it. Nothing waits for a runner-kill: if it is
    still running, the next look checks on it.
    """

    def __init__(self, worker: int | None, kills: RunnerKills, log: Log) -> None:
        """`worker` is our own id, or None for a command."""
        self._worker = worker
        self.log = log
        self._pulses: dict[tuple[int, int], tuple[int | None, float]] = {}  # See is_awake: the last, and since when.
        self.kills = kills

    def look(self, store: Store) -> bool:
        """Rescue what can be rescued now; returns whether a runner-kill is running.

        Of the live workers with the same queues, only the oldest looks. If all did, the cost would grow with the
        square of their number.
        """
        elders = store.elders(self._worker)
        # Not those in another PID namespace, which see other processes than we do.
        elders = [elder for elder in elders if elder.identity.boot == boot()]
        if any(is_running(store, elder) and self.is_awake(elder, elder.id) for elder in elders):
            return False
        for id in rescue(store, self):
            self.log(f"rescue {id}")
        return bool(self.kills)

    def is_awake(self, row: Worker, worker: int) -> bool:
        """Whether a live process can act: it isn't stopped, and not frozen either, which only its pulse tells.

        `worker` is what we are looking at: itself, or the dead worker that it should rescue.
        """
        is_near = row.identity.boot == boot()  # Otherwise its PID means nothing here.
        now, count = time.monotonic(), pulse(row.pid) if is_near else 0
        seen, since = self._pulses.get((row.id, worker), (None, now))
        if count is None or count != seen:
            self._pulses[row.id, worker] = count, now
            since = now
        return not (is_near and is_stopped(row.pid)) and now - since <= SILENCE

    def end(self, store: Store, lost: LostAttempt) -> bool:
        """End a lost attempt with its queue's runner-kill; True once it has succeeded."""
        if not self.kills.is_running(store.token(lost.job)):
            # Kill local processes before it starts, and only if in charge: a runner-kill has the same token.
            if not self._is_in_charge(store, lost.job.queue) or not _end_here(store, lost):
                return False
        return self.kills.drive(store, lost.job, lost.runner_kill)

    def _is_in_charge(self, store: Store, queue: str) -> bool:
        takers = [row.id for row in live_workers(store) if row.takes(queue)]
        return self._worker == min(takers, default=None)
