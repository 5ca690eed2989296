"""A hostile world: other versions, crowds, clocks that jump, unread streams, misbehaving jobs."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
import unittest

from queuectl_core.jobspec import new_job
from queuectl_core.lifecycle import Outcome, judge
from queuectl_core.store.sql import SCHEMA_VERSION
from tests.harness import PROGRAM, wait_until
from tests.patched import patched
from tests.test_workers import WorkersTestCase

# What a later version of the program would bring.
NEXT_VERSION = """
sql.SCHEMA_VERSION = %d
schema.MIGRATIONS[%d] = (
    "ALTER TABLE queuectl_jobs ADD COLUMN shade TEXT",
    "UPDATE queuectl_jobs SET shade = 'grey'",
)
"""


class VersionTest(WorkersTestCase):
    def next_version(self, *words) -> list:
        """The command line of a queuectl whose schema is one newer."""
        return patched(NEXT_VERSION % (SCHEMA_VERSION + 1, SCHEMA_VERSION + 1), *words)

    def run_next(self, *words) -> subprocess.CompletedProcess:
        result = subprocess.run(
            self.next_version(*words), env=self.environment, capture_output=True, timeout=60, check=False
        )
        self.assertEqual(result.returncode, 0, result.stderr)
        return result

    def test_ten_processes_at_once_migrate_an_older_schema_once(self):
        ids = self.enqueue_lines(["true"] * 3)
        commands = [self.next_version("enqueue", "--id", f"new{number}", "true") for number in range(10)]
        processes = [
            subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for command in commands
        ]
        for process in processes:
            _, stderr = process.communicate(timeout=60)
            self.assertEqual((process.returncode, stderr), (0, b""))
        columns = [row[1] for row in self.rows("PRAGMA table_info(queuectl_jobs)")]
        self.assertEqual(columns.count("shade"), 1)
        self.assertEqual(self.rows("SELECT count(*) FROM queuectl_jobs WHERE shade = 'grey'"), [(3,)])
        self.audit([*ids, *(f"new{number}" for number in range(10))])

    def test_a_fleet_whose_schema_is_migrated_finishes_its_jobs_and_exits(self):
        self.start_workers("-c", "2")
        id = self.start_job("until [ -e go ]; do sleep 0.02; done; echo done")
        later = self.enqueue("--delay", "0.5", "true")
        self.run_next("status")
        self.run_cli("enqueue", "true", code=3)
        wait_until(lambda: len(self.workers()) == 1, message="the idle worker did not exit")
        self.write("go", "")
        self.wait_for_state(id, "completed")
        wait_until(lambda: not self.processes(), message="the old fleet did not exit")
        self.assertEqual(self.state(later), "pending")
        self.run_next("worker", "start", "--drain", "--foreground")
        self.assertEqual(self.states(), {"completed": 2})
        self.audit([id, later])

    def workers(self) -> list:
        return self.rows("SELECT id FROM queuectl_workers WHERE role = 'worker'")


class CrowdTest(WorkersTestCase):
    def test_many_enqueuers_and_workers_wait_while_another_program_holds_the_lock(self):
        """The torture test has 100 and 16, for 10 seconds."""
        self.start_workers("-c", "8")
        foreign = sqlite3.connect(self.db, isolation_level=None)
        self.addCleanup(foreign.close)
        foreign.execute("BEGIN IMMEDIATE")
        processes = [
            self.start_cli("enqueue", "true", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for _ in range(40)
        ]
        readers = [
            self.start_cli("status", "--json", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            for _ in range(10)
        ]
        for process in readers:  # Readers don't wait for the lock.
            self.assertEqual((process.communicate(timeout=60)[1], process.returncode), (b"", 0))
        foreign.execute("COMMIT")
        ids = []
        for process in processes:
            stdout, stderr = process.communicate(timeout=60)
            self.assertEqual((process.returncode, stderr), (0, b""))
            ids += stdout.decode().split()
        self.wait_until_all_finished()
        self.assertEqual(self.states(), {"completed": 40})
        self.audit(ids)


class ClockTest(WorkersTestCase):
    """The store's clock is an argument. It is set back 12 hours and forward a day."""

    def setUp(self) -> None:
        super().setUp()
        self.now = time.time()
        self.queue = self.store(clock=lambda: self.now)
        self.worker = self.register_worker(self.queue)

    def test_ready_jobs_run_and_no_duration_is_negative(self):
        (id,) = self.queue.enqueue([new_job({"command": "true", "cwd": "/"}, self.now)])
        for step in (-12 * 3600, 24 * 3600):
            self.now += step
            job = self.queue.claim(self.worker, None).job
            self.assertEqual(job.id, id)
            self.now -= 3600  # Also while it runs.
            outcome = Outcome("exit", 1 if step < 0 else 0)
            self.assertTrue(self.queue.settle(job, outcome, judge(job, outcome, self.now)))
            attempt = self.queue.attempts(job)[-1]
            self.assertGreaterEqual(attempt.finished_at, attempt.started_at)
        self.assertEqual(self.queue.get(id).state, "completed")

    def test_no_live_worker_is_rescued(self):
        from queuectl_core.workers.rescue import sweep

        (id,) = self.queue.enqueue([new_job({"command": "true", "cwd": "/"}, self.now)])
        self.queue.claim(self.worker, None)
        for step in (-12 * 3600, 36 * 3600):
            self.now += step
            self.assertEqual(list(sweep(self.queue)), [])
            self.assertEqual(self.queue.get(id).state, "processing")

    def test_no_job_waits_longer_than_it_must(self):
        self.queue.enqueue([new_job({"command": "true", "cwd": "/", "delay": 60}, self.now)])
        claim = self.queue.claim(self.worker, None)
        self.assertAlmostEqual(claim.next_due, self.now + 60, 3)
        self.now += 24 * 3600
        self.assertIsNotNone(self.queue.claim(self.worker, None, True).job)


class StreamTest(WorkersTestCase):
    def test_a_foreground_fleet_with_an_unread_stderr_keeps_working(self):
        ids = self.enqueue_lines(["true"] * 800)
        reader, writer = os.pipe()
        try:
            process = self.start_cli("worker", "start", "--foreground", "--drain", stderr=writer)
            os.close(writer)
            self.assertEqual(process.wait(40), 0)
            self.assertGreater(len(os.read(reader, 1 << 20)), 30000, "the pipe was not even full")
        finally:
            os.close(reader)
        self.assertEqual(self.states(), {"completed": 800})
        self.audit(ids)


class SecretTest(WorkersTestCase):
    def test_only_variables_given_with_env_are_stored(self):
        self.start_workers(env={"SECRET": "mellon"})
        id = self.enqueue("-e", "NAMED=speak", "--", "[ $SECRET$NAMED = mellonspeak ]")
        self.wait_for_state(id, "completed")
        found = b""
        for name in os.listdir(self.folder):
            if name.startswith("q.db") and os.path.isfile(self.path(name)):
                with open(self.path(name), "rb") as file:
                    found += file.read()
        self.assertIn(b"speak", found)
        self.assertNotIn(b'"mellon"', found)
        self.assertNotIn(b"SECRET=", found)


@unittest.skipUnless(shutil.which("strace"), "needs strace")
class PowerLossTest(WorkersTestCase):
    def test_an_id_is_printed_only_after_its_job_is_on_disk(self):
        self.run_cli("status")
        trace = self.path("trace")
        result = subprocess.run(
            ["strace", "-f", "-y", "-o", trace, "-e", "trace=write,pwrite64,fsync,fdatasync",
             sys.executable, PROGRAM, "enqueue", "true"],
            env=self.environment, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        if b"ptrace" in result.stderr.lower():
            self.skipTest("not allowed to trace processes")
        id = result.stdout.decode().strip()
        with open(trace) as file:
            calls = [line for line in file if "-wal>" in line or id in line]
        (printed,) = [number for number, line in enumerate(calls) if "write(1" in line]
        to_log = [(number, line) for number, line in enumerate(calls[:printed]) if "-wal>" in line]
        # Some builds of SQLite seek and write.
        written = [number for number, line in to_log if "write" in line.split("(")[0]]
        synced = [number for number, line in to_log if "sync(" in line]
        self.assertTrue(written and synced, calls)
        self.assertGreater(synced[-1], written[-1], "something was written to the log and not synced")

    def test_backup_reports_success_only_after_the_copy_and_its_name_are_on_disk(self):
        self.enqueue("true")
        trace, copy = self.path("trace"), self.path("copy.db")
        result = subprocess.run(
            ["strace", "-f", "-y", "-o", trace, "-e", "trace=?link,linkat,write,pwrite64,fsync,fdatasync",
             sys.executable, PROGRAM, "backup", copy],
            env=self.environment, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        if b"ptrace" in result.stderr.lower():
            self.skipTest("not allowed to trace processes")
        self.assertEqual(result.returncode, 0, result.stderr)
        with open(trace) as file:
            calls = list(file)

        def numbers(call: str, place: str) -> list:
            """The line numbers of calls that match a regular expression and mention a path."""
            return [n for n, line in enumerate(calls) if re.search(call, line) and place in line]

        (named,) = numbers(r"\blink(at)?\(", f'"{copy}"')
        reported = numbers(r"\bwrite\(2\b", "")[0]
        (partial,) = set(re.findall(r"<(\S+/copy\.db\.\d+)>", "".join(calls)))
        written, synced = numbers(r"\bp?write(64)?\(", f"<{partial}>"), numbers(r"sync\(", f"<{partial}>")
        self.assertLess(written[-1], synced[-1], "the copy was written to after its last sync")
        self.assertLess(synced[-1], named)
        in_folder = [n for n in numbers(r"sync\(", f"<{self.folder}>") if named < n < reported]
        self.assertTrue(in_folder, "the folder was not synced after the copy got its name")


class MisbehavingJobTest(WorkersTestCase):
    def setUp(self) -> None:
        super().setUp()
        os.mkdir(self.path("gone"))
        os.mkdir(self.path("doomed"))

    def test_misbehaving_jobs_harm_only_themselves(self):
        self.run_cli("config", "set", "kill-grace", "0.1")

        def enqueue(id: str, *words) -> str:
            return self.enqueue("--id", id, "--max-retries", "0", *words)

        fork = "(trap '' TERM; sleep 60) & setsid sleep 60 & i=$((i+1))"
        fork = f"i=0; while [ $i -lt 60 ]; do {fork}; done; sleep 60"
        expected = {
            enqueue("its-directory-goes", "--cwd", self.path("doomed"), "--", "rmdir $PWD"): "exit 0",
            enqueue("its-directory-is-gone", "--cwd", self.path("gone"), "true"): "cannot start",
            enqueue("long", "--", "true " + "x" * (128 * 1024 - 6)): "exit 0",
            enqueue("newline", "-e", "A=1\n2", "--", 'test "$A" = "1\n2"'): "exit 0",
            enqueue("reads", "--", "cat; read x; test $? -ne 0"): "exit 0",
            enqueue("no-terminal", "--", "stty raw </dev/tty && exit 7; true"): "exit 0",
            enqueue("forks", "--timeout", "0.5", "--", fork): "timed out",
            enqueue("closes", "--", "exec >&- 2>&-; sleep 0.1"): "exit 0",
            enqueue("binary", "--", "head -c 100000 /dev/urandom; printf '\\377\\0\\033[31m'"): "exit 0",
            enqueue("missing", "/no/such/program"): "exit 127",
            enqueue("signal", "--", "kill -SEGV $$"): "killed by SIGSEGV",
        }
        os.rmdir(self.path("gone"))
        workers = self.start_workers("-c", "2")
        self.wait_until_all_finished()
        jobs = self.jobs()
        for id, words in expected.items():
            told = jobs[id]["error"] or "exit 0"
            self.assertTrue(told.startswith(words), f"{id}: {told}")
        self.assertEqual({worker["id"] for worker in self.live_workers()}, {id for id, _ in workers})
        self.assertTrue(self.run_cli("logs", "binary").stdout_bytes.endswith(b"\xff\0\x1b[31m"))
        self.audit(list(expected))

    def test_hostile_ids_queues_commands_and_output_are_never_interpreted(self):
        hostile = [
            "'; DROP TABLE queuectl_jobs; --",
            '"$(touch pwned)`touch pwned`"',
            "../../etc/passwd",
            "\u202egnp.exe",
            "\x1b]0;title\x07\x1b[2J",
            "a\nb\tc",
            "%s%d{}",
            "x" * 200,
            "ü作业",
        ]
        self.run_cli("status")
        command = 'printf %s "$QUEUECTL_JOB_ID" # '
        for text in hostile:  # Not by `enqueue`: it refuses most of these.
            self.rows("INSERT INTO queuectl_jobs (id, queue, command) VALUES (?, ?, ?)",
                      text, text, command + text.replace("\n", " "))  # fmt: skip
        self.start_workers("-c", "2")
        self.wait_until_all_finished()
        self.assertEqual(self.states(), {"completed": len(hostile)})
        for text in hostile:
            self.assertEqual(self.run_cli("logs", text).stdout, text)
            self.run_cli("show", text)
        for words in (["list"], ["status"], ["show", hostile[4]], ["doctor"], ["cancel", *hostile]):
            result = self.run_cli(*words, code=None)
            for character in ("\x1b", "\x07", "\t", "\u202e"):
                self.assertNotIn(character, result.stdout + result.stderr, words)
        self.assertFalse(os.path.exists(self.path("pwned")))
        self.assertEqual(set(self.jobs()), set(hostile))
        self.audit(hostile)


if __name__ == "__main__":
    unittest.main()
