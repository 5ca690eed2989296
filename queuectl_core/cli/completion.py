"""`completion`: scripts for bash, zsh and fish that complete commands, options, states, keys and ids.

The scripts know nothing themselves. On each Tab they pass the words so far to `queuectl completion candidates`, which
answers from the registry and the database with one candidate and its description per line. Exit code 1 means that the
shell should complete file names.
"""

from __future__ import annotations

import os

from .. import lifecycle, settings
from ..errors import BadInput, QueueError
from . import ALIASES, COMMANDS, GROUPS, command_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Tuple

    from ..store.reader import Reader
    from .parser import Argument

    # A word and its description.
    Candidate = Tuple[str, str]

BASH = """\
# In ~/.bashrc: eval "$(queuectl completion bash)"
_queuectl() {
    local candidates word
    COMPREPLY=()
    if candidates=$("$1" completion candidates -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null); then
        while IFS=$'\\t' read -r word _; do
            [ -z "$word" ] || COMPREPLY+=("$(printf %q "$word")")
        done <<<"$candidates"
    else
        compopt -o filenames 2>/dev/null
        while read -r word; do
            COMPREPLY+=("$word")
        done < <(compgen -f -- "$2")
    fi
}
complete -F _queuectl queuectl
"""

ZSH = """\
#compdef queuectl
# In ~/.zshrc, after compinit: eval "$(queuectl completion zsh)"
_queuectl() {
    local candidates line
    local -a described
    if candidates=$("${words[1]}" completion candidates -- "${(@Q)words[2,CURRENT]}" 2>/dev/null); then
        for line in "${(@f)candidates}"; do
            [[ -z $line ]] || described+=("${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}")
        done
        _describe queuectl described
    else
        _files
    fi
}
if [[ $funcstack[1] == _queuectl ]]; then
    _queuectl "$@"
else
    compdef _queuectl queuectl
fi
"""

FISH = """\
# In ~/.config/fish/config.fish: queuectl completion fish | source
function __queuectl_candidates
    set -l words (commandline -opc) (commandline -ct)
    $words[1] completion candidates -- $words[2..-1] 2>/dev/null
    or __fish_complete_path (commandline -ct)
end
complete -c queuectl -f -a '(__queuectl_candidates)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}

PATIENCE = 0.2  # Seconds to wait for a locked database; the user has just pressed Tab.
MAX_IDS = 1000

# The states of the jobs whose ids each command completes; other commands complete all ids.
STATES_FOR = {
    "cancel": lifecycle.UNFINISHED,
    "wait": lifecycle.UNFINISHED,
    "edit": lifecycle.WAITING,
    "retry": lifecycle.TRANSITIONS["revive"].from_states,
    "dlq retry": ("dead",),
    "dlq purge": ("dead",),
    "enqueue": lifecycle.UNFINISHED,
}


def completion_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", help=", ".join(SCRIPTS))


def completion(args: Namespace) -> int:
    if args.shell == "candidates":
        return _print_candidates(args.rest or [""])
    if args.shell not in SCRIPTS or args.rest is not None:
        raise BadInput(f"completion: the shell must be one of {', '.join(SCRIPTS)}")
    print(SCRIPTS[args.shell], end="")
    return 0


def _print_candidates(words: list[str]) -> int:
    from ..values import escape

    matches = candidates(words)
    if matches is None:
        return 1
    for word, description in matches:
        print(f"{word}\t{escape(description)}")
    return 0


def candidates(words: list[str]) -> list[Candidate] | None:
    """The candidates for the last of `words`, which may be incomplete; None to complete file names."""
    # bash splits --queue=mail into three words.
    words = [word for place, word in enumerate(words) if word != "=" or not words[place - 1].startswith("--")]
    *before, current = words
    if current == "=":
        current = ""
    if "--" in before:
        return None
    option, equals, value = current.partition("=")
    if equals and option.startswith("--"):
        matches = _candidates([*before, option], value)
        return matches and [(f"{option}={word}", text) for word, text in matches]
    return _candidates(before, current)


def _candidates(before: list[str], current: str) -> list[Candidate] | None:
    at = command_place(before)
    if at is None:
        name, after, known = "", before, _commands("")
    else:
        noun, *rest = ALIASES.get(before[at], [before[at]])
        after = rest + before[at + 1 :]
        name, known = noun, None
        if noun in GROUPS:
            verb = after.pop(0) if after else None
            name, known = (f"{noun} {verb}", None) if verb else ("", _commands(noun))
        if name not in COMMANDS and known is None:
            return []
    if known and not current.startswith("-") and not (after and after[-1].startswith("--")):
        return [(word, text) for word, text in known if word.startswith(current)]
    matches = _of_arguments(name, after, current, known, _database(before))
    return matches and [(word, text) for word, text in matches if word.startswith(current)]


def _commands(noun: str) -> list[Candidate]:
    """The commands of a group or, for "", the first words of all commands."""
    if noun:
        return [(name.split()[1], c.help) for name, c in COMMANDS.items() if name.split()[0] == noun]
    first_words = {name.split()[0]: command.help for name, command in COMMANDS.items()}
    aliases = {alias: " ".join(words) for alias, words in ALIASES.items()}
    return list({**first_words, **GROUPS, **aliases}.items())


def _of_arguments(
    name: str, after: list[str], current: str, known: list[Candidate] | None, database: str
) -> list[Candidate] | None:
    from .parser import arguments

    accepted = arguments(name)
    options = {option: argument for argument in accepted for option in argument.options}
    positionals = [argument for argument in accepted if not argument.options]
    expecting: Argument | None = None
    count = 0
    for word in after:
        if expecting:
            expecting = None
        elif word in options:
            expecting = options[word] if options[word].value else None
        elif not word.startswith("-"):
            count += 1
    if not expecting and current.startswith("-"):
        return [(option, argument.help) for option, argument in options.items()]
    if known is not None and not expecting:
        return known
    if not expecting and positionals:
        place = positionals[min(count, len(positionals) - 1)]
        expecting = place if count < len(positionals) or place.repeats else None
    return _values(name, expecting, current, database) if expecting else []


def _values(name: str, argument: Argument, current: str, database: str) -> list[Candidate] | None:
    """The values that an option or a positional argument accepts, judged by its placeholder."""
    if argument.choices:
        return [(choice, "") for choice in argument.choices]
    if argument.value in ("FILE", "DIR", "PATH", "JOB"):
        return None
    if argument.value == "STATE":
        return [(state, "") for state in lifecycle.STATES]
    if argument.value == "SHELL":
        return [(shell, "") for shell in SCRIPTS]
    try:
        if argument.value in ("ID", "ID[,ID]"):
            done, comma, _ = current.rpartition(",")
            return [(done + comma + id, text) for id, text in _ids(name, database)]
        if argument.value == "NAME" and name != "schedule add":
            return _schedules(database)
        if argument.value == "QUEUE":
            return [(queue, "") for queue in _queues(database)]
        if argument.value == "KEY":
            return _keys(current, database)
    except (QueueError, OSError):
        pass  # An error message would garble the command line.
    return []


def _database(words: list[str]) -> str:
    from ..store.database import default_path

    for option, value in zip(words, words[1:]):
        if option == "--db":
            return value
    return default_path(dict(os.environ))


def _open(database: str) -> Reader:
    from ..store.reader import Reader

    return Reader(database, patience=PATIENCE)


def _ids(name: str, database: str) -> list[Candidate]:
    if not os.path.exists(database):  # Don't create it.
        return []
    from ..store.search import Search, find

    with _open(database) as store:
        if name.startswith("worker "):
            return [(str(row.id), f"pid {row.pid}") for row in store.workers() if row.role == "worker"]
        jobs, _ = find(store, Search(STATES_FOR.get(name, ())), MAX_IDS, is_bounded=True)
        return [(job.id, f"{job.state}: {job.command[:60]}") for job, _ in jobs]


def _queues(database: str) -> list[str]:
    if not os.path.exists(database):
        return []
    with _open(database) as store:
        return list(store.counts())


def _schedules(database: str) -> list[Candidate]:
    if not os.path.exists(database):
        return []
    from ..store.schedules import schedules

    with _open(database) as store:
        return [(row.name, row.expression) for row in schedules(store)]


def _keys(current: str, database: str) -> list[Candidate]:
    keys = [(key, s.help) for key, s in settings.SETTINGS.items() if key not in settings.OF_A_QUEUE]
    if "." in current:
        keys = [
            (f"{queue}.{key}", setting.help)
            for queue in _queues(database)
            for key, setting in settings.SETTINGS.items()
            if key not in settings.OF_ALL
        ]
    return keys
