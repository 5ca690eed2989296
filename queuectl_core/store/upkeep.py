"""Every SQL statement that keeps the file small and in order, or finds what dead workers left, named. See sql.py."""

from __future__ import annotations

from ..lifecycle import FINISHED, STATES, WAITING, Job
from .queries import HAS_LABELS
from .sql import ADD_UP, NOW, WORKER_COLUMNS, is_any, is_met, listed

# --- the record ---------------------------------------------------------------------------------

# Up to the year 10000, which leaves out text and blobs: they are greater than any number.
OLDEST_IN_TIER = "SELECT min(start) FROM queuectl_record WHERE tier = :tier AND start >= 0 AND start < 253402300800"
# Moves the rows of a period into one row per queue, kind and bucket of the wider tier. total() doesn't overflow. Rows
# that the CHECKs would reject are left out: they would stop workers from rolling up forever.
ROLL_UP = """
    INSERT INTO queuectl_record (tier, start, queue, kind, bucket, count, seconds)
    SELECT :wider, :start, queue, kind, bucket, CAST(total(count) AS INTEGER), total(seconds) FROM queuectl_record
    WHERE tier = :tier AND start >= :start AND start < :start + :wider
        AND typeof(bucket) = 'integer' AND bucket BETWEEN 0 AND 64 AND count >= 0 AND seconds >= 0 AND seconds < 1e300
    GROUP BY queue, kind, bucket
""" + ADD_UP
DROP_ROLLED_UP = "DELETE FROM queuectl_record WHERE tier = :tier AND start >= :start AND start < :start + :wider"

# --- pruning ------------------------------------------------------------------------------------

# Other jobs wait for this one. Cancelled ones no longer do.
_WAITED_FOR = """EXISTS (
        SELECT 1 FROM queuectl_dependencies AS link JOIN queuectl_jobs AS waiter ON waiter.seq = link.job
        WHERE link.needs = job.seq AND link.met = 0 AND waiter.state <> 'cancelled')"""
IS_WAITED_FOR = "SELECT 1 FROM queuectl_jobs AS job WHERE seq = :job AND %s" % _WAITED_FOR
# Jobs that finished in one state before a moment, oldest first, except those that others wait for.
_FINISHED = """
    FROM queuectl_jobs AS job
    WHERE state = :state AND state <> 'pending' AND finished_at < :before
      AND (:queue IS NULL OR queue = :queue) AND %s
""" % HAS_LABELS
PRUNABLE = f"SELECT id, seq {_FINISHED} AND NOT {_WAITED_FOR} ORDER BY finished_at LIMIT :limit"
KEPT = f"SELECT count(*), min(id) {_FINISHED} AND {_WAITED_FOR}"
# The newest deleted jobs are remembered.
FORGET_PRUNED = "DELETE FROM queuectl_pruned WHERE number <= (SELECT max(number) FROM queuectl_pruned) - 100000"
DELETE = """
    DELETE FROM queuectl_jobs AS job WHERE seq = :job AND state IN %s AND NOT %s
""" % (listed(FINISHED), _WAITED_FOR)

# --- repair -------------------------------------------------------------------------------------

# What triggers maintain, recounted. An INSERT OR REPLACE by another program deletes a job without firing them.
_SUMS = ", ".join("sum(state = '%s')" % state for state in STATES)
_COUNTED = "SELECT queue, %s FROM queuectl_jobs GROUP BY queue" % _SUMS
_STORED = "SELECT name, %s FROM queuectl_queues WHERE %s" % (
    ", ".join(STATES),
    " OR ".join(state + " <> 0" for state in STATES),
)
_IS_ORPHAN = "job NOT IN (SELECT seq FROM queuectl_jobs)"
_IS_LOOSE = "(%s OR needs NOT IN (SELECT seq FROM queuectl_jobs))" % _IS_ORPHAN
_IS_MET = "EXISTS (SELECT 1 FROM queuectl_jobs WHERE seq = needs AND %s)" % is_met("condition", "state")
_UNMET_OF_ROW = "(SELECT count(*) FROM queuectl_dependencies AS link WHERE link.job = seq AND link.met = 0)"
_MISCOUNTS_UNMET = "%s AND waits_for <> %s" % (is_any(WAITING), _UNMET_OF_ROW)
RECOUNT = _COUNTED
CLEAR_COUNTS = "UPDATE queuectl_queues SET %s" % ", ".join(state + " = 0" for state in STATES)
SET_COUNTS = "UPDATE queuectl_queues SET %s WHERE name = ?" % ", ".join(state + " = ?" for state in STATES)
MISCOUNTED_QUEUES = """
    SELECT DISTINCT queue FROM (SELECT * FROM (%s EXCEPT %s) UNION ALL SELECT * FROM (%s EXCEPT %s))
""" % (_COUNTED, _STORED, _STORED, _COUNTED)
# What is wrong, as a query for how often and as the statement that repairs it, in order.
REPAIRS = {
    "dependency refers to a job that is gone": (
        "SELECT count(*) FROM queuectl_dependencies WHERE %s" % _IS_LOOSE,
        "DELETE FROM queuectl_dependencies WHERE %s" % _IS_LOOSE,
    ),
    "dependency is met but not marked": (
        "SELECT count(*) FROM queuectl_dependencies WHERE met = 0 AND %s" % _IS_MET,
        "UPDATE queuectl_dependencies SET met = 1 WHERE met = 0 AND %s" % _IS_MET,
    ),
    "job has a wrong count of jobs it waits for": (
        "SELECT count(*) FROM queuectl_jobs WHERE %s" % _MISCOUNTS_UNMET,
        """UPDATE queuectl_jobs SET waits_for = %s, ready = CASE WHEN %s = 0 AND held = 0 THEN run_at <= %s END
            WHERE %s""" % (_UNMET_OF_ROW, _UNMET_OF_ROW, NOW, _MISCOUNTS_UNMET),
    ),
    **{
        "row of %s belongs to no job" % table: (
            "SELECT count(*) FROM queuectl_%s WHERE %s" % (table, _IS_ORPHAN),
            "DELETE FROM queuectl_%s WHERE %s" % (table, _IS_ORPHAN),
        )
        for table in ("attempts", "output", "inputs", "labels")
    },
}

# --- what dead workers left ---------------------------------------------------------------------

# Workers that hold a job, with their rows. Must be one query: a worker may register and claim between two.
HOLDERS = f"""
    SELECT holder.worker, {", ".join("row." + name for name in WORKER_COLUMNS.split(", "))}
    FROM (SELECT DISTINCT worker FROM queuectl_jobs WHERE state = 'processing' AND state <> 'pending') AS holder
    LEFT JOIN queuectl_workers AS row ON row.id = holder.worker
"""
LOST_ATTEMPTS = f"""
    SELECT row.boot, attempt.pid, attempt.birth, coalesce(
        (SELECT value FROM queuectl_config WHERE key = job.queue || '.runner-kill'),
        (SELECT value FROM queuectl_config WHERE key = 'runner-kill'), ''),
        {", ".join("job." + name for name in Job._fields)}
    FROM queuectl_jobs AS job
    LEFT JOIN queuectl_workers AS row ON row.id = job.worker
    LEFT JOIN queuectl_attempts AS attempt ON attempt.job = job.seq AND attempt.attempt = job.last_attempt
    WHERE job.state = 'processing' AND job.state <> 'pending' AND job.worker = :worker
"""
