"""The unit that `service` prints, under a real systemd: PID 1 of its own namespaces and control group.

It sees only the units of these tests, because those of the machine would clean up /tmp, for example. The file system
is the machine's, except that /run is empty and /etc is read-only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

from tests.doc_runner import blocks
from tests.harness import IS_ROOT, MARK, PROGRAM, QueueTestCase, wait_until

SYSTEMD = "/lib/systemd/systemd"
NOBODY = 65534
# With env: setpriv keeps the right to execute what only root can.
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "env"]
BOOT = """
set -e
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs -o mode=755 none /run
mount --bind /etc /etc
mount -o remount,bind,ro /etc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mkdir /run/systemd
export SYSTEMD_UNIT_PATH="$0" container=test
exec "$@" --system --unit=basic.target --log-target=console --log-level=warning
"""
ENTER_GROUP = 'echo $$ >"$0/cgroup.procs" && exec "$@"'
UNSHARE = "unshare --mount --pid --cgroup --uts --ipc --fork --kill-child --mount-proc".split()
NSENTER = "nsenter --mount --pid --cgroup --uts --ipc --target".split()
# What every unit depends on. The real ones start services.
TARGETS = ("sysinit.target", "basic.target", "shutdown.target", "default.target")
# In place of a unit's User=: a user's own service manager, without logind.
USER_MANAGER = """
[Service]
Type=notify
User=nobody
Delegate=yes
RuntimeDirectory=user
Environment=XDG_RUNTIME_DIR=/run/user SYSTEMD_UNIT_PATH={units} HOME={home}
ExecStart={systemd} --user --log-target=console
"""
UNTIL_GO = "until [ -e go ]; do sleep 0.02; done"


class Machine:
    """A systemd with nothing to do. `units` is the folder for its units."""

    def __init__(self, groups: str) -> None:
        self.folder = os.path.realpath(tempfile.mkdtemp(prefix="q-systemd-"))
        os.chmod(self.folder, 0o755)
        self.units = os.path.join(self.folder, "units")
        write_targets(self.units)
        self.group = os.path.join(groups, os.path.basename(self.folder))
        os.mkdir(self.group)
        with open(os.path.join(self.folder, "console"), "wb") as console:
            self._unshare = subprocess.Popen(
                ["sh", "-c", ENTER_GROUP, self.group, *UNSHARE, "sh", "-c", BOOT, self.units, SYSTEMD],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )

    def is_up(self) -> bool:
        """Whether it came up; False if this machine doesn't allow that."""
        wait_until(lambda: self._unshare.poll() is not None or self.state("basic.target") == "active")
        return self._unshare.poll() is None

    def run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command in the machine."""
        try:
            with open(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children") as file:
                init = file.read().strip()
        except OSError:
            init = ""
        return subprocess.run([*NSENTER, init or "0", *words], capture_output=True, check=False, timeout=60)

    def state(self, unit: str) -> str:
        """A unit's state, such as "active"."""
        return self.run("systemctl", "is-active", unit).stdout.decode().strip()

    def shut_down(self) -> None:
        """Kill everything, and remove the folder and the control groups."""
        self._unshare.kill()  # --kill-child takes PID 1 with it, and that everything else.
        self._unshare.wait()
        wait_until(self._remove_groups, message="the control groups are still in use")
        shutil.rmtree(self.folder)

    def _remove_groups(self) -> bool:
        for folder, _, _ in os.walk(self.group, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                return False
        return True


def write_targets(folder: str) -> None:
    os.mkdir(folder)
    for name in TARGETS:
        with open(os.path.join(folder, name), "w") as file:
            file.write("[Unit]\nDefaultDependencies=no\n")


def control_groups() -> str | None:
    """Where control groups (version 2) are mounted."""
    try:
        with open("/proc/mounts") as file:
            mounts = [line.split() for line in file]
    except OSError:
        return None
    return next((words[1] for words in mounts if words[2] == "cgroup2"), None)


GROUPS = control_groups()


@unittest.skipUnless(os.path.exists(SYSTEMD), "needs systemd (Debian's package systemd)")
@unittest.skipUnless(IS_ROOT and shutil.which("unshare") and shutil.which("nsenter"), "needs root and unshare")
@unittest.skipUnless(GROUPS and os.access(GROUPS, os.W_OK), "needs control groups, version 2")
class SystemdTest(QueueTestCase):
    machine: Machine

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        assert GROUPS
        cls.machine = Machine(GROUPS)
        cls.addClassCleanup(cls.machine.shut_down)
        if not cls.machine.is_up():
            raise unittest.SkipTest("this machine cannot run a second systemd")

    def setUp(self) -> None:
        super().setUp()
        self.unit = os.path.basename(self.folder) + ".service"
        self.systemctl_words = ["systemctl"]

    # --- a unit ------------------------------------------------------------------------------------

    def install(self, *words: str, extra: str = "") -> None:
        """Install the unit that `service` prints, made quick to restart, with `extra` settings."""
        printed = self.run_cli("service", "--system", "--run-as", "root", *words).stdout
        self.install_text(self.machine.units, printed, extra)

    def install_text(self, units: str, text: str, extra: str = "") -> None:
        path = os.path.join(units, self.unit)
        os.mkdir(f"{path}.d")
        with open(path, "w") as file:
            file.write(text)
        with open(f"{path}.d/test.conf", "w") as file:
            file.write(f"[Service]\nRestartSec=100ms\nEnvironment={MARK}={self.folder}\n{extra}")
        for words in (("stop", self.unit), ("kill", "--signal=KILL", self.unit)):  # In reverse order.
            self.addCleanup(self.machine.run, *self.systemctl_words, *words)

    def systemctl(self, verb: str, *words: str, code: int | None = 0) -> str:
        """Run `systemctl VERB` for this test's unit; returns what it prints."""
        result = self.machine.run(*self.systemctl_words, verb, *words, self.unit)
        if code is not None:
            self.assertEqual(result.returncode, code, result.stderr)
        return result.stdout.decode().strip()

    def show(self, setting: str) -> str:
        """A property of the unit, such as "StatusText"."""
        return self.systemctl("show", "--value", "--property", setting)

    def workers(self) -> list[int]:
        """The ids of the running workers."""
        return [worker["id"] for worker in self.run_cli("worker", "list", "--json").json]

    def run_until_go(self, id: str, *words: str) -> None:
        """Enqueue a job that runs until the file `go` exists, and wait until it runs."""
        self.enqueue("--id", id, *words, "echo x >>" + id + ".runs; " + UNTIL_GO)
        wait_until(lambda: self.read(id + ".runs"))

    def outcomes(self, id: str) -> list[str | None]:
        """The outcomes of a job's attempts."""
        return [attempt["outcome"] for attempt in self.job(id)["history"]]

    # --- the promises --------------------------------------------------------------------------------

    def test_start_returns_once_the_workers_are_forked_and_the_status_counts_them(self):
        self.install("-c", "2")
        self.systemctl("start")
        wait_until(lambda: len(self.workers()) == 2)  # They register a moment later.
        self.assertEqual(self.show("StatusText"), "2 of 2 workers running")
        self.enqueue("--id", "a", "echo ${NOTIFY_SOCKET-none}")
        self.wait_for_state("a", "completed")
        self.assertEqual(self.run_cli("logs", "a").stdout, "none\n")
        self.systemctl("stop")
        self.assertEqual((self.show("ActiveState"), self.show("Result")), ("inactive", "success"))
        self.assertEqual(self.rows("SELECT * FROM queuectl_workers"), [])

    def test_reload_replaces_the_workers_and_lets_their_jobs_finish(self):
        self.install("-c", "2")
        self.systemctl("start")
        before = wait_until(lambda: len(self.workers()) == 2 and self.workers())
        supervisor = self.show("MainPID")
        self.run_until_go("a")
        self.systemctl("reload")
        wait_until(lambda: len(set(self.workers()) - set(before)) == 1, message="the idle worker was not replaced")
        self.write("go", "")
        wait_until(lambda: len(self.workers()) == 2 and not set(self.workers()) & set(before))
        self.assertEqual(self.outcomes("a"), ["exit"])
        self.assertEqual(self.show("MainPID"), supervisor)
        wait_until(lambda: self.show("StatusText") == "2 of 2 workers running")
        self.systemctl("stop")
        self.assertEqual(self.show("Result"), "success")
        self.audit(["a"])

    def test_stop_lets_running_jobs_finish(self):
        self.install()
        self.systemctl("start")
        self.run_until_go("a")
        self.enqueue("--id", "b", "true")
        self.systemctl("stop", "--no-block")
        wait_until(lambda: self.rows("SELECT 1 FROM queuectl_workers WHERE wanted = 'stop'"))
        self.assertEqual(self.state("a"), "processing")
        self.write("go", "")
        wait_until(lambda: self.show("ActiveState") == "inactive")
        self.assertEqual((self.show("Result"), self.state("a"), self.state("b")), ("success", "completed", "pending"))
        self.audit(["a", "b"])

    def test_a_job_that_outlasts_the_stop_timeout_is_returned_to_the_queue(self):
        self.install("--stop-timeout", "0.5")
        self.systemctl("start")
        self.run_until_go("a", "--max-retries", "0")
        self.systemctl("stop")
        self.assertEqual((self.show("Result"), self.state("a")), ("success", "pending"))
        self.write("go", "")
        self.systemctl("start")
        self.wait_for_state("a", "completed")
        self.assertEqual(self.outcomes("a"), ["released", "exit"])
        self.audit(["a"])

    def test_a_killed_supervisor_is_restarted_and_its_jobs_run_again_one_at_a_time(self):
        self.install("-c", "2")
        self.systemctl("start")
        self.enqueue("--id", "a", "exec 9>>lock; flock -n 9 || echo >>overlaps; echo >>runs; " + UNTIL_GO)
        wait_until(lambda: self.read("runs"))
        before = self.workers()
        self.systemctl("kill", "--kill-who=main", "--signal=KILL")
        wait_until(lambda: len(self.read("runs")) == 2, message="the job did not run again")
        self.write("go", "")
        self.wait_for_state("a", "completed")
        self.assertEqual((self.outcomes("a"), self.read("overlaps")), (["lost", "exit"], ""))
        self.assertFalse(set(self.workers()) & set(before))
        self.assertEqual(self.show("NRestarts"), "1")
        self.audit(["a"])

    def test_worker_stop_stops_the_unit_for_good(self):
        self.install("-c", "2")
        self.systemctl("start")
        inside = self.machine.run(sys.executable, PROGRAM, "--db", self.db, "worker", "stop")
        self.assertEqual(inside.returncode, 0, inside.stderr)
        wait_until(lambda: self.show("ActiveState") == "inactive")
        self.assertEqual((self.show("Result"), self.show("NRestarts")), ("success", "0"))

    def test_a_job_that_exceeds_the_memory_limit_fails_alone(self):
        with open(os.path.join(self.machine.group, "cgroup.controllers")) as file:
            if "memory" not in file.read().split():
                self.skipTest("needs the memory controller in control groups, version 2")
        self.install("-c", "2", extra="MemoryMax=100M\nMemorySwapMax=0\n")
        self.systemctl("start")
        self.run_until_go("a")
        self.enqueue("--id", "big", "--max-retries", "0", "head -c 200M /dev/zero | tail")
        self.wait_for_state("big", "dead")
        self.write("go", "")
        self.wait_for_state("a", "completed")
        self.assertEqual((self.outcomes("a"), self.show("NRestarts")), (["exit"], "0"))
        self.audit(["a", "big"])

    def test_a_users_own_service_manager_runs_the_unit(self):
        os.chmod(self.folder, 0o755)
        os.chown(self.home, NOBODY, NOBODY)
        program = self.run_cli("bundle", self.path("q")).lines[0]
        for python in (sys.executable, "/usr/bin/python3"):
            words = [*AS_NOBODY, f"HOME={self.home}", python, program, "service"]
            printed = subprocess.run(words, capture_output=True, check=False).stdout.decode()
            if printed:
                break
        else:
            self.skipTest("needs a Python that other users can run")
        units = self.path("units")
        write_targets(units)
        settings = USER_MANAGER.format(units=units, home=self.home, systemd=SYSTEMD)
        self.install_text(self.machine.units, settings)
        self.systemctl("start")
        self.systemctl_words = [*AS_NOBODY, "XDG_RUNTIME_DIR=/run/user", "systemctl", "--user"]
        self.unit = "queuectl.service"
        self.install_text(units, printed)
        self.systemctl("start")
        self.assertEqual(self.show("StatusText"), "1 of 1 workers running")
        self.systemctl("reload")
        self.systemctl("stop")
        self.assertEqual((self.show("Result"), self.show("NRestarts")), ("success", "0"))

    def test_the_timer_for_monitoring_writes_its_file(self):
        """The units of docs/monitoring.md, as its script writes them."""
        self.enqueue("--", "true")
        (script,) = [block.text for block in blocks("docs/monitoring.md") if "queuectl-metrics.timer <<" in block.text]
        program = self.write("queuectl", f'#!/bin/sh\nexec {sys.executable} {PROGRAM} "$@"\n')
        os.chmod(program, 0o755)
        self.environment.update(PATH=f"{self.folder}:{self.environment['PATH']}", folder=self.folder)
        subprocess.run(["/bin/sh", "-ec", script], env=self.environment, check=True)
        extra = {"service": f"[Service]\nEnvironment=QUEUECTL_DB={self.db}\n", "timer": "[Timer]\nOnActiveSec=0\n"}
        for kind, settings in extra.items():
            name = f"queuectl-metrics.{kind}"
            shutil.copy(os.path.join(self.home, ".config/systemd/user", name), self.machine.units)
            os.mkdir(os.path.join(self.machine.units, f"{name}.d"))
            with open(os.path.join(self.machine.units, f"{name}.d", "test.conf"), "w") as file:
                file.write(settings)
            self.addCleanup(self.machine.run, "systemctl", "stop", name)
        self.unit = "queuectl-metrics.timer"
        self.systemctl("start")
        wait_until(lambda: "queuectl_jobs_added_total" in self.read("queuectl.prom"))
        self.assertEqual(self.show("ActiveState"), "active")
        self.unit = "queuectl-metrics.service"
        wait_until(lambda: self.show("ActiveState") == "inactive")
        self.assertEqual(self.show("Result"), "success")


if __name__ == "__main__":
    unittest.main()
