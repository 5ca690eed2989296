"""The queue file that the command line or the environment names. Each command opens only what it needs of it."""

from __future__ import annotations

import os

from ..errors import BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from ..store import Store
    from ..store.client import Client
    from ..store.reader import Reader


def queue_path(path: str | None) -> str:
    """The file `path`, or (None) the one that the environment names. Opens nothing."""
    from ..store.database import default_path

    if path == "":
        raise BadInput("--db: must not be empty")
    return path or default_path(dict(os.environ))


def open_reader(args: Namespace) -> Reader:
    """The queue, to look at it."""
    from ..store.reader import Reader

    return Reader(queue_path(args.db))


def open_client(args: Namespace) -> Client:
    """The queue, to change it."""
    from ..store.client import Client

    return Client(queue_path(args.db))


def open_store(args: Namespace) -> Store:
    """The queue, with everything that workers do too."""
    from ..store import Store

    return Store(queue_path(args.db))
