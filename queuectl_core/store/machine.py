"""How busy this machine is, for the settings `max-load` and `min-free-memory`.

The load average lags by a minute, so eight idle workers would all find it low and start a job. So the load is that
average or the number of processes that are runnable right now, whichever is higher (GNU make's -l uses that number,
too). A job that has just started counts as one until it shows up there.
"""

from __future__ import annotations

import os

from ..errors import BadInput
from ..typed import NamedTuple
from .sql import GATES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Config

YOUNG = 1.0  # Seconds after which a job shows up in the load.


class Busy(NamedTuple):
    """The load and the free memory in bytes; None if no setting needs it, or the system doesn't report it."""

    load: float | None = None
    memory: int | None = None


UNKNOWN = Busy()


def is_gated(config: Config) -> bool:
    """Whether any setting depends on how busy the machine is."""
    return any(key.endswith(GATES) for key in config)


def busy() -> Busy:
    """How busy the machine is now."""
    return Busy(_load(), _free_memory())


def _load() -> float | None:
    try:
        average = os.getloadavg()[0]
    except (OSError, AttributeError):
        return None
    try:
        with open("/proc/loadavg") as file:
            running = int(file.read().split()[3].partition("/")[0]) - 1  # Don't count this process.
    except (OSError, ValueError, IndexError):
        running = 0
    return max(average, running)


def _free_memory() -> int | None:
    try:
        with open("/proc/meminfo", "rb") as file:
            for line in file:
                if line.startswith(b"MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def require(key: str) -> None:
    """Raise BadInput if this system doesn't report what `key` is compared with."""
    name = key.rpartition(".")[2]
    if name in GATES and busy()[GATES.index(name)] is None:
        what = "its load average" if name == "max-load" else "how much memory is available"
        raise BadInput(f"{key}: this system doesn't say {what}")


def _amount(number: float) -> str:
    """Bytes as an amount of memory: 512 MiB, 2 GiB, 7.5 GiB."""
    unit, name = (1024**3, "GiB") if number >= 1024**3 else (1024**2, "MiB")
    text = f"{number / unit:.1f}"
    return f"{text[:-2] if text.endswith('.0') else text} {name}"


def explained(reason: str) -> str:
    """A reason such as "max-load 4" with the current value: "load 8.2 (max-load 4)".

    If there are several settings, names those that keep jobs from starting right now.
    """
    load, memory = busy()
    closed = []
    for part in reason.split(", "):
        name, _, value = part.rpartition(" ")
        try:
            limit = float(value)
        except ValueError:
            continue  # Another program stored it.
        if name == "max-load" and load is not None and load >= limit:
            closed.append(f"load {load:.1f} (max-load {limit:g})")
        elif name == "min-free-memory" and memory is not None and memory < limit:
            closed.append(f"{_amount(memory)} free (min-free-memory {_amount(limit)})")
    return ", ".join(closed) or reason
