"""Durations, times, sizes, numbers, names and commands: what parses, what is refused, and how values are shown."""

from __future__ import annotations

import math
import time
import unittest
from datetime import datetime, timezone
from typing import Callable

from queuectl_core import settings, values
from queuectl_core.errors import BadInput


class ValuesTestCase(unittest.TestCase):
    def assert_refused(self, parse: Callable[..., object], *arguments: object) -> None:
        """Check that `parse` raises BadInput with one short, printable line that starts with the place."""
        with self.assertRaises(BadInput, msg=repr(arguments)) as caught:
            parse(*arguments)
        text = str(caught.exception)
        self.assertTrue(text.startswith("here: "), text)
        self.assertTrue(text.isprintable(), text)
        self.assertLess(len(text), 400, text)


class DurationTest(ValuesTestCase):
    def test_every_spelling_is_parsed_as_seconds(self):
        spellings = {
            "90": 90, "90s": 90, "5m": 300, "2h": 7200, "1d": 86400, "1w": 604800, "250ms": 0.25,
            "1h30m": 5400, "1.5h": 5400, "0.5": 0.5, ".5": 0.5, "0": 0, " 7s ": 7, "7S": 7, "1m30s": 90,
        }  # fmt: skip
        for text, seconds in spellings.items():
            self.assertEqual(values.duration(text, "here"), seconds, text)
        self.assertEqual(values.duration(90, "here"), 90)
        self.assertEqual(values.duration(0.25, "here"), 0.25)

    def test_a_bad_duration_is_refused(self):
        for bad in (
            "", " ", "-1", "-1s", "abc", "5x", "5 m", "1e3", "1e999", "inf", "nan", "NaN", "5m-1s", "+5",
            "٣", "5m\n6", -1, -0.001, math.nan, math.inf, -math.inf, True, False, None, [], {}, b"5",
            10**400, 1e300, "9" * 400, "101w" * 60, "40000d",
        ):  # fmt: skip
            self.assert_refused(values.duration, bad, "here")


class MomentTest(ValuesTestCase):
    NOW = 1_800_000_000.0

    def parse(self, value: object) -> float:
        return values.moment(value, "here", self.NOW)

    def test_offsets_and_z_are_honored(self):
        expected = datetime(2030, 1, 31, 8, 0, tzinfo=timezone.utc).timestamp()
        for text in (
            "2030-01-31T08:00:00Z", "2030-01-31T08:00:00z", "2030-01-31 08:00Z", "2030-01-31T10:00:00+02:00",
            "2030-01-31T02:30:00-05:30", "2030-01-31T08:00:00.000Z",
        ):  # fmt: skip
            self.assertEqual(self.parse(text), expected, text)

    def test_a_time_without_an_offset_is_local(self):
        expected = time.mktime((2030, 1, 31, 8, 0, 0, 0, 0, -1))
        self.assertEqual(self.parse("2030-01-31T08:00"), expected)
        self.assertEqual(self.parse("2030-01-31 08:00:00"), expected)

    def test_a_number_that_is_probably_not_epoch_seconds_is_rejected_with_what_to_write(self):
        for bad, advice in (
            (60, r"here: 60 is before 2001 in epoch seconds; for a delay write \+60s"),
            ("60", r"\+60s"),
            ("2030", r"2030-01-31 08:00"),
            ("20300131", "before 2001"),
            (0, "before 2001"),
            (1700000000123, r"here: 1700000000123 looks like milliseconds; write 1700000000\.123"),
            (4102444800, "not a time"),
            (10**400, "not a time"),
            (-1, "not a time"),
        ):
            with self.subTest(value=bad):
                self.assertRaisesRegex(BadInput, advice, self.parse, bad)
        self.assertEqual(values.moment(60, "here", self.NOW, any_epoch=True), 60)

    def test_epoch_seconds_and_relative_times_are_parsed(self):
        self.assertEqual(self.parse("1900000000"), 1_900_000_000)
        self.assertEqual(self.parse("1900000000.5"), 1_900_000_000.5)
        self.assertEqual(self.parse(1_900_000_000), 1_900_000_000)
        self.assertEqual(self.parse("+5m"), self.NOW + 300)
        self.assertEqual(self.parse("+0"), self.NOW)

    def test_a_bad_time_is_refused(self):
        for bad in (
            "", "now", "tomorrow", "2030-13-01T00:00:00Z", "2030-02-30", "-5", "+", "+-5", "+abc", "nan",
            "inf",
            "1e5", "1.2.3", "²", "9" * 400, 10**400, -1, math.nan, math.inf, True, None, [], {},
            "2030-01-31T08:00:00ZZ", "2030-01-31T08:00:00+99:00", "99999999999999",
        ):  # fmt: skip
            self.assert_refused(values.moment, bad, "here", self.NOW)


class SizeTest(ValuesTestCase):
    def test_every_spelling_is_parsed_as_bytes(self):
        spellings = {
            "0": 0, "65536": 65536, "64k": 65536, "64K": 65536, "64KiB": 65536, "64kb": 65536, "1MiB": 2**20,
            "1m": 2**20, "1g": 2**30, "10b": 10,
        }  # fmt: skip
        for text, size in spellings.items():
            self.assertEqual(values.size(text, "here"), size, text)
        self.assertEqual(values.size(7, "here"), 7)

    def test_a_bad_size_is_refused(self):
        for bad in (
            "",
            "k",
            "-1",
            "1.5m",
            "1t",
            "1kk",
            "1 k",
            "2g",
            "²",
            "٣",
            "9" * 5000,
            -1,
            2**31,
            1.5,
            True,
            None,
        ):
            self.assert_refused(values.size, bad, "here")


class NumberTest(ValuesTestCase):
    def test_integers_within_bounds_are_parsed(self):
        self.assertEqual(values.whole("5", "here", 0), 5)
        self.assertEqual(values.whole("-5", "here", -10), -5)
        self.assertEqual(values.whole("+5", "here", 0), 5)
        self.assertEqual(values.whole(5, "here", 0), 5)

    def test_a_bad_integer_is_refused(self):
        for bad in (
            "",
            "1.0",
            "1e3",
            "five",
            "-1",
            "--1",
            "٣",
            "²",
            "9" * 5000,
            1.0,
            1.5,
            -1,
            True,
            None,
            2**31,
            [],
        ):
            self.assert_refused(values.whole, bad, "here", 0)

    def test_factors_are_finite_and_never_negative(self):
        self.assertEqual([values.factor(v, "here") for v in ("2", "1.5", 0, 1.5)], [2, 1.5, 0, 1.5])
        for bad in ("", "x", "nan", "inf", "-1", "1e400", -1, math.nan, math.inf, 10**400, True, None, []):
            self.assert_refused(values.factor, bad, "here")


class NameTest(ValuesTestCase):
    def test_ordinary_names_in_any_script_are_accepted(self):
        for good in ("a", "job-1", "job_1.2:3/4", "Größe", "作业", "x" * 200, "{}", "a'b", "$x"):
            self.assertEqual(values.name(good, "here"), good)

    def test_names_that_could_be_mistaken_for_something_else_are_refused(self):
        for bad in (
            "", " ", "a b", "a,b", "-a", "--all", "a\nb", "a\tb", "\x1b[2J", "a\x00", "\u202eab", "\u200b",
            "x" * 201, "\udcff", None, 1, True, ["a"], {},
        ):  # fmt: skip
            self.assert_refused(values.name, bad, "here")


class CommandTest(ValuesTestCase):
    LARGEST = 128 * 1024 - 1

    def test_a_command_of_just_under_128_kib_is_accepted_and_one_byte_more_is_not(self):
        for letter in ("x", "ü", "\udcff"):
            size = len(letter.encode("utf-8", "surrogateescape"))
            fits = letter * (self.LARGEST // size)
            fits += "x" * (self.LARGEST - size * len(fits))
            self.assertEqual(values.command(fits, "here"), fits)
            self.assert_refused(values.command, fits + "x", "here")

    def test_a_bad_command_is_refused(self):
        for bad in ("", " ", "\n\t ", "echo \0", None, 1, ["true"], {}, True, "\ud800", "\udfff\ud800"):
            self.assert_refused(values.command, bad, "here")

    def test_bytes_that_are_not_utf8_survive_a_round_trip(self):
        for raw in (b"\xff\xfe", b"caf\xe9", b"\xc3\xa9", bytes(range(1, 256))):
            text = values.decode(raw)
            self.assertEqual(values.encode(text), raw)
            stored = values.storable(text)
            self.assertEqual(stored if isinstance(stored, bytes) else stored.encode(), raw)


class FormatTest(unittest.TestCase):
    def test_times_are_shown_as_iso_8601_in_utc_with_milliseconds(self):
        self.assertEqual(values.iso(0), "1970-01-01T00:00:00.000Z")
        self.assertEqual(values.iso(1_800_000_000.1234), "2027-01-15T08:00:00.123Z")
        self.assertEqual(values.iso(1.9996), "1970-01-01T00:00:02.000Z")
        self.assertIsNone(values.iso(None))

    def test_spans_are_readable_at_any_length(self):
        shown = {
            0: "0ms", -5: "0ms", 0.35: "350ms", 4: "4s", 59.4: "59s", 59.7: "1m00s", 125: "2m05s",
            11520: "3h12m", 86399: "23h59m", 86400: "1d00h", 131000: "1d12h", 5 * 86400 + 7200: "5d", 8639999: "100d",
        }  # fmt: skip
        for seconds, text in shown.items():
            self.assertEqual(values.span(seconds), text)

    def test_a_quoted_value_is_one_short_printable_line(self):
        for value in (
            "a\nb",
            "\x1b[2J",
            "x" * 10000,
            ["y" * 10000],
            "\u202e",
            {"a": "\n"},
            "\udcff",
            10**1000,
        ):
            text = values.quote(value)
            self.assertTrue(text.isprintable(), text)
            self.assertLessEqual(len(text), 60)


class SettingsTest(unittest.TestCase):
    def test_every_spelling_of_a_key_is_recognized(self):
        for spelling in (
            "max-retries",
            "max_retries",
            "MAX_RETRIES",
            "default_max_retries",
            "default-max-retries",
        ):
            self.assertEqual(settings.canonical(spelling), "max-retries")
        for spelling in ("backoff-base", "backoff_base", "default_base_backoff"):
            self.assertEqual(settings.canonical(spelling), "backoff-base")
        self.assertEqual(settings.canonical("My_Queue.max_retries"), "My_Queue.max-retries")

    def test_an_unknown_key_suggests_the_closest_known_one(self):
        with self.assertRaisesRegex(BadInput, "did you mean max-retries"):
            settings.canonical("max_retrys")
        with self.assertRaisesRegex(BadInput, "known: .*max-retries"):
            settings.canonical("zzz")

    def test_every_default_is_a_valid_value(self):
        for key, setting in settings.SETTINGS.items():
            if isinstance(setting.default, (int, float)):
                self.assertEqual(settings.parse(key, str(setting.default)), setting.default)

    def test_a_queues_own_setting_overrides_the_global_one(self):
        config = {"max-retries": 5, "mail.max-retries": 0, "timeout": 9}
        self.assertEqual(settings.resolve(config, "mail")["max_retries"], 0)
        self.assertEqual(settings.resolve(config, "other")["max_retries"], 5)
        self.assertEqual(settings.resolve(config, "mail")["timeout"], 9)
        self.assertEqual(settings.resolve({}, "mail")["max_retries"], 3)


if __name__ == "__main__":
    unittest.main()
