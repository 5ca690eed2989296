"""export and import: jobs arrive unchanged and once, all of them or none."""

from __future__ import annotations

import json
import os
import unittest

from tests.harness import ROOT, CommandResult, QueueTestCase, wait_until

NODE_EXPORT = os.path.join(ROOT, "tests", "mongoexport.jsonl")
GOOD = {"id": "good", "command": "true", "state": "pending", "created_at": 1700000000}


class TransferTestCase(QueueTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.other = self.path("other.db")

    def switch_to_other_queue(self) -> None:
        """From now on, use the other queue."""
        self.db = self.environment["QUEUECTL_DB"] = self.other

    def export(self) -> str:
        return self.run_cli("export").stdout

    def import_lines(self, *lines: object, code: int = 0) -> CommandResult:
        """Import lines: bytes as they are, text as a line, anything else as JSON."""
        texts = [line if isinstance(line, (str, bytes)) else json.dumps(line) for line in lines]
        data = b"".join(text if isinstance(text, bytes) else text.encode() + b"\n" for text in texts)
        return self.run_cli("import", input=data, code=code)

    def snapshot(self) -> dict[str, tuple[dict[str, object], bytes]]:
        """What `show --json` and `logs` print about every job, by id, except what depends on the queue."""
        snapshot = {}
        for id in self.jobs():
            shown = self.job(id)
            del shown["reason"], shown["worker"]
            snapshot[id] = (shown, self.run_cli("logs", id).stdout_bytes)
        return snapshot


class RoundTripTest(TransferTestCase):
    def test_values_that_only_the_schema_accepts_are_transferred_too(self):
        self.create_queue()
        for column, value in (
            *(("priority", 2**63 - 1), ("priority", -(2**63)), ("unique_key", "a\nb"), ("unique_key", "x" * 5000)),
            *(("cwd", "relative"), ("cwd", ""), ("cwd", b"/\xff"), ("id", "a b\n,-"), ("queue", "a,b c\n")),
            *(("env", "nonsense"), ("env", "[]"), ("env", '{"A": 1}'), ("env", ""), ("bury_on", "x,,y-")),
            *(("retry_only_on", ""), ("backoff_base", 1e10), ("backoff_max", 1e10), ("timeout", 1e10)),
            *(("kill_grace", 0.125), ("run_at", 0), ("run_at", 253402300799), ("command", b"\xff"), ("command", " ")),
            *(("max_retries", 2**31 - 1), ("output_limit", 0), ("defer_limit", 2**31 - 1), ("created_at", 0.001)),
        ):
            self.rows(f"INSERT INTO queuectl_jobs (command, {column}) VALUES ('true', ?)"
                      if column != "command" else "INSERT INTO queuectl_jobs (command) VALUES (?)", value)  # fmt: skip
        exported = self.export()
        self.assertGreater(exported.count("\n"), 20)
        self.switch_to_other_queue()
        self.run_cli("import", input=exported)
        self.assertEqual(self.export(), exported)

    def test_every_detail_of_every_job_is_transferred(self):
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
        before, lines = self.snapshot(), self.export()
        self.assertEqual([json.loads(line)["id"] for line in lines.splitlines()], ids)
        self.switch_to_other_queue()
        result = self.run_cli("import", input=lines)
        self.assertEqual(result.lines, ids)
        self.assertEqual(result.stderr, "imported 6 jobs\n")
        self.assertEqual(self.snapshot(), before)
        self.assertEqual(self.export(), lines)
        self.audit(ids)
        self.assertEqual(self.run_cli("enqueue", "--unique", "key", "true").lines, ["kept"])
        self.run_cli("edit", "kept", "--delay", "0")
        self.run_cli("retry", "stdin")
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.assertEqual([self.state(id) for id in ("kept", "after")], ["completed"] * 2)
        self.assertEqual(self.run_cli("logs", "stdin").stdout_bytes, b"\x00\xff in\n")
        self.audit(ids)

    def test_whatever_the_schema_accepts_is_transferred(self):
        self.create_queue()
        for number, (column, value) in enumerate((
            ("priority", 2**63 - 1), ("priority", -(2**63)), ("unique_key", "a\nb"), ("unique_key", ""),
            ("cwd", "relative"), ("cwd", b"\xff"), ("cwd", ""), ("command", "\n"), ("command", b"\xff\0"),
            ("env", "nonsense"), ("env", "[]"), ("env", '{"A": 1}'), ("bury_on", "x-y"), ("retry_only_on", ""),
            ("backoff_base", 1e10), ("timeout", 1e10), ("kill_grace", 1e-9), ("created_at", 253402300799.9999),
            ("run_at", 0), ("queue", "a, b\n"),
        )):  # fmt: skip
            insert = f"INSERT INTO queuectl_jobs (id, command, {column}) VALUES (?, 'true', ?)"
            if column == "command":
                insert = "INSERT INTO queuectl_jobs (id, command) VALUES (?, ?)"
            self.rows(insert, f"{column} {number}", value)
        columns = "id, queue, priority, cwd, env, bury_on, retry_only_on, unique_key, backoff_base, timeout, kill_grace"
        query = f"SELECT {columns}, CAST(command AS BLOB) FROM queuectl_jobs ORDER BY seq"
        before, lines = self.rows(query), self.export()
        self.switch_to_other_queue()
        self.run_cli("import", input=lines)
        self.assertEqual(self.rows(query), before)
        self.assertEqual(self.export(), lines)

    def test_a_second_import_adds_only_the_new_jobs_and_leaves_the_rest_alone(self):
        ids = self.enqueue_lines(["true"] * 3)
        lines = self.export()
        self.switch_to_other_queue()
        self.run_cli("import", input=lines)
        self.run_cli("worker", "start", "--drain", "--foreground")
        before = self.snapshot()
        more = dict(json.loads(lines.splitlines()[0]), id="new")
        result = self.run_cli("import", input=lines + json.dumps(more) + "\n")
        self.assertEqual(result.lines, ["new"])
        self.assertEqual(result.stderr, "imported 1 job; skipped 3 that already exist\n")
        after = self.snapshot()
        self.assertEqual(after.pop("new")[0]["state"], "pending")
        self.assertEqual(after, before)
        self.audit(ids)

    def test_a_job_exported_while_it_runs_arrives_pending_with_its_attempt_refunded(self):
        self.start_workers()
        self.enqueue("--id", "long", "--max-retries", "0", "--", "echo begun; sleep 60")
        self.wait_for_state("long", "processing")
        wait_until(lambda: self.run_cli("logs", "long").stdout == "begun\n")
        lines = self.export()
        self.assertEqual(self.state("long"), "processing")
        self.switch_to_other_queue()
        self.run_cli("import", input=lines)
        job = self.job("long")
        self.assertEqual((job["state"], job["attempts"]), ("pending", 0))
        self.assertEqual([attempt["outcome"] for attempt in job["history"]], ["released"])
        self.audit(["long"])

    def test_an_export_while_workers_run_is_a_consistent_snapshot(self):
        self.start_workers("-c", "2")
        ids = self.enqueue_lines(["enqueue_and=$QUEUECTL_JOB_ID; true"] * 300)
        lines = self.export()
        self.wait_until_all_finished()
        self.switch_to_other_queue()
        self.run_cli("import", input=lines)
        self.audit(ids)
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.assertEqual(self.states(), {"completed": 300})

    def test_a_running_worker_runs_an_imported_job(self):
        self.enqueue("--id", "a", "true")
        lines = self.export()
        self.switch_to_other_queue()
        self.start_workers()
        self.run_cli("import", input=lines)
        self.wait_for_state("a", "completed")

    def test_missing_settings_come_from_the_importing_queue(self):
        self.run_cli("config", "set", "max-retries", "9")
        self.import_lines({"id": "a", "command": "true", "state": "pending", "created_at": 1700000000})
        job = self.job("a")
        self.assertEqual((job["max_retries"], job["backoff_base"], job["queue"]), (9, 2, "default"))
        self.assertEqual(job["created_at"], "2023-11-14T22:13:20.000Z")


class RefusalTest(TransferTestCase):
    def assert_refused(self, line: object, *parts: str) -> None:
        """Import `line` as the third: its number is reported, and no job is added."""
        result = self.import_lines(GOOD, "", line, code=2)
        self.assertTrue(result.stderr.startswith("queuectl: line 3: "), result.stderr)
        self.assertEqual(len(result.stderr.splitlines()), 1)
        for part in parts:
            self.assertIn(part, result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertEqual(self.rows("SELECT * FROM queuectl_jobs"), [])

    def test_a_bad_line_is_reported_by_number_and_nothing_is_imported(self):
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
            (dict(GOOD, id="b", after=["missing"]), "after: no such job: 'missing'"),
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
                self.assert_refused(line, part)

    def test_a_unique_key_held_by_an_unfinished_job_is_refused(self):
        self.enqueue("--id", "mine", "--unique", "key", "true")
        result = self.import_lines(GOOD, dict(GOOD, id="b", unique_key="key"), code=2)
        self.assertEqual(result.stderr, "queuectl: line 2: job b: job mine has its unique key\n")
        self.assertEqual(list(self.jobs()), ["mine"])

    def test_a_missing_file_is_named(self):
        self.assertIn("no/such", self.run_cli("import", "no/such", code=2).stderr)


class NodeTest(TransferTestCase):
    """The `jobs` collection of QueueCTL for Node.js, as exported by mongoexport."""

    def test_jobs_keep_their_states_and_times(self):
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

    def test_an_implausible_number_of_attempts_is_refused_before_any_is_added(self):
        with open(NODE_EXPORT) as file:
            job = json.loads(file.readline())
        result = self.import_lines(dict(job, attempts=2_000_000_000), code=2)
        self.assertIn("attempts: not a whole number from 0 to 10000", result.stderr)

    def test_jobs_run_after_the_import(self):
        self.run_cli("import", NODE_EXPORT)
        self.run_cli("cancel", "later-1")
        self.run_cli("dlq", "retry", "--all")
        self.run_cli("edit", "dead-1", "--command", "true")
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.assertEqual(self.states(), {"completed": 5, "cancelled": 1})
        self.audit()

    def test_an_unknown_field_or_a_bad_value_is_refused(self):
        with open(NODE_EXPORT) as file:
            job = json.loads(file.readline())
        result = self.import_lines(dict(job, nonsense=1), code=2)
        self.assertIn("line 1: 'nonsense': no such field", result.stderr)
        result = self.import_lines(dict(job, attempts="many"), code=2)
        self.assertIn("line 1: attempts: not a whole number", result.stderr)


if __name__ == "__main__":
    unittest.main()
