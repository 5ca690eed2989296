"""Generates docs/commands.md and docs/queuectl.1 from the registry: `python3 -m tests.commands_document`.

Tests fail if either file is outdated, so every command and option is documented.
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

Write durations as 90, 90s, 5m, 2h or 1d; times as ISO 8601 (local unless they have a zone), epoch seconds, or
+5m. `show`, `logs` and `wait` take any unique prefix of an id; commands that change jobs take whole ids. `--json`
prints one JSON value and nothing else on stdout.
"""


def document() -> str:
    """The text of docs/commands.md."""
    parts = [INTRODUCTION, "## queuectl [options] COMMAND …\n", _options("")]
    for name, command in COMMANDS.items():
        sentence = command.help[0].upper() + command.help[1:] + "."
        parts += [f"## queuectl {name}\n", sentence + "\n", _options(name)]
    aliases = [f"| `{alias}` | `{' '.join(words)}` |\n" for alias, words in ALIASES.items()]
    parts.append("## Aliases\n\n| alias | command |\n| --- | --- |\n" + "".join(aliases))
    keys = [f"| `{s.key}` | {s.default or '-'} | {s.help} |\n" for s in SETTINGS.values()]
    parts.append(
        "## Configuration keys\n\nQUEUE.KEY sets a key for one queue only.\n\n| key | default | meaning |\n"
        "| --- | --- | --- |\n" + "".join(keys)
    )
    return "\n".join(part for part in parts if part)


def _options(name: str) -> str:
    """A table of a command's arguments; "" if it has none. Raises ValueError if one has no help."""
    rows = []
    for argument in arguments(name):
        if "--help" in argument.options:
            continue
        if not argument.help:
            raise ValueError(f"{name}: {argument.options or argument.value} has no help")
        words = filter(None, [", ".join(argument.options), argument.value])
        cells = " ".join(words), argument.help
        syntax, help = (cell.replace("|", "\\|") for cell in cells)
        rows.append(f"| `{syntax}` | {help} |\n")
    return "| | |\n| --- | --- |\n" + "".join(rows) if rows else ""


if __name__ == "__main__":
    for path, text in ((PATH, document()), (os.path.join(ROOT, "docs", "queuectl.1"), page())):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
