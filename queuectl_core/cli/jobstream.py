"""Reads many jobs from a stream: shell lines, JSON, or arguments for --each."""

from __future__ import annotations

import os
import time

from .. import jobspec, values
from ..errors import BadInput
from ..jobspec import Alike, NewJob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..errors import QueueError
    from ..jobtext import JsonText
    from ..template import Template

CHUNK = 256 * 1024  # Bytes per read, and so per transaction, which holds the write lock for about 0.1 s.
BLANKS = " \t\r\v\f"  # Lines of only these are skipped; a line of other whitespace is an invalid command.
LONGEST_LINE = 16 * 1024 * 1024  # Bytes, also of a JSON object.


def records(fd: int, separator: bytes) -> Iterator[list[tuple[int, str]] | None]:
    """The records that each read completes, as (line number, text), then None. Skips blank lines.

    Records that end with NUL are taken as they are: a file's name may be blank.
    """
    number, rest, separator_text = 1, b"", separator.decode()
    while True:
        try:
            data = os.read(fd, CHUNK)
        except OSError as error:
            raise BadInput(f"cannot read jobs: {error.strerror}") from None
        complete, end, rest = (rest + data).rpartition(separator) if data else (rest, b"", b"")
        # Decoded in one go: line by line, decoding takes as long as everything else here.
        pieces = values.decode(complete).split(separator_text) if end or not data else []
        if number == 1 and pieces:
            pieces[0] = pieces[0].lstrip("\ufeff")  # Windows programs begin files with a byte order mark.
        if len(rest) > LONGEST_LINE:
            raise BadInput(f"line {number + len(pieces)}: longer than 16 MiB")
        if separator_text == "\n":
            pieces = [line.rstrip("\r") if line.strip(BLANKS) else "" for line in pieces]
        yield [(index, piece) for index, piece in enumerate(pieces, number) if piece]
        number += len(pieces)
        if not data:
            yield None
            return


class JobParser:
    """Makes jobs from records. JSON can continue in the next record, so it remembers what is incomplete."""

    def __init__(self, fields: dict[str, object], places: dict[str, str], template: Template | None) -> None:
        """`fields` are defaults for each job, which messages call by their `places`. `template` is that of --each."""
        self._fields = fields
        self._places = places
        self._template = template
        self._json: JsonText | None = None
        self._began = 0  # The line on which the JSON began that isn't complete, or 0.

    def parse(
        self, records: list[tuple[int, str]] | None
    ) -> tuple[list[NewJob] | Alike, list[int], QueueError | None]:
        """The jobs before the first bad record, the line of each, and what is wrong with that record, or None.

        None instead of records marks the end of the stream.
        """
        if records is None:
            return [], [], self._end()
        jobs: list[NewJob] = []
        lines: list[int] = []
        now = time.time()
        # Jobs of shell lines differ only in their command; building each from scratch would take twice as long.
        pattern = jobspec.new_job({**self._fields, "command": "-"}, now, self._places)
        texts = [text for _, text in records]
        if self._template is None and not self._began and _are_plain(texts):
            return Alike(pattern, texts), [number for number, _ in records], None
        index = pattern._fields.index("command")
        before, after = pattern[:index], pattern[index + 1 :]
        for number, text in records:
            try:
                if self._template is not None:
                    jobs.append(_from_line(pattern, self._template, text, number))
                elif (self._began or text.lstrip().startswith(("{", "["))) and self._add_json(
                    text, number, jobs, pattern, now
                ):
                    lines += [number] * (len(jobs) - len(lines))
                    continue
                else:
                    jobs.append(NewJob._make((*before, values.command(text, "command"), *after)))
                lines.append(number)
            except BadInput as error:
                began = f" (it began on line {self._began})" if self._began else ""
                return jobs, lines, BadInput(f"line {number}: {error}{began}")
        return jobs, lines, None

    def _add_json(self, text: str, number: int, jobs: list[NewJob], pattern: NewJob, now: float) -> bool:
        """Add the jobs whose JSON this line completes; False if it is a shell line."""
        if self._json is None:
            # Deferred: shell lines never need json.
            from ..jobjson import Plans, from_object
            from ..jobtext import JsonText

            self._json, self._plans, self._from_object = JsonText(), Plans(), from_object
        objects = self._json.objects(text)
        if objects is None:
            return False
        for given in objects:
            job = self._plans.job(given, pattern)
            jobs.append(job or self._from_object(given, self._fields, now, self._places))
        if not self._json.is_open:
            self._began = 0
        elif self._json.size > LONGEST_LINE:
            raise BadInput("a JSON object longer than 16 MiB")
        else:
            self._began = self._began or number
        return True

    def _end(self) -> BadInput | None:
        if not self._began:
            return None
        return BadInput(f"line {self._began}: not valid JSON: what begins here is incomplete")


def _are_plain(texts: list[str]) -> bool:
    """Whether all of these are shell lines, valid, and stored as they are. If not sure, False."""
    firsts = {text[0] for text in texts}
    if any(first.isspace() or first in "{[" for first in firsts):
        return False
    whole = "".join(texts)
    if "\0" in whole or 4 * max(map(len, texts), default=0) > values.LONGEST_COMMAND:
        return False
    return values.storable(whole) is whole


def _from_line(pattern: NewJob, template: Template, line: str, number: int) -> NewJob:
    """The job that --each makes of a line."""
    from ..template import fill_plain

    command = values.command(template.fill(line, number), "command")
    key = pattern.unique_key and values.key(fill_plain(pattern.unique_key, line, number), "--unique")
    return pattern._replace(command=command, unique_key=key)
