"""Rescue: settle the attempts of dead workers.

In this order: make sure that nothing of the lost attempt is still running, here or wherever its runner took it; settle
the attempt as lost; remove the worker's row. If a rescuer is killed in between, the next one starts over.
"""

from __future__ import annotations

import time

from ..errors import Refused
from ..lifecycle import Outcome, judge, malformed
from ..store import bell
from . import lifeline
from .fleet import is_running, live_workers
from .identity import boot, is_same_boot, is_stopped, pulse
from .leftovers import described, end_leftovers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..records import Worker
    from ..store import Store
    from ..store.claims import LostAttempt
    from .log import Log
    from .runner import RunnerKills

SILENCE = 5.0  # Seconds without a pulse until a worker counts as frozen. Live ones wake every two.


def rescue(store: Store, rescuer: Rescuer | None = None) -> list[str]:
    """Settle the attempts of all dead workers; returns the ids of their jobs.

    Jobs of queues with a runner-kill need a `rescuer`.
    """
    gone = [id for id, row in store.holders() if row is None or not is_running(store, row)]
    return rescue_workers(store, gone, rescuer)


def rescue_workers(
    store: Store, workers: Sequence[int], rescuer: Rescuer | None = None, are_recent: bool = False
) -> list[str]:
    """Settle the attempts of these dead workers and remove their rows; returns the ids of their jobs."""
    rescued = []
    kept = set()
    for lost in store.lost_attempts(workers):
        job = lost.job
        if not _is_over(store, lost, rescuer, are_recent):
            kept.add(job.worker)  # Attempts must not overlap. The next look tries again.
            continue
        fault = malformed(job)
        outcome = Outcome("unrunnable", detail=fault) if fault else Outcome("lost")
        try:
            if store.settle_or_bury(job, outcome, judge(job, outcome, time.time())):
                rescued.append(job.id)
        except Refused:
            kept.add(job.worker)  # Another program's trigger forbids even that. Others must be rescued nevertheless.
    for worker in workers:
        if worker not in kept:
            store.unregister(worker)
            bell.remove(store.path, worker)
    return rescued


def sweep(store: Store) -> list[str]:
    """Rescue, and remove the rows of all dead workers and supervisors; returns the ids of the rescued jobs."""
    rescued = rescue(store)
    gone = [row.id for row in store.workers() if not is_running(store, row)]
    return rescued + rescue_workers(store, gone)


def _is_over(store: Store, lost: LostAttempt, rescuer: Rescuer | None, is_recent: bool) -> bool:
    """Make sure that nothing of a lost attempt is running; False if something may still be running."""
    if lost.runner_kill:
        return rescuer is not None and rescuer.end(store, lost)
    return _end_here(store, lost, is_recent)


def _end_here(store: Store, lost: LostAttempt, is_recent: bool = False) -> bool:
    """End the lost attempt's processes on this machine; False, and noted as the job's error, if some still run."""
    there = lost.boot or boot()
    if not is_same_boot(there):
        return True
    is_near = there == boot()
    lock = lifeline.run_path(store.path, lost.job.worker or 0)
    # The PID of a command in another PID namespace means nothing here. But we may see its token or its lock.
    left = end_leftovers(store.token(lost.job), lost.command if is_near else None, is_recent, lock=lock)
    obstacle = described(left) if left else _obstacle(lifeline.is_held(lock), is_near)
    if obstacle and lost.job.error != obstacle:
        store.note(lost.job, obstacle)
    return obstacle is None


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
        self._log = log
        self._pulses: dict[int, tuple[int | None, float]] = {}  # Of elders: the last one, and since when.
        self.kills = kills

    def look(self, store: Store) -> bool:
        """Rescue what can be rescued now; returns whether a runner-kill is running.

        Of the live workers with the same queues, only the oldest looks. If all did, the cost would grow with the
        square of their number.
        """
        elders = store.elders(self._worker)
        # Not those in another PID namespace, which see other processes than we do.
        elders = [elder for elder in elders if elder.identity.boot == boot()]
        if any(is_running(store, elder) and self._is_awake(elder) for elder in elders):
            return False
        for id in rescue(store, self):
            self._log(f"rescue {id}")
        return bool(self.kills)

    def _is_awake(self, elder: Worker) -> bool:
        """Whether an elder can look: it isn't stopped, and not frozen either, which only its pulse tells."""
        now, count = time.monotonic(), pulse(elder.pid)
        seen, since = self._pulses.get(elder.id, (None, now))
        if count is None or count != seen:
            self._pulses[elder.id] = count, now
            since = now
        return not is_stopped(elder.pid) and now - since <= SILENCE

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
