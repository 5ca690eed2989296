"""Habits from other implementations of this system work."""

from __future__ import annotations

from tests.harness import QueueTestCase

SAMPLE = (
    '{"id":"job1","command":"sleep 2","state":"pending","attempts":0,"max_retries":3,'
    '"created_at":"2025-11-04T10:30:00Z","updated_at":"2025-11-04T10:30:00Z"}'
)


class HabitsTest(QueueTestCase):
    def test_a_complete_job_with_old_timestamps_gets_new_ones(self):
        self.assertEqual(self.run_cli("enqueue", SAMPLE).stdout, "job1\n")
        job = self.job("job1")
        self.assertGreater(job["created_at"], "2025-11-05")
        self.assertGreater(job["updated_at"], "2025-11-05")

    def test_settings_are_shown_and_set_as_in_other_tools(self):
        listed = self.run_cli("config", "list").stdout
        self.assertEqual(self.run_cli("config", "get").stdout, listed)
        self.assertEqual(self.run_cli("config", "show").stdout, listed)
        self.run_cli("config", "set", "--max-retries", "7")
        self.assertEqual(self.run_cli("config", "show", "max-retries").stdout, "7\n")
        self.run_cli("config", "set", "--max-retries=8")
        self.assertEqual(self.run_cli("config", "get", "max_retries").stdout, "8\n")
        for key in ("job-timeout", "default_timeout"):
            self.run_cli("config", "unset", "timeout")
            self.run_cli("config", "set", key, "5m")
            self.assertEqual(self.run_cli("config", "get", "timeout").stdout, "300\n")

    def test_a_setting_that_only_other_tools_need_is_a_warning(self):
        self.create_queue()
        for key in ("poll-interval", "worker_poll_interval", "lease-seconds", "heartbeat_interval"):
            for args in (["set", key, "1"], ["get", key], ["unset", key]):
                result = self.run_cli("config", *args)
                self.assertEqual(result.stdout, "")
                self.assertTrue(result.stderr.startswith(f"queuectl: not needed: {key}: "), result.stderr)
        self.run_cli("config", "set", "max-poll", "1")
        self.run_cli("config", "set", "nonsense", "1", code=2)

    def test_the_command_can_be_an_option(self):
        self.assertEqual(self.run_cli("enqueue", "--command", "echo hi", "--id", "Y").stdout, "Y\n")
        self.assertEqual(self.job("Y")["command"], "echo hi")
        for more in (["true"], ["-"], ["--", "true"], ["--file", "x"]):
            self.run_cli("enqueue", "--command", "echo hi", *more, code=2)
        self.run_cli("enqueue", "--command", "", code=2)

    def test_fields_of_other_tools_are_accepted(self):
        id = self.enqueue(
            '{"command":"true","state":"PENDING","timeout_seconds":5,"maxRetries":1,"runAt":"2030-01-31T08:00:00Z"}'
        )
        job = self.job(id)
        self.assertEqual((job["timeout"], job["max_retries"], job["run_at"]), (5, 1, "2030-01-31T08:00:00.000Z"))

    def test_workers_start_with_daemon_and_status_counts_them(self):
        self.enqueue("true")
        self.assertIn("Active workers: 0\n", self.run_cli("status").stdout)
        self.run_cli("worker", "start", "--daemon", "-c", "2")
        self.assertIn("Active workers: 2\n", self.run_cli("status").stdout)
        self.run_cli("worker", "start", "--daemon", "--foreground", code=2)
        self.stop_workers()

    def test_states_are_known_in_any_case_and_by_other_names(self):
        id = self.enqueue("--max-retries", "1", "--backoff-base", "1000", "false")
        for word in ("queued", "PENDING"):
            self.assertEqual([job["id"] for job in self.run_cli("list", "--json", "-s", word).json], [id])
        for word in ("running", "done", "success"):
            self.assertEqual(self.run_cli("list", "--json", "--state", word).json, [])
        self.start_workers()
        self.wait_for_state(id, "failed")
        self.stop_workers()
        job = self.job(id)
        self.assertEqual((job["next_retry_at"], job["last_error"]), (job["run_at"], job["error"]))
        self.assertIsNotNone(job["next_retry_at"])
        self.assertEqual(self.run_cli("prune", "--dry-run", "--state", "DONE").stdout, "")
