"""--each: whatever a line contains, the shell sees it as data."""

from __future__ import annotations

import os
import subprocess
import tempfile
import unittest

from queuectl_core.errors import BadInput
from queuectl_core.template import Template
from tests.harness import QueueTestCase

# Lines that would run a command, or end quotes, if a shell read them as code.
HOSTILE = (
    "a `touch pwned` b",
    "$(touch pwned)",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "'\"'\"'`touch pwned`",
    "\\",
    "$HOME ${HOME} * ~",
    "a\nb # c",
    "-n",
    "",
)
SAFE = (
    "printf %s {}",
    "printf %s '{}'",
    'printf %s "{}"',
    'printf %s "$(printf %s {})"',
    'printf %s "$(printf %s "{}")"',
    "printf %s $(true)\"{}\"",
    ": $((1 + (2))); printf %s \"{}\"",
    "printf '%s' \"\"'{}'\"\"",
    ": \"\\\"\"; printf %s {}",
    "(printf %s {})",
    "x=a#b; printf %s {}",
    "case x in x) printf %s {};; esac",
    "printf %s",
)
UNSAFE = {
    "echo `echo {}`": "backquotes",
    'echo "`echo {}`"': "backquotes",
    "echo ${x:-{}}": "${",
    'echo "${x:-{}}"': "${",
    "echo $(( {} ))": "$((",
    "echo $(( (1 + (2)) * {} ))": "$((",
    "echo $'{}'": "$'",
    "cat <<END\n{}\nEND": "here document",
    "true # {}": "comment",
    "echo \\{}": "backslash",
    'echo "$(case x in x) echo {};; esac)"': "case",
    'echo "': "inside quotes",
    "echo $(ls": "inside quotes or brackets",
}


class TemplateTest(unittest.TestCase):
    def run_shell(self, command: str, folder: str) -> str:
        result = subprocess.run(
            ["sh", "-c", command], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
        )
        return result.stdout.decode()

    def test_a_hostile_line_is_data_wherever_a_placeholder_is_accepted(self):
        with tempfile.TemporaryDirectory() as folder:
            for text in SAFE:
                template = Template(text, "--each")
                for line in HOSTILE:
                    with self.subTest(template=text, line=line):
                        printed = self.run_shell(template.fill(line, 1), folder)
                        # $(…) drops newlines at the end.
                        self.assertEqual(printed.rstrip("\n"), line.rstrip("\n"))
                        self.assertEqual(os.listdir(folder), [])

    def test_a_placeholder_where_no_quoting_is_safe_is_rejected_with_the_reason(self):
        for text, reason in UNSAFE.items():
            with self.subTest(template=text):
                with self.assertRaises(BadInput) as raised:
                    Template(text, "--each")
                self.assertTrue(str(raised.exception).startswith("--each: "), raised.exception)
                self.assertIn(reason, str(raised.exception))


class EachTest(QueueTestCase):
    def test_backquotes_in_a_line_do_not_run_inside_quotes(self):
        (id,) = self.run_cli("enqueue", "--each", 'echo "file: {}"', "-", input="a `touch pwned` b\n").lines
        self.run_cli("worker", "start", "--drain", "--foreground")
        self.assertEqual(self.run_cli("logs", id).stdout, "file: a `touch pwned` b\n")
        self.assertFalse(os.path.exists(self.path("pwned")))

    def test_an_unsafe_template_enqueues_nothing(self):
        result = self.run_cli("enqueue", "--each", "echo `echo {}`", "-", input="a\n", code=2)
        self.assertEqual(result.stderr, "queuectl: --each: {} cannot be used in backquotes; use $(…)\n")
        self.assertEqual(self.jobs(), {})


if __name__ == "__main__":
    unittest.main()
