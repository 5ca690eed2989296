"""Typed errors and their exit codes.

Each error carries one line for the user: what is wrong, with what, and what to do. Only `cli.main` turns errors into
exit codes.
"""


class QueueError(Exception):
    """Base class of all errors shown to users."""

    exit_code = 1


class Refused(QueueError):
    """Not found, already exists, or did not succeed."""

    exit_code = 1


class CannotSuspend(Refused):
    """A job runs, but can't be suspended. Users hear of that even if they didn't name the job."""


class JobRefused(Refused):
    """A job can't be enqueued; `index` is its position in the batch."""

    def __init__(self, text: str, index: int) -> None:
        super().__init__(text)
        self.index = index


class DuplicateId(JobRefused):
    """A job with this id already exists."""


class BadInput(QueueError):
    """Wrong usage or invalid input."""

    exit_code = 2


class DatabaseUnusable(QueueError):
    """The database can't be used: missing, not a database, damaged, newer or read-only."""

    exit_code = 3


class DatabaseBusy(DatabaseUnusable):
    """Another process held the write lock for too long."""


class DatabaseDamaged(DatabaseUnusable):
    """The file isn't a database, is damaged, or has the log of another file next to it. A backup can replace it."""


class DatabaseFull(DatabaseUnusable):
    """The database can't be written (disk full, read-only, I/O error). Retrying later may work."""

    def but(self, done: str) -> "DatabaseFull":
        """The same error after transactions that succeeded: `done` says what they did."""
        return DatabaseFull(str(self).replace("nothing was changed", done))


class DatabaseGone(DatabaseUnusable):
    """The file was removed, replaced, or migrated by a newer queuectl. Processes that have it open must exit."""


class NoQueue(DatabaseGone):
    """The file doesn't exist or has no queue in it, but should."""


class WaitTimedOut(QueueError):
    """`wait` timed out."""

    exit_code = 124
