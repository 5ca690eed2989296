"""`metrics`: both formats are valid whatever a queue is called, the figures are right, and counters never go down."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import unittest
from typing import Any

from queuectl_core.histogram import BOUNDS
from queuectl_core.lifecycle import STATES
from queuectl_core.store import sql
from queuectl_core.views import history, metrics
from queuectl_core.views.history import RAN, Span
from tests.dashboard_case import DashboardTestCase
from tests.exposition import Exposition, Samples, read
from tests.harness import IS_ROOT, PROGRAM, QueueTestCase, wait_until

DAY = 86400
PROMTOOL = shutil.which("promtool")
# Names that the schema accepts and a format could break on, and two that look alike.
HOSTILE = [
    b'"', b"\\", b'\\"', b"\n",
    b"\\n", b"a\nqueuectl_jobs 1", b'"} 1 # ', b"# EOF", b"{}", b" ", b"x\x00", b"\r\x1b[31m",
    b"\xff", b"\\xff", b"\\x5cxff", b"\\\xff", b"\xed\xa0\x80", "\u202eé\u2028\ufeff\U0001f600".encode(), b"q" * 200,
]  # fmt: skip


class ExpositionTest(unittest.TestCase):
    """The reader that the other tests rely on rejects what isn't valid."""

    VALID = (
        '# HELP a_seconds x\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\na_seconds_bucket{le="1"} 1\n'
        'a_seconds_bucket{le="+Inf"} 2\na_seconds_count 2\na_seconds_sum 3.5\n# HELP b x\n# TYPE b counter\n'
        'b_total{q="\\\\\\""} 1\nb_total{q="2",r="3"} 1\n# EOF\n'
    )

    def test_a_valid_text_is_read(self):
        found = read(self.VALID, True)
        self.assertEqual(found.value("a_seconds_bucket", le="+Inf"), 2)
        self.assertEqual(found.value("b_total", q='\\"'), 1)
        self.assertEqual(found.labels("a_seconds_bucket", "le"), ["1", "+Inf"])

    def test_anything_else_is_rejected(self):
        for old, new in (
            ("# EOF\n", ""),
            ("# EOF\n", "# EOF"),
            ("# EOF\n", "# EOF\n\n"),
            ("a_seconds_count 2", "a_seconds_count 3"),
            ("a_seconds_sum 3.5\n", ""),
            ('{le="1"} 1', '{le="1"} 3'),
            ('{le="1"} 1', '{le="1"} -1'),
            ('{le="1"}', '{le="x"}'),
            ("# TYPE b counter\n", ""),
            ("# TYPE b counter", "# TYPE b countr"),
            ("# HELP b x", "# HELP b "),
            ("# UNIT a_seconds seconds", "# UNIT a_seconds bytes"),
            ("# UNIT a_seconds seconds\n", ""),
            ("b_total{", "b{"),
            ("b_total{", "c_total{"),
            ('q="2",r="3"', 'q="2",q="3"'),
            ('q="2",r="3"', 'q="2",r="3",'),
            ('q="2",r="3"', 'q="\\\\\\""'),  # The same series again.
            ('q="2"', 'q="\\2"'),
            ('q="2"', 'q=""2"'),
            ('r="3"} 1', 'r="3"} one'),
            ("# EOF", "# HELP a_seconds x\n# EOF"),
            ("# EOF", "a_seconds_x 1\n# EOF"),
        ):
            self.assertIn(old, self.VALID)
            text = self.VALID.replace(old, new)
            with self.assertRaises(ValueError, msg=text):
                read(text, True)
        with self.assertRaises(ValueError):
            read(self.VALID.replace("# EOF\n", ""), False)  # A unit in the older format.


class MetricsTestCase(QueueTestCase):
    def metrics(self, form: str = "openmetrics") -> Exposition:
        return read(self.run_cli("metrics", "--format", form).stdout, form == "openmetrics")

    def drain(self, *args: object) -> None:
        self.run_cli("worker", "start", "--drain", "--foreground", *args, code=None)  # 1 if a job died.

    def fill(self) -> None:
        """A queue in which each state, and several ways to end, occur."""
        self.run_cli("config", "set", "backoff-base", "0")
        self.run_cli("config", "set", "mail.limit", "7")
        self.enqueue_lines(["true"] * 9 + ["sleep 0.02"])
        self.enqueue("-q", "mail", "--max-retries", "2", "--", "exit 3")
        self.enqueue("--", "test -e again || { touch again; exit 75; }")
        self.drain()
        self.run_cli("config", "set", "backoff-base", "1000")
        self.enqueue("-q", "mail", "--max-retries", "2", "--", "exit 3")
        self.start_workers("-c", "2")
        wait_until(lambda: self.states().get("failed"))
        self.run_cli("cancel", self.enqueue("--delay", "1h", "--", "true"))
        self.enqueue("--id", "long", "--", "sleep 60")
        self.wait_for_state("long", "processing")
        self.run_cli("pause", "mail")
        self.enqueue("-q", "mail", "--", "true")


class FiguresTest(MetricsTestCase):
    def test_both_formats_are_valid_and_report_the_same(self):
        self.fill()
        new, old = self.metrics(), self.metrics("prometheus")
        self.assertEqual(
            {**new.families, "queuectl_build": None}.keys(),
            {name[: -len("_total")] if name.endswith("_total") else name for name in old.families}
            - {"queuectl_build_info"}
            | {"queuectl_build"},
        )
        changing = ("queuectl_queue_oldest_ready_seconds", "queuectl_wal_bytes")
        self.assertEqual(self.without(new, changing), self.without(old, changing))

    def without(self, found: Exposition, names: tuple[str, ...]) -> Samples:
        return {key: value for key, value in found.samples.items() if key[0] not in names}

    def test_the_figures_are_those_of_status_and_of_the_record(self):
        self.fill()
        found = self.metrics()
        status = self.run_cli("status", "--json").json
        for queue, states in status["queues"].items():
            for state in STATES:
                self.assertEqual(found.value("queuectl_jobs", queue=queue, state=state), states[state], (queue, state))
        self.assertEqual(found.value("queuectl_database_bytes"), status["database_bytes"])
        self.assertEqual(found.value("queuectl_workers", state="busy"), 1)
        self.assertEqual(found.value("queuectl_workers", state="idle"), 1)
        self.assertEqual(found.value("queuectl_workers", state="stopping"), 0)
        self.assertEqual(found.value("queuectl_queue_paused", queue="mail"), 1)
        self.assertEqual(found.value("queuectl_queue_paused", queue="default"), 0)
        self.assertEqual(found.labels("queuectl_queue_limit", "queue"), ["mail"])
        self.assertEqual(found.value("queuectl_queue_limit", queue="mail"), 7)
        ((version, build),) = [key for key in found.samples if key[0] == "queuectl_build_info"]
        self.assertEqual(dict(build)["version"], status["version"], version)
        expected = {
            "default": {"completed": 11, "deferred": 1},
            "mail": {"failed": 3, "dead": 1},
        }
        for queue, counts in expected.items():
            for outcome in RAN:
                value = found.value("queuectl_attempts_total", queue=queue, outcome=outcome)
                self.assertEqual(value, counts.get(outcome, 0), (queue, outcome))
        self.assertEqual(found.value("queuectl_jobs_added_total", queue="default"), 13)
        with self.store() as store:
            stats = history.by_queue(store, Span(time.time() - DAY, time.time() + 60))
        for queue, name in (("default", "queuectl_job_wait_seconds"), ("mail", "queuectl_attempt_duration_seconds")):
            seconds = stats[queue].waited if "wait" in name else stats[queue].ran
            self.assertAlmostEqual(found.value(name + "_sum", queue=queue), seconds, 3)

    def test_buckets_add_up_those_of_the_record_exactly(self):
        with self.store() as store, store._transaction():
            for bucket in range(65):
                for kind in ("wait", "completed", "dead", "cancelled"):
                    event = {"minute": 60, "queue": "q", "kind": kind, "job": 0, "bucket": bucket, "seconds": 0.25}
                    for _ in range(bucket % 3 + 1):
                        store._execute(sql.COUNT_ATTEMPT, event)
        found = self.metrics()
        counts = [bucket % 3 + 1 for bucket in range(65)]
        for name, factor in (("queuectl_job_wait_seconds", 1), ("queuectl_attempt_duration_seconds", 2)):
            ends = found.labels(name + "_bucket", "le")
            self.assertLess(len(ends), 25)
            for end in ends[:-1]:
                below = sum(count for bound, count in zip(BOUNDS, counts) if bound <= float(end))
                self.assertIn(float(end), [round(bound, 3) for bound in BOUNDS])
                self.assertEqual(found.value(name + "_bucket", queue="q", le=end), factor * below, end)
            self.assertEqual(found.value(name + "_count", queue="q"), factor * sum(counts))
            self.assertEqual(found.value(name + "_sum", queue="q"), factor * sum(counts) * 0.25)

    def test_the_oldest_job_that_could_start_has_an_age(self):
        now = time.time()
        self.create_queue()
        db = sqlite3.connect(self.db)
        with db:
            row = "INSERT INTO queuectl_jobs (command, queue, run_at, created_at) VALUES ('true', ?, ?, ?)"
            db.execute(row, ("ready", now - 300, now - 300))
            db.execute(row, ("later", now + 300, now - 300))
            db.execute(row, ("due", now + 0.3, now - 300))  # No worker makes it ready.
        db.close()
        with self.store() as store:
            found = read(metrics.text(store, now + 100), True)
        for queue, age in {"ready": 400, "later": 0, "due": 99.7}.items():
            value = found.value("queuectl_queue_oldest_ready_seconds", queue=queue)
            self.assertAlmostEqual(value, age, 2, queue)

    def test_a_clock_that_was_set_back_makes_no_age_negative(self):
        self.enqueue("--", "true")
        with self.store() as store:
            found = read(metrics.text(store, time.time() - 3600), True)
        self.assertEqual(found.value("queuectl_queue_oldest_ready_seconds", queue="default"), 0)

    def test_an_empty_queue_and_a_backup_have_figures(self):
        self.create_queue()
        self.assertEqual(self.metrics().value("queuectl_workers", state="idle"), 0)
        self.fill()
        before = self.metrics()
        self.run_cli("backup", self.path("copy.db"))
        copy = read(self.run_cli("--db", self.path("copy.db"), "metrics").stdout, True)
        name = "queuectl_attempts_total"
        self.assertEqual(
            {key: value for key, value in copy.samples.items() if key[0] == name},
            {key: value for key, value in before.samples.items() if key[0] == name},
        )

    def test_no_id_pid_or_command_is_a_label(self):
        self.fill()
        names = {name for _, labels in self.metrics().samples for name, _ in labels}
        self.assertEqual(names, {"queue", "state", "outcome", "le", "version", "python", "sqlite"})


class SchedulesTest(MetricsTestCase):
    def moments(self, schedule: str) -> dict[str, float]:
        """The figures of a schedule, by name, in seconds from now."""
        with self.store() as store:
            now = time.time()
            found = read(metrics.text(store, now), True)
        return {
            name[len("queuectl_schedule_") :].replace("_timestamp_seconds", ""): value - now if value > 1e9 else value
            for (name, labels), value in found.samples.items()
            if ("schedule", schedule) in labels
        }

    def test_a_schedules_last_success_is_reported_even_after_its_job_was_pruned(self):
        self.run_cli("schedule", "add", "s", "--every", "1h", "--", "test -e ok")
        new = self.moments("s")
        self.assertAlmostEqual(new.pop("next_run"), 3600, delta=60)
        self.assertEqual(new, {"last_success": 0, "last_run": 0, "paused": 0, "skipped_total": 0})
        self.write("ok", "")
        self.run_cli("schedule", "run", "s")
        self.drain()
        os.remove(self.path("ok"))
        succeeded = self.rows("SELECT finished_at FROM queuectl_jobs")[0][0]
        self.run_cli("prune", "--keep", "0")
        self.run_cli("schedule", "edit", "s", "--max-retries", "0")
        self.run_cli("schedule", "run", "s")
        self.drain()
        found, now = self.moments("s"), time.time()
        self.assertAlmostEqual(found["last_success"] + now, succeeded, delta=1)
        self.assertGreater(found["last_run"], found["last_success"])
        self.run_cli("schedule", "pause", "s")
        self.assertEqual(self.moments("s")["paused"], 1)
        self.assertNotIn("next_run", self.moments("s"))

    def test_whatever_another_program_stores_as_a_schedule_leaves_the_output_valid(self):
        self.create_queue()
        db = sqlite3.connect(self.db)
        db.execute("PRAGMA ignore_check_constraints = ON")
        columns = "name, kind, expression, template, next_at, last_at, last_success_at, skipped"
        row = f"INSERT INTO queuectl_schedules ({columns})"
        with db:
            for name in HOSTILE:
                db.execute(row + " VALUES (CAST(? AS TEXT), 'every', '60', '{', 'x', x'ff', 9e999, 'x')", (name,))
            db.execute(row + " VALUES ('nan', 'x', x'00', 7, -9e999, 1e300, NULL, 9)")
        db.close()
        for form in metrics.FORMATS:
            found = self.metrics(form)
            self.assertEqual(len(found.labels("queuectl_schedule_paused", "schedule")), len(HOSTILE) + 1, form)
        self.assertEqual(found.value("queuectl_schedule_skipped_total", schedule="nan"), 9)
        if PROMTOOL:
            check(self, self.run_cli("metrics", "--format", "prometheus").stdout_bytes)


class HostileTest(MetricsTestCase):
    def test_any_name_of_a_queue_becomes_a_label_of_its_own(self):
        self.create_queue()
        db = sqlite3.connect(self.db)
        with db:
            for name in HOSTILE:
                db.execute("INSERT INTO queuectl_jobs (command, queue) VALUES ('true', CAST(? AS TEXT))", (name,))
        db.close()
        for form in metrics.FORMATS:
            found = self.metrics(form)
            for name in ("queuectl_jobs", "queuectl_jobs_added_total", "queuectl_queue_paused"):
                self.assertEqual(len(found.labels(name, "queue")), len(HOSTILE), (form, name))
        labels = found.labels("queuectl_jobs", "queue")
        for word in ('"', "\\", "\\xff", "\\x5cxff", "a\\x0aqueuectl_jobs 1", "\\x0d\\x1b[31m", "q" * 200):
            self.assertIn(word, labels)
        if PROMTOOL:
            check(self, self.run_cli("metrics", "--format", "prometheus").stdout_bytes)
            check_openmetrics(self, self.run_cli("metrics").stdout)

    def test_whatever_is_in_the_tables_leaves_the_output_valid(self):
        self.fill()
        db = sqlite3.connect(self.db)
        db.execute("PRAGMA ignore_check_constraints = ON")
        with db:
            garbage: list[Any] = [None, "x", b"\xff", -1, 2**63 - 1, 9e999, -9e999, 0.5, "", 1e300]
            rows = [
                [garbage[(number + place * step) % 10] for place, step in enumerate((1, 3, 7, 9, 2, 4, 6))]
                for number in range(200)
            ]
            db.executemany("INSERT OR IGNORE INTO queuectl_record VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            for bucket in (-1, 65, "x", b"\xff", 1.5):
                for count in (2**63 - 1, "x", -5, 9e999, b"\0"):
                    row = (60, 60, "default", "completed", bucket, count, -9e999)
                    db.execute("INSERT OR IGNORE INTO queuectl_record VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            for start in (60, 120):  # More than an integer holds.
                row = (60, start, "other", "completed", 3, 2**63 - 1, 1.0)
                db.execute("INSERT OR IGNORE INTO queuectl_record VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            db.execute("INSERT INTO queuectl_queues (name, paused, pending) VALUES (x'ff', 'x', x'00')")
            db.execute("INSERT INTO queuectl_queues (name, pending) VALUES (?, 3)", ("long" * 1000,))
            for key in ("a.limit", "b.limit", b"\xff.limit", "c.rate"):
                db.execute("INSERT OR REPLACE INTO queuectl_config VALUES (?, ?)", (key, b"\xff"))
            db.execute("UPDATE queuectl_jobs SET run_at = 'x', created_at = x'ff' WHERE queue = 'mail'")
        db.close()
        for form in metrics.FORMATS:
            found = self.metrics(form)
            self.assertEqual(found.value("queuectl_attempts_total", queue="default", outcome="completed"), 11)
            self.assertLessEqual(max(map(len, found.labels("queuectl_jobs", "queue"))), 200)


class CountersTest(MetricsTestCase):
    def counters(self, found: Exposition) -> Samples:
        ends = ("_total", "_bucket", "_count", "_sum")
        return {key: value for key, value in found.samples.items() if key[0].endswith(ends)}

    def assert_none_fell(self, before: Samples, after: Samples) -> None:
        fallen = {key: (value, after.get(key)) for key, value in before.items() if after.get(key, -1) < value}
        self.assertEqual(fallen, {})

    def test_pruning_and_restarting_lower_no_counter(self):
        self.fill()
        steps = [
            ("worker", "stop", "--now"),
            ("prune", "--queue", "default"),
            ("dlq", "purge", "--all"),
            ("retry", *[row[0] for row in self.rows("SELECT id FROM queuectl_jobs WHERE state = 'cancelled'")]),
            ("cancel", "long"),
            ("worker", "start", "--drain", "--foreground"),
            ("prune", "--compact"),
        ]
        before = self.counters(self.metrics())
        for step in steps:
            self.run_cli(*step, code=None)
            after = self.counters(self.metrics())
            self.assert_none_fell(before, after)
            before = after

    def test_rolling_up_lowers_no_counter_by_the_smallest_amount(self):
        """Prometheus takes the smallest decrease for a restart from 0, and counts everything twice."""
        now = [1_700_000_000.0]
        with self.store(clock=lambda: now[0]) as store:
            before: Samples = {}
            tiers = set()
            for turn in range(20):
                self.record(store, now[0], turn)
                counted = self.counters(read(metrics.text(store, now[0]), True))
                self.assert_none_fell(before, counted)
                now[0] += (0.02, 1, 3, 40, 100)[turn % 5] * DAY
                while store.roll_up():
                    self.assertEqual(counted, self.counters(read(metrics.text(store, now[0]), True)))
                    tiers.update(self.rows("SELECT DISTINCT tier FROM queuectl_record"))
                before = counted
        self.assertEqual(len(tiers), 3)

    def record(self, store: Any, now: float, turn: int) -> None:
        """Events whose durations are differences of two times, as a worker's are, and others."""
        numbers = random.Random(turn)
        with store._transaction():
            for number in range(200):
                began = now + number * 0.1 + turn / 7
                ended = began + (number % 17) * 0.1 + number / 1000
                minute = int(ended - number * 97) // 60 * 60
                event = {"minute": minute, "queue": "q", "kind": "completed", "job": 0, "bucket": number % 40}
                seconds = ended - began if turn < 3 else numbers.lognormvariate(0, 3)
                store._execute(sql.COUNT_ATTEMPT, {**event, "seconds": seconds})


class TextfileTest(MetricsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.target = self.path("out/queuectl.prom")
        os.mkdir(self.path("out"))

    def test_the_file_is_readable_by_all_and_in_the_older_format(self):
        self.enqueue("--", "true")
        result = self.run_sh(f'umask 077; exec "$0" "$1" metrics --textfile {self.target}')
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, b"", b""))
        self.assertEqual(stat.S_IMODE(os.stat(self.target).st_mode), 0o644)
        found = read(self.read("out/queuectl.prom"), False)
        self.assertEqual(found.value("queuectl_jobs_added_total", queue="default"), 1)
        self.assertEqual(os.listdir(self.path("out")), ["queuectl.prom"])
        self.run_cli("metrics", "--textfile", self.target, "--format", "openmetrics")
        read(self.read("out/queuectl.prom"), True)

    def run_sh(self, script: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["/bin/sh", "-c", script, sys.executable, PROGRAM],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            timeout=30,
            check=False,
        )

    def test_readers_see_a_whole_file_at_any_time(self):
        self.fill()
        self.run_cli("metrics", "--textfile", self.target)
        done = threading.Event()
        problems: list[str] = []

        def watch() -> None:
            while not done.is_set():
                try:
                    read(self.read("out/queuectl.prom"), False)
                except ValueError as error:
                    problems.append(str(error))

        watcher = threading.Thread(target=watch)
        watcher.start()
        writers = [self.start_cli("metrics", "--textfile", self.target) for _ in range(12)]
        codes = [writer.wait(30) for writer in writers]
        done.set()
        watcher.join()
        self.assertEqual((codes, problems), ([0] * 12, []))
        self.assertEqual(os.listdir(self.path("out")), ["queuectl.prom"])

    def test_a_full_disk_leaves_the_old_file_and_nothing_else(self):
        self.enqueue("--", "true")
        self.write("out/queuectl.prom", "old\n")
        self.environment["PYTHONDONTWRITEBYTECODE"] = "1"  # Python would write half of it.
        with self.store():  # Keeps SQLite's files next to the database open, which are larger than the limit.
            result = self.run_sh(f'ulimit -f 1; exec "$0" "$1" metrics --textfile {self.target}')
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertRegex(result.stderr.decode(), r"^queuectl: .*queuectl.prom.*: cannot be written: File too large\n$")
        self.assertEqual(os.listdir(self.path("out")), ["queuectl.prom"])
        self.assertEqual(self.read("out/queuectl.prom"), "old\n")

    def test_a_link_stays_a_link(self):
        self.create_queue()
        os.symlink(self.path("real.prom"), self.target)
        self.run_cli("metrics", "--textfile", self.target)
        self.assertTrue(os.path.islink(self.target))
        read(self.read("real.prom"), False)

    def test_a_file_that_is_not_collected_is_pointed_out(self):
        self.create_queue()
        result = self.run_cli("metrics", "--textfile", "queuectl.txt")
        self.assertIn("only files that end in .prom, not 'queuectl.txt'", result.stderr)
        self.assertEqual(self.run_cli("--quiet", "metrics", "--textfile", "queuectl.txt").stderr, "")

    def test_each_failure_is_reported_in_one_line(self):
        self.create_queue()
        self.write("file", "")
        os.mkfifo(self.path("pipe"))
        problems = [
            (["--textfile", ""], 2, "--textfile: must not be empty"),
            (["--textfile", "missing/q.prom"], 1, "'missing/q.prom': cannot be written: No such file or directory"),
            (["--textfile", "file/q.prom"], 1, "'file/q.prom': cannot be written: Not a directory"),
            (["--textfile", "out"], 1, "'out': is not a regular file"),
            (["--textfile", "pipe"], 1, "'pipe': is not a regular file"),  # Nor /dev/null.
            (["--format", "json"], 2, "--format: must be one of openmetrics, prometheus, not 'json'"),
            (["all"], 2, "unexpected argument: 'all'"),
        ]
        if not IS_ROOT:
            os.chmod(self.path("out"), 0o500)
            problems.append((["--textfile", "out/q.prom"], 1, "'out/q.prom': cannot be written: Permission denied"))
        for words, code, message in problems:
            result = self.run_cli("metrics", *words, code=code)
            self.assertEqual((result.stdout, result.stderr.count("\n")), ("", 1), result.stderr)
            self.assertTrue(result.stderr.startswith(f"queuectl: {message}"), result.stderr)
        self.assertTrue(stat.S_ISFIFO(os.stat(self.path("pipe")).st_mode))

    def test_a_missing_newer_or_foreign_queue_leaves_the_old_file(self):
        self.run_cli("metrics", "--textfile", self.target, code=3)
        self.create_queue()
        self.write("out/queuectl.prom", "old\n")
        self.rows("UPDATE queuectl_meta SET value = 999 WHERE key = 'schema'")
        self.write("text", "no database " * 1000)
        for path, message in (("missing.db", "no queue yet"), (self.db, "newer"), ("text", "not a SQLite database")):
            result = self.run_cli("--db", path, "metrics", "--textfile", self.target, code=3)
            self.assertIn(message, result.stderr)
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        self.assertEqual(self.read("out/queuectl.prom"), "old\n")
        self.assertEqual(os.listdir(self.path("out")), ["queuectl.prom"])

    def test_a_queue_that_another_program_has_locked_can_be_measured(self):
        self.fill()
        db = sqlite3.connect(self.db, isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        self.run_cli("metrics", "--textfile", self.target)
        db.close()


class DashboardTest(DashboardTestCase):
    """/metrics of the dashboard."""

    def setUp(self) -> None:
        super().setUp()
        self.enqueue("-q", "secret", "--", "true")
        self.dashboard = self.serve()

    def test_without_the_option_it_needs_the_cookie(self):
        for cookie, status in ((None, 401), ("wrong=1", 401), ("", 200)):
            answer = self.ask(self.dashboard, "/metrics", cookie=cookie)
            self.assertEqual((answer.status, b"secret" in answer.body), (status, status == 200))

    def test_with_it_prometheus_gets_the_format_that_it_asks_for(self):
        self.dashboard.shows_metrics = True
        accepted = {
            None: "prometheus",
            "text/plain": "prometheus",
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1": "openmetrics",
        }
        for accept, form in accepted.items():
            answer = self.ask(self.dashboard, "/metrics", cookie=None, Accept=accept)
            self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, metrics.FORMATS[form]))
            found = read(answer.body.decode(), form == "openmetrics")
            self.assertEqual(found.value("queuectl_jobs_added_total", queue="secret"), 1)

    def test_with_it_all_else_still_needs_the_cookie_and_other_hosts_get_nothing(self):
        self.dashboard.shows_metrics = True
        for path in ("/", "/jobs", "/events", "/metrics/", "/metrics/../jobs"):
            answer = self.ask(self.dashboard, path, cookie=None)
            self.assertEqual((answer.status, b"secret" in answer.body), (401, False), path)
        answer = self.ask(self.dashboard, "/metrics", cookie=None, Host=f"evil.example:{self.dashboard.port}")
        self.assertEqual((answer.status, b"secret" in answer.body), (421, False))
        answer = self.ask(self.dashboard, "/metrics", cookie=None)
        self.assertIsNone(answer.headers["Access-Control-Allow-Origin"])
        self.assertEqual(answer.headers["Cross-Origin-Resource-Policy"], "same-origin")

    def test_the_dashboard_announces_that_metrics_are_open(self):
        process = self.start_cli(
            "dashboard", "--port", "0", "--metrics", stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        port = process.stdout.readline().decode().partition("/#")[0].rpartition(":")[2]
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
        connection.request("GET", "/metrics")
        read(connection.getresponse().read().decode(), False)
        connection.close()
        process.terminate()
        _, said = process.communicate(timeout=20)
        self.assertIn(f"Every program on this machine can read http://127.0.0.1:{port}/metrics.".encode(), said)


def check(test: unittest.TestCase, text: bytes) -> None:
    """Lint the older format with promtool."""
    result = subprocess.run([PROMTOOL or "", "check", "metrics"], input=text, capture_output=True, check=False)
    test.assertEqual((result.returncode, result.stdout + result.stderr), (0, b""))


def check_openmetrics(test: QueueTestCase, text: str) -> None:
    """Have promtool import OpenMetrics as history, for which each sample needs a time, and count the series."""
    timed = re.sub(r"^([^#\n].*)$", rf"\1 {int(time.time())}", text, flags=re.MULTILINE)
    test.write("metrics.om", timed)
    command = [PROMTOOL or "", "tsdb", "create-blocks-from", "openmetrics", "metrics.om", "data"]
    result = subprocess.run(command, cwd=test.folder, capture_output=True, check=False)
    test.assertEqual(result.returncode, 0, result.stderr)
    (folder,) = os.listdir(test.path("data"))
    with open(test.path(f"data/{folder}/meta.json"), encoding="utf-8") as file:
        test.assertEqual(json.load(file)["stats"]["numSeries"], len(read(text, True).samples))


@unittest.skipUnless(PROMTOOL, "promtool is not installed")
class PromtoolTest(MetricsTestCase):
    def test_promtool_accepts_the_older_format_without_a_remark(self):
        self.fill()
        check(self, self.run_cli("metrics", "--format", "prometheus").stdout_bytes)

    def test_prometheus_reads_openmetrics(self):
        self.fill()
        check_openmetrics(self, self.run_cli("metrics").stdout)


if __name__ == "__main__":
    unittest.main()
