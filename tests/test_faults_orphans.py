"""Orphans without any mark: they forked twice, left the session, cleared their environment and closed the lock."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from typing import Callable
from unittest import mock

from queuectl_core.records import Identity
from queuectl_core.workers import rescue
from queuectl_core.workers.identity import boot, identity_of, own_identity, send
from queuectl_core.workers.log import no_log
from queuectl_core.workers.page import Page, open_pages
from queuectl_core.workers.rescue import SILENCE, Rescuer
from queuectl_core.workers.runner import RunnerKills
from tests.harness import IS_ROOT, PROGRAM, process_is_gone, sleep_to_see_nothing_happen, wait_until
from tests.test_faults_kill import LINUX, NOBODY, children
from tests.test_workers import WorkersTestCase

# Executes its arguments in such a process, once its parents are gone.
HIDE = """
import os, sys
parent = os.getpid()
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
while os.getppid() in (parent, os.getsid(0)):
    pass
os.closerange(3, 256)
os.execve("/bin/sh", ["sh", "-c", sys.argv[1]], {})
"""
# A chain of processes that fork and exit faster than /proc can be read, for at most 20 seconds.
CHAIN = """
import os, time
end, ran, number = time.time() + 20, os.open("ran", os.O_CREAT | os.O_APPEND | os.O_WRONLY), 0
while time.time() < end:
    if os.fork():
        os._exit(0)
    os.setsid()
    number += 1
    if number % 20 == 0:
        os.write(ran, b"x")
"""
RUNS = "ps -o stat= -p $(cat orphan) | grep -q '^[^Z]'"


@unittest.skipUnless(LINUX, "only Linux lets a process adopt orphans")
class ChainTest(WorkersTestCase):
    def test_cancel_ends_a_job_even_if_its_processes_fork_faster_than_they_can_be_listed(self):
        self.write("chain.py", CHAIN)
        one = f"{sys.executable} -S chain.py & "
        for _ in range(3):
            id = self.enqueue("--", f"{one * 2}sleep 60")
            self.start_workers()
            wait_until(lambda: self.read("ran"))
            self.run_cli("cancel", id)
            size = os.path.getsize(self.path("ran"))
            sleep_to_see_nothing_happen(0.1)
            self.assertEqual(os.path.getsize(self.path("ran")), size)
            self.stop_workers()
            os.unlink(self.path("ran"))


@unittest.skipUnless(LINUX, "only Linux lets a process adopt orphans")
class KilledWorkerTest(WorkersTestCase):
    def setUp(self):
        super().setUp()
        self.write("hide.py", HIDE)

    def hide(self, name: str, command: str = "exec sleep 300") -> str:
        """A shell line that starts a hidden process and waits until it has written its PID to the file `name`."""
        start = f"{sys.executable} hide.py 'echo $$ >{name}.new; mv {name}.new {name}; {command}'"
        return f"{start}; until [ -s {name} ]; do sleep 0.02; done"

    def pid_in(self, name: str) -> int:
        """The PID that a process has written to a file; the process is killed after the test."""
        wait_until(lambda: self.read(name).endswith("\n"), message=f"{name} did not start")
        pid = int(self.read(name))
        identity = identity_of(pid)
        if identity:
            self.addCleanup(send, identity, signal.SIGKILL)
        return pid

    def start_daemon(self, name: str) -> int:
        """Run a job that leaves a hidden process behind on purpose; returns its PID."""
        self.wait_for_state(self.enqueue(self.hide(name)), "completed")
        return self.pid_in(name)

    def start_attempt(self, name: str = "orphan", command: str = "exec sleep 300") -> tuple[str, int]:
        """Start a job whose first attempt hides a process and stays; the second reports it if it is still running.

        Returns the job's id and the PID of the hidden process.
        """
        check = f"if [ -e {name} ]; then {RUNS} && touch overlap; exit 0; fi; "
        id = self.enqueue("--backoff-base", "0", "--", f"{check}{self.hide(name, command)}; sleep 300")
        return id, self.pid_in(name)

    def check(self, id: str, *gone: int) -> None:
        """The job has run again, after these processes had ended."""
        self.wait_for_state(id, "completed")
        self.assertFalse(os.path.exists(self.path("overlap")), "two attempts overlapped")
        for pid in gone:
            self.assertTrue(process_is_gone(pid), "a process of the lost attempt was left running")
        self.assertEqual([attempt["outcome"] for attempt in self.job(id)["history"]], ["lost", "exit"])

    def test_an_orphan_of_a_killed_worker_is_ended_before_the_job_runs_again(self):
        self.start_workers()
        id, orphan = self.start_attempt()
        self.assertNotIn(orphan, self.processes(), "the orphan has an environment")
        os.kill(self.owner(id), signal.SIGKILL)
        self.check(id, orphan)
        self.audit([id])

    def test_an_orphan_is_ended_by_a_supervisor_in_the_foreground(self):
        self.start_foreground("-c", "2", stderr=subprocess.DEVNULL)
        id, orphan = self.start_attempt()
        os.kill(self.owner(id), signal.SIGKILL)
        self.check(id, orphan)

    def test_an_orphan_that_is_stopped_and_has_lost_its_parent_is_ended(self):
        self.start_workers()
        id, orphan = self.start_attempt(command="sh -c \"echo \\$\\$ >child; exec sleep 300\" & sleep 300")
        child = self.pid_in("child")
        worker = self.owner(id)
        for pid, number in ((child, signal.SIGSTOP), (worker, signal.SIGSTOP), (orphan, signal.SIGKILL)):
            os.kill(pid, number)
        os.kill(worker, signal.SIGKILL)
        self.check(id, orphan, child)

    def test_daemons_of_earlier_jobs_survive_their_workers_and_their_supervisor(self):
        self.start_workers()
        daemons = [self.start_daemon("daemon1"), self.start_daemon("daemon2")]
        id, orphan = self.start_attempt()
        os.kill(self.owner(id), signal.SIGKILL)
        self.check(id, orphan)
        # The replacement's daemon, too, and that of a worker that was idle when it died.
        daemons.append(self.start_daemon("daemon3"))
        ((_, worker),) = [(row["id"], row["pid"]) for row in self.live_workers()]
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: [row["pid"] for row in self.live_workers()] not in ([worker], []))
        os.unlink(self.path("orphan"))
        id, orphan = self.start_attempt()
        os.kill(self.owner(id), signal.SIGKILL)
        self.check(id, orphan)
        for pid in daemons:
            self.assertFalse(process_is_gone(pid), "a daemon was killed")
        (supervisor,) = self.supervisors()
        os.kill(supervisor, signal.SIGKILL)
        self.stop_workers("--now")
        for pid in daemons:
            self.assertFalse(process_is_gone(pid), "a daemon was killed")

    def test_the_daemon_of_a_worker_that_was_stopped_survives_the_death_of_another(self):
        self.start_workers("-c", "2")
        id, orphan = self.start_attempt()
        idle = next(row["id"] for row in self.live_workers() if not row["job"])
        daemon = self.start_daemon("daemon")
        self.run_cli("worker", "stop", str(idle))
        os.kill(self.owner(id), signal.SIGKILL)
        self.check(id, orphan)
        self.assertFalse(process_is_gone(daemon), "a daemon was killed")

    def test_a_daemon_adopted_by_an_idle_worker_survives_if_that_worker_and_another_die_at_once(self):
        self.start_workers("-c", "2")
        (supervisor,) = self.supervisors()
        id, orphan = self.start_attempt()
        late = "sh -c \"echo \\$\\$ >late; exec sleep 300\" & until [ -e go ]; do sleep 0.02; done"
        self.wait_for_state(self.enqueue(self.hide("daemon", late)), "completed")
        daemon, busy = self.pid_in("late"), self.owner(id)
        idle = next(row["pid"] for row in self.live_workers() if not row["job"])
        self.write("go", "")
        wait_until(lambda: children(idle) == str(daemon), message="the worker did not adopt the daemon")
        os.kill(supervisor, signal.SIGSTOP)
        for pid in (busy, idle):
            os.kill(pid, signal.SIGKILL)
        os.kill(supervisor, signal.SIGCONT)
        self.check(id, orphan)
        self.assertFalse(process_is_gone(daemon), "the daemon was killed")

    def test_a_daemon_of_a_job_that_ended_but_was_not_settled_is_part_of_a_lost_attempt(self):
        """The job runs again, so its daemon must not run twice. Its worker noted it just before it died."""
        from tests.patched import patched

        command = f"if [ -e daemon ]; then cp daemon orphan; {RUNS} && touch overlap; exit 0; fi; {self.hide('daemon')}"
        id = self.enqueue("--backoff-base", "0", "--", command)
        patch = f"kill_before('settle_and_claim', {self.path('died')!r})"
        words = patched(patch, "worker", "start")
        subprocess.run(words, env=self.environment, stdout=subprocess.DEVNULL, check=True)
        self.check(id, self.pid_in("daemon"))

    def test_a_daemon_survives_if_its_worker_dies_before_the_next_attempt_starts(self):
        """Then its job is settled, and the next one is claimed, but that has started nothing."""
        from tests.patched import patched

        self.enqueue(self.hide("daemon"))
        id = self.enqueue("--backoff-base", "0", "true")
        patch = f"kill_after('settle_and_claim', {self.path('died')!r})"
        words = patched(patch, "worker", "start")
        subprocess.run(words, env=self.environment, stdout=subprocess.DEVNULL, check=True)
        self.wait_until_all_finished()
        self.assertEqual([attempt["outcome"] for attempt in self.job(id)["history"]], ["lost", "exit"])
        self.assertFalse(process_is_gone(self.pid_in("daemon")), "the daemon was killed")

    def test_a_supervisor_finds_orphans_and_spares_daemons_after_a_restart_too(self):
        self.start_workers()
        daemons = [self.start_daemon("daemon1")]
        id, orphan = self.start_attempt()
        os.kill(self.owner(id), signal.SIGKILL)  # From here on the supervisor has the daemon.
        self.check(id, orphan)
        daemons.append(self.start_daemon("daemon2"))
        os.unlink(self.path("orphan"))
        id, orphan = self.start_attempt()
        self.run_cli("worker", "restart", "--no-wait")
        os.kill(self.owner(id), signal.SIGKILL)  # A worker of the old code.
        self.check(id, orphan)
        os.unlink(self.path("orphan"))
        id, orphan = self.start_attempt()
        os.kill(self.owner(id), signal.SIGKILL)
        self.check(id, orphan)
        for pid in daemons:
            self.assertFalse(process_is_gone(pid), "a daemon was killed")

    def test_processes_that_a_script_started_before_the_supervisor_are_never_killed(self):
        """`sidecar & exec queuectl worker start --foreground`: its orphans would look like those of a job."""
        sidecar = f"{sys.executable} -c 'import os; os.setsid(); os.execve(\"/bin/sleep\", [\"sleep\", \"300\"], {{}})'"
        start = f"{sidecar} & echo $! >sidecar; exec {sys.executable} {PROGRAM} worker start --foreground"
        self._started.append(subprocess.Popen(["sh", "-c", start], env=self.environment, cwd=self.folder,
                                              stderr=subprocess.DEVNULL))  # fmt: skip
        id, _ = self.start_attempt()
        sidecar = self.pid_in("sidecar")
        os.kill(self.owner(id), signal.SIGKILL)
        self.wait_for_state(id, "completed")
        self.assertFalse(process_is_gone(sidecar), "a stranger was killed")

    def test_adopted_daemons_leave_no_zombies(self):
        self.start_workers()
        daemon = self.start_daemon("daemon")
        id, _ = self.start_attempt()
        os.kill(self.owner(id), signal.SIGKILL)
        self.wait_for_state(id, "completed")
        (supervisor,) = self.supervisors()
        self.assertIn(str(daemon), children(supervisor).split())
        os.kill(daemon, signal.SIGKILL)
        wait_until(lambda: str(daemon) not in children(supervisor).split(), message="it was not reaped")

    def test_when_many_workers_die_at_once_each_process_is_looked_at_a_few_times_only(self):
        """Looking through /proc for each lost attempt took quadratic time: 8 s for 150."""
        count = 60
        self.start_workers("-c", str(count))
        ids = self.enqueue_lines(["[ -e again ] || sleep 300"] * count, "--backoff-base", "0")
        wait_until(lambda: len(self.rows("SELECT 1 FROM queuectl_attempts WHERE pid IS NOT NULL")) == count)
        (supervisor,) = self.supervisors()
        self.write("again", "")
        before = cpu_seconds(supervisor)
        for row in self.live_workers():
            os.kill(row["pid"], signal.SIGKILL)
        self.wait_until_all_finished()
        lost = "SELECT count(*) FROM queuectl_attempts WHERE outcome = 'lost'"
        self.assertEqual(self.rows(lost), [(count,)])
        self.assertLess(cpu_seconds(supervisor) - before, 0.3)
        self.audit(ids)

    def test_others_rescue_a_job_whose_runner_kill_the_supervisor_cannot_run(self):
        self.run_cli("config", "set", "remote.runner-kill", "touch killed")
        self.start_workers("-c", "2")
        self.run_cli("enqueue", "--id", "a", "-q", "remote", "--max-retries", "0", "--", "sleep 300")
        self.wait_for_state("a", "processing")
        began = time.monotonic()
        os.kill(self.owner("a"), signal.SIGKILL)
        self.wait_for_state("a", "dead")
        self.assertLess(time.monotonic() - began, SILENCE)  # After which they give up waiting for a supervisor.

    def as_nobody(self) -> tuple[str, Callable[..., subprocess.Popen]]:
        """A program that becomes root, and a function that starts the bundle as another user, in that user's folder."""
        folder = tempfile.mkdtemp(prefix="q-", dir="/tmp")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        os.chown(folder, NOBODY, NOBODY)
        suid, program = os.path.join(folder, "become-root"), os.path.join(folder, "queuectl")
        shutil.copy(shutil.which("setpriv"), suid)
        os.chmod(suid, 0o4755)
        self.run_cli("bundle", program, "--python", "/usr/bin/python3")
        self.folder, self.db = folder, os.path.join(folder, "q.db")
        self.environment.update(QUEUECTL_DB=self.db, HOME=folder)
        self.write("hide.py", HIDE)
        as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        probe = [*as_nobody, suid, "--reuid=0", "id", "-u"]
        if subprocess.run(probe, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout != b"0\n":
            self.skipTest("set-user-ID programs don't work here")

        def start_program(*words: str) -> subprocess.Popen:
            process = subprocess.Popen([*as_nobody, program, *words], env=self.environment, cwd=folder,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
            self._started.append(process)
            return process

        return suid, start_program

    @unittest.skipUnless(IS_ROOT and shutil.which("setpriv"), "needs root and setpriv")
    @unittest.skipUnless(os.path.exists("/usr/bin/python3"), "needs /usr/bin/python3")
    def test_another_users_orphan_holds_the_job_and_the_job_names_it(self):
        suid, start_program = self.as_nobody()
        hide = f"/usr/bin/python3 hide.py '{suid} --reuid=0 --clear-groups sh -c \"echo \\$\\$ >left; exec sleep 300\"'"
        job = ["enqueue", "--id", "a", "--max-retries", "0", f"{hide}; sleep 300"]
        self.assertEqual(start_program(*job).wait(30), 0)
        start_program("worker", "start", "-c", "2", "--foreground")
        left = self.pid_in("left")
        wait_until(lambda: self.rows("SELECT 1 FROM queuectl_attempts WHERE pid IS NOT NULL"))
        ((worker,),) = self.rows(
            "SELECT pid FROM queuectl_workers WHERE id = (SELECT worker FROM queuectl_jobs WHERE id = 'a')"
        )
        os.kill(worker, signal.SIGKILL)
        held = f"SELECT 1 FROM queuectl_jobs WHERE state = 'processing' AND error = 'may still run: pid {left} (root)'"
        wait_until(lambda: self.rows(held))
        # The other worker looks for dead ones, and must leave this one to the supervisor.
        sleep_to_see_nothing_happen(SILENCE + 4)
        self.assertTrue(self.rows(held))
        os.kill(left, signal.SIGKILL)
        wait_until(lambda: self.rows("SELECT 1 FROM queuectl_jobs WHERE state = 'dead'"))

    @unittest.skipUnless(IS_ROOT and shutil.which("setpriv"), "needs root and setpriv")
    @unittest.skipUnless(os.path.exists("/usr/bin/python3"), "needs /usr/bin/python3")
    def test_another_users_process_keeps_running_in_a_suspended_job_and_the_error_names_it(self):
        suid, start_program = self.as_nobody()
        job = f"{suid} --reuid=0 --clear-groups sh -c 'echo $$ >left; exec sleep 300' & wait"
        self.assertEqual(start_program("enqueue", "--id", "a", "--max-retries", "0", job).wait(30), 0)
        start_program("worker", "start", "--foreground")
        left = self.pid_in("left")
        self.assertEqual(start_program("suspend", "a").wait(30), 0)
        error = f"SELECT 1 FROM queuectl_jobs WHERE error = 'may still run: pid {left} (root)'"
        wait_until(lambda: self.rows(error))
        self.assertRegex(self.run_cli("list").stdout, r"may still run: pid \d+ \(root\), suspended")
        self.assertEqual(start_program("continue", "a").wait(30), 0)
        wait_until(lambda: self.rows("SELECT 1 FROM queuectl_jobs WHERE error IS NULL"))
        os.kill(left, signal.SIGKILL)
        self.wait_for_state("a", "completed")


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process has used."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class GuardianTest(WorkersTestCase):
    """Other rescuers leave a lost attempt to its supervisor, unless that can't act."""

    @unittest.skipUnless(LINUX, "only Linux counts how often a process wakes up")
    def test_other_rescuers_wait_while_the_supervisor_is_active_and_act_once_it_is_frozen(self):
        store = self.store()
        awake = subprocess.Popen(["sh", "-c", "while :; do sleep 0.05; done"], env=self.environment)
        asleep = subprocess.Popen(["sleep", "600"], env=self.environment)
        self._started += [awake, asleep]
        dead = Identity(2**22, boot(), "1")
        own = store.register("worker", None, own_identity(), None, "test")
        for id, process in (("a", awake), ("b", asleep)):
            supervisor = store.register("supervisor", None, identity_of(process.pid), None, "test")
            self.run_cli("enqueue", "--id", id, "--max-retries", "0", "true")
            store.claim(store.register("worker", supervisor, dead, None, "test"), None)
        rescuer = Rescuer(own, RunnerKills({}, no_log), no_log)
        with mock.patch.object(rescue, "SILENCE", 0.5):
            rescuer.look(store)
            self.assertEqual((self.state("a"), self.state("b")), ("processing", "processing"))

            def is_rescued() -> bool:
                rescuer.look(store)
                return self.state("b") == "dead"

            wait_until(is_rescued, message="the frozen supervisor kept others from rescuing")
            self.assertEqual(self.state("a"), "processing")
            os.kill(awake.pid, signal.SIGSTOP)
            wait_until(lambda: rescuer.look(store) or self.state("a") == "dead")


@unittest.skipUnless(hasattr(os, "memfd_create"), "needs memfd_create")
class PageTest(unittest.TestCase):
    def setUp(self):
        self.fd = open_pages()
        self.addCleanup(os.close, self.fd)
        self.page = Page(self.fd, 3)

    def test_what_to_spare_depends_on_which_attempt_is_lost(self):
        first, second = frozenset({(10, "5")}), frozenset({(10, "5"), (11, "6")})
        self.assertEqual(self.page.spared(["t"]), frozenset())
        self.page.note("t", first, second)
        self.assertEqual(self.page.spared(["t"]), first)
        self.assertEqual(self.page.spared(["later"]), second)
        self.assertEqual(Page(self.fd, 2).spared(["t"]), frozenset())
        self.page.clear()
        self.assertEqual(self.page.spared(["t"]), frozenset())

    def test_a_worker_killed_while_it_writes_leaves_a_page_that_says_so(self):
        known = frozenset({(10, "5")})
        writes = []
        with mock.patch("os.pwrite", lambda *arguments: writes.append(arguments)):
            self.page.note("t", known, known)
        for arguments in writes[:-1]:
            os.pwrite(*arguments)
            self.assertIsNone(self.page.spared([]))
        os.pwrite(*writes[-1])
        self.assertEqual(self.page.spared([]), known)

    def test_a_page_with_more_daemons_than_fit_says_so(self):
        many = frozenset((pid, "123456789") for pid in range(10000))
        self.page.note("t", many, many)
        self.assertIsNone(self.page.spared([]))
        self.assertEqual(Page(self.fd, 4).spared([]), frozenset())


if __name__ == "__main__":
    unittest.main()
