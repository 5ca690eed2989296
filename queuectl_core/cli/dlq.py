"""The dead letter queue: `dlq list`, `dlq retry`, `dlq purge`."""

from __future__ import annotations

from .. import values
from ..errors import BadInput, Refused
from .bulk import Acknowledgements, each, selected_ids, selection_arguments
from .jobs import list_jobs, search_arguments
from .prune import shrink, space
from .queue_file import open_client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from ..store.client import Client


def dlq_list_arguments(parser: ArgumentParser) -> None:
    search_arguments(parser)


def dlq_list(args: Namespace) -> int:
    args.state = ["dead"]
    return list_jobs(args)


def dlq_retry_arguments(parser: ArgumentParser) -> None:
    selection_arguments(parser, "a dead job", "all dead jobs")
    help = "all dead jobs in this group from 'queuectl failures'"
    parser.add_argument("--like", action="one", metavar="GROUP", help=help)


def dlq_retry(args: Namespace) -> int:
    with open_client(args) as store:
        ids = _selected(args, store)
        with Acknowledgements("retrying", not args.ids, args.shows_ids) as done:
            return each(store, ids, lambda id: store.revive(id, only_dead=True), done)


def _selected(args: Namespace, store: Client) -> Sequence[str]:
    """The ids of the dead jobs that the arguments name."""
    if args.like is None:
        return selected_ids(args, "dead jobs", store.dead_ids)
    if args.ids or args.all or args.queue is not None or args.labels:
        raise BadInput("give ids, --all, --queue, --label or --like, not several")
    from ..views.failures import dead_like  # Deferred: it compiles regular expressions.

    ids = list(dead_like(store, args.like))
    if not ids:
        raise Refused(f"no dead jobs in group {values.quote(args.like)}; to list the groups, run: queuectl failures")
    return ids


def dlq_purge_arguments(parser: ArgumentParser) -> None:
    dlq_retry_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="delete nothing; print the ids that would be deleted")


def dlq_purge(args: Namespace) -> int:
    with open_client(args) as store:
        ids = _selected(args, store)
        verb, taken = "would delete" if args.dry_run else "deleted", space(store)
        with Acknowledgements(verb, not args.ids, args.shows_ids or args.dry_run) as done:
            code = each(store, ids, lambda id: store.purge(id, args.dry_run), done)
            returned = "" if args.dry_run else shrink(store, taken)
            done.note = returned and f"; {returned}"
    return code
