"""The rows of workers and supervisors: which there are, what they should do, and which to wake."""

from __future__ import annotations

from ..errors import DatabaseUnusable
from . import sql
from .reader import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..records import Identity, Worker


class Roster(Reader):
    """One open queue, with its workers and supervisors."""

    # Inside `batch`, the workers to wake after it.
    _batched: list[tuple[int, str]] | None = None

    _writes = True

    def register(
        self, role: str, supervisor: int | None, identity: Identity, queues: str | None, version: str
    ) -> int:
        """Add the row of a worker or a supervisor; returns its id, which is never reused."""
        code = {"version": version, "schema": sql.SCHEMA_VERSION}
        row = {"role": role, "supervisor": supervisor, "queues": queues, **code}
        with self._transaction():
            if role == "supervisor":
                self._execute(sql.COUNT_SUPERVISOR)
            cursor = self._execute(sql.REGISTER, {**row, **identity._asdict(), "now": self._clock()})
            return cursor.lastrowid or 0

    def renew(self, worker: int, version: str) -> None:
        """Record that a process now runs the code of `version`."""
        with self._transaction():
            code = {"version": version, "schema": sql.SCHEMA_VERSION}
            self._execute(sql.RENEW, {"id": worker, **code, "now": self._clock()})

    def unregister(self, worker: int) -> None:
        """Remove a worker's row, unless it holds a job."""
        with self._transaction():
            self._execute(sql.UNREGISTER, {"id": worker})

    def disown(self, workers: Iterable[int]) -> None:
        """Record that the supervisor of these dead workers can do nothing more about their jobs. Others may."""
        with self._transaction():
            for worker in workers:
                self._execute(sql.DISOWN, {"id": worker})

    def wanted(self, worker: int) -> str | None:
        """What a worker should do: "run", "stop" or "stop-now"; None if it has no row."""
        wanted: str | None = self._one(sql.WANTED, {"id": worker})
        return wanted

    def want(self, workers: Iterable[int], wanted: str) -> list[int]:
        """Ask workers to "stop" or "stop-now"; returns those that hadn't been asked to already."""
        with self._transaction():
            return [
                worker
                for worker in workers
                if self._execute(sql.WANT, {"id": worker, "wanted": wanted}).rowcount
            ]

    def elders(self, worker: int | None) -> list[Worker]:
        """Up to ten older workers that take the same queues as this one, oldest first; none for None."""
        from ..records import worker_from  # Deferred: enqueue doesn't need records.

        return [worker_from(row) for row in self._rows(sql.ELDERS, {"id": worker})]

    # --- waking idle workers --------------------------------------------------------------------

    def lookout(self, worker: int, queues: str | None) -> tuple[bool, bool]:
        """For an idle worker: (whether it is the lookout, whether its row says idle).

        The lookout, the youngest idle worker with the same queues, polls for all of them. If a worker's row doesn't
        say idle, a process is about to ring its bell, or died before it could.
        """
        youngest, is_marked = self._rows(sql.LOOKOUT, {"id": worker, "queues": queues})[0]
        return youngest is None or youngest <= worker, bool(is_marked)

    def hand_over(self, worker: int, queues: str | None) -> None:
        """Wake the next lookout if `worker`, which is no longer idle, was the lookout."""
        from .bell import ring

        for (idle,) in self._rows(sql.IDLE, {"queues": queues}):
            if idle > worker or ring(self.path, idle):
                return

    def _choose(self, queue: str, count: int) -> list[tuple[int, str]]:
        """Choose up to `count` idle workers that take `queue`; returns (worker, queue) for each, for `_ring`.

        Marks them as busy in the same transaction, so two enqueues at once wake two workers.
        """
        if not self._connection.wakes_workers:
            return []
        chosen = self._rows(sql.WAKE, {"queue": queue, "count": count})
        for (worker,) in chosen:
            self._execute(sql.SET_IDLE, {"id": worker, "idle": 0})
        return [(worker, queue) for (worker,) in chosen]

    def batch(self) -> Batch:
        """A `with` block that commits all operations in it together: one fsync, and bells ring after it."""
        return Batch(self)

    def _ring(self, chosen: list[tuple[int, str]]) -> None:
        """Wake the chosen workers. Call it after the commit that they should see."""
        if not chosen:
            return
        if self._batched is not None:
            self._batched += chosen
            return
        from .bell import ring

        while chosen:
            unanswered = [queue for worker, queue in chosen if not ring(self.path, worker)]
            chosen = []
            for queue in unanswered:  # That worker is dead or has no bell; another may be idle.
                try:
                    with self._transaction():
                        chosen += self._choose(queue, 1)
                except DatabaseUnusable:
                    return  # The commit itself succeeded, so the caller must not see an error.


class Batch:
    """A transaction around operations that have transactions of their own; see Roster.batch."""

    def __init__(self, store: Roster) -> None:
        self._store = store
        self._transaction = store.transaction()

    def __enter__(self) -> None:
        self._transaction.__enter__()
        self._store._batched = []

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        chosen, self._store._batched = self._store._batched or [], None
        self._transaction.__exit__(kind, error, trace)
        if kind is None:
            self._store._ring(chosen)
