"""Identify processes, check whether they are alive, and find what an attempt left running.

A process is identified by the boot of the machine (and the PID namespace), its PID, and when it started. PIDs are
reused and clocks jump, but the three together never repeat. On Linux they come from proc(5), elsewhere from `ps` and
`sysctl`. A process that doesn't match is a stranger, and strangers are never signaled.
"""

from __future__ import annotations

import os
import pwd
import sys
import time
from functools import lru_cache

from ..errors import QueueError
from ..records import Identity
from ..typed import NamedTuple

LINUX = sys.platform.startswith("linux")
TOKEN_VARIABLE = "QUEUECTL_TOKEN"
FLEET_VARIABLE = "QUEUECTL_FLEET"  # In the environment of a fleet that a job started, which outlives that job.
MOST_NAMED = 5  # Processes named in an error.


class Process(NamedTuple):
    """One running process. `birth` is in whatever unit the system reports."""

    pid: int
    parent: int
    group: int
    session: int
    birth: str


@lru_cache(maxsize=None)
def boot() -> str:
    """This boot of this machine and, on Linux, this PID namespace: "BOOT/NAMESPACE"."""
    if LINUX:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()}/{os.stat('/proc/self/ns/pid').st_ino}"
    for name in ("kern.bootsessionuuid", "kern.boot_id"):
        value = _run(["sysctl", "-n", name]).strip()
        if value:
            return value + "/"
    return "unknown/"


def birth(pid: int) -> str | None:
    """When process `pid` started; None if it isn't running or is a zombie."""
    if LINUX:
        process = _from_proc(pid)
        return process.birth if process else None
    words = _run(["ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)]).split(None, 1)
    return words[1].strip() if len(words) == 2 and not words[0].startswith("Z") else None


def own_identity() -> Identity:
    """This process. Raises QueueError if the system doesn't list it."""
    identity = identity_of(os.getpid())
    if identity is None:
        raise QueueError("cannot list processes; mount /proc, or install ps")
    return identity


def identity_of(pid: int) -> Identity | None:
    """A process of this PID namespace; None if it isn't running."""
    started = birth(pid)
    return None if started is None else Identity(pid, boot(), started)


def ended(pid: int) -> Identity:
    """A process that was ours and has ended: nothing running matches it, but its session may have members."""
    return Identity(pid, boot(), "0")


def is_alive(process: Identity) -> bool | None:
    """Whether this process is running; None if we can't see that from here."""
    here, there = boot(), process.boot
    if here != there:
        return None if is_same_boot(there) else False  # Another PID namespace, or an earlier boot.
    found = birth(process.pid)
    if found is None and _is_hidden(process.pid):
        return None
    return found == process.birth


def is_same_boot(there: str) -> bool:
    """Whether a boot(), perhaps of another PID namespace, is of this boot of the machine."""
    return boot().partition("/")[0] == there.partition("/")[0]


def _is_hidden(pid: int) -> bool:
    """Whether this process is another user's that we can't see: /proc may be mounted with hidepid=2."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return LINUX and isinstance(error, PermissionError) and not os.path.exists(f"/proc/{pid}")
    return False


def send(process: Identity, number: int) -> bool:
    """Signal this process; False if it is gone or can't be seen from here. Raises PermissionError."""
    import signal  # Deferred: status and list never send signals.

    if hasattr(signal, "pidfd_send_signal") and hasattr(os, "pidfd_open"):
        try:
            # The descriptor pins the process, so its PID can't be reused before the signal is sent.
            fd = os.pidfd_open(process.pid)
            try:
                if not is_alive(process):
                    return False
                signal.pidfd_send_signal(fd, number)
                return True
            finally:
                os.close(fd)
        except PermissionError:
            raise
        except ProcessLookupError:
            return False
        except OSError:
            pass  # The kernel doesn't support pidfds.
    try:
        if not is_alive(process):
            return False
        os.kill(process.pid, number)
        return True
    except ProcessLookupError:
        return False


def end_leftovers(
    token: str,
    command: Identity | None = None,
    is_recent: bool = True,
    patience: float = 10.0,
    lock: str | None = None,
    spared: frozenset[tuple[int, str]] | None = None,
) -> list[Process]:
    """SIGKILL everything that the attempt with `token` left running; returns what is still running.

    That is what other users own, which we can't signal, and, unless the attempt `is_recent`, what only has the number
    of its session or group, which another session may have got in the meantime. Those we can just wait for. `command`
    is the attempt's first process, if known, and `lock` the path of its lock (see lifeline.py). Unless `spared` is
    None, our own children belong to it too, except those (see orphans.py). Repeats until nothing else is left, since a
    process may fork while it is being killed; gives up after `patience` seconds.
    """
    from signal import SIGKILL

    until = time.monotonic() + patience
    while True:
        found, suspects = leftovers(token, command, lock, spared)
        held = [] if is_recent else suspects
        found += suspects if is_recent else []
        denied = []
        for process in found:
            try:
                send(Identity(process.pid, boot(), process.birth), SIGKILL)
                if process.birth:
                    continue
            except PermissionError:
                pass
            denied.append(process)
        if len(denied) == len(found) or time.monotonic() > until:
            return found + held
        time.sleep(0.005)


def leftovers(
    token: str,
    command: Identity | None,
    lock: str | None = None,
    spared: frozenset[tuple[int, str]] | None = None,
) -> tuple[list[Process], list[Process]]:
    """The attempt's running processes, and those that have nothing but the number of its session or group.

    The attempt's are its command, those with its token in their environment or holding its lock, and their relatives:
    children and members of the same group or session. They belong to the attempt even if they cleared their
    environment, because each attempt has its own session.
    """
    table = _table()
    marked = _marked(token, table) | _holders(lock, table) | _adopted(token, table, spared)
    found = _relatives(
        table,
        {
            process.pid: process
            for process in table
            if process.pid in marked or (command and (process.pid, process.birth) == (command.pid, command.birth))
        },
    )
    suspects = _relatives(table, {process.pid: process for process in _numbered(table, command)})
    hidden = _hidden_children(spared)
    return [*found.values(), *hidden], [process for pid, process in suspects.items() if pid not in found]


def _numbered(table: list[Process], command: Identity | None) -> list[Process]:
    """Members of the command's session and group. A session keeps its number while it has members, so while nothing
    else has the command's PID, they most likely belong to it."""
    if command is None or any(p.pid == command.pid and p.birth != command.birth for p in table):
        return []
    members = [process for process in table if command.pid in (process.session, process.group)]
    return [process for process in members if not LINUX or int(process.birth) >= int(command.birth)]


def _relatives(table: list[Process], found: dict[int, Process]) -> dict[int, Process]:
    """`found` and all their children and members of their groups and sessions."""
    # We may be running inside that attempt, as its rescuer: leave ourselves out, and with us our children.
    found.pop(os.getpid(), None)
    grew = bool(found)
    while grew:
        kin = set(found)
        groups = {process.group for process in found.values()}
        sessions = {process.session for process in found.values()}
        # 0: the leader is outside our PID namespace. Such groups and sessions all look the same.
        groups.discard(0)
        sessions.discard(0)
        for process in table:
            if process.parent in kin or process.group in groups or process.session in sessions:
                found[process.pid] = process
        found.pop(os.getpid(), None)
        grew = len(found) > len(kin)
    return found


def described(processes: list[Process]) -> str:
    """Why an attempt isn't over, such as "may still run: pid 17 (root), pid 18 (root)". None: they are hidden."""
    names = [] if processes else ["processes hidden from us"]
    for process in processes[:MOST_NAMED]:
        try:
            uid = os.stat(f"/proc/{process.pid}").st_uid
            names.append(f"pid {process.pid} ({pwd.getpwuid(uid).pw_name})")
        except (OSError, KeyError):
            names.append(f"pid {process.pid}")
    more = f" and {len(processes) - MOST_NAMED} more" if len(processes) > MOST_NAMED else ""
    return f"may still run: {', '.join(names)}{more}"


def members(group: int) -> list[Process]:
    """The running members of a process group."""
    return [process for process in _table() if process.group == group]


def has_hidden_members(group: int) -> bool:
    """Whether a process group has only members that we neither see nor may signal, since /proc hides other users'."""
    try:
        os.killpg(group, 0)
    except PermissionError:
        pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()] if LINUX else []
        return LINUX and not any(_stat(pid)[2:3] == [b"%d" % group] for pid in pids)
    except ProcessLookupError:
        pass
    return False


def _hidden_children(spared: frozenset[tuple[int, str]] | None) -> list[Process]:
    """Our children that /proc hides, without a birth, except the spared ones."""
    if spared is None:
        return []
    hidden = [pid for pid in children() if not os.path.exists(f"/proc/{pid}")]
    return [Process(pid, os.getpid(), 0, 0, "") for pid in hidden if (pid, "") not in spared]


def _table() -> list[Process]:
    """All running processes, except zombies."""
    if LINUX:
        pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
        return [process for process in map(_from_proc, pids) if process]
    table = []
    for line in _run(["ps", "-A", "-o", "pid=,ppid=,pgid=,stat=,lstart="]).splitlines():
        words = line.split(None, 4)
        if len(words) == 5 and not words[3].startswith("Z"):
            pid, parent, group = map(int, words[:3])
            table.append(Process(pid, parent, group, group, words[4].strip()))
    return table


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped, by a signal or a debugger. Always False except on Linux."""
    return LINUX and _stat(pid)[:1] in ([b"T"], [b"t"])


def pulse(pid: int) -> int | None:
    """A number that grows whenever a process wakes up; None if unknown. A frozen process (cgroups(7)) has no pulse."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            counts = [line.split()[1] for line in file if b"ctxt_switches:" in line]
    except OSError:
        return None
    return sum(map(int, counts)) if counts else None


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat after the name, see proc(5); [] if there is no such process."""
    try:
        # Not open(), which makes nine system calls: each idle worker does this every few seconds.
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
        try:
            # The name may contain parentheses, so split after the last one.
            return os.read(fd, 4096).rpartition(b")")[2].split()
        finally:
            os.close(fd)
    except OSError:
        return []


def _from_proc(pid: int) -> Process | None:
    fields = _stat(pid)
    if not fields or fields[0] in b"ZXx":
        return None
    return Process(pid, int(fields[1]), int(fields[2]), int(fields[3]), fields[19].decode())


def _marked(token: str, table: list[Process]) -> set[int]:
    """The PIDs of processes with this token in their environment."""
    mark = f"{TOKEN_VARIABLE}={token}".encode()
    found = set()
    if LINUX:
        return {process.pid for process in table if mark in _environment(process.pid)}
    show_environment = "-E" if sys.platform == "darwin" else "-e"
    listing = _run(["ps", "-A", show_environment, "-ww", "-o", "pid=,command="])
    for line in listing.splitlines():
        words = line.split()
        if mark.decode() in words[1:]:
            found.add(int(words[0]))
    return found


def _environment(pid: int) -> list[bytes]:
    """The variables that a process was executed with, on Linux; [] if it has exited, or belongs to another user."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def _adopted(token: str, table: list[Process], spared: frozenset[tuple[int, str]] | None) -> set[int]:
    """The PIDs of our children, except the spared ones and those with another attempt's token."""
    if spared is None:
        return set()
    own = os.getpid()
    mine = [process for process in table if process.parent == own and (process.pid, process.birth) not in spared]
    return {process.pid for process in mine if not _is_of_another(process.pid, token)}


def _is_of_another(pid: int, token: str) -> bool:
    """Whether a child says that it belongs to another attempt, or to a fleet."""
    marks = {name: value for name, _, value in (word.partition(b"=") for word in _environment(pid))}
    found = marks.get(TOKEN_VARIABLE.encode(), token.encode())
    return found != token.encode() or FLEET_VARIABLE.encode() in marks


def children() -> list[int]:
    """The PIDs of our children. Linux may miss some if others end meanwhile."""
    pid = os.getpid()
    try:
        with open(f"/proc/self/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:  # Not in this kernel.
        return [process.pid for process in _table() if process.parent == pid]


def _holders(lock: str | None, table: list[Process]) -> set[int]:
    """The PIDs of processes that hold this lock. Empty except on Linux."""
    try:
        file = os.stat(lock or "")
    except OSError:
        return set()
    name = os.path.basename(lock or "")
    return {process.pid for process in table if LINUX and _holds(process.pid, name, file)}


def _holds(pid: int, name: str, lock: os.stat_result) -> bool:
    try:
        fds = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False  # It has exited, or belongs to another user.
    for fd in fds:
        path = f"/proc/{pid}/fd/{fd}"
        try:
            # The name first: stat() could hang on a dead network file system.
            if os.path.basename(os.readlink(path)) == name and os.path.samestat(os.stat(path), lock):
                with open(f"/proc/{pid}/fdinfo/{fd}") as file:
                    if "FLOCK" in file.read():  # Otherwise it has just kept the descriptor of an earlier attempt.
                        return True
        except OSError:
            pass  # It has closed it.
    return False


def _run(argv: list[str]) -> str:
    import subprocess

    environment = dict(os.environ, LC_ALL="C", TZ="UTC")
    try:
        return subprocess.run(
            argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
        ).stdout.decode("utf-8", "replace")
    except OSError:
        return ""
