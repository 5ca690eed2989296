"""Which requests the dashboard answers.

It listens on the loopback interface, but every program and every web page on this machine can reach that. So:

    Host       must be a loopback name with our port; otherwise a page could rebind its own name to 127.0.0.1
    key        a random secret in the fragment of the address, which browsers never send. The page exchanges it for
               the cookie, by POST. A browser without the key gets the same page, which asks for it
    cookie     another secret, HttpOnly and SameSite=Strict, so it isn't sent with what other sites request
    Origin     of a POST must be ours, and Sec-Fetch-Site, which browsers send, must say so too
    /metrics   needs no cookie if the user started the dashboard with --metrics, since Prometheus can't sign in
    headers    forbid scripts and styles from other sites, frames, sniffing, referrers, caches and cross-origin reads

Assumes that other users can't read the terminal or the browser's profile.
"""

from __future__ import annotations

import hmac
import secrets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from email.message import Message

# All that isn't listed is 'none'. Since no trusted types are allowed, scripts can't turn text into markup at all.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """The secrets of a running dashboard, and the checks of a request's headers."""

    def __init__(self, port: int) -> None:
        self.key = secrets.token_urlsafe(24)
        self._session = secrets.token_urlsafe(24)
        # Browsers send cookies to every port of a host, so each dashboard's has its own name.
        self._cookie = f"queuectl-{port}"
        names = ("127.0.0.1", "[::1]", "localhost")
        self._hosts = {f"{name}:{port}" for name in names} | (set(names) if port == 80 else set())

    def is_our_host(self, headers: Message) -> bool:
        """Whether a request names this server, and only once."""
        hosts = headers.get_all("Host") or []
        return len(hosts) == 1 and hosts[0].strip().lower() in self._hosts

    def is_our_page(self, headers: Message) -> bool:
        """Whether a request that changes something comes from one of our pages. Needs `is_our_host`.

        Without JavaScript, a form's Origin is "null", since our pages send no referrer. Then Sec-Fetch-Site must be
        there; no page can set it.
        """
        ours = f"http://{(headers['Host'] or '').strip().lower()}"
        origins, sites = headers.get_all("Origin"), headers.get_all("Sec-Fetch-Site")
        if sites is None:
            return origins == [ours]
        return sites == ["same-origin"] and origins in ([ours], ["null"])

    def is_key(self, key: str) -> bool:
        """Whether this is the key."""
        return hmac.compare_digest(key.encode("utf-8", "replace"), self.key.encode())

    def is_signed_in(self, headers: Message) -> bool:
        """Whether a request has the cookie."""
        wanted = f"{self._cookie}={self._session}".encode()
        given = "; ".join(headers.get_all("Cookie") or []).split(";")
        return any(hmac.compare_digest(cookie.strip().encode("utf-8", "replace"), wanted) for cookie in given)

    def cookie(self) -> str:
        """The value of Set-Cookie that signs a browser in, until it ends."""
        return f"{self._cookie}={self._session}; HttpOnly; SameSite=Strict; Path=/"


def theme(headers: Message) -> str | None:
    """The theme that the page has stored in a cookie: "dark", "light", or None for the system's."""
    for cookie in "; ".join(headers.get_all("Cookie") or []).split(";"):
        name, _, value = cookie.strip().partition("=")
        if name == "queuectl-theme" and value in ("dark", "light"):
            return value
    return None
