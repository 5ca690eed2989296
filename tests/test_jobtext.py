"""Jobs as other tools write them: JSON in lines, over several lines, in arrays, and shell lines that look like it."""

from __future__ import annotations

import os
import subprocess

from queuectl_core.errors import BadInput
from queuectl_core.jobtext import JsonText
from tests.harness import QueueTestCase, wait_until

PRETTY = """\ufeff[\r
  {"id": "a", "command": "echo a"},
  {
    "id": "b",
    "command": "echo [b]",
    "env": {"X": "}"}
  }
]

{"id": "c", "command": "echo c"}
echo d
{
  "id": "e",
  "command": "echo e"
}
"""
SHELL = (
    *("[ -f x ] && y", '[ "$a" = b ] || exit 1', "[[ -f x ]] && y"),
    *("{ a; b; }", '{ "my prog" x; } >log', "[ 1 -eq 1 ]"),
)
AMBIGUOUS = ('[ "a" ]', "{x: 1}", "[a-z]*/run", "[ -f x", "{'command': 'true'}", '{"command"')
INVALID = ('["a"]', "[1]", '{"command": tru}', '{"command": "x', '{"command": "true"} x', '[{"a": 1} {"b": 2}]', "7")


class JsonTextTest(QueueTestCase):
    def test_shell_lines_that_begin_with_a_bracket_are_shell_lines(self):
        for line in SHELL:
            self.assertIsNone(JsonText().objects(line), line)
            self.assertEqual(self.job(self.run_cli("enqueue", line).lines[0])["command"], line)
        ids = self.run_cli("enqueue", "-", input="\n".join(SHELL)).lines
        self.assertEqual([self.job(id)["command"] for id in ids], list(SHELL))

    def test_ambiguous_lines_are_rejected_with_both_forms(self):
        for line in AMBIGUOUS:
            with self.subTest(line=line), self.assertRaisesRegex(BadInput, '^neither .*{"command": .*"sleep 2"}$'):
                JsonText().objects(line)

    def test_invalid_json_is_reported_at_the_line_where_it_is(self):
        for line in INVALID[:-1]:
            with self.subTest(line=line), self.assertRaises(BadInput):
                JsonText().objects(line)
        for text, line in (
            ('true\n{\n "command": "true",\n}\n', 4),  # It began on line 2.
            ('true\n\n[\n{"command": "true"}\n', 3),
            ('{"command": "true"\n{"command": "true"}', 2),
            ('[{"command": "true"},\n {"state": "dead", "command": "true"}]', 2),
        ):
            result = self.run_cli("enqueue", "-", input=text, code=2)
            self.assertIn(f"queuectl: line {line}: ", result.stderr)
        before = self.states()
        self.run_cli("enqueue", "--atomic", "-", input='true\n[\n{"command": "true"}\n', code=2)
        self.assertEqual(self.states(), before)

    def test_arrays_objects_over_several_lines_and_shell_lines_can_be_mixed(self):
        ids = self.run_cli("enqueue", "-", input=PRETTY).lines
        self.assertEqual((ids[:3], ids[4]), (["a", "b", "c"], "e"))
        self.assertEqual([self.job(id)["command"] for id in ids], ["echo a", "echo [b]", "echo c", "echo d", "echo e"])
        self.assertEqual(self.job("b")["env"], {"X": "}"})

    def test_pending_jobs_that_list_prints_can_be_enqueued_elsewhere_but_not_finished_ones(self):
        self.run_cli("enqueue", "-", input=PRETTY)
        listed = self.run_cli("list", "--json").stdout
        other = self.path("other.db")
        self.assertEqual(len(self.run_cli("--db", other, "enqueue", "-", input=listed).lines), 5)
        self.assertEqual(len(self.run_cli("--db", self.path("third.db"), "enqueue", listed).lines), 5)
        self.run_cli("enqueue", "-", input=listed, code=1)  # They exist.
        self.run_cli("cancel", "a")
        listed = self.run_cli("list", "--json").stdout
        result = self.run_cli("--db", self.path("4.db"), "enqueue", "-", input=listed, code=2)
        self.assertIn("queuectl export and import", result.stderr)

    def test_the_assignments_sample_job_is_accepted_with_new_timestamps(self):
        sample = (
            '{"id": "job1", "command": "sleep 2", "state": "pending", "attempts": 0, "max_retries": 3,'
            ' "created_at": "2025-11-04T10:30:00Z", "updated_at": "2025-11-04T10:30:00Z"}'
        )
        self.run_cli("enqueue", sample)
        self.assertGreater(self.job("job1")["created_at"], "2026")

    def test_an_object_in_an_open_array_is_enqueued_as_soon_as_it_is_complete(self):
        process = self.start_cli("enqueue", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process.stdin.write(b'[{"id": "first", "command": "true"},\n')
        process.stdin.flush()
        wait_until(lambda: os.path.exists(self.db) and self.rows("SELECT 1 FROM sqlite_master") and self.states())
        process.stdin.write(b'{"id": "last", "command": "true"}]')
        stdout, _ = process.communicate(timeout=30)
        self.assertEqual((process.returncode, stdout), (0, b"first\nlast\n"))
