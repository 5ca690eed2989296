"""What to type instead: for words of other tools, misplaced arguments, and typing errors. Imported only for errors.

The tables come first; spelling decides only if they know nothing. No hint deletes anything unless the word means that.
"""

from __future__ import annotations

import re
import shlex

from ..lifecycle import STATES
from ..values import quote
from . import COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

# What other tools call a command. Its arguments are kept where TAKES_ARGUMENTS says so.
COMMAND_WORDS = {
    **dict.fromkeys("run submit push create put new exec queue".split(), "enqueue"),
    **dict.fromkeys("start work daemon serve launch up".split(), "worker start"),
    **dict.fromkeys("stop shutdown quit down".split(), "worker stop"),
    **dict.fromkeys("restart reload".split(), "worker restart"),
    **dict.fromkeys("kill remove delete del abort terminate dequeue".split(), "cancel"),
    **dict.fromkeys("requeue rerun replay".split(), "retry"),
    "cleanup": "prune",
    **dict.fromkeys("stat info summary queues".split(), "status"),
    **dict.fromkeys("watch monitor".split(), "top"),
    **dict.fromkeys("inspect describe view".split(), "show"),
    **dict.fromkeys("output cat".split(), "logs"),
    "unpause": "resume",
    "stash": "hold",
    **dict.fromkeys("unhold unstash".split(), "release"),
    **dict.fromkeys("uncancel revive".split(), "retry"),
    **dict.fromkeys("freeze sigstop".split(), "suspend"),
    **dict.fromkeys("thaw unsuspend unfreeze sigcont cont".split(), "continue"),
    **dict.fromkeys("check repair fsck".split(), "doctor"),
    **dict.fromkeys("update modify change".split(), "edit"),
    **dict.fromkeys("statistics throughput".split(), "stats"),
    **dict.fromkeys("errors fails".split(), "failures"),
    **dict.fromkeys("prometheus openmetrics exporter prom".split(), "metrics"),
    **dict.fromkeys("cron at every recurring repeat".split(), "schedule add"),
    "schedules": "schedule list",
    "crontab": "schedule import",
    "tail": "logs -f",
    "history": "list --since 7d",
    "jobs": "list",
    "workers": "worker list",
    "dead": "dlq list",
    "settings": "config list",
    "set": "config set",
    "dump": "export",
    "load": "import",
    "man": "manual",
    "version": "--version",
}
VERB_WORDS = {
    "worker": {
        **dict.fromkeys("status ls ps show".split(), "list"),
        **dict.fromkeys("run up launch add create".split(), "start"),
        **dict.fromkeys("kill quit down shutdown".split(), "stop"),
        "reload": "restart",
    },
    "dlq": {
        **dict.fromkeys("ls show status".split(), "list"),
        **dict.fromkeys("requeue replay rerun".split(), "retry"),
        **dict.fromkeys("clear delete remove empty flush".split(), "purge"),
    },
    "schedule": {
        **dict.fromkeys("when times".split(), "next"),
        **dict.fromkeys("create new set".split(), "add"),
        **dict.fromkeys("ls status".split(), "list"),
        **dict.fromkeys("delete rm del".split(), "remove"),
        **dict.fromkeys("stop disable suspend hold".split(), "pause"),
        **dict.fromkeys("start enable unpause release".split(), "resume"),
        **dict.fromkeys("trigger now fire".split(), "run"),
        **dict.fromkeys("change update modify".split(), "edit"),
        **dict.fromkeys("info inspect describe view".split(), "show"),
    },
    "config": {"ls": "list", "delete": "unset", "remove": "unset", "reset": "unset", "add": "set"},
}
# What other tools call an option: the first of these that the command has.
OPTION_WORDS = {
    **dict.fromkeys(("--retries", "--max-retry", "--retry"), ("--max-retries",)),
    **dict.fromkeys(("--status", "--filter"), ("--state",)),
    **dict.fromkeys(("--workers", "--concurrency", "--num-workers", "--processes", "-n", "-j"), ("--count",)),
    **dict.fromkeys(("--max", "--top"), ("--limit",)),
    **dict.fromkeys(("--dir", "--chdir", "--workdir"), ("--cwd",)),
    **dict.fromkeys(("--depends", "--depends-on", "--dependency"), ("--after",)),
    **dict.fromkeys(("--at", "--eta"), ("--run-at",)),
    **dict.fromkeys(("--job-id", "--name"), ("--id",)),
    **dict.fromkeys(("--cmd", "--exec"), ("--command",)),
    **dict.fromkeys(("--in", "--wait"), ("--delay",)),
    "--backoff": ("--backoff-base",),
    **dict.fromkeys(("--interval", "--repeat"), ("--every",)),
    **dict.fromkeys(("--timezone", "--time-zone", "--zone"), ("--tz",)),
    "--max-time": ("--timeout",),
    "--fg": ("--foreground",),
}
LIMIT_WORDS = ("limit", "parallel", "concurrency", "slots", "throttle")
STATE_WORDS = {
    **dict.fromkeys("running active in-progress in_progress started".split(), "processing"),
    **dict.fromkeys("done success succeeded successful finished complete".split(), "completed"),
    **dict.fromkeys("queued waiting ready".split(), "pending"),
    **dict.fromkeys("canceled killed".split(), "cancelled"),
    **dict.fromkeys("retrying error".split(), "failed"),
    **dict.fromkeys("dlq buried".split(), "dead"),
}
NOT_NEEDED = {
    "poll": "idle workers are woken when a job is enqueued",
    "lease": "a job belongs to its worker as long as that lives, so no lease expires",
    "visibility": "a job belongs to its worker as long as that lives, so no lease expires",
    "heartbeat": "the kernel reports the death of a worker at once",
    "stale": "the kernel reports the death of a worker at once",
}
TAKES_ARGUMENTS = ("cancel", "suspend", "continue", "hold", "release", "retry", "show", "logs", "logs -f", "edit")
NEGATIONS = ("un", "de", "dis", "no-", "not-", "non")
DELETING = ("prune", "purge", "unset", "restore")  # Never a guess.
LONGEST = 200  # Characters of a command that a hint repeats.


def command_line(words: Sequence[str]) -> str:
    """A command line to copy; one that is too long or unprintable is cut after the command's name."""
    line = shlex.join(["queuectl", *words])
    return line if len(line) <= LONGEST and line.isprintable() else f"queuectl {words[0]} …"


def state(word: str) -> str | None:
    """The state that a word means, in any case; None if none."""
    lower = word.lower()
    return lower if lower in STATES else STATE_WORDS.get(lower)


def not_needed(key: str) -> str | None:
    """Why there is no such configuration key, if other job queues need it."""
    return next((reason for word, reason in NOT_NEEDED.items() if word in key.lower()), None)


def unknown_command(words: Sequence[str], at: int) -> str:
    """The message for the word at `at`, which is not a command."""
    word, before, after = words[at], list(words[:at]), list(words[at + 1 :])
    if word.lstrip().startswith("{"):
        return f"a JSON job needs a command before it; run: {command_line([*before, 'enqueue', _repaired_job(word)])}"
    problem = f"no such command: {quote(word)}"
    lower = word.lower()
    if lower in ("init", "setup", "install"):
        return f"{problem}; nothing needs to be set up; run: queuectl enqueue 'echo hello'"
    if lower in ("purge", "clear", "flush"):
        return f"{problem}; to delete completed jobs, run: queuectl prune; dead jobs: queuectl dlq purge --all"
    if lower == "stop" and after and not after[0].startswith("-") and not after[0].isdigit():
        line = command_line([*before, "suspend", *after])
        return f"{problem}; to stop a job until it may continue, run: {line}; to stop workers: queuectl worker stop"
    if lower in LIMIT_WORDS:
        return f"{problem}; {_limit(after)}"
    if lower in ("label", "labels", "tag", "tags"):
        example = "queuectl enqueue --label LABEL -- COMMAND"
        return f"{problem}; labels belong to jobs, as in: {example}; to find them, run: queuectl list --label LABEL"
    name = COMMAND_WORDS.get(lower)
    if name is None and state(lower):
        name = f"list --state {state(lower)}"
    if name is None:
        name = _nearest(lower, [*{name.split()[0] for name in COMMANDS}])
        if name is None:
            return f"{problem} (see 'queuectl --help')"
        return f"{problem}; did you mean {name}? Run: {command_line([*before, name, *after])}"
    return f"{problem}; run: {command_line([*before, *_with_arguments(name, after)])}"


def unknown_verb(words: Sequence[str], noun_at: int, verb_at: int | None) -> str:
    """The message for a group's name without a command of the group after it."""
    noun = words[noun_at]
    verbs = [name.split()[1] for name in COMMANDS if name.split()[0] == noun]
    if verb_at is None:
        example = "list" if "list" in verbs else f"{verbs[0]} --help"
        return f"{noun} needs a command: {', '.join(verbs)}; for instance, run: queuectl {noun} {example}"
    word = words[verb_at]
    if (noun, word.lower()) in (("schedule", "rename"), ("schedule", "mv")):
        return "a schedule keeps its name; add it under another name, then run: queuectl schedule remove NAME"
    verb = VERB_WORDS[noun].get(word.lower()) or _nearest(word.lower(), verbs)
    problem = f"no such command: {quote(f'{noun} {word}')}"
    if verb is None:
        return f"{problem} (see 'queuectl {noun} --help')"
    return f"{problem}; run: {command_line([*words[:verb_at], verb, *words[verb_at + 1 :]])}"


def _limit(after: Sequence[str]) -> str:
    """How to limit what runs at once, to the number in `after`, if any."""
    number = next((word for word in after if word.isdigit()), None)
    queue = next((word for word in after if not word.isdigit() and not word.startswith("-")), None)
    if queue is None and number is not None:
        line = command_line(["worker", "start", "-c", number])
        other = f"queuectl config set QUEUE.limit {number}"
        return f"to start {number} worker{'' if number == '1' else 's'}, run: {line}; to limit one queue: {other}"
    line = command_line(["config", "set", f"{queue or 'QUEUE'}.limit", number or "2"])
    return f"to limit a queue, run: {line}"


def _with_arguments(name: str, after: list[str]) -> list[str]:
    if name == "enqueue":
        return _enqueue(after)
    if name == "worker start" and after and after[0].isdigit():
        return ["worker", "start", "-c", after[0]]
    if name == "schedule add":
        expression = after[0] if after and after[0].count(" ") == 4 else "30 2 * * *"
        return [*name.split(), "NAME", "--cron", expression, "--", *(after[1:] or ["COMMAND"])]
    if name in TAKES_ARGUMENTS:
        return [*name.split(), *(after or ["ID"])]
    return [*name.split(), *(after if name in ("config set", "resume") else [])]


def _enqueue(job: list[str]) -> list[str]:
    """The words that enqueue a job given as words."""
    if not job:
        return ["enqueue", "echo hello"]
    plain = len(job) == 1 or job[0].startswith("-")
    return ["enqueue", *job] if plain else ["enqueue", "--", *job]


def _repaired_job(text: str) -> str:
    """A JSON job in which the command has the right name."""
    import json

    try:
        job = json.loads(text)
    except (ValueError, RecursionError):
        return '{"command": "sleep 2"}'
    for name in ("cmd", "run", "script", "shell", "exec"):
        if name in job and "command" not in job:
            job["command"] = job.pop(name)
    return json.dumps(job)


def misuse(prog: str, message: str, words: Sequence[str]) -> str:
    """What argparse found wrong, in our own words. `prog` is the command at hand, such as "queuectl list"."""
    see = f" (see '{prog} --help')"
    name = prog.partition(" ")[2]
    missing = re.match(r"the following arguments are required: (.+)", message)
    if missing:
        return f"{name} needs {missing[1]}{see}"
    found = re.match(r"argument ([^:]+): (.*)", message, re.DOTALL)
    if not found:
        return message + see
    place, problem = found[1].split("/")[-1], found[2]
    if problem.startswith("expected"):
        return f"{place}: needs a value{see}"
    if problem.startswith("ignored explicit"):
        return f"{place}: takes no value{see}"
    other = re.match(r"not allowed with argument (\S+)", problem)
    if other:
        return f"{place}: cannot be used together with {other[1].split('/')[-1]}{see}"
    choice = re.match(r"invalid choice: (.*) \(choose from (.*)\)", problem, re.DOTALL)
    if choice:
        return f"{place}: must be one of {choice[2].replace(chr(39), '')}, not {choice[1]}{see}"
    return f"{place}: {problem}{see}"


def surplus(prog: str, found: str, words: Sequence[str], options: Collection[str]) -> str:
    """The message for an argument that the command doesn't take. `options` are the names of those it takes."""
    name = prog.partition(" ")[2]
    line = list(words)
    if found.startswith("-"):
        return _unknown_option(prog, found, line, options)
    if name == "edit" and "--" in line:
        end = line.index("--")
        return ids_after_dashes(line[:end], line[end + 1 :])
    meant = state(found)
    if name == "list" and meant:
        line[_last(line, found) : _last(line, found) + 1] = ["--state", meant]
        return f"list takes no arguments; to see {meant} jobs, run: {command_line(line)}"
    if name == "worker start" and found.isdigit():
        line.insert(_last(line, found), "-c")
        workers = f"{found} worker{'' if found == '1' else 's'}"
        return f"worker start takes no arguments; to start {workers}, run: {command_line(line)}"
    return f"unexpected argument: {quote(found)} (see '{prog} --help')"


def ids_after_dashes(before: Sequence[str], after: Sequence[str]) -> str:
    """What to say if `edit` is given a command as enqueue takes it."""
    command = after[0] if len(after) == 1 else shlex.join(after)
    line = command_line([*before, "--command", command])
    return f"to edit, -- is followed by ids; to change the command, run: {line}"


def _unknown_option(prog: str, found: str, line: list[str], options: Collection[str]) -> str:
    option, equals, value = found.partition("=")
    problem = f"no such option: {quote(option)}"
    if prog == "queuectl" and option in ("-v", "-V"):
        return f"{problem}; run: queuectl --version"
    if prog == "queuectl retry" and option == "--all":
        at = line.index("retry")
        return f"{problem}; to retry all dead jobs, run: {command_line([*line[:at], 'dlq', *line[at:]])}"
    known = next((name for name in OPTION_WORDS.get(option, ()) if name in options), None)
    tail = line[line.index("enqueue") + 1 :] if prog == "queuectl enqueue" else []
    if known is None and tail and not tail[0].startswith("-") and not re.search(r"\s", tail[0]):
        head = line[: line.index("enqueue")]
        return f"a command with options needs -- before it; run: {command_line([*head, 'enqueue', '--', *tail])}"
    if known is None:
        known = _nearest(option, [name for name in options if name.startswith("--")], 0.8)
    if known is None or found not in line:
        return f"{problem} (see '{prog} --help')"
    line[line.index(found)] = known + equals + value
    return f"{problem}; run: {command_line(line)}"


def _last(words: list[str], word: str) -> int:
    return len(words) - 1 - words[::-1].index(word)


def _nearest(word: str, known: Iterable[str], similarity: float = 0.7) -> str | None:
    """The known word most similar to `word`, from this `similarity` on (1: equal), unless it deletes or negates it."""
    from difflib import get_close_matches

    harmless = [name for name in sorted(set(known) - set(DELETING)) if not _are_opposites(name, word)]
    matches = get_close_matches(word, harmless, 1, similarity)
    return matches[0] if matches else None


def _are_opposites(one: str, other: str) -> bool:
    """Whether one of two words negates the other, such as "unhold" and "hold", or --wait and --no-wait."""
    longer, shorter = sorted((one.lstrip("-"), other.lstrip("-")), key=len, reverse=True)
    return any(longer.startswith(negation) and _are_alike(longer[len(negation) :], shorter) for negation in NEGATIONS)


def _are_alike(one: str, other: str) -> bool:
    from difflib import SequenceMatcher

    return SequenceMatcher(None, one, other).ratio() > 0.85
