"""Jobs that wait for others: the answers are right for any graph, and cost the same for each link."""

from __future__ import annotations

import os
import random
import time
import unittest
from typing import Callable, Dict, List

from queuectl_core.jobspec import new_job
from queuectl_core.store import Store
from tests.harness import QueueTestCase

Needs = Dict[int, List[int]]
# SQLite's progress handler is called once per so many instructions.
STEP = 100


def diamonds(length: int) -> Needs:
    """Each job waits for both of the two before it, so the number of paths doubles with each."""
    return {number: list(range(max(0, number - 2), number)) for number in range(length)}


def star(length: int) -> Needs:
    return {number: [0] if number else [] for number in range(length)}


class ChainTest(QueueTestCase):
    number_of_stores = 0

    def fresh_store(self) -> Store:
        self.number_of_stores += 1
        return Store(os.path.join(self.folder, f"{self.number_of_stores}.db"), durable=False)

    def fill(self, store: Store, needs: Needs, queue_of: Callable[[int], str] = lambda _: "default") -> None:
        jobs = []
        for number, others in needs.items():
            fields = {"id": f"j{number}", "command": "true", "queue": queue_of(number)}
            after = tuple(f"j{other}" for other in others)
            jobs.append(new_job(fields, time.time())._replace(after=after))
        store.enqueue(jobs)

    def steps(self, needs: Needs) -> int:
        """How many of SQLite's instructions it takes to see that nothing can run, in hundreds."""
        with self.fresh_store() as store:
            self.fill(store, needs)
            store.cancel("j0")
            count = 0

            def tick() -> int:
                nonlocal count
                count += 1
                return 0

            store._connection.db.set_progress_handler(tick, STEP)
            self.assertTrue(store.is_drained("default"))
            self.assertEqual(len(store.all_stuck()), len(needs) - 1)
            store._connection.db.set_progress_handler(None, 0)
        return count

    def test_cost_is_linear_in_the_number_of_links(self):
        for shape in (diamonds, star):
            with self.subTest(shape=shape.__name__):
                self.assertLess(self.steps(shape(240)), 4 * self.steps(shape(80)))

    def test_answers_agree_with_the_definition_on_random_graphs(self):
        for seed in range(15):
            choose = random.Random(seed)
            size = 12
            needs = {n: sorted(choose.sample(range(n), min(n, choose.choice((0, 1, 1, 2))))) for n in range(size)}
            queues = [choose.choice("ab") for _ in range(size)]
            with self.subTest(seed=seed), self.fresh_store() as store:
                self.fill(store, needs, queues.__getitem__)
                ended = {n for n in range(size) if choose.random() < 0.15}
                for n in ended:
                    store.cancel(f"j{n}")
                if choose.random() < 0.5:
                    store.pause("b")
                # Everything in queue a that waits for nothing is done, so that only waiting jobs are left there.
                for n in range(size):
                    job = store.find(f"j{n}")
                    if job and job.state == "pending" and not job.waits_for and job.queue == "a":
                        store.cancel(job.id)
                        ended.add(n)
                self.compare(store, needs, queues, ended)

    def compare(self, store: Store, needs: Needs, queues: list[str], ended: set[int]) -> None:
        def upstream(n: int) -> set[int]:
            return {n}.union(*(upstream(other) for other in needs[n]))

        waiting = [n for n in needs if n not in ended and needs[n]]
        stuck = {f"j{n}" for n in waiting if upstream(n) & ended}
        all_stuck = store.all_stuck()
        for job in store.oldest_first():
            if job.state == "pending":
                self.assertEqual((store.is_stuck(job), job.seq in all_stuck), (job.id in stuck,) * 2)
        halted = {n for n in needs if queues[n] in store.paused()}
        left = [n for n in waiting if queues[n] == "a" and not upstream(n) & (ended | halted)]
        self.assertEqual(store.is_drained("a"), not left)


if __name__ == "__main__":
    unittest.main()
