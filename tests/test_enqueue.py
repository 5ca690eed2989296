"""The `enqueue` command in all its forms."""

from __future__ import annotations

import json
import os
import random
import shlex
import subprocess
import time
import unittest
import unittest.mock
from datetime import datetime

from queuectl_core import jobjson, jobspec, values
from queuectl_core.cli import jobstream
from queuectl_core.jobspec import Alike
from tests.harness import QueueTestCase, wait_until

LARGEST = 128 * 1024 - 1


def epoch(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()


class OneJobTest(QueueTestCase):
    def assert_refused(self, *args: object, code: int = 2, **options: object) -> str:
        """Run `enqueue`; it must exit `code`, print one line to stderr and no more, and add nothing. Returns stderr."""
        before = self.rows("SELECT * FROM queuectl_jobs") if os.path.exists(self.db) else []
        result = self.run_cli("enqueue", *args, code=code, **options)
        self.assertEqual(result.stdout, "")
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        after = self.rows("SELECT * FROM queuectl_jobs") if os.path.exists(self.db) else []
        self.assertEqual(after, before)
        return result.stderr

    def test_a_json_job_is_enqueued_and_only_its_id_is_printed(self):
        result = self.run_cli("enqueue", '{"id":"job1","command":"sleep 2","priority":5}')
        self.assertEqual((result.stdout, result.stderr), ("job1\n", ""))
        job = self.job("job1")
        self.assertEqual((job["command"], job["priority"], job["state"]), ("sleep 2", 5, "pending"))
        self.audit(["job1"])

    def test_options_and_json_create_the_same_job(self):
        self.run_cli(
            "enqueue", "--id", "a", "-q", "mail", "-p", "-3", "--max-retries", "0", "--backoff-base", "1.5",
            "--timeout", "5m", "--run-at", "2030-01-31T08:00:00Z", "--cwd", "/",
            "-e", "A=1", "--env", "B=x=y",
            "--", "true",
        )  # fmt: skip
        self.run_cli(
            "enqueue",
            json.dumps(
                {
                    "id": "b", "queue": "mail", "priority": -3, "max_retries": 0, "backoff_base": 1.5,
                    "timeout": "5m", "run_at": "2030-01-31T08:00:00Z", "cwd": "/",
                    "env": {"A": "1", "B": "x=y"}, "command": "true",
                }
            ),
        )  # fmt: skip
        a, b = self.job("a"), self.job("b")
        for field in ("id", "created_at", "updated_at"):
            del a[field], b[field]
        self.assertEqual(a, b)
        self.assertEqual((a["queue"], a["priority"], a["max_retries"], a["timeout"]), ("mail", -3, 0, 300))
        self.assertEqual((a["env"], a["cwd"], a["backoff_base"]), ({"A": "1", "B": "x=y"}, "/", 1.5))
        self.assertEqual(a["run_at"], "2030-01-31T08:00:00.000Z")

    def test_one_word_is_a_shell_command_and_several_words_are_passed_on_unchanged(self):
        words = ["printf", "<%s>\\n", "My Picture.jpg", "$HOME", "'", '"', "", "a;b", "*", "-x", "--", "ü"]
        several = self.enqueue("--", *words)
        line = self.enqueue("--", "echo $((1+2)); echo done")
        bare = self.enqueue("echo $((2+2))")
        self.assertEqual(shlex.split(self.job(several)["command"]), words)
        self.start_workers("--drain")
        self.wait_until_all_finished()
        shown = "".join(f"<{word}>\n" for word in words[2:])
        self.assertEqual(self.run_cli("logs", several).stdout, shown)
        self.assertEqual(self.run_cli("logs", line).stdout, "3\ndone\n")
        self.assertEqual(self.run_cli("logs", bare).stdout, "4\n")

    def test_a_command_after_two_dashes_can_look_like_anything(self):
        for words in (["-"], ['{"id": 1}'], ["--help"], ["-q"], ["--", "x"]):
            id = self.enqueue("--", *words)
            command = self.job(id)["command"]
            self.assertEqual(command, words[0] if len(words) == 1 else shlex.join(words))

    def test_a_job_runs_in_the_directory_of_its_enqueue_or_in_the_given_one(self):
        here = self.path("a dir")
        os.mkdir(here)
        inherited = self.enqueue("pwd", cwd=here)
        given = self.enqueue("--cwd", "..", "pwd", cwd=here)
        os.mkdir(self.path("missing"))
        missing = self.enqueue("--max-retries", "0", "--cwd", self.path("missing"), "pwd")
        os.rmdir(self.path("missing"))
        result = self.run_cli("enqueue", "--cwd", "missing", "pwd", code=2)
        self.assertEqual(result.stderr, f"queuectl: --cwd: no such directory: '{self.path('missing')}'\n")
        self.assertEqual(self.job(inherited)["cwd"], here)
        self.start_workers("--drain")
        self.wait_until_all_finished()
        self.assertEqual(self.run_cli("logs", inherited).stdout, here + "\n")
        self.assertEqual(self.run_cli("logs", given).stdout, self.folder + "\n")
        self.assertEqual(self.state(missing), "dead")
        self.assertIn(self.path("missing"), self.job(missing)["error"])
        self.audit([inherited, given, missing])

    def test_a_delayed_job_is_due_exactly_on_time_and_never_starts_early(self):
        before = time.time()
        delayed = self.enqueue("--delay", "90s", "true")
        after = time.time()
        run_at = epoch(self.job(delayed)["run_at"])
        self.assertTrue(before + 90 - 0.001 <= run_at <= after + 90 + 0.001)
        soon = self.enqueue("--delay", "300ms", "date +%s.%N")
        self.start_workers()
        self.wait_for_state(soon, "completed")
        job = self.job(soon)
        self.assertGreaterEqual(epoch(job["started_at"]) + 0.001, epoch(job["run_at"]))
        self.assertEqual(self.state(delayed), "pending")

    def test_a_variable_is_set_or_copied_from_the_environment_of_enqueue(self):
        id = self.enqueue("-e", "SET=a b", "-e", "COPIED", "-e", "EMPTY=",
                          "echo $SET,$COPIED,$EMPTY,$OTHER",
                          env={"COPIED": "from enqueue", "OTHER": "not"})  # fmt: skip
        self.assert_refused("-e", "NOT_SET_ANYWHERE", "true")
        self.assert_refused("-e", "=x", "true")
        self.start_workers("--drain", env={"COPIED": None, "OTHER": "from worker"})
        self.wait_for_state(id, "completed")
        self.assertEqual(self.run_cli("logs", id).stdout, "a b,from enqueue,,from worker\n")

    def test_a_duplicate_id_is_refused_and_the_existing_job_left_untouched(self):
        self.run_cli("enqueue", "--id", "a", "echo old")
        before = self.job("a")
        self.assertIn("a already exists", self.assert_refused("--id", "a", "echo new", code=1))
        self.assert_refused('{"id":"a","command":"echo new"}', code=1)
        self.assertEqual(self.job("a"), before)
        self.start_workers("--drain")
        self.wait_for_state("a", "completed")
        self.assert_refused("--id", "a", "echo new", code=1)
        self.assertEqual(self.run_cli("logs", "a").stdout, "old\n")
        self.audit(["a"])

    def test_bytes_that_are_not_utf8_survive(self):
        raw = b"printf '%s' 'caf\xe9 \xff\xfe \xc3\xa9'"
        folder = os.fsencode(self.folder) + b"/d\xe9"
        os.mkdir(folder)
        one = self.enqueue("--", raw, cwd=folder)
        many = self.run_cli("enqueue", "-", input=b"printf '\xe9\xff'\n").lines[0]
        here = self.enqueue("pwd", cwd=folder)
        self.start_workers("--drain")
        self.wait_until_all_finished()
        self.assertEqual(self.run_cli("logs", one).stdout_bytes, b"caf\xe9 \xff\xfe \xc3\xa9")
        self.assertEqual(self.run_cli("logs", many).stdout_bytes, b"\xe9\xff")
        self.assertEqual(self.run_cli("logs", here).stdout_bytes, folder + b"\n")
        self.run_cli("list")
        self.run_cli("show", one)
        self.assertIn("caf\udce9", self.job(one)["command"])

    def test_a_command_of_just_under_128_kib_runs_and_one_byte_more_is_refused(self):
        filler = "x" * (LARGEST - len(": "))
        id = self.enqueue("-", input=": " + filler + "\n")
        as_json = self.enqueue("-", input=json.dumps({"command": ": " + filler}) + "\n")
        self.assert_refused("-", input=": " + filler + "x\n")
        self.assert_refused("-", input=json.dumps({"command": ": " + filler + "x"}) + "\n")
        self.assert_refused("-", input="ü" * (LARGEST // 2 + 1) + "\n")
        self.start_workers("--drain")
        self.wait_until_all_finished()
        self.assertEqual((self.state(id), self.state(as_json)), ("completed", "completed"))

    def test_a_job_finds_its_id_attempt_queue_and_database_in_its_environment(self):
        self.run_cli(
            "enqueue", "--id", "me", "echo $QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT $QUEUECTL_QUEUE $QUEUECTL_DB"
        )
        self.start_workers("--drain")
        self.wait_for_state("me", "completed")
        self.assertEqual(self.run_cli("logs", "me").stdout, f"me 1 default {self.db}\n")

    def test_bad_usage_is_refused_and_changes_nothing(self):
        self.enqueue("true")
        for args in (
            [], ["echo", "hi"], ["--"], ["true", "--", "true"], ["--file", "x", "true"], ["-0", "true"], [""],
            ["  "], ["--id", "", "true"], ["--id", "a b", "true"], ["--id", "a,b", "true"],
            ["-q", "", "true"],
            ["-q", "a,b", "true"], ["-p", "high", "true"], ["-p", "1.5", "true"], ["--delay", "-1", "true"],
            ["--delay", "soon", "true"], ["--run-at", "yesterday", "true"], ["--run-at", "-5", "true"],
            ["--delay", "1", "--run-at", "+1", "true"], ["--max-retries", "-1", "true"],
            ["--max-retries", "x", "true"], ["--max-retries", "1e3", "true"],
            ["--backoff-base", "nan", "true"],
            ["--backoff-base", "inf", "true"], ["--backoff-base", "-1", "true"], ["--timeout", "-1", "true"],
            ["--timeout", "1e999", "true"], ["--unknown", "true"], ["--tim", "5", "true"], ["{"],
            ['{"command":"true","max_retires":1}'], ['["true"]'], ["--id", "x", "-"],
            ["--file", "no-such-file"], ["--timeout", "x\n\x1b[2J", "true"],
        ):  # fmt: skip
            with self.subTest(args=args):
                self.assert_refused(*args, input="true\n")

    def test_an_error_names_the_option_or_the_field(self):
        self.assertIn("--timeout", self.assert_refused("--timeout", "x", "true"))
        self.assertIn("--max-retries", self.assert_refused("--max-retries", "x", '{"command":"true"}'))
        self.assertIn("max_retries", self.assert_refused('{"command":"true","max_retries":"x"}'))
        self.assertIn("did you mean max_retries", self.assert_refused('{"command":"true","max_retires":1}'))


class ManyJobsTest(QueueTestCase):
    def test_a_stream_of_shell_lines_and_json_is_enqueued_in_order(self):
        lines = [
            "echo one",
            '{"id":"two","command":"echo two","queue":"q"}',
            "",
            "   ",
            "echo three\r",
            "# note",
        ]
        result = self.run_cli("enqueue", "-p", "7", "-", input="\n".join(lines))  # No newline at the end.
        ids = result.lines
        self.assertEqual((len(ids), ids[1]), (4, "two"))
        jobs = [self.job(id) for id in ids]
        self.assertEqual([j["command"] for j in jobs], ["echo one", "echo two", "echo three", "# note"])
        self.assertEqual([j["queue"] for j in jobs], ["default", "q", "default", "default"])
        self.assertEqual({j["priority"] for j in jobs}, {7})
        order = [id for (id,) in self.rows("SELECT id FROM queuectl_jobs ORDER BY seq")]
        self.assertEqual(order, ids)
        self.audit(ids)

    def test_a_file_is_read_like_standard_input(self):
        path = self.write("jobs", "echo a\necho b\n")
        self.assertEqual(len(self.run_cli("enqueue", "--file", path).lines), 2)
        self.assertEqual(len(self.run_cli("enqueue", "-F", "jobs").lines), 2)
        self.assertEqual(self.run_cli("enqueue", "--file", self.write("none", "")).stdout, "")
        self.audit()

    def test_nul_separated_jobs_can_contain_newlines(self):
        ids = self.run_cli("enqueue", "-0", "-", input="echo a\necho b\0echo c\0\0").lines
        self.assertEqual([self.job(id)["command"] for id in ids], ["echo a\necho b", "echo c"])

    def test_a_bad_line_ends_enqueue_with_its_number_and_exactly_the_printed_jobs_are_added(self):
        for bad, code in (
            ('{"command":', 2),
            ('{"command":"true","timeot":1}', 2),
            ('{"id":"first","command":"x"}', 1),
        ):
            db = self.path(f"{len(bad)}.db")
            lines = ['{"id":"first","command":"true"}', "", "echo two", bad, "echo never", "echo never"]
            result = self.run_cli("--db", db, "enqueue", "-", input="\n".join(lines) + "\n", code=code)
            self.assertEqual(len(result.lines), 2)
            self.assertIn("line 4", result.stderr)
            self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
            jobs = self.run_cli("--db", db, "list", "--json").json
            self.assertEqual([job["id"] for job in reversed(jobs)], result.lines)
            self.assertEqual(jobs[1]["command"], "true")

    def test_a_bad_line_deep_in_a_large_stream_is_numbered_correctly(self):
        lines = [f"echo {n}" for n in range(30000)]
        lines[25000] = '{"command": 5}'
        result = self.run_cli("enqueue", "-", input="\n".join(lines), code=2)
        self.assertIn("line 25001", result.stderr)
        self.assertEqual(len(result.lines), 25000)
        self.assertEqual(self.rows("SELECT count(*) FROM queuectl_jobs"), [(25000,)])

    def test_each_line_of_a_slow_producer_is_committed_and_printed_as_it_arrives(self):
        process = self.start_cli("enqueue", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for n in range(3):
            process.stdin.write(b"echo %d\n" % n)
            process.stdin.flush()
            id = process.stdout.readline().decode().strip()
            self.assertEqual(
                self.rows("SELECT command FROM queuectl_jobs WHERE id = ?", id), [(f"echo {n}",)]
            )
            # Waiting for input holds no lock.
            self.run_cli("enqueue", "--id", f"other{n}", "true")
        process.stdin.close()
        self.assertEqual(process.wait(20), 0)
        self.audit()

    def test_every_id_printed_before_a_kill_is_in_the_queue(self):
        process = self.start_cli("enqueue", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process.stdin.write(b"".join(b"echo %d\n" % n for n in range(1000)))
        process.stdin.flush()
        printed = [process.stdout.readline().decode().strip()]
        process.kill()
        printed += process.stdout.read().decode().split("\n")[:-1]
        self.audit(printed)

    def test_concurrent_enqueues_lose_nothing(self):
        started = []
        for n in range(6):
            path = self.write(f"jobs{n}", "true\n" * 500)
            started.append(self.start_cli("enqueue", "--file", path, stdout=subprocess.PIPE))
        ids = []
        for process in started:
            stdout, _ = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0)
            ids += stdout.decode().split()
        self.assertEqual(len(ids), 3000)
        self.audit(ids)

    def test_enqueue_ends_quietly_on_a_broken_pipe(self):
        process = self.start_cli(
            "enqueue",
            "--file",
            self.write("jobs", "true\n" * 20000),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        process.stdout.readline()
        process.stdout.close()
        wait_until(lambda: process.poll() is not None)
        self.assertEqual(process.stderr.read(), b"")
        self.audit()


class LinesTest(unittest.TestCase):
    def test_lines_become_the_same_jobs_whether_a_batch_is_read_at_once_or_line_by_line(self):
        lines = (
            *("true", "echo {}", "x" * 40_000, "x" * 140_000, "\u4f5c\u4e1a", "a\udc80", "a\0b", " indented", "\x0b"),
            *("[ -f x ]", '{"command": "a"}', "{ a; }", '{"nope": 1}', "\u2003", "{", "}"),
        )
        chance = random.Random(15)
        for _ in range(300):
            batch = list(enumerate(chance.choices(lines, k=chance.choice((0, 1, 2, 4))), 1))
            fields = {"cwd": "/", **chance.choice(({}, {"queue": "q"}, {"after": "a"}))}
            at_once = jobstream.JobParser(fields, {}, None)
            by_line = jobstream.JobParser(fields, {}, None)
            with unittest.mock.patch.object(jobstream, "_are_plain", lambda texts: False):
                expected = by_line.parse(batch)
            jobs, numbers, problem = at_once.parse(batch)
            self.assertEqual((list(jobs), numbers, str(problem)), (expected[0], expected[1], str(expected[2])), batch)
            if isinstance(jobs, Alike):
                self.assertEqual([values.storable(command) for command in jobs.commands], jobs.commands)

    def test_json_of_many_jobs_is_checked_as_json_of_one(self):
        values_of = {
            "command": ("true", "", None, 1), "priority": (3, "4", 1.5, None), "queue": ("q", "a b", None),
            "timeout": ("5m", -1, None), "labels": ([], ["a"], "b"), "held": (True, False, None),
            "env": ({"A": "b"}, {"A": 1}, None), "after": (["x"], None), "delay": (5, None), "run_at": ("+5m", None),
            "unique": ("k", None), "state": ("pending", "dead"), "nope": (1,), "stdin": ("in",),
        }  # fmt: skip
        chance = random.Random(15)
        plans, now = jobjson.Plans(), 1795918540.0
        planned = 0
        for _ in range(3000):
            names = chance.sample(list(values_of), chance.choice((1, 2, 3)))
            given = {name: chance.choice(values_of[name]) for name in {"command": 0, **dict.fromkeys(names)}}
            fields = {"cwd": "/", **chance.choice(({}, {"queue": "q"}, {"delay": 5}, {"labels": ["c"]}))}
            pattern = jobspec.new_job({**fields, "command": "-"}, now)
            with self.subTest(given=given, fields=fields):
                job = plans.job(given, pattern)
                if job is not None:
                    planned += 1
                    self.assertEqual(job, jobjson.from_object(given, fields, now))
        self.assertGreater(planned, 200)
