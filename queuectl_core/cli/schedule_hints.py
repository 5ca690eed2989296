"""Corrections for wrong `schedule add` and `schedule next` command lines. Imported only for errors."""

from __future__ import annotations

from .. import values
from ..errors import BadInput
from ..schedule.cron import parse_cron
from ..schedule.crontab import suggest_name
from .hints import command_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

VERBS = ("schedule add", "schedule edit", "schedule next")
FLAGS = ("--stdin", "--quiet", "--json")  # The options that take no value.
TIMES = ("--cron", "--every", "--at")


def surplus(prog: str, found: str, words: Sequence[str]) -> str | None:
    """The message for an argument that a command doesn't take; None if it isn't about a schedule's time or command."""
    name = prog.partition(" ")[2]
    if name not in VERBS or found.startswith("-") or "--" in words:
        return None
    verb = name.split()[1]
    at = words.index(verb, words.index("schedule")) + 1
    options, loose = _sorted(words[at:])
    problem = f"unexpected argument: {values.quote(found)}"
    if _has_time(options):
        if verb == "next" or len(loose) < 2:
            return f"{problem}; quote the expression, as in: queuectl {name} --cron '30 2 * * *'"
        if not _is_whole(options):
            line = f"{command_line([*name.split(), loose[0]])} --cron '30 2 * * *' -- COMMAND"
            return f"{problem}; quote the expression, as in: {line}"
        right = [*words[:at], loose[0], *options, "--", *loose[1:]]
        return f"a command needs -- before it; run: {command_line(right)}"
    skipped = 0 if verb == "next" or split(" ".join(loose)) else 1
    parts = split(" ".join(loose[skipped:]))
    if parts is None:
        return None
    time, command = parts
    if skipped and loose[2:] and " " in loose[1]:  # Each part was quoted: the command's words stay as they are.
        command = loose[2:]
    return f"{problem}; run: {_line(words[:at], loose[:skipped], [*time, *options], command, verb)}"


def instead_of_name(text: str, verb: str) -> str | None:
    """The message for an expression or a crontab line given as a schedule's name; None if it is neither."""
    parts = split(text)
    if parts is None:
        return None
    time, command = parts
    problem = "no such schedule" if verb == "next" else "not a schedule's name"
    return f"{problem}: {values.quote(text)}; run: {_line(['schedule', verb], [], time, command, verb)}"


def split(text: str) -> tuple[list[str], list[str]] | None:
    """The option for the time at the start of `text`, and the command after it, if any; None if there is no time."""
    words = text.split()
    if words[:1] == ["every"]:
        words = words[1:]
    if not words:
        return None
    try:
        if words[0] == "@every" and len(words) > 1:
            values.interval(words[1], "")
            return ["--every", words[1]], _rest(text, words[1])
        if words[0][0].isdigit() and not words[0].isdigit():
            values.interval(words[0], "")
            return ["--every", words[0]], _rest(text, words[0])
    except BadInput:
        pass
    fields = words[: 1 if words[0].startswith("@") else 5]
    expression = " ".join(fields)
    try:
        parse_cron(expression, "")
    except BadInput:
        return None
    return ["--cron", expression], _rest(text, *fields)


def _rest(text: str, *words: str) -> list[str]:
    """The command after these words of a text, if there is one."""
    for word in words:
        text = text.partition(word)[2]
    return [text.strip()] if text.strip() else []


def _line(before: Sequence[str], name: Sequence[str], options: Sequence[str], command: list[str], verb: str) -> str:
    """The correct command line, with placeholders for what is missing."""
    if verb == "next":
        return command_line([*before, *options])
    if verb == "add":
        name = name or [suggest_name(command[0], ()) if command else "NAME"]
        command = command or ["COMMAND"]
    return command_line([*before, *(name or ["NAME"]), *options, *(["--", *command] if command else [])])


def _sorted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options with their values, and the other words."""
    options: list[str] = []
    loose: list[str] = []
    takes_value = False
    for word in words:
        is_option = not takes_value and word.startswith("-")
        (options if is_option or takes_value else loose).append(word)
        takes_value = is_option and word not in FLAGS and "=" not in word
    return options, loose


def _has_time(options: Sequence[str]) -> bool:
    return any(word.partition("=")[0] in TIMES for word in options)


def _is_whole(options: Sequence[str]) -> bool:
    """Whether the value of --cron is an expression, not the first word of one that wasn't quoted."""
    for word, value in zip(options, [*options[1:], ""]):
        if word.partition("=")[0] == "--cron":
            try:
                parse_cron(word.partition("=")[2] or value, "")
            except BadInput:
                return False
    return True
