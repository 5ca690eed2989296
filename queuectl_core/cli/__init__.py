"""The registry of commands.

A command's module is imported only when the command is run, and only its own parser is built: queuectl is called in
shell loops, and `enqueue` must not pay for `worker start`.
"""

from __future__ import annotations

from ..typed import NamedTuple


class Command(NamedTuple):
    """A command: its name (two words for a group's command), and the module and function that handle it.

    The function `HANDLER_arguments` in the same module adds its arguments to a parser.
    """

    name: str
    module: str
    handler: str
    help: str


COMMANDS = {
    command.name: command
    for command in (
        Command("enqueue", "enqueue", "enqueue", "add jobs: a command, JSON, or many lines"),
        Command("worker start", "workers", "start", "start workers"),
        Command("worker stop", "workers", "stop", "stop workers, when their jobs are done or at once"),
        Command("worker restart", "workers", "restart", "move the workers to new code, job by job"),
        Command("worker list", "workers", "list_workers", "show the workers that run"),
        Command("status", "status", "status", "show jobs by state, workers, and the DLQ"),
        Command("list", "jobs", "list_jobs", "list jobs, newest first"),
        Command("show", "jobs", "show", "show all about one job, with its attempts"),
        Command("logs", "logs", "logs", "print or follow what jobs print"),
        Command("wait", "wait", "wait", "wait until jobs are finished"),
        Command("cancel", "cancel", "cancel", "cancel jobs; one that runs is ended"),
        Command("retry", "change", "retry", "run finished or failed jobs again, from the start"),
        Command("edit", "change", "edit", "change a job that waits"),
        Command("pause", "queues", "pause", "start no more jobs, of one queue or at all"),
        Command("resume", "queues", "resume", "undo pause"),
        Command("prune", "prune", "prune", "delete finished jobs"),
        Command("dlq list", "dlq", "dlq_list", "list the dead letter queue"),
        Command("dlq retry", "dlq", "dlq_retry", "run dead jobs again, from the start"),
        Command("dlq purge", "dlq", "dlq_purge", "delete dead jobs"),
        Command("doctor", "doctor", "doctor", "look for what is wrong, and say what to do"),
        Command("backup", "backup", "backup", "copy the queue to a file, also while workers run"),
        Command("config set", "config", "config_set", "set a key, for jobs enqueued from now on"),
        Command("config get", "config", "config_get", "print the value of a key"),
        Command("config list", "config", "config_list", "list all keys and their values"),
        Command("config unset", "config", "config_unset", "go back to a key's default"),
        Command("export", "transfer", "export_jobs", "print all jobs with their history, as JSON lines"),
        Command("import", "transfer", "import_jobs", "add jobs that were exported, from here or elsewhere"),
        Command("bundle", "install", "bundle", "write the whole program as one executable file"),
        Command("completion", "completion", "completion", "print a script that completes words in a shell"),
        Command("manual", "manual", "manual", "print the manual page: queuectl manual | man -l -"),
        Command("service", "install", "service", "print a systemd unit or a crontab line for workers"),
    )
}

# Words that people's fingers know.
ALIASES = {
    "add": ["enqueue"],
    "ls": ["list"],
    "rm": ["cancel"],
    "log": ["logs"],
    "follow": ["logs", "-f"],
    "clean": ["prune"],
    "ps": ["worker", "list"],
}

# Were -0 an option of argparse's, it would take -3 for one too: --priority -3.
SHORT = {"-0": "--null"}

GROUPS = {
    "worker": "start, stop, restart and list workers",
    "dlq": "the dead letter queue: jobs that failed for good",
    "config": "settings of later jobs",
}


def command_place(words: list[str]) -> int | None:
    """Where the command's name is: the first word that is no option, nor the value of one."""
    is_value = False
    for place, word in enumerate(words):
        if not is_value and not word.startswith("-"):
            return place
        is_value = word in ("--db", "--color") and not is_value
    return None
