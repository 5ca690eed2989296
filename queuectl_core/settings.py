"""The configuration keys: what each one means, its default and its parser.

Settings that belong to a job are copied into it when it is enqueued. The value comes from the first of these that is
set: the job itself, its queue's key (`QUEUE.max-retries`), the global key (`max-retries`), the default. Later changes
affect later jobs only.
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
    # The values that users set, by canonical key.
    Config = Dict[str, Value]


class Setting(NamedTuple):
    """A configuration key. `parse(value, place)` validates user input; `of_job` settings are columns of a job."""

    key: str
    default: Value
    parse: Callable[[object, str], Value]
    of_job: bool
    help: str

    @property
    def column(self) -> str:
        return self.key.replace("-", "_")


def _count(value: object, place: str) -> int:
    return values.whole(value, place, 0)


def _limit(value: object, place: str) -> int:
    return values.whole(value, place, 1)


def _line(value: object, place: str) -> str:
    text = str(value).strip()
    if not text.isprintable():
        raise BadInput(f"{place}: must be one line of printable text: {values.quote(text)}")
    return text


def _switch(value: object, place: str) -> str:
    text = str(value).strip().lower()
    if text not in ("on", "off"):
        raise BadInput(f"{place}: must be on or off, not {values.quote(value)}")
    return text


def _runner(value: object, place: str) -> str:
    import shlex

    text = _line(value, place)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise BadInput(f"{place}: {str(error).lower()}: {values.quote(text)}") from None
    if not words or not words[0]:
        raise BadInput(f"{place}: must be a command that takes another as its last argument, such as /bin/sh -c")
    return text


SETTINGS = {
    setting.key: setting
    for setting in (
        Setting("max-retries", 3, _count, True, "how many times to retry a failed job"),
        Setting("backoff-base", 2, values.factor, True, "wait BASE ** n seconds before retry n"),
        Setting("backoff-max", 86400, values.duration, True, "longest wait before a retry, in seconds"),
        Setting("backoff-jitter", 0, values.fraction, True, "extend each wait by up to this fraction of it, at random"),
        Setting("timeout", 0, values.duration, True, "seconds an attempt can run (0: no limit)"),
        Setting("kill-grace", 10, values.duration, True, "seconds between SIGTERM and SIGKILL"),
        Setting(
            "output-limit",
            1024 * 1024,
            values.size,
            True,
            "bytes of output to keep, half from each end",
        ),
        Setting("defer-limit", 20, _count, True, "how many times exit 75 costs no retry"),
        Setting("runner", "/bin/sh -c", _runner, False, "command that runs each job's command"),
        Setting("direct", "on", _switch, False, "whether simple commands run without the shell"),
        Setting("runner-kill", "", _line, False, "command that kills what a job's runner started elsewhere"),
        Setting("on-dead", "", _line, False, "shell line to run when a job dies; see docs/hooks.md"),
        Setting("on-failed", "", _line, False, "shell line to run when a job fails and will be retried"),
        Setting("on-completed", "", _line, False, "shell line to run when a job completes"),
        Setting("on-empty", "", _line, False, "shell line to run when a queue has no unfinished jobs left"),
        Setting("keep-completed", "forever", values.retention, False, "prune completed jobs older than this"),
        Setting("keep-dead", "forever", values.retention, False, "prune dead jobs older than this"),
        Setting("limit", "none", _limit, False, "per queue: how many jobs can run at once"),
        Setting("halt-on-dead", "none", _limit, False, "pause a queue after this many deaths in a row"),
        Setting("rate", "none", values.rate, False, "per queue: limit on starts, such as 10/min"),
        Setting("max-load", "none", values.load, False, "start jobs only while the machine's load is below this"),
        Setting("min-free-memory", "none", values.memory, False, "start jobs only while this much memory is free"),
    )
}

JOB_SETTINGS = tuple(setting for setting in SETTINGS.values() if setting.of_job)
OF_A_QUEUE = ("limit", "rate")  # Valid only as QUEUE.KEY.
OF_ALL = ("keep-completed", "keep-dead")  # Not valid as QUEUE.KEY.
HOOKS = ("on-dead", "on-failed", "on-completed", "on-empty")
HOOK_QUEUE = "hooks"  # The queue of the jobs that run hooks; hooks don't apply to it.
SHELL_LINES = (*HOOKS, "runner-kill")

# What earlier implementations of this system called these keys.
OLD_NAMES = {
    "default-max-retries": "max-retries",
    "default-base-backoff": "backoff-base",
    "job-timeout": "timeout",
    "default-timeout": "timeout",
}


# What other tools call keys of a queue.
OTHER_WORDS = {
    **dict.fromkeys("slots parallel concurrency max-jobs max-concurrent max-parallel".split(), "limit"),
    **dict.fromkeys("throttle rate-limit".split(), "rate"),
}


def canonical(key: str) -> str:
    """The canonical spelling of a key: `max-retries` for `max_retries` and `default_max_retries`.

    In `QUEUE.KEY`, the queue's name is left alone. Raises BadInput for an unknown key, with the most similar known one.
    """
    queue, dot, last = key.rpartition(".")
    spelled = last.strip().lower().replace("_", "-")
    spelled = OLD_NAMES.get(spelled, spelled)
    if spelled not in SETTINGS:
        meant = OTHER_WORDS.get(spelled)
        whole = f"{queue if dot else 'QUEUE'}.{meant}"
        hint = f"did you mean {whole}?" if meant else values.nearest(spelled, list(SETTINGS))
        raise BadInput(f"no such key: {values.quote(key)} ({hint})")
    if spelled in OF_A_QUEUE and not dot:
        raise BadInput(f"{key}: applies to a single queue; write QUEUE.{spelled}")
    if spelled in OF_ALL and dot:
        raise BadInput(f"{key}: applies to all queues; write {spelled}")
    if spelled in HOOKS and queue == HOOK_QUEUE:
        raise BadInput(f"{key}: hooks trigger no hooks; to see those that failed, run: queuectl list -q {queue}")
    if dot:
        return f"{values.name(queue, 'queue')}.{spelled}"
    return spelled


def parse(key: str, value: str) -> Value:
    """The value to store for the canonical `key`. Raises BadInput."""
    return SETTINGS[key.rpartition(".")[2]].parse(value, key)


def resolve(config: Config, queue: str) -> dict[str, Value]:
    """The settings of a new job in `queue`, by column."""
    return {setting.column: of_queue(config, queue, setting.key) for setting in JOB_SETTINGS}


def of_queue(config: Config, queue: str, key: str) -> Value:
    """The value of `key` for `queue`: the queue's own, the global one, or the default."""
    return config.get(f"{queue}.{key}", config.get(key, SETTINGS[key].default))
