"""The simulated world: the real store, and everything around it as immutable values, so that a step can be undone."""

from __future__ import annotations

import functools
import sqlite3
from typing import Any, Callable, NamedTuple, Tuple

from queuectl_core.jobspec import NewJob, new_job
from queuectl_core.lifecycle import Job, Outcome, judge
from queuectl_core.records import NO_OUTPUT, Identity
from queuectl_core.store import Store
from queuectl_core.store.claims import Claim, LostAttempt
from queuectl_core.store.connection import Connection
from queuectl_core.workers.worker import END_FOR

START = 1_000_000_000.0
Step = Tuple[str, Callable[[], Any]]


class Worker(NamedTuple):
    """A worker's process. `place` is idle, claimed, running, ended, leaving or gone."""

    id: int
    place: str = "idle"
    job: Job | None = None
    outcome: Outcome | None = None
    is_mistaken: bool = False  # Rescuers take it for dead.
    is_identified: bool = False


class Rescuer(NamedTuple):
    """A rescuer, with the worker that it found dead and the phases that are left."""

    worker: int = 0
    lost: tuple[LostAttempt, ...] = ()
    phases: tuple[str, ...] = ()


class State(NamedTuple):
    """Everything outside the database. `left` is how often each rare event may still happen."""

    clock: float
    workers: tuple[Worker, ...]
    rescuers: tuple[Rescuer, ...]
    processes: frozenset[tuple[int, int, str]]  # (job, attempt, "command" or "leftover")
    acknowledged: frozenset[str]
    cancelled: frozenset[tuple[str, int]]  # (id, the attempt after which nothing may start)
    left: tuple[tuple[str, int], ...]
    stopped: frozenset[tuple[int, int]] = frozenset()  # Attempts (job, attempt) whose processes are stopped.


class World:
    """One queue, with its workers, rescuers and processes. `steps` lists all that can happen next."""

    # The order that keeps attempts from overlapping; see rescue.py.
    rescue_phases: tuple[str, ...] = ("end", "settle", "unregister")

    def __init__(
        self, path: str, workers: int, rescuers: int, outcomes: tuple[Outcome, ...], left: dict[str, int]
    ) -> None:
        """`path` is an empty queue file, which is only copied."""
        connection = Connection(":memory:")
        connection.wakes_workers = False  # Bells are hints: a worker may claim at any time.
        source = sqlite3.connect(path)
        source.backup(connection.db)
        source.close()
        self.db = connection.db
        self.state = State(
            START, (), (Rescuer(),) * rescuers, frozenset(), frozenset(), frozenset(), tuple(sorted(left.items()))
        )
        self.store = Store(path, connection=connection, clock=lambda: self.state.clock)
        self.outcomes = outcomes
        for _ in range(workers):
            self.start_worker()

    def change(self, **fields: Any) -> None:
        self.state = self.state._replace(**fields)

    def may(self, event: str) -> bool:
        return dict(self.state.left).get(event, 0) > 0

    def spend(self, event: str) -> None:
        self.change(left=tuple((name, n - (name == event)) for name, n in self.state.left))

    def steps(self) -> list[Step]:
        """What workers and rescuers can do next, and what can happen to them."""
        steps: list[Step] = []
        for worker in self.state.workers:
            if worker.place != "gone":
                steps += self._of_worker(worker)
        for index, rescuer in enumerate(self.state.rescuers):
            steps += self._of_rescuer(index, rescuer)
        return steps

    # --- workers ----------------------------------------------------------------------------------

    def start_worker(self) -> int:
        number = len(self.state.workers) + 1
        id = self.store.register("worker", None, Identity(number, "boot", str(number)), None, "1")
        self.change(workers=(*self.state.workers, Worker(id)))
        return id

    def _of_worker(self, worker: Worker) -> list[Step]:
        name = f"worker {worker.id}"
        moves = {
            "idle": ("claim", self._claim),
            "claimed": ("start", self._start),
            "running": ("obey", self._obey),
            "ended": ("settle", self._settle),
            "leaving": ("unregister", self._leave),
        }
        label, move = moves[worker.place]
        steps: list[Step] = [(f"{name}: {label}", functools.partial(move, worker))]
        if worker.place == "running" and worker.job and _attempt(worker.job) in self.state.stopped:
            steps = [(f"{name}: obey, suspended", functools.partial(move, worker))]
        elif worker.place == "running":
            for outcome in self.outcomes:
                end = functools.partial(self._end, worker, outcome)
                steps.append((f"{name}: command ends: {outcome.kind} {outcome.code}", end))
            if self.may("identify") and not worker.is_identified:
                steps.append((f"{name}: identify", functools.partial(self._identify, worker)))
        elif worker.place == "ended" and self._processes_of(worker.job):
            steps = [(f"{name}: end leftovers", functools.partial(self.end_processes, worker.job))]
        if self.may("kill"):
            steps.append((f"{name}: is killed", functools.partial(self._kill, worker)))
        if self.may("mistake") and worker.place in ("running", "ended") and not worker.is_mistaken:
            steps.append((f"{name}: is taken for dead", functools.partial(self._mistake, worker)))
        return steps

    def _put(self, worker: Worker, **fields: Any) -> None:
        new = worker._replace(**fields)
        self.change(workers=tuple(new if other.id == new.id else other for other in self.state.workers))

    def _take(self, worker: Worker, claim: Claim) -> None:
        if claim.job:
            self._put(worker, place="claimed", job=claim.job, outcome=None, is_identified=False, is_mistaken=False)
        else:
            place = {"run": "idle", None: "gone"}.get(claim.wanted, "leaving")
            self._put(worker, place=place, job=None, outcome=None)

    def _claim(self, worker: Worker) -> None:
        self._take(worker, self.store.claim(worker.id, None))

    def _start(self, worker: Worker) -> None:
        assert worker.job
        started = (worker.job.seq, worker.job.last_attempt, "command")
        self.change(processes=self.state.processes | {started})
        self._put(worker, place="running")

    def _identify(self, worker: Worker) -> None:
        assert worker.job
        self.store.record(worker.job, NO_OUTPUT, Identity(worker.job.seq, "boot", "1"))
        self._put(worker, is_identified=True)

    def _obey(self, worker: Worker) -> None:
        assert worker.job
        command = (worker.job.seq, worker.job.last_attempt, "command")
        if command not in self.state.processes:  # A rescuer ended it.
            self._end(worker, Outcome("signal", 9))
            return
        asked = self.store.asked(worker.job)
        self.change(stopped=self.state.stopped - {_attempt(worker.job)})
        if asked == "suspended":
            self.change(stopped=self.state.stopped | {_attempt(worker.job)})
        kind = END_FOR.get(asked)
        if kind:
            self._end(worker, Outcome(kind))

    def _end(self, worker: Worker, outcome: Outcome) -> None:
        """The command ends; it may have left something running."""
        assert worker.job
        command = (worker.job.seq, worker.job.last_attempt, "command")
        processes = self.state.processes - {command}
        if self.may("leave") and command in self.state.processes:
            self.spend("leave")
            processes |= {(*command[:2], "leftover")}
        self.change(processes=processes)
        self._put(worker, place="ended", outcome=outcome)

    def _settle(self, worker: Worker) -> None:
        job, outcome = worker.job, worker.outcome
        assert job and outcome
        verdict = judge(job, outcome, self.state.clock)
        _, claim = self.store.settle_and_claim(job, outcome, verdict, NO_OUTPUT, None)
        self._take(worker, claim)

    def _leave(self, worker: Worker) -> None:
        self.store.unregister(worker.id)
        self._put(worker, place="gone", job=None)

    def _kill(self, worker: Worker) -> None:
        self.spend("kill")
        self._put(worker, place="gone", job=None, outcome=None)

    def _mistake(self, worker: Worker) -> None:
        self.spend("mistake")
        self._put(worker, is_mistaken=True)

    # --- processes --------------------------------------------------------------------------------

    def _processes_of(self, job: Job | None) -> frozenset[tuple[int, int, str]]:
        if job is None:
            return frozenset()
        return frozenset(each for each in self.state.processes if each[:2] == (job.seq, job.last_attempt))

    def end_processes(self, job: Job) -> None:
        self.change(processes=self.state.processes - self._processes_of(job))
        self.change(stopped=self.state.stopped - {_attempt(job)})

    # --- rescuers ---------------------------------------------------------------------------------

    def _of_rescuer(self, index: int, rescuer: Rescuer) -> list[Step]:
        name = f"rescuer {index + 1}"
        if rescuer.phases:
            steps: list[Step] = [
                (f"{name}: {rescuer.phases[0]} {rescuer.worker}", functools.partial(self._rescue, index, rescuer))
            ]
            if self.may("kill"):
                steps.append((f"{name}: is killed", functools.partial(self._kill_rescuer, index)))
            return steps
        return [
            (f"{name}: finds {id} gone", functools.partial(self._find_gone, index, id)) for id in self._gone()
        ]

    def _gone(self) -> list[int]:
        live = {each.id for each in self.state.workers if each.place != "gone" and not each.is_mistaken}
        rows = {row.id for row in self.store.workers()} | {id for id, _ in self.store.holders()}
        return sorted(rows - live)

    def _set_rescuer(self, index: int, rescuer: Rescuer) -> None:
        rescuers = list(self.state.rescuers)
        rescuers[index] = rescuer
        self.change(rescuers=tuple(rescuers))

    def _find_gone(self, index: int, id: int) -> None:
        self._set_rescuer(index, Rescuer(id, tuple(self.store.lost_attempts([id])), self.rescue_phases))

    def _kill_rescuer(self, index: int) -> None:
        self.spend("kill")
        self._set_rescuer(index, Rescuer())

    def _rescue(self, index: int, rescuer: Rescuer) -> None:
        phase, *rest = rescuer.phases
        for lost in rescuer.lost:
            if phase == "end":
                self.end_processes(lost.job)
            elif phase == "settle":
                outcome = Outcome("lost")
                self.store.settle(lost.job, outcome, judge(lost.job, outcome, self.state.clock))
        if phase == "unregister":
            self.store.unregister(rescuer.worker)
        self._set_rescuer(index, rescuer._replace(phases=tuple(rest)) if rest else Rescuer())

    # --- clients ----------------------------------------------------------------------------------

    def enqueue(self, id: str, **fields: Any) -> None:
        spec: NewJob = new_job({"id": id, "command": "true", **fields}, self.state.clock)
        self.change(acknowledged=self.state.acknowledged | set(self.store.enqueue([spec])))

    def cancel(self, id: str) -> None:
        job = self.store.cancel(id)
        self.change(cancelled=self.state.cancelled | {(id, job.last_attempt)})

    def suspend(self, id: str) -> None:
        self.store.suspend(id)

    def continue_(self, id: str) -> None:
        self.store.continue_(id)

    def revive(self, id: str) -> None:
        self.store.revive(id)
        self._forget_cancel({id})

    def delete(self, ids: list[str]) -> None:
        """Jobs were deleted on request."""
        self.change(acknowledged=self.state.acknowledged - set(ids))
        self._forget_cancel(set(ids))

    def _forget_cancel(self, ids: set[str]) -> None:
        self.change(cancelled=frozenset(each for each in self.state.cancelled if each[0] not in ids))


def _attempt(job: Job) -> tuple[int, int]:
    return job.seq, job.last_attempt
