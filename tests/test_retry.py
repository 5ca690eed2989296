"""Retries, backoff, the dead letter queue, revival, cancellation, and their configuration."""

import os
import signal
import time
from datetime import datetime

from queuectl_core.workers.worker import HEALTH_CHECK, POLL
from tests.harness import QueueTestCase, process_is_gone, wait_until


def epoch(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()


class RetryTest(QueueTestCase):
    def test_the_scenario_in_the_mission_works_as_written(self):
        self.run_cli("status")
        self.start_workers("--count", "1")
        self.run_cli("config", "set", "backoff-base", "0.3")  # The mission waits for 2, 4 and 8 seconds.
        self.run_cli("enqueue", '{"id":"job-ok","command":"echo This will succeed"}')
        self.run_cli("enqueue", '{"id":"job-fail","command":"exit 1"}')
        self.wait_for_state("job-fail", "dead")
        self.assertIn("job-ok", self.run_cli("list", "--state", "completed").stdout)
        self.assertEqual(self.run_cli("logs", "job-ok").stdout, "This will succeed\n")
        self.assertRegex(self.run_cli("dlq", "list").stdout, r"job-fail .* 4/4 .* exit 1")
        job = self.job("job-fail")
        self.assertEqual(len(job["history"]), 4)
        self.assertEqual({a["error"] for a in job["history"]}, {"exit 1"})
        self.audit(["job-ok", "job-fail"])
        self.assertEqual(self.run_cli("dlq", "retry", "job-fail").stdout, "job-fail\n")
        self.wait_for_state("job-fail", "dead")
        job = self.job("job-fail")
        self.assertEqual((job["attempts"], len(job["history"])), (4, 8))
        self.run_cli("config", "set", "max-retries", "5")
        self.assertEqual(self.run_cli("config", "get", "default_max_retries").stdout, "5\n")
        self.run_cli("config", "set", "default_max_retries", "6")
        self.assertEqual(self.run_cli("config", "get", "max-retries").stdout, "6\n")
        self.stop_workers()
        self.audit(["job-ok", "job-fail"])

    def test_a_retry_never_starts_before_its_backoff_is_over(self):
        self.start_workers()
        self.run_cli("enqueue", "--id", "a", "--max-retries", "3", "--backoff-base", "0.6", "--", "exit 1")
        self.wait_for_state("a", "dead")
        history = self.job("a")["history"]
        rows = self.rows("SELECT started_at, finished_at FROM queuectl_attempts ORDER BY attempt")
        self.assertEqual(len(history), 4)
        for n in (1, 2, 3):
            waited = rows[n][0] - rows[n - 1][1]
            self.assertGreaterEqual(waited, 0.6**n - 1e-6, f"after attempt {n}")
        self.audit(["a"])

    def test_max_retries_0_runs_a_job_once(self):
        self.start_workers()
        self.run_cli("enqueue", "--id", "a", "--max-retries", "0", "--", "echo x >> ran; exit 1")
        self.run_cli("enqueue", '{"id":"b","max_retries":0,"command":"echo x >> ran; exit 1"}')
        self.wait_for_state("a", "dead")
        self.wait_for_state("b", "dead")
        self.assertEqual(self.read("ran"), "x\nx\n")
        self.audit(["a", "b"])

    def test_a_failed_job_waits_and_shows_when_it_will_be_retried(self):
        self.start_workers()
        self.run_cli("enqueue", "--id", "a", "--backoff-base", "1000", "--", "exit 7")
        self.wait_for_state("a", "failed")
        job = self.job("a")
        self.assertEqual((job["attempts"], job["exit_code"], job["error"]), (1, 7, "exit 7"))
        self.assertIsNone(job["finished_at"])
        self.assertAlmostEqual(epoch(job["run_at"]) - epoch(job["updated_at"]), 1000, delta=1)
        self.assertRegex(self.run_cli("list").stdout, "in 16m")
        self.audit(["a"])

    def test_backoff_max_caps_the_backoff(self):
        self.run_cli("config", "set", "backoff-max", "0.1")
        self.start_workers()
        self.run_cli("enqueue", "--id", "a", "--backoff-base", "1000", "--", "exit 1")
        self.wait_for_state("a", "dead")
        self.assertEqual(len(self.job("a")["history"]), 4)

    def test_a_job_that_succeeds_on_a_later_attempt_is_completed(self):
        self.start_workers()
        self.run_cli("enqueue", "--id", "a", "--backoff-base", "0.05", "--", "[ $QUEUECTL_ATTEMPT = 3 ]")
        self.wait_for_state("a", "completed")
        job = self.job("a")
        self.assertEqual((job["attempts"], job["exit_code"], job["error"]), (3, 0, None))
        self.assertEqual([a["exit_code"] for a in job["history"]], [1, 1, 0])
        self.audit(["a"])

    def test_changing_a_setting_does_not_affect_existing_jobs(self):
        self.run_cli("config", "set", "max_retries", "1")
        self.run_cli("enqueue", "--id", "a", "--backoff-base", "0.01", "--", "exit 1")
        self.run_cli("config", "set", "max_retries", "4")
        self.start_workers("--drain")
        self.wait_for_state("a", "dead")
        self.assertEqual(len(self.job("a")["history"]), 2)


class DeadLetterQueueTest(QueueTestCase):
    def setUp(self) -> None:
        super().setUp()
        lines = ['{"id":"dead%d","command":"[ -e good ]","max_retries":0}' % n for n in range(3)]
        self.ids = self.enqueue_lines([*lines, '{"id":"ok","command":"true"}'])
        self.start_workers("--drain")
        self.wait_until_all_finished()
        wait_until(lambda: not self.processes())

    def test_the_dlq_contains_only_dead_jobs(self):
        self.assertEqual(
            [job["id"] for job in self.run_cli("dlq", "list", "--json").json], ["dead2", "dead1", "dead0"]
        )
        self.assertNotIn("ok", self.run_cli("dlq", "list").stdout)
        self.assertIn("Dead letter queue: 3 jobs", self.run_cli("status").stdout)
        self.assertEqual(self.run_cli("status", "--json").json["dlq"], 3)

    def test_dlq_retry_runs_the_given_jobs_again(self):
        self.write("good", "")
        result = self.run_cli("dlq", "retry", "dead0", "dead2")
        self.assertEqual(result.lines, ["dead0", "dead2"])
        self.assertEqual((self.job("dead0")["attempts"], self.state("dead0")), (0, "pending"))
        self.start_workers("--drain")
        self.wait_for_state("dead0", "completed")
        self.wait_for_state("dead2", "completed")
        self.assertEqual(self.state("dead1"), "dead")
        self.audit(self.ids)

    def test_dlq_retry_all_runs_all_dead_jobs_again(self):
        self.write("good", "")
        self.assertEqual(len(self.run_cli("dlq", "retry", "--all").lines), 3)
        self.start_workers("--drain")
        self.wait_until_all_finished()
        self.assertEqual(self.states(), {"completed": 4})
        result = self.run_cli("dlq", "retry", "--all")
        self.assertEqual(result.stdout, "")
        self.audit(self.ids)

    def test_dlq_retry_refuses_jobs_that_are_not_dead_and_retries_the_others(self):
        result = self.run_cli("dlq", "retry", "ok", "dead1", "nobody", code=1)
        self.assertEqual(result.lines, ["dead1"])
        self.assertEqual(len(result.stderr.splitlines()), 2)
        self.assertEqual(self.state("ok"), "completed")
        for bad in ([], ["--all", "dead0"]):
            self.run_cli("dlq", "retry", *bad, code=2)
        self.assertEqual(self.state("dead0"), "dead")
        self.audit(self.ids)


class ReviveTest(QueueTestCase):
    def test_retry_runs_finished_and_failed_jobs_again_immediately(self):
        self.run_cli("enqueue", "--id", "ok", "true")
        self.run_cli("enqueue", "--id", "gone", "true")
        self.run_cli("enqueue", "--id", "failed", "--backoff-base", "1000", "--", "[ -e good ]")
        self.run_cli("cancel", "gone")
        self.start_workers()
        self.wait_for_state("ok", "completed")
        self.wait_for_state("failed", "failed")
        self.write("good", "")
        self.assertEqual(self.run_cli("retry", "ok", "gone", "failed").lines, ["ok", "gone", "failed"])
        wait_until(lambda: self.states() == {"completed": 3}, message=self.states)
        self.assertEqual([len(self.job(id)["history"]) for id in ("ok", "gone", "failed")], [2, 1, 2])
        self.audit(["ok", "gone", "failed"])

    def test_waiting_and_running_jobs_cannot_be_retried(self):
        self.run_cli("enqueue", "--id", "waits", "--delay", "1h", "true")
        self.run_cli("enqueue", "--id", "runs", "sleep 60")
        self.start_workers()
        self.wait_for_state("runs", "processing")
        for id in ("waits", "runs", "nobody"):
            result = self.run_cli("retry", id, code=1)
            self.assertEqual((result.stdout, len(result.stderr.splitlines())), ("", 1))
        self.assertEqual((self.state("waits"), self.state("runs")), ("pending", "processing"))
        self.audit(["waits", "runs"])

    def test_a_revived_job_wakes_an_idle_worker(self):
        self.start_workers()
        self.run_cli("enqueue", "--id", "a", "true")
        self.wait_for_state("a", "completed")
        self.run_cli("retry", "a")
        wait_until(lambda: len(self.rows("SELECT 1 FROM queuectl_attempts")) == 2)

    def test_a_revived_job_starts_before_an_idle_worker_would_poll(self):
        workers = self.start_workers("-c", "2")
        store = self.store()

        def all_are_idle() -> bool:
            return all(row.idle for row in store.workers() if row.role == "worker")

        wait_until(all_are_idle)
        # The youngest worker is the lookout. It polls often, so keep it from taking the job.
        _, lookout = max(workers)
        os.kill(lookout, signal.SIGSTOP)
        id = self.enqueue("true")
        latencies = []
        for _ in range(5):
            self.wait_for_state(id, "completed")
            wait_until(all_are_idle)
            began = time.time()
            store.revive(id)
            self.wait_for_state(id, "completed")
            latencies.append(store.get(id).started_at - began)
        # Without the bell, it would take HEALTH_CHECK, or POLL if the worker was just about to sleep.
        self.assertLess(min(latencies), POLL / 2, latencies)


class CancelTest(QueueTestCase):
    def test_a_cancelled_pending_job_never_runs(self):
        self.run_cli("enqueue", "--id", "a", "echo ran > ran")
        self.run_cli("enqueue", "--id", "later", "--delay", "1h", "echo ran > ran")
        self.assertEqual(self.run_cli("cancel", "a", "later").lines, ["a", "later"])
        self.run_cli("worker", "start", "--foreground", "--drain")
        self.assertEqual(self.read("ran"), "")
        self.assertEqual(self.states(), {"cancelled": 2})
        self.audit(["a", "later"])

    def test_a_failed_job_can_be_cancelled(self):
        self.start_workers()
        self.run_cli("enqueue", "--id", "a", "--backoff-base", "0.5", "--", "exit 1")
        self.wait_for_state("a", "failed")
        self.run_cli("cancel", "a")
        self.assertEqual(self.state("a"), "cancelled")
        self.audit(["a"])

    def test_cancel_returns_once_a_running_job_and_its_children_have_ended(self):
        self.start_workers()
        self.run_cli("config", "set", "kill-grace", "5m")
        self.run_cli("enqueue", "--id", "a", "--", "sleep 60 & echo $! > pid; echo begun; sleep 60")
        wait_until(lambda: self.read("pid"))
        began = time.monotonic()
        self.assertEqual(self.run_cli("cancel", "a").stdout, "a\n")
        self.assertLess(time.monotonic() - began, 30)  # Less than the kill-grace and the job's 60 s.
        job = self.job("a")
        self.assertEqual((job["state"], job["error"], job["exit_code"]), ("cancelled", "cancelled", None))
        self.assertTrue(process_is_gone(int(self.read("pid"))))
        self.assertEqual(self.run_cli("logs", "a").stdout, "begun\n")
        self.run_cli("enqueue", "--id", "next", "true")
        self.wait_for_state("next", "completed")
        self.audit(["a", "next"])

    def test_a_job_of_a_dead_worker_can_be_cancelled(self):
        ((_, pid),) = self.start_workers()
        self.run_cli("enqueue", "--id", "a", "--", "echo $$ > pid; sleep 60")
        wait_until(lambda: self.read("pid"))
        ((supervisor,),) = self.rows("SELECT pid FROM queuectl_workers WHERE role = 'supervisor'")
        for process in (supervisor, pid):
            os.kill(process, signal.SIGKILL)
            wait_until(lambda process=process: process_is_gone(process))
        self.run_cli("cancel", "a")
        self.assertEqual(self.state("a"), "cancelled")
        self.assertTrue(process_is_gone(int(self.read("pid"))))
        self.audit(["a"])

    def test_cancel_refuses_finished_and_unknown_jobs_and_cancels_the_others(self):
        self.run_cli("enqueue", "--id", "a", "true")
        self.run_cli("enqueue", "--id", "b", "true")
        self.run_cli("cancel", "a")
        result = self.run_cli("cancel", "a", "nobody", "b", code=1)
        self.assertEqual((result.lines, len(result.stderr.splitlines())), (["b"], 2))
        self.run_cli("cancel", code=2)
        self.audit(["a", "b"])

    def test_a_running_job_is_cancelled_before_its_worker_would_check(self):
        self.start_workers()
        store = self.store()
        recorded = "SELECT 1 FROM queuectl_attempts WHERE pid IS NOT NULL AND outcome IS NULL"
        latencies = []
        for _ in range(3):
            id = self.enqueue("exec sleep 60")
            # The worker has just recorded the PID, so its next check is HEALTH_CHECK away.
            wait_until(lambda: self.rows(recorded), message="the job did not start")
            began = time.monotonic()
            store.cancel(id)
            self.wait_for_state(id, "cancelled")
            latencies.append(time.monotonic() - began)
        self.assertLess(min(latencies), HEALTH_CHECK / 2, latencies)


class ConfigTest(QueueTestCase):
    def test_keys_can_be_set_read_listed_and_unset(self):
        self.assertEqual(self.run_cli("config", "get", "max-retries").stdout, "3\n")
        result = self.run_cli("config", "set", "max_retries", "5")
        self.assertEqual(result.stdout, "")
        self.assertEqual(self.run_cli("config", "get", "max-retries").stdout, "5\n")
        self.run_cli("config", "set", "mail.timeout", "5m")
        self.assertEqual(self.run_cli("config", "get", "mail.timeout").stdout, "300\n")
        self.assertEqual(self.run_cli("config", "get", "timeout").stdout, "0\n")
        self.assertEqual(self.run_cli("config", "get", "mail.max_retries").stdout, "5\n")
        listed = self.run_cli("config", "list", "--json").json
        self.assertEqual((listed["max-retries"], listed["mail.timeout"], listed["backoff-base"]), (5, 300, 2))
        self.assertIn("max-retries", self.run_cli("config", "list").stdout)
        self.run_cli("config", "unset", "default_max_retries")
        self.assertEqual(self.run_cli("config", "get", "max-retries").stdout, "3\n")

    def test_key_names_from_earlier_implementations_still_work(self):
        for old, key in (
            ("default_max_retries", "max-retries"), ("default_base_backoff", "backoff-base"),
            ("max_retries", "max-retries"), ("backoff_base", "backoff-base"),
        ):  # fmt: skip
            self.run_cli("config", "set", old, "7")
            self.assertEqual(self.run_cli("config", "get", key).stdout, "7\n")
            self.run_cli("config", "set", key, "8")
            self.assertEqual(self.run_cli("config", "get", old).stdout, "8\n")
        keys = {key for (key,) in self.rows("SELECT key FROM queuectl_config")}
        self.assertEqual(keys, {"max-retries", "backoff-base"})

    def test_unknown_keys_and_bad_values_are_refused_and_change_nothing(self):
        self.run_cli("config", "set", "max-retries", "5")
        before = self.rows("SELECT * FROM queuectl_config")
        for args in (
            ["set", "max-retrys", "1"], ["set", "zzz", "1"], ["set", "", "1"], ["set", "max-retries", "-1"],
            ["set", "max-retries", "1.5"], ["set", "max-retries", "x"], ["set", "max-retries", ""],
            ["set", "max-retries", "99999999999"], ["set", "backoff-base", "nan"],
            ["set", "backoff-base", "inf"],
            ["set", "backoff-base", "-1"], ["set", "timeout", "-5s"], ["set", "timeout", "soon"],
            ["set", "output-limit", "-1"], ["set", "output-limit", "1.5m"], ["set", "output-limit", "²"],
            ["set", "kill-grace", "1e999"], ["set", "a,b.timeout", "1"], ["set", ".timeout", "1"],
            ["set", "timeout"], ["set"], ["get", "zzz"], ["unset", "zzz"], [],
        ):  # fmt: skip
            with self.subTest(args=args):
                result = self.run_cli("config", *args, code=2)
                self.assertEqual((result.stdout, len(result.stderr.splitlines())), ("", 1), result.stderr)
        self.assertEqual(self.rows("SELECT * FROM queuectl_config"), before)
        self.assertIn("did you mean max-retries", self.run_cli("config", "get", "max-retrys", code=2).stderr)
