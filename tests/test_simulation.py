"""The simulation finds no broken promise, and would find one: each test that breaks a line sees it fail."""

from __future__ import annotations

import os
import unittest
from unittest import mock

from queuectl_core.store import Store, sql
from tests.harness import QueueTestCase
from tests.simulation.search import Broken, explore, wander

SEED = 1


class Simulation(QueueTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.empty = os.path.join(self.folder, "empty.db")
        Store(self.empty).close()

    def without(self, name: str, part: str, instead: str = "") -> mock._patch[str]:
        """Patch a statement of sql.py: `part` of it replaced."""
        statement = getattr(sql, name)
        self.assertIn(part, statement)
        return mock.patch.object(sql, name, statement.replace(part, instead))

    def test_every_order_of_steps_around_one_job_and_one_kill_keeps_the_promises(self) -> None:
        self.assertGreater(explore(self.empty, ("cancel",), {"kill": 1}), 500)

    def test_every_order_of_steps_keeps_the_promises_when_commands_leave_processes_behind(self) -> None:
        self.assertGreater(explore(self.empty, ("cancel",), {"leave": 1, "kill": 1}), 500)

    def test_every_order_of_steps_keeps_the_promises_when_a_live_worker_is_taken_for_dead(self) -> None:
        self.assertGreater(explore(self.empty, ("cancel",), {"mistake": 1}), 500)

    def test_every_order_of_steps_keeps_the_promises_when_a_job_is_suspended(self) -> None:
        self.assertGreater(explore(self.empty, ("suspend", "continue_"), {"kill": 1}), 500)
        self.assertGreater(explore(self.empty, ("suspend", "cancel"), {"mistake": 1}), 500)

    def test_random_steps_with_many_jobs_keep_the_promises(self) -> None:
        for seed in range(SEED, SEED + 3):
            wander(self.empty, seed)

    def test_a_seed_reproduces_every_step(self) -> None:
        failures = []
        with self.without("WANT_CANCEL", "cancel = 1", "cancel = 0"):
            for _ in range(2):
                with self.assertRaises(Broken) as caught:
                    for seed in range(SEED, SEED + 20):
                        wander(self.empty, seed)
                failures.append(str(caught.exception))
        self.assertIn("claim", failures[0])
        self.assertEqual(failures[0], failures[1])

    def test_the_simulation_finds_a_cancel_that_a_settle_overwrites(self) -> None:
        with self.without("SETTLE", sql._CANCELS, "0"), self.assertRaisesRegex(Broken, "cancel was acknowledged"):
            explore(self.empty, ("cancel",), {})

    def test_the_simulation_finds_a_suspended_job_that_is_settled_as_suspended(self) -> None:
        with self.without("SETTLE", "suspend = 0, "), self.assertRaisesRegex(Broken, "is suspended"):
            explore(self.empty, ("suspend", "cancel"), {})

    def test_the_simulation_finds_a_continue_that_is_not_recorded(self) -> None:
        broken = self.without("WANT_SUSPEND", "suspend = :suspend", "suspend = 1")
        with broken, self.assertRaisesRegex(Broken, "still suspended"):
            explore(self.empty, ("suspend", "continue_"), {})

    def test_the_simulation_finds_a_cancel_that_is_not_recorded(self) -> None:
        broken = self.without("WANT_CANCEL", "cancel = 1", "cancel = 0")
        with broken, self.assertRaisesRegex(Broken, "cancel was acknowledged"):
            explore(self.empty, ("cancel",), {})

    def test_the_simulation_finds_a_settle_that_does_not_check_its_owner(self) -> None:
        guard = "AND worker = :worker AND last_attempt = :attempt"
        with self.without("SETTLE", guard), self.assertRaisesRegex(Broken, "no longer in|still runs"):
            explore(self.empty, (), {"mistake": 1})

    def test_the_simulation_finds_a_rescue_that_settles_before_it_ends_what_was_left_running(self) -> None:
        with self.assertRaisesRegex(Broken, "still runs"):
            explore(self.empty, (), {"kill": 1}, phases=("settle", "end", "unregister"))

    def test_the_simulation_finds_a_worker_row_that_is_removed_while_it_holds_a_job(self) -> None:
        guard = sql.UNREGISTER.partition("id = :id")[2]
        with self.without("UNREGISTER", guard), self.assertRaisesRegex(Broken, "worker without a row"):
            explore(self.empty, (), {"mistake": 1})

    def test_the_simulation_finds_an_attempt_that_is_never_recorded_as_ended(self) -> None:
        broken = self.without("END_ATTEMPT", "outcome IS NULL", "outcome IS NOT NULL")
        with broken, self.assertRaisesRegex(Broken, "no outcome"):
            explore(self.empty, (), {})


if __name__ == "__main__":
    unittest.main()
