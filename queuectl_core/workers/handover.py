"""Restart: a supervisor becomes the program that is now in its place, in the same process.

So its PID, its terminal, its children and its place in systemd or as PID 1 of a container stay. What it knows goes
through a pipe: the jobs' environment may contain secrets, which belong in no file, argument or environment but a job's.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess

from ..program.sources import program
from ..typed import NamedTuple
from .worker_process import STOP_SIGNALS, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .log import Log

RESTART_SIGNAL = signal.SIGUSR2


class State(NamedTuple):
    """What a supervisor knows. `workers` are PIDs; the rest is as in Supervisor."""

    plan: Plan
    id: int | None
    began: float
    verbose: bool
    signals: int
    passed_on: int
    workers: list[int]


def become(take_state: Callable[[], State], log: Log) -> None:
    """Execute the program that is now in our place. Returns only if that isn't possible."""
    command = program()
    null = subprocess.DEVNULL
    try:
        # It might be half copied, or too new for this Python, and that must not end the fleet.
        if subprocess.call([*command, "--version"], stdin=null, stdout=null, stderr=null):
            log(f"no restart: {' '.join(command)} does not run")
            return
        log("restart")
        # Signals wait until the new code has handlers for them. Only now is the state final.
        signal.pthread_sigmask(signal.SIG_BLOCK, (*STOP_SIGNALS, RESTART_SIGNAL))
        reader = _send(take_state())
        os.execv(command[0], [*command, "worker", "start", "--take-over", str(reader)])
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*STOP_SIGNALS, RESTART_SIGNAL))
        log(f"no restart: {error}")


def _send(state: State) -> int:
    """A descriptor from which the new code can read `state`, as JSON.

    Fields may be added here, but never renamed: the reader is another version.
    """
    known = {**state.plan._asdict(), **state._asdict()}
    del known["plan"]
    known["environment"] = {
        os.fsdecode(name): os.fsdecode(value) for name, value in state.plan.environment.items()
    }
    reader, writer = os.pipe()
    if os.fork() == 0:  # A pipe holds 64 KiB; a child feeds it the rest.
        os.close(reader)
        try:
            with os.fdopen(writer, "w") as file:
                json.dump(known, file)
        finally:
            os._exit(0)
    os.close(writer)
    os.set_inheritable(reader, True)
    return reader


def receive(fd: int, version: str) -> State:
    """What the code that ran before us in this process knew; `version` is that of our code."""
    with os.fdopen(fd) as file:
        known = json.load(file)
    environment = {os.fsencode(name): os.fsencode(value) for name, value in known["environment"].items()}
    plan = Plan(known["path"], known["size"], known["queues"], known["drain"], environment, version)
    return State(plan, **{name: known[name] for name in State._fields if name != "plan"})
