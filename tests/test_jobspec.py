"""What a new job may say of itself as JSON."""

import json
import time
import unittest

from queuectl_core import jobjson
from queuectl_core.errors import BadInput
from queuectl_core.values import iso

NOW = 1_800_000_000.0


def read(text, **defaults):
    if not isinstance(text, str):
        text = json.dumps(text)
    return jobjson.from_json(text, {"cwd": "/here", **defaults}, NOW)


class AcceptedTest(unittest.TestCase):
    def test_the_missions_job_is_read(self):
        made = read('{"id":"job1","command":"sleep 2"}')
        self.assertEqual(
            (made.id, made.command, made.queue, made.cwd), ("job1", "sleep 2", "default", "/here")
        )
        self.assertIsNone(made.max_retries)
        self.assertIsNone(made.run_at)

    def test_every_field_arrives_where_it_belongs(self):
        made = read(
            {
                "id": "a", "command": "true", "queue": "mail", "priority": -5, "cwd": "/tmp",
                "env": {"A": "ü"},
                "max_retries": 0, "backoff_base": 1.5, "backoff_max": "1h", "timeout": "5m", "kill_grace": 2,
                "output_limit": "64k", "run_at": "2030-01-31T08:00:00Z",
            }
        )  # fmt: skip
        self.assertEqual(
            (made.queue, made.priority, made.cwd, json.loads(made.env)), ("mail", -5, "/tmp", {"A": "ü"})
        )
        self.assertEqual((made.max_retries, made.backoff_base, made.backoff_max), (0, 1.5, 3600))
        self.assertEqual((made.timeout, made.kill_grace, made.output_limit), (300, 2, 65536))
        self.assertEqual(iso(made.run_at), "2030-01-31T08:00:00.000Z")

    def test_other_names_of_the_backoff_base_mean_the_same(self):
        for name in ("backoff_base", "base_backoff_seconds", "base_backoff"):
            self.assertEqual(read({"command": "true", name: 3}).backoff_base, 3)

    def test_a_delay_is_counted_from_now(self):
        self.assertEqual(read({"command": "true", "delay": "5m"}).run_at, NOW + 300)
        self.assertEqual(read({"command": "true", "run_at": "+5m"}).run_at, NOW + 300)

    def test_null_leaves_a_field_open(self):
        made = read(
            {"command": "true", "id": None, "timeout": None, "env": None, "run_at": None, "cwd": None}
        )
        self.assertEqual((made.id, made.timeout, made.env, made.run_at, made.cwd), (None,) * 4 + ("/here",))

    def test_the_json_wins_over_the_options(self):
        made = read({"command": "true", "queue": "mail"}, queue="other", priority=4)
        self.assertEqual((made.queue, made.priority), ("mail", 4))
        self.assertEqual(read({"command": "true", "run_at": "+1m"}, delay="2m").run_at, NOW + 60)
        self.assertEqual(read({"command": "true", "delay": "1m"}, run_at="+2m").run_at, NOW + 60)

    def test_what_a_new_job_is_anyway_may_be_said(self):
        made = read(
            {
                "command": "true", "state": "pending", "attempts": 0, "created_at": iso(NOW),
                "updated_at": iso(NOW - 60), "started_at": None, "finished_at": None, "exit_code": None,
                "error": None,
            }
        )  # fmt: skip
        self.assertEqual(made, read({"command": "true"}))

    def test_the_shape_of_the_mission_is_accepted_as_a_whole(self):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW))
        made = read(
            {
                "id": "unique-job-id", "command": "echo 'Hello World'", "state": "pending", "attempts": 0,
                "max_retries": 3, "created_at": stamp, "updated_at": stamp,
            }
        )  # fmt: skip
        self.assertEqual((made.id, made.max_retries), ("unique-job-id", 3))


class RefusedTest(unittest.TestCase):
    def refused(self, text, words):
        with self.assertRaisesRegex(BadInput, words, msg=repr(text)[:200]) as caught:
            read(text)
        self.assertTrue(str(caught.exception).isprintable())
        self.assertLess(len(str(caught.exception)), 500)

    def test_malformed_json_names_the_place(self):
        self.refused('{"command": "true"', "not valid JSON: .* character 19")
        self.refused('{"command": true,}', "not valid JSON")
        self.refused("{'command': 'true'}", "not valid JSON: .* character 2")
        self.refused('{"command": "true"} {"command": "true"}', "not valid JSON")
        self.refused("", "not valid JSON")

    def test_what_is_no_object_is_refused(self):
        for text in ("[]", '["true"]', '"true"', "1", "null", "true"):
            self.refused(text, "a job is a JSON object")

    def test_numbers_that_are_none_are_refused(self):
        for number in ("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "-1", "9" * 5000, "1" + "0" * 400):
            for field in ("timeout", "priority", "max_retries", "backoff_base", "run_at", "delay"):
                if (field, number) != ("priority", "-1"):
                    self.refused(
                        f'{{"command": "true", "{field}": {number}}}', f"^({field}|not valid JSON)"
                    )

    def test_nesting_without_end_is_refused(self):
        for text in ("[" * 200000, '{"env":' * 100000, '{"command":' + "[" * 100000 + "]" * 100000 + "}"):
            self.refused(text, "not valid JSON|command: must be")

    def test_half_a_surrogate_pair_is_refused(self):
        for text in (
            '{"command": "echo \\ud800"}', '{"id": "\\ud800", "command": "true"}',
            '{"command": "true", "env": {"A": "\\udfff\\ud800"}}', '{"command": "true", "cwd": "/\\ud800"}',
        ):  # fmt: skip
            self.refused(text, "command|id|env|cwd")

    def test_a_nul_is_refused_wherever_it_stands(self):
        for field, value in (
            ("command", "a\0"), ("id", "a\0"), ("queue", "a\0"), ("cwd", "/a\0"), ("env", {"A": "\0"}),
            ("env", {"\0": ""}),
        ):  # fmt: skip
            self.refused({"command": "true", field: value}, "^" + field)

    def test_wrong_types_name_the_field(self):
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
                self.refused({"command": "true", field: value}, f"^{field}: ")

    def test_a_missing_command_is_named(self):
        self.refused({"id": "a"}, "^command: missing")
        self.refused({}, "^command: missing")

    def test_an_unknown_field_names_the_nearest_known_one(self):
        self.refused({"command": "true", "max_retry": 1}, "no such field .*did you mean max_retries")
        self.refused({"comand": "true"}, "no such field .*did you mean command")
        self.refused({"command": "true", "zzz": 1}, "no such field .*known: .*command")
        self.refused({"command": "true", "\x1b[2J": 1}, "no such field")

    def test_a_field_given_twice_is_refused(self):
        self.refused('{"command": "true", "command": "false"}', "'command': given twice")
        self.refused('{"command": "true", "backoff_base": 1, "base_backoff": 2}', "given twice")
        self.refused('{"command": "true", "env": {"A": "1", "A": "2"}}', "'A': given twice")
        self.refused({"command": "true", "delay": 1, "run_at": "+5"}, "together")

    def test_what_queuectl_sets_cannot_be_set(self):
        for field, value in (
            ("state", "completed"), ("state", "processing"), ("state", "dead"), ("state", 1), ("attempts", 1),
            ("attempts", False), ("attempts", "0"), ("created_at", "2001-01-01T00:00:00Z"),
            ("created_at", "x"),
            ("updated_at", "2090-01-01T00:00:00Z"), ("started_at", iso(NOW)), ("finished_at", iso(NOW)),
            ("exit_code", 0), ("error", ""), ("error", "x"), ("worker", 1),
        ):  # fmt: skip
            self.refused({"command": "true", field: value}, f"^{field}: cannot be")


if __name__ == "__main__":
    unittest.main()
