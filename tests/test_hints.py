"""Wrong command lines: each gets one line with the command that works."""

from __future__ import annotations

import re
import shlex
import unittest

from queuectl_core.cli import COMMANDS, hints
from queuectl_core.cli.parser import leaf
from queuectl_core.lifecycle import STATES
from tests.harness import QueueTestCase

# A wrong command line, and the correct one that its error names.
CORRECTED = {
    "enqueue ls -l": "enqueue -- ls -l",
    "enqueue echo hi": "enqueue -- echo hi",
    "enqueue --retries 3 true": "enqueue --max-retries 3 true",
    "enqueue --retries=3 true": "enqueue --max-retries=3 true",
    "enqueue --timout 3 true": "enqueue --timeout 3 true",
    "enqueue @jobs.json": "enqueue --file jobs.json",
    "list failed": "list --state failed",
    "list Running": "list --state processing",
    "list --status dead": "list --state dead",
    "--db other.db list dead": "--db other.db list --state dead",
    "worker start 4": "worker start -c 4",
    "worker start 1": "worker start -c 1",
    "-v": "--version",
    "worker start --workers 4": "worker start --count 4",
    "worker strat": "worker start",
    "worker status": "worker list",
    "worker": "worker list",
    "retry --all": "dlq retry --all",
    "run x": "enqueue x",
    "run ls -l": "enqueue -- ls -l",
    "run -- ls -l": "enqueue -- ls -l",
    "submit x": "enqueue x",
    "start": "worker start",
    "start 4": "worker start -c 4",
    "stop": "worker stop",
    "kill x": "cancel x",
    "remove x": "cancel x",
    "requeue x": "retry x",
    "unhold x": "release x",
    "stash x": "hold x",
    "uncancel x": "retry x",
    "unpause mail": "resume mail",
    "history": "list --since 7d",
    "logs": "list",
    "init": "enqueue 'echo hello'",
    """'{"cmd":"x"}'""": """enqueue '{"command": "x"}'""",
    "enqueu x": "enqueue x",
}
# Wrong command lines that no single command corrects, and a part of the error.
EXPLAINED = {
    "list --limit": "--limit: needs a value (see 'queuectl list --help')",
    "list --quiet=3": "--quiet: takes no value (see 'queuectl list --help')",
    "list --color=x": "--color: must be one of auto, always, never, not 'x' (see 'queuectl list --help')",
    "logs x --stdout --stderr": "--stderr: cannot be used together with --stdout (see 'queuectl logs --help')",
    "list xyz": "unexpected argument: 'xyz' (see 'queuectl list --help')",
    "show": "show needs ID (see 'queuectl show --help')",
    "config set timeout": "config set needs VALUE (see 'queuectl config set --help')",
    "worker zzz": "no such command: 'worker zzz' (see 'queuectl worker --help')",
    "zzz": "no such command: 'zzz' (see 'queuectl --help')",
    "unretry x": "no such command: 'unretry' (see 'queuectl --help')",
    "worker stop --wait": "no such option: '--wait' (see 'queuectl worker stop --help')",
    "worker start --no-drain": "no such option: '--no-drain' (see 'queuectl worker start --help')",
    "list --zzz": "no such option: '--zzz' (see 'queuectl list --help')",
}
ARGPARSE = re.compile("unrecognized arg|invalid choice|following arguments|expected (one|at least)|not allowed with")
DELETE = ("prune", "purge", "cancel", "unset")


class CommandLineTest(QueueTestCase):
    def refused(self, line: str) -> str:
        result = self.run_cli(*shlex.split(line), code=2)
        self.assertEqual((result.stdout, len(result.stderr.splitlines())), ("", 1), result.stderr)
        self.assertTrue(result.stderr.startswith("queuectl: "), result.stderr)
        self.assertNotRegex(result.stderr, ARGPARSE)
        return result.stderr.strip()

    def test_a_wrong_command_line_is_answered_with_the_right_one(self):
        for wrong, right in CORRECTED.items():
            with self.subTest(wrong=wrong):
                self.assertRegex(self.refused(wrong), rf"[rR]un: queuectl {re.escape(right)}(;|$)")

    def test_the_right_command_lines_are_accepted(self):
        for right in CORRECTED.values():
            words = shlex.split(right)
            needs_a_job = words[0] in ("cancel", "retry", "hold", "release")
            if "--db" not in words and "--file" not in words and words[0] != "worker" and not needs_a_job:
                with self.subTest(right=right):
                    self.run_cli(*words)

    def test_an_option_is_not_taken_for_one_that_means_something_else(self):
        self.assertNotIn("--reverse", self.refused("--verbose list"))

    def test_the_hint_for_one_worker_is_in_the_singular(self):
        self.assertIn("to start 1 worker,", self.refused("worker start 1"))

    def test_other_errors_name_the_command_at_hand_in_our_own_words(self):
        for wrong, explanation in EXPLAINED.items():
            with self.subTest(wrong=wrong):
                self.assertIn(explanation, self.refused(wrong))

    def test_help_before_a_command_is_the_help_of_that_command(self):
        for option in ("-h", "--help", "help"):
            self.assertIn("usage: queuectl list", self.run_cli(option, "list").stdout)
        self.assertIn("usage: queuectl worker start", self.run_cli("-h", "worker", "start").stdout)
        self.assertIn("usage: queuectl worker", self.run_cli("worker", "--help").stdout)


class TablesTest(unittest.TestCase):
    def test_every_word_of_other_tools_leads_to_its_command(self):
        for word, name in hints.COMMAND_WORDS.items():
            self.assertNotIn(word, {name.split()[0] for name in COMMANDS})
            self.assertIn(f"run: queuectl {name}", hints.unknown_command([word], 0))
            words = name.split()
            known = words[0].startswith("-") or words[0] in COMMANDS or " ".join(words[:2]) in COMMANDS
            self.assertTrue(known, name)
        for noun, verbs in hints.VERB_WORDS.items():
            for word, verb in verbs.items():
                self.assertNotIn(f"{noun} {word}", COMMANDS)
                self.assertIn(f"{noun} {verb}", COMMANDS)
                self.assertIn(f"run: queuectl {noun} {verb}", hints.unknown_verb([noun, word], 0, 1))

    def test_every_option_of_other_tools_leads_to_one_that_some_command_has(self):
        options = {name: set(leaf(name)._option_string_actions) for name in COMMANDS}
        for word, targets in hints.OPTION_WORDS.items():
            for target in targets:
                takers = [name for name in COMMANDS if target in options[name] and word not in options[name]]
                self.assertTrue(takers, word)
                shown = hints.surplus(f"queuectl {takers[0]}", word, [*takers[0].split(), word], options[takers[0]])
                self.assertIn(f"run: queuectl {takers[0]} {target}", shown)

    def test_every_word_for_a_state_means_one(self):
        for word, meant in hints.STATE_WORDS.items():
            self.assertIn(meant, STATES)
            self.assertEqual(hints.state(word.upper()), meant)

    def test_only_words_that_mean_deleting_lead_to_a_command_that_deletes(self):
        deleting = "kill remove delete del abort terminate dequeue cleanup purge clear flush".split()
        words = [*hints.COMMAND_WORDS, "prone", "runs", "pure", "counsel", "candle", "burge", "print", "prime"]
        for word in words:
            shown = hints.unknown_command([word, "x"], 0).replace(repr(word), "")
            named = [name for name in DELETE if name in re.findall("[a-z]+", shown)]
            self.assertEqual(bool(named), word in deleting, (word, named))


if __name__ == "__main__":
    unittest.main()
