"""Typed errors, and the exit code that each one means.

Inside the program a failure is one of these, with one line of text for the user: what is wrong, with what, and what to
do. Only `cli.main` turns them into exit codes.
"""


class QueueError(Exception):
    """The base of all errors that users should read."""

    exit_code = 1


class Refused(QueueError):
    """Not found, already exists, or did not succeed."""

    exit_code = 1


class JobRefused(Refused):
    """A job can't be enqueued; `index` is its place among those given."""

    def __init__(self, text: str, index: int) -> None:
        super().__init__(text)
        self.index = index


class DuplicateId(JobRefused):
    """A job with this id already exists."""


class BadInput(QueueError):
    """Wrong usage or bad input; the text says where."""

    exit_code = 2


class DatabaseUnusable(QueueError):
    """The database can't be used: missing, not a database, damaged, newer or read-only."""

    exit_code = 3


class DatabaseBusy(DatabaseUnusable):
    """Another program held the write lock for longer than we wait."""


class DatabaseFull(DatabaseUnusable):
    """The database can't be written now (disk full, read-only, I/O error), but may be later."""


class DatabaseGone(DatabaseUnusable):
    """The file was removed, replaced, or migrated by a newer queuectl. Processes that have it open must exit."""


class WaitTimedOut(QueueError):
    """`wait` timed out."""

    exit_code = 124
