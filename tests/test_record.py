"""The record: every attempt that ended is counted exactly once, and its counters outlive the jobs."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
import unittest

from queuectl_core import jobspec
from queuectl_core.histogram import BOUNDS, LAST, bucket, quantile
from queuectl_core.jobspec import NewJob
from queuectl_core.lifecycle import Outcome, judge
from queuectl_core.store import Store, sql
from queuectl_core.views import history
from queuectl_core.views.history import Span
from queuectl_core.workers import fleet
from tests.harness import ROOT, QueueTestCase, wait_until

DAY = 86400


def new_job(command: str, **fields: object) -> NewJob:
    return jobspec.new_job({"command": command, **fields}, time.time())


ROLLS_UP = """
import sys
from queuectl_core.store import Store
with Store(sys.argv[1]) as store:
    print("ready", flush=True)
    while True:
        store.roll_up()
"""


class HistogramTest(unittest.TestCase):
    def test_each_bucket_ends_where_the_next_begins(self):
        for number, bound in enumerate(BOUNDS):
            self.assertEqual(bucket(bound), number)
            self.assertEqual(bucket(bound * 1.000001), number + 1)
        self.assertEqual((bucket(0), bucket(-5), bucket(1e12)), (0, 0, LAST))
        self.assertEqual((BOUNDS[0], BOUNDS[20]), (0.001, 1.024))
        self.assertGreater(BOUNDS[-1], 30 * DAY)

    def test_quantiles_are_within_a_fifth_of_the_exact_ones(self):
        numbers = random.Random(5)
        for spread in (0.1, 1, 3):
            durations = sorted(0.002 + numbers.lognormvariate(0, spread) for _ in range(2000))
            counts: dict[int, int] = {}
            for seconds in durations:
                counts[bucket(seconds)] = counts.get(bucket(seconds), 0) + 1
            for part in (0.01, 0.5, 0.9, 0.95, 0.99):
                exact = durations[int(part * len(durations))]
                self.assertLess(abs((quantile(counts, part) or 0) / exact - 1), 0.2, (spread, part))

    def test_without_events_there_is_no_quantile(self):
        self.assertIsNone(quantile({}, 0.5))
        self.assertIsNone(quantile({3: 0}, 0.5))


class RecordTest(QueueTestCase):
    def stats(self, *queues: str) -> history.Stats:
        now = time.time()
        with self.store() as store:
            return history.total(store, Span(now - DAY, now + 60), queues)

    def counts(self, *queues: str) -> dict[str, int]:
        return self.stats(*queues).counts

    def test_every_ending_is_counted(self):
        self.run_cli("config", "set", "backoff-base", "0")
        self.enqueue("--", "true")
        self.enqueue("--max-retries", "2", "--", "exit 3")
        self.enqueue("--max-retries", "0", "--timeout", "0.1", "--", "sleep 60")
        self.enqueue("--", "test -e again || { touch again; exit 75; }")
        cancelled = self.enqueue("--", "sleep 60")
        self.start_workers()
        self.wait_for_state(cancelled, "processing")
        self.run_cli("cancel", cancelled)
        self.wait_until_all_finished()
        stats = self.stats()
        expected = {"added": 5, "completed": 2, "failed": 2, "dead": 2, "deferred": 1, "cancelled": 1}
        self.assertEqual(stats.counts, expected)
        self.assertEqual(sum(stats.waits.values()), 5)  # First attempts only.
        self.assertGreaterEqual(stats.seconds["dead"], 0.1)
        self.assertEqual((stats.finished, stats.attempts, stats.success, stats.tries), (4, 8, 0.5, 1.5))

    def test_the_attempt_of_a_killed_worker_is_lost_and_a_released_one_released(self):
        id = self.enqueue("--", "test -e second || { touch second; sleep 60; }; test -e third || sleep 60")
        ((_, pid),) = self.start_workers()
        self.wait_for_state(id, "processing")
        wait_until(lambda: os.path.exists(self.path("second")))
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.job(id)["attempts"] == 2 and self.state(id) == "processing")
        self.stop_workers("--now")
        self.write("third", "")
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.assertEqual(self.counts(), {"added": 1, "lost": 1, "released": 1, "completed": 1})

    def test_a_settle_of_a_job_that_was_taken_away_is_not_counted(self):
        with self.store() as store:
            store.enqueue([new_job("true")])
            worker = self.register_worker(store)
            job = store.claim(worker, None).job
            verdict = judge(job, Outcome("lost"), time.time())
            self.assertTrue(store.settle(job, Outcome("lost"), verdict))
            self.assertFalse(store.settle(job, Outcome("exit"), judge(job, Outcome("exit"), time.time())))
        self.assertEqual(self.counts(), {"added": 1, "lost": 1})

    def test_a_cancellation_that_the_worker_had_not_seen_counts_as_cancelled(self):
        with self.store() as store:
            (id,) = store.enqueue([new_job("false")])
            job = store.claim(self.register_worker(store), None).job
            store.cancel(id)
            outcome = Outcome("exit", 1)
            store.settle(job, outcome, judge(job, outcome, time.time()))
        self.assertEqual(self.counts(), {"added": 1, "cancelled": 1})

    def test_waiting_counts_from_when_a_job_is_ready(self):
        now = [time.time() // 60 * 60 - 600.0]
        with self.store(clock=lambda: now[0]) as store:
            ids = store.enqueue([new_job("true", run_at=now[0] + 100)])
            store.enqueue([new_job("true", queue="later", after=ids)])
            worker = self.register_worker(store)
            now[0] += 103
            job = store.claim(worker, "default").job
            outcome = Outcome("exit", 0)
            store.settle(job, outcome, judge(job, outcome, now[0]))
            self.assertAlmostEqual(history.total(store, Span(0, now[0] + 60)).seconds["wait"], 3, places=3)
            # The trigger that completes dependencies reads SQLite's clock.
            self.assertLess(abs(store.find(store.unfinished_ids(None)[0]).run_at - time.time()), 5)

    def test_jobs_are_counted_however_they_are_added_but_not_when_they_are_imported(self):
        self.enqueue_lines(["true"] * 30)
        self.enqueue("--unique", "key", "--id", "x", "--", "true")
        self.enqueue("--unique", "key", "--", "true")  # Not added.
        db = sqlite3.connect(self.db)
        with db:
            db.executemany("INSERT INTO queuectl_jobs (command, queue) VALUES ('true', ?)", [("other",)] * 3)
        db.close()
        self.assertEqual((self.counts("default"), self.counts("other")), ({"added": 31}, {"added": 3}))
        self.run_cli("worker", "start", "--drain", "--foreground")
        exported = self.run_cli("export").stdout
        self.db = self.path("other.db")
        self.environment["QUEUECTL_DB"] = self.db
        self.run_cli("import", "-", input=exported)
        self.assertEqual((self.counts(), len(self.jobs())), ({}, 34))

    def test_pruning_lowers_no_counter(self):
        self.enqueue_lines(["true"] * 20)
        self.run_cli("worker", "start", "--drain", "--foreground")
        before = self.stats()
        self.run_cli("prune")
        self.assertEqual((self.jobs(), self.stats()), ({}, before))

    def test_killed_workers_count_every_attempt_once(self):
        self.run_cli("config", "set", "backoff-base", "0")
        self.run_cli("config", "set", "max-retries", "1000")
        self.enqueue_lines(["sleep 0.0%d" % (number % 5) for number in range(150)])
        numbers = random.Random(2)
        self.start_workers("-c", "4")
        for _ in range(12):
            time.sleep(numbers.random() / 10)
            with contextlib.suppress(ProcessLookupError, IndexError):
                os.kill(numbers.choice(self.worker_pids()), signal.SIGKILL)
        self.run_cli("worker", "start", "-c", "4", "--top-up")
        self.wait_until_all_finished()
        ended = dict(self.rows("SELECT outcome, count(*) FROM queuectl_attempts GROUP BY outcome"))
        counts = self.counts()
        self.assertEqual((counts["completed"], counts.get("lost", 0)), (ended["exit"], ended.get("lost", 0)))
        self.assertEqual(sum(counts.values()) - counts["added"], sum(ended.values()))

    def worker_pids(self) -> list[int]:
        with self.store() as store:
            return [row.pid for row in fleet.live_workers(store)]


class RollUpTest(QueueTestCase):
    """Tiers, with an injected clock."""

    def totals(self, store: Store) -> tuple[int, float]:
        rows = self.rows("SELECT sum(count), sum(seconds) FROM queuectl_record")
        return rows[0][0], round(rows[0][1], 3)

    def fill(self, store: Store, start: float, days: int) -> None:
        """An event of a second every 97 minutes."""
        with store._transaction():
            for moment in range(int(start) // 60 * 60, int(start + days * DAY), 97 * 60):
                event = {"minute": moment, "queue": "q", "kind": "completed", "job": 0, "bucket": 20, "seconds": 1.0}
                store._execute(sql.COUNT_ATTEMPT, event)

    def test_years_are_kept_as_days_without_losing_an_event(self):
        now = [1_700_000_000.0]
        with self.store(clock=lambda: now[0]) as store:
            events = 0
            for _ in range(3):
                self.fill(store, now[0], 60)
                events = self.totals(store)[0]
                now[0] += 200 * DAY
                while store.roll_up():
                    pass
                self.assertEqual(self.totals(store), (events, float(events)))
            now[0] += 365 * DAY
            while store.roll_up():
                pass
            self.assertEqual(self.totals_by_tier(), {DAY: events})
            self.assertLessEqual(len(self.rows("SELECT * FROM queuectl_record")), 183)
            self.assertEqual(history.total(store, Span(0, now[0])).counts, {"completed": events})

    def totals_by_tier(self) -> dict[int, int]:
        return dict(self.rows("SELECT tier, sum(count) FROM queuectl_record GROUP BY tier"))

    def test_two_days_of_minutes_and_ninety_days_of_hours_are_kept(self):
        now = [1_700_000_000.0]
        with self.store(clock=lambda: now[0]) as store:
            self.fill(store, now[0], 100)
            now[0] += 100 * DAY
            while store.roll_up():
                pass
            oldest = dict(self.rows("SELECT tier, min(start) FROM queuectl_record GROUP BY tier"))
            newest = dict(self.rows("SELECT tier, max(start) FROM queuectl_record GROUP BY tier"))
            self.assertGreater(oldest[60], now[0] - 2 * DAY - 3600)
            self.assertLessEqual(newest[3600] + 3600, now[0] - 2 * DAY)
            self.assertGreater(oldest[3600], now[0] - 91 * DAY)
            self.assertLessEqual(newest[DAY] + DAY, now[0] - 90 * DAY)

    def test_a_roll_up_that_is_killed_counts_nothing_twice(self):
        with self.store() as store:
            self.fill(store, time.time() - 200 * DAY, 199)
            before = self.totals(store)
        numbers = random.Random(3)
        for _ in range(12):
            process = subprocess.Popen(
                [sys.executable, "-c", ROLLS_UP, self.db], stdout=subprocess.PIPE, cwd=ROOT, env=self.environment
            )
            process.stdout.readline()
            time.sleep(numbers.random() / 30)
            process.kill()
            process.communicate()
            with self.store() as store:
                self.assertEqual(self.totals(store), before)
        self.assertIn(DAY, self.totals_by_tier())

    def test_rows_that_no_queuectl_would_write_stop_neither_a_settle_nor_a_roll_up(self):
        now = [1_700_000_000.0]
        odd = [-1, 0, 0.5, 2**63 - 1, -(2**63), 9e999, -9e999, 1e300, -1e300, "", "x", "60", b"", b"\xff"]
        with self.store(clock=lambda: now[0]) as store:
            db = sqlite3.connect(self.db)
            db.execute("PRAGMA ignore_check_constraints = ON")
            minute = int(now[0]) // 60 * 60
            with db:
                for place in range(7):
                    for value in odd:
                        for tier in (60, 3600):
                            row: list[object] = [tier, minute, "default", "completed", 0, 1, 1.0]
                            row[place] = value
                            db.execute("INSERT OR REPLACE INTO queuectl_record VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            for value in odd:
                with db:
                    db.execute("UPDATE queuectl_record SET count = ?, seconds = ? WHERE bucket = 0", (value, value))
                store.enqueue([jobspec.new_job({"command": "true"}, now[0])])
                job = store.claim(self.register_worker(store), None).job
                outcome = Outcome("exit", 0)
                self.assertTrue(store.settle(job, outcome, judge(job, outcome, now[0])))
            db.close()
            now[0] += 200 * DAY
            for _ in range(100):
                if not store.roll_up():
                    break
            else:
                self.fail("it rolls up the same again and again")

    def test_a_worker_rolls_up(self):
        with self.store() as store:
            self.fill(store, time.time() - 10 * DAY, 1)
        self.start_workers()
        wait_until(lambda: self.totals_by_tier().get(3600, 0) > 0)


if __name__ == "__main__":
    unittest.main()
