"""Progress: one line on a terminal's stderr, gone at the end, and a last line that says what was done."""

from __future__ import annotations

import io
import os
import pty
import re
import shlex
import signal
import unittest
from contextlib import redirect_stderr
from functools import partial
from unittest import mock

from queuectl_core.cli import progress
from queuectl_core.cli.terminal import size, terminal
from queuectl_core.values import counted
from tests.harness import shown_on, shown_until, sleep_to_see_nothing_happen, wait_until
from tests.patched import patched
from tests.shell import ShellTestCase

# Draws at once, and every time.
EAGER = """
from queuectl_core.cli import progress
progress.INTERVAL = 0
progress.Progress.__init__.__defaults__ = (True, 0)
"""


def left_on(shown: str) -> list[str]:
    """The lines that a terminal still shows after `shown`: a carriage return overwrites, and ESC [K erases."""
    lines = []
    for line in shown.split("\n"):
        left = ""
        for part in line.split("\r"):
            text, erased, rest = part.partition("\x1b[K")
            left = text + rest if erased else text + left[len(text) :]
        lines.append(left)
    return [line for line in lines if line]


class ScreenTest(ShellTestCase):
    def command(self, *words: str) -> str:
        """A command line that draws progress even if it takes no time."""
        return shlex.join(patched(EAGER, *words))

    def check(self, script: str, drawn: str, left: list[str], code: int = 0) -> None:
        """Run a script on a terminal. It must draw something that matches `drawn`, and leave these lines (patterns)."""
        shown = self.on_terminal(script, code)
        self.assertTrue(re.search(drawn, shown), (drawn, shown))
        lines = left_on(shown)
        self.assertEqual(len(lines), len(left), lines)
        for line, pattern in zip(lines, left):
            self.assertRegex(line, f"^{pattern}$")

    def test_enqueue_counts_the_jobs_of_a_stream(self):
        enqueue = self.command("enqueue", "--each", "true {}", "-")
        self.check(f"seq 3000 | {enqueue} >ids", "3,000 jobs enqueued", [r"enqueued 3,000 jobs in \d.*s"])
        self.assertEqual(len(self.read("ids").split()), 3000)

    def test_progress_is_not_drawn_among_ids_or_what_another_program_draws(self):
        enqueue = self.command("enqueue", "--each", "true {}", "-")
        for script in (f"seq 3 | {enqueue}", f"seq 3 | {enqueue} | cat"):
            shown = self.on_terminal(script)
            self.assertNotIn("\x1b", shown)
            self.assertEqual(len(shown.split()), 3, shown)
        self.assertEqual(self.on_terminal(f"seq 3 | {self.command('--quiet', 'enqueue', '-')} >ids"), "")

    def test_export_and_import_count_jobs_and_end_with_a_line(self):
        self.enqueue_lines(["true"] * 2000)
        drawn = r"\[#+\.*\] [\d,]+/2,000 jobs exported"
        self.check(f"{self.command('export')} >jobs", drawn, ["exported 2,000 jobs in .*"])
        other = self.command("--db", self.path("other.db"), "import", "jobs")
        self.check(other, "(?s)2,000 jobs read.*2,000/2,000 jobs imported", ["imported 2,000 jobs"])
        self.check(other, "jobs imported", ["imported 0 jobs; skipped 2,000 that already exist"])
        self.assertEqual(len(self.sh(f"{other.replace('other.db', 'third.db')}").lines), 2000)

    def test_prune_counts_jobs_and_says_what_it_returned(self):
        self.enqueue_lines(["true"] * 2000)
        self.run_cli("cancel", "--all")
        prune = self.command("prune", "-s", "cancelled")
        left = [r"deleted 2,000 jobs; returned \d.* to the disk"]
        self.check(prune, r"\[#+\.*\] [\d,]+/2,000 jobs deleted", left)
        self.assertEqual(left_on(self.on_terminal(prune)), ["no jobs to delete"])

    def test_bulk_commands_count_jobs(self):
        self.enqueue_lines(["true"] * 2000)
        self.check(self.command("cancel", "--all"), "[0-9,]+/2,000 jobs cancelled", ["cancelled 2,000 jobs"])

    def test_backup_and_restore_show_how_much_was_copied(self):
        self.enqueue_lines(["true # " + "x" * 1000] * 20000)
        self.check(
            self.command("backup", "copy"),
            r"(?s)\[#+\.*\] \d+% copied.*checking the copy",
            [rf"Backed up to {self.folder}/copy \(\d.* MiB\)\. Don't run workers on both: .*"],
        )
        left = [rf"Restored 20,000 jobs from {self.folder}/copy\."]
        self.check(self.command("restore", "--force", "copy"), r"\[#+\.*\] \d+% copied", left)

    def test_compacting_says_so(self):
        self.create_queue()
        self.check(self.command("prune", "--compact"), "rewriting the file", [".*the file takes .* KiB"])

    def test_a_bar_shows_the_rate_and_ends_with_a_summary(self):
        self.sh("seq 20 | queuectl enqueue --each 'until [ -e go ]; do sleep 0.02; done; sleep 0.05; true {}' - >ids")
        self.sh("queuectl enqueue --max-retries 0 false >>ids")
        ours, theirs = pty.openpty()
        process = self.start_sh(f"TERM=xterm {self.command('wait', '-')} <ids", stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown = shown_until(ours, b"0/21 jobs")
        self.start_workers()
        self.write("go", "")
        shown += shown_on(ours)
        self.assertEqual(process.wait(20), 1)
        text = shown.decode().replace("\r\n", "\n")
        self.assertRegex(text, r"\[[#.]+\] \d+/21 jobs(, 1 failed)?, [\d.,]+/(s|min), \d+m?\d*s left")
        failed, summary = left_on(text)
        self.assertRegex(failed, "^job .* is dead: exit 1$")
        self.assertRegex(summary, r"^20 done, 1 failed in \d.*s$")
        self.check("queuectl wait -q none", "", ["no unfinished jobs"])

    def test_ctrl_c_leaves_the_terminal_clean_and_the_jobs_running(self):
        self.enqueue_lines(["true"] * 3)
        ours, theirs = pty.openpty()
        process = self.start_cli("wait", stdin=theirs, stdout=theirs, stderr=theirs, env={"TERM": "xterm"})
        os.close(theirs)
        shown = shown_until(ours, b"0/3 jobs")
        process.send_signal(signal.SIGINT)
        shown += shown_on(ours)
        self.assertEqual(process.wait(20), 130)
        (line,) = left_on(shown.decode())
        self.assertRegex(line, "^stopped waiting after .*s: 3 of 3 jobs unfinished$")
        self.assertEqual(self.states(), {"pending": 3})


class TypingTest(ShellTestCase):
    def test_a_command_that_reads_what_is_typed_says_so(self):
        for words, typed in ((["enqueue", "-"], b"true\n"), (["wait", "-"], b""), (["import"], b"")):
            ours, theirs = pty.openpty()
            process = self.start_cli(*words, stdin=theirs, stdout=theirs, stderr=theirs)
            os.close(theirs)
            shown_until(ours, b"from this terminal; press Ctrl-D to finish")
            os.write(ours, typed + b"\x04")
            shown_on(ours)
            self.assertEqual(process.wait(20), 0, words)
        self.assertEqual(len(self.jobs()), 1)


class WaitWithoutTerminalTest(ShellTestCase):
    def test_wait_in_a_script_says_nothing_unless_there_is_no_worker(self):
        process = self.start_sh("queuectl enqueue true | queuectl wait - 2>said")
        wait_until(lambda: self.read("said"))
        self.assertEqual(self.read("said"), "1 job unfinished: no worker; run: queuectl worker start\n")
        sleep_to_see_nothing_happen(1.5)
        self.start_workers()
        self.assertEqual(process.wait(20), 0)
        self.assertEqual(len(self.read("said").splitlines()), 1)
        self.assertEqual(self.sh("queuectl enqueue true | queuectl wait -").stderr, "")


    def test_wait_in_a_script_says_once_what_only_a_user_ends(self):
        self.sh("queuectl enqueue --id h --hold true; queuectl enqueue --id b --after h true")
        self.sh("queuectl enqueue --id p -q mail true; queuectl pause mail")
        for id in "hbp":
            self.start_sh(f"queuectl wait {id} 2>said-{id}")
        expected = {
            "h": "held; run: queuectl release h",
            "b": "after h; job h: held; run: queuectl release h",
            "p": "queue mail is paused; run: queuectl resume mail",
        }
        for id, why in expected.items():
            said = f"said-{id}"
            wait_until(partial(self.read, said))
            self.assertEqual(self.read(said), f"1 job unfinished: {why}\n")


class LineTest(unittest.TestCase):
    """With a clock that the test sets, on a terminal of 40 columns."""

    def setUp(self) -> None:
        self.now = 100.0
        self.stderr = io.StringIO()
        for patch in (
            mock.patch.object(terminal, "shows_progress", lambda: True),
            mock.patch.object(progress.time, "monotonic", lambda: self.now),
            mock.patch.object(progress.os, "get_terminal_size", lambda fd: os.terminal_size((40, 24))),
            redirect_stderr(self.stderr),
        ):
            patch.__enter__()
            self.addCleanup(patch.__exit__, None, None, None)

    def drawn(self) -> list[str]:
        """What was drawn since the last call."""
        text = self.stderr.getvalue()
        self.stderr.seek(0)
        self.stderr.truncate()
        return re.findall("\r(.*?)\x1b\\[K", text)

    def test_a_quick_command_draws_nothing_and_a_slow_one_ten_lines_a_second(self):
        with progress.Progress() as line:
            for number in range(1000):
                self.now = 100 + number / 1000
                line.count(number, 1000, "jobs")
                if number == 290:
                    self.assertEqual(self.drawn(), [])
        self.assertEqual(len(self.drawn()), 7 + 1)  # The last one erases it.

    def test_the_rate_counts_from_the_first_update_and_the_time_left_follows_from_it(self):
        with progress.Progress() as line:
            line.count(500, 2000, "jobs")
            self.now += 1
            line.count(1000, 2000, "jobs")
            self.assertEqual(self.drawn(), ["1,000/2,000 jobs, 500/s, 2s left"])  # There is no room for the bar.

    def test_no_line_is_wider_than_the_terminal(self):
        with progress.Progress(patience=0) as line:
            line.show("作业" * 50)
            line.show("x" * 100, 0.5)
        for text in self.drawn():
            self.assertLessEqual(len(text.encode("utf-16-le")) // 2, 37)

    def test_a_message_erases_the_line_first(self):
        with progress.Progress(patience=0) as line:
            line.show("working")
            terminal.complain("hello")
        self.assertEqual(self.stderr.getvalue(), "\rworking\x1b[K\r\x1b[Khello\n")

    def test_numbers_are_grouped_and_agree_with_their_nouns(self):
        for number, text in {0: "0 jobs", 1: "1 job", 2: "2 jobs", 5000: "5,000 jobs"}.items():
            self.assertEqual(counted(number, "job"), text)
        self.assertEqual([size(number) for number in (1, 2, 2048)], ["1 byte", "2 bytes", "2.0 KiB"])

    def test_rates_and_times_are_short(self):
        for number, text in {1150: "1,150/s", 12: "12/s", 2.5: "2.5/s", 0.1: "6/min"}.items():
            self.assertEqual(progress.rate(number), text)
        for number, text in {0.04: "0.0s", 4.23: "4.2s", 65: "1m05s"}.items():
            self.assertEqual(progress.seconds(number), text)


if __name__ == "__main__":
    unittest.main()
