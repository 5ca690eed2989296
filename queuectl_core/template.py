"""Templates of `enqueue --each`: a shell command with placeholders for parts of a line.

A line is data, never code. So each placeholder is replaced by a quoted word that also fits where it stands: inside
quotes the word first closes them and then opens them again. Where no quoting is safe (backquotes, `${…}`, `$((…))`,
`$'…'`, here documents, comments), the template is rejected. Source of the quoting rules: POSIX.1-2017, Shell Command
Language, section 2.2.
"""

from __future__ import annotations

import os
import re
import shlex

from .errors import BadInput

PLACEHOLDER = re.compile(r"\{(?:\.|/|//|/\.|#)?\}")

# What surrounds a placeholder, innermost last: "'" and '"' are quotes, "(" is $(…) or (…), where quoting starts afresh.
# In the others no quoting is safe.
UNSAFE = {
    "`": "backquotes; use $(…)",
    "${": "${…}",
    "((": "$((…))",
    "$'": "$'…'",
    "<<": "a here document",
    "#": "a comment",
    "\\": "a backslash's reach",
}


class Template:
    """A command with placeholders. Raises BadInput if one is where a line can't be quoted."""

    def __init__(self, text: str, place: str) -> None:
        """`place` names the template in messages."""
        self._pieces: list[str] = []
        self._contexts: list[str] = []
        start = 0
        contexts = _contexts(text)
        if re.search(r"\$\(.*\bcase\b", text, re.DOTALL) and PLACEHOLDER.search(text):
            # A pattern's ")" doesn't close the "$(", and telling them apart takes a parser of the whole language.
            raise BadInput(f"{place}: a placeholder cannot be used together with case inside $(…)")
        for match in PLACEHOLDER.finditer(text):
            context = contexts[match.start()]
            if context in UNSAFE:
                raise BadInput(f"{place}: {match.group()} cannot be used in {UNSAFE[context]}")
            self._pieces += [text[start : match.start()], match.group()]
            self._contexts.append(context)
            start = match.end()
        if not self._contexts:  # The line becomes the last word.
            if contexts[len(text)]:
                raise BadInput(f"{place}: ends inside quotes or brackets; say where the line goes with {{}}")
            self._pieces, self._contexts, text, start = [f"{text} ", "{}"], [""], "", 0
        self._pieces.append(text[start:])

    def fill(self, line: str, number: int) -> str:
        """The command for the `number`-th line."""
        words = replacements(line, number)
        filled = list(self._pieces)
        for index, context in enumerate(self._contexts):
            quotes = context if context in ("'", '"') else ""
            filled[2 * index + 1] = f"{quotes}{shlex.quote(words[filled[2 * index + 1]])}{quotes}"
        return "".join(filled)


def replacements(line: str, number: int) -> dict[str, str]:
    """What each placeholder stands for, unquoted."""
    base, _ = os.path.splitext(line)
    folder, name = os.path.split(line)
    return {
        "{}": line,
        "{.}": base,
        "{/}": name,
        "{//}": folder or ".",
        "{/.}": os.path.splitext(name)[0],
        "{#}": str(number),
    }


def fill_plain(text: str, line: str, number: int) -> str:
    """`text`, which isn't a command, with its placeholders replaced by what they stand for."""
    words = replacements(line, number)
    return PLACEHOLDER.sub(lambda match: words[match.group()], text)


def _contexts(text: str) -> list[str]:
    """For each character of a command, and for its end, what surrounds it: "", "(", a quote, or a key of UNSAFE."""
    contexts = []
    stack: list[str] = []
    index = 0
    while index < len(text):
        step, stack = _step(text, index, stack)
        context = stack[-1] if stack else ""
        contexts += [context if step == 1 else _escaped(text, index, context)] * step
        index += step
    contexts.append(stack[-1] if stack else "")
    return contexts


def _escaped(text: str, index: int, context: str) -> str:
    """The context of a token of several characters; after a backslash there is no placeholder that we can quote."""
    return "\\" if text[index] == "\\" and context in ("", "(", '"') else context


def _step(text: str, index: int, stack: list[str]) -> tuple[int, list[str]]:
    """Read one token: how many characters it has, and what surrounds it and what follows."""
    context = stack[-1] if stack else ""
    character, pair = text[index], text[index : index + 2]
    if context in ("<<",):
        return 1, stack  # To the end: a here document's own rules don't matter.
    if context == "#":
        return 1, stack[:-1] if character == "\n" else stack
    if context == "'":
        return 1, stack[:-1] if character == "'" else stack
    if character == "\\":
        return min(2, len(text) - index), stack
    if context == "$'":
        return 1, stack[:-1] if character == "'" else stack
    if context == "`":
        return 1, stack[:-1] if character == "`" else stack
    if character == "`":
        return 1, [*stack, "`"]
    if text.startswith("$((", index):
        return 3, [*stack, "((", "(("]
    if context == "((":
        return 1, [*stack, "(("] if character == "(" else stack[:-1] if character == ")" else stack
    if pair == "$(":
        return 2, [*stack, "("]
    if pair == "${":
        return 2, [*stack, "${"]
    if context == "${":
        return 1, stack[:-1] if character == "}" else stack
    if context == '"':
        return 1, stack[:-1] if character == '"' else stack
    return _step_unquoted(text, index, stack)


def _step_unquoted(text: str, index: int, stack: list[str]) -> tuple[int, list[str]]:
    character, pair = text[index], text[index : index + 2]
    if pair == "$'":
        return 2, [*stack, "$'"]
    if character in "'\"(":
        return 1, [*stack, character]
    if character == ")" and stack and stack[-1] == "(":
        return 1, stack[:-1]
    if pair == "<<":
        return 2, [*stack, "<<"]
    if character == "#" and (index == 0 or text[index - 1] in " \t\n;&|("):
        return 1, [*stack, "#"]
    return 1, stack
