"""`worker stop` says what it is waiting for, and when that will be killed."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import unittest

from tests.harness import QueueTestCase, shown_on, shown_until, wait_until
from tests.patched import patched
from tests.test_progress import left_on

STUBBORN = "trap '' TERM; touch began; while :; do sleep 0.05; done"


# The worker registers only once `Store.workers` has read the rows without it, which waits for that.
REGISTERS_LATE = """
import time
def until(name):
    while not os.path.exists(name):
        time.sleep(0.01)
real_register, real_workers = Store.register, Store.workers
def register(self, role, *rest):
    if role == "worker":
        open("forked", "x").close()
        until("go")
    id = real_register(self, role, *rest)
    if role == "worker":
        open("registered", "x").close()
    return id
def workers(self):
    rows = real_workers(self)
    if os.path.exists("asked") and not os.path.exists("go"):
        open("go", "x").close()
        until("registered")
    return rows
owner_of("register").register, owner_of("workers").workers = register, workers
"""


class LateWorkerTest(QueueTestCase):
    def start_fleet(self) -> subprocess.Popen[bytes]:
        """Start a fleet in the foreground, whose worker has been forked and hasn't registered yet."""
        self.enqueue("--", "sleep 60")
        words = patched(REGISTERS_LATE, "worker", "start", "--foreground")
        fleet = subprocess.Popen(words, env=self.environment, cwd=self.folder, stderr=subprocess.PIPE)
        self._started.append(fleet)
        wait_until(lambda: os.path.exists(self.path("forked")))
        self.write("asked", "")
        return fleet

    def test_a_worker_that_registers_during_ctrl_c_stops_too(self):
        self.run_cli("pause")
        fleet = self.start_fleet()
        fleet.send_signal(signal.SIGINT)
        fleet.communicate(timeout=20)
        self.assertEqual(fleet.returncode, 0)

    def test_a_worker_that_registers_during_worker_stop_ends_its_job_too(self):
        fleet = self.start_fleet()
        words = patched(REGISTERS_LATE, "worker", "stop", "--now")
        stop = subprocess.run(words, env=self.environment, cwd=self.folder, capture_output=True, timeout=30, check=True)
        self.assertIn(b"worker 1 stopped", stop.stdout)
        fleet.communicate(timeout=20)


class StoppingTest(QueueTestCase):
    def start_job(self, command: str, *options: str) -> None:
        """Start a worker, and wait until it runs `command` as job "a"."""
        self.start_workers()
        self.enqueue("--id", "a", *options, "--", command)
        wait_until(lambda: os.path.exists(self.path("began")))

    def on_terminal(self, *words: str) -> tuple[subprocess.Popen[bytes], int]:
        """Start a command on a new terminal; returns our end of that too."""
        ours, theirs = pty.openpty()
        process = self.start_cli(*words, stdin=theirs, stdout=theirs, stderr=theirs, env={"TERM": "xterm"})
        os.close(theirs)
        return process, ours

    def test_it_names_the_jobs_and_the_command_that_ends_them(self):
        self.start_job("touch began; until [ -e go ]; do sleep 0.05; done")
        stopping = self.start_cli("worker", "stop", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert stopping.stderr
        line = stopping.stderr.readline().decode()
        self.assertRegex(line, r"^waiting for worker 1 to finish job a \(running for \d+m?s\)\n$")
        self.assertEqual(stopping.stderr.readline(), b"to end its job now, run: queuectl worker stop --now 1\n")
        self.write("go", "")
        stdout, stderr = stopping.communicate(timeout=20)
        self.assertEqual((stdout, stderr), (b"worker 1 stopped\n", b""))

    def test_it_counts_down_to_the_kill(self):
        self.run_cli("config", "set", "kill-grace", "3s")
        self.start_job(STUBBORN)
        process, ours = self.on_terminal("worker", "stop", "--now")
        shown = shown_on(ours).decode().replace("\r\n", "\n")
        self.assertEqual(process.wait(20), 0)
        self.assertIn("1 worker left: a (killed in 2s)", shown)
        self.assertIn("1 worker left: a (killed in 1s)", shown)
        announced, stopped = left_on(shown)
        said = r"^waiting for worker 1 to end job a \(running for .*s\); it will be killed in [23]s$"
        self.assertRegex(announced, said)
        self.assertEqual(stopped, "worker 1 stopped")
        self.audit(["a"])

    def test_it_shows_when_it_will_give_up(self):
        self.start_job("touch began; sleep 60")
        process, ours = self.on_terminal("worker", "stop", "--timeout", "1500ms")
        shown = shown_on(ours).decode().replace("\r\n", "\n")
        self.assertEqual(process.wait(20), 124)
        self.assertRegex(shown, r"1 worker left: a \(\d+m?s\); giving up in 1s")
        self.assertEqual(left_on(shown)[-1], "queuectl: still running after 2s: worker 1")

    def test_ctrl_c_stops_only_the_waiting(self):
        self.start_job("touch began; until [ -e go ]; do sleep 0.05; done")
        process, ours = self.on_terminal("worker", "stop")
        shown = shown_until(ours, b"1 worker left")
        process.send_signal(signal.SIGINT)
        shown += shown_on(ours)
        self.assertEqual(process.wait(20), 130)
        self.assertEqual(left_on(shown.decode().replace("\r\n", "\n"))[-1], "stopped waiting; worker 1 will still stop")
        self.write("go", "")
        self.wait_for_state("a", "completed")
        wait_until(lambda: not self.processes())


if __name__ == "__main__":
    unittest.main()
