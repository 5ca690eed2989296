"""Values as people write them: durations, times, sizes, names. Text in, numbers out, and back.

Every parser raises `BadInput` whose text starts with the given place (`--timeout`, `run_at`), so
that the user knows what to mend.
"""

from __future__ import annotations

import math

from .errors import BadInput

DURATION_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
SIZE_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
LARGEST_DURATION = 100 * 365 * 86400
LARGEST_INTEGER = 2**31 - 1
LONGEST_NAME = 200
LARGEST_INPUT = 64 * 1024 * 1024
LONGEST_COMMAND = 128 * 1024 - 1  # Linux: one argument has at most 128 KiB, its NUL included.


def duration(value: object, place: str) -> float:
    """Seconds from 90, "90", "90s", "5m", "1h30m", "1.5d"; finite and not negative."""
    if isinstance(value, str):
        seconds = _spelled_duration(value.strip().lower())
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = value if value <= LARGEST_DURATION else LARGEST_DURATION + 1
    else:
        seconds = None
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        raise BadInput(f"{place}: not a duration: {quote(value)} (write 90, 90s, 5m, 2h or 1d)")
    if seconds > LARGEST_DURATION:
        raise BadInput(f"{place}: longer than 100 years: {quote(value)}")
    return int(seconds) if seconds == int(seconds) else seconds


def _spelled_duration(text: str) -> float | None:
    import re

    if re.fullmatch(r"\d+(\.\d*)?|\.\d+", text, re.ASCII):
        return float(text)
    part = r"(\d+(?:\.\d*)?)(ms|[smhdw])"
    if not re.fullmatch(f"(?:{part})+", text, re.ASCII):
        return None
    return sum(float(number) * DURATION_UNITS[unit] for number, unit in re.findall(part, text))


def moment(value: object, place: str, now: float) -> float:
    """Epoch seconds from ISO 8601 (a bare time is local), an epoch, or "+5m" from `now`."""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("+"):
            return now + duration(text[1:], place)
        try:
            seconds = float(text) if text.replace(".", "", 1).isdigit() else _iso(text)
        except (ValueError, OverflowError, OSError):
            seconds = math.nan
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = value if abs(value) < 1e15 else math.nan
    else:
        seconds = math.nan
    if not 0 <= seconds < 253402300800:  # The year 10000; false for NaN too.
        raise BadInput(
            f"{place}: not a time: {quote(value)} (write 2030-01-31T08:00:00Z, 2030-01-31 08:00, an epoch, or +5m)"
        )
    return seconds


def _iso(text: str) -> float:
    from datetime import datetime

    if text[-1:] in ("Z", "z") and text[-2:-1].isdigit():
        text = text[:-1] + "+00:00"  # As Python before 3.11 wants it.
    return datetime.fromisoformat(text).timestamp()


def size(value: object, place: str) -> int:
    """Bytes from 1048576, "1048576", "64k", "1MiB", "2g" (units of 1024)."""
    if isinstance(value, str):
        text = value.strip().lower()
        digits = text.rstrip("bikmg")
        unit = text[len(digits) :].replace("ib", "").replace("b", "")
        is_number = digits.isascii() and digits.isdigit() and len(digits) < 20
        number = int(digits) * SIZE_UNITS[unit] if is_number and unit in SIZE_UNITS else -1
    else:
        number = value if isinstance(value, int) and not isinstance(value, bool) else -1
    if not 0 <= number <= LARGEST_INTEGER:
        raise BadInput(f"{place}: not a size: {quote(value)} (write 65536, 64k or 1MiB; below 2 GiB)")
    return number


def whole(value: object, place: str, least: int, most: int = LARGEST_INTEGER) -> int:
    """A whole number from `least` to `most`; text is accepted where it spells one."""
    number = value
    if isinstance(value, str):
        digits = value[1:] if value[:1] in ("-", "+") else value
        number = int(value) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
        raise BadInput(f"{place}: not a whole number from {least} to {most}: {quote(value)}")
    return number


def factor(value: object, place: str) -> float:
    """A finite number that is not negative, such as a backoff base."""
    number = value
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            number = None
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number <= 1e9:
        raise BadInput(f"{place}: not a number from 0 to 1e9: {quote(value)}")
    return int(number) if number == int(number) else number


def retention(value: object, place: str) -> float | str:
    """How long finished jobs are kept: a duration, or "forever"."""
    return "forever" if value == "forever" else duration(value, place)


def rate(value: object, place: str) -> str:
    """How many jobs of a queue start in a time, as in "10/s", "30/min", "100/h"."""
    number, _, unit = str(value).strip().partition("/")
    if not number.isascii() or not number.isdigit() or int(number) < 1 or unit not in ("s", "min", "h"):
        raise BadInput(f"{place}: not a rate: {quote(value)} (write 10/s, 30/min or 100/h)")
    return f"{whole(number, place, 1)}/{unit}"


def exit_codes(value: object, place: str) -> str:
    """A set of exit codes, as in "2,64-78" or 2; not 0, which is success."""
    parts = [part.strip() for part in str(value).split(",")]
    for part in parts:
        first, dash, last = part.partition("-")
        ends = (first, last) if dash else (first, first)
        if not all(end.isascii() and end.isdigit() and len(end) < 4 for end in ends):
            raise BadInput(f"{place}: not exit codes: {quote(value)} (write 2,64-78)")
        if not 1 <= int(ends[0]) <= int(ends[1]) <= 255:
            raise BadInput(f"{place}: exit codes are from 1 to 255: {quote(value)}")
    return ",".join(parts)


def names(value: object, place: str) -> tuple[str, ...]:
    """Ids from "a,b" or ["a", "b"]."""
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, (list, tuple)) or not words:
        raise BadInput(f"{place}: must be a list of ids, not {quote(value)}")
    return tuple(dict.fromkeys(name(word, place) for word in words))


def key(value: object, place: str) -> str:
    """A key that makes a job unique: any text without control characters, at most 200 characters."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_NAME or not value.isprintable():
        raise BadInput(
            f"{place}: must be a printable text of 1 to {LONGEST_NAME} characters, not {quote(value)}"
        )
    return value


def name(value: object, place: str) -> str:
    """A job's id or a queue's name: printable, without spaces and commas, at most 200 characters.

    A name is a line of output, a word in a shell and a part of a comma-separated list, so it
    must not be able to pass for two of them, for an option, or for a terminal's control code.
    """
    if not isinstance(value, str) or not value:
        raise BadInput(f"{place}: must be a text that is not empty, not {quote(value)}")
    if len(value) > LONGEST_NAME:
        raise BadInput(f"{place}: longer than {LONGEST_NAME} characters: {quote(value)}")
    if not value.isprintable() or " " in value or "," in value or value.startswith("-"):
        raise BadInput(
            f"{place}: may not start with '-' or hold spaces, commas or unprintable characters: {quote(value)}"
        )
    return value


def command(value: object, place: str) -> str:
    """A shell command: not blank, no NUL, at most 128 KiB less one byte."""
    if not isinstance(value, str) or not value.strip():
        raise BadInput(f"{place}: must be a command that is not empty, not {quote(value)}")
    if "\0" in value:
        raise BadInput(f"{place}: a command cannot hold a NUL character")
    if len(value) * 4 > LONGEST_COMMAND and len(encode(value, place)) > LONGEST_COMMAND:
        raise BadInput(
            f"{place}: a command has at most {LONGEST_COMMAND} bytes (the system's limit for one argument);"
            " put it in a script, or its data on standard input"
        )
    if not value.isascii():
        encode(value, place)
    return value


def input_bytes(value: object, place: str) -> bytes:
    """What a job reads on its standard input: bytes, or a text in UTF-8; at most 64 MiB."""
    data = encode(value, place) if isinstance(value, str) else value
    if not isinstance(data, bytes):
        raise BadInput(f"{place}: must be a text, not {quote(value)}")
    if len(data) > LARGEST_INPUT:
        raise BadInput(
            f"{place}: more than {LARGEST_INPUT // 1024**2} MiB; put it into a file and pass its name"
        )
    return data


def encode(text: str, place: str = "text") -> bytes:
    """The bytes of a text; those that were no UTF-8 come back as they went in."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise BadInput(f"{place}: holds half of a surrogate pair") from None


def storable(text: str) -> str | bytes:
    """What to store for a text: itself, or its bytes where these are no UTF-8."""
    if text.isascii():
        return text
    raw = encode(text)
    return text if raw.decode("utf-8", "replace") == text else raw


def decode(raw: bytes) -> str:
    """Text from bytes; bytes that are no UTF-8 become lone surrogates, as Python's os.fsdecode."""
    return raw.decode("utf-8", "surrogateescape")


def quote(value: object, longest: int = 60) -> str:
    """A value inside an error message: one line, printable, not too long."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def escape(text: object) -> str:
    """Text that can be shown on a terminal: one line, every unprintable character spelled out."""
    line = str(text)
    if line.isprintable():
        return line
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in line
    )


def nearest(word: str, known: list[str]) -> str:
    """The end of a message about an unknown word: the nearest known one, or all that are known."""
    from difflib import get_close_matches

    match = get_close_matches(word, known, 1)
    return f"did you mean {match[0]}?" if match else f"known: {', '.join(known)}"


def iso(seconds: float | None) -> str | None:
    """ISO 8601 in UTC with milliseconds and Z, or None for None."""
    if seconds is None:
        return None
    from time import gmtime, strftime

    whole_seconds, thousandths = divmod(int(seconds * 1000 + 0.5), 1000)
    return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(whole_seconds))}.{thousandths:03d}Z"


def span(seconds: float) -> str:
    """A duration for a table: 350ms, 4s, 2m05s, 3h12m, 5d02h; never negative."""
    if seconds < 0.9995:
        return f"{max(0, int(seconds * 1000))}ms"
    whole_seconds = int(seconds + 0.5)
    if whole_seconds < 60:
        return f"{whole_seconds}s"
    if whole_seconds < 3600:
        return f"{whole_seconds // 60}m{whole_seconds % 60:02d}s"
    if whole_seconds < 86400:
        return f"{whole_seconds // 3600}h{whole_seconds // 60 % 60:02d}m"
    return f"{whole_seconds // 86400}d{whole_seconds // 3600 % 24:02d}h"
