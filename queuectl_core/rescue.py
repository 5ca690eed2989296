"""Rescue: settle the attempts of workers that are gone.

In this order: make sure that nothing of the lost attempt runs any more, here or where its runner took
it, then settle the attempt as lost, then remove the worker's row. Whoever is killed in between
leaves a state from which the next rescuer does the same again.
"""

from __future__ import annotations

import time

from . import bell, runner, settings
from .fleet import is_running, live_workers
from .identity import boot, end_leftovers, is_stopped
from .lifecycle import Job, Outcome, judge
from .process import CannotStart
from .store import Store, Worker as Row


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
