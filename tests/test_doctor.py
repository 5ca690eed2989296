"""`doctor` finds problems and says how to fix them; `backup` copies a queue in use."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import sqlite3
import stat
import struct
import subprocess
import termios
import unittest

from queuectl_core.cli.doctor import has_wal_reset_bug
from queuectl_core.errors import DatabaseUnusable
from queuectl_core.store.database import LARGE_WAL, SMALL_WAL
from queuectl_core.store.filesystem import file_system, refuse_network
from tests.harness import process_is_gone, shown_on, wait_until
from tests.patched import patched
from tests.test_workers import WorkersTestCase


class DoctorTest(WorkersTestCase):
    def problems(self, code: int = 1) -> list[tuple[str, str, str]]:
        """What `doctor` finds wrong, as (check, text, advice); its table and its JSON must agree."""
        report = self.run_cli("doctor", "--json", code=code).json
        found = [(f["check"], f["text"], f["advice"]) for f in report["findings"] if f["level"] == "wrong"]
        self.assertEqual(report["well"], not found)
        lines = [line for line in self.run_cli("doctor", code=code).lines if line.startswith("wrong")]
        self.assertEqual(len(lines), len(found))
        return found

    def test_a_healthy_queue_exits_0(self):
        self.create_queue()
        self.assertEqual(self.problems(code=0), [])
        self.start_workers("-c", "2")
        self.enqueue("true")
        self.wait_until_all_finished()
        self.assertEqual(self.problems(code=0), [])

    def test_a_missing_queue_is_reported_and_not_created(self):
        ((check, text, _),) = self.problems()
        self.assertEqual((check, self.db in text), ("file", True))
        self.assertFalse(os.path.exists(self.db))

    def test_a_damaged_file_is_found(self):
        self.enqueue_lines([f"echo {n:0100d}" for n in range(500)])
        self.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        with open(self.db, "r+b") as file:
            file.seek(4096 * 20)
            file.write(b"\xa5" * 4096 * 4)
        problems = [f"{check}: {text}, {advice}" for check, text, advice in self.problems()]
        found = [line for line in problems if line.startswith("file") and "queuectl restore" in line]
        self.assertTrue(found, problems)

    def test_a_file_that_other_users_can_read_is_found(self):
        self.create_queue()
        os.chmod(self.db, 0o644)
        (check, text, advice), *_ = self.problems()  # SQLite gives the WAL the same mode.
        self.assertEqual((check, advice), ("access", "chmod go= " + self.db))
        self.assertIn("644", text)

    def test_counts_that_a_replaced_job_made_wrong_are_found_and_repaired(self):
        self.enqueue("--id", "a", "true")
        self.enqueue("--id", "b", "-q", "other", "true")
        self.enqueue("--id", "c", "--after", "a,b", "true")
        self.rows("INSERT OR REPLACE INTO queuectl_jobs (id, queue, command) VALUES ('a', 'third', 'true')")
        self.rows("INSERT OR REPLACE INTO queuectl_jobs (id, command) VALUES ('b', 'true')")
        self.rows("DELETE FROM queuectl_queues WHERE name = 'third'")
        found = [(text, advice) for check, text, advice in self.problems() if check == "counts"]
        self.assertEqual({advice for _, advice in found}, {"queuectl doctor --repair"})
        texts = " ".join(text for text, _ in found)
        for piece in ("queue default has", "queue other has", "queue third has", "job that is gone (2 times)"):
            self.assertIn(piece, texts)
        self.assertIn("repaired: queue third", self.run_cli("doctor", "--repair", code=1).stderr)  # There's no worker.
        self.audit(["a", "b", "c"])
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.assertEqual(self.states(), {"completed": 3})  # What c waited for is gone.

    def test_repair_of_a_missing_queue_creates_nothing(self):
        self.run_cli("doctor", "--repair", code=1)
        self.assertFalse(os.path.exists(self.db))

    def test_settings_that_queuectl_would_not_store_are_found(self):
        self.create_queue()
        self.rows("INSERT INTO queuectl_config VALUES ('max-retries', 'many'), ('colour', 'red')")
        advice = [advice for check, _, advice in self.problems() if check == "config"]
        self.assertEqual(advice, ["queuectl config unset colour", "queuectl config unset max-retries"])
        self.run_cli("config", "unset", "max-retries")

    def test_dead_workers_and_the_jobs_they_left_behind_are_found(self):
        ((worker, pid),) = self.start_workers()
        (supervisor,) = self.supervisors()
        id = self.start_job()
        for process in (supervisor, pid):
            os.kill(process, signal.SIGKILL)
        wait_until(lambda: process_is_gone(pid) and process_is_gone(supervisor))
        ((check, text, advice),) = self.problems()
        self.assertEqual(check, "workers")
        self.assertIn(f"worker {worker} (pid {pid}) is dead and left job {id} behind", text)
        self.assertIn("worker start", advice)

    def test_jobs_that_cannot_run_are_found(self):
        needed = self.enqueue("--max-retries", "0", "exit 1")
        stuck = self.enqueue("--after", needed, "true")
        self.start_workers("-q", "default")
        self.wait_for_state(needed, "dead")
        self.enqueue("-q", "other", "true")
        self.enqueue("-q", "paused", "true")
        self.run_cli("pause", "paused")
        found = [text for check, text, _ in self.problems() if check == "jobs"]
        self.assertEqual(
            found,
            [
                "queue other has 1 waiting job but no worker",
                f"job {stuck} waits for job {needed}, which is dead",
            ],
        )

    def test_advice_for_a_paused_queue_names_what_was_paused(self):
        self.enqueue("-q", "held", "true")
        self.run_cli("pause", "held")
        self.assertIn("→ queuectl resume held\n", self.run_cli("doctor").stdout)
        self.run_cli("pause")
        self.assertIn("→ queuectl resume\n", self.run_cli("doctor").stdout)

    def test_findings_fit_the_terminal(self):
        self.enqueue("-q", "held", "true")
        self.run_cli("pause", "held")
        controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
        process = self.start_cli("doctor", stdout=terminal, stderr=terminal)
        os.close(terminal)
        shown = shown_on(controller).decode().replace("\r\n", "\n")
        self.assertEqual(process.wait(20), 0)
        for line in shown.splitlines():
            if self.db not in line:
                self.assertLessEqual(len(line), 60)
        finding = "note   jobs     queue held has 1 waiting job but is paused\n"
        self.assertIn(f"{finding}{' ' * 16}→ queuectl resume held\n", shown)

    def test_a_wal_kept_large_by_a_reader_is_found_and_shrinks_once_the_reader_is_done(self):
        store = self.store()
        store.bound_wal()
        reader = sqlite3.connect(self.db, isolation_level=None)
        self.addCleanup(reader.close)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM queuectl_meta").fetchall()
        self.rows("CREATE TABLE ballast (data)")

        def write_megabytes(megabytes: int) -> None:
            for _ in range(megabytes):
                store._execute("INSERT INTO ballast VALUES (randomblob(?))", (1024 * 1024,))

        write_megabytes(LARGE_WAL // 1024**2 + 4)
        self.assertEqual([check for check, _, _ in self.problems()], ["log"])
        self.assertIn("doctor", self.run_cli("status").stderr)
        reader.execute("COMMIT")
        self.assertEqual(self.problems(code=0), [])  # No program prevents it, so doctor empties the log.
        self.assertEqual(store.wal_size(), 0)
        self.assertNotIn("log", self.run_cli("status").stderr)
        write_megabytes(SMALL_WAL // 1024**2 * 2)
        self.assertLessEqual(store.wal_size(), SMALL_WAL + 1024 * 1024)

    def test_sqlite_versions_with_the_wal_reset_bug_are_recognized(self):
        for version in ((3, 31, 0), (3, 40, 1), (3, 44, 5), (3, 45, 0), (3, 50, 6), (3, 51, 2)):
            self.assertTrue(has_wal_reset_bug(version), version)
        for version in ((3, 44, 6), (3, 50, 7), (3, 51, 3), (3, 52, 0), (4, 0, 0)):
            self.assertFalse(has_wal_reset_bug(version), version)


class FileSystemTest(unittest.TestCase):
    MOUNTS = (
        "/dev/vda / ext4 rw 0 0\n"
        "server:/home /home nfs4 rw 0 0\n"
        "/dev/vdb /home/local\\040disk xfs rw 0 0\n"
        "//server/share /mnt cifs rw 0 0\n"
        "tmpfs /mnt tmpfs rw 0 0\n"
    )

    def test_the_deepest_and_then_the_latest_mount_decides_the_file_system(self):
        for path, kind in (
            ("/q.db", "ext4"),
            ("/homes/q.db", "ext4"),
            ("/home/q.db", "nfs4"),
            ("/home/local disk/a/q.db", "xfs"),
            ("/mnt/q.db", "tmpfs"),
        ):
            self.assertEqual(file_system(path, self.MOUNTS), kind, path)
        self.assertIsNone(file_system("/q.db", ""))

    def test_network_file_systems_are_refused_by_name(self):
        refuse_network("/home/local disk/q.db", self.MOUNTS)
        with self.assertRaisesRegex(DatabaseUnusable, r"/home/q\.db: .* network file system \(nfs4\)"):
            refuse_network("/home/q.db", self.MOUNTS)


class BackupTest(WorkersTestCase):
    def test_a_backup_made_while_workers_run_is_complete_and_consistent(self):
        self.start_workers("-c", "2")
        feeder = self.start_cli("enqueue", "-", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        feeder.stdin.write(b"echo out\n" * 600)
        feeder.stdin.close()
        wait_until(lambda: self.states().get("completed", 0) > 20)
        copies = [self.path(f"copy{number}.db") for number in range(3)]
        for copy in copies:
            self.run_cli("backup", copy)
        feeder.wait(30)
        self.wait_until_all_finished()
        self.stop_workers()
        self.audit()
        names = sorted(name for name in os.listdir(self.folder) if name.startswith("copy"))
        self.assertEqual(names, list(map(os.path.basename, copies)))
        for copy in copies:
            self.assertEqual(stat.S_IMODE(os.stat(copy).st_mode), 0o600)
            self.db = copy
            self.audit()
        # Jobs copied while they ran are rescued; otherwise the copy is an ordinary queue.
        self.run_cli("--db", copy, "worker", "start", "--drain", "--foreground")
        self.assertEqual(set(self.states()), {"completed"})

    def test_an_existing_file_is_replaced_only_with_force(self):
        id = self.enqueue("true")
        copy = self.write("copy.db", b"precious")
        self.assertIn("--force", self.run_cli("backup", copy, code=1).stderr)
        self.assertEqual(self.read("copy.db"), "precious")
        self.run_cli("backup", "--force", copy)
        self.assertEqual(sorted(self.run_cli("--db", copy, "list", "--json").json[0].items()),
                         sorted(self.jobs()[id].items()))  # fmt: skip
        reader = sqlite3.connect(copy)  # An open connection keeps a WAL next to the copy.
        self.addCleanup(reader.close)
        reader.execute("SELECT * FROM queuectl_jobs").fetchall()
        self.assertIn("in use", self.run_cli("backup", "--force", copy, code=1).stderr)
        self.run_cli("backup", "--force", self.db, code=1)
        self.audit([id])

    def test_a_file_that_appears_during_the_backup_is_not_overwritten(self):
        id = self.enqueue("true")
        copy = self.path("copy.db")
        patch = (
            "from queuectl_core.store import copies\n"
            "real = copies._copy\n"
            "def make_copy(store, partial, report):\n"
            "    real(store, partial, report)\n"
            f"    with open({copy!r}, 'x') as file:\n"
            "        file.write('precious')\n"
            "copies._copy = make_copy"
        )
        result = subprocess.run(
            patched(patch, "backup", copy), env=self.environment, capture_output=True, timeout=60, check=False
        )
        self.assertEqual((result.returncode, result.stdout), (1, b""))
        self.assertIn(b"--force", result.stderr)
        self.assertEqual(self.read("copy.db"), "precious")
        self.assertEqual([name for name in os.listdir(self.folder) if "copy" in name], ["copy.db"])
        self.audit([id])

    def test_backup_works_where_hard_links_do_not_exist_and_still_overwrites_nothing(self):
        id = self.enqueue("true")
        patch = (
            "import errno\n"
            "def link(*_):\n"
            "    raise OSError(errno.EPERM, 'no links here')\n"
            "os.link = link\n"
        )
        for code in (0, 1):
            result = subprocess.run(
                patched(patch, "backup", self.path("copy.db")), env=self.environment, capture_output=True, timeout=60,
                check=False,
            )  # fmt: skip
            self.assertEqual(result.returncode, code, result.stderr)
        self.assertEqual([name for name in os.listdir(self.folder) if "copy" in name], ["copy.db"])
        self.db = self.path("copy.db")
        self.audit([id])

    def test_an_unwritable_destination_exits_3_and_leaves_nothing_behind(self):
        self.enqueue("true")
        result = self.run_cli("backup", self.path("no/such/copy.db"), code=3)
        self.assertEqual(len(result.stderr.splitlines()), 1)
        self.assertEqual([name for name in os.listdir(self.folder) if "copy" in name], [])


if __name__ == "__main__":
    unittest.main()
