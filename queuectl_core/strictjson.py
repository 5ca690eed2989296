"""JSON objects, read strictly: no name twice, no NaN or Infinity, errors in words."""

from __future__ import annotations

import json

from . import values
from .errors import BadInput


def json_object(text: str) -> dict[str, object]:
    """The JSON object that `text` is, no name in it twice. Raises BadInput."""
    try:
        given = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise BadInput("not valid JSON: %s at character %d" % (error.msg, error.pos + 1)) from None
    except ValueError:
        raise BadInput("not valid JSON: a number with too many digits") from None
    except RecursionError:
        raise BadInput("not valid JSON: nested too deeply") from None
    if not isinstance(given, dict):
        raise BadInput("a job is a JSON object, not %s" % values.quote(given))
    return given


def _no_pair_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise BadInput("%s: given twice" % values.quote(twice))
    return made


def _no_constant(word: str) -> float:
    raise BadInput("not valid JSON: %s is no number" % word)


# json.loads would make one for each text, at the cost of reading it.
_DECODER = json.JSONDecoder(object_pairs_hook=_no_pair_twice, parse_constant=_no_constant)
