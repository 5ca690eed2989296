"""Jobs, attempts and workers in a few words, and how states look. For tables and for `top`."""

from __future__ import annotations

from .grid import Column
from .jobspec import schedule_of
from .lifecycle import presentable
from .typed import NamedTuple
from .values import counted, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .grid import Alternatives
    from .lifecycle import Job
    from .records import Attempt, Needs, Worker

MOST_NEEDS = 5  # Of the jobs that a job waits for, in its sheet.


class Look(NamedTuple):
    """How a state looks: a symbol of one column, one for terminals without Unicode, and a color's SGR code."""

    symbol: str
    ascii: str
    color: str


# No symbol's East Asian Width is ambiguous: some terminals draw those two columns wide.
LOOKS = {
    "pending": Look("◦", ".", "36"),
    "processing": Look("▸", ">", "34"),
    "completed": Look("✓", "+", "32"),
    "failed": Look("↻", "~", "33"),
    "dead": Look("✗", "x", "31"),
    "cancelled": Look("⊘", "-", "35"),
    "idle": Look("◦", ".", "32"),
    "busy": Look("▸", ">", "34"),
    "stopping": Look("⊘", "-", "33"),
}


JOB_COLUMNS = (
    Column("ID", least=12),
    Column("STATE"),
    Column("TRIES", right=True, drop=1),
    Column("WHEN", drop=3),
    Column("TOOK", right=True, drop=2),
    Column("QUEUE", least=8, drop=4),
    Column("WHY", least=18, keeps_end=True),
    Column("COMMAND", least=12, drop=5),
)
SLOT_COLUMN = Column("SLOT", right=True, drop=6)  # Before WHY, if any job has one.
ATTEMPT_COLUMNS = (
    Column("ATTEMPT", right=True),
    Column("STARTED"),
    Column("TOOK", right=True),
    Column("WORKER", right=True, drop=1),
    Column("ENDED", least=18, keeps_end=True),
)
WORKER_COLUMNS = (
    Column("WORKER", right=True),
    Column("PID", right=True, drop=2),
    Column("STATE"),
    Column("JOB", least=10),
    Column("SINCE", right=True),
    Column("UP", right=True, drop=1),
    Column("QUEUES", least=8),
)


def job_row(job: Job, reason: str | None, last: Attempt | None, now: float) -> tuple[object, ...]:
    """The cells of JOB_COLUMNS. `reason` is why the job waits, and `last` its last attempt, if any."""
    try:
        tries = f"{job.attempts}/{job.max_retries + 1}"
        times = when(job, last, now), ran(job, last, now)
        explanation = running(job, last, now) or why(job, reason, now)
    except (TypeError, ValueError, OverflowError):
        return job_row(presentable(job), reason, last, now)
    return (job.id, job.state, tries, *times, job.queue, explanation, job.command)


def attempt_row(attempt: Attempt) -> tuple[object, ...]:
    """The cells of ATTEMPT_COLUMNS."""
    ended = reasons(outcome(attempt), None)
    return (attempt.attempt, local(attempt.started_at), took(attempt), attempt.worker, ended)


def worker_row(row: Worker, holds: tuple[str, float] | None, now: float) -> tuple[object, ...]:
    """The cells of WORKER_COLUMNS. `holds`: the job that the worker runs, and since when."""
    job, since = holds or (None, None)
    lasted = None if since is None else span(now - since)
    return (row.id, row.pid, row.state(job), job, lasted, span(now - row.started_at), row.queues or "all")


def sheet(
    job: Job, reason: str | None, needs: Needs, last: Attempt | None, now: float, waiters: Sequence[str] = ()
) -> dict[str, object]:
    """Everything about a job that isn't malformed: what has a value, by its name. "state" starts with the state.

    `waiters` are the ids of jobs that wait for it.
    """
    done = progress(last, now)
    fields: dict[str, object] = {
        "id": job.id,
        "state": f"{job.state} ({when(job, last, now)})",
        "reason": waits(job, reason, now),
        "error": job.error,
        "after": after(needs),
        "before": before(waiters),
        "command": job.command,
        "schedule": scheduled(job),
        "queue": job.queue,
        "priority": job.priority,
        "attempts": f"{job.attempts} of {job.max_retries + 1}",
        "directory": job.cwd,
        "environment": job.env,
        "created": local(job.created_at),
        "not before": local(job.run_at) if job.run_at > job.created_at else None,
        "started": local(job.started_at),
        "finished": local(job.finished_at),
        "progress": done[0] if done and job.state == "processing" else None,
        "took": took(last),
        "worker": job.worker,
        "slot": job.slot,
        "unique": job.unique_key,
        "stdin": None if job.stdin is None else counted(job.stdin, "byte"),
        "bury on": job.bury_on,
        "retry only on": job.retry_only_on,
        "deferrals": f"{job.deferrals} of {job.defer_limit}" if job.deferrals else None,
        "backoff": f"{job.backoff_base:g} ** n, at most {span(job.backoff_max)}{jitter(job)}",
        "timeout": span(job.timeout) if job.timeout else "none",
    }
    return {name: value for name, value in fields.items() if value is not None}


def scheduled(job: Job) -> str | None:
    """A job's schedule and the time that the job is for; None if it has no schedule."""
    found = schedule_of(job.env)
    return None if found is None else ", for ".join(filter(None, (found[0], found[1].replace("T", " "))))


def jitter(job: Job) -> str:
    """The jitter in a job's waits before retries, in words to add to their length."""
    return f", plus up to {job.backoff_jitter:.0%} at random" if job.backoff_jitter else ""


def after(needs: Needs) -> str | None:
    """The first jobs that a job waits for, those that it still waits for before the others; None if there are none."""
    words = {"ok": "success of ", "notok": "failure of ", "any": "end of "}
    first = sorted(needs, key=lambda need: (need[2], need[1] not in ("dead", "cancelled")))[:MOST_NEEDS]
    return _first([f"{words.get(condition, '')}{id} ({state})" for id, state, _, condition in first], len(needs))


def before(waiters: Sequence[str]) -> str | None:
    """The first jobs that wait for a job; None if there are none."""
    return _first(waiters[:MOST_NEEDS], len(waiters))


def _first(some: Sequence[str], number: int) -> str | None:
    """The first of several things, and how many more there are."""
    return ", ".join(some) + (f" and {number - len(some):,} more" if number > len(some) else "") or None


def when(job: Job, last: Attempt | None, now: float) -> str:
    """When a job ended, last failed or was enqueued ("3h02m ago"), or how long it has been running ("for 2m10s")."""
    if job.state == "processing" and job.started_at is not None:
        return f"for {span(now - job.started_at)}"
    return f"{span(now - last_event(job, last))} ago"


def last_event(job: Job, last: Attempt | None) -> float:
    """When a job that isn't running ended, last failed or was enqueued."""
    moment = last.finished_at if last and job.state == "failed" else job.finished_at
    return job.created_at if moment is None else moment


def ran(job: Job, last: Attempt | None, now: float) -> str | None:
    """How long a job has been running, or else its last attempt ran."""
    if job.state == "processing" and job.started_at is not None:
        return span(now - job.started_at)
    return took(last)


def took(attempt: Attempt | None) -> str | None:
    """How long an attempt ran; None if it hasn't ended."""
    if attempt is None or attempt.finished_at is None:
        return None
    return span(attempt.finished_at - attempt.started_at)


def waits(job: Job, reason: str | None, now: float) -> str | None:
    """The reason why a job waits, with the time left: "retrying in 4s"."""
    verb = {"delayed": "starts", "retrying": "retrying"}.get(reason or "")
    if verb is None:
        return reason
    return f"{verb} in {span(job.run_at - now)}" if job.run_at > now else f"{verb} now"


def why(job: Job, reason: str | None, now: float) -> str | Alternatives | None:
    """Why a job failed and why it waits."""
    return reasons(job.error, waits(job, reason, now))


def reasons(error: str | None, reason: str | None) -> str | Alternatives | None:
    """Why a job failed and why it waits: "exit 127 (command not found), retrying in 4s", or less if that's too long."""
    if not error:
        return reason
    code = str(error).partition(" (")[0]
    return (f"{error}, {reason}", f"{code}, {reason}", reason) if reason else (error, code)


def progress(attempt: Attempt | None, now: float) -> str | Alternatives | None:
    """What an attempt has reported: "40%, encoding, 3m20s left", or less if that's too long; None for nothing."""
    if attempt is None or attempt.progress is None:
        return None
    percent = f"{attempt.progress:.0f}%"
    remaining = attempt.remaining(now)
    left = "" if remaining is None else f", {span(remaining)} left"
    text = f", {attempt.progress_text}" if attempt.progress_text else ""
    return (f"{percent}{text}{left}", f"{percent}{left}", percent)


def running(job: Job, attempt: Attempt | None, now: float) -> str | Alternatives | None:
    """A running job's progress, and whether it is suspended; None if there is nothing to report."""
    if job.state != "processing":
        return None
    if not job.is_suspended:
        return progress(attempt, now)
    if attempt is None or attempt.progress is None:
        return reasons(job.error, "suspended")
    return f"suspended at {attempt.progress:.0f}%"


def outcome(attempt: Attempt) -> str:
    """How an attempt ended, such as "exit 1 (command not found)", or "running"."""
    if attempt.outcome is None:
        return "running"
    return attempt.error or ("exit 0" if attempt.outcome == "exit" else attempt.outcome)


def local(seconds: float | None) -> str | None:
    """Local time, such as 2026-11-24 15:04:05; None for None."""
    import time

    return None if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
