"""No input is a bug: not on the command line, not in JSON, and not in any table that other programs can write.

A longer run, with another seed: python3 -m tests.test_fuzz SEED COUNT
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import sys

from queuectl_core.transfer import ATTEMPT_FIELDS, FIELDS
from tests.forked import is_bug, run_forked
from tests.harness import QueueTestCase

SEED, COUNT = 1, 90

# Command lines; N stands for a nasty word. None of them waits or leaves processes behind.
COMMANDS = [
    line.split()
    for line in """
    enqueue N|enqueue -- N N|enqueue N N|enqueue -|enqueue --each N -|enqueue --id N --queue N -- N
    enqueue --timeout N N
    enqueue --delay N N|enqueue --run-at N N|enqueue --after N N|enqueue --unique N N|enqueue --cwd N N
    enqueue --env N N
    enqueue --priority N N|enqueue --max-retries N N|enqueue --backoff-base N N|enqueue --bury-on N N
    import -|import N
    show N|show N --json|logs N|logs N --attempt N|cancel N|retry N|edit N --priority N|edit N --run-at N
    edit N --env N
    list -q N|list -s N|list -n N|list --json|status|status --json|export|dlq list|dlq retry N|dlq purge N
    dlq retry --all
    config set N N|config set default.rate N|config set q.limit N|config set max-retries N|config get N
    config unset N
    config list|prune -s N|prune --older-than N|prune -q N|pause N|resume N|wait N --timeout 0
    wait --all --timeout N
    worker stop N --timeout 0|worker start -c N -q N|worker start -q N|worker start --take-over N|worker list
    doctor|N|N N
    --db N list|--db N enqueue true|backup N|restore N|completion N|help N
    """.replace("\n", "|").split("|")
    if line.strip()
]
WORDS = (
    *("", "a", "b", "a\udcff", "\udcff", "x" * 6000, "/" + "x/" * 3000, "é", "\u202e", "a,b", ","),
    *("\n", "--", "-", "@x"),
    *("-1", "9" * 30, "9" * 5000, "-1" + "0" * 400, "1e400", "nan", "inf", "-inf", "1_0", "0x1"),
    *("\u0661", "\u00b2", "-0", "1.5.5"),
    *("+5m", "+" + "9" * 400 + "d", "9" * 400 + "w", "1h1h", "2030-01-01", "99999-01-01", "1/s"),
    *("9" * 5000 + "/s", "1/w"),
    *("64k", "9" * 30 + "g", "1,2-3", "2-", "999", "A=b", "=", "A", "{}{}", "'{}'", "$(", "`", "'"),
    *("~", "..", "/dev/null"),
    *("{", "[]", "{}", '{"command": "true"}', "[" * 100_000, "default.rate", "pending"),
    *("max-retries", "q.limit", "\x1b"),
)
VALUES = (
    *(None, True, 0, -1, 1.5, 1e308, 2**63, 10**30, -(10**30), 3_000_000_000, 1700000000, 1700000000000),
    *("", "a", "\udcff", "a\ud800", "\0", "a\nb", "x" * 300, "+5m", "5m", "1,2", "2030-01-01"),
    *("9" * 30, "pending", "dead"),
    *([], {}, [[]], ["a"], ["a\ud800"], [None], {"a": 1}, {"A": "b"}, {"A\0": "b"}, [[0, 1, "x"]]),
    [{"attempt": 1}],
    *({"$date": 1}, {"$date": "x"}, {"$numberLong": "9" * 30}, {"$date": 10**30}),
    [{"attempt": 1, "started_at": 1e9}],
)
NAMES = (
    *FIELDS, "delay", "_id", "__v", "createdAt", "updatedAt", "output",
    "base_backoff_seconds", "nonsense", "a\ud800",
)
READERS = (
    *("list", "list --json", "show a", "show a --json", "show b", "logs a", "status"),
    *("status --json", "worker list"),
    *("worker list --json", "config list", "config list --json", "dlq list", "doctor", "export"),
    "wait --all --timeout 0",
)
# The columns of the tables that belong to a job or a worker; test_malformed_rows has those of the jobs themselves.
TABLES = {
    "queuectl_queues": "name mark paused next_start pending processing dead",
    "queuectl_attempts": "attempt worker started_at finished_at outcome exit_code error pid birth token dropped",
    "queuectl_output": "position stream data",
    "queuectl_inputs": "data",
    "queuectl_dependencies": "job needs met",
    "queuectl_workers": "supervisor pid boot birth queues wanted idle version started_at",
    "queuectl_config": "key value",
    "queuectl_meta": "value",
}
STORED = ("'x'", "x'ff'", "CAST(x'66ff0a' AS TEXT)", "-1", "9e999")


class Fuzzer:
    """Random command lines and their input, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def command(self) -> list[str]:
        words = self._random.choice(COMMANDS)
        return [self._random.choice(WORDS) if word == "N" else word for word in words]

    def lines(self) -> bytes:
        count = self._random.choice((0, 1, 1, 2))
        return "\n".join(self._line() for _ in range(count)).encode("utf-8", "surrogateescape")

    def _line(self) -> str:
        pick, chance = self._random.choice, self._random.random
        job = {"command": "true", "id": pick("abcdef"), "state": pick(("pending", "dead", "failed", "processing"))}
        job["created_at"] = 1700000000
        if chance() < 0.3:
            entry = {"attempt": 1, "started_at": 1, pick(list(ATTEMPT_FIELDS)): pick(VALUES)}
            job["history"] = [entry]
        for _ in range(pick((0, 1, 2))):
            job[pick(NAMES)] = pick(VALUES)
        if chance() < 0.2:
            job = {"_id": pick(VALUES), "attempts": pick((3_000_000_000, -1, 5)), **job}
        text = json.dumps(job)
        return text[: int(len(text) * chance())] if chance() < 0.1 else text


class FuzzTest(QueueTestCase):
    def failure(self, words: list[str], input: bytes = b"") -> str:
        """What is wrong if this command line is a bug; "" if it isn't."""
        code, output = run_forked(words, self.environment, input)
        shown = [word[:60] for word in words]
        return f"exit {code}: {shown} < {input[:300]!r}: {output[-400:]!r}" if is_bug(code, output) else ""

    def test_no_command_line_and_no_json_is_a_bug(self):
        self.fuzz(SEED, COUNT)

    def fuzz(self, seed: int, count: int) -> None:
        fuzzer = Fuzzer(seed)
        for number in range(count):
            words, lines = fuzzer.command(), fuzzer.lines()
            failure = self.failure(words, lines)
            self.assertEqual(failure, "", f"seed {seed}, command {number}")

    def test_no_value_in_any_table_is_a_bug_for_a_reader(self):
        self.run_cli("enqueue", "--id", "a", "--stdin", "--", "cat", input="data")
        self.run_cli("enqueue", "--id", "b", "--after", "a", "true")
        self.run_cli("config", "set", "default.rate", "9/s")
        with_all = (
            "INSERT INTO queuectl_workers (id, role, pid, boot, birth, version, started_at)"
            " VALUES (9, 'worker', 1, 'x', 'y', '1', 1), (-1, 'supervisor', 1, 'x', 'y', '1', 1)",
            "UPDATE queuectl_jobs SET state = 'processing', ready = NULL, worker = 9, attempts = 1, last_attempt = 1,"
            " started_at = 1 WHERE id = 'a'",
            "INSERT INTO queuectl_attempts (job, attempt, worker, started_at) VALUES (1, 1, 9, 1)",
            "INSERT INTO queuectl_output VALUES (1, 1, 0, 1, x'41')",
        )
        for statement in with_all:
            self.rows(statement)
        self.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(self.db, self.path("sane.db"))
        for table, columns in TABLES.items():
            for column in columns.split():
                self.damage(table, column)
                for words in READERS:
                    with self.subTest(table=table, column=column):
                        self.assertEqual(self.failure(words.split()), "")

    def damage(self, table: str, column: str) -> None:
        """Put each value into a row of its own, as far as the table has keys for that, with CHECKs off."""
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(self.db + suffix):
                os.unlink(self.db + suffix)
        shutil.copy(self.path("sane.db"), self.db)
        connection = sqlite3.connect(self.db, isolation_level=None)
        connection.execute("PRAGMA ignore_check_constraints = ON")
        where = " WHERE key <> 'schema'" if table == "queuectl_meta" else ""
        value = STORED[(len(table) + len(column)) % len(STORED)]
        try:
            connection.execute(f"UPDATE {table} SET {column} = {value}{where}")
        except sqlite3.IntegrityError:
            pass
        finally:
            connection.close()


if __name__ == "__main__":
    seed, count = map(int, sys.argv[1:3])
    test = FuzzTest("test_no_command_line_and_no_json_is_a_bug")
    test.setUp()
    try:
        test.fuzz(seed, count)
    finally:
        test.doCleanups()
