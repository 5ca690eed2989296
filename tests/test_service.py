"""queuectl as part of a system: systemd, cron, and PID 1 of a container."""

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
from tests.harness import IS_ROOT, LONGEST_RUN, PROGRAM, QueueTestCase, process_is_gone, wait_until

AWKWARD = ["/opt/my tools/q", "100%", "$HOME", 'a"b', "back\\slash", "it's", ";", "plain"]


class UnitTest(QueueTestCase):
    def service(self, *words) -> str:
        return self.run_cli("service", *words).stdout

    def settings(self, text: str) -> dict:
        return dict(line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Z]\w+=", line))

    def test_unit_starts_this_program_with_the_given_fleet(self):
        text = self.service("-c", "4", "-q", "a", "-q", "b", "--env-file", "secrets", "--stop-timeout", "2h")
        settings = self.settings(text)
        words = ["--db", self.db, "worker", "start", "--count", "4", "--queue", "a", "--queue", "b"]
        words += ["--env-file", self.path("secrets"), "--foreground"]
        self.assertEqual(settings["ExecStart"], " ".join([sys.executable, PROGRAM, *words]))
        self.assertEqual(settings["Type"], "notify")
        self.assertEqual(settings["KillMode"], "mixed")
        self.assertEqual(settings["Restart"], "on-failure")
        self.assertEqual(settings["TimeoutStopSec"], "7200")
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
            "awkward.service": unit(["/bin/sh", *AWKWARD], self.path("a % b"), 300, None),
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
            told = [line for line in result.stderr.decode().splitlines() if name in line]
            self.assertEqual(told, [])
            self.assertEqual(result.returncode, 0, result.stderr)


class NotifyTest(QueueTestCase):
    """sd_notify(3), with the test in the role of systemd."""

    def listen(self, address: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(listener.close)
        listener.bind(address)
        listener.settimeout(20)
        return listener

    def start_foreground(self, address: str, *words) -> subprocess.Popen:
        env = {"NOTIFY_SOCKET": address}
        return self.start_cli(
            "worker", "start", "--foreground", *words, env=env, stderr=subprocess.DEVNULL
        )

    def test_it_notifies_systemd_when_it_is_ready_and_when_it_stops(self):
        listener = self.listen(self.path("notify"))
        self.enqueue("--id", "a", "echo ${NOTIFY_SOCKET-none}")
        process = self.start_foreground(self.path("notify"), "-c", "2")
        self.assertEqual(listener.recv(4096), b"READY=1\nSTATUS=2 of 2 workers running")
        self.wait_for_state("a", "completed")
        self.assertEqual(self.run_cli("logs", "a").stdout, "none\n")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(listener.recv(4096), b"STOPPING=1")
        self.assertEqual(process.wait(LONGEST_RUN), 0)

    def test_it_notifies_systemd_again_after_a_reload(self):
        listener = self.listen(self.path("notify"))
        process = self.start_foreground(self.path("notify"))
        self.assertIn(b"READY=1", listener.recv(4096))
        process.send_signal(signal.SIGUSR2)
        self.assertIn(b"READY=1", listener.recv(4096))

    @unittest.skipUnless(sys.platform.startswith("linux"), "only Linux has abstract sockets")
    def test_it_can_notify_an_abstract_socket(self):
        listener = self.listen("\0" + self.path("notify"))
        self.start_foreground("@" + self.path("notify"))
        self.assertIn(b"READY=1", listener.recv(4096))

    def test_a_service_manager_that_does_not_listen_is_ignored(self):
        self.enqueue("true")
        process = self.start_foreground(self.path("nobody"), "--drain")
        self.assertEqual(process.wait(LONGEST_RUN), 0)


class CronTest(QueueTestCase):
    def cron(self) -> None:
        """Run the line that `service --cron` prints as cron would."""
        line = self.run_cli("service", "--cron", "-c", "2").stdout
        self.assertTrue(line.startswith("* * * * * "))
        command = line[len("* * * * * ") :].rstrip("\n").replace("\\%", "%")
        # cron's own environment is nearly empty.
        kept = {name: self.environment[name] for name in ("HOME", "QUEUECTL_TEST")}
        subprocess.run(["/bin/sh", "-c", command], env={**kept, "PATH": "/usr/bin:/bin"}, check=True)

    def live(self) -> int:
        return len(self.run_cli("worker", "list", "--json").json)

    def test_the_crontab_line_survives_crons_shell(self):
        line = crontab(AWKWARD)
        self.assertNotRegex(line, r"(?<!\\)%")
        shell = line[len("* * * * * ") :].replace("\\%", "%")
        self.assertEqual(shlex.split(shell), [*AWKWARD, ">/dev/null"])

    def test_overlapping_runs_add_no_workers_and_the_last_job_ends_them(self):
        ids = self.enqueue_lines(["until [ -e go ]; do sleep 0.02; done"] * 3)
        self.cron()
        self.cron()
        self.assertEqual(self.live(), 2)
        self.write("go", "")
        wait_until(lambda: self.live() == 0)
        self.cron()
        wait_until(lambda: self.live() == 0)
        self.audit(ids)
        self.assertEqual(self.states(), {"completed": 3})

    def test_top_up_counts_the_workers_of_its_queues(self):
        self.start_workers("-q", "other")
        self.assertEqual(len(self.start_workers("-c", "3", "--top-up")), 3)
        self.assertEqual(len(self.start_workers("-c", "5", "--top-up")), 2)
        self.assertEqual(self.start_workers("-c", "5", "--top-up"), [])
        self.run_cli("worker", "start", "--top-up", "--foreground", code=2)

    def test_top_ups_for_different_queues_at_once_all_get_their_workers(self):
        queues = ["mail", "gpu", "web"]
        started = [
            self.start_cli("worker", "start", "-q", queue, "--top-up", stdout=subprocess.DEVNULL) for queue in queues
        ]
        for process in started:
            self.assertEqual(process.wait(30), 0)
        workers = self.run_cli("worker", "list", "--json").json
        self.assertEqual(sorted(worker["queues"] for worker in workers), sorted([queue] for queue in queues))

    def test_top_ups_at_once_do_not_add_up(self):
        starts = [
            self.start_cli("worker", "start", "-c", "2", "--top-up", stdout=subprocess.DEVNULL)
            for _ in range(4)
        ]
        for process in starts:
            self.assertEqual(process.wait(LONGEST_RUN), 0)
        self.assertEqual(self.live(), 2)


@unittest.skipUnless(
    IS_ROOT and shutil.which("unshare") and os.path.isdir("/proc/self"), "needs root and unshare"
)
class FirstProcessTest(QueueTestCase):
    """As PID 1 of its own PID namespace, as in a container."""

    def start_as_first(self, *words) -> tuple:
        """The Popen of unshare, and the PID of its child as seen from outside."""
        unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        container = subprocess.Popen(
            [*unshare, sys.executable, PROGRAM, "worker", "start", "--foreground", *words],
            env=self.environment,
            cwd=self.folder,
            stderr=subprocess.DEVNULL,
        )
        self._started.append(container)
        try:
            (first,) = wait_until(lambda: children(container.pid) or container.poll() is not None)
        except TypeError:
            self.skipTest("not allowed to create a PID namespace")
        return container, first

    def test_it_reaps_orphans_of_jobs(self):
        _, first = self.start_as_first("-c", "2")
        up = "$QUEUECTL_JOB_ID.up"
        orphan = f'touch "{up}"; sleep 0.1; echo >>left'
        job = f"setsid sh -c '{orphan}' & until [ -e {up} ]; do sleep 0.01; done"
        self.enqueue_lines([job] * 4)
        wait_until(lambda: len(self.read("left")) == 4)
        self.wait_until_all_finished()
        wait_until(lambda: len(children(first)) == 2, message=lambda: f"left: {children(first)}")
        self.assertEqual(self.states(), {"completed": 4})

    def test_it_passes_sigterm_on_and_exits_once_the_jobs_are_done(self):
        container, first = self.start_as_first("-c", "2")
        id = self.enqueue("until [ -e go ]; do sleep 0.02; done")
        self.enqueue("--id", "later", "--delay", "1h", "true")
        self.wait_for_state(id, "processing")
        os.kill(first, signal.SIGTERM)
        stopping = "SELECT count(*) FROM queuectl_workers WHERE wanted = 'stop'"
        wait_until(lambda: self.rows(stopping) == [(3,)] or self.rows(stopping) == [(2,)])
        self.assertFalse(process_is_gone(first))
        self.write("go", "")
        self.assertEqual(container.wait(LONGEST_RUN), 0)
        self.assertEqual(self.state(id), "completed")
        self.audit([id, "later"])


def children(pid: int) -> list:
    """The children of a process, including zombies."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


if __name__ == "__main__":
    unittest.main()
