"""HTTP: whether a request is answered, with what, and how long it can take.

A thread per connection, at most MOST_CONNECTIONS, each with its own read-only connection to the file. A page is
complete in memory before its first byte is sent, so no transaction stays open for a slow client. Each connection has a
deadline for whatever it is doing; one thread closes those that miss it.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from ...errors import DatabaseUnusable, QueueError
from ...store.reader import Reader
from ...typed import NamedTuple
from .. import metrics
from . import actions, frame, guard, site
from .deadlines import Deadlines
from .live import Live
from .view import Frame, View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .markup import Markup
    from .view import Shell

MOST_CONNECTIONS = 64
MOST_STREAMS = 24
LONGEST_PATH = 4096  # Bytes.
LARGEST_BODY = 512 * 1024  # Bytes: the longest command with all of its letters as %XX.
MOST_FIELDS = 40
READ_TIME = 15.0  # Seconds in which a request must arrive, or a connection without one is closed.
WORK_TIME = 120.0  # Seconds in which a reply must have been sent.
HEARTBEAT = 15.0  # Seconds between signs of life on a stream.
PATIENCE = 1.0  # Seconds to wait for a locked file before saying so.
LINGER = 2.0  # Seconds that a refused client gets to read why.
GOODBYE = 3.0  # Seconds that threads get to close their files at the end.


class Reply(NamedTuple):
    """An answer: its status, its type, its body, and more headers."""

    status: int
    kind: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Refusal(Exception):
    """A request that gets a line of plain text, and whose connection ends, since its body hasn't been read."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class Dashboard(ThreadingHTTPServer):
    """The server, bound to the loopback interface. Raises OSError if the port isn't available."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    # Whether anything on this machine may read /metrics without the key.
    shows_metrics = False

    def __init__(self, path: str, port: int, shell: Shell, writes: bool, program: Sequence[str]) -> None:
        """Serve the queue file `path` on `port` (0: any free one).

        `writes`: users may change things, with the command line `program`, which starts queuectl.
        """
        self.file = path
        self.program = program
        self.shell = shell
        self.writes = writes
        self.deadlines = Deadlines()
        super().__init__(("127.0.0.1", port), Handler)
        self.guard = guard.Guard(self.port)
        self.live = Live(self.open_reader)

    @property
    def port(self) -> int:
        """The port it listens on."""
        number: int = self.server_address[1]
        return number

    @property
    def address(self) -> str:
        """What to open in a browser, with the key."""
        return f"http://127.0.0.1:{self.port}/#{self.guard.key}"

    def open_reader(self) -> Reader:
        """Open the file for reading. Raises DatabaseUnusable."""
        store = Reader(self.file, patience=PATIENCE, must_exist=True)
        store.forbid_writes()
        return store

    def start(self) -> None:
        """Serve in separate threads."""
        self.live.start()
        for work in (self.serve_forever, self.deadlines.run):
            threading.Thread(target=work, daemon=True).start()

    def stop(self) -> None:
        """Close every connection and every file."""
        self.shutdown()
        self.server_close()
        self.live.stop()
        self.deadlines.end()
        until = time.monotonic() + GOODBYE
        while self.deadlines.count() and time.monotonic() < until:
            time.sleep(0.01)

    def server_bind(self) -> None:
        # HTTPServer's would look up our own name, which can take seconds without a network.
        socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", self.port

    def process_request(self, request: Any, client_address: Any) -> None:
        if self.deadlines.count() >= MOST_CONNECTIONS:
            try:
                request.settimeout(1)
                request.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            except OSError:
                pass
            self.shutdown_request(request)
            return
        self.deadlines.set(request, READ_TIME)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.deadlines.drop(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections break all the time: browsers close them."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = READ_TIME  # For each read and write.
    server: Dashboard
    _store: Reader | None = None

    # --- one request after the other ------------------------------------------------------------

    def handle_one_request(self) -> None:
        self.server.deadlines.set(self.connection, READ_TIME)
        super().handle_one_request()

    def finish(self) -> None:
        self._forget_store()
        super().finish()

    def do_GET(self) -> None:
        self._answer(self._get)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, method: Any) -> None:
        self.server.deadlines.set(self.connection, WORK_TIME)
        try:
            if len(self.path) > LONGEST_PATH:
                raise Refusal(HTTPStatus.REQUEST_URI_TOO_LONG, "The address is too long.")
            if not self.server.guard.is_our_host(self.headers):
                text = "The dashboard answers only to 127.0.0.1, [::1] and localhost, with its port."
                raise Refusal(HTTPStatus.MISDIRECTED_REQUEST, text)
            reply: Reply | None = method()
        except Refusal as refusal:
            self.close_connection = True
            self._send(Reply(refusal.status, "text/plain; charset=utf-8", f"{refusal}\n".encode()))
            self._linger()
            return
        except DatabaseUnusable as error:
            self._forget_store()
            reply = self._page(HTTPStatus.SERVICE_UNAVAILABLE, *frame.unusable(self._frame(), error))
        except QueueError as error:
            reply = self._page(HTTPStatus.BAD_REQUEST, *frame.refused(self._frame(), str(error)))
        except OSError:
            raise  # The client is gone.
        except Exception as error:  # A bug must not end the connection without a word.
            bug = frame.refused(self._frame(), f"This is a bug in queuectl, please report it: {error!r}")
            reply = self._page(HTTPStatus.INTERNAL_SERVER_ERROR, *bug)
        if reply is not None:
            self._send(reply)

    # --- what there is ----------------------------------------------------------------------------

    def _get(self) -> Reply | None:
        parts = urlsplit(self.path)
        if parts.path in frame.FILES:
            return Reply(HTTPStatus.OK, frame.FILES[parts.path], frame.file(parts.path))
        if parts.path == "/metrics" and self.server.shows_metrics:
            return self._metrics()
        if not self.server.guard.is_signed_in(self.headers):
            return Reply(HTTPStatus.UNAUTHORIZED, frame.HTML, frame.sign_in(guard.theme(self.headers)).encode())
        if parts.path == "/metrics":
            return self._metrics()
        if parts.path == "/events":
            self._stream()
            return None
        page = site.page(parts.path)
        if page is None:
            return self._page(HTTPStatus.NOT_FOUND, *frame.refused(self._frame(), "There is no such page."))
        view = self._view(self._fields(parts.query))
        with view.store.snapshot():
            title, main = page(view)
        return self._page(HTTPStatus.OK if title else HTTPStatus.NOT_FOUND, title or "Not found", main)

    def _metrics(self) -> Reply:
        """The metrics for Prometheus, in the format that it asks for."""
        form = "openmetrics" if "application/openmetrics-text" in (self.headers["Accept"] or "") else "prometheus"
        body = metrics.text(self._open(), time.time(), form).encode()
        return Reply(HTTPStatus.OK, metrics.FORMATS[form], body)

    def _post(self) -> Reply:
        if not self.server.guard.is_our_page(self.headers):
            raise Refusal(HTTPStatus.FORBIDDEN, "Only the dashboard's own pages can ask for that.")
        fields = self._body()
        path = urlsplit(self.path).path
        if path == "/session":
            return self._sign_in(fields)
        if not self.server.guard.is_signed_in(self.headers):
            return Reply(HTTPStatus.UNAUTHORIZED, frame.HTML, frame.sign_in(guard.theme(self.headers)).encode())
        if not path.startswith(site.ACTION):
            return self._page(HTTPStatus.NOT_FOUND, *frame.refused(self._frame(), "There is no such page."))
        if not self.server.writes:
            refusal = "This dashboard is read-only. To allow changes, start it with --read-write."
            return self._page(HTTPStatus.FORBIDDEN, *frame.refused(self._frame(), refusal))
        title, main = actions.act(self._view(fields), path[len(site.ACTION) :], self.server.program)
        return self._page(HTTPStatus.OK if title else HTTPStatus.NOT_FOUND, title or "Not found", main)

    def _view(self, fields: dict[str, str]) -> View:
        """What a page is given. Raises DatabaseUnusable."""
        return View(self._open(), time.time(), self._frame()._replace(query=fields))

    def _sign_in(self, fields: dict[str, str]) -> Reply:
        """Exchange the key for the cookie. Without a key, says whether the browser has the cookie already."""
        if not (self.server.guard.is_key(fields.get("key", "")) or self.server.guard.is_signed_in(self.headers)):
            wrong = "key" in fields
            body = frame.sign_in(guard.theme(self.headers), wrong).encode()
            return Reply(HTTPStatus.UNAUTHORIZED, frame.HTML, body)
        cookie = ("Set-Cookie", self.server.guard.cookie())
        return Reply(HTTPStatus.SEE_OTHER, "text/plain", b"", (cookie, ("Location", "/")))

    def _stream(self) -> None:
        """Server-sent events: a number whenever the file has changed."""
        live = self.server.live
        if not live.listen(MOST_STREAMS):
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "Too many pages are open.")
        try:
            self.close_connection = True
            self._start(Reply(HTTPStatus.OK, "text/event-stream", b""), None)
            is_gone = select.poll()
            is_gone.register(self.connection, select.POLLIN)
            seen: int | None = None
            said = 0.0
            while True:
                changes = live.wait(seen, 1.0)
                if changes is None or is_gone.poll(0):
                    return  # The dashboard ends, or the browser has closed its end.
                now = time.monotonic()
                if changes != seen or now - said >= HEARTBEAT:
                    seen, said = changes, now
                    self.wfile.write(f"retry: 2000\nid: {changes}\ndata: {changes}\n\n".encode())
                self.server.deadlines.set(self.connection, READ_TIME)
        finally:
            live.leave()

    # --- pieces -----------------------------------------------------------------------------------

    def _frame(self) -> Frame:
        return Frame(self.server.file, self.server.shell, self.server.writes, guard.theme(self.headers), {})

    def _page(self, status: int, title: str, main: Markup) -> Reply:
        parts = urlsplit(self.path)
        return Reply(status, frame.HTML, frame.document(self._frame(), parts.path, title, main).encode())

    def _open(self) -> Reader:
        """This thread's connection to the file. Raises DatabaseUnusable."""
        if self._store is not None:
            try:
                self._store.check_file()
            except DatabaseUnusable:
                self._forget_store()  # Another file may have taken its place.
        if self._store is None:
            self._store = self.server.open_reader()
        return self._store

    def _forget_store(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _fields(self, text: str) -> dict[str, str]:
        """The fields of a form; the last of several with the same name counts."""
        try:
            pairs = parse_qsl(
                text, keep_blank_values=True, encoding="utf-8", errors="surrogateescape", max_num_fields=MOST_FIELDS
            )
        except ValueError:
            return {}
        return dict(pairs)

    def _body(self) -> dict[str, str]:
        """The fields of a POST. Raises Refusal."""
        size = self.headers.get("Content-Length", "")
        kind = self.headers.get_content_type()
        if self.headers.get("Transfer-Encoding") or not (size.isascii() and size.isdigit()):
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "A form needs a Content-Length.")
        if len(size) > 9 or int(size) > LARGEST_BODY:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The form is too large.")
        if kind != "application/x-www-form-urlencoded":
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Not a form.")
        self.server.deadlines.set(self.connection, READ_TIME)
        body = self.rfile.read(int(size))
        if len(body) < int(size):
            raise ConnectionError("the body ended early")
        self.server.deadlines.set(self.connection, WORK_TIME)
        return self._fields(body.decode("utf-8", "surrogateescape"))

    def _send(self, reply: Reply) -> None:
        self.server.deadlines.set(self.connection, WORK_TIME)
        self._start(reply, len(reply.body))
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    def _linger(self) -> None:
        """Read some of what a refused client still sends; otherwise the kernel may drop our answer."""
        self.server.deadlines.set(self.connection, LINGER)
        try:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            for _ in range(32):
                if not self.connection.recv(65536):
                    return
        except OSError:
            pass

    def _start(self, reply: Reply, size: int | None) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.kind)
        for name, value in (*guard.HEADERS.items(), *reply.headers):
            self.send_header(name, value)
        if size is not None:
            self.send_header("Content-Length", str(size))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server refuses itself, such as a malformed request, with our headers and without an echo of it."""
        self.close_connection = True
        if getattr(self, "command", None) is None:
            self.command = ""
        self.request_version = "HTTP/1.1"  # Version 0.9, which has no headers, is what it takes garbage for.
        self._send(Reply(code, "text/plain; charset=utf-8", b"The request was refused.\n"))

    def version_string(self) -> str:
        return "queuectl"

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: addresses can hold what a job's command says."""
