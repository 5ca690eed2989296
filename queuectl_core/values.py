"""Parse and format values the way users write them: durations, times, sizes, names.

A parser's `place` is where the value came from, such as `--timeout` or `run_at`. Every parser raises BadInput for an
invalid value, with a message that starts with the place.
"""

from __future__ import annotations

import math

from .errors import BadInput

DURATION_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
SIZE_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
LARGEST_DURATION = 100 * 365 * 86400
FIRST_EPOCH, LAST_EPOCH = 978307200, 4102444800  # A bare number is a time from 2001 to 2099.
LARGEST_INTEGER = 2**31 - 1
LONGEST_NAME = 200
LARGEST_INPUT = 64 * 1024 * 1024
LONGEST_COMMAND = 128 * 1024 - 1  # Linux limits one argument to 128 KiB, including its NUL.


def duration(value: object, place: str) -> float:
    """Seconds from 90, "90", "90s", "5m", "1h30m" or "1.5d"; at least 0, at most 100 years."""
    if isinstance(value, str):
        seconds = _parse_duration(value.strip().lower())
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = max(-1, min(value, LARGEST_DURATION + 1))  # An int may be too large for isfinite.
    else:
        seconds = None
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        meant = _abbreviated(value) if isinstance(value, str) else None
        hint = f"did you mean {meant}?" if meant else "write 90s, 5m, 2h or 1d"
        raise BadInput(f"{place}: not a duration: {quote(value)} ({hint})")
    if seconds > LARGEST_DURATION:
        raise BadInput(f"{place}: longer than 100 years: {quote(value)}")
    return int(seconds) if seconds == int(seconds) else seconds


def interval(value: object, place: str) -> float:
    """Like `duration`, but text needs a unit: to cron users, 5 means minutes."""
    text = value.strip() if isinstance(value, str) else ""
    for word in ("@every ", "every "):
        if text.lower().startswith(word):
            raise BadInput(f"{place}: not a duration: {quote(value)} (write only the duration, such as 5m)")
    if text.isascii() and text.replace(".", "", 1).isdigit() and text.strip("0."):
        raise BadInput(f"{place}: no unit: {quote(value)} (write {text}m for minutes, {text}s for seconds)")
    return duration(value, place)


def _parse_duration(text: str) -> float | None:
    digits = text.rstrip("smhdw")
    unit = text[len(digits) :]
    if digits.isascii() and digits.isdigit() and (not unit or unit in DURATION_UNITS):
        return float(digits) * DURATION_UNITS[unit or "s"]
    import re  # Deferred: it takes 4 ms, and values such as 90 and 5m don't need it.

    if re.fullmatch(r"\d+(\.\d*)?|\.\d+", text, re.ASCII):
        return float(text)
    part = r"(\d+(?:\.\d*)?)(ms|[smhdw])"
    if not re.fullmatch(f"(?:{part})+", text, re.ASCII):
        return None
    return sum(float(number) * DURATION_UNITS[unit] for number, unit in re.findall(part, text))


def _abbreviated(text: str) -> str | None:
    """The short form of a duration with units written out: 5m for "5 min", 1h30m for "1 hour 30 minutes"."""
    import re

    units = "milliseconds? ms|msecs? ms|seconds? s|secs? s|minutes? m|mins? m|hours? h|hrs? h|days? d|weeks? w"
    words = text.strip().lower()
    for unit in units.split("|"):
        long, short = unit.split()
        words = re.sub(rf"(?<=[\d\s]){long}(?![a-z])", short, words, flags=re.ASCII)
    words = re.sub(r"[\s,]+|\band\b", "", words)
    return words if words != text and _parse_duration(words) is not None else None


def moment(value: object, place: str, now: float, any_epoch: bool = False) -> float:
    """Epoch seconds from ISO 8601 (local time unless it has an offset), epoch seconds, or "+5m" (from `now`).

    Epoch seconds must be from 2001 to 2099, unless `any_epoch`: a delay or milliseconds must not pass for a time.
    """
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("+"):
            return now + duration(text[1:], place)
        try:
            seconds = _epoch(float(text), place, any_epoch) if text.replace(".", "", 1).isdigit() else _iso(text)
        except (ValueError, OverflowError, OSError):
            seconds = math.nan
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = _epoch(value, place, any_epoch)
    else:
        seconds = math.nan
    if not 0 <= seconds < 253402300800:  # The year 10000. NaN fails too.
        raise BadInput(
            f"{place}: not a time: {quote(value)} (write 2030-01-31T08:00:00Z, 2030-01-31 08:00, epoch seconds or +5m)"
        )
    return seconds


def past(value: str, place: str, now: float) -> float:
    """Epoch seconds from a duration before `now` ("90", "7d") or from a time, as `moment` takes it."""
    for parse in (moment, lambda value, place, now: now - duration(value, place)):
        try:
            return parse(value, place, now)
        except BadInput:
            pass
    meant = _abbreviated(value)
    hint = f"did you mean {meant}?" if meant else "write 90m, 7d, 2030-01-31 or 2030-01-31 08:00"
    raise BadInput(f"{place}: not a duration or a time: {quote(value)} ({hint})")


def _epoch(seconds: float, place: str, any_epoch: bool) -> float:
    if FIRST_EPOCH <= seconds < LAST_EPOCH or (any_epoch and abs(seconds) < 1e15):
        return seconds
    if 0 <= seconds < FIRST_EPOCH:
        raise BadInput(
            f"{place}: {seconds:g} is before 2001 in epoch seconds; for a delay write +{seconds:g}s,"
            " for a time 2030-01-31 08:00"
        )
    if FIRST_EPOCH * 1000 <= seconds < LAST_EPOCH * 1000:
        raise BadInput(f"{place}: {seconds:.0f} looks like milliseconds; write {seconds / 1000:.3f}")
    return math.nan


def _iso(text: str) -> float:
    from datetime import datetime

    if text[-1:] in ("Z", "z") and text[-2:-1].isdigit():
        text = text[:-1] + "+00:00"  # Python before 3.11 can't parse Z.
    return datetime.fromisoformat(text).timestamp()


def size(value: object, place: str) -> int:
    """Bytes from 1048576, "1048576", "64k", "1MiB" or "1g" (powers of 1024); less than 2 GiB."""
    number = _bytes(value)
    if not 0 <= number <= LARGEST_INTEGER:
        raise BadInput(f"{place}: not a size: {quote(value)} (write 65536, 64k or 1MiB; less than 2 GiB)")
    return number


def memory(value: object, place: str) -> int | str:
    """Bytes of memory, such as "512M" or "2GiB", or "none"."""
    number = _bytes(value)
    if value != "none" and not 0 < number < 2**60:
        raise BadInput(f"{place}: not an amount of memory: {quote(value)} (write 512M or 2G, or none for no limit)")
    return number if number > 0 else "none"


def load(value: object, place: str) -> float | str:
    """A load, such as 8 or "7.5", or "none"."""
    if value == "none":
        return "none"
    try:
        number = factor(value, place)
    except BadInput:
        number = 0
    if number == 0:
        raise BadInput(f"{place}: not a load: {quote(value)} (write a number such as 8, or none for no limit)")
    return number


def counted(number: int, noun: str) -> str:
    """A number and its noun, such as "1 job" or "5,000 jobs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _bytes(value: object) -> int:
    """Bytes from a number or a text with a unit; -1 for anything else."""
    if isinstance(value, str):
        text = value.strip().lower()
        digits = text.rstrip("bikmg")
        unit = text[len(digits) :].replace("ib", "").replace("b", "")
        is_number = digits.isascii() and digits.isdigit() and len(digits) < 20
        return int(digits) * SIZE_UNITS[unit] if is_number and unit in SIZE_UNITS else -1
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


def whole(value: object, place: str, minimum: int, maximum: int = LARGEST_INTEGER) -> int:
    """A whole number from `minimum` to `maximum`, or text that spells one."""
    number = value
    if isinstance(value, str):
        digits = value[1:] if value[:1] in ("-", "+") else value
        number = int(value) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None
    if not isinstance(number, int) or isinstance(number, bool) or not minimum <= number <= maximum:
        raise BadInput(f"{place}: not a whole number from {minimum} to {maximum}: {quote(value)}")
    return number


def factor(value: object, place: str) -> float:
    """A number from 0 to 1e9, such as a backoff base."""
    number = value
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            number = None
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number <= 1e9:
        raise BadInput(f"{place}: not a number from 0 to 1e9: {quote(value)}")
    return int(number) if number == int(number) else number


def fraction(value: object, place: str) -> float:
    """A number from 0 to 1."""
    try:
        number = factor(value, place)
    except BadInput:
        number = -1
    if not 0 <= number <= 1:
        raise BadInput(f"{place}: not a number from 0 to 1: {quote(value)}")
    return number


def retention(value: object, place: str) -> float | str:
    """How long to keep finished jobs: seconds, or "forever"."""
    return "forever" if value == "forever" else duration(value, place)


def rate(value: object, place: str) -> str:
    """How many jobs can start per unit of time, such as "10/s", "30/min" or "100/h"."""
    number, _, unit = str(value).strip().partition("/")
    if not number.isascii() or not number.isdigit() or not number.strip("0") or unit not in ("s", "min", "h"):
        raise BadInput(f"{place}: not a rate: {quote(value)} (write 10/s, 30/min or 100/h)")
    return f"{whole(number, place, 1)}/{unit}"


def percent(value: object, place: str) -> float:
    """A percentage from 0 to 100, such as 40, "40%" or "3/8"."""
    part, slash, whole_ = str(value).strip().rstrip("%").partition("/")
    try:
        number = float(part) * 100 / float(whole_) if slash else float(part)
    except (ValueError, ZeroDivisionError):
        number = -1.0
    if not 0 <= number <= 100:
        raise BadInput(f"{place}: not a percentage: {quote(value)} (write 40, 40% or 3/8)")
    return number


def exit_codes(value: object, place: str) -> str:
    """A set of exit codes, such as "2,64-78" or 2. It can't contain 0, which means success."""
    parts = [part.strip() for part in (value if isinstance(value, str) else quote(value)).split(",")]
    for part in parts:
        first, dash, last = part.partition("-")
        ends = (first, last) if dash else (first, first)
        if not all(end.isascii() and end.isdigit() and len(end) < 4 for end in ends):
            raise BadInput(f"{place}: not a list of exit codes: {quote(value)} (write 2,64-78)")
        if not 1 <= int(ends[0]) <= int(ends[1]) <= 255:
            raise BadInput(f"{place}: exit codes must be from 1 to 255: {quote(value)}")
    return ",".join(parts)


def names(value: object, place: str, what: str = "ids") -> tuple[str, ...]:
    """Job ids, or other words, from "a,b" or ["a", "b"], without duplicates."""
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, (list, tuple)) or not words:
        raise BadInput(f"{place}: must be a list of {what}, not {quote(value)}")
    return distinct_names(words, place)


def distinct_names(words: list[object] | tuple[object, ...], place: str) -> tuple[str, ...]:
    """The names in a list that may be empty, without duplicates."""
    return tuple(dict.fromkeys(name(word, place) for word in words))


def key(value: object, place: str) -> str:
    """A key that makes a job unique: 1 to 200 printable characters, which can include spaces."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_NAME or not value.isprintable():
        raise BadInput(f"{place}: must be 1 to {LONGEST_NAME} printable characters, not {quote(value)}")
    return value


def name(value: object, place: str) -> str:
    """A job id or queue name: 1 to 200 printable characters, no spaces or commas, no leading "-".

    Names are printed one per line, used as shell words and joined with commas. None may pass for two names, for an
    option, or for a terminal's control code.
    """
    if not isinstance(value, str) or not value:
        raise BadInput(f"{place}: must be a non-empty string, not {quote(value)}")
    if len(value) > LONGEST_NAME:
        raise BadInput(f"{place}: longer than {LONGEST_NAME} characters: {quote(value)}")
    if not value.isprintable() or " " in value or "," in value or value.startswith("-"):
        raise BadInput(
            f"{place}: must not start with '-' or contain spaces, commas or unprintable characters: {quote(value)}"
        )
    return value


def command(value: object, place: str) -> str:
    """A shell command: not blank, no NUL, at most LONGEST_COMMAND bytes."""
    if not isinstance(value, str) or not value.strip():
        raise BadInput(f"{place}: must be a non-empty command, not {quote(value)}")
    if "\0" in value:
        raise BadInput(f"{place}: a command cannot contain a NUL character")
    if len(value) * 4 > LONGEST_COMMAND and len(encode(value, place)) > LONGEST_COMMAND:
        raise BadInput(
            f"{place}: longer than {LONGEST_COMMAND} bytes (the system's limit for one argument);"
            " put the command in a script, or pass its data on standard input"
        )
    if not value.isascii():
        encode(value, place)
    return value


def input_bytes(value: object, place: str) -> bytes:
    """A job's standard input, as bytes: at most 64 MiB. Text is encoded as UTF-8."""
    data = encode(value, place) if isinstance(value, str) else value
    if not isinstance(data, bytes):
        raise BadInput(f"{place}: must be a string, not {quote(value)}")
    if len(data) > LARGEST_INPUT:
        raise BadInput(f"{place}: larger than {LARGEST_INPUT // 1024**2} MiB; put it in a file and pass its name")
    return data


def encode(text: str, place: str = "text") -> bytes:
    """`text` in UTF-8. The reverse of `decode`: bytes that weren't valid UTF-8 come back unchanged."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise BadInput(f"{place}: contains half of a surrogate pair") from None


def storable(text: str) -> str | bytes:
    """What to store for `text`: the text, or its bytes if they aren't valid UTF-8."""
    if text.isascii():
        return text
    raw = encode(text)
    return text if raw.decode("utf-8", "replace") == text else raw


def decode(raw: bytes) -> str:
    """Text from UTF-8. Invalid bytes become lone surrogates, as in os.fsdecode (PEP 383)."""
    return raw.decode("utf-8", "surrogateescape")


def quote(value: object, longest: int = 60) -> str:
    """`value` for an error message: printable, on one line, at most `longest` characters."""
    try:
        text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    except ValueError:  # Python 3.11 refuses to print more than 4300 digits.
        text = "a number with too many digits"
    return text if len(text) <= longest else text[: longest - 1] + "…"


def escape(text: object) -> str:
    """`text` for a terminal: on one line, with unprintable characters escaped."""
    line = str(text)
    if line.isprintable():
        return line
    return "".join(
        letter if letter.isprintable() or _joins(line, at) else letter.encode("unicode_escape").decode()
        for at, letter in enumerate(line)
    )


def _joins(line: str, at: int) -> bool:
    """Whether a character joins two emoji into one. Anywhere else, what is invisible could hide something."""
    if line[at] != "\u200d" or not 0 < at < len(line) - 1:
        return False
    before, after = line[at - 1], line[at + 1]
    return all("\u2190" <= end <= "\u2bff" or end >= "\U0001f000" or end == "\ufe0f" for end in (before, after))


def nearest(word: str, known: list[str]) -> str:
    """A hint for an unknown word: the most similar known word, or else all known words."""
    from difflib import get_close_matches

    match = get_close_matches(word, known, 1)
    return f"did you mean {match[0]}?" if match else f"known: {', '.join(known)}"


def iso(seconds: float | None) -> str | None:
    """Epoch seconds as ISO 8601 in UTC with milliseconds, such as 2023-11-14T22:13:20.000Z; None stays None."""
    if seconds is None:
        return None
    from time import gmtime, strftime

    last = 253402300799999  # Before the year 10000, which no program reads.
    whole_seconds, milliseconds = divmod(min(int(seconds * 1000 + 0.5), last), 1000)
    return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(whole_seconds))}.{milliseconds:03d}Z"


def span(seconds: float) -> str:
    """Seconds as a short duration for tables: 350ms, 4s, 2m05s, 3h12m, 1d02h, 8d. Negative durations become 0ms."""
    if seconds < 0.9995:
        return f"{max(0, int(seconds * 1000))}ms"
    whole_seconds = int(seconds + 0.5)
    if whole_seconds < 60:
        return f"{whole_seconds}s"
    if whole_seconds < 3600:
        return f"{whole_seconds // 60}m{whole_seconds % 60:02d}s"
    if whole_seconds < 86400:
        return f"{whole_seconds // 3600}h{whole_seconds // 60 % 60:02d}m"
    hours = (whole_seconds + 1800) // 3600
    return f"{hours // 24}d{hours % 24:02d}h" if hours < 48 else f"{(hours + 12) // 24}d"
