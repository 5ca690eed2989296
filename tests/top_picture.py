"""Draws docs/images/top.svg and top-job.svg from a queue made for it: `python3 -m tests.top_picture`. Needs tmux."""

from __future__ import annotations

import math
import os
import random
import sys
import time
import unittest

from queuectl_core.jobspec import new_job
from tests.harness import PROGRAM, ROOT, QueueTestCase
from tests.screen_picture import svg
from tests.terminal_screen import Tmux

IMAGES = os.path.join(ROOT, "docs", "images")
COLUMNS, LINES = 120, 37

# Id, queue, command, and how it is: how many seconds it has run or when it ended, and with which error.
RUNNING = (
    ("render-intro", "video", "ffmpeg -i intro.mov -c:v libx264 -crf 20 intro.mp4", 754),
    ("mail-1042", "mail", "sendmail -t < drafts/1042.eml", 2.2),
    ("mail-1043", "mail", "sendmail -t < drafts/1043.eml", 0.9),
    ("crawl-0731", "crawl", "./crawl.sh https://example.org/page/731", 14),
)
WAITING = (
    ("render-outro", "video", "ffmpeg -i outro.mov -c:v libx264 -crf 20 outro.mp4", {"priority": 5}),
    ("upload-intro", "default", "rsync -a intro.mp4 media:/srv/video/", {"after": ["render-intro"]}),
    ("mail-1044", "mail", "sendmail -t < drafts/1044.eml", {}),
    ("mail-1045", "mail", "sendmail -t < drafts/1045.eml", {}),
    ("nightly-backup", "nightly", "restic backup /srv", {"delay": 27_000}),
    ("thumbnails", "default", "make -C gallery thumbnails", {"delay": 41}),
    ("prune-logs", "nightly", "find /var/log/app -mtime +30 -delete", {}),
)
FINISHED = (
    ("crawl-0730", "crawl", "./crawl.sh https://example.org/page/730", 25, None),
    ("crawl-0729", "crawl", "./crawl.sh https://example.org/page/729", 52, "exit 7"),
    ("report", "default", "python3 report.py --month 10", 190, None),
    ("mail-1041", "mail", "sendmail -t < drafts/1041.eml", 260, None),
    ("import-2", "default", "psql -f import-2.sql", 720, "exit 3"),
    ("import-1", "default", "psql -f import-1.sql", 900, None),
)
OUTPUT = "".join(
    f"frame={frame:5} fps=31 size={frame * 21:7}kB time=00:{frame // 1500:02}:{frame // 25 % 60:02} speed=1.27x\n"
    for frame in range(9000, 18750, 250)
)


class Picture(QueueTestCase):
    """A queue that looks like one in use, and its screens."""

    def runTest(self) -> None:
        self.make_queue()
        os.makedirs(IMAGES, exist_ok=True)
        command = f"{sys.executable} {PROGRAM} --db {self.db} top"
        top = Tmux(self, command, COLUMNS, LINES)
        top.wait_for("JOBS", "import-1")
        self.draw(top, "top.svg", "queuectl top: queues, workers and jobs")
        top.press("Down", "Down", "Down", "Enter")
        top.wait_for("Output", "following")
        self.draw(top, "top-job.svg", "queuectl top: a running job, its attempts and its output")
        top.press("q")

    def draw(self, top: Tmux, name: str, title: str) -> None:
        screen = top.screen(colors=True).replace(self.db, "/home/annie/queue.db".ljust(len(self.db)))
        with open(os.path.join(IMAGES, name), "w", encoding="utf-8") as file:
            file.write(svg(screen, title))

    def make_queue(self) -> None:
        store = self.store()
        for key, value in (("mail.limit", 2), ("video.limit", 1), ("crawl.rate", "30/min")):
            store.set_config(key, value)
        now = time.time()
        for id, queue, line, _ in RUNNING:
            store.enqueue([new_job({"id": id, "queue": queue, "command": line}, now)])
            worker = self.register_worker(store)
            store.claim(worker, None)
        self.register_worker(store, "nightly,default")
        for id, queue, line, ago, error in reversed(FINISHED):
            store.enqueue([new_job({"id": id, "queue": queue, "command": line}, now)])
            state = "completed" if error is None else "dead" if error == "exit 3" else "failed"
            ended = None if state == "failed" else now - ago
            self.rows(
                "UPDATE queuectl_jobs SET state = ?, ready = ?, finished_at = ?, started_at = ?, error = ?,"
                " created_at = ?, attempts = 1, last_attempt = 1, run_at = ?, updated_at = ? WHERE id = ?",
                state, 0 if state == "failed" else None, ended, now - ago - 3.1, error, now - ago - 9,
                now + 8 if state == "failed" else now - ago - 9, now - ago, id,
            )  # fmt: skip
            self.rows(
                "INSERT INTO queuectl_attempts (job, attempt, worker, token, started_at, finished_at, outcome,"
                " exit_code) SELECT seq, 1, 1, 'x', ?, ?, 'exit', 0 FROM queuectl_jobs WHERE id = ?",
                now - ago - 3.1, now - ago, id,
            )  # fmt: skip
        for id, queue, line, options in reversed(WAITING):
            store.enqueue([new_job({"id": id, "queue": queue, "command": line, **options}, now)])
        store.pause("nightly")
        for id, _, _, seconds in RUNNING:
            self.rows("UPDATE queuectl_jobs SET started_at = ? WHERE id = ?", now - seconds, id)
            self.rows(
                "UPDATE queuectl_attempts SET started_at = ? WHERE job = (SELECT seq FROM queuectl_jobs WHERE id = ?)",
                now - seconds, id,
            )  # fmt: skip
        self.rows("UPDATE queuectl_attempts SET progress = 62 WHERE job = 1")
        self.rows("INSERT INTO queuectl_output VALUES (1, 1, 0, 1, ?)", OUTPUT.encode())
        self.rows("UPDATE queuectl_workers SET started_at = ?", now - 9000)
        self.make_history(now)

    def make_history(self, now: float) -> None:
        """Fill the record of the last two hours."""
        chance = random.Random(1)
        for minute in range(1, 120):
            start = int(now) // 60 * 60 - 60 * minute
            for queue, mean in (("mail", 22), ("crawl", 9), ("default", 5), ("video", 0.2)):
                count = int(mean * (1.1 + math.sin(minute / 11 + mean)) * chance.uniform(0.6, 1.3))
                if count:
                    row = (60, start, queue, "completed", 23, count, count * 2.5)
                    self.rows("INSERT OR IGNORE INTO queuectl_record VALUES (?, ?, ?, ?, ?, ?, ?)", *row)


if __name__ == "__main__":
    outcome = unittest.TextTestRunner(verbosity=0).run(unittest.TestSuite([Picture()]))
    sys.exit(not outcome.wasSuccessful())
