"""The lifecycle: verdicts and backoff for every outcome, and the SQL checked against the table of moves."""

from __future__ import annotations

import itertools
import math
import re
import signal
import sqlite3
import time
import unittest

from queuectl_core import jobspec, lifecycle
from queuectl_core.errors import Refused
from queuectl_core.lifecycle import (
    FINISHED,
    STATES,
    TRANSITIONS,
    WAITING,
    Job,
    Outcome,
    backoff,
    judge,
)
from queuectl_core.store import Store, sql
from tests.harness import QueueTestCase

NOW = 1_800_000_000.25

FAILURES = (
    (Outcome("exit", 1), 1, "exit 1"),
    (Outcome("exit", 2), 2, "exit 2"),
    (Outcome("exit", 126), 126, "exit 126 (cannot be executed)"),
    (Outcome("exit", 127), 127, "exit 127 (command not found)"),
    (Outcome("exit", 255), 255, "exit 255"),
    (Outcome("signal", signal.SIGSEGV), 128 + signal.SIGSEGV, "killed by SIGSEGV"),
    (Outcome("signal", signal.SIGKILL), 128 + signal.SIGKILL, "killed by SIGKILL"),
    (Outcome("signal", 40), 168, "killed by signal 40"),
    (Outcome("timeout"), None, "timed out after 30s"),
    (Outcome("lost"), None, "worker lost"),
    (Outcome("unstarted", detail="no such directory"), None, "cannot start: no such directory"),
)


def job(**fields: object) -> Job:
    """A job in its first attempt, with default settings."""
    empty = Job(**dict.fromkeys(Job._fields))
    counts = {name: 0 for name in ("deferrals", "defer_limit") if name in Job._fields}
    given = dict(
        counts,
        seq=1,
        id="a",
        queue="default",
        priority=0,
        state="processing",
        command="true",
        max_retries=3,
        backoff_base=2,
        backoff_max=86400,
        timeout=30,
        kill_grace=10,
        output_limit=100,
        attempts=1,
        last_attempt=1,
        worker=1,
        cancel=0,
    )
    return empty._replace(**{**given, **fields})


class VerdictTest(unittest.TestCase):
    def test_a_job_that_the_machine_could_not_start_is_released_for_a_while_and_keeps_the_reason(self):
        outcome = Outcome("released", detail="cannot start now: out of processes")
        verdict = judge(job(attempts=1, max_retries=0), outcome, NOW)
        self.assertEqual((verdict.move, verdict.error), ("release", "cannot start now: out of processes"))
        self.assertGreater(verdict.run_at, NOW)

    def test_every_kind_of_failure_is_retried_while_retries_are_left_then_buried(self):
        for (outcome, code, error), attempts, max_retries in itertools.product(
            FAILURES, (1, 2, 3, 4, 5, 100), (0, 1, 3, 4, 99, 2**31 - 1)
        ):
            verdict = judge(job(attempts=attempts, max_retries=max_retries), outcome, NOW)
            with self.subTest(outcome=outcome, attempts=attempts, max_retries=max_retries):
                self.assertEqual(verdict.exit_code, code)
                self.assertEqual(verdict.error, error)
                if attempts <= max_retries:
                    self.assertEqual(verdict.move, "fail")
                    self.assertEqual(verdict.run_at, NOW + min(2.0**attempts, 86400))
                else:
                    self.assertEqual(verdict.move, "bury")
                    self.assertIsNone(verdict.run_at)

    def test_a_job_that_always_fails_runs_max_retries_plus_one_times(self):
        for max_retries in range(6):
            moves = [
                judge(job(attempts=n, max_retries=max_retries), Outcome("exit", 1), NOW).move
                for n in range(1, max_retries + 2)
            ]
            self.assertEqual(moves, ["fail"] * max_retries + ["bury"])

    def test_success_in_any_attempt_completes_the_job(self):
        for attempts in (1, 4, 5, 1000):
            verdict = judge(job(attempts=attempts, max_retries=3), Outcome("exit", 0), NOW)
            self.assertEqual(tuple(verdict), ("succeed", None, 0, None))

    def test_a_released_job_is_due_at_once_whatever_its_attempts(self):
        for attempts in (1, 4, 5):
            verdict = judge(job(attempts=attempts, max_retries=0), Outcome("released"), NOW)
            self.assertEqual((verdict.move, verdict.run_at), ("release", NOW))

    def test_a_cancelled_job_stays_cancelled_even_if_its_worker_is_lost(self):
        for cancelled, outcome in ((job(), Outcome("cancelled")), (job(cancel=1), Outcome("lost"))):
            verdict = judge(cancelled, outcome, NOW)
            self.assertEqual((verdict.move, verdict.run_at), ("cancel", None))

    def test_a_verdict_has_a_time_if_and_only_if_the_job_runs_again(self):
        outcomes = [outcome for outcome, _, _ in FAILURES]
        outcomes += [Outcome("exit", 0), Outcome("released"), Outcome("cancelled")]
        for outcome, attempts in itertools.product(outcomes, (1, 5)):
            verdict = judge(job(attempts=attempts), outcome, NOW)
            self.assertIn(verdict.move, TRANSITIONS)
            runs_again = TRANSITIONS[verdict.move].to_state in WAITING
            self.assertEqual(verdict.run_at is not None, runs_again, outcome)

    def test_a_deferred_job_backs_off_by_its_deferrals_not_its_attempts(self):
        not_now = Outcome("exit", 75)
        for deferrals, attempts in itertools.product((0, 1, 2, 10), (1, 3)):
            deferred = job(deferrals=deferrals, defer_limit=20, attempts=attempts)
            verdict = judge(deferred, not_now, NOW)
            self.assertEqual((verdict.move, verdict.run_at), ("defer", NOW + 2.0 ** (deferrals + 1)))
        capped = judge(job(deferrals=10, defer_limit=20, backoff_max=60), not_now, NOW)
        self.assertEqual(capped.run_at, NOW + 60)


class BackoffTest(unittest.TestCase):
    def test_backoff_is_base_to_the_power_of_n(self):
        self.assertEqual([backoff(2, n, 86400) for n in (1, 2, 3, 4)], [2, 4, 8, 16])
        self.assertEqual(backoff(1, 50, 86400), 1)
        self.assertEqual(backoff(0, 3, 86400), 0)
        self.assertAlmostEqual(backoff(1.5, 3, 86400), 3.375)
        self.assertEqual(backoff(2, 3, 0), 0)

    def test_backoff_never_overflows(self):
        for base, n, cap in itertools.product(
            (0, 0.5, 1, 1.0001, 2, 10, 1e9),
            (1, 2, 16, 17, 1023, 1024, 1e6, 2**31, 10**30),
            (0, 1, 86400, 3e9),
        ):
            wait = backoff(base, int(n), cap)
            self.assertTrue(0 <= wait <= cap, (base, n, cap, wait))
            self.assertTrue(math.isfinite(wait))

    def test_backoff_is_exact_up_to_the_cap(self):
        for base, n, cap in itertools.product((0.1, 0.5, 1, 1.1, 2, 3, 7.3), range(1, 200), (10, 86400)):
            exact = float(base) ** n if n * math.log(max(base, 1e-9)) < 700 else math.inf
            self.assertEqual(backoff(base, n, cap), min(exact, cap), (base, n, cap))


class GuardsTest(QueueTestCase):
    """The SQL allows the moves in TRANSITIONS and no others."""

    def new_job_in(self, state: str, store: Store) -> Job:
        (id,) = store.enqueue([jobspec.new_job({"command": "true", "max_retries": 1}, time.time())])
        if state == "pending":
            return store.get(id)
        if state == "cancelled":
            store.cancel(id)
            return store.get(id)
        claimed = store.claim(self.worker, None).job
        self.assertEqual(claimed.id, id)
        outcomes = {"completed": Outcome("exit", 0), "failed": Outcome("exit", 1), "dead": Outcome("exit", 1)}
        if state in outcomes:
            if state == "dead":
                claimed = claimed._replace(max_retries=0)
                self.execute("UPDATE queuectl_jobs SET max_retries = 0 WHERE id = ?", id)
            verdict = judge(claimed, outcomes[state], time.time())._replace(error=None)
            if state != "completed":
                verdict = verdict._replace(error="exit 1")
            self.assertTrue(store.settle(claimed, outcomes[state], verdict))
        found = store.get(id)
        self.assertEqual(found.state, state)
        return found

    def execute(self, statement: str, *parameters: object) -> None:
        connection = sqlite3.connect(self.db, isolation_level=None, timeout=20)
        connection.execute(statement, parameters)
        connection.close()

    def attempt_move(self, store: Store, move: str, job: Job) -> bool:
        """Try a move through the store's method for it; returns whether the job moved."""
        if move == "claim":
            # Make a failed job due.
            self.execute("UPDATE queuectl_jobs SET ready = 1 WHERE ready = 0 AND seq = ?", job.seq)
            return store.claim(self.worker, None).job is not None
        if move == "cancel" and job.state != "processing":
            method = store.cancel
        elif move == "revive":
            method = store.revive
        else:
            owned = job if job.state == "processing" else job._replace(worker=self.worker, started_at=0.0)
            outcome = {
                "succeed": Outcome("exit", 0),
                "release": Outcome("released"),
                "cancel": Outcome("cancelled"),
            }.get(move, Outcome("exit", 75 if move == "defer" else 1))
            verdict = judge(owned._replace(attempts=1), outcome, time.time())
            verdict = verdict._replace(move=move)
            if TRANSITIONS[move].to_state in WAITING:
                verdict = verdict._replace(run_at=time.time())
            return store.settle(owned, outcome, verdict)
        try:
            method(job.id)
        except Refused:
            return False
        return True

    def test_each_move_succeeds_from_the_states_in_the_table_and_from_no_other(self):
        store = self.store()
        self.worker = self.register_worker(store)
        for move, state in itertools.product(TRANSITIONS, STATES):
            with self.subTest(move=move, state=state):
                found = self.new_job_in(state, store)
                moved = self.attempt_move(store, move, found)
                self.assertEqual(moved, state in TRANSITIONS[move].from_states)
                after = store.get(found.id)
                self.assertEqual(after.state, TRANSITIONS[move].to_state if moved else state)
                if not moved:
                    self.assertEqual(after, found)
                # The next claim must not get this job.
                self.execute("DELETE FROM queuectl_jobs")
        self.audit()

    def test_every_update_of_the_state_is_guarded_by_the_old_state(self):
        guarded = 0
        for name, text in vars(sql).items():
            if isinstance(text, str) and re.search(r"UPDATE queuectl_jobs SET\s+state =", text):
                guarded += 1
                where = text.rpartition("WHERE")[2]
                self.assertRegex(where, r"state = '", name)
        self.assertGreaterEqual(guarded, 4)

    def test_guards_list_exactly_the_from_states_in_the_table(self):
        moves = [
            (sql.SETTLE, "succeed"),
            (sql.CANCEL_WAITING, "cancel"),
            (sql.REVIVE, "revive"),
            (sql.CLAIM_SEQ, "claim"),
        ]
        for text, move in moves:
            (listed,) = re.findall(r"\((state = [^)]*)\)", text.rpartition("WHERE")[2])
            states = re.findall(r"'(\w+)'", listed)
            self.assertEqual(sorted(states), sorted(TRANSITIONS[move].from_states), move)


class TransitionsTest(unittest.TestCase):
    def test_there_are_six_states_and_every_move_ends_in_one_of_them(self):
        self.assertEqual(
            sorted(STATES), ["cancelled", "completed", "dead", "failed", "pending", "processing"]
        )
        for name, move in TRANSITIONS.items():
            self.assertTrue(set(move.from_states) | {move.to_state} <= set(STATES), name)

    def test_each_move_has_the_promised_states(self):
        promised = {
            "claim": ({"pending", "failed"}, "processing"),
            "succeed": ({"processing"}, "completed"),
            "fail": ({"processing"}, "failed"),
            "bury": ({"processing"}, "dead"),
            "defer": ({"processing"}, "pending"),
            "release": ({"processing"}, "pending"),
            "cancel": ({"pending", "failed", "processing"}, "cancelled"),
            "revive": ({"dead", "cancelled", "completed", "failed"}, "pending"),
        }
        self.assertEqual(set(promised), set(TRANSITIONS))
        for name, (from_states, to_state) in promised.items():
            move = TRANSITIONS[name]
            self.assertEqual((set(move.from_states), move.to_state), (from_states, to_state), name)

    def test_only_revive_leaves_a_finished_state(self):
        for name, move in TRANSITIONS.items():
            if set(move.from_states) & set(FINISHED):
                self.assertEqual(name, "revive")
        self.assertFalse(set(FINISHED) & set(WAITING))

    def test_the_diagram_names_every_move_and_state(self):
        for word in [*TRANSITIONS, *STATES]:
            self.assertIn(word, lifecycle.__doc__)


if __name__ == "__main__":
    unittest.main()
