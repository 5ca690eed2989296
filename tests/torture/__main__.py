"""Random commands from several processes, and random SIGKILLs, against a model of the lifecycle.

    python3 -m tests.torture --seconds 60 [--seed 7]

Clients enqueue, list, cancel, retry and pause, and are sometimes killed themselves. A killer ends workers, supervisors
or everything, stops workers for a while, and starts new ones. At the end everything may finish, and then:

    lost         each id that an enqueue printed exists, and finished as its kind of job must;
    overlapping  each attempt takes a lock that all of its processes inherit, including those that
                 escaped; an attempt that finds it held says so;
    audit        everything that tests.harness.audit checks.

A seed repeats the choices, but not their timing. A recovery is timed from the SIGKILL (or, if no process was left to
notice it, from the next `worker start`) until the database shows the lost attempt as settled. Exits 1 on any failure.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import namedtuple

from queuectl_core.lifecycle import FINISHED
from queuectl_core.store import Store
from queuectl_core.workers.identity import birth
from tests.harness import MARK, PROGRAM, audit, processes_with, wait_until

CLIENTS = 3
WORKERS = 4
LONG = 60  # A run of at least this many seconds starts with a crowd.
LONGEST_COMMAND = 70  # seconds
LARGEST_BACKLOG = 300  # Jobs. Workers that are constantly killed can't finish more within LONGEST_END.
LONGEST_END = 120  # Seconds in which everything must finish once the killing stops.
LOCKED = "exec 9>>locks/$QUEUECTL_JOB_ID; flock -n 9 || echo $QUEUECTL_JOB_ID >>overlaps; "

# What a job does, and the states in which it may end unless it is cancelled. A job whose worker is lost once too often
# may always end dead.
KINDS = {
    "quick": ("true", ("completed",)),
    "slow": ("sleep 0.3", ("completed",)),
    "loud": ("head -c 300000 /dev/zero", ("completed",)),
    "failing": ("exit 3", ("dead",)),
    "flaky": ("[ -e flag.$QUEUECTL_JOB_ID ] || { touch flag.$QUEUECTL_JOB_ID; exit 1; }", ("completed",)),
    "killer": ("kill -9 $PPID; sleep 60", ("dead",)),
    "stubborn": ("trap '' TERM; sleep 0.2", ("completed",)),
    # They hold the lock until the worker ends their group, or a rescuer ends them.
    "parent": ("sleep 60 & sleep 0.2", ("completed",)),
    "escaping": ("setsid sleep 0.5 & sleep 0.2; kill -9 $PPID; sleep 60", ("dead",)),
}
# Jobs that kill their workers are rare: supervisors slow down fleets whose workers die young.
WEIGHTS = [1 if kind in ("killer", "escaping") else 20 for kind in KINDS]

Kill = namedtuple("Kill", "worker at who_recovers")


class Torture:
    def __init__(self, folder: str, seed: int) -> None:
        self.folder = folder
        self.db = os.path.join(folder, "q.db")
        self.environment = dict(os.environ, QUEUECTL_DB=self.db, HOME=folder)
        self.environment[MARK] = folder
        self.seed = seed
        self.is_over = threading.Event()
        self.lock = threading.Lock()
        self.acknowledged: dict = {}  # id to kind
        self.cancelled: set = set()
        self.problems: list = []
        # A thread that dies, such as the killer, must not make the run look easy.
        threading.excepthook = lambda failed: self.problems.append(f"{failed.thread}: {failed.exc_value!r}")
        self.commands = 0
        self.signals = dict.fromkeys(("workers", "supervisors", "everything", "clients", "stopped"), 0)
        self.kills: list = []
        os.mkdir(os.path.join(folder, "locks"))

    # --- commands --------------------------------------------------------------------------------

    def run(self, *words: str, input: bytes = b"", kill_after: float | None = None) -> bytes:
        """Run a command, killing it after `kill_after` seconds; returns its stdout."""
        process = subprocess.Popen(
            [sys.executable, PROGRAM, *words],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        killer = threading.Timer(kill_after or LONGEST_COMMAND, process.kill)
        killer.start()
        try:
            stdout, stderr = process.communicate(input)
        finally:
            killer.cancel()
        with self.lock:
            self.commands += 1
            if process.returncode == -signal.SIGKILL:
                if kill_after is None:
                    self.problems.append("did not end: {}".format(" ".join(words)))
                self.signals["clients"] += kill_after is not None
            # 1 is fine: the job is gone, or in another state by now.
            elif process.returncode not in (0, 1, 124) or b"Traceback" in stderr:
                self.problems.append("%s: exit %d: %.500r" % (" ".join(words), process.returncode, stderr))
        return stdout

    def enqueue(self, choose: random.Random) -> None:
        with Store(self.db) as store:
            if len(store.unfinished_ids()) > LARGEST_BACKLOG:
                self.act(choose)
                return
        kinds = choose.choices(list(KINDS), WEIGHTS, k=choose.choice((1, 1, 1, 5, 20)))
        lines = [json.dumps(self.job(kind, choose)) for kind in kinds]
        kill_after = choose.uniform(0.03, 0.15) if choose.random() < 0.1 else None
        printed = self.run("enqueue", "-", input="\n".join(lines).encode() + b"\n", kill_after=kill_after)
        # Whole lines are acknowledged ids, even if the command was killed afterwards.
        with self.lock:
            self.acknowledged.update(zip(printed.decode().split("\n")[:-1], kinds))

    def job(self, kind: str, choose: random.Random) -> dict:
        number = choose.randrange(3)
        job = {"command": LOCKED + KINDS[kind][0], "queue": choose.choice("abc"), "priority": number}
        return {**job, "max_retries": 1} if kind in ("killer", "escaping") else job

    def act(self, choose: random.Random) -> None:
        verb = choose.choice("cancel retry dlq pause resume look look look logs wait".split())
        with self.lock:
            id = choose.choice(list(self.acknowledged)) if self.acknowledged else "none"
        if verb == "cancel":
            with self.lock:
                self.cancelled.add(id)
            self.run("cancel", id)
        elif verb == "retry":
            self.run("retry", id)
        elif verb == "dlq":
            self.run("dlq", "retry", "--all")
        elif verb in ("pause", "resume"):
            self.run(verb, choose.choice("abc"))
        elif verb == "logs":
            self.run("logs", id)
        elif verb == "wait":
            self.run("wait", "--timeout", "0.2")
        else:
            looks = (["status", "--json"], ["list"], ["worker", "list"], ["dlq", "list", "--json"])
            self.run(*choose.choice(looks))

    def client(self, number: int) -> None:
        choose = random.Random(f"{self.seed} client {number}")
        while not self.is_over.is_set():
            if choose.random() < 0.5:
                self.enqueue(choose)
            else:
                self.act(choose)

    def crowd(self) -> None:
        """100 enqueuers, 20 readers and 16 workers at once, while a program holds the lock for 10 seconds.

        Among the jobs is one that prints 2 GiB.
        """
        self.run("worker", "start", "-c", "16")
        foreign = sqlite3.connect(self.db, isolation_level=None, check_same_thread=False)
        foreign.execute("BEGIN IMMEDIATE")
        release = threading.Timer(10, foreign.rollback)
        release.start()
        words = [["enqueue", LOCKED + KINDS["quick"][0]]] * 99
        words += [["enqueue", LOCKED + "head -c 2147483648 /dev/zero"], *[["list", "--json"]] * 20]
        printed: list = []
        threads = [
            threading.Thread(target=lambda words=words: printed.append(self.run(*words))) for words in words
        ]
        for thread in threads:
            thread.start()
        for thread in [*threads, release]:
            thread.join()
        foreign.close()
        ids = [out.decode().strip() for out in printed if out and not out.startswith(b"[")]
        self.acknowledged.update(dict.fromkeys(ids, "quick"))
        if len(ids) != 100:
            self.problems.append(f"{len(ids)} of 100 enqueues waited for the lock")
        self.run("wait", "--timeout", "60", *ids)
        self.run("worker", "stop")

    # --- kills -----------------------------------------------------------------------------------

    def fleet(self) -> list:
        """The rows of running processes."""
        with Store(self.db) as store:
            return [row for row in store.workers() if birth(row.pid) == row.identity.birth]

    def killer(self) -> None:
        choose = random.Random(f"{self.seed} killer")
        while not self.is_over.wait(choose.uniform(0.05, 0.6)):
            rows = self.fleet()
            workers = [row for row in rows if row.role == "worker"]
            supervisors = {row.id: row for row in rows if row.role == "supervisor"}
            what = choose.random()
            if len(workers) < 2 or not supervisors:
                self.start(choose)
            elif what < 0.05:
                self.kill_everything(rows)
                self.start(choose)
            elif what < 0.15:
                self.signals["supervisors"] += self.kill(choose.choice(list(supervisors.values())))
            elif what < 0.25:
                self.stop_for_a_while(choose.choice(workers), choose)
            else:
                victim = choose.choice(workers)
                who = "the supervisor" if victim.supervisor in supervisors else "other workers"
                self.signals["workers"] += self.kill(victim)
                self.kills.append(Kill(victim.id, time.time(), who))

    def kill(self, row) -> bool:
        try:
            os.kill(row.pid, signal.SIGKILL)
            return True
        except ProcessLookupError:
            return False

    def kill_everything(self, rows: list) -> None:
        for row in rows:
            self.kill(row)
        self.signals["everything"] += 1
        now = time.time()
        self.kills += [Kill(row.id, now, "the next start") for row in rows if row.role == "worker"]

    def stop_for_a_while(self, row, choose: random.Random) -> None:
        try:
            os.kill(row.pid, signal.SIGSTOP)
            self.is_over.wait(choose.uniform(0.1, 3))
            os.kill(row.pid, signal.SIGCONT)
            self.signals["stopped"] += 1
        except ProcessLookupError:
            pass

    def start(self, choose: random.Random) -> None:
        self.run("worker", "start", "-c", str(choose.randint(1, WORKERS)))

    # --- the whole -------------------------------------------------------------------------------

    def for_seconds(self, seconds: float) -> None:
        self.run("config", "set", "backoff-base", "0.2")
        self.run("config", "set", "backoff-max", "0.5")
        self.run("config", "set", "kill-grace", "0.3")
        self.run("config", "set", "max-retries", "5")
        if seconds >= LONG:
            self.crowd()
        threads = [threading.Thread(target=self.client, args=(number,)) for number in range(CLIENTS)]
        threads.append(threading.Thread(target=self.killer))
        for thread in threads:
            thread.start()
        self.is_over.wait(seconds)
        self.is_over.set()
        for thread in threads:
            thread.join()

    def finish(self) -> None:
        """Let everything finish that can, then stop."""
        self.run("resume")
        self.run("worker", "start", "-c", str(WORKERS))
        with Store(self.db) as store:
            wait_until(
                lambda: not store.unfinished_ids(),
                LONGEST_END,
                lambda: f"never finished: {store.unfinished_ids()[:10]}",
            )
        self.run("worker", "stop")
        wait_until(lambda: not self.left(), 20, lambda: f"left running: {self.left()}")

    def left(self) -> dict:
        """Our running processes."""
        return processes_with(MARK, self.folder, exact=True)

    def check(self) -> None:
        """Raises AssertionError, or adds to `problems`, if a check fails."""
        audit(self.db, self.acknowledged)
        with Store(self.db) as store:
            jobs = {job.id: job for job in store.get_many(list(self.acknowledged))}
            for id, kind in self.acknowledged.items():
                job = jobs[id]
                allowed = KINDS[kind][1]
                if id in self.cancelled:
                    allowed = FINISHED
                elif store.attempts(job)[-1].outcome == "lost":
                    allowed = ("dead",)
                if job.state not in allowed:
                    self.problems.append(f"{id}, {kind}, ended {job.state}: {job.error}")

    def count_lines(self, name: str) -> int:
        try:
            with open(os.path.join(self.folder, name)) as file:
                return len(file.readlines())
        except FileNotFoundError:
            return 0

    def report(self) -> int:
        with Store(self.db) as store:
            attempts = store._rows("SELECT worker, outcome, finished_at FROM queuectl_attempts")
            there = len(store.get_many(list(self.acknowledged)))
        lost = len(self.acknowledged) - there
        overlapping = self.count_lines("overlaps")
        print(f"commands run        {self.commands}")
        print(f"jobs acknowledged   {len(self.acknowledged)}")
        print("attempts run        %d, of which lost with their workers: %d"
              % (len(attempts), sum(outcome == "lost" for _, outcome, _ in attempts)))  # fmt: skip
        print("kills survived      {}".format(", ".join(f"{n} {who}" for who, n in self.signals.items())))
        for who in ("the supervisor", "other workers", "the next start"):
            times = sorted(
                finished - kill.at
                for kill in self.kills
                for worker, outcome, finished in attempts
                if kill.who_recovers == who and worker == kill.worker and outcome == "lost" and finished
            )
            if times:
                print("recovered by %-14s %d times, in %.3f s (median), %.3f s (longest)"
                      % (who, len(times), times[len(times) // 2], times[-1]))  # fmt: skip
        print(f"lost                {lost}")
        print(f"overlapping         {overlapping}")
        for problem in self.problems[:20]:
            print(f"wrong: {problem}")
        return 1 if lost or overlapping or self.problems else 0

    def clean_up(self) -> None:
        while self.left():
            for pid in self.left():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.torture", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20, metavar="N", help="how long (default: 20)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), metavar="S")
    args = parser.parse_args()
    if not shutil.which("flock") or not shutil.which("setsid"):
        print("skipped: needs flock and setsid of util-linux")
        return 0
    print(f"seed                {args.seed}", flush=True)
    folder = os.path.realpath(tempfile.mkdtemp(prefix="torture-"))
    torture = Torture(folder, args.seed)
    is_well = False
    try:
        torture.for_seconds(args.seconds)
        try:
            torture.finish()
            torture.check()
        except AssertionError as failure:
            torture.problems.append(str(failure))
        is_well = torture.report() == 0
        return 0 if is_well else 1
    finally:
        torture.clean_up()
        if is_well:
            shutil.rmtree(folder)
        else:
            print(f"kept: {folder}")


if __name__ == "__main__":
    sys.exit(main())
