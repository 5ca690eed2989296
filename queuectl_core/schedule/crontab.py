"""Reads crontabs: those of users, and those of the system (/etc/crontab, /etc/cron.d), in which each job names a user.

Each line is understood as cron understands it, or rejected with a reason: nothing is imported that cron would run at
another time or with another command. Like cron, this expands no variables in settings. Unlike some crons it accepts
CRLF, a byte order mark, and a last line without a newline.

The rules are those of crontab(5) and of the sources of Vixie cron: a setting applies to the lines after it; in a
command, an unescaped % ends the command and starts its standard input, in which each further % is a newline.
"""

from __future__ import annotations

import re

from .. import values
from ..errors import BadInput
from ..typed import NamedTuple
from .cron import Cron, parse_cron

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from typing import Union

    Line = Union["Entry", "Rejected"]

_SETTING = re.compile(r"""("[^"]*"|'[^']*'|[^\s=]+)[ \t]*=[ \t]*(.*)""", re.DOTALL)
_ANACRON = re.compile(r"(\d+|@\w+)[ \t]+\d+[ \t]+[A-Za-z][\w.-]*[ \t]+\S")
_USER = re.compile(r"[A-Za-z0-9_][\w.-]*\$?", re.ASCII)
_COMMAND = re.compile(r"((?:[^%\\]|\\.|\\$)*)(%?)(.*)", re.DOTALL)
# Words before the program that a command is about.
_WRAPPERS = frozenset(
    "test cd nice ionice env exec sudo flock timeout sleep chronic bash sh command nohup python python3 perl php ruby"
    " node if".split()
)


class Entry(NamedTuple):
    """A line that says when to run what.

    `environment` has the settings above it. `stdin` is the command's standard input, or None. `user` is None in a
    user's crontab.
    """

    number: int
    cron: Cron
    command: str
    stdin: str | None
    user: str | None
    environment: dict[str, str]

    @property
    def zone(self) -> str | None:
        """The time zone in which the line is meant (cronie); None for local time. TZ is only for the command."""
        return self.environment.get("CRON_TZ") or None

    @property
    def shell(self) -> str:
        """The shell that runs the command with -c."""
        return self.environment.get("SHELL") or "/bin/sh"

    @property
    def home(self) -> str | None:
        """The directory in which the command runs; None for the user's home directory."""
        return self.environment.get("HOME") or None

    @property
    def mailto(self) -> str | None:
        """Whom to mail the output; "" for no mail, None for the owner."""
        return self.environment.get("MAILTO")

    @property
    def spread(self) -> float:
        """At most how late a run starts, in seconds, so that not all machines start at once (cronie)."""
        return int(self.environment.get("RANDOM_DELAY") or 0) * 60


class Rejected(NamedTuple):
    """A line that can't be imported. `reason` starts with "line N: "."""

    number: int
    text: str
    reason: str


def parse_crontab(text: str, names_users: bool) -> Iterator[Line]:
    """The jobs and the rejected lines of a crontab, in order. `names_users`: it has the format of /etc/crontab."""
    environment: dict[str, str] = {}
    for number, line in enumerate(text.lstrip("\ufeff").split("\n"), 1):
        line = line.rstrip("\r").lstrip(" \t")
        if not line.strip() or line.startswith("#"):
            continue
        try:
            setting = _SETTING.match(line)
            if setting is None:
                yield _entry(number, line, names_users, environment)
            else:
                # A copy: the entries above keep theirs.
                environment = {**environment, **_setting(_unquoted(setting[1]), _unquoted(setting[2].strip()), number)}
        except BadInput as error:
            yield Rejected(number, line, str(error))


def seem_to_name_users(entries: Iterable[Entry], users: Collection[str]) -> bool:
    """Whether all commands of a user's crontab start with a user's name, so it probably is one of the system."""
    words = [entry.command.split()[0] for entry in entries]
    return bool(words) and all(word in users for word in words)


def suggest_name(command: str, taken: Collection[str]) -> str:
    """A name for a command that isn't taken: that of its program or script, such as backup for /opt/backup.sh -a."""
    words = iter(re.split(r"[\s;|&]+", command))
    name = "job"  # If no word looks like one.
    for word in words:
        if word == "cd":
            next(words, None)
        base = word.strip("\"'()").rstrip("/").rpartition("/")[2]
        if base.startswith(("-", "<", ">")) or "=" in base:
            continue
        base = re.sub(r"\.(sh|bash|py|pl|php|rb|js)$", "", re.sub(r"[^\w.-]+", "", base)).strip(".-")
        if base and base not in _WRAPPERS and not base.isdigit():
            name = base[:40]
            break
    found, count = name, 1
    while found in taken:
        count += 1
        found = f"{name}-{count}"
    return found


def _setting(name: str, value: str, number: int) -> dict[str, str]:
    if name == "RANDOM_DELAY" and value and not (value.isascii() and value.isdigit() and len(value) < 6):
        raise BadInput(f"line {number}: RANDOM_DELAY is not a number of minutes: {values.quote(value)}")
    if not name or "\0" in name + value:
        raise BadInput(f"line {number}: a setting needs a name, and no NUL")
    return {name: value}


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] in "\"'" and text[-1] == text[0] else text


def _entry(number: int, line: str, names_users: bool, environment: dict[str, str]) -> Entry:
    place = f"line {number}"
    if _ANACRON.match(line):
        raise BadInput(f"{place}: this is a line for anacron (PERIOD DELAY NAME COMMAND), not for cron")
    if line.startswith("-") and line[1:2] in (*"*@0123456789",):
        line = line[1:]  # In SUSE's cron: don't log it.
    fields = 1 if line.startswith("@") else 5
    needed = fields + names_users
    words = line.split(None, needed)
    if len(words) <= needed:
        what = " and ".join(["five fields or a name such as @daily", *["a user"] * names_users, "a command"])
        raise BadInput(f"{place}: not a job, which needs {what.replace(' and ', ', ', names_users)}, nor a setting")
    cron = parse_cron(" ".join(words[:fields]), place)
    user = words[fields] if names_users else None
    if user is not None and not _USER.fullmatch(user):
        raise BadInput(f"{place}: not a user: {values.quote(user)}; in a user's crontab, the command comes here")
    text = words[needed]
    if text.startswith(("* ", "*\t")) or (names_users and user is not None and re.fullmatch(r"[*\d/,-]+", user)):
        raise BadInput(f"{place}: has more than five fields; cron has no seconds and no years")
    if re.match(r"-[nq]\s", text):
        raise BadInput(f"{place}: options before the command, such as -n and -q, are not supported")
    before, percent, after = _COMMAND.fullmatch(text).groups()  # type: ignore[union-attr]  # It matches anything.
    command = values.command(re.sub(r"\\(.)", _unescaped, before, flags=re.DOTALL), place)
    return Entry(number, cron, command, _input(after) if percent else None, user, environment)


def _unescaped(pair: re.Match[str]) -> str:
    return "%" if pair[1] == "%" else pair[0]


def _input(text: str) -> str:
    """Standard input as written after the first %: % is a newline, and \\% is a percent sign."""
    lines = re.sub(r"(\\?)%", lambda found: "%" if found[1] else "\n", text)
    return lines if lines.endswith("\n") or not lines else lines + "\n"
