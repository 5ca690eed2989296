"""Runs the code blocks of a Markdown document, so documents can't show anything that isn't true.

Blocks run in the order of the document, in one shell session whose HOME is empty at first, with `queuectl` and
`python3` on PATH. The language of the fence says how:

    console    commands after "$ " (continued after "> "); all other lines are what the
               commands print, on stdout and stderr alike, and are compared
    sh         commands; each must succeed (in the checkout, where they call queuectl.py)
    python     a program; it must succeed, and can import queuectl_core

Other languages are not run. In the output of a console block, these may differ:

    ids        8 letters and digits, such as 4k7rm2xp: any generated id, but the same one wherever the
               document shows it, in commands too
    PIDs       numbers of 5 to 7 digits
    times      dates, times of day, durations (350ms, 4s, 2m05s), rates
    blanks     the width of columns
    …          alone on a line: any lines; at the end of a line: the rest of it

A comment before a fence, invisible to readers, can say more about the block:

    <!-- not run: REASON -->
    <!-- needs: PROGRAM … -->      skipped if one of them is not installed
    <!-- only if: COMMAND -->      skipped if this fails
    <!-- before: COMMANDS -->      run first: what a reader has but the test doesn't

`DocumentTestCase.stand_in` puts a program on the document's PATH.
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
from collections import namedtuple

from tests.harness import LONGEST_RUN, ROOT
from tests.shell import ShellTestCase

RUN = ("console", "sh", "python")
MARK = "\x1e"  # ASCII's record separator: around the exit code, after a command's output.

# A fenced block: `section` is the heading above it, `notes` are the comments before it, by keyword.
Block = namedtuple("Block", "path line section language text notes")

_PIECE = re.compile(
    r"^(?P<heading>#+ (?P<title>[^\n]+))$"
    r"|^<!-- (?P<note>not run|needs|only if|before): (?P<what>.*?) -->$"
    r"|^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)

# What a document can't know in advance, and what may be there instead.
_ID = r"[0-9a-hjkmnp-tv-z]{8}"
_DURATION = r"(?:\d+ms|\d+s|\d+m\d\ds|\d+h\d\dm|\d+d\d\dh)"
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
_MAY_BE = {
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


def blocks(path: str) -> list:
    """The fenced blocks of a document, given by its path in the checkout."""
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        document = file.read()
    found, section, notes = [], "", {}
    for piece in _PIECE.finditer(document):
        if piece["heading"]:
            section = piece["title"]
        elif piece["note"]:
            notes[piece["note"]] = piece["what"]
        else:
            line = document.count("\n", 0, piece.start()) + 1
            found.append(Block(path, line, section, piece["language"], piece["text"], notes))
            notes = {}
    return found


def commands(block: Block) -> list:
    """The commands of a console block, each with the output shown: (command, output)."""
    found = []
    for line in block.text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append([line[2:], ""])
        elif line.startswith("> ") and found and not found[-1][1]:
            found[-1][0] += line[2:]
        elif found:
            found[-1][1] += line
        else:
            raise AssertionError(f"{block.path}:{block.line}: output before any command")
    return [tuple(pair) for pair in found]


class DocumentTestCase(ShellTestCase):
    """A test that follows a document as a reader would."""

    def setUp(self) -> None:
        super().setUp()
        self.here = os.path.join(self.home, "demo")  # The reader's working directory.
        os.mkdir(self.here)
        del self.environment["QUEUECTL_DB"]
        self.environment.update(PYTHONPATH=ROOT, TZ="UTC", LC_ALL="C")
        self.stand_in("python3", f'exec {shlex.quote(sys.executable)} "$@"')
        self._ids = {}
        self._shell = None

    def run_document(self, path: str, section: str | None = None) -> None:
        """Run all blocks of a document, or those under one of its headings."""
        ran = 0
        for block in blocks(path):
            if section in (None, block.section) and block.language in RUN:
                ran += 1
                with self.subTest(place=f"{path}:{block.line}"):
                    self.run_block(block)
        self.assertGreater(ran, 0, f"nothing is run of {path}: {section}")

    def run_block(self, block: Block) -> None:
        """Run one block, and compare its output with what the document shows."""
        if "not run" in block.notes:
            self.skipTest("%s:%d: %s" % (block.path, block.line, block.notes["not run"]))
        for program in block.notes.get("needs", "").split():
            if not shutil.which(program, path=self.environment["PATH"]):
                self.skipTest(f"{program} is not installed")
        if "only if" in block.notes and self._run(block.notes["only if"])[0]:
            self.skipTest("not here: {}".format(block.notes["only if"]))
        if "before" in block.notes:
            self._succeed(block.notes["before"], block)
        if block.language == "console":
            for command, shown in commands(block):
                self._compare(command, shown, block)
        elif block.language == "python":
            self._succeed(f"python3 - <<'END OF PROGRAM'\n{block.text}END OF PROGRAM", block)
        else:
            checkout = f"cd {shlex.quote(ROOT)}\n" if "queuectl.py" in block.text else ""
            self._succeed(f"(set -e\n{checkout}{block.text})", block)

    def _succeed(self, command: str, block: Block) -> None:
        code, came = self._run(command)
        self.assertEqual(code, 0, f"{block.path}:{block.line}\n{command}\n{came}")

    def _compare(self, command: str, shown: str, block: Block) -> None:
        _, came = self._run(command)
        lines = [line.rstrip() for line in came.replace(self.home, "/home/you").splitlines()]
        came = "\n".join(lines)
        match = re.fullmatch(self._pattern(shown.rstrip("\n")), came)
        if not match:
            place = f"{block.path}:{block.line}"
            self.fail(f"{place}: $ {command}--- shown:\n{shown}--- came:\n{came}")
        for name, id in match.groupdict().items():
            self._ids[name[len("id_") :]] = id

    def _pattern(self, shown: str) -> str:
        """A regular expression for the output that is shown."""
        pieces, end, new = [], 0, set()
        for piece in _VOLATILE.finditer(shown):
            pieces.append(re.escape(shown[end : piece.start()]))
            end = piece.end()
            id = piece["id"]
            if id is None:
                pieces.append(_MAY_BE[piece.lastgroup])
            elif id in self._ids:
                pieces.append(re.escape(self._ids[id]))
            else:
                pieces.append(f"(?P=id_{id})" if id in new else f"(?P<id_{id}>{_ID})")
                new.add(id)
        return "".join(pieces) + re.escape(shown[end:])

    # --- the session -----------------------------------------------------------------------------

    def _run(self, command: str) -> tuple:
        """Run a command in the session; returns (exit code, what it printed)."""
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
        # `$?` of this command is what the next one finds, as in a terminal.
        script = "{ %s\n} </dev/null; set -- $?; printf '%s%%d%s' $1; (exit $1)\n"
        self._shell.stdin.write((script % (command, MARK, MARK)).encode())
        self._shell.stdin.flush()
        printed, _, code = self._read(command).rpartition(MARK)[0].rpartition(MARK)
        return int(code), printed

    def _read(self, command: str) -> str:
        """Everything up to the second mark."""
        until, data = time.monotonic() + LONGEST_RUN, b""
        stream = self._shell.stdout.fileno()
        while data.count(MARK.encode()) < 2:
            left = until - time.monotonic()
            piece = os.read(stream, 65536) if select.select([stream], [], [], max(0, left))[0] else b""
            if not piece:
                self._shell.kill()
                self._shell = None  # The next block starts a new one.
                self.fail("it did not end: {}\n{}".format(command, data.decode("utf-8", "replace")))
            data += piece
        return data.decode("utf-8", "replace")
