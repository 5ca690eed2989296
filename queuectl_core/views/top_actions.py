"""What the keys of `top` change: each change as a shell command, as a question, and as an operation on the queue.

The file is opened for writing only for the change. An action is bound to the job that the user saw: if the job was
replaced meanwhile, or is in another state than the question said, nothing happens.
"""

from __future__ import annotations

from .. import suggestion
from ..errors import QueueError, Refused
from ..lifecycle import FINISHED, TRANSITIONS, UNFINISHED, WAITING, malformed, presentable
from ..typed import NamedTuple
from ..values import LARGEST_INTEGER
from ..workers import fleet
from . import commands

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..lifecycle import Job
    from ..store.client import Client
    from .schedules import Schedule


class Action(NamedTuple):
    """A change. `words` are the command that makes it, without "queuectl".

    `perform` makes it, and returns a line that says what was done. `question` is asked first (None: none is).
    """

    words: list[str]
    perform: Callable[[Client], str]
    question: str | None = None


def on_job(action: str, job: Job) -> Action:
    """The action of a key on a job. Raises Refused, with what to do instead."""
    return ON_JOB[action](job)


def _retry(job: Job) -> Action:
    if job.state not in TRANSITIONS["revive"].from_states:
        raise Refused(f"job {job.id} is {job.state}: there is nothing to retry")

    def perform(client: Client) -> str:
        return f"retrying {client.revive(_same(client, job).id)}"

    return Action(suggestion.on_job("retry", job.id), perform)


def _raise(job: Job) -> Action:
    return _prioritized(job, 1)


def _lower(job: Job) -> Action:
    return _prioritized(job, -1)


def _prioritized(job: Job, step: int) -> Action:
    if job.state not in WAITING:
        raise Refused(f"job {job.id} is {job.state}: priority matters only for waiting jobs")

    def priority_of(seen: Job) -> int:
        if malformed(seen):
            seen = presentable(seen)
        return max(-LARGEST_INTEGER, min(seen.priority + step, LARGEST_INTEGER))

    def perform(client: Client) -> str:
        priority = priority_of(_same(client, job))
        return f"{client.edit(job.id, {'priority': priority})} has priority {priority} now"

    return Action(commands.set_priority(job.id, priority_of(job)), perform)


def _suspend(job: Job) -> Action:
    if job.state != "processing":
        raise Refused(f"job {job.id} is {job.state}: only running jobs can be suspended")

    def suspend(client: Client) -> str:
        return f"suspended {client.suspend(_same(client, job, and_state=True).id)}"

    def proceed(client: Client) -> str:
        return f"{client.continue_(_same(client, job, and_state=True).id)} continues"

    if job.is_suspended:
        return Action(suggestion.on_job("continue", job.id), proceed)
    return Action(suggestion.on_job("suspend", job.id), suspend)


def _cancel(job: Job) -> Action:
    if job.state not in UNFINISHED:
        raise Refused(f"job {job.id} is already {job.state}")

    def perform(client: Client) -> str:
        changed = client.cancel(_same(client, job, and_state=True).id)
        if changed.state == "cancelled":
            return f"cancelled {job.id}"
        if changed.worker in [row.id for row in fleet.live_workers(client)]:
            return f"{job.id} is being cancelled"
        line = suggestion.shell_line(["queuectl", *suggestion.on_job("cancel", job.id)])
        return f"{job.id} will be cancelled, but its worker is dead; to end it now, run: {line}"

    running = ", which is running" if job.state == "processing" else ""
    return Action(suggestion.on_job("cancel", job.id), perform, f"Cancel job {job.id}{running}?")


def _delete(job: Job) -> Action:
    if job.state != "dead":
        state = "prune --state " + job.state if job.state in FINISHED else ""
        hint = f"; to delete {job.state} jobs, run: queuectl {state}" if state else "; cancel it first"
        raise Refused(f"job {job.id} is {job.state}: D deletes dead jobs{hint}")

    def perform(client: Client) -> str:
        return f"deleted {client.purge(_same(client, job, and_state=True).id)}"

    return Action(suggestion.on_job("dlq purge", job.id), perform, f"Delete job {job.id}, its history and its output?")


ON_JOB = {
    "retry": _retry,
    "raise": _raise,
    "lower": _lower,
    "suspend": _suspend,
    "cancel": _cancel,
    "delete": _delete,
}


def _same(client: Client, job: Job, and_state: bool = False) -> Job:
    """The job as it is now. Raises Refused if another has its id, or if it is in another state and that matters."""
    current = client.exact(job.id)
    if not is_same(current, job):
        raise Refused(f"job {job.id} was deleted, and another has its id now; nothing was done")
    if and_state and (current.state, current.last_attempt) != (job.state, job.last_attempt):
        raise Refused(f"job {job.id} is {current.state} now, not {job.state}; nothing was done")
    return current


def is_same(current: Job, job: Job) -> bool:
    """Whether two rows with the same id are of the same job. SQLite uses the number of a deleted row again."""
    return (current.seq, current.created_at) == (job.seq, job.created_at)


def on_queue(name: str, is_paused: bool, all_paused: bool) -> Action:
    """Pause a queue, or resume it. Raises Refused if all queues are paused."""
    if all_paused:
        raise Refused("all queues are paused; to resume them, run: queuectl resume")

    def pause(client: Client) -> str:
        client.pause(name)
        return f"paused queue {name}"

    def resume(client: Client) -> str:
        client.resume(name)
        return f"resumed queue {name}"

    return Action(["resume" if is_paused else "pause", name], resume if is_paused else pause)


def on_schedule(action: str, schedule: Schedule) -> Action:
    """The action of a key (pause or run) on a schedule; pause resumes a paused one."""
    name = schedule.name
    if action == "pause":
        action = "resume" if schedule.is_paused else "pause"

    def perform(client: Client) -> str:
        current = client.schedule(name)
        if (current.seq, current.created_at) != (schedule.row.seq, schedule.row.created_at):
            raise Refused(f"schedule {name} was removed, and another one has its name now; nothing was done")
        if action == "run":
            return f"schedule {name}: added job {client.run_schedule(name)}"
        is_changed = client.pause_schedule(name) if action == "pause" else client.resume_schedule(name)
        verb = {"pause": "paused", "resume": "resumed"}[action]
        return f"{verb} schedule {name}" if is_changed else f"schedule {name} was {verb} already"

    return Action(suggestion.on_job(f"schedule {action}", name), perform)


def perform(action: Action, open_client: Callable[[], Client]) -> tuple[str, bool]:
    """Make a change. Returns what was done, or why it wasn't; and whether it was."""
    try:
        client = open_client()
        try:
            with client.batch():  # One transaction: between looking and changing, nothing changes.
                return action.perform(client), True
        finally:
            client.close()
    except QueueError as error:
        return str(error), False
