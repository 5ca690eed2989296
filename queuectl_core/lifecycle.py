"""The lifecycle of a job: its states, the moves between them, and the judgement after an attempt.

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

`failed` waits for its retry, so it can be cancelled and revived (tried at once) like a pending or a
dead job. Everything here is pure: no I/O and no clock.
"""

from __future__ import annotations

from collections import namedtuple

STATES = ("pending", "processing", "completed", "failed", "dead", "cancelled")
FINISHED = ("completed", "dead", "cancelled")
WAITING = ("pending", "failed")
UNFINISHED = ("pending", "processing", "failed")

# EX_TEMPFAIL of BSD's sysexits.h: "not now, try again later". It uses up no retry.
TEMPORARY_FAILURE = 75

Move = namedtuple("Move", "from_states to_state")

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

# A job as the store reads it: one row of queuectl_jobs. Times are UTC epoch seconds, durations
# are seconds, sizes are bytes. `attempts` counts starts against max_retries (a revival sets it
# back to 0, a release refunds one); `last_attempt` numbers the latest attempt over the job's whole
# life and never goes back, so it names one row of queuectl_attempts for good.
Job = namedtuple(
    "Job",
    "seq id queue priority state command cwd env max_retries backoff_base backoff_max timeout"
    " kill_grace output_limit bury_on retry_only_on defer_limit unique_key stdin deferrals attempts"
    " last_attempt waits_for worker cancel run_at created_at updated_at started_at finished_at"
    " exit_code error",
)

# How an attempt ended. `kind` is one of:
#   exit       the command ended by itself; `code` is its exit status
#   signal     a signal ended it; `code` is the signal's number
#   timeout    it ran longer than job.timeout and was ended
#   lost       its worker died; what was left of it has been ended
#   unstarted  it could not be started; `detail` says why
#   cancelled  it was ended because somebody cancelled the job
#   released   it was ended because an operator stopped the worker at once
#   evicted    it was ended because its job was taken from its worker; nothing of it counts
Outcome = namedtuple("Outcome", "kind code detail", defaults=(None, None))

# What becomes of the job: the move's name, when it may run again (None: never), the exit code
# that `wait` passes on (None: there is none), and the reason in words (None: it succeeded).
Verdict = namedtuple("Verdict", "move run_at exit_code error")


EXIT_HINTS = {75: " (not now)", 126: " (cannot be executed)", 127: " (command not found)"}


def judge(job: Job, outcome: Outcome, now: float) -> Verdict:
    """Say what becomes of `job` after its attempt ended with `outcome` at `now` (epoch seconds)."""
    exit_code, error = describe(job, outcome)
    if outcome.kind == "released":
        return Verdict("release", now, None, None)
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
        wait = backoff(job.backoff_base, job.attempts, job.backoff_max)
        return Verdict("fail", now + wait, exit_code, error)
    return Verdict("bury", None, exit_code, error)


def is_among(code: int, codes: str) -> bool:
    """Whether an exit code is one of `codes`, written as in "2,64-78"."""
    for part in codes.split(","):
        first, _, last = part.partition("-")
        try:
            if int(first) <= code <= int(last or first):
                return True
        except ValueError:
            pass  # Foreign SQL stored it: it is no code, so it is not this one.
    return False


def backoff(base: float, attempt: int, cap: float) -> float:
    """Seconds to wait after the `attempt`-th failed attempt: base ** attempt, at most `cap`."""
    try:
        return min(float(base) ** attempt, cap)
    except OverflowError:
        return cap


def describe(job: Job, outcome: Outcome) -> tuple[int | None, str | None]:
    """The exit code (as a shell would count it) and the reason in words, None for a success."""
    kind, code = outcome.kind, outcome.code
    if kind == "exit":
        if code == 0:
            return 0, None
        hint = EXIT_HINTS.get(code, "")
        return code, "exit %d%s" % (code, hint)
    if kind == "signal":
        return 128 + code, "killed by %s" % signal_name(code)
    if kind == "timeout":
        return None, "timed out after %gs" % job.timeout
    if kind == "lost":
        return None, "worker lost"
    if kind == "unstarted":
        return None, "cannot start: %s" % outcome.detail
    return None, kind


def signal_name(number: int) -> str:
    """SIGSEGV for 11; "signal 40" for one without a name."""
    import signal  # Not needed to enqueue.

    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal %d" % number
