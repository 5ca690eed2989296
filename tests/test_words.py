"""Mistakes in schedules, settings and values: each error names what works. All in this process."""

from __future__ import annotations

import io
import json
import re
import shlex
import time
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

from queuectl_core import Queue
from queuectl_core.cli import main
from queuectl_core.cli.terminal import terminal
from queuectl_core.errors import QueueError
from queuectl_core.lifecycle import Outcome, judge
from queuectl_core.schedule import zones
from tests.harness import QueueTestCase
from tests.test_schedule import needs_zones

# A wrong command line, and the correct one that its error names.
SCHEDULES = {
    "schedule add nightly '0 3 * * *' 'echo hi'": "schedule add nightly --cron '0 3 * * *' -- 'echo hi'",
    "schedule add nightly '0 3 * * *' echo hi": "schedule add nightly --cron '0 3 * * *' -- echo hi",
    "schedule add n -q x '@daily' 'a; b'": "schedule add n --cron @daily -q x -- 'a; b'",
    "schedule add n --quiet '@every 5m' 'a; b'": "schedule add n --every 5m --quiet -- 'a; b'",
    "schedule add n 5m ls": "schedule add n --every 5m -- ls",
    "schedule add '0 3 * * * /opt/backup.sh -a'": "schedule add backup --cron '0 3 * * *' -- '/opt/backup.sh -a'",
    "schedule add '0 3 * * *' '/opt/backup.sh -a'": "schedule add backup --cron '0 3 * * *' -- '/opt/backup.sh -a'",
    "schedule add n --cron '0 3 * * *' 'echo hi'": "schedule add n --cron '0 3 * * *' -- 'echo hi'",
    "schedule add n --every 5m echo hi there": "schedule add n --every 5m -- echo hi there",
    "schedule add n --at=+5m echo": "schedule add n --at=+5m -- echo",
    "schedule edit n '0 3 * * *'": "schedule edit n --cron '0 3 * * *'",
    "schedule next '0 3 * * *'": "schedule next --cron '0 3 * * *'",
    "schedule next @daily": "schedule next --cron @daily",
    "schedule next 5m": "schedule next --every 5m",
    "schedule next 0 3 '*' '*' '*'": "schedule next --cron '0 3 * * *'",
    "schedule add n --interval 5m -- ls": "schedule add n --every 5m -- ls",
    "schedule add n --cron @daily --timezone UTC -- ls": "schedule add n --cron @daily --tz UTC -- ls",
    "schedule info n": "schedule show n",
    "schedule rename n m": "schedule remove NAME",
    "limit gpu 2": "config set gpu.limit 2",
    "parallel 2": "worker start -c 2; to limit one queue: queuectl config set QUEUE.limit 2",
    "slots": "config set QUEUE.limit 2",
    "label": "list --label LABEL",
    "config set gpu.limit none": "config unset gpu.limit",
    "config set gpu.rate off": "config unset gpu.rate",
    "config set keep-dead never": "config unset keep-dead",
    "config set halt-on-dead 0": "config unset halt-on-dead",
    "edit j -p 1 -- echo other": "edit j -p 1 --command 'echo other'",
    "edit j k -- 'a; b'": "edit j k --command 'a; b'",
}
# A wrong command line, and part of its error message.
EXPLAINED = {
    "schedule add n --cron 0 3 1 2 3 ls": "quote the expression, as in: queuectl schedule add n --cron '30 2 * * *' --",
    "schedule add n --every 5m -- ls | cat": None,
    "schedule add n --every 5 -- ls": "--every: no unit: '5' (write 5m for minutes, 5s for seconds)",
    "schedule add n --every 5m --jitter 10 -- ls": "--jitter: no unit: '10' (write 10m for minutes",
    "schedule add n --every 5min -- ls": "did you mean 5m?",
    "enqueue --timeout '1 hour and 30 minutes' ls": "did you mean 1h30m?",
    "list --since 2days": "did you mean 2d?",
    "enqueue --timeout 5x ls": "write 90s, 5m, 2h or 1d",
    "schedule add n --every '@every 5m' -- ls": "write only the duration, such as 5m",
    "config set gpu.slots 2": "did you mean gpu.limit?",
    "config set parallel 2": "did you mean QUEUE.limit?",
    "config set gpu.throttle 2": "did you mean gpu.rate?",
    "config set backoff-jitter -1": "not a number from 0 to 1: '-1'",
    "config set backoff-jitter 2": "not a number from 0 to 1: '2'",
    "config set backoff-jitter x": "not a number from 0 to 1: 'x'",
}


class InProcessTestCase(QueueTestCase):
    def run_here(self, line: str) -> tuple[str, str]:
        """Run a command in this process; returns its output and its messages, with an error as the last one."""
        out, messages = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(messages):
            try:
                main.run(["--db", self.db, *shlex.split(line)])
            except QueueError as error:
                messages.write(f"queuectl: {error}\n")
        return out.getvalue(), messages.getvalue()


class WidthTest(InProcessTestCase):
    def test_a_narrow_terminal_costs_columns_and_reasons_but_no_figure_unit_or_exit_code(self):
        with Queue(self.db) as queue:
            queue.schedule("backup", "./backup --all", cron="30 2 * * mon", max_retries=0)
            queue.schedule("boot", "./boot", cron="@reboot")
        store = self.store()
        store.run_schedule("backup")
        job = store.claim(self.register_worker(store), None).job
        store.settle(job, Outcome("exit", 127), judge(job, Outcome("exit", 127), time.time()))
        store.pause("default")
        self.rows("UPDATE queuectl_jobs SET error = 'exit 127 (command not found)'")
        self.rows("UPDATE queuectl_queues SET pending = 1, processing = 2, completed = 123456, failed = 3, dead = 12,"
                  " cancelled = 1, paused_because = '2 deaths in a row'")  # fmt: skip
        for wide in (100, 80, 60, 50):
            with self.subTest(wide=wide), mock.patch.object(terminal, "width", return_value=wide):
                rows = self.run_here("schedule list")[0].splitlines()
                self.assertLessEqual(max(map(len, rows)), wide)
                self.assertRegex(rows[1], r"^backup +30 2 \* \* mon +in \d\w+ .*exit 127\b")
                self.assertRegex(rows[2], r"^boot +@reboot +at boot +")
                rows = self.run_here("status")[0].splitlines()[:2]
                self.assertRegex(rows[1], r"^default +1 +2 +123,456 +3 +12 +1  paused(: 2 deaths in a row)?$|12 +1$")
                self.assertNotIn("…", rows[0])


class RunsTest(InProcessTestCase):
    def test_the_runs_of_a_schedule_are_found_by_its_name_and_by_the_labels_it_gives_them(self):
        self.run_here("schedule add s --every 1h --label x --label y --overlap allow -- true")
        self.run_here("schedule add caf\u00e9 --every 1h -- true")
        self.run_here("""enqueue --id other -e 'A="QUEUECTL_SCHEDULE": "s"' -- true""")
        ids, _ = self.run_here("schedule run s s")
        insert = "INSERT INTO queuectl_jobs (id, command, env) VALUES ('foreign', 'true', ?)"
        self.rows(insert, '{"QUEUECTL_SCHEDULE":"s"}')
        newest = ["foreign", *reversed(ids.split())]
        for line, found in (
            ("--schedule s", newest), ("--schedule s --limit 0", newest), ("--label x --schedule s", newest[1:]),
            ("--label x --label y", newest[1:]), ("--schedule s --state dead", []), ("--schedule caf\u00e9", []),
        ):  # fmt: skip
            out, said = self.run_here(f"list {line} --columns id,schedule")
            self.assertEqual([row.split() for row in out.splitlines()[1:]], [[id, "s"] for id in found], line)
            self.assertEqual(said, "" if found else "no jobs match\n")
        shown, _ = self.run_here(f"show {newest[1]}")
        self.assertRegex(shown, r"\nschedule +s, for 20\d\d-\d\d-\d\d \d\d:")
        self.assertRegex(shown, r"\nlabels +x, y\n")
        self.assertNotRegex(self.run_here("show other")[0], r"\nschedule ")

    def test_an_edit_replaces_the_labels_of_later_runs(self):
        self.run_here("schedule add s --every 1h --label x -- true")
        self.run_here("schedule edit s --label y --label z")
        self.assertEqual(json.loads(self.run_here("schedule show s --json")[0])["job"]["labels"], ["y", "z"])

    def test_a_schedule_that_is_taken_for_a_job_says_how_to_list_its_jobs_and_an_unknown_one_is_named(self):
        self.run_here("schedule add backup --every 1h -- true")
        for line in ("logs backup", "show backup", "cancel backup", "retry backup"):
            hint = "it is a schedule; to list its jobs, run: queuectl list --schedule backup\n"
            self.assertIn(hint, self.run_here(line)[1])
        self.assertNotIn("schedule", self.run_here("show nope")[1])
        self.assertIn("no such schedule: bakcup (did you mean backup?)", self.run_here("list --schedule bakcup")[1])


class WordsTest(InProcessTestCase):
    def test_a_wrong_line_is_answered_with_the_right_one(self):
        self.create_queue()
        for wrong, right in SCHEDULES.items():
            with self.subTest(wrong=wrong):
                out, said = self.run_here(wrong)
                self.assertEqual(out, "")
                line = f"queuectl --db {self.db} {right}\n"
                self.assertIn(right, said)
                self.assertTrue(said.endswith((f"queuectl {right}\n", line)), said)

    def test_a_wrong_value_is_answered_with_what_to_write(self):
        for wrong, explanation in EXPLAINED.items():
            with self.subTest(wrong=wrong):
                _, said = self.run_here(wrong)
                if explanation is None:
                    self.assertIn("added", said)
                else:
                    self.assertIn(explanation, said)

    @needs_zones
    def test_a_wrong_time_zone_is_answered_with_what_people_mean_or_not_guessed_at(self):
        for name, meant in {
            "Z": "UTC", "PST": "America/Los_Angeles", "BERLIN": "Europe/Berlin", "New York": "America/New_York",
            "europe/berlin": "Europe/Berlin", "Berln": "Europe/Berlin", "Asia/Calcuta": "Asia/Calcutta",
            "Nope/Zone": None, "EST5": None, "X": None, "": None,
        }.items():  # fmt: skip
            with self.subTest(name=name):
                _, said = self.run_here(f"schedule next --cron @daily --tz '{name}'")
                self.assertIn(f"did you mean {meant}?" if meant else "(write a name such as Europe/Berlin", said)
        for name in {*zones.ABBREVIATIONS.values()}:
            zones.zone(name, "tz")

    @needs_zones
    def test_a_zone_whose_name_is_misleading_gets_a_warning(self):
        for name, remark in (("EST", "EST is -05:00 all year"), ("Etc/GMT+5", "Etc/GMT+5 is -05:00"), ("UTC", None),
                             ("Etc/GMT+0", None), ("America/New_York", None)):  # fmt: skip
            _, said = self.run_here(f"schedule next --cron @daily --tz {name}")
            self.assertIn(remark, said) if remark else self.assertEqual(said, "")

    @needs_zones
    def test_show_prints_times_in_the_schedules_time_zone_as_next_does(self):
        self.run_here("schedule add n --cron '0 3 * * *' --tz Asia/Kolkata --until 2099-01-01 -- ls")
        shown, _ = self.run_here("schedule show n")
        first, _ = self.run_here("schedule next n -n 1")
        self.assertRegex(shown, r"\nnext +" + re.escape(first.split("  ")[0][4:]) + r" \(in .*\)\n")
        for name in ("until", "added"):
            self.assertRegex(shown, rf"\n{name} +20\d\d-\S+ \d\d:\d\d:\d\d\+05:30\n")

    def test_add_and_edit_print_messages_that_quiet_silences(self):
        out, said = self.run_here("schedule add n --cron '30 2 * * *' --tz UTC -- ls")
        self.assertEqual(out, "")
        self.assertEqual(len(said.splitlines()), 7, said)
        self.assertEqual(self.run_here("--quiet schedule edit n --every 5m"), ("", ""))
        said = self.run_here("schedule edit n --cron @reboot")[1]
        self.assertIn("it runs when the first worker starts after a boot", said)

    def test_a_setting_with_an_empty_value_is_off(self):
        self.assertEqual(self.run_here("config set on-dead ''"), ("", "on-dead is off from now on\n"))
        self.assertEqual(self.run_here("config set on-dead true"), ("", "on-dead = true, from now on\n"))
