"""Runs command lines in forks of the test process: a hundred times a second, without starting Python for each."""

from __future__ import annotations

import importlib
import os
import pkgutil
import tempfile
from typing import Mapping

import queuectl_core
from queuectl_core.cli import main
from tests.harness import shown_on

# Imported here, or each fork would import what its command needs.
for module in pkgutil.walk_packages(queuectl_core.__path__, "queuectl_core."):
    importlib.import_module(module.name)


def run_forked(
    words: list[str], environment: Mapping[str, str], input: bytes = b"", terminal: tuple[int, int] | None = None
) -> tuple[int, bytes]:
    """The exit code of a command line and what it printed, to our end of a `terminal` if there is one, which is closed.

    `environment` replaces ours.
    """
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as output:
        stdin.write(input)
        stdin.seek(0)
        pid = os.fork()
        if pid == 0:
            _become(words, environment, stdin.fileno(), terminal[1] if terminal else output.fileno())
        if terminal:
            os.close(terminal[1])
            output.write(shown_on(terminal[0]))
        _, status = os.waitpid(pid, 0)
        output.seek(0)
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
        return code, output.read()


def _become(words: list[str], environment: Mapping[str, str], stdin: int, output: int) -> None:
    """In the child: run the command line and exit."""
    try:
        for fd, number in ((stdin, 0), (output, 1), (output, 2)):
            os.dup2(fd, number)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(environment["HOME"])
        main.sys.argv = ["queuectl", *words]
        main.main()
    finally:
        os._exit(71)


def is_bug(code: int, output: bytes) -> bool:
    """Whether a command failed in a way that no input may cause."""
    return code in (70, 71) or code < 0 or b"Traceback" in output
