"""Shared by the dashboard's tests: a dashboard in this process, and requests as a browser would send them."""

from __future__ import annotations

import html
import http.client
import re
import sys
import urllib.parse

from queuectl_core.views.dashboard.server import Dashboard
from queuectl_core.views.dashboard.view import Shell
from tests.harness import PROGRAM, QueueTestCase


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
