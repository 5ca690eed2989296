"""The tests' own machinery: how they are started changes nothing, and only their progress is shown."""

import io
import os
import signal
import subprocess
import sys
import unittest

from tests.harness import LONGEST_RUN, ROOT
from tests.parallel import ParallelSuite

STOPPING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD)
# Prints which of them a process finds ignored, and which blocked.
LOOK = f"""
import signal
stopping = {[int(number) for number in STOPPING]}
blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
print([n for n in stopping if signal.getsignal(n) == signal.SIG_IGN], [n for n in stopping if n in blocked])
"""


class SignalsTest(unittest.TestCase):
    def look(self, prepare: str) -> str:
        """What LOOK prints when a program starts it that was itself started with all ignored and blocked."""

        def ignore_and_block() -> None:
            for number in STOPPING:
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)

        script = f"import subprocess, sys\n{prepare}\nsubprocess.run([sys.executable, '-c', {LOOK!r}])"
        process = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            preexec_fn=ignore_and_block,
            stdout=subprocess.PIPE,
            timeout=LONGEST_RUN,
            check=True,
        )
        return process.stdout.decode()

    def test_signals_that_were_ignored_or_blocked_when_the_tests_started_are_not_so_in_what_they_start(self):
        everything = [int(number) for number in STOPPING]
        self.assertEqual(self.look(""), f"{everything} {everything}\n")
        self.assertEqual(self.look("import tests.harness"), "[] []\n")


class Examples(unittest.TestCase):
    """Not found by unittest, since they are not in a `test_` method."""

    def prints(self):
        os.write(1, b"from here\n")

    def starts_what_prints(self):
        subprocess.run("echo from a child >&2", shell=True, check=True)

    def quiet(self):
        pass

    def skips(self):
        self.skipTest("no such thing")

    def dies(self):
        os.write(2, b"last words\n")
        os._exit(1)


class RunnerTest(unittest.TestCase):
    def run_in_parallel(self, *names: str) -> unittest.TestResult:
        result = unittest.TestResult()
        ParallelSuite([unittest.TestSuite(map(Examples, names))]).run(result)
        return result

    def test_a_test_that_prints_fails_and_so_does_one_that_starts_what_prints(self):
        result = self.run_in_parallel("quiet", "prints", "quiet", "starts_what_prints", "quiet")
        (by_itself, by_a_child) = result.failures
        self.assertIn("prints", str(by_itself[0]))
        self.assertIn("from here\n", by_itself[1])
        self.assertIn("starts_what_prints", str(by_a_child[0]))
        self.assertIn("from a child\n", by_a_child[1])
        self.assertEqual(result.errors, [])

    def test_what_a_file_printed_before_its_process_died_is_shown(self):
        ((_, text),) = self.run_in_parallel("dies").errors
        self.assertIn("its process died\nlast words\n", text)

    def test_each_reason_for_skipping_is_told_once_with_its_count(self):
        for suite in (unittest.TestSuite, ParallelSuite):
            parts = [unittest.TestSuite([Examples("skips"), Examples("quiet")]) for _ in range(2)]
            shown = io.StringIO()
            unittest.TextTestRunner(stream=shown).run(suite(parts))
            self.assertEqual(shown.getvalue().count("skipped 2: no such thing\n"), 1, shown.getvalue())
            self.assertIn("OK (skipped=2)", shown.getvalue())


if __name__ == "__main__":
    unittest.main()
