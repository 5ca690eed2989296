"""Full, read-only, missing or damaged: disk and file errors are reported, and nothing is lost."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import unittest

from queuectl_core.cli.bulk import Acknowledgements
from queuectl_core.errors import DatabaseFull
from queuectl_core.workers.identity import run_state
from tests.harness import IS_ROOT, PROGRAM, CommandResult, process_is_gone, wait_until
from tests.test_workers import WorkersTestCase

WRITE_COMMANDS = (["enqueue", "true"], ["cancel", "a"], ["config", "set", "timeout", "1"], ["worker", "start"])


class DiskTestCase(WorkersTestCase):
    def assert_one_error_line(self, result: CommandResult) -> None:
        """Check for one line on stderr and nothing on stdout."""
        self.assertEqual((result.stdout, len(result.stderr.splitlines())), ("", 1), result)


@unittest.skipUnless(IS_ROOT and shutil.which("mount"), "needs root and mount")
class SmallDiskTest(DiskTestCase):
    """The queue is on a 2 MiB disk."""

    def setUp(self) -> None:
        super().setUp()
        self.disk = self.path("disk")
        os.mkdir(self.disk)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "small", self.disk], check=False)
        if mounted.returncode:
            self.skipTest("not allowed to mount")
        self.db = self.environment["QUEUECTL_DB"] = os.path.join(self.disk, "q.db")

    def _clean_up(self) -> None:
        # Unmount after all processes on the disk have ended, but before the folder is removed.
        try:
            self.kill_processes()
            wait_until(self.kill_processes)
            subprocess.run(["umount", "-l", self.disk], check=False, stderr=subprocess.DEVNULL)
        finally:
            super()._clean_up()

    def fill(self) -> None:
        """Fill the disk completely."""
        with open(os.path.join(self.disk, "filler"), "ab", buffering=0) as file:
            for size in (65536, 4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    pass

    def free(self) -> None:
        """Undo fill."""
        os.unlink(os.path.join(self.disk, "filler"))

    def remount(self, mode: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{mode}", self.disk], check=True)

    def test_a_queue_cannot_be_created_on_a_full_disk_until_there_is_room(self):
        self.fill()
        self.assert_one_error_line(self.run_cli("enqueue", "true", code=3))
        self.free()
        id = self.enqueue("true")
        self.audit([id])

    def test_a_batch_that_fills_the_disk_says_which_jobs_are_enqueued_or_changed(self):
        lines = "".join(f"echo {number} {'x' * 500}\n" for number in range(10000))
        result = self.run_cli("enqueue", "-", input=lines, code=3)
        said = "the disk is full; the jobs whose ids were printed are enqueued, the others are not\n"
        self.assertTrue(result.stderr.endswith(said) and result.lines, result.stderr)
        self.assertEqual(set(result.lines), {id for (id,) in self.rows("SELECT id FROM queuectl_jobs")})
        self.fill()
        atomic = self.run_cli("enqueue", "--atomic", "-", input=lines, code=3)
        self.assertIn("the disk is full; nothing was changed", atomic.stderr)

    def test_a_disk_that_fills_up_while_jobs_are_changed_says_how_many_were(self):
        with self.assertRaises(DatabaseFull) as caught, Acknowledgements("held", False) as done:
            done.count = 1
            raise DatabaseFull("q.db: the disk is full; nothing was changed")
        self.assertEqual(str(caught.exception), "q.db: the disk is full; held only 1 job")

    def test_enqueue_never_acknowledges_a_job_that_did_not_fit(self):
        ids = [self.enqueue("true")]
        lines = f"echo {'x' * 1000}\n" * 100
        for _ in range(100):
            result = self.run_cli("enqueue", "-", input=lines, code=None)
            ids += result.lines
            if result.code:
                break
        self.assertEqual((result.code, len(result.stderr.splitlines())), (3, 1), result)
        self.fill()
        for _ in range(100):  # A few may fit into what the log has already allocated.
            result = self.run_cli("enqueue", "true", code=None)
            ids += result.lines
            if result.code:
                break
        self.assertEqual(result.code, 3)
        self.assert_one_error_line(result)
        self.free()
        self.assertEqual(set(self.jobs()), set(ids))
        self.audit(ids)

    def test_workers_wait_for_room_to_settle_and_claim_jobs_and_the_fleet_survives(self):
        workers = self.start_workers("-c", "2")
        supervisors = self.supervisors()
        command = f"until [ -e {self.path('go')} ]; do sleep 0.02; done; head -c 50000 /dev/zero"
        ids = [self.enqueue("--id", id, "--backoff-base", "0.1", "--", command) for id in "ab"]
        ids += [self.enqueue("echo later") for _ in range(3)]
        wait_until(lambda: self.states().get("processing") == 2)
        worker_pids = {worker["job"]: worker["pid"] for worker in self.live_workers()}
        self.fill()
        os.kill(worker_pids["b"], signal.SIGKILL)  # Its supervisor can't settle b while the disk is full.
        self.write("go", "")
        wait_until(lambda: not any(map(self.runs_shell, self.processes())), message="the jobs are still running")
        self.assertEqual(self.states(), {"processing": 2, "pending": 3})
        for pid in [worker_pids["a"], *supervisors]:
            self.assertFalse(process_is_gone(pid), f"{pid} did not wait for room")
        self.free()
        self.wait_until_all_finished()
        self.assertEqual(self.states(), {"completed": 5})
        self.assertEqual(len(self.run_cli("logs", "a").stdout), 50000)
        self.assertEqual([a["outcome"] for a in self.job("b")["history"]], ["lost", "exit"])
        wait_until(lambda: len(self.live_workers()) == len(workers), message="the fleet shrank")
        self.audit(ids)

    def test_a_suspended_job_is_ended_by_stopping_its_worker_though_the_disk_is_full(self):
        cleaned, up = self.path("cleaned"), self.path("up")
        id = self.enqueue("--", f"trap 'touch {cleaned}; exit 1' TERM; touch {up}; sleep 60 & wait")
        self.start_workers()
        wait_until(lambda: os.path.exists(up))
        self.run_cli("suspend", id)
        ((leader,),) = wait_until(lambda: self.rows("SELECT pid FROM queuectl_attempts WHERE pid IS NOT NULL"))
        wait_until(lambda: run_state(leader) == b"T")
        self.fill()
        stopping = self.start_cli("worker", "stop", "--now", stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_until(lambda: os.path.exists(cleaned))
        self.free()
        stopping.wait(60)
        # Its worker may have had to exit before there was room to record its end.
        outcome = {"pending": "released", "failed": "lost"}[self.wait_for_state(id, "pending", "failed")]
        self.assertEqual([attempt["outcome"] for attempt in self.job(id)["history"]], [outcome])
        self.audit([id])

    def runs_shell(self, pid: int) -> bool:
        """Whether a process is the shell of a job or its command."""
        try:
            with open(f"/proc/{pid}/comm") as file:
                return file.read().strip() in ("sh", "dash", "bash", "sleep", "head")
        except OSError:
            return False

    def test_a_worker_waiting_for_room_exits_immediately_when_signaled_twice(self):
        ((_, pid),) = self.start_workers()
        command = f"until [ -e {self.path('go')} ]; do sleep 0.02; done; head -c 50000 /dev/zero"
        id = self.enqueue("--backoff-base", "0.1", "--", command)
        self.wait_for_state(id, "processing")
        self.fill()
        self.write("go", "")
        wait_until(lambda: not any(map(self.runs_shell, self.processes())), message="the job is still running")
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)  # Not SIGTERM again: pending signals with the same number merge.
        wait_until(lambda: process_is_gone(pid), message="the worker is still waiting for room")
        self.assertEqual(self.states(), {"processing": 1})
        self.free()
        self.wait_for_state(id, "completed")
        self.assertEqual([a["outcome"] for a in self.job(id)["history"]], ["lost", "exit"])
        self.audit([id])

    def test_worker_stop_now_reaches_the_workers_by_signal_if_it_cannot_write_their_rows(self):
        workers = dict(self.start_workers("-c", "2"))
        ids = [self.enqueue("--", "head -c 50000 /dev/zero; sleep 60") for _ in workers]
        for id in ids:
            self.wait_for_state(id, "processing")
        self.fill()
        self.run_cli("worker", "stop", "--no-wait", code=3)
        self.assertEqual(self.states(), {"processing": 2})
        result = self.run_cli("worker", "stop", "--now", code=3)  # It can't rescue their jobs.
        self.assertIn("the disk is full; nothing was changed; asked the workers by signal instead\n", result.stderr)
        self.assertEqual(sorted(result.lines), sorted(f"worker {id} stopped" for id in workers))
        self.assertFalse(any(map(self.runs_shell, self.processes())))
        self.free()
        self.run_cli("worker", "stop")
        self.assertEqual(self.states(), {"failed": 2})
        self.audit(ids)

    def test_a_read_only_disk_is_reported_in_one_line(self):
        id = self.enqueue("--id", "a", "true")
        self.remount("ro")
        for command in WRITE_COMMANDS:
            self.assert_one_error_line(self.run_cli(*command, code=3))
        self.assertIn(self.run_cli("list", code=None).code, (0, 3))  # 3 if it needs to create the WAL index.
        self.assert_one_error_line(self.run_cli("--db", os.path.join(self.disk, "new", "q.db"), "list", code=3))
        self.remount("rw")
        self.audit([id])


@unittest.skipUnless(not IS_ROOT or shutil.which("setpriv"), "root needs setpriv to drop its capabilities")
class PermissionsTest(DiskTestCase):
    def run_unprivileged(self, *words: str) -> subprocess.CompletedProcess:
        """Run a command as a user who is subject to permissions."""
        prefix = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if IS_ROOT else []
        return subprocess.run(
            [*prefix, sys.executable, PROGRAM, *words],
            env=self.environment, capture_output=True, timeout=60, check=False,
        )  # fmt: skip

    def assert_refused(self, *words: str) -> None:
        result = self.run_unprivileged(*words)
        if b"setpriv" in result.stderr:
            self.skipTest("root cannot drop its capabilities here")
        self.assertEqual((result.returncode, result.stdout), (3, b""), result)
        self.assertEqual(len(result.stderr.splitlines()), 1, result)

    def test_a_read_only_file_or_folder_is_reported_in_one_line(self):
        id = self.enqueue("true")
        self.start_workers("--drain")
        self.wait_until_all_finished()
        wait_until(lambda: not self.processes())
        os.chmod(self.db, 0o400)
        self.assert_refused("enqueue", "true")
        self.assert_refused("worker", "start")
        os.chmod(self.db, 0o000)
        self.assert_refused("list")
        os.chmod(self.db, 0o600)
        os.chmod(self.folder, 0o500)
        try:
            self.assert_refused("enqueue", "true")
            self.assert_refused("--db", self.path("new.db"), "enqueue", "true")
        finally:
            os.chmod(self.folder, 0o700)
        self.audit([id])

    def test_only_the_owner_can_access_the_files(self):
        self.start_workers()
        self.enqueue("true")
        for name in os.listdir(self.folder):
            if name.startswith("q.db"):
                self.assertEqual(os.stat(self.path(name)).st_mode & 0o077, 0, name)


class GoneTest(DiskTestCase):
    def test_workers_whose_file_is_removed_exit_and_do_not_recreate_it(self):
        """A running job finishes first, though its result can't be recorded."""
        folders = [self.path("file"), self.path("folder")]
        for folder in folders:
            os.mkdir(folder)
            self.db = self.environment["QUEUECTL_DB"] = os.path.join(folder, "q.db")
            self.start_workers("-c", "2")
            self.enqueue("--cwd", self.folder, "--", "until [ -e go ]; do sleep 0.02; done; echo >> done")
            wait_until(lambda: self.states().get("processing"))
        os.unlink(os.path.join(folders[0], "q.db"))
        shutil.rmtree(folders[1])
        self.write("go", "")
        wait_until(lambda: not self.processes(), message="the workers did not exit")
        self.assertFalse([folder for folder in folders if os.path.exists(os.path.join(folder, "q.db"))])
        self.assertEqual(self.read("done"), "\n\n")

    def test_a_fleet_switches_to_a_backup_that_replaces_its_file(self):
        self.start_workers("-c", "2")
        id = self.enqueue("--delay", "2s", "true")
        self.run_cli("backup", self.path("copy.db"))
        for suffix in ("-wal", "-shm"):
            os.unlink(self.db + suffix)
        os.replace(self.path("copy.db"), self.db)
        self.wait_for_state(id, "completed")
        wait_until(lambda: len(self.live_workers()) == 2, message="the fleet shrank")
        self.audit([id])

    def test_every_acknowledged_job_is_in_the_file_or_its_wal(self):
        """As after a power cut: the WAL index is missing, and the database was never closed."""
        self.store()
        ids = [self.enqueue("true") for _ in range(3)]
        for suffix in ("", "-wal"):
            shutil.copy(self.db + suffix, self.path("cut.db" + suffix))
        self.db = self.path("cut.db")
        self.run_cli("--db", self.db, "worker", "start", "--drain", "--foreground")
        self.assertEqual(self.states(), {"completed": 3})
        self.audit(ids)

    def test_missing_or_stale_files_next_to_an_unused_database_do_no_harm(self):
        ids = [self.enqueue("true") for _ in range(3)]
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        for suffix in ("-wal", "-shm"):
            if os.path.exists(self.db + suffix):
                os.unlink(self.db + suffix)
        os.makedirs(self.db + "-bells", exist_ok=True)
        os.mkfifo(self.db + "-bells/9")
        self.write("q.db-journal", b"")
        self.write("q.db.lock", b"1")
        self.assertEqual(self.states(), {"completed": 3})
        ids.append(self.enqueue("true"))
        self.start_workers()
        self.wait_until_all_finished()
        self.audit(ids)

    def test_a_symlink_and_its_target_are_the_same_queue(self):
        os.mkdir(self.path("real"))
        os.symlink(self.path("real/target.db"), self.path("link.db"))
        id = self.enqueue("true", env={"QUEUECTL_DB": self.path("link.db")})
        self.db = self.path("real/target.db")
        self.assertEqual(os.stat(self.db).st_mode & 0o077, 0)
        self.run_cli("--db", self.path("link.db"), "worker", "start")
        self.wait_for_state(id, "completed")
        self.assertEqual([name for name in os.listdir(self.folder) if name.startswith("link")], ["link.db"])
        self.assertEqual(self.run_cli("--db", self.db, "status", "--json").json["database"], self.db)
        self.run_cli("--db", self.db, "worker", "stop")
        self.audit([id])


class DamageTest(DiskTestCase):
    def test_a_damaged_or_truncated_file_is_reported_and_never_recreated(self):
        self.enqueue_lines([f"echo {number:0200d}" for number in range(300)])
        self.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        with open(self.db, "rb") as file:
            intact = file.read()
        rng = random.Random(3)
        for number in range(6):
            damaged = bytearray(intact)
            if number % 3 == 0:
                del damaged[rng.randrange(100, len(damaged)) :]
            for _ in range(3):
                offset = rng.randrange(100, len(damaged))
                damaged[offset : offset + 512] = rng.getrandbits(4096).to_bytes(512, "big")[: len(damaged) - offset]
            for suffix in ("-wal", "-shm"):
                if os.path.exists(self.db + suffix):
                    os.unlink(self.db + suffix)
            self.write("q.db", bytes(damaged))
            for command in (["list", "--json"], ["enqueue", "true"], ["doctor"]):
                with self.subTest(number=number, command=command):
                    result = self.run_cli(*command, code=None)
                    self.assertIn(result.code, (0, 1, 3), result)
            self.assertGreaterEqual(os.stat(self.db).st_size, min(len(damaged), 4096))


if __name__ == "__main__":
    unittest.main()
