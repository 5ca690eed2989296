"""`python3 -m tests.simulation --seconds N [--seed S]`."""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time

import tests.simulation
from queuectl_core.store import Store

from .search import LENGTH, Broken, wander


def main() -> int:
    summary = (tests.simulation.__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python3 -m tests.simulation", description=summary)
    parser.add_argument("--seconds", type=float, default=10, metavar="N", help="how long (default: 10)")
    parser.add_argument("--seed", type=int, metavar="S", help="do only the run with this seed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "queue.db")
        Store(path).close()
        seed = random.randrange(10**9) if args.seed is None else args.seed
        until = time.monotonic() + args.seconds
        runs = 0
        while not runs or (args.seed is None and time.monotonic() < until):
            try:
                wander(path, seed + runs)
            except Broken as broken:
                print(broken)
                print(f"again: python3 -m tests.simulation --seed {seed + runs}")
                return 1
            runs += 1
    print(f"{runs} runs of {LENGTH} steps, first seed {seed}: every promise was kept")
    return 0


sys.exit(main())
