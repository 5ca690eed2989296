"""The main screen of `top`: where the cursors are, and all panels as lines. No terminal, no clock, no file."""

from __future__ import annotations

from . import top_panels
from .top_data import Wanted
from .top_text import beside, clipped, selected, spread, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..lifecycle import Job
    from ..records import Worker
    from .facts import Queue
    from .top_data import Picture
    from .top_panels import Table
    from .top_text import Charset, Line

PANELS = ("queues", "workers", "jobs")
WIDE = 150  # Columns from which queues and workers are next to each other.
HEADER = 2  # Lines above the panels.
HEADINGS = {"queues": 1, "workers": 1, "jobs": 2}  # Lines of a panel above its rows.
ROOMY = 32  # Lines from which there are blank lines between panels.


class Place:
    """Where the cursor of a panel is: on a row, which it follows when rows move, or at home: on the first row."""

    def __init__(self) -> None:
        self.is_home = True
        self.key: object = None
        self.index = 0
        self.top = 0
        self.height = 1

    def settle(self, keys: Sequence[object], height: int) -> None:
        """Find the row again among those there are now, of which `height` are visible. `keys` identify the rows."""
        if self.is_home:
            self.index = 0
        elif self.key in keys:
            self.index = keys.index(self.key)
        self.index = max(0, min(self.index, len(keys) - 1))
        self.key = keys[self.index] if keys else None
        self.top = max(0, min(self.top, self.index, len(keys) - height))
        self.top = max(self.top, self.index - height + 1)
        self.height = height

    def move(self, keys: Sequence[object], step: int) -> None:
        """Move the cursor by `step` rows."""
        self.index = max(0, min(self.index + step, len(keys) - 1))
        self.key = keys[self.index] if keys else None
        self.is_home = False

    def home(self) -> None:
        """Move to the first row, and stay there as rows are added."""
        self.is_home, self.index, self.top = True, 0, 0


def heights(total: int, queues: int, workers: int, focus: str, is_wide: bool) -> tuple[int, int, int]:
    """How many rows each panel gets of `total` lines for all. The one in focus gets more if it needs them."""
    content = total - HEADINGS["queues"] - HEADINGS["jobs"] - (0 if is_wide else HEADINGS["workers"])
    share = content // 3 if is_wide else content // 5

    def rows(needed: int, panel: str) -> int:
        return max(1, min(needed, content // 2 if focus == panel else share))

    of_queues, of_workers = rows(queues, "queues"), rows(workers, "workers")
    if is_wide:
        of_queues = of_workers = max(of_queues, of_workers)
        return of_queues, of_workers, max(1, content - of_queues)
    return of_queues, of_workers, max(1, content - of_queues - of_workers)


class MainScreen:
    """Queues, workers and jobs. `picture` is what was read last."""

    def __init__(self, picture: Picture, charset: Charset) -> None:
        self.picture = picture
        self.charset = charset
        self.wanted = Wanted()
        self.focus = "jobs"
        self.places = {panel: Place() for panel in PANELS}

    # --- what is selected --------------------------------------------------------------------------

    def keys(self, panel: str) -> list[object]:
        """What identifies each row of a panel."""
        if panel == "queues":
            return [queue.name for queue in self.picture.queues]
        if panel == "workers":
            return [worker.id for worker in self.picture.overview.workers]
        return [job.seq for job, _ in self.picture.jobs]

    def queue(self) -> Queue | None:
        """The queue under the cursor of its panel."""
        rows = self.picture.queues
        return rows[self.places["queues"].index] if rows else None

    def worker(self) -> Worker | None:
        """The worker under the cursor of its panel."""
        rows = self.picture.overview.workers
        return rows[self.places["workers"].index] if rows else None

    def job(self) -> tuple[Job, str | None] | None:
        """The job under the cursor of its panel, and why it waits."""
        rows = self.picture.jobs
        return rows[self.places["jobs"].index] if rows else None

    # --- moving --------------------------------------------------------------------------------------

    def move(self, action: str) -> None:
        """Move the cursor: up, down, page_up, page_down, home or end; or to the next or previous panel."""
        if action in ("next", "previous"):
            step = 1 if action == "next" else -1
            self.focus = PANELS[(PANELS.index(self.focus) + step) % len(PANELS)]
            return
        place, keys = self.places[self.focus], self.keys(self.focus)
        if action == "home":
            place.home()
        else:
            page = max(1, place.height - 1)
            steps = {"up": -1, "down": 1, "page_up": -page, "page_down": page, "end": len(keys)}
            place.move(keys, steps[action])

    # --- lines -----------------------------------------------------------------------------------------

    def settle(self, columns: int, lines: int) -> None:
        """Put each cursor on its row, on a screen of this size."""
        is_wide = columns >= WIDE
        blank = 0 if lines < ROOMY else 2 if is_wide else 3
        room = lines - HEADER - blank
        rows = heights(room, len(self.picture.queues), len(self.picture.overview.workers), self.focus, is_wide)
        for panel, height in zip(PANELS, rows):
            self.places[panel].settle(self.keys(panel), height)

    def lines(self, columns: int, lines: int, now: float, notice: Line) -> list[Line]:
        """The screen, of exactly this size. `notice` is shown in its first line."""
        self.settle(columns, lines)
        picture, charset = self.picture, self.charset
        path: Line = [(" queuectl ", "name"), (" " + charset.clean(picture.overview.path), "dim")]
        right = notice or top_panels.pulse(picture, columns, charset)
        totals = top_panels.totals_line(picture, columns, charset)
        trouble = top_panels.schedules_note(picture)
        found = [spread(path, right, columns, charset.ellipsis), spread(totals, trouble, columns, charset.ellipsis)]
        blank: list[Line] = [[]] if lines >= ROOMY else []
        half = (columns - 2) // 2 if columns >= WIDE else columns
        queues = self._panel("queues", top_panels.queues_table(picture, charset), half)
        workers = self._panel("workers", top_panels.workers_table(picture, now), half)
        found += blank
        found += beside(queues, workers, half) if columns >= WIDE else queues + blank + workers
        found += blank
        place = self.places["jobs"]
        visible = picture.jobs[place.top : place.top + place.height]
        found += self._panel("jobs", top_panels.jobs_table(visible, picture, now), columns)
        return found[:lines] + [[] for _ in range(lines - len(found))]

    def _panel(self, panel: str, contents: Table, room: int) -> list[Line]:
        """The names of the columns, among them that of the panel, and as many lines as the panel has rows."""
        place, charset = self.places[panel], self.charset
        columns, rows = contents
        if panel != "jobs":  # Its rows are only those that are visible.
            rows = rows[place.top : place.top + place.height]
            columns = [columns[0]._replace(title=self._title(panel)), *columns[1:]]
        header, lines = table(columns, rows, room, charset, top_panels.LEAST)
        if self.focus == panel and lines:
            at = place.index - place.top
            lines[at] = selected(lines[at], room, "selected")
        if not lines:
            lines = [clipped([(" " + top_panels.empty_note(panel, self.wanted), "dim")], room, charset.ellipsis)]
        lines += [[] for _ in range(place.height - len(lines))]
        if panel == "jobs":
            return [self._jobs_heading(room), header, *lines]
        style = "focus" if self.focus == panel else "title"
        return [[(text, style if number < 2 else was) for number, (text, was) in enumerate(header)], *lines]

    def _title(self, panel: str) -> str:
        """A panel's name, and where the cursor is if not all rows are visible."""
        number, place = len(self.keys(panel)), self.places[panel]
        return panel.upper() if number <= place.height else f"{panel.upper()} {place.index + 1}/{number}"

    def _jobs_heading(self, room: int) -> Line:
        note, where = top_panels.jobs_note(self.picture, self.wanted, self.places["jobs"].index, self.charset)
        title = (" JOBS ", "focus" if self.focus == "jobs" else "title")
        return spread([title, *note], where, room, self.charset.ellipsis)
