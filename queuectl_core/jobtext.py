"""Text that holds jobs: shell lines, and JSON as other tools write it.

JSON can be an object per line, objects printed over several lines, or arrays of objects, and a shell line can start
with "[" or "{" too. Valid JSON is JSON. What can only be a test (`[ -f x ] && y`) or a group (`{ a; b; }`) is a shell
line. The rest is rejected with both ways to write it.
"""

from __future__ import annotations

import json
import re

from . import values
from .errors import BadInput
from .jobjson import decoder, excessive, object_from, whole_object

_DECODER = decoder()
# A JSON object or an array of them, or the start of one.
_LOOKS_LIKE_JSON = re.compile(r'\{\s*("(?:[^"\\]|\\.)*"\s*:|\}|$)|\[\s*(\{|\]|$)', re.DOTALL)
# A test or a group in the shell: the bracket is a word, and another one ends it.
_LOOKS_LIKE_SHELL = re.compile(r"\[\s.*\s\]|\[\[\s.*\s\]\]|\{\s.*[;&]\s*\}", re.DOTALL)


class JsonText:
    """Finds the JSON objects in text that arrives line by line."""

    def __init__(self) -> None:
        self._text = ""  # Read so far, and not complete.
        self._is_array = False
        self._needs_comma = False

    @property
    def is_open(self) -> bool:
        """Whether an object or an array has begun and not ended."""
        return self._is_array or bool(self._text)

    @property
    def size(self) -> int:
        """How many characters wait for their object to end."""
        return len(self._text)

    def objects(self, line: str) -> list[dict[str, object]] | None:
        """The objects that this line completes; None if it is a shell line. Raises BadInput."""
        if self.is_open:
            if "}" not in line and "]" not in line:  # Nothing ends here. Decoding each time would be quadratic.
                self._text += line + "\n"
                return []
        else:
            whole = whole_object(line)
            if whole is not None:
                return [whole]
            if not is_json(line):
                return None
        self._text += line
        found: list[dict[str, object]] = []
        while self._skip():
            try:
                given, end = _DECODER.raw_decode(self._text)
            except json.JSONDecodeError as error:
                if error.pos >= len(self._text.rstrip()):
                    self._text += "\n"
                    break  # It continues in the next line.
                fault = error.msg.replace(" starting at", "").lower()
                raise BadInput(f"not valid JSON: {fault}, at {values.quote(self._text[error.pos :], 30)}") from None
            except (ValueError, RecursionError) as error:
                raise excessive(error) from None
            found.append(object_from(given))
            self._text = self._text[end:]
            self._needs_comma = self._is_array
        return found

    def _skip(self) -> bool:
        """Skip what stands between objects; returns whether there is something to decode."""
        while True:
            self._text = self._text.lstrip()
            first = self._text[:1]
            if self._is_array and first == "]":
                self._is_array = self._needs_comma = False
            elif self._needs_comma and first == ",":
                self._needs_comma = False
            elif not self._is_array and first == "[":
                self._is_array = True
            elif first and self._needs_comma:
                raise BadInput(f"not valid JSON: expected ',' or ']', at {values.quote(self._text, 30)}")
            else:
                return bool(first)
            self._text = self._text[1:]


def is_json(text: str) -> bool:
    """Whether text that starts with "{" or "[" is JSON, or a shell line. Raises BadInput if it could be either."""
    text = text.strip()
    if _LOOKS_LIKE_JSON.match(text):
        return True
    looks_like_shell = _LOOKS_LIKE_SHELL.match(text) is not None
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        if looks_like_shell:
            return False
    else:
        if not looks_like_shell:
            return True
    quoted = json.dumps(text if len(text) <= 60 else text[:59] + "…")
    raise BadInput(
        f"neither clearly JSON nor a shell line: {values.quote(text)}; as a shell line, write"
        f' {{"command": {quoted}}}; as JSON, write an object such as {{"command": "sleep 2"}}'
    )
