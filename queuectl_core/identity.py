"""Who is who among processes: identity, liveness, and what an attempt left running.

A process is known by (boot, pid, birth): the boot of the machine (and the PID namespace), its PID,
and when it started. A PID alone is reused, and a clock steps; these three together are never given
out twice. Linux tells by /proc; elsewhere `ps` and `sysctl` do. A process that does not match is a
stranger, and strangers are never signalled.
"""

from __future__ import annotations

import os
import sys
import time
from collections import namedtuple
from functools import lru_cache

LINUX = sys.platform.startswith("linux")
TOKEN_VARIABLE = "QUEUECTL_TOKEN"

# One running process; `birth` as text, in whatever unit the system tells it.
Process = namedtuple("Process", "pid parent group session birth")


@lru_cache(maxsize=None)
def boot() -> str:
    """This boot of this machine and, on Linux, this PID namespace: "BOOT/NAMESPACE"."""
    if LINUX:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return "%s/%d" % (file.read().strip(), os.stat("/proc/self/ns/pid").st_ino)
    for name in ("kern.bootsessionuuid", "kern.boot_id"):
        told = _run(["sysctl", "-n", name]).strip()
        if told:
            return told + "/"
    return "unknown/"


def birth(pid: int) -> str | None:
    """When process `pid` started; None when it does not run (a zombie does not)."""
    if LINUX:
        process = _from_proc(pid)
        return process.birth if process else None
    told = _run(["ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)]).split(None, 1)
    return told[1].strip() if len(told) == 2 and not told[0].startswith("Z") else None


def is_alive(pid: int, its_boot: str, its_birth: str) -> bool | None:
    """Whether the process of this identity runs; None when that cannot be seen from here."""
    here, there = boot(), its_boot
    if here != there:
        same_machine = here.partition("/")[0] == there.partition("/")[0]
        return None if same_machine else False  # Another PID namespace; an earlier boot.
    return birth(pid) == its_birth


def send(pid: int, its_birth: str, number: int) -> bool:
    """Signal the process if it still is the one that was born then; False if it is gone."""
    import signal  # Who only looks does without.

    try:
        if hasattr(signal, "pidfd_send_signal") and hasattr(os, "pidfd_open"):
            # The descriptor pins the process: it cannot be reused between the look and the signal.
            fd = os.pidfd_open(pid)
            try:
                if birth(pid) != its_birth:
                    return False
                signal.pidfd_send_signal(fd, number)
                return True
            finally:
                os.close(fd)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # A kernel without pidfd.
    try:
        if birth(pid) != its_birth:
            return False
        os.kill(pid, number)
        return True
    except (ProcessLookupError, PermissionError):
        return False


def end_leftovers(token: str, pid: int | None, its_birth: str | None, patience: float = 10.0) -> bool:
    """SIGKILL all that the attempt marked by `token` left running; True when nothing is left.

    `pid` and `its_birth` are the attempt's command, where they are known. Looks again until nothing
    is found, since what is being killed may be forking; gives up after `patience` seconds.
    """
    from signal import SIGKILL

    until = time.monotonic() + patience
    while True:
        found = leftovers(token, pid, its_birth)
        if not found:
            return True
        for process in found:
            send(process.pid, process.birth, SIGKILL)
        if time.monotonic() > until:
            return False
        time.sleep(0.005)


def leftovers(token: str, pid: int | None, its_birth: str | None) -> list[Process]:
    """The processes of an attempt: marked by its token, its command, and all that came of these.

    A child, a member of the group or of the session of one of them belongs to the attempt too, even
    if it cleared its environment: the attempt ran in a session of its own.
    """
    table = _table()
    marked = _marked(token, table)
    found = {
        process.pid: process
        for process in table
        if process.pid in marked or (process.pid == pid and process.birth == its_birth)
    }
    # A rescuer that the attempt started itself is marked too, but neither it nor its kin are meant.
    found.pop(os.getpid(), None)
    grew = bool(found)
    while grew:
        kin = set(found)
        groups = {process.group for process in found.values()}
        sessions = {process.session for process in found.values()}
        for process in table:
            if process.parent in kin or process.group in groups or process.session in sessions:
                found[process.pid] = process
        found.pop(os.getpid(), None)
        grew = len(found) > len(kin)
    return list(found.values())


def group_lives(group: int) -> bool:
    """Whether a process group has a member that is more than a zombie."""
    return any(process.group == group for process in _table())


def _table() -> list[Process]:
    """All running processes, zombies left out."""
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
    """Whether a process is stopped (by SIGSTOP, by a debugger) and does nothing; Linux alone can tell."""
    return LINUX and _stat(pid)[:1] in ([b"T"], [b"t"])


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat behind the name; none when there is no such process."""
    try:
        # (Not by open(): each idle worker looks, and it makes nine system calls of these three.)
        fd = os.open("/proc/%d/stat" % pid, os.O_RDONLY)
        try:
            # The name may hold anything, a parenthesis too: parse after the last one.
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
    mark = ("%s=%s" % (TOKEN_VARIABLE, token)).encode()
    found = set()
    if LINUX:
        for process in table:
            try:
                with open("/proc/%d/environ" % process.pid, "rb") as file:
                    if mark in file.read().split(b"\0"):
                        found.add(process.pid)
            except OSError:
                pass  # It ended, or is somebody else's.
        return found
    show_environment = "-E" if sys.platform == "darwin" else "-e"
    listing = _run(["ps", "-A", show_environment, "-ww", "-o", "pid=,command="])
    for line in listing.splitlines():
        words = line.split()
        if mark.decode() in words[1:]:
            found.add(int(words[0]))
    return found


def _run(argv: list[str]) -> str:
    import subprocess

    environment = dict(os.environ, LC_ALL="C", TZ="UTC")
    try:
        return subprocess.run(
            argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
        ).stdout.decode("utf-8", "replace")
    except OSError:
        return ""
