"""Text in terminal columns: how wide it is, and how to shorten it.

A character can take two columns (CJK, emoji) or none (accents, joiners), so text is cut between clusters: a character
and what combines with it. Widths follow Unicode's East Asian Width and emoji sequences, as current terminals do.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Tuple

    Cluster = Tuple[str, int]  # Characters that are drawn as one, and their width.

JOINER = "\u200d"  # Joins emoji into one, such as a family.
EMOJI_STYLE = "\ufe0f"  # Asks for the emoji, two columns wide, where there is also a plain symbol.


MOST_KNOWN = 10_000

_known: dict[str, int] = {}  # Widths of texts: `top` asks for those of its symbols and bars all the time.


def width(text: str) -> int:
    """The number of columns that `text` takes."""
    if text.isascii():
        return len(text)
    columns = _known.get(text)
    if columns is None:
        columns = sum(columns for _, columns in _clusters(text))
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        _known[text] = columns
    return columns


def _clusters(text: str) -> Iterator[Cluster]:
    cluster, columns = "", 0
    for letter in text:
        if not cluster or not _extends(letter, cluster):
            if cluster:
                yield cluster, columns
            cluster, columns = "", _columns(letter)
        elif letter == EMOJI_STYLE:
            columns = 2
        cluster += letter
    if cluster:
        yield cluster, columns


def _extends(letter: str, cluster: str) -> bool:
    """Whether a character is drawn over the ones before it."""
    if _columns(letter) == 0 or cluster[-1] == JOINER:
        return True
    return "\U0001f3fb" <= letter <= "\U0001f3ff" and _columns(cluster[0]) == 2  # A skin tone.


def _columns(letter: str) -> int:
    if letter.isascii():
        return 1
    import unicodedata  # Deferred: most text is ASCII.

    if unicodedata.category(letter) in ("Mn", "Me", "Cf") or "\u1160" <= letter <= "\u11ff":
        return 0  # The range is the second and third letters of Korean syllables.
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def pad(text: str, room: int, to_right: bool = False) -> str:
    """`text` with blanks to fill `room` columns."""
    blank = " " * (room - width(text))
    return blank + text if to_right else text + blank


def cut(text: str, room: int, mark: str) -> str:
    """The start of `text` and a mark, in at most `room` columns; all of it if it fits."""
    return text if width(text) <= room else _start(text, room - len(mark)) + mark[:room]


def cut_middle(text: str, room: int, mark: str) -> str:
    """The start and the end of `text`, twice as much of the end, around a mark; all of it if it fits."""
    if width(text) <= room:
        return text
    tail = _end(text, (room - len(mark)) * 2 // 3)
    return cut(text, room - width(tail), mark) + tail


def _start(text: str, room: int) -> str:
    kept = ""
    for cluster, columns in _clusters(text):
        room -= columns
        if room < 0:
            break
        kept += cluster
    return kept


def _end(text: str, room: int) -> str:
    kept = ""
    for cluster, columns in reversed(list(_clusters(text))):
        room -= columns
        if room < 0:
            break
        kept = cluster + kept
    return kept
