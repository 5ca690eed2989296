"""queuectl as part of a system: systemd, cron, and PID 1 of a container."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import unittest

from queuectl_core.program.service import crontab, unit
from tests.harness import IS_ROOT, LONGEST_RUN, PROGRAM, PYTHON, QueueTestCase, children, process_is_gone, wait_until

AWKWARD_WORDS = ["/opt/my tools/q", "100%", "$HOME", 'a"b', "back\\slash", "it's", ";", "plain"]


class UnitTest(QueueTestCase):
    def service(self, *words: str) -> str:
        """The output of `service`."""
        return self.run_cli("service", *words).stdout

    def settings(self, text: str) -> dict[str, str]:
        """The settings in a unit file."""
        return dict(line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Z]\w+=", line))

    def test_a_unit_starts_this_program_with_the_given_fleet(self):
        text = self.service("-c", "4", "-q", "a", "-q", "b", "--env-file", "secrets", "--stop-timeout", "2h")
        settings = self.settings(text)
        words = ["--db", self.db, "worker", "start", "--count", "4", "--queue", "a", "--queue", "b"]
        words += ["--env-file", self.path("secrets"), "--stop-timeout", "2h", "--foreground"]
        self.assertIn(settings["ExecStart"], [" ".join([*python, PROGRAM, *words]) for python in (PYTHON, PYTHON[:1])])
        self.assertEqual(settings["Type"], "notify")
        self.assertEqual(settings["KillMode"], "mixed")
        self.assertEqual(settings["Restart"], "on-failure")
        self.assertEqual(settings["TimeoutStopSec"], "7230")
        self.assertEqual(settings["WantedBy"], "default.target")
        self.assertNotIn("User", settings)

    def test_a_system_unit_names_its_user_and_drops_privileges(self):
        settings = self.settings(self.service("--system", "--run-as", "worker"))
        self.assertEqual(settings["User"], "worker")
        self.assertEqual(settings["NoNewPrivileges"], "yes")
        self.assertEqual(settings["WantedBy"], "multi-user.target")
        self.assertIn("User", self.settings(self.service("--system")))
        self.run_cli("service", "--run-as", "worker", code=2)
        self.run_cli("service", "--env-file", "a\nb", code=2)

    @unittest.skipUnless(shutil.which("systemd-analyze"), "needs systemd-analyze (Debian: systemd)")
    def test_systemd_analyze_accepts_the_unit(self):
        texts = {
            "user.service": self.service(),
            "system.service": self.service("--system", "--run-as", "nobody"),
            "awkward.service": unit(["/bin/sh", *AWKWARD_WORDS], self.path("a % b"), 300, None),
        }
        for name, text in texts.items():
            self.write(name, text)
            result = subprocess.run(
                ["systemd-analyze", "verify", "--man=no", self.path(name)],
                env={**self.environment, "SYSTEMD_LOG_LEVEL": "warning"},
                capture_output=True,
                check=False,
                timeout=LONGEST_RUN,
            )
            # It also reports problems with this machine's own units.
            problems = [line for line in result.stderr.decode().splitlines() if name in line]
            self.assertEqual(problems, [])
            self.assertEqual(result.returncode, 0, result.stderr)


class NotifyTest(QueueTestCase):
    """sd_notify(3), with the test in the role of systemd."""

    def listen(self, address: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(listener.close)
        listener.bind(address)
        listener.settimeout(20)
        return listener

    def start_foreground(self, address: str, *words: str) -> subprocess.Popen:
        env = {"NOTIFY_SOCKET": address}
        return self.start_cli(
            "worker", "start", "--foreground", *words, env=env, stderr=subprocess.DEVNULL
        )

    def test_systemd_is_notified_when_workers_are_ready_and_when_they_stop(self):
        listener = self.listen(self.path("notify"))
        self.enqueue("--id", "a", "echo ${NOTIFY_SOCKET-none}")
        process = self.start_foreground(self.path("notify"), "-c", "2")
        self.assertEqual(listener.recv(4096), b"READY=1\nSTATUS=2 of 2 workers running")
        self.wait_for_state("a", "completed")
        self.assertEqual(self.run_cli("logs", "a").stdout, "none\n")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(listener.recv(4096), b"STOPPING=1")
        self.assertEqual(process.wait(LONGEST_RUN), 0)

    def test_systemd_is_notified_again_after_a_reload(self):
        listener = self.listen(self.path("notify"))
        process = self.start_foreground(self.path("notify"))
        self.assertIn(b"READY=1", listener.recv(4096))
        process.send_signal(signal.SIGUSR2)
        self.assertIn(b"READY=1", listener.recv(4096))

    def test_a_service_manager_that_does_not_read_holds_nothing_up_and_is_notified_later(self):
        listener = self.listen(self.path("notify"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sent = 0
            try:
                while True:
                    sender.sendto(b"noise", self.path("notify"))
                    sent += 1
            except BlockingIOError:
                pass
        self.create_queue()
        self.start_foreground(self.path("notify"))
        wait_until(lambda: self.rows("SELECT 1 FROM queuectl_workers WHERE role = 'worker'"))
        ((pid,),) = self.rows("SELECT pid FROM queuectl_workers WHERE role = 'worker'")
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(self.wait_for_state(self.enqueue("true"), "completed"), "completed")
        for _ in range(sent):
            self.assertEqual(listener.recv(4096), b"noise")
        self.assertEqual(listener.recv(4096), b"READY=1\nSTATUS=1 of 1 workers running")

    @unittest.skipUnless(sys.platform.startswith("linux"), "only Linux has abstract sockets")
    def test_an_abstract_socket_can_be_notified(self):
        listener = self.listen("\0" + self.path("notify"))
        self.start_foreground("@" + self.path("notify"))
        self.assertIn(b"READY=1", listener.recv(4096))

    def test_a_missing_notify_socket_is_ignored(self):
        self.enqueue("true")
        process = self.start_foreground(self.path("missing"), "--drain")
        self.assertEqual(process.wait(LONGEST_RUN), 0)


class CronTest(QueueTestCase):
    def run_cron_line(self) -> None:
        """Run the line that `service --cron` prints as cron would."""
        line = self.run_cli("service", "--cron", "-c", "2").stdout
        self.assertTrue(line.startswith("* * * * * "))
        command = line[len("* * * * * ") :].rstrip("\n").replace("\\%", "%")
        # cron's own environment is nearly empty.
        kept = {name: self.environment[name] for name in ("HOME", "QUEUECTL_TEST")}
        subprocess.run(["/bin/sh", "-c", command], env={**kept, "PATH": "/usr/bin:/bin"}, check=True)

    def worker_count(self) -> int:
        return len(self.run_cli("worker", "list", "--json").json)

    def test_the_crontab_line_survives_crons_shell(self):
        line = crontab(AWKWARD_WORDS)
        self.assertNotRegex(line, r"(?<!\\)%")
        shell = line[len("* * * * * ") :].replace("\\%", "%")
        self.assertEqual(shlex.split(shell), [*AWKWARD_WORDS, ">/dev/null"])

    def test_overlapping_cron_runs_add_no_workers_and_the_workers_exit_after_the_last_job(self):
        ids = self.enqueue_lines(["until [ -e go ]; do sleep 0.02; done"] * 3)
        self.run_cron_line()
        self.run_cron_line()
        self.assertEqual(self.worker_count(), 2)
        self.write("go", "")
        wait_until(lambda: self.worker_count() == 0)
        self.run_cron_line()
        wait_until(lambda: self.worker_count() == 0)
        self.audit(ids)
        self.assertEqual(self.states(), {"completed": 3})

    def test_top_up_counts_only_workers_of_the_same_queues(self):
        self.start_workers("-q", "other")
        self.assertEqual(len(self.start_workers("-c", "3", "--top-up")), 3)
        self.assertEqual(len(self.start_workers("-c", "5", "--top-up")), 2)
        self.assertEqual(self.start_workers("-c", "5", "--top-up"), [])
        self.run_cli("worker", "start", "--top-up", "--foreground", code=2)

    def test_concurrent_top_ups_for_different_queues_each_start_their_workers(self):
        queues = ["mail", "gpu", "web"]
        starts = [
            self.start_cli("worker", "start", "-q", queue, "--top-up", stdout=subprocess.DEVNULL) for queue in queues
        ]
        for process in starts:
            self.assertEqual(process.wait(30), 0)
        workers = self.run_cli("worker", "list", "--json").json
        self.assertEqual(sorted(worker["queues"] for worker in workers), sorted([queue] for queue in queues))

    def test_concurrent_top_ups_do_not_add_up(self):
        starts = [
            self.start_cli("worker", "start", "-c", "2", "--top-up", stdout=subprocess.DEVNULL)
            for _ in range(4)
        ]
        for process in starts:
            self.assertEqual(process.wait(LONGEST_RUN), 0)
        self.assertEqual(self.worker_count(), 2)


@unittest.skipUnless(
    IS_ROOT and shutil.which("unshare") and os.path.isdir("/proc/self"), "needs root and unshare"
)
class ContainerTest(QueueTestCase):
    """A fleet as PID 1 of its own PID namespace, as in a container."""

    def start_as_pid_1(self, *words: str) -> tuple[subprocess.Popen, int]:
        """Start a fleet; returns the Popen of unshare and the PID of the supervisor as seen from outside."""
        unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        container = subprocess.Popen(
            [*unshare, sys.executable, PROGRAM, "worker", "start", "--foreground", *words],
            env=self.environment,
            cwd=self.folder,
            stderr=subprocess.DEVNULL,
        )
        self._started.append(container)
        try:
            (supervisor,) = wait_until(lambda: children(container.pid) or container.poll() is not None)
        except TypeError:
            self.skipTest("not allowed to create a PID namespace")
        return container, supervisor

    def test_pid_1_reaps_orphans_of_jobs(self):
        _, supervisor = self.start_as_pid_1("-c", "2")
        started = "$QUEUECTL_JOB_ID.started"
        orphan = f'touch "{started}"; sleep 0.1; echo >>left'
        job = f"setsid sh -c '{orphan}' & until [ -e {started} ]; do sleep 0.01; done"
        self.enqueue_lines([job] * 4)
        wait_until(lambda: len(self.read("left")) == 4)
        self.wait_until_all_finished()
        wait_until(lambda: len(children(supervisor)) == 2, message=lambda: f"left: {children(supervisor)}")
        self.assertEqual(self.states(), {"completed": 4})

    def test_pid_1_passes_sigterm_on_and_exits_once_running_jobs_are_done(self):
        container, supervisor = self.start_as_pid_1("-c", "2")
        id = self.enqueue("until [ -e go ]; do sleep 0.02; done")
        self.enqueue("--id", "later", "--delay", "1h", "true")
        self.wait_for_state(id, "processing")
        os.kill(supervisor, signal.SIGTERM)
        stopping = "SELECT count(*) FROM queuectl_workers WHERE wanted = 'stop'"
        wait_until(lambda: self.rows(stopping) == [(3,)] or self.rows(stopping) == [(2,)])
        self.assertFalse(process_is_gone(supervisor))
        self.write("go", "")
        self.assertEqual(container.wait(LONGEST_RUN), 0)
        self.assertEqual(self.state(id), "completed")
        self.audit([id, "later"])


if __name__ == "__main__":
    unittest.main()
