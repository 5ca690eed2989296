"""Every SQL statement except the schema and the queries in queries.py, named.

A claim never scans the jobs. `ready` says whether it may look at one:
    1     claimable now: in the index (queue, priority DESC, seq) WHERE ready = 1
    0     waits for run_at: in the index (run_at) WHERE ready = 0, promoted to 1 when due
    NULL  neither: processing, finished, or waiting for another job
    2     only until a trigger completes a job whose INSERT didn't set it
A claim looks at the first job of each open queue and takes the best of them. Its cost grows with the number of
queues that have waiting jobs, never with the number of jobs.

`state <> 'pending'` next to another condition on `state` lets SQLite use the partial index queuectl_jobs_state.
"""

from __future__ import annotations

from ..jobspec import NewJob
from ..lifecycle import FINISHED, TRANSITIONS, UNFINISHED, WAITING, Job

SCHEMA_VERSION = 4


def listed(words: tuple[str, ...]) -> str:
    """These words as the right-hand side of IN."""
    return "(%s)" % ", ".join("'%s'" % word for word in words)


def is_any(states: tuple[str, ...]) -> str:
    """Whether `state` is one of these, as a chain of comparisons, for expressions evaluated per row.

    For an IN list of three or more, SQLite builds a table each time, which halves the rate of inserts.
    """
    return "(%s)" % " OR ".join("state = '%s'" % state for state in states)


def guard(move: str) -> str:
    """The guard of a move: the job is in a state that the move may start from."""
    return is_any(TRANSITIONS[move].from_states)


def target(move: str) -> str:
    """The state that a move leads to."""
    return "'%s'" % TRANSITIONS[move].to_state


def takes(queues: str, queue: str) -> str:
    """Whether `queues`, a comma-separated list or NULL for all, contains `queue`."""
    return "(%s IS NULL OR instr(',' || %s || ',', ',' || %s || ',') > 0)" % (queues, queues, queue)


def is_met(condition: str, state: str) -> str:
    """Whether a job in `state` satisfies `condition`: "ok", "notok" or "any"."""
    return (
        f"(CASE {condition} WHEN 'ok' THEN {state} = 'completed' WHEN 'notok' THEN {state} IN ('dead', 'cancelled')"
        f" ELSE {state} IN {listed(FINISHED)} END)"
    )


# UTC epoch seconds with a fraction. (unixepoch('subsec') needs SQLite 3.42.)
NOW = "((julianday('now') - 2440587.5) * 86400.0)"

# Part of a migration: workers of the previous version finish their jobs and exit, since they read `wanted` before
# each claim. Their supervisor isn't asked: it exits with them, unless a restart moves it to the new code in time.
STOP_ALL = "UPDATE queuectl_workers SET wanted = 'stop' WHERE wanted = 'run' AND role = 'worker'"

HAS_META = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'queuectl_meta'"
META = "SELECT value FROM queuectl_meta WHERE key = :key"
SET_META = "INSERT OR REPLACE INTO queuectl_meta (key, value) VALUES (:key, :value)"

# The file's mark (see wal.py): made if it is missing, and put in every row of queuectl_queues.
MARK = (
    """
    INSERT OR REPLACE INTO queuectl_meta (key, value) SELECT 'file', 'queuectl-file:' || lower(hex(randomblob(8)))
    WHERE NOT EXISTS (SELECT 1 FROM queuectl_meta WHERE key = 'file' AND value LIKE 'queuectl-file:%')
    """,
    "UPDATE queuectl_queues SET mark = (SELECT value FROM queuectl_meta WHERE key = 'file')",
)
# Only in a file without a log: a log must contain the mark that its file has.
NEW_MARK = ("DELETE FROM queuectl_meta WHERE key = 'file'", *MARK)
OTHER_TABLES = """
    SELECT 1 FROM sqlite_master
    WHERE type = 'table' AND substr(name, 1, 9) <> 'queuectl_' AND substr(name, 1, 7) <> 'sqlite_' LIMIT 1
"""
COUNT_JOBS = "SELECT count(*) FROM queuectl_jobs"

# The quick check misses only indexes that disagree with their table.
INTEGRITY = "PRAGMA integrity_check(5)"
QUICK_CHECK = "PRAGMA quick_check(1)"

JOB_COLUMNS = ", ".join(Job._fields)

# --- enqueue ------------------------------------------------------------------------------------

# The columns are the fields of a NewJob, in order. Most jobs lack the extra ones, and binding a None takes 0.3 µs, an
# eighth of the insert. (Numbered parameters would need each value once, but Python 3.14 takes them from a dict only.)
_COLUMNS = NewJob._fields[: NewJob._fields.index("after")]
EXTRA_COLUMNS = _COLUMNS[_COLUMNS.index("env") :]
_TIMES = ("created_at", "updated_at")
PLAIN_COLUMNS = (*_COLUMNS[: -len(EXTRA_COLUMNS)], "run_at", *_TIMES)


def _enqueue(columns: tuple[str, ...], ready: str) -> str:
    """INSERT a job; its parameters are these columns, then those in `ready`."""
    return f"INSERT INTO queuectl_jobs ({', '.join(columns)}, ready) VALUES ({', '.join('?' * len(columns))}, {ready})"


ENQUEUE = _enqueue((*_COLUMNS, *_TIMES), "?")
ENQUEUE_PLAIN = _enqueue(PLAIN_COLUMNS, "1")
HOLDER_OF_KEY = """
    SELECT id, state FROM queuectl_jobs WHERE unique_key = :key AND %s
""" % is_any(UNFINISHED)
ADD_LABEL = "INSERT OR IGNORE INTO queuectl_labels (label, job) VALUES (:label, :job)"
DROP_INPUT = "DELETE FROM queuectl_inputs WHERE job = :job"
ADD_INPUT = "INSERT INTO queuectl_inputs (job, data) VALUES (:job, :data)"
SET_INPUT_SIZE = "UPDATE queuectl_jobs SET stdin = :bytes WHERE seq = :job"
# Other programs can store text where a BLOB belongs.
INPUT = "SELECT CAST(data AS BLOB) FROM queuectl_inputs WHERE job = :job"
# One id of `--after`, `--after-notok` or `--after-any`.
ADD_DEPENDENCY = """
    INSERT OR REPLACE INTO queuectl_dependencies (job, needs, condition, met)
    SELECT :job, seq, :condition, %s FROM queuectl_jobs WHERE seq = :needs
""" % is_met(":condition", "state")
PRUNED_STATE = "SELECT state FROM queuectl_pruned WHERE id = :id"
_UNMET = "(SELECT count(*) FROM queuectl_dependencies WHERE job = :job AND met = 0)"
WAIT_FOR_DEPENDENCIES = """
    UPDATE queuectl_jobs SET ready = NULL, waits_for = %s WHERE seq = :job AND %s > 0
""" % (_UNMET, _UNMET)
# A job as it was in another file. The rest of the import sets the columns left out here.
_IMPORTED = [
    name for name in Job._fields if name not in ("seq", "stdin", "waits_for", "slot", "worker", "cancel", "suspend")
]
IMPORT_JOB = "INSERT INTO queuectl_jobs (%s, ready) VALUES (%s, :ready)" % (
    ", ".join(_IMPORTED),
    ", ".join(":" + name for name in _IMPORTED),
)
IMPORT_ATTEMPT = """
    INSERT INTO queuectl_attempts
        (job, attempt, worker, started_at, finished_at, outcome, exit_code, error, dropped, progress, progress_text)
    VALUES (:job, :attempt, :worker, :started_at, :finished_at, :outcome, :exit_code, :error, :dropped, :progress,
        :progress_text)
"""
NEEDS = """
    SELECT needed.id, needed.state, link.met, link.condition FROM queuectl_dependencies AS link
    JOIN queuectl_jobs AS needed ON needed.seq = link.needs WHERE link.job = :job ORDER BY link.needs
"""
# Jobs that wait for one that has finished, though not as they need it.
LEFT_WAITING = """
    SELECT job.seq FROM queuectl_dependencies AS link JOIN queuectl_jobs AS job ON job.seq = link.job
    WHERE link.needs = :job AND link.met = 0 AND %s
""" % is_any(WAITING).replace("state", "job.state")
# What a job is still to wait for, but can't happen any more.
UNNEEDED_BY = """
    SELECT needed.id FROM queuectl_dependencies AS link JOIN queuectl_jobs AS needed ON needed.seq = link.needs
    WHERE link.job = :job AND link.met = 0 AND link.condition = 'notok' AND needed.state = 'completed' LIMIT 1
"""
HAS_DEPENDENTS = "SELECT 1 FROM queuectl_dependencies WHERE needs = :job LIMIT 1"
# How many jobs of each queue became ready because this job completed.
RELEASED = """
    SELECT queue, count(*) FROM queuectl_jobs
    WHERE ready = 1 AND seq IN (SELECT job FROM queuectl_dependencies WHERE needs = :job)
    GROUP BY queue
"""
# Idle workers that take this queue; see Roster._choose.
WAKE = """
    SELECT id FROM queuectl_workers
    WHERE idle = 1 AND wanted = 'run'
      AND %s
    ORDER BY id LIMIT :count
""" % takes("queues", ":queue")

# --- claim and settle ---------------------------------------------------------------------------

# Promotes at most 200 jobs that are due, so no single claim pays for a million.
PROMOTE = """
    UPDATE queuectl_jobs SET ready = 1
    WHERE ready = 0 AND seq IN
        (SELECT seq FROM queuectl_jobs WHERE ready = 0 AND run_at <= :now ORDER BY run_at LIMIT 200)
"""
NEXT_DUE_JOB = "SELECT run_at FROM queuectl_jobs WHERE ready = 0 ORDER BY run_at LIMIT 1"
NEXT_SCHEDULE = """
    SELECT next_at FROM queuectl_schedules WHERE paused = 0 AND next_at < 9e99 ORDER BY next_at LIMIT 1
"""
# When the next job or schedule is due; NULL if none is.
NEXT_DUE = f"SELECT nullif(min(coalesce(({NEXT_DUE_JOB}), 9e99), coalesce(({NEXT_SCHEDULE}), 9e99)), 9e99)"
# What a claim must know first, in one statement.
WANTED_AND_DUE = f"SELECT wanted, ({NEXT_DUE_JOB}), ({NEXT_SCHEDULE}) FROM queuectl_workers WHERE id = :id"

# Seconds between two starts in a queue, from `QUEUE.rate` such as '10/min'; NULL if there is no rate.
_INTERVAL = """(SELECT CASE substr(value, instr(value, '/') + 1)
            WHEN 'min' THEN 60.0 WHEN 'h' THEN 3600.0 ELSE 1.0 END / CAST(value AS REAL)
        FROM queuectl_config WHERE key = queue.name || '.rate')"""
# Settings that keep jobs from starting while the machine is busy (see machine.py), of a queue or of all but the hooks,
# which may report it.
GATES = ("max-load", "min-free-memory")
_MAX_LOAD, _MIN_MEMORY = (
    f"""(SELECT value FROM queuectl_config WHERE key = queue.name || '.{key}'),
        (SELECT value FROM queuectl_config WHERE key = '{key}' AND queue.name <> 'hooks')"""
    for key in GATES
)
# A queue is open unless it is paused, at its limit or at its rate, or the machine is too busy. (If the next start is
# more than one interval away, the clock was set back.)
_OPEN = """
    (queue.pending > 0 OR queue.failed > 0) AND queue.paused = 0
      AND %s
      AND queue.processing < coalesce(
        (SELECT value FROM queuectl_config WHERE key = queue.name || '.limit'), 9e99)
      AND (queue.next_start <= :now OR queue.next_start > :now + coalesce(%s, 0))
      AND NOT EXISTS (SELECT 1 FROM queuectl_meta WHERE key = 'paused')
      AND (:load IS NULL OR :load < coalesce(%s, 9e99))
      AND (:memory IS NULL OR :memory >= CAST(coalesce(%s, 0) AS REAL))
""" % (takes(":queues", "queue.name"), _INTERVAL, _MAX_LOAD, _MIN_MEMORY)
# The start times of running jobs that aren't suspended.
STARTS = "SELECT started_at FROM queuectl_jobs WHERE state = 'processing' AND state <> 'pending' AND suspend = 0"
# The best among the first jobs of all open queues.
CLAIMABLE = """
    SELECT job.seq FROM queuectl_queues AS queue
    JOIN queuectl_jobs AS job ON job.seq = (
        SELECT seq FROM queuectl_jobs WHERE ready = 1 AND queue = queue.name
        ORDER BY priority DESC, seq LIMIT 1)
    WHERE %s
    ORDER BY job.priority DESC, job.seq LIMIT 1
""" % _OPEN
# When a queue with a rate may start its next job.
NEXT_START = """
    SELECT min(next_start) FROM queuectl_queues
    WHERE next_start > :now AND (pending > 0 OR failed > 0) AND paused = 0
"""
COUNT_START = """
    UPDATE queuectl_queues AS queue SET next_start = :now + coalesce(%s, 0) WHERE name = :queue
""" % _INTERVAL
# With max() and a NULL that the CHECKs imply: a malformed row must be claimable, to be buried, or it blocks its queue.
_CLAIM = """
    UPDATE queuectl_jobs SET state = %s, ready = NULL, worker = :worker, attempts = max(attempts, 0) + 1,
        last_attempt = max(last_attempt, attempts, 0) + 1, started_at = :now, updated_at = :now,
        finished_at = NULL, exit_code = NULL, error = NULL, suspend = 0
    WHERE seq = %%s AND %s
""" % (target("claim"), guard("claim"))
CLAIM_RETURNING = _CLAIM % ("(%s)" % CLAIMABLE) + "RETURNING " + JOB_COLUMNS
# The same before SQLite 3.35, after CLAIMABLE in the same BEGIN IMMEDIATE.
CLAIM_SEQ = _CLAIM % ":seq"

# OR REPLACE, here and below: a row of a job that another program's REPLACE deleted may still be there.
BEGIN_ATTEMPT = """
    INSERT OR REPLACE INTO queuectl_attempts (job, attempt, worker, started_at, token)
    VALUES (:job, :attempt, :worker, :now, :token)
"""
TOKEN = "SELECT token FROM queuectl_attempts WHERE job = :job AND attempt = :attempt"
# This one statement makes every move out of `processing`, guarded by state and owner. An attempt's number is never
# reused, so a stale worker's settle changes no row. A cancel that was acknowledged but that the worker hadn't seen
# wins over any move that would let the job run again.
_CANCELS = "cancel = 1 AND :finished_at IS NULL"
SETTLE = f"""
    UPDATE queuectl_jobs SET
        state = CASE WHEN {_CANCELS} THEN {target('cancel')} ELSE :state END,
        ready = CASE WHEN {_CANCELS} THEN NULL ELSE :ready END,
        finished_at = CASE WHEN {_CANCELS} THEN :now ELSE :finished_at END,
        error = CASE WHEN {_CANCELS} THEN 'cancelled' ELSE :error END,
        worker = NULL, slot = NULL, cancel = 0, suspend = 0, run_at = coalesce(:run_at, run_at), updated_at = :now,
        attempts = max(attempts - :refund, 0), deferrals = max(deferrals, 0) + :deferral, exit_code = :exit_code
    WHERE seq = :job AND {guard("succeed")} AND worker = :worker AND last_attempt = :attempt
"""
# In seconds, for an attempt that isn't suspended any more. The clock may have been set back.
_SUSPENDED = "suspended + coalesce(max(:now - suspended_at, 0), 0)"
END_ATTEMPT = f"""
    UPDATE queuectl_attempts SET finished_at = :now, outcome = :outcome, exit_code = :exit_code,
        error = :error, dropped = :dropped,
        suspended = {_SUSPENDED}, suspended_at = NULL
    WHERE job = :job AND attempt = :attempt AND worker = :worker AND outcome IS NULL
"""
# Why an attempt that ended isn't settled yet. Settling it overwrites this.
NOTE = """
    UPDATE queuectl_jobs SET error = :error, updated_at = :now
    WHERE seq = :job AND state = 'processing' AND worker = :worker AND last_attempt = :attempt
"""
# What the running command reports about itself.
REPORT_PROGRESS = """
    UPDATE queuectl_attempts SET progress = :progress, progress_text = :text
    WHERE job = :job AND attempt = :attempt AND outcome IS NULL
"""
# The command's process, for a rescuer if the worker dies.
IDENTIFY_ATTEMPT = """
    UPDATE queuectl_attempts SET pid = :pid, birth = :birth
    WHERE job = :job AND attempt = :attempt AND worker = :worker AND outcome IS NULL
"""
# The lowest number from 1 on that no running job of the queue has.
FREE_SLOT = """
    SELECT min(number) FROM (
        SELECT 1 AS number UNION ALL
        SELECT slot + 1 FROM queuectl_jobs WHERE state = 'processing' AND state <> 'pending' AND queue = :queue)
    WHERE number NOT IN (SELECT slot FROM queuectl_jobs
        WHERE state = 'processing' AND state <> 'pending' AND queue = :queue AND slot IS NOT NULL)
"""
SET_SLOT = "UPDATE queuectl_jobs SET slot = :slot WHERE seq = :job AND state = 'processing'"
ADD_OUTPUT = """
    INSERT OR REPLACE INTO queuectl_output (job, attempt, position, stream, data) VALUES (?, ?, ?, ?, ?)
"""
DROP_OUTPUT = "DELETE FROM queuectl_output WHERE job = ? AND attempt = ? AND position = ?"
HOLDS = """
    SELECT cancel, suspend FROM queuectl_jobs
    WHERE seq = :job AND state = 'processing' AND worker = :worker AND last_attempt = :attempt
"""
_IS_PAUSED = "queue.paused OR EXISTS (SELECT 1 FROM queuectl_meta WHERE key = 'paused')"
# A job is running (it may fail, or others wait for it), is ready, or waits for its time.
LEFT_TO_DO = """
    SELECT 1 FROM queuectl_queues AS queue
    WHERE %s
      AND (processing > 0
        OR (paused = 0 AND NOT EXISTS (SELECT 1 FROM queuectl_meta WHERE key = 'paused')
          AND (EXISTS (SELECT 1 FROM queuectl_jobs WHERE ready = 1 AND queue = queue.name)
            OR EXISTS (SELECT 1 FROM queuectl_jobs WHERE ready = 0 AND queue = queue.name))))
    LIMIT 1
""" % takes(":queues", "name")
# A job waits for others (in other queues, if LEFT_TO_DO finds nothing), and none that it waits for, directly or
# through others, is dead, cancelled or in a paused queue. Linear: it spreads from those to the jobs that wait for them.
LEFT_TO_WAIT_FOR = """
    WITH RECURSIVE hopeless (seq) AS (
        SELECT job.seq FROM queuectl_jobs AS job JOIN queuectl_queues AS queue ON queue.name = job.queue
        WHERE job.waits_for > 0 AND (job.held OR %s)
        UNION
        SELECT job.seq FROM queuectl_jobs AS job
        JOIN queuectl_dependencies AS link ON link.job = job.seq AND link.met = 0
        JOIN queuectl_jobs AS needed ON needed.seq = link.needs
        JOIN queuectl_queues AS queue ON queue.name = needed.queue
        WHERE job.waits_for > 0
          AND (needed.state IN ('dead', 'cancelled') OR needed.held OR needed.state <> 'processing' AND (%s))
        UNION
        SELECT link.job FROM hopeless
        JOIN queuectl_dependencies AS link ON link.needs = hopeless.seq AND link.met = 0)
    SELECT 1 FROM queuectl_jobs
    WHERE waits_for > 0 AND state = 'pending' AND seq NOT IN (SELECT seq FROM hopeless)
      AND %s
    LIMIT 1
""" % (_IS_PAUSED, _IS_PAUSED, takes(":queues", "queue"))
DIED_SINCE = """
    SELECT 1 FROM queuectl_jobs
    WHERE state = 'dead' AND state <> 'pending' AND finished_at >= :since
      AND %s
    LIMIT 1
""" % takes(":queues", "queue")

# --- the record -------------------------------------------------------------------------------

# Counters per minute, which outlive the jobs. A row counts events of one kind whose duration falls into one bucket of
# histogram.py: `wait` (from ready to the start of a first attempt), `added` (jobs; no duration), or how an attempt
# ended. Each event is in one row of one tier, so any sum over time and tiers is exact.
MINUTE, HOUR, DAY = 60, 3600, 86400  # The tiers: seconds that a row spans.
# max(): another program's negative number must not fail a CHECK, and a settle with it.
ADD_UP = """
    ON CONFLICT (tier, start, queue, kind, bucket) DO UPDATE
    SET count = max(count, 0) + excluded.count, seconds = max(seconds, 0) + excluded.seconds
"""
_COUNT = "INSERT INTO queuectl_record (tier, start, queue, kind, bucket, count, seconds) VALUES %s" + ADD_UP
COUNT_ADDED = _COUNT % "(60, :minute, :queue, 'added', 0, :count, 0)"
# An attempt that ended. The move out of `processing` may have become a cancellation (see SETTLE).
_ATTEMPT = """(60, :minute, :queue,
    CASE (SELECT state FROM queuectl_jobs WHERE seq = :job) WHEN 'cancelled' THEN 'cancelled' ELSE :kind END,
    :bucket, 1, :seconds)"""
COUNT_ATTEMPT = _COUNT % _ATTEMPT
COUNT_FIRST_ATTEMPT = _COUNT % (_ATTEMPT + ", (60, :minute, :queue, 'wait', :wait_bucket, 1, :wait)")

# --- cancel, revive -----------------------------------------------------------------------------

CANCEL_WAITING = """
    UPDATE queuectl_jobs SET state = %s, ready = NULL, held = 0, finished_at = :now, updated_at = :now,
        error = :error
    WHERE seq = :job AND %s AND state <> 'processing'
""" % (target("cancel"), guard("cancel"))
# Only asks: a running job is cancelled by its worker.
WANT_CANCEL = """
    UPDATE queuectl_jobs SET cancel = 1, suspend = 0, updated_at = :now WHERE seq = :job AND state = 'processing'
"""
# Only a request, too.
WANT_SUSPEND = """
    UPDATE queuectl_jobs SET suspend = :suspend, updated_at = :now
    WHERE seq = :job AND state = 'processing' AND suspend <> :suspend AND cancel = 0
"""
# For the worker that is ending the attempt.
WITHDRAW_SUSPENSION = """
    UPDATE queuectl_jobs SET suspend = 0, updated_at = :now
    WHERE seq = :job AND state = 'processing' AND worker = :worker AND last_attempt = :attempt AND suspend = 1
"""
# For how long an attempt has been suspended: note when a suspension begins, and add it up when it ends.
COUNT_SUSPENDED = f"""
    UPDATE queuectl_attempts SET suspended = {_SUSPENDED}, suspended_at = CASE :suspend WHEN 1 THEN :now END
    WHERE job = :job AND attempt = :attempt AND outcome IS NULL
"""
# Recounts waits_for: jobs that a cancelled job waited for may have been deleted.
REVIVE = """
    UPDATE queuectl_jobs SET state = %s, waits_for = %s, ready = CASE %s WHEN 0 THEN 1 END,
        held = 0, attempts = 0, deferrals = 0, run_at = :now, finished_at = NULL, exit_code = NULL, error = NULL,
        updated_at = :now
    WHERE seq = :job AND %s
""" % (target("revive"), _UNMET, _UNMET, guard("revive"))

EDIT = """
    UPDATE queuectl_jobs SET queue = :queue, priority = :priority, command = :command, cwd = :cwd,
        env = :env, bury_on = :bury_on, retry_only_on = :retry_only_on, run_at = :run_at,
        max_retries = :max_retries, backoff_base = :backoff_base, backoff_max = :backoff_max,
        backoff_jitter = :backoff_jitter, timeout = :timeout, kill_grace = :kill_grace, output_limit = :output_limit,
        defer_limit = :defer_limit, updated_at = :now,
        ready = CASE WHEN waits_for = 0 AND held = 0 THEN :run_at <= :now END
    WHERE seq = :job AND state IN %s
""" % listed(WAITING)

HOLD = "UPDATE queuectl_jobs SET held = 1, ready = NULL, updated_at = :now WHERE seq = :job AND held = 0 AND %s" % (
    is_any(WAITING)
)
RELEASE = """
    UPDATE queuectl_jobs SET held = 0, ready = CASE WHEN waits_for = 0 THEN run_at <= :now END, updated_at = :now
    WHERE seq = :job AND held = 1
"""
# Before it is revived: a condition that can't come true any more doesn't stop it.
FORGET_UNNEEDED = """
    UPDATE queuectl_dependencies SET met = 1 WHERE job = :job AND met = 0 AND condition = 'notok'
      AND EXISTS (SELECT 1 FROM queuectl_jobs WHERE seq = needs AND state = 'completed')
"""

# --- queues -------------------------------------------------------------------------------------

ADD_QUEUE = "INSERT OR IGNORE INTO queuectl_queues (name) VALUES (:queue)"
PAUSE = """
    UPDATE queuectl_queues SET paused = :paused, paused_because = NULL, deaths = 0
    WHERE (name = :queue OR :queue IS NULL) AND paused <> :paused
"""
# Deaths in a row, and the pause that follows when there are too many.
COUNT_DEATH = "UPDATE queuectl_queues SET deaths = deaths + 1 WHERE name = :queue"
FORGET_DEATHS = "UPDATE queuectl_queues SET deaths = 0 WHERE name = :queue AND deaths > 0"
HALT = """
    UPDATE queuectl_queues SET paused = 1,
        paused_because = deaths || CASE deaths WHEN 1 THEN ' death' ELSE ' deaths in a row' END
    WHERE name = :queue AND deaths >= :most AND paused = 0
"""
HALTED = "SELECT paused_because, pending + failed FROM queuectl_queues WHERE name = :queue"
PAUSE_ALL = "INSERT OR IGNORE INTO queuectl_meta (key, value) VALUES ('paused', 1)"
RESUME_ALL = "DELETE FROM queuectl_meta WHERE key = 'paused'"
PAUSED = "SELECT CAST(name AS TEXT), CAST(paused_because AS TEXT) FROM queuectl_queues WHERE paused = 1 ORDER BY name"

# --- workers ------------------------------------------------------------------------------------

# A worker inherits `wanted` from its supervisor, so a `stop` that arrives while a worker is being replaced reaches the
# replacement too. Supervisors count down from -1, so users see workers 1, 2, 3 …
COUNT_SUPERVISOR = """
    INSERT INTO queuectl_meta (key, value) VALUES ('supervisors', 1) ON CONFLICT (key) DO UPDATE SET value = value + 1
"""
REGISTER = """
    INSERT INTO queuectl_workers
        (id, role, supervisor, pid, boot, birth, queues, version, schema, started_at, wanted)
    VALUES (CASE :role WHEN 'supervisor' THEN (SELECT -value FROM queuectl_meta WHERE key = 'supervisors') END,
        :role, :supervisor, :pid, :boot, :birth, :queues, :version, :schema, :now,
        coalesce((SELECT wanted FROM queuectl_workers WHERE id = :supervisor), 'run'))
"""
# The same process, now running different code.
RENEW = "UPDATE queuectl_workers SET version = :version, schema = :schema, started_at = :now WHERE id = :id"
# Not while it holds a job: one that was taken for dead may have claimed again since its last job was settled as lost.
UNREGISTER = """
    DELETE FROM queuectl_workers WHERE id = :id
      AND NOT EXISTS (SELECT 1 FROM queuectl_jobs WHERE state = 'processing' AND state <> 'pending' AND worker = :id)
"""
# Only rescuers care which supervisor a dead worker had: they leave it to that one.
DISOWN = "UPDATE queuectl_workers SET supervisor = NULL WHERE id = :id"
WORKER_COLUMNS = "id, role, supervisor, pid, boot, birth, queues, wanted, idle, version, started_at"
WORKERS = "SELECT %s FROM queuectl_workers ORDER BY id" % WORKER_COLUMNS
# Older workers with the same queues, oldest first.
ELDERS = """
    SELECT %s FROM queuectl_workers
    WHERE role = 'worker' AND id < :id AND queues IS (SELECT queues FROM queuectl_workers WHERE id = :id)
    ORDER BY id LIMIT 10
""" % WORKER_COLUMNS
WANTED = "SELECT wanted FROM queuectl_workers WHERE id = :id"
WANTED_AND_SCHEMA = "SELECT wanted, CAST(schema AS INTEGER) FROM queuectl_workers WHERE id = :id"
# `wanted` only grows stronger: run, stop, stop-now.
WANT = """
    UPDATE queuectl_workers SET wanted = :wanted
    WHERE id = :id AND wanted <> :wanted AND wanted <> 'stop-now'
"""
# Idle workers with the same queues, youngest first: the youngest is the lookout, which polls for all of them.
_IDLE = "role = 'worker' AND idle = 1 AND wanted = 'run' AND queues IS :queues"
IDLE = "SELECT id FROM queuectl_workers WHERE %s ORDER BY id DESC LIMIT 10" % _IDLE
LOOKOUT = "SELECT max(id), max(id = :id) FROM queuectl_workers WHERE %s" % _IDLE
SET_IDLE = "UPDATE queuectl_workers SET idle = :idle WHERE id = :id"

# --- configuration ------------------------------------------------------------------------------

CONFIG = "SELECT CAST(key AS TEXT), value FROM queuectl_config ORDER BY key"
CONFIG_SET = "INSERT OR REPLACE INTO queuectl_config (key, value) VALUES (:key, :value)"
# Changes nothing, but takes the write lock.
LOCK = "UPDATE queuectl_meta SET value = value WHERE key IS NULL"
CONFIG_UNSET = "DELETE FROM queuectl_config WHERE key = :key"
