"""The configuration keys: what each means, its default, and how its value is read.

A setting that belongs to a job (`column`) is copied into the job when it is enqueued, from the
first of: the job itself, the key of its queue (`QUEUE.max-retries`), the key (`max-retries`), the
default here. Later changes apply to later jobs only.
"""

from __future__ import annotations

from . import values
from .errors import BadInput
from .typed import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Dict, Union

    Value = Union[int, float, str]
    # What is set, by canonical key.
    Config = Dict[str, Value]


class Setting(NamedTuple):
    """A key. `parse(value, place)` makes a value of what a user gave; `column` is that of a job, or ""."""

    key: str
    default: Value
    parse: Callable[[object, str], Value]
    column: str
    help: str



def _count(value: object, place: str) -> int:
    return values.whole(value, place, 0)


def _limit(value: object, place: str) -> int:
    return values.whole(value, place, 1)


def _line(value: object, place: str) -> str:
    text = str(value).strip()
    if not text.isprintable():
        raise BadInput(f"{place}: must be one line of printable text: {values.quote(text)}")
    return text


def _runner(value: object, place: str) -> str:
    import shlex

    text = _line(value, place)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise BadInput(f"{place}: {str(error).lower()}: {values.quote(text)}") from None
    if not words or not words[0]:
        raise BadInput(f"{place}: must be a command for the job's own to follow, as in /bin/sh -c")
    return text


SETTINGS = {
    setting.key: setting
    for setting in (
        Setting("max-retries", 3, _count, "max_retries", "how many times a failed job is run again"),
        Setting(
            "backoff-base", 2, values.factor, "backoff_base", "wait BASE ** n seconds after failure n"
        ),
        Setting("backoff-max", 86400, values.duration, "backoff_max", "the longest such wait"),
        Setting("timeout", 0, values.duration, "timeout", "how long an attempt may run; 0 is no limit"),
        Setting(
            "kill-grace", 10, values.duration, "kill_grace", "SIGKILL comes so long after SIGTERM"
        ),
        Setting(
            "output-limit",
            1024 * 1024,
            values.size,
            "output_limit",
            "bytes of output kept of an attempt, its first and last",
        ),
        Setting(
            "defer-limit", 20, _count, "defer_limit", "how often exit 75 (not now) uses no retry"
        ),
        Setting("runner", "/bin/sh -c", _runner, "", "what jobs run under: their command follows it"),
        Setting("runner-kill", "", _line, "", "ends for certain what a job's runner started elsewhere"),
        Setting(
            "keep-completed", "forever", values.retention, "", "prune completed jobs older than this"
        ),
        Setting("keep-dead", "forever", values.retention, "", "prune dead jobs older than this"),
        Setting("limit", "none", _limit, "", "of a queue: how many of its jobs run at once"),
        Setting("rate", "none", values.rate, "", "of a queue: how many jobs start, as in 10/min"),
    )
}

JOB_SETTINGS = tuple(setting for setting in SETTINGS.values() if setting.column)
OF_A_QUEUE = ("limit", "rate")  # These keys need a queue,
OF_ALL = ("keep-completed", "keep-dead")  # and these have none.

# Names that earlier implementations of this system gave to the same things.
OLD_NAMES = {"default-max-retries": "max-retries", "default-base-backoff": "backoff-base"}


def canonical(key: str) -> str:
    """The one spelling of a key: `max_retries` and `default_max_retries` are `max-retries`.

    A key of one queue is `QUEUE.KEY`; the queue's name is left as it is. An unknown key raises
    BadInput and names the nearest known one.
    """
    queue, dot, last = key.rpartition(".")
    spelled = last.strip().lower().replace("_", "-")
    spelled = OLD_NAMES.get(spelled, spelled)
    if spelled not in SETTINGS:
        raise BadInput(f"no such key: {values.quote(key)} ({values.nearest(spelled, list(SETTINGS))})")
    if spelled in OF_A_QUEUE and not dot:
        raise BadInput(f"{key}: belongs to one queue: write QUEUE.{spelled}")
    if spelled in OF_ALL and dot:
        raise BadInput(f"{key}: is for all queues: write {spelled}")
    if dot:
        return f"{values.name(queue, 'queue')}.{spelled}"
    return spelled


def parse(key: str, value: str) -> Value:
    """The value of the canonical `key`, ready to be stored; BadInput where it does not fit."""
    return SETTINGS[key.rpartition(".")[2]].parse(value, key)


def resolve(config: Config, queue: str) -> dict[str, Value]:
    """The value of each job setting, by column, for a new job of `queue`."""
    return {setting.column: of_queue(config, queue, setting.key) for setting in JOB_SETTINGS}


def of_queue(config: Config, queue: str, key: str) -> Value:
    """The value of `key` for `queue`: its own, else that of all queues, else the default."""
    return config.get(f"{queue}.{key}", config.get(key, SETTINGS[key].default))
