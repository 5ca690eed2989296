"""What `top` shows and what its keys do, without a terminal: the screens as text, on real files."""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
import subprocess
import time
import unittest
from contextlib import closing
from typing import Any

from queuectl_core import suggestion
from queuectl_core.cells import width
from queuectl_core.jobspec import new_job
from queuectl_core.lifecycle import STATES
from queuectl_core.store.client import Client
from queuectl_core.store.reader import Reader
from queuectl_core.store.sql import SCHEMA_VERSION
from queuectl_core.views import top_keys, top_log
from queuectl_core.views.top_app import App, Quit
from queuectl_core.views.top_data import MOST_JOBS
from queuectl_core.views.top_screens import BLOCK, Files
from queuectl_core.views.top_text import Charset
from tests.harness import QueueTestCase

SIZES = ((60, 16), (80, 24), (120, 40), (200, 50))


class ScreensTestCase(QueueTestCase):
    """A queue of its own, and `top` on it."""

    def top(self, is_unicode: bool = True, **options: Any) -> App:
        files = Files(
            reader=lambda: Reader(self.db, must_exist=True, patience=0.05),
            client=lambda: Client(self.db, must_exist=True, patience=0.05),
            prefix=["queuectl"],
        )
        app = App(files, Charset(is_unicode), **options)
        self.addCleanup(app.close)
        return app

    def enqueue(self, *args: object, **_: Any) -> str:
        """Enqueue one job without starting a process; takes some options of `enqueue`."""
        *options, command = [str(arg) for arg in args if arg != "--"]
        names = {"--id": "id", "-q": "queue", "--after": "after", "--delay": "delay"}
        given = {names[option]: value for option, value in zip(options[::2], options[1::2])}
        with closing(Client(self.db)) as client:
            (id,) = client.enqueue([new_job({"command": command, **given}, time.time())])
        return id

    def text(self, app: App, columns: int = 100, lines: int = 30) -> str:
        """The screen, read again as if time had passed."""
        app._read_at -= 60
        app.refresh()
        shown = app.lines(columns, lines)
        self.assertEqual(len(shown), lines)
        rows = ["".join(text for text, _ in line) for line in shown]
        for row in rows:
            self.assertLessEqual(width(row), columns, row)
        return "\n".join(rows)

    def press(self, app: App, *keys: str) -> str:
        """Press keys, with a look at the screen after each; returns the last one."""
        shown = self.text(app)
        for key in keys:
            app._moved_at = 0.0  # The user has seen it.
            app.press(key)
            shown = self.text(app)
        return shown

    def select(self, app: App, id: str) -> None:
        """Put the cursor on a job."""
        app.main.focus = "jobs"
        self.press(app, "home")
        for _ in app.main.picture.jobs:
            row = app.main.job()
            if row and row[0].id == id:
                return
            self.press(app, "down")
        self.fail(f"{id} is not in the list")

    def claim(self, id: str, *output: tuple[int, bytes]) -> tuple[int, Any]:
        """Have this process run a job, as a worker; returns the worker's id and the job."""
        store = self.store()
        worker = self.register_worker(store)
        while True:
            job = store.claim(worker, None).job
            assert job is not None
            if job.id == id:
                return worker, job


class ListsTest(ScreensTestCase):
    def test_each_size_shows_queues_workers_jobs_and_help(self):
        self.enqueue("--id", "a", "-q", "mail", "echo hello")
        app = self.top()
        for columns, lines in SIZES:
            shown = self.text(app, columns, lines)
            for text in ("queuectl", "QUEUES", "mail", "WORKERS", "No workers are running", "JOBS", "1 pending"):
                self.assertIn(text, shown, (columns, lines))

    def test_a_small_terminal_says_what_it_needs_and_q_still_quits(self):
        self.enqueue("true")
        app = self.top()
        for columns, lines in ((59, 24), (80, 15), (20, 5), (9, 2), (1, 1)):
            shown = self.text(app, columns, lines)
            self.assertTrue("Too small".startswith(shown.split("\n")[0]), shown)
        self.assertIn("needs 60x16", self.text(app, 20, 5))
        with self.assertRaises(Quit):
            app.press("q")

    def test_states_have_symbols_and_words_even_without_unicode(self):
        self.enqueue("--id", "作业", "echo 完成")
        shown = self.text(self.top(is_unicode=False))
        self.assertTrue(shown.isascii())
        self.assertIn(". pending", shown)
        self.assertIn("\\u4f5c\\u4e1a", shown)
        self.assertIn("◦ pending", self.text(self.top()))

    def test_what_other_programs_stored_cannot_touch_the_terminal(self):
        self.run_cli("config", "set", "timeout", "60")
        hostile = (
            "\x1b[2J\x07", "a\nb", "\u202egnp.exe", "👩\u200d💻", "e\u0301", "宽宽宽", "<script>", "x" * 190, "\t",
        )  # fmt: skip
        for number, text in enumerate(hostile):
            self.rows("INSERT INTO queuectl_jobs (id, command, queue) VALUES (?, ?, ?)", f"{number}{text}", text, text)
        app = self.top()
        for columns, lines in SIZES:
            self.assertNotRegex(self.text(app, columns, lines), "[\x00-\x09\x0b-\x1f\x7f\u200d\u202e]")
        for _ in hostile:
            self.press(app, "enter", "y", "esc", "C")
            for columns, lines in SIZES:
                self.assertNotRegex(self.text(app, columns, lines), "[\x00-\x09\x0b-\x1f\x7f\u200d\u202e]")
            self.press(app, "n", "esc", "down")

    def test_malformed_rows_are_shown_and_keys_survive_them(self):
        self.enqueue("--id", "odd", "true")
        self.enqueue("--id", "busy", "true")
        self.claim("odd")
        for change in (
            "UPDATE queuectl_jobs SET run_at = 'soon', created_at = 'then', priority = 'high', started_at = 'ago'",
            "UPDATE queuectl_jobs SET command = x'ff00', error = x'ff', queue = 'q' || x'ff', timeout = 'x'",
            "UPDATE queuectl_attempts SET started_at = 'then', outcome = 7, finished_at = 'x'",
            "UPDATE queuectl_workers SET started_at = 'then', queues = 7, version = x'ff'",
            "UPDATE queuectl_queues SET pending = 'many'",
            "INSERT OR REPLACE INTO queuectl_config VALUES ('q.limit', 'few'), ('q.rate', 9)",
        ):
            with closing(sqlite3.connect(self.db)) as connection:
                connection.execute("PRAGMA ignore_check_constraints = ON")
                connection.execute(change)
                connection.commit()
            app = self.top()
            for id in ("odd", "busy"):
                self.select(app, id)
                self.assertIn(id, self.press(app, "y", "esc", "+", "-", "r", "C", "n", "D", "n", "enter"))
                self.press(app, "y", "esc", "+", "C", "n", "esc")

    def test_every_waiting_job_says_why(self):
        self.enqueue("--id", "first", "true")
        self.enqueue("--id", "second", "--after", "first", "true")
        self.enqueue("--id", "later", "--delay", "2h", "true")
        self.enqueue("--id", "still", "-q", "mail", "true")
        self.run_cli("pause", "mail")
        shown = self.text(self.top())
        for text in ("no worker", "after first", "starts in ", "paused"):
            self.assertIn(text, shown)

    def test_a_running_job_is_shown_with_its_worker_and_how_long_it_has_run(self):
        self.enqueue("--id", "busy", "sleep 60")
        worker, _ = self.claim("busy")
        now = time.time()
        app = self.top(clock=lambda: now + 130)
        shown = self.text(app)
        self.assertRegex(shown, rf"{worker} +\d+ +▸ busy +2m10s +busy")
        self.assertRegex(shown, r"busy +▸ processing .*for 2m10s")
        self.assertIn("1 worker, 1 busy", shown)

    def test_a_limit_is_next_to_the_number_that_runs(self):
        self.run_cli("config", "set", "mail.limit", "2")
        self.run_cli("config", "set", "mail.rate", "30/min")
        self.enqueue("-q", "mail", "true")
        self.assertRegex(self.text(self.top()), r"mail +1 +0/2 .* 30/min")

    def test_the_cursor_stays_on_its_job_when_others_arrive(self):
        for number in range(5):
            self.enqueue("--id", f"job{number}", "true")
        app = self.top()
        self.press(app, "down")
        self.assertEqual(app.main.job()[0].id, "job3")
        self.enqueue("--id", "newer", "true")
        self.press(app)
        self.assertEqual(app.main.job()[0].id, "job3")
        self.press(app, "home")
        self.enqueue("--id", "newest", "true")
        self.press(app)
        self.assertEqual(app.main.job()[0].id, "newest")

    def test_a_key_does_not_change_a_job_that_has_just_come_under_the_cursor(self):
        self.enqueue("--id", "old", "true")
        app = self.top()
        self.text(app)
        self.enqueue("--id", "new", "true")
        self.text(app)
        app.press("C")
        self.assertIsNone(app.question)
        self.assertIn("for job new, press the key again", self.text(app))
        app._moved_at = time.monotonic()
        app.press("p")
        self.assertIn("for queue default, press the key again", self.text(app))
        self.assertEqual(self.rows("SELECT name FROM queuectl_queues WHERE paused"), [])
        self.enqueue("--id", "newest", "true")
        shown = self.press(app, "C")
        self.assertIn("Cancel job new?", shown)

    def test_the_list_is_read_in_blocks_and_ends_at_a_thousand(self):
        self.run_cli("config", "set", "timeout", "60")
        self.rows(
            "INSERT INTO queuectl_jobs (id, command) WITH RECURSIVE n (i) AS"
            " (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500) SELECT 'j' || i, 'true' FROM n"
        )
        app = self.top()
        self.assertEqual(len(app.main.picture.jobs), BLOCK)
        self.assertIn("1 of 1,500", self.text(app))
        self.press(app, *["pgdn"] * 15)
        self.assertGreater(len(app.main.picture.jobs), BLOCK)
        self.assertIn(f"{MOST_JOBS:,} of 1,500", self.press(app, "end"))
        self.assertEqual(app.main.job()[0].id, "j501")


class KeysTest(ScreensTestCase):
    """What each key does."""

    def setUp(self) -> None:
        super().setUp()
        for number in range(3):
            self.enqueue("--id", f"job{number}", "-q", f"queue{number}", f"echo {number}")
        self.app = self.top()
        self.text(self.app)

    def job_under_cursor(self) -> str:
        row = self.app.main.job()
        return row[0].id if row else ""

    def test_moving(self):
        for keys, id in (
            (("down",), "job1"), (("j",), "job0"), (("up",), "job1"), (("k",), "job2"), (("end",), "job0"),
            (("home",), "job2"), (("pgdn",), "job0"), (("pgup",), "job2"), ((" ",), "job0"), (("g",), "job2"),
            (("G",), "job0"), (("ctrl-b",), "job2"), (("ctrl-f",), "job0"),
        ):  # fmt: skip
            self.press(self.app, *keys)
            self.assertEqual(self.job_under_cursor(), id, keys)

    def test_tab_goes_around_the_panels(self):
        for key, panel in (("tab", "queues"), ("tab", "workers"), ("tab", "jobs"), ("shift-tab", "workers")):
            self.press(self.app, key)
            self.assertEqual(self.app.main.focus, panel)

    def test_enter_opens_a_job_and_the_jobs_of_a_queue(self):
        self.assertIn("It has not run yet", self.press(self.app, "enter"))
        self.assertIn("JOBS", self.press(self.app, "esc"))
        shown = self.press(self.app, "tab", "down", "enter")
        self.assertIn("queue queue1", shown)
        self.assertIn("1 of 1", shown)
        self.assertEqual(self.app.main.focus, "jobs")
        self.assertIn("1 of 3", self.press(self.app, "esc"))

    def test_enter_on_a_worker_opens_its_job(self):
        self.claim("job0")
        self.press(self.app, "shift-tab", "enter")
        self.assertEqual(self.app.job.picture.job.id, "job0")

    def test_slash_filters_while_it_is_typed_and_escape_undoes_that(self):
        shown = self.press(self.app, "/", "e", "c", "h", "o", " ", "1")
        self.assertIn("echo 1_", shown.replace("echo 1 ", "echo 1_"))
        self.assertIn("job1", shown)
        self.assertNotIn("job2", shown)
        self.assertIn('with "echo 1"', self.press(self.app, "enter"))
        self.assertIn("No jobs match", self.press(self.app, "/", "x", "enter"))
        self.assertIn('with "echo 1x"', self.press(self.app, "/", "backspace", "ctrl-u", "j", "o", "esc"))
        self.assertIn("1 of 3", self.press(self.app, "esc"))

    def test_a_filter_can_contain_every_letter_that_is_a_key(self):
        self.press(self.app, "/", *"qrCDy?/+-")
        self.assertEqual(self.app.main.wanted.text, "qrCDy?/+-")
        self.assertEqual(len(self.jobs()), 3)

    def test_s_lists_one_state(self):
        self.run_cli("cancel", "job1")
        for key, state in top_keys.STATE_KEYS.items():
            shown = self.press(self.app, "s")
            self.assertIn(f"{key} {state or 'all'}", shown)
            self.press(self.app, key)
            self.assertEqual(self.app.main.wanted.state, state)
        self.assertIn("job1", self.press(self.app, "s", "x"))
        self.assertEqual(len(self.app.main.picture.jobs), 1)
        self.press(self.app, "s", "z")
        self.assertEqual(self.app.main.wanted.state, "cancelled")
        self.assertEqual({state for state in top_keys.STATE_KEYS.values() if state}, set(STATES))

    def test_r_retries(self):
        self.run_cli("cancel", "job2")
        shown = self.press(self.app, "r")
        self.assertIn("retrying job2", shown)
        self.assertIn("queuectl retry job2", shown)
        self.assertEqual(self.state("job2"), "pending")
        self.assertIn("job2 is pending: there is nothing to retry", self.press(self.app, "r"))

    def test_p_pauses_and_resumes(self):
        self.assertIn("paused queue queue2", self.press(self.app, "p"))
        self.assertEqual(self.rows("SELECT name FROM queuectl_queues WHERE paused"), [("queue2",)])
        self.assertIn("resumed queue queue2", self.press(self.app, "p"))
        self.assertIn("queuectl pause queue0", self.press(self.app, "tab", "p"))
        self.run_cli("pause")
        self.assertIn("to resume them, run: queuectl resume", self.press(self.app, "p"))
        self.assertIn("select a queue or a job first", self.press(self.app, "tab", "p"))

    def test_plus_and_minus_change_the_priority(self):
        self.press(self.app, "+", "+")
        self.assertEqual(self.job("job2")["priority"], 2)
        shown = self.press(self.app, "-", "-", "-")
        self.assertEqual(self.job("job2")["priority"], -1)
        self.assertIn("queuectl edit --priority -1 job2", shown)
        self.run_cli("cancel", "job2")
        self.assertIn("only for waiting jobs", self.press(self.app, "+"))

    def test_C_cancels_only_after_y(self):
        for answer in ("n", "enter", "esc", "q", "C", " "):
            shown = self.press(self.app, "C")
            self.assertIn("Cancel job job2?", shown)
            self.assertIn("queuectl cancel job2", shown)
            self.assertIn("nothing was changed", self.press(self.app, answer))
            self.assertEqual(self.state("job2"), "pending")
        self.assertIn("cancelled job2", self.press(self.app, "C", "y"))
        self.assertEqual(self.state("job2"), "cancelled")
        self.assertIn("already cancelled", self.press(self.app, "C"))

    def test_a_key_pressed_before_the_question_is_shown_does_not_answer_it(self):
        for key in "Cyy":
            self.app.press(key)
        self.assertIn("Cancel job job2?", self.text(self.app))
        self.assertEqual(self.state("job2"), "pending")
        self.press(self.app, "n")

    def test_C_on_a_running_job_says_that_it_is_running(self):
        self.claim("job0")
        self.select(self.app, "job0")
        self.assertIn("Cancel job job0, which is running?", self.press(self.app, "C"))
        self.assertIn("is being cancelled", self.press(self.app, "y"))
        self.assertIn("being cancelled", self.text(self.app).split("JOBS")[1])

    def test_a_job_of_a_dead_worker_says_so_and_C_names_the_command(self):
        self.claim("job0")
        self.rows("UPDATE queuectl_workers SET birth = 'long ago'")
        self.select(self.app, "job0")
        self.assertRegex(self.text(self.app), "job0 .*its worker is dead")
        self.assertIn("to end it now, run: queuectl cancel job0", self.press(self.app, "C", "y"))

    def test_D_deletes_dead_jobs_only_and_only_after_y(self):
        self.assertIn("D deletes dead jobs", self.press(self.app, "D"))
        self.rows("UPDATE queuectl_jobs SET state = 'dead', ready = NULL, finished_at = 1e9 WHERE id = 'job2'")
        self.assertIn("Delete job job2", self.press(self.app, "D"))
        self.press(self.app, "n")
        self.assertEqual(len(self.jobs()), 3)
        self.assertIn("queuectl dlq purge job2", self.press(self.app, "D", "y"))
        self.assertEqual(set(self.jobs()), {"job0", "job1"})

    def test_y_shows_commands_that_work(self):
        for keys in ((), ("tab",)):
            shown = self.press(self.app, *keys, "y")
            for line in shown.split("\n"):
                _, found, rest = line.partition("  queuectl ")
                if found and "logs -f" not in rest and "worker start" not in rest:
                    self.run_cli(*shlex.split(rest))
            self.press(self.app, "esc")

    def test_a_changed_job_is_not_cancelled_by_a_question_about_what_it_was(self):
        self.press(self.app, "C")
        self.rows("DELETE FROM queuectl_jobs WHERE id = 'job2'")
        self.enqueue("--id", "job2", "echo another")
        self.assertIn("another has its id now; nothing was done", self.press(self.app, "y"))
        self.select(self.app, "job0")
        self.press(self.app, "C")
        self.claim("job0")
        self.assertIn("job0 is processing now, not pending; nothing was done", self.press(self.app, "y"))
        self.assertEqual(self.job("job0")["state"], "processing")

    def test_nothing_is_read_while_a_question_is_open(self):
        before = self.press(self.app, "C")
        self.enqueue("--id", "newer", "true")
        self.assertEqual(self.text(self.app), before)
        self.assertIn("newer", self.press(self.app, "n"))

    def test_help_names_every_key_of_the_screen(self):
        screens = ((top_keys.ON_LISTS, ()), (top_keys.ON_SCHEDULES, ("S",)), (top_keys.ON_JOB, ("esc", "enter")))
        for keys, opening in screens:
            self.press(self.app, *opening)
            shown = self.press(self.app, "?")
            pages = shown
            for _ in range(40):
                pages += self.press(self.app, "down")
            for key in keys:
                self.assertRegex(pages, rf"(?m)^  {re.escape(key.label)} +{key.help}$")
            for state in STATES:
                self.assertIn(state, pages)
            self.assertNotIn("Keys", self.press(self.app, "x"))

    def test_the_help_line_has_the_keys_that_fit_and_always_the_way_to_the_others(self):
        for columns in (60, 80, 120, 200):
            line = self.text(self.app, columns, 24).split("\n")[-1]
            self.assertIn("? help", line)
            self.assertIn("q quit", line)

    def test_no_key_is_on_a_screen_twice(self):
        for keys in (top_keys.ON_LISTS, top_keys.ON_SCHEDULES, top_keys.ON_JOB):
            names = [name for key in keys for name in key.names]
            self.assertEqual(len(names), len(set(names)))

    def test_destructive_keys_are_uppercase_and_ask(self):
        asking = {key.action: key for key in top_keys.CHANGES if "asks first" in key.help}
        self.assertEqual({*asking}, {"cancel", "delete"})
        for key in asking.values():
            self.assertTrue(all(name.isupper() for name in key.names))

    def test_a_key_without_a_meaning_does_nothing(self):
        before = self.text(self.app)
        for key in ("z", "Z", "ctrl-x", "é", "1", "left"):
            self.assertEqual(self.press(self.app, key), before, key)

    def test_without_jobs_keys_say_so(self):
        self.rows("DELETE FROM queuectl_jobs")
        self.text(self.app)
        for key in ("r", "+", "-", "C", "D"):
            self.assertIn("select a job first", self.press(self.app, key))
        self.assertIn("Nothing is selected", self.press(self.app, "y"))
        for key in ("enter", "down", "up", "end", "home", "pgdn", "tab", "enter", "tab", "enter"):
            self.press(self.app, key)

    def test_a_change_that_fails_says_why(self):
        blocker = sqlite3.connect(self.db, isolation_level=None)
        self.addCleanup(blocker.close)
        blocker.execute("BEGIN IMMEDIATE")
        self.assertIn("locked by another program", self.press(self.app, "+"))
        blocker.execute("ROLLBACK")
        self.assertIn("has priority 1 now", self.press(self.app, "+"))


class JobTest(ScreensTestCase):
    """The screen of one job."""

    def opened(self, *output: tuple[int, bytes], command: str = "make") -> tuple[App, Any, Any]:
        """`top` on the screen of a job that this process runs and that has printed something."""
        self.enqueue("--id", "build", "--", command)
        worker, job = self.claim("build")
        self.print(job, *output)
        app = self.top()
        self.press(app, "enter")
        return app, worker, job

    def print(self, job: Any, *output: tuple[int, bytes]) -> None:
        """Add output of the job's attempt."""
        (start,) = self.rows(
            "SELECT coalesce(max(position + length(data)), 0) FROM queuectl_output WHERE job = ?", job.seq
        )[0]
        for stream, data in output:
            chunk = (job.seq, job.last_attempt, start, stream, data)
            self.rows("INSERT INTO queuectl_output VALUES (?, ?, ?, ?, ?)", *chunk)
            start += len(data)

    def test_it_shows_fields_attempts_and_output_as_it_grows(self):
        app, _, job = self.opened((1, b"one\ntwo"), (2, b"err\n"))
        shown = self.text(app)
        for text in ("build", "▸ processing", "command   make", "queue default", "attempts 1 of 4", "running", "two"):
            self.assertIn(text, shown)
        self.print(job, (1, b"three\n"))
        shown = self.text(app)
        self.assertIn("three", shown)
        self.assertIn("following", shown)

    def test_ten_thousand_lines_scroll_and_follow(self):
        app, _, job = self.opened((1, b"".join(b"line %d\n" % number for number in range(10_000))))
        self.assertIn("line 9999", self.text(app))
        shown = self.press(app, "home")
        self.assertIn("line 0\n", shown + "\n")
        self.assertNotIn("following", shown)
        self.print(job, (1, b"line 10000\n"))
        self.assertEqual(self.text(app).count("line 0\n"), 1)
        self.assertIn("line 1", self.press(app, "down").split("Output")[1].split("\n")[1])
        self.assertIn("line 0", self.press(app, "up").split("Output")[1].split("\n")[1])
        self.press(app, "pgdn", "pgdn", "pgup")
        self.assertIn("line 10000", self.press(app, "end"))
        self.assertIn("following", self.text(app))
        self.assertNotIn("following", self.press(app, "f"))
        self.assertIn("following", self.press(app, "f"))

    def test_left_and_right_show_the_rest_of_long_lines(self):
        app, _, _ = self.opened((1, b"start" + b"-" * 200 + b"end\n"))
        self.assertNotIn("end", self.text(app).split("Output")[1].split("\n")[1])
        shown = self.press(app, *["right"] * 7)
        self.assertIn("end", shown.split("Output")[1].split("\n")[1])
        self.assertIn("column 141", shown)
        self.assertIn("start", self.press(app, *["h"] * 9))

    def test_brackets_choose_the_attempt(self):
        app, _, job = self.opened((1, b"first\n"))
        self.rows("UPDATE queuectl_attempts SET outcome = 'exit', exit_code = 1, finished_at = started_at")
        self.rows("UPDATE queuectl_jobs SET last_attempt = 2, attempts = 2")
        self.rows(
            "INSERT INTO queuectl_attempts (job, attempt, worker, started_at, token)"
            " SELECT job, 2, worker, started_at + 1, 'x' FROM queuectl_attempts"
        )
        self.print(job._replace(last_attempt=2), (1, b"second\n"))
        self.assertIn("second", self.text(app))
        self.assertIn("first", self.press(app, "["))
        self.assertIn("first", self.press(app, "["))
        self.assertIn("second", self.press(app, "]"))
        self.assertIn("second", self.press(app, "]"))

    def test_keys_act_on_the_job_on_screen(self):
        self.enqueue("--id", "waiting", "true")
        app = self.top()
        self.press(app, "enter", "+")
        self.assertEqual(self.job("waiting")["priority"], 1)
        self.assertIn("queuectl show waiting", self.press(app, "y"))
        self.press(app, "esc", "C", "y")
        self.assertEqual(self.state("waiting"), "cancelled")
        self.press(app, "r")
        self.assertEqual(self.state("waiting"), "pending")
        self.assertIn("JOBS", self.press(app, "backspace"))

    def test_a_job_that_was_deleted_stays_on_screen_as_gone(self):
        self.enqueue("--id", "short", "true")
        app = self.top()
        self.press(app, "enter")
        self.rows("DELETE FROM queuectl_jobs")
        shown = self.text(app)
        self.assertIn("gone", shown)
        self.assertIn("short", shown)
        self.assertIn("no such job", self.press(app, "C", "y"))
        self.assertIn("No jobs", self.press(app, "esc"))

    def test_the_reason_for_waiting_comes_with_the_command_that_ends_it(self):
        self.enqueue("--id", "dead", "false")
        self.enqueue("--id", "stuck", "--after", "dead", "true")
        self.rows("UPDATE queuectl_jobs SET state = 'dead', ready = NULL, finished_at = 1e9 WHERE id = 'dead'")
        app = self.top()
        self.select(app, "stuck")
        self.assertIn("to retry the job that it waits for: queuectl retry dead", self.press(app, "enter"))

    def test_output_cannot_touch_the_terminal(self):
        app, _, _ = self.opened((1, b"\x1b[31mred\x1b[0m\x1b]0;title\x07 10%\r99%\x1b[2J\n\xff\x00\xe2\x80\xae\n\tx\n"))
        shown = self.text(app)
        self.assertIn("\n99%", shown)
        self.assertNotIn("x1b", shown)
        self.assertNotIn("10%", shown)
        self.assertNotRegex(shown, "[\x00-\x09\x0b-\x1f\x7f\u202e]")

    def test_memory_for_output_is_bounded(self):
        log = top_log.Log()
        for number in range(40):
            log.add(number << 20, 1, b"x" * 100 + b"\n" + b"y" * ((1 << 20) - 101))
        self.assertLessEqual(sum(len(line.data) for line in log.lines), top_log.MOST_BYTES)
        log.clear()
        log.add(0, 1, b"\n" * 300_000)
        self.assertEqual(len(log.lines), top_log.MOST_LINES)
        self.assertEqual(log.forgotten, 200_000)

    def test_only_the_end_of_a_large_output_is_read(self):
        app, _, job = self.opened((1, b"start\n"))
        self.rows(
            "INSERT INTO queuectl_output WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 160)"
            " SELECT ?, 1, i * 65536, 1, zeroblob(65535) || x'0a' FROM n",
            job.seq,
        )
        app = self.top()
        self.press(app, "enter")
        self.assertRegex(self.press(app, "home"), r"Output .*\n\[6,\d{3},\d{3} bytes left out\]")

    def test_a_gap_in_the_output_is_shown(self):
        app, _, job = self.opened((1, b"start\n"))
        self.rows("INSERT INTO queuectl_output VALUES (?, 1, 1006, 1, ?)", job.seq, b"end\n")
        self.assertRegex(self.text(app), r"start *\n\[1,000 bytes left out\] *\nend")


class FileTest(ScreensTestCase):
    """The file is locked, removed or replaced."""

    def test_a_screen_outlives_its_file_and_says_how_old_it_is(self):
        self.enqueue("--id", "first", "true")
        now = [time.time()]
        app = self.top(clock=lambda: now[0])
        self.text(app)
        os.rename(self.db, self.db + ".away")
        now[0] += 75
        shown = self.text(app)
        self.assertIn("this is 1m old", shown)
        self.assertIn("first", shown)
        self.assertIn("is gone", shown)
        os.rename(self.db + ".away", self.db)
        shown = self.text(app)
        self.assertIn("first", shown)
        self.assertNotIn("old", shown)

    def test_another_file_in_its_place_is_opened(self):
        self.enqueue("--id", "first", "true")
        app = self.top()
        self.run_cli("--db", self.path("other"), "enqueue", "--id", "other", "true")
        os.rename(self.path("other"), self.db)
        self.text(app)
        shown = self.text(app)
        self.assertIn("other", shown)
        self.assertNotIn("first", shown)

    def test_a_newer_schema_and_a_damaged_file_are_named(self):
        self.enqueue("--id", "first", "true")
        app = self.top()
        self.text(app)
        self.rows("UPDATE queuectl_meta SET value = 99 WHERE key = 'schema'")
        self.assertIn("created by a newer queuectl", self.text(app))
        self.rows("UPDATE queuectl_meta SET value = ? WHERE key = 'schema'", SCHEMA_VERSION)
        self.assertNotIn("newer", self.text(app))

    def test_nothing_is_read_while_the_file_is_unchanged(self):
        self.enqueue("--id", "first", "true")
        app = self.top()
        self.text(app)
        before = app.main.picture
        for _ in range(5):
            app._read_at -= 5
            self.assertFalse(app.refresh())
        self.assertIs(app.main.picture, before)
        self.press(app, "enter")
        job = app.job.picture
        app._read_at -= 5
        self.assertFalse(app.refresh())
        self.assertIs(app.job.picture, job)

    def test_reading_leaves_the_file_as_it_is(self):
        self.enqueue("--id", "first", "true")
        with open(self.db, "rb") as file:
            before = file.read()
        app = self.top()
        self.press(app, "enter", "esc", "/", "x", "enter", "tab", "tab", "?", "y")
        app.close()
        with open(self.db, "rb") as file:
            self.assertEqual(file.read(), before)


class CommandsTest(unittest.TestCase):
    def test_shell_lines_mean_the_same_words_to_a_shell(self):
        for word in ("a", "a b", "it's", "-x", "$HOME", "a\nb", "\x1b[2J", "\u202e", "\udcff", "\\", "'\x01'7"):
            line = suggestion.shell_line(["printf", "%s", word])
            self.assertTrue(line.isprintable(), line)
            shown = subprocess.run(["bash", "-c", line], stdout=subprocess.PIPE, check=True).stdout
            self.assertEqual(shown, word.encode("utf-8", "surrogateescape"))

    def test_an_id_that_looks_like_an_option_is_not_one(self):
        self.assertEqual(suggestion.on_job("retry", "-x"), ["retry", "--", "-x"])


if __name__ == "__main__":
    unittest.main()
