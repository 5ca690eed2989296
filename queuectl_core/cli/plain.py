"""Parses plain command lines without argparse, which takes 6 of a command's 10 ms after Python has started.

A line is plain if nothing about it is unusual: known options in full, each with its value in the next word or after
"=", and the other words next to each other. `parse` returns for it what parser.parse would, from the same
declarations: the `…_arguments` function of a command declares its arguments to either. Any other line, such as one with
a mistake in it or --help, is for argparse. tests/test_plain.py compares the two.
"""

from __future__ import annotations

import sys

from . import COMMANDS, GROUPS, TAKES_WORDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Collection, Sequence

COLORS = ("auto", "always", "never")


class Unusual(Exception):
    """A declaration or a line that isn't plain."""


class Arguments:
    """The arguments of a command line, as attributes; takes the place of argparse.Namespace."""


class Declared:
    """A declared argument: an option if its first name has a dash, or else a positional argument."""

    def __init__(
        self,
        names: tuple[str, ...],
        *,
        action: str = "store",
        nargs: str | None = None,
        default: object = None,
        dest: str | None = None,
        choices: Collection[str] | None = None,
        metavar: str | None = None,
        help: str | None = None,
    ) -> None:
        if action not in ("store", "store_true", "append", "one") or nargs not in (None, "?", "*", "+"):
            raise Unusual(names)
        self.option_strings = list(names)
        self.action = action
        self.nargs = nargs
        self.choices = choices
        self.default = False if action == "store_true" else default
        long = next((name for name in names if name.startswith("--")), names[0])
        self.dest = dest or long.lstrip("-").replace("-", "_")

    def store(self, found: Arguments, value: str) -> None:
        """Store a value of the option."""
        if self.choices is not None and value not in self.choices:
            raise Unusual(value)
        if self.action == "append":
            setattr(found, self.dest, [*getattr(found, self.dest), value])
        else:
            setattr(found, self.dest, value)

    def store_all(self, found: Arguments, words: Sequence[str]) -> None:
        """Store the values of the last positional argument."""
        many = self.nargs in ("*", "+")
        if (not words and self.nargs in (None, "+")) or (len(words) > 1 and not many):
            raise Unusual(words)
        if words or (many and self.default is None):
            setattr(found, self.dest, list(words) if many else words[0])


class Plain:
    """Collects declarations as an ArgumentParser does, and parses plain lines."""

    def __init__(self) -> None:
        self._options: dict[str, Declared] = {}
        self._positionals: list[Declared] = []
        self._exclusive: list[Exclusive] = []
        self.add_argument("--db")
        self.add_argument("--quiet", action="store_true")
        self.add_argument("--color", default="auto", choices=COLORS)

    def add_argument(self, *names: str, **options: object) -> Declared:
        """Declare an argument. Raises Unusual if only argparse knows such ones."""
        try:
            declared = Declared(names, **options)  # type: ignore[arg-type]  # As given, whatever it is.
        except TypeError:
            raise Unusual(names) from None
        if names[0].startswith("-"):
            self._options.update(dict.fromkeys(names, declared))
        else:
            self._positionals.append(declared)
        return declared

    def add_argument_group(self, title: str) -> Plain:
        """A group matters only to the help."""
        return self

    def add_mutually_exclusive_group(self) -> Exclusive:
        """Declare options of which a line has at most one."""
        group = Exclusive(self)
        self._exclusive.append(group)
        return group

    def parse(self, words: Sequence[str], found: Arguments) -> None:
        """Store the arguments in `words` as attributes of `found`. Raises Unusual if the line isn't plain."""
        for declared in (*self._options.values(), *self._positionals):
            setattr(found, declared.dest, declared.default)
        given: list[Declared] = []
        loose: list[int] = []  # The places of words that belong to no option.
        place = 0
        while place < len(words):
            word = words[place]
            if word.startswith("-") and word != "-":
                place += self._option(words[place:], found, given)
            else:
                loose.append(place)
                place += 1
        if loose and loose[-1] - loose[0] >= len(loose):
            raise Unusual(words)
        for group in self._exclusive:
            if sum(declared in given for declared in group.members) > 1:
                raise Unusual(words)
        self._store_loose([words[place] for place in loose], found)

    def _option(self, words: Sequence[str], found: Arguments, given: list[Declared]) -> int:
        """Store the option that `words` begin with; returns how many words it takes."""
        name, equals, value = words[0].partition("=")
        declared = self._options.get(name)
        if declared is None:
            raise Unusual(name)
        if declared.action == "one" and declared in given:
            raise Unusual(name)
        given.append(declared)
        if declared.action == "store_true":
            if equals:
                raise Unusual(name)
            setattr(found, declared.dest, True)
            return 1
        if equals:
            if value in ("", "--") or not name.startswith("--"):  # argparse drops these.
                raise Unusual(name)
            declared.store(found, value)
            return 1
        if len(words) == 1 or (words[1].startswith("-") and words[1] != "-"):
            raise Unusual(name)
        declared.store(found, words[1])
        return 2

    def _store_loose(self, words: list[str], found: Arguments) -> None:
        """Store the words that belong to no option: one in each positional argument, and all others in the last."""
        if not self._positionals:
            if words:
                raise Unusual(words)
            return
        *singles, last = self._positionals
        if len(words) < len(singles) or any(declared.nargs for declared in singles):
            raise Unusual(words)
        for declared, word in zip(singles, words):
            setattr(found, declared.dest, word)
        last.store_all(found, words[len(singles) :])


class Exclusive:
    """Options of which a line has at most one."""

    def __init__(self, plain: Plain) -> None:
        self._plain = plain
        self.members: list[Declared] = []

    def add_argument(self, *names: str, **options: object) -> Declared:
        """Declare an option."""
        declared = self._plain.add_argument(*names, **options)
        self.members.append(declared)
        return declared


def parse(words: Sequence[str], at: int, rest: Sequence[str] | None) -> Namespace | None:
    """The arguments in `words`, with the command's name at `at`; None if the line isn't plain.

    `rest` are the words after a "--".
    """
    noun, after = words[at], at + 1
    name = noun
    if noun in GROUPS:
        name, after = " ".join(words[at : at + 2]), at + 2
    if name not in COMMANDS or (rest is not None and name not in TAKES_WORDS):
        return None
    command = COMMANDS[name]
    path = f"{__package__}.{command.module}"
    __import__(path)  # importlib.import_module would load warnings.
    module = sys.modules[path]
    found = Arguments()
    plain = Plain()
    try:
        plain.parse(words[:at], found)  # Options of this command aren't known there.
        getattr(module, command.handler + "_arguments")(plain)
        plain.parse([*words[:at], *words[after:]], found)
    except Unusual:
        return None
    vars(found).update(noun=noun, handler=getattr(module, command.handler))
    if noun in GROUPS:
        vars(found).update(verb=words[at + 1])
    return found  # type: ignore[return-value]  # Commands only read attributes.
