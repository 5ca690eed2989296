"""The sqlite3 module without what we don't use: its adapters for dates, which load datetime (1.5 ms).

If a program has imported sqlite3 already, or put another module in its place, that is the one.
"""

from __future__ import annotations

import sys

__all__ = ["SQLITE_VERSION", "sqlite3"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
elif "sqlite3" in sys.modules:
    sqlite3 = sys.modules["sqlite3"]
else:
    try:
        import _sqlite3 as sqlite3
    except ImportError:  # Pythons other than CPython may lack it, and this one names what is missing.
        import sqlite3

SQLITE_VERSION = tuple(map(int, sqlite3.sqlite_version.split(".")))
