"""Restart: a supervisor executes the program that is now at its path, in the same process.

So it keeps its PID, its terminal, its children, and its place under systemd or as PID 1 of a container. Its state goes
through a pipe: the jobs' environment may contain secrets, which must not end up in a file, an argument or the
environment of anything but a job.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess

from ..program.sources import program
from ..typed import NamedTuple
from .worker_process import PATIENCE, STOP_SIGNALS, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .log import Log

RESTART_SIGNAL = signal.SIGUSR2


class State(NamedTuple):
    """The state of a supervisor. `workers` are PIDs, and `numbers` those of their pages; `ended` are workers that
    died just now, as (PID, number, status). `lock` and `pages` are descriptors; the rest is as in Supervisor.
    """

    plan: Plan
    id: int | None
    began: float
    verbose: bool
    signals: int
    passed_on: int
    workers: list[int]
    lock: int = -1
    numbers: Sequence[int] = ()
    ended: Sequence[tuple[int, int, int]] = ()
    pages: int = -1
    spared: Sequence[tuple[int, str]] = ()
    held: Sequence[int] = ()


def become(take_state: Callable[[], State], log: Log) -> None:
    """Execute the program that is now at our path. Returns only if that fails.

    Calls `take_state` once signals are blocked.
    """
    command = program()
    null = subprocess.DEVNULL
    try:
        # A program that is half copied, or too new for this Python, must not end the fleet.
        if subprocess.call([*command, "--version"], stdin=null, stdout=null, stderr=null, timeout=PATIENCE):
            log(f"cannot restart: {' '.join(command)} --version failed")
            return
        log("restart")
        # Signals wait until the new code has handlers for them. From here on the state is final.
        signal.pthread_sigmask(signal.SIG_BLOCK, (*STOP_SIGNALS, RESTART_SIGNAL))
        state = take_state()
        reader = _send(state)
        for fd in (state.lock, state.pages):
            if fd >= 0:
                os.set_inheritable(fd, True)
        os.execv(command[0], [*command, "worker", "start", "--take-over", str(reader)])
    except (OSError, subprocess.TimeoutExpired) as error:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*STOP_SIGNALS, RESTART_SIGNAL))
        log(f"cannot restart: {error}")


def _send(state: State) -> int:
    """A descriptor from which the new code can read `state`, as JSON.

    Never rename or remove a field: the reader is a different version.
    """
    fields = {**state.plan._asdict(), **state._asdict()}
    del fields["plan"]
    fields["environment"] = {
        os.fsdecode(name): os.fsdecode(value) for name, value in state.plan.environment.items()
    }
    reader, writer = os.pipe()
    if os.fork() == 0:  # A pipe holds only 64 KiB, so a child feeds it.
        os.close(reader)
        try:
            with os.fdopen(writer, "w") as file:
                json.dump(fields, file)
        finally:
            os._exit(0)
    os.close(writer)
    os.set_inheritable(reader, True)
    return reader


def receive(fd: int, version: str) -> State:
    """The state sent by the code that ran in this process before us. `version` is our code's."""
    with os.fdopen(fd) as file:
        fields = json.load(file)
    environment = {os.fsencode(name): os.fsencode(value) for name, value in fields["environment"].items()}
    for name in ("lock", "pages"):
        if fields.get(name, -1) >= 0:
            os.set_inheritable(fields[name], False)
    # A field that the sender doesn't know needs a default.
    timeout = fields.get("stop_timeout")
    plan = Plan(fields["path"], fields["size"], fields["queues"], fields["drain"], environment, version, timeout)
    return State(plan, **{name: fields[name] for name in State._fields if name in fields})
