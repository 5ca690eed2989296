"""The end of a run: everything must finish, and then the queue must be as the model says."""

from __future__ import annotations

import os

from queuectl_core.jobspec import variables
from queuectl_core.lifecycle import FINISHED
from queuectl_core.store import Store
from queuectl_core.values import moment
from tests.harness import audit, wait_until

from .jobs import FOREIGN, TICK, TICKS, allowed_ends
from .kills import WORKERS, Kill
from .world import World

LONGEST_END = 120  # Seconds in which everything must finish once the killing stops.
SIGKILLS = ("workers killed", "supervisors killed", "killed with everything", "workers killed in containers",
            "containers killed", "clients killed")  # fmt: skip
SHOWN_PROBLEMS, SHOWN_STEPS = 20, 40  # Lines.


def finish(world: World) -> None:
    """Let everything finish that can, then stop. Raises AssertionError."""
    world.run("resume")
    world.run("schedule", "pause", TICKS)
    world.run("continue", "--all")
    world.run("worker", "start", "-c", str(WORKERS))
    with Store(world.db) as store:
        wait_until(
            lambda: not store.unfinished_ids(), LONGEST_END, lambda: f"never finished: {store.unfinished_ids()[:10]}"
        )
    world.run("worker", "stop")
    wait_until(lambda: not world.left(), 20, lambda: f"left running: {world.left()}")


def check(world: World) -> None:
    """Compare the queue with the model. Raises AssertionError, or adds to the problems."""
    kept = {id: kind for id, kind in world.acknowledged.items() if id not in world.pruned}
    audit(world.db, kept)
    ran = set(_lines(world, "ran"))
    with Store(world.db) as store:
        check_ticks(store, world)
        jobs = {job.id: job for job in store.get_many(list(kept))}
        for id, kind in kept.items():
            job = jobs[id]
            allowed = allowed_ends(kind)
            if id in world.cancelled:
                allowed = FINISHED
            elif kind != FOREIGN and store.attempts(job)[-1].outcome == "lost":
                allowed = ("dead",)
            if job.state not in allowed:
                world.problem(f"{id!r}, {kind}, ended {job.state}: {job.error}")
            if job.state == "completed" and kind != FOREIGN and id not in ran:
                world.problem(f"{id}, {kind}, completed without running")


def check_ticks(store: Store, world: World) -> None:
    """Whether a schedule that makes up for missed times has exactly one job for each time."""
    jobs = [job for job in store.oldest_first() if job.queue == TICKS]
    times = [moment(variables(job.env)["QUEUECTL_SCHEDULED_AT"], "time", 0) for job in jobs]
    world.count("times of a schedule", len(times))
    if times != [times[0] + TICK * number for number in range(len(times))]:
        world.problem(f"a schedule was due at {times}")


def report(world: World, kills: list[Kill]) -> bool:
    """Print the figures and the problems; returns whether all is well."""
    with Store(world.db) as store:
        attempts = store._rows("SELECT worker, outcome, finished_at FROM queuectl_attempts")
        there = {job.id for job in store.get_many(list(world.acknowledged))}
    lost = set(world.acknowledged) - there - world.pruned
    overlapping = _lines(world, "overlaps")
    _print("jobs acknowledged", len(world.acknowledged))
    _print("jobs pruned", len(world.pruned))
    for what, number in sorted(world.counts.items()):
        _print(what, number)
    killed = sum(number for what, number in world.counts.items() if what in SIGKILLS)
    _print("SIGKILLs", f"{killed}, {killed / world.minutes():.0f} per minute")
    rescued = sum(outcome == "lost" for _, outcome, _ in attempts)
    _print("attempts (of jobs not pruned)", f"{len(attempts)}, of which lost with their workers and rescued: {rescued}")
    for who in ("the supervisor", "other workers", "the next start"):
        times = sorted(
            finished - kill.at
            for kill in kills
            for worker, outcome, finished in attempts
            if kill.who_recovers == who and worker == kill.worker and outcome == "lost" and finished
        )
        if times:
            median, longest = times[len(times) // 2], times[-1]
            _print(f"rescued by {who}", f"{len(times)} times, in {median:.3f} s (median), {longest:.3f} s (longest)")
    _print("lost", len(lost))
    _print("overlapping", len(overlapping))
    for problem in world.problems[:SHOWN_PROBLEMS]:
        print(f"wrong: {problem}")
    return not (lost or overlapping or world.problems)


def show_steps(world: World) -> None:
    """Print how to repeat a failed run, and what it did last."""
    print(f"\nThe last steps of seed {world.seed}:")
    for line in world.last_steps(SHOWN_STEPS):
        print(f"{line:.300}")
    print(f"kept: {world.folder} (all steps are in {os.path.join(world.folder, 'steps')})")


def _lines(world: World, name: str) -> list[str]:
    try:
        with open(os.path.join(world.folder, name)) as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def _print(what: str, value: object) -> None:
    print(f"{what:40}{value}")
