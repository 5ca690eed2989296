"""Export and import: jobs as JSON lines, to move them to another machine or another version.

A line is a job as `show --json` prints it, with its full `history`, the output of each attempt (`output`: position,
stream, text) and its standard input (`input`). Text can hold any bytes: invalid UTF-8 becomes lone surrogates, as in
os.fsdecode (PEP 383). Lines of schedules come last; see schedule_transfer.py.

`import` reads these lines, and those that mongoexport writes for the `jobs` collection of QueueCTL for Node.js. It
reads all lines before it changes anything, then adds all jobs in one transaction.
"""

from __future__ import annotations

import pickle
import tempfile

from . import jobspec, settings, values
from .errors import BadInput, QueueError
from .jobjson import after_json, attempts_json, job_json, json_object
from .jobspec import CONDITIONS
from .lifecycle import FINISHED, STATES, Job, presentable
from .nodejs import from_node
from .records import Attempt
from .typed import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any, BinaryIO, Dict, List, Tuple

    from .records import Chunk
    from .settings import Config
    from .store.client import Client
    from .store.firing import Row
    from .store.reader import Reader

    Fields = Dict[str, Any]
    # The parser of each field, called with (value, name, now).
    Table = Dict[str, Callable[..., Any]]
    # Attempts, each with its output.
    History = List[Tuple[Attempt, List[Chunk]]]


class Record(NamedTuple):
    """A job with everything that belongs to it.

    `needs` lists the ids of its dependencies, each with its condition; `input` is its standard input.
    """

    job: Job
    needs: list[tuple[str, str]]
    attempts: History
    input: bytes | None
    labels: Sequence[str]


class Imported(NamedTuple):
    """What an import did: the ids of the jobs added, how many jobs and schedules existed, and the schedules added."""

    added: list[str]
    existing: int
    schedules: int


# --- export --------------------------------------------------------------------------------------


def export_jobs(store: Reader) -> Iterator[dict[str, object]]:
    """All jobs, oldest first, from one consistent snapshot."""
    with store.snapshot():
        for job in store.oldest_first():
            fields = job_json(job, None)
            # These mean nothing in another queue.
            for name in ("worker", "slot", "suspended", "reason", "stdin", "next_retry_at", "last_error"):
                del fields[name]
            attempts = store.attempts(job)
            if fields["env"] is None:
                fields["env"] = presentable(job).env  # What another program stored, or None.
            fields.update(after_json(store.needs(job)), labels=store.labels_of(job))
            fields["history"] = [
                dict(entry, output=_output(store, job, attempt.attempt))
                for attempt, entry in zip(attempts, attempts_json(attempts))
            ]
            data = store.input(job)
            fields["input"] = None if data is None else values.decode(data)
            yield fields


def _output(store: Reader, job: Job, attempt: int) -> list[list[object]]:
    return [
        [position, stream, values.decode(data)]
        for position, stream, data in store.output(job, attempt)
    ]


# --- import --------------------------------------------------------------------------------------


def import_jobs(store: Client, lines: Iterable[bytes], now: float, tick: Callable[..., None]) -> Imported:
    """Add the jobs and the schedules in `lines`.

    `now` is in epoch seconds. `tick(done, total, what)` is called after each job: 7 of 9 (None: unknown) "jobs read".
    Raises BadInput, which names the line, having changed nothing.
    """
    added: list[str] = []
    existing = count = schedules = 0
    # Parse into a file: there may be millions of jobs, and reading a slow pipe must not hold the write lock.
    with tempfile.TemporaryFile() as file:
        for count, numbered in enumerate(_read(lines, store.config(), now), 1):
            pickle.dump(numbered, file)
            tick(count, None, "jobs read")
        file.seek(0)
        with store.transaction():
            for number, record in _load(file):
                try:
                    is_job = isinstance(record, Record)
                    is_new = store.import_job(*record) if is_job else store.import_schedule(record)
                except QueueError as error:
                    raise BadInput(f"line {number}: {error}") from None
                if is_new and not is_job:
                    schedules += 1
                elif is_new:
                    added.append(record.job.id)
                else:
                    existing += 1
                tick(len(added) + existing + schedules, count, "jobs imported")
    return Imported(added, existing, schedules)


def _load(file: BinaryIO) -> Iterator[tuple[int, Any]]:
    while True:
        try:
            yield pickle.load(file)
        except EOFError:
            return


def _read(lines: Iterable[bytes], config: Config, now: float) -> Iterator[tuple[int, Record | Row]]:
    line_of: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            schedule = _schedule(line, now)
            if schedule is not None:
                yield number, schedule
                continue
            record = read_record(line, config, now)
            first = line_of.setdefault(record.job.id, number)
            if first != number:
                raise BadInput(f"id: {values.quote(record.job.id)} is also on line {first}")
        except BadInput as error:
            raise BadInput(f"line {number}: {error}") from None
        yield number, record


def _schedule(line: bytes, now: float) -> Row | None:
    """The schedule in a line of `export`; None if the line is a job."""
    if not line.startswith(b'{"schedule"'):
        return None
    from .schedule_transfer import schedule_from  # Deferred: most files have no schedules.

    try:
        return schedule_from(json_object(line.decode()), now)
    except UnicodeDecodeError:
        raise BadInput("not UTF-8") from None


def read_record(line: bytes, config: Config, now: float) -> Record:
    """Parse a line of `export` or mongoexport. `config` fills in missing settings; `now` is in epoch seconds.

    Raises BadInput.
    """
    try:
        given = json_object(line.decode())
    except UnicodeDecodeError:
        raise BadInput("not UTF-8") from None
    if "_id" in given or "createdAt" in given:
        given = from_node(given)
    fields = _checked(given, FIELDS, now)
    for name in ("id", "command", "state", "created_at"):
        if fields.get(name) is None:
            raise BadInput(f"{name}: missing")
    state, created_at = fields["state"], fields["created_at"]
    if (fields.get("finished_at") is None) == (state in FINISHED):
        raise BadInput(
            f"finished_at: {'missing' if state in FINISHED else 'given'}, but the job is {state}"
        )
    attempts = [_attempt(entry, now) for entry in fields.pop("history", None) or []]
    needs = [(id, condition) for field, condition in CONDITIONS.items() for id in fields.pop(field, None) or ()]
    data, labels = fields.pop("input", None), fields.pop("labels", None) or ()
    job = Job(**{**dict.fromkeys(Job._fields), **_DEFAULTS, **fields})
    defaults = settings.resolve(config, job.queue)
    missing: dict[str, Any] = {
        name: default for name, default in defaults.items() if getattr(job, name) is None
    }
    job = job._replace(
        **missing,
        updated_at=created_at if job.updated_at is None else job.updated_at,
        run_at=created_at if job.run_at is None else job.run_at,
        last_attempt=max([job.attempts, *(attempt.attempt for attempt, _ in attempts)]),
    )
    if state == "processing":
        job, attempts = _released(job, attempts, now)
    if any(attempt.finished_at is None for attempt, _ in attempts):
        raise BadInput(f"history: an attempt has no finished_at, but the job is {state}")
    return Record(job, needs, attempts, data, labels)


_DEFAULTS = {"queue": "default", "priority": 0, "attempts": 0, "deferrals": 0, "held": False}


def _released(job: Job, attempts: History, now: float) -> tuple[Job, History]:
    """A job that is running in the other queue becomes pending, as if its worker had released it."""
    ended = [
        (attempt if attempt.finished_at is not None else _cut_short(attempt, now), output)
        for attempt, output in attempts
    ]
    return job._replace(state="pending", attempts=max(0, job.attempts - 1)), ended


def _cut_short(attempt: Attempt, now: float) -> Attempt:
    return attempt._replace(finished_at=max(now, attempt.started_at), outcome="released")


def _attempt(entry: object, now: float) -> tuple[Attempt, list[Chunk]]:
    if not isinstance(entry, dict):
        raise BadInput(f"history: an attempt is a JSON object, not {values.quote(entry)}")
    try:
        fields = _checked(entry, ATTEMPT_FIELDS, now)
        for name in ("attempt", "started_at"):
            if fields.get(name) is None:
                raise BadInput(f"{name}: missing")
        if (fields.get("finished_at") is None) != (fields.get("outcome") is None):
            raise BadInput("outcome: must be given if, and only if, finished_at is")
    except BadInput as error:
        raise BadInput(f"history: {error}") from None
    output = fields.pop("output", None) or []
    fields["dropped"] = fields.pop("output_dropped", None) or 0
    fields["worker"] = fields.get("worker") or 0
    return Attempt(**{**dict.fromkeys(Attempt._fields), **fields}), output


def _checked(given: Fields, table: Table, now: float) -> Fields:
    """The given fields, parsed by the table, without those that are null."""
    for name in given:
        if name not in table:
            raise BadInput(f"{values.quote(name)}: no such field ({values.nearest(name, list(table))})")
    return {
        name: table[name](value, name, now) for name, value in given.items() if value is not None
    }


def _of(parse: Callable[..., Any], *limits: int) -> Callable[..., Any]:
    return lambda value, place, now: parse(value, place, *limits)


def _moment(value: object, place: str, now: float) -> float:
    # Whatever another queue recorded, however long ago.
    return values.moment(value, place, now, any_epoch=True)


def _name(value: object, place: str) -> str:
    # Other programs can insert names that enqueue refuses. Those jobs must move too.
    if not isinstance(value, str) or not 0 < len(value) <= values.LONGEST_NAME:
        raise BadInput(f"{place}: must be a string of 1 to {values.LONGEST_NAME} characters")
    values.encode(value, place)
    return value


def _text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise BadInput(f"{place}: must be a string, not {values.quote(value)}")
    values.encode(value, place)
    return value


def _state(value: object, place: str) -> str:
    if value not in STATES:
        known = values.nearest(str(value), list(STATES))
        raise BadInput(f"{place}: no such state: {values.quote(value)} ({known})")
    return str(value)


def _list(value: object, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadInput(f"{place}: must be an array, not {values.quote(value)}")
    return value


def _names(value: object, place: str) -> list[str]:
    return [_name(item, place) for item in _list(value, place)]


def _chunks(value: object, place: str) -> list[Chunk]:
    chunks = []
    for chunk in _list(value, place):
        if len(_list(chunk, place)) != 3:
            raise BadInput(f"{place}: must be arrays of [position, stream, text]")
        position, stream, text = chunk
        position = values.whole(position, place, 0, 2**63 - 1)
        data = values.encode(_text(text, place), place)
        chunks.append((position, values.whole(stream, place, 1, 2), data))
    return chunks


def _env(value: object, place: str) -> object:
    # A string is what another program stored; see export_jobs.
    return value if isinstance(value, str) else jobspec.FIELDS["env"](value, place)


def _bool(value: object, place: str) -> bool:
    if not isinstance(value, bool):
        raise BadInput(f"{place}: must be true or false, not {values.quote(value)}")
    return value


def _real(value: object, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1e10:
        raise BadInput(f"{place}: not a number from 0 to 1e10: {values.quote(value)}")
    return value


def _duration(value: object, place: str) -> float:
    return _real(value, place) if not isinstance(value, str) else values.duration(value, place)


_MANY = values.LARGEST_INTEGER
# What the schema accepts may be more than what enqueue does: those jobs must move too.
FIELDS: Table = {
    **{name: _of(jobspec.FIELDS[name]) for name in jobspec.FIELDS if name not in ("replace", "stdin")},
    "command": lambda value, place, now: _text(value, place) or values.command(value, place),
    "priority": _of(values.whole, -(2**63), 2**63 - 1),
    "cwd": _of(_text),
    "env": _of(_env),
    "unique_key": _of(_text),
    "bury_on": _of(_text),
    "retry_only_on": _of(_text),
    "backoff_base": _of(_real),
    **{name: _of(_duration) for name in ("backoff_max", "timeout", "kill_grace")},
    "id": _of(_name),
    "queue": _of(_name),
    "state": _of(_state),
    "attempts": _of(values.whole, 0, _MANY),
    "deferrals": _of(values.whole, 0, _MANY),
    "run_at": _moment,
    "created_at": _moment,
    "updated_at": _moment,
    "started_at": _moment,
    "finished_at": _moment,
    "exit_code": _of(values.whole, 0, 255),
    "error": _of(_text),
    **{name: _of(_names) for name in CONDITIONS},
    "labels": _of(_names),
    "held": _of(_bool),
    "history": _of(_list),
    "input": _of(values.input_bytes),
}
ATTEMPT_FIELDS: Table = {
    "attempt": _of(values.whole, 1, _MANY),
    "worker": _of(values.whole, -(2**63), 2**63 - 1),
    "started_at": _moment,
    "finished_at": _moment,
    "outcome": _of(_text),
    "exit_code": _of(values.whole, 0, 255),
    "error": _of(_text),
    "output_dropped": _of(values.whole, 0, 2**63 - 1),
    "progress": _of(values.percent),
    "progress_text": _of(_text),
    "output": _of(_chunks),
}
