"""Operations for users and programs on jobs and queues that exist: cancel, edit, revive, prune, pause, configure."""

from __future__ import annotations

import time

from ..errors import CannotSuspend, Refused
from ..lifecycle import FINISHED, WAITING
from ..settings import HOOK_QUEUE, of_queue
from . import queries, sql, upkeep
from .schedules import Schedules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..lifecycle import Job
    from ..settings import Config

RETENTION_BITE = 1000  # The most jobs that retain() deletes in one transaction.
SUSPENDING_SCHEMA = 4  # Workers that know this schema version can suspend their jobs.
PRUNE_HOLD = 0.05  # Seconds after which prune() ends its transaction, so that workers can write.


class Client(Schedules):
    """One open queue, with the operations for users and programs."""

    # --- changing jobs --------------------------------------------------------------------------

    def cancel(self, id: str) -> Job:
        """Cancel a job. A waiting job is cancelled at once; a running one is ended by its worker soon.

        Returns the job as it is now. Raises Refused if it doesn't exist or has finished.
        """
        with self._transaction():
            job = self.exact(id)
            parameters = {"job": job.seq, "now": self._clock(), "error": "cancelled"}
            if not self._execute(sql.CANCEL_WAITING, parameters).rowcount:
                if not self._execute(sql.WANT_CANCEL, parameters).rowcount:
                    raise Refused(f"job {job.id} is already {job.state}")
                if job.is_suspended:
                    self._execute(sql.COUNT_SUSPENDED, {**parameters, "attempt": job.last_attempt, "suspend": 0})
            job = self.exact(job.id)
            chosen = [(job.worker, job.queue)] if job.worker is not None else []
            if job.state == "cancelled":
                ready, _ = self._release_dependents(job, False)
                ready[HOOK_QUEUE] = ready.get(HOOK_QUEUE, 0) + self._trigger_empty([job.seq], self._clock())
                for queue, count in ready.items():
                    chosen += self._choose(queue, count) if count else []
        self._ring(chosen)
        return job

    def edit(self, id: str, changes: dict[str, object]) -> str:
        """Change a waiting job; returns its id. `changes` maps columns (see EDITABLE) to values.

        Raises Refused for a job that isn't waiting.
        """
        with self._transaction():
            job = self.exact(id)
            if not self._edit(job, changes):
                raise Refused(f"job {job.id} is {job.state}; only waiting jobs can be changed")
            chosen = self._choose(self.exact(job.id).queue, 1)
        self._ring(chosen)
        return job.id

    def suspend(self, id: str) -> str:
        """Ask a running job's worker to stop all of its processes until `continue_`; returns the job's id.

        Raises Refused for a job that isn't running, is being ended, may have parts on other machines, or whose worker
        is of an older version.
        """
        with self._transaction():
            job = self.exact(id)
            if job.state in WAITING:
                hint = f"to keep it from starting, run: {_command('hold', job)}"
                raise Refused(f"job {job.id} is {job.state}, not running; {hint}")
            if job.state != "processing" or job.cancel:
                state = "being cancelled" if job.cancel else job.state
                raise Refused(f"job {job.id} is {state}; only running jobs can be suspended")
            obstacle = self._why_not_suspend(job)
            if obstacle:
                raise CannotSuspend(f"job {job.id} cannot be suspended: {obstacle}")
            chosen = self._want_suspend(job, 1)
        self._ring(chosen)
        return job.id

    def _why_not_suspend(self, job: Job) -> str | None:
        """Why a running job can't be suspended; None if it can be."""
        if of_queue(self.config(), job.queue, "runner-kill"):
            return "its queue has a runner-kill, so it may run elsewhere"
        rows = self._rows(sql.WANTED_AND_SCHEMA, {"id": job.worker})
        wanted, schema = rows[0] if rows else (None, SUSPENDING_SCHEMA)  # Without a row, its worker is dead.
        if wanted == "stop-now":
            return "its worker is ending it, to stop now"
        if schema < SUSPENDING_SCHEMA:
            return "its worker is of an older version, and exits when this job is done"
        return None

    def continue_(self, id: str) -> str:
        """Undo `suspend`; returns the job's id. Raises Refused for a job that isn't suspended."""
        with self._transaction():
            job = self.exact(id)
            if not job.is_suspended:
                hint = f"; to let it start, run: {_command('release', job)}" if job.held else ""
                raise Refused(f"job {job.id} is not suspended; it is {'held' if job.held else job.state}{hint}")
            chosen = self._want_suspend(job, 0)
        self._ring(chosen)
        return job.id

    def _want_suspend(self, job: Job, suspend: int) -> list[tuple[int, str]]:
        """Ask the worker of a running job to suspend it, or not to; returns it, for `_ring`."""
        parameters = {"job": job.seq, "attempt": job.last_attempt, "suspend": suspend, "now": self._clock()}
        if not self._execute(sql.WANT_SUSPEND, parameters).rowcount:
            return []  # It is already as wanted.
        self._execute(sql.COUNT_SUSPENDED, parameters)
        return [] if job.worker is None else [(job.worker, job.queue)]

    def withdraw_suspension(self, job: Job) -> None:
        """For a worker that is ending its attempt: the job isn't suspended, even if a user has just asked for that."""
        owner = {"job": job.seq, "attempt": job.last_attempt, "worker": job.worker}
        if not any(suspend for _, suspend in self._rows(sql.HOLDS, owner)):
            return  # Look before taking the lock.
        parameters = {**owner, "suspend": 0, "now": self._clock()}
        with self._transaction():
            if self._execute(sql.WITHDRAW_SUSPENSION, parameters).rowcount:
                self._execute(sql.COUNT_SUSPENDED, parameters)

    def hold(self, id: str) -> str:
        """Hold a waiting job until it is released; returns its id. Raises Refused for a job that isn't waiting."""
        with self._transaction():
            job = self.exact(id)
            if not job.held and not self._execute(sql.HOLD, {"job": job.seq, "now": self._clock()}).rowcount:
                raise Refused(f"job {job.id} is {job.state}; only waiting jobs can be held")
        return job.id

    def release(self, id: str) -> str:
        """Undo `hold`; returns the job's id. Raises Refused for a job that isn't held."""
        with self._transaction():
            job = self.exact(id)
            if not self._execute(sql.RELEASE, {"job": job.seq, "now": self._clock()}).rowcount:
                raise Refused(f"job {job.id} is not held; it is {job.state}")
            chosen = self._choose(job.queue, 1)
        self._ring(chosen)
        return job.id

    def report_progress(self, job: Job, percent: float, text: str | None) -> None:
        """Store what the command of a running job reports: how much is done, and more about it."""
        progress = {"job": job.seq, "attempt": job.last_attempt, "progress": percent, "text": text}
        with self._transaction():
            if not self._execute(sql.REPORT_PROGRESS, progress).rowcount:
                raise Refused(f"job {job.id} is no longer running")

    def revive(self, id: str, only_dead: bool = False) -> str:
        """Run a job again, starting over at its first attempt; returns its id. Raises Refused if it can't be run.

        With `only_dead`, refuses any job that isn't in the DLQ.
        """
        with self._transaction():
            job = self.exact(id)
            if only_dead and job.state != "dead":
                raise Refused(f"job {job.id} is not in the DLQ: it is {job.state}")
            if job.unique_key and job.state in FINISHED:
                holder = self._holder_of(job.unique_key)
                if holder:
                    raise Refused(f"job {job.id}: job {holder[0]} has its unique key now")
            self._execute(sql.FORGET_UNNEEDED, {"job": job.seq})
            if not self._execute(sql.REVIVE, {"job": job.seq, "now": self._clock()}).rowcount:
                raise Refused(f"job {job.id} is {job.state}; there is nothing to retry")
            chosen = self._choose(job.queue, 1)
        self._ring(chosen)
        return job.id

    # --- deleting jobs --------------------------------------------------------------------------

    def purge(self, id: str, dry_run: bool = False) -> str:
        """Delete a job in the DLQ; returns its id. Raises Refused for any other job, even with `dry_run`."""
        with self._transaction():
            job = self.exact(id)
            if job.state != "dead":
                raise Refused(f"job {job.id} is not in the DLQ: it is {job.state}")
            if self._one(upkeep.IS_WAITED_FOR, {"job": job.seq}):
                raise Refused(f"other jobs wait for job {job.id}; cancel them first")
            if not dry_run:
                self._execute(upkeep.DELETE, {"job": job.seq})
        return job.id

    def prune(
        self,
        state: str,
        before: float,
        queue: str | None = None,
        limit: int = -1,
        dry_run: bool = False,
        labels: Sequence[str] = (),
    ) -> list[str]:
        """Delete jobs that finished in `state` before `before` (epoch seconds), oldest first; returns their ids.

        Deletes at most `limit` jobs (-1: all), none that others wait for, and no more than fit into PRUNE_HOLD: call
        it again until it returns none.
        """
        criteria = {"state": state, "before": before, "limit": limit, **queries.selection(queue, labels)}
        if dry_run:
            return [id for id, _ in self._rows(upkeep.PRUNABLE, criteria)]
        pruned = []
        with self._transaction():
            until = time.monotonic() + PRUNE_HOLD
            for id, seq in self._rows(upkeep.PRUNABLE, criteria):
                self._execute(upkeep.DELETE, {"job": seq})
                pruned.append(id)
                if time.monotonic() > until:
                    break
            self._execute(upkeep.FORGET_PRUNED)
        return pruned

    def kept(self, state: str, before: float, queue: str | None, labels: Sequence[str]) -> tuple[int, str | None]:
        """How many jobs `prune` keeps because others wait for them, and the id of one of them."""
        criteria = {"state": state, "before": before, **queries.selection(queue, labels)}
        ((count, id),) = self._rows(upkeep.KEPT, criteria)
        return count, id

    def retain(self) -> None:
        """Prune a bounded number of jobs that `keep-completed` and `keep-dead` no longer keep; return some space."""
        config = self.config()
        for state in ("completed", "dead"):
            age = config.get("keep-" + state)
            if not isinstance(age, (int, float)):
                continue  # Not set, or "forever".
            before = self._clock() - age
            if self.prune(state, before, limit=1, dry_run=True):  # Look before taking the lock.
                self.prune(state, before, limit=RETENTION_BITE)
            self.trim()

    def repair(self) -> list[str]:
        """Recompute counts and dependencies from the rows; returns what was wrong, as `miscounts` does."""
        with self._transaction():
            found = self.miscounts()
            for _, repair in upkeep.REPAIRS.values():
                self._execute(repair)
            self._execute(upkeep.CLEAR_COUNTS)
            for queue, *counts in self._rows(upkeep.RECOUNT):
                self._execute(sql.ADD_QUEUE, {"queue": queue})
                self._execute(upkeep.SET_COUNTS, (*counts, queue))
        return found

    # --- queues and configuration ---------------------------------------------------------------

    def pause(self, queue: str | None) -> bool:
        """Stop starting jobs of a queue, or of all queues (None). False if already paused."""
        with self._transaction():
            if queue is None:
                return self._execute(sql.PAUSE_ALL).rowcount > 0
            self._execute(sql.ADD_QUEUE, {"queue": queue})
            return self._execute(sql.PAUSE, {"queue": queue, "paused": 1}).rowcount > 0

    def resume(self, queue: str | None) -> bool:
        """Undo `pause` for a queue, or every pause (None). False if nothing was paused."""
        with self._transaction():
            changed = self._execute(sql.PAUSE, {"queue": queue, "paused": 0}).rowcount
            if queue is None:
                changed += self._execute(sql.RESUME_ALL).rowcount
            idle = [row.id for row in self.workers() if row.idle]
            for worker in idle:
                self._execute(sql.SET_IDLE, {"id": worker, "idle": 0})
        self._ring([(worker, queue or "") for worker in idle])
        return changed > 0

    def set_config(self, key: str, value: int | float | str) -> None:
        """Set a canonical key to a value returned by `settings.parse`. Raises BadInput if it can't work here."""
        from . import machine  # Deferred: few commands set a key.

        machine.require(key)
        with self._transaction():
            old = self.config()
            self._execute(sql.CONFIG_SET, {"key": key, "value": value})
            self._drop_removed_hooks(old)

    def unset_config(self, key: str) -> bool:
        """Reset a canonical key to its default. False if it wasn't set."""
        with self._transaction():
            old = self.config()
            is_changed = self._execute(sql.CONFIG_UNSET, {"key": key}).rowcount > 0
            self._drop_removed_hooks(old)
            return is_changed

    def _drop_removed_hooks(self, old: Config) -> None:
        """Cancel the hooks that wait to run a line that was in the configuration and no longer is."""
        lines, kept = _hook_lines(old), _hook_lines(self.config())
        for line in lines - kept:
            self._drop_hooks(line)


def _command(name: str, job: Job) -> str:
    """The command line that runs a command on a job."""
    from ..suggestion import suggestion  # Deferred: most commands suggest nothing.

    return suggestion(name, job.id)


def _hook_lines(config: Config) -> set[str]:
    """What the hooks in a configuration run."""
    return {str(value) for key, value in config.items() if key.rpartition(".")[2].startswith("on-")}
