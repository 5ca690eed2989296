"""Parts of the schema's statements."""

from __future__ import annotations

from ..lifecycle import STATES

# CHECKs run for each row of a batch. Calling typeof() costs as much as three comparisons, so these don't use it. NULL
# passes them.


def is_text(column: str) -> str:
    """That a TEXT column isn't a BLOB. SQLite orders values by type: numbers, text, BLOBs."""
    return f"({column} < x'')"


def is_integer(column: str) -> str:
    """That an INTEGER column is one: `&` makes an integer of anything."""
    return f"({column} & -1 = {column})"


def is_count(column: str) -> str:
    """That an INTEGER column is one, from 0 to 2147483647."""
    return f"({column} & 2147483647 = {column})"


# The parts of an upsert that counts a new job.
COUNT_NEW = (
    ", ".join(STATES),
    ", ".join("NEW.state = '%s'" % s for s in STATES),
    ", ".join("%s = %s + excluded.%s" % (s, s, s) for s in STATES),
)
COUNT_COLUMNS = ",\n".join("%s INTEGER NOT NULL DEFAULT 0" % state for state in STATES)


def setting(key: str, default: int) -> str:
    """The value of a job's setting, resolved as in settings.resolve, for the trigger queuectl_file."""
    return (
        "coalesce((SELECT value FROM queuectl_config WHERE key = NEW.queue || '.%s'),"
        " (SELECT value FROM queuectl_config WHERE key = '%s'), %d)" % (key, key, default)
    )


def utc(column: str) -> str:
    return "strftime('%%Y-%%m-%%dT%%H:%%M:%%fZ', job.%s, 'unixepoch') AS %s" % (column, column)
