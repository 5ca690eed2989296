"""What a page is given: the open file, the time, the request, and how shell commands name the file."""

from __future__ import annotations

from ...suggestion import shell_line
from ...typed import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...store.reader import Reader


class Shell(NamedTuple):
    """How the commands that pages show name the queue file: `db` is what the user gave as --db, if anything."""

    db: str | None

    def line(self, *words: object) -> str:
        """A shell command of queuectl."""
        options = [] if self.db is None else ["--db", self.db]
        return shell_line(["queuectl", *options, *map(str, words)])


class Frame(NamedTuple):
    """What every page shows, whether the file can be read or not. `query` has the parameters of the address."""

    file: str
    shell: Shell
    writes: bool
    theme: str | None
    query: dict[str, str]

    def get(self, name: str, longest: int = 300) -> str:
        """A parameter, without blanks around it; "" if it is missing. Longer ones are cut."""
        return self.query.get(name, "").strip()[:longest]


class View(NamedTuple):
    """What a page that reads the file is given. `now` is in epoch seconds."""

    store: Reader
    now: float
    frame: Frame
