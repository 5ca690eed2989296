"""How the simulation chooses its steps: all of them (`explore`), or random ones (`wander`)."""

from __future__ import annotations

import functools
import random
from contextlib import closing
from typing import Any

from queuectl_core.errors import Refused
from queuectl_core.lifecycle import Outcome

from .checks import check, finish
from .world import Step, World

SUCCESS, FAILURE, NOT_NOW, CRASH = Outcome("exit", 0), Outcome("exit", 1), Outcome("exit", 75), Outcome("signal", 11)
OUTCOMES = (SUCCESS, FAILURE, NOT_NOW, CRASH)
RARE = {"kill": 30, "mistake": 10, "leave": 30, "identify": 10**6}  # In one random run.
LENGTH = 400  # Steps of one random run.


class Broken(AssertionError):
    """A promise was broken; the message lists the steps that led to it."""

    def __init__(self, problem: object, steps: list[str]) -> None:
        super().__init__("\n".join([f"{problem}; after these steps:", *(f"  {step}" for step in steps)]))


# --- all steps ------------------------------------------------------------------------------------

ROWS = (
    "SELECT state, ready, worker, attempts, last_attempt, cancel, suspend, deferrals, exit_code, error"
    " FROM queuectl_jobs",
    "SELECT job, attempt, worker, outcome, exit_code FROM queuectl_attempts",
    "SELECT id, wanted, idle FROM queuectl_workers",
)


def explore(path: str, client: tuple[str, ...], left: dict[str, int], phases: tuple[str, ...] = ()) -> int:
    """Visit each state of two workers, a rescuer, one job and a client that does these things in order.

    Returns the number of states. Raises Broken.
    """
    world = World(path, 2, 1, (SUCCESS, FAILURE), left)
    world.rescue_phases = phases or world.rescue_phases
    world.enqueue("job", max_retries=1, backoff_base=0)
    seen: set[Any] = set()
    with closing(world.db):
        # A transaction around everything: the store's own become savepoints in it.
        world.db.execute("BEGIN")
        _visit(world, client, seen, [])
    return len(seen)


def _visit(world: World, client: tuple[str, ...], seen: set[Any], path: list[str]) -> None:
    rows = tuple(tuple(world.db.execute(query).fetchall()) for query in ROWS)
    key = (rows, world.state, client)
    if key in seen:
        return
    seen.add(key)
    try:
        check(world, thoroughly=len(seen) % 25 == 0)
    except AssertionError as problem:
        raise Broken(problem, path) from None
    here = world.state
    level = f"level{len(path)}"
    if len(seen) % 50 == 1:
        _check_end(world, path)
    steps = world.steps()
    if client:
        steps.append((f"client: {client[0]}", functools.partial(_client, world, client[0])))
    for label, step in steps:
        world.db.execute(f"SAVEPOINT {level}")
        step()
        _visit(world, client[1:] if label.startswith("client") else client, seen, [*path, label])
        world.db.execute(f"ROLLBACK TO {level}")
        world.db.execute(f"RELEASE {level}")
        world.state = here


def _check_end(world: World, path: list[str]) -> None:
    """Whether all can finish from here. Leaves the world as it was."""
    here, outcomes = world.state, world.outcomes
    world.db.execute("SAVEPOINT finish")
    try:
        finish(world)
    except AssertionError as problem:
        raise Broken(problem, path) from None
    world.db.execute("ROLLBACK TO finish")
    world.db.execute("RELEASE finish")
    world.state, world.outcomes = here, outcomes


def _client(world: World, action: str) -> None:
    try:
        if action in ("stop", "stop-now"):
            world.store.want([1], action)
        else:
            getattr(world, action)("job")
    except Refused:
        pass


# --- random steps ---------------------------------------------------------------------------------


def wander(path: str, seed: int, phases: tuple[str, ...] = ()) -> None:
    """One random run, then its end; `seed` determines every step. Raises Broken."""
    chance = random.Random(seed)
    world = World(path, 3, 2, OUTCOMES, RARE)
    world.rescue_phases = phases or world.rescue_phases
    steps: list[str] = []
    try:
        for number in range(LENGTH):
            label, step = _choose(world, chance, number)
            steps.append(label)
            try:
                step()
            except Refused:
                pass
            check(world, thoroughly=number % 20 == 0)
        steps.append("(the end: a fresh worker, and time)")
        finish(world)
    except Exception as problem:
        raise Broken(f"seed {seed}: {problem!r}", steps) from problem
    finally:
        world.db.close()


def _choose(world: World, chance: random.Random, number: int) -> Step:
    kind = chance.random()
    if kind < 0.7:
        steps = world.steps()
        common = [step for step in steps if "is killed" not in step[0] and "taken for" not in step[0]]
        steps = steps if chance.random() < 0.15 else common
        if steps:
            return chance.choice(steps)
    if kind < 0.75:
        seconds = chance.choice((0.5, 3, 60))
        return f"{seconds} s pass", lambda: world.change(clock=world.state.clock + seconds)
    return _outsider(world, chance, number)


def _outsider(world: World, chance: random.Random, number: int) -> Step:
    """Something that a client or an operator does."""
    store, ids = world.store, sorted(world.state.acknowledged)
    live = [worker.id for worker in world.state.workers if worker.place != "gone"]
    if len(live) < 2:
        return "start a worker", world.start_worker
    kinds = "enqueue cancel revive edit delete pause resume stop config suspend continue_".split()
    kind = chance.choice(kinds)
    if kind == "enqueue" or not ids:
        after = (chance.choice(ids),) if ids and chance.random() < 0.3 else None
        fields = {"max_retries": chance.choice((0, 1, 3)), "queue": chance.choice("ab")}
        if after:
            fields["after"] = list(after)
        return f"enqueue j{number} {fields}", lambda: world.enqueue(f"j{number}", **fields)
    id = chance.choice(ids)
    if kind in ("suspend", "continue_"):
        running = store.running_ids(suspended=kind == "continue_")
        id = chance.choice(running) if running else id
    if kind in ("cancel", "revive", "suspend", "continue_"):
        return f"{kind} {id}", lambda: getattr(world, kind)(id)
    if kind == "edit":
        priority = chance.randrange(3)
        return f"edit {id}: priority {priority}", lambda: store.edit(id, {"priority": priority})
    if kind == "delete":
        state = chance.choice(("completed", "cancelled", "dead"))
        if chance.random() < 0.5:
            return f"purge {id}", lambda: world.delete([store.purge(id)])
        return f"prune one {state}", lambda: world.delete(store.prune(state, world.state.clock, limit=1))
    if kind == "config":
        limit = chance.choice((1, 2))
        return f"config a.limit {limit}", lambda: store.set_config("a.limit", limit)
    if kind == "stop":
        wanted = chance.choice(("stop", "stop-now"))
        worker = chance.choice(live)
        return f"{wanted} worker {worker}", lambda: store.want([worker], wanted)
    queue = chance.choice(("a", "b", None))
    return f"{kind} {queue or 'all'}", lambda: getattr(store, kind)(queue)
