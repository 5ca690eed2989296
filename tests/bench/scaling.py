"""How far workers scale: `python3 -m tests.bench.scaling [--seconds N] [--json]` (four minutes).

Jobs of 0, 1, 10 and 100 ms on 1 to 64 workers, twice: with real commands, which need this machine's cores, and with a
wait in place of each command, which costs no CPU. The latter shows what the queue itself can do for commands that run
elsewhere, or on more cores: where its rate stops growing, the one writer of the file is the limit, or the workers' own
CPU is; so the cores that they use are printed too. Then the latter again, with the workers spread over several files.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import ExitStack
from typing import NamedTuple

from .measure import CHECKOUT, Queue, cpu_seconds, queue

WORKERS = (1, 2, 4, 8, 16, 32, 64)
LENGTHS = (0, 0.001, 0.01, 0.1)  # Seconds.
FILES = (1, 2, 4)
SHARDED_WORKERS = 64
WARM_UP = 0.5  # Seconds.
MOST_PER_SECOND = 8000  # Jobs to enqueue for each second and file.

# queuectl with a wait in place of each command, which is the number of seconds.
STUB = f"""
import sys, time
sys.path.insert(0, {CHECKOUT!r})
from queuectl_core.cli.main import main
from queuectl_core.lifecycle import Outcome
from queuectl_core.workers.worker import Worker

def attempt(self, job, output, config):
    if job.command != "0":
        time.sleep(float(job.command))
    return Outcome("exit", 0, None)

Worker._attempt = attempt
main()
"""


class Rate(NamedTuple):
    """Jobs per second of a fleet, and the cores that its workers kept busy, without their commands."""

    kind: str
    files: int
    workers: int
    seconds: float
    jobs: float
    cores: float


def rate(kind: str, files: int, workers: int, seconds: float, window: float) -> Rate:
    """Measure for `window` seconds. `workers` in total, on jobs that take `seconds`."""
    with ExitStack() as stack:
        queues = [stack.enter_context(queue()) for _ in range(files)]
        pids: list[int] = []
        for ours in queues:
            _prepare(ours, kind, seconds, workers // files, window)
            ours.start(workers // files)
            pids += ours.pids("worker")
        for ours in queues:
            ours.run("resume", "default")
        stores = [stack.enter_context(ours.store()) for ours in queues]
        time.sleep(WARM_UP)
        began, done, used = time.perf_counter(), _completed(stores), cpu_seconds(pids)
        time.sleep(window)
        took = time.perf_counter() - began
        done, used = _completed(stores) - done, cpu_seconds(pids) - used
        if any(store.counts()["default"]["pending"] == 0 for store in stores):
            raise RuntimeError("too few jobs were enqueued")
    return Rate(kind, files, workers, seconds, done / took, used / took)


def _prepare(ours: Queue, kind: str, seconds: float, workers: int, window: float) -> None:
    ours.run("pause", "default")
    most = MOST_PER_SECOND if not seconds else min(MOST_PER_SECOND, workers / seconds)
    if kind == "commands":
        command = f"sleep {seconds}" if seconds else "true"
    else:
        command = str(seconds)
        ours.program = os.path.join(ours.folder, "stub.py")
        with open(ours.program, "w") as file:
            file.write(STUB)
    count = int(most * (WARM_UP + 2 * window + 2))
    ours.run("enqueue", "-", input=f"{command}\n".encode() * count)


def _completed(stores: list) -> int:
    return sum(queue["completed"] for store in stores for queue in store.counts().values())


def main() -> None:
    """Run all measurements and print tables."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.bench.scaling", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, metavar="N", help="for each rate (default: 2)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    args = parser.parse_args()
    rates = []
    for kind in ("commands", "waits"):
        for seconds in LENGTHS:
            for workers in WORKERS:
                rates.append(rate(kind, 1, workers, seconds, args.seconds))
                print(rates[-1], os.getloadavg()[0], file=sys.stderr)
    rates += [rate("waits", files, SHARDED_WORKERS, 0.001, args.seconds) for files in FILES]
    if args.json:
        print(json.dumps([found._asdict() for found in rates], indent=2))
        return
    for kind in ("commands", "waits"):
        print(f"\n{kind}: jobs/s (cores used by the workers themselves)")
        print("workers".ljust(8), *(f"{1000 * seconds:g} ms".rjust(16) for seconds in LENGTHS))
        for workers in WORKERS:
            found = [one for one in rates[: -len(FILES)] if (one.kind, one.workers) == (kind, workers)]
            print(str(workers).ljust(8), *(f"{one.jobs:,.0f} ({one.cores:.2f})".rjust(16) for one in found))
    print(f"\nwaits of 1 ms, {SHARDED_WORKERS} workers spread over files")
    for one in rates[-len(FILES) :]:
        print(f"{one.files} files: {one.jobs:,.0f} jobs/s ({one.cores:.2f} cores)")


if __name__ == "__main__":
    main()
