"""The keys of `top`: what each does, and the words for it. The help line and the help screen are made from this."""

from __future__ import annotations

from ..typed import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Key(NamedTuple):
    """Keys that do the same.

    `names` are as top_terminal.py reports them, `label` is what the help calls them, `action` is the name of a method
    or a decision, and `short` is for the help line ("": it is only on the help screen). Destructive keys are uppercase
    and ask first.
    """

    names: tuple[str, ...]
    label: str
    action: str
    short: str
    help: str


LISTS = (
    Key(("enter",), "Enter", "open", "open", "open the job, the worker's job, or the queue's list of jobs"),
    Key(("/",), "/", "filter", "filter", "list jobs with a text in the command, id or error"),
    Key(("s",), "s", "state", "state", "list jobs in one state"),
    Key(("esc",), "Esc", "clear", "", "list all jobs again"),
    Key(("S",), "S", "schedules", "schedules", "show the schedules"),
)
JOB = (
    Key(("esc", "backspace", "enter"), "Esc, Enter", "back", "back", "go back to the lists"),
    Key(("s",), "s", "suspend", "suspend", "suspend the job while it runs, or let it continue"),
    Key(("f",), "f", "follow", "follow", "follow the output, or stop following it"),
    Key(("[",), "[", "older_attempt", "", "show the output of the attempt before"),
    Key(("]",), "]", "newer_attempt", "", "show the output of the attempt after"),
)
SCHEDULES = (
    Key(("esc", "backspace", "S"), "Esc", "back", "back", "go back to the lists"),
    Key(("enter",), "Enter", "open", "last job", "open the job of the last run"),
    Key(("r",), "r", "run", "run now", "add the schedule's job now, whatever its times are"),
    Key(("p",), "p", "pause", "pause", "pause the schedule, or resume it"),
    Key(("y",), "y", "commands", "commands", "show the shell commands for what is selected"),
)
CHANGES = (
    Key(("r",), "r", "retry", "retry", "run the job again, with all its retries"),
    Key(("p",), "p", "pause", "pause", "pause the queue, or resume it; running jobs finish"),
    Key(("+", "="), "+", "raise", "", "raise the priority of the job"),
    Key(("-",), "-", "lower", "", "lower the priority of the job"),
    Key(("C",), "C", "cancel", "cancel", "cancel the job, also if it is running; asks first"),
    Key(("D",), "D", "delete", "", "delete the job from the dead letter queue; asks first"),
    Key(("y",), "y", "commands", "commands", "show the shell commands for what is selected"),
)
LIST_MOVES = (
    Key(("tab",), "Tab", "next", "", "go to the next panel: queues, workers, jobs"),
    Key(("shift-tab",), "Shift-Tab", "previous", "", "go to the previous panel"),
    Key(("up", "k"), "Up, k", "up", "", "go up"),
    Key(("down", "j"), "Down, j", "down", "", "go down"),
    Key(("pgup", "ctrl-b"), "PgUp", "page_up", "", "go up a page"),
    Key(("pgdn", "ctrl-f", " "), "PgDn, Space", "page_down", "", "go down a page"),
    Key(("home", "g"), "Home, g", "home", "", "go to the top, and stay there as new jobs arrive"),
    Key(("end", "G"), "End, G", "end", "", "go to the end"),
)
JOB_MOVES = (
    Key(("up", "k"), "Up, k", "up", "", "scroll up"),
    Key(("down", "j"), "Down, j", "down", "", "scroll down"),
    Key(("pgup", "ctrl-b"), "PgUp", "page_up", "", "scroll up a page"),
    Key(("pgdn", "ctrl-f", " "), "PgDn, Space", "page_down", "", "scroll down a page"),
    Key(("home", "g"), "Home, g", "home", "", "go to the first line that is kept"),
    Key(("end", "G"), "End, G", "end", "", "go to the last line, and follow the output"),
    Key(("left", "h"), "Left, h", "left", "", "scroll to the left"),
    Key(("right", "l"), "Right, l", "right", "", "scroll to the right, to see the end of long lines"),
)
PROGRAM = (
    Key(("?",), "?", "help", "help", "show this help"),
    Key(("ctrl-l",), "Ctrl-L", "redraw", "", "draw the screen again"),
    Key(("q",), "q", "quit", "quit", "quit"),
)
# The keys of each screen, as its help lists them.
ON_LISTS = (*LISTS, *CHANGES, *LIST_MOVES, *PROGRAM)
ON_SCHEDULES = (*SCHEDULES, *LIST_MOVES[2:], *PROGRAM)
ON_JOB = (*JOB, *CHANGES, *JOB_MOVES, *PROGRAM)
STATE_KEYS = {
    "a": None,
    "p": "pending",
    "r": "processing",
    "c": "completed",
    "f": "failed",
    "d": "dead",
    "x": "cancelled",
}


def action(keys: Sequence[Key], name: str) -> str | None:
    """What the key `name` does on a screen with these keys."""
    return next((key.action for key in keys if name in key.names), None)
