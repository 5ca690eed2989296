"""Suggested commands can be pasted into a shell, whatever names users and other programs choose."""

from __future__ import annotations

import os
import re
import shlex

from queuectl_core.cli.obstacle import obstacle
from queuectl_core.suggestion import suggestion
from queuectl_core.workers.log import halt_text
from tests.harness import QueueTestCase

QUEUE, JOB, SCHEDULE = (f"{name};touch$IFS'hacked'" for name in "qjs")


class SuggestionsTest(QueueTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.db = self.path("d;touch hacked/q.db")
        os.mkdir(os.path.dirname(self.db))
        self.environment["QUEUECTL_DB"] = self.db

    def check(self, text: str, name: str) -> None:
        """A command is suggested, which contains `name`, and all of it that a shell could mistake is quoted."""
        found = re.search(r"(?:run: |as in: |→ )(.*)", text)
        suggested = found[1] if found else ""
        self.assertNotIn(";touch", re.sub(r"'[^']*'|\"'\"", "", suggested), text)
        self.assertTrue(any(word.rstrip(",").endswith(name) for word in shlex.split(suggested)), text)

    def refused(self, *words: str) -> str:
        return self.run_cli(*words, code=None).stderr

    def test_names_are_quoted_in_messages(self):
        self.run_cli("schedule", "add", SCHEDULE, "--every", "1h", "--", "true")
        self.check(self.refused("schedule", "add", SCHEDULE, "--every", "1h", "--", "true"), SCHEDULE)
        self.check(self.refused("schedule", "add", SCHEDULE, "--", "true"), SCHEDULE)
        self.check(self.refused("schedule", "add", SCHEDULE, "--every", "1h"), SCHEDULE)
        self.check(self.refused("schedule", "add", SCHEDULE, "--cron", "30", "2", "*", "*", "*", "true"), SCHEDULE)
        self.check(self.refused("show", SCHEDULE), SCHEDULE)
        self.run_cli("schedule", "pause", SCHEDULE)
        self.check(self.refused("schedule", "next", SCHEDULE), SCHEDULE)
        self.enqueue("--id", JOB, "--hold", "--", "true")
        self.check(self.refused("suspend", JOB), JOB)
        self.check(self.refused("continue", JOB), JOB)
        self.check(self.refused("pause", JOB), JOB)
        self.check(self.refused("pause", QUEUE), QUEUE)
        self.check(self.refused("config", "set", QUEUE + ".limit", "none"), QUEUE + ".limit")
        self.enqueue("--id", "b", "-q", QUEUE, "--", "true")
        with self.store() as store:
            self.check(obstacle(store, store.get(JOB)) or "", JOB)
            self.check(obstacle(store, store.get("b")) or "", QUEUE)
            self.check(halt_text(store.get("b"), "a failure", 1), QUEUE)

    def test_names_and_paths_are_quoted_in_the_advice_of_doctor(self):
        self.run_cli("schedule", "add", SCHEDULE, "--every", "1h", "--", "true")
        self.rows("UPDATE queuectl_schedules SET paused = 1, fault = 'broken'")
        self.enqueue("--id", JOB, "-q", QUEUE, "--hold", "--", "true")
        self.enqueue("--id", "b", "--after", JOB, "--", "true")
        self.run_cli("pause", QUEUE)
        self.rows("INSERT INTO queuectl_config (key, value) VALUES (?, 'x')", QUEUE + ".limit")
        os.chmod(self.db, 0o644)
        found = self.run_cli("doctor", code=1).lines
        for name, command in (
            *((SCHEDULE, "schedule remove"), (QUEUE, "resume"), (QUEUE, "list --held"), (self.db, "chmod go=")),
            *(((QUEUE + ".limit", "config unset"),)),
        ):
            line, *_ = [line for line in found if f"{command} " in line.partition("→")[2]]
            self.check(line, name)
        self.run_cli("cancel", JOB)
        (line,) = [line for line in self.run_cli("doctor", code=1).lines if "queuectl retry " in line]
        self.check(line, JOB)
        os.chmod(self.db, 0o666)
        self.check(self.refused("worker", "start"), self.db)

    def test_a_name_that_begins_with_a_dash_is_not_taken_for_an_option(self):
        self.assertEqual(suggestion("cancel", "--all"), "queuectl cancel -- --all")
