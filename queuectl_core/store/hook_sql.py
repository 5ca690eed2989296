"""Every SQL statement about hooks, named."""

from __future__ import annotations

from ..lifecycle import WAITING
from .sql import is_any

UNFINISHED_IN_QUEUE = "SELECT pending + processing + failed FROM queuectl_queues WHERE name = :queue"
# The last hook of an event and queue, and what it runs if it hasn't started.
HOOK = """
    SELECT hook.job, hook.count, hook.due, (SELECT CAST(command AS TEXT) FROM queuectl_jobs
        WHERE seq = hook.job AND state = 'pending' AND last_attempt = 0)
    FROM queuectl_hooks AS hook WHERE hook.event = :event AND hook.queue = :queue
"""
SET_HOOK = """
    INSERT OR REPLACE INTO queuectl_hooks (event, queue, job, count, due) VALUES (:event, :queue, :job, 1, :due)
"""
COUNT_HOOK = "UPDATE queuectl_hooks SET count = :count WHERE event = :event AND queue = :queue"
HOOK_INPUT = """
    SELECT env, (SELECT CAST(data AS TEXT) FROM queuectl_inputs WHERE job = :job) FROM queuectl_jobs WHERE seq = :job
"""
SET_HOOK_ENV = "UPDATE queuectl_jobs SET env = :env WHERE seq = :job AND state = 'pending'"
LAST_OUTPUT = """
    SELECT CAST(data AS BLOB) FROM queuectl_output WHERE job = :job AND attempt = :attempt
    ORDER BY position DESC LIMIT 20
"""
WAITING_HOOKS = f"""
    SELECT seq, id FROM queuectl_jobs WHERE queue = 'hooks' AND command = :line AND {is_any(WAITING)}
"""
