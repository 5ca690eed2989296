"""`enqueue`: one job from the command line or from JSON, or many from a stream of lines."""

from __future__ import annotations

import os
import sys
import time
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Iterator

from .. import jobspec, values
from ..errors import BadInput, DuplicateId, QueueError
from . import open_store

CHUNK = 1024 * 1024
LONGEST_LINE = 16 * 1024 * 1024

# Options that are a field of the job as they stand, and how messages call them.
OPTIONS = {
    "id": "--id",
    "queue": "--queue",
    "priority": "--priority",
    "delay": "--delay",
    "run_at": "--run-at",
    "max_retries": "--max-retries",
    "backoff_base": "--backoff-base",
    "timeout": "--timeout",
    "cwd": "--cwd",
    "after": "--after",
    "unique_key": "--unique",
    "bury_on": "--bury-on",
    "retry_only_on": "--retry-only-on",
}

EXAMPLES = """\
examples:
  queuectl enqueue 'sleep 2; echo done'
  queuectl enqueue --timeout 5m --max-retries 1 -- convert 'My Picture.jpg' small.png
  queuectl enqueue '{"id": "job1", "command": "sleep 2", "priority": 5}'
  find . -name '*.log' -printf 'gzip "%p"\\n' | queuectl enqueue -
"""


def enqueue_arguments(parser: ArgumentParser) -> None:
    parser.usage = "queuectl enqueue [options] (JSON | COMMAND | -- WORD ... | - | --file FILE)"
    parser.epilog = EXAMPLES
    parser.set_defaults(takes_rest=True)
    parser.add_argument(
        "words",
        nargs="*",
        metavar="JOB",
        help="a JSON object, a shell command, or - to read many from standard input; behind --"
        " a command: one word is a shell line, several are run as they are",
    )

    # Left out of the namespace unless given: an option is a field of the job only then.
    def option(*names: str, metavar: str, help: str) -> None:
        field = next(field for field, option in OPTIONS.items() if option in names)
        parser.add_argument(*names, dest=field, metavar=metavar, default=SUPPRESS, help=help)

    option("--id", metavar="ID", help="the job's id (default: one is made up)")
    option("-q", "--queue", metavar="QUEUE", help="the queue (default: default)")
    option("-p", "--priority", metavar="N", help="higher runs first (default: 0)")
    option("--delay", metavar="DURATION", help="not before this has passed: 90, 90s, 5m, 2h, 1d")
    option("--run-at", metavar="TIME", help="not before this time: ISO 8601, an epoch, or +5m")
    option("--max-retries", metavar="N", help="how often a failed job is run again")
    option("--backoff-base", metavar="N", help="wait N ** n seconds after the n-th failure")
    option("--timeout", metavar="DURATION", help="end an attempt that runs longer; 0 is no limit")
    option("--after", metavar="ID[,ID]", help="not before these jobs have completed")
    option("--unique", metavar="KEY", help="add nothing while an unfinished job has this key; print its id")
    parser.add_argument(
        "--replace", action="store_true", help="with --unique: update the job that waits instead"
    )
    option("--bury-on", metavar="CODES", help="exit codes not worth a retry, as in 2,64-78")
    option("--retry-only-on", metavar="CODES", help="the only exit codes that are worth a retry")
    option("--cwd", metavar="DIR", help="the working directory (default: this one)")
    parser.add_argument(
        "--stdin",
        action="store_true",
        help="keep standard input (at most 64 MiB) and give it to the job as its own",
    )
    parser.add_argument(
        "-e",
        "--env",
        action="append",
        default=[],
        metavar="K[=V]",
        help="set a variable for the job; without =V it is taken from here. It is stored in the"
        " file: secrets belong into worker start --env-file",
    )
    parser.add_argument(
        "-F", "--file", metavar="FILE", help="read many jobs, a line each: JSON or shell lines"
    )
    parser.add_argument(
        "--null", action="store_true", help="(or -0) with - or --file: separated by NUL, not newline"
    )
    parser.add_argument(
        "--each",
        metavar="COMMAND",
        help="with - or --file: run this for each line: {} is the line, quoted, {.} the same without"
        " its extension, {#} its number",
    )
    parser.add_argument(
        "--atomic", action="store_true", help="with - or --file: enqueue all lines or none"
    )


def enqueue(args: Namespace) -> int:
    fields = {name: getattr(args, name) for name in OPTIONS if hasattr(args, name)}
    fields["cwd"] = _cwd(fields.get("cwd"))
    if args.replace:
        if "unique_key" not in fields:
            raise BadInput("--replace: goes with --unique")
        fields["replace"] = True
    if args.env:
        fields["env"] = dict(map(_variable, args.env))
    sources = (args.file is not None) + bool(args.words) + (args.rest is not None)
    if sources != 1:
        raise BadInput(
            "give one of: a JSON job, a command, -- and a command, -, or --file"
            " (see 'queuectl enqueue --help')"
        )
    if args.file is not None or args.words == ["-"]:
        return _enqueue_stream(args, fields)
    for option in ("null", "each", "atomic"):
        if getattr(args, option):
            raise BadInput("--%s: goes with - or --file" % option)
    if args.stdin:
        fields["stdin"] = _standard_input()
    job = _one_job(args, fields)
    _print_ids(open_store(args).enqueue([job]))
    return 0


def _one_job(args: Namespace, fields: dict[str, object]) -> jobspec.NewJob:
    words = args.words if args.rest is None else args.rest
    if args.rest is None:
        if len(words) > 1:
            raise BadInput("put -- before a command of several words: queuectl enqueue -- %s …" % words[0])
        if words[0].lstrip().startswith(("{", "[")):
            return jobspec.from_json(words[0], fields, time.time(), OPTIONS)
    if not words:
        raise BadInput("no command after --")
    fields["command"] = words[0] if len(words) == 1 else _joined(words)
    return jobspec.new_job(fields, time.time(), OPTIONS)


def _joined(words: list[str]) -> str:
    import shlex

    return shlex.join(words)


def _cwd(given: object) -> str:
    try:
        here = values.decode(os.getcwdb())
    except OSError as error:
        if given is None or not str(given).startswith("/"):
            raise BadInput("the working directory is gone (%s); give --cwd" % error.strerror) from None
        here = "/"
    return os.path.normpath(os.path.join(here, str(given))) if given is not None else here


def _standard_input() -> bytes:
    pieces, size = [], 0
    try:
        while size <= values.LARGEST_INPUT:
            piece = os.read(0, CHUNK)
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
    except OSError as error:
        raise BadInput("--stdin: %s" % error.strerror) from None
    return b"".join(pieces)


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name:
        raise BadInput("--env: not NAME or NAME=VALUE: %s" % values.quote(text))
    if not equals:
        if os.fsencode(name) not in os.environb:
            raise BadInput("--env: %s is not set here" % values.quote(name))
        value = values.decode(os.environb[os.fsencode(name)])
    return name, value


def _print_ids(ids: list[str]) -> None:
    sys.stdout.write("\n".join(ids) + "\n")
    sys.stdout.flush()


# --- many ----------------------------------------------------------------------------------------


def _enqueue_stream(args: Namespace, fields: dict[str, object]) -> int:
    """Enqueue a job per record; what a read brings is one transaction, then its ids are printed.

    So a slow producer sees each line committed as it comes, and a fast one gets large transactions;
    no lock is ever held while waiting for input. A bad line ends it: those before it are enqueued.
    """
    for field in ("id", "unique_key", "stdin"):
        if field in fields or (field == "stdin" and args.stdin):
            option = OPTIONS.get(field, "--stdin")
            raise BadInput("%s: goes with one job only" % option)
    template = None if args.each is None else values.command(args.each, "--each")
    fd = _open(args.file)
    with open_store(args) as store:
        batches = _records(fd, b"\0" if args.null else b"\n")
        if args.atomic:
            batches = iter([[record for records in batches for record in records]])
        for records in batches:
            numbers, jobs, problem = _parse(records, fields, template)
            if problem and args.atomic:
                raise problem
            while jobs:
                try:
                    _print_ids(store.enqueue(jobs))
                    break
                except DuplicateId as refusal:
                    at = _index_of(refusal.id, jobs, store)
                    problem = DuplicateId("line %d: %s" % (numbers[at], refusal), refusal.id)
                    if args.atomic:
                        raise problem from None
                    jobs = jobs[:at]
            if problem:
                raise problem
    return 0


def _index_of(id: str, jobs: list[jobspec.NewJob], store) -> int:
    """Which of `jobs` must not go in: the first of this id or, where it is new, the second."""
    found = [index for index, job in enumerate(jobs) if job.id == id]
    return found[0] if store.find(id) else found[1]


def _open(path: str | None) -> int:
    if path is None or path == "-":
        return 0
    try:
        return os.open(path, os.O_RDONLY)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput("--file: %s: %s" % (values.quote(path), reason)) from None


def _records(fd: int, separator: bytes) -> Iterator[list[tuple[int, bytes]]]:
    """The numbered records that each read completes; blank ones are left out."""
    number, rest = 0, b""
    while True:
        try:
            data = os.read(fd, CHUNK)
        except OSError as error:
            raise BadInput("cannot read the jobs: %s" % error.strerror) from None
        pieces = (rest + data).split(separator)
        rest = pieces.pop() if data else b""
        if len(rest) > LONGEST_LINE:
            raise BadInput("line %d: longer than 16 MiB" % (number + len(pieces) + 1))
        yield [
            (number + index, piece) for index, piece in enumerate(pieces, 1) if piece.strip()
        ]
        number += len(pieces)
        if not data:
            return


def _parse(
    records: list[tuple[int, bytes]], fields: dict[str, object], template: str | None
) -> tuple[list[int], list[jobspec.NewJob], QueueError | None]:
    """(line numbers, jobs, what is wrong with the first bad record: those behind it are left)."""
    numbers: list[int] = []
    jobs: list[jobspec.NewJob] = []
    now = time.time()
    # Shell lines differ in nothing but their command.
    pattern = jobspec.new_job({**fields, "command": "-"}, now, OPTIONS)
    for number, raw in records:
        text = values.decode(raw[:-1] if raw.endswith(b"\r") else raw)
        try:
            if template is not None:
                job = pattern._replace(command=values.command(_fill(template, text, number), "command"))
            elif text.lstrip().startswith("{"):
                job = jobspec.from_json(text, fields, now, OPTIONS)
            else:
                job = pattern._replace(command=values.command(text, "command"))
        except BadInput as error:
            return numbers, jobs, BadInput("line %d: %s" % (number, error))
        numbers.append(number)
        jobs.append(job)
    return numbers, jobs, None


def _fill(template: str, line: str, number: int) -> str:
    """The command for one line; a template that names nothing gets the line behind it."""
    import re
    import shlex

    base, _ = os.path.splitext(line)
    meanings = {"{}": shlex.quote(line), "{.}": shlex.quote(base), "{#}": str(number)}
    filled, found = re.subn(r"\{[.#]?\}", lambda match: meanings[match.group()], template)
    return filled if found else "%s %s" % (template, meanings["{}"])
