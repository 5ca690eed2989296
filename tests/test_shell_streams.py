"""Pipelines in the shell: commands in, results and output out, data through jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

from tests.harness import wait_until
from tests.shell import ShellTestCase


class PipelineTest(ShellTestCase):
    def test_a_producer_and_a_consumer_run_concurrently(self):
        """The producer blocks until the consumer sees its first job finish."""
        self.start_workers("-c", "2")
        result = self.sh(
            """
            {
                echo 'echo one'
                until [ -e seen ]; do sleep 0.02; done
                echo 'echo two'
            } | queuectl enqueue - | queuectl wait --json - | while read -r line; do
                touch seen
                printf '%s\\n' "$line"
            done
            """
        )
        jobs = [json.loads(line) for line in result.lines]
        self.assertEqual([job["command"] for job in jobs], ["echo one", "echo two"])
        self.assertEqual({job["state"] for job in jobs}, {"completed"})
        self.assertEqual(result.stderr, "")

    def test_wait_prints_each_of_many_jobs_exactly_once(self):
        self.start_workers("-c", "2")
        result = self.sh("seq 300 | sed 's/.*/true &/' | queuectl enqueue - | queuectl wait --json -")
        jobs = [json.loads(line) for line in result.lines]
        self.assertEqual(len({job["id"] for job in jobs}), 300)
        self.assertEqual(len(jobs), 300)

    def test_a_pipeline_exits_1_and_says_why_if_a_job_dies(self):
        self.start_workers()
        result = self.sh(
            "printf 'true\\nexit 4\\ntrue\\n' | queuectl enqueue --max-retries 0 - | queuectl wait -", code=1
        )
        self.assertIn("exit 4", result.stderr)
        self.assertEqual(len(result.stderr.splitlines()), 1)

    def test_enqueue_dies_silently_of_sigpipe_when_its_reader_exits(self):
        result = self.sh("{ yes true | queuectl enqueue -; echo $? >code; } | head -n 1")
        self.assertEqual((len(result.lines), result.stderr), (1, ""))
        wait_until(lambda: self.read("code"))
        self.assertEqual(self.read("code"), "141\n")  # 128 + SIGPIPE
        self.audit(result.lines)

    def test_after_dash_waits_for_every_job_of_the_pipeline(self):
        self.start_workers("-c", "2")
        self.sh(
            "seq 20 | queuectl enqueue --each 'echo {} >>parts' - | queuectl enqueue --after - --id sum"
            " -- 'sort -n parts | tail -n 1; wc -l <parts'; queuectl wait sum"
        )
        self.assertEqual(self.run_cli("logs", "sum").stdout.split(), ["20", "20"])
        self.assertIn("--after", self.sh("queuectl enqueue --after - true </dev/null", code=2).stderr)


class LinesTest(ShellTestCase):
    def test_each_line_is_quoted_and_replaces_the_placeholders_of_a_command(self):
        names = ["a b.jpg", "it's $HOME.tar.gz", '"; exit 3; ".x', "dir/sub dir/p.png", "-n", "ü.txt"]
        each = "printf \"%s|\" {#} {} {.} {/} {//} {/.}"
        self.sh(f"queuectl enqueue --each '{each}' - >ids", input="\n".join(names).encode())
        self.start_workers("--drain")
        self.wait_until_all_finished()
        for number, (name, id) in enumerate(zip(names, self.read("ids").split()), 1):
            base, _ = os.path.splitext(name)
            folder, last = os.path.split(name)
            expected = [str(number), name, base, last, folder or ".", os.path.splitext(last)[0], ""]
            self.assertEqual(self.run_cli("logs", id).stdout, "|".join(expected))

    def test_a_template_without_a_placeholder_gets_the_line_appended(self):
        (id,) = self.sh("echo 'a b' | queuectl enqueue --each 'ls -l' -").lines
        self.assertEqual(self.job(id)["command"], "ls -l 'a b'")

    def test_names_from_find_print0_reach_the_job_unchanged(self):
        names = [b"new\nline", b"cr\r", b" ", b"caf\xe9", b"tab\t"]
        result = self.sh("queuectl enqueue -0 --each 'printf %s {}' -", input=b"\0".join(names) + b"\0")
        self.start_workers("--drain")
        self.wait_until_all_finished()
        shown = [self.run_cli("logs", id).stdout_bytes for id in result.lines]
        self.assertEqual(shown, names)

    def test_with_a_unique_key_per_line_a_second_scan_adds_only_new_lines(self):
        scan = "queuectl enqueue --each 'gzip {}' --unique 'gzip {}' -"
        first = self.sh("printf 'a\\nb\\n' | " + scan).lines
        second = self.sh("printf 'a\\nb\\nc\\n' | " + scan).lines
        self.assertEqual(second[:2], first)
        self.assertEqual(self.states(), {"pending": 3})
        self.sh("printf 'true\\n' | queuectl enqueue --unique k -", code=2)

    def test_options_are_defaults_for_every_line(self):
        lines = 'true\n{"command": "true", "queue": "own", "timeout": 7}\n'
        ids = self.sh("queuectl enqueue -q given --timeout 5 -e A=b -", input=lines.encode()).lines
        jobs = [self.job(id) for id in ids]
        self.assertEqual([(job["queue"], job["timeout"]) for job in jobs], [("given", 5), ("own", 7)])
        self.assertEqual([job["env"] for job in jobs], [{"A": "b"}] * 2)

    def test_blank_lines_are_skipped_but_a_line_of_non_ascii_whitespace_is_refused(self):
        result = self.run_cli("enqueue", "-", input=" \t\r\n\necho one\r\n\u00a0\n".encode(), code=2)
        self.assertEqual(len(result.lines), 1)
        self.assertIn("line 4", result.stderr)
        self.assertEqual(self.job(result.lines[0])["command"], "echo one")

    def test_enqueue_stops_at_a_line_with_an_unknown_dependency_and_prints_its_number(self):
        lines = 'true\n{"command": "true", "after": ["no-such-job"]}\ntrue\n'
        result = self.sh("queuectl enqueue -", code=1, input=lines.encode())
        self.assertIn("line 2: no such job: 'no-such-job'", result.stderr)
        self.assertEqual(len(result.lines), 1)
        self.audit(result.lines)
        self.assertEqual(self.states(), {"pending": 1})

    def test_atomic_is_all_or_nothing(self):
        for bad in ("", ', "id": "one"}', ', "after": ["no-such-job"]}'):
            lines = f'{{"command": "true", "id": "one"}}\ntrue\n{{"command": "true"{bad}\ntrue\n'
            result = self.run_cli("enqueue", "--atomic", "-", input=lines, code=None)
            self.assertIn(result.code, (1, 2))
            self.assertEqual(result.stdout, "")
            self.assertIn("line 3", result.stderr)
            self.assertEqual(self.states(), {})
        self.assertEqual(len(self.sh("seq 5000 | queuectl enqueue --atomic --each : -").lines), 5000)
        self.audit()

    def test_ctrl_c_never_separates_adding_a_job_from_printing_its_id(self):
        self.environment["PYTHONUNBUFFERED"] = "1"  # Python then writes through another code path.
        before = set()
        for lines in (1, 500, 3000):
            pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
            process = self.start_cli("enqueue", "-", **pipes)
            feeder = self.start_sh("exec yes true", stdout=process.stdin)
            printed = [process.stdout.readline() for _ in range(lines)]
            process.send_signal(signal.SIGINT)
            printed += process.stdout.readlines()
            self.assertEqual((process.wait(20), process.stderr.read()), (130, b""))
            feeder.kill()
            shown = {line.decode().strip() for line in printed}
            stored = {id for (id,) in self.rows("SELECT id FROM queuectl_jobs")}
            self.assertEqual((len(shown), shown), (len(printed), stored - before))
            before = stored


class WaitTest(ShellTestCase):
    def test_a_job_that_can_never_run_ends_the_wait_immediately(self):
        self.start_workers()
        began = time.monotonic()
        self.sh(
            "queuectl enqueue --id a --max-retries 0 -- 'sleep 0.3; exit 2' &&"
            " queuectl enqueue --id b --after a true && queuectl enqueue --id c --after b true"
        )
        result = self.sh("queuectl wait --json b c", code=1)
        self.assertLess(time.monotonic() - began, 30)  # A wait that misses it never ends.
        jobs = [json.loads(line) for line in result.lines]
        self.assertEqual(
            {(job["id"], job["state"], job["reason"]) for job in jobs},
            {("b", "pending", "after a (dead)"), ("c", "pending", "after b")},
        )
        self.assertIn("job b is pending: after a (dead)", result.stderr)

    def test_a_stuck_job_is_waited_for_while_another_may_free_it(self):
        self.start_workers()
        free = "until [ -e go ]; do sleep 0.02; done; queuectl --quiet cancel b"
        self.sh(
            "queuectl enqueue --id a --max-retries 0 false && ! queuectl wait a;"
            " queuectl enqueue --id b --after a true && queuectl enqueue --id c --after-any b true &&"
            f" queuectl enqueue --id d '{free}'"
        )
        wait = self.start_sh("exec queuectl wait --json c d", stdout=subprocess.PIPE)
        stream = self.start_sh(
            "exec queuectl wait --json - 2>&-", stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        stream.stdin.write(b"c\n")
        self.wait_until_open(wait.pid)
        # It has seen that c is stuck once it has answered about a job given later.
        stream.stdin.write(b"a\n")
        self.assertEqual(json.loads(stream.stdout.readline())["id"], "a")
        stream.stdin.write(b"d\n")
        stream.stdin.close()
        self.write("go", "")
        for process, code in ((wait, 0), (stream, 1)):  # a is dead.
            states = {job["id"]: job["state"] for job in map(json.loads, process.stdout)}
            self.assertEqual((states["c"], states["d"]), ("completed", "completed"))
            self.assertEqual(process.wait(20), code)

    def test_a_stuck_job_hides_no_other_obstacle_and_is_named_at_a_timeout(self):
        self.sh(
            "queuectl enqueue --id a -q x true && queuectl cancel a && queuectl enqueue --id b -q x --after a true &&"
            " queuectl enqueue --id c -q y true && queuectl pause y"
        )
        self.start_workers()
        result = self.sh("queuectl wait --timeout 2.5 b c", code=124)
        for line in (
            "2 jobs unfinished: queue y is paused; run: queuectl resume y",
            "job b is pending: after a (cancelled)",
            "timed out: 2 of 2 jobs unfinished",
        ):
            self.assertIn(line, result.stderr)

    def test_deleting_a_job_ends_the_wait_for_it(self):
        self.enqueue("--id", "a", "true")
        process = self.start_sh("exec queuectl wait a", stderr=subprocess.PIPE)
        self.wait_until_open(process.pid)
        self.sh("queuectl cancel a && queuectl prune -s cancelled")
        _, stderr = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 1)
        self.assertRegex(stderr, b"job a (was deleted|is cancelled)")

    def test_wait_takes_either_ids_or_a_queue_or_all_unfinished_jobs(self):
        self.sh("queuectl enqueue -q mail true; queuectl enqueue -q slow --id slow --delay 1h true")
        self.start_workers()
        self.sh("queuectl wait --queue mail")
        self.assertEqual(self.state("slow"), "pending")
        self.sh("queuectl wait --all --timeout 50ms", code=124)
        self.sh("queuectl wait --queue nothing")
        self.sh("queuectl wait slow --all", code=2)
        self.sh("true | queuectl wait -")

    def test_wait_times_out_while_reading_ids(self):
        pipes = dict.fromkeys(("stdin", "stderr"), subprocess.PIPE)
        self.assertEqual(self.start_cli("wait", "-", "--timeout", "50ms", **pipes).wait(20), 124)

    def test_a_terminal_gets_a_progress_bar_unless_quiet(self):
        self.sh("seq 3 | queuectl enqueue --each 'until [ -e go ]; do sleep 0.02; done; true' - >ids")
        self.sh("queuectl enqueue --max-retries 0 false >>ids")
        self.start_workers()
        # The test can't see when the bar is drawn; a second is plenty.
        shown = self.on_terminal("(sleep 1; touch go) & queuectl wait - <ids", code=1)
        self.assertRegex(shown, r"\[[#.]+\] \d/4 jobs, ")
        # The bar is erased before each message.
        self.assertRegex(shown, r"\x1b\[Kjob .* is dead: exit 1\n(.*\x1b\[K)?3 done, 1 failed in .*s\n$")
        for line in shown.replace("\n", "\r").split("\r"):
            self.assertLessEqual(len(line.replace("\x1b[K", "")), 80)
        self.assertEqual(self.on_terminal("queuectl --quiet wait - <ids", code=1), "")

    def test_the_progress_bar_says_why_no_job_runs(self):
        self.enqueue("true")
        self.assertIn("no worker", self.on_terminal("queuectl wait --timeout 200ms", code=124))


class EachTest(ShellTestCase):
    def test_each_reads_a_pipe_without_being_told(self):
        ids = self.sh("printf 'a b\\nc\\n' | queuectl enqueue --each 'echo'").lines
        self.assertEqual([self.job(id)["command"] for id in ids], ["echo 'a b'", "echo c"])
        said = self.on_terminal("queuectl enqueue --each 'echo {}'", code=2)
        self.assertIn("run: queuectl enqueue 'echo hello'", said)
        self.sh("queuectl enqueue --each 'echo {}' --file nowhere </dev/null", code=2)
        self.assertEqual(len(self.jobs()), 2)


class CopyTest(ShellTestCase):
    def test_jobs_that_list_printed_are_pointed_to_export_and_import(self):
        self.sh("queuectl enqueue --id j true; seq 3 | queuectl enqueue -")
        for command in ("list --json", "show --json j", "export"):
            code = 1 if command == "list --json" else 2
            said = self.sh(f"queuectl {command} | queuectl enqueue -", code).stderr
            self.assertRegex(said, r"run: queuectl export \| queuectl --db FILE import( \(it began on line 1\))?\n$")
        twice = """printf '{"id": "a", "command": "true"}\\n%.0s' 1 2"""
        self.assertNotIn("import", self.sh(f"{twice} | queuectl enqueue -", code=1).stderr)
        self.sh("queuectl export | queuectl --db other.db import")


class DataTest(ShellTestCase):
    def test_standard_input_reaches_the_job_unchanged(self):
        data = bytes(range(256)) * 1000
        self.start_workers()
        script = "id=$(queuectl enqueue --stdin -- cat) && queuectl wait $id && queuectl logs --stdout $id"
        result = self.sh(script, input=data)
        self.assertEqual(result.stdout_bytes, data)
        self.sh("queuectl enqueue --id empty --stdin -- wc -c </dev/null")
        self.sh("queuectl enqueue --id none -- wc -c; queuectl wait")
        self.assertEqual([self.run_cli("logs", id).stdout.strip() for id in ("empty", "none")], ["0", "0"])

    def test_standard_input_over_64_mib_is_refused_and_the_error_names_the_limit(self):
        result = self.sh("head -c 67108865 /dev/zero | queuectl enqueue --stdin -- cat", code=2)
        self.assertIn("64 MiB", result.stderr)
        self.assertEqual(self.run_cli("list", "--json").json, [])

    def test_a_job_can_read_the_output_of_another_and_enqueue_a_third(self):
        self.start_workers()
        self.sh(
            """
            queuectl enqueue --id first -- echo some words
            queuectl enqueue --id second --after first -q next -- '
                queuectl logs --stdout first |
                    queuectl enqueue --id third --stdin -q "$QUEUECTL_QUEUE" -- tr a-z A-Z'
            queuectl wait second && queuectl wait third
            """
        )
        self.assertEqual(self.run_cli("logs", "third").stdout, "SOME WORDS\n")
        self.assertEqual(self.job("third")["queue"], "next")

    def test_stdout_and_stderr_of_a_job_can_be_read_separately(self):
        self.start_workers()
        self.sh("queuectl enqueue --id a -- 'echo out; echo err >&2' && queuectl wait a")
        self.assertEqual(self.sh("queuectl logs --stdout a | tr a-z A-Z").stdout, "OUT\n")
        self.assertEqual(self.sh("queuectl logs --stderr a").stdout, "err\n")


class FollowTest(ShellTestCase):
    def test_follow_continues_across_retries_and_exits_with_the_job(self):
        self.start_workers()
        process = self.start_sh(
            "exec queuectl logs -f $(queuectl enqueue --backoff-base 0.2 -- 'echo try $QUEUECTL_ATTEMPT;"
            " until [ -e go ]; do sleep 0.02; done; echo end; [ $QUEUECTL_ATTEMPT = 2 ]')",
            stdout=subprocess.PIPE,
        )
        self.assertEqual(process.stdout.readline(), b"try 1\n")  # While the job runs.
        self.write("go", "")
        self.assertEqual(process.stdout.read(), b"end\ntry 2\nend\n")
        self.assertEqual(process.wait(20), 0)

    def test_follow_without_ids_prefixes_every_line_with_its_jobs_id(self):
        self.enqueue("--id", "before", "echo old; until [ -e go ]; do sleep 0.02; done; printf unended")
        self.start_workers("-c", "2")
        self.wait_for_state("before", "processing")
        process = self.start_sh("exec queuectl follow", stdout=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), b"before | old\n")
        thrice = "echo $QUEUECTL_ATTEMPT; [ $QUEUECTL_ATTEMPT = 3 ]"
        self.enqueue("--id", "quick", "--backoff-base", "0", "--", thrice)
        deferred = "[ $QUEUECTL_ATTEMPT = 2 ] || { echo not now; exit 75; }"
        self.enqueue("--id", "later", "--backoff-base", "0.1", "--", deferred)
        expected = [b"later | not now\n", b"quick | 1\n", b"quick | 2\n", b"quick | 3\n"]
        self.assertEqual(sorted(process.stdout.readline() for _ in expected), expected)
        self.write("go", "")
        self.assertEqual(process.stdout.readline(), b"before | unended\n")
        process.send_signal(signal.SIGINT)
        self.assertEqual((process.wait(20), process.stdout.read()), (130, b""))

    def test_logs_n_prints_the_last_n_lines(self):
        self.start_workers()
        self.sh("queuectl enqueue --id a -- \"printf '1\\n2\\r\\n3\\n4'\" && queuectl wait a")
        for count, lines in ((0, b""), (1, b"4"), (2, b"3\n4"), (3, b"2\r\n3\n4"), (9, b"1\n2\r\n3\n4")):
            self.assertEqual(self.run_cli("logs", "-n", count, "a").stdout_bytes, lines)
        self.run_cli("logs", "-n", "1", code=2)
        self.run_cli("logs", "-f", "--attempt", "1", code=2)
