"""Programs in a real terminal: in tmux, which knows its screen, or on a pseudo-terminal, whose bytes can be counted."""

from __future__ import annotations

import fcntl
import itertools
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from typing import Any

from tests.harness import PROGRAM, Environment, QueueTestCase, wait_until

NUMBERS = itertools.count()
TMUX = shutil.which("tmux")


class Tmux:
    """A tmux server with one window, which runs a command."""

    def __init__(self, test: QueueTestCase, command: str, columns: int, lines: int, env: Environment | None = None):
        """`command` is a shell line. `env` adds to the test's environment."""
        # Each server has its own socket: one that was killed takes a moment to end.
        self._socket = test.path(f"tmux-{next(NUMBERS)}")
        self._environment = {**test.environment, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        for name, value in (env or {}).items():
            if value is None:
                self._environment.pop(name, None)
            else:
                self._environment[name] = value
        self.test = test
        size = ["-x", str(columns), "-y", str(lines)]
        self._tmux("-f", "/dev/null", "new-session", "-d", *size, command)
        test.addCleanup(self._tmux, "kill-server", check=False)

    def _tmux(self, *words: str, check: bool = True) -> str:
        result = subprocess.run(
            [TMUX or "tmux", "-S", self._socket, *words],
            env=self._environment,
            cwd=self.test.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if check and result.returncode:
            self.test.fail(f"tmux {' '.join(words)}: {result.stdout.decode()}")
        return result.stdout.decode("utf-8", "replace")

    def screen(self, colors: bool = False) -> str:
        """What the terminal shows; with `colors`, with SGR sequences."""
        return self._tmux("capture-pane", "-p", *(["-e", "-N"] if colors else []))

    def stop(self) -> None:
        """End the server and what runs in it."""
        self._tmux("kill-server")

    def press(self, *keys: str) -> None:
        """Press keys, in tmux's words ("Enter", "C-z", "j")."""
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        """Type text."""
        self._tmux("send-keys", "-l", text)

    def resize(self, columns: int, lines: int) -> None:
        """Change the size of the terminal."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(lines))

    def wait_for(self, *texts: str, absent: str | None = None) -> str:
        """Wait until the screen shows all these texts, and not `absent`; returns the screen."""

        def shows() -> str:
            screen = self.screen()
            is_there = all(text in screen for text in texts) and (absent is None or absent not in screen)
            return screen if is_there else ""

        return wait_until(shows, 20, lambda: f"no {texts} (or {absent!r}) on the screen:\n{self.screen()}")


class Pty:
    """A command of queuectl on a pseudo-terminal."""

    def __init__(self, test: QueueTestCase, *words: str, ignores_hangup: bool = False, **environment: Any):
        """An `environment` variable of None is removed. `ignores_hangup`: as under nohup."""
        self._env = {**test.environment, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        for name, value in environment.items():
            self._env.pop(name, None) if value is None else self._env.update({name: value})
        self.shown = b""
        self.controller, self.terminal = pty.openpty()
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.modes = termios.tcgetattr(self.terminal)
        self.process = subprocess.Popen(
            [sys.executable, "-c", IGNORE + LEADER if ignores_hangup else LEADER, sys.executable, PROGRAM, *words],
            env=self._env,
            cwd=test.folder,
            stdin=self.terminal,
            stdout=self.terminal,
            stderr=self.terminal,
            start_new_session=True,
        )
        test._started.append(self.process)
        test.addCleanup(self.close)

    def read(self, seconds: float) -> bytes:
        """What is written within this time."""
        until = time.monotonic() + seconds
        found = b""
        while True:
            ready, _, _ = select.select([self.controller], [], [], max(0, until - time.monotonic()))
            if not ready:
                self.shown += found
                return found
            try:
                piece = os.read(self.controller, 65536)
            except OSError:  # The other end is closed.
                piece = b""
            if not piece:
                self.shown += found
                return found
            found += piece

    def wait_for(self, text: bytes) -> None:
        """Wait until this text was written."""
        wait_until(lambda: self.read(0.02) is not None and text in self.shown, 20, lambda: f"{text!r}: {self.shown!r}")

    def press(self, keys: bytes) -> None:
        """Send keys."""
        os.write(self.controller, keys)

    def ended(self) -> int:
        """The exit code once the process has ended, or minus its signal."""

        def has_ended() -> bool:
            self.read(0)  # Otherwise it may wait for us to read.
            return self.process.poll() is not None

        wait_until(has_ended, 20, "it didn't end")
        self.read(0)
        return self.process.returncode

    def is_clean(self) -> bool:
        """Whether the terminal is as it was: its modes, the main screen, and a cursor."""
        same = termios.tcgetattr(self.terminal) == self.modes
        left = self.shown.rfind(b"\x1b[?1049l") > self.shown.rfind(b"\x1b[?1049h")
        has_cursor = max(self.shown.rfind(b"\x1b[?25h"), self.shown.rfind(b"\x1b[34h\x1b[?25h")) > self.shown.rfind(
            b"\x1b[?25l"
        )
        return same and left and has_cursor

    def close_terminal(self) -> None:
        """Close the terminal's end that a user looks at."""
        os.close(self.terminal)
        os.close(self.controller)
        self.controller = self.terminal = -1

    def close(self) -> None:
        """Close both ends."""
        for end in (self.controller, self.terminal):
            if end >= 0:
                os.close(end)
        self.controller = self.terminal = -1


IGNORE = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
# Makes the terminal that of its session, as a login does, and becomes the command.
LEADER = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used."""
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


