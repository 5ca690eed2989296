"""The entry point: runs a command line and maps the outcome to an exit code. No other module does."""

from __future__ import annotations

import gc
import os
import sys

# Not `import signal`, which loads enum: 3 ms.
from _signal import SIG_DFL, SIG_IGN, SIGINT, default_int_handler, getsignal, signal  # type: ignore[import-not-found]

from ..errors import BadInput, DatabaseUnusable, QueueError
from . import ALIASES, COMMANDS, GROUPS, SHORT, command_place, plain
from .terminal import terminal


def run(words: list[str]) -> int:
    """Run one command line. Returns the exit code; raises QueueError."""
    # Words after the first "--" belong to a job's command; argparse must not see them.
    end = words.index("--") if "--" in words else len(words)
    own, rest = words[:end], words[end + 1 :] if end < len(words) else None
    own = [SHORT.get(word, word) for word in own]
    at = command_place(own)
    if at is not None and (own[at] == "help" or own[0] in ("-h", "--help")):
        del own[at if own[at] == "help" else 0]
        own.append("--help")
        at = command_place(own)
    if at is not None:
        _resolve(own, at, rest)
    args = None if at is None else plain.parse(own, at, rest)
    if args is None:
        from .parser import parse, parser_for  # Deferred: argparse takes 6 ms.

        args = parse(own, rest)
    if args.noun is None:
        parser_for([]).print_help(sys.stderr)
        return 2
    args.rest = rest
    terminal.quiet, terminal.color = args.quiet, args.color
    code: int = args.handler(args)
    return code


def _resolve(own: list[str], at: int, rest: list[str] | None) -> None:
    """Replace other names of commands in `own`, in place. Raises BadInput if it names none."""
    own[at : at + 1] = ALIASES.get(own[at], [own[at]])
    noun = own[at]
    whole = own if rest is None else [*own, "--", *rest]
    if noun not in GROUPS:
        if noun not in COMMANDS:
            from .hints import unknown_command

            raise BadInput(unknown_command(whole, at))
        return
    place = command_place(own[at + 1 :])
    verb_at = None if place is None else at + 1 + place
    if verb_at is not None and (noun, own[verb_at]) == ("config", "show"):
        own[verb_at] = "get"
    if verb_at is not None and (noun, own[verb_at]) == ("config", "set"):
        _plain_setting(own, verb_at + 1)
    is_help = "-h" in own or "--help" in own
    if (verb_at is None and not is_help) or (verb_at is not None and f"{noun} {own[verb_at]}" not in COMMANDS):
        from .hints import unknown_verb

        raise BadInput(unknown_verb(whole, at, verb_at))


def _plain_setting(own: list[str], at: int) -> None:
    """`config set --timeout 5` means `config set timeout 5`."""
    name, equals, value = own[at].partition("=") if len(own) > at else ("", "", "")
    if name.startswith("--") and name not in ("--db", "--quiet", "--color", "--help"):
        own[at : at + 1] = [name[2:], value] if equals else [name[2:]]


def main() -> None:
    """Run sys.argv and exit with its exit code."""
    gc.set_threshold(20_000)  # Imports create no garbage, and looking for it costs 5 %. The default is 700 objects.
    if os.name != "posix":
        sys.exit("queuectl: runs only on Linux, macOS and the BSDs: workers need fork()")
    try:
        sys.unraisablehook = _unraisable
        if getsignal(SIGINT) == SIG_DFL:  # Python sets a handler unless it is ignored; entry.py has removed it.
            signal(SIGINT, default_int_handler)
        code = _outcome()
    except KeyboardInterrupt:
        code = 130
    _exit(code)


def _outcome() -> int:
    """Run sys.argv; returns its exit code. What went wrong has been reported."""
    try:
        _open_standard_streams()
        code = run([os.fsencode(word).decode("utf-8", "surrogateescape") for word in sys.argv[1:]])
        sys.stdout.flush()
    except QueueError as error:
        code = error.exit_code
        _report(error)
    except ImportError as error:  # Some Pythons are built without SQLite.
        code = DatabaseUnusable.exit_code
        _report(DatabaseUnusable(f"{sys.executable} lacks a module that queuectl needs: {error}"))
    except BrokenPipeError:
        code = 0  # As in `queuectl list | head`.
    except OSError as error:
        code = 1
        _report(error)
    except Exception as error:
        code = 70  # EX_SOFTWARE of sysexits.h
        _report(RuntimeError(f"this is a bug in queuectl, please report it: {error!r}{_location(error)}"))
    except SystemExit as error:  # argparse, after --help or --version.
        code = error.code if isinstance(error.code, int) else 0
    return code


def _unraisable(args: sys.UnraisableHookArgs) -> None:
    """Raise an interrupt again that Python discarded, since it came during a callback (imports have some)."""
    if args.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(args)
        return
    from _signal import pthread_kill
    from _thread import get_ident, start_new_thread

    # From a thread: the signal must arrive after the callback.
    start_new_thread(pthread_kill, (get_ident(), SIGINT))


def _report(error: Exception) -> None:
    try:
        sys.stdout.flush()
    except OSError:
        pass
    from .terminal import complain

    complain(f"queuectl: {error}")


def _location(error: Exception) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    code = trace.tb_frame.f_code if trace else None
    return f" at {code.co_filename}:{trace.tb_lineno}" if trace and code else ""


def _exit(code: int) -> None:
    if getsignal(SIGINT) != SIG_IGN:
        signal(SIGINT, SIG_DFL)  # Nothing is left to do but what another Ctrl-C may cut short.
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        pass
    # Skips the interpreter's shutdown (2 ms).
    os._exit(code)


def _open_standard_streams() -> None:
    """Open the standard streams that the caller closed; otherwise our files would get their descriptors."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # Ids and commands are UTF-8 in any locale; other bytes are escaped. Buffered even under PYTHONUNBUFFERED:
    # unbuffered Python loses the rest of a write that a signal interrupts.
    for fd, name, buffering in ((1, "stdout", -1), (2, "stderr", 1)):
        stream = open(fd, "w", buffering, encoding="utf-8", errors="backslashreplace", closefd=False)
        setattr(sys, name, stream)
