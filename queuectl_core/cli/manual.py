"""`manual`: the manual page, made from the registry that --help is made from.

The page is man(7) roff. argparse's own formatting is not used: it differs between Pythons, and the
page in docs/queuectl.1 is held, byte for byte, against what is made here.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from .. import lifecycle, settings
from ..version import __version__
from . import ALIASES, COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .parser import Argument

DESCRIPTION = (
    "queuectl is a background job queue for one machine. A job is a shell command. One SQLite file is the"
    " whole queue: there is no daemon to install, and nothing but Python's standard library is needed.",
    "\\fBqueuectl enqueue\\fR writes a job into the file and prints its id. Workers (\\fBqueuectl worker"
    " start\\fR) run the jobs, retry those that fail with growing delays, and put what keeps failing into"
    " the dead letter queue (DLQ). When enqueue exits 0, the job is on the disk and will run to an end,"
    " whatever dies in between; and two attempts of one job never overlap.",
    "Standard output carries data: ids, tables, JSON, output of jobs. What is said to a person goes to"
    " standard error. Where an id is wanted, the beginning of one is enough if no other id begins so."
    " Durations are written 90, 90s, 5m, 2h or 1d, times as ISO 8601 (a bare one is local), as an epoch,"
    " or as +5m.",
)

STATES = {
    "pending": "waits for a worker, its time, another job, or its queue; list and show say for what",
    "processing": "runs",
    "completed": "has ended with exit code 0",
    "failed": "has failed, and waits for its retry",
    "dead": "is in the DLQ: no retry is left, or its exit code is not worth one",
    "cancelled": "was cancelled",
}

EXIT_CODES = {
    "0": "done",
    "1": "the answer is no: no such job, it exists already, it is not in the DLQ, it did not complete",
    "2": "wrong usage or bad input",
    "3": "the database cannot be used",
    "124": "wait or worker stop ran out of time",
    "130": "interrupted",
}

JOB_ENVIRONMENT = {
    "QUEUECTL_JOB_ID": "the job's id",
    "QUEUECTL_ATTEMPT": "the number of this attempt, from 1",
    "QUEUECTL_QUEUE": "the job's queue",
    "QUEUECTL_DB": "the queue's file, so that a job can enqueue jobs and read what others printed",
}

ENVIRONMENT = {
    "QUEUECTL_DB": "the queue's file, unless --db names one",
    "XDG_STATE_HOME": "where queuectl/queue.db is otherwise (default: ~/.local/state)",
    "NO_COLOR": "where it is set, tables have no colours",
}

EXAMPLES = (
    ("Run a command, wait for its end, and read what it printed:",
     "queuectl worker start\n"
     "id=$(queuectl enqueue -- convert 'My Picture.jpg' small.png)\n"
     "queuectl wait $id && queuectl logs $id"),
    ("Many jobs, four at a time, as one pipeline:",
     "queuectl worker start --count 4\n"
     "find . -name '*.wav' -print0 |\n"
     "    queuectl enqueue -0 --each 'flac {}' - | queuectl wait -"),
    ("From cron, without ever piling up:",
     "0 3 * * *  queuectl enqueue --unique backup --timeout 2h -- ./backup"),
    ("At most two downloads at once, ten a minute:",
     "queuectl config set web.limit 2\n"
     "queuectl config set web.rate 10/min\n"
     "queuectl enqueue -q web --each 'curl -O {}' - <urls"),
)  # fmt: skip


def manual_arguments(parser: ArgumentParser) -> None:
    """It takes none."""


def manual(args: Namespace) -> int:
    print(page(), end="")
    return 0


def page() -> str:
    """The whole page."""
    from .parser import arguments, leaf

    lines = [
        '.\\" Made by "queuectl manual" from the registry of commands: change that instead.',
        f'.TH QUEUECTL 1 "" "queuectl {__version__}" "User Commands"',
        ".SH NAME",
        _text("queuectl - a background job queue for one machine, on one SQLite file"),
        ".SH SYNOPSIS",
        ".B queuectl",
        _text("[--db FILE] COMMAND [OPTION ...] [ARGUMENT ...]"),
        ".SH DESCRIPTION",
        "\n.PP\n".join(paragraph.replace("-", "\\-") for paragraph in DESCRIPTION),
        ".SH OPTIONS",
        *_items(arguments("")),
        ".SH COMMANDS",
    ]
    for name, command in COMMANDS.items():
        parser = leaf(name)
        taken = arguments(name)
        lines += [".SS " + _text(_synopsis(name, taken, parser.usage)), _sentence(command.help)]
        aliases = [alias for alias, words in ALIASES.items() if " ".join(words[:2]).startswith(name)]
        if aliases:
            meanings = [f"{alias} is {' '.join(ALIASES[alias])}" for alias in aliases]
            lines += [f"Alias: {_text(', '.join(meanings))}."]
        lines += _items([argument for argument in taken if "--help" not in argument.options])
    lines += [".SH CONFIGURATION", _text(CONFIGURATION)]
    for key, setting in settings.SETTINGS.items():
        shown = "QUEUE." + key if key in settings.OF_A_QUEUE else key
        lines += _item(shown, f"{setting.help} (default: {setting.default})")
    lines += [".SH STATES", "A job"]
    for state in lifecycle.STATES:
        lines += _item(state, STATES[state])
    lines += [".SH EXIT STATUS"]
    for code, meaning in EXIT_CODES.items():
        lines += _item(code, meaning)
    lines += [
        ".PP",
        _text(
            "'wait' with one job exits with that job's exit code. A job that exits 75 (EX_TEMPFAIL) says \"not now\":"
            " it is tried again later without using up a retry, at most defer-limit times."
        ),
        ".SH ENVIRONMENT",
    ]
    for variable, meaning in ENVIRONMENT.items():
        lines += _item(variable, meaning)
    lines += [".PP", "A job finds in its environment:"]
    for variable, meaning in JOB_ENVIRONMENT.items():
        lines += _item(variable, meaning)
    lines += [
        ".SH FILES",
        *_item("~/.local/state/queuectl/queue.db", "the queue, readable by its owner only"),
        ".SH EXAMPLES",
    ]
    for title, script in EXAMPLES:
        lines += [_text(title), ".PP", ".RS 4", ".nf", _text(script), ".fi", ".RE", ".PP"]
    del lines[-1]
    lines += [".SH SEE ALSO", ".BR sh (1),", ".BR xargs (1),", ".BR crontab (5),", ".BR sqlite3 (1)"]
    return "\n".join(lines) + "\n"


CONFIGURATION = (
    "The keys of 'config set', 'get' and 'unset'. A key of the form QUEUE.KEY is for one queue. Settings of"
    " jobs are copied into a job when it is enqueued: later changes are for later jobs."
)


def _text(text: str) -> str:
    """Text that roff is to print as it stands."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in escaped.split("\n"))


def _sentence(text: str) -> str:
    return _text(text[0].upper() + text[1:] + ".")


def _item(term: str, text: str) -> list[str]:
    return [".TP", f"\\fB{_text(term)}\\fR", _text(text)]


def _items(arguments: Sequence[Argument]) -> list[str]:
    lines = []
    for argument in arguments:
        value = f" \\fI{_text(argument.value)}\\fR" if argument.value else ""
        terms = [f"\\fB{_text(option)}\\fR" + value for option in argument.options] or [value.strip()]
        lines += [".TP", ", ".join(terms), _text(argument.help)]
    return lines


def _synopsis(name: str, arguments: Sequence[Argument], usage: str | None) -> str:
    """The command with what it takes: `cancel [OPTION ...] [ID ...]`."""
    if usage:
        return usage.replace("queuectl ", "", 1)
    words = [name]
    if any(argument.options and "--help" not in argument.options for argument in arguments):
        words.append("[OPTION ...]")
    for argument in arguments:
        if not argument.options:
            shown = f"{argument.value} ..." if argument.repeats else str(argument.value)
            words.append(shown if argument.is_needed else f"[{shown}]")
    return " ".join(words)
