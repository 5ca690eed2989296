"""`pause` and `resume`: stop and resume starting jobs, in one queue or in all."""

from __future__ import annotations

from .. import values
from ..errors import Refused
from ..lifecycle import FINISHED, WAITING
from ..suggestion import suggestion
from ..values import counted
from ..workers import fleet
from .queue_file import open_client
from .terminal import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ..store.reader import Reader


def pause_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("queue", nargs="?", metavar="QUEUE", help="a queue (default: all queues)")


def pause(args: Namespace) -> int:
    queue = None if args.queue is None else values.name(args.queue, "queue")
    with open_client(args, creates=True) as store:
        _refuse_job(store, queue, "suspend")
        was_paused = not store.pause(queue)
        waiting, running = _unfinished(store, queue)
    if was_paused:
        tell("all queues are already paused" if queue is None else f"queue {queue} is already paused")
        return 0
    ending = f"; {counted(running, 'running job')} will finish" if running else ""
    command = "queuectl resume" if queue is None else suggestion("resume", queue)
    tell(f"paused {_named(queue)}, {_with(waiting)}{ending}; to resume, run: {command}")
    return 0


resume_arguments = pause_arguments


def resume(args: Namespace) -> int:
    queue = None if args.queue is None else values.name(args.queue, "queue")
    with open_client(args) as store:
        _refuse_job(store, queue, "continue")
        was_paused = store.resume(queue)
        waiting, _ = _unfinished(store, queue)
        all_paused = None in store.paused()
        lacks_worker = not fleet.live_workers(store) and not store.is_drained(queue)
    if all_paused:
        problem = f"resumed queue {queue}" if was_paused else f"queue {queue} was not paused individually"
        tell(f"{problem}, but all queues are paused; to resume them, run: queuectl resume")
    elif not was_paused:
        tell("no queue is paused" if queue is None else f"queue {queue} is not paused")
    else:
        hint = "; no worker is running; run: queuectl worker start" if waiting and lacks_worker else ""
        tell(f"resumed {_named(queue)}, {_with(waiting)}{hint}")
    return 0


def _refuse_job(store: Reader, queue: str | None, verb: str) -> None:
    """Raise Refused if this was never used as a queue's name, but is a job's id."""
    job = None if queue is None or queue in store.counts() else store.find(queue)
    if job is not None:
        if job.state in WAITING:
            verb = {"suspend": "hold", "continue": "release"}[verb]
        hint = "" if job.state in FINISHED else f"; run: {suggestion(verb, job.id)}"
        raise Refused(f"{job.id} is a {job.state} job, not a queue{hint}")


def _unfinished(store: Reader, queue: str | None) -> tuple[int, int]:
    """How many jobs of a queue, or of all (None), are waiting and running."""
    counts = [states for name, states in store.counts().items() if queue in (None, name)]
    waiting = sum(states["pending"] + states["failed"] for states in counts)
    return waiting, sum(states["processing"] for states in counts)


def _named(queue: str | None) -> str:
    return "all queues" if queue is None else f"queue {queue}"


def _with(waiting: int) -> str:
    return f"with {counted(waiting, 'waiting job')}" if waiting else "with no waiting jobs"
