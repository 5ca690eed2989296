"""What attempts have printed, as `logs` and `show` read it."""

from __future__ import annotations

from ..values import counted
from .terminal import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..lifecycle import Job
    from ..store.reader import Reader


class OutputReader:
    """Reads the output of one attempt as it grows."""

    def __init__(self, store: Reader, job: Job, attempt: int, streams: tuple[int, ...]) -> None:
        self._store = store
        self._job = job
        self._streams = streams
        self._position = 0
        self._attempt = attempt

    @property
    def id(self) -> str:
        """The job's id."""
        return self._job.id

    def read(self) -> bytes:
        """The output since the last call. Gaps, where output was dropped, are reported on stderr."""
        pieces = []
        for start, stream, data in self._store.output(self._job, self._attempt, self._position):
            if start > self._position:
                tell(f"[{counted(start - self._position, 'byte')} dropped: see output-limit]")
            self._position = start + len(data)
            if stream in self._streams:
                pieces.append(data)
        return b"".join(pieces)

    def is_behind(self, job: Job) -> bool:
        """Whether the job has started a later attempt."""
        return job.last_attempt > self._attempt

    def next_attempt(self) -> None:
        """Move on to the next attempt."""
        self._attempt += 1
        self._position = 0


def last_lines(data: bytes, count: int | None) -> bytes:
    """The last `count` lines of some output; all for None."""
    if count is None:
        return data
    if count == 0:
        return b""
    at = len(data) - 1  # A final newline ends the last line; it does not start another.
    while count and at >= 0:
        at = data.rfind(b"\n", 0, at)
        count -= 1
    return data[at + 1 :]
