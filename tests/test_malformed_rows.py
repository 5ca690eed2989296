"""Rows that no queuectl would write: a malformed job affects only itself, and every command still works."""

from __future__ import annotations

import sqlite3

from tests.harness import wait_until
from tests.test_workers import WorkersTestCase

GARBAGE = "CAST(x'66ff0a1b' AS TEXT)"  # Not UTF-8, with a newline and an escape.

# SQL for values of a job's columns that the schema rejects, or that no reader expects. All of them are stored with
# CHECKs off, as in a file that is older than the CHECK.
COLUMNS = {
    "id": [GARBAGE, "'a' || char(0) || 'b'", "char(27, 10)"],
    "queue": [GARBAGE, "'q,r'", "char(10)"],
    "priority": ["9223372036854775807", "-9223372036854775808", "'high'", "x'00'"],
    "command": [GARBAGE, "x'ff'", "''", "7"],
    "cwd": [GARBAGE, "'relative'", "x'2fff'", "7", "'/' || char(0)", "''"],
    "env": [GARBAGE, "x'ff'", "'{\"A\": 1}'", "'[]'", "'{'", "7", "replace(hex(zeroblob(25000)), '0', '[')"],
    "max_retries": ["NULL", "'x'", "x'00'", "-1", "1e300"],
    "backoff_base": ["NULL", "'x'", "x'00'", "-1", "9e999"],
    "backoff_max": ["NULL", "'x'", "-9e999"],
    "timeout": ["NULL", "'x'", "x'00'", "-1", "9e999"],
    "kill_grace": ["NULL", "'x'", "-1"],
    "output_limit": ["NULL", "'x'", "-1", "1e300"],
    "defer_limit": ["NULL", "'x'"],
    "bury_on": ["x'31'", GARBAGE, "'x-y,,'", "7"],
    "retry_only_on": ["x'31'", GARBAGE],
    "unique_key": [GARBAGE, "x'ff'"],
    "stdin": ["5", "'x'"],
    "deferrals": ["'x'", "-1"],
    "attempts": ["'x'", "5", "-7", "9223372036854775807"],
    "last_attempt": ["'x'", "-1"],
    "waits_for": ["-1", "'x'"],
    "worker": ["7"],
    "cancel": ["7"],
    "finished_at": ["5", "'x'"],
    "created_at": ["'x'", "-1e300", "9e999"],
    "updated_at": ["'x'", "9e999"],
    "started_at": ["'x'", "x'00'"],
    "exit_code": ["'x'", "x'ff'"],
    "error": [GARBAGE, "x'ff'", "7"],
}
CONFIG = {
    "max-retries": "x'00'",
    "keep-completed": "'soon'",
    "keep-dead": GARBAGE,
    "default.rate": "'often'",
    "default.limit": "'some'",
    "q.runner": "'\"'",
    "q.rate": "''",
    GARBAGE: GARBAGE,
}
READERS = (
    "list",
    "list --json",
    "list -s dead --json",
    "status",
    "status --json",
    "dlq list",
    "worker list",
    "config list",
    "doctor",
    "export",
    "wait --all --timeout 0.01",
)


class MalformedRowsTest(WorkersTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.create_queue()
        self.foreign = sqlite3.connect(self.db, timeout=20, isolation_level=None)
        self.addCleanup(self.foreign.close)
        self.foreign.execute("PRAGMA ignore_check_constraints = ON")

    def insert_malformed_jobs(self) -> int:
        """Insert a job for each value in COLUMNS, as hand-set as possible; returns how many there are."""
        count = 0
        for column, literals in COLUMNS.items():
            for literal in literals:
                self.foreign.execute("INSERT INTO queuectl_jobs (command, max_retries) VALUES ('exit 1', 0)")
                update = f"UPDATE queuectl_jobs SET {column} = {literal} WHERE seq = last_insert_rowid()"
                try:
                    self.foreign.execute(update)
                    count += 1
                except sqlite3.IntegrityError:  # NOT NULL holds even then.
                    self.foreign.execute("DELETE FROM queuectl_jobs WHERE seq = last_insert_rowid()")
        return count

    def test_workers_survive_malformed_jobs_and_every_command_shows_them(self):
        count = self.insert_malformed_jobs()
        self.assertGreater(count, 60)
        self.check_readers()
        self.start_workers("-c", "2")
        self.enqueue("--id", "good", "--priority", "-5", "true")
        self.wait_for_state("good", "completed")
        wait_until(lambda: not self.rows("SELECT 1 FROM queuectl_jobs WHERE state IN ('pending', 'processing')"))
        self.assertEqual(self.rows("SELECT count(*) FROM queuectl_workers WHERE role = 'worker'"), [(2,)])
        self.assertEqual(self.rows("SELECT max(id) FROM queuectl_workers"), [(2,)])  # None was replaced.
        self.check_readers()
        self.assertIn("cannot be run: ", self.run_cli("dlq", "list").stdout)
        self.run_cli("dlq", "retry", "--all", code=1)  # Some rows can't become ready, as their settings are missing.
        self.run_cli("cancel", "--all")
        self.run_cli("prune", "-s", "cancelled")
        self.run_cli("worker", "stop", "--now")

    def test_a_job_whose_result_another_program_rejects_is_buried_and_its_worker_lives(self):
        for id, condition in (("picky", "NEW.state = 'completed'"), ("stubborn", "OLD.state = 'processing'")):
            self.rows(
                f"CREATE TRIGGER {id} BEFORE UPDATE OF state ON queuectl_jobs WHEN NEW.id = '{id}' AND {condition}"
                " BEGIN SELECT RAISE(ABORT, 'not today'); END"
            )
        self.start_workers()
        self.enqueue("--id", "picky", "true")
        self.wait_for_state("picky", "dead")
        self.assertEqual(self.job("picky")["error"], "cannot be run: rejected by the database: not today")
        self.assertEqual(self.rows("SELECT max(id) FROM queuectl_workers"), [(1,)])
        # This one can't even be buried. Its worker has to leave it behind; the supervisor and its other worker go on.
        supervisors = self.supervisors()
        self.enqueue("--id", "stubborn", "true")
        wait_until(lambda: self.rows("SELECT max(id) FROM queuectl_workers") > [(1,)])
        self.enqueue("--id", "other", "true")
        self.wait_for_state("other", "completed")
        self.assertEqual(self.supervisors(), supervisors)
        self.check_readers()
        self.rows("DROP TRIGGER stubborn")
        wait_until(lambda: self.state("stubborn") in ("completed", "failed", "processing"))
        self.run_cli("worker", "stop", "--now")

    def test_a_job_completes_even_if_one_that_waits_for_it_was_miscounted(self):
        self.run_cli("enqueue", "-", input="true\ntrue\n")
        self.rows("INSERT INTO queuectl_dependencies (job, needs) VALUES (2, 1)")  # Without waits_for.
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.assertEqual(self.states(), {"completed": 2})

    def test_rows_left_by_a_replaced_job_do_not_harm_one_that_reuses_its_number(self):
        self.rows("INSERT INTO queuectl_attempts (job, attempt, worker, started_at) VALUES (1, 1, 1, 1)")
        self.rows("INSERT INTO queuectl_output VALUES (1, 1, 0, 1, 'old')")
        self.enqueue("--id", "new", "echo new")
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.assertEqual((self.state("new"), self.run_cli("logs", "new").stdout), ("completed", "new\n"))

    def test_malformed_jobs_of_a_killed_worker_are_buried(self):
        self.start_workers("-q", "none")
        self.insert_malformed_jobs()
        self.foreign.execute(
            "INSERT INTO queuectl_workers (id, role, pid, boot, birth, version, started_at)"
            " VALUES (99, 'worker', 1, 'earlier', '1', '1', 1)"
        )
        self.foreign.execute(
            "UPDATE queuectl_jobs SET state = 'processing', ready = NULL, worker = 99, started_at = 1e9, attempts = 1,"
            " last_attempt = max(last_attempt, 1)"
        )
        self.start_workers("-q", "none")  # Sweeps.
        self.assertEqual(self.rows("SELECT count(*) FROM queuectl_jobs WHERE state = 'processing'"), [(0,)])

    def test_malformed_configuration_affects_at_most_its_queue(self):
        for key, value in CONFIG.items():
            key = key if key == GARBAGE else f"'{key}'"
            self.foreign.execute(f"INSERT INTO queuectl_config VALUES ({key}, {value})")
        self.start_workers()
        self.foreign.execute(
            "INSERT INTO queuectl_jobs (id, queue, command, max_retries) VALUES ('bad', 'q', 'true', 0)"
        )
        self.run_cli("enqueue", "--id", "good", "--max-retries", "1", "true")
        self.wait_for_state("good", "completed")
        wait_until(lambda: self.job("bad")["error"])
        self.assertIn("cannot start: runner: ", self.job("bad")["error"])
        self.check_readers()

    def test_an_id_that_is_not_utf_8_can_be_typed_and_piped(self):
        command = "printf '%s\\n' \"$QUEUECTL_JOB_ID\""
        self.foreign.execute(f"INSERT INTO queuectl_jobs (id, command) VALUES ({GARBAGE}, ?)", (command,))
        id = b"f\xff\n\x1b".decode("utf-8", "surrogateescape")
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.assertEqual(self.run_cli("logs", id).stdout_bytes, b"f\xff\n\x1b\n")
        self.assertEqual(self.run_cli("retry", id).stdout_bytes, b"f\xff\n\x1b\n")
        self.assertEqual(self.run_cli("show", id, "--json").json["id"], id)
        self.assertEqual(self.run_cli("cancel", id).stdout_bytes, b"f\xff\n\x1b\n")
        self.run_cli("wait", id, code=1)
        self.assertEqual(self.run_cli("dlq", "purge", "nothing" + id, code=1).stdout, "")
        exported = self.run_cli("export").stdout_bytes
        copy = self.folder + "/copy.db"
        self.run_cli("--db", copy, "import", "-", input=exported)
        self.assertEqual(self.run_cli("--db", copy, "export").stdout_bytes, exported)

    def test_the_schema_rejects_malformed_rows_and_rows_that_have_run(self):
        insert = "INSERT INTO queuectl_jobs (command, {}) VALUES ('true', {})"
        self.foreign.execute("PRAGMA ignore_check_constraints = OFF")
        for columns in (
            *("env = x'7b7d'", "bury_on = x'31'", "retry_only_on = x'31'", "unique_key = x'31'", "error = x'31'"),
            *("max_retries = -1", "timeout = 'x'", "kill_grace = 9e999", "run_at = 'x'", "created_at = -1"),
            *("state = 'dead'", "state = 'completed', finished_at = 1", "state = 'processing', worker = 1"),
            *("attempts = 1", "last_attempt = 1", "deferrals = 1", "exit_code = 0", "error = 'x'", "started_at = 1"),
            *("ready = 1", "ready = 0", "cancel = 1", "stdin = 3", "finished_at = 1", "worker = 1"),
        ):
            pairs = [pair.split(" = ") for pair in columns.split(", ")]
            names, literals = zip(*pairs)
            with self.subTest(columns=columns), self.assertRaises(sqlite3.IntegrityError):
                self.foreign.execute(insert.format(", ".join(names), ", ".join(literals)))

    def check_readers(self) -> None:
        for words in READERS:
            result = self.run_cli(*words.split(), code=None)
            with self.subTest(words=words):
                self.assertNotEqual(result.code, 70, result.stderr)
