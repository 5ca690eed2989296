"""Plain command lines are parsed without argparse, with the same result."""

from __future__ import annotations

import contextlib
import io
import random
import unittest

from queuectl_core import cli
from queuectl_core.cli import parser, plain
from queuectl_core.errors import BadInput

# Words that are misread most easily.
WORDS = (
    *("a", "job-1", "5", "x", "7d", "dead", "q1", "2", "-3", "-", "", " ", "a b", "--", "-x", "--nope", "a=b", "="),
    *("@file", "-n5", "-fn", "--json"),
    *('{"command": "true"}', "help", "list", "start", "--quiet", "--db", "x.db", "--color=never", "auto", "-h", "é\n"),
)
LINES_OF_A_COMMAND, PLAIN_LINES = 100, 12  # At most; enough.


def both(words: list[str], rest: list[str] | None) -> tuple[dict[str, object] | None, dict[str, object] | str]:
    """What plain.parse finds in a command line, and what argparse does: arguments, or None or a message."""
    at = cli.command_place(words)
    assert at is not None
    found = plain.parse(words, at, rest)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # For --help.
            expected: dict[str, object] | str = vars(parser.parse(words, rest))
    except (BadInput, SystemExit) as error:
        expected = f"refused: {error}"
    if isinstance(expected, dict):
        del expected["parser"]
    return None if found is None else vars(found), expected


def random_line(name: str, chance: random.Random) -> list[str]:
    """A command line with options of the command, other words, and mistakes."""
    words: list[str] = []
    for argument in parser.arguments(name):
        if not argument.options or chance.random() < 0.8:
            continue
        option = chance.choice(argument.options)
        if argument.value is None:
            words.append(option)
        elif chance.random() < 0.2:
            words.append(f"{option}={chance.choice(WORDS)}")
        else:
            words += [option, chance.choice(WORDS)]
    for word in chance.choices(WORDS, k=chance.choice((0, 1, 1, 2, 2, 3))):
        words.insert(chance.choice((0, len(words), chance.randint(0, len(words)))), word)
    before = chance.choice(([], [], ["--quiet"], ["--db", "x"], ["--color", "never"], ["--db=x"], ["--color", "x"]))
    return [*before, *name.split(), *words]


class PlainTest(unittest.TestCase):
    def test_plain_lines_of_all_commands_mean_what_argparse_makes_of_them(self):
        chance = random.Random(15)
        for name in cli.COMMANDS:
            count = 0
            for _ in range(LINES_OF_A_COMMAND):
                words = random_line(name, chance)
                end = words.index("--") if "--" in words else len(words)
                words, rest = words[:end], words[end + 1 :] if end < len(words) else None
                at = cli.command_place(words)
                if at is None or plain.parse(words, at, rest) is None:
                    continue
                found, expected = both(words, rest)
                self.assertEqual(found, expected, (words, rest))
                count += 1
                if count == PLAIN_LINES:
                    break
            self.assertGreater(count, 0, name)

    def test_ordinary_lines_are_plain(self):
        for line in (
            *("status", "status --json", "list", "list -s dead -n 5", "list --limit=0 --json", "show job1", "logs -f"),
            *("enqueue -", "enqueue -q q -e A=1 -e B=2 --timeout 5m x", "--db x --quiet enqueue --each x - --atomic"),
            *("worker start -c 4 --drain --foreground", "worker list", "worker stop", "dlq retry a b", "config get"),
            *("config set timeout 5", "wait --timeout 5 a b", "cancel --all", "prune --older-than 7d", "retry a"),
        ):
            found, expected = both(line.split(), None)
            self.assertEqual(found, expected, line)
        found, expected = both(["enqueue", "--queue", "q"], ["echo", "--help"])
        self.assertEqual(found, expected)

    def test_lines_with_a_mistake_are_left_to_argparse(self):
        for line in (
            *("status --json --watch", "status x", "show", "show a b", "list -n", "list --nope"),
            *("list -n5", "status -h", "worker", "config set a", "wait a --json b", "--color x list", "list --json=1"),
            *("--json list", "schedule pause"),
        ):
            words = line.split()
            self.assertIsNone(plain.parse(words, cli.command_place(words) or 0, None), line)
        self.assertIsNone(plain.parse(["cancel"], 0, ["-id"]))

    def test_declarations_that_only_argparse_knows_are_left_to_it(self):
        for options in ({"action": "count"}, {"nargs": 2}, {"type": int}, {"const": 1}):
            with self.assertRaises(plain.Unusual):
                plain.Plain().add_argument("--many", **options)


if __name__ == "__main__":
    unittest.main()
