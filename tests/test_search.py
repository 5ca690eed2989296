"""Searching the past: `list` and `dlq list` with filters, in a small file and in a large one, and what jobs printed."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import struct
import termios
import time
import unittest

from queuectl_core.store.search import MOST, SORTS
from tests.harness import QueueTestCase, shown_on

DAY = 86400
# Columns of a row that a worker would have left: a finished job.
INSERT = """
    INSERT INTO queuectl_jobs (id, queue, command, state, ready, max_retries, backoff_base, backoff_max, timeout,
        kill_grace, output_limit, defer_limit, attempts, last_attempt, created_at, started_at, finished_at, exit_code,
        error)
    VALUES (?, ?, ?, ?, NULL, 3, 2, 86400, 0, 10, 1048576, 20, 1, 1, ?, ?, ?, ?, ?)
"""
MANY = """
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
    INSERT INTO queuectl_jobs (command, state, ready, max_retries, backoff_base, backoff_max, timeout, kill_grace,
        output_limit, defer_limit, attempts, last_attempt, started_at, finished_at, exit_code)
    SELECT 'true', 'completed', NULL, 3, 2, 86400, 0, 10, 1048576, 20, 1, 1, 1.7e9, 1.7e9 + i, 0 FROM n
"""


class SearchTestCase(QueueTestCase):
    def found(self, *args: object, command: str = "list") -> list[str]:
        """The ids that a search finds, which are the same in the table and in JSON."""
        words = command.split()
        ids = [job["id"] for job in self.run_cli(*words, *args, "--json").json]
        table = self.run_cli(*words, *args, "--columns", "id").lines[1:]
        self.assertEqual(table, ids, args)
        return ids

    def add(self, id: str, days: float, code: int = 0, queue: str = "default", command: str = "true") -> None:
        """Add a job that finished so many days ago with this exit code, a year after it was enqueued."""
        end = time.time() - days * DAY
        state, error = ("dead", f"exit {code}") if code else ("completed", None)
        took = 1 + len(id) % 9
        self.rows(INSERT, id, queue, command, state, end - 365 * DAY, end - took, end, code, error)


class FilterTest(SearchTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.store().close()
        self.add("a", 9, 1, "mail", "send 50%_off GRÜSSE")
        self.add("bb", 7.5, 64)
        self.add("ccc", 3, 70, "crawl", b"fetch \xff.html".decode("latin-1"))
        self.add("dddd", 2)
        self.run_cli("enqueue", "--id", "new", "-q", "mail", "true")

    def test_since_and_until_compare_when_a_finished_job_ended_and_an_unfinished_one_was_added(self):
        self.assertEqual(self.found("--since", "7d"), ["new", "dddd", "ccc"])
        self.assertEqual(self.found("--until", "7d"), ["bb", "a"])
        self.assertEqual(self.found("--since", "8d", "--until", "2.5d"), ["ccc", "bb"])
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() - 8 * DAY))
        self.assertEqual(self.found("-s", "dead", "--since", day), ["ccc", "bb"])
        self.assertEqual(self.found("--until", str(time.time() - 8 * DAY)), ["a"])
        self.assertIn("--since: not a duration or a time: 'x'", self.run_cli("list", "--since", "x", code=2).stderr)

    def test_text_is_literal_in_any_case_and_found_in_the_command_the_id_and_the_error(self):
        for text, ids in {
            "50%_OFF": ["a"], "50%%off": [], "_": ["a"], "grüsse": ["a"], "DDD": ["dddd"],
            "Exit 7": ["ccc"], "ÿ.HTML": ["ccc"], "FETCH": ["ccc"], "[g]": [], "g?": [], "g*": [], "^g": [],
        }.items():  # fmt: skip
            self.assertEqual(self.found("--grep", text), ids, text)
        self.rows("UPDATE queuectl_jobs SET error = 'Straße [^a-Ö]*?' WHERE id = 'bb'")
        for text in ("[^A-ö]*?", "^", "]", "-", "?", "TRAß"):
            self.assertEqual(self.found("--grep", text), ["bb"], text)
        self.assertIn("longer than 1,000 characters", self.run_cli("list", "--grep", "é" * 1001, code=2).stderr)
        for text in ("\U00010400" * 1000, "ǆ" * 1000):
            self.assertEqual(self.found("--grep", text), [])
        self.rows("UPDATE queuectl_jobs SET error = 'ΟΔΟΣ οδος ǅ STRAẞE' WHERE id = 'bb'")
        for text in ("οδοσ", "ΟΔΟς", "Ǆ", "ǆ", "straße"):
            self.assertEqual(self.found("--grep", text), ["bb"], text)
        self.rows("UPDATE queuectl_jobs SET command = x'66657463682020ffc3a9' WHERE id = 'a'")
        self.assertEqual(self.found("--grep", "É"), ["a"])
        self.assertEqual(self.run_cli("list", "--grep", "nowhere").stderr, "no jobs match\n")

    def test_exit_codes_queues_and_states_combine(self):
        self.assertEqual(self.found("--exit", "1,64-69"), ["bb", "a"])
        self.assertEqual(self.found("-q", "mail", "-q", "crawl"), ["new", "ccc", "a"])
        self.assertEqual(self.found("-q", "mail", "-q", "crawl", "--exit", "60-78", command="dlq list"), ["ccc"])
        self.assertIn("--exit", self.run_cli("list", "--exit", "0-300", code=2).stderr)

    def test_any_field_sorts_and_reverse_turns_any_order_around(self):
        self.assertEqual(self.found("--reverse"), ["a", "bb", "ccc", "dddd", "new"])
        self.assertEqual(self.found("-s", "dead", "--reverse"), ["a", "bb", "ccc"])
        self.assertEqual(self.found("--sort", "took"), ["a", "bb", "ccc", "dddd", "new"])
        self.assertEqual(self.found("--sort", "took", "--reverse", "-n", "2"), ["dddd", "ccc"])
        self.assertEqual(self.found("--sort", "exit", "-s", "dead", "-n", "1"), ["a"])
        for field in SORTS:
            self.assertEqual(len(self.found("--sort", field)), 5, field)
        self.assertIn("did you mean took?", self.run_cli("list", "--sort", "tok", code=2).stderr)

    def test_attempted_finds_jobs_that_failed_before_they_completed(self):
        self.run_cli("enqueue", "--id", "flaky", "--backoff-base", "0", "--", "[ $QUEUECTL_ATTEMPT = 2 ]")
        self.run_cli("enqueue", "--id", "good", "true")
        self.run_cli("worker", "start", "--drain", "--foreground", code=None)
        self.assertEqual(self.state("flaky"), "completed")
        self.assertEqual(self.found("--attempted"), ["flaky"])

    def test_columns_are_chosen_by_name(self):
        result = self.run_cli("list", "--columns", "command,ID, exit", "-q", "mail", "-s", "dead")
        words = [line.split() for line in result.lines]
        self.assertEqual(words, [["COMMAND", "ID", "EXIT"], ["send", "50%_off", "GRÜSSE", "a", "1"]])
        self.assertIn("did you mean command?", self.run_cli("list", "--columns", "comand", code=2).stderr)
        self.assertIn("--json", self.run_cli("list", "--columns", "id", "--json", code=2).stderr)


class LargeFileTest(SearchTestCase):
    def test_a_table_covers_the_newest_jobs_and_says_so_and_limit_0_covers_all(self):
        self.store().close()
        self.add("old", 2000, 3, "rare")
        self.rows(MANY % (MOST + 10))
        for search in (["--grep", "OLD"], ["-q", "rare"], ["--exit", "3"], ["--attempted"], ["--until", "1500d"]):
            result = self.run_cli("list", *search)
            self.assertEqual(result.stdout, "", search)
            self.assertIn("only the newest 100,000 jobs were searched; to search all, add --limit 0", result.stderr)
            if search != ["--attempted"]:
                result = self.run_cli("list", *search, "--limit", "0", "--columns", "id")
                self.assertEqual((result.lines[1:], result.stderr), (["old"], ""), search)
        result = self.run_cli("list", "-s", "completed", "--grep", "x")
        self.assertIn("only the newest 100,000", result.stderr)
        # What an index finds is complete.
        for search in (["-s", "dead"], ["-s", "dead", "--grep", "old"], ["-s", "dead", "-s", "failed"]):
            self.assertEqual(self.found(*search), ["old"])


class OutputTest(SearchTestCase):
    def test_show_ends_with_the_last_output_and_logs_can_print_all_attempts(self):
        script = "seq $QUEUECTL_ATTEMPT 30; printf 'last \\033[2J%s' $QUEUECTL_ATTEMPT; exit 3"
        self.run_cli("enqueue", "--id", "a", "--max-retries", "1", "--backoff-base", "0", "--", script)
        self.run_cli("worker", "start", "--drain", "--foreground", code=None)
        self.assertEqual(self.run_cli("show", "a").lines[-10:], [*map(str, range(22, 31)), "last \\x1b[2J2"])
        lines = self.run_cli("logs", "a", "--all-attempts").lines
        self.assertEqual(len(lines), 2 + 31 + 30)
        self.assertRegex(lines[0], r"^==> attempt 1, .*: exit 3 <==$")
        self.assertRegex(lines[32], r"^==> attempt 2, .*: exit 3 <==$")
        self.assertEqual(len(self.run_cli("logs", "a", "--all-attempts", "-n", "1").lines), 4)
        self.run_cli("logs", "a", "--all-attempts", "-f", code=2)

    def test_a_job_that_waits_for_many_is_shown_in_a_few_words(self):
        ids = self.enqueue_lines(["true"] * 3000)
        self.run_cli("enqueue", "--id", "last", "--after", "-", "true", input="\n".join(ids))
        self.run_cli("cancel", ids[50])
        for command in (["list", "-n", "1"], ["show", "last"]):
            text = self.run_cli(*command).stdout
            self.assertLess(len(text), 2000)
            self.assertRegex(text, rf"{ids[50]} \(cancelled\), .* and 2,?99\d more")
        self.assertEqual(sorted(self.job("last")["after"]), sorted(ids))


class StatusTest(SearchTestCase):
    def test_status_shows_what_runs_what_is_limited_and_what_failed_and_hides_unused_queues(self):
        self.run_cli("enqueue", "--id", "x", "-q", "used-up", "true")
        self.run_cli("cancel", "x")
        self.run_cli("prune", "-s", "cancelled")
        self.run_cli("config", "set", "slow.limit", "2")
        self.run_cli("config", "set", "slow.rate", "10/min")
        self.run_cli("pause", "held")
        self.run_cli("enqueue", "--id", "bad", "--max-retries", "0", "--", "exit 1")
        self.run_cli("enqueue", "--id", "again", "--backoff-base", "9999", "--", "exit 1")
        self.run_cli("enqueue", "--id", "long", "sleep 60")
        self.start_workers()
        self.wait_for_state("long", "processing")
        text = self.run_cli("status").stdout
        for pattern in (
            r"\nheld .* paused\n", r"\nslow .* limit 2, rate 10/min\n", r"\nlong +\d+m?s  sleep 60\n",
            "Failures in the last hour: 1 dead, 1 to be retried",
        ):  # fmt: skip
            self.assertRegex(text, pattern)
        self.assertNotIn("used-up", text)
        self.assertIn("used-up", self.run_cli("status", "--json").json["queues"])

    def test_watch_redraws_one_screen_and_leaves_the_terminal_as_it_was(self):
        import pty

        self.assertIn("needs a terminal", self.run_cli("status", "--watch", code=2).stderr)
        self.store().close()
        controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 60, 0, 0))
        process = self.start_cli("status", "--watch", stdout=terminal, stderr=terminal, env={"TERM": "xterm"})
        os.close(terminal)
        shown = os.read(controller, 65536)
        self.enqueue_lines(["true"] * 5)
        while not re.search(rb"default +5", shown):  # Drawn again; a read blocks until there is more.
            shown += os.read(controller, 65536)
        process.send_signal(signal.SIGINT)
        shown += shown_on(controller)
        self.assertEqual(process.wait(20), 130)
        self.assertTrue(shown.startswith(b"\x1b[?1049h"), shown)
        self.assertTrue(shown.endswith(b"\x1b[?7h\x1b[?25h\x1b[?1049l"), shown[-100:])
        for screen in shown.split(b"\x1b[H")[1:]:
            self.assertLess(screen.count(b"\n"), 10)


if __name__ == "__main__":
    unittest.main()
