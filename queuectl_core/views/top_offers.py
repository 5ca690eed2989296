"""The shell commands about what is selected in `top`: those of the keys that would work, and others that are useful."""

from __future__ import annotations

from .. import suggestion
from ..errors import Refused
from ..typed import NamedTuple
from . import commands
from .top_actions import on_job, on_schedule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..lifecycle import Job
    from ..records import Needs, Worker
    from .facts import Queue
    from .schedules import Schedule


class Offer(NamedTuple):
    """A shell command, and what it does. `key` is the key that does the same, or ""."""

    key: str
    meaning: str
    words: list[str]


def for_job(job: Job, reason: str | None, needs: Needs) -> list[Offer]:
    """The commands about a job that make sense in its state, among them what would end its wait."""
    offers = [
        Offer("Enter", "show it", suggestion.on_job("show", job.id)),
        Offer("", "follow its output", suggestion.on_job("logs -f", job.id)),
    ]
    meanings = {
        "r": ("retry", "run it again"),
        "+": ("raise", "raise its priority"),
        "-": ("lower", "lower its priority"),
        "C": ("cancel", "cancel it"),
        "D": ("delete", "delete it"),
    }
    for key, (action, meaning) in meanings.items():
        try:
            offers.append(Offer(key, meaning, on_job(action, job).words))
        except Refused:
            pass
    if job.state == "processing" and not job.is_suspended and not job.cancel:
        # Its key works on the job's screen.
        offers.append(Offer("", "suspend it", suggestion.on_job("suspend", job.id)))
    offers.append(Offer("p", "pause its queue", ["pause", job.queue]))
    known = [offer.words for offer in offers]
    remedy = commands.remedy(job, reason, needs)
    if remedy is not None and remedy.words not in known:
        offers.append(Offer("", remedy.meaning, remedy.words))
    return offers


def for_queue(queue: Queue, all_paused: bool) -> list[Offer]:
    """The commands about a queue."""
    is_paused = queue.is_paused and not all_paused
    words = ["resume"] if all_paused else ["resume" if is_paused else "pause", queue.name]
    meaning = "resume all queues" if all_paused else "resume it" if is_paused else "pause it"
    limit = 4 if queue.limit is None else queue.limit + 1
    return [
        Offer("Enter", "list its jobs", ["list", "-q", queue.name]),
        Offer("p", meaning, words),
        Offer("", "start a worker for it", ["worker", "start", "-q", queue.name]),
        Offer("", f"run at most {limit} of its jobs at once", ["config", "set", f"{queue.name}.limit", str(limit)]),
        Offer("", "run its dead jobs again", ["dlq", "retry", "-q", queue.name]),
    ]


def for_schedule(schedule: Schedule) -> list[Offer]:
    """The commands about a schedule."""
    name, last = schedule.name, schedule.row.last_job
    has_job = schedule.last is not None and last is not None
    return [
        *([Offer("Enter", "show its last job", suggestion.on_job("show", str(last)))] if has_job else []),
        Offer("", "show it", suggestion.on_job("schedule show", name)),
        Offer("", "print its next runs", suggestion.on_job("schedule next", name)),
        Offer("r", "run it now", on_schedule("run", schedule).words),
        Offer("p", "resume it" if schedule.is_paused else "pause it", on_schedule("pause", schedule).words),
        Offer("", "remove it", suggestion.on_job("schedule remove", name)),
    ]


def for_worker(worker: Worker, job: str | None) -> list[Offer]:
    """The commands about a worker; `job` is the id of the one it runs."""
    offers = [] if job is None else [Offer("Enter", "show its job", suggestion.on_job("show", job))]
    return [
        *offers,
        *([] if job is None else [Offer("", "follow its output", suggestion.on_job("logs -f", job))]),
        Offer("", "stop it when its job is done", ["worker", "stop", str(worker.id)]),
        Offer("", "stop it now; its job runs again", ["worker", "stop", "--now", str(worker.id)]),
        Offer("", "list all workers", ["worker", "list"]),
    ]
