"""`retry` runs existing jobs again; `edit` changes waiting ones."""

from __future__ import annotations

import json
import time

from .. import jobspec
from ..errors import BadInput
from .bulk import Acknowledgements, each
from .enqueue import FIELDS, OPTIONS, directory, variable
from .queue_file import open_client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ..store.client import Client


def retry_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("ids", nargs="+", metavar="ID", help="a dead, cancelled, completed or failed job")


def retry(args: Namespace) -> int:
    with open_client(args) as store, Acknowledgements("retrying", is_bulk=False) as done:
        return each(store, args.ids, store.revive, done)


# The options of enqueue that edit also accepts.
EDITABLE = (
    "queue priority delay run_at max_retries backoff_base timeout bury_on retry_only_on cwd"
).split()


def edit_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("ids", nargs="+", metavar="ID", help="a pending or failed job")
    parser.add_argument("--command", metavar="LINE", help="the shell line to run")
    for field in EDITABLE:
        names, metavar, help = FIELDS[field]
        help = help.partition(" (default")[0]  # An omitted option leaves the value alone.
        parser.add_argument(*names.split(), dest=field, metavar=metavar, help=help)
    help = "add an environment variable, or change it; without =V, copy it from here"
    parser.add_argument("-e", "--env", action="append", default=[], metavar="K[=V]", help=help)


def edit(args: Namespace) -> int:
    places = {"command": "--command", **OPTIONS}
    given = {name: getattr(args, name) for name in ("command", *EDITABLE) if getattr(args, name) is not None}
    added = dict(map(variable, args.env))
    if not given and not added:
        raise BadInput("nothing to change: give at least one option (see 'queuectl edit --help')")
    if "cwd" in given:
        given["cwd"] = directory(given["cwd"])
    checked = jobspec.new_job({"command": "-", **given, "env": added}, time.time(), places)
    names = {"run_at" if name == "delay" else name for name in given}
    changes = {name: getattr(checked, name) for name in names}
    with open_client(args) as store, Acknowledgements("changed", is_bulk=False) as done:
        return each(store, args.ids, lambda id: store.edit(id, {**changes, **_environment(store, id, added)}), done)


def _environment(store: Client, id: str, added: dict[str, str]) -> dict[str, object]:
    """The change that adds variables to those that a job has; none if there are none to add."""
    if not added:
        return {}
    return {"env": json.dumps({**jobspec.variables(store.exact(id).env), **added})}
