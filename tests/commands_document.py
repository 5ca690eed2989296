"""Writes docs/commands.md and docs/queuectl.1 from the registry: `python3 -m tests.commands_document`.

Tests compare them with the files, so every command and option is documented.
"""

from __future__ import annotations

import os

from queuectl_core.cli import ALIASES, COMMANDS
from queuectl_core.cli.manual import page
from queuectl_core.cli.parser import arguments
from queuectl_core.settings import SETTINGS
from tests.harness import ROOT

PATH = os.path.join(ROOT, "docs", "commands.md")

INTRODUCTION = """\
# All commands

Generated from `queuectl COMMAND --help` by `python3 -m tests.commands_document`.

Durations are written as 90, 90s, 5m, 2h or 1d; times as ISO 8601 (local unless they have a zone), epoch seconds, or
+5m. `show`, `logs` and `wait` take any unique prefix of an id; commands that change jobs take whole ids. `--json`
prints one JSON value and nothing else on stdout.
"""


def document() -> str:
    """The text of docs/commands.md."""
    parts = [INTRODUCTION, "## queuectl [options] COMMAND …\n", _options("")]
    for name, command in COMMANDS.items():
        what = command.help[0].upper() + command.help[1:]
        parts += [f"## queuectl {name}\n", what + ".\n", _options(name)]
    aliases = ["| `{}` | `{}` |".format(alias, " ".join(words)) for alias, words in ALIASES.items()]
    parts.append("## Aliases\n\n| for | is |\n| --- | --- |\n{}\n".format("\n".join(aliases)))
    keys = ["| `{}` | {} | {} |".format(s.key, s.default or "-", s.help) for s in SETTINGS.values()]
    parts.append(
        "## Configuration keys\n\nA key of one queue is written QUEUE.KEY.\n\n| key | default | meaning |\n"
        "| --- | --- | --- |\n{}\n".format("\n".join(keys))
    )
    return "\n".join(part for part in parts if part)


def _options(name: str) -> str:
    """A command's arguments as a table; "" if it has none. Raises ValueError if one has no help."""
    rows = []
    for argument in arguments(name):
        if "--help" in argument.options:
            continue
        if not argument.help:
            raise ValueError(f"{name}: {argument.options or argument.value} has no help")
        words = filter(None, [", ".join(argument.options), argument.value])
        cells = " ".join(words), argument.help
        rows.append("| `{}` | {} |".format(*tuple(cell.replace("|", "\\|") for cell in cells)))
    return "| | |\n| --- | --- |\n{}\n".format("\n".join(rows)) if rows else ""


if __name__ == "__main__":
    for path, text in ((PATH, document()), (os.path.join(ROOT, "docs", "queuectl.1"), page())):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
