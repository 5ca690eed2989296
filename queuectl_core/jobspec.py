"""What a new job may say of itself, whether as JSON or as options: one table, one validation."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Container

from . import values
from .errors import BadInput

# A job to be enqueued. None means: the store fills it in (an id, the time, the settings).
# The fields up to run_at are in the order of the columns of sql.ENQUEUE; most jobs have none of those
# behind defer_limit. Beyond the row of the job: `after` (ids of the jobs that must have completed),
# `replace` (update the waiting job of the same unique key), `stdin` (bytes for its standard input).
NewJob = namedtuple(
    "NewJob",
    "id queue priority command cwd max_retries backoff_base backoff_max timeout kill_grace output_limit"
    " defer_limit env unique_key bury_on retry_only_on run_at after replace stdin",
)

STAMP_TOLERANCE = 3600  # seconds

# Other names for the same field, in JSON as people write it.
SYNONYMS = {
    "base_backoff_seconds": "backoff_base",
    "base_backoff": "backoff_base",
    "unique": "unique_key",
}


def _env(value: object, place: str) -> str | None:
    import json

    if value is None:
        return None
    if not isinstance(value, dict):
        raise BadInput('%s: must be an object of texts, such as {"LANG": "C"}' % place)
    for key, text in value.items():
        if not isinstance(text, str) or not key or "=" in key or "\0" in key + text:
            raise BadInput("%s: not a name and a text: %s" % (place, values.quote({key: text})))
        values.encode(key + text, place)
    return json.dumps(value) if value else None


def variables(env: str | bytes | None) -> dict[str, str]:
    """A job's own environment as it is stored; BadInput where foreign SQL stored anything else."""
    import json

    if not env:
        return {}
    try:
        given = json.loads(env)
    except ValueError:
        raise BadInput("env: not valid JSON: %s" % values.quote(env)) from None
    _env(given, "env")
    return given or {}


def _cwd(value: object, place: str) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise BadInput("%s: must be an absolute path, not %s" % (place, values.quote(value)))
    values.encode(value, place)
    return value


FIELDS = {
    "id": values.name,
    "queue": values.name,
    "priority": lambda value, place: values.whole(value, place, -values.LARGEST_INTEGER),
    "command": values.command,
    "cwd": _cwd,
    "env": _env,
    "max_retries": lambda value, place: values.whole(value, place, 0),
    "backoff_base": values.factor,
    "backoff_max": values.duration,
    "timeout": values.duration,
    "kill_grace": values.duration,
    "output_limit": values.size,
    "defer_limit": lambda value, place: values.whole(value, place, 0),
    "unique_key": values.key,
    "bury_on": values.exit_codes,
    "retry_only_on": values.exit_codes,
    "after": values.names,
    "stdin": values.input_bytes,
    "replace": lambda value, place: bool(value),
}


# `replace` is said on the command line only.
JSON_FIELDS = (set(FIELDS) | {"delay", "run_at"}) - {"replace"}


def new_job(
    fields: dict[str, object],
    now: float,
    places: dict[str, str] | None = None,
    literal: Container[str] = (),
) -> NewJob:
    """Validate `fields` (by name, as JSON or options gave them) and make a NewJob of them.

    `run_at` and `delay` (from `now`, epoch seconds) both set when the job may run. `places` says
    how to name a field in a message (`--timeout` for `timeout`), but for those that are in `literal`.
    Raises BadInput.
    """

    def named(field: str) -> str:
        return field if not places or field in literal else places.get(field, field)

    checked = dict.fromkeys(NewJob._fields)
    checked["queue"], checked["priority"] = "default", 0
    for field, value in fields.items():
        if field in FIELDS:
            checked[field] = FIELDS[field](value, named(field))
    if "command" not in fields:
        raise BadInput("command: missing")
    if fields.get("delay") is not None and fields.get("run_at") is not None:
        raise BadInput(
            "%s: cannot be given together with %s" % (named("delay"), named("run_at"))
        )
    if fields.get("delay") is not None:
        checked["run_at"] = now + values.duration(fields["delay"], named("delay"))
    elif fields.get("run_at") is not None:
        checked["run_at"] = values.moment(fields["run_at"], named("run_at"), now)
    return NewJob._make(checked.values())


def from_json(
    text: str, defaults: dict[str, object], now: float, places: dict[str, str] | None = None
) -> NewJob:
    """A NewJob from a JSON object; `defaults` fill the fields that it leaves out.

    `places` says how to name a field that came from the defaults.

    `state`, `attempts`, timestamps and results are accepted only where they say what a new job is
    anyway. Raises BadInput, with the nearest known field for an unknown one.
    """
    from .strictjson import json_object  # It loads `json`, which the plain form needs not.

    given = json_object(text)
    fields = dict(defaults)
    for key, value in given.items():
        field = SYNONYMS.get(key, key)
        if field in NEW_JOB_SAYS:
            if value is not None and not NEW_JOB_SAYS[field](value, now):
                raise BadInput(
                    "%s: cannot be %s in a new job; queuectl sets it" % (field, values.quote(value))
                )
            continue
        if field not in JSON_FIELDS:
            known = sorted(JSON_FIELDS)
            raise BadInput("%s: no such field (%s)" % (values.quote(key), values.nearest(key, known)))
        if value is None and field != "command":
            continue
        if field in given and field != key:
            raise BadInput("%s: given twice, as %s too" % (field, key))
        if field in ("delay", "run_at"):
            fields.pop("delay", None) if field == "run_at" else fields.pop("run_at", None)
            if field == "delay" and given.get("run_at") is not None:
                raise BadInput("delay: cannot be given together with run_at")
        fields[field] = value
    return new_job(fields, now, places, literal=given)


def _is_about_now(value: object, now: float) -> bool:
    try:
        return abs(values.moment(value, "time", now) - now) <= STAMP_TOLERANCE
    except BadInput:
        return False


def _is_zero(value: object, now: float) -> bool:
    return not isinstance(value, bool) and value == 0


def _is_nothing(value: object, now: float) -> bool:
    return False  # Only null, which the caller lets pass.


# Fields of a job that queuectl sets, and what a new job may say there all the same.
NEW_JOB_SAYS = {
    "state": lambda value, now: value == "pending",
    "attempts": _is_zero,
    "created_at": _is_about_now,
    "updated_at": _is_about_now,
    "started_at": _is_nothing,
    "finished_at": _is_nothing,
    "exit_code": _is_nothing,
    "error": _is_nothing,
    "worker": _is_nothing,
}

