"""A hostile world: other versions, crowds, clocks that jump, unread streams, misbehaving jobs."""

from __future__ import annotations

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
from queuectl_core.workers.identity import identity_of
from tests.harness import PROGRAM, wait_until
from tests.patched import patched
from tests.test_workers import WorkersTestCase

# Runs the program as a later version, whose jobs have one more column.
NEXT_VERSION = """
sql.SCHEMA_VERSION = %d
schema.SCHEMA = [
    text.replace("    cwd ", "    shade TEXT DEFAULT 'grey', cwd ") for text in schema.SCHEMA
]
"""


class VersionTest(WorkersTestCase):
    def next_version(self, *words: str) -> list[str]:
        """The command line of a queuectl with the next schema version."""
        return patched(NEXT_VERSION % (SCHEMA_VERSION + 1), *words)

    def run_next_version(self, *words: str) -> subprocess.CompletedProcess:
        result = subprocess.run(
            self.next_version(*words), env=self.environment, capture_output=True, timeout=60, check=False
        )
        self.assertEqual(result.returncode, 0, result.stderr)
        return result

    def test_ten_processes_at_once_migrate_an_old_schema_once(self):
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
        self.assertEqual(self.rows("SELECT count(*) FROM queuectl_jobs WHERE shade = 'grey'"), [(13,)])
        self.audit([*ids, *(f"new{number}" for number in range(10))])

    def test_a_fleet_whose_schema_is_migrated_finishes_its_jobs_and_exits(self):
        self.start_workers("-c", "2")
        id = self.start_job("until [ -e go ]; do sleep 0.02; done; echo done")
        told = self.run_next_version("status").stderr.decode()
        self.assertEqual(told.count("2 workers of the older version finish their jobs and exit"), 1)
        self.assertIn("; run: queuectl worker start -c 2\n", told)
        enqueued = self.run_next_version("enqueue", "true")
        later = enqueued.stdout.decode().strip()
        self.assertEqual(enqueued.stderr, b"")
        self.run_cli("enqueue", "true", code=3)
        wait_until(lambda: len(self.registered_workers()) == 1, message="the idle worker did not exit")
        self.write("go", "")
        self.wait_for_state(id, "completed")
        wait_until(lambda: not self.processes(), message="the old fleet did not exit")
        self.assertEqual(self.state(later), "pending")
        self.run_next_version("worker", "start", "--drain", "--foreground")
        self.assertEqual(self.states(), {"completed": 2})
        self.audit([id, later])

    def test_an_upgrade_under_workers_is_reported_except_by_quiet_commands_and_worker_stop(self):
        process = subprocess.Popen(["sleep", "60"])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        told_by = {"--quiet status": 0, "worker stop --no-wait": 0, "list --json": 1, "enqueue true": 1}
        for words, told in told_by.items():
            with self.subTest(words):
                self.create_queue()
                with self.store() as store:
                    store.register("worker", None, identity_of(process.pid), None, "old")
                result = self.run_next_version(*words.split())
                self.assertEqual(result.stderr.count(b"upgraded"), told)
                self.assertEqual(result.stderr.count(b"1 worker of the older version finishes its job and exits"), told)
                self.assertNotIn(b"upgraded", result.stdout)
                os.unlink(self.db)

    def registered_workers(self) -> list[tuple]:
        # `worker list` would refuse the newer schema.
        return self.rows("SELECT id FROM queuectl_workers WHERE role = 'worker'")


class CrowdTest(WorkersTestCase):
    def test_many_commands_and_workers_wait_while_another_program_holds_the_lock(self):
        """The torture test runs 100 commands and 16 workers for 10 seconds."""
        self.start_workers("-c", "8")
        foreign = sqlite3.connect(self.db, isolation_level=None)
        self.addCleanup(foreign.close)
        foreign.execute("BEGIN IMMEDIATE")
        writers = [
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
        for process in writers:
            stdout, stderr = process.communicate(timeout=60)
            self.assertEqual((process.returncode, stderr), (0, b""))
            ids += stdout.decode().split()
        self.wait_until_all_finished()
        self.assertEqual(self.states(), {"completed": 40})
        self.audit(ids)


class ClockTest(WorkersTestCase):
    """The clock is set back 12 hours, then forward a day or more."""

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
            self.now -= 3600  # The clock also jumps while the job runs.
            outcome = Outcome("exit", 1 if step < 0 else 0)
            self.assertTrue(self.queue.settle(job, outcome, judge(job, outcome, self.now)))
            attempt = self.queue.attempts(job)[-1]
            self.assertGreaterEqual(attempt.finished_at, attempt.started_at)
        self.assertEqual(self.queue.get(id).state, "completed")

    def test_no_job_of_a_live_worker_is_rescued(self):
        from queuectl_core.workers.rescue import sweep

        (id,) = self.queue.enqueue([new_job({"command": "true", "cwd": "/"}, self.now)])
        self.queue.claim(self.worker, None)
        for step in (-12 * 3600, 36 * 3600):
            self.now += step
            self.assertEqual(list(sweep(self.queue)), [])
            self.assertEqual(self.queue.get(id).state, "processing")

    def test_a_delayed_job_runs_once_the_clock_has_passed_its_time(self):
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
            self.assertGreater(len(os.read(reader, 1 << 20)), 30000, "the log did not fill the pipe")
        finally:
            os.close(reader)
        self.assertEqual(self.states(), {"completed": 800})
        self.audit(ids)


class SecretTest(WorkersTestCase):
    def test_only_variables_passed_with_env_are_stored(self):
        self.start_workers(env={"SECRET": "mellon"})
        id = self.enqueue("-e", "NAMED=speak", "--", "[ $SECRET$NAMED = mellonspeak ]")
        self.wait_for_state(id, "completed")
        stored = b""
        for name in os.listdir(self.folder):
            if name.startswith("q.db") and os.path.isfile(self.path(name)):
                with open(self.path(name), "rb") as file:
                    stored += file.read()
        self.assertIn(b"speak", stored)
        self.assertNotIn(b'"mellon"', stored)
        self.assertNotIn(b"SECRET=", stored)


@unittest.skipUnless(shutil.which("strace"), "needs strace")
class PowerLossTest(WorkersTestCase):
    def test_an_id_is_printed_only_after_its_job_is_on_disk(self):
        self.create_queue()
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
        wal_calls = [(number, line) for number, line in enumerate(calls[:printed]) if "-wal>" in line]
        # "write" instead of "pwrite64": some builds of SQLite use lseek and write.
        written = [number for number, line in wal_calls if "write" in line.split("(")[0]]
        synced = [number for number, line in wal_calls if "sync(" in line]
        self.assertTrue(written and synced, calls)
        self.assertGreater(synced[-1], written[-1], "the WAL was written to after its last sync")

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

        def numbers(call: str, path: str) -> list[int]:
            """The line numbers of calls that match the regular expression `call` and mention `path`."""
            return [n for n, line in enumerate(calls) if re.search(call, line) and path in line]

        (linked,) = numbers(r"\blink(at)?\(", f'"{copy}"')
        reported = numbers(r"\bwrite\(2\b", "")[0]
        (partial,) = set(re.findall(r"<(\S+/copy\.db\.\d+)>", "".join(calls)))
        written, synced = numbers(r"\bp?write(64)?\(", f"<{partial}>"), numbers(r"sync\(", f"<{partial}>")
        self.assertLess(written[-1], synced[-1], "the copy was written to after its last sync")
        self.assertLess(synced[-1], linked)
        folder_synced = [n for n in numbers(r"sync\(", f"<{self.folder}>") if linked < n < reported]
        self.assertTrue(folder_synced, "the folder was not synced after the copy got its name")


class BusyMachineTest(WorkersTestCase):
    """The machine's problems aren't the job's fault."""

    def test_jobs_that_cannot_be_started_now_keep_their_retries_and_say_why(self):
        busy = self.write("busy", "")
        patch = (
            "import errno\n"
            "real_spawn = os.posix_spawnp\n"
            "def spawn(*arguments, **options):\n"
            f"    if os.path.exists({busy!r}):\n"
            "        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))\n"
            "    return real_spawn(*arguments, **options)\n"
            "os.posix_spawnp = spawn"
        )
        ids = self.enqueue_lines(["true"] * 3, "--max-retries", "0")
        words = patched(patch, "worker", "start", "--drain", "--foreground")
        process = subprocess.Popen(words, env=self.environment, stderr=subprocess.DEVNULL)
        self._started.append(process)
        wait_until(lambda: self.rows("SELECT 1 FROM queuectl_attempts WHERE outcome = 'released'"))
        reason = "cannot start now: /bin/sh: Resource temporarily unavailable"
        self.assertIn(reason, [job["error"] for job in self.jobs().values()])
        self.assertEqual(self.states(), {"pending": 3})
        os.unlink(busy)
        self.assertEqual(process.wait(60), 0)
        for job in self.jobs().values():
            self.assertEqual((job["state"], job["attempts"]), ("completed", 1))
        tries = self.rows("SELECT count(*) FROM queuectl_attempts")[0][0]
        self.assertLess(tries, 30)  # It backs off rather than spin.
        self.audit(ids)


class MisbehavingJobTest(WorkersTestCase):
    def setUp(self) -> None:
        super().setUp()
        os.mkdir(self.path("gone"))
        os.mkdir(self.path("doomed"))

    def test_misbehaving_jobs_harm_only_themselves(self):
        self.run_cli("config", "set", "kill-grace", "0.1")

        def enqueue(id: str, *words: str) -> str:
            return self.enqueue("--id", id, "--max-retries", "0", *words)

        fork = "(trap '' TERM; sleep 60) & setsid sleep 60 & i=$((i+1))"
        fork_60_times = f"i=0; while [ $i -lt 60 ]; do {fork}; done; sleep 60"
        expected = {
            enqueue("removes-its-directory", "--cwd", self.path("doomed"), "--", "rmdir $PWD"): "exit 0",
            enqueue("directory-is-gone", "--cwd", self.path("gone"), "true"): "cannot start",
            enqueue("long", "--", "true " + "x" * (128 * 1024 - 6)): "exit 0",
            enqueue("newline", "-e", "A=1\n2", "--", 'test "$A" = "1\n2"'): "exit 0",
            enqueue("reads", "--", "cat; read x; test $? -ne 0"): "exit 0",
            enqueue("no-terminal", "--", "stty raw </dev/tty && exit 7; true"): "exit 0",
            enqueue("forks", "--timeout", "0.5", "--", fork_60_times): "timed out",
            enqueue("closes", "--", "exec >&- 2>&-; sleep 0.1"): "exit 0",
            enqueue("binary", "--", "head -c 100000 /dev/urandom; printf '\\377\\0\\033[31m'"): "exit 0",
            enqueue("missing", "/no/such/program"): "exit 127",
            enqueue("signal", "--", "kill -SEGV $$"): "killed by SIGSEGV",
        }
        os.rmdir(self.path("gone"))
        workers = self.start_workers("-c", "2")
        self.wait_until_all_finished()
        jobs = self.jobs()
        for id, start in expected.items():
            ended = jobs[id]["error"] or "exit 0"
            self.assertTrue(ended.startswith(start), f"{id}: {ended}")
        self.assertEqual({worker["id"] for worker in self.live_workers()}, {id for id, _ in workers})
        self.assertTrue(self.run_cli("logs", "binary").stdout_bytes.endswith(b"\xff\0\x1b[31m"))
        self.audit(list(expected))

    @unittest.skipUnless(os.path.exists("/proc/self/oom_score_adj"), "needs Linux")
    def test_when_memory_runs_out_the_kernel_prefers_jobs_to_workers(self):
        scores = "cat /proc/self/oom_score_adj /proc/$PPID/oom_score_adj"
        # The worker might not be back from starting the job.
        restored = '[ "$1" -gt "$2" ]'
        self.enqueue("--id", "a", "--timeout", "10", f"until set -- $({scores}); {restored}; do :; done; {scores}")
        self.start_workers("--drain")
        self.wait_for_state("a", "completed")
        job, worker = map(int, self.run_cli("logs", "a").lines)
        with open("/proc/self/oom_score_adj") as file:
            self.assertEqual(worker, int(file.read()))
        self.assertEqual(job, min(1000, worker + 250))

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
        self.create_queue()
        command = 'printf %s "$QUEUECTL_JOB_ID" # '
        for text in hostile:  # With SQL, because `enqueue` refuses most of these.
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
