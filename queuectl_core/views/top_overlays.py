"""What `top` draws over its screens: the help line, the help screen, questions, lists of commands. Pure."""

from __future__ import annotations

from ..lifecycle import STATES
from . import top_keys
from .top_text import clipped, length, selected, spread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .top_actions import Action
    from .top_keys import Key
    from .top_text import Charset, Line

STATE_HELP = {
    "pending": "waits for a worker, its time, another job, or its queue",
    "processing": "runs",
    "completed": "its command succeeded",
    "failed": "failed, and waits for its retry",
    "dead": "failed, and has no retries left: it is in the dead letter queue",
    "cancelled": "was cancelled",
}


def help_line(keys: Sequence[Key], room: int) -> Line:
    """The most important keys, as many as fit. The last one says where the others are."""
    shown = [key for key in keys if key.short]
    order = sorted(shown, key=lambda key: (key.action not in ("help", "quit"), shown.index(key)))
    kept: list[Key] = []
    used = 0
    for key in order:
        wide = len(key.label.split(",")[0]) + len(key.short) + 3
        if used + wide > room:
            break
        used += wide
        kept.append(key)
    line: Line = [(" ", "")]
    for key in [*kept[2:], *kept[:2][::-1]]:
        line += [(key.label.split(",")[0], "key"), (f" {key.short}  ", "dim")]
    return clipped(line, room, "")


def help_screen(keys: Sequence[Key], charset: Charset) -> list[Line]:
    """All keys of a screen, and what the symbols of states mean. The first line is a title."""
    lines: list[Line] = [[(" Keys ", "focus")]]
    for key in keys:
        lines.append([(f"  {key.label:<13}", "key"), (key.help, "")])
    lines.append([])
    for state in STATES:
        lines.append([(f"  {charset.symbol(state)} {state:<11}", state), (STATE_HELP[state], "")])
    return lines


def popup(lines: Sequence[Line], top: int, size: tuple[int, int], charset: Charset) -> list[Line]:
    """A popup's title, its lines from `top` on, and how to close it, in at most `size` (columns, lines)."""
    room, height = size
    title, rest = lines[0], lines[1:]
    visible = rest[top : top + height]
    where = f"line {top + 1} to {top + len(visible)} of {len(rest)}: Up, Down; " if len(rest) > height else ""
    last: Line = [(f" {where}any other key closes this" if where else " any key closes this", "dim")]
    return [
        selected([], room, "rule"),
        *(clipped(line, room, charset.ellipsis) for line in (title, *visible, last)),
    ]


def question(action: Action, command: str, room: int, charset: Charset) -> list[Line]:
    """A question, the command that does the same, and the answers."""
    return [
        selected([], room, "rule"),
        clipped([(" " + charset.clean(action.question), "warning")], room, charset.ellipsis),
        clipped([("   ", ""), (command, "command")], room, charset.ellipsis),
        clipped([(" y", "key"), (" yes   ", "dim"), ("n", "key"), (" no (any other key)", "dim")], room, ""),
    ]


def commands(title: str, offers: Sequence[tuple[str, str, str]], charset: Charset) -> list[Line]:
    """Commands to copy: (key, meaning, command line) for each."""
    lines: list[Line] = [[(" Commands ", "focus"), ("  " + charset.clean(title), "dim")]]
    wide = max((len(meaning) for _, meaning, _ in offers), default=0)
    for key, meaning, command in offers:
        lines.append([(f" {key:>5}  ", "key"), (f"{meaning:<{wide}}  ", "dim"), (command, "")])
    return lines if offers else [*lines, [(" Nothing is selected.", "dim")]]


def entry(text: str, room: int, charset: Charset) -> Line:
    """The filter while it is typed. Its end is always visible."""
    left: Line = [(" Text in the command, id or error: ", "key")]
    right: Line = [("Enter", "key"), (" keeps it  ", "dim"), ("Esc", "key"), (" undoes it ", "dim")]
    space = max(8, room - length(left) - length(right) - 4)
    shown = charset.clean(text)
    while length([(shown, "")]) > space:
        shown = shown[1:]
    return spread([*left, (shown, "bold"), (" ", "selected")], right, room, "")


def states(room: int, charset: Charset) -> Line:
    """The states to choose from, by key."""
    line: Line = [(" ", "")]
    for key, state in top_keys.STATE_KEYS.items():
        line += [(key, "key"), (f" {state or 'all'}  ", "dim" if state is None else state)]
    return clipped(line, room, charset.ellipsis)


def too_small(columns: int, lines: int, least: tuple[int, int]) -> list[Line]:
    """What to say on a screen that is too small, in as much as fits."""
    texts = ("Too small", f"{columns}x{lines}", f"needs {least[0]}x{least[1]}", "q quits")
    found: list[Line] = [[(text[:columns], "bold")] for text in texts]
    return found[:lines] + [[] for _ in range(lines - len(found))]
