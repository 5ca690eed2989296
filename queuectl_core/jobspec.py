"""The fields of a new job. JSON, options and the Python API share one table of validators."""

from __future__ import annotations

from . import values
from .errors import BadInput
from .typed import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence


class NewJob(NamedTuple):
    """A job to enqueue. The store fills in what is None: an id, the time, the settings.

    The fields before `after` are columns, in this order (see sql.ENQUEUE): first those that every job has, then, from
    `env` on, those that most jobs leave empty. A `held` job waits until it is released. `after` lists the ids of jobs
    that must complete first, `after_notok` those that must die or be cancelled, and `after_any` those that must finish
    either way. `labels` are words that users find it by, `replace` updates the waiting job with the same unique key,
    and `stdin` is the job's standard input.
    """

    id: str | None
    queue: str
    priority: int
    command: str
    cwd: str | None
    max_retries: int | None
    backoff_base: float | None
    backoff_max: float | None
    backoff_jitter: float | None
    timeout: float | None
    kill_grace: float | None
    output_limit: int | None
    defer_limit: int | None
    env: str | None
    unique_key: str | None
    bury_on: str | None
    retry_only_on: str | None
    held: bool | None
    run_at: float | None
    after: tuple[str, ...] | None
    after_notok: tuple[str, ...] | None
    after_any: tuple[str, ...] | None
    labels: tuple[str, ...] | None
    replace: bool | None
    stdin: bytes | None


# The variables of a schedule's job: the schedule's name, and the time that the job is for.
SCHEDULE, SCHEDULED_AT = "QUEUECTL_SCHEDULE", "QUEUECTL_SCHEDULED_AT"
# The fields that name jobs to wait for, and what must become of them.
CONDITIONS = {"after": "ok", "after_notok": "notok", "after_any": "any"}


def conditions(job: NewJob) -> list[tuple[str, str]]:
    """The ids that a new job waits for, each with "ok", "notok" or "any"."""
    return [(id, condition) for field, condition in CONDITIONS.items() for id in getattr(job, field) or ()]


class Alike:
    """Jobs that differ only in their commands, such as the shell lines of a file. The store adds them faster."""

    def __init__(self, job: NewJob, commands: Sequence[str]) -> None:
        """`job` with each of `commands`, which are valid and stored as they are: see values.storable."""
        self.job = job
        self.commands = commands

    def __len__(self) -> int:
        return len(self.commands)

    def __iter__(self) -> Iterator[NewJob]:
        place = NewJob._fields.index("command")
        before, after = self.job[:place], self.job[place + 1 :]
        return (NewJob._make((*before, command, *after)) for command in self.commands)

    def __getitem__(self, part: slice) -> Alike:
        return Alike(self.job, self.commands[part])


def _env(value: object, place: str) -> str | None:
    import json

    if value is None:
        return None
    if not isinstance(value, dict):
        raise BadInput(f'{place}: must be a JSON object of strings, such as {{"LANG": "C"}}')
    for key, text in value.items():
        if not isinstance(text, str) or not key or "=" in key or "\0" in key + text:
            raise BadInput(f"{place}: not a variable name and a string: {values.quote({key: text})}")
        values.encode(key + text, place)
    return json.dumps(value) if value else None


def variables(env: str | bytes | None) -> dict[str, str]:
    """A job's own environment variables, from the stored JSON. Raises BadInput if another program stored garbage."""
    import json

    if not env:
        return {}
    try:
        given = json.loads(env)
    except (ValueError, RecursionError):
        raise BadInput(f"env: not valid JSON: {values.quote(env)}") from None
    _env(given, "env")
    return given or {}


def schedule_of(env: object) -> tuple[str, str] | None:
    """The schedule of a job with these stored variables, and the time that the job is for; None without one.

    Only the variables say which jobs a schedule added: a column or an index would cost every other job.
    """
    if not isinstance(env, str) or SCHEDULE not in env:
        return None
    try:
        found = variables(env)
    except BadInput:
        return None  # Another program stored it.
    return (found[SCHEDULE], found.get(SCHEDULED_AT, "")) if SCHEDULE in found else None


def schedule_texts(name: str) -> tuple[str, str]:
    """Text that the stored variables of a schedule's jobs contain: as we write JSON, and without spaces.

    No value of another variable contains it, since a quote inside a value has a backslash.
    """
    import json

    return f'"{SCHEDULE}": {json.dumps(name)}', f'"{SCHEDULE}":{json.dumps(name)}'


def _cwd(value: object, place: str) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise BadInput(f"{place}: must be an absolute path, not {values.quote(value)}")
    values.encode(value, place)
    return value


def _held(value: object, place: str) -> bool | None:
    if not isinstance(value, bool):
        raise BadInput(f"{place}: must be true or false, not {values.quote(value)}")
    return value or None


FIELDS: dict[str, Callable[[object, str], object]] = {
    "id": values.name,
    "queue": values.name,
    "priority": lambda value, place: values.whole(value, place, -values.LARGEST_INTEGER),
    "command": values.command,
    "cwd": _cwd,
    "env": _env,
    "max_retries": lambda value, place: values.whole(value, place, 0),
    "backoff_base": values.factor,
    "backoff_max": values.duration,
    "backoff_jitter": values.fraction,
    "timeout": values.duration,
    "kill_grace": values.duration,
    "output_limit": values.size,
    "defer_limit": lambda value, place: values.whole(value, place, 0),
    "unique_key": values.key,
    "bury_on": values.exit_codes,
    "retry_only_on": values.exit_codes,
    "held": _held,
    "after": values.names,
    "after_notok": values.names,
    "after_any": values.names,
    "labels": lambda value, place: values.names(value, place, "words") if value != [] else None,
    "stdin": values.input_bytes,
    "replace": lambda value, place: bool(value),
}


def new_job(
    fields: dict[str, object],
    now: float,
    places: dict[str, str] | None = None,
    literal: Container[str] = (),
) -> NewJob:
    """Validate `fields` and return them as a NewJob.

    `run_at` and `delay` (from `now`, in epoch seconds) both set when the job can run, so only one can be given.
    `places` maps fields to their names in messages (`timeout` to `--timeout`), except for fields in `literal`.
    Raises BadInput.
    """

    def place(field: str) -> str:
        return field if not places or field in literal else places.get(field, field)

    checked = dict.fromkeys(NewJob._fields)
    checked["queue"], checked["priority"] = "default", 0
    for field, value in fields.items():
        if field in FIELDS:
            checked[field] = FIELDS[field](value, place(field))
    if "command" not in fields:
        raise BadInput("command: missing")
    for field in CONDITIONS:
        if fields.get("replace") and fields.get(field) is not None:
            raise BadInput(f"{place(field)}: cannot be used together with --replace; dependencies can't be replaced")
    named: dict[str, str] = {}
    for field in CONDITIONS:
        for id in checked[field] or ():
            if named.setdefault(id, field) != field:
                raise BadInput(f"{place(field)}: cannot name {values.quote(id)}, which {place(named[id])} names too")
    if fields.get("delay") is not None and fields.get("run_at") is not None:
        raise BadInput(f"{place('delay')}: cannot be used together with {place('run_at')}")
    if fields.get("delay") is not None:
        checked["run_at"] = now + values.duration(fields["delay"], place("delay"))
    elif fields.get("run_at") is not None:
        checked["run_at"] = values.moment(fields["run_at"], place("run_at"), now)
    return NewJob._make(checked.values())
