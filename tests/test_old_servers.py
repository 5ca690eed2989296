"""Old servers: an old SQLite is enough; one that is too old or missing is reported in one line.

`.ci/run` runs all tests on SQLite 3.31 and 3.34; these checks run on any machine.
"""

from __future__ import annotations

import re
import sqlite3
import sys
import unittest

from queuectl_core.store import Store, queries, schema, sql
from tests.harness import QueueTestCase

# What SQLite 3.31 lacks, and the version that added it: https://www.sqlite.org/changes.html
NEWER = {
    r"\bRETURNING\b": "3.35",
    r"\bUPDATE\b[^;]*\bSET\b[^;()]*\bFROM\b": "3.33",
    r"\bMATERIALIZED\b": "3.35",
    r"\bDROP COLUMN\b": "3.35",
    r"\bSTRICT\b": "3.37",
    r"->": "3.38",
    r"\b(RIGHT|FULL) (OUTER )?JOIN\b": "3.39",
    r"\bIS (NOT )?DISTINCT FROM\b": "3.39",
    r"\b(iif|format|unixepoch|concat|concat_ws|string_agg|octet_length|timediff|if)\(": "3.32 to 3.48",
    r"\b(ceil|floor|ln|log|pow|power|sqrt|mod|sign|trunc)\(": "3.35",
    r"\bsubstring\(": "3.34",
    r"'(subsec|auto)'": "3.38 to 3.42",
}


def statements() -> dict[str, str]:
    """Every SQL statement of the program, by name."""
    catalogs = {**vars(sql), **vars(queries)}
    found = {name: value for name, value in catalogs.items() if isinstance(value, str) and name.isupper()}
    found.update({f"SCHEMA {number}": text for number, text in enumerate(schema.SCHEMA)})
    return found


class StatementsTest(unittest.TestCase):
    def test_no_statement_needs_a_newer_sqlite(self):
        self.assertGreater(len(statements()), 50)
        for name, text in statements().items():
            for pattern, version in NEWER.items():
                if name == "CLAIM_RETURNING":
                    text = text.replace("RETURNING", "")  # Older versions use CLAIM_SEQ.
                found = re.search(pattern, re.sub(r"--.*", "", text), re.IGNORECASE | re.DOTALL)
                self.assertIsNone(found, f"{name} needs SQLite {version}: {found}")


class SiteTestCase(QueueTestCase):
    """Tests that change Python's sqlite3 module."""

    python = (sys.executable,)  # With `site`.

    def run_at_startup(self, code: str) -> None:
        """Make every Python that this test starts run `code` first."""
        self.write("sitecustomize.py", code)
        self.environment["PYTHONPATH"] = self.folder


class WithoutReturningTest(SiteTestCase):
    def test_workers_claim_each_job_once(self):
        self.run_at_startup("import sqlite3; sqlite3.sqlite_version_info = (3, 31, 0)")
        self.start_workers("-c", "3")
        ids = self.enqueue_lines(["echo $QUEUECTL_JOB_ID >>ran"] * 100)
        self.wait_until_all_finished()
        self.assertEqual(sorted(self.read("ran").split()), sorted(ids))
        self.stop_workers()
        self.audit(ids)

    def test_claiming_with_and_without_returning_follows_the_same_order(self):
        store = self.store()
        worker = self.register_worker(store)
        for id, priority in (("low", "0"), ("high", "9"), ("middle", "5"), ("next", "5")):
            self.enqueue("--id", id, "-p", priority, "true")
        claimed = []
        for has_returning in (False, sqlite3.sqlite_version_info >= (3, 35)) * 2:
            store.has_returning = has_returning
            claimed.append(store.claim(worker, None).job)
        self.assertEqual([job.id for job in claimed], ["high", "middle", "next", "low"])
        self.assertEqual({(job.worker, job.attempts) for job in claimed}, {(worker, 1)})

    def test_the_store_uses_returning_if_sqlite_has_it(self):
        self.assertEqual(Store.has_returning, sqlite3.sqlite_version_info >= (3, 35))


class TooOldTest(SiteTestCase):
    COMMANDS = (
        ("enqueue", "true"),
        ("enqueue", '{"command": "true"}'),
        ("list",),
        ("status", "--json"),
        ("worker", "start"),
        ("export",),
    )

    def assert_every_command_fails(self, pattern: str) -> None:
        """Every command prints one line to stderr and exits 3."""
        for arguments in self.COMMANDS:
            result = self.run_cli(*arguments, code=3)
            self.assertRegex(result.stderr, f"^queuectl: {pattern}\n$")
            self.assertEqual(result.stdout, "")

    def test_a_sqlite_that_is_too_old_is_reported(self):
        self.run_at_startup(
            "import sqlite3; sqlite3.sqlite_version, sqlite3.sqlite_version_info = '3.30.1', (3, 30, 1)"
        )
        self.assert_every_command_fails(r"needs SQLite 3\.31 or later; this Python has 3\.30\.1")

    def test_a_python_without_sqlite_is_reported(self):
        self.run_at_startup("import sys; sys.modules['_sqlite3'] = None")
        self.assert_every_command_fails(r"\S+ lacks a module that queuectl needs: .*_sqlite3.*")


if __name__ == "__main__":
    unittest.main()
