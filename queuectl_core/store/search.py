"""Searches the jobs of a queue, newest first, by what users remember of them.

Only finished and running jobs are indexed by state, and nothing by its text. So a bounded search looks at the newest
MOST jobs that it would have to read, and says so.
"""

from __future__ import annotations

from ..errors import BadInput
from ..jobspec import schedule_texts
from ..lifecycle import FINISHED, WAITING
from ..typed import NamedTuple
from . import queries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Tuple

    from ..lifecycle import Job
    from .reader import Reader

    # A job, and why it waits or None.
    Listed = Tuple[Job, "str | None"]

LONGEST = 1_000  # Characters of text to search for.
# Letters that are neither lower() nor upper() of those that they equal.
RARE_CASES = "µſǅǈǋǲςϐϑϕϖϰϱϴϵẛẞΩKÅ"  # noqa: RUF001
FEW = 10_000  # Up to this many jobs are looked up one by one.
SORTS = tuple(queries.SORTS)
MOST = 100_000  # How many jobs a bounded search reads.


class Search(NamedTuple):
    """What to look for. Empty or None means any.

    `since` and `until` (epoch seconds) are compared with when a finished job finished, and with when an unfinished one
    was enqueued. `text` is in the command, id or error, whatever the case. `codes` is a set of exit codes such as
    "2,64-78". `attempted`: at least one attempt failed. `sort` is one of SORTS, ascending; by default, jobs in a
    single finished state are ordered by when they finished, others by when they were enqueued, latest first.
    `reverse` reverses either order. `but_running` leaves out running jobs. A job has all of `labels`, and was added by
    the schedule named `schedule`. `beyond` is (finished_at, seq) of the last job of a page, to get the next one; not
    together with `sort` or `reverse`.
    """

    states: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    since: float | None = None
    until: float | None = None
    text: str | None = None
    codes: str | None = None
    attempted: bool = False
    sort: str | None = None
    reverse: bool = False
    but_running: bool = False
    labels: tuple[str, ...] = ()
    schedule: str | None = None
    held: bool = False
    beyond: tuple[float | None, int] | None = None


def is_filtered(search: Search) -> bool:
    """Whether a search asks for more than states and queues, so that the number of matches isn't known."""
    asked = search.since, search.until, search.text, search.codes, search.attempted, search.labels
    return asked != (None, None, None, None, False, ()) or search.held or search.schedule is not None


def matching(store: Reader, search: Search) -> int:
    """How many jobs are in the states and queues of a search. Reads no jobs."""
    return sum(
        number
        for queue, by_state in store.counts().items()
        for state, number in by_state.items()
        if (not search.queues or queue in search.queues) and (not search.states or state in search.states)
    )


def find(
    store: Reader, search: Search, limit: int | None = None, is_bounded: bool = False
) -> tuple[Iterator[Listed], int | None]:
    """The jobs found, at most `limit`; and, if not all jobs that could match are read, how many are."""
    if not matching(store, search):
        return iter(()), None
    conditions, parameters = _conditions(search)
    by_end = is_by_end(search)
    floor = None
    if search.states:
        if "pending" not in search.states and (by_end or _number(store, search.states) <= FEW):
            conditions.append(queries.LIST_INDEXED)
        elif search.states == ("pending",) and _number(store, WAITING) <= FEW:
            conditions.append(queries.LIST_WAITING)
    is_narrow = bool(search.states or search.queues or search.sort or is_filtered(search))
    if is_bounded and not search.labels and (limit is None or is_narrow) and queries.LIST_WAITING not in conditions:
        if by_end and (limit is None or search.queues or search.sort or is_filtered(search)):
            floor = _lowest_end(store, search)
            conditions += [] if floor is None else [queries.LIST_FINISHED_FROM]
        elif queries.LIST_INDEXED not in conditions and _number(store) > MOST:
            floor = store.nth_newest(MOST, search.beyond and search.beyond[1])
            conditions += [] if floor is None else [queries.LIST_FROM]
    parameters.update(limit=-1 if limit is None else limit, floor=floor)
    where = "WHERE " + " AND ".join(conditions) if conditions else ""
    order = _order(search, by_end)
    clause = f"{where} {order}" if search.sort is None else queries.LIST_SORTED % (where, order, order)
    return store.listed(clause, parameters), None if floor is None else MOST


def running_first(
    store: Reader, search: Search, limit: int | None = None, is_bounded: bool = False
) -> tuple[list[Listed], int | None]:
    """As `find`; but unless the search asks for an order, running jobs come first."""
    first: list[Listed] = []
    if search.sort is None and not search.reverse and (not search.states or "processing" in search.states):
        first = list(find(store, search._replace(states=("processing",)), limit, is_bounded)[0])
        if search.states == ("processing",):
            return first, None
        search = search._replace(but_running=True)
        limit = None if limit is None else limit - len(first)
    rest, searched = find(store, search, limit, is_bounded)
    return first + list(rest), searched


def is_by_end(search: Search) -> bool:
    """Whether the jobs are ordered by when they finished."""
    return len(search.states) == 1 and search.states[0] in FINISHED


def further(store: Reader, search: Search) -> Search:
    """The same search in the next older jobs, after a bounded one that stopped early."""
    if is_by_end(search):
        return search._replace(beyond=(_lowest_end(store, search), 0))
    floor = store.nth_newest(MOST, search.beyond and search.beyond[1])
    return search._replace(beyond=(None, floor or 0))


def _lowest_end(store: Reader, search: Search) -> float | None:
    """When the last job that a bounded search reads ended; None if it reads all."""
    ends = [end for end in (search.until, search.beyond and search.beyond[0]) if end is not None]
    return store.nth_finished(search.states[0], MOST, min(ends, default=None))


def _number(store: Reader, states: tuple[str, ...] = ()) -> int:
    return matching(store, Search(states=states))


def _order(search: Search, by_end: bool) -> str:
    if search.sort is not None:
        column = queries.SORTS[search.sort]
        direction = "DESC" if search.reverse else "ASC"
        return f"ORDER BY {column} IS NULL, {column} {direction}, job.seq {direction}"
    order = queries.LIST_BY_END if by_end else queries.LIST_BY_SEQ
    return order.replace("DESC", "ASC") if search.reverse else order


def _conditions(search: Search) -> tuple[list[str], dict[str, object]]:
    """What a job must satisfy, and its parameters."""
    conditions: list[str] = []
    parameters: dict[str, object] = {}
    for name, words, condition in (
        ("state", search.states, queries.LIST_STATES),
        ("queue", search.queues, queries.LIST_QUEUES),
    ):
        if words:
            parameters.update((f"{name}{number}", word) for number, word in enumerate(words))
            conditions.append(condition % ", ".join(f":{name}{number}" for number in range(len(words))))
    for number, label in enumerate(search.labels):
        parameters[f"label{number}"] = label
        conditions.append(queries.LIST_LABEL % f"label{number}")
    if search.held:
        conditions.append(queries.LIST_HELD)
    if search.schedule is not None:
        conditions.append(queries.LIST_SCHEDULE)
        parameters["schedule"], parameters["dense_schedule"] = schedule_texts(search.schedule)
    if search.but_running:
        conditions.append(queries.LIST_NOT_RUNNING)
    if search.beyond is not None:
        conditions.append(queries.LIST_BEYOND_END if is_by_end(search) else queries.LIST_BEYOND)
        parameters["beyond_end"], parameters["beyond"] = search.beyond
    # Only the bare column lets SQLite use the index.
    at = queries.FINISHED_AT if search.states and set(search.states) <= set(FINISHED) else queries.ENDED_OR_CREATED
    for name, moment, sign in (("since", search.since, ">="), ("until", search.until, "<=")):
        if moment is not None:
            conditions.append(f"{at} {sign} :{name}")
            parameters[name] = moment
    if search.codes is not None:
        ranges = []
        for part in search.codes.split(","):
            first, _, last = part.partition("-")
            ranges.append(queries.LIST_EXIT % (int(first), int(last or first)))
        conditions.append(f"({' OR '.join(ranges)})")
    if search.text is not None:
        if len(search.text) > LONGEST:
            raise BadInput(f"text to search for is longer than {LONGEST:,} characters")
        if search.text.isascii():
            conditions.append(queries.LIST_TEXT)
            parameters["text"] = search.text.lower()
        else:
            conditions.append(queries.LIST_ANY_TEXT)
            parameters["pattern"] = _pattern(search.text)
    if search.attempted:
        conditions.append(queries.LIST_ATTEMPTED)
    return conditions, parameters


def _pattern(text: str) -> str:
    """For GLOB: anything with `text` in it, in any case. SQLite's lower() knows only ASCII."""
    pieces = []
    for char in text:
        lower, upper = char.lower(), char.upper()
        rare = [case for case in RARE_CASES if case.lower() == lower or case.upper() == upper]
        cases = "".join(sorted({case for case in (char, lower, upper, *rare) if len(case) == 1}))
        pieces.append(f"[{cases}]" if len(cases) > 1 or char in "*?[" else char)
    return f"*{''.join(pieces)}*"
