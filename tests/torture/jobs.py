"""What the jobs do, and how they may end."""

from __future__ import annotations

import os
import random
import time
from typing import Any

from queuectl_core.lifecycle import FINISHED

QUEUES = "abc"
TICKS, TICK = "ticks", 1  # A queue and a schedule, and how often it is due, in seconds. Clients leave them alone.
LOCKED = (
    'exec 9>>"locks/$QUEUECTL_JOB_ID"; flock -n 9 || echo "$QUEUECTL_JOB_ID" >>overlaps;'
    ' echo "$QUEUECTL_JOB_ID" >>ran; '
)

# What a job does, and the states in which it may end unless it is cancelled. A job whose worker is lost once too often
# may always end dead.
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "quick": ("true", ("completed",)),
    "slow": ("sleep 0.3", ("completed",)),
    "lasting": ("sleep 2", ("completed",)),  # If it survived its worker, the next attempt would notice.
    "loud": ("head -c 300000 /dev/zero", ("completed",)),
    "failing": ("exit 3", ("dead",)),
    "flaky": ("[ -e flag.$QUEUECTL_JOB_ID ] || { touch flag.$QUEUECTL_JOB_ID; exit 1; }", ("completed",)),
    "killer": ("kill -9 $PPID; sleep 60", ("dead",)),
    "stubborn": ("trap '' TERM; sleep 0.2", ("completed",)),
    # They hold the lock until the worker ends their group, or a rescuer ends them.
    "parent": ("sleep 60 & sleep 0.2", ("completed",)),
    "escaping": ("setsid sleep 0.5 & sleep 0.2; kill -9 $PPID; sleep 60", ("dead",)),
}
# Jobs that kill their workers are rare: supervisors slow down fleets whose workers die young.
WEIGHTS = [{"killer": 1, "escaping": 1, "lasting": 5}.get(kind, 20) for kind in KINDS]
FOREIGN = "foreign"  # The kind of rows that were inserted in plain SQL. They may end in any way.


def allowed_ends(kind: str) -> tuple[str, ...]:
    """The states in which a job of this kind may end."""
    return FINISHED if kind == FOREIGN else KINDS[kind][1]


def specification(kind: str, choose: random.Random) -> dict[str, Any]:
    """A job of this kind, as JSON for `enqueue`."""
    job = {"command": LOCKED + KINDS[kind][0], "queue": choose.choice(QUEUES), "priority": choose.randrange(3)}
    return {**job, "max_retries": 1} if kind in ("killer", "escaping") else job


def foreign_row(number: int, folder: str, choose: random.Random) -> dict[str, Any]:
    """The columns of a row with a few odd values. The schema may refuse it; if it doesn't, the job must end."""
    # The id may contain anything, so the lock's name doesn't.
    command = f"cd {folder}; exec 9>>locks/foreign.{number}; flock -n 9 || echo foreign {number} >>overlaps; "
    command += choose.choice(("true", "exit 1", "sleep 0.1", "echo $A; env >&2", "kill -9 $$"))
    odd: dict[str, tuple[Any, ...]] = {
        "id": (f"é {number}", f"-{number}", f"a\n\x1b[31m,{number}", f"{number}".rjust(200, "x"), f"../{number}", ""),
        "queue": ("a", "an odd\tqueue", "é" * 200, 7, b"blob"),
        "priority": (2**63 - 1, -(2**63), "high", 1.5),
        "cwd": (folder, folder.encode(), "/missing", "relative", "", b"/\xff", 3),
        "env": ('{"A": "b"}', "{}", "no JSON", '{"A": 1}', "[]", '{"": "a"}', '{"A=": "\\u0000"}', b"\xff"),
        "backoff_base": (0, 1e10, -1, "two"),
        "timeout": (0.05, 1e10, 0, -1),
        "kill_grace": (0, 0.1),
        "output_limit": (0, 1, 2**62, -1, "all"),
        "defer_limit": (0, 2**62),
        "bury_on": ("1", "1-", "all", "", "9" * 50, b"1"),
        "retry_only_on": ("1", "-", "1,,2", b"\xff"),
        "unique_key": ("key", b"key", 3, ""),
        "run_at": (0, time.time() + 0.3, -1, "now"),
    }
    row = {column: choose.choice(odd[column]) for column in choose.sample(list(odd), choose.randrange(4))}
    raw: Any = choose.choice((command, os.fsencode(command) + b" # \xff"))
    return {"command": raw, "max_retries": choose.randrange(3), "backoff_max": 0.2, **row}
