"""A queue as shell users see it: `queuectl` and other programs on PATH, pipelines, a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import shlex
import struct
import subprocess
import termios
from typing import Any

from tests.harness import LONGEST_RUN, PROGRAM, PYTHON, CommandResult, QueueTestCase, shown_on


def terminal(columns: int) -> tuple[int, int]:
    """Open a pseudo-terminal; return our end and that of a program."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    return ours, theirs


class ShellTestCase(QueueTestCase):
    """A test that runs scripts in /bin/sh."""

    def setUp(self) -> None:
        super().setUp()
        self.programs = self.path("bin")
        os.mkdir(self.programs)
        self.environment["PATH"] = self.programs + os.pathsep + self.environment["PATH"]
        self.put_on_path("queuectl", f'exec {shlex.join([*PYTHON, PROGRAM])} "$@"')

    def put_on_path(self, name: str, script: str) -> None:
        """Put a program first on PATH; `script` is its text for /bin/sh."""
        path = os.path.join(self.programs, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\n{script}\n")
        os.chmod(path, 0o755)

    def start_sh(self, script: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a script in the test's folder; `options` are Popen's."""
        process = subprocess.Popen(["/bin/sh", "-c", script], env=self.environment, cwd=self.folder, **options)
        self._started.append(process)
        return process

    def sh(self, script: str, code: int = 0, input: bytes = b"") -> CommandResult:
        """Run a script and wait for it; `code` is the expected exit code."""
        process = self.start_sh(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        stdout, stderr = process.communicate(input, timeout=LONGEST_RUN)
        result = CommandResult(process.returncode, stdout, stderr)
        said = f"{script:.1000}\nstdout: {result.stdout:.2000}\nstderr: {result.stderr:.2000}"
        self.assertNotIn("Traceback", result.stdout + result.stderr, said)
        self.assertEqual(result.code, code, said)
        return result

    def on_terminal(self, script: str, code: int = 0, columns: int = 80) -> str:
        """Run a script on a terminal; return what it printed there."""
        ours, theirs = terminal(columns)
        process = self.start_sh("export TERM=xterm; " + script, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown = shown_on(ours)
        self.assertEqual(process.wait(LONGEST_RUN), code, shown)
        return shown.decode("utf-8", "replace").replace("\r\n", "\n")
