"""Command lines to copy. Any program can store any id or name, so each word is quoted for a shell."""

from __future__ import annotations

from .values import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def shell_line(words: Sequence[str]) -> str:
    """A command line to copy, on one line of printable text. Other programs can store any id."""
    return " ".join(map(_shell_word, words))


def _shell_word(word: str) -> str:
    if word.isprintable():
        import shlex  # Deferred: it takes 4 ms, and most commands suggest nothing.

        return shlex.quote(word)
    # In octal: after \\x, bash and zsh would take a following letter for a hexadecimal digit.
    letters = [
        letter if letter.isprintable() and letter not in "\\'" else "".join(f"\\{byte:03o}" for byte in encode(letter))
        for letter in word
    ]
    return f"$'{''.join(letters)}'"


def on_job(command: str, id: str) -> list[str]:
    """The words of a command (such as "dlq retry") on the job `id`, or on what else it names."""
    return [*command.split(), *(["--"] if id.startswith("-") else []), id]


def suggestion(command: str, name: str) -> str:
    """The line that runs a command of queuectl on a job, a queue, a schedule or a setting."""
    return shell_line(["queuectl", *on_job(command, name)])
