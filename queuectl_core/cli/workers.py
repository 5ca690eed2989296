"""`worker start`, `worker stop`, `worker list`."""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace

from .. import values
from ..errors import BadInput, Refused, WaitTimedOut
from . import open_store, tell

STOP_POLL = 0.02  # seconds


def start_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("-c", "--count", default="1", metavar="N", help="how many (default: 1)")
    parser.add_argument(
        "-q",
        "--queue",
        action="append",
        default=[],
        metavar="QUEUE",
        help="take jobs of this queue only; may be repeated (default: all queues)",
    )
    parser.add_argument(
        "--foreground",
        action="store_true",
        help="stay in the terminal and say what happens (for systemd and containers)",
    )
    parser.add_argument(
        "--drain",
        action="store_true",
        help="leave once nothing is left to do; with --foreground exit 1 if a job ended dead",
    )
    parser.add_argument(
        "--env-file",
        metavar="FILE",
        help="KEY=VALUE lines for the jobs' environment, such as secrets; stored nowhere",
    )


def start(args: Namespace) -> int:
    from .. import fleet

    count = values.whole(args.count, "--count", 1, 1000)
    queues = [values.name(queue, "--queue") for queue in args.queue]
    environment = dict(os.environb)
    if args.env_file is not None:
        environment.update(_read_env_file(args.env_file))
    with open_store(args) as store:
        path = store.path
        for id in fleet.sweep(store):
            tell("queuectl: job %s was left by a worker that is gone; it has been taken care of" % id)
    plan = fleet.Plan(path, count, ",".join(dict.fromkeys(queues)) or None, args.drain, environment)
    if args.foreground:
        return fleet.start_foreground(plan)
    for worker, pid in fleet.start_detached(plan):
        print("worker %d started, pid %d" % (worker, pid))
    return 0


def _read_env_file(path: str) -> dict[bytes, bytes]:
    """Docker's format: KEY=VALUE as it stands, KEY alone is taken from here, # is a comment."""
    try:
        with open(path, "rb") as file:
            lines = file.read().splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput("--env-file: %s: %s" % (values.quote(path), reason)) from None
    made = {}
    for number, line in enumerate(lines, 1):
        line = line.lstrip()
        if not line or line.startswith(b"#"):
            continue
        key, equals, value = line.partition(b"=")
        if not key or any(byte in key for byte in b" \t\0") or b"\0" in value:
            # The line itself is not shown: it may hold a secret.
            raise BadInput("--env-file: %s: line %d is not KEY=VALUE" % (values.quote(path), number))
        if equals:
            made[key] = value
        elif key in os.environb:
            made[key] = os.environb[key]
    return made


def stop_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", metavar="ID", help="a worker's id (default: all workers)")
    parser.add_argument(
        "--now",
        action="store_true",
        help="end their jobs too; these become pending again, and the attempt does not count",
    )
    parser.add_argument("--no-wait", action="store_true", help="ask them, and do not wait for it")
    parser.add_argument(
        "--timeout", metavar="DURATION", help="wait no longer than this; exit 124 if some still run"
    )


def stop(args: Namespace) -> int:
    from .. import fleet

    patience = None if args.timeout is None else values.duration(args.timeout, "--timeout")
    ids = [values.whole(id, "worker id", 1) for id in args.ids]
    with open_store(args) as store:
        live = fleet.live_workers(store)
        targets = [row for row in live if not ids or row.id in ids]
        missing = sorted(set(ids) - {row.id for row in targets})
        if missing:
            raise Refused("no such worker: %s" % ", ".join(map(str, missing)))
        supervisors = [] if ids else [row for row in store.workers() if row.role == "supervisor"]
        fleet.stop(store, supervisors + targets, args.now)
        if not targets and not supervisors:
            tell("queuectl: no worker runs")
        if args.no_wait:
            for row in targets:
                print("worker %d is stopping, pid %d" % (row.id, row.pid))
            return 0
        _wait_for_end(store, targets, patience, args.now)
        fleet.sweep(store)
    return 0


def _wait_for_end(store, targets: list, patience: float | None, now: bool) -> None:
    """Wait until these workers are gone, and say so; raises WaitTimedOut."""
    from .. import fleet

    began = time.monotonic()
    told = False
    left = {row.id: row for row in targets}
    while left:
        here = {row.id for row in store.workers()}
        for id, row in list(left.items()):
            if id not in here or not fleet.is_running(store, row):
                print("worker %d stopped" % id, flush=True)
                del left[id]
        waited = time.monotonic() - began
        if left and not told and waited > 0.5:
            told = True
            _tell_what_is_waited_for(store, left, now)
        if left and patience is not None and waited >= patience:
            raise WaitTimedOut(
                "%d still running after %s: worker %s"
                % (len(left), values.span(patience), ", ".join(map(str, left)))
            )
        if left:
            time.sleep(STOP_POLL)


def _tell_what_is_waited_for(store, left: dict, now: bool) -> None:
    running = store.running()
    for id in left:
        if id in running:
            job, since = running[id]
            tell(
                "waiting for worker %d to %s job %s (running for %s)%s"
                % (
                    id,
                    "end" if now else "finish",
                    job,
                    values.span(time.time() - since),
                    "" if now else "; worker stop --now ends it",
                )
            )


def show_workers_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def show_workers(args: Namespace) -> int:
    from .. import fleet, render

    with open_store(args) as store, store.snapshot():
        rows, running = fleet.live_workers(store), store.running()
    if args.json:
        render.print_json_array(render.worker_json(row, running) for row in rows)
    elif rows:
        render.workers_table(rows, running, time.time())
    else:
        tell("no worker runs; start one: queuectl worker start")
    return 0
