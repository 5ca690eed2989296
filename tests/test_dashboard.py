"""The dashboard over HTTP: what its pages show, and whom it refuses."""

from __future__ import annotations

import html
import http.client
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.parse
from typing import Any

from queuectl_core.lifecycle import STATES
from queuectl_core.views.dashboard import deadlines, frame, server
from queuectl_core.views.dashboard.server import Dashboard
from queuectl_core.views.dashboard.view import Shell
from tests.harness import IS_ROOT, PROGRAM, QueueTestCase, sleep_to_see_nothing_happen, wait_until

BIDI = "\u202e"


class Answer:
    """A response, read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def html(self) -> str:
        return self.body.decode()

    @property
    def text(self) -> str:
        """What a browser would show, on one line."""
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", self.html)).split())


class DashboardTestCase(QueueTestCase):
    """A dashboard in this process."""

    def serve(self, writes: bool = False, db: str | None = None) -> Dashboard:
        """Serve the test's queue until the test ends."""
        dashboard = Dashboard(db or self.db, 0, Shell(None), writes, [sys.executable, PROGRAM])
        dashboard.start()
        self.addCleanup(dashboard.stop)
        return dashboard

    def work(self, *words: str) -> None:
        """Run all jobs, whatever becomes of them."""
        self.run_cli("worker", "start", "--drain", "--foreground", *words, code=None)

    def ask(
        self,
        dashboard: Dashboard,
        path: str = "/",
        fields: dict[str, str] | None = None,
        cookie: str | None = "",
        **headers: str | None,
    ) -> Answer:
        """GET a page, or POST `fields`, as its own page would. `cookie`: None for none, "" for the right one."""
        sent: dict[str, str | None] = {"Host": f"127.0.0.1:{dashboard.port}"}
        if cookie is not None:
            sent["Cookie"] = cookie or dashboard.guard.cookie().partition(";")[0]
        body = None
        if fields is not None:
            body = urllib.parse.urlencode(fields).encode()
            sent["Content-Type"] = "application/x-www-form-urlencoded"
            sent["Origin"] = f"http://127.0.0.1:{dashboard.port}"
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        connection = http.client.HTTPConnection("127.0.0.1", dashboard.port, timeout=20)
        try:
            connection.putrequest("GET" if fields is None else "POST", path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                if value is not None:
                    connection.putheader(name, value)
            if body is not None and "Content-Length" not in sent:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def page(self, dashboard: Dashboard, path: str) -> Answer:
        """A page that must be there."""
        answer = self.ask(dashboard, path)
        self.assertEqual(answer.status, 200, answer.text[:600])
        return answer


class GuardTest(DashboardTestCase):
    """An attack per defense."""

    def setUp(self) -> None:
        super().setUp()
        self.enqueue("--id", "secret-job", "true")
        self.dashboard = self.serve(writes=True)

    def test_it_listens_on_the_loopback_interface_only(self):
        self.assertEqual(self.dashboard.server_address[0], "127.0.0.1")
        with self.assertRaises(OSError):
            socket.create_connection((socket.gethostbyname(socket.gethostname()), self.dashboard.port), 2).close()
            if socket.gethostbyname(socket.gethostname()).startswith("127."):
                raise OSError  # This machine's name is the loopback interface, so nothing can be told.

    def test_a_name_that_was_rebound_to_this_machine_gets_nothing(self):
        port = self.dashboard.port
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", "localhost", "",
                     f"127.0.0.1.evil.example:{port}", f"localhost.:{port}", f"[::2]:{port}", None):  # fmt: skip
            for path in ("/", "/app.js", "/events"):
                answer = self.ask(self.dashboard, path, Host=host)
                self.assertEqual(answer.status, 421, (host, path))
                self.assertNotIn(b"secret-job", answer.body)
            self.assertEqual(
                self.ask(self.dashboard, "/session", {"key": self.dashboard.guard.key}, Host=host).status, 421
            )
        for host in (f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}", f"127.0.0.1:{port}"):
            self.assertEqual(self.ask(self.dashboard, "/jobs", Host=host).status, 200, host)

    def test_two_host_headers_are_refused(self):
        lines = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{self.dashboard.port}\r\nHost: evil.example\r\n\r\n"
        self.assertIn(b" 421 ", self.raw(lines.encode())[:40])

    def test_without_the_cookie_every_page_only_asks_for_the_key(self):
        for cookie in (None, "queuectl=x", f"queuectl-{self.dashboard.port}=", f"queuectl-{self.dashboard.port}=wrong",
                       f"queuectl-{self.dashboard.port}={self.dashboard.guard.key}"):  # fmt: skip
            for path in (
                "/",
                "/jobs",
                "/job?id=secret-job",
                "/dlq",
                "/workers",
                "/events",
                "/do/cancel?id=secret-job",
                "/x",
            ):
                answer = self.ask(self.dashboard, path, cookie=cookie)
                self.assertEqual(answer.status, 401, path)
                self.assertNotIn("secret-job", answer.html)
                self.assertNotIn(self.db, answer.html)
                self.assertNotIn(self.dashboard.guard.key, answer.html)
            answer = self.ask(self.dashboard, "/do/cancel", {"id": "secret-job"}, cookie=cookie)
            self.assertEqual(answer.status, 401)
        self.assertEqual(self.state("secret-job"), "pending")

    def test_the_key_is_exchanged_for_a_cookie_that_scripts_and_other_sites_cannot_use(self):
        answer = self.ask(self.dashboard, "/session", {"key": self.dashboard.guard.key}, cookie=None)
        self.assertEqual(answer.status, 303)
        value, *attributes = answer.headers["Set-Cookie"].split("; ")
        self.assertEqual(set(attributes), {"HttpOnly", "SameSite=Strict", "Path=/"})
        self.assertNotIn(self.dashboard.guard.key, value)
        self.assertEqual(self.ask(self.dashboard, "/jobs", cookie=f"a=b; {value}").status, 200)
        for key in ("", "x", self.dashboard.guard.key[:-1], self.dashboard.guard.key + "x", "\udcff"):
            answer = self.ask(self.dashboard, "/session", {"key": key.encode("utf-8", "surrogateescape")}, cookie=None)
            self.assertEqual((answer.status, answer.headers["Set-Cookie"]), (401, None))
        self.assertEqual(self.ask(self.dashboard, f"/?key={self.dashboard.guard.key}", cookie=None).status, 401)

    def test_a_page_of_another_site_cannot_change_anything(self):
        ours = f"http://127.0.0.1:{self.dashboard.port}"
        for headers in (
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": None},
            {"Origin": f"https://127.0.0.1:{self.dashboard.port}"},
            {"Origin": "http://127.0.0.1"},
            {"Origin": f"http://localhost:{self.dashboard.port}"},  # Another name than the Host.
            {"Origin": ours, "Sec_Fetch_Site": "cross-site"},
            {"Origin": ours, "Sec_Fetch_Site": "same-site"},  # Another port of this machine.
            {"Origin": ours, "Sec_Fetch_Site": "none"},
        ):
            for path, fields in (("/do/cancel", {"id": "secret-job"}), ("/session", {"key": self.dashboard.guard.key})):
                answer = self.ask(self.dashboard, path, fields, **headers)
                self.assertEqual((answer.status, answer.headers["Set-Cookie"]), (403, None), headers)
        self.assertEqual(self.state("secret-job"), "pending")

    def test_a_get_changes_nothing(self):
        for path in ("/do/cancel?id=secret-job", "/do/pause", "/do/edit?id=secret-job&priority=9"):
            self.assertEqual(self.ask(self.dashboard, path).status, 200)
        self.assertEqual(self.state("secret-job"), "pending")
        self.assertEqual(self.rows("SELECT priority FROM queuectl_jobs"), [(0,)])
        self.assertNotIn("paused", self.run_cli("status").stdout)

    def test_a_read_only_dashboard_changes_nothing(self):
        dashboard = self.serve(writes=False)
        answer = self.ask(dashboard, "/do/cancel", {"id": "secret-job"})
        self.assertEqual(answer.status, 403)
        self.assertIn("--read-write", answer.text)
        self.assertEqual(self.state("secret-job"), "pending")
        self.assertNotIn('type="submit"', self.page(dashboard, "/do/cancel?id=secret-job").html)

    def test_the_connection_of_a_page_cannot_write(self):
        store = self.dashboard.open_reader()
        with self.assertRaisesRegex(Exception, "not writable"):
            store._execute("DELETE FROM queuectl_jobs")
        store.close()

    def test_every_answer_forbids_scripts_frames_sniffing_referrers_and_caches(self):
        for answer in (
            self.ask(self.dashboard),
            self.ask(self.dashboard, cookie=None),
            self.ask(self.dashboard, "/app.js"),
            self.ask(self.dashboard, "/x"),
            self.ask(self.dashboard, Host="evil"),
            self.ask(self.dashboard, "/session", {}, Origin="null"),
        ):
            policy = answer.headers["Content-Security-Policy"]
            for part in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'",
                         "form-action 'self'", "require-trusted-types-for 'script'"):  # fmt: skip
                self.assertIn(part, policy)
            self.assertNotIn("unsafe", policy)
            self.assertEqual(answer.headers["X-Content-Type-Options"], "nosniff")
            self.assertEqual(answer.headers["Referrer-Policy"], "no-referrer")
            self.assertEqual(answer.headers["Cache-Control"], "no-store")
            self.assertIsNone(answer.headers["Access-Control-Allow-Origin"])
            self.assertNotIn("Python", answer.headers.get("Server", ""))

    def test_other_methods_malformed_requests_and_paths_out_of_the_page_folder_are_refused(self):
        self.assertIn(b" 501 ", self.raw(b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n")[:40])
        self.assertIn(b" 400 ", self.raw(b"\x16\x03\x01 nonsense\r\n\r\n")[:60])
        self.assertIn(b" 505 ", self.raw(b"GET / HTTP/9.0\r\nHost: x\r\n\r\n")[:40])
        for path in ("/style.css/../../server.py", "/%2e%2e/server.py", "/page/app.js", "/server.py"):
            self.assertEqual(self.ask(self.dashboard, path).status, 404, path)

    def test_bodies_paths_headers_and_fields_are_bounded(self):
        self.assertEqual(self.ask(self.dashboard, "/jobs?q=" + "x" * 5000).status, 414)
        self.assertEqual(self.ask(self.dashboard, "/do/edit", {"id": "x" * 600_000}).status, 413)
        for length in ("-1", "x", "9" * 40, "1e3", None):
            answer = self.ask(self.dashboard, "/do/edit", {"id": "x"}, Content_Length=length)
            self.assertIn(answer.status, (411, 413), length)
        self.assertEqual(self.ask(self.dashboard, "/do/edit", {"id": "x"}, Transfer_Encoding="chunked").status, 411)
        self.assertEqual(self.ask(self.dashboard, "/do/edit", {"id": "x"}, Content_Type="text/plain").status, 415)
        many = "&".join(f"a{n}=1" for n in range(300))
        self.assertIn("secret-job", self.page(self.dashboard, "/jobs?" + many).text)
        self.assertIn(self.ask(self.dashboard, X="y" * 70_000).status, (400, 431))

    def raw(self, request: bytes, patience: float = 20) -> bytes:
        """Send bytes; return everything that comes back until the connection ends."""
        with socket.create_connection(("127.0.0.1", self.dashboard.port), patience) as connection:
            connection.sendall(request)
            answer = b""
            while True:
                piece = connection.recv(65536)
                answer += piece
                if not piece:
                    return answer

    def test_a_client_that_sends_a_byte_now_and_then_is_cut_off(self):
        self.patch(server, "READ_TIME", 0.6)
        self.patch(deadlines, "SWEEP", 0.1)
        dashboard = self.serve()
        with socket.create_connection(("127.0.0.1", dashboard.port), 20) as connection:
            began = time.monotonic()
            try:
                for letter in b"GET / HTTP/1.1\r\nX-Slow: " + b"x" * 100:
                    connection.sendall(bytes([letter]))
                    sleep_to_see_nothing_happen(0.05)
            except OSError:
                pass
            self.assertLess(time.monotonic() - began, 3)

    def test_more_connections_than_it_can_serve_are_refused_and_later_ones_are_served(self):
        self.patch(server, "MOST_CONNECTIONS", 4)
        dashboard = self.serve()
        held = [socket.create_connection(("127.0.0.1", dashboard.port), 20) for _ in range(4)]
        wait_until(lambda: dashboard.deadlines.count() == 4)
        self.assertEqual(self.ask(dashboard).status, 503)
        for connection in held:
            connection.close()
        wait_until(lambda: dashboard.deadlines.count() == 0)
        self.assertEqual(self.ask(dashboard).status, 200)

    def patch(self, module: Any, name: str, value: object) -> None:
        """Set a module's constant until the test ends."""
        self.addCleanup(setattr, module, name, getattr(module, name))
        setattr(module, name, value)


class PagesTest(DashboardTestCase):
    def test_the_overview_shows_every_queue_with_its_numbers_and_what_needs_attention(self):
        self.enqueue("-q", "mail", "true")
        self.enqueue("-q", "mail", "true")
        self.enqueue("--id", "doomed", "--max-retries", "0", "false")
        self.run_cli("config", "set", "mail.limit", "2")
        self.run_cli("pause", "mail")
        self.work("-q", "default")
        text = self.page(self.serve(), "/").text
        self.assertIn("No worker is running, and 2 jobs wait. queuectl worker start", text)
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
        lanes = re.findall(r'aria-label="Worker (\d+) ran (\d+) attempts"', page)
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

    def test_a_list_goes_on_at_the_last_job_of_the_page_and_loses_none(self):
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
        paths = ["/", "/jobs", "/dlq", "/failures", "/workers", "/job?id=" + urllib.parse.quote(id), "/job?id=%ff%3C",
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
        page = self.page(dashboard, paths[4])
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
        page = self.page(self.serve(), "/job?id=blob")
        self.assertIn("the end", page.text)
        self.assertLess(len(page.body), 3_000_000)

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
        for path in ("/", "/jobs", "/job?id=one", "/dlq", "/failures", "/workers", "/do/cancel?id=one"):
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

    def test_deleting_and_cancelling_ask_first_and_the_answer_at_hand_is_no(self):
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

    def test_what_the_command_refuses_is_shown_in_its_words(self):
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


class LiveTest(DashboardTestCase):
    def listen(self, dashboard: Dashboard) -> Any:
        """Open a stream; returns a function that returns its next event's number."""
        connection = http.client.HTTPConnection("127.0.0.1", dashboard.port, timeout=20)
        self.addCleanup(connection.close)
        cookie = dashboard.guard.cookie().partition(";")[0]
        connection.request("GET", "/events", headers={"Cookie": cookie})
        response = connection.getresponse()
        self.assertEqual((response.status, response.headers["Content-Type"]), (200, "text/event-stream"))

        def number() -> int:
            while True:
                line = response.readline()
                if line.startswith(b"data: "):
                    return int(line[6:])
                self.assertTrue(line, "the stream ended")

        return number

    def test_a_change_of_the_file_is_told_within_a_second_or_two(self):
        self.enqueue("true")
        dashboard = self.serve()
        number = self.listen(dashboard)
        seen = number()
        while True:  # The first time that somebody listens is a change.
            later = self.next_within(number, 1.5)
            if later is None:
                break
            seen = later
        began = time.monotonic()
        self.enqueue("true")
        self.assertGreater(wait_until(lambda: self.next_within(number, 10)), seen)
        self.assertLess(time.monotonic() - began, 4)

    _reading: threading.Thread | None = None

    def next_within(self, number: Any, seconds: float) -> int | None:
        """The next event, if it comes that soon."""
        if self._reading is None:
            self._got: list[int] = []
            self._reading = threading.Thread(target=lambda: self._got.append(number()), daemon=True)
            self._reading.start()
        self._reading.join(seconds)
        if self._reading.is_alive():
            return None
        self._reading = None
        return self._got[0]

    def test_a_quiet_stream_shows_signs_of_life(self):
        self.enqueue("true")
        self.addCleanup(setattr, server, "HEARTBEAT", server.HEARTBEAT)
        server.HEARTBEAT = 0.2
        number = self.listen(self.serve())
        self.assertEqual(len([number() for _ in range(6)]), 6)

    def test_streams_that_browsers_leave_are_given_up_and_too_many_are_refused(self):
        self.enqueue("true")
        self.addCleanup(setattr, server, "MOST_STREAMS", server.MOST_STREAMS)
        server.MOST_STREAMS = 2
        dashboard = self.serve()
        held = []
        for _ in range(2):
            connection = socket.create_connection(("127.0.0.1", dashboard.port), 20)
            cookie = dashboard.guard.cookie().partition(";")[0]
            head = f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{dashboard.port}\r\nCookie: {cookie}\r\n\r\n"
            connection.sendall(head.encode())
            self.assertIn(b"200", connection.recv(100))
            held.append(connection)
        self.assertEqual(self.ask(dashboard, "/events").status, 503)
        for connection in held:
            connection.close()
        wait_until(lambda: dashboard.deadlines.count() == 0)

    def test_an_idle_dashboard_watches_only_while_somebody_listens(self):
        self.enqueue("true")
        dashboard = self.serve()
        opened = []
        really = dashboard.open_reader
        dashboard.live._open_reader = lambda: opened.append(1) or really()
        sleep_to_see_nothing_happen(0.7)
        self.assertEqual(opened, [])
        number = self.listen(dashboard)
        number()
        wait_until(lambda: opened)


class FileTest(DashboardTestCase):
    """The file is missing, locked, replaced, too new or no database."""

    def setUp(self) -> None:
        super().setUp()
        self.enqueue("--id", "one", "true")
        self.dashboard = self.serve()
        self.assertIn("one", self.page(self.dashboard, "/jobs").text)

    def test_a_file_that_disappears_gets_a_helpful_page_and_is_shown_again_when_it_is_back(self):
        os.rename(self.db, self.db + ".away")
        for path in ("/", "/jobs", "/job?id=one", "/do/cancel?id=one"):
            answer = self.ask(self.dashboard, path)
            self.assertEqual(answer.status, 503)
            self.assertIn("The queue cannot be read", answer.text)
            self.assertIn("queuectl enqueue", answer.text)
        self.assertFalse(os.path.exists(self.db))
        os.rename(self.db + ".away", self.db)
        self.assertIn("one", self.page(self.dashboard, "/jobs").text)

    def test_one_connection_goes_on_after_the_file_was_replaced(self):
        self.run_cli("--db", self.path("other.db"), "enqueue", "--id", "other", "true")
        connection = http.client.HTTPConnection("127.0.0.1", self.dashboard.port, timeout=20)
        self.addCleanup(connection.close)
        headers = {"Cookie": self.dashboard.guard.cookie().partition(";")[0]}
        for id in ("one", "other"):
            connection.request("GET", "/jobs", headers=headers)
            self.assertIn(f">{id}<", connection.getresponse().read().decode())
            os.replace(self.path("other.db"), self.db) if id == "one" else None

    def test_a_locked_file_gets_a_helpful_page(self):
        self.addCleanup(setattr, server, "PATIENCE", server.PATIENCE)
        server.PATIENCE = 0.1
        connection = sqlite3.connect(self.db, isolation_level=None)
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("DELETE FROM queuectl_config")
        try:
            wait_until(lambda: self.dashboard.deadlines.count() == 0)
            answer = self.ask(self.dashboard, "/jobs")
        finally:
            connection.close()
        self.assertEqual(answer.status, 503)
        self.assertIn("locked", answer.text)
        self.assertEqual(self.ask(self.dashboard, "/jobs").status, 200)

    def test_a_file_of_a_newer_version_and_one_that_is_no_database_get_a_helpful_page(self):
        self.rows("UPDATE queuectl_meta SET value = 999 WHERE key = 'schema'")
        answer = self.ask(self.dashboard, "/jobs")
        self.assertEqual(answer.status, 503)
        self.assertIn("created by a newer queuectl", answer.text)
        os.unlink(self.db)
        self.write("q.db", b"not a database" * 1000)
        answer = self.ask(self.dashboard, "/jobs")
        self.assertEqual(answer.status, 503)
        self.assertIn("not a SQLite database", answer.text)

    def test_a_backup_is_shown_even_in_a_folder_that_cannot_be_written(self):
        os.mkdir(self.path("safe"))
        self.run_cli("backup", self.path("safe/copy.db"))
        os.chmod(self.path("safe/copy.db"), 0o444)
        before = os.listdir(self.path("safe"))
        dashboard = self.serve(db=self.path("safe/copy.db"))
        self.assertIn("one", self.page(dashboard, "/jobs").text)
        if not IS_ROOT:
            os.chmod(self.path("safe"), 0o555)
            self.addCleanup(os.chmod, self.path("safe"), 0o755)
            self.assertIn("one", self.page(dashboard, "/jobs").text)
        dashboard.stop()
        self.assertEqual(os.listdir(self.path("safe")), before)


class CommandTest(QueueTestCase):
    """The command itself, as a process."""

    def setUp(self) -> None:
        super().setUp()
        self.enqueue("--id", "one", "true")

    def start(self, *words: str) -> tuple[subprocess.Popen[bytes], str]:
        """Start a dashboard; returns its process and its address."""
        process = self.start_cli("dashboard", "--port", "0", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return process, process.stdout.readline().decode().strip()

    def test_it_prints_its_address_and_how_to_reach_it_and_ends_cleanly_on_signals(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process, address = self.start()
            match = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/#([\w-]{32})", address)
            self.assertTrue(match, address)
            connection = http.client.HTTPConnection("127.0.0.1", int(match.group(1)), timeout=20)
            connection.request("GET", "/")
            self.assertEqual(connection.getresponse().status, 401)
            process.send_signal(number)  # With the connection still open.
            _, said = process.communicate(timeout=20)
            connection.close()
            self.assertEqual(process.returncode, 0)
            self.assertIn(f"ssh -N -L {match.group(1)}:127.0.0.1:{match.group(1)} HOST".encode(), said)
            self.assertIn(b"read-only; to allow changes, add --read-write", said)
            self.assertNotIn(match.group(2).encode(), said)
            self.assertEqual(sorted(os.listdir(self.folder)), ["home", "q.db"], "the file is a single one again")

    def test_bad_input_gets_one_line_and_its_exit_code(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            for code, words, said in (
                (1, ["--port", port], f"cannot listen on port {port}: address already in use"),
                (2, ["--port", "x"], "--port: not a whole number from 0 to 65535"),
                (2, ["--port", "65536"], "--port"),
                (2, ["--port", "-1"], "--port"),
                (2, ["--host", "0.0.0.0"], "--host"),
                (3, ["--db", self.path("none.db")], "none.db"),
                (3, ["--db", self.folder], ""),
                (3, ["--db", self.write("text", "no database" * 99)], "not a SQLite database"),
            ):
                result = self.run_cli("dashboard", *words, code=code)
                self.assertIn(said, result.stderr)
                self.assertEqual((len(result.stderr.splitlines()), result.stdout), (1, ""))
        self.assertFalse(os.path.exists(self.path("none.db")))

    def test_open_shows_the_browser_a_private_file_instead_of_the_key(self):
        browser = self.write("browser", '#!/bin/sh\necho "$1" >"$HOME/address"\n')
        os.chmod(browser, 0o755)
        environment = {"BROWSER": f"{browser} %s", "XDG_RUNTIME_DIR": self.home, "DISPLAY": None}
        process = self.start_cli("dashboard", "--port", "0", "--open", env=environment, stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL)  # fmt: skip
        address = process.stdout.readline().decode().strip()
        opened = wait_until(lambda: self.read("home/address").strip())
        self.assertNotIn(address.partition("#")[2], opened)
        path = opened[len("file://") :]
        with open(path) as file:
            self.assertIn(address, file.read())
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
        self.assertFalse(os.path.exists(path))

    def test_the_bundle_and_the_package_contain_the_files_of_the_page(self):
        bundle = self.path("queuectl.pyz")
        self.run_cli("bundle", bundle)
        process = self.start_cli("dashboard", "--port", "0", program=bundle, stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL)  # fmt: skip
        port = int(process.stdout.readline().split(b":")[2].split(b"/")[0])
        for path in frame.FILES:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("GET", path)
            self.assertEqual(connection.getresponse().read(), frame.file(path))
            connection.close()


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
        for path in ("/", "/jobs", "/jobs?state=completed", "/jobs?queue=q3", "/dlq", "/failures", "/workers",
                     "/job?id=j500",
                     "/jobs?state=completed&before=1000030000.0_30001"):  # fmt: skip
            began = time.perf_counter()
            self.page(dashboard, path)
            self.assertLess(time.perf_counter() - began, 0.5, path)

    def test_every_state_has_a_symbol(self):
        from queuectl_core.views.dashboard.parts import SYMBOLS

        self.assertLessEqual(set(STATES), set(SYMBOLS))
