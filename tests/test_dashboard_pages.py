"""The dashboard over HTTP: what its pages show, and what its buttons do."""

from __future__ import annotations

import html
import json
import os
import re
import sqlite3
import sys
import time
import urllib.parse

from queuectl_core.lifecycle import STATES
from queuectl_core.views.dashboard import frame
from queuectl_core.views.dashboard.server import Dashboard
from queuectl_core.views.dashboard.view import Shell
from tests.dashboard_case import Answer, DashboardTestCase
from tests.harness import PROGRAM, wait_until

BIDI = "\u202e"


class PagesTest(DashboardTestCase):
    def test_the_overview_shows_every_queue_with_its_numbers_and_what_needs_attention(self):
        self.enqueue("-q", "mail", "true")
        self.enqueue("-q", "mail", "true")
        self.enqueue("--id", "doomed", "--max-retries", "0", "false")
        self.run_cli("config", "set", "mail.limit", "2")
        self.run_cli("pause", "mail")
        self.work("-q", "default")
        self.enqueue("-q", "other", "true")
        self.enqueue("-q", "other", "--hold", "true")
        text = self.page(self.serve(), "/").text
        self.assertIn("No worker is running, and 1 job waits. queuectl worker start", text)
        self.assertIn("other 1 held 2 0 0 0 0 0 ", text)
        self.assertIn("mail paused limit 2 2 0 0 0 0 0 paused Resume Limits", text)
        self.assertIn("default 0 0 0 0 1 0 Pause Limits", text)
        self.assertIn("Dead 1 1 in the last hour", text)

    def test_charts_say_in_words_what_they_draw(self):
        self.enqueue_lines(["true"] * 7)
        self.enqueue("--max-retries", "0", "false")
        self.work()
        dashboard = self.serve()
        for span, name, step in (("1h", "last hour", "minute"), ("24h", "last 24 hours", "30 minutes"),
                                 ("7d", "last 7 days", "3 hours"), ("30d", "last 30 days", "12 hours")):  # fmt: skip
            page = self.page(dashboard, f"/?span={span}")
            self.assertIn(f'aria-label="In the {name}, 7 attempts completed and 1 failed."', page.html)
            self.assertRegex(page.html, f'aria-label="In the {name}: wait p95 up to ')
            self.assertIn(f'aria-label="8 finished in the {name}"', page.html)
            self.assertIn(f"Attempts per {step} 7 completed 1 failed", page.text)
            self.assertIn(f"queuectl stats --since {span}", page.text)
        self.run_cli("dlq", "purge", "--all")
        self.assertIn("7 attempts completed and 1 failed.", self.page(dashboard, "/").html)
        self.assertEqual(self.ask(dashboard, "/?span=9000d").status, 200)

    def test_lanes_show_who_ran_what_and_link_to_it(self):
        self.enqueue("--id", "quick", "true")
        self.enqueue("--id", "broken", "--max-retries", "0", "false")
        self.work()
        self.enqueue("--id", "long", "sleep 60")
        ((worker, _),) = self.start_workers()
        self.wait_for_state("long", "processing")
        page = self.page(self.serve(), "/workers").html
        lanes = re.findall(r'aria-label="Worker (\d+) ran (\d+) attempts?"', page)
        self.assertEqual(lanes, [(str(worker), "1"), ("1", "2")])
        for id, look in (("quick", "completed"), ("broken", "dead"), ("long", "processing")):
            self.assertRegex(page, rf'<a href="/job\?id={id}" tabindex="-1"><rect [^>]*class="f-{look}"><title>{id} \(')

    def test_failures_are_grouped_and_a_group_is_one_click_away_from_running_again(self):
        for number in range(3):
            self.enqueue("--max-retries", "0", "--id", f"t{number}", f"echo timeout after {number}s; exit 3")
        self.enqueue("--max-retries", "0", "--id", "other", "echo no such host; exit 4")
        self.work()
        dashboard = self.serve(writes=True)
        page = self.page(dashboard, "/failures")
        self.assertRegex(page.text, r"exit 3 timeout after <n>s default 3 3 \S+ ago \S+ ago t2 Retry")
        self.assertIn("exit 4 no such host default 1 1", page.text)
        groups = dict(re.findall(r'data-key="(\w+)"><td[^>]*><span class="error">(exit \d)', page.html))
        key = next(key for key, error in groups.items() if error == "exit 3")
        asked = self.page(dashboard, f"/do/retry-like?group={key}").text
        self.assertIn(f"queuectl dlq retry --like={key}", asked)
        answer = self.ask(dashboard, "/do/retry-like", {"group": key})
        self.assertIn("Done", answer.text)
        self.assertEqual([self.state(id) for id in ("t0", "t1", "t2", "other")], ["pending"] * 3 + ["dead"])
        self.assertIn("Nothing failed", self.page(self.serve(db=self.other_queue()), "/failures").text)

    def other_queue(self) -> str:
        self.run_cli("--db", self.path("other.db"), "enqueue", "true")
        return self.path("other.db")

    def test_progress_and_time_left_are_shown_wherever_a_running_job_is(self):
        self.enqueue("--id", "half", f"{sys.executable} {PROGRAM} progress 50 'file 3 of 6'; sleep 60")
        self.start_workers()
        dashboard = self.serve()
        wait_until(lambda: "50 %" in self.page(dashboard, "/job?id=half").text)
        for path in ("/", "/jobs", "/job?id=half"):
            self.assertRegex(self.page(dashboard, path).text, r"50 %, (\S+ left, )?file 3 of 6")

    def test_an_empty_queue_says_how_to_add_a_job(self):
        self.run_cli("config", "set", "timeout", "60")
        dashboard = self.serve()
        self.assertIn("queuectl enqueue -- echo 'It works'", self.page(dashboard, "/").text)
        self.assertIn("queuectl worker start -c 2", self.page(dashboard, "/workers").text)
        self.assertIn("No dead jobs", self.page(dashboard, "/dlq").text)
        self.assertIn("No jobs yet", self.page(dashboard, "/jobs").text)

    def test_every_waiting_job_says_why_and_which_command_changes_that(self):
        self.run_cli("config", "set", "few.limit", "1")
        self.run_cli("pause", "mail")
        self.enqueue("--id", "paused", "-q", "mail", "true")
        self.enqueue("--id", "late", "--delay", "90m", "true")
        self.enqueue("--id", "lonely", "true")
        self.enqueue("--id", "special", "-q", "special", "true")
        self.enqueue("--id", "doomed", "--max-retries", "0", "false")
        self.enqueue("--id", "after", "--after", "doomed", "true")
        self.enqueue("--id", "again", "--backoff-base", "999", "false")
        self.start_workers("-q", "default")
        self.wait_for_state("again", "failed")
        self.wait_for_state("doomed", "dead")
        self.wait_for_state("lonely", "completed")
        self.stop_workers()
        self.enqueue("--id", "lonely2", "true")
        dashboard = self.serve()
        for id, expected in (
            ("paused", "paused queuectl resume mail"),
            ("late", "starts in 1h queuectl edit --delay 0 late"),
            ("lonely2", "no worker queuectl worker start -q default"),
            ("special", "no worker queuectl worker start -q special"),
            ("after", "after doomed (dead) queuectl retry doomed"),
            ("again", "exit 1 retries in 16m queuectl retry again"),
        ):
            for path in (f"/job?id={id}", f"/jobs?q={id}"):
                text = re.sub(r"(1h|16m)\d+[ms]", r"\1", self.page(dashboard, path).text.replace(" Copy", ""))
                self.assertIn(expected, text)
        self.run_cli("pause")
        self.assertIn("all paused queuectl resume Copy", self.page(dashboard, "/job?id=lonely2").text)

    def test_a_running_job_and_the_worker_that_runs_it_are_shown_with_its_output(self):
        self.enqueue("--id", "long", "-q", "few", "echo starting; echo oops >&2; sleep 60")
        self.run_cli("config", "set", "few.limit", "1")
        self.enqueue("--id", "next", "-q", "few", "true")
        self.start_workers()
        self.wait_for_state("long", "processing")
        dashboard = self.serve()
        printed = ('<span class="out">starting\n</span>', '<span class="err">oops\n</span>')
        wait_until(lambda: all(piece in self.page(dashboard, "/job?id=long").html for piece in printed))
        page = self.page(dashboard, "/job?id=long")
        self.assertRegex(page.text, r"Attempt Ended Started Took Worker 1 running \S+ ago for \S+ 1")
        self.assertIn("long", self.page(dashboard, "/workers").text)
        self.assertIn("1 busy, 0 idle", self.page(dashboard, "/").text)
        self.assertIn("limit 1 queuectl config unset few.limit", self.page(dashboard, "/job?id=next").text)

    def test_the_output_of_each_attempt_is_one_click_away(self):
        self.enqueue(
            "--id", "twice", "--max-retries", "1", "--backoff-base", "0.1", 'echo "this is $QUEUECTL_ATTEMPT"; exit 4'
        )
        self.work()
        dashboard = self.serve()
        self.assertIn("this is 2", self.page(dashboard, "/job?id=twice").text)
        first = self.page(dashboard, "/job?id=twice&attempt=1").text
        self.assertIn("this is 1", first)
        self.assertIn("queuectl logs --attempt 1 twice", first)
        for attempt in ("0", "3", "-1", "x", "9" * 400, "\u0661"):
            self.assertIn(
                "this is 2", self.page(dashboard, "/job?id=twice&attempt=" + urllib.parse.quote(attempt)).text
            )

    def test_the_next_page_of_a_list_continues_after_the_last_job_and_misses_none(self):
        self.enqueue_lines(["true"] * 130)
        self.rows("UPDATE queuectl_jobs SET created_at = 1e9")  # All in the same second.
        dashboard = self.serve()
        self.assertEqual(len(self.ids_by_pages(dashboard, "/jobs")), 130)
        self.rows("UPDATE queuectl_jobs SET state = 'completed', ready = NULL, finished_at = 1e9")
        self.assertEqual(len(self.ids_by_pages(dashboard, "/jobs?state=completed")), 130)
        self.rows("UPDATE queuectl_jobs SET state = 'dead'")
        self.assertEqual(len(self.ids_by_pages(dashboard, "/dlq")), 130)
        for before in ("x", "_x", "1_", "nan_1", "_" + "9" * 30, "_-5", "1e400_1"):
            self.assertIn(self.ask(dashboard, "/jobs?before=" + before).status, (200, 400), before)

    def ids_by_pages(self, dashboard: Dashboard, path: str | None) -> set[str]:
        """The ids that following "Older jobs" shows, each exactly once."""
        ids: list[str] = []
        while path:
            self.assertLess(len(ids), 1000, "the same jobs again")
            page = self.page(dashboard, path).html
            ids += re.findall(r'<a href="/job\?id=(\w+)" class="id">', page)
            more = re.search(r'<a href="([^"]*)" class="button" rel="next">', page)
            path = html.unescape(more.group(1)) if more else None
        self.assertEqual(len(ids), len(set(ids)))
        return set(ids)

    def test_filters_find_jobs_and_the_numbers_follow_them(self):
        self.enqueue("--id", "a", "-q", "one", "echo needle")
        self.enqueue("--id", "b", "-q", "two", "echo hay")
        self.enqueue("--id", "c", "-q", "two", "--max-retries", "0", "exit 7")
        self.work()
        dashboard = self.serve()
        for query, expected in (
            ("", {"a", "b", "c"}),
            ("q=NEEDLE", {"a"}),
            ("queue=two", {"b", "c"}),
            ("state=dead", {"c"}),
            ("state=completed&queue=two", {"b"}),
            ("exit=5-9", {"c"}),
            ("attempted=1", {"c"}),
            ("since=1h&q=e", {"a", "b", "c"}),
            ("since=1h&q=echo&queue=one", {"a"}),
            ("queue=three", set()),
        ):
            ids = set(re.findall(r'<a href="/job\?id=(\w+)" class="id">', self.page(dashboard, "/jobs?" + query).html))
            self.assertEqual(ids, expected, query)
        self.assertRegex(
            self.page(dashboard, "/jobs?queue=two").text, r"all 2 waiting 0 running 0 completed 1 .* dead 1"
        )
        self.assertNotRegex(self.page(dashboard, "/jobs?q=e").text, r"all \d")
        for query in ("since=yesterdayish", "exit=x", "since=" + "9" * 200):
            self.assertIn("notice bad", self.page(dashboard, "/jobs?" + query).html)

    def test_hostile_ids_commands_errors_and_output_are_text(self):
        evil = "<script>alert(1)</script>"
        id = f"x'\"><img/src=x/onerror=alert(1)>{BIDI}/../&amp;"
        self.run_cli("config", "set", "timeout", "60")
        self.rows(
            "INSERT INTO queuectl_jobs (id, queue, command) VALUES (?, ?, ?)", id, evil, f"echo '{evil}{BIDI}\x1b[31m'"
        )
        self.rows("INSERT INTO queuectl_jobs (id, command) VALUES (CAST(x'ff3c' AS TEXT), x'6563686f20ff')")
        self.work()
        self.rows("UPDATE queuectl_jobs SET error = ?, state = 'dead' WHERE id = ?", evil + BIDI, id)
        dashboard = self.serve(writes=True)
        schedule = json.dumps({"command": evil + BIDI, "queue": evil})
        self.rows(
            "INSERT INTO queuectl_schedules (name, kind, expression, template, fault, skipped, skip_reason, paused)"
            " VALUES (?, 'cron', ?, ?, ?, 1, ?, 1)",
            *(id, id, schedule, id, id),
        )
        paths = ["/", "/jobs", "/dlq", "/failures", "/schedules", "/workers", "/job?id=" + urllib.parse.quote(id),
                 "/do/schedule-run?schedule=" + urllib.parse.quote(id), "/job?id=%ff%3C",
                 "/jobs?q=" + urllib.parse.quote(evil), "/jobs?queue=" + urllib.parse.quote(evil),
                 "/do/cancel?id=" + urllib.parse.quote(id), "/do/limits?queue=" + urllib.parse.quote(evil),
                 "/do/edit?id=" + urllib.parse.quote(id), "/job?id=" + urllib.parse.quote(evil),
                 "/jobs?since=%3Cscript%3E",
                 "/do/retry-dead?queue=" + urllib.parse.quote(evil)]  # fmt: skip
        for path in paths:
            page = self.ask(dashboard, path).html
            self.assertNotIn("<script>alert", page, path)
            self.assertNotIn("<img", page, path)
            self.assertNotIn(BIDI, page, path)
            self.assertNotIn("\x1b", page, path)
            for tag in re.findall(r"<[^>]*>", page):
                self.assertNotRegex(tag, r"\son\w+=|style=|javascript:", path)
        page = self.page(dashboard, "/job?id=" + urllib.parse.quote(id))
        self.assertIn(html.escape(evil), page.html)
        self.assertIn('<span class="mark">\\u202e</span>', page.html)
        self.assertIn("\\udcff", self.page(dashboard, "/job?id=%ff%3C").text)

    def test_huge_output_and_commands_are_cut_and_say_so(self):
        self.enqueue("--id", "wide", "head -c 900000 /dev/zero | tr '\\0' x; echo; echo the end")
        self.enqueue("--id", "long", ": " + "y" * 100_000)
        self.work()
        dashboard = self.serve()
        page = self.page(dashboard, "/job?id=wide")
        self.assertLess(len(page.body), 100_000)
        self.assertIn("the end", page.text)
        self.assertIn("Only the end is shown. All that was kept: queuectl logs wide", page.text)
        self.assertLess(len(self.page(dashboard, "/jobs").body), 30_000)

    def test_one_huge_chunk_that_another_program_stored_is_cut(self):
        self.enqueue("--id", "blob", "true")
        self.work()
        self.rows("INSERT INTO queuectl_output VALUES (1, 1, 0, 1, zeroblob(10000000) || CAST('the end' AS BLOB))")
        dashboard = self.serve()
        began = time.perf_counter()
        page = self.page(dashboard, "/job?id=blob")
        self.assertLess(time.perf_counter() - began, 3)
        self.assertIn("the end", page.text)
        self.assertLess(len(page.body), 400_000)

    def test_a_progress_bar_and_colors_are_shown_as_a_terminal_would(self):
        self.enqueue("--id", "bar", r"printf '10%%\r50%%\r100%%\n\033[32mgreen\033[0m\n'")
        self.work()
        self.assertIn('<span class="out">100%\ngreen\n</span>', self.page(self.serve(), "/job?id=bar").html)

    def test_malformed_rows_are_shown(self):
        self.enqueue("--id", "odd", "true")
        self.rows("PRAGMA ignore_check_constraints = ON")
        connection = sqlite3.connect(self.db, isolation_level=None)
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("UPDATE queuectl_jobs SET created_at = 'x', max_retries = x'00', timeout = 'y', env = x'ff'")
        connection.close()
        dashboard = self.serve()
        for path in ("/", "/jobs", "/job?id=odd", "/do/edit?id=odd", "/do/cancel?id=odd"):
            self.assertEqual(self.ask(dashboard, path).status, 200, path)

    def test_pages_for_jobs_and_actions_that_do_not_exist_say_so(self):
        self.enqueue("--id", "there", "true")
        dashboard = self.serve(writes=True)
        for path in ("/job", "/job?id=gone", "/do/cancel?id=gone", "/do/nonsense?id=there", "/do/limits", "/nonsense"):
            answer = self.ask(dashboard, path)
            self.assertEqual(answer.status, 404, path)
            self.assertIn("There is no", answer.text)
        self.assertEqual(self.ask(dashboard, "/do/nonsense", {"id": "there"}).status, 404)

    def test_pages_are_whole_documents_that_need_no_script(self):
        self.enqueue("--id", "one", "true")
        dashboard = self.serve()
        for path in ("/", "/jobs", "/job?id=one", "/dlq", "/failures", "/schedules", "/workers", "/do/cancel?id=one"):
            page = self.page(dashboard, path).html
            self.assertRegex(page, r'^<!doctype html>\n<html lang="en">')
            self.assertEqual(len(re.findall("<h1", page)), 1, path)
            self.assertEqual(len(re.findall("<main", page)), 1, path)
            self.assertRegex(page, "<title>[^<]+</title>")
            ids = re.findall(r' id="([^"]*)"', page)
            self.assertEqual(len(ids), len(set(ids)), path)
            for address in re.findall(r'(?:src|href|action)="([^"]*)"', page):
                self.assertRegex(address, r"^[/#](?!/)", "nothing comes from elsewhere")
            self.assertNotRegex(page, r"(https?:)?//[a-z]")

    def test_the_theme_comes_from_a_cookie(self):
        self.run_cli("enqueue", "true")
        dashboard = self.serve()
        ours = dashboard.guard.cookie().partition(";")[0]
        for value, expected in (
            ("dark", 'data-theme="dark"'),
            ("light", 'data-theme="light"'),
            ('"><b>', "<html lang"),
        ):
            self.assertIn(expected, self.ask(dashboard, cookie=f"queuectl-theme={value}; {ours}").html)

    def test_the_files_of_the_page_are_small_and_hold_no_inline_code(self):
        sizes = [len(frame.file(path)) for path in frame.FILES]
        self.assertLessEqual(sum(sizes), 80 * 1024)
        script = frame.file("/app.js").decode()
        self.assertNotRegex(
            script, r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|https?:"
        )
        self.assertNotRegex(frame.file("/style.css").decode(), r"https?:|@import|url\(")


class ActionsTest(DashboardTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.enqueue("--id", "one", "true")
        self.enqueue("--id", "bad", "--max-retries", "0", "-q", "mail", "false")
        self.dashboard = self.serve(writes=True)

    def act(self, name: str, **fields: str) -> Answer:
        answer = self.ask(self.dashboard, f"/do/{name}", fields)
        self.assertEqual(answer.status, 200, answer.text)
        return answer

    def shown(self, name: str, **fields: str) -> str:
        """The command that the page of an action shows."""
        page = self.page(self.dashboard, f"/do/{name}?{urllib.parse.urlencode(fields)}").html
        command = re.search(r'class="command"><code>(.*?)</code>', page)
        return html.unescape(command.group(1)) if command else ""

    def test_each_action_does_what_its_command_says(self):
        for name, fields, command, query, expected in (
            ("pause", {"queue": "mail"}, "queuectl pause mail",
             "SELECT paused FROM queuectl_queues WHERE name = 'mail'", 1),
            ("resume", {"queue": "mail"}, "queuectl resume mail", "SELECT max(paused) FROM queuectl_queues", 0),
            ("pause", {}, "queuectl pause", "SELECT count(*) FROM queuectl_meta WHERE key = 'paused'", 1),
            ("resume", {}, "queuectl resume", "SELECT count(*) FROM queuectl_meta WHERE key = 'paused'", 0),
            ("edit", {"id": "one", "priority": "7", "command": "echo 'a b'", "to": "x"},
             "queuectl edit '--command=echo '\"'\"'a b'\"'\"'' --priority=7 --queue=x one",
             "SELECT command || priority || queue FROM queuectl_jobs WHERE id = 'one'", "echo 'a b'7x"),
            ("hold", {"id": "one"}, "queuectl hold one", "SELECT held FROM queuectl_jobs WHERE id = 'one'", 1),
            ("release", {"id": "one"}, "queuectl release one", "SELECT held FROM queuectl_jobs WHERE id = 'one'", 0),
            ("cancel", {"id": "one"}, "queuectl cancel one",
             "SELECT state FROM queuectl_jobs WHERE id = 'one'", "cancelled"),
            ("retry", {"id": "one"}, "queuectl retry one",
             "SELECT state FROM queuectl_jobs WHERE id = 'one'", "pending"),
            ("limits", {"queue": "mail", "limit": "3", "rate": "5/s"},
             "queuectl config set mail.limit 3 && queuectl config set mail.rate 5/s",
             "SELECT group_concat(value) FROM (SELECT value FROM queuectl_config ORDER BY key)", "3,5/s"),
            ("limits", {"queue": "mail", "limit": "", "rate": "5/s"}, "queuectl config unset mail.limit",
             "SELECT group_concat(value) FROM queuectl_config", "5/s"),
        ):  # fmt: skip
            self.assertEqual(self.shown(name, **fields), command)
            answer = self.act(name, **fields)
            self.assertIn(f"Done {command}", answer.text)
            self.assertEqual(self.rows(query), [(expected,)], command)

    def test_the_dlq_is_retried_and_deleted_one_by_one_by_queue_and_all_at_once(self):
        self.work()
        self.assertEqual(self.shown("purge", id="bad"), "queuectl dlq purge bad")
        self.assertEqual(self.shown("purge-dead", queue="mail"), "queuectl dlq purge --queue=mail")
        self.act("retry-dead", queue="other")
        self.assertEqual(self.state("bad"), "dead")
        self.act("retry-dead", queue="mail")
        self.assertEqual(self.state("bad"), "pending")
        self.work()
        self.act("retry-dead")
        self.work()
        self.assertIn("Done", self.act("purge-dead").text)
        self.assertEqual(self.rows("SELECT id FROM queuectl_jobs"), [("one",)])

    def test_deleting_and_cancelling_ask_first_and_default_to_no(self):
        self.work()
        self.enqueue("--id", "two", "true")
        for name, fields in (("purge", {"id": "bad"}), ("purge-dead", {}), ("cancel", {"id": "two"})):
            page = self.page(self.dashboard, f"/do/{name}?{urllib.parse.urlencode(fields)}").html
            first = re.search(r"<(\w+)[^>]* data-first[^>]*>([^<]*)", page)
            self.assertTrue(first and first.group(1) == "a" and first.group(2).startswith("No, keep"), name)
            self.assertLess(page.index("No, keep"), page.index('type="submit"'))

    def test_a_running_job_is_cancelled(self):
        self.enqueue("--id", "long", "sleep 60")
        self.start_workers()
        self.wait_for_state("long", "processing")
        self.assertIn("Done", self.act("cancel", id="long").text)
        self.assertEqual(self.state("long"), "cancelled")

    def test_a_refusal_is_shown_in_the_commands_own_words(self):
        for name, fields, words in (
            ("retry", {"id": "one"}, "job one is pending; there is nothing to retry"),
            ("edit", {"id": "one", "priority": "high"}, "--priority: not a whole number"),
            ("limits", {"queue": "mail", "rate": "fast"}, "not a rate"),
            ("edit", {"id": "one", "command": "a\0b"}, "null byte"),
            ("edit", {"id": "one"}, "nothing to change"),
            ("limits", {"queue": "mail", "limit": "--help"}, "limit"),
        ):
            answer = self.act(name, **fields)
            self.assertNotIn("Done", answer.text)
            self.assertIn(words, answer.text)

    def test_ids_that_look_like_options_and_shell_code_stay_one_word(self):
        for id in ("--all", "-x", "$(touch pwned)", "a;b", "`id`", "a b", "é\u202e"):
            self.rows("INSERT INTO queuectl_jobs (id, command) VALUES (?, 'true')", id)
            self.act("cancel", id=id)
            self.assertEqual(self.state(id), "cancelled")
        self.assertEqual(self.state("one"), "pending")
        self.assertFalse(os.path.exists("pwned"))

    def test_a_dashboard_of_a_named_file_names_it_in_its_commands(self):
        dashboard = Dashboard(self.db, 0, Shell("my queue.db"), False, [])
        dashboard.start()
        self.addCleanup(dashboard.stop)
        self.assertIn("queuectl --db 'my queue.db' cancel one", self.page(dashboard, "/do/cancel?id=one").text)


class ScaleTest(DashboardTestCase):
    def test_pages_of_many_jobs_are_quick(self):
        """The benchmark with a million is in docs/dashboard.md; this one would notice a scan per page."""
        self.run_cli("enqueue", "true")
        many = 60_000
        self.rows(
            "INSERT INTO queuectl_jobs (id, command, queue, state, finished_at, ready, attempts, last_attempt,"
            " max_retries, backoff_base, backoff_max, timeout, kill_grace, output_limit, defer_limit)"
            " WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            " SELECT 'j' || i, 'echo ' || i, 'q' || (i % 5), 'completed', 1e9 + i, NULL, 1, 1, 3, 2, 9, 0, 9, 9, 9"
            " FROM n",
            many,
        )
        dashboard = self.serve()
        self.page(dashboard, "/")
        for path in ("/", "/jobs", "/jobs?state=completed", "/jobs?queue=q3", "/dlq", "/failures", "/schedules",
                     "/workers", "/job?id=j500",
                     "/jobs?state=completed&before=1000030000.0_30001"):  # fmt: skip
            began = time.perf_counter()
            self.page(dashboard, path)
            self.assertLess(time.perf_counter() - began, 0.5, path)

    def test_every_state_has_a_symbol(self):
        from queuectl_core.views.dashboard.parts import SYMBOLS

        self.assertLessEqual(set(STATES), set(SYMBOLS))
