"""Workers, supervisors and whole fleets are killed: no job is lost, and none runs twice at once."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
from typing import Sequence
from unittest import mock

from queuectl_core.records import NO_OUTPUT, Identity
from queuectl_core.workers import rescue
from queuectl_core.workers.identity import boot, identity_of, own_identity, run_state, send
from queuectl_core.workers.log import no_log
from queuectl_core.workers.rescue import Rescuer
from queuectl_core.workers.runner import RunnerKills
from tests.harness import IS_ROOT, PROGRAM, process_is_gone, wait_until
from tests.patched import patched
from tests.test_workers import WorkersTestCase

LINUX = sys.platform.startswith("linux")

# Where a worker dies: before or after a method of Store; the outcomes of the attempts; how often the command starts.
KILL_POINTS = {
    "inside the claim": ("kill_after", "_claim", ["exit"], 1),
    "between claim and spawn": ("kill_before", "token", ["lost", "exit"], 1),
    "before the process is recorded": ("kill_before", "record", ["lost", "exit"], 2),
    "while the job is running": ("kill_after", "record", ["lost", "exit"], 2),
    "between the end of the job and its settlement": ("kill_before", "settle_and_claim", ["lost", "exit"], 2),
    "inside the settlement": ("kill_after", "_settle", ["lost", "exit"], 2),
    "after the settlement": ("kill_after", "settle_and_claim", ["exit"], 1),
}

NOBODY = 65534  # A user with no privileges.


def children(pid: int) -> str:
    """The PIDs of a process's children, including zombies."""
    command = ["ps", "-o", "pid=", "--ppid", str(pid)]
    return subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout.decode().strip()


class KillPointTest(WorkersTestCase):
    def test_a_worker_can_die_at_any_point_and_its_job_is_rescued_immediately(self):
        for number, (how, method, _, _) in enumerate(KILL_POINTS.values()):
            db, ran = self.path(f"q{number}.db"), self.path(f"ran{number}")
            self.run_cli("--db", db, "enqueue", "--id", "a", "--backoff-base", "0.1", "--",
                         f"echo >> {ran}; sleep 0.2")  # fmt: skip
            marker = self.path(f"died{number}")
            patch = f"{how}({method!r}, {marker!r})"
            words = patched(patch, "--db", db, "worker", "start")
            subprocess.run(words, env=self.environment, stdout=subprocess.DEVNULL, check=True)
        for number, (point, (_, _, outcomes, starts)) in enumerate(KILL_POINTS.items()):
            with self.subTest(point=point):
                self.db = self.path(f"q{number}.db")
                self.wait_for_state("a", "completed")
                history = self.rows(
                    "SELECT outcome, error, finished_at FROM queuectl_attempts ORDER BY attempt"
                )
                self.assertEqual([outcome for outcome, _, _ in history], outcomes)
                self.assertEqual(self.read(f"ran{number}").count("\n"), starts)
                if outcomes[0] == "lost":
                    self.assertEqual(history[0][1], "worker lost")
                    # The supervisor rescued it before it started the replacement.
                    replacement = "SELECT started_at FROM queuectl_workers WHERE role = 'worker'"
                    self.assertLess(history[0][2], self.rows(replacement)[0][0])
                self.audit(["a"])

    def test_a_worker_that_is_never_idle_rescues_jobs_if_the_supervisor_is_dead(self):
        self.start_workers("-c", "2")
        (supervisor,) = self.supervisors()
        os.kill(supervisor, signal.SIGKILL)
        self.start_job("[ -e again ] || { touch again; sleep 60; }", "--backoff-base", "0.1")
        (victim,) = [worker["pid"] for worker in self.live_workers() if worker["job"]]
        self.enqueue_lines(["sleep 0.02"] * 1000)
        os.kill(victim, signal.SIGKILL)
        killed_at = time.time()
        wait_until(lambda: self.state("long") != "processing", message="the job was not rescued")
        self.assertGreater(self.states()["pending"], 0, "the other worker ran out of jobs")
        ((lost_at,),) = self.rows("SELECT finished_at FROM queuectl_attempts WHERE outcome = 'lost'")
        # A busy worker checks every 2 s. If only idle workers checked, it would take at least 1000 x 0.02 = 20 s.
        self.assertLess(lost_at - killed_at, 10)
        self.stop_workers("--now")
        self.audit(["long"])

    @unittest.skipUnless(LINUX, "only Linux shows that a process is stopped")
    def test_a_stopped_worker_does_not_keep_others_from_rescuing_if_the_supervisor_is_dead(self):
        (_, oldest), *_ = self.start_workers("-c", "3")
        (supervisor,) = self.supervisors()
        # No process could write while one is stopped in the middle of a transaction.
        lock = sqlite3.connect(self.db, timeout=20, isolation_level=None)
        self.addCleanup(lock.close)
        lock.execute("BEGIN IMMEDIATE")
        for pid, number in ((supervisor, signal.SIGKILL), (oldest, signal.SIGSTOP)):
            os.kill(pid, number)
        wait_until(lambda: run_state(oldest) == b"T")
        lock.execute("COMMIT")
        try:
            self.enqueue_lines(["true"] * 2)  # One of them rings the stopped worker.
            self.start_job("[ -e again ] || { touch again; sleep 60; }", "--backoff-base", "0.1")
            (victim,) = [worker["pid"] for worker in self.live_workers() if worker["job"]]
            os.kill(victim, signal.SIGKILL)
            self.wait_for_state("long", "completed")  # Before SIGCONT.
        finally:
            os.kill(oldest, signal.SIGCONT)
        self.audit(["long"])

    @unittest.skipUnless(LINUX, "only Linux counts how often a process wakes up")
    def test_a_frozen_worker_does_not_keep_others_from_rescuing(self):
        """A frozen process isn't stopped: it looks asleep. Here it is one that is asleep."""
        store = self.store()
        asleep = subprocess.Popen(["sleep", "600"], env=self.environment)
        self._started.append(asleep)
        elder, own, dead = (
            store.register("worker", None, identity, None, "test")
            for identity in (identity_of(asleep.pid), own_identity(), Identity(2**22, boot(), "1"))
        )
        self.run_cli("enqueue", "--id", "a", "--max-retries", "0", "true")
        store.claim(dead, None)
        rescuer = Rescuer(own, RunnerKills({}, no_log), no_log)
        with mock.patch.object(rescue, "SILENCE", 0.5):
            rescuer.look(store)
            self.assertEqual(self.state("a"), "processing")  # The elder's task, as far as we know.

            def is_rescued() -> bool:
                rescuer.look(store)
                return self.state("a") == "dead"

            wait_until(is_rescued, message="the frozen elder kept others from rescuing")
        self.assertIn(elder, [row.id for row in store.workers()])

    def test_a_worker_running_a_long_job_rescues_other_jobs_if_the_supervisor_is_dead(self):
        self.start_workers("-c", "2")
        (supervisor,) = self.supervisors()
        os.kill(supervisor, signal.SIGKILL)
        self.start_job(id="long")
        self.start_job("sleep 60", "--max-retries", "0", id="lost")
        os.kill(self.owner("lost"), signal.SIGKILL)
        self.wait_for_state("lost", "dead")
        # Its rescuer is still running its own job.
        self.assertEqual(self.state("long"), "processing")
        self.assertFalse(process_is_gone(self.job_pid("long")))
        self.assertTrue(process_is_gone(self.job_pid("lost")))
        self.audit(["long", "lost"])


class OrphanTest(WorkersTestCase):
    # The second attempt lists the processes of the first that are still running.
    ESCAPING_JOB = r"""
        if [ -e pids ]; then
            for pid in $(cat pids); do
                case $(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' /proc/$pid/status 2>/dev/null) in
                '' | Z) ;;
                *) echo $pid >>alive ;;
                esac
            done
            exit 0
        fi
        note='echo $$ >>pids; exec sleep 60'
        sh -c "$note" &
        setsid sh -c "$note" &
        nohup sh -c "$note" >/dev/null 2>&1 &
        (setsid sh -c "$note" &)
        env -i /bin/sh -c "$note" &
        env -i setsid /bin/sh -c "$note" &
        sleep 60
    """
    # Leaves its process group, waits until its parent is gone, and clears its environment.
    ESCAPE = """
import os, time
parent = os.getpid()
if os.fork():
    os._exit(0)
os.setpgid(0, 0)
while os.getppid() == parent:
    time.sleep(0.001)
os.execve("/bin/sh", ["sh", "-c", "echo $$ >escaped; exec sleep 60"], {})
"""

    @unittest.skipUnless(LINUX, "reads /proc")
    def test_orphans_are_ended_before_the_job_runs_again_however_they_escaped(self):
        ((_, pid),) = self.start_workers()
        id = self.enqueue("--backoff-base", "0.05", "--", self.ESCAPING_JOB)
        wait_until(lambda: self.read("pids").count("\n") == 6, message="some orphans did not start")
        wait_until(lambda: self.rows("SELECT 1 FROM queuectl_attempts WHERE pid IS NOT NULL"))
        os.kill(pid, signal.SIGKILL)
        self.wait_for_state(id, "completed")
        self.assertEqual(self.read("alive"), "")
        self.audit([id])

    @unittest.skipUnless(LINUX, "only Linux shows the session of a process")
    def test_an_orphan_known_only_by_its_session_is_ended(self):
        """It has left its process group, cleared its environment and lost its parent."""
        self.write("escape.py", self.ESCAPE)
        ((_, pid),) = self.start_workers()
        self.start_job(f"{sys.executable} escape.py; sleep 60", "--max-retries", "0")
        wait_until(lambda: self.read("escaped").endswith("\n"), message="the orphan did not escape")
        orphan = int(self.read("escaped"))
        self.addCleanup(send, identity_of(orphan), signal.SIGKILL)
        shell = self.job_pid("long")
        self.assertEqual(os.getsid(orphan), shell)
        self.assertNotEqual(os.getpgid(orphan), shell)
        self.assertNotIn(orphan, self.processes(), "the orphan has an environment")
        os.kill(pid, signal.SIGKILL)
        self.wait_for_state("long", "dead")
        self.assertTrue(process_is_gone(orphan), "the orphan was left running")
        self.audit(["long"])

    def test_an_unrelated_process_with_the_pid_of_a_lost_command_is_never_signaled(self):
        bystander = subprocess.Popen(["sleep", "60"], start_new_session=True)
        self.addCleanup(bystander.wait)
        self.addCleanup(bystander.kill)
        gone = subprocess.Popen(["true"])
        gone.wait()
        store = self.store()
        id = self.enqueue("--backoff-base", "0.05", "true")
        worker = store.register("worker", None, Identity(gone.pid, boot(), "1"), None, "test")
        store.record(store.claim(worker, None).job, NO_OUTPUT, Identity(bystander.pid, boot(), "1"))
        self.start_workers()
        self.wait_for_state(id, "completed")
        self.assertIsNone(bystander.poll())
        self.audit([id])

    def test_a_worker_that_must_exit_during_a_job_ends_its_command_first(self):
        ((_, pid),) = self.start_workers()
        (supervisor,) = self.supervisors()
        os.kill(supervisor, signal.SIGKILL)  # Otherwise it would end the worker's leftovers.
        self.start_job("setsid sleep 60 & echo $! >escaped; until [ -e go ]; do sleep 0.02; done;"
                      " echo now; sleep 60",
                      "--max-retries", "0")  # fmt: skip
        wait_until(lambda: self.read("escaped").endswith("\n"))
        # Unlike a full disk or a lock, this error isn't retried: the next output can't be stored.
        self.rows("ALTER TABLE queuectl_output RENAME TO elsewhere")
        self.write("go", "")
        wait_until(lambda: process_is_gone(pid), message="the worker did not exit")
        self.assertTrue(process_is_gone(self.job_pid("long")), "the command was left running")
        self.assertTrue(process_is_gone(int(self.read("escaped"))), "the escaped process was left running")
        self.rows("ALTER TABLE elsewhere RENAME TO queuectl_output")
        self.assertEqual(self.state("long"), "processing")
        self.start_workers()
        self.wait_for_state("long", "dead")
        self.audit(["long"])


class FencingTest(WorkersTestCase):
    """An attempt isn't over while any process of it is running, even without its token, even if we can't end it."""

    # The first attempt leaves a process in its group, without a token. A later one reports it if it is still running.
    SCRIPT = (
        "if [ -e left ]; then ps -o stat= -p $(cat left) | grep -q '^[^Z]' && touch overlap; exit 0; fi;"
        " env -i /bin/sh -c 'echo $$ >left; exec sleep 300' & wait"
    )
    # The same, without the attempt's lock.
    UNLOCK = "import os, sys; os.closerange(3, 256); os.execvp(sys.argv[1], sys.argv[1:])"
    UNLOCKED = SCRIPT.replace("env -i", f"env -i {sys.executable} -c '{UNLOCK}'")

    def kill_worker_and_command(self, id: str) -> None:
        """Kill a job's worker and its command so that the worker doesn't notice the command's end."""
        recorded = "SELECT pid FROM queuectl_attempts WHERE pid IS NOT NULL"
        ((command,),) = wait_until(lambda: self.rows(recorded))
        wait_until(lambda: self.read("left").endswith("\n"))
        worker = self.owner(id)
        os.kill(worker, signal.SIGSTOP)
        os.kill(command, signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)

    def test_a_process_known_only_by_its_group_is_ended_before_the_job_runs_again(self):
        self.start_workers()
        id = self.enqueue("--backoff-base", "0", "--", self.UNLOCKED)
        self.kill_worker_and_command(id)
        self.wait_for_state(id, "completed")
        self.assertFalse(os.path.exists(self.path("overlap")))
        self.assertTrue(process_is_gone(int(self.read("left"))))
        self.audit([id])

    def test_long_after_a_crash_a_process_known_only_by_its_group_holds_the_job_and_is_named_but_not_killed(self):
        """Another session may have got the number in the meantime."""
        self.start_workers()
        id = self.enqueue("--backoff-base", "0", "--", self.UNLOCKED)
        ((supervisor,),) = self.rows("SELECT pid FROM queuectl_workers WHERE role = 'supervisor'")
        os.kill(supervisor, signal.SIGKILL)
        self.kill_worker_and_command(id)
        left = int(self.read("left"))
        self.start_workers()
        reason = rf"^may still run: pid {left} \(\w+\)$"
        wait_until(lambda: re.match(reason, self.job(id)["error"] or ""), message=lambda: self.job(id)["error"])
        self.assertEqual(self.state(id), "processing")
        self.assertFalse(process_is_gone(left))
        os.kill(left, signal.SIGKILL)
        self.wait_for_state(id, "completed")
        self.assertFalse(os.path.exists(self.path("overlap")))
        self.audit([id])

    @unittest.skipUnless(LINUX, "only Linux shows who holds a lock")
    def test_long_after_a_crash_a_process_that_holds_the_attempts_lock_is_ended(self):
        self.start_workers()
        id = self.enqueue("--backoff-base", "0", "--", self.SCRIPT.replace("env -i", "env -i setsid"))
        ((supervisor,),) = self.rows("SELECT pid FROM queuectl_workers WHERE role = 'supervisor'")
        os.kill(supervisor, signal.SIGKILL)
        self.kill_worker_and_command(id)
        self.start_workers()
        self.wait_for_state(id, "completed")
        self.assertFalse(os.path.exists(self.path("overlap")))
        self.audit([id])

    @unittest.skipUnless(LINUX, "only Linux shows who holds a lock")
    def test_a_worker_killed_between_fork_and_exec_leaves_nothing_that_runs_later(self):
        """The child has no token yet, and no session of its own that anything has recorded."""
        self.run_cli("enqueue", "--id", "a", "--max-retries", "0", "touch ran")
        patch = f"""
import time
from queuectl_core.workers import process
def posix_spawnp(*arguments, **options):
    raise NotImplementedError
os.posix_spawnp = posix_spawnp
def hang():
    with open({self.path("forked")!r}, "w") as file:
        print(os.getpid(), file=file)
    while not os.path.exists({self.path("go")!r}):
        time.sleep(0.01)
process._restore_signals = hang
"""
        subprocess.run(patched(patch, "worker", "start"), env=self.environment, stdout=subprocess.DEVNULL, check=True)
        wait_until(lambda: self.read("forked").endswith("\n"))
        child = int(self.read("forked"))
        os.kill(self.owner("a"), signal.SIGKILL)
        self.wait_for_state("a", "dead")
        self.assertTrue(process_is_gone(child))
        self.assertEqual(self.job("a")["error"], "worker lost")

    def test_a_timeout_ends_a_process_that_left_the_group_but_not_the_session(self):
        escape = "import os; os.setpgid(0, 0); os.execve('/bin/sh', ['sh', '-c', 'echo $$ >left; exec sleep 300'], {})"
        self.write("escape.py", escape)
        self.start_workers()
        command = f"{sys.executable} escape.py & wait; sleep 300"
        id = self.enqueue("--max-retries", "0", "--timeout", "2s", "--", command)
        self.wait_for_state(id, "dead")
        self.assertTrue(process_is_gone(int(self.read("left"))))

    # Forks twice, leaves the session, closes its descriptors and clears its environment.
    HIDE = """
import os
parent = os.getpid()
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
while os.getppid() in (parent, os.getsid(0)):
    pass
os.closerange(3, 256)
os.execve("/bin/sh", ["sh", "-c", "echo $$ >left; exec sleep 300"], {})
"""

    @unittest.skipUnless(LINUX, "only Linux lets a worker adopt orphans")
    def test_a_timeout_ends_an_orphan_without_any_mark_but_no_daemon_of_an_earlier_job(self):
        self.write("hide.py", self.HIDE)
        self.start_workers()
        hide = f"{sys.executable} hide.py; until [ -s left ]; do sleep 0.02; done; mv left"
        self.wait_for_state(self.enqueue(f"{hide} daemon"), "completed")
        # A fleet started by a job outlives it too.
        fleet = f"{sys.executable} {PROGRAM} worker start -q other"
        id = self.enqueue("--max-retries", "0", "--timeout", "3s", f"{fleet}; {hide} orphan; sleep 300")
        self.wait_for_state(id, "dead")
        self.assertEqual(self.job(id)["error"], "timed out after 3s")
        orphan, daemon = int(self.read("orphan")), int(self.read("daemon"))
        self.addCleanup(os.kill, daemon, signal.SIGKILL)
        self.assertTrue(process_is_gone(orphan))
        self.assertFalse(process_is_gone(daemon))
        self.wait_for_state(self.enqueue("-q", "other", "exit $(env | grep -c QUEUECTL_FLEET)"), "completed")
        self.assertEqual(len(self.supervisors()), 2)

    @unittest.skipUnless(LINUX, "only Linux lets a worker adopt orphans")
    def test_orphans_leave_no_zombies(self):
        ((_, pid),) = self.start_workers()
        count = f"test $(ps -o stat= --ppid {pid} | grep -c '^Z') = 0"
        self.wait_for_state(self.enqueue("setsid sh -c 'sleep 0.1' & setsid sh -c 'sleep 0.3' &"), "completed")
        wait_until(lambda: not children(pid), message="an orphan was not reaped")
        # While a job is running, too.
        self.wait_for_state(self.enqueue(f"setsid true & until {count}; do sleep 0.05; done"), "completed")

    @unittest.skipUnless(IS_ROOT and shutil.which("setpriv"), "needs root and setpriv")
    @unittest.skipUnless(os.path.exists("/usr/bin/python3"), "needs /usr/bin/python3")
    def test_an_attempt_with_another_users_process_is_not_over_and_the_job_says_why(self):
        self.check_process_of_root(r"^may still run: pid \d+ \(root\)")

    @unittest.skipUnless(IS_ROOT and shutil.which("setpriv"), "needs root and setpriv")
    @unittest.skipUnless(LINUX and shutil.which("unshare"), "needs unshare")
    def test_an_attempt_with_a_process_that_proc_hides_is_not_over(self):
        hide = ("unshare", "--mount", "sh", "-c", 'mount -t proc -o hidepid=2 proc /proc && exec "$@"', "sh")
        if subprocess.run([*hide, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
            self.skipTest("not allowed to mount /proc")
        hidden = "^may still run: (processes hidden from us|pid [0-9]+)$"
        # In the group of a command that ends by itself, and outside that of one that times out.
        self.check_process_of_root(hidden, hide, end="until [ -s left ]; do sleep 0.02; done; exit 3", error="exit 3")
        self.check_process_of_root(hidden, hide, start="setsid ")

    def check_process_of_root(
        self, reason: str, prefix: Sequence[str] = (), *, start="", end="wait", error="timed out after 2s"
    ) -> None:
        """Run workers as another user, and a job that leaves a process of root behind."""
        # $TMPDIR may be in a folder that only root can enter.
        folder = tempfile.mkdtemp(prefix="q-", dir="/tmp")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        os.chown(folder, NOBODY, NOBODY)
        suid, program = os.path.join(folder, "become-root"), os.path.join(folder, "queuectl")
        shutil.copy(shutil.which("setpriv"), suid)
        os.chmod(suid, 0o4755)
        self.run_cli("bundle", program, "--python", "/usr/bin/python3")
        self.db = os.path.join(folder, "q.db")
        self.environment.update(QUEUECTL_DB=self.db, HOME=folder)
        as_nobody = [*prefix, "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]

        def start_program(*words: str) -> subprocess.Popen:
            process = subprocess.Popen(
                [*as_nobody, program, *words],
                env=self.environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            self._started.append(process)
            return process

        probe = subprocess.run(
            [*as_nobody, suid, "--reuid=0", "id", "-u"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
        )
        if probe.stdout != b"0\n":
            self.skipTest("set-user-ID programs don't work here")
        command = f"{start}{suid} --reuid=0 --clear-groups sh -c 'echo $$ >left; exec sleep 300' & {end}"
        job = {"id": "a", "command": command, "max_retries": 0, "timeout": 2, "kill_grace": 0.2}
        self.assertEqual(start_program("enqueue", json.dumps(job)).wait(30), 0)
        worker = start_program("worker", "start", "--drain", "--foreground")
        left = os.path.join(folder, "left")
        # The worker must be the first to open the file: what SQLite creates next to it must be its own.
        wait_until(lambda: os.path.exists(left) and os.path.getsize(left))
        wait_until(lambda: self.rows("SELECT 1 FROM queuectl_jobs WHERE error LIKE 'may still run: %'"))
        self.assertEqual(self.state("a"), "processing")
        self.assertRegex(self.job("a")["error"], reason)
        with open(left) as file:
            os.kill(int(file.read()), signal.SIGKILL)
        self.assertEqual(worker.wait(30), 1)
        self.assertEqual(self.job("a")["error"], error)
        self.audit(["a"])


class TokenTest(WorkersTestCase):
    """A daemon that a job started on purpose is never mistaken for a leftover of another attempt."""

    def start_daemon(self) -> int:
        """Run a job that leaves a daemon behind, and delete the job; returns the daemon's PID."""
        daemon = "setsid sh -c 'echo $$ >daemon; exec sleep 300' >/dev/null 2>&1 &"
        id = self.enqueue(f"{daemon} until [ -s daemon ]; do sleep 0.02; done")
        self.wait_for_state(id, "completed")
        return int(self.read("daemon"))

    def test_a_job_that_reuses_the_seq_of_a_deleted_job_does_not_kill_its_daemon(self):
        self.start_workers()
        pid = self.start_daemon()
        ((seq,),) = self.rows("SELECT seq FROM queuectl_jobs")
        self.run_cli("prune")
        self.run_cli("enqueue", "--id", "later", "--max-retries", "0", "--timeout", "0.2", "sleep 300")
        self.assertEqual(self.rows("SELECT seq FROM queuectl_jobs"), [(seq,)])
        self.wait_for_state("later", "dead")
        self.assertFalse(process_is_gone(pid))

    def test_a_job_in_a_copy_of_the_file_does_not_kill_processes_of_the_original(self):
        copy = self.path("copy.db")
        command = "test -e original || sleep 300; echo $$ >pid; exec sleep 300"
        self.run_cli("enqueue", "--id", "a", "--max-retries", "0", "--timeout", "0.2", command)
        self.run_cli("backup", copy)
        self.write("original", "")
        self.run_cli("edit", "a", "--timeout", "0")
        self.start_workers()
        wait_until(lambda: self.read("pid"))
        os.unlink(self.path("original"))
        self.run_cli("--db", copy, "worker", "start", "--drain", "--foreground", code=1, env={"QUEUECTL_DB": copy})
        self.assertFalse(process_is_gone(int(self.read("pid"))))
        self.assertEqual(self.state("a"), "processing")


class FleetTest(WorkersTestCase):
    def test_after_everything_is_killed_the_next_start_rescues_all_jobs_before_its_workers_start(self):
        self.start_workers("-c", "3")
        command = "if [ -e $QUEUECTL_JOB_ID ]; then exit 0; fi; touch $QUEUECTL_JOB_ID; sleep 60"
        ids = self.enqueue_lines([command] * 3, "--backoff-base", "0.1")
        wait_until(lambda: all(os.path.exists(self.path(id)) for id in ids))
        wait_until(self.kill_processes)
        status = self.run_cli("status")
        self.assertIn("No workers are running.", status.stdout)
        self.assertIn("3 jobs were left behind by dead workers", status.stderr)
        self.start_workers("-c", "3")
        self.wait_until_all_finished()
        ((settled_at,),) = self.rows("SELECT max(finished_at) FROM queuectl_attempts WHERE outcome = 'lost'")
        ((began,),) = self.rows("SELECT min(started_at) FROM queuectl_workers")
        self.assertLess(settled_at, began)  # `worker start` rescued them, not a worker.
        self.assertEqual(self.states(), {"completed": 3})
        self.audit(ids)

    def test_a_job_that_keeps_killing_its_worker_is_buried_while_others_run(self):
        workers = self.start_workers("-c", "2")
        killer = self.enqueue("--max-retries", "3", "--backoff-base", "0", "--", "kill -9 $PPID; sleep 60")
        others = self.enqueue_lines(["sleep 0.01"] * 50)
        self.wait_for_state(killer, "dead")
        self.wait_until_all_finished()
        wait_until(lambda: len(self.live_workers()) == 2, message="the fleet shrank")
        self.assertEqual([a["outcome"] for a in self.job(killer)["history"]], ["lost"] * 4)
        # Four workers died, and each was replaced once.
        self.assertLessEqual(max(worker["id"] for worker in self.live_workers()), max(id for id, _ in workers) + 4)
        self.audit([killer, *others])

    def test_a_supervisor_killed_while_replacing_a_worker_leaves_a_working_fleet(self):
        self.start_workers("-c", "2")
        (supervisor,) = self.supervisors()
        killer = self.enqueue("--max-retries", "2", "--backoff-base", "0", "--", "kill -9 $PPID; sleep 60")
        # After the second death, the supervisor waits a fraction of a second before it starts a replacement.
        lost = "SELECT 1 FROM queuectl_attempts WHERE outcome = 'lost' AND attempt = 2"
        wait_until(lambda: self.rows(lost))
        os.kill(supervisor, signal.SIGKILL)
        self.start_workers("-c", "1")
        ids = self.enqueue_lines(["echo $QUEUECTL_JOB_ID >> ran; sleep 0.01"] * 20)
        self.wait_until_all_finished()
        self.assertEqual(sorted(self.read("ran").split()), sorted(ids))
        self.stop_workers()
        wait_until(lambda: not self.processes(), message="something was left running")
        self.assertEqual(self.rows("SELECT * FROM queuectl_workers"), [])
        self.audit([killer, *ids])


class SignalTest(WorkersTestCase):
    def test_five_signals_to_every_process_release_the_job_and_leave_nothing_running(self):
        self.run_cli("config", "set", "kill-grace", "0.2")
        workers = self.start_workers("-c", "2")
        id = self.start_job("trap '' TERM; while :; do sleep 0.05; done")
        pids = [pid for _, pid in workers] + self.supervisors()
        for _ in range(5):
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGTERM)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)  # Pending signals with the same number merge into one.
        self.wait_until_gone(pids)
        job = self.job(id)
        self.assertEqual((job["state"], job["attempts"]), ("pending", 0))
        wait_until(lambda: not self.processes(), message="something was left running")
        self.audit([id])

    def test_a_signal_during_a_start_leaves_no_half_started_fleet(self):
        """Every worker that was started is registered, so `worker stop` finds it."""
        self.create_queue()
        for delay in (0.03, 0.08, 0.12, 0.16, 0.2):
            process = self.start_cli(
                "worker", "start", "-c", "2",
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
            time.sleep(delay)  # Each delay hits a different phase of the start.
            try:
                os.killpg(process.pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
            self.assertNotIn(b"Traceback", process.communicate(timeout=30)[1])
        id = self.enqueue("true")

        def nothing_runs() -> bool:
            self.stop_workers()  # Repeatedly, because a supervisor may still be about to register.
            return not self.processes()

        wait_until(nothing_runs, message="something was left running")
        self.audit([id])

    @unittest.skipUnless(hasattr(signal, "SIGSTOP"), "needs SIGSTOP")
    def test_a_worker_mistaken_for_dead_cannot_settle_its_job(self):
        ((worker, pid),) = self.start_workers()
        (supervisor,) = self.supervisors()
        os.kill(supervisor, signal.SIGKILL)
        # The first attempt would succeed after the second has started.
        self.start_job("if [ -e again ]; then exit 3; fi; touch again; until [ -e go ]; do sleep 0.02; done",
                      "--max-retries", "1", "--backoff-base", "0.1")  # fmt: skip
        os.kill(pid, signal.SIGSTOP)
        try:
            self.write("go", "")
            wait_until(lambda: process_is_gone(self.job_pid("long")), message="the command is still running")
            self.rows("UPDATE queuectl_workers SET birth = '1' WHERE id = ?", worker)
            self.start_workers()
            self.wait_for_state("long", "dead")
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: process_is_gone(pid), message="the worker did not exit")
        self.assertEqual(self.state("long"), "dead")
        self.assertEqual([a["outcome"] for a in self.job("long")["history"]], ["lost", "exit"])
        self.audit(["long"])


@unittest.skipUnless(LINUX and shutil.which("unshare"), "needs Linux's PID namespaces")
class NamespaceTest(WorkersTestCase):
    """A fleet in its own PID namespace, as in a container, and one outside, on the same queue."""

    UNSHARE = ("unshare", "--fork", "--pid", "--mount-proc", "--kill-child")

    def setUp(self) -> None:
        super().setUp()
        trial = subprocess.run([*self.UNSHARE, "true"], stderr=subprocess.DEVNULL, check=False)
        if trial.returncode:
            self.skipTest("not allowed to create a PID namespace")
        self.create_queue()

    def start_inside(self, *words: str) -> subprocess.Popen:
        """Run `worker start --foreground` in a new PID namespace, which ends with the returned process."""
        container = subprocess.Popen(
            [*self.UNSHARE, sys.executable, PROGRAM, "worker", "start", "--foreground", *words],
            env=self.environment, cwd=self.folder, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._started.append(container)
        return container

    def test_a_job_in_another_pid_namespace_is_not_rescued_while_its_worker_lives(self):
        wait_for_go = "until [ -e go ]; do sleep 0.02; done"
        self.start_workers("-q", "outside")
        self.start_job(wait_for_go, "-q", "outside", id="outside")
        container = self.start_inside("-q", "inside")  # It rescues the jobs of dead workers as it starts,
        self.start_job(wait_for_go, "-q", "inside", id="inside")
        self.start_workers("-q", "other")  # and so does this one.
        self.assertEqual([self.state(id) for id in ("inside", "outside")], ["processing"] * 2)
        self.assertEqual((len(self.live_workers()), len(self.supervisors())), (3, 3))
        self.write("go", "")
        for id in ("inside", "outside"):
            self.wait_for_state(id, "completed")
            self.assertEqual(len(self.job(id)["history"]), 1)
        self.stop_workers()
        self.assertEqual(container.wait(20), 0)
        self.audit(["inside", "outside"])

    def test_a_job_whose_worker_died_with_its_pid_namespace_is_rescued(self):
        container = self.start_inside("-q", "inside")
        self.start_job("sleep 60", "-q", "inside", "--max-retries", "0")
        container.kill()
        container.wait()
        wait_until(lambda: not self.processes(), message="something in the namespace is still running")
        self.assertEqual(self.state("long"), "processing")
        self.start_workers("-q", "outside")
        self.assertEqual(self.state("long"), "dead")
        self.assertEqual(self.job("long")["error"], "worker lost")
        self.assertEqual(len(self.supervisors()), 1, "the dead supervisor's row is still there")
        self.run_cli("worker", "restart")
        self.audit(["long"])

    # Notes if two attempts overlap. The first runs until it is told to end.
    EXCLUSIVE = (
        "exec 9>>mutex; flock -n 9 || { touch overlap; exit; };"
        " [ -e again ] && exit; touch again; until [ -e end ]; do sleep 0.02; done"
    )
    # Starts a worker in the background. Then kills it and its supervisor, but not its command.
    FLEET = f"""
        pid=$({sys.executable} {PROGRAM} worker start -q inside | sed 's/.* //')
        until [ -e kill ]; do sleep 0.02; done
        kill -9 $(awk '{{print $4}}' /proc/$pid/stat) $pid
        touch killed
        exec sleep 300
    """

    def start_exclusive_inside(self) -> None:
        """Run a job in another PID namespace, and kill its worker and its supervisor."""
        script = [*self.UNSHARE, "sh", "-c", self.FLEET]
        self._started.append(subprocess.Popen(script, env=self.environment, cwd=self.folder))
        self.run_cli("enqueue", "--id", "a", "-q", "inside", "--backoff-base", "0", self.EXCLUSIVE)
        wait_until(lambda: os.path.exists(self.path("again")))
        self.write("kill", "")
        wait_until(lambda: os.path.exists(self.path("killed")))

    def test_a_command_that_outlives_its_worker_in_a_container_is_ended_by_a_worker_outside(self):
        self.start_exclusive_inside()
        self.start_workers("-q", "inside")
        self.wait_for_state("a", "completed")
        self.assertFalse(os.path.exists(self.path("overlap")))
        self.audit(["a"])

    def test_a_command_that_outlives_its_worker_in_a_container_holds_the_job_in_another_one(self):
        self.start_exclusive_inside()
        self.start_inside("-q", "inside")
        wait_until(lambda: self.rows("SELECT 1 FROM queuectl_jobs WHERE error = 'may still run: in another container'"))
        self.assertEqual(self.state("a"), "processing")
        self.write("end", "")
        self.wait_for_state("a", "completed")
        self.assertFalse(os.path.exists(self.path("overlap")))
        self.audit(["a"])

    def test_a_command_that_outlives_its_worker_outside_holds_the_job_in_a_container(self):
        ((_, pid),) = self.start_workers("-q", "inside")
        self.run_cli("enqueue", "--id", "a", "-q", "inside", "--backoff-base", "0", self.EXCLUSIVE)
        wait_until(lambda: os.path.exists(self.path("again")))
        for victim in (*self.supervisors(), pid):
            os.kill(victim, signal.SIGKILL)
        self.start_inside("-q", "inside")
        wait_until(lambda: self.rows("SELECT 1 FROM queuectl_jobs WHERE error = 'may still run: in another container'"))
        self.write("end", "")
        self.wait_for_state("a", "completed")
        self.assertFalse(os.path.exists(self.path("overlap")))
        self.audit(["a"])


if __name__ == "__main__":
    unittest.main()
