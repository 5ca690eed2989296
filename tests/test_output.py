"""What jobs print and how they end: bytes, order, streams, limits, timeouts, and escaped processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import unittest

from queuectl_core.workers.identity import is_stopped
from queuectl_core.workers.output import Output
from tests.harness import QueueTestCase, process_is_gone, wait_until

LINUX = sys.platform.startswith("linux")


class OutputTestCase(QueueTestCase):
    def run_job(self, command: str, *options: str, state: str = "completed", id: str = "job") -> None:
        """Enqueue a job, start a worker if none is running, and wait until the job ends in `state`."""
        options = ("--max-retries", "0", *options)
        self.run_cli("enqueue", "--id", id, *options, "--", command)
        if not self.processes():
            self.start_workers()
        self.wait_for_state(id, "completed", "dead", "cancelled")
        self.assertEqual(self.state(id), state)

    def printed(self, *options: str, id: str = "job") -> bytes:
        """What `logs` prints."""
        return self.run_cli("logs", id, *options).stdout_bytes


class LogsTest(OutputTestCase):
    def test_output_is_kept_byte_for_byte(self):
        data = bytes(range(256)) * 300 + b"\xff\xfe no newline at the end"
        self.write("data", data)
        self.run_job("cat data; cat data >&2")
        self.assertEqual(self.printed("--stdout"), data)
        self.assertEqual(self.printed("--stderr"), data)
        self.assertEqual(len(self.printed()), 2 * len(data))
        self.audit(["job"])

    def test_stdout_and_stderr_are_kept_in_the_order_they_were_written(self):
        self.run_job("for n in 1 2 3 4 5 6; do echo out$n; sleep 0.03; echo err$n >&2; sleep 0.03; done")
        expected = b"".join(b"out%d\nerr%d\n" % (n, n) for n in range(1, 7))
        self.assertEqual(self.printed(), expected)
        self.assertEqual(self.printed("--stdout"), b"".join(b"out%d\n" % n for n in range(1, 7)))
        self.assertEqual(self.printed("--stderr"), b"".join(b"err%d\n" % n for n in range(1, 7)))

    def test_a_job_has_no_terminal_and_an_empty_stdin(self):
        self.run_job("cat; [ -t 0 ] || [ -t 1 ] || [ -t 2 ] || echo none")
        self.assertEqual(self.printed(), b"none\n")

    def test_output_can_be_read_while_the_job_is_running(self):
        self.start_workers()
        self.run_cli(
            "enqueue", "--id", "job", "--", "echo early; until [ -e go ]; do sleep 0.02; done; echo late"
        )
        wait_until(lambda: self.rows("SELECT 1 FROM queuectl_output"), message="nothing was flushed")
        self.assertEqual(self.printed(), b"early\n")
        self.audit(["job"])
        self.write("go", "")
        self.wait_for_state("job", "completed")
        self.assertEqual(self.printed(), b"early\nlate\n")

    def test_each_attempt_keeps_its_own_output(self):
        self.run_job("echo attempt $QUEUECTL_ATTEMPT; [ $QUEUECTL_ATTEMPT = 3 ]", "--max-retries", "5",
                     "--backoff-base", "0.05")  # fmt: skip
        self.assertEqual(self.printed(), b"attempt 3\n")
        for number in (1, 2, 3):
            self.assertEqual(self.printed("--attempt", str(number)), b"attempt %d\n" % number)
        self.assertIn("attempt 4", self.run_cli("logs", "job", "--attempt", "4", code=1).stderr)
        for bad in ("0", "-1", "x", "1.5"):
            self.run_cli("logs", "job", "--attempt=" + bad, code=2)

    def test_a_job_that_has_not_run_has_no_output(self):
        self.run_cli("enqueue", "--id", "job", "true")
        result = self.run_cli("logs", "job")
        self.assertEqual(result.stdout, "")
        self.assertIn("not run", result.stderr)
        self.run_cli("logs", "nobody", code=1)
        self.run_cli("logs", "job", "--stdout", "--stderr", code=2)


class LimitTest(OutputTestCase):
    def test_the_start_and_end_of_the_output_are_kept_and_dropped_bytes_are_counted(self):
        self.run_cli("config", "set", "output-limit", "2000")
        lines = b"".join(b"line %06d\n" % n for n in range(20000))
        self.write("lines", lines)
        self.run_job("cat lines")
        result = self.run_cli("logs", "job")
        self.assertEqual(result.stdout_bytes, lines[:1000] + lines[-1000:])
        dropped = len(lines) - 2000
        self.assertIn(f"{dropped:,} bytes", result.stderr)
        self.assertEqual(self.job("job")["history"][0]["output_dropped"], dropped)
        self.audit(["job"])

    def test_the_limit_holds_for_a_job_that_prints_slowly(self):
        self.run_cli("config", "set", "output-limit", "1k")
        self.run_job("i=0; while [ $i -lt 40 ]; do printf '%0100d' $i; sleep 0.02; i=$((i+1)); done")
        whole = b"".join(b"%0100d" % n for n in range(40))
        self.assertEqual(self.printed(), whole[:512] + whole[-512:])
        self.audit(["job"])

    def test_a_limit_of_zero_keeps_nothing(self):
        self.run_cli("config", "set", "output-limit", "0")
        self.run_job("echo hello")
        self.assertEqual(self.printed(), b"")
        self.assertEqual(self.job("job")["history"][0]["output_dropped"], 6)

    def test_a_flood_of_output_neither_blocks_the_job_nor_fills_memory(self):
        self.start_workers()
        ((pid,),) = self.rows("SELECT pid FROM queuectl_workers WHERE role = 'worker'")
        self.run_job("head -c 60000000 /dev/zero; echo end")
        self.assertTrue(self.printed().endswith(b"\0end\n"))
        self.assertEqual(len(self.printed()), 1024 * 1024)
        self.assertEqual(self.job("job")["history"][0]["output_dropped"], 60000004 - 1024 * 1024)
        if os.path.exists("/proc/self/status"):
            with open(f"/proc/{pid}/status") as file:
                (peak,) = [int(line.split()[1]) for line in file if line.startswith("VmHWM")]
            self.assertLess(peak, 80 * 1024, f"the worker grew to {peak} KiB")


class BufferTest(unittest.TestCase):
    """Output is compared with a one-line definition of what to keep."""

    def test_output_keeps_the_first_and_last_half_of_the_limit_however_it_arrives(self):
        for seed in range(300):
            rng = random.Random(seed)
            limit = rng.choice((0, 1, 2, 7, 100, 1000))
            output, whole, kept = Output(limit), b"", {}
            for _ in range(rng.randrange(30)):
                if rng.random() < 0.3:
                    self.flush(output, kept)
                data = bytes(rng.randrange(256) for _ in range(rng.randrange(1, rng.choice((3, 50, 400)))))
                output.add(rng.choice((1, 2)), data)
                whole += data
            self.flush(output, kept)
            expected = (
                whole
                if len(whole) <= limit
                else whole[: limit // 2] + whole[len(whole) - (limit - limit // 2) :]
            )
            joined = b"".join(kept[position] for position in sorted(kept))
            self.assertEqual(joined, expected, f"seed {seed}, limit {limit}")
            self.assertEqual(output.pending().dropped, len(whole) - len(expected), seed)
            for position, data in kept.items():
                self.assertEqual(whole[position : position + len(data)], data, seed)

    def flush(self, output: Output, kept: dict[int, bytes]) -> None:
        """Store what is pending as a worker would, in `kept` instead of the database."""
        fresh, stale, _ = output.pending()
        for position in stale:
            del kept[position]
        for position, _, data in fresh:
            self.assertNotIn(position, kept)
            kept[position] = data
        output.stored()


class EndTest(OutputTestCase):
    def test_a_failed_jobs_error_says_how_it_ended(self):
        for command, code, error in (
            ("exit 3", 3, "exit 3"),
            ("no-such-command-anywhere", 127, "exit 127 (command not found)"),
            ("kill -SEGV $$", 128 + signal.SIGSEGV, "killed by SIGSEGV"),
            ("kill -9 $$", 137, "killed by SIGKILL"),
            ("exit 255", 255, "exit 255"),
        ):
            id = f"job{code}"
            self.run_job(command, state="dead", id=id)
            job = self.job(id)
            self.assertEqual((job["exit_code"], job["error"]), (code, error))
        self.audit()

    def test_an_escaped_grandchild_holding_the_pipes_does_not_hang_the_worker(self):
        self.run_job(
            "setsid sh -c 'echo $$ > pid; exec sleep 60' & until [ -s pid ]; do sleep 0.01; done; echo done"
        )
        self.assertEqual(self.printed(), b"done\n")
        pid = int(self.read("pid"))
        self.assertFalse(process_is_gone(pid))  # It escaped on purpose, as a daemon does.
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: process_is_gone(pid))
        self.audit(["job"])

    def test_a_background_process_in_the_jobs_group_is_ended_with_it(self):
        self.run_cli("config", "set", "kill-grace", "60")  # run_job times out after 20 s, so SIGTERM must suffice.
        self.run_job("sleep 60 & echo $! > pid; echo done")
        self.assertTrue(process_is_gone(int(self.read("pid"))))
        self.assertEqual(self.printed(), b"done\n")
        self.audit(["job"])

    def test_a_background_process_that_ignores_sigterm_is_killed_after_the_grace_period(self):
        self.run_cli("config", "set", "kill-grace", "0.2")
        self.run_job("(trap '' TERM; while :; do sleep 0.05; done) & echo $! > pid")
        self.assertTrue(process_is_gone(int(self.read("pid"))))

    def test_a_timeout_ends_the_shell_and_all_its_children(self):
        self.run_job("sleep 60 & echo $! > pid; setsid sh -c 'echo $$ > escaped; exec sleep 60' & echo begun;"
                     " sleep 60; :",
                     "--timeout", "1s", state="dead")  # fmt: skip
        for name in ("pid", "escaped"):
            self.assertTrue(process_is_gone(int(self.read(name))), name)
        job = self.job("job")
        self.assertEqual((job["error"], job["exit_code"]), ("timed out after 1s", None))
        self.assertEqual(self.printed(), b"begun\n")
        self.audit(["job"])

    def test_a_job_that_ignores_sigterm_is_killed_after_its_grace_period(self):
        self.run_cli("config", "set", "kill-grace", "1s")
        self.run_job("trap 'echo asked' TERM; echo $$ > pid; while :; do sleep 0.05; done",
                     "--timeout", "1s", state="dead")  # fmt: skip
        self.assertTrue(process_is_gone(int(self.read("pid"))))
        self.assertIn(b"asked\n", self.printed())
        self.assertEqual(self.job("job")["history"][0]["outcome"], "timeout")

    def test_a_timeout_ends_a_stopped_job_too(self):
        self.run_job("kill -STOP $$", "--timeout", "300ms", state="dead")
        self.assertEqual(self.job("job")["error"], "timed out after 0.3s")

    def test_a_job_that_closes_its_output_still_ends_when_its_command_ends(self):
        self.run_job("exec >&- 2>&-; sleep 0.3; exit 4", state="dead")
        self.assertEqual(self.job("job")["error"], "exit 4")

    def test_sigpipe_works_in_a_job(self):
        self.run_job("yes | head -n 1")
        self.assertEqual(self.printed(), b"y\n")

    def test_a_timeout_of_zero_never_expires(self):
        self.run_job("sleep 0.3; echo done", "--timeout", "0")
        self.assertEqual(self.printed(), b"done\n")

    @unittest.skipUnless(LINUX, "only Linux shows that a process is stopped")
    def test_cancel_continues_a_stopped_job_so_it_can_clean_up(self):
        self.run_cli("config", "set", "kill-grace", "60s")
        self.start_workers()
        self.run_cli("enqueue", "--id", "job", "--",
                     "trap 'echo cleaned up; exit' TERM; echo $$ > pid; kill -STOP $$; sleep 60")  # fmt: skip
        wait_until(lambda: self.read("pid").endswith("\n") and is_stopped(int(self.read("pid"))))
        self.start_cli("cancel", "job", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait_for_state("job", "cancelled", timeout=20)  # Long before SIGKILL.
        self.assertEqual(self.printed(), b"cleaned up\n")
        self.audit(["job"])


@unittest.skipUnless(LINUX, "needs F_SETPIPE_SZ")
class FullPipeTest(OutputTestCase):
    # Prints more than a single read returns, into a pipe that holds it all.
    SCRIPT = """
import fcntl, os
fcntl.fcntl(1, 1031, 1 << 20)  # F_SETPIPE_SZ
os.write(1, b"x" * 300000)
"""

    def test_output_still_in_the_pipe_when_the_command_ends_is_kept(self):
        self.write("print.py", self.SCRIPT)
        ((_, worker),) = self.start_workers()
        wait_for_go = "echo $$ > pid; until [ -e go ]; do sleep 0.02; done"
        self.run_cli("enqueue", "--id", "job", "--", f"{wait_for_go}; exec {sys.executable} print.py")
        wait_until(lambda: self.read("pid").endswith("\n"))
        os.kill(worker, signal.SIGSTOP)
        try:
            self.write("go", "")
            pid = int(self.read("pid"))
            wait_until(lambda: process_is_gone(pid), message="the job did not end")
        finally:
            os.kill(worker, signal.SIGCONT)
        self.wait_for_state("job", "completed")
        self.assertEqual(len(self.printed()), 300000)
        self.audit(["job"])


if __name__ == "__main__":
    unittest.main()
