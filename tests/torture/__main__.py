"""`python3 -m tests.torture --seconds N [--seed S]`."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import threading

import tests.torture

from .clients import Client, crowd
from .jobs import TICK, TICKS
from .kills import Killer
from .verdict import check, finish, report, show_steps
from .world import World

CLIENTS = 3
LONG = 60  # A run of at least this many seconds starts with a crowd.
SETTINGS = {"backoff-base": "0.2", "backoff-max": "0.5", "kill-grace": "0.3", "max-retries": "5"}


def torture(world: World, killer: Killer, seconds: float) -> None:
    """Use and kill the queue for so long, then let it finish, and check it."""
    for key, value in SETTINGS.items():
        world.run("config", "set", key, value)
    every = ("--every", f"{TICK}s", "--missed", "all", "--overlap", "allow")
    world.run("schedule", "add", TICKS, *every, "-q", TICKS, "--max-retries", "100", "--", "true")
    if seconds >= LONG:
        crowd(world)
    clients = [Client(world, number) for number in range(CLIENTS)]
    threads = [threading.Thread(target=client.run, name=f"client {n}") for n, client in enumerate(clients)]
    threads.append(threading.Thread(target=killer.run, name="killer"))
    for thread in threads:
        thread.start()
    world.is_over.wait(seconds)
    world.is_over.set()
    for thread in threads:
        thread.join()
    try:
        finish(world)
        check(world)
    except AssertionError as failure:
        world.problem(str(failure))


def main() -> int:
    summary = (tests.torture.__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python3 -m tests.torture", description=summary)
    parser.add_argument("--seconds", type=float, default=20, metavar="N", help="how long (default: 20)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), metavar="S")
    args = parser.parse_args()
    if not shutil.which("flock") or not shutil.which("setsid"):
        print("skipped: needs flock and setsid of util-linux")
        return 0
    print(f"{'seed':40}{args.seed}", flush=True)
    world = World(os.path.realpath(tempfile.mkdtemp(prefix="torture-")), args.seed)
    killer = Killer(world)
    if not killer.has_containers:
        print("without containers: needs root and unshare")
    is_well = False
    try:
        torture(world, killer, args.seconds)
        is_well = report(world, killer.kills)
        return 0 if is_well else 1
    finally:
        world.kill_all()
        if is_well:
            shutil.rmtree(world.folder)
        else:
            show_steps(world)


if __name__ == "__main__":
    sys.exit(main())
