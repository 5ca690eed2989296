"""The argparse parser, built from the registry: only for the command that is run, importing only its module."""

from __future__ import annotations

import os
import sys
from importlib import import_module

# argparse gets its texts from gettext, which loads locale and looks for catalogs that don't exist: 2 of the 20 ms that
# an enqueue takes. This stand-in returns the texts unchanged.
if "gettext" not in sys.modules:
    sys.modules["gettext"] = words = type(sys)("gettext")
    words.gettext = lambda text: text  # type: ignore[attr-defined]
    words.ngettext = lambda one, many, count: one if count == 1 else many  # type: ignore[attr-defined]
    import argparse  # noqa: F401

    del sys.modules["gettext"], words

from argparse import SUPPRESS, ArgumentParser, HelpFormatter, _AppendAction, _SubParsersAction

from ..errors import BadInput
from ..typed import NamedTuple
from ..version import __version__
from . import ALIASES, COMMANDS, GROUPS, Command, command_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NoReturn

    Commands = _SubParsersAction[Any]

_ALIAS_LINES = "\n".join(f"  {alias:<6} = {' '.join(words)}" for alias, words in ALIASES.items())

EPILOG = f"""\
exit codes:
  0 done   1 not found, already exists, or did not succeed   2 wrong usage
  3 the database cannot be used   124 timed out   130 interrupted
  (wait ID: the exit code of that job)

aliases:
{_ALIAS_LINES}
"""


class Parser(ArgumentParser):
    """An ArgumentParser that reports errors as BadInput, in one line."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)
        super().__init__(formatter_class=_formatter, **options)

    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{message} (see '{self.prog} --help')")


class _Formatter(HelpFormatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n  " in text else super()._fill_text(text, width, indent)  # Already laid out.


def _formatter(prog: str) -> HelpFormatter:
    # Without a width, argparse imports shutil (and with it bz2, lzma, zlib) to find it.
    try:
        width = min(100, os.get_terminal_size(1).columns - 2)
    except OSError:
        width = 98
    return _Formatter(prog, width=max(width, 40), max_help_position=28)


def parser_for(words: list[str]) -> Parser:
    """The parser for a command line with these words, with only the commands that it needs."""
    parser = Parser(
        prog="queuectl",
        description="A background job queue for one machine, on one SQLite file.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "--db",
        metavar="FILE",
        help="the queue's file (default: $QUEUECTL_DB, else queuectl/queue.db in $XDG_STATE_HOME"
        " or ~/.local/state)",
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing on stderr but errors")
    parser.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto", help="color in tables"
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


def _add(commands: Commands, command: Command, word: str) -> None:
    description = command.help[0].upper() + command.help[1:] + "."
    module = import_module("." + command.module, __package__)
    describe = getattr(module, command.handler + "_arguments")
    parser = commands.add_parser(word, help=command.help, description=description)
    # Accepted after the command too, where people write them.
    parser.add_argument("--db", metavar="FILE", default=SUPPRESS, help=SUPPRESS)
    parser.add_argument("--quiet", action="store_true", default=SUPPRESS, help=SUPPRESS)
    parser.add_argument("--color", default=SUPPRESS, help=SUPPRESS, choices=("auto", "always", "never"))
    parser.set_defaults(handler=getattr(module, command.handler), parser=parser)
    describe(parser)


# --- what there is to type, for completion and the manual ------------------------------------------


class Argument(NamedTuple):
    """An argument of a command.

    `options` is empty for positional arguments, `value` is None if it takes none, `choices` is None if any value is
    allowed, `repeats` is whether it may be given several times, `is_needed` whether it must be given.
    """

    options: tuple[str, ...]
    value: str | None
    help: str
    choices: Iterable[str] | None
    repeats: bool
    is_needed: bool



def leaf(name: str) -> ArgumentParser:
    """The parser of one command, or for "" that of the program."""
    parser: ArgumentParser = parser_for(name.split())
    for word in name.split():
        (commands,) = [action for action in parser._actions if isinstance(action, _SubParsersAction)]
        parser = commands.choices[word]
    return parser


def arguments(name: str) -> list[Argument]:
    """The arguments of a command, or for "" of the program, in the order of its help, without hidden ones."""
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
