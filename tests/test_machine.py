"""`max-load` and `min-free-memory`: jobs start only while the machine isn't busy, and users see why they don't."""

from __future__ import annotations

import time
import unittest
from unittest import mock

from queuectl_core.errors import BadInput
from queuectl_core.jobspec import new_job
from queuectl_core.settings import parse
from queuectl_core.store import Store, machine
from queuectl_core.store.machine import Busy
from tests.harness import QueueTestCase, sleep_to_see_nothing_happen

CALM, BUSY = Busy(0.5, 4 << 30), Busy(9.5, 1 << 30)


class GateTest(QueueTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = time.time()
        self.queue: Store = self.store(clock=lambda: self.now)
        self.queue.enqueue([new_job({"id": f"job{number}", "command": "true"}, self.now) for number in range(4)])
        self.workers = [self.register_worker(self.queue) for _ in range(4)]

    def claim(self, busy: Busy, worker: int = 0, idle: bool = False) -> bool:
        """Whether a worker gets a job while the machine is as busy as this."""
        with mock.patch.object(machine, "busy", lambda: busy):
            claim = self.queue.claim(self.workers[worker], None, idle)
            if claim.job is None:
                self.assertEqual(claim.next_due, self.now + 1)
            return claim.job is not None

    def test_jobs_start_only_below_the_load_and_an_idle_worker_looks_again_within_a_second(self):
        self.queue.set_config("max-load", 8)
        self.assertFalse(self.claim(BUSY))
        self.assertFalse(self.claim(BUSY, idle=True))
        self.assertTrue(self.claim(CALM, idle=True))

    def test_jobs_start_only_with_enough_memory(self):
        self.queue.set_config("min-free-memory", 2 << 30)
        self.assertFalse(self.claim(BUSY))
        self.assertTrue(self.claim(CALM))

    def test_an_old_sqlite_does_the_same(self):
        self.queue.has_returning = False
        self.test_jobs_start_only_below_the_load_and_an_idle_worker_looks_again_within_a_second()

    def test_idle_workers_do_not_all_start_a_job_before_the_first_one_shows_up_in_the_load(self):
        self.queue.set_config("max-load", 2)
        self.assertEqual([self.claim(CALM, worker) for worker in range(4)], [True, True, False, False])
        self.now += 1.5
        self.assertTrue(self.claim(CALM, 2))
        self.now -= 3600  # The clock was set back.
        self.assertTrue(self.claim(CALM, 3))

    def test_a_queues_own_setting_counts_and_none_exempts_it(self):
        self.queue.set_config("max-load", 8)
        self.queue.set_config("default.max-load", 16)
        self.assertTrue(self.claim(BUSY))
        self.queue.set_config("default.max-load", "none")
        self.assertTrue(self.claim(Busy(99.0), 1))
        self.queue.unset_config("default.max-load")
        self.assertFalse(self.claim(BUSY, 2))

    def test_hooks_ignore_a_global_limit(self):
        self.queue.set_config("max-load", 8)
        self.rows("UPDATE queuectl_jobs SET queue = 'hooks'")
        self.assertTrue(self.claim(BUSY))
        self.queue.set_config("hooks.max-load", 8)
        self.assertFalse(self.claim(BUSY))

    def test_without_such_a_setting_nothing_is_measured(self):
        self.queue.set_config("default.limit", 3)
        with mock.patch.object(machine, "busy", side_effect=AssertionError):
            self.assertIsNotNone(self.queue.claim(self.workers[0], None).job)

    def test_a_system_without_the_figure_starts_jobs_and_refuses_the_setting(self):
        self.rows("INSERT INTO queuectl_config VALUES ('max-load', 100), ('min-free-memory', 'many')")
        self.assertTrue(self.claim(machine.UNKNOWN))
        self.assertTrue(self.claim(Busy(0.0, 0), 1))
        with mock.patch.object(machine, "busy", lambda: machine.UNKNOWN):
            for key, what in (("max-load", "its load average"), ("a.min-free-memory", "how much memory is available")):
                with self.assertRaisesRegex(BadInput, f"{key}: this system doesn't say {what}"):
                    self.queue.set_config(key, 1)

    def test_the_figures_are_this_machines(self):
        load, memory = machine.busy()
        self.assertGreaterEqual(load, 0)
        self.assertTrue(memory is None or memory > 1 << 20, memory)


class ShownTest(QueueTestCase):
    def test_a_busy_machine_is_the_reason_everywhere_until_it_is_calm(self):
        self.run_cli("config", "set", "min-free-memory", "1000000G")
        self.run_cli("config", "set", "mail.max-load", "0.0000001")
        self.run_cli("config", "set", "mail.min-free-memory", "none")
        ids = [self.enqueue("--", "true"), self.enqueue("-q", "mail", "--", "true")]
        self.start_workers("-c", "2")
        sleep_to_see_nothing_happen(0.3)
        self.assertEqual(self.states(), {"pending": 2})
        memory = r"[\d.]+ [GM]iB free \(min-free-memory 1000000 GiB\)"
        self.assertRegex(self.job(ids[0])["reason"], f"^{memory}$")
        self.assertRegex(self.run_cli("list").stdout, memory)
        status = self.run_cli("status").stdout
        self.assertRegex(status, f"(?m)^All queues: {memory}$")
        self.assertRegex(status, r"mail .* (load [\d.]+ \()?max-load 1e-07")
        reasons = self.rows("SELECT reason FROM queuectl_list ORDER BY id = ?", ids[1])
        self.assertEqual(reasons, [(f"min-free-memory {10**6 * 2**30}",), ("max-load 1.0e-07",)])
        self.run_cli("config", "unset", "min-free-memory")
        self.wait_for_state(ids[0], "completed")
        self.run_cli("config", "unset", "mail.max-load")
        self.wait_for_state(ids[1], "completed")


class ValuesTest(unittest.TestCase):
    def test_values_are_parsed_and_none_means_no_limit(self):
        for key, text, value in (
            ("max-load", "8", 8), ("a.max-load", "7.5", 7.5), ("max-load", "none", "none"),
            ("min-free-memory", "2G", 2 << 30), ("min-free-memory", "512MiB", 512 << 20),
            ("min-free-memory", "none", "none"),
        ):  # fmt: skip
            self.assertEqual(parse(key, text), value)
        for key, text, hint in (
            ("max-load", "0", "write a number such as 8"), ("max-load", "-1", "not a load"),
            ("max-load", "80%", "not a load"),
            ("min-free-memory", "0", "write 512M or 2G"), ("min-free-memory", "10%", "not an amount of memory"),
            ("min-free-memory", "9999999999G", "not an amount of memory"), ("max-load", "nan", "not a load"),
        ):  # fmt: skip
            with self.subTest(text), self.assertRaisesRegex(BadInput, hint):
                parse(key, text)

    def test_only_what_keeps_jobs_from_starting_is_explained(self):
        both = "max-load 4, min-free-memory 2147483648"
        with mock.patch.object(machine, "busy", lambda: BUSY):
            text = "load 9.5 (max-load 4), 1 GiB free (min-free-memory 2 GiB)"
            self.assertEqual(machine.explained(both), text)
            self.assertEqual(machine.explained("max-load 16"), "max-load 16")
            self.assertEqual(machine.explained("min-free-memory none"), "min-free-memory none")
        with mock.patch.object(machine, "busy", lambda: CALM):
            self.assertEqual(machine.explained(both), both)


if __name__ == "__main__":
    unittest.main()
