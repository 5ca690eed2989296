"""Clients: processes that use the queue while others are killed."""

from __future__ import annotations

import json
import sqlite3
import threading

from queuectl_core.store import Store

from .jobs import FOREIGN, KINDS, LOCKED, QUEUES, WEIGHTS, foreign_row, specification
from .world import World

LARGEST_BACKLOG = 300  # Jobs. Workers that are constantly killed can't finish more in the time at the end.
LOOKS = (["status", "--json"], ["list"], ["worker", "list"], ["dlq", "list", "--json"], ["doctor"])
VERBS = "cancel cancel retry dlq pause resume look look look logs wait prune suspend suspend continue".split()


class Client:
    """A user with scripts, and a program that writes rows itself."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.choose = world.random(f"client {number}")
        self._rows = number * 10**6

    def run(self) -> None:
        """Act until the run is over."""
        while not self.world.is_over.is_set():
            with self.world.gate.passing():
                what = self.choose.random()
                if what >= 0.55 or self._backlog() > LARGEST_BACKLOG:
                    self.act()
                elif what < 0.42:
                    self.enqueue()
                else:
                    self.insert()

    def _backlog(self) -> int:
        with Store(self.world.db) as store:
            return len(store.unfinished_ids())

    def enqueue(self) -> None:
        """Enqueue up to 20 jobs; sometimes be killed meanwhile."""
        kinds = self.choose.choices(list(KINDS), WEIGHTS, k=self.choose.choice((1, 1, 1, 5, 20)))
        lines = [json.dumps(specification(kind, self.choose)) for kind in kinds]
        kill_after = self.choose.uniform(0.03, 0.15) if self.choose.random() < 0.1 else None
        printed = self.world.run("enqueue", "-", input="\n".join(lines).encode() + b"\n", kill_after=kill_after)
        # Whole lines are acknowledged ids, even if the command was killed afterwards.
        with self.world.lock:
            self.world.acknowledged.update(zip(printed.decode().split("\n")[:-1], kinds))

    def insert(self) -> None:
        """Insert an odd row in plain SQL."""
        self._rows += 1
        row = foreign_row(self._rows, self.world.folder, self.choose)
        self.world.step(f"insert {row}")
        db = sqlite3.connect(self.world.db, timeout=60, isolation_level=None)
        try:
            columns, marks = ", ".join(row), ", ".join("?" * len(row))
            seq = db.execute(
                f"INSERT INTO queuectl_jobs ({columns}) VALUES ({marks})", tuple(row.values())
            ).lastrowid
            (id,) = db.execute("SELECT id FROM queuectl_jobs WHERE seq = ?", (seq,)).fetchone() or (None,)
        except sqlite3.IntegrityError:
            self.world.count("rows refused")
            return
        finally:
            db.close()
        self.world.count("rows inserted")
        if id is not None:  # Otherwise it has been pruned already.
            with self.world.lock:
                self.world.acknowledged[id] = FOREIGN

    def act(self) -> None:
        """Do anything but enqueue."""
        verb = self.choose.choice(VERBS)
        world = self.world
        with world.lock:
            id = self.choose.choice(list(world.acknowledged) or ["none"])
        if id.startswith("-"):
            id = "none"  # It would be taken for an option.
        if verb == "cancel":
            with world.lock:
                world.cancelled.add(id)
            world.count("cancels", bool(world.run("cancel", id)))
        elif verb == "retry":
            world.run("retry", id)
        elif verb == "dlq":
            world.run("dlq", "retry", "--all")
        elif verb in ("pause", "resume"):
            world.run(verb, self.choose.choice(QUEUES))
        elif verb in ("suspend", "continue"):
            self.suspend(verb)
        elif verb == "logs":
            world.run("logs", id)
        elif verb == "wait":
            world.run("wait", "--timeout", "0.2")
        elif verb == "prune":
            self.prune()
        else:
            world.run(*self.choose.choice(LOOKS))

    def suspend(self, verb: str) -> None:
        """Suspend a queue's running jobs, or continue all suspended ones."""
        which = ["-q", self.choose.choice(QUEUES)] if verb == "suspend" else ["--all"]
        ids = self.world.run(verb, *which).decode().split("\n")[:-1]
        self.world.count("jobs suspended", len(ids) if verb == "suspend" else 0)

    def prune(self) -> None:
        """Prune some finished jobs. Each one that is gone was printed."""
        state = self.choose.choice(("completed", "dead", "cancelled"))
        keep = str(self.choose.randrange(50))
        ids = self.world.run("prune", "--state", state, "--keep", keep, "-q", self.choose.choice(QUEUES)).decode()
        with self.world.lock:
            self.world.pruned.update(ids.split("\n")[:-1])


def crowd(world: World) -> None:
    """100 enqueuers, 20 readers and 16 workers at once, while a program holds the lock for 10 seconds.

    Among the jobs is one that prints 2 GiB.
    """
    world.run("worker", "start", "-c", "16")
    foreign = sqlite3.connect(world.db, isolation_level=None, check_same_thread=False)
    foreign.execute("BEGIN IMMEDIATE")
    release = threading.Timer(10, foreign.rollback)
    release.start()
    words = [["enqueue", LOCKED + KINDS["quick"][0]]] * 99
    words += [["enqueue", LOCKED + "head -c 2147483648 /dev/zero"], *[["list", "--json"]] * 20]
    printed: list[bytes] = []
    threads = [
        threading.Thread(target=lambda words=words: printed.append(world.run(*words))) for words in words
    ]
    for thread in threads:
        thread.start()
    for thread in [*threads, release]:
        thread.join()
    foreign.close()
    ids = [out.decode().strip() for out in printed if out and not out.startswith(b"[")]
    world.acknowledged.update(dict.fromkeys(ids, "quick"))
    if len(ids) != 100:
        world.problem(f"{len(ids)} of 100 enqueues waited for the lock")
    world.run("wait", "--timeout", "60", *ids)
    world.run("worker", "stop")
