"""Jobs of QueueCTL for Node.js, as mongoexport prints them, as lines of `export`."""

from __future__ import annotations

import re

from . import values
from .errors import BadInput
from .lifecycle import FINISHED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NODE_NAMES = {
    "base_backoff_seconds": "backoff_base",
    "available_at": "run_at",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
}
MOST_PLACEHOLDERS = 10_000  # Attempts for which a placeholder is made.
NOT_RECORDED = "not recorded by the queue that it came from"


def from_node(document: dict[str, Any]) -> dict[str, object]:
    """Convert a document of its `jobs` collection to the fields of a line of `export`. Raises BadInput.

    It records only the number of attempts and the output of the last one, so earlier attempts get placeholders.
    """
    given = {NODE_NAMES.get(name, name): _plain(value) for name, value in document.items()}
    own_id = given.pop("_id", None)
    given.pop("__v", None)  # Mongoose's document version.
    if given.get("id") is None:
        given["id"] = own_id
    output = given.pop("output", None)
    state, count = given.get("state"), given.get("attempts") or 0
    if state in ("completed", "failed", "dead", "processing") and count == 0:
        count = 1
    if not isinstance(count, int) or not 0 <= count <= MOST_PLACEHOLDERS:
        raise BadInput(f"attempts: not a whole number from 0 to {MOST_PLACEHOLDERS}: {values.quote(count)}")
    given["attempts"] = count
    created, updated = given.get("created_at"), given.get("updated_at") or given.get("created_at")
    earlier = {"started_at": created, "finished_at": created, "outcome": "exit", "error": NOT_RECORDED}
    history: list[dict[str, object]] = [{"attempt": number, **earlier} for number in range(1, count)]
    if count:
        last = {"attempt": count, "started_at": updated, "finished_at": updated, "outcome": "exit"}
        if state == "completed":
            last["exit_code"] = given["exit_code"] = 0
        elif state == "processing":
            last["finished_at"] = last["outcome"] = None
        else:
            last["error"] = given["error"] = given.get("error") or NOT_RECORDED
        if output:
            last["output"] = [[0, 1, output]]
        history.append(last)
        given["started_at"] = updated
    if state in FINISHED:
        given["finished_at"] = updated
    given["history"] = history
    return given


def _plain(value: object) -> object:
    """Unwrap MongoDB's Extended JSON: dates, ids and typed numbers."""
    if not isinstance(value, dict) or len(value) != 1:
        return value
    ((kind, inner),) = value.items()
    inner = _plain(inner)
    if kind == "$date":
        if isinstance(inner, int):
            return inner / 1000
        # MongoDB trims zeros from the fraction, which Python before 3.11 can't parse.
        return re.sub(r"\.\d{1,6}", lambda match: match[0].ljust(7, "0"), str(inner))
    try:
        if kind in ("$numberInt", "$numberLong"):
            return int(str(inner))
        if kind == "$numberDouble":
            return float(str(inner))
    except ValueError:
        return value
    return inner if kind == "$oid" else value
