"""Hooks: jobs that are enqueued when something happens, by the transaction that makes it happen.

So none is lost, and none is enqueued twice for one cause, wherever a process dies. A hook is a job in the queue
`hooks`: it is retried and ends in the dead letter queue like any other, but triggers no hook itself.

Hooks of one event and queue are coalesced. While one waits to start, further causes only raise its count; and after one
was enqueued, the next one starts an interval later (a minute, or what `hooks.rate` says). So 10,000 deaths within a
minute make two jobs: one for the first, at once, and one for the others.
"""

from __future__ import annotations

import json

from .. import settings, values
from ..errors import BadInput, Refused
from ..jobjson import whole_json
from ..jobspec import new_job
from ..lifecycle import Verdict
from . import hook_sql, queries, sql
from .intake import Intake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..lifecycle import Job
    from ..settings import Config

EVENTS = {"succeed": "completed", "fail": "failed", "bury": "dead"}  # By the move that is one.
INTERVAL = 60.0  # Seconds between two hooks of one event and queue.
MOST_IDS = 100  # Of the jobs that one hook is for.
LARGEST_TAIL = 4096  # Bytes of the job's output that a hook gets.


class Hooks(Intake):
    """One open queue, with the operations that trigger hooks."""

    def _trigger_hooks(self, job: Job, verdict: Verdict, config: Config, now: float) -> bool:
        """Enqueue the hooks for a job that was just settled, inside that transaction. Returns whether there are any."""
        if job.queue == settings.HOOK_QUEUE:
            return False
        events = [EVENTS.get(verdict.move, ""), "empty"]
        hooked = [event for event in events if event and settings.of_queue(config, job.queue, f"on-{event}")]
        if "empty" in hooked and self._one(hook_sql.UNFINISHED_IN_QUEUE, {"queue": job.queue}):
            hooked.remove("empty")
        for event in hooked:
            try:
                self._hook(event, job, verdict, config, now)
            except (BadInput, Refused):
                pass  # Another program stored what can't be passed on. The job must still be settled.
        return bool(hooked)

    def _trigger_empty(self, cancelled: Sequence[int], now: float, but: str | None = None) -> int:
        """Enqueue the hooks for queues without unfinished jobs since these waiting jobs (by `seq`) were cancelled.

        Not for the queue `but`. Returns how many there are. Call it inside the transaction that cancelled them.
        """
        config = self.config() if cancelled else {}
        jobs = [self._find(queries.JOB_BY_SEQ, seq) for seq in cancelled] if config else []
        last = {job.queue: job for job in jobs if job and job.queue != but}
        triggered = 0
        for job in last.values():
            triggered += self._trigger_hooks(job, Verdict("cancel", None, None, job.error), config, now)
        return triggered

    def _hook(self, event: str, job: Job, verdict: Verdict, config: Config, now: float) -> None:
        """Enqueue one hook, or raise the count of the one that waits."""
        line = str(settings.of_queue(config, job.queue, f"on-{event}"))
        rows = self._rows(hook_sql.HOOK, {"event": event, "queue": job.queue})
        seq, count, due, waiting = rows[0] if rows else (0, 0, 0.0, None)
        if waiting == line:
            self._raise_count(seq, count + 1, job)
            self._execute(hook_sql.COUNT_HOOK, {"event": event, "queue": job.queue, "count": count + 1})
            return
        run_at = max(now, min(due + _interval(config), now + 86400))  # Within a day, if the clock was set back.
        facts = {
            "QUEUECTL_HOOK": event,
            "QUEUECTL_HOOK_QUEUE": job.queue,
            "QUEUECTL_HOOK_JOB": job.id,
            "QUEUECTL_HOOK_COUNT": "1",
            "QUEUECTL_ERROR": verdict.error or "",
            "QUEUECTL_EXIT": "" if verdict.exit_code is None else str(verdict.exit_code),
        }
        given = {"hook": event, "queue": job.queue, "jobs": [job.id], **self._what_happened(job)}
        env = {name: values.escape(value) for name, value in facts.items()}
        data = json.dumps(given).encode("utf-8", "surrogateescape")
        fields = {"command": line, "queue": settings.HOOK_QUEUE, "env": env, "stdin": data.decode(), "run_at": run_at}
        (id,) = self._insert([new_job(fields, now)])
        hook = {"event": event, "queue": job.queue, "job": self.exact(id).seq, "due": run_at}
        self._execute(hook_sql.SET_HOOK, hook)

    def _what_happened(self, job: Job) -> dict[str, object]:
        """The job as `show --json` prints it, and the end of the output of its last attempt."""
        found = self.find(job.id) or job
        tail = b""
        for (data,) in self._rows(hook_sql.LAST_OUTPUT, {"job": job.seq, "attempt": job.last_attempt}):
            tail = data + tail
            if len(tail) >= LARGEST_TAIL:
                break
        labels, needs, waiters = self.labels_of(found), self.needs(found), self.waiters(found)
        whole = whole_json(found, self.reason(found), labels, needs, waiters, self.attempts(found))
        return {"job": whole, "output": values.decode(tail[-LARGEST_TAIL:])}

    def _raise_count(self, seq: int, count: int, job: Job) -> None:
        """Let a hook that waits be for one more job."""
        env, data = self._rows(hook_sql.HOOK_INPUT, {"job": seq})[0]
        facts = {**json.loads(env), "QUEUECTL_HOOK_COUNT": str(count)}
        self._execute(hook_sql.SET_HOOK_ENV, {"job": seq, "env": json.dumps(facts)})
        if data is not None and count <= MOST_IDS:
            given = json.loads(data)
            given["jobs"].append(job.id)
            self._set_input(seq, json.dumps(given).encode("utf-8", "surrogateescape"))

    def _drop_hooks(self, line: str) -> list[str]:
        """Cancel the hooks that wait to run this line; returns their ids."""
        cancelled = []
        for seq, id in self._rows(hook_sql.WAITING_HOOKS, {"line": values.storable(line)}):
            parameters = {"job": seq, "now": self._clock(), "error": "the hook was removed"}
            if self._execute(sql.CANCEL_WAITING, parameters).rowcount:
                cancelled.append(id)
        return cancelled


def _interval(config: Config) -> float:
    """Seconds between the starts of hooks of one event and queue."""
    number, _, unit = str(config.get(f"{settings.HOOK_QUEUE}.rate", "")).partition("/")
    if not number.isdecimal() or int(number) == 0:
        return INTERVAL
    return {"min": 60.0, "h": 3600.0}.get(unit, 1.0) / int(number)
