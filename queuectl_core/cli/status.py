"""`status`: the queue at a glance."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace

from .. import lifecycle, values
from ..store.database import LARGE_WAL, SMALL_WAL
from ..workers import fleet
from .queue_file import open_reader
from .tables import Column, table, workers_table
from .terminal import counted, print_json, size, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..records import Counts, Worker


def status_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def status(args: Namespace) -> int:
    with open_reader(args) as store, store.snapshot():
        counts, paused = store.counts(), store.paused()
        rows, running = fleet.live_workers(store), store.running()
        space = {
            "database_bytes": store.file_size(),
            "wal_bytes": store.wal_size(),
            "free_bytes": store.free_size(),
        }
    totals = {state: sum(queue[state] for queue in counts.values()) for state in lifecycle.STATES}
    if args.json:
        from ..jobjson import worker_json
        from ..program import sources

        print_json(
            {
                "database": store.path,
                "version": sources.version(),
                **space,
                "jobs": totals,
                "queues": counts,
                "workers": [worker_json(row, running) for row in rows],
                "dlq": totals["dead"],
                "paused": None in paused,
                "paused_queues": [queue for queue in paused if queue is not None],
            }
        )
        return 0
    _print_counts(counts, totals)
    for queue in paused:
        name = "all queues" if queue is None else f"queue {values.escape(queue)}"
        print(f"Paused: {name}")
    print(f"\nActive workers: {sum(row.role == 'worker' for row in rows)}")
    if rows:
        workers_table(rows, running, time.time())
        _print_versions(rows)
    else:
        print("No workers are running.")
    log = f", and its log {size(space['wal_bytes'])}" if space["wal_bytes"] > SMALL_WAL else ""
    print(f"\nFile: {values.escape(store.path)} ({size(space['database_bytes'])}{log})")
    if totals["dead"]:
        print(f"\nDead letter queue: {counted(totals['dead'], 'job')}; run: queuectl dlq list")
    if space["wal_bytes"] > LARGE_WAL:
        tell("the write-ahead log is large; to find out why, run: queuectl doctor")
    orphaned = totals["processing"] - len(running.keys() & {row.id for row in rows})
    if orphaned:
        verb = "was" if orphaned == 1 else "were"
        tell(f"{counted(orphaned, 'job')} {verb} left behind by dead workers; run: queuectl worker start")
    waiting = totals["pending"] + totals["failed"]
    if waiting and not rows:
        verb = "is" if waiting == 1 else "are"
        tell(f"{counted(waiting, 'job')} {verb} waiting for a worker; run: queuectl worker start")
    return 0


def _print_versions(rows: list[Worker]) -> None:
    from ..program import sources

    version = sources.version()
    others = sorted({row.version for row in rows} - {version})
    if others:
        print(f"\nWorkers run {', '.join(others)}, but this is {version}; to update them, run: queuectl worker restart")


def _print_counts(counts: Counts, totals: dict[str, int]) -> None:
    if not counts:
        print("No jobs yet.")
        return
    headers = [Column("QUEUE", least=8)]
    headers += [Column(state.upper(), right=True, drop=int(not totals[state])) for state in lifecycle.STATES]
    rows = [[queue, *by_state.values()] for queue, by_state in counts.items()]
    if len(rows) > 1:
        rows.append(["(all)", *totals.values()])
    table(headers, rows)
