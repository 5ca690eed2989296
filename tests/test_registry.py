"""Everything a user can type is explained in --help, in the man page and in the documents."""

from __future__ import annotations

import glob
import os
import shlex
import unittest
from typing import Iterator

from queuectl_core.cli import ALIASES, COMMANDS, GROUPS
from queuectl_core.cli.examples import EXAMPLES
from queuectl_core.cli.parser import arguments, leaf, parse
from queuectl_core.settings import SETTINGS
from tests.harness import ROOT


def read(*names: str) -> str:
    """The text of files in the checkout."""
    pieces = []
    for name in names:
        with open(os.path.join(ROOT, name), encoding="utf-8") as file:
            pieces.append(file.read())
    return "\n".join(pieces)


def commands_in(line: str) -> Iterator[list[str]]:
    """The arguments of each queuectl in a line for a shell."""
    words = ["|", *shlex.split(line, comments=True), "|"]
    ends = [place for place, word in enumerate(words) if word in ("|", "&&", ">")]
    for begin, end in zip(ends, ends[1:]):
        command = words[begin + 1 : end]
        if command[:1] == ["queuectl"]:
            yield command[1:]


class RegistryTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.manual = read("docs/queuectl.1").replace("\\-", "-").replace("\\fB", "").replace("\\fR", "")
        documents = glob.glob(os.path.join(ROOT, "docs", "*.md"))
        cls.documents = read("README.md", *documents)

    def test_every_command_has_help_a_manual_entry_and_a_document(self):
        for name, command in COMMANDS.items():
            with self.subTest(command=name):
                self.assertTrue(command.help)
                self.assertIn(leaf(name).prog, "queuectl " + name)
                self.assertRegex(self.manual, rf"(?m)^\.SS {name}\b")
                self.assertRegex(self.documents, rf"queuectl {name}\b")

    def test_every_command_has_a_few_examples_that_are_right(self):
        self.assertEqual(set(EXAMPLES), set(COMMANDS))
        for name, lines in EXAMPLES.items():
            self.assertLessEqual(len(lines), 5 if name == "enqueue" else 3, name)
            self.assertIn(f"queuectl {name}", lines[0])
            self.assertTrue(leaf(name).format_help().endswith("\n".join(f"  {line}" for line in lines) + "\n"), name)
            for line in lines:
                self.assertLessEqual(len(line), 78)
                for words in commands_in(line):
                    end = words.index("--") if "--" in words else len(words)
                    parse(words[:end], words[end + 1 :] if end < len(words) else None)

    def test_every_option_has_help_a_manual_entry_and_a_document(self):
        for name in ("", *COMMANDS):
            for argument in arguments(name):
                if "--help" in argument.options:
                    continue
                with self.subTest(command=name, argument=argument.options or argument.value):
                    self.assertTrue(argument.help)
                    section = self.manual.partition(f"\n.SS {name}" if name else "\n.SH OPTIONS")[2]
                    section = section.partition("\n.SS ")[0]
                    for option in argument.options:
                        self.assertRegex(section, rf"(?m)^(.*, )?{option}\b")
                        self.assertRegex(self.documents, rf"(?<![\w-]){option}(?![\w-])")

    def test_aliases_and_configuration_keys_are_documented_and_no_group_is_empty(self):
        for alias, words in ALIASES.items():
            self.assertIn(f"'{alias}' is short for '{' '.join(words)}'.", self.manual)
        for group in GROUPS:
            self.assertTrue([name for name in COMMANDS if name.startswith(group + " ")], group)
        for key in SETTINGS:
            self.assertRegex(self.manual, rf"(?m)^(QUEUE\.)?{key}$")
            self.assertIn(key, self.documents)
