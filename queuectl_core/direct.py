"""Commands that don't need a shell: those that it would merely split into words.

Such a line consists of words of harmless characters and of quoted text, as `shlex.join` produces. It has no
expansions, redirections, operators or assignments. Its first word may still be a builtin or a reserved word, which
only the shell knows. Source: POSIX.1-2017, Shell Command Language, sections 2.2 and 2.3.
"""

from __future__ import annotations

import re

LONGEST = 32_000  # Characters. Linux refuses an argument of 128 KiB, so a shell can't be given a longer line.

_SAFE = r"A-Za-z0-9_@%+=:,./\-"
_PLAIN = re.compile(rf"[{_SAFE} \t]+")
# A word is made of these: harmless characters, text in single quotes, and shlex.quote's single quote.
_PIECE = re.compile(rf"""[{_SAFE}]+|'[^']*'|"'"|[ \t]+""")
# Without "=", which makes an assignment; without "-" and "+" at the start, which make options of `sh -c`; without
# "%" there, which makes bash look for a job.
_PROGRAM = re.compile(r"[A-Za-z0-9_./][^=]*")


def split(command: str) -> list[str] | None:
    """The words of a command that a shell would merely split; None if it needs a shell."""
    # Without a shell, the program leads its session. Then setsid(1) forks, and the job would end at once.
    if len(command) > LONGEST or "setsid" in command:
        return None
    words = command.split() if _PLAIN.fullmatch(command) else _split_quoted(command)
    return words if words and _PROGRAM.fullmatch(words[0]) else None


def _split_quoted(command: str) -> list[str] | None:
    words: list[str] = []
    pieces = _PIECE.findall(command)
    if "".join(pieces) != command:
        return None
    in_word = False
    for piece in pieces:
        if piece[0] in " \t":
            in_word = False
            continue
        text = piece[1:-1] if piece[0] in "'\"" else piece
        if in_word:
            words[-1] += text
        else:
            words.append(text)
        in_word = True
    return words
