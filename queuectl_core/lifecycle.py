"""The lifecycle of a job: its states, the moves between them, and the decision after each attempt.

                        +------------------ release (operator stopped the worker) -----------+
                        v                                                                    |
 enqueue ---------> pending ---------------- claim ----------------> processing --succeed--> completed
                      ^  |^                    ^                       |  |  |
                      |  |+----------- defer (exit 75: not now) -------+  |  |
                      |  +--cancel--> cancelled|                       |  |  +--cancel--> cancelled
                      |                        |                       |  +--fail (retries left)--+
                      |                     claim, once due            |                          v
                      |                        +-------------------------------------------- failed
                      |                                                +--bury (none left)--> dead
                      +---- revive (dlq retry / retry: attempts = 0) <---- dead | cancelled | completed

A `failed` job is waiting for its retry, so it can be cancelled like a pending job, or revived (retried at once) like a
dead one. Everything here is pure: no I/O, no clock.
"""

from __future__ import annotations

from .typed import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

STATES = ("pending", "processing", "completed", "failed", "dead", "cancelled")
FINISHED = ("completed", "dead", "cancelled")
WAITING = ("pending", "failed")
UNFINISHED = ("pending", "processing", "failed")

# EX_TEMPFAIL in BSD's sysexits.h: "not now, try again later". It doesn't use up a retry.
TEMPORARY_FAILURE = 75


class Move(NamedTuple):
    """A transition between states."""

    from_states: tuple[str, ...]
    to_state: str


TRANSITIONS = {
    "claim": Move(("pending", "failed"), "processing"),
    "succeed": Move(("processing",), "completed"),
    "fail": Move(("processing",), "failed"),
    "bury": Move(("processing",), "dead"),
    "defer": Move(("processing",), "pending"),
    "release": Move(("processing",), "pending"),
    "cancel": Move(("pending", "failed", "processing"), "cancelled"),
    "revive": Move(("dead", "cancelled", "completed", "failed"), "pending"),
}


class Job(NamedTuple):
    """A row of queuectl_jobs. Times are UTC epoch seconds, durations are seconds, sizes are bytes.

    `attempts` counts starts against max_retries: revive resets it to 0, release and defer give one back.
    `last_attempt` is the number of the latest attempt. It never decreases, so it identifies a row of queuectl_attempts.
    `waits_for` counts the jobs that it waits for; `slot` is its number among the running jobs of a queue with a limit.
    `cancel` and `suspend` are 1 if its worker has been asked to end it, or to stop it until it is asked to continue.
    Other programs can insert jobs too: triggers fill in missing columns, and CHECKs reject values of other types.
    """

    seq: int
    id: str
    queue: str
    priority: int
    state: str
    command: str
    cwd: str | None
    env: str | None
    max_retries: int
    backoff_base: float
    backoff_max: float
    backoff_jitter: float | None
    timeout: float
    kill_grace: float
    output_limit: int
    bury_on: str | None
    retry_only_on: str | None
    defer_limit: int
    unique_key: str | None
    stdin: int | None
    deferrals: int
    attempts: int
    last_attempt: int
    waits_for: int
    held: int
    slot: int | None
    worker: int | None
    cancel: int
    suspend: int
    run_at: float
    created_at: float
    updated_at: float
    started_at: float | None
    finished_at: float | None
    exit_code: int | None
    error: str | None

    @property
    def is_suspended(self) -> bool:
        """Whether it runs and its worker has been asked to stop it, until it is asked to continue."""
        return self.suspend == 1 and self.state == "processing"


class Outcome(NamedTuple):
    """How an attempt ended.

    `kind` is one of:
      exit       the command exited; `code` is its exit status
      signal     a signal killed it; `code` is the signal's number
      timeout    it ran longer than job.timeout and was killed
      lost       its worker died; whatever was left of it has been killed
      unstarted  it could not start; `detail` says why
      unrunnable another program stored a row that makes no sense; `detail` says what is wrong with it
      cancelled  it was killed because the job was cancelled
      released   its worker was told to stop now or, with a `detail`, the machine couldn't start it; it doesn't count
      evicted    it was killed because its worker no longer holds the job; it doesn't count
    """

    kind: str
    code: int = 0
    detail: str | None = None


class Verdict(NamedTuple):
    """What happens to a job after an attempt.

    `run_at` is when it can run again (None: never), `exit_code` is the attempt's exit code, if it has one, and `error`
    is why it failed (None: it didn't).
    """

    move: str
    run_at: float | None
    exit_code: int | None
    error: str | None


RELEASE_DELAY = 1.0  # Seconds before a job that the machine couldn't start is claimed again.
EXIT_HINTS = {75: " (not now)", 126: " (cannot be executed)", 127: " (command not found)"}


def judge(job: Job, outcome: Outcome, now: float) -> Verdict:
    """Decide what happens to `job`, whose attempt ended with `outcome` at `now` (epoch seconds)."""
    if outcome.kind == "unrunnable":
        return Verdict("bury", None, None, f"cannot be run: {outcome.detail}")
    exit_code, error = describe(job, outcome)
    if outcome.kind in ("released", "evicted"):  # Evicted, it holds the job only if its row was deleted.
        return Verdict("release", now + (RELEASE_DELAY if outcome.detail else 0), None, outcome.detail)
    if outcome.kind == "cancelled" or (outcome.kind == "lost" and job.cancel):
        return Verdict("cancel", None, exit_code, error)
    if error is None:
        return Verdict("succeed", None, exit_code, None)
    if outcome.kind == "exit":
        if outcome.code == TEMPORARY_FAILURE and job.deferrals < job.defer_limit:
            wait = backoff(job.backoff_base, job.deferrals + 1, job.backoff_max)
            return Verdict("defer", now + wait, exit_code, error)
        if job.bury_on and is_among(outcome.code, job.bury_on):
            return Verdict("bury", None, exit_code, error)
        if job.retry_only_on and not is_among(outcome.code, job.retry_only_on):
            return Verdict("bury", None, exit_code, error)
    if job.attempts <= job.max_retries:
        wait = backoff(job.backoff_base, job.attempts, job.backoff_max) * (1 + (job.backoff_jitter or 0) * chance(job))
        return Verdict("fail", now + wait, exit_code, error)
    return Verdict("bury", None, exit_code, error)


_NUMBERS = (
    *("priority", "max_retries", "backoff_base", "backoff_max", "timeout", "kill_grace", "output_limit", "defer_limit"),
    *("deferrals", "attempts", "last_attempt", "run_at", "created_at", "updated_at", "waits_for"),
)
_MAYBE_NUMBERS = ("started_at", "finished_at", "exit_code", "stdin", "backoff_jitter", "slot")
_TEXTS = ("cwd", "env", "bury_on", "retry_only_on", "unique_key", "error")


def malformed(job: Job) -> str | None:
    """What is wrong with a row that the schema should have rejected; None if nothing is.

    A file may be older than a CHECK, or edited with CHECKs off. Such a job must not end the worker that claims it.
    """
    return next((f"{name} is {getattr(job, name)!r:.60}" for name in _faults(job)), None)


def presentable(job: Job) -> Job:
    """The job with numbers for malformed numbers and text for malformed text, so that any reader can show it."""
    better: dict[str, Any] = {name: str(getattr(job, name)) if name in _TEXTS else 0 for name in _faults(job)}
    return job._replace(**better)


def _faults(job: Job) -> Iterator[str]:
    """The names of fields whose values no queuectl would store."""
    for name in (*_NUMBERS, *_MAYBE_NUMBERS):
        value = getattr(job, name)
        if value is None and name in _MAYBE_NUMBERS:
            continue
        if not isinstance(value, (int, float)) or abs(value) > (2**63 if name == "priority" else 1e12):
            yield name
    for name in _TEXTS:
        if not isinstance(getattr(job, name), (str, type(None))):
            yield name


def is_among(code: int, codes: str) -> bool:
    """Whether an exit code is in the set `codes`, such as "2,64-78"."""
    for part in codes.split(","):
        first, _, last = part.partition("-")
        try:
            if int(first) <= code <= int(last or first):
                return True
        except ValueError:
            pass  # Garbage stored by another program matches no exit code.
    return False


def backoff(base: float, attempt: int, cap: float) -> float:
    """Seconds to wait after failed attempt number `attempt`: base ** attempt, but at most `cap`."""
    try:
        return min(float(base) ** attempt, cap)
    except OverflowError:
        return cap


def chance(job: Job) -> float:
    """A number from 0 to 1 that looks random but is the same each time for an attempt of a job."""
    from zlib import crc32  # Deferred: enqueue doesn't need it.

    return crc32(f"{job.id}.{job.last_attempt}".encode("utf-8", "surrogateescape")) / 2**32


def describe(job: Job, outcome: Outcome) -> tuple[int | None, str | None]:
    """The exit code as a shell reports it (128 + signal), and why the attempt failed. Each is None if it has none."""
    kind, code = outcome.kind, outcome.code
    if kind == "exit":
        if code == 0:
            return 0, None
        return code, f"exit {code}{EXIT_HINTS.get(code, '')}"
    if kind == "signal":
        return 128 + code, f"killed by {signal_name(code)}"
    if kind == "timeout":
        return None, f"timed out after {job.timeout:g}s"
    if kind == "lost":
        return None, "worker lost"
    if kind == "unstarted":
        return None, f"cannot start: {outcome.detail}"
    return None, kind


def signal_name(number: int) -> str:
    """SIGSEGV for 11; "signal 40" for a number without a name."""
    import signal  # Deferred: enqueue doesn't need it.

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
