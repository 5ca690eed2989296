"""The disk is full or read-only, the file is gone or damaged: it is reported, and nothing is lost."""

import os
import random
import shutil
import signal
import subprocess
import sys
import unittest

from tests.harness import IS_ROOT, PROGRAM, process_is_gone, wait_until
from tests.test_workers import WorkersTestCase

WRITING = (["enqueue", "true"], ["cancel", "a"], ["config", "set", "timeout", "1"], ["worker", "start"])


class DiskTestCase(WorkersTestCase):
    def assert_told(self, result) -> None:
        """One line on stderr, nothing on stdout."""
        self.assertEqual((result.stdout, len(result.stderr.splitlines())), ("", 1), result)


@unittest.skipUnless(IS_ROOT and shutil.which("mount"), "only root can mount a small disk")
class SmallDiskTest(DiskTestCase):
    """The queue is on a disk of 2 MiB."""

    def setUp(self) -> None:
        super().setUp()
        self.disk = self.path("disk")
        os.mkdir(self.disk)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "small", self.disk], check=False)
        if mounted.returncode:
            self.skipTest("not allowed to mount")
        # After everything that runs there has ended, and before the folder is removed; see _clean_up.
        self.db = self.environment["QUEUECTL_DB"] = os.path.join(self.disk, "q.db")

    def _clean_up(self) -> None:
        try:
            self._nothing_is_left()
            wait_until(self._nothing_is_left)
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
        os.unlink(os.path.join(self.disk, "filler"))

    def remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", "remount," + how, self.disk], check=True)

    def test_a_queue_is_not_created_on_a_full_disk_but_once_there_is_room(self):
        self.fill()
        self.assert_told(self.run_cli("enqueue", "true", code=3))
        self.free()
        id = self.enqueue("true")
        self.audit([id])

    def test_enqueue_never_reports_success_if_there_was_no_room(self):
        ids = [self.enqueue("true")]
        lines = "echo %s\n" % ("x" * 1000) * 100
        for _ in range(100):
            result = self.run_cli("enqueue", "-", input=lines, code=None)
            ids += result.lines
            if result.code:
                break
        self.assertEqual((result.code, len(result.stderr.splitlines())), (3, 1), result)
        self.fill()
        self.assert_told(self.run_cli("enqueue", "true", code=3))
        self.free()
        self.assertEqual(set(self.jobs()), set(ids))
        self.audit(ids)

    def test_workers_wait_for_room_to_settle_and_claim_and_the_fleet_survives(self):
        workers = self.start_workers("-c", "2")
        supervisors = self.supervisors()
        go = self.path("go")
        printing = f"until [ -e {go} ]; do sleep 0.02; done; head -c 50000 /dev/zero"
        ids = [self.enqueue("--id", id, "--backoff-base", "0.1", "--", printing) for id in "ab"]
        ids += [self.enqueue("echo later") for _ in range(3)]
        wait_until(lambda: self.states().get("processing") == 2)
        holder = {worker["job"]: worker["pid"] for worker in self.live_workers()}
        self.fill()
        os.kill(holder["b"], signal.SIGKILL)  # Its supervisor can't settle that now.
        self.write("go", "")
        wait_until(lambda: not any(map(self.runs_shell, self.processes())), message="the jobs are still running")
        self.assertEqual(self.states(), {"processing": 2, "pending": 3})
        for pid in [holder["a"], *supervisors]:
            self.assertFalse(process_is_gone(pid), "it did not wait")
        self.free()
        self.wait_until_all_finished()
        self.assertEqual(self.states(), {"completed": 5})
        self.assertEqual(len(self.run_cli("logs", "a").stdout), 50000)
        self.assertEqual([a["outcome"] for a in self.job("b")["history"]], ["lost", "exit"])
        wait_until(lambda: len(self.live_workers()) == len(workers), message="the fleet did not keep its size")
        self.audit(ids)

    def runs_shell(self, pid: int) -> bool:
        try:
            with open(f"/proc/{pid}/comm") as file:
                return file.read().strip() in ("sh", "dash", "bash", "sleep", "head")
        except OSError:
            return False

    def test_a_worker_waiting_for_room_exits_immediately_when_signaled_twice(self):
        ((_, pid),) = self.start_workers()
        printing = f"until [ -e {self.path('go')} ]; do sleep 0.02; done; head -c 50000 /dev/zero"
        id = self.enqueue("--backoff-base", "0.1", "--", printing)
        self.wait_for_state(id, "processing")
        self.fill()
        self.write("go", "")
        wait_until(lambda: not any(map(self.runs_shell, self.processes())), message="the job is still running")
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)  # Not SIGTERM again: pending signals with the same number merge.
        wait_until(lambda: process_is_gone(pid), message="it is still waiting for room")
        self.assertEqual(self.states(), {"processing": 1})
        self.free()
        self.wait_for_state(id, "completed")
        self.assertEqual([a["outcome"] for a in self.job(id)["history"]], ["lost", "exit"])
        self.audit([id])

    def test_a_read_only_disk_is_reported_clearly(self):
        id = self.enqueue("--id", "a", "true")
        self.remount("ro")
        for command in WRITING:
            self.assert_told(self.run_cli(*command, code=3))
        self.assertIn(self.run_cli("list", code=None).code, (0, 3))  # It may need to create the log's index.
        self.assert_told(self.run_cli("--db", os.path.join(self.disk, "new", "q.db"), "list", code=3))
        self.remount("rw")
        self.audit([id])


@unittest.skipUnless(not IS_ROOT or shutil.which("setpriv"), "root can write everything")
class PermissionsTest(DiskTestCase):
    def run_powerless(self, *words) -> subprocess.CompletedProcess:
        """Run a command as a user who is subject to permissions."""
        powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if IS_ROOT else []
        return subprocess.run(
            [*powerless, sys.executable, PROGRAM, *words],
            env=self.environment, capture_output=True, timeout=60, check=False,
        )  # fmt: skip

    def assert_refused(self, *words) -> None:
        result = self.run_powerless(*words)
        if b"setpriv" in result.stderr:
            self.skipTest("root cannot drop its capabilities here")
        self.assertEqual((result.returncode, result.stdout), (3, b""), result)
        self.assertEqual(len(result.stderr.splitlines()), 1, result)

    def test_a_read_only_file_or_folder_is_reported_clearly(self):
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

    def test_only_the_owner_can_use_the_files(self):
        self.start_workers()
        self.enqueue("true")
        for name in os.listdir(self.folder):
            if name.startswith("q.db"):
                self.assertEqual(os.stat(self.path(name)).st_mode & 0o077, 0, name)


class GoneTest(DiskTestCase):
    def test_workers_whose_file_is_removed_exit_and_do_not_recreate_it(self):
        """The running job finishes first, though its end can't be recorded."""
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
        wait_until(lambda: not self.processes(), message="they did not exit")
        self.assertFalse([folder for folder in folders if os.path.exists(os.path.join(folder, "q.db"))])
        self.assertEqual(self.read("done"), "\n\n")

    def test_a_fleet_switches_to_a_backup_put_in_place_of_the_file(self):
        self.start_workers("-c", "2")
        id = self.enqueue("--delay", "2s", "true")
        self.run_cli("backup", self.path("copy.db"))
        for ending in ("-wal", "-shm"):
            os.unlink(self.db + ending)
        os.replace(self.path("copy.db"), self.db)
        self.wait_for_state(id, "completed")
        wait_until(lambda: len(self.live_workers()) == 2, message="the fleet did not keep its size")
        self.audit([id])

    def test_the_file_and_its_log_contain_everything_acknowledged(self):
        """As after a power cut: the log has no index, and no process closed anything."""
        self.store()
        ids = [self.enqueue("true") for _ in range(3)]
        for ending in ("", "-wal"):
            shutil.copy(self.db + ending, self.path("cut.db" + ending))
        self.db = self.path("cut.db")
        self.run_cli("--db", self.db, "worker", "start", "--drain", "--foreground")
        self.assertEqual(self.states(), {"completed": 3})
        self.audit(ids)

    def test_files_next_to_an_unused_database_may_be_missing_or_stale(self):
        ids = [self.enqueue("true") for _ in range(3)]
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        for ending in ("-wal", "-shm"):
            if os.path.exists(self.db + ending):
                os.unlink(self.db + ending)
        os.makedirs(self.db + "-bells", exist_ok=True)
        os.mkfifo(self.db + "-bells/9")
        self.write("q.db-journal", b"")
        self.write("q.db.lock", b"1")
        self.assertEqual(self.states(), {"completed": 3})
        ids.append(self.enqueue("true"))
        self.start_workers()
        self.wait_until_all_finished()
        self.audit(ids)

    def test_a_link_and_its_target_are_one_queue(self):
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
        self.enqueue_lines(["echo %0200d" % number for number in range(300)])
        self.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        with open(self.db, "rb") as file:
            sound = file.read()
        choose = random.Random(3)
        for number in range(6):
            damaged = bytearray(sound)
            if number % 3 == 0:
                del damaged[choose.randrange(100, len(damaged)) :]
            for _ in range(3):
                at = choose.randrange(100, len(damaged))
                damaged[at : at + 512] = choose.getrandbits(4096).to_bytes(512, "big")[: len(damaged) - at]
            for ending in ("-wal", "-shm"):
                if os.path.exists(self.db + ending):
                    os.unlink(self.db + ending)
            self.write("q.db", bytes(damaged))
            for command in (["list", "--json"], ["enqueue", "true"], ["doctor"]):
                with self.subTest(number=number, command=command):
                    result = self.run_cli(*command, code=None)
                    self.assertIn(result.code, (0, 1, 3), result)
            self.assertGreaterEqual(os.stat(self.db).st_size, min(len(damaged), 4096))


if __name__ == "__main__":
    unittest.main()
