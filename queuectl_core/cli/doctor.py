"""`doctor`: checks a queue for problems. Each check reports what it found and how to fix it."""

from __future__ import annotations

import os
import stat
import sys

from .. import settings, values
from ..errors import BadInput, DatabaseFull, DatabaseUnusable
from ..schedule.plan import template_fields
from ..settings import HOOK_QUEUE
from ..store.bell import folder
from ..store.database import LARGE_WAL
from ..store.filesystem import NETWORK_FILE_SYSTEMS, file_system
from ..store.reader import Reader
from ..store.schedules import schedules
from ..store.search import Search, find
from ..store.sqlite import SQLITE_VERSION
from ..suggestion import shell_line, suggestion
from ..typed import NamedTuple
from ..values import counted
from ..workers import fleet
from .queue_file import open_client, queue_path
from .terminal import print_json, size, tell, terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


class Finding(NamedTuple):
    """What a check found. `level` is "ok", "note" or "wrong"; `advice` is the command or action that helps, if any."""

    check: str
    level: str
    text: str
    advice: str | None


PATIENCE = 5.0  # Seconds to wait for a lock.
LOW_DISK = 1024**2  # Bytes. With less free space, the next write may fail.
MUCH_UNUSED = 64 * 1024**2  # Bytes.

# SQLite's WAL-reset bug: in rare cases, two processes can corrupt the file (https://sqlite.org/wal.html). It came with
# 3.7.0 and was fixed in 3.51.3 and in these releases of older branches.
WAL_RESET_FIXED = (3, 51, 3)
WAL_RESET_BACKPORTS = ((3, 44, 6), (3, 50, 7))


def examine(path: str) -> list[Finding]:
    """Check the queue file `path`, without creating it."""
    path = os.path.realpath(path)
    findings = [_sqlite(SQLITE_VERSION), _location(path)]
    if not os.path.exists(path):
        missing = f"{path} does not exist"
        advice = "create it with queuectl enqueue, or name another file with --db FILE"
        return [*findings, Finding("file", "wrong", missing, advice)]
    try:
        with Reader(path, patience=PATIENCE, must_exist=True) as store:
            for check in (_file, _counts, _config, _permissions, _workers, _jobs, _hooks, _schedules):
                findings += check(store)
    except DatabaseUnusable as error:
        findings.append(Finding("file", "wrong", str(error), None))
    return findings


def _sqlite(version: tuple[int, ...]) -> Finding:
    text = f"SQLite {'.'.join(map(str, version[:3]))}"
    if has_wal_reset_bug(version) and sys.base_prefix == "/usr":  # Only the distribution can upgrade its SQLite.
        text += ", the system's; 3.51.3 fixes a rare bug that can corrupt a busy file"
        return Finding("sqlite", "ok", text, None)
    if has_wal_reset_bug(version):
        text += " has a rare bug that can corrupt a busy file"
        return Finding("sqlite", "note", text, "upgrade to SQLite 3.51.3 or later")
    return Finding("sqlite", "ok", text, None)


def has_wal_reset_bug(version: tuple[int, ...]) -> bool:
    """Whether this version of SQLite, a SQLITE_VERSION, has the WAL-reset bug."""
    has_backport = any(version[:2] == fixed[:2] and version >= fixed for fixed in WAL_RESET_BACKPORTS)
    return version < WAL_RESET_FIXED and not has_backport


def _location(path: str) -> Finding:
    kind = file_system(path)
    if kind in NETWORK_FILE_SYSTEMS:
        text = f"{path} is on {kind}, a network file system"
        return Finding("place", "wrong", text, "move it to a local disk")
    text = f"{path} is on {kind or 'an unknown file system'}"
    return Finding("place", "ok", text, None)


def _file(store: Reader) -> list[Finding]:
    faults = store.faults()
    findings = [Finding("file", "wrong", fault, "queuectl restore FILE puts a backup in its place") for fault in faults]
    if not faults:
        findings.append(Finding("file", "ok", "the database is intact", None))
    return [*findings, _log(store), _disk(store)]


def _log(store: Reader) -> Finding:
    """Whether the log can be emptied. A large one may just not have been emptied yet."""
    before = store.wal_size()
    if before <= LARGE_WAL:
        return Finding("log", "ok", f"the write-ahead log takes {size(before)}", None)
    try:
        is_free = store.fold(PATIENCE)
    except DatabaseFull as error:
        return Finding("log", "wrong", f"the write-ahead log takes {size(before)} and cannot be emptied: {error}", None)
    if is_free:
        return Finding("log", "ok", f"the write-ahead log took {size(before)} and is now empty", None)
    text = f"the write-ahead log takes {size(before)}: a program keeps reading the file, or writing to it"
    advice = f"end that program, such as list --json | less; {shell_line(['fuser', store.path])} names it"
    return Finding("log", "wrong", text, advice)


def _disk(store: Reader) -> Finding:
    """How much space the file takes, and how much is left."""
    used, unused = store.file_size(), store.free_size()
    left = store.disk_free()
    text = f"the file takes {size(used)}, of which {size(unused)} are unused; {size(left)} are free on its disk"
    if left < LOW_DISK:
        return Finding("disk", "wrong", text, "free some space: without it, nothing can be enqueued or settled")
    if unused > max(MUCH_UNUSED, used // 2):
        advice = "new jobs will use it; to return it now, run: queuectl prune --compact"
        return Finding("disk", "note", text, advice)
    return Finding("disk", "ok", text, None)


def _counts(store: Reader) -> list[Finding]:
    findings = [Finding("counts", "wrong", text, "queuectl doctor --repair") for text in store.miscounts()]
    return findings or [Finding("counts", "ok", "all counts agree with the jobs", None)]


def _config(store: Reader) -> list[Finding]:
    findings = []
    for key, value in store.config().items():
        try:
            settings.parse(settings.canonical(key), str(value))
        except BadInput as error:
            findings.append(Finding("config", "wrong", str(error), suggestion("config unset", key)))
    return findings or [Finding("config", "ok", "all settings are valid", None)]


def _permissions(store: Reader) -> list[Finding]:
    path = store.path
    findings = []
    for name in (path, path + "-wal", path + "-shm", folder(path)):
        try:
            status = os.stat(name)
        except FileNotFoundError:
            continue
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077:
            text = f"{name} is accessible to other users (mode {mode:03o})"
            findings.append(Finding("access", "wrong", text, shell_line(["chmod", "go=", name])))
        if os.stat(path).st_uid != status.st_uid:
            text = f"{name} and the queue file have different owners"
            findings.append(Finding("access", "wrong", text, "chown it to the owner of the queue file"))
    return findings or [Finding("access", "ok", "only the owner has access", None)]


def _workers(store: Reader) -> list[Finding]:
    running = store.running()
    dead = [row for row in store.workers() if not fleet.is_running(store, row)]
    findings = []
    for row in dead:
        level, text = "note", f"{row.role} {abs(row.id)} (pid {row.pid}) is dead"
        if row.id in running:
            level, text = "wrong", f"{text} and left job {running[row.id][0]} behind"
        findings.append(Finding("workers", level, text, "queuectl worker start"))
    return findings or [Finding("workers", "ok", f"{counted(len(fleet.live_workers(store)), 'worker')} running", None)]


def _served(store: Reader) -> list[list[str] | None]:
    """The queues of each running worker; None: all."""
    return [row.queues.split(",") if row.queues else None for row in fleet.live_workers(store)]


def _jobs(store: Reader) -> list[Finding]:
    findings = []
    paused, pauses, held = store.paused(), store.pauses(), store.held()
    could_run = not store.is_drained(None)
    served = _served(store)
    for queue, counts in store.counts().items():
        waiting = counts["pending"] + counts["failed"]
        if not waiting:
            continue
        text = f"queue {queue} has {counted(waiting, 'waiting job')}"
        if None in paused or queue in paused:
            command = "queuectl resume" if None in paused else suggestion("resume", queue)
            because = f" after {pauses[queue]}" if pauses.get(queue) else ""
            findings.append(Finding("jobs", "note", f"{text} but is paused{because}", command))
        elif waiting <= held.get(queue, 0) or not could_run:
            pass  # No worker could run any of them.
        elif not any(queues is None or queue in queues for queues in served):
            text = f"queue {queue} has {counted(waiting - held.get(queue, 0), 'waiting job')} but no worker"
            findings.append(Finding("jobs", "wrong", text, "queuectl worker start"))
    for queue, count in held.items():
        text = f"queue {queue} has {counted(count, 'held job')}"
        findings.append(Finding("jobs", "note", text, shell_line(["queuectl", "list", "--held", f"--queue={queue}"])))
    stuck = store.stuck()
    for id, needed, state in stuck[:5]:
        text = f"job {id} waits for job {needed}, which is {state}"
        findings.append(Finding("jobs", "wrong", text, f"{suggestion('retry', needed)}, or {suggestion('cancel', id)}"))
    if len(stuck) > 5:
        findings.append(Finding("jobs", "wrong", f"{counted(len(stuck) - 5, 'more job')} cannot run either", None))
    return findings or [Finding("jobs", "ok", "every waiting job can run", None)]


def _hooks(store: Reader) -> list[Finding]:
    """Whether hooks fail; no hook reports that."""
    failing = {
        "dead": ("wrong", "died", f"queuectl dlq list -q {HOOK_QUEUE}; then queuectl dlq retry -q {HOOK_QUEUE}"),
        "failed": ("note", "failed and will be retried", f"queuectl list -q {HOOK_QUEUE} -s failed"),
    }
    findings = []
    counts = store.counts().get(HOOK_QUEUE) or {}
    for state, (level, verb, advice) in failing.items():
        if counts.get(state):
            latest = [job for job, _ in find(store, Search(states=(state,), queues=(HOOK_QUEUE,)), 1)[0]]
            because = f", the latest with {latest[0].error}" if latest and latest[0].error else ""
            findings.append(Finding("hooks", level, f"{counted(counts[state], 'hook')} {verb}{because}", advice))
    are_set = any(key.rpartition(".")[2] in settings.HOOKS and value for key, value in store.config().items())
    return findings or ([Finding("hooks", "ok", "no hook has failed", None)] if are_set else [])


def _schedules(store: Reader) -> list[Finding]:
    findings = []
    served = _served(store)
    rows = schedules(store)
    for row in rows:
        if row.fault:
            advice = suggestion("schedule remove", row.name)
            findings.append(Finding("runs", "wrong", f"schedule {row.name} is paused: {row.fault}", advice))
        elif not row.paused and row.next_at is not None:
            try:
                queue = str(template_fields(row.template).get("queue", "default"))
            except BadInput:
                continue  # Another program stored garbage; a worker will pause it, and say why.
            if not any(queues is None or queue in queues for queues in served):
                text = f"schedule {row.name} adds jobs to queue {queue}, which has no worker"
                findings.append(Finding("runs", "wrong", text, "queuectl worker start"))
    count = counted(len(rows), "schedule")
    return findings or ([Finding("runs", "ok", f"{count}, whose jobs can run", None)] if rows else [])


def doctor_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument("--repair", action="store_true", help="correct counts that other programs' SQL made wrong")


def doctor(args: Namespace) -> int:
    if args.repair and os.path.exists(queue_path(args.db)):
        with open_client(args) as store:
            for text in store.repair():
                tell(f"repaired: {text}")
    findings = examine(queue_path(args.db))
    is_healthy = all(finding.level != "wrong" for finding in findings)
    if args.json:
        print_json({"well": is_healthy, "findings": [finding._asdict() for finding in findings]})
        return 0 if is_healthy else 1
    for finding in findings:
        _print(finding, terminal.width())
    return 0 if is_healthy else 1


def _print(finding: Finding, room: int | None) -> None:
    """Print a finding on one line; on a terminal (of `room` columns) that is too narrow, on several, indented."""
    head = f"{finding.level:<5}  {finding.check:<7}  "
    advice = "" if finding.advice is None else f"→ {finding.advice}"
    line = values.escape(f"{head}{finding.text} {advice}".rstrip())
    if room is None or len(line) <= room:
        print(line)
        return
    from textwrap import wrap

    for indent, text in ((head, finding.text), (" " * len(head), advice)):
        width = max(20, room - len(head))
        for piece in wrap(values.escape(text), width, break_long_words=False, break_on_hyphens=False):
            print(indent + piece)
            indent = " " * len(head)
