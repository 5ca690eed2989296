"""The Queue class: on a file of its own, or inside an application's transactions."""

from __future__ import annotations

import inspect
import os
import sqlite3
import subprocess
import sys
import time
import unittest
from datetime import datetime, timedelta, timezone

import queuectl_core
from queuectl_core import Queue
from queuectl_core.cli.enqueue import OPTIONS
from queuectl_core.errors import (
    BadInput,
    DatabaseFull,
    DatabaseUnusable,
    DuplicateId,
    QueueError,
    Refused,
    WaitTimedOut,
)
from tests.harness import ROOT, QueueTestCase, wait_until


class QueueTest(QueueTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.queue = Queue(self.db)
        self.addCleanup(self.queue.close)

    def test_it_takes_what_the_command_line_takes(self):
        arguments = {*inspect.signature(Queue.enqueue).parameters} - {"self"}
        options = {"unique" if field == "unique_key" else field for field in OPTIONS}
        self.assertEqual(arguments, options | {"command", "held", "stdin", "env"})
        of_a_schedule = arguments & {*inspect.signature(Queue.schedule).parameters}
        of_a_job = {"id", "delay", "run_at", "after", "after_notok", "after_any", "held"}
        self.assertEqual(arguments - of_a_schedule, of_a_job)

    def test_wait_returns_the_finished_job(self):
        self.start_workers()
        id = self.queue.enqueue("echo one; exit 3", max_retries=0, cwd="/")
        job = self.queue.wait(id, timeout=20)
        self.assertEqual((job.id, job.state, job.exit_code, job.error), (id, "dead", 3, "exit 3"))
        self.assertEqual(self.queue.get(id), job)
        self.assertEqual(self.run_cli("logs", id).stdout, "one\n")
        self.audit([id])

    def test_a_list_of_words_is_passed_on_unchanged(self):
        self.start_workers()
        id = self.queue.enqueue(["printf", "%s|", "My File", "it's", "$HOME"])
        self.queue.wait(id, timeout=20)
        self.assertEqual(self.run_cli("logs", id).stdout, "My File|it's|$HOME|")

    def test_one_word_with_spaces_an_assignment_or_a_keyword_is_a_program_like_any_other(self):
        names = ("my program", "A=b", "if")
        for name in names:
            path = self.write(f"home/{name}", "#!/bin/sh\necho \"$0:$*\"\n")
            os.chmod(path, 0o755)
        path = f"{self.home}:{os.environ['PATH']}"
        ids = [self.queue.enqueue([name, *more], env={"PATH": path}) for name, more in zip(names, ([], ["x y"], []))]
        self.run_cli("worker", "start", "--drain", "--foreground")
        printed = [self.run_cli("logs", id).stdout for id in ids]
        self.assertEqual(printed, [f"{self.home}/my program:\n", f"{self.home}/A=b:x y\n", f"{self.home}/if:\n"])

    def test_no_argument_raises_anything_but_a_queue_error(self):
        strange = (
            *(10**5000, -(10**400), float("nan"), float("inf"), b"\xff", [], {}, object()),
            *("\ud800", "", "\0", [1], [b"x"]),
            *([None], {"a": 1}, {1: 2}, True, "9" * 5000, "/" + "x" * 6000),
        )
        keywords = [word for word in inspect.signature(Queue.enqueue).parameters if word not in ("self", "command")]
        calls = [lambda value, word=word: self.queue.enqueue("true", **{word: value}) for word in keywords]
        calls += [self.queue.enqueue, self.queue.get, self.queue.cancel]
        calls.append(lambda value: self.queue.wait(value, timeout=0))
        for call in calls:
            for value in strange:
                try:
                    call(value)
                except QueueError:
                    pass
        for value in ("\0", "\ud800", "/" + "x/" * 3000):
            with self.assertRaises(DatabaseUnusable):
                Queue(value)

    def test_every_keyword_of_enqueue_takes_effect(self):
        first, dead = self.queue.enqueue("true"), self.queue.enqueue("true")
        self.queue.enqueue("true", id="other", labels=[], after=())
        self.queue.enqueue("true", id="third")
        id = self.queue.enqueue(
            "cat", id="mine", queue="mail", priority=-3, delay=timedelta(minutes=5), after={first}, unique="once",
            labels=["x", "y"], after_notok=[dead], after_any="other,third", held=True,
            stdin=b"\xff\0", env={"A": "1"}, cwd=self.home, max_retries=0, backoff_base=1.5, timeout=90,
            bury_on=2, retry_only_on="64-78",
        )  # fmt: skip
        shown = self.job(id)
        expected = {
            "id": "mine", "queue": "mail", "priority": -3, "after": [first], "unique_key": "once", "held": True,
            "labels": ["x", "y"], "after_notok": [dead], "after_any": ["other", "third"],
            "stdin": 2, "env": {"A": "1"}, "cwd": self.home, "max_retries": 0, "backoff_base": 1.5,
            "timeout": 90, "bury_on": "2", "retry_only_on": "64-78", "state": "pending",
        }  # fmt: skip
        self.assertEqual({field: shown[field] for field in expected}, expected)
        self.assertGreater(self.queue.get(id).run_at, self.queue.get(id).created_at + 290)
        self.assertEqual(self.job(first)["cwd"], os.getcwd())
        self.assertEqual(self.queue.enqueue("true", unique="once"), id)

    def test_times_can_be_datetimes_and_durations_timedeltas(self):
        soon = datetime.now(timezone.utc) + timedelta(hours=1)
        for run_at in (soon, soon.astimezone(timezone(timedelta(hours=5))), soon.astimezone().replace(tzinfo=None)):
            found = self.queue.get(self.queue.enqueue("true", run_at=run_at, timeout=timedelta(minutes=2)))
            self.assertAlmostEqual(found.run_at, soon.timestamp(), places=3)
            self.assertEqual(found.timeout, 120)
        with self.assertRaises(WaitTimedOut):
            self.queue.wait(found.id, timeout=timedelta(milliseconds=1))

    def test_wait_returns_once_the_job_can_never_run(self):
        first = self.queue.enqueue("true")
        second = self.queue.enqueue("true", after=[first])
        self.assertEqual(self.queue.cancel(first).state, "cancelled")
        self.assertEqual(self.queue.wait(second, timeout=20).state, "pending")

    def test_cancel_ends_a_running_job(self):
        self.start_workers()
        id = self.queue.enqueue("sleep 60")
        self.wait_for_state(id, "processing")
        self.queue.cancel(id)
        self.assertEqual(self.queue.wait(id, timeout=20).state, "cancelled")

    def test_each_mistake_raises_its_own_error(self):
        id = self.queue.enqueue("true", id="job-one")
        connection = sqlite3.connect(self.db)
        self.addCleanup(connection.close)
        for kind, call in (
            (DuplicateId, lambda: self.queue.enqueue("true", id=id)),
            (BadInput, lambda: self.queue.enqueue("")),
            (BadInput, lambda: self.queue.enqueue([])),
            (BadInput, lambda: self.queue.enqueue("true", timeout=-1)),
            (BadInput, lambda: self.queue.enqueue("true", cwd="/no/such/directory")),
            (BadInput, lambda: self.queue.enqueue("true", env={"A=B": "1"})),
            (Refused, lambda: self.queue.enqueue("true", after=["missing"])),
            (Refused, lambda: self.queue.get("missing")),
            (Refused, lambda: self.queue.get("job")),  # Unlike the command line, it takes no prefixes.
            (Refused, lambda: self.queue.cancel("job")),
            (WaitTimedOut, lambda: self.queue.wait(id, timeout=0)),
            (DatabaseUnusable, lambda: Queue(self.write("notes", "not a database\n" * 100))),
            (TypeError, lambda: Queue(self.db, connection=connection)),
            (TypeError, lambda: self.queue.enqueue("true", prority=1)),
        ):
            with self.assertRaises(kind):
                call()
        self.queue.cancel(id)
        with self.assertRaises(Refused):
            self.queue.cancel(id)
        self.assertEqual(self.rows("SELECT id FROM queuectl_jobs"), [(id,)])

    def test_without_a_path_it_opens_the_same_queue_as_the_command_line(self):
        script = "from queuectl_core import Queue\nwith Queue() as queue: print(queue.enqueue('true'))"
        for environment in (self.environment, {**self.environment, "QUEUECTL_DB": "", "HOME": self.home}):
            printed = subprocess.run(
                [sys.executable, "-c", script], env=environment, cwd=ROOT, stdout=subprocess.PIPE, check=True
            ).stdout
            self.assertEqual([printed.decode().strip()], self.job_ids(environment))

    def job_ids(self, environment: dict[str, str]) -> list[str]:
        return [job["id"] for job in self.run_cli("list", "--json", env=environment).json]

    def test_the_package_provides_queue_and_rejects_unknown_names(self):
        self.assertIs(queuectl_core.Queue, Queue)
        with self.assertRaises(AttributeError):
            queuectl_core.Quiu  # noqa: B018


def as_dict(cursor: sqlite3.Cursor, row: tuple[object, ...]) -> dict[str, object]:
    return {column[0]: value for column, value in zip(cursor.description, row)}


class ConnectionTest(QueueTestCase):
    """The queue's tables inside an application's own database."""

    def setUp(self) -> None:
        super().setUp()
        Queue(self.db).close()
        self.rows("CREATE TABLE orders (name TEXT)")

    def connect(self, **options: object) -> sqlite3.Connection:
        connection = sqlite3.connect(self.db, **options)
        self.addCleanup(connection.close)
        return connection

    def committed(self) -> tuple[int, int]:
        """The numbers of orders and jobs that other connections see."""
        return self.rows("SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM queuectl_jobs)")[0]

    def test_a_job_exists_if_and_only_if_the_transaction_commits(self):
        for options, begin in (({}, None), ({"isolation_level": None}, "BEGIN"), ({}, "BEGIN IMMEDIATE")):
            before = self.committed()
            connection = self.connect(**options)
            for end in (connection.rollback, connection.commit):
                if begin:
                    connection.execute(begin)
                connection.execute("INSERT INTO orders VALUES ('one')")
                Queue(connection=connection).enqueue("true")
                self.assertTrue(connection.in_transaction)
                self.assertEqual(self.committed(), before)
                end()
            self.assertEqual(self.committed(), (before[0] + 1, before[1] + 1))
        self.audit()

    @unittest.skipUnless(sys.version_info >= (3, 12), "autocommit is new in Python 3.12")
    def test_autocommit_decides_who_commits(self):
        connection = self.connect(autocommit=True)
        id = Queue(connection=connection).enqueue("true")
        self.assertEqual((self.committed(), connection.in_transaction), ((0, 1), False))
        with self.assertRaises(WaitTimedOut):
            Queue(connection=connection).wait(id, timeout=0)
        connection = self.connect(autocommit=False)
        queue = Queue(connection=connection)
        queue.enqueue("true")
        self.assertEqual(self.committed(), (0, 1))
        with self.assertRaises(Refused):
            queue.wait(id)
        connection.rollback()
        queue.enqueue("true")
        connection.commit()
        self.assertEqual(self.committed(), (0, 2))

    def test_an_open_transaction_that_has_read_nothing_waits_for_other_writers(self):
        connection = self.connect(isolation_level=None)
        queue = Queue(connection=connection)
        connection.execute("BEGIN")
        # Another program writes between our first read and our first write, if we let it.
        connection.set_trace_callback(self.write_once)
        queue.enqueue("true")
        connection.set_trace_callback(None)
        connection.execute("COMMIT")
        self.assertEqual(self.committed()[1], 1)

    def write_once(self, statement: str) -> None:
        if "FROM queuectl_config" in statement and not self.committed()[0]:
            other = sqlite3.connect(self.db, timeout=0)
            try:
                other.execute("INSERT INTO orders VALUES ('between')")
                other.commit()
            except sqlite3.OperationalError:
                pass  # Locked: we have the write lock.
            finally:
                other.close()

    def test_outside_a_transaction_the_connection_decides_when_to_commit(self):
        connection = self.connect()
        Queue(connection=connection).enqueue("true")
        self.assertTrue(connection.in_transaction)
        self.assertEqual(self.committed(), (0, 0))
        connection.commit()
        self.assertEqual(self.committed(), (0, 1))
        Queue(connection=self.connect(isolation_level=None)).enqueue("true")
        self.assertEqual(self.committed(), (0, 2))
        if sys.version_info >= (3, 12):
            Queue(connection=self.connect(autocommit=True)).enqueue("true")
            self.assertEqual(self.committed(), (0, 3))
            connection = self.connect(autocommit=False)
            Queue(connection=connection).enqueue("true")
            self.assertEqual(self.committed(), (0, 3))
            connection.commit()
            self.assertEqual(self.committed(), (0, 4))

    def test_a_refused_job_leaves_the_applications_transaction_intact(self):
        connection = self.connect()
        queue = Queue(connection=connection)
        connection.execute("INSERT INTO orders VALUES ('one')")
        queue.enqueue("true", id="a")
        for kind, fields in ((DuplicateId, {"id": "a"}), (Refused, {"after": ["a", "missing"]})):
            with self.assertRaises(kind):
                queue.enqueue("true", **fields)
            self.assertTrue(connection.in_transaction)
        connection.commit()
        self.assertEqual(self.committed(), (1, 1))
        with self.assertRaises(DuplicateId):
            queue.enqueue("true", id="a")  # No transaction was open, so none is left open.
        self.assertFalse(connection.in_transaction)

    def test_a_full_disk_raises_database_full_and_adds_no_job(self):
        connection = self.connect()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        connection.execute("INSERT INTO orders VALUES ('one')")
        with self.assertRaises(DatabaseFull):
            Queue(connection=connection).enqueue("cat", stdin=b"x" * 1000000)
        connection.commit()
        self.assertEqual(self.committed()[1], 0)
        self.audit()

    def test_the_queue_works_with_any_settings_of_the_connection_and_changes_none(self):
        def settings(connection: sqlite3.Connection) -> tuple[object, ...]:
            pragmas = ("synchronous", "foreign_keys", "recursive_triggers", "busy_timeout")
            values = [sqlite3.Cursor(connection).execute("PRAGMA " + name).fetchall() for name in pragmas]
            return values, connection.row_factory, connection.text_factory, connection.isolation_level

        for row_factory in (None, sqlite3.Row, as_dict):
            for text_factory in (str, bytes):
                connection = self.connect(isolation_level="IMMEDIATE")
                connection.execute("PRAGMA recursive_triggers = ON")
                connection.row_factory, connection.text_factory = row_factory, text_factory
                before = settings(connection)
                queue = Queue(connection=connection)
                first = queue.enqueue("echo one")
                id = queue.enqueue("cat", stdin="text", after=[first], unique=first)
                job = queue.get(id)
                self.assertEqual((job.id, job.command, job.waits_for), (id, "cat", 1))
                queue.cancel(first)
                connection.commit()
                queue.close()
                self.assertEqual(settings(connection), before)  # Raises if it was closed.
        self.audit()

    def test_an_idle_worker_starts_the_job_within_a_second_of_the_commit(self):
        self.start_workers()
        connection = self.connect()
        waited = []
        for _ in range(4):
            connection.execute("INSERT INTO orders VALUES ('one')")
            id = Queue(connection=connection).enqueue("true", cwd="/")
            connection.commit()
            committed = time.time()
            job = Queue(connection=connection).wait(id, timeout=20)
            self.assertEqual(job.state, "completed")
            waited.append(job.started_at - committed)
        # Each job but the first arrives just as the worker goes to sleep: for 0.4 s as the lookout, for 2 s otherwise.
        # The best of three counts, because the machine may be busy.
        self.assertLess(min(waited[1:]), 1, waited)

    def test_waiting_for_an_uncommitted_job_is_refused(self):
        connection = self.connect()
        queue = Queue(connection=connection)
        id = queue.enqueue("true")
        with self.assertRaisesRegex(Refused, "transaction"):
            queue.wait(id, timeout=10)

    def test_a_connection_to_a_database_without_a_queue_is_refused_and_left_untouched(self):
        other = sqlite3.connect(self.path("other.db"))
        self.addCleanup(other.close)
        memory = sqlite3.connect(":memory:")
        self.addCleanup(memory.close)
        for connection in (other, memory):
            with self.assertRaises(DatabaseUnusable):
                Queue(connection=connection)
            self.assertEqual(connection.execute("SELECT count(*) FROM sqlite_master").fetchone(), (0,))
        self.rows("UPDATE queuectl_meta SET value = 999 WHERE key = 'schema'")
        with self.assertRaisesRegex(DatabaseUnusable, "newer"):
            Queue(connection=self.connect())

    def test_several_applications_can_enqueue_at_once(self):
        script = (
            f"import sqlite3, sys; sys.path.insert(0, {ROOT!r})\n"
            "from queuectl_core import Queue\n"
            f"connection = sqlite3.connect({self.db!r}, timeout=30)\n"
            "for number in range(20):\n"
            "    connection.execute('BEGIN IMMEDIATE')\n"
            "    Queue(connection=connection).enqueue('true')\n"
            "    connection.execute('INSERT INTO orders VALUES (1)')\n"
            "    connection.commit()\n"
        )
        started = [subprocess.Popen([sys.executable, "-c", script], env=self.environment) for _ in range(3)]
        self.assertEqual([process.wait(60) for process in started], [0, 0, 0])
        self.assertEqual(self.committed(), (60, 60))
        self.start_workers("--drain")
        wait_until(lambda: self.states() == {"completed": 60})
