"""How tables look. `python3 -m tests.test_tables --write` renders tests/golden again; review the difference."""

from __future__ import annotations

import contextlib
import glob
import io
import os
import sys
import time
import unittest
from unittest import mock

from queuectl_core import cells, grid, phrases, values
from queuectl_core.cli import config, status, tables
from queuectl_core.cli.terminal import terminal
from queuectl_core.lifecycle import STATES, Job
from queuectl_core.records import Attempt, Identity, Worker
from tests.harness import ROOT

GOLDEN = os.path.join(ROOT, "tests", "golden")
NOW = 1_800_000_000.0
EMPTY = dict.fromkeys(Job._fields)


def job(seq: int, id: str, state: str, command: str, **fields: object) -> Job:
    numbers = {"priority": 0, "max_retries": 3, "backoff_base": 2, "backoff_max": 86400, "timeout": 0, "waits_for": 0,
               "kill_grace": 10, "output_limit": 1 << 20, "defer_limit": 20, "deferrals": 0, "attempts": 0,
               "last_attempt": 0, "run_at": NOW - 90, "created_at": NOW - 90, "updated_at": NOW - 5}  # fmt: skip
    named = {"seq": seq, "id": id, "queue": "default", "state": state, "command": command, "cwd": "/srv"}
    return Job(**{**EMPTY, **numbers, **named, **fields})


def attempt(number: int, began: float, took: float | None, error: str | None = None) -> Attempt:
    """An attempt that began so many seconds ago."""
    finished_at = None if took is None else NOW - began + took
    return Attempt(number, 1, NOW - began, finished_at, None if took is None else "exit", 0, error, 0)


DEPLOY = "👩\u200d💻-deploy"
RETRIED = job(7, "nightly-backup", "failed", "rsync -a /srv/data backup:/srv/data", attempts=2, last_attempt=2,
              run_at=NOW + 4, error="exit 127 (command not found)", created_at=NOW - 8000)  # fmt: skip
HISTORY = [attempt(1, 8000, 3903.0, "exit 127 (command not found)"), attempt(2, 5, 0.35, RETRIED.error)]
LAST = {3: attempt(1, 130, None), 4: attempt(1, 4000, 3905), 5: attempt(4, 7e5, 0.012), 7: HISTORY[-1],
        8: attempt(2, 200, 125)}  # fmt: skip
JOBS = [
    (job(1, "4k7rm2xp", "pending", "make report"), "no worker"),
    (job(2, "later", "pending", "convert -resize 128x128 'My Pictures/1.jpg' 1.jpg", run_at=NOW + 8640000), "delayed"),
    (job(3, DEPLOY, "processing", "sleep 600", started_at=NOW - 130, attempts=1), None),
    (job(4, "作业-一", "completed", "echo 完成", finished_at=NOW - 95, attempts=1), None),
    (job(5, "thumbnails-of-november-2026", "dead", "exit 3", finished_at=NOW - 7e5, error="exit 3", attempts=4), None),
    (job(6, "after-thumbnails", "pending", "rm -r tmp"), "after thumbnails-of-november-2026 (dead)"),
    (RETRIED, "retrying"),
    (job(8, "cafe\u0301", "cancelled", "brew\n--strong", finished_at=NOW - 75, error="cancelled", attempts=2), None),
    (job(9, "deadline", "pending", "true"), "rate 10/min"),
]  # fmt: skip
MAIL = [(job(10, "m1", "pending", "mail", queue="mail"), "limit 2"), (job(11, "m2", "pending", "x"), "paused")]
COUNTS = {
    "default": dict(zip(STATES, (5, 1, 1200, 1, 1, 0))),
    "a-rather-long-name-of-a-queue-for-mail": dict(zip(STATES, (123456, 0, 10, 0, 0, 0))),
}


def worker(id: int, wanted: str, queues: str | None) -> Worker:
    return Worker(id, "worker", 9, Identity(40000 + id, "boot", "1"), queues, wanted, 0, "1", NOW - 90000 * id)


WORKERS = [worker(1, "run", None), worker(2, "run", "mail,a-rather-long-name-of-a-queue"), worker(3, "stop", "mail")]


def everything() -> str:
    """All tables, with their headings."""
    sections = {
        "list": lambda: tables.jobs_table(JOBS, LAST, NOW),
        "list, two queues": lambda: tables.jobs_table(MAIL, LAST, NOW),
        "dlq list": lambda: tables.jobs_table(JOBS[4:5], LAST, NOW),
        "show": lambda: tables.job_sheet(*RETRIED_SHEET),
        "attempts": lambda: tables.attempts_table(HISTORY),
        "status": lambda: status._print_counts(COUNTS, {s: sum(c[s] for c in COUNTS.values()) for s in STATES}, {}),
        "worker list": lambda: tables.workers_table(WORKERS, {1: (DEPLOY, NOW - 130), 3: ("m3", NOW - 1)}, NOW),
        "config list": lambda: config.print_config({"backoff-base": 300, "mail.limit": 2}),
    }
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for heading, show in sections.items():
            print(f"--- {heading}")
            show()
    return printed.getvalue()


RETRIED_SHEET = (RETRIED, "retrying", [("x1", "completed", 1, "ok")], HISTORY[-1], NOW, ["x2", "x3"])

# File: columns (None: not a terminal), the locale, --color.
LOOKS = {
    "60.txt": (60, "C.UTF-8", "never"),
    "80.txt": (80, "C.UTF-8", "never"),
    "80-color.txt": (80, "C.UTF-8", "always"),
    "80-ascii.txt": (80, "C", "never"),
    "120.txt": (120, "C.UTF-8", "never"),
    "200.txt": (200, "C.UTF-8", "never"),
    "piped.txt": (None, "C.UTF-8", "never"),
}


def rendered(columns: int | None, locale: str, color: str = "never") -> str:
    """All tables as a terminal of this width shows them."""
    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch.dict(os.environ, {"LC_ALL": locale, "TZ": "UTC"}))
        patches.enter_context(mock.patch.object(terminal, "width", lambda: columns))
        patches.enter_context(mock.patch.object(terminal, "color", color))
        time.tzset()
        shown = everything()
    time.tzset()
    return shown


class GoldenTest(unittest.TestCase):
    maxDiff = None

    def test_tables_look_as_they_did(self):
        for name, look in LOOKS.items():
            with self.subTest(name), open(os.path.join(GOLDEN, name), encoding="utf-8") as file:
                self.assertEqual(rendered(*look), file.read(), "better? python3 -m tests.test_tables --write")
        self.assertEqual({os.path.basename(path) for path in glob.glob(os.path.join(GOLDEN, "*"))}, set(LOOKS))


class FitTest(unittest.TestCase):
    def test_tables_fit_at_any_width(self):
        for columns in range(20, 200, 7):
            sections = rendered(columns, "C.UTF-8").split("--- ")
            for section in sections:
                if not section.startswith("show"):
                    for line in section.splitlines()[1:]:
                        self.assertLessEqual(cells.width(line), columns, section)

    def test_the_time_of_a_retry_is_the_last_to_go(self):
        for columns in (200, 120, 80, 60, 50):
            self.assertIn("retrying in 4s", rendered(columns, "C.UTF-8").replace("reason ", ""), columns)
            self.assertRegex(rendered(columns, "C.UTF-8"), r"after .*\(dead\)")

    def test_columns_are_dropped_from_the_least_useful(self):
        def titles(columns: int | None) -> list[str]:
            return rendered(columns, "C.UTF-8").splitlines()[1].split()

        whole = ["ID", "STATE", "TRIES", "WHEN", "TOOK", "QUEUE", "WHY", "COMMAND"]
        self.assertEqual(titles(None), whole)
        seen = []
        for columns in range(200, 40, -1):
            dropped = [title for title in whole if title not in titles(columns)]
            if not seen or seen[-1] != dropped:
                seen.append(dropped)
        order = ["QUEUE", "TRIES", "TOOK", "WHEN", "COMMAND"]
        steps = [order[: number + 1] for number in range(len(order))]
        self.assertEqual(seen, [[title for title in whole if title in step] for step in steps])

    def test_piped_tables_are_whole_and_have_no_symbols_or_colors(self):
        text = rendered(None, "C.UTF-8", "auto")
        for one, _ in JOBS:
            self.assertIn(values.escape(one.command), text)
        for look in phrases.LOOKS.values():
            self.assertNotIn(look.symbol, text)
        self.assertNotIn("\x1b", text)

    def test_a_state_is_colored_only_in_its_column(self):
        line = next(line for line in rendered(120, "C.UTF-8", "always").splitlines() if line.startswith("deadline"))
        self.assertIn("\x1b[36m◦ pending", line)


class GridTest(unittest.TestCase):
    def test_spare_width_goes_first_to_texts_that_it_completes(self):
        columns = [grid.Column(title, least=3) for title in "ABC"]
        self.assertEqual(grid.fit(columns, [6, 12, 6], 21), [6, 5, 6])


class SymbolTest(unittest.TestCase):
    def test_every_state_has_a_symbol_of_its_own_one_column_wide_everywhere(self):
        import unicodedata

        self.assertLessEqual(set(STATES), set(phrases.LOOKS))
        for kind in ("symbol", "ascii", "color"):
            self.assertEqual(len({getattr(phrases.LOOKS[state], kind) for state in STATES}), len(STATES))
        for look in phrases.LOOKS.values():
            self.assertIn(unicodedata.east_asian_width(look.symbol), ("N", "Na"))
            self.assertTrue(look.ascii.isascii())

    def test_symbols_are_ascii_unless_the_locale_is_utf_8(self):
        for locale in ("C", "POSIX", "de_DE.ISO-8859-1", "ja_JP.eucJP"):
            self.assertIn(". pending", rendered(80, locale))
        for locale in ("C.UTF-8", "en_US.utf8"):
            self.assertIn("◦ pending", rendered(80, locale))


class WidthTest(unittest.TestCase):
    def test_text_has_the_width_that_terminals_give_it(self):
        for text, columns in {
            "": 0, "abc": 3, "作业": 4, "ｱ": 1, "\uff21": 2,
            "cafe\u0301": 4, "a\u20dd": 1, "\u0e19\u0e49\u0e33": 2,  # Combining marks.
            "한": 2, "\u1112\u1161\u11ab": 2,  # Korean, composed and not.
            "🚀": 2, "👍🏽": 2, "👩\u200d💻": 2, "👨\u200d👩\u200d👧\u200d👦": 2, "🏳\ufe0f\u200d🌈": 2, "🇩🇪": 2,
            "❤": 1, "❤\ufe0f": 2, "1\ufe0f\u20e3": 2, "✓": 1, "…": 1, "\u200b": 0,
        }.items():  # fmt: skip
            self.assertEqual(cells.width(text), columns, ascii(text))

    def test_text_is_cut_between_characters_as_a_reader_sees_them(self):
        family = "👨\u200d👩\u200d👧"
        self.assertEqual(cells.cut(family + "abc", 4, "…"), family + "a…")
        self.assertEqual(cells.cut("a" + family + "bc", 3, "…"), "a…")
        self.assertEqual(cells.cut("cafe\u0301s", 5, "…"), "cafe\u0301s")
        self.assertEqual(cells.cut("cafe\u0301 noir", 5, "…"), "cafe\u0301…")
        self.assertEqual(cells.cut_middle("after 作业作业 (dead)", 13, "…"), "after… (dead)")

    def test_a_joiner_is_shown_only_inside_an_emoji(self):
        self.assertEqual(values.escape("👩\u200d💻\n"), "👩\u200d💻\\n")
        self.assertEqual(values.escape("a\u200db 作\u200d业 👩\u200d"), "a\\u200db 作\\u200d业 👩\\u200d")


def write() -> None:
    os.makedirs(GOLDEN, exist_ok=True)
    for name, look in LOOKS.items():
        with open(os.path.join(GOLDEN, name), "w", encoding="utf-8") as file:
            file.write(rendered(*look))


if __name__ == "__main__":
    if "--write" in sys.argv:
        write()
    else:
        unittest.main()
