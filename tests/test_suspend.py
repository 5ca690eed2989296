"""`suspend` and `continue`: all processes of a running job stop, and nothing is lost, left or stuck."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import time
import unittest

from queuectl_core.lifecycle import Outcome, judge
from queuectl_core.records import Attempt
from queuectl_core.workers.identity import TOKEN_VARIABLE, processes, run_state
from queuectl_core.workers.output import Output
from queuectl_core.workers.process import Command, Invocation
from tests.dashboard_case import DashboardTestCase
from tests.harness import QueueTestCase, process_is_gone, processes_with, sleep_to_see_nothing_happen, wait_until
from tests.test_top_screens import ScreensTestCase

STOPPED = (b"T", b"t", b"D")  # D: its child, which is stopped, is in a vfork.
WAITS = "until [ -e go ]; do sleep 0.02; done"
# Writes a number every few milliseconds, from child processes.
COUNTS = "while :; do n=$((n+1)); echo $n > count; sleep 0.02; done"


class SuspendTestCase(QueueTestCase):
    def start_job(self, command: str, *options: object, is_up: str = "up") -> str:
        """Enqueue a job that touches the file `is_up`, start a worker for it and wait for the file; return its id."""
        id = self.enqueue(*options, "--", command)
        self.start_workers()
        wait_until(lambda: os.path.exists(self.path(is_up)))
        return id

    def of_job(self) -> list[int]:
        """The PIDs of the processes of all running attempts."""
        return [pid for token in self.tokens() for pid in processes_with(TOKEN_VARIABLE, token)]

    def tokens(self) -> list[str]:
        """The tokens of all running attempts."""
        return [token for (token,) in self.rows("SELECT token FROM queuectl_attempts WHERE outcome IS NULL")]

    def are_stopped(self) -> bool:
        """Whether there are processes of running attempts, and all of them are stopped."""
        states = list(map(run_state, self.of_job()))
        return bool(states) and all(state in STOPPED for state in states)

    def suspend(self, id: str) -> None:
        """Suspend a job, and wait until all of its processes are stopped."""
        self.assertEqual(self.run_cli("suspend", id).lines, [id])
        wait_until(self.are_stopped)

    def count(self) -> int:
        """The number that COUNTS wrote last."""
        return int(self.read("count") or 0)


@unittest.skipUnless(os.path.isdir("/proc/self"), "needs /proc to see whether processes are stopped")
class SuspendTest(SuspendTestCase):
    def test_everything_that_a_job_started_stops_and_continues(self):
        id = self.start_job(f"(trap '' TERM; setsid sleep 60) & env -i sleep 60 & touch up; {COUNTS}")
        wait_until(self.count)
        shells = self.of_job()
        self.suspend(id)
        hidden = [each for each in processes() if each.parent in shells and each.pid not in shells]
        self.assertEqual([run_state(each.pid) for each in hidden], [b"T"] * len(hidden))
        count = self.count()
        sleep_to_see_nothing_happen(0.2)
        self.assertEqual(self.count(), count)
        self.assertEqual(self.run_cli("continue", id).lines, [id])
        wait_until(lambda: self.count() > count)
        wait_until(lambda: not any(run_state(pid) in STOPPED for pid in shells))
        self.run_cli("cancel", id)
        wait_until(lambda: all(map(process_is_gone, shells)))
        self.audit()

    def test_a_job_without_a_shell_stops_too(self):
        id = self.enqueue("--", "sleep 60")
        self.start_workers()
        wait_until(self.tokens)
        wait_until(lambda: processes_with(TOKEN_VARIABLE, self.tokens()[0]))
        self.suspend(id)
        self.run_cli("continue", id)
        wait_until(lambda: not self.are_stopped())

    def test_cancelling_ends_it_at_once_and_lets_it_clean_up(self):
        self.run_cli("config", "set", "kill-grace", "1h")
        id = self.start_job("trap 'touch cleaned; exit 1' TERM; setsid sleep 60 & touch up; wait")
        pids = self.of_job()
        self.suspend(id)
        self.run_cli("cancel", id)
        self.assertTrue(os.path.exists(self.path("cleaned")))
        self.assertTrue(all(map(process_is_gone, pids)))
        self.assertEqual(self.rows("SELECT state, suspend FROM queuectl_jobs"), [("cancelled", 0)])

    def test_stopping_its_worker_now_releases_it(self):
        self.run_cli("config", "set", "kill-grace", "1h")
        id = self.start_job("touch up; sleep 60")
        self.suspend(id)
        self.stop_workers("--now")
        self.assertEqual(self.rows("SELECT state, suspend, attempts FROM queuectl_jobs"), [("pending", 0, 0)])
        self.assertEqual(self.run_cli("continue", id, code=1).stderr.count("is not suspended; it is pending"), 1)

    def test_killing_its_worker_ends_it_and_it_runs_again(self):
        id = self.start_job("test -e up && exec true; setsid sleep 60 & touch up; sleep 60")
        pids = self.of_job()
        self.suspend(id)
        os.kill(self.owner(id), signal.SIGKILL)
        self.wait_for_state(id, "completed")
        self.assertTrue(all(map(process_is_gone, pids)))
        self.assertEqual([entry["outcome"] for entry in self.job(id)["history"]], ["lost", "exit"])
        self.audit()

    def test_killing_its_whole_fleet_ends_it_once_another_starts(self):
        id = self.start_job("test -e up && exec true; setsid sleep 60 & touch up; sleep 60")
        pids = self.of_job()
        self.suspend(id)
        for (pid,) in self.rows("SELECT pid FROM queuectl_workers ORDER BY id"):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: all(process_is_gone(pid) for (pid,) in self.rows("SELECT pid FROM queuectl_workers")))
        for words in (("list",), ("show", id), ("continue", id), ("suspend", id), ("continue", "--all")):
            self.assertIn("no workers are running; run: queuectl worker start\n", self.run_cli(*words).stderr)
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.assertEqual(self.state(id), "completed")
        self.assertTrue(all(map(process_is_gone, pids)))

    def test_a_graceful_stop_says_what_it_waits_for_and_what_to_type(self):
        id = self.start_job(f"touch up; {WAITS}")
        self.suspend(id)
        self.write("go", "")
        stopped = self.stop_workers("--timeout", "1", code=124)
        self.assertIn(f"job {id}, which is suspended; run: queuectl continue {id}\n", stopped.stderr)
        self.run_cli("continue", id)
        wait_until(lambda: not self.rows("SELECT * FROM queuectl_workers"))
        self.assertEqual(self.state(id), "completed")

    def test_a_daemon_that_outlives_a_suspended_job_continues(self):
        id = self.start_job(f"setsid sh -c 'touch up; {COUNTS}' & wait", "--max-retries", "0")
        wait_until(self.count)
        self.suspend(id)
        (leader,) = self.rows("SELECT pid FROM queuectl_attempts")[0]
        os.kill(leader, signal.SIGKILL)
        self.wait_for_state(id, "dead")
        count = self.count()
        wait_until(lambda: self.count() > count)
        self.assertEqual(self.rows("SELECT suspend FROM queuectl_jobs"), [(0,)])

    def test_after_many_suspends_and_continues_the_last_one_decides(self):
        id = self.start_job(f"touch up; {COUNTS}")
        with self.store() as store:
            for _ in range(200):
                store.suspend(id)
                store.continue_(id)
            store.suspend(id)
            wait_until(self.are_stopped)
            count = self.count()
            sleep_to_see_nothing_happen(0.1)
            self.assertEqual(self.count(), count)
            for _ in range(200):
                store.continue_(id)
                store.suspend(id)
            store.continue_(id)
        wait_until(lambda: self.count() > count)

    def test_a_job_that_is_suspended_before_it_has_started_stops(self):
        with self.store() as store:
            id = self.enqueue("--", f"touch up; {COUNTS}")
            self.start_workers()
            wait_until(lambda: self.state(id) == "processing")
            store.suspend(id)
        wait_until(self.are_stopped)

    def test_nothing_escapes_by_forking(self):
        escapes = "touch up; while :; do setsid sh -c 'sleep 0.02; (sleep 0.02; echo x >> ran) & ' & wait $!; done"
        id = self.start_job(f"({escapes}) & ({escapes}) & sleep 60")
        self.suspend(id)
        ran, seen = self.read("ran"), sorted(self.of_job())
        sleep_to_see_nothing_happen(0.1)
        self.assertEqual((self.read("ran"), sorted(self.of_job())), (ran, seen))
        self.run_cli("cancel", id)
        wait_until(lambda: not processes_with("QUEUECTL_JOB_ID", id))

    def test_a_shell_with_job_control_does_not_run_its_next_command(self):
        id = self.start_job(f"set -m; sh -c 'touch up; {WAITS}'; touch done")
        self.suspend(id)
        self.write("go", "")
        self.assertFalse(os.path.exists(self.path("done")))
        self.run_cli("continue", id)
        self.wait_for_state(id, "completed")

    def test_a_job_that_another_program_wakes_is_stopped_again(self):
        id = self.start_job(f"touch up; {COUNTS}")
        self.suspend(id)
        (leader,) = self.rows("SELECT pid FROM queuectl_attempts")[0]
        count = self.count()
        wait_until(lambda: os.killpg(leader, signal.SIGCONT) or self.count() > count)
        wait_until(self.are_stopped)

    def test_a_worker_that_missed_its_bell_still_stops_its_job(self):
        id = self.start_job(f"touch up; {COUNTS}")
        self.rows("UPDATE queuectl_jobs SET suspend = 1 WHERE id = ?", id)
        wait_until(self.are_stopped)

    def test_a_suspended_job_continues_if_the_queue_file_is_removed(self):
        id = self.start_job(f"touch up; {WAITS}; touch done")
        self.suspend(id)
        self.write("go", "")
        self.assertFalse(os.path.exists(self.path("done")))
        os.unlink(self.db)
        wait_until(lambda: os.path.exists(self.path("done")))

    def test_workers_in_the_foreground_say_which_job_they_wait_for(self):
        id = self.enqueue("--", "touch up; sleep 60")
        fleet = self.start_cli("worker", "start", "--foreground", stderr=subprocess.PIPE)
        wait_until(lambda: os.path.exists(self.path("up")))
        self.suspend(id)
        fleet.send_signal(signal.SIGINT)
        wait_until(lambda: self.rows("SELECT 1 FROM queuectl_workers WHERE wanted = 'stop'"))
        self.run_cli("cancel", id)
        self.assertIn(f"waiting for job {id}, which is suspended".encode(), fleet.communicate(timeout=20)[1])

    def test_a_job_that_is_being_ended_is_not_shown_as_suspended(self):
        self.run_cli("config", "set", "kill-grace", "1h")
        id = self.start_job(f"trap '{COUNTS}' TERM; touch up; while :; do sleep 0.02; done", "--timeout", "0.1")
        wait_until(self.count)  # It has timed out.
        self.run_cli("suspend", id)
        wait_until(lambda: self.rows("SELECT suspend FROM queuectl_jobs") == [(0,)])
        self.assertEqual(self.state(id), "processing")
        self.assertEqual(self.rows("SELECT suspended_at FROM queuectl_attempts"), [(None,)])
        count = self.count()
        wait_until(lambda: self.count() > count)
        self.stop_workers("--now", "--no-wait")
        self.assertIn("its worker is ending it, to stop now", self.run_cli("suspend", id, code=1).stderr)

    def test_a_suspended_job_counts_against_the_limit_of_its_queue(self):
        self.run_cli("config", "set", "gpu.limit", "1")
        id = self.start_job(f"touch up; {WAITS}", "-q", "gpu")
        self.suspend(id)
        self.write("go", "")
        other = self.enqueue("-q", "gpu", "--", "true")
        self.assertEqual(self.job(other)["reason"], "limit 1")
        self.run_cli("continue", id)
        self.wait_for_state(other, "completed")

    def test_it_is_shown_everywhere_with_the_command_that_continues_it(self):
        id = self.start_job("touch up; sleep 60", "--id", "enc")
        with self.store() as store:
            store.report_progress(store.get(id), 40, None)
        self.suspend(id)
        self.assertRegex(self.run_cli("list").stdout, r"enc +processing .* suspended at 40% ")
        self.assertRegex(self.run_cli("show", id).stdout, r"(?m)^reason +suspended$")
        self.assertRegex(self.run_cli("status").stdout, r"enc .* suspended at 40% ")
        job = self.jobs()[id]
        self.assertEqual((job["suspended"], job["reason"]), (True, "suspended"))
        self.assertEqual(self.rows("SELECT reason FROM queuectl_list"), [("suspended",)])
        waited = self.run_cli("wait", "--timeout", "1.5", code=124).stderr
        self.assertIn("1 job unfinished: suspended; run: queuectl continue enc\n", waited)
        exported = self.run_cli("export").stdout
        self.assertNotIn('"suspended"', exported)


class TimeoutTest(unittest.TestCase):
    def test_a_timeout_is_paused_while_the_command_is_suspended(self):
        with open(os.devnull) as null:
            invocation = Invocation([b"sleep", b"60"], b"/", {b"PATH": os.environb[b"PATH"]}, null.fileno())
            command = Command(invocation, 0.2, 0.0, Output(0))
        command.suspend()
        sleep_to_see_nothing_happen(0.3)
        command.check()
        self.assertFalse(command.is_ending)
        self.assertEqual(command.due_at(), math.inf)
        command.resume()

        def outcome() -> Outcome | None:
            command.check()
            return command.outcome

        self.assertEqual(wait_until(outcome).kind, "timeout")


class RefusalTest(SuspendTestCase):
    def test_jobs_that_cannot_be_suspended_or_continued_get_advice_on_the_right_command(self):
        waiting = self.enqueue("--id", "wait", "--delay", "1h", "--", "true")
        held = self.enqueue("--id", "held", "--hold", "--", "true")
        ended = self.enqueue("--id", "ended", "--", "true")
        self.run_cli("cancel", ended)
        for words, text in (
            (("suspend", waiting), "is pending, not running; to keep it from starting, run: queuectl hold wait"),
            (("suspend", ended), "job ended is cancelled; only running jobs can be suspended"),
            (("suspend", "none"), "no such job: 'none'"),
            (("suspend", "wai"), "no such job: 'wai'"),
            (("continue", waiting), "job wait is not suspended; it is pending"),
            (("continue", held), "it is held; to let it start, run: queuectl release held"),
            (("pause", waiting), "wait is a pending job, not a queue; run: queuectl hold wait"),
            (("resume", held), "held is a pending job, not a queue; run: queuectl release held"),
            (("stop", waiting), "run: queuectl suspend wait"),
            (("freeze", waiting), "run: queuectl suspend wait"),
        ):
            with self.subTest(words):
                self.assertIn(text, self.run_cli(*words, code=None).stderr)
        self.assertEqual(self.run_cli("suspend", "--all").stderr, "no running jobs\n")

    def test_a_job_that_may_run_on_another_machine_is_refused(self):
        self.run_cli("config", "set", "far.runner-kill", "true")
        with self.store() as store:
            self.enqueue("-q", "far", "--id", "a", "--", "true")
            store.claim(self.register_worker(store), None)
        self.assertIn("runner-kill", self.run_cli("suspend", "a", code=1).stderr)

    def test_many_jobs_are_chosen_by_queue_label_or_all(self):
        with self.store() as store:
            for number in range(4):
                options = ("--label", "x") if number % 2 else ()
                self.enqueue("--id", f"job{number}", "-q", f"q{number // 2}", *options, "--", "true")
                store.claim(self.register_worker(store), None)
        self.assertEqual(self.run_cli("suspend", "--label", "x").lines, ["job1", "job3"])
        self.assertEqual(self.run_cli("suspend", "-q", "q0").lines, ["job0"])
        self.assertEqual(self.run_cli("suspend", "job0", "job2").lines, ["job0", "job2"])
        self.assertEqual(self.run_cli("continue", "-q", "q1").lines, ["job2", "job3"])
        result = self.run_cli("continue", "--all")
        self.assertEqual((result.lines, result.stderr), (["job0", "job1"], "continued 2 jobs\n"))

    def test_waiting_jobs_are_held_and_released_by_queue_label_or_all(self):
        self.enqueue_lines(["true", "true"], "-q", "a")
        self.enqueue("--label", "x", "--id", "x", "--", "true")
        self.assertEqual(len(self.run_cli("hold", "-q", "a").lines), 2)
        self.assertEqual(self.run_cli("hold", "--label", "x").lines, ["x"])
        self.assertEqual(len(self.run_cli("release", "--all").lines), 3)


class EndTest(QueueTestCase):
    """Without workers' processes."""

    def test_an_attempt_that_ends_while_suspended_has_seconds_however_it_ends(self):
        now = 1000.0
        with self.store(clock=lambda: now) as store:
            worker = self.register_worker(store)
            for kind in ("exit", "lost", "released", "cancelled"):
                for jump in (5.0, -5.0):  # The clock may be set back.
                    with self.subTest(kind, jump=jump):
                        id = self.enqueue("--", "true")
                        now = time.time()
                        job = store.claim(worker, None).job
                        now += 10
                        store.suspend(id)
                        now += jump
                        if kind == "cancelled":
                            store.cancel(id)
                            self.assertFalse(store.attempts(job)[0].is_suspended)
                            store.cancel(id)
                        outcome = Outcome(kind)
                        store.settle(job, outcome, judge(job, outcome, now))
                        self.assertEqual(store.attempts(job)[0].suspended, max(jump, 0.0))
                        self.assertIsNone(store.attempts(job)[0].suspended_at)
                        self.run_cli("cancel", id, code=None)

    def test_leftovers_of_an_older_versions_worker_suspend_nothing(self):
        with self.store() as store:
            worker = self.register_worker(store)
            id = self.enqueue("--", "true")
            job = store.claim(worker, None).job
            store.suspend(id)
            # Such a worker leaves columns that it doesn't know as they are.
            self.rows("UPDATE queuectl_jobs SET state = 'failed', ready = 1, worker = NULL")
            self.rows("UPDATE queuectl_attempts SET outcome = 'exit', finished_at = started_at")
            self.assertFalse(store.attempts(job)[0].is_suspended)
            self.assertEqual((self.job(id)["suspended"], self.job(id)["reason"]), (False, "workers busy"))
            self.assertIn("is not suspended; it is failed", self.run_cli("continue", id, code=1).stderr)
            claimed = store.claim(worker, None).job
            self.assertEqual((claimed.id, claimed.suspend, store.asked(claimed)), (id, 0, "run"))

    def test_a_job_of_a_worker_of_an_older_version_is_refused_even_among_all(self):
        with self.store() as store:
            id = self.enqueue("--id", "a", "--", "true")
            store.claim(self.register_worker(store), None)
            self.rows("UPDATE queuectl_workers SET schema = 0")
            for words in (id, "--all"):
                refused = self.run_cli("suspend", words, code=1)
                self.assertEqual((refused.stdout, refused.stderr.count("its worker is of an older version")), ("", 1))
            self.assertEqual(self.rows("SELECT suspend FROM queuectl_jobs"), [(0,)])


class ViewsTest(DashboardTestCase, ScreensTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.enqueue("--id", "a", "sleep 60")
        self.enqueue("--id", "waiting", "true")
        self.claim("a")

    def test_top_suspends_the_job_on_screen_and_lets_it_continue(self):
        app = self.top()
        self.select(app, "a")
        self.assertIn("queuectl suspend a", self.press(app, "y"))
        shown = self.press(app, "x", "enter", "s")
        self.assertIn("suspended a   queuectl suspend a", shown)
        self.assertIn("to let it continue: queuectl continue a", shown)
        self.assertRegex(self.press(app, "esc"), r"busy .* suspended +a(.*\n)*.* a +▸ processing .* suspended")
        self.assertEqual(self.rows("SELECT suspend FROM queuectl_jobs")[0], (1,))
        self.assertIn("a continues   queuectl continue a", self.press(app, "enter", "s"))
        self.assertEqual(self.rows("SELECT suspend FROM queuectl_jobs")[0], (0,))
        self.press(app, "esc")
        self.select(app, "waiting")
        self.assertIn("only running jobs can be suspended", self.press(app, "enter", "s"))

    def test_the_dashboard_suspends_a_job_and_lets_it_continue_as_its_commands_say(self):
        dashboard = self.serve(writes=True)
        for verb, other in (("suspend", "continue"), ("continue", "suspend")):
            page = self.page(dashboard, "/job?id=a").html
            self.assertIn(f'href="/do/{verb}?id=a"', page)
            self.assertNotIn(f'href="/do/{other}?id=a"', page)
            self.assertIn(f"queuectl {verb} a", self.page(dashboard, f"/do/{verb}?id=a").text)
            self.assertIn("Done", self.ask(dashboard, f"/do/{verb}", {"id": "a"}).text)
            if verb == "suspend":
                for path in ("/", "/jobs", "/job?id=a"):
                    self.assertIn("suspended queuectl continue a", self.page(dashboard, path).text, path)
        for verb in ("suspend", "continue"):
            self.assertEqual(self.ask(dashboard, f"/do/{verb}?id=waiting").status, 404)


class RunTimeTest(unittest.TestCase):
    def test_time_left_does_not_count_the_time_suspended(self):
        running = Attempt(1, 1, 1000.0, None, None, None, None, 0, progress=50.0)
        self.assertEqual(running.remaining(1010.0), 10)
        suspended = running._replace(suspended_at=1010.0)
        self.assertEqual((suspended.remaining(5000.0), suspended.ran(5000.0)), (None, 10))
        continued = running._replace(suspended=3990.0)
        self.assertEqual(continued.remaining(5000.0), 10)
        self.assertEqual(continued._replace(suspended_at=5005.0).ran(time.time()), 15)


if __name__ == "__main__":
    unittest.main()
