"""What keeps a job from running: conditions on other jobs, holds and slots; and jitter before retries."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import time
import unittest

from queuectl_core import jobspec
from queuectl_core.lifecycle import Outcome, chance, judge
from tests.dashboard_case import DashboardTestCase
from tests.harness import QueueTestCase, wait_until
from tests.test_lifecycle import NOW, job as new_attempt
from tests.test_top_screens import ScreensTestCase

ENDS = {"completed": "true", "dead": "exit 1", "cancelled": "sleep 60"}
OPTIONS = {"ok": "--after-ok", "notok": "--after-notok", "any": "--after-any"}
# How a job ends that waits for another with a condition, by how that one ended. None: it still waits.
EXPECTED = {
    ("ok", "completed"): "completed",
    ("ok", "dead"): "pending",
    ("ok", "cancelled"): "pending",
    ("notok", "completed"): "cancelled",
    ("notok", "dead"): "completed",
    ("notok", "cancelled"): "completed",
    ("any", "completed"): "completed",
    ("any", "dead"): "completed",
    ("any", "cancelled"): "completed",
}


class ConditionsTest(QueueTestCase):
    def drain(self) -> None:
        self.run_cli("worker", "start", "--drain", "--foreground", code=None)

    def end(self, id: str, how: str) -> None:
        """Enqueue a job and let it end like this."""
        self.enqueue("--id", id, "--max-retries", "0", "--", ENDS[how])
        if how == "cancelled":
            self.run_cli("cancel", id)

    def test_every_condition_with_every_outcome_before_and_after(self):
        for how in ENDS:
            self.end(f"early-{how}", how)
        self.drain()
        for how, command in ENDS.items():
            self.enqueue("--id", f"late-{how}", "--max-retries", "0", "--hold", "--", command)
        for (condition, how), when in itertools.product(EXPECTED, ("early", "late")):
            self.enqueue("--id", f"{when}-{condition}-{how}", OPTIONS[condition], f"{when}-{how}", "--", "true")
        self.run_cli("cancel", "late-cancelled")
        self.run_cli("release", "late-completed", "late-dead")
        self.drain()
        for (condition, how), when in itertools.product(EXPECTED, ("early", "late")):
            with self.subTest(condition=condition, how=how, when=when):
                self.assertEqual(self.state(f"{when}-{condition}-{how}"), EXPECTED[condition, how])
        unneeded = self.job("late-notok-completed")
        self.assertEqual(unneeded["error"], "not needed: late-completed completed")
        self.audit()

    def test_all_conditions_of_a_job_must_hold(self):
        self.end("good", "completed")
        self.end("bad", "dead")
        self.enqueue("--id", "end", "--", "true")
        self.drain()
        runs = self.enqueue("--after-ok", "good", "--after-notok", "bad", "--after-any", "end", "--", "true")
        self.drain()
        self.assertEqual(self.state(runs), "completed")

    def test_a_job_that_needs_an_unneeded_job_is_unneeded_too(self):
        self.enqueue("--id", "a", "--hold", "--", "true")
        self.enqueue("--id", "cleanup", "--after-notok", "a", "--", "true")
        self.enqueue("--id", "report", "--after", "cleanup", "--", "true")
        self.enqueue("--id", "always", "--after-any", "cleanup", "--", "true")
        self.run_cli("release", "a")
        self.drain()
        states = [self.state(id) for id in ("cleanup", "report", "always")]
        self.assertEqual(states, ["cancelled", "cancelled", "completed"])

    def test_an_unneeded_job_can_be_run_anyway(self):
        self.end("a", "completed")
        self.drain()
        id = self.enqueue("--after-notok", "a", "--", "true")
        self.assertEqual(self.state(id), "cancelled")
        self.run_cli("retry", id)
        self.drain()
        self.assertEqual(self.state(id), "completed")

    def test_a_revived_job_that_completes_releases_those_that_needed_it(self):
        self.enqueue("--id", "a", "--max-retries", "0", "--", "test -e fixed")
        self.enqueue("--id", "ok", "--after", "a", "--", "true")
        self.enqueue("--id", "notok", "--after-notok", "a", "--", "true")
        self.drain()
        self.assertEqual((self.state("ok"), self.state("notok")), ("pending", "completed"))
        self.write("fixed", "")
        self.run_cli("dlq", "retry", "a")
        self.drain()
        self.assertEqual(self.state("ok"), "completed")

    def test_a_completed_job_that_was_pruned_still_counts(self):
        self.end("a", "completed")
        self.end("d", "dead")
        self.drain()
        self.run_cli("prune", "-s", "completed", "-s", "dead")
        ids = [self.enqueue(option, "a", "--", "true") for option in OPTIONS.values()]
        ids += [self.enqueue(option, "d", "--", "true") for option in ("--after-notok", "--after-any")]
        self.assertIn("no such job: 'd'", self.run_cli("enqueue", "--after", "d", "--", "true", code=1).stderr)
        self.drain()
        self.assertEqual([self.state(id) for id in ids], ["completed", "cancelled", *["completed"] * 3])

    def test_a_job_can_only_wait_for_jobs_that_exist_so_no_cycle_is_possible(self):
        itself = self.run_cli("enqueue", "--id", "x", "--after-any", "x", "--", "true", code=1)
        self.assertIn("wait for itself", itself.stderr)
        lines = '{"id": "x", "command": "true", "after_any": "y"}\n{"id": "y", "command": "true", "after_any": "x"}\n'
        self.assertIn("no such job: 'y'", self.run_cli("enqueue", "--atomic", "-", input=lines, code=1).stderr)
        self.assertEqual(self.jobs(), {})

    def test_options_add_up_but_each_dependency_has_only_one_condition(self):
        for id in "abc":
            self.enqueue("--id", id, "--hold", "--", "true")
        id = self.enqueue("--after", "a", "--after-ok", "b", "--after-any", "c", "--", "true")
        shown = self.run_cli("show", id, "--json").json
        self.assertEqual((shown["after"], shown["after_any"]), (["a", "b"], ["c"]))
        refused = self.run_cli("enqueue", "--after-ok", "a", "--after-notok", "b,a", "--", "true", code=2)
        self.assertIn("--after-notok: cannot name 'a', which --after names too", refused.stderr)

    def test_a_diamond_runs_in_order(self):
        self.enqueue("--id", "top", "--", "echo top >> order")
        for side in ("left", "right"):
            self.enqueue("--id", side, "--after-any", "top", "--", f"echo {side} >> order")
        self.enqueue("--id", "bottom", "--after", "left", "--after-any", "right", "--", "echo bottom >> order")
        self.run_cli("worker", "start", "-c", "3", "--drain", "--foreground")
        order = self.read("order").split()
        self.assertEqual((order[0], sorted(order[1:3]), order[3]), ("top", ["left", "right"], "bottom"))

    def test_show_names_both_ends_of_a_condition(self):
        self.enqueue("--id", "a", "--", "true")
        self.enqueue("--id", "b", "--after-notok", "a", "--", "true")
        self.enqueue("--id", "c", "--after-any", "a", "--", "true")
        self.assertRegex(self.run_cli("show", "a").stdout, r"(?m)^before +b, c$")
        self.assertRegex(self.run_cli("show", "b").stdout, r"(?m)^after +failure of a \(pending\)$")
        self.assertRegex(self.run_cli("show", "c").stdout, r"(?m)^after +end of a \(pending\)$")
        shown = self.run_cli("show", "b", "--json").json
        self.assertEqual((shown["after"], shown["after_notok"], shown["after_any"]), ([], ["a"], []))
        with self.store() as store:
            conditions = {"after": ["b", "c"], "after_notok": ["a"]}
            store.enqueue([jobspec.new_job({"id": "d", "command": "true", **conditions}, NOW)])
            self.assertEqual(store.reason(store.get("d")), "after b, c, failure of a")
        both = r"(?m)^after +failure of a \(pending\), success of b \(pending\), success of c \(pending\)$"
        self.assertRegex(self.run_cli("show", "d").stdout, both)
        exported = self.run_cli("export").stdout
        self.environment["QUEUECTL_DB"] = self.path("copy.db")
        self.run_cli("import", "-", input=exported)
        self.assertEqual(self.run_cli("show", "b", "--json").json["after_notok"], ["a"])

    def test_ten_thousand_jobs_that_wait_for_one_are_settled_together(self):
        self.enqueue("--id", "a", "--", "true")
        lines = ['{"command": "true", "%s": "a"}' % field for field in ("after_notok", "after_any")] * 5000
        self.enqueue_lines(lines)
        began = time.monotonic()
        with self.store() as store:
            worker = self.register_worker(store)
            job = store.claim(worker, None).job
            store.settle(job, Outcome("exit"), judge(job, Outcome("exit"), time.time()))
        self.assertEqual(self.states(), {"completed": 1, "pending": 5000, "cancelled": 5000})
        self.assertLess(time.monotonic() - began, 15)  # A scan of all jobs for each of them takes minutes.
        self.audit()

    def test_a_worker_that_sleeps_is_woken_for_a_released_job(self):
        self.end("a", "dead")
        self.drain()
        self.start_workers()
        held = self.enqueue("--hold", "--", "true")
        self.enqueue("--id", "b", "--hold", "--", "true")
        waits = self.enqueue("--after-any", "b", "--", "true")
        wait_until(lambda: self.rows("SELECT 1 FROM queuectl_workers WHERE idle = 1"))
        self.run_cli("release", held)
        self.wait_for_state(held, "completed")
        self.run_cli("cancel", "b")
        self.wait_for_state(waits, "completed")


class HoldTest(QueueTestCase):
    def test_a_held_job_is_listed_as_pending(self):
        held = self.enqueue("--hold", "--", "true")
        (job,) = self.run_cli("list", "--state", "pending", "--json").json
        self.assertEqual((job["id"], job["reason"]), (held, "held"))

    def test_a_held_job_starts_only_after_its_release(self):
        held = self.enqueue("--hold", "--", "true")
        waiting = self.enqueue("--delay", "1h", "--", "true")
        self.assertEqual(self.run_cli("hold", waiting).lines, [waiting])
        self.run_cli("hold", waiting)  # Once more changes nothing.
        self.run_cli("edit", waiting, "--delay", "0")
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.assertEqual(self.states(), {"pending": 2})
        self.assertEqual([job["reason"] for job in self.jobs().values()], ["held", "held"])
        self.assertEqual([job["held"] for job in self.jobs().values()], [True, True])
        self.assertEqual(self.run_cli("release", held, waiting).lines, [held, waiting])
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.assertEqual(self.states(), {"completed": 2})
        self.audit()

    def test_status_and_doctor_ask_for_a_worker_only_if_a_job_could_run(self):
        self.enqueue("--id", "a", "--hold", "--", "true")
        self.enqueue("--id", "b", "--after", "a", "--", "true")
        self.enqueue("--id", "p", "-q", "mail", "--", "true")
        self.run_cli("pause", "mail")
        status = self.run_cli("status")
        self.assertIn("\nHeld: 1 job; run: queuectl list --held\n", status.stdout)
        self.assertEqual((status.stderr, self.run_cli("status", "--json").json["held"]), ("", 1))
        doctor = self.run_cli("doctor").stdout
        self.assertIn("note   jobs     queue default has 1 held job → queuectl list --held --queue=default\n", doctor)
        self.assertNotIn("no worker", doctor)
        self.assertEqual([job["id"] for job in self.run_cli("list", "--held", "--json").json], ["a"])
        self.enqueue("--id", "c", "--", "true")
        self.assertIn("2 jobs are waiting for a worker", self.run_cli("status").stderr)  # c, and b in the end.
        self.assertIn("queue default has 2 waiting jobs but no worker", self.run_cli("doctor", code=1).stdout)

    def test_only_waiting_jobs_are_held_and_only_held_ones_released(self):
        id = self.enqueue("--", "sleep 60")
        self.start_workers()
        self.wait_for_state(id, "processing")
        self.assertIn("only waiting jobs can be held", self.run_cli("hold", id, code=1).stderr)
        self.assertIn("is not held", self.run_cli("release", id, code=1).stderr)

    def test_a_held_job_that_waits_for_another_runs_after_both(self):
        self.enqueue("--id", "a", "--", "true")
        self.enqueue("--id", "b", "--after", "a", "--hold", "--", "true")
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.assertEqual(self.state("b"), "pending")
        self.run_cli("release", "b")
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.assertEqual(self.state("b"), "completed")

    def test_a_job_that_was_cancelled_while_held_can_be_retried(self):
        id = self.enqueue("--hold", "--", "true")
        self.run_cli("cancel", id)
        self.run_cli("retry", id)
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.assertEqual(self.state(id), "completed")

    def test_sql_can_insert_held_jobs(self):
        self.run_cli("config", "set", "max-retries", "5")
        db = sqlite3.connect(self.db)
        with db:
            db.execute("INSERT INTO queuectl_jobs (id, command, held) VALUES ('x', 'true', 1)")
        db.close()
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.assertEqual((self.state("x"), self.job("x")["max_retries"]), ("pending", 5))
        self.run_cli("release", "x")
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.assertEqual(self.state("x"), "completed")

    def test_an_exported_job_is_still_held(self):
        self.enqueue("--id", "x", "--hold", "--", "true")
        exported = self.run_cli("export").stdout
        self.environment["QUEUECTL_DB"] = self.path("copy.db")
        self.run_cli("import", "-", input=exported)
        self.assertEqual(self.job("x")["reason"], "held")


class SlotsTest(QueueTestCase):
    def test_running_jobs_of_a_limited_queue_have_different_numbers_up_to_the_limit(self):
        self.run_cli("config", "set", "gpu.limit", "3")
        command = "mkdir gpu$QUEUECTL_SLOT && echo $QUEUECTL_SLOT >> used && sleep 0.02 && rmdir gpu$QUEUECTL_SLOT"
        self.enqueue_lines([command] * 40, "-q", "gpu", "--max-retries", "0")
        self.run_cli("worker", "start", "-c", "5", "--drain", "--foreground")
        self.assertEqual(self.states(), {"completed": 40})  # mkdir fails if another job has that number.
        self.assertEqual(set(self.read("used").split()), {"1", "2", "3"})
        self.assertEqual(self.rows("SELECT count(slot) FROM queuectl_jobs"), [(0,)])

    def test_the_slot_of_a_killed_worker_is_free_again(self):
        self.run_cli("config", "set", "gpu.limit", "1")
        command = "echo $QUEUECTL_SLOT >> used; test -e second || { touch second; sleep 60; }"
        id = self.enqueue("-q", "gpu", "--", command)
        ((_, pid),) = self.start_workers()
        wait_until(lambda: os.path.exists(self.path("second")))
        self.assertEqual(self.job(id)["slot"], 1)
        self.assertRegex(self.run_cli("show", id).stdout, r"(?m)^slot +1$")
        os.kill(pid, signal.SIGKILL)
        self.wait_for_state(id, "completed")
        self.assertEqual(self.read("used").split(), ["1", "1"])

    def test_a_queue_without_a_limit_has_no_slots(self):
        id = self.enqueue("--", "echo [$QUEUECTL_SLOT]")
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.assertEqual(self.run_cli("logs", id).stdout, "[]\n")


class SlotViewsTest(DashboardTestCase, ScreensTestCase):
    def test_slots_are_shown_wherever_running_jobs_are(self):
        self.enqueue("--id", "free", "--", "true")
        self.assertNotIn("SLOT", self.run_cli("list").stdout)
        self.run_cli("config", "set", "gpu.limit", "2")
        self.enqueue("--id", "a", "-q", "gpu", "--", "true")
        store = self.store()
        worker = self.register_worker(store, "gpu")
        self.assertEqual(store.claim(worker, "gpu").job.id, "a")
        self.assertRegex(self.run_cli("list").stdout, r"QUEUE +SLOT +WHY(.*\n)+a .* gpu +1 ")
        self.assertEqual(self.run_cli("list", "--columns", "id,slot").lines[1:], ["a        1", "free     -"])
        dashboard = self.serve()
        for path in ("/jobs", "/workers"):
            self.assertIn("slot 1", self.page(dashboard, path).text, path)
        self.assertIn("<dt>slot</dt><dd>1</dd>", self.page(dashboard, "/job?id=a").html)
        app = self.top()
        self.assertRegex(self.text(app, 120), r"SLOT")
        self.assertIn("slot 1", self.press(app, "enter"))


class JitterTest(unittest.TestCase):
    def test_a_wait_is_extended_by_at_most_the_jitter_and_differently_for_each_attempt(self):
        waits = set()
        for number in range(1, 200):
            job = new_attempt(id=f"job{number}", backoff_jitter=0.5, last_attempt=1)
            self.assertTrue(0 <= chance(job) < 1)
            waits.add(judge(job, Outcome("exit", 1), NOW).run_at - NOW)
        self.assertTrue(2 <= min(waits) < 2.1 and 2.9 < max(waits) <= 3, (min(waits), max(waits)))
        self.assertGreater(len(waits), 190)

    def test_without_jitter_a_wait_is_exact(self):
        for jitter in (0, None):
            job = new_attempt(backoff_jitter=jitter)
            self.assertEqual(judge(job, Outcome("exit", 1), NOW).run_at, NOW + 2)


class JitterSettingTest(QueueTestCase):
    def test_the_setting_is_copied_into_jobs(self):
        self.run_cli("config", "set", "backoff-jitter", "0.25")
        self.assertEqual(self.job(self.enqueue("--", "true"))["backoff_jitter"], 0.25)
        self.assertIn("from 0 to 1", self.run_cli("config", "set", "backoff-jitter", "2", code=2).stderr)


class HaltTest(QueueTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.run_cli("config", "set", "max-retries", "0")

    def drain(self) -> None:
        self.run_cli("worker", "start", "--drain", "--foreground", code=None)

    def test_a_queue_pauses_after_the_set_number_of_deaths_in_a_row_and_says_why(self):
        self.run_cli("config", "set", "crawl.halt-on-dead", "3")
        self.enqueue_lines(["exit 1", "exit 1", "true", *["exit 1"] * 5], "-q", "crawl")
        self.enqueue_lines(["exit 1"] * 5, "-q", "other")
        with self.store() as store:
            store.set_config("one.halt-on-dead", 1)
            store.enqueue([jobspec.new_job({"command": "exit 1", "queue": "one"}, NOW)])
        log = self.run_cli("worker", "start", "--drain", "--foreground", code=None).stderr
        halt = "queue crawl is paused after 3 deaths in a row, with 2 jobs waiting; run: queuectl resume crawl"
        self.assertEqual(log.count(halt), 1, log)
        with self.store() as store:
            counts = store.counts()
        self.assertEqual((counts["crawl"]["dead"], counts["crawl"]["pending"], counts["other"]["dead"]), (5, 2, 5))
        status = self.run_cli("status").stdout
        self.assertIn("paused: 3 deaths in a row", status)
        self.assertRegex(status, "paused: 1 death(,|\n)")
        self.assertIn("paused, 3 deaths in a row", self.run_cli("list", "-s", "pending").stdout)
        self.assertIn("but is paused after 3 deaths in a row", self.run_cli("doctor", code=None).stdout)
        self.run_cli("resume", "crawl")
        self.drain()
        self.assertEqual(self.states(), {"dead": 13, "completed": 1})

    def test_the_log_reports_a_paused_queue_even_if_the_last_death_was_a_killed_worker(self):
        self.run_cli("config", "set", "halt-on-dead", "1")
        self.enqueue("--", 'kill -KILL "$PPID"; sleep 60')
        log = self.run_cli("worker", "start", "--drain", "--foreground", code=None).stderr
        self.assertIn("queue default is paused after 1 death, with 0 jobs waiting", log)

    def test_a_broken_hook_does_not_silence_the_others_unless_a_user_asks_for_that(self):
        with self.store() as store:
            worker = self.register_worker(store)

            def let_a_hook_die() -> list[str | None]:
                store.enqueue([jobspec.new_job({"command": "false", "queue": "hooks", "max_retries": 0}, NOW)])
                job = store.claim(worker, None).job
                store.settle(job, Outcome("exit", 1), judge(job, Outcome("exit", 1), time.time()))
                return list(store.paused())

            store.set_config("halt-on-dead", 1)
            self.assertEqual(let_a_hook_die(), [])
            store.set_config("hooks.halt-on-dead", 1)
            self.assertEqual(let_a_hook_die(), ["hooks"])

    def test_failed_attempts_do_not_count_as_deaths(self):
        self.run_cli("config", "set", "halt-on-dead", "2")
        self.run_cli("config", "set", "backoff-base", "0")
        self.enqueue("--max-retries", "4", "--", "exit 1")
        last = self.enqueue("--", "true")
        self.drain()
        self.assertEqual(self.state(last), "completed")
