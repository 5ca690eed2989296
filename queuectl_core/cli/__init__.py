"""The command line: a registry of commands, and the one place that knows exit codes.

A command's module is imported when the command is run, and only its parser is built: queuectl is
called in shell loops, and `enqueue` is not to pay for `worker start`.
"""

from __future__ import annotations

import os
import sys
from collections import namedtuple

from ..errors import BadInput, DatabaseUnusable, QueueError, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:  # At run time it would cost what _is_plain_enqueue saves.
    from argparse import Namespace

# One command: its name (two words for a noun's verb), the module and function that handle it, and
# a line of help. The function `NAME_arguments` beside the handler describes its arguments.
Command = namedtuple("Command", "name module handler help")

COMMANDS = {
    command.name: command
    for command in (
        Command("enqueue", "enqueue", "enqueue", "add jobs: a command, JSON, or many lines"),
        Command("worker start", "workers", "start", "start workers"),
        Command("worker stop", "workers", "stop", "stop workers, when their jobs are done or at once"),
        Command("worker restart", "workers", "restart", "move the workers to new code, job by job"),
        Command("worker list", "workers", "show_workers", "show the workers that run"),
        Command("status", "looking", "status", "show jobs by state, workers, and the DLQ"),
        Command("list", "looking", "list_jobs", "list jobs, newest first"),
        Command("show", "looking", "show", "show all about one job, with its attempts"),
        Command("logs", "logs", "logs", "print or follow what jobs print"),
        Command("wait", "waiting", "wait", "wait until jobs are finished"),
        Command("cancel", "acting", "cancel", "cancel jobs; one that runs is ended"),
        Command("retry", "acting", "retry", "run finished or failed jobs again, from the start"),
        Command("edit", "acting", "edit", "change a job that waits"),
        Command("pause", "acting", "pause", "start no more jobs, of one queue or at all"),
        Command("resume", "acting", "resume", "undo pause"),
        Command("prune", "acting", "prune", "delete finished jobs"),
        Command("dlq list", "acting", "dlq_list", "list the dead letter queue"),
        Command("dlq retry", "acting", "dlq_retry", "run dead jobs again, from the start"),
        Command("dlq purge", "acting", "dlq_purge", "delete dead jobs"),
        Command("doctor", "doctor", "doctor", "look for what is wrong, and say what to do"),
        Command("backup", "doctor", "backup", "copy the queue to a file, also while workers run"),
        Command("config set", "config", "config_set", "set a key, for jobs enqueued from now on"),
        Command("config get", "config", "config_get", "print the value of a key"),
        Command("config list", "config", "config_list", "list all keys and their values"),
        Command("config unset", "config", "config_unset", "go back to a key's default"),
        Command("export", "shipping", "export_jobs", "print all jobs with their history, as JSON lines"),
        Command("import", "shipping", "import_jobs", "add jobs that were exported, from here or elsewhere"),
        Command("bundle", "shipping", "bundle", "write the whole program as one executable file"),
        Command("completion", "completion", "completion", "print a script that completes words in a shell"),
        Command("manual", "manual", "manual", "print the manual page: queuectl manual | man -l -"),
        Command("service", "shipping", "service", "print a systemd unit or a crontab line for workers"),
    )
}

# Words that people's fingers know.
ALIASES = {
    "add": ["enqueue"],
    "ls": ["list"],
    "rm": ["cancel"],
    "log": ["logs"],
    "follow": ["logs", "-f"],
    "clean": ["prune"],
    "ps": ["worker", "list"],
}

# Were -0 an option of argparse's, it would take -3 for one too: --priority -3.
SHORT = {"-0": "--null"}

GROUPS = {
    "worker": "start, stop, restart and list workers",
    "dlq": "the dead letter queue: jobs that failed for good",
    "config": "settings of later jobs",
}


def command_place(words: list[str]) -> int | None:
    """Where the command's name is: the first word that is no option, nor the value of one."""
    is_value = False
    for place, word in enumerate(words):
        if not is_value and not word.startswith("-"):
            return place
        is_value = word in ("--db", "--color") and not is_value
    return None


def run(words: list[str]) -> int:
    """Run one command line; returns the exit code. Raises QueueError."""
    if _is_plain_enqueue(words):
        from .enqueue import enqueue_plain

        return enqueue_plain(words[1:])
    # What follows the first "--" is a command, word for word: argparse does not get to see it.
    cut = words.index("--") if "--" in words else len(words)
    ours, rest = words[:cut], words[cut + 1 :] if cut < len(words) else None
    ours = [SHORT.get(word, word) for word in ours]
    at = command_place(ours)
    if at is not None and ours[at] == "help":
        ours[at : at + 1] = []
        ours.append("--help")
        at = command_place(ours)
    if at is not None:
        ours[at : at + 1] = ALIASES.get(ours[at], [ours[at]])
        nouns = list(dict.fromkeys(name.split()[0] for name in COMMANDS))
        if ours[at] not in nouns:
            from ..values import nearest, quote

            raise BadInput("no such command: %s (%s)" % (quote(ours[at]), nearest(ours[at], nouns)))
    from .parser import parser_for

    parser = parser_for(ours)
    args = parser.parse_args(ours)
    if args.noun is None:
        parser.print_help(sys.stderr)
        return 2
    if rest is not None and not getattr(args, "takes_rest", False):
        raise BadInput("'--' has no meaning here (see '%s --help')" % args.parser.prog)
    args.rest = rest
    if args.quiet:
        TALK.clear()
    if args.color != "auto":
        from .. import render

        render.COLOUR_MODE[:] = [args.color]
    return args.handler(args) or 0


def _is_plain_enqueue(words: list[str]) -> bool:
    """`enqueue` of one job without any option: what shell loops call.

    It is spared argparse, 9 of its 20 ms.
    """
    if words[:1] != ["enqueue"]:
        return False
    return words[1:2] == ["--"] or (len(words) == 2 and not words[1].startswith("-"))


def open_store(args: Namespace, **options):
    """The store that the command line or the environment names."""
    return open_file(args.db, **options)


def open_file(path: str | None, **options):
    """The store in the file `path`, or (None) the one that the environment names."""
    from ..store import Store

    return Store(queue_path(path), **options)


def queue_path(path: str | None) -> str:
    """The file `path`, or (None) the one that the environment names; nothing is opened."""
    from ..database import default_path

    if path == "":
        raise BadInput("--db: must not be empty")
    return path or default_path(dict(os.environ))


TALK = [True]  # Emptied by --quiet.


def tell(text: str) -> None:
    """Talk to the person at the terminal, on stderr."""
    if TALK:
        _say(text)


def _say(text: str) -> None:
    from ..values import escape

    print(escape(text), file=sys.stderr)


def each(ids: list[str], act) -> int:
    """Do `act(id)` for each id and print what it returns, the full id; 1 if any was refused.

    Where it returns None, nothing is printed.
    """
    code = 0
    for id in dict.fromkeys(ids):
        try:
            done = act(id)
            if done is not None:
                print(done, flush=True)
        except Refused as refusal:
            _say("queuectl: %s" % refusal)
            code = refusal.exit_code
    return code


def main() -> None:
    """The program: runs sys.argv and ends the process with the exit code of what happened."""
    if os.name != "posix":
        sys.exit("queuectl: needs Linux, macOS or a BSD: its workers are forked")
    _have_standard_streams()
    try:
        code = run([os.fsencode(word).decode("utf-8", "surrogateescape") for word in sys.argv[1:]])
        sys.stdout.flush()
    except QueueError as error:
        code = error.exit_code
        _complain(error)
    except KeyboardInterrupt:
        code = 130
    except ImportError as error:  # Some Pythons are built without SQLite.
        code = DatabaseUnusable.exit_code
        _complain(DatabaseUnusable("%s lacks what queuectl needs: %s" % (sys.executable, error)))
    except BrokenPipeError:
        code = 0  # `queuectl list | head`: the reader has seen enough.
    except OSError as error:
        code = 1
        _complain(error)
    except Exception as error:
        code = 70  # EX_SOFTWARE of sysexits.h
        _complain(RuntimeError("a fault of queuectl, please report it: %r%s" % (error, _place(error))))
    except SystemExit as error:  # argparse, after --help or --version.
        code = error.code if isinstance(error.code, int) else 0
    _leave(code)


def _complain(error: Exception) -> None:
    try:
        sys.stdout.flush()
    except OSError:
        pass
    _say("queuectl: %s" % error)


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    code = trace.tb_frame.f_code if trace else None
    return " at %s:%d" % (code.co_filename, trace.tb_lineno) if trace and code else ""


def _leave(code: int) -> None:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        pass
    # Nothing is left to do: closing would cost a checkpoint, and the interpreter's end 2 ms.
    os._exit(code)


def _have_standard_streams() -> None:
    """Open what the caller closed, so that no file of ours gets the number of a standard stream."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # Ids and commands are UTF-8 whatever the locale; what is not comes out escaped. And buffered even
    # with PYTHONUNBUFFERED: Python loses the rest of a write that a signal cut short otherwise.
    for fd, name, buffering in ((1, "stdout", -1), (2, "stderr", 1)):
        stream = open(fd, "w", buffering, encoding="utf-8", errors="backslashreplace", closefd=False)
        setattr(sys, name, stream)
