"""`stats`, `failures`, `dlq retry --like` and `progress`: figures of the past, and what a job reports about itself."""

from __future__ import annotations

import shlex
import time

from queuectl_core.histogram import bucket
from queuectl_core.store import sql
from tests.harness import PROGRAM, PYTHON, QueueTestCase, wait_until

QUEUECTL = shlex.join([*PYTHON, PROGRAM])
DAY = 86400


class StatsTest(QueueTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.run_cli("config", "set", "backoff-base", "0")
        self.run_cli("config", "set", "max-retries", "1")

    def drain(self) -> None:
        self.run_cli("worker", "start", "--drain", "--foreground", code=None)

    def test_numbers_are_the_same_in_text_and_json(self):
        self.enqueue_lines(["true"] * 3 + ["exit 3"], "-q", "mail")
        self.enqueue("--", "sleep 0.3")
        self.drain()
        figures = self.run_cli("stats", "--json").json
        self.assertEqual((figures["added"], figures["finished"], figures["success_rate"]), (5, 5, 0.8))
        self.assertEqual(figures["attempts"]["completed"], 4)
        self.assertEqual((figures["attempts"]["failed"], figures["attempts"]["dead"]), (1, 1))
        self.assertEqual(figures["attempts_per_job"], 1.2)
        self.assertTrue(0.2 < figures["run_seconds"]["p99"] < 1, figures)
        self.assertEqual((figures["oldest_ready_seconds"], figures["remaining_seconds"]), (None, 0))
        text = self.run_cli("stats").stdout
        self.assertIn("added       5 jobs", text)
        self.assertIn("finished    5 jobs, 80% completed, 1 dead", text)
        self.assertIn("attempts    6, 1.2 per finished job (1 failed, 1 dead)", text)
        self.assertIn("remaining   nothing to do", text)
        only = self.run_cli("stats", "-q", "mail", "--json").json
        self.assertEqual((only["added"], only["queues"]), (4, ["mail"]))

    def test_groups_add_up_to_the_total(self):
        self.enqueue_lines(["true"] * 3, "-q", "a")
        self.enqueue_lines(["true"] * 2, "-q", "b")
        self.drain()
        by_queue = self.run_cli("stats", "--by", "queue", "--json").json
        self.assertEqual([(group["queue"], group["finished"]) for group in by_queue["groups"]], [("a", 3), ("b", 2)])
        for by in ("hour", "day"):
            groups = self.run_cli("stats", "--by", by, "--json").json["groups"]
            self.assertEqual(sum(group["finished"] for group in groups), 5)
        rows = [line.split()[:3] for line in self.run_cli("stats", "--by", "queue").lines[1:]]
        self.assertEqual(rows, [["a", "3", "3"], ["b", "2", "2"], ["(all)", "5", "5"]])

    def test_past_days_can_be_queried_after_the_jobs_are_gone(self):
        self.enqueue("--", "true")
        start = time.time() // DAY * DAY - 30 * DAY + DAY / 2
        with self.store() as store, store._transaction():
            for day in range(3):
                event = {"minute": int(start + day * DAY) // 60 * 60, "queue": "q", "kind": "completed", "job": 0}
                for _ in range(day + 1):
                    store._execute(sql.COUNT_ATTEMPT, {**event, "bucket": bucket(2), "seconds": 2.0})
        for by in ("day", "hour"):
            groups = self.run_cli("stats", "--since", "40d", "--until", "20d", "--by", by, "--json").json["groups"]
            self.assertEqual([group["finished"] for group in groups], [1, 2, 3])
        self.assertEqual(self.run_cli("stats", "--since", "10d", "--json").json["finished"], 0)

    def test_missing_data_is_reported_as_missing(self):
        self.enqueue("--", "true")
        text = self.run_cli("stats").stdout
        self.assertIn("wait        no data yet", text)
        self.assertIn("remaining   no worker, for 1 job", text)
        self.assertRegex(text, r"oldest      \d+m?s ready, in default")
        self.assertEqual(self.run_cli("stats", "--json").json["remaining_unknown_because"], "no worker")
        nothing = self.run_cli("stats", "--until", "1h", "--by", "hour")
        self.assertEqual((nothing.stdout, nothing.stderr), ("", "nothing happened in this period\n"))

    def test_bad_options_are_explained(self):
        self.enqueue("--", "true")
        for words, message in (
            (["--by", "week"], "--by: must be hour, day or queue, not 'week'"),
            (["--since", "1h", "--until", "2h"], "--since: must be before --until"),
            (["--since", "soon"], "--since: not a duration or a time: 'soon'"),
        ):
            self.assertIn(message, self.run_cli("stats", *words, code=2).stderr)

    def test_groups_of_failures_are_listed_and_revived_together(self):
        command = "test -e fixed || { echo no route to host 10.0.0.%d; exit 7; }"
        like = self.enqueue_lines([command % number for number in range(3)])
        other = self.enqueue("-q", "mail", "--", "exit 9")
        self.drain()
        groups = {group["error"]: group for group in self.run_cli("failures", "--json").json}
        counts = {error: (group["count"], group["dead"]) for error, group in groups.items()}
        self.assertEqual(counts, {"exit 7": (6, 3), "exit 9": (2, 1)})
        self.assertEqual(groups["exit 7"]["last_line"], "no route to host <n>")
        result = self.run_cli("failures")
        self.assertRegex(result.stdout, r"(?m)^[0-9a-f]{8} +6 +3 .* default +\S+ +exit 7 +no route to host <n>$")
        self.assertEqual(len(self.run_cli("failures", "-q", "mail", "--json").json), 1)
        self.write("fixed", "")
        key = groups["exit 7"]["group"]
        self.assertEqual(self.run_cli("dlq", "retry", "--like", key).lines, like)
        self.drain()
        self.assertEqual([self.state(id) for id in [*like, other]], ["completed"] * 3 + ["dead"])
        self.assertIn("no dead jobs in group", self.run_cli("dlq", "retry", "--like", key, code=1).stderr)
        self.assertIn("not several", self.run_cli("dlq", "retry", "--like", key, "--all", code=2).stderr)
        self.run_cli("dlq", "purge", "--like", groups["exit 9"]["group"])
        self.assertEqual(self.run_cli("dlq", "list", "--json").json, [])

    def test_nothing_failed(self):
        self.enqueue("--", "true")
        self.drain()
        self.assertRegex(self.run_cli("failures").stderr, "^nothing failed since ")


class ProgressTest(QueueTestCase):
    def test_a_job_reports_its_progress_which_every_view_shows(self):
        id = self.enqueue("--", f"{QUEUECTL} progress 3/4 'resizing  photos'; while test ! -e go; do sleep 0.01; done")
        self.start_workers()
        wait_until(lambda: self.rows("SELECT 1 FROM queuectl_attempts WHERE progress = 75"))
        self.assertRegex(self.run_cli("list").stdout, r"75%, resizing photos, \d+m?s left")
        self.assertRegex(self.run_cli("show", id).stdout, r"(?m)^progress +75%, resizing photos, \d+m?s left$")
        self.assertRegex(self.run_cli("status").stdout, r"75%, resizing photos")
        history = self.run_cli("show", id, "--json").json["history"]
        self.assertEqual((history[0]["progress"], history[0]["progress_text"]), (75, "resizing photos"))
        self.write("go", "")
        self.wait_for_state(id, "completed")
        self.assertNotIn("75%", self.run_cli("list").stdout)
        exported = self.run_cli("export").stdout
        self.environment["QUEUECTL_DB"] = self.path("copy.db")
        self.run_cli("import", "-", input=exported)
        self.assertEqual(self.run_cli("show", id, "--json").json["history"][0]["progress"], 75)

    def test_progress_outside_a_running_job_is_refused(self):
        self.enqueue("--", "true")
        outside = self.run_cli("progress", "40", code=2)
        self.assertIn("works only inside a job", outside.stderr)
        stale = self.run_cli("progress", "40", env={"QUEUECTL_JOB_ID": "gone", "QUEUECTL_TOKEN": "x"}, code=1)
        self.assertIn("job gone is not running", stale.stderr)

    def test_only_percentages_are_taken(self):
        for word in ("101", "-1", "half", "1/0", "nan", "inf", ""):
            with self.subTest(word=word):
                self.assertIn("PERCENT", self.run_cli("progress", "--", word, code=2).stderr)
