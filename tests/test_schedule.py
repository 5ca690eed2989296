"""Schedules: what cron expressions mean, when they are due across changes of clocks, and `schedule next`."""

from __future__ import annotations

import itertools
import os
import random
import re
import subprocess
import sys
import time
import unittest
from unittest import mock

from queuectl_core.errors import BadInput
from queuectl_core.schedule import times, zones
from queuectl_core.schedule.cron import parse_cron
from queuectl_core.schedule.times import At, Every
from tests.cron_oracle import CronDaemon, random_expression
from tests.harness import ROOT, QueueTestCase

try:
    from zoneinfo import ZoneInfo

    ZoneInfo("Europe/Berlin")
except (ImportError, KeyError):
    ZoneInfo = None  # type: ignore[assignment,misc]

needs_zones = unittest.skipUnless(ZoneInfo, "this Python has no time zones")
DAY = 86400
# Zones whose clocks change at 02:00, at midnight, by half an hour, never, and at another quarter of the hour.
CHANGING = ("Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Chatham")

# Zone, expression and start, and on the next lines the times that follow, by cron's rule.
EXPECTED = """
Europe/Berlin | 30 2 * * * | 2026-03-28T00:00
    2026-03-28T02:30:00+01:00 2026-03-29T03:00:00+02:00 2026-03-30T02:30:00+02:00
Europe/Berlin | 0,30 2 * * * | 2026-03-28T12:00
    2026-03-29T03:00:00+02:00 2026-03-30T02:00:00+02:00
Europe/Berlin | 30 2,3 * * * | 2026-03-28T12:00
    2026-03-29T03:00:00+02:00 2026-03-29T03:30:00+02:00
Europe/Berlin | 0 3 * * * | 2026-03-28T12:00
    2026-03-29T03:00:00+02:00 2026-03-30T03:00:00+02:00
Europe/Berlin | 0 2-3 * * * | 2026-03-28T12:00
    2026-03-29T03:00:00+02:00 2026-03-30T02:00:00+02:00
Europe/Berlin | 30 2 29 3 * | 2026-01-01T00:00
    2026-03-29T03:00:00+02:00 2027-03-29T02:30:00+02:00
Europe/Berlin | 30 2 * * * | 2026-10-24T12:00
    2026-10-25T02:30:00+02:00 2026-10-26T02:30:00+01:00
Europe/Berlin | 30 2 * * * | 2026-10-25T02:30:00+01:00
    2026-10-26T02:30:00+01:00
Europe/Berlin | 0 3 * * * | 2026-10-24T12:00
    2026-10-25T03:00:00+01:00
Europe/Berlin | 59 2 * * * | 2026-10-25T02:10:00+01:00
    2026-10-26T02:59:00+01:00
Europe/Berlin | */30 2 * * * | 2026-03-29T00:00
    2026-03-30T02:00:00+02:00 2026-03-30T02:30:00+02:00
Europe/Berlin | */30 2 * * * | 2026-10-25T00:00
    2026-10-25T02:00:00+02:00 2026-10-25T02:30:00+02:00 2026-10-25T02:00:00+01:00 2026-10-25T02:30:00+01:00
    2026-10-26T02:00:00+01:00
Europe/Berlin | 15 * * * * | 2026-03-29T01:00
    2026-03-29T01:15:00+01:00 2026-03-29T03:15:00+02:00
Europe/Berlin | @hourly | 2026-10-25T01:30
    2026-10-25T02:00:00+02:00 2026-10-25T02:00:00+01:00 2026-10-25T03:00:00+01:00
Europe/Berlin | 0 */2 * * * | 2026-10-25T00:30
    2026-10-25T02:00:00+02:00 2026-10-25T02:00:00+01:00 2026-10-25T04:00:00+01:00
Europe/Berlin | 0 */2 * * * | 2026-03-29T00:30
    2026-03-29T04:00:00+02:00
Europe/Berlin | 0 0-23/2 * * * | 2026-03-29T00:30
    2026-03-29T03:00:00+02:00 2026-03-29T04:00:00+02:00
Europe/Berlin | 0 0-23/2 * * * | 2026-10-25T00:30
    2026-10-25T02:00:00+02:00 2026-10-25T04:00:00+01:00
America/Santiago | @daily | 2026-09-05T12:00
    2026-09-06T01:00:00-03:00 2026-09-07T00:00:00-03:00
America/Santiago | 0 0 6 9 * | 2026-01-01T00:00
    2026-09-06T01:00:00-03:00 2027-09-06T00:00:00-03:00
America/Santiago | 0 0 * * sun | 2026-09-01T00:00
    2026-09-06T01:00:00-03:00 2026-09-13T00:00:00-03:00
America/Santiago | 30 23 * * * | 2026-04-04T00:00
    2026-04-04T23:30:00-03:00 2026-04-05T23:30:00-04:00
America/Santiago | @daily | 2026-04-04T12:00
    2026-04-05T00:00:00-04:00 2026-04-06T00:00:00-04:00
America/Santiago | */30 23 * * * | 2026-04-04T22:00
    2026-04-04T23:00:00-03:00 2026-04-04T23:30:00-03:00 2026-04-04T23:00:00-04:00 2026-04-04T23:30:00-04:00
    2026-04-05T23:00:00-04:00
Australia/Lord_Howe | 15 2 * * * | 2026-10-03T00:00
    2026-10-03T02:15:00+10:30 2026-10-04T02:30:00+11:00 2026-10-05T02:15:00+11:00
Australia/Lord_Howe | 45 1 * * * | 2026-04-04T12:00
    2026-04-05T01:45:00+11:00 2026-04-06T01:45:00+10:30
Australia/Lord_Howe | */15 * * * * | 2026-04-05T01:31
    2026-04-05T01:45:00+11:00 2026-04-05T01:30:00+10:30 2026-04-05T01:45:00+10:30 2026-04-05T02:00:00+10:30
Australia/Lord_Howe | 0,30 2 * * * | 2026-10-03T12:00
    2026-10-04T02:30:00+11:00 2026-10-05T02:00:00+11:00
Asia/Kolkata | 30 2 * * * | 2026-03-28T12:00
    2026-03-29T02:30:00+05:30 2026-03-30T02:30:00+05:30
Asia/Kolkata | @hourly | 2026-03-29T02:10
    2026-03-29T03:00:00+05:30
Pacific/Apia | 0 12 * * * | 2011-12-29T00:00
    2011-12-29T12:00:00-10:00 2011-12-31T00:00:00+14:00 2011-12-31T12:00:00+14:00
UTC | 0 0 29 2 * | 2026-01-01T00:00
    2028-02-29T00:00:00+00:00 2032-02-29T00:00:00+00:00
UTC | 0 0 29 2 * | 2096-03-01T00:00
    2104-02-29T00:00:00+00:00
UTC | 0 0 29 2 */7 | 2088-03-01T00:00
    2128-02-29T00:00:00+00:00
UTC | 0 0 31 * * | 2026-01-31T00:00
    2026-03-31T00:00:00+00:00 2026-05-31T00:00:00+00:00
UTC | 0 0 1,15 * sun | 2026-02-01T00:00
    2026-02-08T00:00:00+00:00 2026-02-15T00:00:00+00:00 2026-02-22T00:00:00+00:00 2026-03-01T00:00:00+00:00
UTC | 0 0 13 * 5 | 2026-02-10T00:00
    2026-02-13T00:00:00+00:00 2026-02-20T00:00:00+00:00
UTC | 0 0 */2 * 1 | 2026-02-01T00:00
    2026-02-09T00:00:00+00:00 2026-02-23T00:00:00+00:00 2026-03-09T00:00:00+00:00
UTC | 0 0 13 * */5 | 2026-02-01T00:00
    2026-02-13T00:00:00+00:00 2026-03-13T00:00:00+00:00
UTC | 0 0 1-31 * 1 | 2026-02-01T00:00
    2026-02-02T00:00:00+00:00 2026-02-03T00:00:00+00:00
UTC | 0 0 * * 7 | 2026-02-01T00:00
    2026-02-08T00:00:00+00:00
UTC | 0 0 * * fri-sun | 2026-02-01T00:00
    2026-02-06T00:00:00+00:00 2026-02-07T00:00:00+00:00 2026-02-08T00:00:00+00:00
UTC | 5-59/20 22-23,0 * JAN Mon | 2026-01-05T23:50
    2026-01-12T00:05:00+00:00 2026-01-12T00:25:00+00:00
UTC | @yearly | 2026-01-01T00:00
    2027-01-01T00:00:00+00:00
UTC | @annually | 2026-01-01T00:00
    2027-01-01T00:00:00+00:00
UTC | @monthly | 2026-01-01T00:00
    2026-02-01T00:00:00+00:00
UTC | @weekly | 2026-01-01T00:00
    2026-01-04T00:00:00+00:00
UTC | @midnight | 2026-01-01T00:00
    2026-01-02T00:00:00+00:00
UTC | @Daily | 2026-01-01T00:00:01
    2026-01-02T00:00:00+00:00
"""

REJECTED = {
    "": "is empty",
    "* * * *": "has 4 fields, not 5",
    "0 * * * * *": "has 6 fields, not 5 .* no seconds, .* --every 10s",
    "0 3 * * * backup": "no seconds, years or commands",
    "@daily x": "has 6 fields",
    "@dayly": "no such name: '@dayly'; did you mean @daily",
    "@every 5m": "--every 10m",
    "every 5m": "for an interval, use --every 5m",
    "5m": "for an interval, use --every 5m",
    "60 * * * *": "minute '60' is not from 0 to 59",
    "0 24 * * *": "hour '24' is not from 0 to 23",
    "0 0 0 * *": "day '0' is not from 1 to 31",
    "0 0 * 13 *": "month '13' is not from 1 to 12",
    "0 0 * * 8": "weekday '8' is not from 0 to 7",
    "0-99999999999 * * * *": "is not from 0 to 59",
    "*/99999999999 * * * *": "step '99999999999' is not from 1 to 60; .*--every 90m",
    "*/90 * * * *": "step '90' is not from 1 to 60; .*--every 90m",
    "0 */25 * * *": "hour: the step '25' is not from 1 to 24",
    "*/0 * * * *": "step '0'",
    "*/-1 * * * *": "step '-1'",
    "*/ * * * *": "step ''",
    "5/10 * * * *": "for '5/10', write 5-59/10",
    "0 22-4 * * *": "'22-4' runs backwards; write 0-4,22-23",
    "0 0 * * fri-mon": "write 0-1,5-7",
    "1,,2 * * * *": "a number is missing in '1,,2'",
    "1- * * * *": "a number is missing",
    "-1 * * * *": "a number is missing",
    "x * * * *": "'x' is not a number",
    "٣ * * * *": "is not a number",
    "0 0 L * *": "cron has no L",
    "0 0 ? * 1": "cron has no",
    "0 0 * * 5#2": "cron has no",
    "H * * * *": "cron has no",
    "0 0 * * monday": "write mon",
    "0 0 * january *": "write jan",
    "mon * * * *": "'mon' is not a number",
    "0 0 31 2 *": "never happens",
    "0 0 30-31 2 */2": "never happens",
    "0 0 31 feb,apr,jun,sep,nov *": "never happens",
    "*" * 2000: "longer than 1000",
    ("1," * 400) + "x * * * *": "'x' is not a number",
}


def every_time(text: str, start: str, name: str = "UTC"):
    """The times of an expression after a start, as ISO 8601."""
    zone = zones.zone(name, "zone")
    for found in times.runs(parse_cron(text, "cron"), zones.moment(start, "start", 0, zone), zone):
        yield zone.iso(found)


class ExpressionTest(unittest.TestCase):
    @needs_zones
    def test_times_are_those_of_crons_rule(self):
        for case in re.split(r"\n(?=\S)", EXPECTED.strip()):
            with self.subTest(case):
                heading, *lines = case.splitlines()
                name, text, start = heading.split(" | ")
                expected = " ".join(lines).split()
                self.assertEqual(list(itertools.islice(every_time(text, start, name), len(expected))), expected)

    def test_expressions_that_are_invalid_or_never_due_are_rejected_with_the_reason(self):
        for text, reason in REJECTED.items():
            with self.subTest(text), self.assertRaisesRegex(BadInput, f"^here: .*{reason}") as caught:
                parse_cron(text, "here")
            self.assertTrue(str(caught.exception).isprintable())
            self.assertLess(len(str(caught.exception)), 300)

    def test_reboot_is_parsed_but_never_due(self):
        cron = parse_cron(" @Reboot ", "here")
        self.assertTrue(cron.at_boot)
        self.assertIsNone(times.next_after(cron, 0, zones.UTC))
        self.assertIsNone(times.previous(cron, 1e9, zones.UTC))
        self.assertEqual(times.count(cron, 0, 1e9, zones.UTC), 0)

    def test_each_time_is_found_in_a_millisecond_even_after_decades(self):
        for text in ("* * * * *", "30 2 * * *", "0 0 29 2 */7", "*/5 * 29 2 */7", "59 23 31 12 *"):
            cron = parse_cron(text, "here")
            for find in (times.next_after, times.previous):
                took = []
                for start in range(3_800_000_000, 3_800_000_000 + 20 * DAY, DAY):  # 2090, before a gap of 40 years.
                    began = time.perf_counter()
                    self.assertIsNotNone(find(cron, start, zones.UTC))
                    took.append(time.perf_counter() - began)
                self.assertLess(min(took), 0.001, (text, find))

    def test_the_end_of_time_is_never(self):
        cron = parse_cron("0 0 1 1 *", "here")
        for at in (1e11, 253370764800, 1e15, 1e300):
            times.next_after(cron, at, zones.UTC)
            times.previous(cron, -at, zones.UTC)
        self.assertIsNone(times.next_after(cron, 1e300, zones.UTC))
        self.assertIsNone(times.previous(cron, -1e300, zones.UTC))


@needs_zones
class PropertiesTest(unittest.TestCase):
    """Random expressions around every change of clocks of a year, compared with cron's own loop over minutes."""

    def test_times_are_those_of_crons_loop_over_minutes(self):
        generator = random.Random(1)
        for name in CHANGING:
            zone = zones.zone(name, "zone")
            for start in self.starts(zone):
                minutes = range(start // 60, start // 60 + 4 * 1440)
                for _ in range(8):
                    text = random_expression(generator)
                    with self.subTest(f"{text} in {name} from {zone.iso(start)}"):
                        self.check(text, zone, minutes)

    def starts(self, zone: zones.Zone) -> list[int]:
        """Two days before each change in 2026 and 2027, or any time if there is none."""
        found, at = [], 1767225600
        while True:
            change = zone.change(at, 1767225600 + 730 * DAY)
            if change is None:
                return found or [at]
            found.append((change // 60 - 2 * 1440) * 60)
            at = change

    def check(self, text: str, zone: zones.Zone, minutes: range) -> None:
        daemon = CronDaemon(text, ZoneInfo(zone.name))
        expected = [minute * 60 for minute in daemon.run(minutes)]
        cron = parse_cron(text, "here")
        start, end = minutes[0] * 60 - 1, minutes[-1] * 60
        found = list(times.runs(cron, start, zone, end))
        self.assertEqual([zone.iso(at) for at in found], [zone.iso(at) for at in expected])
        self.assertEqual(times.count(cron, start, end, zone), len(found))
        # Backwards, from times that are due, between them, and at odd fractions.
        ends = [*found, end + 1]
        for at, before in zip(ends, [None, *found]):
            self.assertEqual(times.previous(cron, at, zone), before or times.previous(cron, start + 1, zone))
        for at, after in zip(found, [*found[1:], None]):
            for between in (at, at + 0.5, at + 1):
                self.assertEqual(times.next_after(cron, between, zone), after or times.next_after(cron, end, zone))
        for at in range(start, end, 6007):
            self.assertEqual(times.count(cron, at, end, zone), sum(time > at for time in found))
            self.assertEqual(times.count(cron, start, at, zone), sum(time <= at for time in found))


class ScheduleTest(unittest.TestCase):
    def test_intervals_count_from_their_anchor(self):
        every = Every(600, 1000)
        self.assertEqual(list(itertools.islice(times.runs(every, 0, zones.UTC), 3)), [1600, 2200, 2800])
        self.assertEqual(times.next_after(every, 1600, zones.UTC), 2200)
        self.assertEqual(times.next_after(every, 1599.9, zones.UTC), 1600)
        self.assertEqual(times.previous(every, 2200, zones.UTC), 1600)
        self.assertEqual(times.previous(every, 2200.1, zones.UTC), 2200)
        self.assertIsNone(times.previous(every, 1600, zones.UTC))
        self.assertEqual(times.count(every, 0, 2200, zones.UTC), 2)
        self.assertEqual(times.count(every, 1600, 2199, zones.UTC), 0)

    def test_an_odd_interval_is_due_once_per_step(self):
        """Rounding neither repeats nor loses a time."""
        for seconds in (1.1, 0.1, 1 / 3, 7.77):
            every = Every(seconds, 1_800_000_000.123)
            found = list(itertools.islice(times.runs(every, every.anchor, zones.UTC), 5000))
            self.assertEqual(found, [every.anchor + step * seconds for step in range(1, 5001)])
            for before, at in zip(found, found[1:]):
                self.assertEqual(times.previous(every, at, zones.UTC), before)
            self.assertEqual(times.count(every, every.anchor, found[-1], zones.UTC), 5000)

    def test_a_single_time_is_due_once(self):
        at = At(500)
        self.assertEqual(list(times.runs(at, 0, zones.UTC)), [500])
        self.assertEqual(list(times.runs(at, 500, zones.UTC)), [])
        self.assertEqual(times.previous(at, 501, zones.UTC), 500)
        self.assertIsNone(times.previous(at, 500, zones.UTC))
        self.assertEqual(times.missed(at, 0, 500, zones.UTC, 3), ((500,), 0))
        self.assertEqual(times.missed(at, 0, 499, zones.UTC, 3), ((), 0))

    def test_missed_times_are_the_latest_and_a_count_of_the_others(self):
        start = 1_767_225_600  # 2026-01-01
        for schedule in (parse_cron("0 * * * *", "cron"), Every(3600, start)):
            self.assertEqual(
                times.missed(schedule, start, start + 10 * 3600 + 59, zones.UTC, 2),
                ((start + 9 * 3600, start + 10 * 3600), 8),
            )
            self.assertEqual(times.missed(schedule, start, start + 3599, zones.UTC, 2), ((), 0))
            self.assertEqual(times.missed(schedule, start, start + 3600, zones.UTC, 2), ((start + 3600,), 0))
            self.assertEqual(times.missed(schedule, start, start + 3 * 3600, zones.UTC, 0), ((), 3))
            # Once the clock was set back, nothing is missed.
            self.assertEqual(times.missed(schedule, start, start - 7200, zones.UTC, 2), ((), 0))

    @needs_zones
    def test_a_missed_decade_takes_no_longer_than_a_few_milliseconds(self):
        zone = zones.zone("Europe/Berlin", "zone")
        began = time.perf_counter()
        found = times.missed(parse_cron("* * * * *", "cron"), 1_767_225_600, 1_767_225_600 + 3650 * DAY, zone, 1)
        self.assertLess(time.perf_counter() - began, 0.5)
        self.assertEqual(found.skipped, 3650 * 1440 - 1)

    def test_jitter_is_stable_and_spread(self):
        self.assertEqual(times.jitter("backup", 600), times.jitter("backup", 600))
        delays = sorted(times.jitter(f"job-{number}", 100) for number in range(1000))
        self.assertTrue(0 <= delays[0] < 2 and 98 < delays[-1] < 100)
        for tenth in range(10):
            self.assertTrue(50 < sum(tenth * 10 <= delay < tenth * 10 + 10 for delay in delays) < 150)
        self.assertEqual(times.jitter("backup\udcff", 0), 0)

    @needs_zones
    def test_the_times_around_a_change_are_found(self):
        zone = zones.zone("Europe/Berlin", "zone")
        found = times.around_change(parse_cron("30 2 * * *", "cron"), 1_767_225_600, zone)
        expected = ["2026-03-29T03:00:00+02:00", "2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00"]
        self.assertEqual([zone.iso(at) for at in found], expected)
        self.assertIsNone(times.around_change(Every(60, 0), 0, zones.UTC))


class CommandTest(QueueTestCase):
    def next(self, *words: str, code: int = 0):
        return self.run_cli("schedule", "next", *words, code=code)

    @needs_zones
    def test_schedule_next_prints_times_with_their_offsets_and_creates_no_database(self):
        words = ("--cron", "30 2 * * *", "--tz", "Europe/Berlin", "--from", "2026-03-28T00:00", "-n", "3")
        expected = ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
        self.assertEqual(self.next(*words, "--json").json, expected)
        lines = self.next(*words).lines
        self.assertRegex(lines[0], r"^Sat 2026-03-28 02:30:00\+01:00  (in \d+d|\d+d ago)$")
        self.assertRegex(lines[1], r"^Sun 2026-03-29 03:00:00\+02:00 .* 02:30 is skipped: clocks go forward to 03:00$")
        repeated = self.next("--cron", "30 2 * * *", "--tz", "Europe/Berlin", "--from", "2026-10-24", "-n", "2").lines
        self.assertTrue(repeated[1].endswith("02:30 comes twice: clocks go back"), repeated)
        self.assertFalse(os.path.exists(self.db))

    def test_local_time_is_the_default_and_times_can_have_their_own_offset(self):
        self.environment["TZ"] = "America/New_York"
        words = ("--cron", "30 2 * * *", "-n", "2", "--json")
        self.assertEqual(self.next(*words, "--from", "2026-03-07").json,
                         ["2026-03-07T02:30:00-05:00", "2026-03-08T03:00:00-04:00"])  # fmt: skip
        self.assertEqual(self.next(*words, "--from", "2026-03-07T07:30Z").json[0], "2026-03-08T03:00:00-04:00")
        self.assertEqual(self.next(*words, "--from", "1772868600").json[0], "2026-03-08T03:00:00-04:00")

    def test_intervals_start_now_or_at_from(self):
        found = self.next("--every", "90m", "--from", "2026-03-29T00:00Z", "--tz", "UTC", "--json", "-n", "2").json
        self.assertEqual(found, ["2026-03-29T01:30:00+00:00", "2026-03-29T03:00:00+00:00"])
        self.assertEqual(len(self.next("--every", "10m").lines), 5)
        self.assertIn("in 10m00s", self.next("--every", "10m", "--tz", "utc").lines[0].replace("in 9m59s", "in 10m00s"))

    @needs_zones
    def test_a_single_time_is_in_its_time_zone(self):
        words = ("--at", "2026-03-29 02:30", "--tz", "Europe/Berlin", "--json")
        self.assertEqual(self.next(*words, "--from", "2026-01-01").json, ["2026-03-29T03:00:00+02:00"])
        past = self.next(*words, "--from", "2026-04-01", code=1)
        self.assertEqual((past.json, past.stderr), ([], "it never runs after 2026-04-01T00:00:00+02:00\n"))

    def test_wrong_usage_is_explained(self):
        for words, expected in (
            ((), "name a schedule, or use --cron, --every or --at; for instance, run: queuectl schedule next --cron"),
            (("--cron", "0 0 31 2 *"), "--cron: '0 0 31 2 *' never happens: there is no such date"),
            (("--cron", "@reboot"), "--cron: @reboot runs when the first worker starts after a boot, not at"),
            (("--cron", "30", "2", "*"), "unexpected argument: '*'; quote the expression, as in: queuectl schedule"),
            (("--every", "500ms"), "--every: shorter than a second: '500ms'"),
            (("--every", "10x"), "--every: not a duration: '10x'"),
            (("--at", "soon"), "--at: not a time: 'soon'"),
            (("--cron", "@daily", "--from", "x"), "--from: not a time: 'x'"),
            (("--cron", "@daily", "-n", "99999"), "--count: not a whole number from 1 to 10000: '99999'"),
            (("--cron", "@daily", "--at", "+5m"), "--at: cannot be used together with --cron"),
        ):
            result = self.next(*words, code=2)
            self.assertTrue(result.stderr.startswith("queuectl: " + expected), result.stderr)
            self.assertEqual((result.stdout, len(result.stderr.splitlines())), ("", 1))

    def test_an_unknown_time_zone_is_explained(self):
        if sys.version_info < (3, 9):
            result = self.next("--cron", "@daily", "--tz", "Europe/Berlin", code=2)
            self.assertIn("names of time zones need Python 3.9 or later, and this is 3.8", result.stderr)
        elif ZoneInfo:
            for name, hint in (("Europe/Berln", "did you mean Europe/Berlin?"), ("../zoneinfo/UTC", "write a name"),
                               ("Europe", "no such time zone"), ("", "no such time zone")):  # fmt: skip
                self.assertIn(hint, self.next("--cron", "@daily", "--tz", name, code=2).stderr)
        self.assertEqual(len(self.next("--cron", "@daily", "--tz", "UTC").lines), 5)

    @unittest.skipIf(sys.version_info < (3, 9), "Python 3.8 has no zoneinfo")
    def test_a_system_without_time_zones_is_told_to_install_them(self):
        self.environment["PYTHONTZPATH"] = self.folder
        hidden = "import sys; sys.modules['tzdata'] = None; from queuectl_core.cli.main import main; main()"
        result = subprocess.run(
            [sys.executable, "-c", hidden, "schedule", "next", "--cron", "@daily", "--tz", "Europe/Berlin"],
            cwd=ROOT, env=self.environment, capture_output=True, check=False,
        )  # fmt: skip
        self.assertEqual(result.returncode, 2)
        self.assertIn(b"this system has no time zones; install tzdata (apt install tzdata", result.stderr)

    def test_local_time_works_without_zoneinfo(self):
        with mock.patch.object(zones, "_zoneinfo", return_value=None):
            self.assertRaisesRegex(BadInput, "need Python 3.9 or later", zones.zone, "Europe/Berlin", "--tz")
            self.assertIs(zones.zone(None, "--tz"), zones.LOCAL)
            self.assertIs(zones.zone("UTC", "--tz"), zones.UTC)
