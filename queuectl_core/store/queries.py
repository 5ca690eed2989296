"""Every SQL statement that only reads jobs for users and programs, named. sql.py has the others.

`state <> 'pending'` next to another condition on `state` lets SQLite use the partial index queuectl_jobs_state.
"""

from __future__ import annotations

from ..lifecycle import FINISHED, STATES, UNFINISHED, WAITING, Job
from .sql import DAY, GATES, HOUR, JOB_COLUMNS, MINUTE, NOW, listed, takes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# The settings of a queue that make jobs wait while the machine is busy, such as "max-load 4, min-free-memory 1024".
_GATE = """nullif(coalesce((SELECT '%s ' || value FROM queuectl_config WHERE key = queue.name || '.%s'),
            (SELECT '%s ' || value FROM queuectl_config WHERE key = '%s' AND queue.name <> 'hooks')), '%s none')"""
_LOAD, _MEMORY = (_GATE % ((key,) * 5) for key in GATES)
_IS_GATED = "coalesce(%s, %s) IS NOT NULL" % (_LOAD, _MEMORY)
_GATES = "coalesce(%s || ', ' || %s, %s, %s)" % (_LOAD, _MEMORY, _LOAD, _MEMORY)

# Why a waiting job isn't running, or that a running one is suspended. It names three of the jobs that it waits for:
# those that must succeed first, so "after a, failure of b" is unambiguous. It looks at a hundred, since each job in a
# list may wait for thousands. `job` and `queue` are the tables' aliases.
REASON = """
    CASE WHEN job.suspend = 1 AND job.state = 'processing' THEN 'suspended'
    WHEN job.state NOT IN %s THEN NULL
    WHEN job.held AND job.waits_for = 0 THEN 'held'
    WHEN job.waits_for > 0 THEN CASE WHEN job.held THEN 'held, ' ELSE '' END || 'after ' || (
        SELECT group_concat(what || id || CASE WHEN stuck THEN ' (' || state || ')' ELSE '' END, ', ') FROM (
            SELECT id, state, stuck, what FROM (
                SELECT needed.id AS id, needed.state AS state, needed.state IN ('dead', 'cancelled') AS stuck,
                    CASE link.condition WHEN 'notok' THEN 'failure of ' WHEN 'any' THEN 'end of ' ELSE '' END AS what
                FROM queuectl_dependencies AS link JOIN queuectl_jobs AS needed ON needed.seq = link.needs
                WHERE link.job = job.seq AND link.met = 0 LIMIT 100)
            ORDER BY stuck DESC, what LIMIT 3)
        ) || CASE WHEN job.waits_for > 3 THEN ' and ' || (job.waits_for - 3) || ' more' ELSE '' END
    WHEN job.ready = 0 AND job.run_at > %s THEN CASE job.state WHEN 'failed' THEN 'retrying' ELSE 'delayed' END
    WHEN EXISTS (SELECT 1 FROM queuectl_meta WHERE key = 'paused') THEN 'all paused'
    WHEN queue.paused THEN 'paused' || coalesce(', ' || queue.paused_because, '')
    WHEN queue.processing >= (SELECT value FROM queuectl_config WHERE key = queue.name || '.limit')
        THEN (SELECT 'limit ' || value FROM queuectl_config WHERE key = queue.name || '.limit')
    WHEN NOT EXISTS (SELECT 1 FROM queuectl_workers WHERE role = 'worker' AND wanted = 'run'
        AND %s)
        THEN 'no worker'
    WHEN queue.next_start > %s
        AND EXISTS (SELECT 1 FROM queuectl_config WHERE key = queue.name || '.rate')
        THEN (SELECT 'rate ' || value FROM queuectl_config WHERE key = queue.name || '.rate')
    WHEN %s AND EXISTS (SELECT 1 FROM queuectl_workers WHERE role = 'worker' AND wanted = 'run' AND idle = 1
        AND %s)
        THEN %s
    ELSE 'workers busy' END
""" % (
    listed(WAITING),
    NOW,
    takes("queues", "job.queue"),
    NOW,
    _IS_GATED,
    takes("queues", "job.queue"),
    _GATES,
)

JOB_BY_ID = "SELECT %s FROM queuectl_jobs WHERE id = ?" % JOB_COLUMNS
JOB_BY_SEQ = "SELECT %s FROM queuectl_jobs WHERE seq = ?" % JOB_COLUMNS
# Ids that start with a prefix, as a range of the index. Two are enough to know that it is ambiguous.
JOBS_BY_PREFIX = """
    SELECT id FROM queuectl_jobs WHERE id >= :prefix AND id < :prefix || char(1114111) LIMIT 3
"""
JOBS_BY_IDS = "SELECT %s FROM queuectl_jobs WHERE id IN (%%s)" % JOB_COLUMNS
# `%s` is a WHERE clause built from the conditions below, and an order.
LIST = """
    SELECT %s, %s FROM queuectl_jobs AS job LEFT JOIN queuectl_queues AS queue ON queue.name = job.queue
    %%s LIMIT :limit
""" % (", ".join("job." + name for name in Job._fields), REASON)
LIST_STATES = "job.state IN (%s)"
LIST_INDEXED = "job.state <> 'pending'"
# For pending jobs, if they are few: these indexes contain them.
LIST_WAITING = """job.seq IN (SELECT seq FROM queuectl_jobs WHERE ready = 1
    UNION ALL SELECT seq FROM queuectl_jobs WHERE ready = 0
    UNION ALL SELECT seq FROM queuectl_jobs WHERE waits_for > 0 OR held = 1)"""
LIST_QUEUES = "job.queue IN (%s)"
LIST_LABEL = "job.seq IN (SELECT job FROM queuectl_labels WHERE label = :%s)"
LIST_SCHEDULE = "(instr(job.env, :schedule) > 0 OR instr(job.env, :dense_schedule) > 0)"
IS_SCHEDULE = "SELECT 1 FROM queuectl_schedules WHERE name = :name"
LIST_HELD = "job.held = 1"
LIST_NOT_RUNNING = "job.state <> 'processing'"
LIST_FROM = "job.seq >= :floor"
LIST_FINISHED_FROM = "job.finished_at >= :floor"
FINISHED_AT = "job.finished_at"
ENDED_OR_CREATED = "coalesce(job.finished_at, job.created_at)"
LIST_EXIT = "job.exit_code BETWEEN %d AND %d"
# lower() knows only ASCII. GLOB is slow for a long text that often almost matches, such as a hundred times "a".
LIST_TEXT = """(instr(lower(CAST(job.command AS TEXT)), :text) > 0 OR instr(lower(job.id), :text) > 0
    OR instr(lower(job.error), :text) > 0)"""
LIST_ANY_TEXT = "(CAST(job.command AS TEXT) GLOB :pattern OR job.id GLOB :pattern OR job.error GLOB :pattern)"
# The first two spare most jobs the lookup: those that completed at once.
LIST_ATTEMPTED = """job.last_attempt > 0 AND (job.error IS NOT NULL OR job.last_attempt > 1) AND EXISTS (
    SELECT 1 FROM queuectl_attempts AS attempt WHERE attempt.job = job.seq
    AND (attempt.outcome IN ('signal', 'timeout', 'lost', 'unstarted', 'unrunnable')
        OR (attempt.outcome = 'exit' AND attempt.exit_code <> 0)))"""
# A WHERE clause and twice an order. Sorts numbers, not whole rows.
LIST_SORTED = "WHERE job.seq IN (SELECT job.seq FROM queuectl_jobs AS job %s %s LIMIT :limit) %s"
SORTS = {
    "id": "job.id",
    "queue": "job.queue",
    "state": "job.state",
    "command": "job.command",
    "priority": "job.priority",
    "tries": "job.attempts",
    "exit": "job.exit_code",
    "took": "(CASE job.state WHEN 'processing' THEN %s ELSE job.finished_at END - job.started_at)" % NOW,
    "created": "job.created_at",
    "started": "job.started_at",
    "finished": "job.finished_at",
}
# Those after a page that ended with such a job.
LIST_BEYOND = "job.seq < :beyond"
LIST_BEYOND_END = """job.finished_at <= :beyond_end
    AND (job.finished_at < :beyond_end OR job.seq < :beyond)"""
NTH_NEWEST = "SELECT seq FROM queuectl_jobs WHERE seq < :before ORDER BY seq DESC LIMIT 1 OFFSET :count - 1"
NTH_FINISHED = """
    SELECT finished_at FROM queuectl_jobs
    WHERE state = :state AND state <> 'pending' AND finished_at <= :until
    ORDER BY finished_at DESC LIMIT 1 OFFSET :count
"""
LIST_SEQ = "job.seq = :seq"
LIST_BY_SEQ = "ORDER BY job.seq DESC"
LIST_BY_END = "ORDER BY job.finished_at DESC, job.seq DESC"

# Whether a job has all of `:labels`, from selection(); true if that is NULL.
# (json_each is missing from some builds of SQLite before 3.38. CROSS JOIN: look up each label, not each job.)
HAS_LABELS = """(:labels IS NULL OR seq IN (
        WITH RECURSIVE wanted (label, rest) AS (
            SELECT NULL, :labels || ','
            UNION ALL
            SELECT substr(rest, 1, instr(rest, ',') - 1), substr(rest, instr(rest, ',') + 1)
            FROM wanted WHERE rest <> ''
        )
        SELECT job FROM wanted CROSS JOIN queuectl_labels USING (label)
        GROUP BY job HAVING count(*) = (SELECT count(label) FROM wanted)
    ))"""


def selection(queue: str | None, labels: Sequence[str]) -> dict[str, object]:
    """The parameters that select jobs of a queue, or of all (None), with all of these labels, each given once."""
    return {"queue": queue, "labels": ",".join(labels) or None}  # No label contains a comma.


UNFINISHED_IDS = """
    SELECT id FROM queuectl_jobs WHERE state IN %s AND (:queue IS NULL OR queue = :queue) AND %s ORDER BY seq
""" % (listed(UNFINISHED), HAS_LABELS)
RUNNING_IDS = """
    SELECT id FROM queuectl_jobs WHERE state = 'processing' AND state <> 'pending' AND suspend = :suspend
      AND (:queue IS NULL OR queue = :queue) AND %s ORDER BY seq
""" % HAS_LABELS
WAITING_IDS = """
    SELECT id FROM queuectl_jobs WHERE state IN %s AND held = :held
      AND (:queue IS NULL OR queue = :queue) AND %s ORDER BY seq
""" % (listed(WAITING), HAS_LABELS)
UNSUCCESSFUL_IDS = """
    SELECT id FROM queuectl_jobs WHERE state IN ('failed', 'dead', 'cancelled') AND state <> 'pending'
      AND (:queue IS NULL OR queue = :queue) AND %s ORDER BY seq
""" % HAS_LABELS
# Jobs that finished since a moment, in that order.
FINISHED_SINCE = """
    SELECT %s FROM queuectl_jobs
    WHERE state IN %s AND state <> 'pending' AND finished_at >= :since ORDER BY finished_at
""" % (JOB_COLUMNS, listed(FINISHED))
# Jobs that are running, or had an attempt end since a moment. Not deferred or released ones: they are pending again.
TRIED_SINCE = """
    SELECT %s FROM queuectl_jobs WHERE state = 'processing' AND state <> 'pending'
    UNION ALL
    SELECT %s FROM queuectl_jobs WHERE state = 'failed' AND state <> 'pending' AND updated_at >= :since
    UNION ALL
    SELECT %s FROM queuectl_jobs WHERE state IN %s
        AND finished_at >= :since AND finished_at IS NOT NULL AND started_at IS NOT NULL
""" % (JOB_COLUMNS, JOB_COLUMNS, JOB_COLUMNS, listed(FINISHED))
# All jobs that wait for one that is dead or cancelled, directly or through others.
ALL_STUCK = """
    WITH RECURSIVE stuck (seq) AS (
        SELECT job.seq FROM queuectl_jobs AS job
        JOIN queuectl_dependencies AS link ON link.job = job.seq AND link.met = 0
        JOIN queuectl_jobs AS needed ON needed.seq = link.needs
        WHERE job.waits_for > 0 AND needed.state IN ('dead', 'cancelled')
        UNION
        SELECT link.job FROM stuck JOIN queuectl_dependencies AS link ON link.needs = stuck.seq AND link.met = 0)
    SELECT seq FROM stuck
"""
# Whether a job waits for one that is dead or cancelled, directly or through others.
IS_STUCK = """
    WITH RECURSIVE need (seq) AS (
        SELECT :job
        UNION
        SELECT link.needs FROM need
        JOIN queuectl_dependencies AS link ON link.job = need.seq AND link.met = 0)
    SELECT 1 FROM need JOIN queuectl_jobs AS needed ON needed.seq = need.seq
    WHERE needed.state IN ('dead', 'cancelled') LIMIT 1
"""
WAITERS = """
    SELECT job.id FROM queuectl_dependencies AS link JOIN queuectl_jobs AS job ON job.seq = link.job
    WHERE link.needs = :job AND link.met = 0 AND job.state IN %s ORDER BY job.seq
""" % listed(WAITING)
# Jobs that wait for one, directly or through others.
DEPENDENTS = """
    WITH RECURSIVE waiter (seq) AS (
        SELECT job FROM queuectl_dependencies WHERE needs = :job AND met = 0
        UNION
        SELECT link.job FROM waiter
        JOIN queuectl_dependencies AS link ON link.needs = waiter.seq AND link.met = 0)
    SELECT job.id FROM waiter JOIN queuectl_jobs AS job ON job.seq = waiter.seq WHERE job.state = 'pending'
"""
OLDEST_FIRST = "SELECT %s FROM queuectl_jobs ORDER BY seq" % JOB_COLUMNS
COUNTS = "SELECT CAST(name AS TEXT), %s FROM queuectl_queues ORDER BY name" % ", ".join(
    "CAST(%s AS INTEGER)" % state for state in STATES
)
HELD = "SELECT CAST(queue AS TEXT), count(*) FROM queuectl_jobs WHERE held = 1 GROUP BY queue"
RUNNING = """
    SELECT CAST(worker AS INTEGER), CAST(id AS TEXT), CAST(coalesce(started_at, 0) AS REAL) FROM queuectl_jobs
    WHERE state = 'processing' AND state <> 'pending'
"""
# Jobs that died since a moment, and jobs that wait for a retry after failing since then; of thousands, the first ones.
FAILED_SINCE = """
    SELECT (SELECT count(*) FROM (SELECT 1 FROM queuectl_jobs
            WHERE state = 'dead' AND state <> 'pending' AND finished_at >= :since LIMIT 10000)),
        (SELECT count(*) FROM (SELECT updated_at FROM queuectl_jobs
            WHERE state = 'failed' AND state <> 'pending' LIMIT 10000) WHERE updated_at >= :since)
"""
ATTEMPTS = """
    SELECT attempt, worker, started_at, finished_at, outcome, exit_code, error, dropped, progress, progress_text,
        suspended, suspended_at
    FROM queuectl_attempts WHERE job = :job ORDER BY attempt
"""
LAST_ATTEMPTS = """
    SELECT job.seq, attempt.attempt, attempt.worker, attempt.started_at, attempt.finished_at, attempt.outcome,
        attempt.exit_code, attempt.error, attempt.dropped, attempt.progress, attempt.progress_text, attempt.suspended,
        attempt.suspended_at
    FROM queuectl_jobs AS job
    JOIN queuectl_attempts AS attempt ON attempt.job = job.seq AND attempt.attempt = job.last_attempt
    WHERE job.seq IN (%s)
"""
OUTPUT = """
    SELECT CAST(position AS INTEGER), CAST(stream AS INTEGER), CAST(data AS BLOB) FROM queuectl_output
    WHERE job = :job AND attempt = :attempt AND position >= :position ORDER BY position
"""
# The same, but at most the last :most bytes or so.
RECENT_OUTPUT = """
    SELECT CAST(position AS INTEGER), CAST(stream AS INTEGER), CAST(data AS BLOB) FROM queuectl_output
    WHERE job = :job AND attempt = :attempt AND position >= max(:position, (
        SELECT max(position) FROM queuectl_output WHERE job = :job AND attempt = :attempt) - :most)
    ORDER BY position
"""
# From the end backwards, so that a reader can stop when it has enough; of a huge chunk, the last part.
OUTPUT_BACKWARDS = """
    SELECT CAST(position AS INTEGER) + max(0, length(CAST(data AS BLOB)) - :most), CAST(stream AS INTEGER),
        substr(CAST(data AS BLOB), -:most)
    FROM queuectl_output WHERE job = :job AND attempt = :attempt ORDER BY position DESC
"""
# Jobs that wait for one that won't complete unless a user revives it.
STUCK = """
    SELECT job.id, needed.id, needed.state FROM queuectl_jobs AS job
    JOIN queuectl_dependencies AS link ON link.job = job.seq AND link.met = 0
    JOIN queuectl_jobs AS needed ON needed.seq = link.needs
    WHERE job.waits_for > 0 AND job.state = 'pending' AND needed.state IN ('dead', 'cancelled')
    ORDER BY job.seq
"""
DEAD = """
    SELECT id, queue FROM queuectl_jobs WHERE state = 'dead' AND state <> 'pending' AND %s ORDER BY finished_at, seq
""" % HAS_LABELS
LABELS = "SELECT CAST(label AS TEXT) FROM queuectl_labels WHERE job = :job ORDER BY label"
ANY_SCHEDULE = "SELECT 1 FROM queuectl_schedules LIMIT 1"
ANY_LABEL = "SELECT 1 FROM queuectl_labels LIMIT 1"

# --- for views ------------------------------------------------------------------------------------

# The record from `since` to `until`, summed up in steps. A row belongs to the time in which it starts.
RECORD = """
    SELECT CAST(start / :step AS INTEGER) * :step, CAST(queue AS TEXT), kind, bucket, total(count), total(seconds)
    FROM (%s) GROUP BY 1, 2, 3, 4
""" % " UNION ALL ".join(
    f"""SELECT start, queue, kind, bucket, count, seconds FROM queuectl_record
    WHERE tier = {tier} AND start > :since - {tier} AND start < :until"""
    for tier in (MINUTE, HOUR, DAY)
)
# All of the record. total(), unlike sum(), doesn't fail if another program's numbers overflow.
RECORD_EVER = """
    SELECT CAST(queue AS TEXT), kind, bucket, total(count), total(seconds) FROM queuectl_record GROUP BY 1, 2, 3
"""
# When the longest-waiting job of a queue became ready. The index is by priority: takes the oldest of each of
# the first fifty.
OLDEST_READY = """
    WITH RECURSIVE level (priority) AS (
        SELECT max(priority) FROM queuectl_jobs WHERE ready = 1 AND queue = :queue
        UNION ALL
        SELECT (SELECT max(priority) FROM queuectl_jobs
            WHERE ready = 1 AND queue = :queue AND priority < level.priority)
        FROM level WHERE level.priority IS NOT NULL LIMIT 50)
    SELECT min(max(job.run_at, job.created_at)) FROM level JOIN queuectl_jobs AS job ON job.seq = (
        SELECT seq FROM queuectl_jobs
        WHERE ready = 1 AND queue = :queue AND priority = level.priority ORDER BY seq LIMIT 1)
"""
# By queue, the same for jobs that are due, but not made ready since no worker is running. Looks at the oldest ones.
OLDEST_DUE = """
    SELECT CAST(queue AS TEXT), min(run_at) FROM (
        SELECT queue, run_at FROM queuectl_jobs WHERE ready = 0 AND run_at <= :now ORDER BY run_at LIMIT 10000)
    GROUP BY queue
"""
# How long the newest jobs that completed took in their last attempt.
RUN_TIMES = """
    SELECT command, finished_at - started_at FROM queuectl_jobs
    WHERE state = 'completed' AND state <> 'pending'
        AND finished_at < 253402300800 AND started_at BETWEEN 0 AND finished_at  -- Text is greater than any number.
    ORDER BY finished_at DESC LIMIT :limit
"""
# Attempts that ran between two moments, by worker: those of jobs that are running, wait for a retry, or finished
# since; of each state, those of the newest jobs.
LANES = """
    SELECT CAST(attempt.worker AS INTEGER), CAST(job.id AS TEXT), CAST(job.queue AS TEXT),
        CAST(attempt.attempt AS INTEGER), attempt.started_at, attempt.finished_at, CAST(attempt.outcome AS TEXT),
        CAST(attempt.exit_code AS INTEGER)
    FROM (%s) AS recent JOIN queuectl_jobs AS job ON job.seq = recent.seq
    JOIN queuectl_attempts AS attempt ON attempt.job = job.seq
    WHERE attempt.started_at >= 0 AND attempt.started_at < :until
        AND (attempt.finished_at IS NULL OR attempt.finished_at BETWEEN :since AND 253402300800)
    ORDER BY attempt.worker, attempt.started_at
""" % " UNION ALL ".join(
    "SELECT seq FROM (SELECT seq FROM queuectl_jobs WHERE state = '%s' AND state <> 'pending' %s LIMIT :limit)"
    % (state, "AND finished_at >= :since ORDER BY finished_at DESC" if state in FINISHED else "ORDER BY seq DESC")
    for state in STATES
    if state != "pending"
)
# The end of an attempt's output, from its last chunk that isn't blank.
_TAIL = """(SELECT substr(CAST(data AS BLOB), -2000) FROM queuectl_output
        WHERE job = attempt.job AND attempt = attempt.attempt
          AND trim(CAST(data AS TEXT), char(9, 10, 13, 32)) <> '' ORDER BY position DESC LIMIT 1)"""
_FAILURE = """CAST(job.id AS TEXT), CAST(job.queue AS TEXT), attempt.exit_code, attempt.error, attempt.finished_at,
    job.state = 'dead', %s""" % _TAIL
# A command that exits with 75 asks to be run later, unless its job ends by it.
_HAS_FAILED = """(attempt.outcome IN ('signal', 'timeout', 'lost', 'unstarted', 'unrunnable')
    OR (attempt.outcome = 'exit' AND attempt.exit_code <> 0 AND (attempt.exit_code <> 75
        OR (job.state IN ('dead', 'failed') AND attempt.attempt = job.last_attempt))))"""
# Attempts that failed since a moment, newest first. Of each state, looks at the newest jobs; most completed jobs never
# failed.
FAILED_ATTEMPTS = """
    SELECT %s FROM (%s) AS recent JOIN queuectl_jobs AS job ON job.seq = recent.seq
    JOIN queuectl_attempts AS attempt ON attempt.job = job.seq
    WHERE attempt.finished_at >= :since AND %s AND %%s ORDER BY attempt.finished_at DESC LIMIT :limit
""" % (
    _FAILURE,
    " UNION ALL ".join(
        f"""SELECT seq FROM (SELECT seq, last_attempt FROM queuectl_jobs
            WHERE state = '{state}' AND state <> 'pending' {
                "AND finished_at >= :since ORDER BY finished_at DESC" if state in FINISHED else ""
            } LIMIT 20000) WHERE last_attempt > {int(state == "completed")}"""
        for state in STATES
        if state != "pending"
    ),
    _HAS_FAILED,
)
LAST_FAILURES = """
    SELECT %s FROM queuectl_jobs AS job
    JOIN queuectl_attempts AS attempt ON attempt.job = job.seq AND attempt.attempt = job.last_attempt
    WHERE job.state = 'dead' AND job.state <> 'pending' ORDER BY job.seq
""" % _FAILURE
