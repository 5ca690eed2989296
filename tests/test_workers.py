"""Real workers and jobs: starting, stopping, killing, rescuing, draining and waking."""

from __future__ import annotations

import collections
import os
import re
import select
import signal
import subprocess
import sys
import time
import types
import unittest
import unittest.mock

from queuectl_core.records import NO_OUTPUT, Identity
from queuectl_core.store.bell import Bell
from queuectl_core.workers.identity import boot
from queuectl_core.workers.slot import YOUNG, Slot
from queuectl_core.workers.worker import HEALTH_CHECK
from tests.harness import (
    IS_ROOT,
    PROGRAM,
    RUNS,
    QueueTestCase,
    process_is_gone,
    sleep_to_see_nothing_happen,
    wait_until,
)
from tests.patched import patched


class WorkersTestCase(QueueTestCase):
    def live_workers(self) -> list[dict]:
        """The workers as `worker list --json` shows them."""
        return self.run_cli("worker", "list", "--json").json

    def wait_until_gone(self, pids: list[int], timeout: float = 20) -> None:
        wait_until(lambda: all(map(process_is_gone, pids)), timeout, lambda: f"still running: {pids}")

    def supervisors(self) -> list[int]:
        """The PIDs of the supervisors."""
        return [pid for (pid,) in self.rows("SELECT pid FROM queuectl_workers WHERE role = 'supervisor'")]

    def start_job(self, command: str = "sleep 60", *options: str, id: str = "long") -> str:
        """Enqueue a job and wait until it is running; returns its id."""
        self.run_cli("enqueue", "--id", id, *options, "--", f"echo $$ > {self.path(id)}.pid; {command}")
        wait_until(lambda: self.read(id + ".pid").endswith("\n"), message=f"{id} did not start")
        return id

    def job_pid(self, id: str) -> int:
        """The PID of the shell of a job started by start_job."""
        return int(self.read(id + ".pid"))

    def start_foreground(self, *args: str, **options) -> subprocess.Popen:
        """Run `worker start --foreground` and wait until its workers are registered."""
        count = int(args[args.index("-c") + 1]) if "-c" in args else 1
        options.setdefault("stderr", subprocess.PIPE)
        process = self.start_cli("worker", "start", "--foreground", *args, stdout=subprocess.PIPE, **options)

        def is_up() -> bool:
            if process.poll() is not None:
                return True
            try:
                return len(self.rows("SELECT 1 FROM queuectl_workers WHERE role = 'worker'")) >= count
            except Exception:  # The file or its tables don't exist yet.
                return False

        wait_until(is_up, message="no worker was registered")
        return process


class StartTest(WorkersTestCase):
    def test_start_returns_when_the_workers_are_registered_and_prints_their_ids_and_pids(self):
        workers = self.start_workers("-c", "3")
        self.assertEqual(len(dict(workers)), 3)
        listed = {worker["id"]: worker["pid"] for worker in self.live_workers()}
        self.assertEqual(listed, dict(workers))
        for _, pid in workers:
            self.assertFalse(process_is_gone(pid))

    def test_several_starts_add_up(self):
        first = self.start_workers()
        second = self.start_workers("-c", "2")
        self.assertEqual(len(self.live_workers()), 3)
        self.assertFalse(set(dict(first)) & set(dict(second)), "two workers have the same id")
        self.stop_workers()
        self.assertEqual(self.live_workers(), [])
        third = self.start_workers()
        self.assertFalse(set(dict(third)) & set(dict(first + second)), "an id was reused")

    def test_start_keeps_none_of_the_callers_streams_open(self):
        """`queuectl worker start | cat` ends although the workers keep running."""
        process = self.start_cli("worker", "start", "-c", "2", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        stdout, stderr = process.communicate(timeout=20)
        self.assertEqual((process.returncode, stderr), (0, b""))
        self.assertEqual(len(stdout.splitlines()), 2)
        self.assertEqual(len(self.live_workers()), 2)

    def test_a_started_worker_survives_the_session_it_was_started_from(self):
        process = self.start_cli("worker", "start", stdout=subprocess.PIPE, start_new_session=True)
        stdout, _ = process.communicate(timeout=20)
        pid = int(stdout.split()[-1])
        self.assertNotEqual(os.getsid(pid), process.pid)
        try:
            os.killpg(process.pid, signal.SIGHUP)
        except ProcessLookupError:
            pass
        self.run_cli("enqueue", "--id", "a", "true")
        self.wait_for_state("a", "completed")

    def test_bad_counts_queues_and_env_files_start_nothing(self):
        for args in (
            ["-c", "0"], ["-c", "-1"], ["-c", "x"], ["-c", "1.5"], ["-c", ""], ["-c", "100000"], ["-q", ""],
            ["-q", "a,b"], ["--env-file", "no-such-file"], ["--env-file", self.write("bad", "A B=1\n")],
            ["--env-file", self.write("bad2", "=x\n")], ["surplus"],
        ):  # fmt: skip
            with self.subTest(args=args):
                result = self.run_cli("worker", "start", *args, code=2)
                self.assertEqual((result.stdout, len(result.stderr.splitlines())), ("", 1), result.stderr)
        self.assertEqual(list(self.processes()), [])

    def test_workers_take_only_jobs_of_their_queues(self):
        self.start_workers("-q", "mail", "-q", "web")
        for queue in ("other", "mail", "web"):
            self.run_cli("enqueue", "--id", queue, "-q", queue, "true")
        self.wait_for_state("mail", "completed")
        self.wait_for_state("web", "completed")
        self.assertEqual(self.state("other"), "pending")
        self.assertEqual(sorted(self.live_workers()[0]["queues"]), ["mail", "web"])
        self.start_workers()
        self.wait_for_state("other", "completed")
        self.audit(["other", "mail", "web"])

    def test_an_idle_worker_starts_a_new_job_without_waiting_for_its_poll(self):
        # Poll once a minute: without the bell, wait_for_state gives up long before the poll finds the job.
        patch = "from queuectl_core.workers import worker; worker.POLL = worker.HEALTH_CHECK = 60"
        words = patched(patch, "worker", "start", "-c", "2")
        subprocess.run(words, env=self.environment, stdout=subprocess.DEVNULL, check=True)
        store = self.store()
        wait_until(lambda: all(w.idle for w in store.workers() if w.role == "worker"), message="a worker is not idle")
        from queuectl_core import jobspec

        latencies, command_times = [], []
        for _ in range(15):
            began = time.time()
            self.run_cli("config", "set", "max-retries", "3")
            command_times.append(time.time() - began)
            began = time.time()
            (id,) = store.enqueue([jobspec.new_job({"command": "true"}, began)])
            self.wait_for_state(id, "completed")
            latencies.append(store.get(id).started_at - began)
        # Faster than a command that commits as much, measured alternately under the same load.
        middle = len(latencies) // 2
        self.assertLess(sorted(latencies)[middle], sorted(command_times)[middle], (latencies, command_times))

    def test_an_idle_worker_uses_almost_no_cpu(self):
        ((_, pid),) = self.start_workers()
        if not os.path.exists("/proc/self/stat"):
            self.skipTest("needs /proc")

        def ticks() -> int:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])

        self.enqueue("true")
        self.wait_until_all_finished()
        before = ticks()
        sleep_to_see_nothing_happen(1)
        # CPU time, so load doesn't matter. A busy loop would take a whole core.
        self.assertLess(ticks() - before, os.sysconf("SC_CLK_TCK") // 4)

    def test_an_idle_worker_leaves_the_directory_of_its_last_job(self):
        if not os.path.exists("/proc/self/cwd"):
            self.skipTest("needs /proc")
        ((_, pid),) = self.start_workers()
        os.mkdir(self.path("disk"))
        id = self.enqueue("--cwd", self.path("disk"), "touch ran")
        self.wait_for_state(id, "completed")
        self.assertEqual(os.listdir(self.path("disk")), ["ran"])
        # A file system mounted there could now be unmounted.
        wait_until(lambda: os.readlink(f"/proc/{pid}/cwd") == "/", message="the worker is still in that directory")

    def test_start_follows_no_link_in_place_of_the_bells(self):
        self.enqueue("true")
        elsewhere = self.path("elsewhere")
        os.mkdir(elsewhere)
        self.write("elsewhere/1", "precious")
        os.symlink(elsewhere, self.db + "-bells")
        result = self.run_cli("worker", "start", code=3)
        self.assertRegex(result.stderr, r"^queuectl: \S+q\.db-bells: not a folder, of \w+; check it, and remove it\n$")
        # The same for a link that appears later.
        Bell(self.db, 1).close()
        self.assertEqual(self.read("elsewhere/1"), "precious")
        self.assertEqual(os.listdir(elsewhere), ["1"])

    def test_start_refuses_a_file_that_every_user_can_write(self):
        self.enqueue("true")
        os.chmod(self.db, 0o666)
        for options in ([], ["--foreground", "--drain"], ["--top-up"]):
            result = self.run_cli("worker", "start", *options, code=3)
            self.assertIn(f"run: chmod o-w {self.db}\n", result.stderr)
        os.chmod(self.db, 0o664)
        self.start_workers("--drain")

    @unittest.skipUnless(IS_ROOT, "needs root to give a file away")
    def test_start_refuses_another_users_file(self):
        self.enqueue("touch ran")
        os.chown(self.db, 65534, -1)
        result = self.run_cli("worker", "start", "--drain", "--foreground", code=3)
        self.assertRegex(result.stderr, r"belongs to \w+, whose commands workers would run as root;")
        self.assertFalse(os.path.exists(self.path("ran")))

    def test_start_refuses_a_queue_on_a_network_file_system(self):
        id = self.enqueue("true")  # Create the file first: a network file system never gets a new one.
        patch = "from queuectl_core.store import filesystem\nfilesystem.file_system = lambda *_: 'nfs4'"
        for options in ([], ["--foreground", "--drain"], ["--top-up"]):
            with self.subTest(options=options):
                words = patched(patch, "worker", "start", *options)
                result = subprocess.run(
                    words, env=self.environment, capture_output=True, timeout=60, check=False
                )
                self.assertEqual((result.returncode, result.stdout), (3, b""))
                self.assertIn(b"network file system (nfs4)", result.stderr)
        self.assertEqual(self.rows("SELECT * FROM queuectl_workers"), [])
        self.assertEqual(self.state(id), "pending")


class StopTest(WorkersTestCase):
    def test_a_graceful_stop_finishes_the_running_job_and_claims_no_other(self):
        workers = self.start_workers("-c", "2")
        self.start_job("until [ -e go ]; do sleep 0.02; done; echo finished", id="a")
        self.start_job("until [ -e go ]; do sleep 0.02; done; echo finished", id="b")
        self.run_cli("enqueue", "--id", "c", "true")
        stop = self.start_cli("worker", "stop", stdout=subprocess.PIPE)
        wait_until(lambda: not self.rows("SELECT 1 FROM queuectl_workers WHERE wanted = 'run'"))
        self.write("go", "")
        stdout, _ = stop.communicate(timeout=20)
        self.assertEqual(stop.returncode, 0)
        stopped = sorted(f"worker {id} stopped" for id, _ in workers)
        self.assertEqual(sorted(stdout.decode().splitlines()), stopped)
        self.assertEqual([self.state(id) for id in "abc"], ["completed", "completed", "pending"])
        self.assertEqual(self.run_cli("logs", "a").stdout, "finished\n")
        self.wait_until_gone([pid for _, pid in workers])
        wait_until(lambda: not self.processes(), message="a supervisor is still running")
        self.assertEqual(self.rows("SELECT * FROM queuectl_workers"), [])
        self.audit(["a", "b", "c"])

    @unittest.skipUnless(hasattr(signal, "SIGSTOP"), "needs SIGSTOP")
    def test_stop_now_continues_a_stopped_worker_so_that_it_can_obey(self):
        ((id, pid),) = self.start_workers()
        self.start_job("sleep 60")
        os.kill(pid, signal.SIGSTOP)
        self.run_cli("worker", "stop", "--timeout", "0.2", code=124)  # Its user may want it to stay as it is.
        self.assertEqual(self.run_cli("worker", "stop", "--now").lines, [f"worker {id} stopped"])
        self.assertEqual(self.state("long"), "pending")
        self.audit(["long"])

    def test_stop_says_which_jobs_it_is_waiting_for(self):
        ((id, _),) = self.start_workers()
        self.start_job("until [ -e go ]; do sleep 0.02; done")
        with open(self.path("stderr"), "wb") as file:
            stop = self.start_cli("worker", "stop", stdout=subprocess.DEVNULL, stderr=file)
        wait_until(lambda: self.read("stderr").endswith("\n"), message="stop printed nothing")
        self.assertIn(f"worker {id}", self.read("stderr"))
        self.assertIn("job long", self.read("stderr"))
        self.assertIn("--now", self.read("stderr"))
        self.write("go", "")
        self.assertEqual(stop.wait(20), 0)
        self.assertEqual(self.state("long"), "completed")

    def test_stop_now_ends_jobs_and_makes_them_pending_again_with_the_attempt_refunded(self):
        self.start_workers("-c", "2")
        self.start_job("sleep 60 & sleep 60", "--max-retries", "0")
        result = self.stop_workers("--now")
        self.assertEqual(len(result.lines), 2)
        job = self.job("long")
        self.assertEqual((job["state"], job["attempts"], job["worker"]), ("pending", 0, None))
        self.assertEqual([a["outcome"] for a in job["history"]], ["released"])
        self.assertTrue(process_is_gone(self.job_pid("long")))
        self.audit(["long"])
        os.remove(self.path("long.pid"))
        self.start_workers()
        wait_until(lambda: self.read("long.pid"), message="the job did not run again")
        self.audit(["long"])

    def test_stop_now_kills_a_job_that_ignores_sigterm_after_its_grace_period(self):
        self.start_workers()
        self.run_cli("config", "set", "kill-grace", "0.2")
        self.start_job("trap '' TERM; while :; do sleep 0.05; done")
        self.stop_workers("--now")
        self.assertTrue(process_is_gone(self.job_pid("long")))
        self.assertEqual(self.state("long"), "pending")
        self.audit(["long"])

    def test_stop_no_wait_returns_while_the_workers_are_still_stopping(self):
        ((id, pid),) = self.start_workers()
        self.start_job("until [ -e go ]; do sleep 0.02; done")
        result = self.stop_workers("--no-wait")
        self.assertIn(f"worker {id} is stopping", result.stdout)
        self.assertEqual(self.state("long"), "processing")
        self.assertEqual(self.live_workers()[0]["state"], "stopping")
        self.write("go", "")
        self.wait_until_gone([pid])
        self.assertEqual(self.state("long"), "completed")
        self.audit(["long"])

    def test_stop_timeout_exits_124_and_names_the_workers_still_running(self):
        ((id, pid),) = self.start_workers()
        self.start_job("until [ -e go ]; do sleep 0.02; done")
        result = self.stop_workers("--timeout", "200ms", code=124)
        self.assertIn(f"worker {id}", result.stderr)
        self.assertFalse(process_is_gone(pid))
        self.write("go", "")
        self.wait_until_gone([pid])
        self.assertEqual(self.state("long"), "completed")

    def test_after_the_fleets_stop_timeout_jobs_are_returned_to_the_queue(self):
        self.start_workers("--stop-timeout", "200ms")
        self.start_job()
        self.stop_workers()
        self.assertEqual(self.state("long"), "pending")
        self.assertEqual(self.job("long")["attempts"], 0)
        self.audit(["long"])

    def test_the_stop_timeout_survives_a_restart(self):
        self.start_workers("--stop-timeout", "200ms")
        self.run_cli("worker", "restart")
        self.start_job()
        self.stop_workers()
        self.assertEqual(self.state("long"), "pending")

    def test_stop_now_hurries_a_graceful_stop(self):
        self.start_workers()
        self.start_job()
        self.stop_workers("--no-wait")
        self.stop_workers("--now")
        self.assertEqual(self.state("long"), "pending")
        self.audit(["long"])

    def test_a_single_worker_can_be_stopped_and_is_not_replaced(self):
        ((stopped, _), (other, _)) = self.start_workers("-c", "2")
        self.stop_workers(str(stopped))
        self.assertEqual([worker["id"] for worker in self.live_workers()], [other])
        self.run_cli("enqueue", "--id", "a", "true")
        self.wait_for_state("a", "completed")
        self.assertEqual([worker["id"] for worker in self.live_workers()], [other])

    def test_stop_names_an_unknown_worker_and_stops_none(self):
        self.start_workers()
        result = self.stop_workers("1", "99", code=1)
        self.assertIn("99", result.stderr)
        self.assertEqual(self.live_workers()[0]["state"], "idle")
        self.run_cli("worker", "stop", "x", code=2)
        self.run_cli("worker", "stop", "--timeout", "-1", code=2)

    def test_stop_without_workers_is_not_an_error(self):
        self.assertIn("no worker", self.stop_workers().stderr)

    def test_a_stopping_worker_starts_no_job(self):
        """A graceful stop in the middle of 200 jobs: none is lost, and none runs twice."""
        # From the 40th on, jobs wait for the stop.
        gate = "[ $(wc -l <ran) -lt 40 ] || until [ -e go ]; do sleep 0.02; done"
        ids = self.enqueue_lines([f"echo $QUEUECTL_JOB_ID >>ran; {gate}"] * 200)
        workers = self.start_workers("-c", "4")
        wait_until(lambda: self.read("ran").count("\n") >= 40, message="the jobs did not run")
        self.stop_workers("--no-wait")
        self.write("go", "")
        self.wait_until_gone([pid for _, pid in workers])
        states = self.states()
        self.assertLess(states.get("completed"), 200, "all jobs finished before the stop")
        self.assertEqual(set(states), {"completed", "pending"})
        ran = self.read("ran").split()
        self.assertEqual(len(ran), states["completed"])
        self.audit(ids)
        self.start_workers("-c", "4")
        self.wait_until_all_finished()
        self.assertEqual(sorted(self.read("ran").split()), sorted(ids))
        self.assertEqual(self.states(), {"completed": 200})
        self.audit(ids)


class InheritedTest(WorkersTestCase):
    """A fleet works with any inherited signals and descriptors, and doesn't keep them."""

    def run_after(self, setup: str, *words: str) -> list[str]:
        """The command line that runs queuectl after the statements `setup`, in the same process."""
        script = f"import os, signal, sys\n{setup}\nos.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
        return [sys.executable, "-c", script, PROGRAM, *words]

    def test_a_fleet_works_with_every_signal_blocked_and_sigchld_ignored(self):
        setup = (
            "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
            "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())"
        )
        killer = "[ -e once ] || { touch once; kill -9 $PPID; sleep 60; }"
        self.enqueue("--id", "killer", "--backoff-base", "0", "--", killer)
        self.enqueue("--id", "child", "--", "sh -c 'exit 3' & wait $!; [ $? = 3 ]")
        words = self.run_after(setup, "worker", "start", "--drain", "--foreground")
        process = subprocess.Popen(words, env=self.environment, cwd=self.folder, stderr=subprocess.DEVNULL)
        self._started.append(process)
        self.assertEqual(process.wait(30), 0)
        self.assertEqual([self.state(id) for id in ("killer", "child")], ["completed"] * 2)
        words = self.run_after(setup, "worker", "start")
        started = subprocess.run(words, env=self.environment, stdout=subprocess.DEVNULL, timeout=30, check=False)
        self.assertEqual(started.returncode, 0)
        self.stop_workers()

    def test_background_workers_keep_none_of_the_callers_descriptors(self):
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        process = self.start_cli("worker", "start", pass_fds=(writer,), stdout=subprocess.DEVNULL)
        os.close(writer)
        self.assertEqual(process.wait(30), 0)
        self.assertEqual(select.select([reader], [], [], 20)[0], [reader], "a worker holds the caller's pipe")
        self.assertEqual(os.read(reader, 1), b"")

    def test_foreground_workers_under_nohup_survive_a_hangup(self):
        setup = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
        words = self.run_after(setup, "worker", "start", "--foreground")
        process = subprocess.Popen(words, env=self.environment, cwd=self.folder, stderr=subprocess.DEVNULL)
        self._started.append(process)
        self.enqueue("--id", "first", "true")
        self.wait_for_state("first", "completed")
        process.send_signal(signal.SIGHUP)
        self.enqueue("--id", "second", "true")
        self.wait_for_state("second", "completed")
        self.assertIsNone(process.poll())
        self.assertEqual(len(self.live_workers()), 1)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(30), 0)

    def test_a_job_started_without_posix_spawn_gets_default_signals(self):
        patch = "def no_spawn(*_, **__): raise NotImplementedError\nos.posix_spawnp = no_spawn"
        id = self.enqueue("--max-retries", "0", "--", "kill -HUP $$; sleep 60")
        words = patched(patch, "worker", "start", "--drain", "--foreground")
        result = subprocess.run(words, env=self.environment, stderr=subprocess.DEVNULL, timeout=30, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertEqual(self.job(id)["error"], "killed by SIGHUP")

    def test_an_unwritable_stderr_does_not_change_the_exit_code(self):
        self.enqueue("--id", "a", "true")
        with open("/dev/full", "wb") as full:
            for words, code in ((("cancel", "nobody"), 1), (("list", "--state", "x"), 2), (("status",), 0)):
                process = self.start_cli(*words, stdout=subprocess.DEVNULL, stderr=full)
                self.assertEqual(process.wait(30), code, words)


class SignalTest(WorkersTestCase):
    def test_sigterm_or_sigint_stops_a_worker_gracefully_and_it_is_not_replaced(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            ((_, pid),) = self.start_workers()
            id = self.start_job("sleep 0.4; echo done", id=f"job{number}")
            os.kill(pid, number)
            self.wait_until_gone([pid])
            self.assertEqual(self.state(id), "completed")
            self.assertEqual(self.live_workers(), [])
            self.assertEqual(self.job(id)["attempts"], 1)
        self.audit()

    def test_a_signaled_worker_claims_no_other_job(self):
        ((_, pid),) = self.start_workers()
        self.start_job("until [ -e go ]; do sleep 0.02; done")
        ids = self.enqueue_lines(["sleep 0.1"] * 20)
        os.kill(pid, signal.SIGTERM)
        self.write("go", "")  # The job ends after the signal is sent, so the worker sees the signal first.
        self.wait_until_gone([pid])
        self.assertEqual(self.states(), {"completed": 1, "pending": 20})
        self.audit(["long", *ids])

    def test_a_second_signal_to_a_worker_means_now(self):
        for first, second in ((signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGTERM)):
            ((_, pid),) = self.start_workers("-q", f"q{first}")
            id = self.start_job("sleep 60", "-q", f"q{first}", id=f"job{first}")
            os.kill(pid, first)
            # Pending signals with the same number merge, and nothing shows that the worker has received the first.
            sleep_to_see_nothing_happen(0.5)
            self.assertEqual(self.state(id), "processing")
            os.kill(pid, second)
            self.wait_until_gone([pid])
            job = self.job(id)
            self.assertEqual((job["state"], job["attempts"]), ("pending", 0))
            self.assertTrue(process_is_gone(self.job_pid(id)))
        self.audit()

    def test_a_signal_to_the_supervisor_stops_all_its_workers_and_a_second_one_means_now(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            process = self.start_foreground("-c", "2")
            id = self.start_job("sleep 60", id=f"job{number}")
            process.send_signal(number)
            wait_until(lambda: len(self.live_workers()) == 1, message="the idle worker is still there")
            self.assertIsNone(process.poll())
            self.assertEqual((self.live_workers()[0]["state"], self.state(id)), ("stopping", "processing"))
            process.send_signal(number)
            self.assertEqual(process.wait(20), 0)
            job = self.job(id)
            self.assertEqual((job["state"], job["attempts"]), ("pending", 0))
            self.run_cli("cancel", id)
        self.audit()

    def test_a_signal_to_a_background_supervisor_stops_its_workers_gracefully(self):
        ((_, pid),) = self.start_workers()
        self.start_job("sleep 0.4")
        (supervisor,) = self.supervisors()
        os.kill(supervisor, signal.SIGTERM)
        self.wait_until_gone([pid, supervisor])
        self.assertEqual(self.state("long"), "completed")
        self.audit(["long"])

    def test_ctrl_c_in_a_terminal_never_reaches_the_job(self):
        process = self.start_foreground(start_new_session=True)
        self.start_job("sleep 0.5; echo finished")
        os.killpg(process.pid, signal.SIGINT)  # A terminal signals the whole group.
        self.assertEqual(process.wait(20), 0)
        self.assertEqual(self.state("long"), "completed")
        self.assertEqual(self.run_cli("logs", "long").stdout, "finished\n")
        stderr = process.stderr.read()
        self.assertNotIn(b"Traceback", stderr)


class ForegroundTest(WorkersTestCase):
    def test_a_foreground_fleet_logs_to_stderr_and_prints_nothing_to_stdout(self):
        self.run_cli("enqueue", "--id", "a", "exit 3", code=0)
        self.run_cli("config", "set", "backoff-base", "0")
        process = self.start_cli(
            "worker", "start", "--foreground", "--drain", stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.run_cli("cancel", "a", code=None)
        stdout, stderr = process.communicate(timeout=30)
        self.assertEqual(stdout, b"")
        self.assertIn(b"worker 1", stderr)
        self.assertNotIn(b"Traceback", stderr)

    def test_drain_exits_0_if_every_job_succeeded_and_1_if_one_died(self):
        self.run_cli("config", "set", "backoff-base", "0.1")
        for code, exit_code in (("0", 0), ("3", 1), ("0", 0)):
            self.enqueue("--max-retries", "1", "--", "exit " + code)
            result = self.run_cli("worker", "start", "--foreground", "--drain", code=exit_code)
            self.assertEqual(result.stdout, "")
        self.assertEqual(self.states(), {"completed": 2, "dead": 1})
        self.assertEqual(list(self.processes()), [])
        self.audit()

    def test_drain_ignores_dead_jobs_of_other_queues(self):
        self.enqueue("--max-retries", "0", "-q", "a", "--", "exit 1")
        self.enqueue("-q", "b", "true")
        self.run_cli("worker", "start", "--foreground", "--drain", "-q", "b", code=0)
        self.run_cli("worker", "start", "--foreground", "--drain", "-q", "a", code=1)

    def test_drain_of_an_empty_queue_exits_immediately(self):
        self.run_cli("worker", "start", "--foreground", "--drain")
        self.start_workers("--drain", "-c", "2")
        wait_until(lambda: not self.processes(), message="a drained worker is still running")

    def test_drain_waits_for_delays_and_backoffs(self):
        began = time.monotonic()
        self.enqueue("--delay", "500ms", "--max-retries", "1", "--backoff-base", "0.5", "--", "exit 1")
        self.enqueue("echo now")
        self.run_cli("worker", "start", "--foreground", "--drain", "-c", "3", code=1)
        self.assertGreater(time.monotonic() - began, 1.0 - 0.1)
        self.assertEqual(self.states(), {"completed": 1, "dead": 1})
        self.audit()

    def test_many_workers_drain_a_queue_completely(self):
        ids = self.enqueue_lines(["true"] * 60)
        self.run_cli("worker", "start", "--foreground", "--drain", "-c", "4")
        self.assertEqual(self.states(), {"completed": 60})
        self.assertEqual(self.rows("SELECT * FROM queuectl_workers"), [])
        self.audit(ids)


class EnvironmentTest(WorkersTestCase):
    def test_an_env_file_reaches_the_jobs_and_is_never_stored(self):
        secret = f"s3cr3t-{os.getpid()}"
        lines = [
            "# comment",
            "",
            "SECRET=" + secret,
            "SPACES= a  b ",
            'QUOTES="x"',
            "EMPTY=",
            "TAKEN",
            "ABSENT",
        ]
        path = self.write("env", "\n".join(lines))
        self.start_workers("--env-file", path, env={"TAKEN": "from-here"})
        id = self.enqueue('printf \'%s|\' "$SPACES" "$QUOTES" "$EMPTY" "$TAKEN" "${ABSENT-none}" ${#SECRET}')
        own = self.enqueue("-e", "SECRET=own", "echo $SECRET")
        self.wait_for_state(id, "completed")
        self.wait_for_state(own, "completed")
        self.assertEqual(self.run_cli("logs", id).stdout, f' a  b |"x"||from-here|none|{len(secret)}|')
        self.assertEqual(self.run_cli("logs", own).stdout, "own\n")
        self.stop_workers()
        for name in os.listdir(self.folder):
            if os.path.isfile(self.path(name)) and name.startswith("q.db"):
                with open(self.path(name), "rb") as file:
                    self.assertNotIn(secret.encode(), file.read(), name)
        shown = self.run_cli("list", "--json").stdout + self.run_cli("show", id, "--json").stdout
        self.assertNotIn(secret, shown)

    def test_a_bad_line_of_an_env_file_is_not_shown(self):
        result = self.run_cli(
            "worker", "start", "--env-file", self.write("env", "A=1\nMY SECRET=hush\n"), code=2
        )
        self.assertIn("line 2", result.stderr)
        self.assertNotIn("hush", result.stderr)

    def test_jobs_inherit_no_descriptors_and_read_an_empty_input(self):
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        for fd in (reader, writer):
            os.set_inheritable(fd, True)
        process = self.start_cli("worker", "start", stdout=subprocess.PIPE, close_fds=False)
        process.communicate(timeout=20)
        id = self.enqueue(f"wc -c; for fd in 3 4 5 6 7 8 9 {reader} {writer}; do"
                          " [ -e /dev/fd/$fd ] && echo open $fd; done; true")  # fmt: skip
        self.wait_for_state(id, "completed")
        lines = self.run_cli("logs", id).lines
        self.assertEqual(lines[0].strip(), "0")
        self.assertEqual(lines[1:], [])

    def test_a_job_has_its_own_session_and_group_and_default_signals(self):
        if not os.path.exists("/proc/self/status"):
            self.skipTest("needs /proc")
        ((_, _pid),) = self.start_workers()
        id = self.enqueue("echo $$; ps -o pid=,pgid=,sid= -p $$; grep -E 'Sig(Ign|Blk)' /proc/self/status")
        self.wait_for_state(id, "completed")
        lines = self.run_cli("logs", id).lines
        self.assertEqual(lines[1].split(), [lines[0]] * 3)
        self.assertEqual(len(lines), 4)
        for line in lines[2:]:
            # Signals above 31 are inherited from the process that started the tests.
            self.assertEqual(int(line.split()[1], 16) & 0x7FFFFFFF, 0, line)

    @unittest.skipUnless(os.path.exists("/proc/self/status"), "needs /proc")
    def test_a_signal_that_the_caller_ignores_stays_ignored_in_jobs_unless_they_need_it(self):
        start = f'trap "" ALRM HUP INT; exec {sys.executable} {PROGRAM} worker start --drain --foreground'
        ids = [self.enqueue("--", "grep", "SigIgn", "/proc/self/status"), self.enqueue("grep SigIgn /proc/$$/status")]
        subprocess.run(["/bin/sh", "-c", start], env=self.environment, stderr=subprocess.DEVNULL, check=True)
        for id in ids:
            ignored = int(self.run_cli("logs", id).stdout.split()[1], 16)
            self.assertEqual(ignored & 0x7FFFFFFF, 1 << (signal.SIGALRM - 1))


class RescueTest(WorkersTestCase):
    def test_a_killed_worker_is_replaced_and_its_job_runs_again_and_never_twice_at_once(self):
        ((id, pid),) = self.start_workers()
        # An attempt reports any earlier attempt that is still running.
        command = (
            f"touch pids; for pid in $(cat pids); do {RUNS} && echo $pid >> overlap; done; echo $$ >> pids;"
            " echo start >> ran; [ $(wc -l < ran) -ge 2 ] || sleep 60; echo done"
        )
        self.run_cli("enqueue", "--id", "a", "--backoff-base", "0.1", "--", command)
        wait_until(lambda: self.read("ran"), message="the job did not start")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: process_is_gone(pid))
        self.wait_for_state("a", "completed")
        job = self.job("a")
        self.assertEqual([a["outcome"] for a in job["history"]], ["lost", "exit"])
        self.assertEqual(job["history"][0]["error"], "worker lost")
        self.assertEqual(job["attempts"], 2)
        self.assertEqual(self.read("overlap"), "")
        (replacement,) = self.live_workers()
        self.assertNotEqual(replacement["id"], id)
        self.audit(["a"])

    def test_processes_of_a_lost_attempt_are_ended_before_the_job_runs_again(self):
        ((_, pid),) = self.start_workers()
        # A child in its own session, and one that cleared its environment.
        self.start_job(
            "setsid sh -c 'echo $$ > escaped.pid; sleep 60' &"
            " env -i sh -c 'echo $$ > bare.pid; exec sleep 60' & sleep 60",
            "--max-retries", "0",
        )  # fmt: skip
        wait_until(lambda: self.read("escaped.pid") and self.read("bare.pid"))
        processes = [int(self.read(name)) for name in ("escaped.pid", "bare.pid", "long.pid")]
        os.kill(pid, signal.SIGKILL)
        self.wait_for_state("long", "dead")
        for process in processes:
            self.assertTrue(process_is_gone(process), f"{process} was left running")
        job = self.job("long")
        self.assertEqual((job["attempts"], job["error"], job["exit_code"]), (1, "worker lost", None))
        self.audit(["long"])

    def test_a_job_that_keeps_killing_its_worker_ends_up_in_the_dlq(self):
        self.start_workers("-c", "2")
        self.run_cli("enqueue", "--id", "killer", "--max-retries", "2", "--backoff-base", "0.05", "--",
                     "kill -9 $PPID; sleep 60")  # fmt: skip
        self.wait_for_state("killer", "dead", timeout=40)
        job = self.job("killer")
        self.assertEqual([a["outcome"] for a in job["history"]], ["lost"] * 3)
        self.run_cli("enqueue", "--id", "a", "true")
        self.wait_for_state("a", "completed")
        self.audit(["killer", "a"])

    def test_workers_survive_their_supervisor_and_can_still_be_stopped(self):
        workers = self.start_workers("-c", "2")
        (supervisor,) = self.supervisors()
        os.kill(supervisor, signal.SIGKILL)
        wait_until(lambda: process_is_gone(supervisor))
        self.run_cli("enqueue", "--id", "a", "true")
        self.wait_for_state("a", "completed")
        self.assertEqual(len(self.live_workers()), 2)
        self.stop_workers()
        self.wait_until_gone([pid for _, pid in workers])
        self.assertEqual(self.rows("SELECT * FROM queuectl_workers"), [])
        self.audit(["a"])

    def test_siblings_without_a_supervisor_rescue_each_other(self):
        self.start_workers("-c", "2")
        (supervisor,) = self.supervisors()
        os.kill(supervisor, signal.SIGKILL)
        self.start_job("[ -e again ] || { touch again; sleep 60; }", "--backoff-base", "0.1")
        (pid,) = [worker["pid"] for worker in self.live_workers() if worker["job"]]
        os.kill(pid, signal.SIGKILL)
        self.wait_for_state("long", "completed")
        self.assertEqual([a["outcome"] for a in self.job("long")["history"]], ["lost", "exit"])
        self.audit(["long"])

    def test_the_next_start_rescues_the_jobs_of_a_dead_fleet(self):
        ((_, pid),) = self.start_workers()
        (supervisor,) = self.supervisors()
        self.start_job("[ -e again ] || { touch again; sleep 60; }", "--backoff-base", "0.1")
        os.kill(supervisor, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: process_is_gone(pid) and process_is_gone(supervisor))
        # Read-only commands report dead workers but rescue nothing.
        self.assertEqual(self.run_cli("status", "--json").json["workers"], [])
        self.run_cli("list")
        self.assertEqual(self.state("long"), "processing")
        self.start_workers()
        self.wait_for_state("long", "completed")
        self.audit(["long"])

    def test_after_a_reboot_running_jobs_are_rescued_and_no_unrelated_process_is_signaled(self):
        """Rows from an earlier boot name PIDs that other processes have now."""
        bystander = subprocess.Popen(["sleep", "60"])
        self.addCleanup(bystander.wait)
        self.addCleanup(bystander.kill)
        store = self.store()
        self.run_cli("enqueue", "--id", "a", "--backoff-base", "0.1", "true")
        worker = store.register("worker", None, Identity(bystander.pid, "earlier-boot/1", "1"), None, "test")
        job = store.claim(worker, None).job
        store.record(job, NO_OUTPUT, Identity(bystander.pid, "earlier-boot/1", "1"))
        self.assertEqual(self.live_workers(), [])
        self.stop_workers("--now")
        self.start_workers()
        self.wait_for_state("a", "completed")
        self.assertIsNone(bystander.poll())
        self.assertEqual([a["outcome"] for a in self.job("a")["history"]], ["lost", "exit"])
        self.audit(["a"])

    def test_a_process_that_reuses_a_workers_pid_is_left_alone(self):
        bystander = subprocess.Popen(["sleep", "60"])
        self.addCleanup(bystander.wait)
        self.addCleanup(bystander.kill)
        store = self.store()
        store.register("worker", None, Identity(bystander.pid, boot(), "1"), None, "test")
        store.register("supervisor", None, Identity(bystander.pid, boot(), "1"), None, "test")
        self.assertEqual(self.live_workers(), [])
        self.stop_workers("--now")
        self.assertIsNone(bystander.poll())

    def test_workers_started_by_a_job_outlive_it(self):
        """They don't belong to the attempt, so ending it leaves them and their jobs alone."""
        self.start_workers("-q", "default")
        start = f"{sys.executable} {PROGRAM} worker start -q other"
        self.run_cli("enqueue", "--id", "starter", "--", start + "; touch started; sleep 60")
        wait_until(lambda: os.path.exists(self.path("started")), message="the job started no worker")
        self.start_job("until [ -e go ]; do sleep 0.02; done", "-q", "other")
        self.run_cli("cancel", "starter")
        self.write("go", "")
        self.wait_for_state("long", "completed")
        self.assertEqual(len(self.job("long")["history"]), 1)
        self.assertEqual(len(self.live_workers()), 2)

    def test_a_live_workers_job_is_never_rescued_however_long_it_runs(self):
        self.start_workers("-c", "2")
        self.start_job("sleep 2.5; echo done")
        self.start_workers("-c", "2")  # `worker start` sweeps.
        self.wait_for_state("long", "completed")
        self.assertEqual(len(self.job("long")["history"]), 1)
        self.audit(["long"])

    def test_a_stopped_worker_counts_as_alive(self):
        """SIGSTOP, a debugger or a sleeping laptop doesn't make a worker lost."""
        ((_, pid),) = self.start_workers()
        self.start_job("until [ -e go ]; do sleep 0.02; done; echo done")
        os.kill(pid, signal.SIGSTOP)
        try:
            self.write("go", "")
            self.start_workers()
            sleep_to_see_nothing_happen(HEALTH_CHECK + 0.2)  # Long enough for the new worker to look for dead ones.
            self.assertEqual(self.state("long"), "processing")
        finally:
            os.kill(pid, signal.SIGCONT)
        self.wait_for_state("long", "completed")
        self.assertEqual(len(self.job("long")["history"]), 1)
        self.audit(["long"])

    @unittest.skipUnless(sys.platform.startswith("linux"), "needs Linux's subreaper")
    def test_zombies_that_are_never_reaped_delay_no_job(self):
        """In a container whose PID 1 reaps nothing, orphans stay zombies forever."""
        script = (
            "import ctypes, subprocess, sys\n"
            "ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n"  # PR_SET_CHILD_SUBREAPER
            f"child = subprocess.Popen([sys.executable, {PROGRAM!r}, 'worker', 'start', '--foreground', '--drain'])\n"
            "sys.exit(child.wait())\n"
        )
        # If the worker waited for the zombie, it would take the whole kill-grace, and process.wait would time out.
        self.run_cli("config", "set", "kill-grace", "5m")
        self.run_cli("enqueue", "--id", "a", "--", "sleep 60 & echo done")
        process = subprocess.Popen(
            [sys.executable, "-c", script], env=self.environment, cwd=self.folder, stderr=subprocess.PIPE
        )
        self._started.append(process)
        try:
            self.assertEqual(process.wait(30), 0)
        finally:
            process.kill()
        self.assertEqual(self.state("a"), "completed")

    def test_the_bell_of_a_killed_worker_is_removed(self):
        _, (victim, pid) = self.start_workers("-c", "2")
        bells = self.db + "-bells"
        self.assertIn(str(victim), os.listdir(bells))
        os.kill(pid, signal.SIGKILL)
        others = "SELECT 1 FROM queuectl_workers WHERE role = 'worker' AND id <> ?"
        wait_until(lambda: len(self.rows(others, victim)) == 2, message="the worker was not replaced")
        # The supervisor rescues a worker's job before it starts the replacement.
        self.assertNotIn(str(victim), os.listdir(bells))


class ReplacementTest(WorkersTestCase):
    def test_workers_that_keep_dying_young_are_replaced_at_growing_intervals(self):
        patch = "from queuectl_core.workers import supervisor\nsupervisor.run_worker = lambda *_: os._exit(7)"
        began = time.monotonic()
        with open(self.path("stderr"), "wb") as stderr:
            process = subprocess.Popen(
                patched(patch, "worker", "start", "--foreground"), env=self.environment, stderr=stderr
            )
        self._started.append(process)
        deaths = r"a worker died \(exit 7\); replacing it in (\S+)s"
        wait_until(lambda: len(re.findall(deaths, self.read("stderr"))) >= 4, message="the workers did not die")
        took = time.monotonic() - began
        self.assertEqual(re.findall(deaths, self.read("stderr"))[:4], ["0.1", "0.2", "0.4", "0.8"])
        self.assertGreaterEqual(took, 0.1 + 0.2 + 0.4)

    def test_the_replacement_delay_is_capped_and_reset_once_a_worker_has_lived_long_enough(self):
        now = 1000.0
        slot = Slot(0)

        def delay_after(age: float) -> float:
            nonlocal now
            slot.started_at = now
            now += age
            slot.schedule_replacement()
            self.assertEqual(slot.start_at, now + slot.delay)
            return slot.delay

        clock = types.SimpleNamespace(monotonic=lambda: now)
        with unittest.mock.patch("queuectl_core.workers.slot.time", clock):
            delays = [delay_after(0.5) for _ in range(12)]
            self.assertEqual(delays, [min(30, 0.1 * 2**n) for n in range(12)])
            self.assertEqual(delay_after(YOUNG), 0)
            self.assertEqual(delay_after(0.5), 0.1)


class ManyTest(WorkersTestCase):
    def test_500_jobs_on_8_workers_from_two_starts_each_run_exactly_once(self):
        ids = self.enqueue_lines([f"echo $QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT >> {self.path('ran')}"] * 500)
        self.assertEqual(len(set(ids)), 500)
        starts = [self.start_cli("worker", "start", "-c", "4", stdout=subprocess.DEVNULL) for _ in range(2)]
        for process in starts:
            self.assertEqual(process.wait(30), 0)
        self.wait_until_all_finished(60)
        ran = collections.Counter(line.split()[0] for line in self.read("ran").splitlines())
        self.assertEqual(ran, collections.Counter(ids))
        self.assertEqual(self.states(), {"completed": 500})
        self.assertGreater(len(self.rows("SELECT DISTINCT worker FROM queuectl_attempts")), 1)
        self.audit(ids)

    def test_all_data_survives_a_stop_and_a_start(self):
        self.run_cli("config", "set", "max-retries", "1")
        ids = [
            self.enqueue("--id", "done", "--", "echo output"),
            self.enqueue("--id", "dead", "--max-retries", "0", "--", "exit 9"),
            self.enqueue("--id", "failed", "--backoff-base", "1000", "--", "exit 9"),
        ]
        self.start_workers("-c", "2")
        self.wait_for_state("done", "completed")
        self.wait_for_state("dead", "dead")
        self.wait_for_state("failed", "failed")
        ids += [self.enqueue("--id", "later", "--delay", "1h", "true")]
        self.stop_workers()
        ids += [self.enqueue("--id", "waiting", "echo late")]
        before = self.jobs()
        self.audit(ids)
        self.start_workers()
        self.wait_for_state("waiting", "completed")
        after = self.jobs()
        for id in ("done", "dead", "failed", "later"):
            self.assertEqual(after[id], before[id])
        self.assertEqual(self.run_cli("logs", "done").stdout, "output\n")
        self.assertEqual(self.run_cli("config", "get", "max-retries").stdout, "1\n")
        self.audit(ids)

    def test_randomly_killed_workers_lose_no_job_and_never_run_one_twice_at_once(self):
        """The audit after each round of kills finds lost jobs and overlapping attempts."""
        command = "mkdir d$QUEUECTL_JOB_ID.$QUEUECTL_ATTEMPT; sleep 0.03; echo $QUEUECTL_JOB_ID >> ran;"
        ids = self.enqueue_lines([command] * 60, "--backoff-base", "0.01", "--max-retries", "20")
        self.start_workers("-c", "3")
        for round in range(5):
            target = 8 * (round + 1)
            wait_until(
                lambda target=target: self.read("ran").count("\n") >= target, message="the jobs did not run"
            )
            for worker in self.live_workers()[:2]:
                try:
                    os.kill(worker["pid"], signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.audit(ids)
        self.wait_until_all_finished(60)
        self.assertEqual(self.states(), {"completed": 60})
        self.assertEqual(set(self.read("ran").split()), set(ids))
        self.audit(ids)


if __name__ == "__main__":
    unittest.main()
