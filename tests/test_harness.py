"""The tests' own machinery: it works however it is started, and shows only progress."""

import io
import os
import signal
import subprocess
import sys
import unittest

from tests.harness import LONGEST_RUN, ROOT
from tests.parallel import ParallelSuite

STOPPING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD)
# Prints which of them this process inherited as ignored, and which as blocked.
LOOK = f"""
import signal
stopping = {[int(number) for number in STOPPING]}
blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
print([n for n in stopping if signal.getsignal(n) == signal.SIG_IGN], [n for n in stopping if n in blocked])
"""


class SignalsTest(unittest.TestCase):
    def look(self, prepare: str) -> str:
        """What LOOK prints as the child of a Python that was started with all of them ignored and blocked."""

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

    def test_children_get_default_signals_even_if_the_tests_were_started_with_them_ignored_or_blocked(self):
        everything = [int(number) for number in STOPPING]
        self.assertEqual(self.look(""), f"{everything} {everything}\n")
        self.assertEqual(self.look("import tests.harness"), "[] []\n")


class Examples(unittest.TestCase):
    """Not run by themselves: unittest looks for `test` methods only."""

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

    def test_a_test_fails_if_it_or_its_child_prints(self):
        result = self.run_in_parallel("quiet", "prints", "quiet", "starts_what_prints", "quiet")
        by_itself, by_a_child = result.failures
        self.assertIn("prints", str(by_itself[0]))
        self.assertIn("from here\n", by_itself[1])
        self.assertIn("starts_what_prints", str(by_a_child[0]))
        self.assertIn("from a child\n", by_a_child[1])
        self.assertEqual(result.errors, [])

    def test_output_of_a_file_whose_process_died_is_shown(self):
        ((_, text),) = self.run_in_parallel("dies").errors
        self.assertIn("its process died\nlast words\n", text)

    def test_each_skip_reason_is_listed_once_with_its_count(self):
        for suite in (unittest.TestSuite, ParallelSuite):
            parts = [unittest.TestSuite([Examples("skips"), Examples("quiet")]) for _ in range(2)]
            shown = io.StringIO()
            unittest.TextTestRunner(stream=shown).run(suite(parts))
            self.assertEqual(shown.getvalue().count("skipped 2: no such thing\n"), 1, shown.getvalue())
            self.assertIn("OK (skipped=2)", shown.getvalue())


if __name__ == "__main__":
    unittest.main()
