"""A demonstration queue, and pictures of every screen of the dashboard: `python3 -m tests.demo [--keep] [FOLDER]`.

The past few hours are played with a clock of their own, by the operations that workers use; what runs now is run by
real workers, with stand-ins for the programs. The pictures go to docs/images, or FOLDER, and need Chromium. --keep
makes no pictures: it serves the queue until Ctrl-C.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from typing import NamedTuple

from queuectl_core.jobspec import new_job
from queuectl_core.lifecycle import Job, Outcome, judge
from queuectl_core.records import NewOutput
from queuectl_core.store import Store
from queuectl_core.views.dashboard.server import Dashboard
from queuectl_core.views.dashboard.view import Shell
from queuectl_core.workers.identity import own_identity
from tests.browser import Browser
from tests.harness import PROGRAM, ROOT, wait_until

HOURS = 3.0
WORKERS = 4
IMAGES = os.path.join(ROOT, "docs", "images")


class Kind(NamedTuple):
    """A kind of job: its queue and command, jobs per hour, median seconds, how many fail, and what those print last."""

    queue: str
    command: str
    rate: float
    seconds: float
    failing: float
    error: str
    code: int = 1


KINDS = (
    Kind("thumbnails", "convert -resize 640x photos/{n}.jpg thumbs/{n}.jpg", 240, 2.2, 0.012,
         "convert: no decode delegate"),
    Kind("video", "ffmpeg -i talks/{n}.mov -c:v libx264 -crf 23 out/{n}.mp4", 36, 120, 0.08, "moov atom not found"),
    Kind("mail", "sendmail -t < outbox/{n}.eml", 110, 0.9, 0.05, "451 4.7.1 Greylisted, try again later", 75),
    Kind("reports", "python3 report.py --month {m} --customer {n}", 30, 22, 0.06, "KeyError: 'invoice_total'"),
    Kind("backup", "rsync -a --delete /srv/site-{k}/ backup:/srv/site-{k}/", 9, 140, 0.12,
         "rsync: connection unexpectedly closed (0 bytes received so far) [sender]", 12),
    Kind("webhooks", "curl -fsS -X POST https://example.org/hooks/{n}", 60, 0.5, 0.1,
         "curl: (22) The requested URL returned error: 503", 22),
)  # fmt: skip
RUNNING = (
    ("video", "ffmpeg -i talks/keynote.mov -c:v libx264 -crf 23 out/keynote.mp4"),
    ("reports", "python3 report.py --month 11 --customer 90210"),
    ("backup", "rsync -a --delete /srv/site-7/ backup:/srv/site-7/"),
    ("video", "ffmpeg -i talks/panel.mov -c:v libx264 -crf 23 out/panel.mp4"),
)
SCHEDULES = (
    ("site-backup", ("cron", "30 2 * * *"), "default", "tar -cf /dev/null /dev/null && echo backed up"),
    ("certificates", ("cron", "15 */12 * * *"), "default", "echo no certificate expires soon"),
    ("greylist", ("every", "10m"), "default", "echo 'cannot reach 10.0.0.7' >&2; exit 69"),
    ("monthly-report", ("cron", "0 6 1 * *"), "reports", "python3 report.py --all"),
    ("newsletter", ("cron", "0 9 * * fri"), "mail", "sendmail -t < newsletter.eml"),
)
HEIGHTS = {"overview": 1000, "job": 760}
STAND_IN = """#!/bin/sh
i=0
while [ $i -lt 2000 ]; do
    i=$((i + 1))
    echo "frame=$((i * 24)) fps=24 q=28.0 size=$((i * 61))kB time=00:$((i / 60 % 60)):$((i % 60)) bitrate=1648.2kbits/s"
    [ $((i % 12)) -ne 4 ] || {python} {program} progress $((20 + i / 5)) "frame $((i * 24)) of 48000"
    [ $((i % 9)) -ne 0 ] || echo "[warning] past duration 0.$((i % 7))99 too large" >&2
    sleep 0.5
done
"""


class Past:
    """Plays the past: jobs arrive, workers run them, some fail and are retried."""

    def __init__(self, path: str, now: float) -> None:
        self.now = now - HOURS * 3600
        self._end = now
        self._random = random.Random(20261129)
        self.store = Store(path, durable=False, clock=lambda: self.now)
        self._kinds: dict[str, Kind] = {}
        self._pending: list[Kind] = []

    def play(self) -> None:
        """Play until now. Leaves no job running."""
        events: list[tuple[float, int, str]] = [(at, n, "job") for n, at in enumerate(self._arrivals())]
        heapq.heapify(events)
        workers = [self.store.register("worker", None, own_identity(), None, "demo") for _ in range(WORKERS)]
        busy: dict[int, tuple[Job, Outcome, str]] = {}
        number = len(events)
        while events:
            self.now, _, what = heapq.heappop(events)
            if self.now >= self._end:
                break
            if what == "job":
                self._enqueue()
            elif what.startswith("end"):
                self._settle(*busy.pop(int(what[3:])))
            for worker in workers:
                if worker in busy:
                    continue
                job = self.store.claim(worker, None).job
                if job is None:
                    continue
                outcome, output, seconds = self._run(job)
                busy[worker] = job, outcome, output
                number += 1
                heapq.heappush(events, (self.now + seconds, number, f"end{worker}"))
            number += 1
            due = self.store.claim(workers[0], None, True).next_due if workers[0] not in busy else None
            if due and due > self.now:
                heapq.heappush(events, (due, number, "due"))
        self.now = self._end
        for job, _, output in busy.values():
            self._settle(job, Outcome("exit", 0), output)
        for worker in workers:
            self.store.unregister(worker)

    def _arrivals(self) -> list[float]:
        times = []
        for kind in KINDS:
            for _ in range(int(kind.rate * HOURS)):
                # Busier in the middle of the period.
                share = self._random.betavariate(1.6, 1.5)
                times.append(self.now + share * HOURS * 3600)
                self._pending.append(kind)
        self._random.shuffle(self._pending)
        return sorted(times)

    def _enqueue(self) -> None:
        kind = self._pending.pop()
        number = self._random.randint(1000, 9999)
        month, site = self._random.randint(1, 12), self._random.randint(1, 9)
        command = kind.command.format(n=number, m=month, k=site)
        fields = {"command": command, "queue": kind.queue, "cwd": "/srv/app", "max_retries": 3, "backoff_base": 6}
        (id,) = self.store.enqueue([new_job(fields, self.now)])
        self._kinds[id] = kind

    def _run(self, job: Job) -> tuple[Outcome, str, float]:
        kind = self._kinds[job.id]
        seconds = kind.seconds * self._random.lognormvariate(0, 0.55)
        # What fails once fails again more often than not.
        chance = kind.failing if job.attempts == 1 else 0.62
        if self._random.random() < chance:
            error = kind.error if self._random.random() < 0.85 else "Segmentation fault"
            outcome = Outcome("exit", kind.code) if error == kind.error else Outcome("signal", 11)
            return outcome, f"starting {job.command.split()[0]}\n\x00{error}\n", seconds * 0.4
        return Outcome("exit", 0), f"starting {job.command.split()[0]}\ndone in {seconds:.1f} s\n", seconds

    def _settle(self, job: Job, outcome: Outcome, output: str) -> None:
        fresh, position = [], 0
        for stream, text in enumerate(output.split("\x00"), 1):
            if text:
                fresh.append((position, stream, text.encode()))
                position += len(text)
        self.store.settle(job, outcome, judge(job, outcome, self.now), NewOutput(fresh, [], 0))


def build(folder: str) -> None:
    """Make q.db in a folder, and start workers on it."""
    past = Past(os.path.join(folder, "q.db"), time.time())
    past.play()
    past.store.close()
    programs = os.path.join(folder, "bin")
    os.mkdir(programs)
    for name in ("ffmpeg", "rsync", "convert", "python3"):
        with open(os.path.join(programs, name), "w") as file:
            script = STAND_IN.replace("{python}", sys.executable).replace("{program}", PROGRAM)
            file.write(
                script if name == "ffmpeg" else "".join(script.splitlines(True)[:5] + script.splitlines(True)[6:])
            )
        os.chmod(file.name, 0o755)
    path = f"{programs}:{os.environ['PATH']}"
    queuectl(folder, "config", "set", "video.limit", "2")
    queuectl(folder, "config", "set", "webhooks.rate", "30/min")
    queuectl(folder, "pause", "webhooks")
    for queue, command in RUNNING:
        queuectl(folder, "enqueue", "-q", queue, "-p", "9", "--", command, PATH=path)
    queuectl(folder, "enqueue", "-q", "reports", "--id", "yearly-report", "--delay", "2h", "--",
             "python3 report.py --year 2026")  # fmt: skip
    queuectl(folder, "enqueue", "-q", "mail", "--id", "send-report", "--after", "yearly-report", "--",
             "sendmail -t < outbox/report.eml")  # fmt: skip
    for number in range(7):
        queuectl(folder, "enqueue", "-q", "webhooks", "--", f"curl -fsS -X POST https://example.org/hooks/{number}")
    for number in range(3):
        queuectl(folder, "enqueue", "-q", "video", "--", f"ffmpeg -i talks/{number}.mov -c:v libx264 out/{number}.mp4")
    for name, when, queue, command in SCHEDULES:
        options = f"--{when[0]}={when[1]}", f"--queue={queue}", "--max-retries=0"
        queuectl(folder, "schedule", "add", name, *options, "--", command)
    queuectl(folder, "worker", "start", "-c", "5", PATH=path)
    for name in ("site-backup", "certificates", "greylist"):
        queuectl(folder, "schedule", "run", name)
    queuectl(folder, "schedule", "pause", "newsletter")
    wait_until(lambda: queuectl(folder, "list", "-s", "processing").count("processing") == len(RUNNING))


def queuectl(folder: str, *words: str, **environment: str) -> str:
    """Run a command on the queue in a folder; returns what it prints."""
    done = subprocess.run(
        [sys.executable, PROGRAM, *words],
        env={**os.environ, "QUEUECTL_DB": os.path.join(folder, "q.db"), **environment},
        stdout=subprocess.PIPE,
        check=True,
    )
    return done.stdout.decode()


def photograph(folder: str, images: str) -> None:
    """Put a picture of every screen, light and dark, into the folder `images`."""
    os.makedirs(images, exist_ok=True)
    time.sleep(8)  # So that what runs has something to show.
    running = queuectl(folder, "list", "-s", "processing", "-q", "video", "--json")
    dead = queuectl(folder, "dlq", "list", "--json")
    screens = {
        "overview": "/",
        "jobs": "/jobs?state=pending",
        "job": f"/job?id={json.loads(running)[0]['id']}",
        "attempts": f"/job?id={json.loads(dead)[0]['id']}",
        "failures": "/failures",
        "schedules": "/schedules",
        "workers": "/workers",
    }
    server = Dashboard(os.path.join(folder, "q.db"), 0, Shell(None), True, [sys.executable, PROGRAM])
    server.start()
    try:
        with Browser() as browser:
            browser.open(server.address)
            browser.find("html.js .bar")
            for scheme in ("light", "dark"):
                browser.prefer(scheme)
                for name, path in screens.items():
                    browser.resize(1160, HEIGHTS.get(name, 640))
                    browser.open(f"http://127.0.0.1:{server.port}{path}")
                    browser.wait_for_text("live", "#live")
                    _save(browser, os.path.join(images, f"{name}-{scheme}.png"))
                browser.open(f"http://127.0.0.1:{server.port}{screens['attempts']}")
                browser.find("html.js .bar")
                browser.click(".heading .danger")
                browser.find("dialog .ask")
                _save(browser, os.path.join(images, f"action-{scheme}.png"))
                browser.resize(390, 760)
                browser.open(f"http://127.0.0.1:{server.port}/")
                browser.wait_for_text("live", "#live")
                _save(browser, os.path.join(images, f"phone-{scheme}.png"))
    finally:
        server.stop()


def _save(browser: Browser, path: str) -> None:
    time.sleep(0.3)  # Transitions and fonts.
    with open(path, "wb") as file:
        file.write(smaller(browser.picture()))


def smaller(png: bytes) -> bytes:
    """The same PNG, compressed better than a browser takes the time for."""
    chunks, at = [], 8
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        chunks.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + size]))
        at += size + 12
    pixels = zlib.compress(zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT")), 9)
    kept = [(kind, pixels if kind == b"IDAT" else data) for kind, data in chunks if kind in (b"IHDR", b"IDAT", b"IEND")]
    unique = list(dict(kept).items())
    return png[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in unique
    )


def main(words: list[str]) -> None:
    folder = os.path.realpath(tempfile.mkdtemp(prefix="demo-"))
    environment = {**os.environ, "QUEUECTL_DB": os.path.join(folder, "q.db")}
    dashboard = [sys.executable, PROGRAM, "dashboard", "--port", "0", "--read-write"]
    try:
        build(folder)
        if "--keep" in words:
            subprocess.run(dashboard, env=environment, check=False)
        else:
            photograph(folder, ([word for word in words if word != "--keep"] or [IMAGES])[0])
    except KeyboardInterrupt:
        pass
    finally:
        queuectl(folder, "worker", "stop", "--now")
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
