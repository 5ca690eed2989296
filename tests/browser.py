"""Drives Debian's Chromium through its WebDriver, with nothing but the standard library.

Source: https://www.w3.org/TR/webdriver2/
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from typing import Any

from tests.harness import wait_until

CHROMIUM = shutil.which("chromium") or ""
DRIVER = shutil.which("chromedriver") or ""
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # The key of an element's id in every answer.
# It must not call home: on a machine without a network, each such call takes time.
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --disable-default-apps --disable-extensions --hide-scrollbars"
    " --disable-dev-shm-usage --lang=en-US --force-color-profile=srgb --font-render-hinting=none"
).split()


def is_installed() -> bool:
    """Whether there is a browser to drive."""
    return bool(CHROMIUM and DRIVER)


class Failed(Exception):
    """What the driver could not do."""


class Browser:
    """A browser with an empty profile. Use it in a `with` block."""

    def __init__(self, scripts: bool = True) -> None:
        """`scripts`: whether pages can run JavaScript."""
        self._folder = tempfile.mkdtemp(prefix="b-")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._driver = subprocess.Popen(
            [DRIVER, f"--port={port}", "--silent"],
            env={**os.environ, "HOME": self._folder},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._base = f"http://127.0.0.1:{port}"
        self._session = ""
        try:
            wait_until(self._is_ready, 20, "chromedriver did not start")
            options: dict[str, Any] = {
                "binary": CHROMIUM,
                "args": [*FLAGS, f"--user-data-dir={self._folder}/profile"],
                "prefs": {} if scripts else {"profile.managed_default_content_settings.javascript": 2},
            }
            wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
            self._session = "/session/" + self._call("POST", "/session", {"capabilities": wanted})["sessionId"]
        except BaseException:
            self.close()
            raise

    def _is_ready(self) -> bool:
        try:
            return bool(self._call("GET", "/status")["ready"])
        except (OSError, Failed):
            return False

    def _call(self, method: str, path: str, body: object = None) -> Any:
        data = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return json.load(reply)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise Failed(f"{path}: {json.load(error)['value']['message']:.500}") from None

    def close(self) -> None:
        """End the browser."""
        try:
            if self._session:
                self._call("DELETE", self._session)
        except (OSError, Failed):
            pass
        self._driver.terminate()
        self._driver.wait()
        for _ in range(20):  # Its last processes may still write.
            shutil.rmtree(self._folder, ignore_errors=True)
            if not os.path.exists(self._folder):
                break
            time.sleep(0.1)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- pages ------------------------------------------------------------------------------------

    def open(self, address: str) -> None:
        """Load a page."""
        self._call("POST", self._session + "/url", {"url": address})

    @property
    def address(self) -> str:
        """The address of the page."""
        address: str = self._call("GET", self._session + "/url")
        return address

    def run(self, script: str, *args: object) -> Any:
        """Run a function's body in the page; returns what it returns."""
        return self._call("POST", self._session + "/execute/sync", {"script": script, "args": list(args)})

    def find(self, selector: str) -> str:
        """An element, once there is one."""
        return str(wait_until(lambda: self.all(selector), 15, lambda: f"no {selector} in {self.text()[:600]}")[0])

    def all(self, selector: str) -> list[str]:
        """The elements that there are now."""
        found = self._call("POST", self._session + "/elements", {"using": "css selector", "value": selector})
        return [one[ELEMENT] for one in found]

    def text(self, selector: str = "body") -> str:
        """What users can read in an element."""
        text: str = self._call("GET", f"{self._session}/element/{self.all(selector)[0]}/text")
        return text

    def click(self, selector: str) -> None:
        """Click on an element, once there is one."""
        self._call("POST", f"{self._session}/element/{self.find(selector)}/click")

    def type(self, selector: str, text: str) -> None:
        """Type into an element."""
        self._call("POST", f"{self._session}/element/{self.find(selector)}/value", {"text": text})

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        sources = [{"type": "key", "id": "keyboard", "actions": actions}]
        self._call("POST", self._session + "/actions", {"actions": sources})

    def wait_for_text(self, text: str, selector: str = "body", timeout: float = 15) -> None:
        """Wait until users can read this."""

        def is_there() -> bool:
            try:
                return text in self.text(selector)
            except (IndexError, Failed):
                return False

        wait_until(is_there, timeout, lambda: f"no {text!r} in {self.text()[:600]!r}")

    # --- the browser ------------------------------------------------------------------------------

    def command(self, name: str, **parameters: object) -> Any:
        """A command of the Chrome DevTools protocol."""
        return self._call("POST", self._session + "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def resize(self, width: int, height: int) -> None:
        """Make the page this large, in CSS pixels."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    def prefer(self, scheme: str) -> None:
        """Prefer "dark" or "light" pages."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", features=features)

    def picture(self) -> bytes:
        """The page as a PNG."""
        picture: str = self._call("GET", self._session + "/screenshot")
        return base64.b64decode(picture)

    def new_tab(self) -> str:
        """Open a tab, and switch to it."""
        handle: str = self._call("POST", self._session + "/window/new", {"type": "tab"})["handle"]
        self.switch(handle)
        return handle

    @property
    def tab(self) -> str:
        """The tab at hand."""
        handle: str = self._call("GET", self._session + "/window")
        return handle

    def switch(self, tab: str) -> None:
        """Switch to a tab."""
        self._call("POST", self._session + "/window", {"handle": tab})

    def complaints(self) -> list[str]:
        """What the page has written to the console since the last call: errors, violations of its policy."""
        entries = self._call("POST", self._session + "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]
