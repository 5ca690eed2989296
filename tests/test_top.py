"""`top` in a real terminal: sizes, signals, colors, a file that is locked or disappears, and what it costs."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import unittest

from queuectl_core.cells import width
from queuectl_core.store.sql import SCHEMA_VERSION
from tests.harness import IS_ROOT, PROGRAM, ROOT, QueueTestCase, wait_until
from tests.terminal_screen import TMUX, Pty, Tmux, cpu_seconds

COMMAND = f"{sys.executable} {PROGRAM} top; echo exit code $?; stty -a | grep -o ' echo '; exec sleep 600"


def add_jobs(case: QueueTestCase, count: int) -> None:
    """Add completed jobs in one statement."""
    case.run_cli("config", "set", "timeout", "60")  # Creates the file.
    case.rows(
        "INSERT INTO queuectl_jobs (id, command, state, ready, finished_at) WITH RECURSIVE n (i) AS"
        f" (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"
        " SELECT 'job' || i, 'echo ' || i, 'completed', NULL, 1e9 + i FROM n"
    )


@unittest.skipUnless(TMUX, "tmux is not installed")
class ScreenTest(QueueTestCase):
    def top(self, columns: int = 80, lines: int = 24, **env: str | None) -> Tmux:
        words = " ".join(f"{name}={value}" for name, value in env.items())
        return Tmux(self, f"env {words} {COMMAND}", columns, lines)

    def test_it_adapts_to_every_size_and_quits_to_a_clean_terminal(self):
        self.enqueue("--id", "first", "-q", "mail", "echo hello")
        top = self.top(80, 24)
        top.wait_for("QUEUES", "WORKERS", "JOBS", "first", "q quit")
        top.resize(200, 50)
        screen = top.wait_for("y commands", "UP")
        line = next(line for line in screen.split("\n") if "QUEUES" in line)
        self.assertIn("WORKERS", line)  # They are next to each other.
        top.resize(20, 5)
        top.wait_for("Too small", "needs 60x16", absent="first")
        top.resize(80, 24)
        top.wait_for("QUEUES", "first", "q quit", absent="Too small")
        top.press("q")
        top.wait_for("exit code 0", "\n echo", absent="QUEUES")

    def test_keys_of_a_real_terminal_arrive(self):
        self.enqueue("--id", "job-0", "true")
        self.rows(
            "INSERT INTO queuectl_jobs (id, command) WITH RECURSIVE n (i) AS"
            " (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60) SELECT 'job-' || i, 'true' FROM n"
        )
        top = self.top()
        top.wait_for("1 of 61")
        for key, place in (
            ("Down", 2), ("j", 3), ("NPage", 17), ("PPage", 3), ("End", 61), ("Home", 1), ("G", 61), ("k", 60),
            ("Up", 59), ("g", 1),
        ):  # fmt: skip
            top.press(key)
            top.wait_for(f"{place} of 61")
        top.press("Tab", "BTab", "Enter")
        top.wait_for("It has not run yet")
        top.press("Escape")
        top.wait_for("JOBS")
        top.press("/")
        top.type("job-33é")
        top.press("BSpace", "Enter")
        top.wait_for('with "job-33"', "1 of 1")
        top.press("C")
        top.wait_for("Cancel job job-33?", "queuectl cancel job-33")
        top.press("y")
        top.wait_for("cancelled job-33", "⊘ cancelled")
        self.assertEqual(self.state("job-33"), "cancelled")

    def test_live_output_of_ten_thousand_lines_is_followed_and_scrolled(self):
        loud = "seq -f 'line %.0f' 10000; while [ ! -e stop ]; do sleep 0.05; done; echo end"
        self.enqueue("--id", "loud", "--", loud)
        self.start_workers()
        top = self.top(120, 40)
        top.wait_for("▸ busy", "loud")
        top.press("Enter")
        top.wait_for("line 10000", "following")
        top.press("Home")
        top.wait_for("line 1\n", "line 1 to", absent="line 10000")
        top.press("End")
        top.wait_for("line 10000", "following")
        self.write("stop", "")
        top.wait_for("completed", "end\n", absent="following")

    def test_suspending_restores_the_terminal_and_continuing_draws_again(self):
        self.enqueue("--id", "first", "true")
        top = Tmux(self, "env PS1='prompt> ' bash --norc -i", 80, 24)
        top.wait_for("prompt>")
        top.type(f"{sys.executable} {PROGRAM} top")
        top.press("Enter")
        top.wait_for("JOBS", "first")
        top.press("C-z")
        top.wait_for("Stopped", "prompt>", absent="JOBS")
        top.type("stty -a | grep -o ' echo ' && fg")
        top.press("Enter")
        top.wait_for("JOBS", "first", absent="prompt>")
        top.press("Down", "q")
        top.wait_for("prompt>", absent="JOBS")

    def test_colors_are_used_unless_no_color_or_the_terminal_has_none(self):
        self.enqueue("--id", "first", "true")
        for environment, has_color in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "vt100"}, False)):
            top = self.top(**environment)
            top.wait_for("JOBS")
            screen = top.screen(colors=True)
            self.assertEqual("\033[36m" in screen or "\033[36;" in screen, has_color, environment)
            self.assertIn("pending", screen)
            top.stop()

    def test_without_unicode_symbols_are_ascii(self):
        self.enqueue("--id", "first", "echo é")
        screen = self.top(LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0").wait_for(". pending", "echo \\xe9")
        self.assertTrue(screen.isascii())

    def test_wide_and_hostile_text_stays_in_its_columns(self):
        self.run_cli("config", "set", "timeout", "60")
        hostile = ("作业一二三", "👩\u200d💻 deploy", "e\u0301\u0302 x", "\x1b[2J\x1b]0;t\x07", "\u202eabc")
        for number, text in enumerate(hostile):
            self.rows("INSERT INTO queuectl_jobs (id, command) VALUES (?, 'FINIS')", f"{number} {text}")
        screen = self.top(100, 30).wait_for("作业一二三", "deploy", "\\u202eabc", "\\x1b[2J")
        starts = [width(line[: line.index("FINIS")]) for line in screen.split("\n") if "FINIS" in line]
        self.assertEqual(starts, [starts[0]] * 5, ascii(screen))

    def test_a_file_that_is_locked_removed_or_replaced_leaves_the_last_screen(self):
        self.enqueue("--id", "first", "true")
        top = self.top(120, 40)
        top.wait_for("first")
        os.rename(self.db, self.db + ".away")
        top.wait_for("first", "removed or replaced", "old")
        top.press("Down", "y")
        top.wait_for("queuectl show first")
        top.press("Escape", "+")
        top.wait_for("no queue yet")
        os.rename(self.db + ".away", self.db)
        top.wait_for("first", absent="old")
        self.run_cli("--db", self.path("other"), "enqueue", "--id", "other", "true")
        os.rename(self.path("other"), self.db)
        top.wait_for("other", absent="first")
        top.press("q")
        top.wait_for("exit code 0")

    def press_until(self, top: Tmux, key: str, text: str) -> None:
        """Press a key until the screen shows a text: a key is ignored just after the list has moved under it."""

        def shows() -> bool:
            if text not in top.screen():
                top.press(key)
                return False
            return True

        wait_until(shows, message=f"no {text!r} after {key}")

    @unittest.skipUnless(not IS_ROOT or shutil.which("setpriv"), "root needs setpriv to drop its capabilities")
    def test_a_read_only_file_is_shown_and_a_change_says_why_not(self):
        self.enqueue("--id", "first", "true")
        self.run_cli("backup", "copy")
        os.chmod(self.path("copy"), 0o444)
        drop = "setpriv --bounding-set=-all --inh-caps=-all " if IS_ROOT else ""
        top = Tmux(self, f"{drop}{sys.executable} {PROGRAM} --db copy top; exec sleep 600", 80, 24)
        screen = wait_until(lambda: ("first" in top.screen() and top.screen()) or "setpriv" in top.screen())
        if screen is True:
            self.skipTest("root cannot drop its capabilities here")
        self.press_until(top, "+", "copy: not writable")
        self.press_until(top, "C", "Cancel job first?")
        top.press("y")
        top.wait_for("copy: not writable", "pending")

    def test_a_locked_file_leaves_the_last_screen(self):
        self.enqueue("--id", "first", "true")
        # Without WAL mode, which another program has switched off and keeps from being set, a writer locks out readers.
        blocker = sqlite3.connect(self.db, isolation_level=None)
        self.addCleanup(blocker.close)
        blocker.execute("PRAGMA journal_mode = DELETE")
        blocker.execute("BEGIN")
        blocker.execute("SELECT * FROM queuectl_jobs").fetchall()
        top = self.top(120, 40)
        top.wait_for("first")
        blocker.execute("ROLLBACK")
        blocker.execute("BEGIN EXCLUSIVE")
        top.wait_for("first", "locked by another program", "s old")
        blocker.execute("ROLLBACK")
        top.wait_for("first", absent="locked")


class TerminalTest(QueueTestCase):
    """On a pseudo-terminal."""

    def setUp(self) -> None:
        super().setUp()
        self.enqueue("--id", "first", "true")
        self.rows("UPDATE queuectl_jobs SET created_at = created_at - 86400")

    def top(self, *words: str, **environment: str | None) -> Pty:
        pty = Pty(self, "top", *words, **environment)
        pty.wait_for(b"first")
        return pty

    def test_signals_end_it_and_leave_the_terminal_clean(self):
        for number, code in (
            (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP), (signal.SIGINT, 130),
            (signal.SIGQUIT, -signal.SIGQUIT),
        ):  # fmt: skip
            top = self.top()
            top.process.send_signal(number)
            self.assertEqual(top.ended(), code)
            self.assertTrue(top.is_clean(), top.shown[-200:])
            self.assertNotIn(b"Traceback", top.shown)
        self.assertEqual(sorted(os.listdir(self.folder)), ["home", os.path.basename(self.db)])  # It closed the file.

    def test_control_c_ends_it(self):
        top = self.top()
        top.press(b"\x03")
        self.assertEqual(top.ended(), 130)
        self.assertTrue(top.is_clean())

    def test_a_closed_terminal_ends_it(self):
        top = self.top()
        top.close_terminal()
        wait_until(lambda: top.process.poll() is not None, 10, "it didn't end")
        self.assertEqual(top.process.returncode, -signal.SIGHUP)

    def test_a_closed_terminal_ends_it_even_under_nohup(self):
        top = Pty(self, "top", ignores_hangup=True)
        top.wait_for(b"first")
        top.close_terminal()
        wait_until(lambda: top.process.poll() is not None, 10, "it didn't end")

    def test_while_nothing_changes_nothing_is_written_and_little_cpu_is_used(self):
        top = self.top()
        top.read(1.0)
        before = cpu_seconds(top.process.pid)
        self.assertEqual(top.read(4.0), b"")
        used = cpu_seconds(top.process.pid) - before
        self.assertLess(used, 0.04, f"{used:.3f} s of processor time in 4 s")
        self.enqueue("--id", "second", "true")
        top.wait_for(b"second")

    def test_a_change_draws_little(self):
        top = self.top()
        top.read(0.5)
        top.press(b"+")
        top.wait_for(b"has priority 1 now")
        before = len(top.shown)
        self.rows("UPDATE queuectl_jobs SET priority = 7")
        top.read(1.5)
        self.assertLess(len(top.shown) - before, 400)

    def test_it_needs_a_terminal_that_can_be_redrawn(self):
        result = self.run_cli("top", code=2)
        self.assertEqual(result.stderr, "queuectl: top: needs a terminal; in a script, run: queuectl status --json\n")
        for term, text in (("dumb", b"TERM=dumb"), ("no-such", b"TERM='no-such'"), ("", b"TERM=unset")):
            pty = Pty(self, "top", TERM=term)
            self.assertEqual(pty.ended(), 2)
            self.assertIn(text, pty.shown)
            self.assertEqual(pty.shown.count(b"\n"), 1, pty.shown)

    def test_a_python_without_curses_is_named(self):
        self.write("curses.py", "raise ImportError(\"No module named '_curses'\")")
        pty = Pty(self, "top", PYTHONPATH=self.folder)
        self.assertEqual(pty.ended(), 1)
        self.assertIn(b"lacks the module curses; run: queuectl status --watch", pty.shown)
        self.assertEqual(pty.shown.count(b"\n"), 1)

    def test_a_file_that_cannot_be_read_gets_one_line_and_exit_code_3(self):
        notes = self.write("notes", "not a database\n" * 100)
        for path, text in ((notes, b"not a SQLite database"), (self.path("missing"), b"no queue yet")):
            pty = Pty(self, "top", "--db", path)
            self.assertEqual(pty.ended(), 3)
            self.assertIn(text, pty.shown)
            self.assertEqual(pty.shown.count(b"\n"), 1, pty.shown)
        self.rows("UPDATE queuectl_meta SET value = ? WHERE key = 'schema'", SCHEMA_VERSION + 1)
        pty = Pty(self, "top")
        self.assertEqual(pty.ended(), 3)
        self.assertIn(b"created by a newer queuectl", pty.shown)

    def test_many_jobs_cost_no_more(self):
        self.run_cli("cancel", "first")
        add_jobs(self, 100_000)
        top = Pty(self, "top")
        began = time.monotonic()
        top.wait_for(b"job100000")
        self.assertLess(time.monotonic() - began, 5)
        top.press(b"/job77777")
        top.wait_for(b"echo 77777")


class LayoutTest(unittest.TestCase):
    def test_curses_is_imported_for_top_only(self):
        for module, is_loaded in (("cli.top", False), ("cli.status", False), ("views.top", True)):
            script = f"import sys; import queuectl_core.{module}; print('curses' in sys.modules)"
            shown = subprocess.run([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
            self.assertEqual(shown.decode().strip(), str(is_loaded), module)


if __name__ == "__main__":
    unittest.main()
