"""Views of schedules: status, stats, doctor and top agree."""

from __future__ import annotations

import time

from queuectl_core.lifecycle import Outcome, judge
from queuectl_core.schedule import times
from queuectl_core.store import Store
from queuectl_core.store.schedules import Wish
from queuectl_core.views import schedules
from queuectl_core.views.schedules import Timetable, timetable
from tests.dashboard_case import DashboardTestCase
from tests.harness import QueueTestCase
from tests.test_top_screens import SIZES, ScreensTestCase


class SchedulesTestCase(QueueTestCase):
    """Schedules and the results of their jobs, created in this process."""

    def setUp(self) -> None:
        super().setUp()
        self.now = time.time()
        self.queue: Store = self.store(clock=lambda: self.now)

    def add(self, name: str, every: float = 600, **job: object) -> None:
        wish = Wish(schedule=times.Every(every, self.now), job={"command": "true", "max_retries": 0, **job})
        self.queue.add_schedule(name, wish, "boot")

    def run_one(self, name: str, code: int = 0) -> str:
        """Run a schedule now; its job exits with this code."""
        id = self.queue.run_schedule(name)
        job = self.queue.claim(self.register_worker(self.queue), None).job
        assert job is not None and job.id == id
        self.queue.settle(job, Outcome("exit", code), judge(job, Outcome("exit", code), self.now))
        return id

    def spoil(self, name: str) -> None:
        """Store garbage as another program might, and let a worker find it."""
        self.queue._execute("UPDATE queuectl_schedules SET template = '{' WHERE name = ?", (name,))
        self.now += 700
        self.queue.fire()

    def fill(self) -> None:
        """Schedules that work, fail, are paused, never ran, and are invalid."""
        for name in ("bad", "fails", "fine", "off"):
            self.add(name)
        self.run_one("fine")
        self.run_one("fails", 3)
        self.queue.pause_schedule("off")
        self.spoil("bad")
        self.add("late", 3600, queue="slow")

    def table(self) -> Timetable:
        return timetable(self.queue)


class FactsTest(SchedulesTestCase):
    def test_those_in_trouble_come_first_and_are_counted(self):
        self.fill()
        table = self.table()
        self.assertEqual([each.name for each in table.failing], ["fails"])
        self.assertEqual([each.name for each in table.faulty], ["bad"])
        self.assertEqual(table.paused, 2)
        order = [each.name for each in schedules.by_urgency(table.schedules)]
        self.assertEqual(set(order[:2]), {"bad", "fails"})
        self.assertEqual(order[-1], "off")
        self.assertEqual(schedules.summary(table, self.now), "5, 1 failing, 2 paused; next: fails in 8m20s")

    def test_a_schedule_that_succeeds_again_is_not_failing_any_more(self):
        self.add("s")
        self.run_one("s", 1)
        self.assertEqual(schedules.result(self.table().schedules[0]), "dead: exit 1")
        self.assertEqual([each.name for each in self.table().failing], ["s"])
        self.run_one("s")
        self.assertEqual(self.table().failing, [])

    def test_garbage_of_other_programs_has_no_times(self):
        self.create_queue()
        self.queue._execute("PRAGMA ignore_check_constraints = ON")
        columns = "name, kind, expression, template, next_at, last_at, skipped"
        for value in ("x", b"\xff", 9e999, -1, 1e300, None):
            self.queue._execute(
                f"INSERT OR REPLACE INTO queuectl_schedules ({columns}) VALUES ('s', 'every', 'x', 'null', ?, ?, ?)",
                (value,) * 3,
            )
            (found,) = self.table().schedules
            self.assertEqual((found.next_at, found.last_at, found.job(), found.queue), (None, None, {}, "default"))
            self.assertEqual(schedules.due(found, self.now), "ended")
            self.assertGreaterEqual(found.skipped, 0)


class CommandsTest(SchedulesTestCase):
    def test_status_and_stats_say_which_fail_and_which_is_due_next(self):
        self.assertNotIn("Schedules", self.run_cli("status").stdout)
        self.fill()
        self.queue.close()
        self.assertIn("\nSchedules: 5, 1 failing, 2 paused; next: ", self.run_cli("status").stdout)
        found = self.run_cli("status", "--json").json["schedules"]
        self.assertEqual((found["total"], found["paused"], found["failing"]), (5, 2, ["fails"]))
        text = self.run_cli("stats").stdout
        self.assertRegex(text, r"\nSCHEDULE +NEXT +LAST +RESULT +SKIPPED\n")
        self.assertRegex(text, r"\nfails +(in|due).* pending, failing +0\n")
        self.assertRegex(text, r"\nbad +paused .*fault: template: not valid JSON")
        listed = self.run_cli("stats", "--json").json["schedules"]
        self.assertEqual([each["name"] for each in listed], ["bad", "fails", "fine", "late", "off"])
        only = self.run_cli("stats", "--json", "-q", "slow").json["schedules"]
        self.assertEqual([each["name"] for each in only], ["late"])

    def test_doctor_reports_hooks_that_fail(self):
        self.run_cli("config", "set", "on-dead", "exit 22")
        self.assertIn("no hook has failed", self.run_cli("doctor").stdout)
        for state, level in (("failed", "note "), ("dead", "wrong")):
            row = "INSERT INTO queuectl_jobs (command, queue, state, ready, finished_at, error, max_retries,"
            columns = " backoff_base, backoff_max, timeout, kill_grace, output_limit, defer_limit)"
            finished = self.now if state == "dead" else None
            ready = None if state == "dead" else 0
            settings = (3, 2, 60, 0, 5, 1024, 20)
            self.queue._execute(
                row + columns + " VALUES ('exit 22', 'hooks', ?, ?, ?, 'exit 22', ?, ?, ?, ?, ?, ?, ?)",
                (state, ready, finished, *settings),
            )
            report = self.run_cli("doctor", code=1 if state == "dead" else None).stdout
            verb = "died" if state == "dead" else "failed"
            self.assertRegex(report, rf"{level}  hooks    1 hook {verb}.* with exit 22")


class TopTest(SchedulesTestCase, ScreensTestCase):
    def rows_of(self, shown: str) -> list[str]:
        """The name of the schedule on each line."""
        return [line.split()[0] for line in shown.split("\n")[3:8]]

    def test_S_shows_schedules_in_every_size_and_escape_goes_back(self):
        self.fill()
        app = self.top()
        self.assertIn("2 schedules fail: S", self.text(app))
        shown = self.press(app, "S")
        self.assertEqual(self.rows_of(shown), ["bad", "fails", "fine", "late", "off"])
        self.assertIn("pending, failing", shown)
        for columns, lines in SIZES:
            self.assertIn("late ", self.text(app, columns, lines), (columns, lines))
        self.assertIn("fault     template: not valid JSON", shown)
        self.assertIn("JOBS", self.press(app, "esc"))
        self.assertTrue(self.press(self.top(is_unicode=False), "S").isascii())

    def test_without_schedules_it_says_how_to_add_one_and_keys_do_nothing(self):
        self.create_queue()
        app = self.top()
        self.assertIn("queuectl schedule add", self.press(app, "S"))
        for key in ("r", "p", "enter"):
            self.assertIn("there is no schedule", self.press(app, key))
        self.press(app, "down", "end", "home", "y", "x")

    def test_p_pauses_and_resumes_and_r_runs_each_with_its_command(self):
        self.add("-s")
        app = self.top()
        shown = self.press(app, "S", "p")
        self.assertIn("paused schedule -s   queuectl schedule pause -- -s", shown)
        self.assertTrue(self.table().schedules[0].is_paused)
        self.assertIn("resumed schedule -s   queuectl schedule resume -- -s", self.press(app, "p"))
        self.assertIn("queuectl schedule run -- -s", self.press(app, "r"))
        self.assertIn("is still waiting", self.press(app, "r"))
        (job,) = [id for (id,) in self.rows("SELECT id FROM queuectl_jobs")]
        self.assertIn(f"queuectl show {job}", self.press(app, "y", "x", "y"))
        self.assertIn("It has not run yet", self.press(app, "x", "enter"))
        self.assertIn("Schedules", self.press(app, "esc"))

    def test_another_schedule_of_the_same_name_is_left_alone(self):
        self.add("s")
        app = self.top()
        self.press(app, "S")
        self.queue.remove_schedule("s")
        self.now += 1
        self.add("s")
        app.press("p")
        self.assertIn("another one has its name", self.text(app))
        self.assertFalse(self.table().schedules[0].is_paused)

    def test_a_schedule_that_has_just_come_under_the_cursor_is_not_changed(self):
        self.add("b")
        app = self.top()
        self.press(app, "S")
        self.add("a")
        self.text(app)  # At home, the cursor is on the first row.
        app.press("p")
        self.assertIn("the list has just moved", self.text(app))
        self.assertEqual(self.table().paused, 0)


class DashboardTest(SchedulesTestCase, DashboardTestCase):
    def test_the_page_shows_when_each_schedule_is_due_its_last_result_and_its_skipped_runs(self):
        self.fill()
        self.queue.claim(self.register_worker(self.queue), None)
        self.now += 600
        self.queue.fire()
        dashboard = self.serve()
        page = self.page(dashboard, "/schedules")
        self.assertRegex(page.text, r"bad paused every 10m .* template: not valid JSON: '{'")
        self.assertRegex(page.text, r"fails every 10m true default .* failing for \S+ 1 job \S+ is still \w+ Run Pause")
        self.assertRegex(page.text, r"off paused every 10m true default paused 0 Run Resume")
        names = [name for name in ("bad", "fails", "fine", "late", "off") if f'class="name">{name}<' in page.html]
        self.assertEqual(len(names), 5)
        overview = self.page(dashboard, "/").text
        self.assertIn("Schedule fails fails: ", overview)
        self.assertIn("queuectl schedule show fails", overview)
        self.assertIn("Schedule bad was paused because it is invalid: template: not valid JSON", overview)

    def test_many_in_trouble_are_counted_and_none_is_forgotten(self):
        self.create_queue()
        self.assertIn("queuectl schedule add NAME", self.page(self.serve(), "/schedules").text)
        for number in range(5):
            self.add(f"s{number}")
        self.queue._execute("UPDATE queuectl_schedules SET failing_since = 1")
        text = self.page(self.serve(), "/").text
        self.assertIn("5 schedules fail : s0, s1, s2 and 2 more queuectl schedule list", text)

    def test_each_action_shows_its_command_and_does_what_that_says(self):
        name = "--all <b>"
        self.add(name)
        reading, writing = self.serve(), self.serve(writes=True)
        for verb, done in (("pause", "paused"), ("resume", "resumed"), ("run", None)):
            path = f"/do/schedule-{verb}"
            asked = self.page(reading, path + "?schedule=--all%20%3Cb%3E")
            self.assertIn(f"queuectl schedule {verb} -- '--all <b>'", asked.text)
            self.assertNotIn("<b>", asked.html)
            self.assertEqual(self.ask(reading, path, {"schedule": name}).status, 403)
            answer = self.ask(writing, path, {"schedule": name})
            self.assertIn("Done", answer.text)
            self.assertEqual(self.table().paused, int(verb == "pause"), done)
        self.assertEqual(self.rows("SELECT count(*) FROM queuectl_jobs"), [(1,)])
        self.assertIn("is still waiting", self.ask(writing, "/do/schedule-run", {"schedule": name}).text)
        self.assertEqual(self.ask(writing, "/do/schedule-run", {"schedule": "gone"}).status, 404)
