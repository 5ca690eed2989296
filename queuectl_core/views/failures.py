"""Failures, grouped by what they have in common: the queue, the exit code or error, and the last line of output.

Numbers, hexadecimal words and paths in that line are replaced, so that "timeout after 31s on /data/7f3a9c" and "timeout
after 8s on /data/b01c22" fall into one group. A group is named by a short hash of all that, the same in every file.
"""

from __future__ import annotations

import re
from hashlib import blake2s

from .. import values
from ..typed import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..records import Failure
    from ..store.reader import Reader

MOST = 5000  # Failed attempts that a view looks at, newest first.
LONGEST_LINE = 300  # Characters of a line that count.

_REPLACED = (
    (re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]"), ""),  # Colors.
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"), "<id>"),
    (re.compile(r"(?:~|\.{1,2})?(?:/[\w.@%+=:,~-]+){2,}/?|(?<!\S)/[\w.@%+=:,~-]+"), "<path>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b|\b(?=[a-fA-F]*[0-9])[0-9a-fA-F]{6,}\b"), "<hex>"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "<n>"),
    (re.compile(r"\s+"), " "),
)


class Group(NamedTuple):
    """Failed attempts that have much in common.

    `key` names the group. `error` is why the latest attempt failed ("exit 1"), `line` its last line of output, with
    placeholders. `attempts` is their number; of their jobs, `dead` are in the dead letter queue now. `first` and
    `last` are epoch seconds; `example` is the id of the job that failed last.
    """

    key: str
    queue: str
    error: str
    line: str
    attempts: int
    dead: int
    first: float
    last: float
    example: str


class Failures(NamedTuple):
    """All groups, the one with the latest failure first. `is_partial`: there were more than MOST failed attempts."""

    groups: list[Group]
    is_partial: bool


def normalized(line: str) -> str:
    """A line of output without what differs from one failure to the next."""
    line = line[:LONGEST_LINE]
    for pattern, replacement in _REPLACED:
        line = pattern.sub(replacement, line)
    return line.strip()


def last_line(output: bytes) -> str:
    """The last line that isn't blank, as text."""
    lines = [line for line in values.decode(output).replace("\r", "\n").split("\n") if line.strip()]
    return lines[-1].strip() if lines else ""


def failures(store: Reader, since: float, queues: Sequence[str] = ()) -> Failures:
    """The groups of attempts that failed since a moment (epoch seconds), of jobs that have not been pruned."""
    found: dict[str, Group] = {}
    dead: dict[str, set[str]] = {}
    number = 0
    for number, failed in enumerate(store.failed_attempts(since, queues, MOST + 1), 1):
        if number > MOST:
            break
        error, line, key = _common(failed)
        group = found.get(key)
        if group is None:  # The newest comes first.
            group = Group(key, failed.queue, error, line, 0, 0, failed.at, failed.at, failed.id)
        if failed.is_dead:
            dead.setdefault(key, set()).add(failed.id)
        found[key] = group._replace(attempts=group.attempts + 1, first=min(group.first, failed.at))
    groups = [group._replace(dead=len(dead.get(key, ()))) for key, group in found.items()]
    return Failures(sorted(groups, key=lambda group: -group.last), number > MOST)


def dead_like(store: Reader, key: str) -> Iterator[str]:
    """The ids of all jobs in the dead letter queue whose last attempt belongs to a group. Reads all dead jobs."""
    for failed in store.last_failures():
        if _common(failed)[-1] == key:
            yield failed.id


def _common(failed: Failure) -> tuple[str, str, str]:
    """What a failure has in common with others: its error, its last line of output, and the key of its group."""
    error = failed.error or "failed"
    if failed.exit_code is None:  # Otherwise the number in it is what matters.
        error = normalized(error)
    line = normalized(last_line(failed.tail))
    words = f"{failed.queue}\0{error}\0{line}".encode("utf-8", "surrogateescape")
    return error, line, blake2s(words, digest_size=4).hexdigest()
