"""`status`, `list`, `show`, `worker list` and `wait`: tables for people, JSON for scripts."""

from __future__ import annotations

import os
import re
import subprocess
import time

from queuectl_core import jobspec
from queuectl_core.lifecycle import STATES, Outcome, judge
from queuectl_core.records import Identity
from tests.harness import QueueTestCase, shown_on, wait_until

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
JOB_FIELDS = (
    "id command state attempts max_retries created_at updated_at queue priority run_at started_at"
    " finished_at exit_code error"
).split()
WORKER_FIELDS = "id pid state job queues started_at".split()
NASTY = "a\x1b[31mred\x1b[0m\x07\tb\rc\u202ed\u2028e\x9bf\x7f"


class SampleJobsTestCase(QueueTestCase):
    def enqueue_copies(self, count: int, command: str = "true", **fields: object) -> list[str]:
        """Enqueue `count` equal jobs from this process, which is faster than a command; returns their ids."""
        with self.store() as store:
            return store.enqueue([jobspec.new_job({"command": command, **fields}, time.time())] * count)

    def enqueue_one_in_each_state(self) -> dict[str, str]:
        """Create one job per state, without running a worker; returns {state: id}."""
        store = self.store()
        worker = self.register_worker(store)
        for state in STATES:
            store.enqueue([jobspec.new_job({"command": "echo " + state, "id": "is-" + state}, time.time())])
        outcomes = {"completed": Outcome("exit", 0), "failed": Outcome("exit", 1), "dead": Outcome("exit", 2)}
        for id in [job.id for job in self.stored_jobs(store)]:
            state = id[3:]
            if state == "cancelled":
                store.cancel(id)
        claimed = []
        while True:
            job = store.claim(worker, None).job
            if job is None:
                break
            claimed.append(job)
        for job in claimed:
            state = job.id[3:]
            if state in outcomes:
                verdict = judge(
                    job._replace(attempts=9) if state == "dead" else job, outcomes[state], time.time()
                )
                store.settle(job, outcomes[state], verdict)
            elif state == "pending":
                store.settle(job, Outcome("released"), judge(job, Outcome("released"), time.time()))
        store.unregister(worker)
        store.close()
        found = dict(self.rows("SELECT id, state FROM queuectl_jobs"))
        self.assertEqual(found, {"is-" + state: state for state in STATES})
        return {state: id for id, state in found.items()}


class ListTest(SampleJobsTestCase):
    def test_list_shows_jobs_in_every_state_running_ones_first_then_the_newest_first(self):
        self.enqueue_one_in_each_state()
        lines = self.run_cli("list").lines
        states = ["processing", *(state for state in reversed(STATES) if state != "processing")]
        self.assertEqual([line.split()[0] for line in lines[1:]], ["is-" + state for state in states])
        self.assertEqual([line.split()[1] for line in lines[1:]], states)
        self.assertIn("exit 2", "\n".join(lines))

    def test_list_filters_by_state_and_queue(self):
        self.enqueue_one_in_each_state()
        self.run_cli("enqueue", "--id", "other", "-q", "mail", "true")
        for state in STATES:
            jobs = self.run_cli("list", "--state", state, "-q", "default", "--json").json
            self.assertEqual([job["id"] for job in jobs], ["is-" + state])
        jobs = self.run_cli("list", "-s", "dead", "--state", "pending", "--json").json
        self.assertEqual([job["id"] for job in jobs], ["other", "is-dead", "is-pending"])
        self.assertEqual(
            [job["id"] for job in self.run_cli("list", "--queue", "mail", "--json").json], ["other"]
        )
        self.assertEqual(self.run_cli("list", "--queue", "empty", "--json").json, [])

    def test_json_has_every_job_field_and_is_alone_on_stdout(self):
        self.enqueue_one_in_each_state()
        jobs = self.run_cli("list", "--json").json
        self.assertEqual(len(jobs), 6)
        for job in jobs:
            self.assertEqual(set(JOB_FIELDS) - set(job), set())
            self.assertIn(job["state"], STATES)
            for field in ("created_at", "updated_at", "run_at"):
                self.assertRegex(job[field], ISO)
            finished = job["state"] in ("completed", "dead", "cancelled")
            self.assertEqual(job["finished_at"] is not None, finished)
            self.assertIsInstance(job["attempts"], int)
            self.assertIsInstance(job["max_retries"], int)
        by_state = {job["state"]: job for job in jobs}
        self.assertEqual((by_state["dead"]["exit_code"], by_state["dead"]["error"]), (2, "exit 2"))
        self.assertEqual((by_state["completed"]["exit_code"], by_state["completed"]["error"]), (0, None))

    def test_a_table_on_a_terminal_shows_20_jobs_and_counts_the_rest_and_a_pipe_gets_all(self):
        import pty

        self.enqueue_copies(25)
        controller, terminal = pty.openpty()
        process = self.start_cli("list", stdout=terminal, stderr=terminal)
        os.close(terminal)
        shown = shown_on(controller).decode()
        self.assertEqual((process.wait(20), len(shown.splitlines())), (0, 1 + 20 + 1), shown)
        self.assertIn("… and 5 more; use --limit 0 to show all", shown)
        result = self.run_cli("list")
        self.assertEqual((len(result.lines), result.stderr), (1 + 25, ""))
        result = self.run_cli("list", "--limit", "7")
        self.assertEqual(len(result.lines), 1 + 7)
        self.assertIn("18 more", result.stderr)
        for limit in ("0", "25"):
            result = self.run_cli("list", "--limit", limit)
            self.assertEqual((len(result.lines), result.stderr), (1 + 25, ""))
        self.assertEqual(len(self.run_cli("list", "--json").json), 25)
        self.assertEqual(len(self.run_cli("list", "--json", "-n", "3").json), 3)

    def test_an_empty_table_leaves_stdout_empty_and_prints_one_line_on_stderr(self):
        for args in (["list"], ["list", "-s", "dead"], ["dlq", "list"], ["worker", "list"]):
            result = self.run_cli(*args)
            self.assertEqual(result.stdout, "")
            self.assertEqual(len(result.stderr.splitlines()), 1)
            self.assertEqual(self.run_cli(*args, "--json").json, [])

    def test_list_piped_into_head_prints_no_error(self):
        self.enqueue_copies(20000)
        for options in ([], ["--json"]):
            process = self.start_cli(
                "list", "--limit", "0", *options, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            process.stdout.readline()
            process.stdout.close()
            wait_until(lambda process=process: process.poll() is not None)
            self.assertEqual(process.stderr.read(), b"")
            self.assertIn(process.returncode, (0, 141, -13))

    def test_a_full_device_fails_without_a_traceback(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        self.enqueue_copies(5)
        with open("/dev/full", "wb") as full:
            process = self.start_cli("list", stdout=full, stderr=subprocess.PIPE)
            _, stderr = process.communicate(timeout=20)
        self.assertNotEqual(process.returncode, 0)
        self.assertNotIn(b"Traceback", stderr)

    def test_only_terminals_get_colors_and_no_color_turns_them_off(self):
        self.enqueue_one_in_each_state()
        self.assertNotIn("\x1b", self.run_cli("list").stdout)
        import pty

        for environment, colored in (
            ({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)
        ):  # fmt: skip
            controller, terminal = pty.openpty()
            process = self.start_cli("list", env=environment, stdout=terminal, stderr=terminal)
            os.close(terminal)
            shown = shown_on(controller)
            self.assertEqual(process.wait(20), 0)
            self.assertEqual(b"\x1b[" in shown, colored, (environment, shown))

    def test_a_table_fits_the_terminal(self):
        import fcntl
        import pty
        import struct
        import termios

        self.enqueue_copies(2, command="echo " + "wide " * 100)
        controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
        process = self.start_cli("list", env={"TERM": "dumb"}, stdout=terminal, stderr=terminal)
        self.assertEqual(process.wait(20), 0)
        shown = os.read(controller, 65536).decode()
        os.close(terminal)
        os.close(controller)
        self.assertEqual(len(shown.splitlines()), 3)
        for line in shown.splitlines():
            self.assertLessEqual(len(line), 60)


class ControlCharactersTest(SampleJobsTestCase):
    def test_raw_control_characters_never_reach_the_output(self):
        """Foreign SQL can store any character in commands, queue names and ids."""
        import sqlite3

        self.store().close()
        connection = sqlite3.connect(self.db, isolation_level=None)
        connection.execute(
            "INSERT INTO queuectl_jobs (id, queue, command, cwd, max_retries) VALUES (?, ?, ?, ?, 0)",
            (NASTY, NASTY, "echo " + NASTY, "/" + NASTY),
        )
        connection.close()
        self.assertNotEqual(self.run_cli("worker", "start", "--foreground", "--drain", code=None).code, 3)
        self.assertEqual(self.states(), {"dead": 1})
        for args in (
            ["list"], ["list", "--json"], ["show", NASTY], ["show", NASTY, "--json"], ["status"],
            ["status", "--json"], ["dlq", "list"], ["dlq", "list", "--json"], ["show", NASTY + "x"],
            ["retry", NASTY + "x"], ["list", "--state", NASTY], ["config", "get", NASTY], [NASTY],
            ["enqueue", "--id", NASTY, "true"], ["logs", NASTY + "x"], ["wait", NASTY + "x"],
        ):  # fmt: skip
            with self.subTest(args=args):
                result = self.run_cli(*args, code=None)
                for text in (result.stdout, result.stderr):
                    raw = [c for c in text if not c.isprintable() and c != "\n"]
                    self.assertEqual(raw, [], text)

    def test_non_ascii_ids_and_commands_round_trip_and_json_is_ascii(self):
        import json

        self.run_cli("enqueue", "--id", "Größe/作业", "echo ü")
        self.assertEqual(self.job("Größe/作业")["id"], "Größe/作业")
        self.assertIn("作业", self.run_cli("list", env={"LC_ALL": "C"}).stdout)
        result = self.run_cli("list", "--json")
        self.assertTrue(result.stdout.isascii())
        self.assertEqual(json.loads(result.stdout)[0]["command"], "echo ü")


class ShowTest(SampleJobsTestCase):
    def test_show_has_every_field_of_a_job_and_its_attempts(self):
        ids = self.enqueue_one_in_each_state()
        for state, id in ids.items():
            text = self.run_cli("show", id).stdout
            self.assertIn("echo " + state, text)
            self.assertIn(state, text)
            job = self.run_cli("show", id, "--json").json
            self.assertEqual((job["id"], job["state"]), (id, state))
            self.assertEqual(set(JOB_FIELDS) - set(job), set())
        (attempt,) = self.job(ids["dead"])["history"]
        self.assertEqual((attempt["attempt"], attempt["outcome"], attempt["exit_code"]), (1, "exit", 2))
        self.assertRegex(attempt["started_at"], ISO)
        self.assertRegex(attempt["finished_at"], ISO)

    def test_showing_an_unknown_job_exits_1_with_one_line_on_stderr(self):
        self.create_queue()
        result = self.run_cli("show", "no-such-job", code=1)
        self.assertEqual((result.stdout, len(result.stderr.splitlines())), ("", 1))


class StatusTest(SampleJobsTestCase):
    def test_status_of_an_empty_queue_is_all_zeros(self):
        result = self.run_cli("status")
        self.assertTrue(result.stdout)
        found = self.run_cli("status", "--json").json
        self.assertEqual(found["jobs"], dict.fromkeys(STATES, 0))
        self.assertEqual((found["workers"], found["dlq"]), ([], 0))

    def test_status_counts_jobs_by_state_and_points_to_the_dlq(self):
        self.enqueue_one_in_each_state()
        self.run_cli("enqueue", "-q", "mail", "true")
        found = self.run_cli("status", "--json").json
        self.assertEqual(found["jobs"], dict(dict.fromkeys(STATES, 1), pending=2))
        self.assertEqual((found["dlq"], found["queues"]["mail"]["pending"]), (1, 1))
        text = self.run_cli("status").stdout
        for word in [*(state.upper() for state in STATES), "mail", "dlq list"]:
            self.assertIn(word, text)

    def test_status_shows_what_each_live_worker_runs_and_omits_dead_workers(self):
        workers = self.start_workers("-c", "2", "-q", "mail")
        self.run_cli("enqueue", "--id", "long", "-q", "mail", "sleep 60")
        self.wait_for_state("long", "processing")
        self.start_workers("-q", "other")
        store = self.store()
        store.register("worker", None, Identity(1, "earlier-boot/1", "1"), None, "test")
        listed = self.run_cli("worker", "list", "--json").json
        self.assertEqual(self.run_cli("status", "--json").json["workers"], listed)
        self.assertEqual(len(listed), 3)
        for worker in listed:
            self.assertEqual(set(WORKER_FIELDS) - set(worker), set())
            self.assertRegex(worker["started_at"], ISO)
        busy = [worker for worker in listed if worker["job"]]
        self.assertEqual([(w["job"], w["state"]) for w in busy], [("long", "busy")])
        self.assertIn((busy[0]["id"], busy[0]["pid"]), workers)
        self.assertEqual({w["state"] for w in listed if not w["job"]}, {"idle"})
        self.assertEqual(sorted(w["queues"][0] for w in listed), ["mail", "mail", "other"])
        for args in (["status"], ["worker", "list"]):
            text = self.run_cli(*args).stdout
            self.assertRegex(text, rf"{busy[0]['pid']} +busy +long")

    def test_status_suggests_starting_a_worker_for_waiting_jobs(self):
        self.enqueue_copies(3)
        self.assertIn("worker start", self.run_cli("status").stderr)


class WaitTest(SampleJobsTestCase):
    def test_wait_exits_with_the_exit_code_of_its_job(self):
        self.start_workers()
        for code in (0, 1, 3, 124, 255):
            id = self.enqueue("--max-retries", "0", "--", f"sleep 0.1; exit {code}")
            self.assertEqual(self.run_cli("wait", id, code=code).stdout, "")
        killed = self.enqueue("--max-retries", "0", "--", "kill -9 $$")
        self.assertIn("SIGKILL", self.run_cli("wait", killed, code=137).stderr)
        timed_out = self.enqueue("--max-retries", "0", "--timeout", "0.1", "--", "sleep 60")
        self.run_cli("wait", timed_out, code=1)
        self.run_cli("wait", killed, timed_out, code=1)

    def test_wait_outlasts_a_retry(self):
        self.start_workers()
        id = self.enqueue("--backoff-base", "0.1", "--", "[ $QUEUECTL_ATTEMPT = 2 ]")
        self.run_cli("wait", id)
        self.assertEqual(self.state(id), "completed")

    def test_wait_without_ids_waits_for_every_unfinished_job(self):
        self.run_cli("wait")
        self.enqueue_copies(30)
        self.start_workers()
        self.run_cli("wait")
        self.assertEqual(self.states(), {"completed": 30})

    def test_a_wait_that_times_out_exits_124(self):
        id = self.enqueue("true")
        began = time.monotonic()
        result = self.run_cli("wait", id, "--timeout", "200ms", code=124)
        self.assertGreaterEqual(time.monotonic() - began, 0.2)
        self.assertEqual(len(result.stderr.splitlines()), 1)
        self.run_cli("wait", "--timeout", "0", code=124)
        self.run_cli("wait", "--timeout", "x", code=2)

    def test_waiting_for_an_unknown_or_cancelled_job_exits_1(self):
        self.create_queue()
        self.assertIn("no-such-job", self.run_cli("wait", "no-such-job", code=1).stderr)
        id = self.enqueue("true")
        self.run_cli("cancel", id)
        self.assertIn("cancelled", self.run_cli("wait", id, code=1).stderr)

    def test_an_interrupted_wait_exits_130_without_a_traceback(self):
        import signal

        id = self.enqueue("true")
        process = self.start_cli("wait", id, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        # With the database open, it is past startup.
        self.wait_until_open(process.pid)
        process.send_signal(signal.SIGINT)
        _stdout, stderr = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 130)
        self.assertNotIn(b"Traceback", stderr)
