"""Schedules: each of their times gets its job exactly once, whatever happens to workers and clocks."""

from __future__ import annotations

import json
import os
import pwd
import random
import sqlite3
import subprocess
import time
from collections import Counter
from datetime import datetime, timedelta, timezone

from queuectl_core import Queue
from queuectl_core.errors import BadInput, Refused
from queuectl_core.lifecycle import Outcome, judge
from queuectl_core.schedule import plan, times, zones
from queuectl_core.schedule.cron import parse_cron
from queuectl_core.store import Store, schedule_sql, sql
from queuectl_core.store.firing import Row
from queuectl_core.store.schedules import Wish, last_runs, schedules
from tests.doc_runner import DocumentTestCase
from tests.harness import QueueTestCase, wait_until
from tests.patched import patched
from tests.test_schedule import needs_zones

START = 1_774_656_000.0  # 2026-03-28T00:00:00Z, the day before clocks change in Berlin.
WEEK = 7 * 86400
SCHEDULED_AT = """
    SELECT json_extract(env, '$.QUEUECTL_SCHEDULE'), json_extract(env, '$.QUEUECTL_SCHEDULED_AT') FROM queuectl_jobs
    WHERE env LIKE '%QUEUECTL_SCHEDULE%' ORDER BY seq
"""


class StoreTestCase(QueueTestCase):
    """A store and a worker in this process, with a clock that the test sets."""

    def setUp(self) -> None:
        super().setUp()
        self.now = START
        self.queue: Store = self.store(clock=lambda: self.now)
        self.worker = self.register_worker(self.queue)

    def add(self, name: str = "s", **wish: object) -> Row:
        """Add a schedule that is due every ten minutes, or as `wish` says."""
        given: dict = {"schedule": times.Every(600, START), "job": {"command": "true"}, **wish}
        return self.queue.add_schedule(name, Wish(**given), "boot 1")

    def row(self, name: str = "s") -> Row:
        return self.queue.schedule(name)

    def at(self, now: float, finishes: bool = True) -> list[float]:
        """Let a worker claim at this time until there is nothing to do; returns the times whose jobs were added."""
        self.now = now
        before = len(self.ran())
        claim = self.queue.claim(self.worker, None)
        while finishes and claim.job:
            result = (claim.job, Outcome("exit", 0), judge(claim.job, Outcome("exit", 0), self.now))
            self.queue.settle(*result)
            claim = self.queue.claim(self.worker, None)
        return [at for _, at in self.ran()[before:]]

    def ran(self) -> list[tuple[str, float]]:
        """The name of the schedule and the time of each of its jobs, in seconds after START."""
        return [(name, zones.moment(at, "at", 0, zones.UTC) - START) for name, at in self.rows(SCHEDULED_AT)]


class FiringTest(StoreTestCase):
    @needs_zones
    def test_a_job_knows_its_schedule_and_its_time(self):
        job = {"command": "true", "env": {"A": "1"}, "queue": "q", "priority": 3}
        self.add(schedule=parse_cron("*/10 * * * *", "x"), tz="Europe/Berlin", job=job)
        self.assertEqual(self.at(START + 599), [])
        self.assertEqual(self.at(START + 601), [600])
        (id,) = self.jobs()
        job = self.job(id)
        self.assertEqual((job["queue"], job["priority"], job["command"]), ("q", 3, "true"))
        self.assertEqual(
            job["env"],
            {"A": "1", "QUEUECTL_SCHEDULE": "s", "QUEUECTL_SCHEDULED_AT": "2026-03-28T01:10:00+01:00"},
        )

    def test_each_time_is_handled_once_however_often_workers_check(self):
        self.add()
        found = []
        for second in range(0, 3700, 7):
            found += self.at(START + second)
        self.assertEqual(found, [600, 1200, 1800, 2400, 3000, 3600])
        self.assertEqual((self.row().runs, self.row().skipped), (6, 0))

    def test_after_a_week_of_downtime_missed_decides(self):
        for missed in plan.MISSED:
            self.add(missed, missed=missed)
        self.assertEqual(len(self.at(START + WEEK + 61)), 1 + 0 + 1000)
        last = WEEK
        ran = Counter(name for name, _ in self.ran())
        self.assertEqual(ran, {"once": 1, "all": 1000})
        self.assertEqual([at for name, at in self.ran() if name == "once"], [last])
        self.assertEqual([at for name, at in self.ran() if name == "all"], [last - 600 * n for n in range(999, -1, -1)])
        for name, runs in (("once", 1), ("skip", 0), ("all", 1000)):
            row = self.row(name)
            self.assertEqual((row.runs, row.skipped), (runs, 1008 - runs))
            self.assertEqual(row.skip_reason, plan.REASON_MISSED)
            self.assertEqual(row.next_at, START + WEEK + 600)
        self.assertEqual(Counter(self.at(START + WEEK + 601)), {WEEK + 600.0: 3})

    def test_a_time_that_is_a_moment_late_is_not_missed(self):
        self.add(missed="skip")
        self.assertEqual(self.at(START + 600 + plan.LATE), [600])
        self.assertEqual(self.at(START + 1200 + plan.LATE + 0.1), [])
        self.assertEqual((self.row().runs, self.row().skipped), (1, 1))

    def test_missed_runs_that_are_made_up_for_run_one_after_another(self):
        self.add(missed="all", overlap="skip")
        self.assertEqual(self.at(START + 1801, finishes=False), [600, 1200, 1800])
        self.assertEqual(self.rows("SELECT waits_for FROM queuectl_jobs ORDER BY seq"), [(0,), (1,), (1,)])

    def test_a_clock_that_is_set_back_and_forth_repeats_no_time(self):
        self.add()
        self.assertEqual(self.at(START + 1201), [1200])
        for back in (1, 60, 3600, 2 * 3600):
            self.queue.realign()
            self.assertEqual(self.at(START + 1201 - back), [])
        self.assertEqual(self.at(START + 1799), [])
        self.assertEqual(self.at(START + 1800), [1800])
        self.assertEqual(self.at(START + 90000), [90000])  # Forward: those in between were missed.
        self.assertEqual(self.row().runs, 3)

    def test_handled_times_stay_handled_even_if_the_clock_is_earlier(self):
        planned = self.add(missed="all").plan()
        due = plan.decide(planned, START + 1800, START + 700)
        self.assertEqual(due, plan.Due((), 0, START + 1800))
        self.assertEqual(plan.decide(planned, START + 600, START + 1800).times, (START + 1200, START + 1800))

    def test_after_a_clock_is_corrected_by_hours_schedules_follow_it(self):
        self.add()
        self.at(START + 400 * 86400)
        self.assertEqual(self.at(START + 601), [])
        self.queue.realign()
        self.assertEqual(self.row().next_at, START + 1200)
        self.assertEqual(self.at(START + 1200), [1200])

    @needs_zones
    def test_a_fixed_time_is_due_once_when_clocks_change(self):
        self.add(schedule=parse_cron("30 2 * * *", "x"), tz="Europe/Berlin")
        found = []
        for hour in range(80):
            found += self.at(START + hour * 3600 + 1800.5)
        zone = zones.zone("Europe/Berlin", "x")
        self.assertEqual(
            [zone.iso(START + at) for at in found],
            ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00",
             "2026-03-31T02:30:00+02:00"],
        )  # fmt: skip

    def test_jitter_delays_each_run_by_the_same_time(self):
        self.add(jitter=300.0)
        delay = self.row().plan().delay
        self.assertTrue(0 < delay < 300)
        self.assertEqual(self.at(START + 600 + delay - 0.01), [])
        self.assertEqual(self.at(START + 600 + delay), [600])
        self.assertEqual(self.row().next_at, START + 1200 + delay)

    def test_until_and_times_end_a_schedule(self):
        self.add("until", until=START + 1200)
        self.add("times", times=2)
        for step in range(1, 6):
            self.at(START + 600 * step)
        self.assertEqual(Counter(name for name, _ in self.ran()), {"until": 2, "times": 2})
        self.assertEqual([row.next_at for row in schedules(self.queue)], [None, None])
        self.assertEqual(self.row("times").times_left, 0)

    def test_firing_a_schedule_wakes_an_idle_worker_of_the_jobs_queue(self):
        other = self.register_worker(self.queue, "other")
        self.assertIsNone(self.queue.claim(other, "other").job)
        self.add(job={"command": "true", "queue": "other"})
        self.queue.claim(other, "other")
        self.now = START + 600
        self.assertIsNone(self.queue.claim(self.worker, "mine").job)
        self.assertEqual(self.rows("SELECT idle FROM queuectl_workers WHERE id = ?", other), [(0,)])

    def test_a_single_time_is_due_once(self):
        self.add(schedule=times.At(START + 5))
        self.assertEqual(self.at(START + 5), [5])
        self.assertEqual(self.at(START + WEEK), [])
        self.assertIsNone(self.row().next_at)

    def test_at_reboot_is_due_once_when_the_first_worker_starts_after_a_boot(self):
        self.add(schedule=parse_cron("@reboot", "x"))
        self.queue.fire_at_boot("boot 1")
        self.assertEqual(self.ran(), [])
        for _ in range(3):
            self.queue.fire_at_boot("boot 2")
        self.assertEqual(len(self.ran()), 1)
        self.queue.pause_schedule("s")
        self.queue.fire_at_boot("boot 3")
        self.assertEqual(len(self.ran()), 1)


class OverlapTest(StoreTestCase):
    def test_overlap_skip_adds_no_job_while_the_previous_one_is_unfinished_and_says_why(self):
        self.add(overlap="skip")
        self.at(START + 600, finishes=False)
        self.assertEqual(self.at(START + 1200, finishes=False), [])
        (job,) = self.jobs()
        row = self.row()
        self.assertEqual((row.runs, row.skipped, row.skip_reason), (1, 1, f"job {job} is still running"))
        claimed = self.queue.get(job)
        self.queue.settle(claimed, Outcome("exit", 1), judge(claimed, Outcome("exit", 1), self.now))
        self.assertEqual(self.at(START + 1800, finishes=False), [])
        self.assertEqual(self.row().skip_reason, f"job {job} is still waiting to be retried")

    def test_overlap_queue_makes_a_job_wait_for_the_previous_one_however_it_ends(self):
        self.add(overlap="queue")
        self.at(START + 600, finishes=False)
        self.at(START + 1200, finishes=False)
        first, second = (self.queue.get(id) for (id,) in self.rows("SELECT id FROM queuectl_jobs ORDER BY seq"))
        self.assertEqual((first.state, second.waits_for), ("processing", 1))
        self.queue.cancel(first.id)
        self.queue.settle(first, Outcome("cancelled"), judge(first, Outcome("cancelled"), self.now))
        self.assertEqual(self.queue.claim(self.worker, None).job.id, second.id)

    def test_overlap_allow_adds_a_job_for_each_time(self):
        self.add(overlap="allow")
        for step in (1, 2, 3):
            self.at(START + 600 * step, finishes=False)
        self.assertEqual(len(self.ran()), 3)
        self.assertEqual(self.rows("SELECT sum(waits_for) FROM queuectl_jobs"), [(0,)])

    def test_a_paused_queue_does_not_accumulate_runs(self):
        self.add()
        self.queue.pause("default")
        for step in range(1, 100):
            self.at(START + 600 * step)
        self.assertEqual((self.row().runs, self.row().skipped), (1, 98))

    def test_a_unique_key_keeps_jobs_from_being_added(self):
        self.add(job={"command": "true", "unique_key": "k"}, overlap="allow")
        self.at(START + 600, finishes=False)
        self.at(START + 1200, finishes=False)
        row = self.row()
        self.assertEqual((row.runs, row.skipped), (1, 1))
        self.assertIn("has the unique key k", row.skip_reason)


class ChangeTest(StoreTestCase):
    def test_a_schedule_is_failing_from_the_first_job_that_died_until_one_completes(self):
        self.add("s", job={"command": "true", "max_retries": 0}, overlap="allow")
        found = []
        for turn, code in enumerate((0, 1, 1, 0)):
            self.now = START + 601 + turn * 600
            job = self.queue.claim(self.worker, None).job
            found.append(self.row().failing_since)  # Its next job waits or runs.
            self.queue.settle(job, Outcome("exit", code), judge(job, Outcome("exit", code), self.now))
            found.append(self.row().failing_since)
        died = START + 601 + 600
        self.assertEqual(found, [None, None, None, died, died, died, died, None])

    def test_a_schedule_remembers_its_last_success_even_after_that_job_was_pruned(self):
        self.add("s")
        self.add("t", job={"command": "true", "env": {"K": "QUEUECTL_SCHEDULE"}})
        self.at(START + 601)
        self.assertEqual([self.row(name).last_success_at for name in "st"], [START + 601] * 2)
        self.queue.prune("completed", START + 602, None)
        self.assertEqual(last_runs(self.queue), {})
        self.now = START + 1202
        claim = self.queue.claim(self.worker, None)
        self.queue.settle(claim.job, Outcome("exit", 1), judge(claim.job, Outcome("exit", 1), self.now))
        self.assertEqual(self.row().last_success_at, START + 601)  # It failed.

    def test_a_job_is_settled_whatever_schedule_another_program_gave_it(self):
        for name in ('"gone"', '"\\udcff"', '"\\ud800"', "7", "{"):
            env = f'{{"QUEUECTL_SCHEDULE": {name}}}'
            self.queue._execute("INSERT INTO queuectl_jobs (command, env) VALUES ('true', ?)", (env,))
            job = self.queue.claim(self.worker, None).job
            self.queue.settle(job, Outcome("exit", 0), judge(job, Outcome("exit", 0), self.now))
        self.assertEqual(self.states(), {"completed": 5})

    def test_times_that_pass_while_a_schedule_is_paused_are_not_made_up_for(self):
        self.add(missed="all")
        self.assertTrue(self.queue.pause_schedule("s"))
        self.assertFalse(self.queue.pause_schedule("s"))
        self.assertEqual(self.at(START + WEEK + 1), [])
        self.assertTrue(self.queue.resume_schedule("s"))
        self.assertEqual(self.at(START + WEEK + 1), [])
        self.assertEqual(self.at(START + WEEK + 600), [WEEK + 600])

    def test_run_adds_a_job_now_and_leaves_the_times_alone(self):
        self.add()
        self.now = START + 17
        id = self.queue.run_schedule("s")
        self.assertEqual(self.ran(), [("s", 17)])
        with self.assertRaisesRegex(Refused, f"schedule s: job {id} is still waiting"):
            self.queue.run_schedule("s")
        self.assertEqual(self.at(START + 600), [])  # Its job is unfinished only until this worker runs it.
        self.assertEqual(self.at(START + 1200), [1200])

    def test_editing_the_time_restarts_a_schedule_from_now_and_editing_the_job_does_not(self):
        self.add()
        self.now = START + 300
        self.queue.edit_schedule("s", Wish(job={"command": "false", "queue": "q"}))
        self.assertEqual(self.row().next_at, START + 600)
        self.queue.edit_schedule("s", Wish(schedule=times.Every(60, START + 300)))
        self.assertEqual(self.at(START + 361), [360])
        self.assertEqual(self.rows("SELECT queue, command FROM queuectl_jobs"), [("q", "false")])

    def test_removing_a_schedule_leaves_its_jobs(self):
        self.add()
        self.at(START + 600)
        self.queue.remove_schedule("s")
        self.assertEqual(len(self.jobs()), 1)
        with self.assertRaisesRegex(Refused, "no such schedule: s"):
            self.queue.remove_schedule("s")

    def test_a_name_that_is_taken_and_a_job_that_could_only_run_once_are_refused(self):
        self.add()
        with self.assertRaisesRegex(Refused, "schedule s exists"):
            self.add()
        for field in ("id", "after", "held", "replace"):
            with self.assertRaisesRegex(BadInput, "applies to a single job, not to a schedule"):
                self.add("t", job={"command": "true", field: "x"})

    def test_the_last_run_is_shown_with_its_result(self):
        self.add()
        self.at(START + 600, finishes=False)
        self.assertEqual(last_runs(self.queue)["s"].state, "processing")
        self.queue.cancel(self.row().last_job)
        self.assertEqual(last_runs(self.queue)["s"].state, "processing")  # Until its worker obeys.


class ForeignRowTest(StoreTestCase):
    """Rows that other programs store."""

    def insert(self, checks: bool = True, **columns: object) -> None:
        connection = sqlite3.connect(self.db, timeout=20, isolation_level=None)
        if not checks:
            connection.execute("PRAGMA ignore_check_constraints = ON")
        row = {"name": "s", "kind": "every", "expression": "600", "template": '{"command": "true"}', **columns}
        places = ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO queuectl_schedules ({', '.join(row)}) VALUES ({places})", list(row.values()))
        connection.close()

    def test_a_row_needs_only_a_time_and_a_job(self):
        self.insert(anchor=START, since=START)
        self.assertEqual(self.at(START + 1), [])
        self.assertEqual(self.row().next_at, START + 600)
        self.assertEqual(self.at(START + 601), [600])

    def test_a_malformed_row_is_paused_and_says_why_and_other_jobs_run(self):
        garbage = (
            {"expression": "x"}, {"expression": ""}, {"expression": "nan"}, {"expression": "-1"},
            {"expression": b"\xff"},
            {"kind": "cron", "expression": "* * *"}, {"kind": "moon"}, {"kind": "at", "expression": "9e99"},
            {"template": "{"}, {"template": "[]"}, {"template": "{}"}, {"template": '{"command": 5}'},
            {"template": '{"command": "true", "id": "x"}'}, {"template": "[" * 100000}, {"template": b"\xff"},
            {"template": '{"command": "true", "priority": 99999999999999999999}'}, {"tz": "Moon/Sea"}, {"tz": b"\xff"},
            {"tz": "../../etc/passwd"}, {"jitter": "x"}, {"jitter": b"x"}, {"until": "x"}, {"times_left": "x"},
            {"since": "x"}, {"since": b"x"}, {"anchor": "x"}, {"name": b"\xff\xfe"}, {"runs": "x"}, {"skipped": "y"},
        )  # fmt: skip
        for number, columns in enumerate(garbage):
            row = {"name": f"s{number}", "since": START, "anchor": START, **columns}
            self.insert(checks=False, **row)
        self.add("good")
        self.queue.enqueue([])
        self.at(START + 601)
        self.queue.fire_at_boot("boot 2")
        self.now = START - WEEK
        self.queue.realign()
        self.at(START + 1201)
        self.assertEqual([at for name, at in self.ran() if name == "good"], [600, 1200])
        rows = self.rows("SELECT seq, paused, fault, next_at FROM queuectl_schedules WHERE name IS NOT 'good'")
        harmless = {index for index, (_, paused, _, _) in enumerate(rows) if not paused}
        self.assertEqual({list(garbage[index]).pop() for index in harmless}, {"name", "runs", "skipped"})
        for _, paused, fault, next_at in rows:
            if paused:
                self.assertTrue(fault)
                self.assertIsNone(next_at)
        names = [f"s{number}" for number in (0, 9, 14, 18, 20, 21, 22, 24, 25)]
        for command in (("list",), ("list", "--json"), ("show", "s9", "--json"), *(("show", name) for name in names)):
            self.run_cli("schedule", *command)

    def test_a_row_that_cannot_be_advanced_adds_no_job(self):
        self.insert(checks=False, anchor=START, since=START, runs=-5)
        self.assertEqual(self.at(START + 601), [])
        self.assertIn("rejected by the database", self.row().fault)

    def test_a_time_that_is_not_a_number_is_never_due_and_disturbs_no_worker(self):
        for number, next_at in enumerate(("x", b"x")):
            self.insert(checks=False, name=f"s{number}", next_at=next_at)
        self.add("good")
        self.assertEqual(self.at(START + 600), [600])


class CostTest(StoreTestCase):
    def statements(self) -> list[str]:
        """What an idle worker executes when it looks."""
        seen: list[str] = []
        self.queue._connection.db.set_trace_callback(seen.append)
        claim = self.queue.claim(self.worker, None, idle=True)
        self.queue._connection.db.set_trace_callback(None)
        self.assertIsNone(claim.job)
        self.next_due = claim.next_due
        return [text.split(None, 1)[0] for text in seen]

    def test_a_thousand_schedules_that_are_not_due_add_no_statement_and_no_wakeup(self):
        without = self.statements()
        with self.queue.batch():
            for number in range(1000):
                self.add(f"s{number}", schedule=times.Every(86400 + number, START))
        self.assertEqual(self.statements(), without)
        self.assertEqual(self.next_due, START + 86400)  # Idle workers sleep until then, unless something else happens.

    def test_what_is_due_is_found_by_an_index(self):
        for text in (sql.NEXT_SCHEDULE, sql.WANTED_AND_DUE, sql.NEXT_DUE, schedule_sql.DUE):
            steps = self.rows("EXPLAIN QUERY PLAN " + text.replace(":now", "1").replace(":id", "1"))
            details = [step[3] for step in steps if "queuectl_schedules" in step[3]]
            self.assertTrue(details)
            for detail in details:
                self.assertIn("queuectl_schedules_due", detail)

    def test_a_thousand_that_are_due_at_once_all_fire(self):
        with self.queue.batch():
            for number in range(1000):
                self.add(f"s{number}")
        self.assertEqual(len(self.at(START + 600)), 1000)


class WorkersTest(QueueTestCase):
    """With real workers."""

    def times(self, name: str) -> list[str]:
        """The times of a schedule whose jobs were added."""
        return [at for schedule, at in self.rows(SCHEDULED_AT) if schedule == name]

    def test_eight_workers_add_one_job_for_each_time(self):
        for number in range(4):
            self.run_cli("schedule", "add", f"s{number}", "--every", "1s", "--overlap", "allow", "--missed", "all",
                         "--times", "4", "--", "sleep 0.2")  # fmt: skip
        self.start_workers("-c", "8")
        wait_until(lambda: all(len(self.times(f"s{number}")) == 4 for number in range(4)), 60)
        self.wait_until_all_finished()
        for number in range(4):
            self.assertEqual(len(set(self.times(f"s{number}"))), 4)
        self.stop_workers()
        self.audit()

    def test_a_worker_that_is_killed_while_it_fires_loses_no_time_and_repeats_none(self):
        points = [
            (how, method)
            for method in ("_fire_due", "_fire", "_run", "_add", "_insert", "_take", "_claim", "claim")
            for how in ("kill_before", "kill_after")
        ]
        chosen = random.sample(points, 6)
        for number, (how, method) in enumerate(chosen):
            self.db = db = self.path(f"q{number}.db")
            self.run_cli("--db", db, "schedule", "add", "s", "--at", "+2", "--", "true")
            ((due,),) = self.rows("SELECT next_at FROM queuectl_schedules")
            # A worker's first claim comes before the time: only a claim that finds it due may be the one that dies.
            patch = (
                "import time\n"
                f"real = {method!r}\n"
                "_die = die\n"
                "def die(marker):\n"
                f"    if time.time() >= {due}:\n"
                "        _die(marker)\n"
                f"{how}({method!r}, {self.path(f'died{number}')!r})"
            )
            words = patched(patch, "--db", db, "worker", "start", "-c", "2")
            subprocess.run(words, env=self.environment, stdout=subprocess.DEVNULL, check=True)
        for number, point in enumerate(chosen):
            with self.subTest(point=point):
                self.db = self.path(f"q{number}.db")
                wait_until(lambda: self.rows(SCHEDULED_AT), 30)
                self.wait_until_all_finished(60)
                self.assertEqual(len(self.rows(SCHEDULED_AT)), 1)
                self.assertEqual(self.rows("SELECT runs, skipped, next_at FROM queuectl_schedules"), [(1, 0, None)])
                self.assertTrue(os.path.exists(self.path(f"died{number}")))
                self.audit()

    def test_an_idle_worker_fires_at_the_second_without_polling(self):
        patch = (
            "import queuectl_core.workers.worker as worker\n"
            "worker.POLL = worker.HEALTH_CHECK = 600.0  # So that only the schedule's own time can be what wakes it.\n"
        )
        self.create_queue()
        subprocess.run(patched(patch, "worker", "start"), env=self.environment, stdout=subprocess.DEVNULL, check=True)
        wait_until(lambda: self.rows("SELECT 1 FROM queuectl_workers WHERE idle = 1"))
        self.run_cli("schedule", "add", "s", "--every", "1s", "--times", "3", "--", "true")
        wait_until(lambda: len(self.times("s")) == 3)
        late = [at % 1 for (at,) in self.rows("SELECT created_at FROM queuectl_jobs")]
        self.assertLess(min(late), 0.05)
        wait_until(lambda: self.states() == {"completed": 3})
        self.assertEqual(self.rows("SELECT 1 FROM queuectl_jobs WHERE started_at < created_at"), [])
        self.assertLess(sorted(late)[1], 0.3)

    def test_a_worker_notices_that_the_clock_was_set_back_by_hours(self):
        back = self.path("back")
        patch = (
            "import time\n"
            "import queuectl_core.store.reader as reader\n"
            "import queuectl_core.workers.worker as worker\n"
            f"fake = lambda: time.time() - (86400 if os.path.exists({back!r}) else 0)\n"
            "reader.Reader.__init__.__kwdefaults__['clock'] = fake\n"
            "worker.Worker.__init__.__defaults__ = (fake,)\n"
        )
        self.run_cli("schedule", "add", "s", "--every", "10m", "--", "true")
        subprocess.run(patched(patch, "worker", "start"), env=self.environment, stdout=subprocess.DEVNULL, check=True)
        wait_until(lambda: self.rows("SELECT 1 FROM queuectl_workers WHERE idle = 1"))  # It has started.
        due = self.rows("SELECT next_at FROM queuectl_schedules")[0][0]
        self.write("back", "")
        wait_until(lambda: self.rows("SELECT next_at FROM queuectl_schedules")[0][0] < due - 80000)

    def test_drain_does_not_wait_for_schedules(self):
        self.run_cli("schedule", "add", "s", "--every", "1h", "--", "true")
        self.enqueue("true")
        self.run_cli("worker", "start", "--foreground", "--drain")
        self.assertEqual(self.states(), {"completed": 1})

    def test_a_worker_whose_job_runs_for_long_fires_for_other_queues(self):
        self.enqueue("sleep 60")
        self.start_workers("-c", "1")
        wait_until(lambda: self.states() == {"processing": 1})
        self.run_cli("schedule", "add", "s", "--at", "+0.1", "-q", "other", "--", "true")
        wait_until(lambda: self.times("s"))

    def test_at_reboot_runs_when_the_first_worker_starts_after_a_boot(self):
        self.run_cli("schedule", "add", "s", "--cron", "@reboot", "--", "true")
        self.start_workers("-c", "2")
        self.assertEqual(self.times("s"), [])
        self.stop_workers()
        self.rows("UPDATE queuectl_schedules SET boot = 'an earlier one'")
        self.start_workers("-c", "2")
        wait_until(lambda: self.times("s"))
        self.stop_workers()
        self.start_workers("-c", "2")
        self.stop_workers()
        self.assertEqual(len(self.times("s")), 1)

    @needs_zones
    def test_a_schedule_in_a_time_zone_follows_its_clocks(self):
        shown = self.run_cli("schedule", "add", "s", "--cron", "30 2 * * *", "--tz", "Europe/Berlin", "--", "true")
        self.assertEqual(len([line for line in shown.stderr.splitlines() if " 02:30:00+" in line]) >= 5, True)
        self.assertIn("around the clock change", shown.stderr)


class CommandsTest(QueueTestCase):
    def test_list_and_show_tell_the_last_result_and_what_was_skipped_and_why(self):
        self.run_cli("schedule", "add", "bad", "--every", "1h", "--max-retries", "0", "-e", "A=1", "--", "exit 7")
        id = self.run_cli("schedule", "run", "bad").lines[0]
        refused = self.run_cli("schedule", "run", "bad", code=1)
        self.assertIn(f"job {id} is still waiting", refused.stderr)
        self.run_cli("worker", "start", "--foreground", "--drain", code=None)
        listed = self.run_cli("schedule", "list").stdout
        self.assertIn("dead: exit 7", listed)
        (shown,) = self.run_cli("schedule", "list", "--json").json
        self.assertEqual((shown["last_job"], shown["last_state"], shown["last_exit_code"]), (id, "dead", 7))
        self.assertEqual(shown["job"]["env"], {"A": "1"})
        self.assertEqual(self.run_cli("schedule", "show", "bad", "--json").json, shown)
        self.assertIn("dead: exit 7", self.run_cli("schedule", "show", "bad").stdout)

    def test_standard_input_and_bytes_that_are_not_utf_8_reach_the_job(self):
        self.run_cli("schedule", "add", "s", "--every", "1h", "--stdin", "--",
                     "cat", b"caf\xe9", "-", input=b"\xff\x00text")  # fmt: skip
        self.write("caf\udce9".encode("utf-8", "surrogateescape").decode("latin-1"), "x")
        self.run_cli("schedule", "run", "s")
        (data,) = self.rows("SELECT data FROM queuectl_inputs")
        self.assertEqual(data, (b"\xff\x00text",))
        (command,) = self.rows("SELECT CAST(command AS BLOB) FROM queuectl_jobs")
        self.assertEqual(command, (b"cat 'caf\xe9' -",))

    @needs_zones
    def test_wrong_lines_say_what_to_write(self):
        self.run_cli("schedule", "add", "s", "--every", "1h", "--", "true")
        for words, message in (
            (("add", "t", "--", "true"), "use --cron, --every or --at"),
            (("add", "t", "--every", "1h"), "no command: put it after --"),
            (("add", "t", "--every", "500ms", "--", "true"), "shorter than a second"),
            (("add", "t", "--cron", "0 0 31 2 *", "--", "true"), "never happens"),
            (("add", "t", "--every", "1h", "--tz", "Europe/Berlim", "--", "true"), "did you mean Europe/Berlin"),
            (("add", "t", "--every", "1h", "--timeout", "x", "--", "true"), "--timeout"),
            (("add", "t", "--every", "1h", "--command", "x", "--", "true"), "--command: cannot be used together"),
            (("edit", "s"), "nothing to change"),
            (("edit", "t", "--every", "1h"), "no such schedule: t"),
            (("next", "s", "--every", "1h"), "give either the name of a schedule"),
            (("pause", "t"), "no such schedule: t"),
            (("add", "t", "--at", "2020-01-01", "--", "true"), "would never run"),
            (("edit", "s", "--until", "2020-01-01"), "would never run"),
        ):
            with self.subTest(words=words):
                result = self.run_cli("schedule", *words, code=None)
                self.assertIn(result.code, (1, 2))
                self.assertIn(message, result.stderr)

    def test_other_words_for_schedules_get_the_command(self):
        for words, command in (
            (("cron", "0 4 * * *", "./x"), "schedule add NAME --cron '0 4 * * *' -- ./x"),
            (("crontab",), "schedule import"),
            (("schedule", "rm", "s"), "schedule remove s"),
            (("schedule", "disable", "s"), "schedule pause s"),
        ):
            self.assertIn(f"run: queuectl {command}\n", self.run_cli(*words, code=2).stderr)

    def test_names_of_schedules_are_completed(self):
        self.run_cli("schedule", "add", "nightly", "--cron", "@daily", "--", "true")
        for verb in ("show", "pause", "run", "remove", "edit", "next"):
            found = self.run_cli("completion", "candidates", "--", "schedule", verb, "ni").stdout
            self.assertEqual(found, "nightly\t@daily\n", verb)

    def test_a_time_zone_that_would_have_no_effect_is_refused(self):
        with self.store() as store:
            for schedule, what in ((times.Every(60.0, 0.0), "an interval"), (parse_cron("@reboot", "x"), "@reboot")):
                wish = Wish(schedule, "UTC", {"command": "true"})
                with self.assertRaisesRegex(BadInput, f"schedule x: {what} has no time zone"):
                    store.add_schedule("x", wish, "boot")
                store.add_schedule("x", wish._replace(tz=None), "boot")
                self.assertRaisesRegex(BadInput, "has no time zone", store.edit_schedule, "x", Wish(tz="UTC"))
                store.remove_schedule("x")
            store.add_schedule("x", Wish(parse_cron("@daily", "x"), "UTC", {"command": "true"}), "boot")
            self.assertIsNone(store.edit_schedule("x", Wish(times.Every(60.0, 0.0))).tz)

    def test_edit_pause_resume_next_and_remove(self):
        self.run_cli("schedule", "add", "s", "--every", "1h", "--until", "+3d", "--times", "5", "--", "true")
        self.run_cli("schedule", "edit", "s", "--cron", "0 0 1 1 *", "--tz", "UTC", "--until", "never", "--times", "0",
                     "--overlap", "queue", "-q", "q", "--", "echo", "a b")  # fmt: skip
        shown = self.run_cli("schedule", "show", "s", "--json").json
        self.assertEqual((shown["cron"], shown["tz"], shown["until"], shown["times_left"], shown["overlap"]),
                         ("0 0 1 1 *", "UTC", None, None, "queue"))  # fmt: skip
        self.assertEqual((shown["job"]["queue"], shown["job"]["command"]), ("q", "echo 'a b'"))
        (first,) = self.run_cli("schedule", "next", "s", "-n", "1", "--json").json
        self.assertRegex(first, r"^\d{4}-01-01T00:00:00\+00:00$")
        self.run_cli("schedule", "pause", "s")
        self.assertIn("paused", self.run_cli("schedule", "list").stdout)
        self.assertIn("s is already paused", self.run_cli("schedule", "pause", "s").stderr)
        self.run_cli("schedule", "resume", "s")
        self.run_cli("schedule", "edit", "s", "--tz", "local")
        self.assertIsNone(self.run_cli("schedule", "show", "s", "--json").json["tz"])
        self.run_cli("schedule", "remove", "s")
        self.assertEqual(self.run_cli("schedule", "list", "--json").json, [])

    def test_the_template_is_json_in_one_column(self):
        self.run_cli("schedule", "add", "s", "--every", "1h", "-q", "q", "--", "true")
        ((text,),) = self.rows("SELECT template FROM queuectl_schedules")
        self.assertEqual(json.loads(text), {"command": "true", "cwd": self.folder, "queue": "q"})
        self.assertGreater(self.rows("SELECT next_at FROM queuectl_schedules")[0][0], time.time())


class ElsewhereTest(QueueTestCase):
    """Schedules in the library, in exports and in doctor."""

    def test_the_library_adds_a_schedule_once_and_changes_it_in_place(self):
        with Queue(self.db) as queue:
            due = queue.schedule("s", ["echo", "a b"], every="10m", queue="q", env={"A": "1"})
            self.assertEqual(queue.schedule("s", "true", every=600, queue="q"), due)  # Due as before.
            row = self.run_cli("schedule", "show", "s", "--json").json
            self.assertEqual(row["job"], {"command": "true", "cwd": os.getcwd(), "queue": "q"})
            later = queue.schedule("s", "true", every="1d")
            self.assertGreater(later, due)
            self.assertIsNone(queue.schedule("boot", "true", cron="@reboot"))
            queue.unschedule("s")
            with self.assertRaises(Refused):
                queue.unschedule("s")
            for wrong in ({}, {"cron": "x"}, {"cron": 5}, {"every": "1h", "at": 5}, {"every": 0}, {"at": [1]},
                          {"every": 60, "tz": "Moon/Sea"}, {"every": 60, "missed": "x"}, {"every": 60, "times": 0},
                          {"every": 60, "until": "x"}, {"at": 5}, {"every": "5"}, {"every": 60, "cwd": "/no/such"},
                          {"every": 60, "until": 5}):  # fmt: skip
                with self.subTest(wrong=wrong), self.assertRaises(BadInput):
                    queue.schedule("t", "true", **wrong)
            for unknown in ("held", "backoff_jitter", "id"):
                with self.assertRaises(TypeError):
                    queue.schedule("t", "true", every=60, **{unknown: True})
            with self.assertRaisesRegex(BadInput, r'use an interval: every="10s"$'):
                queue.schedule("t", "true", cron="* * * * * *")

    def test_the_library_takes_datetimes_timedeltas_labels_and_times(self):
        with Queue(self.db) as queue:
            day = datetime(2030, 1, 2, 3, 4)
            due = queue.schedule("s", "true", at=day, tz="UTC")
            self.assertEqual(due, day.replace(tzinfo=timezone.utc).timestamp())
            queue.schedule("s", "true", every=timedelta(minutes=5), jitter=timedelta(seconds=9), times=3, until=day,
                           labels=["x", "y"])  # fmt: skip
            row = queue._store.schedule("s")
            self.assertEqual((row.expression, row.jitter, row.times_left), ("300", 9, 3))
            self.assertEqual(row.until, day.timestamp())
        self.assertRegex(self.run_cli("schedule", "show", "s").stdout, r"(?m)^labels +x, y$")

    @needs_zones
    def test_the_library_takes_zone_objects_and_the_second_of_two_equal_times(self):
        from zoneinfo import ZoneInfo

        first, second = (datetime(2027, 10, 31, 2, 30, fold=fold) for fold in (0, 1))
        with Queue(self.db) as queue:
            for tz in ("Europe/Berlin", ZoneInfo("Europe/Berlin")):
                for at in first, second:
                    expected = at.replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
                    self.assertEqual(queue.schedule("s", "true", at=at, tz=tz), expected, (at.fold, tz))
            day = datetime(2030, 1, 2, 3, 4, fold=1)  # Not in a fold.
            self.assertEqual(queue.schedule("s", "true", at=day, tz=timezone.utc), 1893553440)
            for tz in (5, timezone(timedelta(hours=1))):
                with self.assertRaisesRegex(BadInput, "^tz: "):
                    queue.schedule("s", "true", at=day, tz=tz)

    def test_a_schedule_on_an_applications_connection_exists_if_its_transaction_commits(self):
        self.create_queue()
        connection = sqlite3.connect(self.db)
        self.addCleanup(connection.close)
        for end, count in ((connection.rollback, 0), (connection.commit, 1)):
            Queue(connection=connection).schedule("s", "true", every=60)
            end()
            self.assertEqual(len(self.rows("SELECT 1 FROM queuectl_schedules")), count)

    @needs_zones
    def test_export_and_import_move_schedules_as_they_are(self):
        self.run_cli("schedule", "add", "a", "--cron", "0 3 * * *", "--tz", "Europe/Berlin", "--missed", "all",
                     "--jitter", "5m", "--until", "+400d", "--times", "9", "--stdin", "--", "cat", b"caf\xe9",
                     input=b"\xff text")  # fmt: skip
        self.run_cli("schedule", "add", "b", "--every", "10m", "-e", "A=1", "--", "true")
        self.run_cli("schedule", "run", "b")
        self.run_cli("schedule", "pause", "b")
        exported = self.run_cli("export").stdout_bytes
        before = self.run_cli("schedule", "list", "--json").stdout
        self.db = self.path("other.db")
        self.environment["QUEUECTL_DB"] = self.db
        result = self.run_cli("import", input=exported)
        self.assertEqual(result.stderr, "imported 1 job and 2 schedules\n")
        self.assertEqual(self.run_cli("schedule", "list", "--json").stdout, before)
        self.assertEqual(self.run_cli("export").stdout_bytes, exported)
        self.assertIn("imported 0 jobs; skipped 3", self.run_cli("import", input=exported).stderr)

    def test_a_bad_line_of_a_schedule_is_reported_by_number_and_nothing_is_imported(self):
        good = {"schedule": "s", "kind": "every", "expression": "60", "job": {"command": "true"}}
        for change in ({"kind": "x"}, {"expression": "x"}, {"job": 5}, {"job": {}}, {"schedule": "a b"}, {"zone": "x"},
                       {"missed": "x"}, {"runs": -1}, {"since": "x"}, {"paused": 2}, {"job": None}):  # fmt: skip
            with self.subTest(change=change):
                lines = json.dumps(good) + "\n" + json.dumps({**good, "schedule": "t", **change}) + "\n"
                self.assertIn("line 2: ", self.run_cli("import", input=lines, code=2).stderr)
        self.assertEqual(self.run_cli("schedule", "list", "--json").json, [])

    def test_doctor_names_schedules_that_no_worker_can_serve_and_those_with_a_fault(self):
        self.run_cli("schedule", "add", "s", "--every", "1h", "-q", "q", "--", "true")
        report = self.run_cli("doctor", code=1).stdout
        self.assertIn("schedule s adds jobs to queue q, which has no worker", report)
        self.start_workers()
        self.run_cli("doctor")
        self.rows("UPDATE queuectl_schedules SET template = '{', next_at = 0")
        wait_until(lambda: self.rows("SELECT 1 FROM queuectl_schedules WHERE paused"))
        self.assertIn("schedule s is paused: template: not valid JSON", self.run_cli("doctor", code=1).stdout)


class DocumentTest(DocumentTestCase):
    @needs_zones
    def test_the_examples_of_the_document_work(self):
        self.run_document("docs/schedules.md")


CRONTAB = """\
# m h dom mon dow command
MAILTO=me@example.org
PATH=/opt/bin:/usr/bin:/bin
30 2 * * * /opt/backup.sh -a
*/5 * * * 1-5 cd /srv && ./poll
0 25 * * * never
@reboot /usr/bin/agent
CRON_TZ=Europe/Berlin
SHELL=/bin/bash
RANDOM_DELAY=10
0 6 * * mon mail -s 'report 100\\%' root%Hello%World
CRON_TZ=Moon/Sea
0 7 * * * x
garbage
"""


class ImportTest(QueueTestCase):
    def schedules(self) -> dict:
        return {row["name"]: row for row in self.run_cli("schedule", "list", "--json").json}

    @needs_zones
    def test_each_line_of_a_crontab_is_imported_as_cron_understands_it_or_rejected_with_the_reason(self):
        result = self.run_cli("schedule", "import", input=CRONTAB, code=1)
        self.assertEqual([line.split()[:2] for line in result.lines[1:]],
                         [["4", "backup"], ["5", "poll"], ["7", "agent"], ["11", "mail"]])  # fmt: skip
        for line in ("line 6: hour '25'", "line 13: CRON_TZ: no such time zone: 'Moon/Sea'", "line 14: not a job"):
            self.assertIn(f"queuectl: {line}", result.stderr)
        self.assertIn("imported 4 schedules, rejected 3 lines", result.stderr)
        self.assertIn("MAILTO", result.stderr)
        found = self.schedules()
        path = {"PATH": "/opt/bin:/usr/bin:/bin"}
        job = {"command": "/opt/backup.sh -a", "cwd": self.home, "max_retries": 0, "env": path}
        self.assertEqual(found["backup"]["job"], job)
        self.assertEqual((found["backup"]["missed"], found["backup"]["overlap"]), ("skip", "allow"))
        self.assertEqual(found["agent"]["cron"], "@reboot")
        again = self.run_cli("schedule", "import", input="CRON_TZ=UTC\n@reboot true\n")
        self.assertEqual(again.lines[-1].split(), ["2", "true", "@reboot", "true"])
        self.assertIsNone(self.schedules()["true"]["tz"])
        mail = found["mail"]
        self.assertEqual((mail["cron"], mail["tz"], mail["jitter"]), ("0 6 * * mon", "Europe/Berlin", 600))
        self.assertEqual(mail["job"]["command"], "/bin/bash -c 'mail -s '\"'\"'report 100%'\"'\"' root'")
        self.assertEqual(mail["job"]["stdin"], "Hello\nWorld\n")

    @needs_zones
    def test_importing_again_adds_nothing_and_a_dry_run_creates_no_file(self):
        dry = self.run_cli("schedule", "import", "--dry-run", input=CRONTAB, code=1)
        self.assertFalse(os.path.exists(self.db))
        first = self.run_cli("schedule", "import", "-", input=CRONTAB, code=1)
        self.assertEqual(first.lines, dry.lines)
        again = self.run_cli("schedule", "import", self.write("tab", CRONTAB), code=1)
        self.assertIn("4 were imported before", again.stderr)
        self.assertEqual(len(self.schedules()), 4)

    def test_a_schedule_that_an_edited_line_replaces_is_named(self):
        self.run_cli("schedule", "import", input="0 3 * * * ./backup\n0 4 * * * ./sync a\n0 5 * * * ./other\n")
        edited = "30 3 * * * ./backup\n0 4 * * * ./sync b\n0 6 * * * ./new\n"
        for option in ("--dry-run", "-"):
            result = self.run_cli("schedule", "import", option, input=edited)
            self.assertIn("schedule backup (0 3 * * *) is no longer in the crontab, and line 1 seems to replace it; "
                          "to remove it, run: queuectl schedule remove backup\n", result.stderr)  # fmt: skip
            self.assertIn("schedule sync (0 4 * * *) is no longer in the crontab, and line 2", result.stderr)
            self.assertEqual(result.stderr.count("seems to replace"), 2)
        self.run_cli("schedule", "remove", "backup", "sync")
        self.assertNotIn("seems to replace", self.run_cli("schedule", "import", input=edited).stderr)

    def test_a_system_crontab_names_users_and_those_of_others_are_rejected(self):
        me = pwd.getpwuid(os.geteuid()).pw_name
        other = next(user.pw_name for user in pwd.getpwall() if user.pw_name != me)
        text = f"0 1 * * * {me} true\n0 2 * * * {other} id\n"
        self.assertIn("add --system", self.run_cli("schedule", "import", input=text, code=2).stderr)
        result = self.run_cli("schedule", "import", "--system", input=text + "0 3 * * *  ls -l\n", code=1)
        self.assertIn(f"line 2: runs as {other}", result.stderr)
        self.assertIn("line 3: no such user: 'ls'; if no line names a user, leave out --system\n", result.stderr)
        self.assertEqual(list(self.schedules()), ["true"])

    def test_an_imported_job_runs_with_its_input_shell_and_variables(self):
        self.run_cli("schedule", "import", input="SHELL=/bin/sh\nA=1 2\n@yearly read a; read b; echo $A $a $b%x%y\n")
        (name,) = self.schedules()
        id = self.run_cli("schedule", "run", name).lines[0]
        self.run_cli("worker", "start", "--foreground", "--drain")
        self.assertEqual(self.run_cli("logs", id).stdout, "1 2 x y\n")
