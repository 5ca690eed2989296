"""What must hold after each step of the simulation, and at its end."""

from __future__ import annotations

import sqlite3
import time

from queuectl_core.lifecycle import Outcome
from tests.harness import _audit_rows

from .world import World

OPEN_ATTEMPTS = """
    SELECT 1 FROM queuectl_attempts AS attempt JOIN queuectl_jobs AS job ON job.seq = attempt.job
    WHERE outcome IS NULL AND NOT (state = 'processing' AND last_attempt = attempt)
"""
STILL_SUSPENDED = "SELECT 1 FROM queuectl_jobs WHERE suspend = 1 AND state <> 'processing'"


def require(kept: bool, broken: str) -> None:
    """Raise AssertionError unless a promise is kept. Unlike `assert`, also under -O."""
    if not kept:
        raise AssertionError(broken)


def check(world: World, thoroughly: bool = True) -> None:
    """Raise AssertionError if a promise is broken in the world's present state."""
    state = world.state
    rows = world.store._rows("SELECT seq, id, state, attempts, last_attempt, max_retries FROM queuectl_jobs")
    by_id = {row[1]: row for row in rows}
    by_seq = {row[0]: row for row in rows}
    lost = state.acknowledged - by_id.keys()
    require(not lost, f"acknowledged jobs are lost: {sorted(lost)}")
    attempts = {(job, attempt) for job, attempt, _ in state.processes}
    require(len(attempts) == len({job for job, _ in attempts}), f"attempts overlap: {sorted(attempts)}")
    for seq, attempt in attempts:
        _, id, job_state, _, last_attempt, _ = by_seq[seq]
        require(
            (job_state, last_attempt) == ("processing", attempt),
            f"attempt {attempt} of {id} still runs, but the job is {job_state} after attempt {last_attempt}",
        )
    for id, last_attempt in state.cancelled:
        require(by_id[id][4] <= last_attempt, f"{id} started again after its cancel was acknowledged")
        require(by_id[id][2] not in ("pending", "failed"), f"{id} can run again though its cancel was acknowledged")
    for _, id, _, tries, _, max_retries in rows:
        require(tries <= max_retries + 1, f"{id} is in attempt {tries}, with {max_retries} retries")
    live = {worker.id for worker in state.workers if worker.place in ("claimed", "running", "ended")}
    rowless = [id for id, row in world.store.holders() if row is None and id in live]
    require(not rowless, f"worker without a row holds a job: {rowless}")
    require(not world.store._rows(STILL_SUSPENDED), "a job that doesn't run is suspended")
    require(not world.store._rows(OPEN_ATTEMPTS), "an attempt that its job is no longer in has no outcome")
    if thoroughly:
        audit(world)


def audit(world: World) -> None:
    """The audit of the other tests, without its look at real processes."""
    world.db.row_factory = sqlite3.Row
    try:
        _audit_rows(world.db, world.state.acknowledged)
    finally:
        world.db.row_factory = None


def finish(world: World) -> None:
    """Let time pass and a fresh worker run, with every command succeeding; then nothing may be left to do."""
    world.outcomes = (Outcome("exit", 0),)
    # The schema's triggers know only the real time.
    world.change(left=(), clock=max(world.state.clock, time.time()))
    world.store.resume(None)
    world.start_worker()
    for _ in range(200 * (1 + len(world.state.acknowledged))):
        if not world.store._rows(
            "SELECT 1 FROM queuectl_jobs WHERE state = 'processing' OR ready IS NOT NULL LIMIT 1"
        ):
            break
        world.change(clock=world.state.clock + 10)
        for id in world.store.running_ids(suspended=True):
            world.store.continue_(id)
        require(not world.store.running_ids(suspended=True), "a job is still suspended though it may continue")
        for label, step in world.steps():
            if not label.endswith("obey"):
                step()
                check(world, thoroughly=False)
                break
        _rotate(world)
    else:
        raise AssertionError("with a fresh worker and time, jobs remain that can run")
    waiting = world.store._rows("""
        SELECT id FROM queuectl_jobs AS job WHERE state IN ('pending', 'failed') AND NOT EXISTS
            (SELECT 1 FROM queuectl_dependencies WHERE job = seq AND met = 0)
    """)
    require(not waiting, f"jobs remain that nothing holds up: {waiting}")
    check(world)


def _rotate(world: World) -> None:
    """Give each worker its turn; with an idle rescuer, rescue first."""
    state = world.state
    for index in range(len(state.rescuers)):
        steps = world._of_rescuer(index, world.state.rescuers[index])
        if steps:
            steps[0][1]()
            check(world, thoroughly=False)
    world.change(workers=(*world.state.workers[1:], world.state.workers[0]))
