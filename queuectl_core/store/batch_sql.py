"""The statements that add a batch of jobs. They do as sql.ENQUEUE_PLAIN, but at half the cost per job.

- One statement inserts many rows. A statement with triggers copies each page that it changes, so that it could be
  undone; one statement per row would copy the same pages for each row.
- What all rows share is in its text, so that it isn't bound for each row.
- Triggers don't count each row. The batch is counted once, in the same transaction.
"""

from __future__ import annotations

from .sql import PLAIN_COLUMNS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST_PARAMETERS = 800  # Before SQLite 3.32 a statement takes 999.

# While this row exists, queuectl_count_insert counts nothing. It never outlives its transaction, so no other program
# sees it: their jobs are always counted.
BEGIN = "INSERT INTO queuectl_meta (key, value) VALUES ('batch', 1)"
END = "DELETE FROM queuectl_meta WHERE key = 'batch'"
COUNT = """
    INSERT INTO queuectl_queues (name, pending) VALUES (:queue, :count)
        ON CONFLICT (name) DO UPDATE SET pending = pending + excluded.pending
"""
# Triggers of other programs can reject, move or add jobs.
HAS_OTHER_TRIGGERS = """
    SELECT 1 FROM (SELECT type, name, tbl_name FROM sqlite_master
        UNION ALL SELECT type, name, tbl_name FROM sqlite_temp_master)
    WHERE type = 'trigger' AND lower(tbl_name) = 'queuectl_jobs' AND substr(name, 1, 9) <> 'queuectl_' LIMIT 1
"""


def inserts(columns: Sequence[Sequence[object]]) -> Iterator[tuple[str, list[object]]]:
    """Statements, each with its parameters, that insert rows whose PLAIN_COLUMNS are `columns`."""
    count = len(columns[0])
    places: list[str] = []
    varied: list[Sequence[object]] = []
    for column in columns:
        first = column[0]
        if column.count(first) == count and not isinstance(first, bytes):
            places.append(_literal(first))
        else:
            varied.append(column)
            places.append(f"column{len(varied)}")
    width = len(varied)
    bound: list[object] = [None] * (count * width)
    for place, column in enumerate(varied):
        bound[place::width] = column
    row = f"({', '.join('?' * width)})"
    into = f"INSERT INTO queuectl_jobs ({', '.join(PLAIN_COLUMNS)}, ready) SELECT {', '.join(places)}, 1 FROM (VALUES "
    step = MOST_PARAMETERS // width * width
    for start in range(0, len(bound), step):
        part = bound[start : start + step]
        yield f"{into}{', '.join([row] * (len(part) // width))})", part


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    return "'%s'" % value.replace("'", "''") if isinstance(value, str) else repr(value)
