"""The dashboard over HTTP: which requests it refuses, how it stays live, and what it says about unusable files."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from typing import Any

from queuectl_core.views.dashboard import deadlines, frame, server
from queuectl_core.views.dashboard.server import Dashboard
from tests.dashboard_case import DashboardTestCase
from tests.harness import IS_ROOT, QueueTestCase, sleep_to_see_nothing_happen, wait_until


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
            {"Origin": "null", "Sec_Fetch_Site": "cross-site"},
            {"Origin": "null", "Sec_Fetch_Site": "same-site"},
            {"Origin": None, "Sec_Fetch_Site": "same-origin"},
            {"Origin": "http://evil.example", "Sec_Fetch_Site": "same-origin"},
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
        whole = f"GET /app.js HTTP/1.1\r\nHost: 127.0.0.1:{dashboard.port}\r\n\r\n".encode()
        for earlier in (b"", whole):  # Also in the second request of a connection.
            with socket.create_connection(("127.0.0.1", dashboard.port), 20) as connection:
                connection.sendall(earlier)
                connection.recv(1) if earlier else None
                began = time.monotonic()
                try:
                    for letter in b"GET / HTTP/1.1\r\nX-Slow: " + b"x" * 200:
                        connection.sendall(bytes([letter]))
                        sleep_to_see_nothing_happen(0.05)
                except OSError:
                    pass
                self.assertLess(time.monotonic() - began, 5)

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

    def test_a_change_of_the_file_is_announced_within_a_second_or_two(self):
        self.enqueue("true")
        dashboard = self.serve()
        number = self.listen(dashboard)
        seen = number()
        while True:  # The first listener counts as a change.
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

    def test_abandoned_streams_are_closed_and_too_many_are_refused(self):
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
        wait_until(lambda: dashboard.deadlines.count() == 0, 10)  # Before a heartbeat would find out.

    def test_an_idle_dashboard_watches_only_while_a_client_listens(self):
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

    def test_a_connection_keeps_working_after_the_file_was_replaced(self):
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

    def test_a_file_of_a_newer_version_or_that_is_not_a_database_gets_a_helpful_page(self):
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
            host = {"Origin": address.partition("/#")[0], "Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", "/session", f"key={match.group(2)}", host)
            signed_in = connection.getresponse()
            signed_in.read()
            connection.request("GET", "/jobs", headers={"Cookie": signed_in.headers["Set-Cookie"].partition(";")[0]})
            self.assertIn(b"one", connection.getresponse().read())
            process.send_signal(number)  # With the connection, and its file, still open.
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
