"""Jobs as JSON: what is accepted and what is refused."""

from __future__ import annotations

import json
import time
import unittest

from queuectl_core import jobjson, jobspec
from queuectl_core.errors import BadInput
from queuectl_core.jobspec import NewJob
from queuectl_core.values import iso

NOW = 1_800_000_000.0


def parse(job: object, **defaults: object) -> NewJob:
    """Parse a job from a text, or from the JSON of any other value."""
    text = job if isinstance(job, str) else json.dumps(job)
    return jobjson.from_object(jobjson.json_object(text), {"cwd": "/here", **defaults}, NOW)


class AcceptedTest(unittest.TestCase):
    def test_an_id_and_a_command_are_enough(self):
        job = parse('{"id":"job1","command":"sleep 2"}')
        self.assertEqual(
            (job.id, job.command, job.queue, job.cwd), ("job1", "sleep 2", "default", "/here")
        )
        self.assertIsNone(job.max_retries)
        self.assertIsNone(job.run_at)

    def test_every_field_is_parsed(self):
        job = parse(
            {
                "id": "a", "command": "true", "queue": "mail", "priority": -5, "cwd": "/tmp",
                "env": {"A": "ü"},
                "max_retries": 0, "backoff_base": 1.5, "backoff_max": "1h", "timeout": "5m", "kill_grace": 2,
                "output_limit": "64k", "run_at": "2030-01-31T08:00:00Z",
            }
        )  # fmt: skip
        self.assertEqual(
            (job.queue, job.priority, job.cwd, json.loads(job.env)), ("mail", -5, "/tmp", {"A": "ü"})
        )
        self.assertEqual((job.max_retries, job.backoff_base, job.backoff_max), (0, 1.5, 3600))
        self.assertEqual((job.timeout, job.kill_grace, job.output_limit), (300, 2, 65536))
        self.assertEqual(iso(job.run_at), "2030-01-31T08:00:00.000Z")

    def test_backoff_base_has_aliases(self):
        for name in ("backoff_base", "base_backoff_seconds", "base_backoff"):
            self.assertEqual(parse({"command": "true", name: 3}).backoff_base, 3)

    def test_a_delay_is_counted_from_now(self):
        self.assertEqual(parse({"command": "true", "delay": "5m"}).run_at, NOW + 300)
        self.assertEqual(parse({"command": "true", "run_at": "+5m"}).run_at, NOW + 300)

    def test_a_null_field_takes_its_default(self):
        job = parse(
            {"command": "true", "id": None, "timeout": None, "env": None, "run_at": None, "cwd": None}
        )
        self.assertEqual((job.id, job.timeout, job.env, job.run_at, job.cwd), (None,) * 4 + ("/here",))

    def test_json_overrides_options(self):
        job = parse({"command": "true", "queue": "mail"}, queue="other", priority=4)
        self.assertEqual((job.queue, job.priority), ("mail", 4))
        self.assertEqual(parse({"command": "true", "run_at": "+1m"}, delay="2m").run_at, NOW + 60)
        self.assertEqual(parse({"command": "true", "delay": "1m"}, run_at="+2m").run_at, NOW + 60)

    def test_fields_that_queuectl_sets_may_have_the_values_of_a_new_job(self):
        job = parse(
            {
                "command": "true", "state": "pending", "attempts": 0, "created_at": iso(NOW),
                "updated_at": iso(NOW - 60), "started_at": None, "finished_at": None, "exit_code": None,
                "error": None,
            }
        )  # fmt: skip
        self.assertEqual(job, parse({"command": "true"}))

    def test_a_complete_job_record_is_accepted(self):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW))
        job = parse(
            {
                "id": "unique-job-id", "command": "echo 'Hello World'", "state": "pending", "attempts": 0,
                "max_retries": 3, "created_at": stamp, "updated_at": stamp,
            }
        )  # fmt: skip
        self.assertEqual((job.id, job.max_retries), ("unique-job-id", 3))


class RefusedTest(unittest.TestCase):
    def assert_refused(self, job: object, pattern: str) -> None:
        with self.assertRaisesRegex(BadInput, pattern, msg=repr(job)[:200]) as caught:
            parse(job)
        self.assertTrue(str(caught.exception).isprintable())
        self.assertLess(len(str(caught.exception)), 500)

    def test_malformed_json_is_refused_with_its_position(self):
        self.assert_refused('{"command": "true"', "not valid JSON: .* character 19")
        self.assert_refused('{"command": true,}', "not valid JSON")
        self.assert_refused("{'command': 'true'}", "not valid JSON: .* character 2")
        self.assert_refused('{"command": "true"} {"command": "true"}', "not valid JSON")
        self.assert_refused("", "not valid JSON")

    def test_json_that_is_not_an_object_is_refused(self):
        for text in ("[]", '["true"]', '"true"', "1", "null", "true"):
            self.assert_refused(text, "a job is a JSON object")

    def test_nan_infinity_negative_and_huge_numbers_are_refused(self):
        for number in ("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "-1", "9" * 5000, "1" + "0" * 400):
            for field in ("timeout", "priority", "max_retries", "backoff_base", "run_at", "delay"):
                if (field, number) != ("priority", "-1"):
                    self.assert_refused(
                        f'{{"command": "true", "{field}": {number}}}', f"^({field}|not valid JSON)"
                    )

    def test_deep_nesting_is_refused(self):
        for text in ("[" * 200000, '{"env":' * 100000, '{"command":' + "[" * 100000 + "]" * 100000 + "}"):
            self.assert_refused(text, "not valid JSON|command: must be")

    def test_an_unpaired_surrogate_is_refused(self):
        for text in (
            '{"command": "echo \\ud800"}', '{"id": "\\ud800", "command": "true"}',
            '{"command": "true", "env": {"A": "\\udfff\\ud800"}}', '{"command": "true", "cwd": "/\\ud800"}',
        ):  # fmt: skip
            self.assert_refused(text, "command|id|env|cwd")

    def test_a_nul_is_refused_in_every_field(self):
        for field, value in (
            ("command", "a\0"), ("id", "a\0"), ("queue", "a\0"), ("cwd", "/a\0"), ("env", {"A": "\0"}),
            ("env", {"\0": ""}),
        ):  # fmt: skip
            self.assert_refused({"command": "true", field: value}, "^" + field)

    def test_a_bad_value_is_refused_with_the_name_of_its_field(self):
        wrong = {
            "id": (1, True, [], {}, "", "a b", "a,b", "-a", "x" * 201),
            "command": (None, 1, True, [], ["true"], {}, "", "  "),
            "queue": (1, [], "", "a,b", "-q"),
            "priority": ("high", 1.5, True, [], 2**40),
            "max_retries": ("x", 1.5, True, -1, [], 2**40),
            "backoff_base": ("x", True, -1, []),
            "backoff_max": ("x", True, -1, []),
            "timeout": ("x", True, -1, [], "-5s"),
            "kill_grace": ("x", True, -1, []),
            "output_limit": ("x", True, -1, 1.5, []),
            "run_at": ("x", True, -1, [], "yesterday"),
            "delay": ("x", True, -1, [], "-5m"),
            "cwd": (1, "relative", "", [], True),
            "env": ("A=1", [], ["A=1"], {"A": 1}, {"A": None}, {"": "x"}, {"A=B": "x"}, 1),
        }
        for field, bad_values in wrong.items():
            for value in bad_values:
                self.assert_refused({"command": "true", field: value}, f"^{field}: ")

    def test_a_missing_command_is_reported(self):
        self.assert_refused({"id": "a"}, "^command: missing")
        self.assert_refused({}, "^command: missing")

    def test_an_unknown_field_suggests_the_closest_known_one(self):
        self.assert_refused({"command": "true", "max_retry": 1}, "no such field .*did you mean max_retries")
        self.assert_refused({"comand": "true"}, "no such field .*did you mean command")
        self.assert_refused({"command": "true", "zzz": 1}, "no such field .*known: .*command")
        self.assert_refused({"command": "true", "\x1b[2J": 1}, "no such field")

    def test_a_field_given_twice_is_refused(self):
        self.assert_refused('{"command": "true", "command": "false"}', "'command': given twice")
        self.assert_refused('{"command": "true", "backoff_base": 1, "base_backoff": 2}', "given twice")
        self.assert_refused('{"command": "true", "env": {"A": "1", "A": "2"}}', "'A': given twice")
        self.assert_refused({"command": "true", "delay": 1, "run_at": "+5"}, "together")

    def test_json_takes_the_names_of_the_options_for_conditions(self):
        given = {"command": "true", "after_ok": ["a"], "after_notok": "b", "after_any": "c"}
        job = jobjson.from_object(given, {}, NOW)
        self.assertEqual((job.after, job.after_notok, job.after_any), (("a",), ("b",), ("c",)))
        both = {"command": "true", "after_any": "a", "after_ok": "a"}
        self.assertRaisesRegex(BadInput, "cannot name 'a', which", jobjson.from_object, both, {}, NOW)

    def test_replace_and_after_are_refused_together(self):
        fields = {"command": "true", "unique_key": "k", "replace": True, "after": ["a"]}
        self.assertRaisesRegex(BadInput, "after: cannot be used together with --replace", jobspec.new_job, fields, NOW)
        given = {"command": "true", "after": ["a"]}
        defaults = {"unique_key": "k", "replace": True}
        self.assertRaisesRegex(BadInput, "--replace", jobjson.from_object, given, defaults, NOW)

    def test_fields_that_queuectl_sets_cannot_be_given(self):
        for field, value in (
            ("state", "completed"), ("state", "processing"), ("state", "dead"), ("state", 1), ("attempts", 1),
            ("attempts", False), ("attempts", "0"), ("created_at", "x"), ("updated_at", -1),
            ("started_at", iso(NOW)), ("finished_at", iso(NOW)),
            ("exit_code", 0), ("error", ""), ("error", "x"), ("worker", 1),
        ):  # fmt: skip
            self.assert_refused({"command": "true", field: value}, f"^{field}: cannot be")


if __name__ == "__main__":
    unittest.main()
