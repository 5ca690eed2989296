"""The store on real databases: the file, the schema as an interface, and guarded writes."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import stat
import subprocess
import sys
import time
import unittest.mock

from queuectl_core import jobspec
from queuectl_core.errors import BadInput, DatabaseUnusable, DuplicateId, QueueError, Refused
from queuectl_core.jobspec import NewJob
from queuectl_core.lifecycle import STATES, Job, Outcome, judge
from queuectl_core.records import NO_OUTPUT, Identity, NewOutput
from queuectl_core.store import Store, sql
from queuectl_core.store.claims import Claim
from queuectl_core.workers.identity import own_identity
from tests.harness import PROGRAM, QueueTestCase, audit, wait_until

SUCCESS = Outcome("exit", 0)


def new_job(command: str = "true", **fields: object) -> NewJob:
    return jobspec.new_job({"command": command, **fields}, time.time())


class StoreTestCase(QueueTestCase):
    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.db, isolation_level=None, timeout=20)
        self.addCleanup(connection.close)
        return connection

    def finish(self, store: Store, job: Job, outcome: Outcome = SUCCESS, output: NewOutput = NO_OUTPUT) -> bool:
        """Judge and settle an attempt, as a worker does."""
        return store.settle(job, outcome, judge(job, outcome, time.time()), output)

    def finish_and_claim(self, store: Store, job: Job) -> tuple[bool, Claim]:
        """Settle a successful attempt and claim the next job."""
        return store.settle_and_claim(job, SUCCESS, judge(job, SUCCESS, time.time()), NO_OUTPUT, None)


class FileTest(StoreTestCase):
    def test_a_new_file_and_its_folder_are_private_to_their_owner(self):
        path = self.path("new/deeper/q.db")
        old = os.umask(0)
        try:
            store = Store(path)
            store.enqueue([new_job()])
        finally:
            os.umask(old)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode), 0o700)
        for suffix in ("-wal", "-shm"):
            self.assertEqual(stat.S_IMODE(os.stat(path + suffix).st_mode), 0o600, suffix)
        store.close()

    def test_the_environment_chooses_the_file_and_the_db_option_overrides_it(self):
        for environment, expected in (
            ({"QUEUECTL_DB": self.path("a/x.db")}, "a/x.db"),
            ({"QUEUECTL_DB": None, "XDG_STATE_HOME": self.path("state")}, "state/queuectl/queue.db"),
            ({"QUEUECTL_DB": None}, "home/.local/state/queuectl/queue.db"),
            ({"QUEUECTL_DB": "", "XDG_STATE_HOME": "relative"}, "home/.local/state/queuectl/queue.db"),
        ):
            self.run_cli("enqueue", "true", env=environment)
            self.assertTrue(os.path.exists(self.path(expected)), expected)
        self.run_cli("--db", self.path("b.db"), "enqueue", "true", env={"QUEUECTL_DB": self.path("c.db")})
        self.assertTrue(os.path.exists(self.path("b.db")))
        self.assertFalse(os.path.exists(self.path("c.db")))

    def test_the_file_is_in_wal_mode(self):
        self.store()
        self.assertEqual(self.connect().execute("PRAGMA journal_mode").fetchone(), ("wal",))

    def test_ten_processes_can_create_the_same_file_at_once(self):
        started = [
            self.start_cli(
                "enqueue", "--id", f"job{n}", "--", "true", stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            for n in range(10)
        ]
        for process in started:
            _stdout, stderr = process.communicate(timeout=60)
            self.assertEqual((process.returncode, stderr), (0, b""))
        self.audit([f"job{n}" for n in range(10)])
        self.assertEqual(len(self.rows("SELECT * FROM queuectl_meta WHERE key = 'schema'")), 1)

    def test_a_newer_schema_is_refused_and_left_untouched(self):
        store = Store(self.db)
        store.enqueue([new_job()])
        store.close()
        connection = self.connect()
        connection.execute("UPDATE queuectl_meta SET value = 99 WHERE key = 'schema'")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        with open(self.db, "rb") as file:
            before = file.read()
        for command in (
            ["enqueue", "true"],
            ["list"],
            ["worker", "start"],
            ["config", "set", "timeout", "1"],
        ):
            result = self.run_cli(*command, code=3)
            self.assertEqual(result.stdout, "")
            self.assertIn("newer", result.stderr)
            self.assertEqual(len(result.stderr.splitlines()), 1)
        with open(self.db, "rb") as file:
            self.assertEqual(file.read(), before)

    def test_a_file_that_is_not_a_database_is_refused_and_left_untouched(self):
        notes = b"precious notes\n"
        for content in (notes * 1000, notes * 20, notes, b"SQLite format 3\0" + b"\xff" * 5000):
            self.write("notes.txt", content)
            with self.assertRaises(DatabaseUnusable):
                Store(self.path("notes.txt"))
            result = self.run_cli("--db", self.path("notes.txt"), "enqueue", "true", code=3)
            self.assertEqual(len(result.stderr.splitlines()), 1)
            with open(self.path("notes.txt"), "rb") as file:
                self.assertEqual(file.read(), content)
            self.assertEqual([n for n in os.listdir(self.folder) if n.startswith("notes")], ["notes.txt"])

    def test_an_unusable_path_is_named_in_a_one_line_error(self):
        self.write("file", b"x")
        for path in (self.folder, self.path("file/q.db"), "/proc/q.db"):
            result = self.run_cli("--db", path, "enqueue", "true", code=3)
            self.assertEqual(len(result.stderr.splitlines()), 1)
            self.assertIn(path, result.stderr)

    def test_the_queue_can_live_in_an_applications_own_database(self):
        connection = self.connect()
        connection.execute("CREATE TABLE customers (name TEXT)")
        connection.execute("PRAGMA user_version = 42")
        connection.execute("INSERT INTO customers VALUES ('Ada')")
        self.store().enqueue([new_job()])
        self.assertEqual(connection.execute("SELECT name FROM customers").fetchall(), [("Ada",)])
        self.assertEqual(connection.execute("PRAGMA user_version").fetchone(), (42,))
        names = connection.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall()
        self.assertEqual([n for (n,) in names if not n.startswith("queuectl_")], ["customers"])


class SchemaTest(StoreTestCase):
    def insert(self, **columns: object) -> None:
        connection = self.connect()
        names = ", ".join(columns)
        marks = ", ".join("?" * len(columns))
        connection.execute(
            f"INSERT INTO queuectl_jobs ({names}) VALUES ({marks})", list(columns.values())
        )
        connection.close()

    def test_a_plain_insert_gets_every_default_and_runs(self):
        store = self.store()
        store.set_config("max-retries", 7)
        store.set_config("default.timeout", 90)
        before = time.time()
        self.insert(command=f"echo from sql > {self.path('out')}")
        after = time.time()
        (job,) = self.stored_jobs(store)
        self.assertEqual((job.state, job.queue, job.priority, job.attempts), ("pending", "default", 0, 0))
        self.assertEqual((job.max_retries, job.backoff_base, job.backoff_max), (7, 2, 86400))
        self.assertEqual((job.timeout, job.kill_grace, job.output_limit), (90, 10, 1024 * 1024))
        for moment in (job.run_at, job.created_at, job.updated_at):
            self.assertTrue(before - 0.001 <= moment <= after, (before, moment, after))  # SQLite's clock counts ms.
            self.assertTrue(job.id)
        self.audit([job.id])
        self.start_workers()
        self.wait_for_state(job.id, "completed")
        self.assertEqual(self.read("out"), "from sql\n")
        self.audit([job.id])

    def test_an_idle_worker_finds_a_job_that_another_program_inserted(self):
        self.store()
        self.start_workers()
        self.insert(command="true", id="foreign")
        self.wait_for_state("foreign", "completed")

    def test_an_inserted_job_is_rolled_back_with_its_transaction(self):
        store = self.store()
        connection = self.connect()
        connection.execute("BEGIN")
        connection.execute("INSERT INTO queuectl_jobs (id, command) VALUES ('gone', 'true')")
        connection.execute("ROLLBACK")
        self.assertIsNone(store.find("gone"))
        self.audit([])

    def test_a_job_inserted_for_later_waits(self):
        store = self.store()
        worker = self.register_worker(store)
        later = time.time() + 3600
        self.insert(command="true", id="later", run_at=later)
        self.insert(command="true", id="past", run_at=time.time() - 3600)
        self.assertEqual(store.claim(worker, None).job.id, "past")
        claim = store.claim(worker, None)
        self.assertIsNone(claim.job)
        self.assertEqual(claim.next_due, later)
        self.audit()

    def test_impossible_rows_are_rejected(self):
        self.store()
        now = time.time()
        impossible = (
            {"command": None}, {"command": ""}, {"command": "x" * 131072}, {"command": 7},
            {"command": "true", "id": ""}, {"command": "true", "id": "x" * 201},
            {"command": "true", "id": None},
            {"command": "true", "state": "runing"}, {"command": "true", "state": "processing"},
            {"command": "true", "state": "completed", "ready": None},
            {"command": "true", "state": "dead", "ready": None},
            {"command": "true", "state": "completed", "finished_at": now},
            {"command": "true", "finished_at": now}, {"command": "true", "worker": 1},
            {"command": "true", "cancel": 1}, {"command": "true", "ready": None},
            {"command": "true", "attempts": -1}, {"command": "true", "attempts": 1},
            {"command": "true", "cwd": 7},
            {"command": "true", "priority": "high"}, {"command": "true", "priority": 1.5},
            {"command": "true", "max_retries": -1}, {"command": "true", "max_retries": "x"},
            {"command": "true", "timeout": -1}, {"command": "true", "timeout": "x"},
            {"command": "true", "backoff_base": -1}, {"command": "true", "output_limit": 1.5},
            {"command": "true", "run_at": None}, {"command": "true", "run_at": "2030-01-31"},
            {"command": "true", "queue": ""}, {"command": "true", "queue": None},
            {
                "command": "true", "state": "processing", "ready": None, "worker": 1, "attempts": 0,
                "started_at": now,
            },
        )  # fmt: skip
        for columns in impossible:
            with self.assertRaises(sqlite3.IntegrityError, msg=str(columns)):
                self.insert(**columns)
        self.assertEqual(self.rows("SELECT count(*) FROM queuectl_jobs"), [(0,)])
        self.audit([])

    def test_updates_to_impossible_rows_are_rejected(self):
        store = self.store()
        store.enqueue([new_job(id="a")])
        connection = self.connect()
        for change in (
            "state = 'processing'", "state = 'completed'", "state = 'gone'", "worker = 1",
            "attempts = 5", "cancel = 1", "finished_at = 1.0", "ready = NULL", "id = NULL",
        ):  # fmt: skip
            with self.assertRaises(sqlite3.IntegrityError, msg=change):
                connection.execute("UPDATE queuectl_jobs SET " + change)
        self.audit(["a"])

    def test_a_row_that_is_not_utf8_can_still_be_listed(self):
        store = self.store()
        self.connect().execute(
            "INSERT INTO queuectl_jobs (id, command, cwd) VALUES"
            " (CAST(x'61ff' AS TEXT), CAST(x'747275ff65' AS TEXT), CAST(x'2fff' AS TEXT))"
        )
        self.assertEqual(len(list(store.oldest_first())), 1)  # However it decodes them.
        for command in (["list"], ["list", "--json"], ["status"], ["worker", "list"]):
            self.run_cli(*command)

    def test_deleting_a_job_deletes_its_attempts_and_output_and_updates_the_counts(self):
        store = self.store()
        worker = self.register_worker(store)
        store.enqueue([new_job(id="a"), new_job(id="b")])
        job = store.claim(worker, None).job
        self.finish(store, job, output=NewOutput([(0, 1, b"hello")], [], 0))
        self.connect().execute("DELETE FROM queuectl_jobs WHERE id = 'a'")
        self.assertEqual(self.rows("SELECT count(*) FROM queuectl_attempts"), [(0,)])
        self.assertEqual(self.rows("SELECT count(*) FROM queuectl_output"), [(0,)])
        self.audit(["b"])

    def test_counts_are_right_after_every_kind_of_change(self):
        store = self.store()
        worker = self.register_worker(store)
        store.enqueue([new_job(queue=f"q{n % 3}", max_retries=n % 2, backoff_base=0) for n in range(30)])
        for n in range(20):
            job = store.claim(worker, None).job
            self.finish(store, job, SUCCESS if n % 3 else Outcome("exit", 1))
        jobs = self.stored_jobs(store)
        for job in [job for job in jobs if job.state in ("pending", "failed")][:4]:
            store.cancel(job.id)
        for job in [job for job in jobs if job.state in ("dead", "completed")][:3]:
            store.revive(job.id)
        audit(store)
        total = sum(sum(by_state.values()) for by_state in store.counts().values())
        self.assertEqual(total, 30)
        self.assertEqual(set(store.counts()["q0"]), set(STATES))


class EnqueueTest(StoreTestCase):
    def test_a_duplicate_id_refuses_the_whole_batch(self):
        store = self.store()
        store.enqueue([new_job("echo first", id="a")])
        before = store.get("a")
        same = [new_job(id="d")] * 30  # A batch.
        for batch in ([new_job(id="b"), new_job(id="a"), new_job(id="c")], same[:2], same):
            with self.assertRaises(DuplicateId):
                store.enqueue(batch)
        self.assertEqual(store.get("a"), before)
        self.assertEqual([job.id for job in self.stored_jobs(store)], ["a"])
        self.audit(["a"])

    def test_jobs_that_differ_only_in_their_commands_are_stored_as_any_others(self):
        commands = ["true", "echo 'it''s'", 'echo "%s" ?', "echo \u4f5c\u4e1a", "a\nb; -- c", "x" * 5000] * 4
        columns = ", ".join(name for name in Job._fields if name not in ("seq", "id"))
        store = Store(self.db, clock=lambda: 1795918540.125)
        self.addCleanup(store.close)
        store.set_config("o'q.timeout", 2.5)
        ids = store.enqueue([new_job(id="first")])
        for fields in (
            *({}, {"queue": "o'q", "cwd": "/it's \"so\"?"}, {"cwd": "/\udc80"}, {"bury_on": "3"}, {"after": "first"}),
            *({"priority": -5, "max_retries": 0, "backoff_base": 1.1, "timeout": "90m"}, {"delay": "1h"}),
        ):
            jobs = jobspec.Alike(new_job("-", **fields), commands)
            rows = []
            few = [jobs[start : start + 6] for start in range(0, len(jobs), 6)]
            for batches in ([jobs], [list(jobs)], few):
                new = [id for batch in batches for id in store.enqueue(batch)]
                ids += new
                self.assertEqual(len(set(new)), len(commands))
                found = "SELECT %s, ready FROM queuectl_jobs WHERE id IN (%s) ORDER BY seq"
                found %= (columns, ", ".join("?" * len(new)))
                rows.append(self.connect().execute(found, new).fetchall())
            self.assertEqual([row[3] for row in rows[0]], commands)
            self.assertEqual(rows[0], rows[1], fields)
            self.assertEqual(rows[0], rows[2], fields)
        self.assertEqual(list(jobs[:2]), list(jobs)[:2])
        self.audit(ids)

    def test_each_queue_counts_its_jobs_however_they_were_added(self):
        store, foreign = self.store(), self.connect()
        jobs = [new_job(queue=queue, priority=n) for n in range(40) for queue in ("a", "b", "b")]
        ids = store.enqueue(jobs)
        self.assertEqual([store.counts()[queue]["pending"] for queue in "ab"], [40, 80])
        with self.assertRaises(DuplicateId):
            store.enqueue([*jobs, new_job(id=ids[0])])
        settings = "max_retries, backoff_base, backoff_max, timeout, kill_grace, output_limit, defer_limit"
        foreign.execute("INSERT INTO queuectl_jobs (command, queue) VALUES ('true', 'a'), ('true', 'c')")
        foreign.execute(f"INSERT INTO queuectl_jobs (command, queue, ready, {settings})"
                        f" SELECT command, 'd', ready, {settings} FROM queuectl_jobs WHERE queue = 'a'")
        self.audit(ids)
        # Triggers of an application, which veto, move and add jobs.
        foreign.executescript("""
            CREATE TRIGGER veto BEFORE INSERT ON queuectl_jobs WHEN NEW.priority = 1 BEGIN SELECT RAISE(IGNORE); END;
            CREATE TRIGGER move AFTER INSERT ON queuectl_jobs WHEN NEW.priority = 2 BEGIN
                UPDATE queuectl_jobs SET queue = 'e' WHERE seq = NEW.seq; END;
            CREATE TRIGGER add_one AFTER INSERT ON queuectl_jobs WHEN NEW.priority = 3 BEGIN
                INSERT INTO queuectl_jobs (command, queue) VALUES ('true', 'f'); END;
        """)
        store.enqueue(jobs)
        self.audit(ids)
        self.assertEqual([store.counts()[queue]["pending"] for queue in "abcdef"], [79, 156, 1, 41, 3, 3])

    def test_generated_ids_are_short_unique_and_easy_to_type(self):
        store = self.store()
        ids = store.enqueue([new_job()] * 1000) + store.enqueue([new_job()] * 1000)
        self.assertEqual(len(set(ids)), 2000)
        for id in ids:
            self.assertRegex(id, r"^[0-9a-z]{4,12}$")
        self.audit(ids)

    def test_a_batch_is_retried_after_a_generated_id_collides(self):
        store = self.store()
        store.enqueue([new_job(id="taken")])
        batches = iter([["free", "taken"], ["first", "second"]])
        with unittest.mock.patch("queuectl_core.store.intake._new_ids", lambda count: next(batches)):
            ids = store.enqueue([new_job(), new_job()])
        self.assertEqual(ids, ["first", "second"])
        self.assertEqual([job.id for job in self.stored_jobs(store)], ["taken", "first", "second"])
        self.audit(["taken", *ids])

    def test_enqueue_gives_up_when_every_generated_id_is_taken(self):
        store = self.store()
        store.enqueue([new_job(id="taken")])
        tries = itertools.count()

        def taken_ids(count: int) -> list[str]:
            if next(tries) == 1000:
                self.fail("enqueue retries forever")
            return ["free", "taken"]

        ids_collide = unittest.mock.patch("queuectl_core.store.intake._new_ids", taken_ids)
        with ids_collide, self.assertRaises(QueueError) as caught:
            store.enqueue([new_job(), new_job()])
        self.assertIs(type(caught.exception), QueueError)  # Not DuplicateId: the caller gave no id.
        self.assertEqual([job.id for job in self.stored_jobs(store)], ["taken"])
        self.audit(["taken"])

    def test_a_job_keeps_the_settings_it_was_enqueued_with(self):
        store = self.store()
        store.set_config("max-retries", 5)
        store.set_config("mail.max-retries", 0)
        store.enqueue([new_job(id="a"), new_job(id="mail", queue="mail"), new_job(id="own", max_retries=9)])
        store.set_config("max-retries", 1)
        store.unset_config("mail.max-retries")
        store.enqueue([new_job(id="b"), new_job(id="mail2", queue="mail")])
        found = {job.id: job.max_retries for job in self.stored_jobs(store)}
        self.assertEqual(found, {"a": 5, "mail": 0, "own": 9, "b": 1, "mail2": 1})

    def test_an_sql_insert_creates_the_same_job_as_enqueue(self):
        store = self.store()
        store.set_config("backoff-base", 3)
        store.set_config("default.kill-grace", 1.5)
        store.enqueue([new_job(id="a")])
        self.connect().execute("INSERT INTO queuectl_jobs (id, command) VALUES ('b', 'true')")
        enqueued, inserted = store.get("a"), store.get("b")
        may_differ = {"seq", "id", "run_at", "created_at", "updated_at"}
        for field in set(enqueued._fields) - may_differ:
            self.assertEqual(getattr(enqueued, field), getattr(inserted, field), field)


class ClaimTest(StoreTestCase):
    has_returning = True

    def store(self, **options: object) -> Store:
        store = super().store(**options)
        if not self.has_returning:
            store.has_returning = False
        elif not Store.has_returning:
            self.skipTest("this SQLite has no RETURNING")
        return store

    def claim_all(self, store: Store, worker: int, queues: str | None = None) -> list[str]:
        """Claim and finish jobs until none is left; returns their ids in order."""
        claimed = []
        while True:
            job = store.claim(worker, queues).job
            if job is None:
                return claimed
            claimed.append(job.id)
            self.finish(store, job)

    def test_jobs_are_claimed_by_priority_then_by_age(self):
        store = self.store()
        worker = self.register_worker(store)
        store.enqueue([new_job(id=f"{p + 5}/{n}", priority=p) for n in range(3) for p in (0, 5, -5)])
        in_order = [f"{p}/{n}" for p in (10, 5, 0) for n in range(3)]
        self.assertEqual(self.claim_all(store, worker), in_order)
        self.audit()

    def test_priorities_apply_across_queues(self):
        store = self.store()
        worker = self.register_worker(store)
        store.enqueue(
            [new_job(id="a", queue="x"), new_job(id="b", queue="y", priority=1), new_job(id="c", queue="x", priority=2)]
        )
        self.assertEqual(self.claim_all(store, worker), ["c", "b", "a"])

    def test_a_worker_claims_only_jobs_of_its_queues(self):
        store = self.store()
        worker = self.register_worker(store, "mail,web")
        store.enqueue([new_job(id=q, queue=q) for q in ("mail", "webx", "web", "ail", "default")])
        self.assertEqual(self.claim_all(store, worker, "mail,web"), ["mail", "web"])

    def test_a_claim_records_the_worker_attempt_and_time(self):
        store = self.store()
        worker = self.register_worker(store)
        store.enqueue([new_job(id="a")])
        before = time.time()
        job = store.claim(worker, None).job
        self.assertEqual(
            (job.state, job.worker, job.attempts, job.last_attempt), ("processing", worker, 1, 1)
        )
        self.assertTrue(before <= job.started_at <= time.time(), job.started_at)
        self.assertEqual(store.get("a"), job)
        (attempt,) = store.attempts(job)
        self.assertEqual((attempt.attempt, attempt.worker, attempt.outcome), (1, worker, None))
        self.assertIsNone(store.claim(worker, None).job)
        self.audit(["a"])

    def test_a_job_is_not_claimed_before_its_time_whatever_its_priority(self):
        store = self.store()
        worker = self.register_worker(store)
        future = time.time() + 3600
        store.enqueue([new_job(id="later", priority=9, run_at=future), new_job(id="now")])
        self.assertEqual(self.claim_all(store, worker), ["now"])

    def test_a_failed_job_is_claimed_again_when_due_and_not_before(self):
        clock = [1_800_000_000.0]
        store = self.store(clock=lambda: clock[0])
        worker = self.register_worker(store)
        store.enqueue([new_job(id="a", backoff_base=2)])
        for wait in (2, 4, 8):
            job = store.claim(worker, None).job
            verdict = judge(job, Outcome("exit", 1), clock[0])
            store.settle(job, Outcome("exit", 1), verdict)
            clock[0] += wait - 0.001
            self.assertIsNone(store.claim(worker, None).job, "too early")
            clock[0] += 0.001
        self.assertEqual(store.claim(worker, None).job.attempts, 4)

    def test_a_stale_workers_settle_changes_nothing(self):
        store = self.store()
        one, two = self.register_worker(store), self.register_worker(store)
        store.enqueue([new_job(id="a", backoff_base=0, max_retries=5)])
        stale = store.claim(one, None).job
        self.finish(store, stale, Outcome("lost"))
        # The job now belongs to another worker, then to the same worker in a later attempt.
        for owner in (two, one):
            current = store.claim(owner, None).job
            before = self.connect().execute("SELECT * FROM queuectl_jobs").fetchall()
            history = self.connect().execute("SELECT * FROM queuectl_attempts").fetchall()
            for late in (stale, current._replace(worker=99), current._replace(last_attempt=99)):
                stale_output = NewOutput([(0, 1, b"stale")], [], 0)
                self.assertFalse(self.finish(store, late, SUCCESS, output=stale_output))
                store.record(late, stale_output, Identity(1, "", "1"))
                self.assertEqual(store.asked(late), "evicted")
            self.assertEqual(self.connect().execute("SELECT * FROM queuectl_jobs").fetchall(), before)
            self.assertEqual(self.connect().execute("SELECT * FROM queuectl_attempts").fetchall(), history)
            self.assertEqual(self.rows("SELECT count(*) FROM queuectl_output"), [(0,)])
            self.audit(["a"])
            self.finish(store, current, Outcome("exit", 1))
            stale = current

    def test_the_row_of_a_worker_that_holds_a_job_is_not_removed(self):
        store = self.store()
        worker = self.register_worker(store)
        store.enqueue([new_job(id="a")])
        job = store.claim(worker, None).job
        store.unregister(worker)  # By a rescuer that settled an earlier job of this worker as lost.
        self.assertEqual(store.asked(job), "run")
        self.finish(store, job, SUCCESS)
        store.unregister(worker)
        self.assertIsNone(store.wanted(worker))

    def test_an_attempt_whose_worker_row_was_deleted_does_not_count(self):
        store = self.store()
        worker = self.register_worker(store)
        store.enqueue([new_job(id="a", max_retries=0)])
        job = store.claim(worker, None).job
        self.connect().execute("DELETE FROM queuectl_workers")
        self.assertEqual(store.asked(job), "evicted")
        self.assertTrue(self.finish(store, job, Outcome("evicted")))
        job = store.find("a")
        self.assertEqual((job.state, job.attempts, job.error), ("pending", 0, None))
        self.audit(["a"])

    def test_a_cancel_that_the_worker_had_not_seen_survives_any_end_that_would_run_the_job_again(self):
        store = self.store()
        worker = self.register_worker(store)
        for outcome in (
            Outcome("released"),
            Outcome("exit", 1),
            Outcome("exit", 75),
            Outcome("timeout"),
            Outcome("lost"),
        ):
            with self.subTest(outcome=outcome.kind, code=outcome.code):
                (id,) = store.enqueue([new_job(max_retries=5)])
                job = store.claim(worker, None).job  # As the worker holds it: without the cancel.
                store.cancel(id)
                self.finish(store, job, outcome)
                ended = store.get(id)
                self.assertEqual((ended.state, ended.error), ("cancelled", "cancelled"))
                self.assertIsNone(store.claim(worker, None).job)
        (id,) = store.enqueue([new_job()])
        job = store.claim(worker, None).job
        store.cancel(id)
        self.finish(store, job)
        self.assertEqual(store.get(id).state, "completed")  # It had succeeded first.
        self.audit()

    def test_ids_of_supervisors_are_never_reused(self):
        store = self.store()
        ids = []
        for _ in range(3):
            ids.append(store.register("supervisor", None, own_identity(), None, "test"))
            store.unregister(ids[-1])
        self.assertEqual(ids, [-1, -2, -3])

    def test_settling_an_attempt_again_changes_nothing(self):
        store = self.store()
        worker = self.register_worker(store)
        store.enqueue([new_job(id="a")])
        job = store.claim(worker, None).job
        self.assertTrue(self.finish(store, job))
        self.assertFalse(self.finish(store, job, Outcome("exit", 1)))
        self.assertEqual(store.get("a").state, "completed")
        self.audit(["a"])

    def test_settling_a_job_and_claiming_the_next_is_one_transaction(self):
        store = self.store()
        worker = self.register_worker(store)
        store.enqueue([new_job(id="a"), new_job(id="b")])
        job = store.claim(worker, None).job
        began = []
        store._connection.db.set_trace_callback(lambda text: began.append(text) if text.startswith("BEGIN") else None)
        settled, claim = self.finish_and_claim(store, job)
        store._connection.db.set_trace_callback(None)
        self.assertTrue(settled)
        self.assertEqual(claim.job.id, "b")
        self.assertEqual(began, ["BEGIN IMMEDIATE"])
        self.audit(["a", "b"])

    def test_a_worker_told_to_stop_claims_nothing(self):
        store = self.store()
        worker = self.register_worker(store)
        store.enqueue([new_job(id="a"), new_job(id="b")])
        job = store.claim(worker, None).job
        store.want([worker], "stop")
        settled, claim = self.finish_and_claim(store, job)
        self.assertTrue(settled)
        self.assertEqual((claim.job, claim.wanted), (None, "stop"))
        self.assertIsNone(store.claim(worker, None).job)
        self.assertEqual(store.get("b").state, "pending")

    def test_an_unregistered_worker_claims_nothing(self):
        store = self.store()
        store.enqueue([new_job(id="a")])
        claim = store.claim(77, None)
        self.assertEqual((claim.job, claim.wanted), (None, None))

    def test_a_release_refunds_the_attempt(self):
        store = self.store()
        worker = self.register_worker(store)
        store.enqueue([new_job(id="a", max_retries=0)])
        for number in (1, 2, 3):
            job = store.claim(worker, None).job
            self.assertEqual((job.attempts, job.last_attempt), (1, number))
            self.finish(store, job, Outcome("released"))
            found = store.get("a")
            self.assertEqual((found.state, found.attempts, found.last_attempt), ("pending", 0, number))
            self.audit(["a"])

    def test_a_revived_job_starts_over_and_keeps_its_history(self):
        store = self.store()
        worker = self.register_worker(store)
        store.enqueue([new_job(id="a", max_retries=0)])
        self.finish(store, store.claim(worker, None).job, Outcome("exit", 3))
        self.assertEqual(store.get("a").state, "dead")
        store.revive("a", only_dead=True)
        found = store.get("a")
        self.assertEqual(
            (found.state, found.attempts, found.error, found.exit_code), ("pending", 0, None, None)
        )
        self.finish(store, store.claim(worker, None).job)
        self.assertEqual([a.outcome for a in store.attempts(found)], ["exit", "exit"])
        self.assertEqual([a.exit_code for a in store.attempts(found)], [3, 0])
        with self.assertRaises(Refused):
            store.revive("a", only_dead=True)
        self.audit(["a"])

    def test_a_job_that_is_due_says_what_still_keeps_it(self):
        store = self.store()
        store.enqueue([new_job(id="a", run_at=time.time() + 0.05), new_job(id="h", held=True, after=["a"])])
        self.assertEqual(store.reason(store.get("h")), "held, after a")
        wait_until(lambda: store.reason(store.get("a")) == "no worker")
        worker = self.register_worker(store)
        self.assertEqual(store.reason(store.get("a")), "workers busy")
        store.pause("default")
        self.assertEqual(store.reason(store.get("a")), "paused")
        store.resume("default")
        self.assertEqual(self.claim_all(store, worker), ["a"])
        self.assertEqual(store.reason(store.get("h")), "held")

    def test_a_job_with_after_and_delay_waits_for_both(self):
        clock = [time.time()]
        store = self.store(clock=lambda: clock[0])
        worker = self.register_worker(store)
        store.enqueue([new_job(id="needed"), new_job(id="later", after=["needed"], delay=3600)])
        self.assertEqual(self.claim_all(store, worker), ["needed"])
        later = store.get("later")
        self.assertEqual((later.state, later.waits_for), ("pending", 0))
        self.assertEqual(store.reason(later), "delayed")
        self.audit(["needed", "later"])
        clock[0] += 3601
        self.assertEqual(self.claim_all(store, worker), ["later"])

    def test_a_note_from_a_worker_that_lost_the_job_changes_nothing(self):
        store = self.store()
        one, two = self.register_worker(store), self.register_worker(store)
        store.enqueue([new_job(id="a", backoff_base=0), new_job(id="b")])
        lost = store.claim(one, None).job
        other = store.claim(one, None).job  # Same worker, same attempt number.
        store.note(lost, "still running")
        self.assertEqual([store.get(id).error for id in "ab"], ["still running", None])
        self.finish(store, lost, Outcome("lost"))
        self.finish(store, other)
        current = store.claim(one, None).job
        before = self.rows("SELECT * FROM queuectl_jobs")
        # An earlier attempt by the same worker, a worker that never had the job, and a finished job.
        for stale in (lost, current._replace(worker=two), other):
            store.note(stale, "stale")
            self.assertEqual(self.rows("SELECT * FROM queuectl_jobs"), before)
        store.note(current, "current")
        self.assertEqual([store.get(id).error for id in "ab"], ["current", None])
        self.audit(["a", "b"])


class ClaimWithoutReturningTest(ClaimTest):
    """The same promises without RETURNING, which SQLite older than 3.35 lacks."""

    has_returning = False

    def test_no_statement_uses_returning(self):
        store = self.store()
        worker = self.register_worker(store)
        seen = []
        store._connection.db.set_trace_callback(seen.append)
        store.enqueue([new_job(id="a"), new_job(id="b")])
        job = store.claim(worker, None).job
        self.finish_and_claim(store, job)
        self.assertFalse([text for text in seen if "RETURNING" in text])


class LoadTest(StoreTestCase):
    def test_four_processes_that_claim_at_once_never_get_the_same_job(self):
        script = (
            "import os, sys, time\n"
            f"sys.path.insert(0, {os.path.dirname(PROGRAM)!r})\n"
            "from queuectl_core.store import Store\n"
            "from queuectl_core.lifecycle import Outcome, judge\n"
            "from queuectl_core.records import NO_OUTPUT\n"
            "from queuectl_core.workers.identity import own_identity\n"
            "Store.has_returning = Store.has_returning and %d\n"
            f"store = Store({self.db!r}, durable=False)\n"
            "me = store.register('worker', None, own_identity(), None, 'test')\n"
            "claim = store.claim(me, None)\n"
            "while claim.job:\n"
            "    print(claim.job.id)\n"
            "    done = Outcome('exit', 0)\n"
            "    verdict = judge(claim.job, done, time.time())\n"
            "    _, claim = store.settle_and_claim(claim.job, done, verdict, NO_OUTPUT, None)\n"
            "store.unregister(me)\n"
        )
        store = self.store()
        ids = store.enqueue([new_job()] * 400)
        started = [
            subprocess.Popen(
                [sys.executable, "-c", script % (n % 2)], stdout=subprocess.PIPE, env=self.environment
            )
            for n in range(4)
        ]
        claimed = []
        for process in started:
            stdout, _ = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0)
            claimed += stdout.decode().split()
        self.assertEqual(sorted(claimed), sorted(ids))
        self.audit(ids)

    def test_a_claim_uses_indexes_and_never_scans_all_jobs(self):
        self.store().enqueue([new_job()] * 10)
        parameters = {"queues": None, "now": time.time(), "worker": 1, "seq": 1, "load": 1, "memory": 1}
        connection = self.connect()
        for text in (sql.CLAIMABLE, sql.NEXT_DUE, sql.PROMOTE):
            plan = connection.execute("EXPLAIN QUERY PLAN " + text, parameters).fetchall()
            for step in plan:
                detail = step[3]
                if "queuectl_jobs" in detail or detail.startswith(("SCAN job", "SCAN TABLE job")):
                    self.assertIn("INDEX", detail.replace("INTEGER PRIMARY KEY", "INDEX"), detail)


class LockTest(StoreTestCase):
    def test_a_write_waits_for_another_programs_lock(self):
        self.store()
        connection = self.connect()
        connection.execute("BEGIN IMMEDIATE")
        waiting = self.start_cli("enqueue", "--id", "a", "--", "true", stdout=subprocess.PIPE)
        with self.assertRaises(subprocess.TimeoutExpired):
            waiting.wait(0.4)
        self.assertEqual(len(self.run_cli("list", "--json").json), 0)  # Readers don't wait.
        connection.execute("COMMIT")
        self.assertEqual(waiting.communicate(timeout=30)[0], b"a\n")
        self.audit(["a"])

    def test_a_lock_that_is_never_released_is_reported(self):
        store = self.store(patience=0.2)
        connection = self.connect()
        connection.execute("BEGIN IMMEDIATE")
        with self.assertRaises(QueueError) as caught:
            store.enqueue([new_job(id="a")])
        self.assertEqual(caught.exception.exit_code, 3)
        self.assertIn("locked", str(caught.exception))
        connection.execute("ROLLBACK")
        store.enqueue([new_job(id="a")])
        self.audit(["a"])

    def test_a_bad_value_is_refused_before_anything_is_written(self):
        store = self.store()
        with self.assertRaises(BadInput):
            new_job(timeout=-1)
        self.assertEqual(list(store.oldest_first()), [])
        self.assertEqual(json.loads(self.run_cli("list", "--json").stdout), [])
