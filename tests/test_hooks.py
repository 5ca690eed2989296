"""Hooks: jobs enqueued by the transaction in which something happens to another job."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from queuectl_core import jobspec
from queuectl_core.lifecycle import Outcome, judge
from queuectl_core.store import Store
from queuectl_core.workers import fleet
from tests.doc_runner import DocumentTestCase
from tests.harness import PROGRAM, ROOT, QueueTestCase, wait_until

TELL = 'cat > "said-$QUEUECTL_HOOK-$QUEUECTL_HOOK_QUEUE.json"; env | grep ^QUEUECTL_ | sort > facts'


class HookTestCase(QueueTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.run_cli("config", "set", "backoff-base", "0")
        self.run_cli("config", "set", "max-retries", "0")

    def hook(self, key: str, line: str = TELL) -> None:
        self.run_cli("config", "set", key, f"cd {self.folder} && {{ {line}; }}")

    def drain(self) -> None:
        self.run_cli("worker", "start", "--drain", "--foreground", code=None)

    def hooks(self, *states: str) -> list[dict[str, Any]]:
        jobs = [job for job in self.jobs().values() if job["queue"] == "hooks"]
        return [job for job in jobs if not states or job["state"] in states]


class EventsTest(HookTestCase):
    def test_a_hook_for_a_death_gets_the_job_and_the_end_of_its_output(self):
        self.hook("on-dead")
        id = self.enqueue("-q", "mail", "--label", "urgent", "--", "seq 5000; echo no route >&2; exit 7")
        waiter = self.enqueue("--after", id, "--", "true")
        self.drain()
        told = json.loads(self.read("said-dead-mail.json"))
        self.assertEqual((told["hook"], told["queue"], told["jobs"]), ("dead", "mail", [id]))
        self.assertEqual((told["job"]["id"], told["job"]["state"], told["job"]["exit_code"]), (id, "dead", 7))
        shown = self.run_cli("show", id, "--json").json
        self.assertEqual((told["job"].keys(), told["job"]["labels"]), (shown.keys(), ["urgent"]))
        self.assertEqual((told["job"]["before"], told["job"]["history"]), ([waiter], shown["history"]))
        self.assertTrue(told["output"].endswith("4999\n5000\nno route\n"), told["output"][-50:])
        self.assertLessEqual(len(told["output"]), 4096)
        facts = dict(line.split("=", 1) for line in self.read("facts").splitlines())
        expected = {"HOOK": "dead", "HOOK_JOB": id, "HOOK_QUEUE": "mail", "HOOK_COUNT": "1", "ERROR": "exit 7"}
        for name, value in {**expected, "EXIT": "7"}.items():
            self.assertEqual(facts[f"QUEUECTL_{name}"], value)
        self.audit()

    def test_each_event_triggers_its_own_hook_and_a_queue_may_have_its_own(self):
        for event in ("dead", "failed", "completed", "empty"):
            self.hook(f"on-{event}")
        self.hook("quiet.on-completed", "touch quiet-completed")
        self.run_cli("config", "set", "silent.on-empty", "")
        self.enqueue("--max-retries", "1", "--", "exit 1")
        self.enqueue("-q", "quiet", "--", "true")
        self.enqueue("-q", "silent", "--", "true")
        self.drain()
        said = sorted(name for name in os.listdir(self.folder) if name.startswith("said-"))
        expected = ["completed-silent", "dead-default", "empty-default", "empty-quiet", "failed-default"]
        self.assertEqual(said, [f"said-{name}.json" for name in expected])
        self.assertTrue(os.path.exists(self.path("quiet-completed")))

    def test_a_queue_is_empty_once_nothing_in_it_is_left_to_do(self):
        self.hook("on-empty", "echo $QUEUECTL_HOOK_QUEUE >> empty")
        self.enqueue("-q", "a", "--hold", "--id", "held", "--", "true")
        self.enqueue_lines(["true"] * 5, "-q", "a")
        self.drain()
        self.assertFalse(os.path.exists(self.path("empty")))
        self.run_cli("release", "held")
        self.drain()
        self.assertEqual(self.read("empty"), "a\n")

    def test_a_queue_is_empty_once_its_last_waiting_job_is_cancelled(self):
        self.hook("on-empty", "echo $QUEUECTL_HOOK_QUEUE $QUEUECTL_HOOK_JOB $QUEUECTL_HOOK_COUNT >> empty")
        self.enqueue_lines(["true", "true"], "-q", "a")
        self.enqueue("-q", "a", "--id", "last", "--", "true")
        self.enqueue("-q", "b", "--id", "waits", "--", "true")
        self.run_cli("cancel", "-q", "a")
        self.assertEqual(len(self.hooks()), 1)
        self.run_cli("cancel", "waits")
        self.enqueue("-q", "c", "--id", "works", "--", "true")
        self.enqueue("-q", "d", "--id", "unneeded", "--after-notok", "works", "--", "true")
        self.drain()
        expected = ["a last 1", "b waits 1", "c works 1", "d unneeded 1"]
        self.assertEqual(sorted(self.read("empty").splitlines()), expected)
        self.audit()

    def test_a_worker_that_waits_runs_the_hook_of_a_cancelled_job_at_once(self):
        self.hook("on-empty", "touch empty")
        self.enqueue("--id", "a", "--delay", "1h", "--", "true")
        self.start_workers()
        self.run_cli("cancel", "a")
        wait_until(lambda: os.path.exists(self.path("empty")))

    def test_losing_the_last_attempt_triggers_the_hook_too(self):
        self.hook("on-dead")
        id = self.enqueue("--", "sleep 60")
        ((_, pid),) = self.start_workers()
        self.wait_for_state(id, "processing")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: os.path.exists(self.path("said-dead-default.json")) and self.hooks("completed"))
        self.assertEqual(json.loads(self.read("said-dead-default.json"))["job"]["error"], "worker lost")

    def test_hostile_text_reaches_the_hook_as_data(self):
        self.hook("on-dead")
        id = self.enqueue("--id", "$(touch${IFS}pwned)'\"", "--", r"printf '\377\n\033[31m\0'; exit 1")
        self.drain()
        self.assertEqual(json.loads(self.read("said-dead-default.json"))["jobs"], [id])
        self.assertFalse(os.path.exists(self.path("pwned")))


class CoalescingTest(HookTestCase):
    def die(self, store: Store, worker: int, now: float) -> None:
        """Claim a job of the default queue, and let it die."""
        job = store.claim(worker, "default").job
        outcome = Outcome("exit", 1)
        store.settle(job, outcome, judge(job, outcome, now))

    def count(self, job: dict[str, Any]) -> int:
        return int(job["env"]["QUEUECTL_HOOK_COUNT"])

    def test_many_deaths_make_two_hooks_of_which_the_second_has_the_count(self):
        self.run_cli("config", "set", "on-dead", "true")
        now = [time.time()]
        with self.store(clock=lambda: now[0]) as store:
            worker = self.register_worker(store)
            store.enqueue([jobspec.new_job({"command": "false"}, now[0])] * 1000)
            self.die(store, worker, now[0])
            first = store.claim(worker, "hooks").job
            store.settle(first, Outcome("exit"), judge(first, Outcome("exit"), now[0]))
            for _ in range(999):
                now[0] += 0.05
                self.die(store, worker, now[0])
            self.assertIsNone(store.claim(worker, "hooks").job)  # A minute has not passed.
            now[0] += 60
            second = store.claim(worker, "hooks").job
            given = json.loads(store.input(second))
        self.assertEqual([self.count(job) for job in self.hooks()], [999, 1])
        self.assertEqual((len(given["jobs"]), given["jobs"][0]), (100, given["job"]["id"]))

    def test_hooks_of_different_queues_and_events_are_separate(self):
        for event in ("dead", "completed"):
            self.run_cli("config", "set", f"on-{event}", "true")
        self.enqueue_lines(["true", "exit 1"] * 3, "-q", "a")
        self.enqueue_lines(["exit 1"] * 3, "-q", "b")
        self.run_cli("worker", "start", "-q", "a", "-q", "b", "--drain", "--foreground", code=None)
        told = {}
        for job in self.hooks():
            told[job["env"]["QUEUECTL_HOOK"], job["env"]["QUEUECTL_HOOK_QUEUE"]] = self.count(job)
        self.assertEqual(told, {("dead", "a"): 3, ("completed", "a"): 3, ("dead", "b"): 3})

    def test_the_rate_of_the_queue_is_the_interval(self):
        self.run_cli("config", "set", "on-completed", "true")
        self.run_cli("config", "set", "hooks.rate", "1/h")
        self.enqueue("--", "true")
        self.drain()
        self.enqueue("--", "true")
        self.run_cli("worker", "start", "-q", "default", "--drain", "--foreground")
        (waiting,) = self.hooks("pending")
        (done,) = self.hooks("completed")
        moments = [jobspec.values.moment(job["run_at"], "", 0) for job in (done, waiting)]
        self.assertAlmostEqual(moments[1] - moments[0], 3600, delta=1)


class HookJobTest(HookTestCase):
    def test_a_failing_hook_is_retried_ends_in_the_dlq_and_triggers_nothing(self):
        for event in ("dead", "failed"):
            self.run_cli("config", "set", f"on-{event}", "exit 9")
        self.run_cli("config", "set", "hooks.max-retries", "2")
        self.enqueue("--", "exit 1")
        self.drain()
        (hook,) = self.hooks()
        self.assertEqual((hook["state"], hook["attempts"], hook["exit_code"]), ("dead", 3, 9))

    def test_removing_or_changing_a_hook_cancels_those_that_wait(self):
        self.hook("on-dead", "touch ran")
        self.enqueue("--", "exit 1")
        for words in (["unset", "on-dead"], ["set", "on-dead", "true"]):
            self.run_cli("worker", "start", "-q", "default", "--drain", "--foreground", code=None)
            self.run_cli("config", *words)
            self.drain()
            self.hook("on-dead", "touch ran")
            self.enqueue("--", "exit 1")
        self.assertFalse(os.path.exists(self.path("ran")))
        self.assertEqual({job["error"] for job in self.hooks()}, {"the hook was removed"})

    def test_killed_workers_lose_no_hook_and_trigger_none_twice(self):
        self.run_cli("config", "set", "on-dead", "true")
        self.run_cli("config", "set", "hooks.rate", "1000/s")
        self.enqueue_lines(["sleep 0.0%d; exit 1" % (number % 4) for number in range(80)])
        numbers = random.Random(4)
        self.start_workers("-c", "3")
        for _ in range(12):
            time.sleep(numbers.random() / 8)
            with self.store() as store:
                alive = [row.pid for row in fleet.live_workers(store)]
            with contextlib.suppress(ProcessLookupError, IndexError):
                os.kill(numbers.choice(alive), signal.SIGKILL)
        self.run_cli("worker", "start", "-c", "3", "--top-up")
        self.wait_until_all_finished()
        counts = sum(int(job["env"]["QUEUECTL_HOOK_COUNT"]) for job in self.hooks())
        self.assertEqual((counts, self.states()["dead"]), (80, 80))
        self.audit()

    def test_a_hook_that_could_never_run_is_refused(self):
        refused = self.run_cli("config", "set", "on-dead", "if", code=2).stderr
        self.assertRegex(refused, r"^queuectl: on-dead: not a valid shell line: 'if' \(.+\)\n$")
        refused = self.run_cli("config", "set", "hooks.on-dead", "true", code=2).stderr
        self.assertIn("hooks.on-dead: hooks trigger no hooks", refused)
        with self.store() as store:
            store.set_config("hooks.on-dead", "true")  # As another program might.
        self.assertIn("hooks trigger no hooks", self.run_cli("doctor", code=1).stdout)
        self.run_cli("config", "unset", "hooks.on-dead")
        self.run_cli("config", "set", "runner", "python3 -c")
        self.run_cli("config", "set", "on-dead", "if 1: print()")

    def test_a_hook_without_a_worker_is_reported_by_doctor(self):
        self.run_cli("config", "set", "on-dead", "true")
        self.enqueue("--", "exit 1")
        self.run_cli("worker", "start", "-q", "default", "--drain", "--foreground", code=None)
        self.assertIn("queue hooks has 1 waiting job but no worker", self.run_cli("doctor", code=None).stdout)


class DocumentTest(DocumentTestCase):
    def test_the_example_works(self):
        self.run_document("docs/hooks.md", "Hooks")
        with open(os.path.join(self.home, "deaths.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file)["output"], "no space left\n")


class Listener(BaseHTTPRequestHandler):
    """Collects requests: path, title header and body."""

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self.server.requests.append((self.path, self.headers.get("Title"), body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    do_GET = do_POST = answer

    def log_message(self, format: str, *args: object) -> None:
        pass


class RecipesTest(HookTestCase):
    """Each recipe of docs/hooks.md, run with local stand-ins for the service that it calls."""

    def setUp(self) -> None:
        super().setUp()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
        self.server.requests = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=self.server.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        bin = self.path("bin")
        os.mkdir(bin)
        for program in ("sendmail", "notify-send"):
            self.write(f"bin/{program}", f'#!/bin/sh\n{{ echo "$@"; test {program} = notify-send || cat; }} > "$OUT"\n')
            os.chmod(os.path.join(bin, program), 0o755)
        self.write("bin/queuectl", f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(PROGRAM)} "$@"\n')
        os.chmod(os.path.join(bin, "queuectl"), 0o755)
        self.environment.update(PATH=f"{bin}:{self.environment['PATH']}", OUT=self.path("out"))

    def recipe(self, title: str) -> None:
        """Run the commands of a recipe, which set hooks."""
        with open(os.path.join(ROOT, "docs", "hooks.md"), encoding="utf-8") as file:
            section = file.read().partition(f"### {title}\n")[2]
        code = re.search(r"```sh\n(.*?)```", section, re.DOTALL)[1]
        code = re.sub(r"https://[a-z.-]+/", f"http://127.0.0.1:{self.server.server_port}/", code)
        subprocess.run(["sh", "-ec", code], env=self.environment, check=True, capture_output=True)

    def requests(self) -> list[tuple[str, str | None, str]]:
        return self.server.requests  # type: ignore[attr-defined,no-any-return]

    def test_mail(self):
        self.recipe("Mail")
        id = self.enqueue("--", "echo disk full; exit 1")
        self.drain()
        self.assertEqual(self.read("out"), f"admin@example.com\nSubject: 1 dead in default: {id}\n\ndisk full\n\n")

    @unittest.skipUnless(shutil.which("curl"), "curl is not installed")
    def test_webhook_ntfy_and_dead_mans_switch(self):
        self.recipe("Webhook")
        first = self.enqueue("--", "echo disk full; exit 1")
        self.drain()
        ((path, _, body),) = self.requests()
        self.assertEqual((path, json.loads(body)["output"]), ("/webhook", "disk full\n"))
        self.recipe("ntfy")
        second = self.enqueue("-q", "mail", "--", "exit 3")
        self.recipe("A dead man's switch")
        self.enqueue("-q", "backup", "--", "true")
        self.enqueue("-q", "backup", "--", "exit 1")
        self.drain()
        told = self.requests()[1:]
        self.assertIn(("/my-topic", "1 dead in mail", f"{second}: exit 3"), told)
        self.assertEqual({path for path, _, _ in told}, {"/my-topic", "/your-uuid", "/your-uuid/fail"})
        self.assertNotEqual(first, second)

    def test_desktop_notification(self):
        self.recipe("Desktop notification")
        self.enqueue("-q", "mail", "--", "true")
        self.drain()
        self.assertEqual(self.read("out"), "queuectl mail is empty\n")

    def test_enqueue_something_else(self):
        self.recipe("Enqueue something else")
        id = self.enqueue("-q", "render", "--", "true")
        self.drain()
        self.assertIn(f"upload-result {id}", [job["command"] for job in self.jobs().values()])
