"""The command line's contract: exit codes, one-line errors, help, and hostile environments."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

from queuectl_core.cli import COMMANDS, GROUPS
from queuectl_core.cli.manual import EXIT_CODES
from tests.forked import run_forked
from tests.harness import IS_ROOT, PROGRAM, QueueTestCase


class BadInputTest(QueueTestCase):
    def contents(self) -> list[list[tuple[object, ...]]]:
        tables = ("queuectl_jobs", "queuectl_config", "queuectl_queues", "queuectl_workers")
        return [self.rows("SELECT * FROM " + table) for table in tables]

    def test_bad_input_gets_a_one_line_error_and_its_exit_code_and_changes_nothing(self):
        self.run_cli("enqueue", "--id", "job", "true")
        self.run_cli("config", "set", "timeout", "60")
        before = self.contents()
        not_a_database = self.write("notes", "not a database\n" * 100)
        for code, *args in (
            (2, "nonsense"),
            (2, "enqueu", "true"),
            (2, "--unknown", "list"),
            (2, "config", "set", "q.rate", "9" * 5000 + "/s"),
            (2, "enqueue", '{"command": "true", "timeout": -1%s}' % ("0" * 400)),
            (2, "enqueue", '{"command": "true", "timeout": 1%s}' % ("0" * 400)),
            (2, "worker", "start", "--take-over", "3"),
            (2, "import", "x/" * 3000),
            (2, "--db"),
            (2, "--db", "", "list"),
            (2, "worker"),
            (2, "worker", "nonsense"),
            (2, "worker", "start", "--count", "0"),
            (2, "worker", "start", "--count", "-1"),
            (2, "worker", "start", "--", "x"),
            (2, "dlq"),
            (2, "dlq", "nonsense"),
            (2, "dlq", "list", "surplus"),
            (2, "config"),
            (2, "config", "set", "nonsense", "1"),
            (2, "list", "--state", "runing"),
            (2, "list", "--state", ""),
            (2, "list", "--state", "pending,dead"),
            (2, "list", "--queue", ""),
            (2, "list", "--queue", "a b"),
            (2, "list", "--limit", "-1"),
            (2, "list", "--limit", "x"),
            (2, "list", "--limit", "1e999"),
            (2, "list", "surplus"),
            (2, "show"),
            (2, "show", "a", "b"),
            (1, "show", "no-such-job"),
            (1, "show", ""),
            (1, "logs", "no-such-job"),
            (1, "wait", "no-such-job"),
            (1, "cancel", "no-such-job"),
            (1, "retry", "no-such-job"),
            (1, "retry", "job"),
            (1, "dlq", "retry", "job"),
            (1, "worker", "stop", "99"),
            (2, "worker", "stop", "0"),
            (2, "worker", "stop", "x"),
            (2, "wait", "job", "--timeout", "-1"),
            (2, "wait", "job", "--timeout", "nan"),
            (1, "enqueue", "--id", "job", "true"),
            (2, "enqueue", "   "),
            (2, "enqueue", '{"command": ""}'),
            (2, "enqueue", '{"command": "true", "timeout": NaN}'),
            (2, "enqueue", '{"command": "true", "priority": 1e400}'),
            (2, "enqueue", '{"command": "true", "state": "completed"}'),
            (2, "enqueue", b"--queue", b"\xff", b"true"),
            (3, "--db", not_a_database, "list"),
            (3, "--db", self.path("notes/q.db"), "list"),
            (3, "--db", self.folder, "list"),
        ):
            with self.subTest(args=args):
                result = self.run_cli(*args, code=code)
                self.assertEqual(result.stdout, "")
                self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
                self.assertTrue(result.stderr.startswith("queuectl: "), result.stderr)
                self.assertLess(len(result.stderr), 600)
        self.assertEqual(self.contents(), before)
        self.assertEqual(list(self.processes()), [])
        self.audit(["job"])

    def test_a_mistyped_state_suggests_the_nearest_one(self):
        self.assertIn("did you mean processing", self.run_cli("list", "--state", "procesing", code=2).stderr)

    def test_an_invalid_value_is_reported_with_its_option_or_field(self):
        for name, *args in (
            ("--state", "list", "--state", "x"),
            ("--limit", "list", "--limit", "x"),
            ("--count", "worker", "start", "--count", "x"),
            ("--timeout", "wait", "--timeout", "x"),
            ("max-retries", "config", "set", "max_retries", "x"),
            ("command", "enqueue", '{"command": 1}'),
        ):
            self.assertIn(name, self.run_cli(*args, code=2).stderr)

    def test_an_unwritable_folder_exits_3_and_names_the_file(self):
        if IS_ROOT:
            path = "/proc/queuectl/q.db"
        else:
            os.mkdir(self.path("locked"), 0o500)
            path = self.path("locked/q.db")
        for args in (["enqueue", "true"], ["status"], ["worker", "start"]):
            result = self.run_cli("--db", path, *args, code=3)
            self.assertEqual((result.stdout, len(result.stderr.splitlines())), ("", 1))
            self.assertIn(path, result.stderr)

    def test_an_unwritable_file_exits_3(self):
        if IS_ROOT:
            self.skipTest("root can write to any file")
        self.run_cli("enqueue", "true")
        os.chmod(self.db, 0o400)
        self.run_cli("enqueue", "true", code=3)


class HelpTest(QueueTestCase):
    def help(self, name: str) -> str:
        code, output = run_forked([*name.split(), "--help"], self.environment)
        self.assertEqual(code, 0, output)
        return output.decode()

    def test_every_command_has_help(self):
        whole = self.help("")
        groups = whole + "".join(map(self.help, GROUPS))
        for name, command in COMMANDS.items():
            text = self.help(name)
            self.assertIn("usage: queuectl " + name, text)
            self.assertIn(command.help, groups)
            for line in text.splitlines():
                self.assertLessEqual(len(line), 100)
        for noun in GROUPS:
            self.assertIn(noun, whole)
        self.assertFalse(os.path.exists(self.db), "help created a database")

    def test_every_option_has_help(self):
        from argparse import SUPPRESS

        from queuectl_core.cli.parser import parser_for

        global_options = set()  # Accepted after the command, too, but left out of its help.
        for name in COMMANDS:
            parser = parser_for(name.split())
            global_options.update(action.dest for action in parser._actions)
            for word in name.split():
                (commands,) = [action for action in parser._actions if isinstance(action.choices, dict)]
                parser = commands.choices[word]
            for action in parser._actions:
                self.assertTrue(action.help, f"{name} {action.dest}")
                is_known = action.help != SUPPRESS or action.dest in (*global_options, "take_over")
                self.assertTrue(is_known, action.dest)

    def test_a_path_that_is_too_long_is_refused_before_a_folder_is_made(self):
        result = self.run_cli("--db", self.path("x" + "/x" * 3000), "enqueue", "true", code=3)
        self.assertTrue(result.stderr.endswith("cannot be created: File name too long\n"))
        self.assertFalse(os.path.exists(self.path("x")))

    def test_help_lists_the_exit_codes(self):
        text = self.run_cli("--help").stdout
        for code in EXIT_CODES:
            self.assertRegex(text, rf"(?m)^exit codes:\n(?:  .*\n)*?(?:  |.*   ){code} [a-z]")

    def test_version_prints_the_name_and_the_number(self):
        self.assertRegex(self.run_cli("--version").stdout, r"^queuectl \d+\.\d+")

    def test_without_a_command_it_prints_usage_and_exits_2(self):
        result = self.run_cli(code=2)
        self.assertIn("usage", result.stdout + result.stderr)

    def test_db_is_accepted_before_and_after_the_command(self):
        other = self.path("other.db")
        for args in (
            ["--db", other, "enqueue", "--id", "a", "true"], ["enqueue", "--db", other, "--id", "b", "true"],
            ["--db=" + other, "enqueue", "--id", "c", "true"],
        ):  # fmt: skip
            self.run_cli(*args)
        self.assertEqual(len(self.run_cli("list", "--db", other, "--json").json), 3)
        self.assertFalse(os.path.exists(self.db))

    def test_options_after_two_dashes_belong_to_the_job(self):
        id = self.enqueue("--", "echo", "--db", "/nowhere")
        self.assertEqual(self.job(id)["command"], "echo --db /nowhere")


class EnvironmentTest(QueueTestCase):
    def test_any_standard_stream_may_be_closed(self):
        for closed in itertools.product(("", "0<&-"), ("", "1>&-"), ("", "2>&-")):
            for command in ("enqueue true", "list", "nonsense"):
                redirections = " ".join(closed)
                line = f"exec {sys.executable} {PROGRAM} {command} {redirections}"
                process = subprocess.Popen(
                    ["/bin/sh", "-c", line],
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
                stdout, stderr = process.communicate(timeout=30)
                with self.subTest(line=line):
                    self.assertNotIn(b"Traceback", stdout + stderr)
                    self.assertEqual(process.returncode, 2 if command == "nonsense" else 0, stderr)
        with open(self.db, "rb") as file:
            self.assertEqual(file.read(16), b"SQLite format 3\0")
        self.audit()

    def test_workers_start_with_every_standard_stream_closed(self):
        line = f"exec {sys.executable} {PROGRAM} worker start 0<&- 1>&- 2>&-"
        process = subprocess.Popen(["/bin/sh", "-c", line], env=self.environment)
        self.assertEqual(process.wait(30), 0)
        id = self.enqueue("echo out; echo err >&2; cat")
        self.wait_for_state(id, "completed")
        self.assertEqual(self.run_cli("logs", id).stdout, "out\nerr\n")
        self.stop_workers()
        self.audit([id])

    def test_without_home_it_uses_the_password_file_or_exits_3(self):
        # Read only: the password file names the user's real home directory.
        result = self.run_cli("--help", env={"HOME": None, "QUEUECTL_DB": None})
        self.assertTrue(result.stdout)
        self.run_cli("enqueue", "true", env={"HOME": None})
        result = self.run_cli(
            "list", env={"HOME": "", "QUEUECTL_DB": None, "XDG_STATE_HOME": None}, code=None
        )
        self.assertIn(result.code, (0, 3))

    def test_it_works_in_any_locale(self):
        for locale in ({"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0"}, {"LC_ALL": "xx_YY.nonsense"},
                       {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}):  # fmt: skip
            id = self.enqueue("--", "echo ü作业", env=locale)
            self.assertIn("ü作业", self.run_cli("list", env=locale).stdout)
            self.assertEqual(self.job(id)["command"], "echo ü作业")
        self.start_workers("--drain", env={"LC_ALL": "C"})
        self.wait_until_all_finished()
        self.assertEqual(self.run_cli("logs", id, env={"LC_ALL": "C"}).stdout, "ü作业\n")

    def test_it_runs_in_a_deleted_working_directory(self):
        directory = self.path("deleted")
        os.mkdir(directory)
        line = f"cd {directory} && rmdir {directory} && exec {sys.executable} {PROGRAM} "
        for command, code in (("list", 0), ("enqueue true", 2), ("enqueue --cwd / true", 0)):
            process = subprocess.Popen(
                ["/bin/sh", "-c", line + command],
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            _, stderr = process.communicate(timeout=30)
            self.assertEqual((process.returncode, b"Traceback" in stderr), (code, False), stderr)
            os.mkdir(directory)
        self.audit()

    def test_concurrent_commands_all_succeed(self):
        commands = [["enqueue", "true"], ["list", "--json"], ["status"], ["config", "set", "timeout", "5"]]
        started = [
            self.start_cli(*command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            for command in commands * 4
        ]
        for process in started:
            _, stderr = process.communicate(timeout=60)
            self.assertEqual((process.returncode, b"Traceback" in stderr), (0, False), stderr)
        self.audit()
