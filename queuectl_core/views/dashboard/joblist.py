"""Lists of jobs: the search with its filters in the address, and the dead letter queue."""

from __future__ import annotations

from ... import values
from ...errors import BadInput
from ...lifecycle import STATES, malformed, presentable
from ...store.search import MOST, Search, find, further, is_by_end, is_filtered, matching
from .. import facts
from .markup import Markup, h, join, url
from .parts import action, empty, job_link, progress, short, state, table, took, when, why

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...store.search import Listed
    from .markup import Child
    from .view import View

PAGE = 50  # Jobs.
PERIODS = (("", "any time"), ("1h", "last hour"), ("24h", "last 24 hours"), ("7d", "last 7 days"))
FILTERS = ("state", "queue", "label", "q", "since", "exit", "attempted")
LABELS = {"failed": "retrying", "processing": "running", "pending": "waiting"}


def jobs(view: View) -> tuple[str, Markup]:
    """The search."""
    return "Jobs", join(h("h1", "Jobs"), _listing(view, "/jobs", ()))


def dead(view: View) -> tuple[str, Markup]:
    """The dead letter queue."""
    frame = view.frame
    queue, label = frame.get("queue") or None, frame.get("label") or None
    number = matching(view.store, Search(states=("dead",), queues=(queue,) if queue else ()))
    buttons = None
    if number:
        buttons = h(
            "div",
            action(frame, "retry-dead", "Retry all", queue=queue, label=label),
            action(frame, "purge-dead", "Delete all", "danger", queue=queue, label=label),
            class_="buttons",
        )
    heading = h("div", h("h1", "Dead letters"), buttons, class_="heading")
    about = "Jobs that failed and have no retries left. Each can be run again, with all of its retries."
    intro = h("p", about, class_="intro")
    return "Dead letters", join(heading, intro, _listing(view, "/dlq", ("dead",)))


def _listing(view: View, path: str, states: tuple[str, ...]) -> Markup:
    """The filters, the jobs found, and the way to more of them."""
    filters = {name: view.frame.get(name) for name in FILTERS}
    try:
        search = _search(view, states)
    except BadInput as error:
        return join(_filters(view, path, filters, states), h("p", str(error), class_="notice bad", role="alert"))
    found, searched = find(view.store, search, PAGE + 1, is_bounded=True)
    listed = list(found)
    shown = listed[:PAGE]
    more: Child = None
    if len(listed) > PAGE:
        last = shown[-1][0]
        end = last.finished_at if is_by_end(search) else None
        more = _more(path, filters, "Older jobs", end, last.seq)
    elif searched:
        end, seq = further(view.store, search).beyond or (None, 0)
        sentence = f"Searched {searched:,} jobs from here on, and stopped."
        more = join(h("p", sentence, class_="quiet"), _more(path, filters, f"Search the next {MOST:,}", end, seq))
    if not shown:
        body = empty("No jobs match." if is_filtered(search) or search.beyond else _nothing(search))
    else:
        body = job_table(view, shown)
    newest = h("a", "Newest jobs", href=url(path, **filters), class_="button") if search.beyond else None
    return join(
        _tabs(view, path, filters, search) if not states else None,
        _filters(view, path, filters, states),
        body,
        h("nav", newest, more, class_="pages", aria_label="Pages"),
    )


def _search(view: View, states: tuple[str, ...]) -> Search:
    """What the address asks for. Raises BadInput."""
    get = view.frame.get
    chosen = tuple(name for name in get("state").split(",") if name in STATES)
    since = get("since")
    beyond = None
    if get("before"):
        end, _, seq = get("before").rpartition("_")
        try:
            beyond = (float(end) if end else None, int(seq) if len(seq) < 20 else 0)
        except ValueError:
            raise BadInput("the address of this page is damaged") from None
    queue, label = get("queue"), get("label")
    return Search(
        states=states or chosen,
        queues=(queue,) if queue else (),
        since=values.past(since, "since", view.now) if since else None,
        text=get("q") or None,
        codes=values.exit_codes(get("exit"), "exit code") if get("exit") else None,
        attempted=bool(get("attempted")),
        labels=(label,) if label else (),
        beyond=beyond if beyond is None or beyond[0] is not None or not _by_end(states or chosen) else None,
    )


def _by_end(states: tuple[str, ...]) -> bool:
    return is_by_end(Search(states=states))


def _more(path: str, filters: dict[str, str], label: str, end: float | None, seq: int) -> Markup:
    before = f"{end!r}_{seq}" if end is not None else f"_{seq}"
    return h("a", label, href=url(path, **filters, before=before), class_="button", rel="next")


def _nothing(search: Search) -> str:
    if search.states == ("dead",):
        return "No dead jobs. What keeps failing ends up here."
    return "No jobs here." if search.states or search.queues else "No jobs yet."


def _tabs(view: View, path: str, filters: dict[str, str], search: Search) -> Markup:
    """The states, with how many jobs are in each, unless a filter makes that unknown."""
    counted = not is_filtered(search)
    links = []
    for name in ("", *STATES):
        number = matching(view.store, search._replace(states=(name,) if name else ())) if counted else None
        label = join(LABELS.get(name, name) or "all")
        links.append(
            h(
                "a",
                state(name, str(label)) if name else h("span", "all"),
                None if number is None else h("span", f"{number:,}", class_="count"),
                href=url(path, **{**filters, "state": name}),
                aria_current="true" if filters["state"] == name else None,
            )
        )
    return h("nav", *links, class_="tabs", aria_label="States")


def _filters(view: View, path: str, filters: dict[str, str], states: tuple[str, ...]) -> Markup:
    queues = sorted({*view.store.counts(), *([filters["queue"]] if filters["queue"] else [])})[:500]
    options = [h("option", name, value=name, selected=filters["queue"] == name) for name in queues]
    periods = [h("option", label, value=value, selected=filters["since"] == value) for value, label in PERIODS]
    if filters["since"] not in [value for value, _ in PERIODS]:
        periods.append(h("option", filters["since"], value=filters["since"], selected=True))
    return h(
        "form",
        h("input", type="hidden", name="state", value=filters["state"]) if filters["state"] and not states else None,
        h("label", h("span", "Search", class_="unseen"), h(
            "input", type="search", name="q", value=filters["q"] or None, maxlength="200", id="search",
            placeholder="Command, id or error", autocomplete="off", spellcheck="false")),
        h("label", h("span", "Queue", class_="unseen"), h(
            "select", h("option", "all queues", value=""), *options, name="queue")),
        h("label", h("span", "Since", class_="unseen"), h("select", *periods, name="since")),
        h("label", h("span", "Label", class_="unseen"), h(
            "input", type="text", name="label", value=filters["label"] or None, maxlength="200", size="10",
            placeholder="Label", autocomplete="off")) if filters["label"] or view.store.has_labels() else None,
        h("label", h("span", "Exit codes", class_="unseen"), h(
            "input", type="text", name="exit", value=filters["exit"] or None, maxlength="60", size="8",
            placeholder="Exit codes", autocomplete="off")),
        h("label", h("input", type="checkbox", name="attempted", value="1", checked=bool(filters["attempted"])),
          h("span", "has failed"), class_="check") if not states else None,
        h("button", "Search", type="submit", class_="button plain"),
        method="get", action=path, class_="filters", role="search", data_filter=True,
    )  # fmt: skip


def job_table(view: View, listed: Sequence[Listed]) -> Markup:
    """A table of jobs, with why each waits."""
    last = view.store.last_attempts([job for job, _ in listed])
    running = [job for job, _ in listed if job.state == "processing"]
    busy = {one.job.seq: one for one in facts.busy(view.store, running, view.now)} if running else {}
    rows: list[list[Child]] = []
    for job, reason in listed:
        attempt = last.get(job.seq)
        if malformed(job):
            job = presentable(job)
        rows.append(
            [
                state(job.state, LABELS.get(job.state)),
                job_link(job.id),
                join(
                    h("a", job.queue, href=url("/jobs", queue=job.queue), class_="queue"),
                    h("span", f"slot {job.slot}", class_="chip") if job.slot else None,
                ),
                join(
                    h("code", short(job.command), class_="line"),
                    why(view.frame.shell, job, reason, view.now),
                    progress(busy[job.seq]) if job.seq in busy else None,
                ),
                when(job, attempt, view.now),
                took(job, attempt, view.now),
                f"{job.attempts}/{job.max_retries + 1}",
            ]
        )
    titles = ("State", "Id", "Queue", "Command", ">When", ">Took", ">Tries")
    return table("Jobs", titles, rows, "jobs", [job.seq for job, _ in listed])
