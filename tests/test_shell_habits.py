"""What shell users expect: aliases, id prefixes, help, colors, tables that fit the terminal."""

import re
import unicodedata

from queuectl_core.cli import COMMANDS
from tests.forked import run_forked
from tests.shell import ShellTestCase, terminal


def display_width(line: str) -> int:
    """The columns that a line takes on a terminal."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in line)


class AliasTest(ShellTestCase):
    def test_familiar_aliases_work(self):
        self.sh("queuectl add --id a 'echo hi'; queuectl add --id b true; queuectl ls; queuectl rm b")
        self.assertEqual(self.states(), {"cancelled": 1, "pending": 1})
        self.start_workers()
        self.assertRegex(self.sh("queuectl ps").stdout, r"(idle|busy)")
        self.assertEqual(self.sh("queuectl follow a; queuectl log a").stdout, "hi\nhi\n")
        self.assertEqual(self.sh("queuectl clean").stdout, "a\n")

    def test_help_works_as_a_command_and_for_aliases(self):
        for typed, usage in (
            ("help", "usage: queuectl [-h]"),
            ("help ls", "usage: queuectl list"),
            ("ls -h", "usage: queuectl list"),
            ("help dlq purge", "usage: queuectl dlq purge"),
            ("help worker", "usage: queuectl worker"),
        ):
            self.assertTrue(self.sh("queuectl " + typed).stdout.startswith(usage), typed)

    def test_a_mistyped_command_suggests_the_nearest_one(self):
        result = self.sh("queuectl enqeue true", code=2)
        self.assertEqual(
            result.stderr, "queuectl: no such command: 'enqeue'; did you mean enqueue? Run: queuectl enqueue true\n"
        )

    def test_show_logs_and_wait_accept_a_unique_prefix_of_an_id(self):
        self.sh("for id in abc abd xyz ab; do queuectl enqueue --id $id \"echo $id\"; done")
        self.assertEqual(self.run_cli("show", "x", "--json").json["id"], "xyz")
        self.assertEqual(self.run_cli("show", "ab", "--json").json["id"], "ab")  # An exact id wins.
        self.sh("queuectl logs x")
        self.sh("queuectl wait x --timeout 0", code=124)
        self.run_cli("cancel", "ab")
        self.run_cli("prune", "-s", "cancelled")
        self.assertIn("could be abc or abd", self.sh("queuectl show ab", code=1).stderr)
        self.sh("queuectl show no-such-job", code=1)

    def test_commands_that_change_a_job_need_its_whole_id(self):
        """Otherwise `cancel j1` would cancel j10 after j1 was pruned."""
        self.enqueue("--id", "j10", "--unique", "k", "true")
        for words in ("cancel j1", "edit j1 --priority 1", "retry j1", "enqueue --after j1 true"):
            with self.subTest(words=words):
                result = self.run_cli(*words.split(), code=1)
                self.assertIn("no such job: 'j1'; changing a job takes its whole id, such as j10", result.stderr)
        self.run_cli("cancel", "j10")
        self.enqueue("--id", "dead10", "--max-retries", "0", "--", "exit 1")
        self.run_cli("worker", "start", "--drain", "--foreground", code=1)
        for words in (["dlq", "purge", "dead1"], ["dlq", "retry", "dead1"]):
            self.assertIn("such as dead10", self.run_cli(*words, code=1).stderr)
        self.assertEqual({id: job["state"] for id, job in self.jobs().items()}, {"j10": "cancelled", "dead10": "dead"})


class DisplayTest(ShellTestCase):
    def enqueue_samples(self) -> None:
        self.sh(
            """
            queuectl enqueue --id a-rather-long-name-of-a-job -q a-rather-long-name-of-a-queue 'echo 作业'
            queuectl enqueue --id b --after a-rather-long-name-of-a-job 'echo {}'
            queuectl enqueue --id c --max-retries 0 'exit 3'
            queuectl worker start -q default --drain; queuectl wait c
            queuectl enqueue --id d --delay 100d -- convert -resize 128x128 'My Pictures/one.jpg' one.jpg
            queuectl worker start -q a-queue-without-jobs
            """.replace("{}", "x" * 300),
            code=0,
        )

    def test_tables_and_help_fit_80_columns(self):
        self.enqueue_samples()
        for command in "list", "status", "dlq list", "worker list", "config list", "wait --timeout 0":
            self.assert_fits(self.on_terminal(f"queuectl {command}; true"), command)
        for name in (*COMMANDS, ""):
            environment = {**self.environment, "TERM": "xterm"}
            shown = run_forked([*name.split(), "--help"], environment, terminal=terminal(80))[1].decode()
            self.assertIn(f"usage: queuectl {name}", shown)
            self.assert_fits(shown, name)

    def assert_fits(self, shown: str, command: str) -> None:
        for line in re.sub(r"\x1b\[[0-9;]*[mK]", "", shown).replace("\r", "\n").split("\n"):
            self.assertLessEqual(display_width(line), 80, command)

    def test_the_widest_columns_are_truncated_first(self):
        self.enqueue_samples()
        shown = self.on_terminal("NO_COLOR=1 queuectl list")
        for piece in ("after ", "of-a-job", "\nd   ", "no worker", "in 100d", "exit 3", "convert", "a-rather-l"):
            self.assertIn(piece, shown)

    def test_no_color_and_the_color_option_control_colors(self):
        self.enqueue_samples()
        for words, colored in (
            ("queuectl --color always list", True),
            ("queuectl list --color always", True),
            ("queuectl list", False),
            ("NO_COLOR=1 queuectl --color always list", True),
        ):
            self.assertEqual("\x1b[" in self.sh(words).stdout, colored, words)
        self.assertNotIn("\x1b[", self.on_terminal("queuectl --color never list"))
        self.sh("queuectl --color sometimes list", code=2)
        self.assertNotIn("\x1b", self.sh("queuectl --color always list --json").stdout)

    def test_quiet_prints_only_errors(self):
        self.enqueue_samples()
        for command in ("config set timeout 5", "config unset max-retries", "status", "resume"):
            result = self.sh(f"queuectl --quiet {command}; true")
            self.assertEqual(result.stderr, "", command)
        self.assertIn("no such job", self.sh("queuectl show no-such-job --quiet", code=1).stderr)

    def test_times_are_exact_in_json_and_short_in_tables(self):
        self.enqueue_samples()
        job = self.job("d")
        self.assertRegex(job["run_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertIn("starts in 100d ", self.run_cli("list").stdout)
        self.assertEqual(self.run_cli("show", "c", "--json").json["history"][0]["exit_code"], 3)
