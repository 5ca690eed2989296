"""Writes docs/commands.md from the registry of commands: `python3 -m tests.commands_document`.

A test compares it with the file, so that no command and no option goes without an entry.
"""

from __future__ import annotations

import argparse
import os

from queuectl_core.cli import ALIASES, COMMANDS
from queuectl_core.cli.parser import parser_for
from queuectl_core.settings import SETTINGS
from tests.harness import ROOT

PATH = os.path.join(ROOT, "docs", "commands.md")

INTRODUCTION = """\
# All commands

Made from what `queuectl COMMAND --help` says, by `python3 -m tests.commands_document`.

Durations are written 90, 90s, 5m, 2h or 1d; times as ISO 8601 (a bare one is local), an epoch, or +5m.
Where an id is wanted, so much of its beginning as is unique will do. `--json` prints one JSON value and
nothing else on stdout.
"""


def document() -> str:
    """The text of docs/commands.md."""
    parser = parser_for([])
    parts = [INTRODUCTION, "## queuectl [options] COMMAND …\n", _options(parser)]
    for name, command in COMMANDS.items():
        its = _subparser(parser, name)
        what = command.help[0].upper() + command.help[1:]
        parts += ["## queuectl %s\n" % name, what + ".\n", _options(its)]
    aliases = ["| `%s` | `%s` |" % (alias, " ".join(words)) for alias, words in ALIASES.items()]
    parts.append("## Aliases\n\n| for | is |\n| --- | --- |\n%s\n" % "\n".join(aliases))
    keys = ["| `%s` | %s | %s |" % (s.key, s.default or "-", s.help) for s in SETTINGS.values()]
    parts.append(
        "## Configuration keys\n\nA key of one queue is written QUEUE.KEY.\n\n| key | default | meaning |\n"
        "| --- | --- | --- |\n%s\n" % "\n".join(keys)
    )
    return "\n".join(part for part in parts if part)


def _subparser(parser: argparse.ArgumentParser, name: str) -> argparse.ArgumentParser:
    for word in name.split():
        (choices,) = [a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        parser = choices[word]
    return parser


def _options(parser: argparse.ArgumentParser) -> str:
    """The arguments of a parser as a table; "" where it has none. Raises ValueError without help."""
    rows = []
    for action in parser._actions:
        if action.help == argparse.SUPPRESS or isinstance(
            action, (argparse._HelpAction, argparse._SubParsersAction)
        ):
            continue
        if not action.help:
            raise ValueError("%s: %s has no help" % (parser.prog, action.option_strings or action.metavar))
        value = action.metavar or ("|".join(action.choices) if action.choices else "")
        words = [", ".join(action.option_strings), "" if action.nargs == 0 else value]
        cells = " ".join(filter(None, words)), parser._get_formatter()._expand_help(action)
        rows.append("| `%s` | %s |" % tuple(cell.replace("|", "\\|") for cell in cells))
    return "| | |\n| --- | --- |\n%s\n" % "\n".join(rows) if rows else ""


if __name__ == "__main__":
    with open(PATH, "w", encoding="utf-8") as file:
        file.write(document())
