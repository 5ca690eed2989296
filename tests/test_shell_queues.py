"""Order, delays and queues from the shell."""

from __future__ import annotations

import time

from tests.harness import wait_until
from tests.shell import ShellTestCase


class OrderTest(ShellTestCase):
    def run_order(self) -> list[str]:
        """What the jobs appended to the file `order`."""
        return self.read("order").split()

    def test_higher_priority_jobs_run_first_and_equal_priorities_oldest_first(self):
        self.sh(
            """
            for priority in 0 5 -1 5 0; do
                n=$((n + 1)); queuectl enqueue -p $priority -- "echo $n >>order"
            done
            queuectl worker start --drain; queuectl wait
            """
        )
        self.assertEqual(self.run_order(), ["2", "4", "1", "5", "3"])

    def test_a_chain_runs_in_order_across_workers(self):
        self.start_workers("-c", "2")
        self.sh(
            """
            previous=$(queuectl enqueue 'sleep 0.2; echo 0 >>order')
            for n in 1 2 3; do
                previous=$(queuectl enqueue --after $previous -p $n -- "echo $n >>order")
            done
            queuectl wait
            """
        )
        self.assertEqual(self.run_order(), ["0", "1", "2", "3"])

    def test_a_merge_runs_after_all_parts_and_parts_after_their_split(self):
        self.start_workers("-c", "2")
        self.sh(
            """
            split=$(queuectl enqueue 'sleep 0.1; echo split >>order')
            parts=$(seq 5 | queuectl enqueue --after $split --each 'echo part >>order; : {}' -)
            merge=$(queuectl enqueue --after $(echo $parts | tr ' ' ,) 'echo merge >>order')
            queuectl wait $merge
            """
        )
        self.assertEqual(self.run_order(), ["split", *["part"] * 5, "merge"])
        self.audit()

    def test_dependents_of_a_dead_job_wait_until_it_is_revived_and_completes(self):
        self.start_workers()
        self.sh("queuectl enqueue --id a --max-retries 0 -- '[ -e fixed ]'")
        self.sh("queuectl enqueue --id b --after a true")
        self.wait_for_state("a", "dead")
        job = self.job("b")
        self.assertEqual((job["state"], job["after"]), ("pending", ["a"]))
        self.assertEqual(job["reason"], "after a (dead)")
        self.assertIn("after a (dead)", self.run_cli("list", "-s", "pending").stdout)
        self.sh("touch fixed; queuectl dlq retry a; queuectl wait b")
        self.assertEqual((self.state("a"), self.state("b")), ("completed", "completed"))
        self.audit()

    def test_dependents_of_a_cancelled_job_wait_until_it_is_retried(self):
        self.sh("queuectl enqueue --id a true; queuectl enqueue --id b --after a true; queuectl cancel a")
        self.assertEqual(self.job("b")["reason"], "after a (cancelled)")
        self.start_workers()
        self.sh("queuectl wait b", code=1)
        self.sh("queuectl retry a; queuectl wait b")

    def test_a_job_does_not_wait_for_a_completed_dependency(self):
        self.sh("queuectl enqueue --id a true; queuectl worker start --drain; queuectl wait a")
        self.enqueue("--id", "b", "--after", "a", "true")
        self.assertEqual(self.job("b")["reason"], "no worker")

    def test_unknown_dependencies_and_cycles_are_refused(self):
        self.assertIn("no-such-job", self.sh("queuectl enqueue --after no-such-job true", code=1).stderr)
        self.assertIn("itself", self.sh("queuectl enqueue --id a --after a true", code=1).stderr)
        line = '{"id": "%s", "after": ["%s"], "command": "true"}\n'
        cycle = "".join(line % pair for pair in (("x", "y"), ("y", "x")))
        self.assertIn("line 1", self.sh("queuectl enqueue -", code=1, input=cycle.encode()).stderr)
        self.sh("queuectl enqueue --after ' ' true; exit $?", code=2)
        self.assertEqual(self.states(), {})

    def test_a_job_never_starts_before_its_run_at(self):
        self.start_workers()
        began = time.time()
        self.sh("queuectl enqueue --run-at $(($(date +%s) + 1)) 'date +%s.%N >ran'; queuectl wait")
        self.assertGreaterEqual(float(self.read("ran")), int(began) + 1)


class ReasonTest(ShellTestCase):
    def reason(self, id: str) -> str:
        """Why a job waits; asserts that `list` and `show` agree."""
        reason = self.job(id)["reason"]
        shown = "starts in 1h" if reason == "delayed" else reason
        self.assertIn(shown, self.run_cli("list", "-s", "pending", "-s", "failed").stdout)
        self.assertIn(f"reason        {shown}", self.run_cli("show", id).stdout)
        return reason

    def test_every_waiting_job_says_why_it_waits(self):
        self.sh(
            """
            queuectl enqueue --id later --delay 70m true
            queuectl enqueue --id lonely -q unserved true
            queuectl enqueue --id running 'sleep 60'
            queuectl enqueue --id second true
            queuectl enqueue --id limited-1 -q narrow 'sleep 60'
            queuectl enqueue --id limited-2 -q narrow true
            queuectl config set narrow.limit 1
            queuectl worker start -q default; queuectl worker start -q narrow
            """
        )
        self.wait_for_state("running", "processing")
        self.wait_for_state("limited-1", "processing")
        self.assertEqual(self.reason("later"), "delayed")
        self.assertEqual(self.reason("lonely"), "no worker")
        self.assertEqual(self.reason("second"), "workers busy")
        self.assertEqual(self.reason("limited-2"), "limit 1")
        self.run_cli("pause", "default")
        self.assertEqual(self.reason("second"), "paused")
        self.run_cli("pause")
        self.assertEqual(self.reason("limited-2"), "all paused")
        self.assertIsNone(self.job("running")["reason"])


class QueueTest(ShellTestCase):
    def test_a_queue_limit_holds_across_workers(self):
        self.run_cli("config", "set", "narrow.limit", "2")
        self.start_workers("-c", "4")
        self.sh(
            "seq 6 | queuectl enqueue -q narrow --each 'echo + >>log; sleep 0.{}; echo - >>log' -"
            " | queuectl wait -"
        )
        peak = running = 0
        for sign in self.read("log").split():
            running += 1 if sign == "+" else -1
            peak = max(peak, running)
        self.assertEqual((peak, running), (2, 0))

    def test_a_queue_rate_holds_across_workers(self):
        self.run_cli("config", "set", "slow.rate", "5/s")
        self.start_workers("-c", "3")
        self.sh("seq 5 | queuectl enqueue -q slow --each true - | queuectl wait -")
        claimed = [row[0] for row in self.rows("SELECT started_at FROM queuectl_jobs ORDER BY started_at")]
        for before, after in zip(claimed, claimed[1:]):
            self.assertGreaterEqual(after - before, 0.2 - 1e-6)
        for wrong in ("5", "5/d", "0/s", "x/s", "-1/s"):
            self.sh(f"queuectl config set slow.rate {wrong}", code=2)
        self.sh("queuectl config set rate 5/s", code=2)

    def test_workers_take_only_the_queues_they_were_given(self):
        self.sh("for name in a b c; do queuectl enqueue --id $name -q $name true; done")
        self.sh("queuectl worker start -q a -q b; queuectl wait a b")
        self.assertEqual(self.state("c"), "pending")

    def test_jobs_default_to_the_settings_of_their_queue(self):
        self.sh(
            """
            queuectl config set max-retries 7
            queuectl config set mail.max-retries 0
            queuectl config set mail.timeout 90s
            queuectl enqueue --id a -q mail true
            queuectl enqueue --id b -q mail --timeout 5 true
            queuectl enqueue --id c true
            queuectl config unset mail.timeout
            """
        )
        jobs = {id: (job["max_retries"], job["timeout"]) for id, job in self.jobs().items()}
        self.assertEqual(jobs, {"a": (0, 90), "b": (0, 5), "c": (7, 0)})
        self.assertEqual(self.sh("queuectl config get mail.timeout").stdout, "0\n")

    def test_pause_and_resume_work_for_one_queue_and_for_all(self):
        self.start_workers()
        self.sh("queuectl pause a; queuectl pause a")
        self.sh("queuectl enqueue --id a -q a true; queuectl enqueue --id b -q b true; queuectl wait b")
        self.assertEqual(self.state("a"), "pending")
        self.assertRegex(self.run_cli("status").stdout, r"\na .* paused\n")
        self.sh("queuectl pause; queuectl resume a")
        self.enqueue("--id", "c", "true")
        self.assertEqual((self.state("a"), self.state("c")), ("pending", "pending"))
        self.assertTrue(self.run_cli("status", "--json").json["paused"])
        self.sh("queuectl resume; queuectl wait a c; queuectl resume")
        self.assertFalse(self.run_cli("status", "--json").json["paused"])

    def test_pause_and_resume_say_what_they_did_and_what_to_type_next(self):
        self.sh("seq 1200 | queuectl enqueue -q mail -")
        for command, said in (
            ("pause mail", "paused queue mail, with 1,200 waiting jobs; to resume, run: queuectl resume mail"),
            ("pause mail", "queue mail is already paused"),
            ("pause none", "paused queue none, with no waiting jobs; to resume, run: queuectl resume none"),
            ("pause", "paused all queues, with 1,200 waiting jobs; to resume, run: queuectl resume"),
            ("pause", "all queues are already paused"),
            ("resume none", "resumed queue none, but all queues are paused; to resume them, run: queuectl resume"),
            ("resume x", "queue x was not paused individually, but all queues are paused; to resume them, run: queuectl"
             " resume"),
            ("resume", "resumed all queues, with 1,200 waiting jobs; no worker is running; run: queuectl worker start"),
            ("resume", "no queue is paused"),
            ("resume x", "queue x is not paused"),
        ):  # fmt: skip
            self.assertEqual(self.sh(f"queuectl {command}").stderr, said + "\n")
        self.start_workers("-q", "other")
        self.enqueue("--id", "a", "-q", "other", "sleep 60")
        self.wait_for_state("a", "processing")
        said = self.sh("queuectl pause other").stderr
        self.assertIn("with no waiting jobs; 1 running job will finish; to resume", said)


class DrainTest(ShellTestCase):
    def drain(self, *options: str, code: int = 0) -> None:
        self.run_cli("worker", "start", "--foreground", "--drain", *options, code=code)

    def test_drain_waits_for_delays_retries_and_dependencies(self):
        self.sh(
            """
            queuectl enqueue --id delayed --delay 300ms true
            queuectl enqueue --id retried --backoff-base 0.2 -- '[ $QUEUECTL_ATTEMPT = 2 ]'
            queuectl enqueue --id last --after retried,delayed true
            """
        )
        self.drain("-c", "2")
        self.assertEqual(self.states(), {"completed": 3})

    def test_drain_leaves_jobs_that_cannot_run_and_exits(self):
        self.sh(
            """
            queuectl enqueue --id bad --max-retries 0 false
            queuectl enqueue --id waits --after bad true
            queuectl enqueue --id deeper --after waits true
            queuectl enqueue --id paused -q paused true
            queuectl enqueue --id other --after paused true
            queuectl pause paused
            """
        )
        self.drain(code=1)
        self.assertEqual(self.states(), {"dead": 1, "pending": 4})
        self.drain("-q", "default")  # Exits 0: no job died this time.

    def test_drain_exits_while_every_queue_is_paused(self):
        self.sh("queuectl enqueue --id a -q a true; queuectl enqueue --after a -q b true; queuectl pause")
        self.drain()
        self.drain("-q", "b")
        self.assertEqual(self.states(), {"pending": 2})

    def test_drain_waits_for_a_dependency_in_another_queue(self):
        self.sh("queuectl enqueue --id a -q a 'sleep 0.3'; queuectl enqueue --id b --after a -q b true")
        self.start_workers("-q", "a")
        self.drain("-q", "b")
        wait_until(lambda: self.states() == {"completed": 2})
