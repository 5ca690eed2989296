"""The registry of commands.

Only the module of the command being run is imported, and only its parser is built: shell loops call queuectl many
times, and `enqueue` must not pay for `worker start`.
"""

from __future__ import annotations

from ..typed import NamedTuple


class Command(NamedTuple):
    """A command: its name (two words if it belongs to a group), and the module and function that handle it.

    In the same module, the function `HANDLER_arguments` adds the command's arguments to a parser.
    """

    name: str
    module: str
    handler: str
    help: str


# Commands for which the words after "--" are a command line of their own.
TAKES_WORDS = ("enqueue", "completion", "schedule add", "schedule edit")

COMMANDS = {
    command.name: command
    for command in (
        Command("enqueue", "enqueue", "enqueue", "add jobs: a command, JSON, or many lines at once"),
        Command("worker start", "workers", "start", "start workers"),
        Command("worker stop", "workers", "stop", "stop workers, immediately or after their current jobs"),
        Command("worker restart", "workers", "restart", "replace workers with new ones that run the current code"),
        Command("worker list", "workers", "list_workers", "list running workers"),
        Command("status", "status", "status", "summarize jobs, workers, and the dead letter queue"),
        Command("top", "top", "top", "watch the queue live on a terminal, and act on jobs and queues"),
        Command("list", "jobs", "list_jobs", "list jobs, newest first"),
        Command("show", "jobs", "show", "show everything about a job, including its attempts"),
        Command("logs", "logs", "logs", "print or follow the output of jobs"),
        Command("stats", "stats", "stats", "show throughput, success rate, waiting and run times over a period"),
        Command("failures", "failures", "failures", "group failures by their cause"),
        Command("progress", "report", "progress", "inside a job: report how much is done"),
        Command("wait", "wait", "wait", "wait for jobs to finish"),
        Command("cancel", "cancel", "cancel", "cancel jobs, including running ones"),
        Command("retry", "change", "retry", "run finished or failed jobs again, with all their retries"),
        Command("edit", "change", "edit", "change waiting jobs"),
        Command("hold", "hold", "hold", "keep waiting jobs from starting until they are released"),
        Command("release", "hold", "release", "release held jobs"),
        Command("suspend", "hold", "suspend", "stop the processes of running jobs until they are continued"),
        Command("continue", "hold", "continue_jobs", "continue suspended jobs"),
        Command("pause", "queues", "pause", "pause a queue, or all queues; running jobs finish"),
        Command("resume", "queues", "resume", "resume a paused queue, or all queues"),
        Command("prune", "prune", "prune", "delete finished jobs"),
        Command("dlq list", "dlq", "dlq_list", "list the dead letter queue"),
        Command("dlq retry", "dlq", "dlq_retry", "run dead jobs again, with all their retries"),
        Command("dlq purge", "dlq", "dlq_purge", "delete dead jobs"),
        Command("schedule add", "schedule_change", "schedule_add", "run a job periodically, or once at a given time"),
        Command("schedule list", "schedule_list", "schedule_list", "list schedules with their next and last runs"),
        Command("schedule show", "schedule_list", "schedule_show", "show everything about a schedule"),
        Command("schedule next", "schedules", "schedule_next", "print the next times of a schedule or an expression"),
        Command("schedule edit", "schedule_change", "schedule_edit", "change a schedule"),
        Command("schedule pause", "schedule_change", "schedule_pause", "keep schedules from adding jobs until resumed"),
        Command("schedule resume", "schedule_change", "schedule_resume", "resume paused schedules"),
        Command("schedule run", "schedule_change", "schedule_run", "enqueue a schedule's job now"),
        Command("schedule import", "schedule_import", "schedule_import", "add the jobs of a crontab as schedules"),
        Command("schedule remove", "schedule_change", "schedule_remove", "remove schedules; their jobs stay"),
        Command("metrics", "metrics", "metrics", "print metrics for Prometheus and compatible tools"),
        Command("dashboard", "dashboard", "dashboard", "show the queue in a browser"),
        Command("doctor", "doctor", "doctor", "check for problems and say how to fix them"),
        Command("backup", "backup", "backup", "copy the queue to a file, even while workers run"),
        Command("restore", "backup", "restore", "replace the queue with a backup"),
        Command("config set", "config", "config_set", "set a key; job settings apply to jobs enqueued later"),
        Command("config get", "config", "config_get", "print the value of a key"),
        Command("config list", "config", "config_list", "list all keys and values"),
        Command("config unset", "config", "config_unset", "reset a key to its default"),
        Command("export", "transfer", "export_jobs", "print all jobs and their history as JSON lines"),
        Command("import", "transfer", "import_jobs", "add jobs exported from this or another queue"),
        Command("bundle", "install", "bundle", "write queuectl as a single executable file"),
        Command("completion", "completion", "completion", "print a shell completion script"),
        Command("manual", "manual", "manual", "print the manual page: queuectl manual | man -l -"),
        Command("service", "install", "service", "print a systemd unit or crontab line to run workers"),
    )
}

# Names that users of other tools type from habit.
ALIASES = {
    "add": ["enqueue"],
    "ls": ["list"],
    "rm": ["cancel"],
    "log": ["logs"],
    "follow": ["logs", "-f"],
    "clean": ["prune"],
    "ps": ["worker", "list"],
}

# Not declared to argparse: an option that looks like a negative number makes it reject `--priority -3`.
SHORT = {"-0": "--null"}

GROUPS = {
    "worker": "start, stop, restart and list workers",
    "dlq": "the dead letter queue: jobs that failed permanently",
    "schedule": "jobs that run on a schedule: cron expressions, intervals and single times",
    "config": "show and change settings",
}


def takes_words(words: list[str], at: int | None) -> bool:
    """Whether the command at `at` takes the words after "--" as a command line."""
    return at is not None and (words[at] in TAKES_WORDS or " ".join(words[at : at + 2]) in TAKES_WORDS)


def command_place(words: list[str]) -> int | None:
    """The index of the command's name: the first word that isn't an option or an option's value. None without one."""
    is_value = False
    for index, word in enumerate(words):
        if not is_value and not word.startswith("-"):
            return index
        is_value = word in ("--db", "--color") and not is_value
    return None
