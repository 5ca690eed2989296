"""The file at rest: one file is everything, copies can be made and put back, and space is returned."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
import unittest
from unittest import mock

from queuectl_core.errors import DatabaseGone, Refused
from queuectl_core.jobspec import new_job
from queuectl_core.library import Queue
from queuectl_core.store import Store, copies
from tests.harness import PROGRAM, PYTHON, wait_until
from tests.patched import patched
from tests.test_workers import WorkersTestCase


class FileTestCase(WorkersTestCase):
    def files(self) -> list[str]:
        """The names of the queue's files, and of what was made from them."""
        return sorted(name for name in os.listdir(self.folder) if name != "home")

    def ids(self, db: str | None = None) -> set[str]:
        """The ids of all jobs, as `list` sees them."""
        return {job["id"] for job in self.run_cli("--db", db or self.db, "list", "--json").json}

    def run_statements(self, *statements: str) -> None:
        """Run statements over one connection."""
        connection = sqlite3.connect(self.db, isolation_level=None)
        try:
            for statement in statements:
                connection.execute(statement)
        finally:
            connection.close()

    def leave_a_log(self, *ids: str) -> None:
        """Enqueue jobs, and lose the process that could have copied the log into the file."""
        script = "Database = owner_of('close')\nDatabase.close = lambda store: os._exit(0)"
        for id in ids:
            subprocess.run(
                patched(script, "enqueue", "--id", id, "true"), env=self.environment, cwd=self.folder, check=True,
                stdout=subprocess.DEVNULL, timeout=60,
            )  # fmt: skip
        self.assertGreater(os.path.getsize(self.db + "-wal"), 0)


class AtRestTest(FileTestCase):
    def test_a_queue_that_no_process_has_open_is_a_single_file_that_cp_can_copy(self):
        id = self.enqueue("true")
        self.assertEqual(self.files(), ["q.db"])
        self.enqueue_lines(["true"] * 3)
        self.run_cli("config", "set", "timeout", "5")
        self.start_workers("-c", "2")
        self.wait_until_all_finished()
        self.assertIn("q.db-wal", self.files())
        self.stop_workers()
        wait_until(lambda: not self.processes())
        self.run_cli("list")
        self.assertEqual(self.files(), ["q.db"])
        shutil.copy(self.db, self.path("copy.db"))
        self.assertEqual(self.ids(self.path("copy.db")), self.ids())
        self.assertIn(id, self.ids())

    def test_a_command_that_fails_or_is_interrupted_leaves_a_single_file_too(self):
        self.enqueue("--id", "a", "true")
        self.run_cli("enqueue", "--id", "a", "true", code=1)
        self.run_cli("cancel", "nobody", code=1)
        self.assertEqual(self.files(), ["q.db"])

    def test_a_file_that_is_not_in_wal_mode_is_switched_before_it_is_written(self):
        ids = [self.enqueue("true")]
        self.rows("VACUUM INTO ?", self.path("copy.db"))
        self.db = self.environment["QUEUECTL_DB"] = self.path("copy.db")
        self.assertEqual(self.rows("PRAGMA journal_mode"), [("delete",)])
        reader = sqlite3.connect(self.db, isolation_level=None)
        self.addCleanup(reader.close)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM queuectl_meta").fetchall()
        self.assertEqual(self.ids(), set(ids))  # A reader reads it as it is.
        waiting = self.start_cli("enqueue", "true", stdout=subprocess.PIPE)
        with self.assertRaises(subprocess.TimeoutExpired):
            waiting.wait(0.5)
        reader.execute("COMMIT")
        ids.append(waiting.communicate(timeout=30)[0].decode().strip())
        self.assertEqual(waiting.returncode, 0)
        self.assertEqual(self.rows("PRAGMA journal_mode"), [("wal",)])
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM queuectl_meta").fetchall()
        ids.append(self.enqueue("true"))
        self.audit(ids)


    def test_a_job_for_a_file_that_was_replaced_meanwhile_is_not_acknowledged(self):
        with Queue(self.db) as queue:
            queue.enqueue("true")
            self.run_cli("backup", self.path("copy.db"))
            os.replace(self.path("copy.db"), self.db)
            with self.assertRaises(DatabaseGone):
                queue.enqueue("true")


class ForeignLogTest(FileTestCase):
    def test_a_log_left_behind_by_a_crash_is_applied_to_its_own_file(self):
        ids = [self.enqueue("true")]
        self.leave_a_log("b", "c")
        os.chmod(self.db, 0o600)  # Newer than its log now, which alone proves nothing.
        self.assertEqual(self.ids(), {*ids, "b", "c"})
        self.assertEqual(self.files(), ["q.db"])
        self.audit([*ids, "b", "c"])

    def test_a_log_is_never_applied_to_a_backup_copied_over_its_file(self):
        ids = [self.enqueue("true")]
        self.run_cli("backup", self.path("copy.db"))
        self.leave_a_log("b", "c")
        shutil.copyfile(self.path("copy.db"), self.db)
        intact = self.bytes_of("q.db"), self.bytes_of("q.db-wal")
        for command in (["list"], ["enqueue", "true"], ["worker", "start"]):
            result = self.run_cli(*command, code=3)
            self.assertIn("queuectl restore", result.stderr)
        self.assertEqual(self.run_cli("doctor", code=1).stdout.count("queuectl restore"), 1)
        self.assertEqual((self.bytes_of("q.db"), self.bytes_of("q.db-wal")), intact)
        self.run_cli("restore", self.path("copy.db"))
        self.assertEqual(self.ids(), set(ids))
        self.audit(ids)

    def bytes_of(self, name: str) -> bytes:
        with open(self.path(name), "rb") as file:
            return file.read()


class RestoreTest(FileTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.copy = self.path("copy.db")

    def back_up_one_job(self) -> str:
        """Back up a queue with one job; returns its id."""
        id = self.enqueue("--id", "old", "true")
        self.run_cli("backup", self.copy)
        return id

    def test_restore_puts_a_backup_in_place_of_the_queue_and_removes_its_log(self):
        id = self.back_up_one_job()
        self.leave_a_log("new")
        refused = self.run_cli("restore", self.copy, code=1)
        self.assertIn("2 jobs", refused.stderr)
        self.assertIn("--force", refused.stderr)
        self.assertEqual(self.ids(), {"old", "new"})
        self.run_cli("restore", "--force", self.copy)
        self.assertEqual(self.files(), ["copy.db", "q.db"])
        self.assertEqual(self.ids(), {id})
        self.audit([id])
        mark = "SELECT value FROM queuectl_meta WHERE key = 'file'"
        self.assertNotEqual(self.rows_of(self.db, mark), self.rows_of(self.copy, mark))
        self.start_workers("--drain")
        self.wait_until_all_finished()

    def rows_of(self, path: str, statement: str) -> list[tuple]:
        connection = sqlite3.connect(path)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()

    def test_restore_asks_on_a_terminal_before_it_replaces_jobs(self):
        self.back_up_one_job()
        self.enqueue("--id", "new", "true")
        for answer, ids in ((b"\n", {"old", "new"}), (b"n\n", {"old", "new"}), (b"y\n", {"old"})):
            ours, theirs = os.openpty()
            self.addCleanup(os.close, ours)
            process = self.start_cli("restore", self.copy, stdin=theirs, stderr=theirs)
            os.close(theirs)
            asked = b""
            while b"[y/N]" not in asked:
                asked += os.read(ours, 1000)
            os.write(ours, answer)
            self.assertEqual(process.wait(30), 0 if answer == b"y\n" else 1)
            self.assertEqual(self.ids(), ids)

    def test_restore_refuses_while_workers_run_or_another_program_has_the_file_open(self):
        self.back_up_one_job()
        self.start_workers()
        self.assertIn("worker stop", self.run_cli("restore", "--force", self.copy, code=1).stderr)
        self.stop_workers()
        wait_until(lambda: not self.processes())
        reader = sqlite3.connect(self.db, isolation_level=None)
        self.addCleanup(reader.close)
        reader.execute("SELECT * FROM queuectl_jobs").fetchall()
        before = self.states()
        self.assertIn("open", self.run_cli("restore", "--force", self.copy, code=1).stderr)
        self.assertEqual(self.states(), before)

    def test_a_damaged_file_that_is_in_use_is_not_moved_aside(self):
        self.back_up_one_job()
        self.start_workers()
        reader = sqlite3.connect(self.db, isolation_level=None)
        self.addCleanup(reader.close)
        reader.execute("SELECT * FROM queuectl_jobs").fetchall()
        # In another process: closing a descriptor of the file here would drop the reader's lock.
        words = ["dd", "of=" + self.db, "conv=notrunc"]
        subprocess.run(words, input=b"garbage " * 100, stderr=subprocess.DEVNULL, check=True)
        self.assertIn("worker stop", self.run_cli("restore", "--force", self.copy, code=1).stderr)
        self.kill_processes()
        wait_until(lambda: not self.processes())
        self.assertIn("open", self.run_cli("restore", "--force", self.copy, code=1).stderr)
        self.assertFalse([name for name in self.files() if "damaged" in name])

    def test_a_job_added_after_the_question_is_not_replaced(self):
        self.back_up_one_job()

        def examine() -> int:
            self.enqueue("--id", "new", "true")
            return 1

        with self.assertRaisesRegex(Refused, "added meanwhile"):
            copies.restore(self.db, self.copy, examine, lambda *_: None)
        self.assertEqual(self.ids(), {"old", "new"})

    def test_a_copy_is_a_snapshot_and_never_starts_over_while_others_write(self):
        store = self.store()
        store.enqueue([new_job({"command": "true " + "x" * 2000, "cwd": "/"}, 0)] * 5000)
        other = Store(self.db)
        self.addCleanup(other.close)
        steps: list[int] = []

        def report(done: int, total: int) -> None:
            steps.append(done)
            self.assertLess(len(steps), 100, "it starts over and over")
            other.enqueue([new_job({"command": "true", "cwd": "/"}, 0)])

        copy = sqlite3.connect(self.path("copy"))
        self.addCleanup(copy.close)
        store.copy_to(copy, report)
        self.assertEqual(steps, sorted(set(steps)))
        self.assertGreater(len(steps), 2)
        self.assertEqual(copy.execute("SELECT count(*) FROM queuectl_jobs").fetchone(), (5000,))

    def test_no_other_program_gets_in_during_a_restore(self):
        self.back_up_one_job()
        real = copies._version

        def version(db: sqlite3.Connection) -> int:
            if db.execute("PRAGMA locking_mode").fetchone() == ("exclusive",):
                result = subprocess.run(
                    [sys.executable, "-c", f"import sqlite3; sqlite3.connect({self.db!r}, timeout=0).execute("
                     "'SELECT * FROM queuectl_jobs')"],
                    stderr=subprocess.PIPE, check=False,
                )  # fmt: skip
                tries.append(b"locked" in result.stderr)
            return real(db)

        tries: list[bool] = []
        with mock.patch("queuectl_core.store.copies._version", version):
            copies.restore(self.db, self.copy, lambda: None, lambda *_: None)
        self.assertEqual(tries, [True, True])

    def test_restore_replaces_a_damaged_or_missing_file_and_keeps_what_is_left_of_it(self):
        id = self.back_up_one_job()
        intact = os.path.getsize(self.db)
        for damage in (b"not a database, this", b"\0" * 100, None):
            with self.subTest(damage=damage):
                if damage is None:
                    os.unlink(self.db)
                else:
                    with open(self.db, "r+b") as file:
                        file.seek(0 if damage.startswith(b"not") else intact // 2)
                        file.write(damage * 150)
                result = self.run_cli("restore", self.copy)
                self.assertEqual("damaged" in result.stderr, damage is not None)
                self.assertEqual(self.ids(), {id})
                self.audit([id])
        kept = [name for name in self.files() if "damaged" in name]
        self.assertEqual(kept, ["q.db.damaged", "q.db.damaged-2"])

    def test_a_backup_that_is_damaged_or_no_queue_is_refused_and_nothing_changes(self):
        id = self.back_up_one_job()
        with open(self.copy, "r+b") as file:
            file.seek(4096 * 2)
            file.write(b"\xa5" * 4096 * 4)
        other = self.path("other.db")
        with sqlite3.connect(other) as connection:
            connection.execute("CREATE TABLE notes (text)")
        connection.close()
        for source, code in (
            (self.copy, 3),
            (other, 3),
            (self.write("text", "hello" * 1000), 3),
            (self.path("missing"), 1),
            (self.db, 1),
        ):
            result = self.run_cli("restore", "--force", source, code=code)
            self.assertEqual(len(result.stderr.splitlines()), 1)
        self.assertEqual(self.ids(), {id})
        self.assertEqual(self.files(), ["copy.db", "other.db", "q.db", "text"])

    def test_a_row_that_a_check_would_reject_is_not_damage(self):
        self.enqueue("--id", "odd", "true")
        self.run_statements("PRAGMA ignore_check_constraints = ON", "UPDATE queuectl_jobs SET max_retries = 'many'")
        found = [f for f in self.run_cli("doctor", "--json", code=1).json["findings"] if f["check"] == "file"]
        self.assertEqual([f["level"] for f in found], ["ok"])
        self.run_cli("backup", self.copy)
        self.run_cli("restore", "--force", self.copy)
        self.assertEqual(self.files(), ["copy.db", "q.db"])
        self.assertEqual(self.rows("SELECT id, max_retries FROM queuectl_jobs"), [("odd", "many")])

    @unittest.skipUnless(shutil.which("strace"), "needs strace")
    def test_a_restore_killed_at_any_write_leaves_the_old_queue_or_the_new_one(self):
        self.back_up_one_job()
        self.enqueue_lines([f"echo {number:0500d}" for number in range(60)])
        shutil.copy(self.db, self.path("before.db"))
        old = self.ids()
        outcomes = set()
        for number in range(1, 1000, 6):
            shutil.copy(self.path("before.db"), self.db)
            result = subprocess.run(
                ["strace", "-f", "-o", "/dev/null", "-e", "trace=pwrite64,write",
                 "-e", f"inject=pwrite64,write:signal=KILL:when={number}",
                 *PYTHON, PROGRAM, "restore", "--force", self.copy],
                env=self.environment, cwd=self.folder, capture_output=True, timeout=60, check=False,
            )  # fmt: skip
            if b"ptrace" in result.stderr.lower():
                self.skipTest("not allowed to trace processes")
            ids = self.ids()
            self.assertIn(ids, (old, {"old"}))
            self.audit(ids)
            outcomes.add((result.returncode == 0, len(ids)))
            if result.returncode == 0:
                break
        self.assertEqual(outcomes, {(False, len(old)), (False, 1), (True, 1)})


class SpaceTest(FileTestCase):
    def fill(self, jobs: int = 30) -> None:
        """Complete jobs that print 300 kB each."""
        self.enqueue_lines(["head -c 300000 /dev/urandom"] * jobs)
        self.run_cli("worker", "start", "--drain", "--foreground", "-c", "2")

    def size(self) -> int:
        """The size that the file has, or will have once its log is folded."""
        return self.rows("PRAGMA page_count")[0][0] * 4096

    def test_prune_returns_the_space_while_workers_run(self):
        self.fill()
        self.start_workers()
        before = os.path.getsize(self.db)
        self.assertGreater(before, 8_000_000)
        self.assertEqual(len(self.run_cli("prune").lines), 30)
        self.assertLess(os.path.getsize(self.db), 500_000)
        self.assertLess(os.path.getsize(self.db + "-wal"), 500_000)
        shown = self.run_cli("status", "--json").json
        self.assertEqual(shown["database_bytes"], os.path.getsize(self.db))
        self.assertEqual(shown["free_bytes"], 0)
        self.assertIn(f"File: {self.db} (", self.run_cli("status").stdout)
        self.run_cli("doctor")

    def test_purging_dead_jobs_returns_their_space_too(self):
        self.enqueue_lines(["head -c 300000 /dev/urandom; exit 1"] * 5, "--max-retries", "0")
        self.run_cli("worker", "start", "--drain", "--foreground", code=1)
        self.assertGreater(self.size(), 1_500_000)
        self.run_cli("dlq", "purge", "--all")
        self.assertLess(os.path.getsize(self.db), 500_000)

    def test_prune_and_give_back_hold_the_lock_for_a_short_time_only(self):
        self.fill(5)
        with mock.patch("queuectl_core.store.client.PRUNE_HOLD", 0), self.store() as store:
            self.assertEqual(len(store.prune("completed", time.time())), 1)
            self.assertEqual(len(store.prune("completed", time.time())), 1)
            before = self.size()
            self.assertTrue(store.give_back(0))
            self.assertLess(self.size(), before)
            self.assertGreater(store.free_size(), 0)

    @unittest.skipUnless(shutil.which("strace"), "needs strace")
    def test_prune_does_not_fsync_once_per_job(self):
        self.enqueue_lines(["true"] * 300)
        self.run_cli("worker", "start", "--drain", "--foreground", "-c", "2")
        synced = [line for line in self.trace("prune") if "sync(" in line]
        self.assertEqual(self.states(), {})
        self.assertLess(len(synced), 60)

    def test_workers_that_prune_give_space_back_in_small_steps_but_keep_some(self):
        self.fill()
        before = self.size()
        self.run_cli("config", "set", "keep-completed", "0")
        self.start_workers()
        wait_until(lambda: self.size() < before, message="no space was given back")
        self.stop_workers()
        with self.store() as store:
            while self.size() < before:
                before = self.size()
                store.trim()
            self.assertGreater(store.free_size(), 3_000_000)

    def test_compact_rewrites_a_file_from_before_incremental_vacuum(self):
        self.fill(10)
        self.run_statements("PRAGMA auto_vacuum = NONE", "VACUUM")
        before = self.size()
        self.run_cli("prune", "--keep", "1")
        self.assertEqual(self.size(), before)
        self.run_cli("prune", "--compact", "--keep", "1")
        self.assertEqual(self.rows("PRAGMA auto_vacuum"), [(2,)])
        self.assertLess(os.path.getsize(self.db), 600_000)
        self.assertEqual(self.states(), {"completed": 1})
        self.audit()

    def test_compact_by_itself_deletes_no_job_and_returns_all_space(self):
        self.fill(10)
        self.run_cli("prune", "--keep", "2")
        self.run_statements("PRAGMA auto_vacuum = NONE", "VACUUM")
        self.run_cli("prune", "--keep", "1")
        before = self.size()
        said = self.run_cli("prune", "--compact").stderr
        self.assertRegex(said, r"^returned \d.* to the disk; the file takes \d.* KiB\n$")
        self.assertLess(self.size(), before)
        self.assertEqual(self.states(), {"completed": 1})
        self.run_cli("prune", "--compact", "--dry-run", code=2)
        self.run_cli("prune", "--compact", "-s", "completed")
        self.assertEqual(self.states(), {})

    def test_prune_names_the_space_that_it_cannot_return(self):
        self.fill(10)
        self.run_statements("PRAGMA auto_vacuum = NONE", "VACUUM")
        said = r"^deleted 10 jobs; \d.* MiB stay unused in the file; to return them, run: queuectl prune --compact\n$"
        self.assertRegex(self.run_cli("prune").stderr, said)

    def trace(self, *words: str) -> list[str]:
        """The system calls of a command that change files or names, in order."""
        log = self.path("trace")
        calls = "trace=mkdir,mkdirat,fsync,fdatasync,write"
        result = subprocess.run(
            ["strace", "-f", "-y", "-o", log, "-e", calls, sys.executable, PROGRAM, *words],
            env=self.environment, cwd=self.folder, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        if b"ptrace" in result.stderr.lower():
            self.skipTest("not allowed to trace processes")
        self.assertEqual(result.returncode, 0, result.stderr)
        return self.read("trace").splitlines()

    @unittest.skipUnless(shutil.which("strace"), "needs strace")
    def test_new_folders_are_on_disk_before_the_first_job_is_acknowledged(self):
        path = os.path.join(self.folder, "a", "b", "q.db")
        calls = self.trace("--db", path, "enqueue", "true")
        acknowledged = next(number for number, line in enumerate(calls) if "write(1<" in line)
        for parent, name in ((self.folder, "a"), (os.path.join(self.folder, "a"), "b")):
            folder = os.path.join(parent, name)
            made = next(n for n, line in enumerate(calls) if "mkdir" in line and f'{folder}"' in line)
            synced = [n for n, line in enumerate(calls) if "sync(" in line and f"<{parent}>" in line]
            self.assertTrue([n for n in synced if made < n < acknowledged], f"{parent} was not synced")
        self.assertTrue([line for line in calls if "sync(" in line and f"<{os.path.dirname(path)}>" in line])
