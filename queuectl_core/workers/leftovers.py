"""Find and end what an attempt left running.

An attempt's processes are found by its token in their environment, by its lock, and by descent, group and session from
these or from its command. Processes that belong to other users, or that /proc hides, can't be ended; we wait for them.
"""

from __future__ import annotations

import os
import pwd
import sys
import time

from ..records import Identity
from .identity import (
    EXHAUSTED,
    FLEET_VARIABLE,
    LINUX,
    TOKEN_VARIABLE,
    Process,
    boot,
    children,
    environment,
    output_of,
    processes,
    send,
    stat_fields,
)

MOST_NAMED = 5  # Processes named in an error.


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
    process may fork while it is being killed; gives up after `patience` seconds. Raises OSError if we can't look.
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
    table = processes()
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
    return [process for process in processes() if process.group == group]


def has_hidden_members(group: int) -> bool:
    """Whether a process group has only members that we neither see nor may signal, since /proc hides other users'."""
    try:
        os.killpg(group, 0)
    except PermissionError:
        pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()] if LINUX else []
        return LINUX and not any(stat_fields(pid)[2:3] == [b"%d" % group] for pid in pids)
    except ProcessLookupError:
        pass
    return False


def _hidden_children(spared: frozenset[tuple[int, str]] | None) -> list[Process]:
    """Our children that /proc hides, without a birth, except the spared ones."""
    if spared is None:
        return []
    hidden = [pid for pid in children() if not os.path.exists(f"/proc/{pid}/stat")]
    return [Process(pid, os.getpid(), 0, 0, "") for pid in hidden if (pid, "") not in spared]


def _marked(token: str, table: list[Process]) -> set[int]:
    """The PIDs of processes with this token in their environment."""
    mark = f"{TOKEN_VARIABLE}={token}".encode()
    found = set()
    if LINUX:
        return {process.pid for process in table if mark in environment(process.pid)}
    show_environment = "-E" if sys.platform == "darwin" else "-e"
    listing = output_of(["ps", "-A", show_environment, "-ww", "-o", "pid=,command="])
    for line in listing.splitlines():
        words = line.split()
        if mark.decode() in words[1:]:
            found.add(int(words[0]))
    return found


def _adopted(token: str, table: list[Process], spared: frozenset[tuple[int, str]] | None) -> set[int]:
    """The PIDs of our children, except the spared ones and those with another attempt's token."""
    if spared is None:
        return set()
    own = os.getpid()
    mine = [process for process in table if process.parent == own and (process.pid, process.birth) not in spared]
    return {process.pid for process in mine if attempt_of(process.pid) in (None, token)}


def attempt_of(pid: int) -> str | None:
    """The token that a process has in its environment; None if it has none, "" if it belongs to a fleet."""
    marks = {name: value for name, _, value in (word.partition(b"=") for word in environment(pid))}
    token = marks.get(TOKEN_VARIABLE.encode())
    return "" if FLEET_VARIABLE.encode() in marks else None if token is None else os.fsdecode(token)


def tokens_in_use() -> set[str]:
    """The tokens that running processes have in their environment."""
    return {attempt_of(process.pid) or "" for process in processes()}


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
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise
        return False  # It has exited, or belongs to another user.
    for fd in fds:
        path = f"/proc/{pid}/fd/{fd}"
        try:
            # The name first: stat() could hang on a dead network file system.
            if os.path.basename(os.readlink(path)) == name and os.path.samestat(os.stat(path), lock):
                with open(f"/proc/{pid}/fdinfo/{fd}") as file:
                    if "FLOCK" in file.read():  # Otherwise it has just kept the descriptor of an earlier attempt.
                        return True
        except OSError as error:
            if error.errno in EXHAUSTED:
                raise
            # It has closed it.
    return False
