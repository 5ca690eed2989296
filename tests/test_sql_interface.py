"""The SQL interface: docs/sql.md is accurate, and any program can insert jobs."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import unittest

from queuectl_core.store import sql
from queuectl_core.workers.identity import LINUX
from tests.doc_runner import DocumentTestCase
from tests.harness import ROOT, QueueTestCase, wait_until


class DocumentTest(DocumentTestCase):
    def test_the_examples_do_what_they_show(self):
        self.run_document("docs/sql.md")

    def test_the_document_lists_every_column_that_enqueue_writes_and_every_column_of_the_view(self):
        with open(os.path.join(ROOT, "docs", "sql.md"), encoding="utf-8") as file:
            document = file.read()
        insert_part, read_part = document.split("## Query")
        rows = re.findall(r"^\| ((?:`\w+` )+)\|", insert_part, re.MULTILINE)
        documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
        (columns,) = re.findall(r"queuectl_jobs \(([^)]*)\)\s+VALUES", sql.ENQUEUE)
        written = {column.strip() for column in columns.split(",")}
        self.assertEqual(documented, written - {"created_at", "updated_at", "ready"})
        store = self.store()
        view = [row[1] for row in store._rows("PRAGMA table_info(queuectl_list)")]
        (listed,) = re.findall(r"^Its columns: (.*?)\n\n", read_part, re.MULTILINE | re.DOTALL)
        self.assertEqual(re.findall(r"`(\w+)`", listed), view)
        for table, names in re.findall(r"^\| `(queuectl_\w+)` \|[^|]*\|([^|]*)\|", read_part, re.MULTILINE):
            actual = {row[1] for row in store._rows(f"PRAGMA table_info({table})")}
            self.assertTrue(actual, table)
            self.assertEqual(set(re.findall(r"`(\w+)`", names)) - actual, set(), table)


class InsertTest(QueueTestCase):
    """Other programs insert jobs while a worker is idle."""

    def setUp(self) -> None:
        super().setUp()
        self.start_workers()

    def test_an_idle_worker_starts_an_inserted_job_within_a_second(self):
        waited = []
        for id in "abcd":
            self.rows("INSERT INTO queuectl_jobs (id, command) VALUES (?, 'true')", id)
            self.wait_for_state(id, "completed")
            waited += self.rows("SELECT started_at - created_at FROM queuectl_jobs WHERE id = ?", id)[0]
        # Each job but the first arrives just as the worker goes to sleep: for 0.4 s as the lookout, for 2 s otherwise.
        # The best of three counts, because the machine may be busy.
        self.assertLess(min(waited[1:]), 1, waited)

    def test_the_sqlite3_program_can_enqueue_a_job(self):
        if not shutil.which("sqlite3"):
            self.skipTest("sqlite3 is not installed")
        statement = "INSERT INTO queuectl_jobs(id, command) VALUES ('foreign', 'echo from SQL')"
        subprocess.run(["sqlite3", "-cmd", ".timeout 10000", self.db, statement], check=True, timeout=30)
        self.wait_for_state("foreign", "completed")
        self.assertEqual(self.run_cli("logs", "foreign").stdout, "from SQL\n")

    def test_a_command_alone_makes_a_complete_job(self):
        self.rows("INSERT INTO queuectl_jobs(command) VALUES ('pwd; echo $QUEUECTL_QUEUE')")
        ((id,),) = self.rows("SELECT id FROM queuectl_jobs")
        self.wait_for_state(id, "completed")
        self.assertEqual(self.run_cli("logs", id).stdout, self.home + "\ndefault\n")
        job = self.job(id)
        settings = {field: job[field] for field in ("max_retries", "backoff_base", "timeout", "kill_grace")}
        self.assertEqual(settings, {"max_retries": 3, "backoff_base": 2, "timeout": 0, "kill_grace": 10})
        self.audit([id])

    def test_every_documented_column_takes_effect(self):
        self.run_cli("config", "set", "mail.timeout", "7")
        self.rows(
            "INSERT INTO queuectl_jobs (id, command, queue, cwd, env, max_retries, bury_on) VALUES"
            " ('a', 'pwd; echo $A; exit 64', 'mail', '/', '{\"A\": \"1\"}', 5, '64')"
        )
        self.rows(
            "INSERT INTO queuectl_jobs (id, command, run_at)"
            " VALUES ('later', 'true', strftime('%s', 'now', '+1 hour') + 0)"
        )
        self.wait_for_state("a", "dead")
        job = self.job("a")
        self.assertEqual((job["timeout"], job["max_retries"], job["attempts"]), (7, 5, 1))
        self.assertEqual(self.run_cli("logs", "a").stdout, "/\n1\n")
        self.assertEqual(self.job("later")["reason"], "delayed")

    def test_insert_or_ignore_adds_one_job_per_unique_key(self):
        insert = "INSERT OR IGNORE INTO queuectl_jobs (command, unique_key, run_at) VALUES ('true', ?, 9e9)"
        for key in ("k", "k", "other"):
            self.rows(insert, key)
        self.assertEqual(self.rows("SELECT unique_key FROM queuectl_list"), [("k",), ("other",)])
        self.assertEqual(self.rows("SELECT pending FROM queuectl_queues"), [(2,)])
        self.audit()

    def test_a_thousand_jobs_inserted_in_one_transaction_all_run(self):
        connection = sqlite3.connect(self.db, timeout=20)
        insert = "INSERT INTO queuectl_jobs (id, command) VALUES (?, 'true')"
        connection.executemany(insert, [(f"job{number}",) for number in range(1000)])
        connection.commit()
        connection.close()
        self.wait_until_all_finished()
        self.assertEqual(self.states(), {"completed": 1000})

    def test_nonsense_ends_in_a_dead_job_and_harms_no_other(self):
        ids = []
        for column, value in (
            ("env", "nonsense"), ("env", "[1]"), ("env", '{"A": 1}'), ("env", '{"A=B": "c"}'),
            ("cwd", "relative"), ("cwd", ""), ("bury_on", "nonsense"),
            ("retry_only_on", "-"), ("bury_on", ""),
        ):  # fmt: skip
            ids.append(f"job{len(ids)}")
            insert = "INSERT INTO queuectl_jobs (id, command, max_retries, %s) VALUES (?, 'exit 3', 0, ?)"
            self.rows(insert % column, ids[-1], value)
        self.rows("INSERT INTO queuectl_jobs (id, command, queue) VALUES ('last', 'true', 'a b,c')")
        self.wait_for_state("last", "completed")
        self.wait_until_all_finished()
        jobs = self.jobs()
        self.assertEqual({jobs[id]["state"] for id in ids}, {"dead"})
        self.assertEqual({attempt["worker"] for id in ids for attempt in self.job(id)["history"]}, {1})
        self.run_cli("list")
        self.run_cli("show", "job0")
        self.audit(ids)

    def test_an_id_that_begins_with_a_dash_can_be_named_after_two_dashes(self):
        self.rows("INSERT INTO queuectl_jobs (id, command, run_at) VALUES ('-n', 'true', 4e9)")
        for command in ("show", "cancel", "retry"):
            self.assertIn("-n", self.run_cli(command, "--", "-n").stdout)
        self.run_cli("wait", "--", "-n")
        self.run_cli("worker", "start", "--", "-n", code=2)

    def test_values_that_could_not_be_read_back_are_rejected(self):
        for column, value in (
            ("id", b"blob"), ("queue", b"blob"), ("env", b"{}"), ("bury_on", b"1"),
            ("run_at", "9e999"), ("run_at", 9e99), ("run_at", "soon"),
            ("created_at", 9e99), ("timeout", 9e99), ("timeout", "long"), ("timeout", b"1"),
            ("backoff_base", -1), ("max_retries", 2**40), ("max_retries", 1.5), ("output_limit", "all"),
        ):  # fmt: skip
            with self.assertRaises(sqlite3.IntegrityError, msg=(column, value)):
                self.rows(f"INSERT INTO queuectl_jobs (command, {column}) VALUES ('true', ?)", value)
        self.assertEqual(self.run_cli("list", "--json").json, [])

    def test_an_application_can_keep_the_queue_in_its_own_database(self):
        path = self.path("shop.db")
        shop = sqlite3.connect(path, timeout=20)
        self.addCleanup(shop.close)
        shop.executescript(
            "PRAGMA user_version = 42; PRAGMA application_id = 7; CREATE TABLE orders (item TEXT);"
        )
        self.run_cli("--db", path, "worker", "start")
        for end, item in ((shop.rollback, "nothing"), (shop.commit, "tea")):
            shop.execute("INSERT INTO orders VALUES (?)", (item,))
            shop.execute("INSERT INTO queuectl_jobs (id, command) VALUES (?, 'echo sent')", (item,))
            end()
        self.run_cli("--db", path, "wait", "tea")
        jobs = self.run_cli("--db", path, "list", "--json").json
        self.assertEqual([(job["id"], job["state"]) for job in jobs], [("tea", "completed")])
        for pragma, value in (("user_version", 42), ("application_id", 7)):
            self.assertEqual(shop.execute("PRAGMA " + pragma).fetchone(), (value,))
        self.assertEqual(shop.execute("SELECT * FROM orders").fetchall(), [("tea",)])
        names = [name for (name,) in shop.execute("SELECT name FROM sqlite_master")]
        ours = [name for name in names if name.startswith(("queuectl_", "sqlite_"))]
        self.assertEqual(set(names) - set(ours), {"orders"})


class LookoutTest(QueueTestCase):
    """One idle worker, the lookout, polls for jobs that other programs insert; the others sleep."""

    def setUp(self) -> None:
        super().setUp()
        self.pids = [pid for _, pid in sorted(self.start_workers("-c", "3"))]

    def sleep_counts(self) -> list[int]:
        """How many times each worker has gone to sleep, oldest worker first."""
        counts = []
        for pid in self.pids:
            with open(f"/proc/{pid}/status") as file:
                counts.append(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", file.read(), re.M).group(1)))
        return counts

    def assert_is_lookout(self, index: int) -> None:
        """Wait until only the worker `index` polls."""

        def is_the_only_poller() -> bool:
            now = self.sleep_counts()
            grown = [new - old for new, old in zip(now, self.before)]
            if any(grown[other] > 3 for other in range(3) if other != index):
                self.before = now  # The others weren't asleep yet.
                return False
            return grown[index] >= 6

        self.before = self.sleep_counts()
        wait_until(is_the_only_poller, message=lambda: f"{self.sleep_counts()}, before: {self.before}")

    def insert_long_job(self, id: str) -> None:
        """Insert a job that lasts, and wait until it runs."""
        self.rows("INSERT INTO queuectl_jobs (id, command) VALUES (?, 'sleep 60')", id)
        self.wait_for_state(id, "processing")

    @unittest.skipUnless(LINUX, "needs /proc to count wake-ups")
    def test_the_youngest_idle_worker_is_the_lookout_until_it_gets_a_job(self):
        self.assert_is_lookout(2)
        self.insert_long_job("first")
        # Usually the youngest; but another worker's rare poll may have come first.
        taker = self.pids.index(self.owner("first"))
        oldest, youngest = sorted({0, 1, 2} - {taker})
        self.pids[taker] = self.pids[oldest]  # It is busy: count another one instead.
        self.assert_is_lookout(youngest)
        self.insert_long_job("second")
        self.insert_long_job("third")
        self.stop_workers("--now")

    @unittest.skipUnless(LINUX, "needs /proc to count wake-ups")
    def test_a_lookout_that_stops_is_replaced(self):
        youngest = self.rows("SELECT max(id) FROM queuectl_workers WHERE role = 'worker'")[0][0]
        self.assert_is_lookout(2)
        self.stop_workers(str(youngest))
        self.pids[2] = self.pids[0]
        self.assert_is_lookout(1)

    @unittest.skipUnless(LINUX, "needs /proc to count wake-ups")
    def test_a_worker_marked_busy_but_never_rung_becomes_idle_again(self):
        # An enqueuer may die between its commit and the bell.
        self.assert_is_lookout(2)
        self.rows("UPDATE queuectl_workers SET idle = 0 WHERE role = 'worker'")
        wait_until(lambda: self.rows("SELECT count(*) FROM queuectl_workers WHERE idle = 1") == [(3,)])
