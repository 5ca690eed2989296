"""The screen of one job in `top`: its fields, its attempts and its output, as lines. No terminal, no clock, no file."""

from __future__ import annotations

from itertools import islice

from .. import suggestion
from ..lifecycle import malformed, presentable
from ..phrases import ATTEMPT_COLUMNS, attempt_row, sheet, when
from ..values import counted, span
from . import commands
from .top_log import NOTICE, plain
from .top_panels import left
from .top_text import clipped, length, selected, spread, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..lifecycle import Job
    from .top_data import JobPicture, JobReader
    from .top_log import LogLine
    from .top_text import Charset, Line, Value

LONG = ("command", "progress", "reason", "error", "after")  # These fields get lines of their own.
LAST = ("environment", "directory")
BAR = 24  # Columns.
SKIPPED = ("id", "state")  # They are in the title.
STREAMS = {NOTICE: "dim", 1: "", 2: "stderr"}
SIDEWAYS = 20  # Columns that a key scrolls.
FEWEST_LOG_LINES = 6


class JobScreen:
    """One job. `picture` is what was read last, from `reader`."""

    def __init__(self, reader: JobReader, picture: JobPicture, prefix: Sequence[str], charset: Charset) -> None:
        """`prefix`: the words that a command starts with, such as "queuectl"."""
        self.reader = reader
        self.picture = picture
        self.charset = charset
        self.is_following = True
        self._prefix = prefix
        self._first = 0  # The line of output at the top, counting those that were forgotten.
        self._column = 0
        self._height = 1

    # --- moving --------------------------------------------------------------------------------------

    def move(self, action: str) -> None:
        """Scroll the output: up, down, page_up, page_down, home, end, left or right; or follow it, or don't."""
        if action in ("left", "right"):
            self._column = max(0, self._column + (SIDEWAYS if action == "right" else -SIDEWAYS))
            return
        if action == "follow":
            self.is_following = not self.is_following
            return
        page = max(1, self._height - 1)
        number = len(self.reader.log.lines)
        steps = {"up": -1, "down": 1, "page_up": -page, "page_down": page, "home": -self._end(), "end": number}
        at = self._first + steps[action]
        self.is_following = at >= self._end() and action in ("down", "page_down", "end")
        self._first = max(self.reader.log.forgotten, min(at, self._end()))

    def choose_attempt(self, step: int) -> None:
        """Show the output of an earlier (-1) or a later attempt (+1)."""
        numbers = [attempt.attempt for attempt in self.picture.attempts]
        if self.picture.attempt in numbers:
            index = numbers.index(self.picture.attempt) + step
            if 0 <= index < len(numbers):
                latest = index == len(numbers) - 1
                self.reader.attempt = None if latest else numbers[index]
                self._first, self.is_following = 0, True

    def _end(self) -> int:
        """The first line on the last page of output."""
        log = self.reader.log
        return log.forgotten + max(0, len(log.lines) - self._height)

    # --- lines -----------------------------------------------------------------------------------------

    def lines(self, columns: int, lines: int, now: float, notice: Line) -> list[Line]:
        """The screen, of exactly this size. `notice` is shown in its first line."""
        job = presentable(self.picture.job) if malformed(self.picture.job) else self.picture.job
        found = [self._title(job, columns, now, notice)]
        found += self._fields(job, columns, now)[: max(3, lines // 3)]
        found.append([])
        room = lines - len(found) - 1 - FEWEST_LOG_LINES
        if self.picture.attempts:
            found += self._attempts(columns, max(1, min(room - 3, lines // 4)), now)
            found.append([])
        output = self._log(columns, lines - len(found) - 1)
        found += [self._log_title(columns), *output]
        return found[:lines] + [[] for _ in range(lines - len(found))]

    def _title(self, job: Job, room: int, now: float, notice: Line) -> Line:
        charset, state = self.charset, job.state
        shown = "gone" if self.picture.is_gone else state
        style = "warning" if self.picture.is_gone else state
        symbol = "" if self.picture.is_gone else charset.symbol(state) + " "
        title: Line = [(f" {charset.clean(job.id)} ", "name"), (f"  {symbol}{shown}", style)]
        if not self.picture.is_gone:
            last = self.picture.attempts[-1] if self.picture.attempts else None
            title.append((f"  {when(job, last, now)}", ""))
        busy = self.picture.busy
        if busy is not None and busy.percent is None and busy.remaining.seconds is not None:
            title.append((f"  about {left(busy.remaining).lstrip('~')} left, as earlier runs took", "dim"))
        if job.cancel and state == "processing":
            title.append(("  being cancelled", "warning"))
        elif job.is_suspended:
            title.append(("  suspended", "warning"))
        return spread(title, notice, room, charset.ellipsis)

    def _fields(self, job: Job, room: int, now: float) -> list[Line]:
        """Long fields first, on lines of their own; then the short ones, several on a line."""
        picture, charset = self.picture, self.charset
        last = picture.attempts[-1] if picture.attempts else None
        fields = sheet(job, picture.reason, picture.needs, last, now)
        if picture.labels:
            fields["labels"] = ", ".join(picture.labels)
        if str(picture.reason).startswith("after "):
            del fields["after"]  # The reason says the same.
        found: list[Line] = []
        for name in [name for name in LONG if name in fields]:
            style = "warning" if name in ("reason", "error") else ""
            line: Line = [(f" {name:<9} ", "dim"), (charset.clean(fields[name]), style)]
            if name == "progress" and picture.busy is not None and picture.busy.percent is not None:
                line[1:1] = self._bar(picture.busy.percent)
            found.append(clipped(line, room, charset.ellipsis))
            if name == "reason":
                found += self._remedy(job, room)
        names = [name for name in fields if name not in (*LONG, *LAST, *SKIPPED)]
        short = [(name, charset.clean(fields[name])) for name in [*names, *LAST] if name in fields]
        line = [(" ", "")]
        for name, value in short:
            piece: Line = [(f"{name} ", "dim"), (value, ""), ("   ", "")]
            if length(line) + length(piece) - 3 > room and len(line) > 1:
                found.append(clipped(line, room, charset.ellipsis))
                line = [(" ", "")]
            line += piece
        return [*found, clipped(line, room, charset.ellipsis)]

    def _bar(self, percent: float) -> Line:
        """A bar that shows how far the job is."""
        full, rest = ("█", "░") if self.charset.is_unicode else ("#", ".")
        done = round(percent / 100 * BAR)
        return [(full * done, "processing"), (rest * (BAR - done), "dim"), (" ", "")]

    def _remedy(self, job: Job, room: int) -> list[Line]:
        found = commands.remedy(job, self.picture.reason, self.picture.needs)
        if found is None:
            return []
        line = suggestion.shell_line([*self._prefix, *found.words])
        text: Line = [(f" {'':<9} to {found.meaning}: ", "dim"), (self.charset.clean(line), "command")]
        return [clipped(text, room, self.charset.ellipsis)]

    def _attempts(self, room: int, height: int, now: float) -> list[Line]:
        attempts = self.picture.attempts
        numbers = [attempt.attempt for attempt in attempts]
        at = numbers.index(self.picture.attempt) if self.picture.attempt in numbers else len(numbers) - 1
        top = max(0, min(at - height // 2, len(attempts) - height))
        visible = attempts[top : top + height]
        rows: list[list[Value]] = []
        for attempt in visible:
            number, started, took, worker, ended = attempt_row(attempt)
            if attempt.outcome is None:
                took = span(now - attempt.started_at)
            rows.append([(number, ""), (started, ""), (took, ""), (worker, "dim"), (ended, "")])
        header, lines = table(ATTEMPT_COLUMNS, rows, room, self.charset, {"TOOK": 6})
        if len(attempts) > 1:
            lines[at - top] = selected(lines[at - top], room, "marked")
        hidden = f"{at + 1} of {len(attempts)} " if len(attempts) > height else ""
        title = spread([(" Attempts ", "title")], [(hidden, "dim")], room, "")
        return [title, header, *lines]

    def _log_title(self, room: int) -> Line:
        log, picture = self.reader.log, self.picture
        left: Line = [(" Output ", "focus")]
        if picture.attempt:
            left.append((f"  attempt {picture.attempt}", "dim"))
        attempt = next((each for each in picture.attempts if each.attempt == picture.attempt), None)
        if attempt and attempt.dropped:
            left.append((f"  {counted(attempt.dropped, 'byte')} not kept: see output-limit", "warning"))
        if log.forgotten:
            line = suggestion.shell_line(["queuectl", *suggestion.on_job("logs", picture.job.id)])
            left.append((f"  earlier lines: {self.charset.clean(line)}", "dim"))
        total = log.forgotten + len(log.lines)
        last = min(self._first + self._height, total)
        place = f"line {self._first + 1:,} to {last:,} of {total:,}" if total else ""
        if self._column:
            place += f", column {self._column + 1}"
        following = "following" if self.is_following and picture.job.state == "processing" else ""
        right: Line = [(place, "dim"), ("  " if place and following else "", ""), (following, "processing"), (" ", "")]
        return spread(left, right, room, self.charset.ellipsis)

    def _log(self, room: int, height: int) -> list[Line]:
        log = self.reader.log
        self._height = max(1, height)
        if not log.lines:
            return [[(f" {self._no_output()}", "dim")]]
        if self.is_following:
            self._first = self._end()
        self._first = max(log.forgotten, min(self._first, self._end()))
        start = self._first - log.forgotten
        return [self._log_line(line, room) for line in islice(log.lines, start, start + height)]

    def _log_line(self, line: LogLine, room: int) -> Line:
        text = plain(line.data)
        if self._column:
            text = text[self._column :]
        shown = self.charset.clean(text[: room * 2])
        return clipped([(shown, STREAMS.get(line.stream, ""))], room, self.charset.ellipsis)

    def _no_output(self) -> str:
        picture = self.picture
        if picture.is_gone:
            return "The job was deleted."
        if not picture.attempt:
            return "It has not run yet."
        return "No output yet." if picture.job.state == "processing" else "No output."
