"""The schema: tables, indexes, triggers and views. Imported only to create or migrate a file.

The schema is an interface. `INSERT INTO queuectl_jobs(command) VALUES ('…')`, from any program and inside
its own transaction, is a complete enqueue. So the schema itself enforces whatever must hold for every job:
CHECKs reject impossible rows, triggers keep the counts, and one trigger fills in the columns that such an
INSERT leaves out.

This is the current schema, and the only definition of it; migrations.py brings older files to it.
"""

from __future__ import annotations

from ..lifecycle import FINISHED, STATES, UNFINISHED, WAITING
from . import queries, sql
from .schema_parts import COUNT_COLUMNS, COUNT_NEW, is_count, is_integer, is_text, setting, utc

# Every statement, in order. To change a table, change its CREATE TABLE here and raise sql.SCHEMA_VERSION.
SCHEMA = (
    """
    CREATE TABLE queuectl_meta (
        key TEXT PRIMARY KEY,
        value NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE queuectl_config (
        key TEXT PRIMARY KEY CHECK (typeof(key) = 'text'),
        value NOT NULL CHECK (typeof(value) <> 'blob')
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE queuectl_jobs (
        seq           INTEGER PRIMARY KEY,
        id            TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(8))))
                      CHECK (id < x'' AND length(id) BETWEEN 1 AND 200),
        queue         TEXT NOT NULL DEFAULT 'default'
                      CHECK (queue < x'' AND length(queue) BETWEEN 1 AND 200),
        priority      INTEGER NOT NULL DEFAULT 0 CHECK %(priority)s,
        state         TEXT NOT NULL DEFAULT 'pending' CHECK %(states)s,
        ready         INTEGER DEFAULT 2 CHECK (ready = 0 OR ready = 1 OR ready = 2),
        waits_for     INTEGER NOT NULL DEFAULT 0 CHECK (waits_for >= 0),
        -- TEXT, or a BLOB if the bytes aren't valid UTF-8.
        command       NOT NULL CHECK (command >= '' AND length(CAST(command AS BLOB)) BETWEEN 1 AND 131071),
        cwd           CHECK (cwd >= ''),  -- Not a number.
        env           TEXT CHECK %(env)s,
        max_retries   INTEGER CHECK %(max_retries)s,
        -- BETWEEN rejects text and blobs; NULL passes.
        backoff_base  REAL CHECK (backoff_base BETWEEN 0 AND 1e10),
        backoff_max   REAL CHECK (backoff_max BETWEEN 0 AND 1e10),
        backoff_jitter REAL CHECK (backoff_jitter BETWEEN 0 AND 1),
        timeout       REAL CHECK (timeout BETWEEN 0 AND 1e10),
        kill_grace    REAL CHECK (kill_grace BETWEEN 0 AND 1e10),
        output_limit  INTEGER CHECK %(output_limit)s,
        -- Exit codes such as '2,64-78': never retry after these; retry only after these.
        bury_on       TEXT CHECK %(bury_on)s,
        retry_only_on TEXT CHECK %(retry_only_on)s,
        defer_limit   INTEGER CHECK %(defer_limit)s,
        unique_key    TEXT CHECK %(unique_key)s,
        stdin         INTEGER CHECK %(stdin)s,  -- Size in bytes of the row in queuectl_inputs, or NULL.
        deferrals     INTEGER NOT NULL DEFAULT 0 CHECK (deferrals >= 0),
        attempts      INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
        last_attempt  INTEGER NOT NULL DEFAULT 0 CHECK (last_attempt >= attempts),
        held          INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1)),
        -- Its number among the running jobs of a queue with a limit.
        slot          INTEGER CHECK (slot > 0),
        worker        INTEGER,
        cancel        INTEGER NOT NULL DEFAULT 0 CHECK (cancel IN (0, 1)),
        -- Means something only while it is processing: workers of versions before this column don't clear it.
        suspend       INTEGER NOT NULL DEFAULT 0 CHECK (suspend IN (0, 1)),
        -- Times before the year 10000.
        run_at        REAL NOT NULL DEFAULT %(now)s CHECK (run_at BETWEEN 0 AND 253402300800),
        created_at    REAL NOT NULL DEFAULT %(now)s CHECK (created_at BETWEEN 0 AND 253402300800),
        updated_at    REAL NOT NULL DEFAULT %(now)s CHECK (updated_at BETWEEN 0 AND 253402300800),
        started_at    REAL CHECK (started_at BETWEEN 0 AND 253402300800),
        finished_at   REAL CHECK (finished_at BETWEEN 0 AND 253402300800),
        exit_code     INTEGER CHECK (exit_code BETWEEN 0 AND 255),
        error         TEXT CHECK %(error)s,
        CHECK ((ready IS NOT NULL) = (%(waiting)s AND waits_for = 0 AND (held = 0 OR ready IS 2))),
        CHECK (slot IS NULL OR state = 'processing'),
        CHECK ((worker IS NOT NULL) = (state = 'processing')),
        CHECK ((finished_at IS NOT NULL) = %(finished)s),
        CHECK (state <> 'processing' OR (attempts > 0 AND started_at IS NOT NULL)),
        CHECK (cancel = 0 OR state = 'processing'),
        -- queuectl sets `ready`. A row without it is another program's, and hasn't run; one with it has its settings.
        CHECK (ready <> 2 OR (attempts + last_attempt + deferrals = 0
            AND coalesce(stdin, started_at, exit_code, error) IS NULL)),
        CHECK (ready = 2 OR (max_retries + backoff_base + backoff_max + timeout + kill_grace
            + output_limit + defer_limit) IS NOT NULL)
    )
    """
    % {
        "states": sql.is_any(STATES),
        "priority": is_integer("priority"),
        "waiting": sql.is_any(WAITING),
        "finished": sql.is_any(FINISHED),
        "now": sql.NOW,
        **{name: is_count(name) for name in ("max_retries", "output_limit", "defer_limit", "stdin")},
        **{name: is_text(name) for name in ("env", "bury_on", "retry_only_on", "unique_key", "error")},
    },
    "CREATE INDEX queuectl_jobs_ready ON queuectl_jobs (queue, priority DESC, seq) WHERE ready = 1",
    "CREATE INDEX queuectl_jobs_due ON queuectl_jobs (run_at) WHERE ready = 0",
    # Excludes pending jobs, so a batch of inserts doesn't touch it. Finished jobs are ordered by when
    # they finished; running and failed ones, which haven't, by seq.
    "CREATE INDEX queuectl_jobs_state ON queuectl_jobs (state, finished_at) WHERE state <> 'pending'",
    "CREATE INDEX queuectl_jobs_blocked ON queuectl_jobs (seq) WHERE waits_for > 0 OR held = 1",
    "CREATE INDEX queuectl_jobs_held ON queuectl_jobs (queue) WHERE held = 1",
    """
    CREATE UNIQUE INDEX queuectl_jobs_unique ON queuectl_jobs (unique_key)
    WHERE unique_key IS NOT NULL AND %s
    """
    % sql.is_any(UNFINISHED),
    # `job` waits until `needs` has completed ('ok'), has died or been cancelled ('notok'), or either ('any'); then the
    # row is met. queuectl_jobs.waits_for counts the unmet rows.
    """
    CREATE TABLE queuectl_dependencies (
        job   INTEGER NOT NULL,
        needs INTEGER NOT NULL CHECK (needs < job),
        met   INTEGER NOT NULL DEFAULT 0 CHECK (met IN (0, 1)),
        condition TEXT NOT NULL DEFAULT 'ok' CHECK (condition IN ('ok', 'notok', 'any')),
        PRIMARY KEY (job, needs)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX queuectl_dependents ON queuectl_dependencies (needs, job)",
    "CREATE TABLE queuectl_labels (label TEXT NOT NULL, job INTEGER NOT NULL, PRIMARY KEY (label, job)) WITHOUT ROWID",
    "CREATE INDEX queuectl_labels_of_job ON queuectl_labels (job)",
    # Finished jobs that were deleted last: a job may be enqueued to run after one of them.
    "CREATE TABLE queuectl_pruned (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, state TEXT NOT NULL)",
    # The last hook that was enqueued for an event (see hooks.py) in a queue: its job, how many causes it has, and when
    # it is due.
    """
    CREATE TABLE queuectl_hooks (
        event TEXT NOT NULL,
        queue TEXT NOT NULL,
        job   INTEGER NOT NULL,
        count INTEGER NOT NULL,
        due   REAL NOT NULL,
        PRIMARY KEY (event, queue)
    ) WITHOUT ROWID
    """,
    # A job's standard input, if it was enqueued with one.
    "CREATE TABLE queuectl_inputs (job INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    # One row per queue ever used. Triggers count its jobs by state. `next_start` is when a queue with a
    # rate may start its next job. `mark` is this file's, in every row, for the log (see wal.py).
    """
    CREATE TABLE queuectl_queues (
        name       TEXT PRIMARY KEY,
        mark       TEXT,
        paused     INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
        paused_because TEXT,  -- NULL if a user paused it.
        deaths     INTEGER NOT NULL DEFAULT 0,  -- In a row, if halt-on-dead is set.
        next_start REAL NOT NULL DEFAULT 0,
        %s
    ) WITHOUT ROWID
    """
    % COUNT_COLUMNS,
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
        -- In the environment of its processes; never the same twice, in any file.
        token       TEXT,
        dropped     INTEGER NOT NULL DEFAULT 0,
        -- What its command reported with `queuectl progress`: percent, and words.
        progress      REAL CHECK (progress BETWEEN 0 AND 100),
        progress_text TEXT,
        -- Seconds that it was suspended, until the suspension that began at `suspended_at`, if there is one.
        suspended    REAL NOT NULL DEFAULT 0,
        suspended_at REAL,
        PRIMARY KEY (job, attempt),
        CHECK ((finished_at IS NULL) = (outcome IS NULL))
    ) WITHOUT ROWID
    """,
    # Output in the order it arrived. `position` is an offset into the attempt's stdout and stderr
    # combined; stream 1 is stdout, 2 is stderr. Gaps between rows add up to `dropped`.
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
    # Counters that outlive the jobs; see the section on the record in sql.py.
    """
    CREATE TABLE queuectl_record (
        tier    INTEGER NOT NULL CHECK (tier IN (60, 3600, 86400)),
        start   INTEGER NOT NULL CHECK (typeof(start) = 'integer' AND start % tier = 0),
        queue   TEXT NOT NULL,
        kind    TEXT NOT NULL,
        bucket  INTEGER NOT NULL CHECK (bucket BETWEEN 0 AND 64),
        count   INTEGER NOT NULL CHECK (count >= 0),
        seconds REAL NOT NULL CHECK (seconds >= 0),
        PRIMARY KEY (tier, start, queue, kind, bucket)
    ) WITHOUT ROWID
    """,
    # Jobs that run on a schedule. All times until `since` are handled. A worker that finds `next_at`
    # in the past computes the next time; so a row that says only when and what is complete. `template` is the job as
    # JSON. `fault` is why a worker paused it. `boot` is the boot for which @reboot was last due. `last_success_at`
    # outlives the job that completed then. `failing_since` is when the first job died after that.
    """
    CREATE TABLE queuectl_schedules (
        seq         INTEGER PRIMARY KEY,
        name        TEXT NOT NULL UNIQUE CHECK (typeof(name) = 'text' AND length(name) BETWEEN 1 AND 200),
        kind        TEXT NOT NULL CHECK (kind IN ('cron', 'every', 'at')),
        expression  TEXT NOT NULL CHECK (typeof(expression) = 'text'),
        anchor      REAL NOT NULL DEFAULT %(now)s CHECK (anchor BETWEEN 0 AND 253402300800),
        tz          TEXT CHECK %(tz)s,
        template    TEXT NOT NULL CHECK (typeof(template) = 'text'),
        missed      TEXT NOT NULL DEFAULT 'once' CHECK (missed IN ('once', 'skip', 'all')),
        overlap     TEXT NOT NULL DEFAULT 'skip' CHECK (overlap IN ('skip', 'queue', 'allow')),
        jitter      REAL NOT NULL DEFAULT 0 CHECK (jitter BETWEEN 0 AND 1e10),
        until       REAL CHECK (until BETWEEN 0 AND 253402300800),
        times_left  INTEGER CHECK %(times_left)s,
        paused      INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
        fault       TEXT CHECK %(fault)s,
        since       REAL NOT NULL DEFAULT %(now)s CHECK (since BETWEEN 0 AND 253402300800),
        next_at     REAL DEFAULT 0 CHECK (next_at BETWEEN 0 AND 253402300800),
        boot        TEXT CHECK %(boot)s,
        last_at     REAL CHECK (last_at BETWEEN 0 AND 253402300800),
        last_job    TEXT CHECK %(last_job)s,
        last_success_at REAL CHECK (last_success_at BETWEEN 0 AND 253402300800),
        failing_since REAL CHECK (failing_since BETWEEN 0 AND 253402300800),
        runs        INTEGER NOT NULL DEFAULT 0 CHECK (runs >= 0),
        skipped     INTEGER NOT NULL DEFAULT 0 CHECK (skipped >= 0),
        skip_reason TEXT CHECK %(skip_reason)s,
        created_at  REAL NOT NULL DEFAULT %(now)s CHECK (created_at BETWEEN 0 AND 253402300800)
    )
    """
    % {
        "now": sql.NOW,
        "times_left": is_count("times_left"),
        **{name: is_text(name) for name in ("tz", "fault", "boot", "last_job", "skip_reason")},
    },
    "CREATE INDEX queuectl_schedules_due ON queuectl_schedules (next_at) WHERE paused = 0 AND next_at IS NOT NULL",
    # `wanted` is what the worker should do. What it is doing follows from the job it holds and from
    # `idle`: 1 means that it found no work and sleeps until its bell rings.
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
        schema     INTEGER NOT NULL DEFAULT 0,  -- The newest that its code knows; 0 is any before this column.
        started_at REAL NOT NULL
    )
    """,
    """
    CREATE TRIGGER queuectl_mark AFTER INSERT ON queuectl_queues BEGIN
        UPDATE queuectl_queues SET mark = (SELECT value FROM queuectl_meta WHERE key = 'file') WHERE name = NEW.name;
    END
    """,
    # `enqueue` counts its large batches itself, once each (see batch_sql.py).
    """
    CREATE TRIGGER queuectl_count_insert AFTER INSERT ON queuectl_jobs
    WHEN NEW.ready = 2 OR NOT EXISTS (SELECT 1 FROM queuectl_meta WHERE key = 'batch') BEGIN
        INSERT INTO queuectl_queues (name, %s) VALUES (NEW.queue, %s)
            ON CONFLICT (name) DO UPDATE SET %s;
    END
    """
    % COUNT_NEW,
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
        *COUNT_NEW,
    ),
    # Jobs that waited only for this one, and for it to end like this, become ready. From now on they wait for a worker,
    # so that `run_at` is when a waiting job became ready. Others keep waiting.
    """
    CREATE TRIGGER queuectl_finished AFTER UPDATE OF state ON queuectl_jobs
    WHEN %(finished)s AND EXISTS (SELECT 1 FROM queuectl_dependencies WHERE needs = NEW.seq AND met = 0) BEGIN
        UPDATE queuectl_jobs SET waits_for = waits_for - (waits_for > 0),
            ready = CASE WHEN waits_for <= 1 AND held = 0 AND state IN %(waiting)s THEN run_at <= %(now)s END,
            run_at = max(run_at, %(now)s)
        WHERE seq IN (SELECT job FROM queuectl_dependencies WHERE needs = NEW.seq AND met = 0 AND %(is_met)s);
        UPDATE queuectl_dependencies SET met = 1 WHERE needs = NEW.seq AND met = 0 AND %(is_met)s;
    END
    """
    % {
        "finished": sql.is_any(FINISHED).replace("state", "NEW.state"),
        "waiting": sql.listed(WAITING),
        "now": sql.NOW,
        "is_met": sql.is_met("condition", "NEW.state"),
    },
    """
    CREATE TRIGGER queuectl_delete AFTER DELETE ON queuectl_jobs BEGIN
        UPDATE queuectl_queues SET %s WHERE name = OLD.queue;
        DELETE FROM queuectl_attempts WHERE job = OLD.seq;
        DELETE FROM queuectl_output WHERE job = OLD.seq;
        DELETE FROM queuectl_inputs WHERE job = OLD.seq;
        DELETE FROM queuectl_labels WHERE job = OLD.seq;
        DELETE FROM queuectl_dependencies WHERE job = OLD.seq OR needs = OLD.seq;
        INSERT OR REPLACE INTO queuectl_pruned (id, state) SELECT OLD.id, OLD.state WHERE OLD.state IN %s;
    END
    """
    % (", ".join("%s = %s - (OLD.state = '%s')" % (s, s, s) for s in STATES), sql.listed(FINISHED)),
    # For other programs; see docs/sql.md.
    """
    CREATE VIEW queuectl_list AS
    SELECT job.id, job.queue, job.priority, job.state, %s AS reason, job.command, job.cwd,
        job.attempts, job.max_retries, job.exit_code, job.error, job.worker, job.unique_key,
        %s
    FROM queuectl_jobs AS job JOIN queuectl_queues AS queue ON queue.name = job.queue
    """
    % (
        queries.REASON,
        ", ".join(
            map(utc, ("created_at", "updated_at", "run_at", "started_at", "finished_at"))
        ),
    ),
    # Fills in the settings and `ready` of jobs that other programs insert, and counts them. `enqueue` does that itself.
    """
    CREATE TRIGGER queuectl_file AFTER INSERT ON queuectl_jobs WHEN NEW.ready = 2 BEGIN
        UPDATE queuectl_jobs SET
            ready = CASE NEW.held WHEN 0 THEN NEW.run_at <= %(now)s END,
            max_retries = coalesce(NEW.max_retries, %(max_retries)s),
            backoff_base = coalesce(NEW.backoff_base, %(backoff_base)s),
            backoff_max = coalesce(NEW.backoff_max, %(backoff_max)s),
            backoff_jitter = coalesce(NEW.backoff_jitter, %(backoff_jitter)s),
            timeout = coalesce(NEW.timeout, %(timeout)s),
            kill_grace = coalesce(NEW.kill_grace, %(kill_grace)s),
            output_limit = coalesce(NEW.output_limit, %(output_limit)s),
            defer_limit = coalesce(NEW.defer_limit, %(defer_limit)s)
        WHERE seq = NEW.seq;
        INSERT INTO queuectl_record (tier, start, queue, kind, bucket, count, seconds)
        VALUES (60, CAST(%(now)s AS INTEGER) / 60 * 60, NEW.queue, 'added', 0, 1, 0)
            ON CONFLICT (tier, start, queue, kind, bucket) DO UPDATE SET count = count + 1;
    END
    """
    % {
        "now": sql.NOW,
        "max_retries": setting("max-retries", 3),
        "backoff_base": setting("backoff-base", 2),
        "backoff_max": setting("backoff-max", 86400),
        "backoff_jitter": setting("backoff-jitter", 0),
        "timeout": setting("timeout", 0),
        "kill_grace": setting("kill-grace", 10),
        "output_limit": setting("output-limit", 1024 * 1024),
        "defer_limit": setting("defer-limit", 20),
    },
)
