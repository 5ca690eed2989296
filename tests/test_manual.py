"""The man page is up to date, and mandoc and man accept it."""

import os
import shutil
import subprocess
import unittest

from queuectl_core.cli.manual import page
from tests.harness import ROOT, QueueTestCase

PAGE = os.path.join(ROOT, "docs", "queuectl.1")


class ManualTest(QueueTestCase):
    def test_the_man_page_is_up_to_date_and_queuectl_manual_prints_it(self):
        with open(PAGE, encoding="utf-8") as file:
            self.assertEqual(file.read(), page(), "outdated; run: python3 -m tests.commands_document")
        self.assertEqual(self.run_cli("manual").stdout, page())

    @unittest.skipUnless(shutil.which("mandoc"), "mandoc is not installed")
    def test_mandoc_finds_nothing_wrong_but_the_missing_date(self):
        warnings = subprocess.run(
            ["mandoc", "-T", "lint", "-W", "warning", PAGE], stdout=subprocess.PIPE, check=False
        ).stdout.decode()
        # The page has no date: it would have to be updated by hand.
        self.assertEqual([line for line in warnings.splitlines() if "missing date" not in line], [])

    @unittest.skipUnless(shutil.which("man") and shutil.which("groff"), "man is not installed")
    def test_man_shows_the_page_in_80_columns_without_warnings(self):
        shown = subprocess.run(
            ["man", "--warnings", "-l", PAGE],
            env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C", "MANPAGER": "cat"},
            capture_output=True,
            check=True,
        )
        self.assertEqual(shown.stderr, b"")
        text = shown.stdout.decode()
        for word in ("NAME", "worker start [OPTION ...]", "-p N, --priority N", "QUEUE.rate", "EX_TEMPFAIL"):
            self.assertIn(word, text)
        for line in text.splitlines():
            self.assertLessEqual(len(line), 80)
