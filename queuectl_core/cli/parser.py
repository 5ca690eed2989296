"""The argparse parser, built from the registry for the command being run; imports no other command's module."""

from __future__ import annotations

import os
import sys
from importlib import import_module

# argparse translates its texts with gettext, which loads locale and looks for catalogs that don't exist: 2 of the
# 20 ms of an enqueue. This stand-in returns the texts unchanged.
if "gettext" not in sys.modules:
    sys.modules["gettext"] = words = type(sys)("gettext")
    words.gettext = lambda text: text  # type: ignore[attr-defined]
    words.ngettext = lambda one, many, count: one if count == 1 else many  # type: ignore[attr-defined]
    import argparse  # noqa: F401

    del sys.modules["gettext"], words

from argparse import SUPPRESS, Action, ArgumentParser, HelpFormatter, Namespace, _AppendAction, _SubParsersAction

from .. import values
from ..errors import BadInput
from ..typed import NamedTuple
from ..version import __version__
from . import ALIASES, COMMANDS, GROUPS, Command, command_place, takes_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NoReturn

    Commands = _SubParsersAction[Any]

_ALIAS_LINES = "\n".join(f"  {alias:<6} = {' '.join(words)}" for alias, words in ALIASES.items())

EPILOG = f"""\
to begin:
  queuectl worker start
  queuectl enqueue 'echo hello'
  queuectl list

exit codes:
  0 success   1 not found, already exists, or did not succeed   2 wrong usage
  3 the database cannot be used   70 a bug in queuectl   124 timed out
  130 interrupted   141 enqueue stopped early: nothing reads its output
  ("wait ID" exits with that job's exit code)

aliases:
{_ALIAS_LINES}
"""


class Misuse(BadInput):
    """What argparse found wrong, in its words; `prog` is the command at hand."""

    def __init__(self, text: str, prog: str) -> None:
        super().__init__(text)
        self.prog = prog


class _One(Action):
    """Stores the value of an option that selects what a command acts on, and refuses a second one."""

    def __call__(self, parser: ArgumentParser, args: Namespace, value: Any, option: str | None = None) -> None:
        if getattr(args, self.dest) not in (None, value):
            both = f"{values.quote(getattr(args, self.dest))} and {values.quote(value)}"
            raise BadInput(f"{self.option_strings[-1]}: takes only one {str(self.metavar).lower()}, not both {both}")
        setattr(args, self.dest, value)


class Parser(ArgumentParser):
    """An ArgumentParser that raises Misuse instead of exiting. For action="one", see _One."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)
        super().__init__(formatter_class=_formatter, **options)
        self.register("action", "one", _One)

    def format_help(self) -> str:
        if self.epilog is None:
            from .examples import epilog

            self.epilog = epilog(self.prog.partition(" ")[2])
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        raise Misuse(message, self.prog)


class _Formatter(HelpFormatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n  " in text else super()._fill_text(text, width, indent)  # Already laid out.


def _formatter(prog: str) -> HelpFormatter:
    # If not given a width, argparse imports shutil (which imports bz2, lzma and zlib) to find it.
    try:
        width = min(100, os.get_terminal_size(1).columns - 2)
    except OSError:
        width = 98
    return _Formatter(prog, width=max(width, 40), max_help_position=28)


def parser_for(words: list[str]) -> Parser:
    """The parser for the command line `words`. It knows only the commands of its first word, or all if none match."""
    parser = Parser(
        prog="queuectl",
        description="A background job queue for one machine, on one SQLite file.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "--db",
        metavar="FILE",
        help="the queue file (default: $QUEUECTL_DB, else queuectl/queue.db in $XDG_STATE_HOME"
        " or ~/.local/state)",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors on stderr")
    parser.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto", help="when to color tables (default: auto)"
    )
    parser.add_argument("--version", action="version", version="queuectl " + __version__)
    commands = parser.add_subparsers(dest="noun", metavar="COMMAND", title="commands")
    at = command_place(words)
    first = None if at is None else words[at]
    wanted = [name for name in COMMANDS if name.split()[0] == first] or list(COMMANDS)
    groups: dict[str, Commands] = {}
    for name in wanted:
        noun, _, verb = name.partition(" ")
        if not verb:
            _add(commands, COMMANDS[name], noun)
            continue
        if noun not in groups:
            group = commands.add_parser(
                noun, help=GROUPS[noun], description=GROUPS[noun].capitalize() + "."
            )
            groups[noun] = group.add_subparsers(dest="verb", metavar="COMMAND", title="commands")
            groups[noun].required = True
        _add(groups[noun], COMMANDS[name], verb)
    return parser


def parse(words: list[str], rest: list[str] | None) -> Namespace:
    """Parse the command line `words`, which `rest` followed after "--". Raises BadInput, with the fix in it."""
    whole = words if rest is None else [*words, "--", *rest]
    parser = parser_for(words)
    try:
        # After "--", enqueue has a job's command. Others have ids, which may begin with a dash.
        at = command_place(words)
        args, surplus = parser.parse_known_args(words if takes_words(words, at) else whole)
    except Misuse as error:
        from . import hints

        raise BadInput(hints.misuse(error.prog, str(error), whole)) from None
    surplus = [word for word in surplus if word != "--"]
    if surplus:
        from . import hints, schedule_hints

        used = parser if args.noun is None else args.parser
        known = schedule_hints.surplus(used.prog, surplus[0], whole)
        raise BadInput(known or hints.surplus(used.prog, surplus[0], whole, used._option_string_actions))
    return args


def _add(commands: Commands, command: Command, word: str) -> None:
    description = command.help[0].upper() + command.help[1:] + "."
    module = import_module("." + command.module, __package__)
    describe = getattr(module, command.handler + "_arguments")
    parser = commands.add_parser(word, help=command.help, description=description)
    # Also accepted after the command, where people type them.
    parser.add_argument("--db", metavar="FILE", default=SUPPRESS, help=SUPPRESS)
    parser.add_argument("--quiet", action="store_true", default=SUPPRESS, help=SUPPRESS)
    parser.add_argument("--color", default=SUPPRESS, help=SUPPRESS, choices=("auto", "always", "never"))
    parser.set_defaults(handler=getattr(module, command.handler), parser=parser)
    describe(parser)


# --- introspection, for completion and the manual -------------------------------------------------


class Argument(NamedTuple):
    """An argument of a command.

    `options` is empty for a positional argument. `value` is the value's placeholder, or None for a flag. `choices` is
    None if any value is allowed. `repeats`: it may be given several times. `is_needed`: it must be given.
    """

    options: tuple[str, ...]
    value: str | None
    help: str
    choices: Iterable[str] | None
    repeats: bool
    is_needed: bool


def leaf(name: str) -> ArgumentParser:
    """The parser of the command `name`, or of queuectl itself for ""."""
    parser: ArgumentParser = parser_for(name.split())
    for word in name.split():
        (commands,) = [action for action in parser._actions if isinstance(action, _SubParsersAction)]
        parser = commands.choices[word]
    return parser


def arguments(name: str) -> list[Argument]:
    """The arguments of the command `name`, or of queuectl itself for "", in help order, without hidden ones."""
    return [
        Argument(
            tuple(action.option_strings),
            None if action.nargs == 0 else str(action.metavar or f"{{{','.join(action.choices or ())}}}"),
            (action.help or "") % dict(vars(action), prog="queuectl"),
            action.choices,
            action.nargs in ("*", "+") or isinstance(action, _AppendAction),
            action.nargs not in ("?", "*"),
        )
        for action in leaf(name)._actions
        if action.help != SUPPRESS and not isinstance(action, _SubParsersAction)
    ]
