"""Jobs move: what is exported here is the same there, once, and all of it or nothing."""

import json
import os
import unittest

from tests.harness import ROOT, QueueTestCase, wait_until

NODE_EXPORT = os.path.join(ROOT, "tests", "mongoexport.jsonl")
GOOD = {"id": "good", "command": "true", "state": "pending", "created_at": 1700000000}


class MovingTestCase(QueueTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.other = self.path("other.db")

    def there(self) -> None:
        """From now on, everything is about the other queue."""
        self.db = self.environment["QUEUECTL_DB"] = self.other

    def export(self) -> str:
        return self.run_cli("export").stdout

    def import_lines(self, *lines, code: int = 0):
        texts = [line if isinstance(line, (str, bytes)) else json.dumps(line) for line in lines]
        data = b"".join(t if isinstance(t, bytes) else t.encode() + b"\n" for t in texts)
        return self.run_cli("import", input=data, code=code)

    def sheets(self) -> dict:
        """All that `show --json` and `logs` tell, by id; without what is true of one queue only."""
        sheets = {}
        for id in self.jobs():
            sheet = self.job(id)
            del sheet["reason"], sheet["worker"]
            sheets[id] = (sheet, self.run_cli("logs", id).stdout_bytes)
        return sheets


class RoundTripTest(MovingTestCase):
    def test_everything_about_every_job_moves(self):
        ids = [
            self.enqueue("--id", "ok", "-p", "7", "-e", "A=ü", "--", r"printf 'out\377\n'; echo err >&2"),
            self.enqueue("--id", "stdin", "--stdin", "--", "cat", input=b"\x00\xff in\n"),
            self.enqueue("--id", "dead", "--max-retries", "1", "--backoff-base", "0", "--", "exit 3"),
            self.enqueue("--id", "kept", "-q", "other", "--unique", "key", "--delay", "1h", b"echo \xff"),
            self.enqueue("--id", "after", "-q", "other", "--after", "kept", "--bury-on", "2", "true"),
        ]
        self.run_cli("worker", "start", "--drain", "-q", "default", "--foreground", code=1)
        self.run_cli("cancel", self.enqueue("--id", "cancelled", "-q", "other", "true"))
        ids.append("cancelled")
        before, lines = self.sheets(), self.export()
        self.assertEqual([json.loads(line)["id"] for line in lines.splitlines()], ids)
        self.there()
        result = self.run_cli("import", input=lines)
        self.assertEqual(result.lines, ids)
        self.assertEqual(result.stderr, "imported 6 jobs; skipped 0 that already exist\n")
        self.assertEqual(self.sheets(), before)
        self.assertEqual(self.export(), lines)
        self.audit(ids)
        self.assertEqual(self.run_cli("enqueue", "--unique", "key", "true").lines, ["kept"])
        self.run_cli("edit", "kept", "--delay", "0")
        self.run_cli("retry", "stdin")
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.assertEqual([self.state(id) for id in ("kept", "after")], ["completed"] * 2)
        self.assertEqual(self.run_cli("logs", "stdin").stdout_bytes, b"\x00\xff in\n")
        self.audit(ids)

    def test_a_second_import_changes_nothing(self):
        ids = self.enqueue_lines(["true"] * 3)
        lines = self.export()
        self.there()
        self.run_cli("import", input=lines)
        self.run_cli("worker", "start", "--drain", "--foreground")
        before = self.sheets()
        more = dict(json.loads(lines.splitlines()[0]), id="new")
        result = self.run_cli("import", input=lines + json.dumps(more) + "\n")
        self.assertEqual(result.lines, ["new"])
        self.assertEqual(result.stderr, "imported 1 job; skipped 3 that already exist\n")
        after = self.sheets()
        self.assertEqual(after.pop("new")[0]["state"], "pending")
        self.assertEqual(after, before)
        self.audit(ids)

    def test_a_job_that_runs_there_waits_here_without_a_lost_attempt(self):
        self.start_workers()
        self.enqueue("--id", "long", "--max-retries", "0", "--", "echo begun; sleep 60")
        self.wait_for_state("long", "processing")
        wait_until(lambda: self.run_cli("logs", "long").stdout == "begun\n")
        lines = self.export()
        self.assertEqual(self.state("long"), "processing")
        self.there()
        self.run_cli("import", input=lines)
        job = self.job("long")
        self.assertEqual((job["state"], job["attempts"]), ("pending", 0))
        self.assertEqual([attempt["outcome"] for attempt in job["history"]], ["released"])
        self.audit(["long"])

    def test_an_export_is_of_one_moment_while_workers_run(self):
        self.start_workers("-c", "2")
        ids = self.enqueue_lines(["enqueue_and=$QUEUECTL_JOB_ID; true"] * 300)
        lines = self.export()
        self.wait_until_all_finished()
        self.there()
        self.run_cli("import", input=lines)
        self.audit(ids)
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.assertEqual(self.states(), {"completed": 300})

    def test_waiting_jobs_that_are_imported_start_at_once(self):
        self.enqueue("--id", "a", "true")
        lines = self.export()
        self.there()
        self.start_workers()
        self.run_cli("import", input=lines)
        self.wait_for_state("a", "completed")

    def test_settings_left_out_are_those_of_the_queue_here(self):
        self.run_cli("config", "set", "max-retries", "9")
        self.import_lines({"id": "a", "command": "true", "state": "pending", "created_at": 1700000000})
        job = self.job("a")
        self.assertEqual((job["max_retries"], job["backoff_base"], job["queue"]), (9, 2, "default"))
        self.assertEqual(job["created_at"], "2023-11-14T22:13:20.000Z")


class RefusalTest(MovingTestCase):
    def refused(self, line, *parts: str) -> None:
        """The third line is wrong, and told so; nothing of the others is done."""
        result = self.import_lines(GOOD, "", line, code=2)
        self.assertTrue(result.stderr.startswith("queuectl: line 3: "), result.stderr)
        self.assertEqual(len(result.stderr.splitlines()), 1)
        for part in parts:
            self.assertIn(part, result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertEqual(self.rows("SELECT * FROM queuectl_jobs"), [])

    def test_a_line_that_is_wrong_is_named_and_nothing_is_done(self):
        for line, part in (
            ("{", "not valid JSON"),
            ("[]", "a job is a JSON object"),
            (b'{"id": "\xff"}\n', "not UTF-8"),
            (dict(GOOD), "also on line 1"),
            (dict(GOOD, id="b", state="done"), "no such state"),
            (dict(GOOD, id="b", comand="x"), "did you mean command?"),
            (dict(GOOD, id="b", state="completed"), "finished_at: missing"),
            (dict(GOOD, id="b", finished_at=1700000000), "finished_at: given"),
            (dict(GOOD, id="b", created_at="soon"), "created_at: not a time"),
            (dict(GOOD, id="b", created_at=None), "created_at: missing"),
            (dict(GOOD, id="b", command=""), "command"),
            (dict(GOOD, id=""), "id: must be a string"),
            (dict(GOOD, id="b", attempts=-1), "attempts: not a whole number"),
            (dict(GOOD, id="b", after=["nobody"]), "after: no such job: 'nobody'"),
            (dict(GOOD, id="b", after=["goo"]), "after: no such job: 'goo'"),
            (dict(GOOD, id="b", after=["b"]), "cannot wait for itself"),
            (dict(GOOD, id="b", history=[{}]), "history: attempt: missing"),
            (dict(GOOD, id="b", history=[7]), "history: an attempt is a JSON object"),
            (dict(GOOD, id="b", history=[{"attempt": 1, "started_at": 1}]), "an attempt has no finished_at"),
            (
                dict(GOOD, id="b", history=[{"attempt": 1, "started_at": 1, "output": [[0, 3, ""]]}]),
                "history: output",
            ),
        ):
            with self.subTest(part=part):
                self.refused(line, part)

    def test_a_key_that_two_unfinished_jobs_would_have_is_refused(self):
        self.enqueue("--id", "mine", "--unique", "key", "true")
        result = self.import_lines(GOOD, dict(GOOD, id="b", unique_key="key"), code=2)
        self.assertEqual(result.stderr, "queuectl: line 2: job b: job mine has its unique key\n")
        self.assertEqual(list(self.jobs()), ["mine"])

    def test_a_file_that_is_not_there_is_named(self):
        self.assertIn("no/such", self.run_cli("import", "no/such", code=2).stderr)


class NodeTest(MovingTestCase):
    """What mongoexport makes of the `jobs` collection of the QueueCTL for Node.js."""

    def test_its_jobs_keep_states_and_times(self):
        ids = self.run_cli("import", NODE_EXPORT).lines
        without_id = "665f1c2ab7a1f0d3c4e5a605"
        self.assertEqual(ids, ["done-1", "dead-1", "failed-1", "running-1", without_id, "later-1"])
        jobs = {id: self.job(id) for id in ids}
        states = {id: (job["state"], job["attempts"], job["max_retries"]) for id, job in jobs.items()}
        expected = {
            "done-1": ("completed", 1, 3),
            "dead-1": ("dead", 3, 3),
            "failed-1": ("failed", 1, 5),
            "running-1": ("pending", 0, 3),
            without_id: ("pending", 0, 3),
            "later-1": ("pending", 0, 0),
        }
        self.assertEqual(states, expected)
        self.assertEqual(jobs["done-1"]["created_at"], "2024-06-04T13:52:10.120Z")
        self.assertEqual(jobs["done-1"]["finished_at"], "2024-06-04T13:52:11.000Z")
        self.assertEqual(jobs["dead-1"]["error"], "Command failed: exit 1")
        self.assertEqual(jobs["failed-1"]["run_at"], "2024-06-04T13:52:20.000Z")
        self.assertEqual(jobs["failed-1"]["backoff_base"], 1.5)
        self.assertEqual(jobs["later-1"]["run_at"], "2124-06-04T13:52:10.000Z")
        self.assertEqual(self.run_cli("logs", "done-1").stdout, "hello\n")
        self.assertEqual(self.run_cli("logs", "failed-1").stdout, "oops: é\n")
        self.assertEqual(self.run_cli("dlq", "list", "--json").json[0]["id"], "dead-1")
        self.assertEqual(self.run_cli("import", NODE_EXPORT).lines, [])

    def test_its_jobs_run_here(self):
        self.run_cli("import", NODE_EXPORT)
        self.run_cli("cancel", "later-1")
        self.run_cli("dlq", "retry", "--all")
        self.run_cli("edit", "dead-1", "--command", "true")
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.assertEqual(self.states(), {"completed": 5, "cancelled": 1})
        self.audit()

    def test_a_field_that_is_unknown_is_refused(self):
        with open(NODE_EXPORT) as file:
            job = json.loads(file.readline())
        result = self.import_lines(dict(job, nonsense=1), code=2)
        self.assertIn("line 1: 'nonsense': no such field", result.stderr)
        result = self.import_lines(dict(job, attempts="many"), code=2)
        self.assertIn("line 1: attempts: not a whole number", result.stderr)


if __name__ == "__main__":
    unittest.main()
