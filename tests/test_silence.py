"""`logs -f` says why nothing appears."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import unittest

from tests.harness import QueueTestCase, shown_on, shown_until, wait_until
from tests.test_progress import left_on


class SilenceTest(QueueTestCase):
    def said_by(self, *words: str) -> str:
        """What a following command says first."""
        with open(self.path("said"), "wb") as said:
            process = self.start_cli(*words, stdout=subprocess.DEVNULL, stderr=said)
        wait_until(lambda: self.read("said").endswith("\n"))
        process.kill()
        process.wait()
        return self.read("said").rstrip("\n")

    def test_it_names_what_a_job_waits_for_and_the_command_that_helps(self):
        self.enqueue("--id", "a", "true")
        self.assertEqual(self.said_by("logs", "-f", "a"), "job a is waiting: no worker; run: queuectl worker start")
        self.assertEqual(self.said_by("logs", "-f"), "1 job is waiting: no worker; run: queuectl worker start")
        self.enqueue("--id", "b", "--after", "a", "true")
        said = self.said_by("logs", "-f", "b")
        self.assertEqual(said, "job b is waiting: after a; job a: no worker; run: queuectl worker start")
        self.enqueue("--id", "c", "--delay", "2h", "true")
        self.assertRegex(self.said_by("logs", "-f", "c"), r"^job c is waiting: starts in (2h00m|1h59m)$")
        self.assertIn("3 jobs are waiting: ", self.said_by("logs", "-f"))
        self.run_cli("pause", "default")
        said = self.said_by("logs", "-f", "a")
        self.assertEqual(said, "job a is waiting: queue default is paused; run: queuectl resume default")
        self.run_cli("pause")
        said = self.said_by("logs", "-f", "a")
        self.assertEqual(said, "job a is waiting: all queues are paused; run: queuectl resume")

    def test_a_silent_job_is_reported_as_running_unless_its_worker_died(self):
        self.start_workers()
        self.enqueue("--id", "a", "sleep 60")
        self.wait_for_state("a", "processing")
        silent = r"^job a has been running for \d.*s and has printed nothing yet$"
        self.assertRegex(self.said_by("logs", "-f", "a"), silent)
        self.assertEqual(self.said_by("logs", "-f"), "1 job running, without output yet")
        self.kill_processes()
        said = self.said_by("logs", "-f", "a")
        self.assertEqual(said, "job a is waiting: its worker is dead; run: queuectl worker start")

    def test_on_a_terminal_the_reason_disappears_when_output_arrives(self):
        self.enqueue("--id", "a", "echo hello")
        ours, theirs = pty.openpty()
        process = self.start_cli("logs", "-f", "a", stdin=theirs, stdout=theirs, stderr=theirs, env={"TERM": "xterm"})
        os.close(theirs)
        shown = shown_until(ours, b"no worker")
        self.start_workers()
        shown += shown_on(ours)
        self.assertEqual(process.wait(20), 0)
        self.assertEqual(left_on(shown.decode().replace("\r\n", "\n")), ["hello"])

    def test_ctrl_c_leaves_nothing_on_the_terminal(self):
        self.enqueue("true")
        ours, theirs = pty.openpty()
        process = self.start_cli("logs", "-f", stdin=theirs, stdout=theirs, stderr=theirs, env={"TERM": "xterm"})
        os.close(theirs)
        shown = shown_until(ours, b"no worker")
        process.send_signal(signal.SIGINT)
        shown += shown_on(ours)
        self.assertEqual(process.wait(20), 130)
        self.assertEqual(left_on(shown.decode()), [])


if __name__ == "__main__":
    unittest.main()
