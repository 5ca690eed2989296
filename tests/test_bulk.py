"""Many jobs at once: bulk commands commit in batches, and long chains of jobs cost no more than their length."""

from __future__ import annotations

import subprocess
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, StringIO, TextIOWrapper
from typing import Callable

from queuectl_core.cli.bulk import Acknowledgements, each
from queuectl_core.jobspec import new_job
from tests.harness import QueueTestCase
from tests.patched import patched

# Dies in the middle of a batch, after changing three jobs.
DIES_AFTER_THREE = """
owner = owner_of("revive")
real, seen = owner.revive, []
def revive(*arguments, **options):
    seen.append(real(*arguments, **options))
    if len(seen) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return seen[-1]
owner.revive = revive
"""


class BatchTest(QueueTestCase):
    def test_a_thousand_jobs_are_changed_in_a_few_transactions(self):
        store = self.store()
        ids = store.enqueue([new_job({"command": "true", "cwd": "/"}, 0)] * 1000)
        commits = []
        store._connection.db.set_trace_callback(lambda text: commits.append(1) if text == "COMMIT" else None)
        printed = TextIOWrapper(BytesIO())
        said, done = StringIO(), Acknowledgements("cancelled", is_bulk=True)
        with redirect_stdout(printed), redirect_stderr(said), done:
            self.assertEqual(each(store, [*ids, "unknown"], lambda id: store.cancel(id).id, done, is_bulk=True), 0)
        self.assertEqual(said.getvalue(), "cancelled 1,000 jobs\n")
        self.assertEqual(printed.buffer.getvalue().decode().split(), list(ids))
        self.assertEqual(self.states(), {"cancelled": 1000})
        self.assertLess(len(commits), 300)  # On a slow machine, a batch holds few; never one each.

    def test_a_command_killed_in_the_middle_of_a_batch_printed_nothing_and_changed_nothing(self):
        self.enqueue_lines(["true"] * 10)
        self.run_cli("cancel", "--all")
        ids = [id for (id,) in self.rows("SELECT id FROM queuectl_jobs")]
        killed = subprocess.run(
            patched(DIES_AFTER_THREE, "retry", *ids), env=self.environment, capture_output=True, check=False
        )
        self.assertEqual((killed.returncode, killed.stdout), (-9, b""))
        self.assertEqual(self.states(), {"cancelled": 10})
        self.audit(ids)

    def test_a_refused_job_in_a_batch_leaves_the_others_changed(self):
        self.enqueue("--id", "a", "true")
        self.enqueue("--id", "b", "true")
        result = self.run_cli("cancel", "a", "unknown", "b", code=1)
        self.assertEqual((result.lines, "unknown" in result.stderr), (["a", "b"], True))
        self.assertEqual(self.states(), {"cancelled": 2})


class ChainTest(QueueTestCase):
    def steps(self, name: str, length: int, ask: Callable[..., object]) -> int:
        """The steps of SQLite's virtual machine, in thousands, that `ask(store)` takes with a chain of jobs."""
        store = self.store()
        jobs = [new_job({"command": "true", "cwd": "/", "id": f"{name}-{length}-0"}, 0)]
        for number in range(1, length):
            needed = [f"{name}-{length}-{number - 1}"]
            jobs.append(new_job({"command": "true", "cwd": "/", "id": f"{name}-{length}-{number}", "after": needed}, 0))
        store.enqueue(jobs)
        store.cancel(jobs[0].id)
        steps = []
        store._connection.db.set_progress_handler(lambda: steps.append(1), 1000)
        self.assertTrue(ask(store))
        store._connection.db.set_progress_handler(None, 0)
        for (id,) in self.rows("SELECT id FROM queuectl_jobs WHERE state = 'pending'"):
            store.cancel(id)
        return len(steps)

    def test_the_cost_of_a_chain_that_cannot_run_grows_with_its_length(self):
        for name, ask in (
            ("drain", lambda store: store.is_drained("default")),
            ("wait", lambda store: store.all_stuck()),
        ):
            with self.subTest(name):
                self.assertLess(self.steps(name, 2000, ask), 3 * max(1, self.steps(name, 1000, ask)))

    def test_a_chain_behind_a_paused_queue_drains_and_one_behind_a_running_job_does_not(self):
        store = self.store()
        jobs = [
            {"id": "first", "queue": "other"},
            {"id": "second", "after": ["first"]},
            {"id": "third", "after": ["second"]},
        ]
        store.enqueue([new_job({"command": "true", "cwd": "/", **job}, 0) for job in jobs])
        self.assertFalse(store.is_drained("default"))
        store.pause("other")
        self.assertTrue(store.is_drained("default"))
        store.resume("other")
        worker = self.register_worker(store)
        self.assertEqual(store.claim(worker, "other").job.id, "first")
        store.pause("other")
        self.assertFalse(store.is_drained("default"))
