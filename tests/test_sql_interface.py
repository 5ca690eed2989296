"""SQL is an interface: docs/sql.md is true, and a row is a job wherever it comes from."""

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
    def test_what_the_document_shows_is_so(self):
        self.run_document("docs/sql.md")

    def test_it_names_every_column_that_enqueue_writes_and_every_column_of_the_view(self):
        with open(os.path.join(ROOT, "docs", "sql.md"), encoding="utf-8") as file:
            document = file.read()
        given, seen = document.split("## Look")
        rows = re.findall(r"^\| ((?:`\w+` )+)\|", given, re.MULTILINE)
        documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
        (columns,) = re.findall(r"queuectl_jobs \(([^)]*)\)\s+VALUES", sql.ENQUEUE)
        written = {column.strip() for column in columns.split(",")}
        self.assertEqual(documented, written - {"created_at", "updated_at", "ready"})
        store = self.store()
        view = [row[1] for row in store._rows("PRAGMA table_info(queuectl_list)")]
        (listed,) = re.findall(r"^Its columns: (.*?)\n\n", seen, re.MULTILINE | re.DOTALL)
        self.assertEqual(re.findall(r"`(\w+)`", listed), view)
        for table, names in re.findall(r"^\| `(queuectl_\w+)` \|[^|]*\|([^|]*)\|", seen, re.MULTILINE):
            there = {row[1] for row in store._rows(f"PRAGMA table_info({table})")}
            self.assertTrue(there, table)
            self.assertEqual(set(re.findall(r"`(\w+)`", names)) - there, set(), table)


class ForeignSqlTest(QueueTestCase):
    """Programs that know nothing but the table, with a worker that idles."""

    def setUp(self) -> None:
        super().setUp()
        self.start_workers()

    def test_an_idle_worker_finds_a_row_by_the_lookouts_quick_poll(self):
        waited = []
        for id in "abcd":
            self.rows("INSERT INTO queuectl_jobs (id, command) VALUES (?, 'true')", id)
            self.wait_for_state(id, "completed")
            waited += self.rows("SELECT started_at - created_at FROM queuectl_jobs WHERE id = ?", id)[0]
        # All but the first come when the worker has just gone to sleep, for the lookout's 0.4 s; others
        # sleep for 2 s. The best of three counts, since the machine may be busy.
        self.assertLess(min(waited[1:]), 1, waited)

    def test_the_sqlite3_program_enqueues_a_job(self):
        if not shutil.which("sqlite3"):
            self.skipTest("sqlite3 is not installed")
        statement = "INSERT INTO queuectl_jobs(id, command) VALUES ('foreign', 'echo from SQL')"
        subprocess.run(["sqlite3", "-cmd", ".timeout 10000", self.db, statement], check=True, timeout=30)
        self.wait_for_state("foreign", "completed")
        self.assertEqual(self.run_cli("logs", "foreign").stdout, "from SQL\n")

    def test_the_command_alone_is_a_complete_job(self):
        self.rows("INSERT INTO queuectl_jobs(command) VALUES ('pwd; echo $QUEUECTL_QUEUE')")
        ((id,),) = self.rows("SELECT id FROM queuectl_jobs")
        self.wait_for_state(id, "completed")
        self.assertEqual(self.run_cli("logs", id).stdout, self.home + "\ndefault\n")
        job = self.job(id)
        told = {field: job[field] for field in ("max_retries", "backoff_base", "timeout", "kill_grace")}
        self.assertEqual(told, {"max_retries": 3, "backoff_base": 2, "timeout": 0, "kill_grace": 10})
        self.audit([id])

    def test_all_columns_that_are_documented_are_obeyed(self):
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
        self.assertEqual(self.job("later")["reason"], "waits for its time")

    def test_a_unique_key_is_enqueued_once(self):
        insert = "INSERT OR IGNORE INTO queuectl_jobs (command, unique_key, run_at) VALUES ('true', ?, 9e9)"
        for key in ("k", "k", "other"):
            self.rows(insert, key)
        self.assertEqual(self.rows("SELECT unique_key FROM queuectl_list"), [("k",), ("other",)])
        self.assertEqual(self.rows("SELECT pending FROM queuectl_queues"), [(2,)])
        self.audit()

    def test_a_thousand_rows_in_one_transaction_all_run(self):
        connection = sqlite3.connect(self.db, timeout=20)
        insert = "INSERT INTO queuectl_jobs (id, command) VALUES (?, 'true')"
        connection.executemany(insert, [(f"job{number}",) for number in range(1000)])
        connection.commit()
        connection.close()
        self.wait_until_all_finished()
        self.assertEqual(self.states(), {"completed": 1000})

    def test_nonsense_ends_as_a_dead_job_and_harms_no_other(self):
        ids = []
        for column, value in (
            ("env", "nonsense"), ("env", "[1]"), ("env", '{"A": 1}'), ("env", '{"A=B": "c"}'),
            ("env", b"\xff\0"), ("cwd", "relative"), ("cwd", ""), ("bury_on", "nonsense"),
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

    def test_what_nobody_could_read_again_is_refused(self):
        for column, value in (
            ("id", b"blob"), ("queue", b"blob"), ("run_at", "9e999"), ("run_at", 9e99), ("run_at", "soon"),
            ("created_at", 9e99), ("timeout", 9e99), ("timeout", "long"), ("timeout", b"1"),
            ("backoff_base", -1), ("max_retries", 2**40), ("max_retries", 1.5), ("output_limit", "all"),
        ):  # fmt: skip
            with self.assertRaises(sqlite3.IntegrityError, msg=(column, value)):
                self.rows(f"INSERT INTO queuectl_jobs (command, {column}) VALUES ('true', ?)", value)
        self.assertEqual(self.run_cli("list", "--json").json, [])

    def test_an_application_keeps_the_queue_in_its_own_file(self):
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
    """Of several idle workers one looks for what foreign SQL did; the others sleep."""

    def setUp(self) -> None:
        super().setUp()
        self.pids = [pid for _, pid in sorted(self.start_workers("-c", "3"))]

    def looks(self) -> list:
        """How often each worker has gone to sleep so far, the oldest first."""
        found = []
        for pid in self.pids:
            with open(f"/proc/{pid}/status") as file:
                found.append(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", file.read(), re.M).group(1)))
        return found

    def assert_only_one_looks(self, place: int) -> None:
        def is_busy_looking() -> bool:
            now = self.looks()
            grown = [new - old for new, old in zip(now, self.before)]
            if any(grown[other] > 3 for other in range(3) if other != place):
                self.before = now  # They were not asleep yet.
                return False
            return grown[place] >= 6

        self.before = self.looks()
        wait_until(is_busy_looking, message=lambda: f"{self.looks()}, before: {self.before}")

    def insert(self, id: str) -> None:
        self.rows("INSERT INTO queuectl_jobs (id, command) VALUES (?, 'sleep 60')", id)
        self.wait_for_state(id, "processing")

    @unittest.skipUnless(LINUX, "needs Linux to count who wakes up")
    def test_the_youngest_looks_and_hands_over_when_it_gets_a_job(self):
        self.assert_only_one_looks(2)
        self.insert("first")
        # Most often by the youngest; another's rare look may have come first.
        taker = self.pids.index(self.owner("first"))
        oldest, youngest = sorted({0, 1, 2} - {taker})
        self.pids[taker] = self.pids[oldest]  # It has other work now.
        self.assert_only_one_looks(youngest)
        self.insert("second")
        self.insert("third")
        self.stop_workers("--now")

    @unittest.skipUnless(LINUX, "needs Linux to count who wakes up")
    def test_one_that_leaves_hands_over(self):
        youngest = self.rows("SELECT max(id) FROM queuectl_workers WHERE role = 'worker'")[0][0]
        self.assert_only_one_looks(2)
        self.stop_workers(str(youngest))
        self.pids[2] = self.pids[0]
        self.assert_only_one_looks(1)

    @unittest.skipUnless(LINUX, "needs Linux to count who wakes up")
    def test_a_worker_that_was_marked_but_never_rung_is_found_idle_again(self):
        """The enqueuer may die between its commit and the bell."""
        self.assert_only_one_looks(2)
        self.rows("UPDATE queuectl_workers SET idle = 0 WHERE role = 'worker'")
        wait_until(lambda: self.rows("SELECT count(*) FROM queuectl_workers WHERE idle = 1") == [(3,)])
