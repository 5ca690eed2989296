"""Completion: the candidates, and what bash, zsh and fish make of them."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time

from queuectl_core.cli.completion import SCRIPTS
from tests.shell import ShellTestCase


class CandidatesTest(ShellTestCase):
    def candidates(self, *words: str) -> dict[str, str]:
        """Complete the last of `words`; returns {candidate: description}."""
        lines = self.run_cli("completion", "candidates", "--", *words).lines
        return dict(line.split("\t") for line in lines)

    def test_commands_and_subcommands_are_completed(self):
        self.assertEqual(list(self.candidates("li")), ["list"])
        everything = self.candidates("")
        self.assertTrue({"enqueue", "worker", "dlq", "ls", "ps"} <= set(everything))
        self.assertEqual(everything["ps"], "worker list")
        self.assertEqual(set(self.candidates("dlq", "")), {"list", "retry", "purge"})
        self.assertEqual(set(self.candidates("--quiet", "config", "s")), {"set"})
        self.assertEqual(self.candidates("nonsense", ""), {})
        self.assertFalse(os.path.exists(self.db))  # Completion creates no database.

    def test_options_and_their_values_are_completed(self):
        self.assertIn("--max-retries", self.candidates("enqueue", "--m"))
        self.assertTrue({"-s", "--state"} <= set(self.candidates("ls", "-")))
        self.assertIn("--version", self.candidates("--v"))
        self.assertEqual(set(self.candidates("list", "--state", "d")), {"dead"})
        self.assertEqual(set(self.candidates("list", "--state=d")), {"--state=dead"})
        self.assertEqual(set(self.candidates("list", "--state", "=", "d")), {"dead"})  # bash splits words at `=`.
        self.assertEqual(set(self.candidates("--color", "")), {"auto", "always", "never"})
        self.assertEqual(self.candidates("wait", "--timeout", ""), {})
        self.assertEqual(set(self.candidates("completion", "")), set(SCRIPTS))

    def test_file_names_are_left_to_the_shell(self):
        for words in (["enqueue", "--file", ""], ["--db", ""], ["enqueue", ""], ["enqueue", "--", "ls", ""]):
            self.assertEqual(self.run_cli("completion", "candidates", "--", *words, code=1).stdout, "")

    def test_current_ids_queues_and_settings_are_completed(self):
        for id, queue in (("a1", "mail"), ("b1", "mail"), ("b2", "web")):
            self.enqueue("--id", id, "-q", queue, "echo " + id)
        self.run_cli("cancel", "a1")
        self.assertEqual(
            self.candidates("show", ""),
            {"b2": "pending: echo b2", "b1": "pending: echo b1", "a1": "cancelled: echo a1"},
        )
        self.assertEqual(set(self.candidates("cancel", "b1", "b")), {"b1", "b2"})
        self.assertEqual(set(self.candidates("retry", "")), {"a1"})
        self.assertEqual(self.candidates("dlq", "retry", ""), {})
        self.assertEqual(set(self.candidates("enqueue", "--after", "b1,b")), {"b1,b1", "b1,b2"})
        self.assertEqual(set(self.candidates("list", "-q", "")), {"mail", "web"})
        self.assertEqual(set(self.candidates("pause", "m")), {"mail"})
        self.assertEqual(set(self.candidates("config", "set", "max-r")), {"max-retries"})
        self.assertEqual(set(self.candidates("config", "get", "web.li")), {"web.limit"})
        self.assertEqual(self.candidates("config", "set", "max-retries", ""), {})
        other = self.path("other.db")
        self.assertEqual(self.candidates("--db", other, "show", ""), {})

    def test_an_unreadable_database_prints_no_error(self):
        self.write("q.db", "not a database\n" * 100)
        self.assertEqual(self.run_cli("completion", "candidates", "--", "show", "").stderr, "")

    def test_an_unsupported_shell_is_refused(self):
        self.run_cli("completion", "tcsh", code=2)


class RealShellTest(ShellTestCase):
    def setUp(self) -> None:
        super().setUp()
        for id in ("first-job", "second-job"):
            self.enqueue("--id", id, "-q", "mail", "echo 'a: b'")
        for shell in SCRIPTS:
            self.write("completion." + shell, self.run_cli("completion", shell).stdout)

    def test_completion_works_in_bash(self):
        if not shutil.which("bash"):
            self.skipTest("bash is not installed")
        script = (
            "source completion.bash; complete() { COMP_WORDS=(queuectl \"$@\"); COMP_CWORD=$#;"
            " _queuectl queuectl \"${!#}\"; printf '%s|' \"${COMPREPLY[@]}\"; echo; };"
            " complete can; complete cancel sec; complete list --state de; complete dlq '';"
            " complete enqueue -F comp"
        )
        shown = subprocess.run(
            ["bash", "--norc", "-c", script],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            check=True,
        )
        self.assertEqual(shown.stderr, b"")
        *lines, files = shown.stdout.decode().splitlines()
        self.assertEqual(lines, ["cancel|", "second-job|", "dead|", "list|retry|purge|"])
        self.assertEqual(set(files.strip("|").split("|")), {"completion." + shell for shell in SCRIPTS})
        setup = "source completion.bash"
        self.type_and_expect(["bash", "--norc", "-i"], setup, "queuectl show sec\t", "show second-job")

    def test_completion_works_in_zsh(self):
        if not shutil.which("zsh"):
            self.skipTest("zsh is not installed")
        setup = "autoload -U compinit; compinit -u -D; source ./completion.zsh"
        self.type_and_expect(["zsh", "-f", "-i"], setup, "queuectl show sec\t", "show second-job")
        self.type_and_expect(["zsh", "-f", "-i"], setup, "queuectl cancel \t", "pending: echo 'a: b'")

    def test_completion_works_in_fish(self):
        if not shutil.which("fish"):
            self.skipTest("fish is not installed")
        for line, expected in (
            ("queuectl can", {"cancel"}), ("queuectl cancel s", {"second-job"}),
            ("queuectl list --state=de", {"--state=dead"}), ("queuectl pause ", {"mail"}),
            ("queuectl enqueue -F completion.f", {"completion.fish"}),
        ):  # fmt: skip
            shown = subprocess.run(
                ["fish", "--no-config", "-c", f"source completion.fish; complete -C '{line}'"],
                env=self.environment, cwd=self.folder, stdout=subprocess.PIPE, check=True,
            )  # fmt: skip
            candidates = {line.split("\t")[0] for line in shown.stdout.decode().splitlines()}
            self.assertEqual(candidates, expected, line)

    def type_and_expect(self, shell: list[str], setup: str, keys: str, expected: str) -> None:
        """Type `keys` into an interactive shell and wait until it shows `expected`."""
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(self.folder)
            os.execvpe(shell[0], shell, {**self.environment, "TERM": "dumb", "PS1": "> "})
        shown = b""
        try:
            os.write(terminal, setup.encode() + b"; echo re''ady\n")
            shown = self.read_until(terminal, b"ready\r\n", shown)
            os.write(terminal, keys.encode())
            shown = self.read_until(terminal, expected.encode(), shown[shown.rindex(b"ready\r\n") :])
        finally:
            os.close(terminal)
            os.kill(child, 9)
            os.waitpid(child, 0)

    def read_until(self, terminal: int, expected: bytes, shown: bytes) -> bytes:
        deadline = time.monotonic() + 20
        while expected not in shown:
            ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
            piece = os.read(terminal, 65536) if ready else b""
            if not piece:
                self.fail(f"expected {expected!r}, but the shell shows: {shown!r}")
            shown += piece
        return shown

