"""`enqueue`: adds one job, from a command line or JSON, or many jobs, from a stream of lines."""

from __future__ import annotations

import os
import sys
import time

from .. import jobspec, values
from ..errors import BadInput, DatabaseFull, DuplicateId, JobRefused, Refused
from .queue_file import open_intake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace, _ArgumentGroup
    from collections.abc import Sequence
    from typing import Union

    from ..store.intake import Intake

    Arguments = Union[ArgumentParser, _ArgumentGroup]

UNQUOTED = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_@%+=:,./-")
OUTPUT_CLOSED = 141  # 128 + SIGPIPE, as a shell reports it: part of the input was not enqueued.

# Options that set a field of the job: field, option names, placeholder, help.
FIELDS = {
    "id": ("--id", "ID", "the job's id (default: generated)"),
    "queue": ("-q --queue", "QUEUE", "the queue (default: default)"),
    "priority": ("-p --priority", "N", "higher-priority jobs run first (default: 0)"),
    "cwd": ("--cwd", "DIR", "the working directory (default: the current one)"),
    "delay": ("--delay", "DURATION", "wait at least this long: 90, 90s, 5m, 2h or 1d"),
    "run_at": ("--run-at", "TIME", "wait until this time: ISO 8601, epoch seconds, or +5m"),
    "after": (
        "--after-ok --after",
        "ID[,ID]",
        "wait for these jobs to complete; - reads ids from standard input, one per line",
    ),
    "after_notok": (
        "--after-notok",
        "ID[,ID]",
        "wait for these jobs to die or be cancelled; if one completes, cancel this job",
    ),
    "after_any": ("--after-any", "ID[,ID]", "wait for these jobs to finish, however they end"),
    "unique_key": (
        "--unique",
        "KEY",
        "if an unfinished job has this key, add nothing and print its id",
    ),
    "timeout": ("--timeout", "DURATION", "stop an attempt that runs longer than this; 0 means no limit"),
    "max_retries": ("--max-retries", "N", "retry a failed job up to N times"),
    "backoff_base": ("--backoff-base", "N", "wait N ** n seconds after the n-th failure"),
    "bury_on": ("--bury-on", "CODES", "do not retry after these exit codes, such as 2,64-78"),
    "retry_only_on": ("--retry-only-on", "CODES", "retry only after these exit codes"),
}
# The option that messages name for each field.
OPTIONS = {**{field: names.split()[-1] for field, (names, _, _) in FIELDS.items()}, "labels": "--label"}


def enqueue_arguments(parser: ArgumentParser) -> None:
    parser.usage = "queuectl enqueue [options] JSON | COMMAND | -- WORD ... | - | --file FILE"
    parser.add_argument(
        "words",
        nargs="*",
        metavar="JOB",
        help="a JSON object, a shell line, or - to read many from standard input; after --,"
        " a command: one word is a shell line, several words are run as given",
    )
    job = parser.add_argument_group("the job")
    job.add_argument("--command", metavar="LINE", help="the shell line to run, instead of JOB")
    for field in ("id", "queue", "priority", "cwd"):
        add_field(job, field)
    job.add_argument(
        "-e",
        "--env",
        action="append",
        default=[],
        metavar="K[=V]",
        help="set an environment variable for the job; without =V, copy it from here. It is stored in"
        " the queue file; for secrets, use worker start --env-file",
    )
    add_labels(job)
    job.add_argument(
        "--stdin",
        action="store_true",
        help="save standard input (at most 64 MiB) and feed it to the job",
    )
    when = parser.add_argument_group("when it runs")
    for field in ("delay", "run_at", "after", "after_notok", "after_any"):
        add_field(when, field)
    when.add_argument("--hold", action="store_true", help="hold the job until you release it: queuectl release ID")
    add_field(when, "unique_key")
    when.add_argument(
        "--replace", action="store_true", help="with --unique: if that job is still waiting, replace it"
    )
    limits = parser.add_argument_group("timeout and retries (defaults: see config list)")
    for field in ("timeout", "max_retries", "backoff_base", "bury_on", "retry_only_on"):
        add_field(limits, field)
    many = parser.add_argument_group("many jobs (the options above are defaults for each job)")
    many.add_argument("-F", "--file", metavar="FILE", help="read jobs from FILE; - is standard input")
    many.add_argument(
        "--each",
        metavar="COMMAND",
        help="run COMMAND once for each line of input: {} is the line, quoted; {.} drops its"
        " extension, {/} is its basename, {//} its directory, {/.} its basename without the extension,"
        " and {#} the line number. Without any of these, the line is added at the end",
    )
    null = many.add_argument(
        "--null", action="store_true", help="input lines end with NUL, not newline, as from find -print0"
    )
    null.option_strings = ["-0", *null.option_strings]  # For help only: see SHORT.
    many.add_argument("--atomic", action="store_true", help="enqueue all jobs or none")


def add_labels(parser: Arguments) -> None:
    """Add the option that gives the job labels."""
    help = "give the job a label to select it by; may be repeated"
    parser.add_argument("--label", dest="labels", action="append", default=[], metavar="LABEL", help=help)


def add_field(parser: Arguments, field: str) -> None:
    """Add the option that sets a field of the job."""
    names, metavar, help = FIELDS[field]
    if field in jobspec.CONDITIONS:
        parser.add_argument(*names.split(), dest=field, metavar=metavar, help=help, action="append", default=[])
    else:
        parser.add_argument(*names.split(), dest=field, metavar=metavar, help=help)


def enqueue(args: Namespace) -> int:
    fields: dict[str, object] = {
        name: getattr(args, name) for name in OPTIONS if getattr(args, name) not in (None, [])
    }
    fields["cwd"] = directory(fields.get("cwd"))
    if args.replace:
        if "unique_key" not in fields:
            raise BadInput("--replace: requires --unique")
        fields["replace"] = True
    if args.hold:
        fields["held"] = True
    for field in jobspec.CONDITIONS:
        if field in fields:
            fields[field] = ",".join(getattr(args, field))
    if fields.get("after") == "-":
        if args.stdin or args.words == ["-"] or args.file == "-":
            raise BadInput("--after -: standard input is already used for the jobs or for --stdin")
        fields["after"] = values.decode(standard_input("--after")).split()
    if args.env:
        fields["env"] = dict(map(variable, args.env))
    if args.command is not None and not args.words and args.rest is None:
        args.rest = [values.command(args.command, "--command")]
        args.command = None
    sources = (args.command is not None) + (args.file is not None) + bool(args.words) + (args.rest is not None)
    if args.each is not None and not sources and not os.isatty(0):
        args.words, sources = ["-"], 1
    if not sources:
        raise BadInput("no job given; run: queuectl enqueue 'echo hello'; to read jobs from a pipe: queuectl enqueue -")
    if sources > 1:
        raise BadInput(
            "give only one of: a JSON job, a command, -- and a command, -, or --file (see 'queuectl enqueue --help')"
        )
    if args.file is not None or args.words == ["-"]:
        return _enqueue_stream(args, fields)
    for option in ("null", "each", "atomic"):
        if getattr(args, option):
            raise BadInput(f"--{option}: requires - or --file")
    if args.stdin:
        fields["stdin"] = standard_input("--stdin")
    words = args.words if args.rest is None else ["--", *args.rest]
    jobs = _jobs(words, fields)
    if len(jobs) > 1 and "id" in fields:
        raise BadInput("--id: works with a single job only")
    _enqueue_now(open_intake(args), jobs)
    return 0


def _enqueue_now(store: Intake, jobs: list[jobspec.NewJob]) -> None:
    with store:
        if jobs:
            _acknowledge(store, jobs)


def _jobs(words: list[str], fields: dict[str, object]) -> list[jobspec.NewJob]:
    """The job that the words of the command line give; several if they are a JSON array."""
    if words[0] == "--":
        words = words[1:]
    else:
        if len(words) > 1:
            from .hints import command_line

            line = command_line(["enqueue", "--", *words])
            raise BadInput(f"a command of several words needs -- before it; run: {line}")
        if words[0].startswith("@") and not any(map(str.isspace, words[0])):
            from .hints import command_line

            raise BadInput(f"to read jobs from a file, run: {command_line(['enqueue', '--file', words[0][1:]])}")
        if words[0].lstrip().startswith(("{", "[")):
            jobs = _from_brackets(words[0], fields)
            if jobs is not None:
                return jobs
    if not words:
        raise BadInput("no command after --")
    fields["command"] = words[0] if len(words) == 1 else joined(words)
    return [jobspec.new_job(fields, time.time(), OPTIONS)]


def _from_brackets(text: str, fields: dict[str, object]) -> list[jobspec.NewJob] | None:
    """The jobs of an argument that starts with "{" or "["; None if it is a shell line."""
    from ..jobjson import from_object, whole_object  # Deferred: commands don't need it.

    whole = whole_object(text)
    objects: list[dict[str, object]] | None = [whole] if whole is not None else _objects(text)
    if objects is None:
        return None
    return [from_object(found, fields, time.time(), OPTIONS) for found in objects]


def _objects(text: str) -> list[dict[str, object]] | None:
    from ..jobtext import JsonText

    reading = JsonText()
    objects = reading.objects(text)
    if reading.is_open:
        raise BadInput(f"not valid JSON: incomplete: {values.quote(text)}")
    return objects


def joined(words: Sequence[str]) -> str:
    """The shell line of a command, as shlex.join makes it. shlex loads regular expressions: 4 of 16 ms."""
    return " ".join(word if word and UNQUOTED.issuperset(word) else f"'{_escaped(word)}'" for word in words)


def _escaped(word: str) -> str:
    return word.replace("'", "'\"'\"'")


def directory(given: object) -> str:
    """The absolute path of `given`, or the working directory if None. Raises BadInput if there is no such directory."""
    try:
        here = values.decode(os.getcwdb())
    except OSError as error:
        if given is None or not str(given).startswith("/"):
            raise BadInput(f"cannot read the working directory ({error.strerror}); give an absolute --cwd") from None
        here = "/"
    if given is None:
        return here
    path = os.path.normpath(os.path.join(here, str(given)))
    if "\0" not in path and not os.path.isdir(path):
        raise BadInput(f"--cwd: no such directory: {values.quote(path)}")
    return path


def standard_input(option: str) -> bytes:
    """All of standard input, or just enough to exceed the limit."""
    pieces, size = [], 0
    try:
        while size <= values.LARGEST_INPUT:
            piece = os.read(0, 256 * 1024)
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
    except OSError as error:
        raise BadInput(f"{option}: {error.strerror}") from None
    return b"".join(pieces)


def variable(text: str) -> tuple[str, str]:
    """The name and the value of a variable that --env sets."""
    """The name and the value of a variable for --env: NAME=VALUE, or NAME for its value here."""
    name, equals, value = text.partition("=")
    if not name:
        raise BadInput(f"--env: not NAME or NAME=VALUE: {values.quote(text)}")
    if not equals:
        if os.fsencode(name) not in os.environb:
            raise BadInput(f"--env: {values.quote(name)} is not set; set it, or write NAME=VALUE")
        value = values.decode(os.environb[os.fsencode(name)])
    return name, value


def _acknowledge(store: Intake, jobs: list[jobspec.NewJob] | jobspec.Alike) -> None:
    """Enqueue jobs and print their ids. Ctrl-C takes effect before both or after both, never between."""
    from _signal import SIGINT, signal  # type: ignore[import-not-found]  # `import signal` loads enum: 3 ms.

    before = store.changes()
    interrupts = []

    def interrupt(number: int, frame: object) -> None:
        if store.changes() == before:  # Still waiting for the lock.
            raise KeyboardInterrupt
        interrupts.append(number)

    previous = signal(SIGINT, interrupt)
    try:
        ids = store.enqueue(jobs)
        sys.stdout.write("\n".join(ids) + "\n")
        sys.stdout.flush()
    finally:
        signal(SIGINT, previous)
    if interrupts:
        raise KeyboardInterrupt


# --- many jobs -----------------------------------------------------------------------------------


def _enqueue_stream(args: Namespace, fields: dict[str, object]) -> int:
    """Enqueue one job per record. Each read is one transaction, after which its ids are printed.

    So every line of a slow producer is committed as it arrives, a fast producer gets large transactions, and no lock
    is held while waiting for input. A bad line ends the stream; the jobs before it stay enqueued.
    """
    for option, is_given in (
        ("--id", "id" in fields),
        ("--unique", "unique_key" in fields and args.each is None),
        ("--stdin", args.stdin),
    ):
        if is_given:
            raise BadInput(f"{option}: works with a single job only")
    template = None
    if args.each is not None:
        from ..template import Template

        template = Template(values.command(args.each, "--each"), "--each")
    from ..values import counted
    from .jobstream import JobParser, records  # Deferred: a single job doesn't need it.
    from .progress import Progress, goes_to_file, seconds
    from .terminal import tell, tell_if_typed

    fd, count = _open(args.file), 0
    tell_if_typed(fd, "jobs, one per line")
    with open_intake(args) as store, Progress(goes_to_file(1) and not os.isatty(fd)) as progress:
        store.expect_large_transactions()
        parser = JobParser(fields, OPTIONS, template)
        batches = records(fd, b"\0" if args.null else b"\n")
        if args.atomic:
            batches = iter([[record for batch in batches for record in batch or ()]])
        for batch in batches:
            jobs, lines, problem = parser.parse(batch)
            if args.atomic:
                problem = problem or parser.parse(None)[2]
                if problem:
                    raise problem
            while jobs:
                try:
                    _acknowledge(store, jobs)
                    break
                except JobRefused as refusal:
                    problem = Refused(f"line {lines[refusal.index]}: {refusal}{_copy_hint(refusal, batch)}")
                    if args.atomic:
                        raise problem from None
                    jobs = jobs[: refusal.index]
                except DatabaseFull as error:
                    if not count:
                        raise
                    raise error.but("the jobs whose ids were printed are enqueued, the others are not") from None
                except BrokenPipeError:
                    return OUTPUT_CLOSED
            count += len(jobs)
            progress.count(count, None, "jobs enqueued")
            if problem:
                raise problem
        if progress.is_shown:
            tell(f"enqueued {counted(count, 'job')} in {seconds(progress.elapsed())}")
    return 0


def _copy_hint(refusal: JobRefused, records: list[tuple[int, str]] | None) -> str:
    """How to copy jobs, if an id exists and these records look like what `list --json` prints."""
    if not isinstance(refusal, DuplicateId) or not any('"created_at"' in text for _, text in records or ()):
        return ""
    return "; to copy jobs to another queue, with their history, run: queuectl export | queuectl --db FILE import"


def _open(path: str | None) -> int:
    if path is None or path == "-":
        return 0
    try:
        return os.open(path, os.O_RDONLY)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"--file: {values.quote(path)}: {reason}") from None
