"""Identify processes, check whether they are alive, and list them.

A process is identified by the boot of the machine (and the PID namespace), its PID, and when it started. PIDs are
reused and clocks jump, but the three together never repeat. On Linux they come from proc(5), elsewhere from `ps` and
`sysctl`. A process that doesn't match is a stranger, and strangers are never signaled.

A process that is out of descriptors or memory can't look. That proves nothing, so these functions then raise OSError.
"""

from __future__ import annotations

import errno
import os
import sys

from ..errors import QueueError
from ..records import Identity
from ..typed import NamedTuple, once

LINUX = sys.platform.startswith("linux")
TOKEN_VARIABLE = "QUEUECTL_TOKEN"
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # Why we can't look.
FLEET_VARIABLE = "QUEUECTL_FLEET"  # In the environment of a fleet that a job started, which outlives that job.


class Process(NamedTuple):
    """One running process. `birth` is in whatever unit the system reports."""

    pid: int
    parent: int
    group: int
    session: int
    birth: str


@once
def boot() -> str:
    """This boot of this machine and, on Linux, this PID namespace: "BOOT/NAMESPACE"."""
    if LINUX:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()}/{os.stat('/proc/self/ns/pid').st_ino}"
    for name in ("kern.bootsessionuuid", "kern.boot_id"):
        value = output_of(["sysctl", "-n", name]).strip()
        if value:
            return value + "/"
    return "unknown/"


def machine_boot() -> str:
    """This boot of this machine, the same in all PID namespaces."""
    return boot().partition("/")[0]


def birth(pid: int) -> str | None:
    """When process `pid` started; None if it isn't running or is a zombie."""
    if LINUX:
        process = process_of(pid)
        return process.birth if process else None
    words = output_of(["ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)]).split(None, 1)
    return words[1].strip() if len(words) == 2 and not words[0].startswith("Z") else None


def own_identity() -> Identity:
    """This process. Raises QueueError if the system doesn't list it."""
    try:
        identity = identity_of(os.getpid())
    except OSError as error:
        raise QueueError(f"cannot list processes: {error.strerror}") from None
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
    try:
        found = birth(process.pid)
    except OSError:
        return None
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
        return LINUX and isinstance(error, PermissionError) and not os.path.exists(f"/proc/{pid}/stat")
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


def processes() -> list[Process]:
    """All running processes, except zombies."""
    if LINUX:
        pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
        return [process for process in map(process_of, pids) if process]
    table = []
    for line in output_of(["ps", "-A", "-o", "pid=,ppid=,pgid=,stat=,lstart="]).splitlines():
        words = line.split(None, 4)
        if len(words) == 5 and not words[3].startswith("Z"):
            pid, parent, group = map(int, words[:3])
            table.append(Process(pid, parent, group, group, words[4].strip()))
    return table


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped, by a signal or a debugger. Always False except on Linux."""
    try:
        return LINUX and run_state(pid) in (b"T", b"t")
    except OSError:
        return False


def run_state(pid: int) -> bytes:
    """The state of a process as in proc(5), such as b"S"; empty if there is none, or not on Linux."""
    return b"".join(stat_fields(pid)[:1])


def pulse(pid: int) -> int | None:
    """A number that grows whenever a process wakes up; None if unknown. A frozen process (cgroups(7)) has no pulse."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            counts = [line.split()[1] for line in file if b"ctxt_switches:" in line]
    except OSError:
        return None
    return sum(map(int, counts)) if counts else None


def stat_fields(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat after the name, see proc(5); [] if there is no such process."""
    try:
        # Not open(), which makes nine system calls: each idle worker does this every few seconds.
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
        try:
            # The name may contain parentheses, so split after the last one.
            return os.read(fd, 4096).rpartition(b")")[2].split()
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise
        return []


def process_of(pid: int) -> Process | None:
    """A process that /proc shows; None if it has exited, or is a zombie."""
    fields = stat_fields(pid)
    if not fields or fields[0] in b"ZXx":
        return None
    return Process(pid, int(fields[1]), int(fields[2]), int(fields[3]), fields[19].decode())


def environment(pid: int) -> list[bytes]:
    """The variables that a process was executed with, on Linux; [] if it has exited, or belongs to another user."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise
        return []


def children() -> list[int]:
    """The PIDs of our children. Linux may miss some if others end meanwhile."""
    pid = os.getpid()
    try:
        with open(f"/proc/self/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:  # Not in this kernel.
        return [process.pid for process in processes() if process.parent == pid]


def output_of(argv: list[str]) -> str:
    """What a command prints; "" if it can't be run."""
    import subprocess

    environment = dict(os.environ, LC_ALL="C", TZ="UTC")
    try:
        return subprocess.run(
            argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
        ).stdout.decode("utf-8", "replace")
    except OSError:
        return ""
