"""`retry` runs existing jobs again; `edit` changes waiting ones."""

from __future__ import annotations

import json
import time

from .. import jobspec
from ..errors import BadInput
from .bulk import STDIN, Acknowledgements, each, ids_argument, label_argument, selected_ids
from .enqueue import FIELDS, OPTIONS, directory, variable
from .queue_file import open_client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from ..store.client import Client


def retry_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", metavar="ID", help="a dead, cancelled, completed or failed job" + STDIN)
    help = "all failed, dead and cancelled jobs in this queue"
    parser.add_argument("-q", "--queue", action="one", metavar="QUEUE", help=help)
    label_argument(parser, "all failed, dead and cancelled jobs")
    ids_argument(parser)


def retry(args: Namespace) -> int:
    with open_client(args) as store:
        ids = selected_ids(args, "failed, dead or cancelled jobs", store.unsuccessful_ids)
        with Acknowledgements("retrying", not args.ids, args.shows_ids) as done:
            return each(store, ids, store.revive, done, is_bulk=not args.ids)


# The options of enqueue that edit also accepts.
EDITABLE = (
    "queue priority delay run_at max_retries backoff_base timeout bury_on retry_only_on cwd"
).split()


def edit_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", metavar="ID", help="a pending or failed job" + STDIN)
    parser.add_argument("--all", action="store_true", help="all pending and failed jobs")
    help = "all pending and failed jobs in this queue"
    parser.add_argument("--from", action="one", metavar="QUEUE", help=help)
    label_argument(parser, "all pending and failed jobs")
    ids_argument(parser)
    parser.add_argument("--command", metavar="LINE", help="the shell line to run")
    for field in EDITABLE:
        names, metavar, help = FIELDS[field]
        help = help.partition(" (default")[0]  # An omitted option keeps the value.
        parser.add_argument(*names.split(), dest=field, metavar=metavar, help=help)
    help = "set an environment variable; without =V, copy it from here"
    parser.add_argument("-e", "--env", action="append", default=[], metavar="K[=V]", help=help)


def edit(args: Namespace) -> int:
    places = {"command": "--command", **OPTIONS}
    given = {name: getattr(args, name) for name in ("command", *EDITABLE) if getattr(args, name) is not None}
    added = dict(map(variable, args.env))
    if args.rest and args.ids[: -len(args.rest)] and args.command is None:
        from .hints import ids_after_dashes  # Deferred: needed only for errors.

        raise BadInput(ids_after_dashes(["edit", *args.ids[: -len(args.rest)]], args.rest))
    if not given and not added:
        raise BadInput("nothing to change: give at least one option (see 'queuectl edit --help')")
    if "cwd" in given:
        given["cwd"] = directory(given["cwd"])
    checked = jobspec.new_job({"command": "-", **given, "env": added}, time.time(), places)
    names = {"run_at" if name == "delay" else name for name in given}
    changes = {name: getattr(checked, name) for name in names}
    with open_client(args) as store:

        def waiting_ids(queue: str | None, labels: Sequence[str]) -> Sequence[str]:
            return [*store.waiting_ids(queue, labels), *store.waiting_ids(queue, labels, held=True)]

        ids = selected_ids(args, "waiting jobs", waiting_ids, "from")  # --queue is where to move them.
        with Acknowledgements("changed", not args.ids, args.shows_ids) as done:

            def change(id: str) -> str:
                return store.edit(id, {**changes, **_environment(store, id, added)})

            return each(store, ids, change, done, is_bulk=not args.ids)


def _environment(store: Client, id: str, added: dict[str, str]) -> dict[str, object]:
    """The change that adds variables to those that a job has; none if there are none to add."""
    if not added:
        return {}
    return {"env": json.dumps({**jobspec.variables(store.exact(id).env), **added})}
