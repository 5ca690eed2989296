"""Single jobs from the shell: exact commands, unique keys, cancel, retry, edit, prune, exit codes."""

import json
import os
import shlex
import subprocess

from tests.harness import PYTHON, ROOT, wait_until
from tests.patched import patched
from tests.shell import ShellTestCase


class ExactCommandTest(ShellTestCase):
    def test_arguments_reach_the_job_unchanged(self):
        self.start_workers()
        result = self.sh(
            """
            lines=$(printf 'two\\nlines')
            id=$(queuectl enqueue -- printf '%s|' 'My File' "it's" '$HOME' '' '*' '\\n' 'a  b' -x "$lines")
            queuectl wait $id && queuectl logs $id
            """
        )
        self.assertEqual(result.stdout, "My File|it's|$HOME||*|\\n|a  b|-x|two\nlines|")

    def test_a_single_argument_is_a_shell_command(self):
        self.start_workers()
        result = self.sh(
            "id=$(queuectl add 'echo $((6*7)) | tr 4 5; echo $0') && queuectl wait $id && queuectl log $id"
        )
        self.assertEqual(result.stdout, "52\n/bin/sh\n")

    def test_every_byte_except_nul_reaches_the_job(self):
        self.start_workers()
        octal = "".join(f"\\{byte:03o}" for byte in range(1, 256))
        result = self.sh(
            f"""
            bytes=$(printf '{octal}')
            id=$(queuectl enqueue -- printf %s "$bytes") && queuectl wait $id && queuectl logs $id
            """
        )
        self.assertEqual(result.stdout_bytes, bytes(range(1, 256)))


class UniqueKeyTest(ShellTestCase):
    def test_twenty_concurrent_enqueues_add_one_job_and_all_print_its_id(self):
        result = self.sh(
            "for n in $(seq 20); do queuectl enqueue --unique nightly -- sleep 0.1 & done; wait"
        )
        self.assertEqual(len(result.lines), 20)
        self.assertEqual(set(result.lines), {id for (id,) in self.rows("SELECT id FROM queuectl_jobs")})
        self.assertEqual(self.states(), {"pending": 1})

    def test_a_unique_key_is_free_again_when_its_job_finishes(self):
        first = self.sh("queuectl enqueue --unique k true").stdout
        self.assertEqual(self.sh("queuectl enqueue --unique k false").stdout, first)
        self.sh("queuectl worker start --drain && queuectl wait")
        second = self.sh("queuectl enqueue --unique k false").stdout
        self.assertNotEqual(second, first)
        self.assertIn("has its unique key now", self.sh("queuectl retry " + first, code=1).stderr)

    def test_replace_overwrites_the_waiting_job_and_keeps_its_id(self):
        id = self.sh(
            "echo old | queuectl enqueue --unique k --delay 1h -p 3 -e A=1 --bury-on 2 --stdin -- echo old"
        ).lines[0]
        self.assertEqual(self.sh("queuectl enqueue --unique k --replace -- cat; echo $?").lines, [id, "0"])
        job = self.job(id)
        self.assertEqual((job["command"], job["priority"], job["env"]), ("cat", 0, {}))
        self.assertEqual((job["bury_on"], job["stdin"]), (None, None))
        self.start_workers()
        self.sh("queuectl wait " + id)  # The delay was replaced too.
        self.assertEqual(self.run_cli("logs", id).stdout, "")

    def test_replace_leaves_a_running_job_alone(self):
        self.start_workers()
        self.enqueue("--id", "a", "--unique", "k", "sleep 60")
        self.wait_for_state("a", "processing")
        self.assertEqual(self.enqueue("--unique", "k", "--replace", "--", "echo new"), "a")
        self.assertEqual(self.job("a")["command"], "sleep 60")
        self.sh("queuectl enqueue --replace true", code=2)
        result = self.sh("queuectl enqueue --unique k --replace --after a true", code=2)
        self.assertIn("--after", result.stderr)


class CancelRetryEditPruneTest(ShellTestCase):
    def test_cancel_kills_running_jobs_and_their_process_groups_in_parallel(self):
        self.start_workers("-c", "2")
        self.sh(
            """
            queuectl config set kill-grace 3s
            for n in 1 2; do
                queuectl enqueue --id $n -- "trap '' TERM; sleep 61 & echo ready; wait; sleep 61"
            done
            queuectl enqueue --id 3 true
            """
        )
        for id in ("1", "2"):
            wait_until(lambda id=id: "ready" in self.run_cli("logs", id).stdout)
        result = self.sh("queuectl rm 1 2 3 no-such-job", code=1)
        (first,), (second,), _ = self.rows("SELECT finished_at FROM queuectl_jobs ORDER BY id")
        self.assertLess(abs(first - second), 3)  # In parallel: one kill-grace, not two.
        self.assertEqual(sorted(result.lines), ["1", "2", "3"])
        self.assertIn("no such job: 'no-such-job'", result.stderr)
        self.assertEqual(self.states(), {"cancelled": 3})
        self.audit()

    def test_cancel_all_succeeds_even_if_a_job_finishes_before_it_is_cancelled(self):
        self.sh("queuectl enqueue --id done true; queuectl worker start --drain; queuectl wait done")
        self.enqueue("--id", "waiting", "--delay", "1h", "true")
        patch = "Store.unfinished_ids = lambda *_: ['done', 'waiting']"  # As if `done` had just finished.
        words = patched(patch, "cancel", "--all")
        result = subprocess.run(words, env=self.environment, capture_output=True, check=False)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, b"waiting\n", b"cancelled 1 job\n"))
        self.sh("queuectl cancel done", code=1)  # Naming a finished job is an error.

    def test_control_characters_in_ids_never_reach_a_terminal(self):
        self.enqueue("--id", "a", "--max-retries", "0", "false")
        hostile = "x\x1b[31m\ny"
        self.rows("UPDATE queuectl_jobs SET id = ?", hostile)
        log = self.sh("queuectl worker start --drain --foreground", code=1).stderr
        self.assertNotIn("\x1b", log)
        self.assertIn("bury x\\x1b[31m\\ny", log)
        self.assertIn("x\\x1b[31m\\ny", self.on_terminal("queuectl dlq purge --all --dry-run"))
        # Ids that the user didn't give are only counted there.
        self.assertEqual(self.on_terminal("queuectl dlq retry --all"), "retrying 1 job\n")
        self.assertEqual(self.on_terminal("queuectl cancel --all"), "cancelled 1 job\n")
        # Pipes get the exact id.
        self.assertEqual(self.run_cli("prune", "-s", "cancelled", "--dry-run").stdout, hostile + "\n")
        self.assertIn("x\\x1b[31m\\ny", self.on_terminal("queuectl prune -s cancelled --ids"))

    def test_bulk_commands_count_on_a_terminal_and_name_ids_in_a_pipe_or_if_asked(self):
        self.sh("seq 3 | queuectl enqueue --max-retries 0 --each 'exit {}' -")
        self.sh("queuectl worker start --drain --foreground", code=1)
        ids = self.run_cli("dlq", "purge", "--all", "--dry-run").lines
        self.assertEqual(len(ids), 3)
        commands = {"dlq retry --all": "retrying", "cancel --all": "cancelled", "prune -s cancelled": "deleted"}
        for command, verb in commands.items():
            with self.subTest(command):
                count = rf"{verb} 3 jobs(; .*)?\n$"
                self.run_cli("backup", "--force", "copy")
                self.assertRegex(self.on_terminal(f"queuectl {command}"), "^" + count)
                self.run_cli("restore", "--force", "copy")
                shown = self.on_terminal(f"queuectl {command} --ids")
                self.assertRegex(shown, "^" + "\n".join(ids) + "\n" + count)
                self.run_cli("restore", "--force", "copy")
                piped = self.sh(f"queuectl {command}")
                self.assertEqual(piped.lines, ids)
                self.assertRegex(piped.stderr, "^" + count)
                self.assertEqual(self.sh(f"queuectl --quiet {command}").stderr, "")

    def test_cancel_takes_either_ids_or_a_queue_or_all(self):
        for id, queue in (("a", "x"), ("b", "default"), ("c", "x")):
            self.enqueue("--id", id, "-q", queue, "true")
        self.assertEqual(self.sh("queuectl cancel --queue x").lines, ["a", "c"])
        self.assertEqual(self.sh("queuectl cancel --all").lines, ["b"])
        self.assertEqual(self.sh("queuectl cancel --all").stdout, "")
        for wrong in ("", "b --all", "b -q x"):
            self.sh("queuectl cancel " + wrong, code=2)

    def test_retry_and_dlq_commands_take_ids_a_queue_or_all(self):
        self.start_workers()
        self.sh("for id in a b c d; do queuectl enqueue --id $id -q q$id --max-retries 0 false; done")
        self.wait_until_all_finished()
        self.sh("queuectl config set qa.limit 1; queuectl pause")
        self.assertEqual(self.sh("queuectl retry a").lines, ["a"])
        self.assertEqual(self.sh("queuectl dlq retry --queue qb").lines, ["b"])
        self.assertEqual(self.sh("queuectl dlq purge --dry-run --all").lines, ["c", "d"])
        self.assertEqual(self.sh("queuectl dlq purge c").lines, ["c"])
        self.assertEqual(self.sh("queuectl dlq retry --all").lines, ["d"])
        self.assertEqual(self.sh("queuectl dlq purge --all").stdout, "")
        self.sh("queuectl dlq purge a", code=1)
        self.assertEqual(self.states(), {"pending": 3})

    def test_only_waiting_jobs_can_be_edited(self):
        self.sh("queuectl enqueue --id a --delay 1h echo; mkdir sub")
        edit = "queuectl edit a --command 'pwd; exit 3' --priority 5 --bury-on 3 --delay 0"
        self.assertEqual(self.sh(edit + " --cwd sub --timeout 9 -q q").lines, ["a"])
        job = self.job("a")
        self.assertEqual((job["priority"], job["timeout"], job["queue"]), (5, 9, "q"))
        self.start_workers()
        self.sh("queuectl wait a", code=3)
        self.assertEqual(self.run_cli("logs", "a").stdout, self.path("sub") + "\n")
        self.assertEqual((self.state("a"), self.job("a")["attempts"]), ("dead", 1))
        self.assertIn("a is dead", self.sh("queuectl edit a --priority 1", code=1).stderr)
        for wrong in ("a", "a --command ''", "a --priority x", "--priority 1"):
            self.sh("queuectl edit " + wrong, code=2)
        self.audit(["a"])

    def test_prune_deletes_only_the_jobs_it_was_asked_to(self):
        self.sh("seq 5 | queuectl enqueue --each true - >ids")
        self.sh("queuectl enqueue --id dead --max-retries 0 false")
        self.sh("queuectl enqueue --id never --delay 1h true; queuectl enqueue --id waiter --after dead true")
        ids = self.read("ids").split()
        self.sh("queuectl worker start --drain; queuectl wait $(cat ids) dead", code=1)
        self.assertEqual(self.sh("queuectl prune --dry-run --keep 3").lines, ids[:2])
        self.assertEqual(self.sh("queuectl prune --older-than 1h").stdout, "")
        self.assertEqual(self.sh("queuectl prune --keep 3").lines, ids[:2])
        self.assertEqual(self.sh("queuectl clean").lines, ids[2:])
        self.assertEqual(self.sh("queuectl prune -s dead").stdout, "")  # `waiter` depends on it.
        self.assertIn("cancel them first", self.sh("queuectl dlq purge dead", code=1).stderr)
        self.sh("queuectl cancel waiter")
        self.assertEqual(self.sh("queuectl prune -s dead -s cancelled").lines, ["dead", "waiter"])
        self.sh("queuectl prune -s pending", code=2)
        self.assertEqual(self.states(), {"pending": 1})
        self.audit(["never"])

    def test_a_cancelled_job_can_be_retried_after_its_dependency_was_pruned(self):
        self.sh("queuectl enqueue --id a true; queuectl enqueue --id b --after a true; queuectl cancel a b")
        self.sh("queuectl prune -s cancelled --keep 1")
        self.assertEqual(self.rows("SELECT id FROM queuectl_jobs"), [("b",)])
        self.start_workers()
        self.sh("queuectl retry b; queuectl wait b")
        self.audit(["b"])

    def test_workers_prune_finished_jobs_according_to_the_keep_settings(self):
        self.sh("queuectl config set keep-completed 0; queuectl config set keep-dead 1h")
        self.sh("seq 20 | queuectl enqueue --each true -; queuectl enqueue --max-retries 0 --id dead false")
        self.start_workers()
        wait_until(lambda: self.states() == {"dead": 1})
        self.audit(["dead"])


class ExitCodesTest(ShellTestCase):
    def test_bury_on_and_retry_only_on_decide_which_exit_codes_are_retried(self):
        self.start_workers()
        self.sh(
            """
            queuectl config set backoff-base 0
            queuectl enqueue --id buried --bury-on 2,64-78 -- exit 65
            queuectl enqueue --id tried --bury-on 2,64-78 --max-retries 1 -- exit 79
            queuectl enqueue --id only --retry-only-on 1,5 -- '[ $QUEUECTL_ATTEMPT = 1 ] && exit 5; exit 6'
            queuectl enqueue --id killed --retry-only-on 1 --max-retries 1 -- 'kill -9 $$'
            """
        )
        self.wait_until_all_finished()
        jobs = self.jobs()
        self.assertEqual({job["state"] for job in jobs.values()}, {"dead"})
        self.assertEqual(
            {id: (job["attempts"], job["exit_code"]) for id, job in jobs.items()},
            {"buried": (1, 65), "tried": (2, 79), "only": (2, 6), "killed": (2, 137)},
        )
        for wrong in ("0", "256", "5-2", "x", "", "1-"):
            self.sh(f"queuectl enqueue --bury-on '{wrong}' true", code=2)

    def test_exit_75_defers_without_using_a_retry_up_to_defer_limit(self):
        self.start_workers()
        self.sh(
            """
            queuectl config set backoff-base 0
            queuectl enqueue --id late --max-retries 0 -- '[ $QUEUECTL_ATTEMPT -gt 4 ] || exit 75'
            queuectl config set defer-limit 2
            queuectl enqueue --id never --max-retries 1 -- exit 75
            queuectl wait late
            """
        )
        self.wait_for_state("never", "dead")
        late, never = self.job("late"), self.job("never")
        self.assertEqual((late["state"], late["deferrals"], late["attempts"]), ("completed", 4, 1))
        self.assertEqual((never["deferrals"], never["attempts"], len(never["history"])), (2, 2, 4))
        self.assertIn("exit 75 (not now)", self.sh("queuectl show late").stdout)
        self.audit()

    def test_a_deferred_job_waits_for_its_backoff_and_says_so(self):
        self.start_workers()
        self.enqueue("--id", "a", "--backoff-base", "3600", "--", "exit 75")
        wait_until(lambda: self.job("a")["deferrals"] == 1)
        job = self.job("a")
        self.assertEqual((job["state"], job["attempts"], job["reason"]), ("pending", 0, "delayed"))


class InterruptTest(ShellTestCase):
    def test_ctrl_c_during_cancel_still_cancels_the_job(self):
        self.start_workers()
        self.run_cli("config", "set", "kill-grace", "5m")
        self.enqueue("--id", "a", "trap 'touch told' TERM; echo ready; until [ -e go ]; do sleep 0.02; done")
        wait_until(lambda: "ready" in self.run_cli("logs", "a").stdout)
        process = self.start_sh("exec queuectl cancel a", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_until(lambda: self.rows("SELECT cancel FROM queuectl_jobs") == [(1,)])
        process.send_signal(2)
        stdout, stderr = process.communicate(timeout=20)
        self.assertEqual((process.returncode, stdout), (130, b""))
        self.assertRegex(stderr, rb"\A(waiting for job a to end; .*\n)?\Z")  # `cancel` says this after a second.
        wait_until(lambda: os.path.exists(self.path("told")))
        self.write("go", "")
        self.wait_for_state("a", "cancelled")
        self.assertEqual(json.loads(self.sh("queuectl show a --json").stdout)["state"], "cancelled")

    def test_ctrl_c_ends_a_command_even_during_a_callback(self):
        """Python discards exceptions in some callbacks, such as those of its imports."""
        program = """if True:
            import time
            from queuectl_core.cli import main

            class Discarding:
                def __del__(self):
                    print("running", flush=True)
                    time.sleep(60)

            def run(words):
                Discarding()
                time.sleep(60)

            main.run = run
            main.main()"""
        self.assertEqual(self.interrupted(program), 130)

    def test_ctrl_c_during_imports_ends_the_process_without_a_traceback(self):
        program = """if True:
            import builtins
            import time
            real = builtins.__import__

            def slow(name, *rest):
                if name == "queue_file":
                    print("running", flush=True)
                    time.sleep(60)
                return real(name, *rest)

            builtins.__import__ = slow
            from queuectl_core.entry import main
            import queuectl_core.cli.enqueue"""
        self.assertEqual(self.interrupted(program), -2)

    def test_ctrl_c_during_a_message_ends_the_process_without_a_traceback(self):
        program = """if True:
            import time
            from queuectl_core.cli import main

            def report(error):
                print("running", flush=True)
                time.sleep(60)

            main._report = report
            main.run = lambda words: 1 // 0
            main.main()"""
        self.assertEqual(self.interrupted(program), 130)

    def interrupted(self, program: str) -> int:
        """The exit code of a Python program that gets SIGINT once it has printed "running", and prints nothing else."""
        script = f"PYTHONPATH={shlex.quote(ROOT)} exec {shlex.join(PYTHON)} -c {shlex.quote(program)}"
        process = self.start_sh(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), b"running\n")
        process.send_signal(2)
        self.assertEqual(process.communicate(timeout=20), (b"", b""))
        return process.returncode
