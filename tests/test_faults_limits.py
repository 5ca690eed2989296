"""A process that is out of descriptors can't list others. That doesn't mean that they are dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import unittest

from queuectl_core.workers.identity import identity_of
from tests.harness import ROOT, process_is_gone, wait_until
from tests.patched import patched
from tests.test_faults_kill import LINUX
from tests.test_workers import WorkersTestCase

# Rescues with all descriptors used up.
RESCUE = """
import os, sys
sys.path.insert(0, sys.argv[1])
from queuectl_core.store import Store
from queuectl_core.workers.identity import boot
from queuectl_core.workers.rescue import rescue
store = Store(sys.argv[2], must_exist=True)
store.workers(), boot()
try:
    while True:
        os.dup(0)
except OSError:
    pass
print(rescue(store))
"""
REASON = "may still run: cannot list processes: Too many open files"


@unittest.skipUnless(LINUX, "elsewhere, ps lists processes")
class ExhaustedTest(WorkersTestCase):
    # While the file "exhausted" exists, this program can't list processes.
    PATCH = """
import errno, os
from queuectl_core.workers import leftovers
real = leftovers.processes
def processes():
    if os.path.exists(%r):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return real()
leftovers.processes = processes
"""

    def start_patched(self) -> None:
        words = patched(self.PATCH % self.path("exhausted"), "worker", "start")
        subprocess.run(words, env=self.environment, stdout=subprocess.DEVNULL, check=True)

    def test_a_live_worker_is_not_taken_for_dead_by_a_process_without_descriptors(self):
        store = self.store()
        sleeper = subprocess.Popen(["sleep", "600"], env=self.environment)
        self._started.append(sleeper)
        self.run_cli("enqueue", "--id", "a", "true")
        store.claim(store.register("worker", None, identity_of(sleeper.pid), None, "test"), None)
        limited = ["sh", "-c", 'ulimit -n 40; exec "$@"', "sh", sys.executable, "-c", RESCUE, ROOT, self.db]
        result = subprocess.run(limited, env=self.environment, stdout=subprocess.PIPE, check=False)
        self.assertEqual(result.stdout, b"[]\n")
        self.assertEqual(self.state("a"), "processing")
        self.assertIsNone(sleeper.poll())

    def test_an_attempt_that_timed_out_is_not_over_until_its_worker_can_look(self):
        self.start_patched()
        job = "setsid sleep 300 & echo $! >left; sleep 300"
        self.run_cli("enqueue", "--id", "a", "--max-retries", "0", "--timeout", "1s", "--", job)
        wait_until(lambda: self.read("left").endswith("\n"))
        self.write("exhausted", "")
        wait_until(lambda: self.job("a")["error"] == REASON, message=lambda: self.job("a")["error"])
        self.assertEqual(self.state("a"), "processing")
        os.unlink(self.path("exhausted"))
        self.wait_for_state("a", "dead")
        self.assertTrue(process_is_gone(int(self.read("left"))))
        self.audit(["a"])

    def test_a_lost_attempt_is_not_over_until_a_rescuer_can_list_processes(self):
        self.start_patched()
        (supervisor,) = self.supervisors()
        self.start_job("setsid sleep 300 & echo $! >left; sleep 300", "--max-retries", "0", id="a")
        wait_until(lambda: self.read("left").endswith("\n"))
        self.write("exhausted", "")
        worker = self.owner("a")
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: process_is_gone(worker))
        before = _status(supervisor)
        wait_until(lambda: _status(supervisor) != before)  # It tries again.
        self.assertEqual(self.state("a"), "processing")
        self.assertFalse(process_is_gone(supervisor))
        os.unlink(self.path("exhausted"))
        self.wait_for_state("a", "dead")
        self.assertTrue(process_is_gone(int(self.read("left"))))
        self.audit(["a"])


def _status(pid: int) -> bytes:
    with open(f"/proc/{pid}/status", "rb") as file:
        return file.read()


if __name__ == "__main__":
    unittest.main()
