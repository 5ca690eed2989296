"""Bringing a file to the current schema: an empty one, or one of any older version.

There is one definition of the schema, and nothing per version. Tables whose definition differs are rebuilt, and the
columns that both have are copied by name; indexes, triggers and views are recreated. So a new column needs a DEFAULT
or allows NULL. This follows https://www.sqlite.org/lang_altertable.html#otheralter, since SQLite before 3.35 can't drop
a column, and none can change a CHECK.

The caller runs it in one transaction, which also raises the version number: a crash leaves the old schema.
"""

from __future__ import annotations

from . import sql
from .schema import SCHEMA

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .connection import Connection

TABLES = {text.split()[2]: text for text in SCHEMA if text.split()[1] == "TABLE"}
_OTHERS = [text for text in SCHEMA if text.split()[1] != "TABLE"]
_REBUILT = "queuectl_rebuilt"

_OBJECTS = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL"


def migrate(connection: Connection) -> None:
    """Create missing tables, and rebuild those that differ. Keeps all rows, and other programs' objects."""
    objects = connection.rows(_OBJECTS)
    definitions = {name: text for kind, name, _, text in objects if kind == "table"}
    # Otherwise SQLite would refuse to rename a table while an application's view is about one that is being rebuilt.
    connection.execute("PRAGMA legacy_alter_table = ON")
    # A row that the new schema rejects stays as it is: workers and readers cope with it.
    connection.execute("PRAGMA ignore_check_constraints = ON")
    for kind, name, _, _ in objects:
        if kind in ("trigger", "view", "index") and name.startswith("queuectl_"):
            connection.execute(f"DROP {kind} {name}")
    for name, text in TABLES.items():
        if name not in definitions:
            connection.execute(text)
        elif _normalized(definitions[name]) != _normalized(text):
            _rebuild(connection, name)
            for kind, other, table, definition in objects:
                if table == name and kind in ("trigger", "index") and not other.startswith("queuectl_"):
                    connection.execute(definition)
    for text in _OTHERS:
        connection.execute(text)
    for text in sql.MARK:
        connection.execute(text)
    connection.execute("PRAGMA ignore_check_constraints = OFF")
    connection.execute("PRAGMA legacy_alter_table = OFF")


def _rebuild(connection: Connection, name: str) -> None:
    """Replace a table by one with the current definition, and the same rows."""
    connection.execute(TABLES[name].replace(name, _REBUILT, 1))
    columns = ", ".join(sorted(_columns(connection, name) & _columns(connection, _REBUILT)))
    connection.execute(f"INSERT INTO {_REBUILT} ({columns}) SELECT {columns} FROM {name}")
    if "AUTOINCREMENT" in TABLES[name]:  # Ids of deleted rows aren't used again.
        connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (_REBUILT,))
        connection.execute("UPDATE sqlite_sequence SET name = ? WHERE name = ?", (_REBUILT, name))
    connection.execute(f"DROP TABLE {name}")
    connection.execute(f"ALTER TABLE {_REBUILT} RENAME TO {name}")


def _columns(connection: Connection, table: str) -> set[str]:
    return {row[1] for row in connection.rows(f"PRAGMA table_info({table})")}


def _normalized(definition: str) -> list[str]:
    """The words of a CREATE TABLE, without comments and the quotes that a rename adds."""
    lines = [line.partition("--")[0] for line in definition.splitlines()]
    return " ".join(lines).replace('"', "").replace("(", " ( ").split()
