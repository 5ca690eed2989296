"""Commands inside a job don't wait for that job, which waits for them."""

from __future__ import annotations

import shlex

from tests.harness import PROGRAM, PYTHON, QueueTestCase, process_is_gone, wait_until

Q = shlex.join([*PYTHON, PROGRAM])


class OwnJobTest(QueueTestCase):
    def in_job(self, command: str, *options: object) -> tuple[str, str]:
        """Run a command in the job "own"; returns the state that the job ends in, and what it printed."""
        self.enqueue("--id", "own", "--max-retries", "0", *options, "--", f"{command} 2>&1; echo code $?")
        if not self.rows("SELECT 1 FROM queuectl_workers"):
            self.start_workers("-c", "2")
        state = self.wait_for_state("own", "completed", "dead")
        return state, self.run_cli("logs", "own").stdout

    def test_wait_leaves_out_its_own_job_and_those_that_wait_for_it(self):
        self.enqueue("--id", "other", "sleep 0.3")
        # So that the job can see both, it waits until they exist.
        self.start_workers("-c", "2")
        shown = f"until {Q} show second; do sleep 0.05; done >/dev/null 2>&1; {Q} wait --all"
        self.enqueue("--id", "own", "--", f"{shown} 2>&1; echo code $?")
        self.enqueue("--id", "first", "--after", "own", "true")
        self.enqueue("--id", "second", "--after", "first", "true")
        self.wait_for_state("second", "completed")
        said = "leaving out job own, which runs this, and 2 that wait for it\ncode 0\n"
        self.assertEqual(self.run_cli("logs", "own").stdout, said)
        self.assertEqual(self.state("other"), "completed")

    def test_waiting_for_ones_own_id_is_refused(self):
        state, said = self.in_job(f"{Q} wait own")
        self.assertEqual(said, "queuectl: job own runs this command, so it cannot wait for itself\ncode 1\n")
        self.assertEqual(state, "completed")

    def test_a_job_with_the_same_id_in_another_file_is_waited_for(self):
        other = self.path("other.db")
        self.run_cli("--db", other, "enqueue", "--id", "own", "true")
        _, said = self.in_job(f"{Q} --db {other} wait --all --timeout 0.1")
        self.assertEqual(said, "queuectl: timed out: 1 of 1 job unfinished\ncode 124\n")

    def test_worker_stop_waits_for_the_other_workers_only(self):
        workers = dict(self.start_workers("-c", "2"))
        state, said = self.in_job(f"{Q} worker stop")
        ((own,),) = self.rows("SELECT worker FROM queuectl_attempts")
        (other,) = set(workers) - {own}
        reason = f"not waiting for worker {own}: it runs job own, and that runs this command"
        self.assertEqual((state, said), ("completed", f"{reason}\nworker {other} stopped\ncode 0\n"))
        wait_until(lambda: all(map(process_is_gone, workers.values())), message="the workers did not stop")

    def test_worker_restart_waits_for_the_other_workers_only(self):
        self.start_workers("-c", "2")
        state, said = self.in_job(f"{Q} worker restart")
        self.assertIn("it runs job own, and that runs this command\n", said)
        self.assertTrue(said.endswith("code 0\n"), said)
        self.assertEqual(state, "completed")

    def test_a_drain_in_the_foreground_is_refused(self):
        state, said = self.in_job(f"{Q} worker start --drain --foreground")
        reason = "--drain --foreground would wait for job own, which runs it; leave out --foreground"
        self.assertEqual((state, said), ("completed", f"queuectl: {reason}\ncode 1\n"))

    def test_cancel_all_cancels_every_other_job_before_its_own_ends_it(self):
        self.start_workers()
        ready = self.path("ready")
        self.enqueue("--id", "own", "--", f"until [ -e {ready} ]; do sleep 0.05; done; {Q} cancel --all")
        self.wait_for_state("own", "processing")
        self.enqueue_lines(["true"] * 2000)
        self.write("ready", "")
        self.wait_for_state("own", "cancelled")
        self.assertEqual(self.states(), {"cancelled": 2001})
