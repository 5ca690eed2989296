"""Jobs as JSON: strict parsing (no duplicate names, NaN or Infinity), and output for scripts."""

from __future__ import annotations

import sys

from . import jobspec, values
from .errors import BadInput
from .lifecycle import presentable
from .values import iso

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from json import JSONDecoder
    from typing import Any

    from .lifecycle import Job
    from .records import Attempt, Needs, Worker

# --- input ---------------------------------------------------------------------------------------

# Other names that users give to the same field.
SYNONYMS = {
    "base_backoff_seconds": "backoff_base",
    "base_backoff": "backoff_base",
    "unique": "unique_key",
    "after_ok": "after",
    "timeout_seconds": "timeout",
    "maxRetries": "max_retries",
    "runAt": "run_at",
}

MOST_PLANS = 1000
# `replace` is an option of the command line only.
JSON_FIELDS = (set(jobspec.FIELDS) | {"delay", "run_at"}) - {"replace"}


BLANKS = " \t\n\r"  # Between the tokens of JSON.


def json_object(text: str) -> dict[str, object]:
    """Parse a JSON object in which no name occurs twice. Raises BadInput."""
    given = whole_object(text)
    if given is not None:
        return given
    from json import JSONDecodeError

    try:
        return object_from(decoder().decode(text))
    except JSONDecodeError as error:
        raise BadInput(f"not valid JSON: {error.msg} at character {error.pos + 1}") from None
    except (ValueError, RecursionError) as error:
        raise excessive(error) from None


def excessive(error: ValueError | RecursionError) -> BadInput:
    """What to say about JSON whose syntax is right, but that Python refuses to decode."""
    excess = "nested too deeply" if isinstance(error, RecursionError) else "a number with too many digits"
    return BadInput(f"not valid JSON: {excess}")


def object_from(given: object) -> dict[str, object]:
    """Decoded JSON for a job. Raises BadInput if it isn't an object."""
    if not isinstance(given, dict):
        raise BadInput(f"a job is a JSON object, not {values.quote(given)}")
    return given


def whole_object(text: str) -> dict[str, object] | None:
    """The JSON object that is all of the text, as most jobs are; None for anything else. Raises BadInput."""
    try:
        given, end = _scan(text, len(text) - len(text.lstrip(BLANKS)))
    except (ValueError, RecursionError, StopIteration, SystemError):  # SystemError: see _scanner.
        return None
    return given if isinstance(given, dict) and not text[end:].strip(BLANKS) else None


def _reject_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        names = [key for key, _ in pairs]
        duplicate = next(key for key in names if names.count(key) > 1)
        raise BadInput(f"{values.quote(duplicate)}: given twice")
    return unique


def _reject_constant(word: str) -> float:
    raise BadInput(f"not valid JSON: {word} is not allowed")


def decoder() -> JSONDecoder:
    """A strict decoder. It says what is wrong where, but loads regular expressions (4 ms)."""
    from json import JSONDecoder

    return JSONDecoder(object_pairs_hook=_reject_duplicates, parse_constant=_reject_constant)


class _Options:
    """What the scanner of JSONDecoder, in C, reads from a decoder."""

    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_reject_duplicates)
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_reject_constant)


def _scanner() -> Any:
    """A function of a text and a place that returns the JSON value there, and where it ends.

    Raises ValueError or StopIteration for anything else. The scanner in C can't raise its ValueError unless the
    module json is loaded, which makes that a SystemError and ends a Python that was built for debugging.
    """
    if not hasattr(sys, "gettotalrefcount"):  # Which only a Python built for debugging has.
        try:
            from _json import make_scanner

            return make_scanner(_Options)  # type: ignore[arg-type]  # It takes any object with these attributes.
        except ImportError:
            pass
    return decoder().scan_once  # type: ignore[attr-defined]


# Shared: making one takes as long as decoding a job.
_scan = _scanner()


def from_object(
    given: dict[str, object], defaults: dict[str, object], now: float, places: dict[str, str] | None = None
) -> jobspec.NewJob:
    """A NewJob from a JSON object; `defaults` supply the fields that it leaves out.

    `places` says what messages call a field that came from the defaults. `now` is in epoch seconds. Fields that
    queuectl sets (state, attempts, results) are accepted if a new job has that value anyway; timestamps are ignored.
    Raises BadInput; for an unknown field, it names the most similar known one.
    """
    fields = dict(defaults)
    for key, value in given.items():
        field = SYNONYMS.get(key, key)
        if field in SET_BY_QUEUECTL:
            if value is not None and not SET_BY_QUEUECTL[field](value, now):
                raise BadInput(
                    f"{field}: cannot be {values.quote(value)} in a new job; queuectl sets it"
                    " (to copy jobs with their history, use queuectl export and import)"
                )
            continue
        if field not in JSON_FIELDS:
            known = sorted(JSON_FIELDS)
            if key in ("history", "input", "before"):  # What `show` and `export` print.
                raise BadInput(f"{key}: only import takes it; run: queuectl export | queuectl --db FILE import")
            raise BadInput(f"{values.quote(key)}: no such field ({values.nearest(key, known)})")
        if value is None and field != "command":
            continue
        if field in given and field != key:
            raise BadInput(f"{field}: given twice, also as {key}")
        if field in ("delay", "run_at"):
            fields.pop("delay", None) if field == "run_at" else fields.pop("run_at", None)
            if field == "delay" and given.get("run_at") is not None:
                raise BadInput("delay: cannot be used together with run_at")
        fields[field] = value
    return jobspec.new_job(fields, now, places, literal=given)


# Fields that can be checked independently.
_SEPARATE = set(jobspec.FIELDS) - set(jobspec.CONDITIONS) - {"replace"}


class Plans:
    """Makes jobs from many JSON objects, like from_object, but looks names up only once for objects that share them."""

    def __init__(self) -> None:
        self._plans: dict[tuple[str, ...], list[tuple[int, str, Callable[[object, str], object]]] | None] = {}

    def job(self, given: dict[str, object], pattern: jobspec.NewJob) -> jobspec.NewJob | None:
        """`pattern` with the given values, or None if only from_object can build the job, or say what is wrong."""
        names = tuple(given)
        try:
            plan = self._plans[names]
        except KeyError:
            plan = self._plans[names] = self._plan(names)
        if plan is None:
            return None
        fields: list[object] = list(pattern)
        try:
            for index, name, check in plan:
                value = given[name]
                if value is not None or name == "command":
                    fields[index] = check(value, name)
        except BadInput:
            return None
        return jobspec.NewJob._make(fields)

    def _plan(self, names: tuple[str, ...]) -> list[tuple[int, str, Callable[[object, str], object]]] | None:
        if len(self._plans) > MOST_PLANS:
            self._plans.clear()
        if "command" not in names or not _SEPARATE.issuperset(names):
            return None
        return [(jobspec.NewJob._fields.index(name), name, jobspec.FIELDS[name]) for name in names]


def _is_time(value: object, now: float) -> bool:
    try:
        values.moment(value, "time", now, any_epoch=True)
    except BadInput:
        return False
    return True


def _is_zero(value: object, now: float) -> bool:
    return not isinstance(value, bool) and value == 0


def _only_null(value: object, now: float) -> bool:
    return False  # The caller has already accepted null.


# Fields that queuectl sets, each with a test of whether a new job's JSON can contain a value. Null is always accepted.
SET_BY_QUEUECTL: dict[str, Callable[[object, float], bool]] = {
    "state": lambda value, now: isinstance(value, str) and value.lower() in ("pending", "queued"),
    "attempts": _is_zero,
    "created_at": _is_time,
    "updated_at": _is_time,
    "started_at": _only_null,
    "finished_at": _only_null,
    "exit_code": _only_null,
    "error": _only_null,
    "last_error": _only_null,
    "next_retry_at": _only_null,
    "worker": _only_null,
    "slot": _only_null,
    "suspended": lambda value, now: not value,
    "deferrals": _is_zero,
    "reason": lambda value, now: True,
    "before": lambda value, now: not value,
}


# --- output --------------------------------------------------------------------------------------

JOB_FIELDS = (
    "id command state attempts max_retries created_at updated_at queue priority run_at started_at"
    " finished_at exit_code error cwd env backoff_base backoff_max backoff_jitter timeout kill_grace output_limit"
    " bury_on retry_only_on defer_limit deferrals unique_key stdin held slot worker"
).split()
TIMES = frozenset(("created_at", "updated_at", "run_at", "started_at", "finished_at"))


def job_json(job: Job, reason: str | None) -> dict[str, object]:
    """A job for output: times in ISO 8601, durations in seconds; `reason` says why it is waiting."""
    try:
        fields = {field: _json(field, getattr(job, field)) for field in JOB_FIELDS}
    except (TypeError, ValueError, OverflowError):
        job = presentable(job)
        fields = {field: _json(field, getattr(job, field)) for field in JOB_FIELDS}
    try:
        fields["env"] = jobspec.variables(job.env)
    except BadInput:
        fields["env"] = None  # Another program stored garbage, so the job cannot start.
    fields["held"] = bool(job.held)
    fields["suspended"] = job.is_suspended
    # What earlier implementations of this system called these.
    fields["next_retry_at"] = fields["run_at"] if job.state == "failed" else None
    fields["last_error"] = fields["error"]
    fields["reason"] = reason
    return fields


def _json(field: str, value: Any) -> object:
    if field in TIMES:
        return iso(value)
    if isinstance(value, bytes):
        raise TypeError
    # 2, not 2.0: SQLite stores some columns as floats.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def whole_json(
    job: Job,
    reason: str | None,
    labels: Sequence[str],
    needs: Needs,
    waiters: Sequence[str],
    attempts: Sequence[Attempt],
) -> dict[str, object]:
    """Everything about a job, as `show --json` prints it; `waiters` are the ids of the jobs that wait for it."""
    found = {**job_json(job, reason), "labels": list(labels), **after_json(needs), "before": list(waiters)}
    return {**found, "history": attempts_json(attempts)}


def after_json(needs: Needs) -> dict[str, object]:
    """The jobs that a job waits for, or waited for, as fields of its JSON, by condition."""
    return {
        field: [id for id, _, _, needed in needs if needed == condition]
        for field, condition in jobspec.CONDITIONS.items()
    }


def attempts_json(attempts: Sequence[Attempt]) -> list[dict[str, object]]:
    """A job's attempts for output, as in `show --json`."""
    return [
        {
            "attempt": attempt.attempt,
            "worker": attempt.worker,
            "started_at": iso(attempt.started_at),
            "finished_at": iso(attempt.finished_at),
            "outcome": attempt.outcome,
            "exit_code": attempt.exit_code,
            "error": attempt.error,
            "output_dropped": attempt.dropped,
            "progress": attempt.progress,
            "progress_text": attempt.progress_text,
        }
        for attempt in attempts
    ]


def worker_json(row: Worker, running: dict[int, tuple[str, float]]) -> dict[str, object]:
    """A worker for output; `running` comes from store.running()."""
    job, since = running.get(row.id) or (None, None)
    return {
        "id": row.id,
        "pid": row.pid,
        "state": row.state(job),
        "job": job,
        "job_started_at": iso(since),
        "queues": row.queues.split(",") if row.queues else None,
        "started_at": iso(row.started_at),
        "version": row.version,
    }
