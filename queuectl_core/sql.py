"""Every SQL statement of the program: the schema, its migrations, and the named statements.

The schema is an interface: `INSERT INTO queuectl_jobs(command) VALUES ('…')`, from any program and
inside that program's own transaction, is a complete enqueue. So all that must hold for every job is
held by the schema itself: CHECKs refuse impossible rows, triggers count, and one trigger files what
came without the mechanical columns.

How a job is found without scanning. `ready` says what the claim may look at:
    1     claimable now: in the index (queue, priority DESC, seq) WHERE ready = 1
    0     waits for run_at: in the index (run_at) WHERE ready = 0, promoted to 1 when due
    NULL  neither: processing, finished, or waiting for another job
    2     only while an INSERT that did not name it is being filed by its trigger
The claim looks at the head of each open queue and takes the best of these heads. Its cost grows
with the number of queues that hold waiting jobs, never with the number of jobs.
"""

from __future__ import annotations

from .lifecycle import FINISHED, STATES, TRANSITIONS, UNFINISHED, WAITING, Job

SCHEMA_VERSION = 1


def _list(words: tuple[str, ...]) -> str:
    return "(%s)" % ", ".join("'%s'" % word for word in words)


def _in(states: tuple[str, ...]) -> str:
    """`state` is one of these, as a chain of comparisons.

    For what is evaluated for each row: SQLite builds a table for an IN list of three and more, each
    time, which halves the rate of inserts.
    """
    return "(%s)" % " OR ".join("state = '%s'" % state for state in states)


def _from(move: str) -> str:
    """The guard of a move: the states that it may start from, as the lifecycle's table has them."""
    return _in(TRANSITIONS[move].from_states)


def _to(move: str) -> str:
    return "'%s'" % TRANSITIONS[move].to_state


def _count(column: str) -> str:
    return "(%s IS NULL OR (typeof(%s) = 'integer' AND %s BETWEEN 0 AND 2147483647))" % ((column,) * 3)


# UTC epoch seconds with a fraction. (unixepoch('subsec') would need SQLite 3.42.)
_NOW = "((julianday('now') - 2440587.5) * 86400.0)"

# The pieces of an upsert that counts one job more.
_COUNT_NEW = (
    ", ".join(STATES),
    ", ".join("NEW.state = '%s'" % s for s in STATES),
    ", ".join("%s = %s + excluded.%s" % (s, s, s) for s in STATES),
)
_COUNT_COLUMNS = ",\n".join("%s INTEGER NOT NULL DEFAULT 0" % state for state in STATES)


def _setting(key: str, default: int) -> str:
    """A job's setting for the filing trigger: as settings.resolve does it."""
    return (
        "coalesce((SELECT value FROM queuectl_config WHERE key = NEW.queue || '.%s'),"
        " (SELECT value FROM queuectl_config WHERE key = '%s'), %d)" % (key, key, default)
    )


# Why a job that waits is not running, in words. (`job` and `queue` are the tables' names here.)
REASON = """
    CASE WHEN job.state NOT IN %s THEN NULL
    WHEN job.waits_for > 0 THEN 'waits for ' || (
        SELECT group_concat(needed.id || CASE WHEN needed.state IN ('dead', 'cancelled')
            THEN ' (' || needed.state || ')' ELSE '' END, ', ')
        FROM queuectl_dependencies AS link JOIN queuectl_jobs AS needed ON needed.seq = link.needs
        WHERE link.job = job.seq AND link.met = 0)
    WHEN job.ready = 0 AND job.state = 'failed' THEN 'waits for its retry'
    WHEN job.ready = 0 THEN 'waits for its time'
    WHEN EXISTS (SELECT 1 FROM queuectl_meta WHERE key = 'paused') THEN 'all queues are paused'
    WHEN queue.paused THEN 'its queue is paused'
    WHEN queue.processing >= (SELECT value FROM queuectl_config WHERE key = queue.name || '.limit')
        THEN 'its queue is at its limit'
    WHEN NOT EXISTS (SELECT 1 FROM queuectl_workers WHERE role = 'worker' AND wanted = 'run'
        AND (queues IS NULL OR instr(',' || queues || ',', ',' || job.queue || ',') > 0))
        THEN 'no worker for its queue'
    WHEN queue.next_start > %s
        AND EXISTS (SELECT 1 FROM queuectl_config WHERE key = queue.name || '.rate')
        THEN 'its queue is at its rate'
    ELSE 'waits for a free worker' END
""" % (_list(WAITING), _NOW)


def _utc(column: str) -> str:
    return "strftime('%%Y-%%m-%%dT%%H:%%M:%%fZ', job.%s, 'unixepoch') AS %s" % (column, column)


# One tuple of statements per version; each tuple runs in one transaction together with the
# rise of the version's row. Never edit a released one: add the next.
MIGRATIONS = {
    1: (
        """
        CREATE TABLE queuectl_meta (
            key TEXT PRIMARY KEY,
            value NOT NULL
        ) WITHOUT ROWID
        """,
        # The token of this file: it marks the environment of attempts (process.py).
        "INSERT INTO queuectl_meta VALUES ('file', lower(hex(randomblob(8))))",
        """
        CREATE TABLE queuectl_config (
            key TEXT PRIMARY KEY,
            value NOT NULL
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE queuectl_jobs (
            seq           INTEGER PRIMARY KEY,
            id            TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(8))))
                          CHECK (typeof(id) = 'text' AND length(id) BETWEEN 1 AND 200),
            queue         TEXT NOT NULL DEFAULT 'default'
                          CHECK (typeof(queue) = 'text' AND length(queue) BETWEEN 1 AND 200),
            priority      INTEGER NOT NULL DEFAULT 0 CHECK (typeof(priority) = 'integer'),
            state         TEXT NOT NULL DEFAULT 'pending' CHECK %(states)s,
            ready         INTEGER DEFAULT 2 CHECK (ready = 0 OR ready = 1 OR ready = 2),
            waits_for     INTEGER NOT NULL DEFAULT 0 CHECK (waits_for >= 0),
            -- TEXT, or a BLOB where the bytes are no UTF-8.
            command       NOT NULL CHECK (typeof(command) IN ('text', 'blob')
                          AND length(CAST(command AS BLOB)) BETWEEN 1 AND 131071),
            cwd           CHECK (cwd IS NULL OR typeof(cwd) IN ('text', 'blob')),
            env           TEXT,
            max_retries   INTEGER CHECK %(max_retries)s,
            -- (No text and no blob is between two numbers; NULL passes.)
            backoff_base  REAL CHECK (backoff_base BETWEEN 0 AND 1e10),
            backoff_max   REAL CHECK (backoff_max BETWEEN 0 AND 1e10),
            timeout       REAL CHECK (timeout BETWEEN 0 AND 1e10),
            kill_grace    REAL CHECK (kill_grace BETWEEN 0 AND 1e10),
            output_limit  INTEGER CHECK %(output_limit)s,
            -- Exit codes such as '2,64-78': buried at once; alone worth a retry.
            bury_on       TEXT,
            retry_only_on TEXT,
            defer_limit   INTEGER CHECK %(defer_limit)s,
            unique_key    TEXT,
            stdin         INTEGER,  -- Bytes of standard input in queuectl_inputs; NULL: none.
            deferrals     INTEGER NOT NULL DEFAULT 0 CHECK (deferrals >= 0),
            attempts      INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
            last_attempt  INTEGER NOT NULL DEFAULT 0 CHECK (last_attempt >= attempts),
            worker        INTEGER,
            cancel        INTEGER NOT NULL DEFAULT 0 CHECK (cancel IN (0, 1)),
            -- Times before the year 10000.
            run_at        REAL NOT NULL DEFAULT %(now)s CHECK (run_at BETWEEN 0 AND 253402300800),
            created_at    REAL NOT NULL DEFAULT %(now)s CHECK (created_at BETWEEN 0 AND 253402300800),
            updated_at    REAL NOT NULL DEFAULT %(now)s CHECK (updated_at BETWEEN 0 AND 253402300800),
            started_at    REAL,
            finished_at   REAL,
            exit_code     INTEGER,
            error         TEXT,
            CHECK ((ready IS NOT NULL) = (%(waiting)s AND waits_for = 0)),
            CHECK ((worker IS NOT NULL) = (state = 'processing')),
            CHECK ((finished_at IS NOT NULL) = %(finished)s),
            CHECK (state <> 'processing' OR (attempts > 0 AND started_at IS NOT NULL)),
            CHECK (cancel = 0 OR state = 'processing')
        )
        """
        % {
            "states": _in(STATES),
            "waiting": _in(WAITING),
            "finished": _in(FINISHED),
            "now": _NOW,
            **{name: _count(name) for name in ("max_retries", "output_limit", "defer_limit")},
        },
        "CREATE INDEX queuectl_jobs_ready ON queuectl_jobs (queue, priority DESC, seq) WHERE ready = 1",
        "CREATE INDEX queuectl_jobs_due ON queuectl_jobs (run_at) WHERE ready = 0",
        # For all but pending jobs, which are the bulk of a batch. Running and failed ones have no end:
        # they are in the order of seq, finished ones in that of their ends.
        "CREATE INDEX queuectl_jobs_state ON queuectl_jobs (state, finished_at)"
        " WHERE state <> 'pending'",
        "CREATE INDEX queuectl_jobs_blocked ON queuectl_jobs (seq) WHERE waits_for > 0",
        """
        CREATE UNIQUE INDEX queuectl_jobs_unique ON queuectl_jobs (unique_key)
        WHERE unique_key IS NOT NULL AND %s
        """
        % _in(UNFINISHED),
        # `job` waits until `needs` has completed (met = 1); queuectl_jobs.waits_for counts the rest.
        """
        CREATE TABLE queuectl_dependencies (
            job   INTEGER NOT NULL,
            needs INTEGER NOT NULL CHECK (needs < job),
            met   INTEGER NOT NULL DEFAULT 0 CHECK (met IN (0, 1)),
            PRIMARY KEY (job, needs)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX queuectl_dependents ON queuectl_dependencies (needs, job)",
        # What a job reads on its standard input, where enqueue was given any.
        "CREATE TABLE queuectl_inputs (job INTEGER PRIMARY KEY, data BLOB NOT NULL)",
        # One row per queue ever used: how many of its jobs are in each state, kept by triggers;
        # next_start is when a queue with a rate may start its next job.
        """
        CREATE TABLE queuectl_queues (
            name       TEXT PRIMARY KEY,
            paused     INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
            next_start REAL NOT NULL DEFAULT 0,
            %s
        ) WITHOUT ROWID
        """
        % _COUNT_COLUMNS,
        """
        CREATE TABLE queuectl_attempts (
            job         INTEGER NOT NULL,
            attempt     INTEGER NOT NULL,
            worker      INTEGER NOT NULL,
            started_at  REAL NOT NULL,
            finished_at REAL,
            outcome     TEXT,
            exit_code   INTEGER,
            error       TEXT,
            pid         INTEGER,
            birth       TEXT,
            dropped     INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (job, attempt),
            CHECK ((finished_at IS NULL) = (outcome IS NULL))
        ) WITHOUT ROWID
        """,
        # Output as it came. `position` counts the attempt's bytes, stdout and stderr together;
        # stream 1 is stdout, 2 is stderr. A gap between rows is what `dropped` counts.
        """
        CREATE TABLE queuectl_output (
            job      INTEGER NOT NULL,
            attempt  INTEGER NOT NULL,
            position INTEGER NOT NULL,
            stream   INTEGER NOT NULL CHECK (stream IN (1, 2)),
            data     BLOB NOT NULL,
            PRIMARY KEY (job, attempt, position)
        ) WITHOUT ROWID
        """,
        # `wanted` is what somebody asked of the worker; what it does is derived (lifecycle of the
        # job it holds, `idle`). `idle` = 1 means: it found nothing and sleeps until its bell rings.
        """
        CREATE TABLE queuectl_workers (
            id         INTEGER PRIMARY KEY AUTOINCREMENT,
            role       TEXT NOT NULL CHECK (role IN ('supervisor', 'worker')),
            supervisor INTEGER,
            pid        INTEGER NOT NULL,
            boot       TEXT NOT NULL,
            birth      TEXT NOT NULL,
            queues     TEXT,
            wanted     TEXT NOT NULL DEFAULT 'run' CHECK (wanted IN ('run', 'stop', 'stop-now')),
            idle       INTEGER NOT NULL DEFAULT 0 CHECK (idle IN (0, 1)),
            version    TEXT NOT NULL,
            started_at REAL NOT NULL
        )
        """,
        """
        CREATE TRIGGER queuectl_count_insert AFTER INSERT ON queuectl_jobs BEGIN
            INSERT INTO queuectl_queues (name, %s) VALUES (NEW.queue, %s)
                ON CONFLICT (name) DO UPDATE SET %s;
        END
        """
        % _COUNT_NEW,
        """
        CREATE TRIGGER queuectl_count_state AFTER UPDATE OF state ON queuectl_jobs
        WHEN OLD.state <> NEW.state BEGIN
            UPDATE queuectl_queues SET %s WHERE name = NEW.queue;
        END
        """
        % ", ".join(
            "%s = %s + (NEW.state = '%s') - (OLD.state = '%s')" % (s, s, s, s) for s in STATES
        ),
        """
        CREATE TRIGGER queuectl_count_queue AFTER UPDATE OF queue ON queuectl_jobs
        WHEN OLD.queue <> NEW.queue BEGIN
            UPDATE queuectl_queues SET %s WHERE name = OLD.queue;
            INSERT INTO queuectl_queues (name, %s) VALUES (NEW.queue, %s)
                ON CONFLICT (name) DO UPDATE SET %s;
        END
        """
        % (
            ", ".join("%s = %s - (OLD.state = '%s')" % (s, s, s) for s in STATES),
            *_COUNT_NEW,
        ),
        # Who waited for this job alone becomes ready; a dead or cancelled one keeps them waiting.
        """
        CREATE TRIGGER queuectl_completed AFTER UPDATE OF state ON queuectl_jobs
        WHEN NEW.state = 'completed' AND EXISTS
            (SELECT 1 FROM queuectl_dependencies WHERE needs = NEW.seq AND met = 0) BEGIN
            UPDATE queuectl_jobs SET waits_for = waits_for - 1,
                ready = CASE WHEN waits_for = 1 AND state IN %s THEN run_at <= %s END
            WHERE seq IN (SELECT job FROM queuectl_dependencies WHERE needs = NEW.seq AND met = 0);
            UPDATE queuectl_dependencies SET met = 1 WHERE needs = NEW.seq AND met = 0;
        END
        """
        % (_list(WAITING), _NOW),
        """
        CREATE TRIGGER queuectl_delete AFTER DELETE ON queuectl_jobs BEGIN
            UPDATE queuectl_queues SET %s WHERE name = OLD.queue;
            DELETE FROM queuectl_attempts WHERE job = OLD.seq;
            DELETE FROM queuectl_output WHERE job = OLD.seq;
            DELETE FROM queuectl_inputs WHERE job = OLD.seq;
            DELETE FROM queuectl_dependencies WHERE job = OLD.seq OR needs = OLD.seq;
        END
        """
        % ", ".join("%s = %s - (OLD.state = '%s')" % (s, s, s) for s in STATES),
        # For reading by other programs: docs/sql.md.
        """
        CREATE VIEW queuectl_list AS
        SELECT job.id, job.queue, job.priority, job.state, %s AS reason, job.command, job.cwd,
            job.attempts, job.max_retries, job.exit_code, job.error, job.worker, job.unique_key,
            %s
        FROM queuectl_jobs AS job JOIN queuectl_queues AS queue ON queue.name = job.queue
        """
        % (
            REASON,
            ", ".join(
                map(_utc, ("created_at", "updated_at", "run_at", "started_at", "finished_at"))
            ),
        ),
        # What came by foreign SQL gets its settings and its place; enqueue names `ready` itself.
        """
        CREATE TRIGGER queuectl_file AFTER INSERT ON queuectl_jobs WHEN NEW.ready = 2 BEGIN
            UPDATE queuectl_jobs SET
                ready = (NEW.run_at <= %(now)s),
                max_retries = coalesce(NEW.max_retries, %(max_retries)s),
                backoff_base = coalesce(NEW.backoff_base, %(backoff_base)s),
                backoff_max = coalesce(NEW.backoff_max, %(backoff_max)s),
                timeout = coalesce(NEW.timeout, %(timeout)s),
                kill_grace = coalesce(NEW.kill_grace, %(kill_grace)s),
                output_limit = coalesce(NEW.output_limit, %(output_limit)s),
                defer_limit = coalesce(NEW.defer_limit, %(defer_limit)s)
            WHERE seq = NEW.seq;
        END
        """
        % {
            "now": _NOW,
            "max_retries": _setting("max-retries", 3),
            "backoff_base": _setting("backoff-base", 2),
            "backoff_max": _setting("backoff-max", 86400),
            "timeout": _setting("timeout", 0),
            "kill_grace": _setting("kill-grace", 10),
            "output_limit": _setting("output-limit", 1024 * 1024),
            "defer_limit": _setting("defer-limit", 20),
        },
    ),
}

# Within a migration: workers of the version before finish their jobs and leave. They see it where
# they look anyway, before each claim.
# (Not their supervisor: it leaves with them, unless it is moved to the new code in time.)
STOP_ALL = "UPDATE queuectl_workers SET wanted = 'stop' WHERE wanted = 'run' AND role = 'worker'"

HAS_META = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'queuectl_meta'"
META = "SELECT value FROM queuectl_meta WHERE key = :key"
SET_META = "INSERT OR REPLACE INTO queuectl_meta (key, value) VALUES (:key, :value)"

# Without foreign keys there is nothing that the quick one would miss but indexes that disagree.
INTEGRITY = "PRAGMA integrity_check(5)"
QUICK_CHECK = "PRAGMA quick_check(1)"

JOB_COLUMNS = ", ".join(Job._fields)

# --- enqueue ------------------------------------------------------------------------------------

# The columns are jobspec.NewJob's in their order, then the time, so that a batch is one executemany
# of tuples.
_ENQUEUE = """
    INSERT INTO queuectl_jobs (id, queue, priority, command, cwd, max_retries, backoff_base,
        backoff_max, timeout, kill_grace, output_limit, defer_limit, %s created_at, updated_at, run_at, ready)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, %s)
"""
ENQUEUE = _ENQUEUE % (
    "env, unique_key, bury_on, retry_only_on,",
    "?13, ?14, ?15, ?16, ?18, ?18, coalesce(?17, ?18), coalesce(?17, ?18) <= ?18",
)
# Of a job that has none of these: sqlite3 takes 0.3 µs to bind a None, an eighth of the insert.
ENQUEUE_PLAIN = _ENQUEUE % ("", "?13, ?13, ?13, 1")
HOLDER_OF_KEY = """
    SELECT id, state FROM queuectl_jobs WHERE unique_key = :key AND %s
""" % _in(UNFINISHED)
DROP_INPUT = "DELETE FROM queuectl_inputs WHERE job = :job"
ADD_INPUT = "INSERT INTO queuectl_inputs (job, data) VALUES (:job, :data)"
NOTE_INPUT = "UPDATE queuectl_jobs SET stdin = :bytes WHERE seq = :job"
INPUT = "SELECT data FROM queuectl_inputs WHERE job = :job"
# One of `--after`: met where the other has completed already.
ADD_DEPENDENCY = """
    INSERT INTO queuectl_dependencies (job, needs, met)
    SELECT :job, seq, state = 'completed' FROM queuectl_jobs WHERE seq = :needs
"""
_UNMET = "(SELECT count(*) FROM queuectl_dependencies WHERE job = :job AND met = 0)"
WAIT_FOR_THEM = """
    UPDATE queuectl_jobs SET ready = NULL, waits_for = %s WHERE seq = :job AND %s > 0
""" % (_UNMET, _UNMET)
# A job as it was in another file. (The columns left out follow from what else is restored.)
_RESTORED = [
    name for name in Job._fields if name not in ("seq", "stdin", "waits_for", "worker", "cancel")
]
RESTORE = "INSERT INTO queuectl_jobs (%s, ready) VALUES (%s, :ready)" % (
    ", ".join(_RESTORED),
    ", ".join(":" + name for name in _RESTORED),
)
RESTORE_ATTEMPT = """
    INSERT INTO queuectl_attempts
        (job, attempt, worker, started_at, finished_at, outcome, exit_code, error, dropped)
    VALUES (:job, :attempt, :worker, :started_at, :finished_at, :outcome, :exit_code, :error, :dropped)
"""
NEEDS = """
    SELECT needed.id, needed.state, link.met FROM queuectl_dependencies AS link
    JOIN queuectl_jobs AS needed ON needed.seq = link.needs WHERE link.job = :job ORDER BY link.needs
"""
HAS_DEPENDENTS = "SELECT 1 FROM queuectl_dependencies WHERE needs = :job LIMIT 1"
# Who became ready because this job completed: how many in each queue.
RELEASED = """
    SELECT queue, count(*) FROM queuectl_jobs
    WHERE ready = 1 AND seq IN (SELECT job FROM queuectl_dependencies WHERE needs = :job)
    GROUP BY queue
"""
# Idle workers that take this queue are rung. They are marked busy in the enqueuing transaction, so
# that two enqueues at once ring two workers.
WAKE = """
    SELECT id FROM queuectl_workers
    WHERE idle = 1 AND wanted = 'run'
      AND (queues IS NULL OR instr(',' || queues || ',', ',' || :queue || ',') > 0)
    ORDER BY id LIMIT :count
"""

# --- claim and settle ---------------------------------------------------------------------------

# Promotes what has become due, in bites, so that no single claim pays for a million jobs.
PROMOTE = """
    UPDATE queuectl_jobs SET ready = 1
    WHERE ready = 0 AND seq IN
        (SELECT seq FROM queuectl_jobs WHERE ready = 0 AND run_at <= :now ORDER BY run_at LIMIT 200)
"""
NEXT_DUE = "SELECT run_at FROM queuectl_jobs WHERE ready = 0 ORDER BY run_at LIMIT 1"
# What a claim has to know first, in one statement.
WANTED_AND_DUE = "SELECT wanted, (%s) FROM queuectl_workers WHERE id = :id" % NEXT_DUE

# Seconds between two starts in a queue, from `QUEUE.rate` as in '10/min'; NULL: no rate.
_INTERVAL = """(SELECT CASE substr(value, instr(value, '/') + 1)
            WHEN 'min' THEN 60.0 WHEN 'h' THEN 3600.0 ELSE 1.0 END / CAST(value AS REAL)
        FROM queuectl_config WHERE key = queue.name || '.rate')"""
# A queue is open unless it is paused, at its limit, or has to wait for its rate. (A next start
# farther away than one interval is of a clock that was set back since.)
_OPEN = """
    (queue.pending > 0 OR queue.failed > 0) AND queue.paused = 0
      AND (:queues IS NULL OR instr(',' || :queues || ',', ',' || queue.name || ',') > 0)
      AND queue.processing < coalesce(
        (SELECT value FROM queuectl_config WHERE key = queue.name || '.limit'), 9e99)
      AND (queue.next_start <= :now OR queue.next_start > :now + coalesce(%s, 0))
      AND NOT EXISTS (SELECT 1 FROM queuectl_meta WHERE key = 'paused')
""" % _INTERVAL
# The head of each open queue, and of these heads the best.
CLAIMABLE = """
    SELECT job.seq FROM queuectl_queues AS queue
    JOIN queuectl_jobs AS job ON job.seq = (
        SELECT seq FROM queuectl_jobs WHERE ready = 1 AND queue = queue.name
        ORDER BY priority DESC, seq LIMIT 1)
    WHERE %s
    ORDER BY job.priority DESC, job.seq LIMIT 1
""" % _OPEN
# When a queue may start its next job because of its rate.
NEXT_START = """
    SELECT min(next_start) FROM queuectl_queues
    WHERE next_start > :now AND (pending > 0 OR failed > 0) AND paused = 0
"""
COUNT_START = """
    UPDATE queuectl_queues AS queue SET next_start = :now + %s WHERE name = :queue
""" % _INTERVAL
_CLAIM = """
    UPDATE queuectl_jobs SET state = %s, ready = NULL, worker = :worker, attempts = attempts + 1,
        last_attempt = last_attempt + 1, started_at = :now, updated_at = :now,
        exit_code = NULL, error = NULL
    WHERE seq = %%s AND %s
""" % (_to("claim"), _from("claim"))
CLAIM_RETURNING = _CLAIM % ("(%s)" % CLAIMABLE) + "RETURNING " + JOB_COLUMNS
# The same claim where SQLite is older than 3.35, in the same BEGIN IMMEDIATE.
CLAIM_SEQ = _CLAIM % ":seq"

BEGIN_ATTEMPT = """
    INSERT INTO queuectl_attempts (job, attempt, worker, started_at)
    VALUES (:job, :attempt, :worker, :now)
"""
# All five moves out of `processing` are this one statement, guarded by state and by owner. The
# attempt's number is never given out twice, so a stale worker's settle changes no row.
SETTLE = """
    UPDATE queuectl_jobs SET state = :state, ready = :ready, worker = NULL, cancel = 0,
        run_at = coalesce(:run_at, run_at), finished_at = :finished_at, updated_at = :now,
        attempts = attempts - :refund, deferrals = deferrals + :deferral,
        exit_code = :exit_code, error = :error
    WHERE seq = :job AND %s AND worker = :worker AND last_attempt = :attempt
""" % _from("succeed")
END_ATTEMPT = """
    UPDATE queuectl_attempts SET finished_at = :now, outcome = :outcome, exit_code = :exit_code,
        error = :error, dropped = :dropped
    WHERE job = :job AND attempt = :attempt AND worker = :worker AND outcome IS NULL
"""
# Why an attempt that ended is not settled yet, for people to read; its settlement overwrites it.
NOTE = """
    UPDATE queuectl_jobs SET error = :error, updated_at = :now
    WHERE seq = :job AND state = 'processing' AND worker = :worker AND last_attempt = :attempt
"""
# Who the running command is: for a rescuer, in case the worker dies.
IDENTIFY_ATTEMPT = """
    UPDATE queuectl_attempts SET pid = :pid, birth = :birth
    WHERE job = :job AND attempt = :attempt AND worker = :worker AND outcome IS NULL
"""
# Output is added only by the attempt that holds the job.
ADD_OUTPUT = """
    INSERT INTO queuectl_output (job, attempt, position, stream, data) VALUES (?, ?, ?, ?, ?)
"""
DROP_OUTPUT = "DELETE FROM queuectl_output WHERE job = ? AND attempt = ? AND position = ?"
HOLDS = """
    SELECT cancel FROM queuectl_jobs
    WHERE seq = :job AND state = 'processing' AND worker = :worker AND last_attempt = :attempt
"""
# Something runs here, and may fail or release others; or is ready, or waits for its time.
LEFT_TO_DO = """
    SELECT 1 FROM queuectl_queues AS queue
    WHERE (:queues IS NULL OR instr(',' || :queues || ',', ',' || name || ',') > 0)
      AND (processing > 0
        OR (paused = 0 AND NOT EXISTS (SELECT 1 FROM queuectl_meta WHERE key = 'paused')
          AND (EXISTS (SELECT 1 FROM queuectl_jobs WHERE ready = 1 AND queue = queue.name)
            OR EXISTS (SELECT 1 FROM queuectl_jobs WHERE ready = 0 AND queue = queue.name))))
    LIMIT 1
"""
# Jobs here that wait for others (of other queues, where LEFT_TO_DO finds nothing), unless one of
# these, or one that these wait for, is dead, cancelled or in a paused queue.
LEFT_TO_WAIT_FOR = """
    WITH RECURSIVE need (job, seq) AS (
        SELECT seq, seq FROM queuectl_jobs
        WHERE waits_for > 0 AND state = 'pending'
          AND (:queues IS NULL OR instr(',' || :queues || ',', ',' || queue || ',') > 0)
        UNION
        SELECT need.job, link.needs FROM need
        JOIN queuectl_dependencies AS link ON link.job = need.seq AND link.met = 0)
    SELECT 1 FROM need JOIN queuectl_jobs AS needed ON needed.seq = need.seq
    JOIN queuectl_queues AS queue ON queue.name = needed.queue
    GROUP BY need.job
    HAVING max(needed.state IN ('dead', 'cancelled') OR needed.state <> 'processing' AND (queue.paused
        OR EXISTS (SELECT 1 FROM queuectl_meta WHERE key = 'paused'))) = 0
    LIMIT 1
"""
DIED_SINCE = """
    SELECT 1 FROM queuectl_jobs
    WHERE state = 'dead' AND state <> 'pending' AND finished_at >= :since
      AND (:queues IS NULL OR instr(',' || :queues || ',', ',' || queue || ',') > 0)
    LIMIT 1
"""

# --- cancel, revive -----------------------------------------------------------------------------

CANCEL_WAITING = """
    UPDATE queuectl_jobs SET state = %s, ready = NULL, finished_at = :now, updated_at = :now,
        error = 'cancelled'
    WHERE seq = :job AND %s AND state <> 'processing'
""" % (_to("cancel"), _from("cancel"))
# A running job is cancelled by its worker: this only says that it is wanted.
WANT_CANCEL = """
    UPDATE queuectl_jobs SET cancel = 1, updated_at = :now WHERE seq = :job AND state = 'processing'
"""
# Counted anew: what a cancelled job waited for may have been deleted.
REVIVE = """
    UPDATE queuectl_jobs SET state = %s, waits_for = %s, ready = CASE %s WHEN 0 THEN 1 END,
        attempts = 0, deferrals = 0, run_at = :now, finished_at = NULL, exit_code = NULL, error = NULL,
        updated_at = :now
    WHERE seq = :job AND %s
""" % (_to("revive"), _UNMET, _UNMET, _from("revive"))

EDIT = """
    UPDATE queuectl_jobs SET queue = :queue, priority = :priority, command = :command, cwd = :cwd,
        env = :env, bury_on = :bury_on, retry_only_on = :retry_only_on, run_at = :run_at,
        max_retries = :max_retries, backoff_base = :backoff_base, backoff_max = :backoff_max,
        timeout = :timeout, kill_grace = :kill_grace, output_limit = :output_limit,
        defer_limit = :defer_limit, updated_at = :now,
        ready = CASE WHEN waits_for = 0 THEN :run_at <= :now END
    WHERE seq = :job AND state IN %s
""" % _list(WAITING)

# --- queues -------------------------------------------------------------------------------------

KNOW_QUEUE = "INSERT OR IGNORE INTO queuectl_queues (name) VALUES (:queue)"
PAUSE = """
    UPDATE queuectl_queues SET paused = :paused
    WHERE (name = :queue OR :queue IS NULL) AND paused <> :paused
"""
PAUSE_ALL = "INSERT OR IGNORE INTO queuectl_meta (key, value) VALUES ('paused', 1)"
RESUME_ALL = "DELETE FROM queuectl_meta WHERE key = 'paused'"
PAUSED = "SELECT name FROM queuectl_queues WHERE paused = 1 ORDER BY name"

# --- workers ------------------------------------------------------------------------------------

# A worker starts with what is wanted of its supervisor: a `stop` that came while the supervisor
# was replacing a worker reaches the replacement too. Supervisors count downwards, so that the
# numbers people see are workers 1, 2, 3 …
REGISTER = """
    INSERT INTO queuectl_workers
        (id, role, supervisor, pid, boot, birth, queues, version, started_at, wanted)
    VALUES (CASE :role WHEN 'supervisor' THEN (SELECT min(0, coalesce(min(id), 0)) - 1
                                               FROM queuectl_workers) END,
        :role, :supervisor, :pid, :boot, :birth, :queues, :version, :now,
        coalesce((SELECT wanted FROM queuectl_workers WHERE id = :supervisor), 'run'))
"""
# The same process, with other code from now on.
RENEW = "UPDATE queuectl_workers SET version = :version, started_at = :now WHERE id = :id"
UNREGISTER = "DELETE FROM queuectl_workers WHERE id = :id"
WORKER_COLUMNS = "id, role, supervisor, pid, boot, birth, queues, wanted, idle, version, started_at"
WORKERS = "SELECT %s FROM queuectl_workers ORDER BY id" % WORKER_COLUMNS
# Some older workers of the same queues, the oldest first.
ELDERS = """
    SELECT %s FROM queuectl_workers
    WHERE role = 'worker' AND id < :id AND queues IS (SELECT queues FROM queuectl_workers WHERE id = :id)
    ORDER BY id LIMIT 10
""" % WORKER_COLUMNS
WANTED = "SELECT wanted FROM queuectl_workers WHERE id = :id"
# What is wanted only ever grows: run, stop, stop-now.
WANT = """
    UPDATE queuectl_workers SET wanted = :wanted
    WHERE id = :id AND wanted <> :wanted AND wanted <> 'stop-now'
"""
# The idle workers of the same queues, the youngest first: that one polls for them all.
_IDLE = "role = 'worker' AND idle = 1 AND wanted = 'run' AND queues IS :queues"
IDLE = "SELECT id FROM queuectl_workers WHERE %s ORDER BY id DESC LIMIT 10" % _IDLE
LOOKOUT = "SELECT max(id), max(id = :id) FROM queuectl_workers WHERE %s" % _IDLE
SET_IDLE = "UPDATE queuectl_workers SET idle = :idle WHERE id = :id"
HELD_BY = """
    SELECT %s FROM queuectl_jobs
    WHERE state = 'processing' AND state <> 'pending' AND worker = :worker
""" % JOB_COLUMNS
# Workers that hold a job; a worker without a row is a job whose owner is gone for good.
HOLDERS = """
    SELECT DISTINCT worker FROM queuectl_jobs WHERE state = 'processing' AND state <> 'pending'
"""

# --- looking ------------------------------------------------------------------------------------

JOB_BY_ID = "SELECT %s FROM queuectl_jobs WHERE id = ?" % JOB_COLUMNS
JOB_BY_SEQ = "SELECT %s FROM queuectl_jobs WHERE seq = ?" % JOB_COLUMNS
# Ids that start with a prefix: a range of the index of ids.
JOBS_BY_PREFIX = """
    SELECT id FROM queuectl_jobs WHERE id >= :prefix AND id < :prefix || char(1114111) LIMIT 2
"""
JOBS_BY_IDS = "SELECT %s FROM queuectl_jobs WHERE id IN (%%s)" % JOB_COLUMNS
# `%s` is a WHERE clause made of the conditions below, joined by AND, and an order.
LIST = """
    SELECT %s, %s FROM queuectl_jobs AS job JOIN queuectl_queues AS queue ON queue.name = job.queue
    %%s LIMIT :limit
""" % (", ".join("job." + name for name in Job._fields), REASON)
LIST_STATES = "job.state IN (%s)"
LIST_INDEXED = "job.state <> 'pending'"  # Lets SQLite use queuectl_jobs_state.
# The same for pending ones, where they are few: they are in the indexes of those that wait.
LIST_WAITING = """job.seq IN (SELECT seq FROM queuectl_jobs WHERE ready = 1
    UNION ALL SELECT seq FROM queuectl_jobs WHERE ready = 0
    UNION ALL SELECT seq FROM queuectl_jobs WHERE waits_for > 0)"""
LIST_QUEUE = "job.queue = :queue"
LIST_SEQ = "job.seq = :seq"
LIST_BY_SEQ = "ORDER BY job.seq DESC"
LIST_BY_END = "ORDER BY job.finished_at DESC, job.seq DESC"
UNFINISHED_IDS = """
    SELECT id FROM queuectl_jobs WHERE state IN %s AND (:queue IS NULL OR queue = :queue) ORDER BY seq
""" % _list(UNFINISHED)
# Jobs that ended since a moment, in the order of their ends.
FINISHED_SINCE = """
    SELECT %s FROM queuectl_jobs
    WHERE state IN %s AND state <> 'pending' AND finished_at >= :since ORDER BY finished_at
""" % (JOB_COLUMNS, _list(FINISHED))
# Jobs that run, or whose attempt ended since a moment. (One that was deferred or released is pending
# again, and not among them.)
TRIED_SINCE = """
    SELECT %s FROM queuectl_jobs WHERE state = 'processing' AND state <> 'pending'
    UNION ALL
    SELECT %s FROM queuectl_jobs WHERE state = 'failed' AND state <> 'pending' AND updated_at >= :since
    UNION ALL
    SELECT %s FROM queuectl_jobs WHERE state IN %s
        AND finished_at >= :since AND finished_at IS NOT NULL AND started_at IS NOT NULL
""" % (JOB_COLUMNS, JOB_COLUMNS, JOB_COLUMNS, _list(FINISHED))
# Whether a job waits, directly or not, for one that is dead or cancelled.
IS_STUCK = """
    WITH RECURSIVE need (seq) AS (
        SELECT :job
        UNION
        SELECT link.needs FROM need
        JOIN queuectl_dependencies AS link ON link.job = need.seq AND link.met = 0)
    SELECT 1 FROM need JOIN queuectl_jobs AS needed ON needed.seq = need.seq
    WHERE needed.state IN ('dead', 'cancelled') LIMIT 1
"""
OLDEST_FIRST = "SELECT %s FROM queuectl_jobs ORDER BY seq" % JOB_COLUMNS
COUNTS = "SELECT name, %s FROM queuectl_queues ORDER BY name" % ", ".join(STATES)
RUNNING = """
    SELECT worker, id, started_at FROM queuectl_jobs
    WHERE state = 'processing' AND state <> 'pending'
"""
ATTEMPTS = """
    SELECT attempt, worker, started_at, finished_at, outcome, exit_code, error, dropped, pid, birth
    FROM queuectl_attempts WHERE job = :job ORDER BY attempt
"""
OUTPUT = """
    SELECT position, stream, data FROM queuectl_output
    WHERE job = :job AND attempt = :attempt AND position >= :position ORDER BY position
"""
# Jobs that wait for one that will not complete unless somebody acts.
STUCK = """
    SELECT job.id, needed.id, needed.state FROM queuectl_jobs AS job
    JOIN queuectl_dependencies AS link ON link.job = job.seq AND link.met = 0
    JOIN queuectl_jobs AS needed ON needed.seq = link.needs
    WHERE job.waits_for > 0 AND job.state = 'pending' AND needed.state IN ('dead', 'cancelled')
    ORDER BY job.seq
"""
DEAD = """
    SELECT id, queue FROM queuectl_jobs WHERE state = 'dead' AND state <> 'pending' ORDER BY finished_at, seq
"""

# --- pruning ------------------------------------------------------------------------------------

# A job that others wait for. (What is cancelled waits for nothing.)
_WAITED_FOR = """EXISTS (
        SELECT 1 FROM queuectl_dependencies AS link JOIN queuectl_jobs AS waiter ON waiter.seq = link.job
        WHERE link.needs = job.seq AND link.met = 0 AND waiter.state <> 'cancelled')"""
IS_WAITED_FOR = "SELECT 1 FROM queuectl_jobs AS job WHERE seq = :job AND %s" % _WAITED_FOR
# Finished jobs of one state that ended before a moment, oldest end first; one that others
# wait for stays.
PRUNABLE = """
    SELECT id, seq FROM queuectl_jobs AS job
    WHERE state = :state AND state <> 'pending' AND finished_at < :before
      AND (:queue IS NULL OR queue = :queue)
      AND NOT %s
    ORDER BY finished_at LIMIT :limit
""" % _WAITED_FOR
DELETE = """
    DELETE FROM queuectl_jobs AS job WHERE seq = :job AND state IN %s AND NOT %s
""" % (_list(FINISHED), _WAITED_FOR)

# --- configuration ------------------------------------------------------------------------------

CONFIG = "SELECT key, value FROM queuectl_config ORDER BY key"
CONFIG_SET = "INSERT OR REPLACE INTO queuectl_config (key, value) VALUES (:key, :value)"
CONFIG_UNSET = "DELETE FROM queuectl_config WHERE key = :key"
