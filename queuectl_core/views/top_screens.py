"""What `top` shows, apart from the terminal: which screen and what is over it, and when the file is read again.

While a question is open nothing is read, so that it stays about what the user saw.
"""

from __future__ import annotations

import time

from ..errors import DatabaseUnusable
from ..suggestion import shell_line
from ..typed import NamedTuple
from . import top_keys, top_overlays as overlays
from .top_data import Source, Wanted
from .top_job import JobScreen
from .top_main import MainScreen
from .top_schedules import ScheduleScreen
from .top_text import Charset, clipped, coarse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..store.client import Client
    from ..store.reader import Reader
    from .top_actions import Action
    from .top_keys import Key
    from .top_main import Place
    from .top_text import Line

REFRESH = 0.5  # Seconds between reads of the lists, at least.
LIVE = 0.2  # Seconds between reads of a job and its output, at least.
SHARE = 0.05  # Of the time may be spent reading: a slow search is repeated less often.
STALE = 30.0  # Seconds after which the lists are read even if the file hasn't changed.
HEALTH_CHECK = 2.0  # Seconds between looks at whether workers have died, which doesn't change the file.
MESSAGE = 10.0  # Seconds for which a message is shown.
BLOCK = 200  # Jobs are read in blocks of this size.
LEAST_COLUMNS, LEAST_LINES = 60, 16


class Files(NamedTuple):
    """How to open the queue for reading and for a change, and the words that a command on it starts with."""

    reader: Callable[[], Reader]
    client: Callable[[], Client]
    prefix: Sequence[str]


class Popup(NamedTuple):
    """Lines over the end of the screen until a key is pressed, of which the first is a title."""

    lines: list[Line]
    top: int = 0


class Screens:
    """The state of the program. App adds what keys do."""

    def __init__(self, files: Files, charset: Charset, clock: Callable[[], float] = time.time) -> None:
        """Open the queue and read it. Raises DatabaseUnusable."""
        self._files = files
        self._charset = charset
        self._clock = clock
        self.source = Source(files.reader, clock)
        picture = self.source.read_picture(Wanted(), BLOCK)
        if picture is None:
            self.source.close()
            raise DatabaseUnusable(self.source.problem)
        self.main = MainScreen(picture, charset)
        self.job: JobScreen | None = None
        self.schedules: ScheduleScreen | None = None  # Below the screen of a job.
        self.question: Action | None = None
        self.is_question_shown = False
        self.entry: str | None = None  # The filter, while it is typed.
        self._filter_before: Wanted = Wanted()
        self.is_choosing = False  # A state.
        self.popup: Popup | None = None
        self._message: Line = []
        self._message_until = 0.0
        self._read_at = self._checked_at = time.monotonic()
        self._pause = REFRESH
        self._limit = BLOCK
        self._must_read = False
        self._under_cursor: object = None
        self._moved_at = 0.0  # When another row came under the cursor without a key.
        self._user_moved = True
        self._height = 1

    def close(self) -> None:
        """Close the file."""
        self.source.close()

    # --- reading -----------------------------------------------------------------------------------------

    def refresh(self) -> bool:
        """Read what is shown if it may have changed, but not too often. Returns whether there may be something new."""
        if self.question is not None:
            return False
        now = time.monotonic()
        before = self.source.problem
        is_due = now - self._read_at >= self._pause
        if self._must_read or (
            is_due and (self.source.has_changed() or now - self._read_at >= STALE or self._have_workers_died(now))
        ):
            self._read()
            return True
        return self.source.problem != before

    def is_live(self) -> bool:
        """Whether output of a running job is shown."""
        return self.job is not None and self.job.picture.job.state == "processing"

    def _have_workers_died(self, now: float) -> bool:
        if self.job is not None or self.schedules is not None or now - self._checked_at < HEALTH_CHECK:
            return False
        self._checked_at = now
        return not self.source.are_running(self.main.picture.overview.workers)

    def _read(self) -> None:
        began = time.monotonic()
        if self.job is not None:
            self.job.picture = self.source.read_job(self.job.reader) or self.job.picture
        elif self.schedules is not None:
            self.schedules.picture = self.source.read_schedules() or self.schedules.picture
        else:
            self.main.picture = self.source.read_picture(self.main.wanted, self._limit) or self.main.picture
        self._read_at = time.monotonic()
        self._pause = max(LIVE if self.job else REFRESH, (self._read_at - began) / SHARE)
        self._must_read = False

    def _command(self, words: Sequence[str]) -> str:
        return self._charset.clean(shell_line([*self._files.prefix, *words]))

    def _say(self, text: str, style: str) -> None:
        self._message = [(" " + self._charset.clean(text), style)]
        self._message_until = time.monotonic() + MESSAGE

    # --- lines -----------------------------------------------------------------------------------------

    def lines(self, columns: int, lines: int) -> list[Line]:
        """The whole screen, of exactly this size."""
        if columns < LEAST_COLUMNS or lines < LEAST_LINES:
            return overlays.too_small(columns, lines, (LEAST_COLUMNS, LEAST_LINES))
        self._height = lines
        now = self._clock()
        screen = self.job or self.schedules or self.main
        found = screen.lines(columns, lines - 1, now, self._notice(now))
        self._watch_cursor()
        found.append(self._footer(columns))
        over: list[Line] = []
        if self.question is not None:
            self.is_question_shown = True
            over = overlays.question(self.question, self._command(self.question.words), columns, self._charset)
        elif self.popup is not None:
            over = overlays.popup(self.popup.lines, self.popup.top, (columns, self._popup_height()), self._charset)
        return found[: lines - len(over)] + over

    def _popup_height(self) -> int:
        """How many lines of a popup are visible between its title and its last line."""
        return self._height - 4

    def _watch_cursor(self) -> None:
        """Note when a row comes under the cursor that the user didn't move it to."""
        place = self._place()
        under = (place, place.key)
        if under != self._under_cursor:
            self._moved_at = 0.0 if self._user_moved else time.monotonic()
            self._under_cursor = under
        self._user_moved = False

    def _place(self) -> Place:
        """The cursor of the list on screen."""
        return self.schedules.place if self.schedules is not None else self.main.places[self.main.focus]

    def _keys(self) -> Sequence[Key]:
        """The keys of the screen."""
        return top_keys.ON_JOB if self.job else top_keys.ON_SCHEDULES if self.schedules else top_keys.ON_LISTS

    def _notice(self, now: float) -> Line:
        """Why the file can't be read, and how old the screen is; nothing if it can be read."""
        problem = self.source.problem
        if problem is None:
            return []
        read_at = (self.job or self.schedules or self.main).picture.read_at
        text = problem.replace(f"{self.main.picture.overview.path}: ", "")
        return [(f"{self._charset.clean(text)}; this is {coarse(now - read_at)} old ", "warning")]

    def _footer(self, columns: int) -> Line:
        if self.entry is not None:
            return overlays.entry(self.entry, columns, self._charset)
        if self.is_choosing:
            return overlays.states(columns, self._charset)
        if self._message and time.monotonic() < self._message_until:
            return clipped(self._message, columns, self._charset.ellipsis)
        return overlays.help_line(self._keys(), columns)
