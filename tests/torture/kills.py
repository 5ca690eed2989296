"""The killer: ends processes at random, and starts new ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import namedtuple

from queuectl_core.records import Worker
from queuectl_core.store import Store
from queuectl_core.workers.identity import birth
from tests.harness import PROGRAM, children

from .world import World

WORKERS = 4
CONTAINERS = 2  # At most.
UNSHARE = "unshare --pid --fork --kill-child --mount-proc".split()
# Runs the rest of its words with signals blocked (the first word) and ignored (the second).
INHERIT = """
import os, signal, sys
for number in eval(sys.argv[2]):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, eval(sys.argv[1]))
os.execv(sys.argv[3], sys.argv[3:])
"""
# As a careless parent, nohup or a background job of a script would leave them.
INHERITED = (
    ("[signal.SIGCHLD]", "[]"),
    ("signal.valid_signals()", "[]"),
    ("[]", "[signal.SIGHUP]"),
    ("[]", "[signal.SIGCHLD]"),
    ("[]", "[signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE]"),
    ("signal.valid_signals()", "[signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR2]"),
)

Kill = namedtuple("Kill", "worker at who_recovers")


class Killer:
    """`kills` are the SIGKILLs of workers, to time their recovery."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.choose = world.random("killer")
        self.kills: list[Kill] = []
        self.has_containers = _can_unshare()
        self._containers: list[subprocess.Popen[bytes]] = []

    def run(self) -> None:
        """Kill until the run is over."""
        while not self.world.is_over.wait(self.choose.uniform(0.05, 0.6)):
            self.act(self.fleet())

    def fleet(self) -> list[Worker]:
        """The rows of running processes of this PID namespace."""
        with Store(self.world.db) as store:
            return [row for row in store.workers() if birth(row.pid) == row.identity.birth]

    def act(self, rows: list[Worker]) -> None:
        """Kill, stop or start something."""
        self._containers = [container for container in self._containers if container.poll() is None]
        workers = [row for row in rows if row.role == "worker"]
        supervisors = {row.id: row for row in rows if row.role == "supervisor"}
        what = self.choose.random()
        if len(workers) < 2 or not supervisors:
            self.start()
        elif what < 0.04:
            self.kill_everything(rows)
            self.start()
        elif what < 0.06:
            self.restore(rows)
        elif what < 0.15:
            self._kill(self.choose.choice(list(supervisors.values())), "supervisors killed")
        elif what < 0.25:
            self.stop_for_a_while(self.choose.choice(workers))
        elif what < 0.35 and self.has_containers:
            self.use_container()
        else:
            victim = self.choose.choice(workers)
            who = "the supervisor" if victim.supervisor in supervisors else "other workers"
            self._kill(victim, "workers killed")
            self.kills.append(Kill(victim.id, time.time(), who))

    def _kill(self, row: Worker, what: str) -> None:
        self.world.step(f"kill {row.role} {row.id}, pid {row.pid}")
        try:
            os.kill(row.pid, signal.SIGKILL)
            self.world.count(what)
        except ProcessLookupError:
            pass

    def kill_everything(self, rows: list[Worker]) -> None:
        """Kill all fleets at once, as a crash of the machine would."""
        for row in rows:
            self._kill(row, "killed with everything")
        for container in self._containers:
            self._kill_container(container)
        self.world.count("times everything was killed")
        now = time.time()
        self.kills += [Kill(row.id, now, "the next start") for row in rows if row.role == "worker"]

    def stop_for_a_while(self, row: Worker) -> None:
        """SIGSTOP a worker, which isn't dead."""
        try:
            self.world.step(f"stop worker {row.id}, pid {row.pid}")
            os.kill(row.pid, signal.SIGSTOP)
            self.world.is_over.wait(self.choose.uniform(0.1, 3))
            os.kill(row.pid, signal.SIGCONT)
            self.world.count("workers stopped for a while")
        except ProcessLookupError:
            pass

    def restore(self, rows: list[Worker]) -> None:
        """Crash, and put a backup of the crashed queue in its place. The clients wait, so nothing is newer."""
        with self.world.gate.closed():
            self.kill_everything(rows)
            self.world.run("backup", "--force", "backup.db")
            self.world.run("restore", "--force", "backup.db")
            self.world.count("restores")
        self.start()

    def start(self) -> None:
        """Start a fleet, perhaps with an inherited signal mask."""
        prefix = self._inherited()
        self.world.run_under(prefix, "worker", "start", "-c", str(self.choose.randint(1, WORKERS)))

    def _inherited(self) -> list[str]:
        if self.choose.random() < 0.6:
            return []
        blocked, ignored = self.choose.choice(INHERITED)
        self.world.step(f"inherit: blocked {blocked}, ignored {ignored}")
        self.world.count("starts with blocked or ignored signals")
        return [sys.executable, "-S", "-c", INHERIT, blocked, ignored]

    # --- containers ------------------------------------------------------------------------------

    def use_container(self) -> None:
        """Start a fleet in a PID namespace; or kill one, or one of its workers."""
        if len(self._containers) < CONTAINERS:
            self._start_container()
            return
        container = self.choose.choice(self._containers)
        workers = [pid for init in children(container.pid) for pid in children(init)]
        if not workers or self.choose.random() < 0.4:
            self._kill_container(container)
            return
        pid = self.choose.choice(workers)
        self.world.step(f"kill pid {pid} in container {container.pid}")
        try:
            os.kill(pid, signal.SIGKILL)
            self.world.count("workers killed in containers")
        except ProcessLookupError:
            pass

    def _start_container(self) -> None:
        words = [sys.executable, PROGRAM, "worker", "start", "--foreground", "-c", str(self.choose.randint(1, 2))]
        container = subprocess.Popen(
            [*self._inherited(), *_unshare(), *words],
            env=self.world.environment,
            cwd=self.world.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.world.step(f"container {container.pid}")
        self.world.count("containers started")
        self._containers.append(container)

    def _kill_container(self, container: subprocess.Popen[bytes]) -> None:
        self.world.step(f"kill container {container.pid}")
        for pid in children(container.pid):  # Its PID 1, which takes the rest with it.
            os.kill(pid, signal.SIGKILL)
        container.kill()
        container.wait()
        self.world.count("containers killed")


def _unshare() -> list[str]:
    return ["/usr/bin/env", *UNSHARE]


def _can_unshare() -> bool:
    try:
        return subprocess.run([*_unshare(), "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False
