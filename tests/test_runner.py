"""Runners: jobs run under a queue's own prefix, and what they started elsewhere is reliably ended.

The stand-in for ssh asks a server that isn't a child of any worker to run the command, so that is out of reach. When
ssh is ended, it keeps running, as after a dropped connection.
"""

import os
import signal
import subprocess
import sys
import unittest

from tests.harness import MARK, RUNS, QueueTestCase, process_is_gone, wait_until

RECORDER = """#!/bin/sh
printf '%s\\0' "$0" "$@" > "$RECORD"
exec /bin/sh -c "$3"
"""
# The remote machine: runs what the stand-in for ssh asks for, with its streams, and answers with the exit code.
SSHD = f"""
import array, os, signal, socket
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
listener = socket.socket(socket.AF_UNIX)
listener.bind("sshd.new")
listener.listen(10)
os.rename("sshd.new", "sshd")
while True:
    connection, _ = listener.accept()
    if os.fork():
        connection.close()
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    request, [(_, _, passed)], _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(12))
    token, command = request.split(b"\\0")
    with open(token, "w") as file:
        file.write(str(os.getpgrp()))
    for number, fd in enumerate(array.array("i", passed)):
        os.dup2(fd, number)
    os.dup2(connection.fileno(), 3)
    there = {{"PATH": os.environ["PATH"], "{MARK}": os.environ["{MARK}"]}}
    script = b'/bin/sh -c "$1" 3>&-; echo $? >&3'
    os.execve(b"/bin/sh", [b"sh", b"-c", script, b"there", command], there)
"""
SSH = """
import array, os, socket, sys
os.chdir(os.path.dirname(os.path.abspath(__file__)))
there = socket.socket(socket.AF_UNIX)
there.connect("sshd")
streams = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))
there.sendmsg([os.fsencode(sys.argv[1]) + b"\\0" + os.fsencode(sys.argv[2])], [streams])
os._exit(int(there.recv(100) or 255))
"""
# Run in this folder: ends the attempt's remote group, if it has started, and waits until it is gone.
SSH_KILL = (
    "cd %s; test ! -e $QUEUECTL_TOKEN || kill -KILL -$(cat $QUEUECTL_TOKEN) 2>/dev/null;"
    f" for pid in $(cat pids); do while {RUNS}; do sleep 0.01; done; done"
)


class RunnerTest(QueueTestCase):
    def set_runner(self, runner: str, queue="far", key="runner") -> None:
        result = self.run_cli("config", "set", f"{queue}.{key}", runner)
        self.assertNotIn("enqueued", result.stderr, "it is read when a job starts")

    def record(self) -> list:
        return self.read("record").split("\0")[:-1]

    def test_the_command_is_the_last_argument_and_token_is_that_of_the_attempt(self):
        recorder = self.write("the recorder", RECORDER)
        os.chmod(recorder, 0o700)
        command = 'printf "%s\\n" "$QUEUECTL_TOKEN" "a  b" \'c\'; cat; echo oops >&2; exit 7'
        # Enqueued before its queue has a runner: runners aren't copied into jobs.
        self.run_cli(
            "enqueue", "--id", "a", "-q", "far", "--max-retries", "0", "--stdin", command, input=b"in\xff\0"
        )
        self.run_cli("enqueue", "--id", "near", "echo $0")
        self.set_runner(f"'{recorder}' {{token}} --name=q-{{token}}")
        self.start_workers(env={"RECORD": self.path("record")})
        self.wait_until_all_finished()
        token = self.run_cli("logs", "a").lines[0]
        self.assertRegex(token, r"^[0-9a-f]{16}\.1\.1$")
        self.assertEqual(self.record(), [recorder, token, "--name=q-" + token, command])
        out = token.encode() + b"\na  b\nc\nin\xff\0"
        self.assertEqual(self.run_cli("logs", "a").stdout_bytes, out + b"oops\n")
        self.assertEqual(self.run_cli("logs", "a", "--stderr").stdout, "oops\n")
        job = self.job("a")
        self.assertEqual((job["state"], job["exit_code"], job["error"]), ("dead", 7, "exit 7"))
        self.assertEqual(self.run_cli("logs", "near").lines, ["/bin/sh"], "the other queue's runner was used")
        self.audit()

    def test_retries_and_the_dlq_work_through_a_runner(self):
        self.set_runner("env FROM=runner /bin/sh -c")
        settings = ("--backoff-base", "0", "--max-retries", "2")
        self.run_cli("enqueue", "--id", "a", "-q", "far", *settings, "echo $FROM; false")
        self.start_workers()
        self.wait_for_state("a", "dead")
        self.assertEqual([attempt["error"] for attempt in self.job("a")["history"]], ["exit 1"] * 3)
        self.assertEqual(self.run_cli("logs", "a").lines, ["runner"])

    def test_a_runner_that_cannot_be_started_is_named(self):
        self.set_runner("no-such-runner sh -c")
        self.run_cli("enqueue", "--id", "a", "-q", "far", "--max-retries", "0", "true")
        self.start_workers("--drain")
        self.wait_for_state("a", "dead")
        self.assertEqual(self.job("a")["error"], "cannot start: no-such-runner: No such file or directory")

    def test_a_runner_that_is_not_a_command_is_refused_in_one_line(self):
        for value in (" ", "''", "sh -c 'x", "a\nb"):
            result = self.run_cli("config", "set", "far.runner", value, code=2)
            self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
            self.assertIn("far.runner", result.stderr)
        self.assertEqual(self.run_cli("config", "get", "far.runner").lines, ["/bin/sh -c"])
        self.run_cli("config", "set", "runner-kill", "a\nb", code=2)
        self.run_cli("config", "set", "far.runner-kill", "")


class RemoteTestCase(QueueTestCase):
    """A test of jobs that run elsewhere and report if two attempts run at once."""

    # Reports "twice" for each earlier attempt that is still running.
    COMMAND = (
        f"cd %s; touch pids; for pid in $(cat pids); do {RUNS} && echo $pid >> twice; done;"
        " echo $$ >> pids; exec sleep 60"
    )

    def set_kill(self, line: str) -> None:
        self.run_cli("config", "set", "runner-kill", line)

    def remote(self, *options, id="a", attempt=1) -> int:
        """Enqueue a long job; returns the PID of its remote part once it is running."""
        self.run_cli(
            "enqueue", "--id", id, "--backoff-base", "0", *options, "--", self.COMMAND % self.folder
        )
        return self.pid(attempt)

    def pid(self, attempt: int) -> int:
        """The PID of an attempt's remote part, once it is running."""
        wait_until(lambda: self.read("pids").count("\n") >= attempt, message=f"no attempt {attempt}")
        return int(self.read("pids").split()[attempt - 1])

    def assert_ended_in_time(self, pid: int) -> None:
        self.assertTrue(process_is_gone(pid), "its remote part still runs")
        self.assertEqual(self.read("twice"), "", "two attempts ran at once")


class RemoteTest(RemoteTestCase):
    """Jobs on a machine that keeps running them after a lost connection."""

    def setUp(self) -> None:
        super().setUp()
        ssh = self.write("ssh.py", SSH)
        server = subprocess.Popen([sys.executable, "-c", SSHD], env=self.environment, cwd=self.folder)
        self._started.append(server)
        wait_until(lambda: os.path.exists(self.path("sshd")))
        self.run_cli("config", "set", "runner", f"{sys.executable} -IS {ssh} {{token}}")

    def test_exit_code_output_and_input_pass_through_and_success_needs_no_kill(self):
        self.set_kill("touch {}".format(self.path("killed")))
        self.run_cli("enqueue", "--id", "a", "--stdin", "cat; echo err >&2", input=b"in\xff\n")
        self.start_workers("--drain")
        self.wait_for_state("a", "completed")
        self.assertEqual(self.run_cli("logs", "a", "--stdout").stdout_bytes, b"in\xff\n")
        self.assertEqual(self.run_cli("logs", "a", "--stderr").stdout, "err\n")
        self.assertFalse(os.path.exists(self.path("killed")))

    def test_without_a_runner_kill_remote_work_outlives_its_runner(self):
        """The control: the stand-in does what the other tests rely on."""
        self.start_workers()
        pid = self.remote()
        self.run_cli("cancel", "a")
        self.assertFalse(process_is_gone(pid))

    def test_runner_kill_gets_the_attempts_environment(self):
        self.set_kill("env > {}".format(self.path("env")))
        self.start_workers()
        self.run_cli("enqueue", "--id", "a", "-q", "Q", "-e", "HOST=h1", "--max-retries", "0", "exit 3")
        self.wait_for_state("a", "dead")
        lines = self.read("env").splitlines()
        ((token,),) = self.rows("SELECT token FROM queuectl_attempts")
        for expected in ("JOB_ID=a", "ATTEMPT=1", "QUEUE=Q", "DB=" + self.db, f"TOKEN={token}"):
            self.assertIn("QUEUECTL_" + expected, lines)
        self.assertIn("HOST=h1", lines, "it needs what the job's own runner was given")

    def test_a_timeout_or_cancel_ends_the_remote_part_before_the_job_continues(self):
        self.set_kill(SSH_KILL % self.folder)
        self.start_workers()
        self.remote("--timeout", "1s")
        self.pid(attempt=2)
        self.assert_ended_in_time(self.pid(attempt=1))
        self.assertEqual(self.job("a")["history"][0]["error"], "timed out after 1s")
        self.run_cli("cancel", "a")
        for pid in map(int, self.read("pids").split()):
            self.assert_ended_in_time(pid)
        self.audit()

    def test_stop_now_ends_the_remote_part_and_releases_the_job(self):
        self.set_kill(SSH_KILL % self.folder)
        self.start_workers()
        pid = self.remote()
        self.stop_workers("--now")
        self.assert_ended_in_time(pid)
        job = self.job("a")
        self.assertEqual((job["state"], job["attempts"]), ("pending", 0))
        self.audit()

    def test_a_lost_connection_ends_the_remote_part_before_the_retry(self):
        self.set_kill(SSH_KILL % self.folder)
        self.start_workers()
        pid = self.remote()
        (client,) = [pid for (pid,) in self.rows_once("SELECT pid FROM queuectl_attempts WHERE pid > 0")]
        os.kill(client, signal.SIGKILL)
        self.pid(attempt=2)
        self.assert_ended_in_time(pid)
        self.assertEqual(self.job("a")["history"][0]["error"], "killed by SIGKILL")

    def rows_once(self, statement: str) -> list:
        return wait_until(lambda: self.rows(statement), message="nothing: " + statement)

    def test_a_killed_workers_remote_part_is_ended_before_the_job_runs_again(self):
        self.set_kill("sleep 0.3; " + SSH_KILL % self.folder)
        self.start_workers("-c", "2")
        pid = self.remote()
        os.kill(self.owner("a"), signal.SIGKILL)
        self.pid(attempt=2)
        self.assert_ended_in_time(pid)
        self.assertEqual(self.job("a")["history"][0]["error"], "worker lost")
        self.stop_workers("--now")
        self.audit()

    def test_a_slow_runner_kill_holds_up_no_other_job(self):
        self.set_kill(
            f"touch {self.folder}/began; until test -e {self.folder}/go; do sleep 0.01; done; "
            + SSH_KILL % self.folder
        )
        self.start_workers()
        pid = self.remote()
        os.kill(self.owner("a"), signal.SIGKILL)
        wait_until(lambda: os.path.exists(self.path("began")), message="no runner-kill was started")
        for id in ("b", "c"):  # The one worker drives the runner-kill while it runs these.
            self.run_cli("enqueue", "--id", id, "sleep 0.5")
            self.wait_for_state(id, "completed")
        self.assertFalse(process_is_gone(pid))
        self.write("go", "")
        self.pid(attempt=2)
        self.assert_ended_in_time(pid)

    def test_a_failing_runner_kill_holds_the_job_and_says_why_until_it_is_fixed(self):
        self.set_kill("echo no route >&2; exit 4")
        worker = self.start_cli("worker", "start", "--foreground", stderr=subprocess.PIPE)
        pid = self.remote("--max-retries", "0", "--timeout", "1s")
        words = "may still run: runner-kill: exit 4: no route"
        wait_until(lambda: self.job("a")["error"] == words, message=lambda: self.job("a"))
        self.assertEqual(self.state("a"), "processing")
        self.assertIn(words, self.run_cli("list").stdout)
        self.assertIn("error         " + words, self.run_cli("show", "a").stdout)
        self.assertFalse(process_is_gone(pid))
        self.set_kill(SSH_KILL % self.folder)
        self.wait_for_state("a", "dead")
        self.assert_ended_in_time(pid)
        self.assertEqual(self.job("a")["error"], "timed out after 1s")
        self.stop_workers()
        self.assertIn(f"a {words}; trying again", worker.stderr.read().decode())

    def test_stop_now_leaves_a_job_that_cannot_be_ended_to_the_next_worker(self):
        self.set_kill("exit 4")
        self.start_workers()
        pid = self.remote("--max-retries", "0")
        self.stop_workers("--now")
        self.assertEqual(self.state("a"), "processing")
        self.assertFalse(process_is_gone(pid))
        # A new worker tries again, and no command settles the job in between.
        self.start_workers()
        wait_until(lambda: "exit 4" in str(self.job("a")["error"]), message=lambda: self.job("a"))
        self.set_kill(SSH_KILL % self.folder)
        self.wait_for_state("a", "dead")
        self.assert_ended_in_time(pid)
        self.assertEqual(self.job("a")["error"], "worker lost")

    def test_cancel_ends_the_remote_part_if_no_worker_is_left(self):
        self.set_kill(SSH_KILL % self.folder)
        ((_, worker),) = self.start_workers()
        pid = self.remote()
        ((supervisor,),) = self.rows("SELECT pid FROM queuectl_workers WHERE role = 'supervisor'")
        for process in (supervisor, worker):
            os.kill(process, signal.SIGKILL)
        self.run_cli("cancel", "a")
        self.assertEqual(self.state("a"), "cancelled")
        self.assert_ended_in_time(pid)
        self.audit()


if __name__ == "__main__":
    unittest.main()
