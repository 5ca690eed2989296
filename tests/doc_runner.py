"""Runs the code blocks of a Markdown document, which keeps its examples true.

Blocks run in order, in one shell session that starts with an empty HOME and with `queuectl` and `python3` on PATH.
The fence's language says how:

    console    "$ " starts a command and "> " continues it; all other lines are the expected
               output, stdout and stderr together
    sh         commands; each must succeed (if they mention queuectl.py, they run in the checkout)
    python     a program; it must succeed, and can import queuectl_core

Blocks in other languages are not run. In the output of a console block, these may differ:

    ids        8 letters and digits, such as 4k7rm2xp, match any generated id, but the same one
               wherever the document shows it, in commands too
    PIDs       numbers of 5 to 7 digits
    times      dates, times of day, durations (350ms, 4s, 2m05s), rates
    blanks     the width of columns
    …          alone on a line: any lines; at the end of a line: the rest of it

Comments before a fence, which readers don't see, apply to its block:

    <!-- not run: REASON -->
    <!-- needs: PROGRAM … -->      skip the block unless all are installed
    <!-- only if: COMMAND -->      skip the block if this command fails
    <!-- before: COMMANDS -->      run these first, to prepare what a reader already has

Tests add programs to the session's PATH with `DocumentTestCase.put_on_path`.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from typing import NamedTuple

from tests.harness import LONGEST_RUN, ROOT
from tests.shell import ShellTestCase

RUN = ("console", "sh", "python")
MARK = "\x1e"  # ASCII's record separator; the session prints it before and after each exit code.


class Block(NamedTuple):
    """A fenced block of a document."""

    path: str
    line: int
    section: str  # The heading above it.
    language: str
    text: str
    notes: dict[str, str]  # The comments before it, by keyword.


_PIECE = re.compile(
    r"^(?P<heading>#+ (?P<title>[^\n]+))$"
    r"|^<!-- (?P<note>not run|needs|only if|before): (?P<value>.*?) -->$"
    r"|^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)

# Output that differs from run to run, and what may replace it.
_ID = r"[0-9a-hjkmnp-tv-z]{8}"
_DURATION = r"(?:\d+ms|\d+s|\d+m\d\ds|\d+h\d\dm|\d+d(?:\d\dh)?)"
_VOLATILE = re.compile(
    r"(?P<moment>\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+Z)?)"
    r"|(?P<clock>\b\d\d:\d\d:\d\d\b)"
    rf"|(?P<duration>\b{_DURATION}\b)"
    r"|(?P<rate>\b[\d.]+/s\b)"
    r"|(?P<pid>\b\d{5,7}\b)"
    rf"|(?P<id>\b(?=[a-z]*\d)(?=\d*[a-z]){_ID}\b)"
    r"|(?P<lines>^…\n)"
    r"|(?P<end>^…\Z)"
    r"|(?P<rest>…$)"
    r"|(?P<blanks> +)",
    re.MULTILINE,
)
_REPLACEMENTS = {
    "moment": r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+Z)?",
    "clock": r"\d\d:\d\d:\d\d",
    "duration": _DURATION,
    "rate": r"[\d.]+/s",
    "pid": r"\d+",
    "lines": r"(?:.*\n)*?",
    "end": r"(?s:.*)",
    "rest": r".*",
    "blanks": r" +",
}


def blocks(path: str) -> list[Block]:
    """The fenced blocks of a document; `path` is relative to the checkout."""
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        document = file.read()
    found: list[Block] = []
    section, notes = "", {}
    for piece in _PIECE.finditer(document):
        if piece["heading"]:
            section = piece["title"]
        elif piece["note"]:
            notes[piece["note"]] = piece["value"]
        else:
            line = document.count("\n", 0, piece.start()) + 1
            found.append(Block(path, line, section, piece["language"], piece["text"], notes))
            notes = {}
    return found


def commands(block: Block) -> list[tuple[str, str]]:
    """The commands of a console block with their expected output."""
    found: list[list[str]] = []
    for line in block.text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append([line[2:], ""])
        elif line.startswith("> ") and found and not found[-1][1]:
            found[-1][0] += line[2:]
        elif found:
            found[-1][1] += line
        else:
            raise AssertionError(f"{block.path}:{block.line}: output before any command")
    return [(command, output) for command, output in found]


class DocumentTestCase(ShellTestCase):
    """A test that runs a document's commands, as a reader would."""

    def setUp(self) -> None:
        super().setUp()
        self.here = os.path.join(self.home, "demo")  # The reader's working directory.
        os.mkdir(self.here)
        del self.environment["QUEUECTL_DB"]
        self.environment.update(PYTHONPATH=ROOT, TZ="UTC", LC_ALL="C")
        self.put_on_path("python3", f'exec {shlex.quote(sys.executable)} "$@"')
        self._ids: dict[str, str] = {}  # Real ids, by the ids that the document shows.
        self._shell: subprocess.Popen[bytes] | None = None

    def run_document(self, path: str, section: str | None = None) -> None:
        """Run the blocks of a document, or of one section."""
        ran = 0
        for block in blocks(path):
            if section in (None, block.section) and block.language in RUN:
                ran += 1
                with self.subTest(place=f"{path}:{block.line}"):
                    self.run_block(block)
        self.assertGreater(ran, 0, f"no block to run in {path}, section {section}")

    def run_block(self, block: Block) -> None:
        """Run one block and compare its output with the document's."""
        if "not run" in block.notes:
            self.skipTest(f"{block.path}:{block.line}: {block.notes['not run']}")
        for program in block.notes.get("needs", "").split():
            if not shutil.which(program, path=self.environment["PATH"]):
                self.skipTest(f"{program} is not installed")
        if "only if" in block.notes and self._run(block.notes["only if"])[0]:
            self.skipTest(f"unmet condition: {block.notes['only if']}")
        if "before" in block.notes:
            self._succeed(block.notes["before"], block)
        if block.language == "console":
            for command, expected in commands(block):
                self._compare(command, expected, block)
        elif block.language == "python":
            self._succeed(f"python3 - <<'END OF PROGRAM'\n{block.text}END OF PROGRAM", block)
        else:
            checkout = f"cd {shlex.quote(ROOT)}\n" if "queuectl.py" in block.text else ""
            self._succeed(f"(set -e\n{checkout}{block.text})", block)

    def _succeed(self, command: str, block: Block) -> None:
        code, output = self._run(command)
        self.assertEqual(code, 0, f"{block.path}:{block.line}\n{command}\n{output}")

    def _compare(self, command: str, expected: str, block: Block) -> None:
        _, output = self._run(command)
        lines = [line.rstrip() for line in output.replace(self.home, "/home/you").splitlines()]
        output = "\n".join(lines)
        match = re.fullmatch(self._pattern(expected.rstrip("\n")), output)
        if not match:
            place = f"{block.path}:{block.line}"
            self.fail(f"{place}: $ {command}--- expected:\n{expected}--- printed:\n{output}")
        for name, id in match.groupdict().items():
            self._ids[name[len("id_") :]] = id

    def _pattern(self, expected: str) -> str:
        """A regular expression that matches the expected output."""
        pieces, end, new = [], 0, set()
        for piece in _VOLATILE.finditer(expected):
            pieces.append(re.escape(expected[end : piece.start()]))
            end = piece.end()
            id = piece["id"]
            if id is None:
                pieces.append(_REPLACEMENTS[piece.lastgroup])
            elif id in self._ids:
                pieces.append(re.escape(self._ids[id]))
            else:
                pieces.append(f"(?P=id_{id})" if id in new else f"(?P<id_{id}>{_ID})")
                new.add(id)
        return "".join(pieces) + re.escape(expected[end:])

    # --- the session -----------------------------------------------------------------------------

    def _run(self, command: str) -> tuple[int, str]:
        """Run a command in the session; return its exit code and its output."""
        if self._shell is None:
            self._shell = subprocess.Popen(
                ["/bin/sh"],
                cwd=self.here,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            self._started.append(self._shell)
        for shown, id in self._ids.items():
            command = command.replace(shown, id)
        # As in a terminal, the next command finds this one's exit code in `$?`.
        script = "{ %s\n} </dev/null; set -- $?; printf '%s%%d%s' $1; (exit $1)\n"
        self._shell.stdin.write((script % (command, MARK, MARK)).encode())
        self._shell.stdin.flush()
        printed, _, code = self._read(command).rpartition(MARK)[0].rpartition(MARK)
        return int(code), printed

    def _read(self, command: str) -> str:
        """Everything up to the second mark."""
        deadline, data = time.monotonic() + LONGEST_RUN, b""
        stream = self._shell.stdout.fileno()
        while data.count(MARK.encode()) < 2:
            left = deadline - time.monotonic()
            piece = os.read(stream, 65536) if select.select([stream], [], [], max(0, left))[0] else b""
            if not piece:
                self._shell.kill()
                self._shell = None  # The next block starts a new one.
                self.fail(f"still running: {command}\n{data.decode('utf-8', 'replace')}")
            data += piece
        return data.decode("utf-8", "replace")
