"""The statements that add a batch of jobs. They do what sql.ENQUEUE_PLAIN does, at half the cost per job.

- One statement inserts many rows. A statement with triggers first copies each page that it changes, to be able
  to undo it; one statement per row would copy the same pages for each row.
- What all rows share is bound once per statement.
- Triggers don't count each row. The batch is counted once, in the same transaction.
"""

from __future__ import annotations

from .sql import PLAIN_COLUMNS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST_PARAMETERS = 800  # For all rows of a statement. SQLite before 3.32 allows 999.
FEW_ROWS = 20

# While this row exists, queuectl_count_insert counts nothing. It never outlives its transaction, so no other program
# sees it: their jobs are always counted.
BEGIN = "INSERT OR REPLACE INTO queuectl_meta (key, value) VALUES ('batch', 1)"
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
    shared: list[object] = []
    varied: list[Sequence[object]] = []
    for name, column in zip(PLAIN_COLUMNS, columns):
        if name != "id" and column.count(column[0]) == count:  # Ids that are the same are an error, and must be met.
            shared.append(column[0])
            places.append("?")
        else:
            varied.append(column)
            places.append(f"column{len(varied)}")
    width = len(varied)
    bound: list[object] = [None] * (count * width)
    for place, column in enumerate(varied):
        bound[place::width] = column
    row = f"({', '.join('?' * width)})"
    into = f"INSERT INTO queuectl_jobs ({', '.join(PLAIN_COLUMNS)}, ready) SELECT {', '.join(places)}, 1 FROM (VALUES "
    done = 0
    for rows in (MOST_PARAMETERS // width, FEW_ROWS, 1):  # Few sizes, so the compiled statements stay in the cache.
        text = f"{into}{', '.join([row] * rows)})"
        while done + rows <= count:
            yield text, shared + bound[done * width : (done + rows) * width]
            done += rows
