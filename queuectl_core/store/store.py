"""Store: all operations on one open queue."""

from __future__ import annotations

from .claims import Claims
from .client import Client


class Store(Client, Claims):
    """One open queue. Not for use by several threads or across a fork (see Database)."""
