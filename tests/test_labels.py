"""Labels: words that users give to jobs, and select them by."""

from __future__ import annotations

from tests.dashboard_case import DashboardTestCase
from tests.harness import QueueTestCase
from tests.test_top_screens import ScreensTestCase


class LabelsTest(QueueTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.enqueue("--id", "a", "--label", "nightly", "--label", "db", "--", "true")
        self.enqueue("--id", "b", "--label", "nightly", "-q", "mail", "--", "exit 1")
        self.enqueue("--id", "c", "--", "true")
        self.run_cli("enqueue", '{"id": "d", "command": "true", "labels": ["db"]}')

    def listed(self, *words: str) -> list[str]:
        return [job["id"] for job in self.run_cli("list", *words, "--json").json]

    def test_list_finds_jobs_by_all_given_labels(self):
        self.assertEqual(self.listed("--label", "nightly"), ["b", "a"])
        self.assertEqual(self.listed("--label", "nightly", "--label", "db"), ["a"])
        self.assertEqual(self.listed("--label", "nightly", "-q", "mail"), ["b"])
        self.assertEqual(self.listed("--label", "unknown"), [])
        self.assertEqual(self.jobs()["a"]["labels"], ["db", "nightly"])
        self.assertEqual(self.jobs()["c"]["labels"], [])

    def test_show_names_them(self):
        self.assertRegex(self.run_cli("show", "a").stdout, r"(?m)^labels +db, nightly$")
        self.assertEqual(self.run_cli("show", "a", "--json").json["labels"], ["db", "nightly"])

    def test_bulk_commands_take_a_label(self):
        self.assertEqual(self.run_cli("cancel", "--label", "db").lines, ["a", "d"])
        self.run_cli("edit", "b", "--max-retries", "0")
        self.run_cli("worker", "start", "--drain", "--foreground", code=1)
        self.run_cli("retry", "a")
        self.assertEqual(self.run_cli("cancel", "--label", "nightly").lines, ["a"])
        self.assertEqual(self.state("c"), "completed")

    def test_all_commands_that_take_labels_mean_jobs_with_all_of_them(self):
        self.enqueue("--id", "e", "--label", "db", "--label", "third", "--label", "nightly", "--", "exit 3")
        both = ("--label", "nightly", "--label", "db", "--label", "db")
        self.assertEqual(sorted(self.run_cli("edit", *both, "-p", "3", "--max-retries", "0").lines), ["a", "e"])
        self.assertEqual(self.run_cli("hold", *both, "--label", "third").lines, ["e"])
        self.assertEqual(self.run_cli("release", *both).lines, ["e"])
        self.assertEqual(self.run_cli("release", *both, "--label", "unknown").lines, [])
        self.run_cli("worker", "start", "--drain", "--foreground", "-q", "default", code=None)
        self.run_cli("wait", *both, "--timeout", "0")  # b, which has only one of them, still waits.
        self.run_cli("cancel", "--label", "nightly", "--label", "third")
        self.assertEqual(self.run_cli("dlq", "purge", *both, "--dry-run").lines, ["e"])
        self.assertEqual(self.run_cli("dlq", "retry", *both).lines, ["e"])
        self.assertEqual(self.run_cli("cancel", *both).lines, ["e"])
        self.assertEqual(self.run_cli("retry", *both).lines, ["e"])
        self.assertEqual(self.run_cli("prune", *both, "-s", "completed").lines, ["a"])
        self.assertEqual(sorted(self.jobs()), ["b", "c", "d", "e"])

    def test_a_second_queue_is_refused_where_a_command_takes_one(self):
        for words in ("cancel", "retry", "hold", "release", "suspend", "continue", "wait", "prune", "dlq retry"):
            refused = self.run_cli(*words.split(), "-q", "mail", "--queue=default", code=2).stderr
            self.assertEqual(refused, "queuectl: --queue: takes only one queue, not both 'mail' and 'default'\n", words)
        for words in (
            "edit -p 3 --from mail --from default",
            "list --schedule a --schedule b",
            "dlq purge --like a --like b",
        ):
            self.assertIn("takes only one", self.run_cli(*words.split(), code=2).stderr)
        self.assertEqual(self.run_cli("cancel", "-q", "mail", "-q", "mail").lines, ["b"])

    def test_retry_takes_a_label_or_a_queue_and_leaves_completed_and_waiting_jobs_alone(self):
        self.run_cli("config", "set", "max-retries", "0")
        self.enqueue("--id", "e", "--label", "nightly", "-q", "mail", "--max-retries", "0", "--", "exit 1")
        self.run_cli("cancel", "b")
        self.run_cli("worker", "start", "--drain", "--foreground", code=None)
        self.enqueue("--id", "f", "--label", "nightly", "--", "true")
        self.assertEqual(self.run_cli("retry", "--label", "nightly", "-q", "default").lines, [])
        self.assertEqual(self.run_cli("retry", "--label", "nightly").lines, ["b", "e"])
        self.assertEqual([self.state(id) for id in "abef"], ["completed", "pending", "pending", "pending"])
        self.run_cli("cancel", "-q", "mail")
        self.assertEqual(self.run_cli("retry", "-q", "mail").lines, ["b", "e"])
        for words in ((), ("a", "--label", "x"), ("b", "-q", "mail")):
            self.assertIn("or --queue or --label", self.run_cli("retry", *words, code=2).stderr)

    def test_edit_selects_jobs_by_label_and_its_queue_is_their_new_queue(self):
        self.run_cli("hold", "a")
        self.assertEqual(self.run_cli("edit", "--label", "nightly", "-q", "slow", "-p", "3").lines, ["b", "a"])
        self.assertEqual([(self.job(id)["queue"], self.job(id)["priority"]) for id in "ab"], [("slow", 3)] * 2)
        self.assertEqual(self.job("c")["queue"], "default")
        self.assertIn("no waiting jobs", self.run_cli("edit", "--label", "gone", "-p", "3").stderr)
        for words in (("-p", "3"), ("a", "--label", "x", "-p", "3")):
            refused = self.run_cli("edit", *words, code=2).stderr
            self.assertIn("either the ids of waiting jobs, or --all, --from or --label", refused)

    def test_dead_jobs_are_revived_and_deleted_by_label(self):
        self.run_cli("config", "set", "max-retries", "0")
        self.enqueue("--id", "x", "--label", "one", "--", "exit 1")
        self.enqueue("--id", "y", "--label", "two", "--", "exit 1")
        self.run_cli("worker", "start", "--drain", "--foreground", "-q", "default", code=None)
        self.assertEqual(self.run_cli("dlq", "retry", "--label", "one").lines, ["x"])
        self.assertEqual(self.run_cli("dlq", "purge", "--label", "two").lines, ["y"])
        self.assertEqual([job["id"] for job in self.run_cli("dlq", "list", "--label", "one", "--json").json], [])
        self.assertEqual((self.state("x"), "y" in self.jobs()), ("pending", False))

    def test_edit_takes_all_jobs_or_those_of_a_queue(self):
        self.run_cli("hold", "c")
        self.assertEqual(self.run_cli("edit", "--from", "mail", "-q", "slow").lines, ["b"])
        self.assertEqual(self.listed("-q", "slow"), ["b"])
        self.assertEqual(self.run_cli("edit", "--from", "mail", "-q", "slow").lines, [])
        self.assertEqual(sorted(self.run_cli("edit", "--all", "-p", "4").lines), ["a", "b", "c", "d"])
        self.assertEqual(self.run_cli("edit", "--from", "slow", "--label", "db", "-p", "4").lines, [])

    def test_commands_take_ids_from_standard_input(self):
        for words in (("hold", "-"), ("edit", "-", "-p", "2"), ("release", "a", "-"), ("cancel", "-"), ("retry", "-")):
            expected = ["a", "c", "d"] if "a" in words else ["c", "d"]
            self.run_cli(*(("hold", "a") if "a" in words else ("list",)))
            self.assertEqual(self.run_cli(*words, input="c\nd\r\n\n").lines, expected, words)
        refused = self.run_cli("hold", "-", input="c\nzz", code=1)
        self.assertEqual((refused.lines, refused.stderr), (["c"], "queuectl: no such job: 'zz'\n"))
        self.assertEqual(self.run_cli("hold", "-", input="").lines, [])

    def test_prune_and_wait_take_a_label(self):
        self.run_cli("worker", "start", "--drain", "--foreground", "-q", "default")
        self.run_cli("wait", "--label", "db")
        self.assertEqual(self.run_cli("prune", "--label", "nightly").lines, ["a"])
        self.assertEqual(sorted(self.jobs()), ["b", "c", "d"])
        self.assertEqual(self.rows("SELECT count(*) FROM queuectl_labels WHERE label = 'nightly'"), [(1,)])

    def test_list_has_a_column_of_labels(self):
        listed = self.run_cli("list", "--columns", "id,labels", "-q", "default").lines
        self.assertIn("a   db,nightly", listed)
        self.assertIn("c   -", listed)

    def test_prune_names_a_job_that_is_kept_for_others(self):
        self.enqueue("--id", "x", "--label", "one", "--max-retries", "0", "--", "exit 1")
        waiter = self.enqueue("--after", "x", "--", "true")
        self.run_cli("worker", "start", "--drain", "--foreground", "-q", "default", code=None)
        pruned = self.run_cli("prune", "-s", "dead")
        self.assertEqual(pruned.stderr, "job x is kept: other jobs wait for it\nno jobs to delete\n")
        self.assertNotIn("kept", self.run_cli("prune", "-s", "dead", "--label", "other").stderr)
        self.run_cli("cancel", waiter)
        self.assertEqual(self.run_cli("prune", "-s", "dead").lines, ["x"])

    def test_wait_waits_only_for_jobs_with_the_label(self):
        self.run_cli("worker", "start", "--drain", "--foreground", "-q", "default")
        timed_out = self.run_cli("wait", "--label", "nightly", "--timeout", "0.2", code=124)
        self.assertNotIn("Traceback", timed_out.stderr)

    def test_labels_move_to_another_queue(self):
        exported = self.run_cli("export").stdout
        self.environment["QUEUECTL_DB"] = self.path("copy.db")
        self.run_cli("import", "-", input=exported)
        self.assertEqual(self.jobs()["a"]["labels"], ["db", "nightly"])

    def test_several_jobs_are_edited_together_including_their_environment(self):
        self.enqueue("--id", "e", "-e", "A=1", "-e", "B=2", "--delay", "1h", "--", 'echo "$A$B$C"')
        self.assertEqual(self.run_cli("edit", "a", "e", "-p", "7", "-e", "B=3", "-e", "C=4").lines, ["a", "e"])
        self.assertEqual([self.jobs()[id]["priority"] for id in ("a", "e", "c")], [7, 7, 0])
        self.assertEqual(self.jobs()["a"]["env"], {"B": "3", "C": "4"})
        self.assertEqual(self.jobs()["e"]["env"], {"A": "1", "B": "3", "C": "4"})
        refused = self.run_cli("edit", "a", "nothing", "-p", "8", code=1)
        self.assertEqual((refused.lines, self.jobs()["a"]["priority"]), (["a"], 8))
        self.assertIn("nothing to change", self.run_cli("edit", "a", code=2).stderr)

    def test_a_label_is_a_word(self):
        for label in ("", "two words", "a,b", "-x"):
            self.assertIn("--label", self.run_cli("enqueue", f"--label={label}", "--", "true", code=2).stderr)


class ViewsTest(DashboardTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.run_cli("config", "set", "max-retries", "0")
        for id, label in (("a", "x<b>&"), ("b", "other")):
            self.enqueue("--id", id, "--label", label, "--", "exit 1")
        self.work()

    def test_the_dashboard_shows_labels_and_finds_jobs_by_one(self):
        dashboard = self.serve()
        link = '<a href="/jobs?label=x%3Cb%3E%26">x&lt;b&gt;&amp;</a>'
        self.assertIn(link, self.page(dashboard, "/job?id=a").html)
        page = self.page(dashboard, "/jobs?label=x%3Cb%3E%26")
        self.assertIn('href="/job?id=a"', page.html)
        self.assertNotIn('href="/job?id=b"', page.html)
        self.assertIn('name="label" value="x&lt;b&gt;&amp;"', page.html)
        self.assertIn("state=dead&label=x%3Cb%3E%26", page.html.replace("&amp;", "&"))  # A tab keeps it.

    def test_a_list_of_dead_jobs_with_a_label_retries_only_these(self):
        dashboard = self.serve(writes=True)
        page = self.page(dashboard, "/dlq?label=other").html
        self.assertIn('href="/do/retry-dead?label=other"', page)
        asked = self.page(dashboard, "/do/retry-dead?label=other").text
        self.assertIn("Run all dead jobs with label other again?", asked)
        self.assertIn("queuectl dlq retry --label=other", asked)
        self.assertIn("Done", self.ask(dashboard, "/do/retry-dead", {"label": "other"}).text)
        self.assertEqual((self.state("a"), self.state("b")), ("dead", "pending"))

    def test_without_labels_there_is_no_filter_for_them(self):
        self.rows("DELETE FROM queuectl_labels")
        self.assertNotIn('name="label"', self.page(self.serve(), "/jobs").html)


class TopTest(ScreensTestCase):
    def test_the_screen_of_a_job_names_its_labels(self):
        self.enqueue("--id", "a", "true")
        self.rows("INSERT INTO queuectl_labels (label, job) SELECT value, 1 FROM json_each('[\"db\", \"nightly\"]')")
        self.assertIn("labels db, nightly", self.press(self.top(), "enter"))
