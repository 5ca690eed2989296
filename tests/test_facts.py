"""The layer of figures: what is left to do and how long it takes, failures by group, and what helps a waiting job."""

from __future__ import annotations

import contextlib
import shlex
import sqlite3
import time
import unittest

from queuectl_core import jobspec
from queuectl_core.lifecycle import FINISHED, STATES, WAITING
from queuectl_core.store import Store
from queuectl_core.store.search import Search, find
from queuectl_core.views import facts, failures, history, metrics
from queuectl_core.views.failures import last_line, normalized
from queuectl_core.views.history import Span
from tests.harness import QueueTestCase, wait_until


class NormalizedTest(unittest.TestCase):
    def test_lines_that_differ_in_numbers_paths_and_ids_are_alike(self):
        for group in (
            ("timed out after 31s on /data/7f3a9c", "timed out after 8.5s on /data/b01c22/x.png"),
            ("commit 3f9ab12c is missing", "commit 0012ffee is missing"),
            ("user 550e8400-e29b-41d4-a716-446655440000", "user 123e4567-e89b-12d3-a456-426614174000"),
            ("\x1b[31merror\x1b[0m: code 3", "error:   code 42"),
            ("segfault at 0x7ffd12", "segfault at 0xdeadbeef"),
            ("cat: ../a/b/c: No such file", "cat: /etc/x/y: No such file"),
        ):
            self.assertEqual(len({normalized(line) for line in group}), 1, [normalized(line) for line in group])

    def test_different_words_are_different(self):
        lines = ("permission denied", "connection refused", "decade of beef", "cannot open a/b", "and/or")
        self.assertEqual([normalized(line) for line in lines], list(lines))

    def test_the_last_line_is_the_last_one_that_is_not_blank(self):
        self.assertEqual(last_line(b"one\ntwo\r\n \n\n"), "two")
        self.assertEqual(last_line(b" 50 %\r100 %"), "100 %")
        self.assertEqual(last_line(b"\xff\n"), "\udcff")
        self.assertEqual(last_line(b" \n"), "")


class FactsTest(QueueTestCase):
    def overview(self) -> facts.Overview:
        with self.store() as store, store.snapshot():
            return facts.overview(store, time.time())

    def queue(self, name: str = "default") -> facts.Queue:
        return next(queue for queue in self.overview().queues if queue.name == name)

    def drain(self) -> None:
        self.run_cli("worker", "start", "--drain", "--foreground", code=None)  # 1 if a job died.

    def test_the_remaining_jobs_take_as_long_as_the_finished_ones_did(self):
        self.enqueue_lines(["sleep 0.2"] * 5)
        self.assertEqual(self.queue().remaining, facts.Remaining(None, "no worker"))
        self.run_cli("worker", "start", "--drain", "--foreground", "-c", "5")
        self.assertEqual(self.queue().remaining, facts.Remaining(0.0))
        self.run_cli("config", "set", "default.limit", "2")
        self.start_workers("-c", "4")
        self.run_cli("pause", "default")
        self.enqueue_lines(["sleep 60"] * 20)
        self.assertEqual(self.queue().remaining, facts.Remaining(None, "paused"))
        self.run_cli("resume", "default")
        wait_until(lambda: self.queue().running == 2)
        remaining = self.queue().remaining.seconds
        self.assertIsNotNone(remaining)
        self.assertTrue(1.8 < remaining < 6, remaining)  # 19 jobs of 0.2 s, two at a time.
        self.run_cli("config", "set", "default.rate", "1/min")
        self.assertEqual(self.queue().remaining.seconds, 18 * 60)

    def test_held_jobs_need_no_worker_and_take_no_time(self):
        with self.store() as store:
            store.enqueue([jobspec.new_job({"command": "true", "held": True, "queue": name}, 0.0) for name in "aab"])
            store.enqueue([jobspec.new_job({"command": "true", "queue": "b"}, 0.0)])
            found = {queue.name: queue for queue in facts.queues(store, time.time(), [])}
            together = facts.overview(store, time.time()).remaining
        self.assertEqual([(found[name].held, found[name].startable) for name in "ab"], [(2, 0), (1, 1)])
        self.assertEqual([found[name].remaining.reason for name in "ab"], ["held", "no worker"])
        self.assertEqual(together.reason, "no worker")

    def test_without_a_finished_job_there_is_no_estimate(self):
        self.start_workers()
        self.enqueue("--", "sleep 60")
        self.assertEqual(self.queue().remaining, facts.Remaining(None, "no data yet"))
        self.assertEqual(self.overview().remaining, facts.Remaining(None, "no data yet"))

    def test_the_oldest_ready_job_is_found_whatever_its_priority(self):
        now = time.time()
        self.run_cli("config", "set", "max-retries", "3")  # Creates the file.
        db = sqlite3.connect(self.db)
        with db:
            rows = [(number % 3, now - 1000 + number, now - 1000 + number) for number in range(50)]
            rows.append((9, now - 5, now - 5))
            db.executemany(
                "INSERT INTO queuectl_jobs (command, priority, run_at, created_at) VALUES ('true', ?, ?, ?)", rows
            )
        db.close()
        self.assertAlmostEqual(self.queue().oldest or 0, now - 1000, places=2)

    def test_a_running_job_takes_as_long_as_earlier_runs_of_its_command(self):
        self.enqueue_lines(["sleep 0.3"] * 3)
        self.drain()
        first, second = self.enqueue_lines(["sleep 0.3; sleep 60", "sleep 60"])
        self.start_workers("-c", "2")
        wait_until(lambda: self.states() == {"completed": 3, "processing": 2})
        with self.store() as store:
            jobs = [store.get(first), store.get(second)]
            jobs[0] = jobs[0]._replace(command="sleep 0.3")
            known, unknown = facts.busy(store, jobs, jobs[0].started_at + 0.1)
        self.assertEqual(unknown.remaining, facts.Remaining(None, "no data yet"))
        self.assertEqual(known.remaining.reason, "estimate")
        self.assertTrue(0.15 < (known.remaining.seconds or 0) < 0.4, known.remaining)

    def test_steps_of_a_series_add_up_to_the_total(self):
        self.enqueue_lines(["true"] * 7, "-q", "a")
        self.enqueue_lines(["true"] * 5, "-q", "b")
        self.drain()
        now = time.time()
        span = Span(now - 3600, now + 60)
        with self.store() as store:
            points = history.series(store, span, 300)
            by_queue = history.series_by_queue(store, span, 300)
            days = history.by_day(store, span)
            self.assertEqual(history.total(store, span, ["a"]).counts, {"added": 7, "completed": 7})
        self.assertIn(len(points), (13, 14))
        self.assertEqual(sum(stats.finished for _, stats in points), 12)
        sums = {queue: sum(stats.finished for _, stats in line) for queue, line in by_queue.items()}
        self.assertEqual(sums, {"a": 7, "b": 5})
        self.assertEqual(sum(stats.finished for _, stats in days), 12)

    def test_lanes_show_who_ran_what(self):
        self.run_cli("config", "set", "backoff-base", "0")
        id = self.enqueue("--max-retries", "1", "--", "exit 3")
        self.drain()
        now = time.time()
        with self.store() as store:
            (runs,) = facts.lanes(store, Span(now - 60, now)).values()
            self.assertEqual(facts.lanes(store, Span(now - 7200, now - 3600)), {})
        self.assertEqual([(run.id, run.attempt, run.exit_code) for run in runs], [(id, 1, 3), (id, 2, 3)])

    def test_failures_fall_into_groups_that_can_be_revived(self):
        self.run_cli("config", "set", "backoff-base", "0")
        self.run_cli("config", "set", "max-retries", "1")
        like = self.enqueue_lines([f"echo took {number}s; exit 3" for number in range(4)])
        self.enqueue("--", "echo took 7s; exit 4")
        self.enqueue("--", "test -e again || { touch again; echo took 7s; exit 3; }")
        self.enqueue("--", "true")
        self.drain()
        with self.store() as store:
            groups, is_partial = failures.failures(store, 0)
            by_size = sorted(groups, key=lambda group: -group.attempts)
            self.assertEqual(list(failures.dead_like(store, by_size[0].key)), like)
            self.assertEqual(failures.failures(store, 0, ["other"]).groups, [])
            self.assertEqual(failures.failures(store, time.time() + 1).groups, [])
        self.assertFalse(is_partial)
        self.assertEqual(
            [(group.error, group.line, group.attempts, group.dead) for group in by_size],
            [("exit 3", "took <n>s", 9, 4), ("exit 4", "took <n>s", 2, 1)],
        )
        self.assertIn(by_size[0].example, [*like, *self.jobs()])
        self.assertLessEqual(by_size[0].first, by_size[0].last)

    def test_the_command_that_helps_a_waiting_job_starts_it(self):
        """Follow each remedy like a user would, until the job has finished."""
        obstacles = {
            "delayed": ["--delay", "1h", "--", "true"],
            "paused": ["-q", "closed", "--", "true"],
            "retrying": ["--max-retries", "3", "--backoff-base", "1000", "--", "test -e ok"],
            "after": ["--after", "root", "--max-retries", "0", "--", "true"],
            "limit": ["-q", "limited", "--", "true"],
            "rate": ["-q", "slow", "--", "true"],
        }
        self.enqueue("--id", "root", "--max-retries", "0", "--", "test -e ok")
        self.run_cli("pause", "closed")
        self.run_cli("config", "set", "limited.limit", "1")
        self.run_cli("config", "set", "slow.rate", "1/h")
        self.enqueue("-q", "limited", "--", "sleep 60")
        self.enqueue("-q", "slow", "--", "true")
        ids = {name: self.enqueue(*words) for name, words in obstacles.items()}
        self.start_workers("-c", "3")
        self.wait_for_state(ids["retrying"], "failed")
        self.wait_for_state("root", "dead")
        self.write("ok", "")
        self.run_cli("pause")
        followed = set()
        deadline = time.monotonic() + 20
        while any(self.state(id) not in FINISHED for id in ids.values()) and time.monotonic() < deadline:
            with self.store() as store:
                waiting = [(job, reason) for job, reason in find(store, Search())[0] if reason]
                remedies = [facts.remedy(job, reason) for job, reason in waiting]
            for remedy in remedies:
                if remedy and remedy not in followed and "worker start" not in remedy:
                    followed.add(remedy)
                    self.run_cli(*shlex.split(remedy)[1:])
                    break
        self.assertEqual({self.state(id) for id in ids.values()}, {"completed"}, remedies)
        self.assertEqual(len(followed), 6, followed)

    def test_a_job_without_a_worker_is_told_to_start_one(self):
        id = self.enqueue("-q", "it's", "--", "true")
        self.run_cli("worker", "start", "-q", "other")
        with self.store() as store:
            ((job, reason),) = list(find(store, Search(states=("pending",)))[0])
        self.assertEqual(reason, "no worker")
        remedy = facts.remedy(job, reason)
        self.run_cli(*shlex.split(remedy or "")[1:])
        self.wait_for_state(id, "completed")


GARBAGE: list[object] = [
    *(None, "", "x", "1e999", "a\nb\0", b"", b"\xff", -1, 2**63 - 1, -(2**63), 0.5, 9e999, -9e999, 1e300),
]


class GarbageTest(QueueTestCase):
    """Rows that another program wrote with CHECKs off: a value that makes no sense, in each column in turn."""

    TABLES = ("jobs", "attempts", "record", "queues", "workers", "config", "output")

    def setUp(self) -> None:
        super().setUp()
        self.create_queue()
        self.database = sqlite3.connect(self.db)
        self.addCleanup(self.database.close)
        self.database.execute("PRAGMA ignore_check_constraints = ON")

    def insert(self, table: str, **values: object) -> None:
        """Insert a row, unless the table's types and keys forbid even that."""
        marks = ", ".join("?" * len(values))
        with contextlib.suppress(sqlite3.IntegrityError):
            self.database.execute(
                f"INSERT INTO queuectl_{table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values())
            )

    def fill(self, garbage: object, now: float) -> None:
        """A healthy row of each kind, and rows with garbage in one column each."""
        number = 0
        for table in self.TABLES:
            columns = [row[1] for row in self.database.execute(f"PRAGMA table_info(queuectl_{table})")]
            for column in (None, *columns):
                for state in STATES if table == "jobs" else ("",):
                    number += 1
                    row = self.healthy(table, state, number, now)
                    self.insert(table, **({**row, column: garbage} if column else row))
        for table, key in (("jobs", "seq"), ("attempts", "job")):  # Also those that belong together.
            columns = [row[1] for row in self.database.execute(f"PRAGMA table_info(queuectl_{table})")]
            for place, column in enumerate(columns):
                with contextlib.suppress(sqlite3.IntegrityError):
                    self.database.execute(
                        f"UPDATE OR IGNORE queuectl_{table} SET {column} = ? WHERE {key} % 31 = {place % 31}",
                        (garbage,),
                    )
        self.database.commit()

    def healthy(self, table: str, state: str, number: int, now: float) -> dict[str, object]:
        ran = state not in ("pending", "")
        ended = {"finished_at": now - 1} if state in FINISHED else {}
        running = {"worker": 1} if state == "processing" else {}
        settings = dict.fromkeys(
            "max_retries backoff_base backoff_max timeout kill_grace output_limit defer_limit".split(), 1
        )
        tried = {"attempts": 1, "last_attempt": 1, "started_at": now - 5} if ran else {}
        waiting = {"ready": 1} if state in WAITING else {"ready": None}
        rows: dict[str, dict[str, object]] = {
            "jobs": {
                "seq": number, "id": f"j{number}", "command": "true", "state": state, "error": "exit 1",
                **settings, **ended, **running, **tried, **waiting,
            },
            "attempts": {
                "job": number % 200, "attempt": 1, "worker": 1, "started_at": now - 5, "finished_at": now - 1,
                "outcome": "exit", "exit_code": 1, "error": "exit 1", "progress": 50, "progress_text": "half",
            },
            "record": {
                "tier": 60, "start": int(now) // 60 * 60 - number * 60, "queue": "default", "kind": "completed",
                "bucket": 9, "count": 1, "seconds": 1.0,
            },
            "queues": {"name": f"q{number}"},
            "workers": {
                "id": number, "role": "worker", "pid": 1, "boot": "b", "birth": "1", "version": "1", "started_at": now,
            },
            "config": {"key": f"q{number}.limit", "value": 1},
            "output": {"job": number % 200, "attempt": 1, "position": 0, "stream": 1, "data": b"one\ntwo\n"},
        }  # fmt: skip
        return rows[table]

    def test_every_figure_survives_whatever_is_stored(self):
        for garbage in GARBAGE:
            for table in self.TABLES:
                self.database.execute(f"DELETE FROM queuectl_{table}")
            now = time.time()
            self.fill(garbage, now)
            with self.subTest(garbage=garbage), self.store() as store:
                for moment in (now, now - 10 * 86400):  # The clock was set back.
                    self.look(store, moment)

    def look(self, store: Store, now: float) -> None:
        found = facts.overview(store, now)
        self.assertTrue(found.queues)
        facts.meters(store, now)
        metrics.text(store, now)
        for span in (Span(now - 86400, now), Span(0, 1e11), Span(now, now - 60)):
            stats = [history.total(store, span), *history.by_queue(store, span).values()]
            stats += [stats for _, stats in history.by_day(store, span)]
            if span.since:
                stats += [stats for _, stats in history.series(store, span, 3600)]
                history.series_by_queue(store, span, 3600)
            for part in stats:
                for figure in (part.success, part.tries, part.work, part.wait(0.5), part.run(0.99)):
                    self.assertTrue(figure is None or figure >= 0, (figure, part))
            for worker, runs in facts.lanes(store, span).items():
                self.assertIsInstance(worker, int)
                for run in runs:
                    self.assertIsInstance(run.id + run.queue, str)
                    self.assertGreaterEqual((run.finished_at or now) - run.started_at + run.attempt, -(2**63) - 1e12)
        failures.failures(store, 0)
        list(failures.dead_like(store, "00000000"))
        for states in ((), STATES):
            jobs = list(find(store, Search(states=states), 1000)[0])
            for running in facts.busy(store, [job for job, _ in jobs], now):
                self.assertGreaterEqual(running.remaining.seconds or 0, 0, running)
            for job, reason in jobs:
                facts.remedy(job, reason)


if __name__ == "__main__":
    unittest.main()
