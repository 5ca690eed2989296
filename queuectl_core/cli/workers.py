"""`worker start`, `worker stop`, `worker restart` and `worker list`."""

from __future__ import annotations

import os
import time
from collections import Counter

from .. import values
from ..errors import BadInput, DatabaseUnusable, NoQueue, Refused
from ..program import sources
from .queue_file import open_reader, open_store, own_job
from .stopping import named, wait_for_end
from .terminal import print_json_array, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Collection, Sequence

    from ..lifecycle import Job
    from ..records import Worker
    from ..store.reader import Reader
    from ..workers.worker_process import Plan

STOP_POLL = 0.02  # Seconds.
RESTART_TIMEOUT = 30.0  # Seconds for a supervisor to restart.


def start_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("-c", "--count", default="1", metavar="N", help="number of workers (default: 1)")
    parser.add_argument(
        "-q",
        "--queue",
        action="append",
        default=[],
        metavar="QUEUE",
        help="take only jobs in this queue; may be repeated (default: all queues)",
    )
    parser.add_argument("--daemon", action="store_true", help="start in the background, which is the default")
    parser.add_argument(
        "--foreground",
        action="store_true",
        help="stay in the foreground and log to stderr (for systemd and containers)",
    )
    parser.add_argument(
        "--drain",
        action="store_true",
        help="exit once no job is left to run; with --foreground, exit 1 if any job died",
    )
    parser.add_argument(
        "--top-up",
        action="store_true",
        help="start only as many as needed to have N running (for cron)",
    )
    parser.add_argument(
        "--env-file",
        metavar="FILE",
        help="read KEY=VALUE lines for the jobs' environment, such as secrets; never stored",
    )
    parser.add_argument(
        "--stop-timeout",
        metavar="DURATION",
        help="when they stop, give jobs this long to finish, then return them to the queue (default: no limit)",
    )
    parser.add_argument(
        "--take-over",
        metavar="FD",
        help="==SUPPRESS==",  # argparse's SUPPRESS. Worker restart inherits a fleet through this descriptor.
    )


def start(args: Namespace) -> int:
    from ..store.filesystem import refuse_foreign, refuse_network
    from ..workers import launch
    from ..workers.rescue import sweep
    from ..workers.worker_process import Plan

    version = sources.version()
    if args.take_over is not None:
        return launch.take_over(values.whole(args.take_over, "--take-over", 3), version)
    count = values.whole(args.count, "--count", 1, 1000)
    queues = [values.name(queue, "--queue") for queue in args.queue]
    stop_timeout = None if args.stop_timeout is None else values.duration(args.stop_timeout, "--stop-timeout")
    if args.daemon and args.foreground:
        raise BadInput("--daemon: cannot be used together with --foreground")
    if args.top_up and args.foreground:
        raise BadInput("--top-up: cannot be used together with --foreground")
    if not args.foreground:
        launch.shed_token()
    environment = dict(os.environb)
    environment.pop(b"NOTIFY_SOCKET", None)  # For the supervisor, not for jobs.
    if args.env_file is not None:
        environment.update(_read_env_file(args.env_file))
    with open_store(args, creates=True) as store:
        path = store.path
        refuse_network(path)
        refuse_foreign(path)
        own = own_job(store)
        if own and args.drain and args.foreground and (not queues or own.queue in queues):
            raise Refused(f"--drain --foreground would wait for job {own.id}, which runs it; leave out --foreground")
        for id in sweep(store):
            tell(f"job {id} was left behind by a dead worker; rescued it")
    queue_list = ",".join(dict.fromkeys(queues)) or None
    plan = Plan(path, count, queue_list, args.drain, environment, version, stop_timeout)
    if args.foreground:
        return launch.start_foreground(plan)
    if args.top_up:
        _top_up(args, plan)
    else:
        _start(plan)
    return 0


def _start(plan: Plan) -> None:
    from ..workers import launch

    for worker, pid in launch.start_detached(plan):
        print(f"worker {worker} started, pid {pid}")


def _top_up(args: Namespace, plan: Plan) -> None:
    """Start enough workers to reach the size of the plan."""
    import fcntl

    from ..workers import fleet

    # The folder itself is the lock.
    lock = os.open(os.path.dirname(plan.path), os.O_RDONLY)
    try:
        # Wait: the other process may be starting workers for other queues. That takes as long as a start.
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open_store(args) as store:
            rows = [row for row in fleet.live_workers(store) if row.wanted == "run"]
        missing = plan.size - sum(row.queues == plan.queues for row in rows)
        if missing > 0:
            _start(plan._replace(size=missing))
    finally:
        os.close(lock)


def _read_env_file(path: str) -> dict[bytes, bytes]:
    """Docker's format: KEY=VALUE without quoting, KEY alone to take its value from our environment, # for comments."""
    try:
        with open(path, "rb") as file:
            lines = file.read().splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"--env-file: {values.quote(path)}: {reason}") from None
    variables = {}
    for number, line in enumerate(lines, 1):
        line = line.lstrip()
        if not line or line.startswith(b"#"):
            continue
        key, equals, value = line.partition(b"=")
        if not key or any(byte in key for byte in b" \t\0") or b"\0" in value:
            # Don't show the line: it may contain a secret.
            raise BadInput(f"--env-file: {values.quote(path)}: line {number}: must be KEY=VALUE or KEY")
        if equals:
            variables[key] = value
        elif key in os.environb:
            variables[key] = os.environb[key]
    return variables


def stop_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", metavar="ID", help="a worker's id (default: all workers)")
    parser.add_argument(
        "--now",
        action="store_true",
        help="end their jobs too; they become pending again and the attempt doesn't count",
    )
    parser.add_argument("--no-wait", action="store_true", help="don't wait for them to stop")
    parser.add_argument(
        "--timeout", metavar="DURATION", help="wait at most this long; exit 124 if any are still running"
    )


def stop(args: Namespace) -> int:
    from ..workers import fleet
    from ..workers.rescue import SILENCE, are_left_to_supervisors, sweep

    timeout = None if args.timeout is None else values.duration(args.timeout, "--timeout")
    ids = [values.whole(id, "worker id", 1) for id in args.ids]
    try:
        store = open_store(args)
    except NoQueue as problem:
        if args.db or ids:
            raise
        tell(f"no workers are running: {problem}")
        return 0
    with store:
        live = fleet.live_workers(store)
        targets = [row for row in live if not ids or row.id in ids]
        missing = sorted(set(ids) - {row.id for row in targets})
        if missing:
            raise Refused(f"no such worker: {', '.join(map(str, missing))}; run: queuectl worker list")
        supervisors = [] if ids else [row for row in store.workers() if row.role == "supervisor"]
        own = own_job(store)
        # The worker that runs this command last: with --now, it ends the command.
        targets.sort(key=lambda row: own is not None and row.id == own.worker)
        unwritten = fleet.stop(store, supervisors + targets, args.now)
        # Workers that register from now on take over what their supervisor was asked.
        known, fleets = {row.id for row in live}, {row.id for row in supervisors}
        others = [row for row in store.workers() if row.supervisor in fleets and row.id not in known]
        late = [row for row in others if fleet.is_running(store, row)]
        if late:
            fleet.stop(store, late, args.now)
            targets += late
        if unwritten:
            tell(f"{unwritten}; asked {'them' if ids else 'the workers'} by signal instead")
        if not targets and not supervisors:
            tell("no workers are running")
        if args.no_wait:
            for row in targets:
                print(f"worker {row.id} is stopping, pid {row.pid}")
            return 0
        wait_for_end(store, _except_own(own, targets), timeout, args.now)
        sweep(store, 0 if unwritten else SILENCE)
        if unwritten and are_left_to_supervisors(store):
            raise DatabaseUnusable("their jobs aren't settled yet; the supervisor tries until it can write")
    return 0


def _except_own(own: Job | None, workers: Sequence[Worker]) -> list[Worker]:
    """These workers without the one that runs job `own`, in which this command runs: it waits for us."""
    others = [row for row in workers if not own or row.id != own.worker]
    if own and len(others) < len(workers):
        tell(f"not waiting for worker {own.worker}: it runs job {own.id}, and that runs this command")
    return others


def restart_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--no-wait", action="store_true", help="don't wait for the old workers to finish their jobs")


def restart(args: Namespace) -> int:
    from ..workers import fleet, launch
    from ..workers.rescue import sweep

    with open_store(args) as store:
        sweep(store)
        # A dead worker keeps its row while a process of its job can't be ended.
        before = [row for row in store.workers() if row.wanted == "run" and fleet.is_running(store, row)]
        supervisors = {row.id: row for row in before if row.role == "supervisor"}
        old = {row.id: row for row in before if row.supervisor in supervisors}
        orphans = [row for row in before if row.id not in supervisors and row.id not in old]
        if not before:
            tell("no workers are running; run: queuectl worker start")
        launch.restart(list(supervisors.values()))
        for row in supervisors.values():
            _wait_for_renewal(store, row)
        if not args.no_wait:
            retiring = _except_own(own_job(store), list(old.values()))
            wait_for_end(store, retiring, None, False)
            _wait_for_start(store, old, Counter(row.supervisor for row in retiring))
        versions = {row.version for row in store.workers() if row.id in supervisors}
    for version in versions - {sources.version()}:
        tell(f"workers run {version}, from the program that started them; this is {sources.version()}")
    if orphans:
        ids = [row.id for row in orphans]
        whose = "its supervisor is" if len(ids) == 1 else "their supervisors are"
        raise Refused(f"{named(ids)}: {whose} dead; run: queuectl worker stop {' '.join(map(str, ids))}")
    return 0


def _wait_for_renewal(store: Reader, supervisor: Worker) -> None:
    until = time.monotonic() + RESTART_TIMEOUT
    while any(
        row.id == supervisor.id and row.started_at == supervisor.started_at for row in store.workers()
    ):
        if time.monotonic() > until:
            raise Refused(f"supervisor, pid {supervisor.pid}: did not restart; check that its program still exists")
        time.sleep(STOP_POLL)


def _wait_for_start(store: Reader, old: Collection[int], left: Counter[int | None]) -> None:
    """Wait until each supervisor has started as many workers as `left` says, or has exited; print them."""
    known = set(old)
    while True:
        rows = store.workers()
        for row in rows:
            if row.id not in known and row.supervisor in left:
                known.add(row.id)
                left[row.supervisor] -= 1
                print(f"worker {row.id} started, pid {row.pid}", flush=True)
        present = {row.id for row in rows}
        if not any(number > 0 and id in present for id, number in left.items()):
            return
        time.sleep(STOP_POLL)


def list_workers_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def list_workers(args: Namespace) -> int:
    from ..jobjson import worker_json
    from ..workers import fleet
    from .tables import workers_table

    with open_reader(args, may_be_unused=True) as store, store.snapshot():
        rows, running = fleet.live_workers(store), store.running()
    if args.json:
        print_json_array(worker_json(row, running) for row in rows)
    elif rows:
        workers_table(rows, running, time.time())
    elif not store.is_unused:
        tell("no workers are running; run: queuectl worker start")
    return 0
