"""Opens the queue file named by --db or the environment. Commands import only the part of the store they use."""

from __future__ import annotations

import os

from ..errors import BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from ..lifecycle import Job
    from ..store import Store
    from ..store.client import Client
    from ..store.reader import Reader


def queue_path(path: str | None) -> str:
    """`path`, or if None the file that the environment names. Opens nothing. Raises BadInput if `path` is empty."""
    from ..store.database import default_path

    if path == "":
        raise BadInput("--db: must not be empty")
    return path or default_path(dict(os.environ))


def open_reader(args: Namespace) -> Reader:
    """Open the queue for reading."""
    from ..store.reader import Reader

    return Reader(queue_path(args.db))


def open_client(args: Namespace) -> Client:
    """Open the queue for adding and changing jobs."""
    from ..store.client import Client

    return Client(queue_path(args.db))


def open_store(args: Namespace) -> Store:
    """Open the queue with all operations, including those of workers."""
    from ..store import Store

    return Store(queue_path(args.db))


def own_job(store: Reader) -> Job | None:
    """The job that runs this command, if it is one of this queue. Commands don't wait for it: it waits for them."""
    id, token = os.environ.get("QUEUECTL_JOB_ID"), os.environ.get("QUEUECTL_TOKEN")
    return store.running_with(id, token) if id and token else None
