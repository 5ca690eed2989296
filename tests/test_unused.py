"""A file that has no queue yet: reading it creates nothing, and every message names the file and what creates it."""

from __future__ import annotations

import os
import subprocess
import unittest

from queuectl_core.cli import COMMANDS
from tests.harness import QueueTestCase, sleep_to_see_nothing_happen
from tests.shell import ShellTestCase

# Commands that create the file.
CREATING = ("enqueue true", "config set timeout 5", "import", "pause", "worker start --drain --foreground",
            "schedule add a --every 1h --command true", "schedule import")
# Commands that find an empty queue, unless --db names the file.
EMPTY = (
    "status", "status --json", "list", "list --json", "dlq list", "config get", "config get timeout", "config list",
    "worker list", "worker stop", "wait", "wait -", "schedule list", "schedule list --json",
)  # fmt: skip
# Commands that need a queue.
NEEDING = (
    "show a", "logs a", "logs -f", "wait a", "cancel a", "cancel --all", "retry a", "edit a -p 1", "resume", "prune",
    "dlq retry --all", "dlq purge --all", "backup copy", "config unset timeout", "export", "worker restart",
    "hold a", "release a", "suspend a", "continue a", "worker stop 3",
    "schedule show a", "schedule edit a --every 1h", "schedule pause a",
    "schedule resume a", "schedule run a", "schedule remove a", "stats", "failures", "metrics", "dashboard",
)  # fmt: skip
ELSEWHERE = (  # They read no queue, or have their own tests.
    "bundle", "completion", "manual", "service", "restore", "doctor", "schedule next", "top",
    "progress",
)  # fmt: skip


class UnusedFileTest(QueueTestCase):
    def test_reading_a_queue_that_does_not_exist_creates_nothing_and_says_so(self):
        for line in (*EMPTY, *NEEDING):
            with self.subTest(line):
                code = 0 if line in EMPTY else 3
                result = self.run_cli(*line.split(), code=code, input="")
                self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
                self.assertIn(self.db, result.stderr)
                self.assertIn("run: queuectl enqueue 'echo hello'", result.stderr)
                self.assertEqual(os.listdir(self.folder), ["home"])

    def test_a_file_named_with_db_must_exist(self):
        for line in (*EMPTY, *NEEDING):
            with self.subTest(line):
                result = self.run_cli("--db", "my folder/x.db", *line.split(), code=3, input="")
                self.assertEqual(result.stdout, "")
                self.assertIn("run: queuectl --db 'my folder/x.db' enqueue 'echo hello'", result.stderr)
                self.assertEqual(os.listdir(self.folder), ["home"])

    def test_a_missing_queue_is_shown_as_an_empty_one(self):
        self.assertEqual(self.run_cli("list", "--json").json, [])
        self.assertEqual(self.run_cli("config", "get", "max-retries").stdout, "3\n")
        self.assertIn(f"File: {self.db} (does not exist yet)", self.run_cli("status").stdout)
        self.assertEqual(self.run_cli("status", "--json").json["database"], self.db)

    def test_commands_that_add_something_create_the_file(self):
        for line in CREATING:
            with self.subTest(line):
                self.run_cli(*line.split(), input="")
                self.run_cli("--db", self.db, "list")
                for name in (self.db, self.db + "-wal", self.db + "-shm"):
                    if os.path.exists(name):
                        os.unlink(name)

    def test_every_command_is_in_one_of_these_tables(self):
        lines = " | ".join((*CREATING, *EMPTY, *NEEDING, *ELSEWHERE))
        self.assertEqual([name for name in COMMANDS if name not in lines], [])

    def test_another_programs_database_and_an_empty_file_are_left_alone(self):
        self.rows("CREATE TABLE notes (text)")
        self.write("empty", "")
        for path in (self.db, self.path("empty")):
            with open(path, "rb") as file:
                before = file.read()
            result = self.run_cli("--db", path, "list", code=3)
            self.assertIn("is empty or another program's database", result.stderr)
            with open(path, "rb") as file:
                self.assertEqual(file.read(), before)
            self.run_cli("--db", path, "enqueue", "true")
            self.assertEqual(len(self.run_cli("--db", path, "list", "--json").json), 1)


class PipeTest(ShellTestCase):
    def test_wait_in_a_pipe_is_ready_before_the_first_enqueue_has_created_the_file(self):
        waiting = self.start_cli("wait", "-", "--db", self.db, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        sleep_to_see_nothing_happen(0.5)
        self.sh("queuectl enqueue --id a true")
        self.start_workers()
        _, stderr = waiting.communicate(b"a\n", timeout=20)
        self.assertEqual((waiting.returncode, stderr), (0, b""))


if __name__ == "__main__":
    unittest.main()
