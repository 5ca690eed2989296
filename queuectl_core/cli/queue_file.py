"""Opens the queue file named by --db or the environment. Commands import only the part of the store they use."""

from __future__ import annotations

import os

from ..errors import BadInput, DatabaseUnusable, NoQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable
    from typing import TypeVar

    from ..errors import QueueError
    from ..lifecycle import Job
    from ..store import Store
    from ..store.client import Client
    from ..store.intake import Intake
    from ..store.reader import Reader

    Opened = TypeVar("Opened", bound=Reader)


def queue_path(path: str | None) -> str:
    """`path`, or if None the file that the environment names. Opens nothing. Raises BadInput if `path` is empty."""
    from ..store.database import default_path

    if path == "":
        raise BadInput("--db: must not be empty")
    return path or default_path(dict(os.environ))


def open_reader(args: Namespace, may_be_unused: bool = False, patience: float | None = None) -> Reader:
    """Open the queue for reading. `patience`: seconds to wait for a lock, if not the usual.

    Raises NoQueue if there is none. With `may_be_unused`, that is only a message unless --db names the file: the
    default queue exists once it is used, and is empty until then.
    """
    from ..store.reader import Reader

    try:
        return _existing(Reader, args, patience)
    except NoQueue as problem:
        if args.db or not may_be_unused:
            raise
        from ..store.unused import UnusedQueue
        from .terminal import tell

        tell(str(problem))
        return UnusedQueue(queue_path(None))


def open_intake(args: Namespace) -> Intake:
    """Open the queue for adding jobs, creating the file if need be."""
    from ..store.intake import Intake

    return _announced(Intake(queue_path(args.db)), args)


def open_client(args: Namespace, creates: bool = False, patience: float | None = None) -> Client:
    """Open the queue for adding and changing jobs. Unless it `creates` the file if need be, raises NoQueue."""
    from ..store.client import Client

    return _announced(Client(queue_path(args.db)), args) if creates else _existing(Client, args, patience)


def open_store(args: Namespace, creates: bool = False) -> Store:
    """Open the queue with all operations, including those of workers; `creates` as in open_client."""
    from ..store import Store

    return _announced(Store(queue_path(args.db)), args) if creates else _existing(Store, args)


def _existing(kind: Callable[..., Opened], args: Namespace, patience: float | None = None) -> Opened:
    """Open a queue that exists. Raises NoQueue, with the command that creates it."""
    path = queue_path(args.db)
    try:
        options = {} if patience is None else {"patience": patience}
        return _announced(kind(path, must_exist=True, **options), args)
    except NoQueue:
        raise _no_queue(path, args.db) from None


def _announced(store: Opened, args: Namespace) -> Opened:
    """Say so if opening the queue upgraded its file under workers of the older version, which now exit.

    The commands that start and stop workers are silent: they deal with these.
    """
    if store.was_upgraded and getattr(args, "verb", None) not in ("start", "stop", "restart"):
        from ..values import counted
        from ..workers import fleet  # Deferred: an upgrade is rare.
        from .terminal import tell

        live = len(fleet.live_workers(store))
        if live:
            ends = "finishes its job and exits" if live == 1 else "finish their jobs and exit"
            whose = f"{counted(live, 'worker')} of the older version {ends}"
            line = "queuectl worker start" + ("" if live == 1 else f" -c {live}")
            tell(f"upgraded {store.path} to this version's format; {whose}; run: {line}")
    return store


def _no_queue(path: str, option: str | None) -> QueueError:
    """What to say of a file without a queue, which --db or the environment names."""
    from shlex import quote

    try:
        os.stat(path)
        problem = "is empty or another program's database"
    except (FileNotFoundError, NotADirectoryError):
        problem = "does not exist"
    except OSError as error:
        return DatabaseUnusable(f"{path}: cannot be opened: {error.strerror}")
    origin = " ($QUEUECTL_DB)" if not option and os.environ.get("QUEUECTL_DB") else ""
    command = f"queuectl{f' --db {quote(option)}' if option else ''} enqueue 'echo hello'"
    return NoQueue(f"no queue yet: {path}{origin} {problem}; run: {command}")


def own_job(store: Reader) -> Job | None:
    """The job that runs this command, if it is one of this queue. Commands don't wait for it: it waits for them."""
    id, token = os.environ.get("QUEUECTL_JOB_ID"), os.environ.get("QUEUECTL_TOKEN")
    return store.running_with(id, token) if id and token else None
