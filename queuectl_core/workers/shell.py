"""Run a command without the shell, exactly as the shell would have run it.

A command that the shell would merely split into words (see direct.py) is executed directly, which saves most of what a
short job costs. What else a shell does depends on the shell: dash drops variables whose names aren't identifiers, bash
and busybox count SHLVL, bash complains about an unknown locale, and each has its own builtins. So we ask /bin/sh
itself, once per program and set of variables, whether the program is one to it and which environment it passes on.

If it says anything unexpected, or the program can't be executed, the shell runs the command. So messages and exit
codes are always its own. One thing differs where the shell would have forked: the program's parent is the worker, and
it leads its session, as it does where /bin/sh is bash. And busybox's shell ignores SIGQUIT, which is reset here.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import stat
import time

from .. import direct, settings
from ..lifecycle import Outcome
from .output import Output
from .process import CannotStart, Command, Invocation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Optional, Tuple

    from ..lifecycle import Job
    from ..settings import Config
    from .inbox import Inbox

    # The variables that the shell changes in a command's environment; None for those that it drops.
    Changes = Dict[bytes, Optional[bytes]]
    # What an answer depends on: the job's own variables, and the program that the shell must search.
    About = Tuple[Optional[str], str]

SHELL = b"/bin/sh"
ELSEWHERE = b"/dev"  # Where we ask. It exists everywhere, and OLDPWD is hardly ever this.
PATIENCE = 5.0  # Seconds until a shell that hasn't answered is killed.
LONGEST_ANSWER = 4 * 1024 * 1024  # Bytes.
MOST_ANSWERS = 300
SILENT = (signal.SIGINT, signal.SIGPIPE)  # Shells that report signals say nothing about these.


class Shell:
    """What /bin/sh told a worker, so that the worker can do without it."""

    def __init__(self, inbox: Inbox, null: int) -> None:
        """`null` is a descriptor of an empty file, the standard input of a shell that we ask."""
        self._inbox = inbox
        self._null = null
        self._answers: dict[About, Changes | None] = {}
        self._seen: set[About] = set()
        self._reports: tuple[Outcome, bytes, bytes] | None = None

    def bypass(self, config: Config, job: Job, invocation: Invocation) -> Invocation | None:
        """How to run the job without a shell, given how to run it with one; None if it needs one.

        Raises CannotStart if it had to ask the shell, but couldn't start it.
        """
        if settings.of_queue(config, job.queue, "direct") != "on":
            return None
        if "runner" in config or f"{job.queue}.runner" in config:
            return None  # Even /bin/sh -c: what a user sets is what runs.
        words = direct.split(job.command)
        changes = self._changes(job.env, words[0], invocation) if words else None
        if not words or changes is None:
            return None
        environment = dict(invocation.environment)
        for name, value in changes.items():
            if value is None:
                environment.pop(name, None)
            else:
                environment[name] = value
        argv = [word.encode("utf-8", "surrogateescape") for word in words]
        try:
            os.chdir(invocation.cwd)
            environment[b"PWD"] = _working_directory(environment.get(b"PWD", b""))
            program = _find(argv[0], environment.get(b"PATH", b""))
        except OSError:
            return None
        return Invocation(argv, invocation.cwd, environment, invocation.stdin, invocation.lock, program)

    def _changes(self, env: str | None, program: str, invocation: Invocation) -> Changes | None:
        """What the shell changes in the environment of `program`; None if it isn't a program to it, or unknown."""
        about = (env, "" if "/" in program else program)
        if about in self._answers:
            return self._answers[about]
        if env and about not in self._seen:
            # Each job may have others, and a question costs as much as a shell. So ask if the same come again.
            if len(self._seen) >= MOST_ANSWERS:
                self._seen.clear()
            self._seen.add(about)
            return None
        if len(self._answers) >= MOST_ANSWERS:
            self._answers.clear()
        self._answers[about] = self._ask(about[1], invocation)
        return self._answers[about]

    def _ask(self, program: str, invocation: Invocation) -> Changes | None:
        given = dict(invocation.environment)
        if b"PWD" in given:
            given[b"PWD"] = b"?"  # It must set a wrong one.
        question = b"exec env -0"  # Not `env`: after another command, bash would count SHLVL differently.
        if program:
            question = b"command -v " + shlex.quote(program).encode("utf-8", "surrogateescape") + b" && " + question
        outcome, printed, complaints = self._run(question, invocation._replace(environment=given))
        path, _, printed = printed.partition(b"\n") if program else (b"/", b"", printed)
        passed = dict(variable.partition(b"=")[::2] for variable in printed.split(b"\0")[:-1])
        if outcome != Outcome("exit", 0) or complaints or not path.startswith(b"/"):  # A builtin has no path.
            return None
        changes: Changes = {name: None for name in given if name not in passed}
        changes.update((name, value) for name, value in passed.items() if given.get(name) != value)
        changes.pop(b"_", None)
        # Of what depends on the directory, we know only PWD. zsh sets OLDPWD too.
        if changes.pop(b"PWD", None) != ELSEWHERE or ELSEWHERE in changes.values():
            return None
        return changes

    def killed(self, number: int, dumped_core: bool, invocation: Invocation) -> tuple[Outcome, bytes]:
        """How the shell reports that a signal killed its command: the outcome, and what it prints to stderr."""
        try:
            self._reports = self._reports or self._run(b"sh -c 'kill $$'", invocation)
        except CannotStart:
            return Outcome("signal", number), b""
        outcome, _, printed = self._reports
        if outcome != Outcome("exit", 128 + signal.SIGTERM):  # It executed the command in its own place.
            return Outcome("signal", number), b""
        name = (signal.strsignal(number) or "") + (" (core dumped)" if dumped_core else "")
        if number in SILENT:
            printed = b""
        return Outcome("exit", 128 + number), printed.replace(b"Terminated", name.encode())

    def _run(self, question: bytes, invocation: Invocation) -> tuple[Outcome, bytes, bytes]:
        """Ask the shell, in the environment of `invocation`; returns how it ended, its stdout and its stderr."""
        output = Output(LONGEST_ANSWER)
        asked = invocation._replace(argv=[SHELL, b"-c", question], cwd=ELSEWHERE, stdin=self._null, program=None)
        command = Command(asked, PATIENCE, 0.0, output)
        self._inbox.watch(command.fds)
        try:
            while command.outcome is None:
                readable, _ = self._inbox.wait(max(0.0, command.due_at() - time.monotonic()))
                for fd in readable:
                    command.read(fd)
                command.check()
        finally:
            self._inbox.watch([])
        stdout, stderr = (
            b"".join(data for _, stream, data in output.pending().fresh if stream == number) for number in (1, 2)
        )
        return command.outcome, stdout, stderr


def _working_directory(given: bytes) -> bytes:
    """PWD for a command in the current directory, which may be the one `given`.

    Raises OSError if only the shell can tell. Source: POSIX.1-2017, Shell Command Language, section 2.5.3.
    """
    here = os.getcwdb()
    if given in (b"", here):
        return here
    is_absolute = given.startswith(b"/")
    if is_absolute and not _is_here(given):
        return here
    if not is_absolute or given.startswith(b"//") or os.path.normpath(given) != given:
        raise OSError(errno.EINVAL, "a name that not all shells keep")
    return given


def _is_here(path: bytes) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.stat(b"."))
    except OSError:
        return False


def _find(program: bytes, path: bytes) -> bytes:
    """The file that `program` names, searching `path`. Raises OSError if there is none, or only the shell can tell."""
    if b"/" in program:
        return program
    folders = path.split(b":")
    for folder in folders:
        if not folder.startswith(b"/") or b"%" in folder:
            break  # In dash "%" has a meaning, and what such a folder is called differs.
        file = folder + b"/" + program
        if os.access(file, os.X_OK) and stat.S_ISREG(os.stat(file).st_mode):
            return file
    raise FileNotFoundError(errno.ENOENT, "no such program")
