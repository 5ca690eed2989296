"""Typed errors, and the exit code that each one means.

Inside the program a failure is one of these, with one line of text for a person: what is wrong,
with what, and what to do. `cli.main` is the one place that turns them into exit codes.
"""


class QueueError(Exception):
    """The base of all errors that a user is meant to read."""

    exit_code = 1


class Refused(QueueError):
    """The answer is no: no such job, it exists already, it is not in the DLQ, it did not complete."""

    exit_code = 1


class JobRefused(Refused):
    """A job cannot be enqueued; `index` says which of those that were given."""

    def __init__(self, text: str, index: int) -> None:
        super().__init__(text)
        self.index = index


class DuplicateId(JobRefused):
    """A job of this id exists already."""


class BadInput(QueueError):
    """Wrong usage or bad input; the text names the place."""

    exit_code = 2


class DatabaseUnusable(QueueError):
    """The database cannot be used: not there to be made, not a database, damaged, newer, read-only."""

    exit_code = 3


class DatabaseBusy(DatabaseUnusable):
    """Another program held the write lock for longer than we were willing to wait."""


class DatabaseFull(DatabaseUnusable):
    """It cannot be written now (no room, read-only, a failing device); later it may be."""


class DatabaseGone(DatabaseUnusable):
    """The file was removed, replaced, or migrated by a newer queuectl: whoever had it open is to leave."""


class WaitTimedOut(QueueError):
    """`wait` ran out of time."""

    exit_code = 124
