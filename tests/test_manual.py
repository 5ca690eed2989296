"""The man page is generated from the registry, and formatters accept it."""

import os
import shutil
import subprocess
import unittest

from queuectl_core.cli.manual import page
from tests.harness import ROOT, QueueTestCase

PAGE = os.path.join(ROOT, "docs", "queuectl.1")


class ManualTest(QueueTestCase):
    def test_the_page_is_generated_from_the_registry(self):
        """On any Python. If this fails, run: python3 -m tests.commands_document"""
        with open(PAGE, encoding="utf-8") as file:
            self.assertEqual(file.read(), page())
        self.assertEqual(self.run_cli("manual").stdout, page())

    @unittest.skipUnless(shutil.which("mandoc"), "mandoc is not installed")
    def test_mandoc_accepts_it(self):
        told = subprocess.run(
            ["mandoc", "-T", "lint", "-W", "warning", PAGE], stdout=subprocess.PIPE, check=False
        ).stdout.decode()
        # No date: it would have to be changed by hand.
        self.assertEqual([line for line in told.splitlines() if "missing date" not in line], [])

    @unittest.skipUnless(shutil.which("man") and shutil.which("groff"), "man is not installed")
    def test_man_shows_it(self):
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
