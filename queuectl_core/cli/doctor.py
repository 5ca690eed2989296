"""`doctor`: what may be wrong with a queue. Each check reports what it saw and what to do about it."""

from __future__ import annotations

import os
import sqlite3
import stat
from argparse import ArgumentParser, Namespace

from .. import values
from ..errors import DatabaseUnusable
from ..store.bell import folder
from ..store.database import LARGE_WAL
from ..store.filesystem import NETWORK_FILE_SYSTEMS, file_system
from ..store.reader import Reader
from ..typed import NamedTuple
from ..workers import fleet
from .queue_file import queue_path
from .terminal import print_json


class Finding(NamedTuple):
    """What a check found: `level` is "ok", "note" or "wrong", `advice` is what to do about it."""

    check: str
    level: str
    text: str
    advice: str | None


PATIENCE = 5.0  # seconds to wait for a lock

# SQLite's fault in resetting the log, by which two processes may damage the file in rare cases
# (https://sqlite.org/wal.html): from 3.7.0 on, until 3.51.3 and these releases of older branches.
WAL_RESET_MENDED = ((3, 44, 6), (3, 50, 7))
WAL_RESET_GONE = (3, 51, 3)


def examine(path: str) -> list[Finding]:
    """Look at the queue in the file `path`, which is not made where it is missing."""
    path = os.path.realpath(path)
    findings = [_sqlite(sqlite3.sqlite_version_info), _place(path)]
    if not os.path.exists(path):
        missing = f"{path}: there is no queue"
        advice = "queuectl enqueue makes one; or give --db FILE"
        return [*findings, Finding("file", "wrong", missing, advice)]
    try:
        with Reader(path, patience=PATIENCE, must_exist=True) as store:
            return [*findings, *_file(store), *_permissions(path), *_workers(store), *_jobs(store)]
    except DatabaseUnusable as error:
        return [*findings, Finding("file", "wrong", str(error), None)]


def _sqlite(version: tuple[int, ...]) -> Finding:
    text = f"SQLite {'.'.join(map(str, version[:3]))}"
    if has_wal_reset_fault(version):
        text += " has a rare fault that can damage a busy file"
        return Finding("sqlite", "note", text, "use SQLite 3.51.3 or later")
    return Finding("sqlite", "ok", text, None)


def has_wal_reset_fault(version: tuple[int, ...]) -> bool:
    """Whether this SQLite, as in sqlite3.sqlite_version_info, has the fault in resetting the log."""
    mended = any(version[:2] == first[:2] and version >= first for first in WAL_RESET_MENDED)
    return version < WAL_RESET_GONE and not mended


def _place(path: str) -> Finding:
    kind = file_system(path)
    if kind in NETWORK_FILE_SYSTEMS:
        text = f"{path} is on {kind}, a network file system"
        return Finding("place", "wrong", text, "move it to a local disk")
    text = f"{path} is on {kind or 'a file system of unknown type'}"
    return Finding("place", "ok", text, None)


def _file(store: Reader) -> list[Finding]:
    faults = store.faults()
    findings = [Finding("file", "wrong", fault, "restore a backup") for fault in faults]
    if not faults:
        findings.append(Finding("file", "ok", "the file is sound", None))
    size = store.wal_size()
    text = "the log beside it has %.1f MiB" % (size / 1024**2)
    if size > LARGE_WAL:
        advice = "end the program that has been reading the file all this time, such as list --json | less"
        return [*findings, Finding("log", "wrong", text, advice)]
    return [*findings, Finding("log", "ok", text, None)]


def _permissions(path: str) -> list[Finding]:
    findings = []
    for name in (path, path + "-wal", path + "-shm", folder(path)):
        try:
            found = os.stat(name)
        except FileNotFoundError:
            continue
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077:
            text = f"{name} can be used by others (mode {mode:03o})"
            findings.append(Finding("access", "wrong", text, "chmod go= " + name))
        if os.stat(path).st_uid != found.st_uid:
            text = f"{name} belongs to another user than the file"
            findings.append(Finding("access", "wrong", text, "chown it"))
    return findings or [Finding("access", "ok", "only its owner can use it", None)]


def _workers(store: Reader) -> list[Finding]:
    running = store.running()
    gone = [row for row in store.workers() if not fleet.is_running(store, row)]
    findings = []
    for row in gone:
        level, text = "note", f"{row.role} {abs(row.id)} (pid {row.pid}) is gone"
        if row.id in running:
            level, text = "wrong", f"{text} and left job {running[row.id][0]}"
        findings.append(Finding("workers", level, text, "queuectl worker start takes care of it"))
    return findings or [Finding("workers", "ok", f"{len(fleet.live_workers(store))} running", None)]


def _jobs(store: Reader) -> list[Finding]:
    findings = []
    paused = store.paused()
    takers = [row.queues.split(",") if row.queues else None for row in fleet.live_workers(store)]
    for queue, counts in store.counts().items():
        waiting = counts["pending"] + counts["failed"]
        if not waiting:
            continue
        text = f"queue {queue} has {waiting} waiting"
        if None in paused or queue in paused:
            findings.append(Finding("jobs", "note", text + ": it is paused", "queuectl resume"))
        elif not any(queues is None or queue in queues for queues in takers):
            text += ": no worker takes them"
            findings.append(Finding("jobs", "wrong", text, "queuectl worker start"))
    stuck = store.stuck()
    for id, needed, state in stuck[:5]:
        text = f"job {id} waits for job {needed}, which is {state}"
        findings.append(Finding("jobs", "wrong", text, f"queuectl retry {needed}, or cancel {id}"))
    if len(stuck) > 5:
        findings.append(Finding("jobs", "wrong", f"{len(stuck) - 5} more wait like this", None))
    return findings or [Finding("jobs", "ok", "each job that waits can run in its turn", None)]


def doctor_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def doctor(args: Namespace) -> int:
    findings = examine(queue_path(args.db))
    is_well = all(finding.level != "wrong" for finding in findings)
    if args.json:
        print_json({"well": is_well, "findings": [finding._asdict() for finding in findings]})
        return 0 if is_well else 1
    for finding in findings:
        advice = "" if finding.advice is None else " → " + finding.advice
        print(values.escape(f"{finding.level:<5}  {finding.check:<7}  {finding.text}{advice}"))
    return 0 if is_well else 1
