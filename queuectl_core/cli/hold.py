"""`hold`, `release`, `suspend` and `continue`: keep individual jobs from starting or running."""

from __future__ import annotations

from functools import partial

from .bulk import Acknowledgements, each, selected_ids, selection_arguments
from .obstacle import tell_if_no_workers
from .queue_file import open_client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Sequence

    from ..store.client import Client

RUNNING, SUSPENDED = "running jobs", "suspended jobs"


def _change(
    args: Namespace,
    store: Client,
    what: str,
    ids_of: Callable[[str | None, Sequence[str]], Sequence[str]],
    act: Callable[[str], str],
    verb: str,
) -> int:
    """Apply `act` to the jobs that the user named or selected, which are `what` before and `verb` after."""
    ids = selected_ids(args, what, ids_of)
    with Acknowledgements(verb, not args.ids, args.shows_ids) as done:
        code = each(store, ids, act, done, is_bulk=not args.ids)
    if done.count and what in (RUNNING, SUSPENDED):
        tell_if_no_workers(store)
    return code


def hold_arguments(parser: ArgumentParser) -> None:
    selection_arguments(parser, "a waiting job", "all waiting jobs")


def hold(args: Namespace) -> int:
    with open_client(args) as store:
        return _change(args, store, "waiting jobs", store.waiting_ids, store.hold, "held")


def release_arguments(parser: ArgumentParser) -> None:
    selection_arguments(parser, "a held job", "all held jobs")


def release(args: Namespace) -> int:
    with open_client(args) as store:
        ids_of = partial(store.waiting_ids, held=True)
        return _change(args, store, "held jobs", ids_of, store.release, "released")


def suspend_arguments(parser: ArgumentParser) -> None:
    selection_arguments(parser, "a running job", "all running jobs")


def suspend(args: Namespace) -> int:
    with open_client(args) as store:
        return _change(args, store, RUNNING, store.running_ids, store.suspend, "suspended")


def continue_jobs_arguments(parser: ArgumentParser) -> None:
    selection_arguments(parser, "a suspended job", "all suspended jobs")


def continue_jobs(args: Namespace) -> int:
    with open_client(args) as store:
        ids_of = partial(store.running_ids, suspended=True)
        return _change(args, store, SUSPENDED, ids_of, store.continue_, "continued")
