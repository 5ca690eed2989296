PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE "queuectl_attempts" (
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
        PRIMARY KEY (job, attempt),
        CHECK ((finished_at IS NULL) = (outcome IS NULL))
    ) WITHOUT ROWID
    ;
INSERT INTO "queuectl_attempts" VALUES(1,1,1,1.79559577869642758365e+09,1.79559577869995665548e+09,'exit',0,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "queuectl_attempts" VALUES(2,1,1,1.79559577870036172868e+09,1.79559577870189070701e+09,'exit',3,'exit 3',NULL,NULL,NULL,0,NULL,NULL);
CREATE TABLE "queuectl_config" (
        key TEXT PRIMARY KEY CHECK (typeof(key) = 'text'),
        value NOT NULL CHECK (typeof(value) <> 'blob')
    ) WITHOUT ROWID
    ;
INSERT INTO "queuectl_config" VALUES('mail.limit',2);
INSERT INTO "queuectl_config" VALUES('max-retries',1);
CREATE TABLE "queuectl_dependencies" (
        job   INTEGER NOT NULL,
        needs INTEGER NOT NULL CHECK (needs < job),
        met   INTEGER NOT NULL DEFAULT 0 CHECK (met IN (0, 1)),
        condition TEXT NOT NULL DEFAULT 'ok' CHECK (condition IN ('ok', 'notok', 'any')),
        PRIMARY KEY (job, needs)
    ) WITHOUT ROWID
    ;
INSERT INTO "queuectl_dependencies" VALUES(3,2,0,'ok');
CREATE TABLE queuectl_hooks (
        event TEXT NOT NULL,
        queue TEXT NOT NULL,
        job   INTEGER NOT NULL,
        count INTEGER NOT NULL,
        due   REAL NOT NULL,
        PRIMARY KEY (event, queue)
    ) WITHOUT ROWID
    ;
CREATE TABLE queuectl_inputs (job INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE "queuectl_jobs" (
        seq           INTEGER PRIMARY KEY,
        id            TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(8))))
                      CHECK (typeof(id) = 'text' AND length(id) BETWEEN 1 AND 200),
        queue         TEXT NOT NULL DEFAULT 'default'
                      CHECK (typeof(queue) = 'text' AND length(queue) BETWEEN 1 AND 200),
        priority      INTEGER NOT NULL DEFAULT 0 CHECK (typeof(priority) = 'integer'),
        state         TEXT NOT NULL DEFAULT 'pending' CHECK (state = 'pending' OR state = 'processing' OR state = 'completed' OR state = 'failed' OR state = 'dead' OR state = 'cancelled'),
        ready         INTEGER DEFAULT 2 CHECK (ready = 0 OR ready = 1 OR ready = 2),
        waits_for     INTEGER NOT NULL DEFAULT 0 CHECK (waits_for >= 0),
        -- TEXT, or a BLOB if the bytes aren't valid UTF-8.
        command       NOT NULL CHECK (typeof(command) IN ('text', 'blob')
                      AND length(CAST(command AS BLOB)) BETWEEN 1 AND 131071),
        cwd           CHECK (cwd IS NULL OR typeof(cwd) IN ('text', 'blob')),
        env           TEXT CHECK (env IS NULL OR typeof(env) = 'text'),
        max_retries   INTEGER CHECK (max_retries IS NULL OR (typeof(max_retries) = 'integer' AND max_retries BETWEEN 0 AND 2147483647)),
        -- BETWEEN rejects text and blobs; NULL passes.
        backoff_base  REAL CHECK (backoff_base BETWEEN 0 AND 1e10),
        backoff_max   REAL CHECK (backoff_max BETWEEN 0 AND 1e10),
        backoff_jitter REAL CHECK (backoff_jitter BETWEEN 0 AND 1),
        timeout       REAL CHECK (timeout BETWEEN 0 AND 1e10),
        kill_grace    REAL CHECK (kill_grace BETWEEN 0 AND 1e10),
        output_limit  INTEGER CHECK (output_limit IS NULL OR (typeof(output_limit) = 'integer' AND output_limit BETWEEN 0 AND 2147483647)),
        -- Exit codes such as '2,64-78': never retry after these; retry only after these.
        bury_on       TEXT CHECK (bury_on IS NULL OR typeof(bury_on) = 'text'),
        retry_only_on TEXT CHECK (retry_only_on IS NULL OR typeof(retry_only_on) = 'text'),
        defer_limit   INTEGER CHECK (defer_limit IS NULL OR (typeof(defer_limit) = 'integer' AND defer_limit BETWEEN 0 AND 2147483647)),
        unique_key    TEXT CHECK (unique_key IS NULL OR typeof(unique_key) = 'text'),
        stdin         INTEGER CHECK (stdin IS NULL OR (typeof(stdin) = 'integer' AND stdin BETWEEN 0 AND 2147483647)),  -- Size in bytes of the row in queuectl_inputs, or NULL.
        deferrals     INTEGER NOT NULL DEFAULT 0 CHECK (deferrals >= 0),
        attempts      INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
        last_attempt  INTEGER NOT NULL DEFAULT 0 CHECK (last_attempt >= attempts),
        held          INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1)),
        -- Its number among the running jobs of a queue with a limit.
        slot          INTEGER CHECK (slot > 0),
        worker        INTEGER,
        cancel        INTEGER NOT NULL DEFAULT 0 CHECK (cancel IN (0, 1)),
        -- Times before the year 10000.
        run_at        REAL NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400.0) CHECK (run_at BETWEEN 0 AND 253402300800),
        created_at    REAL NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400.0) CHECK (created_at BETWEEN 0 AND 253402300800),
        updated_at    REAL NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400.0) CHECK (updated_at BETWEEN 0 AND 253402300800),
        started_at    REAL CHECK (started_at BETWEEN 0 AND 253402300800),
        finished_at   REAL CHECK (finished_at BETWEEN 0 AND 253402300800),
        exit_code     INTEGER CHECK (exit_code BETWEEN 0 AND 255),
        error         TEXT CHECK (error IS NULL OR typeof(error) = 'text'),
        CHECK ((ready IS NOT NULL) = ((state = 'pending' OR state = 'failed') AND waits_for = 0 AND (held = 0 OR ready IS 2))),
        CHECK (slot IS NULL OR state = 'processing'),
        CHECK ((worker IS NOT NULL) = (state = 'processing')),
        CHECK ((finished_at IS NOT NULL) = (state = 'completed' OR state = 'dead' OR state = 'cancelled')),
        CHECK (state <> 'processing' OR (attempts > 0 AND started_at IS NOT NULL)),
        CHECK (cancel = 0 OR state = 'processing'),
        -- queuectl sets `ready`. A row without it is another program's, and hasn't run; one with it has its settings.
        CHECK (ready <> 2 OR (attempts + last_attempt + deferrals = 0
            AND coalesce(stdin, started_at, exit_code, error) IS NULL)),
        CHECK (ready = 2 OR (max_retries + backoff_base + backoff_max + timeout + kill_grace
            + output_limit + defer_limit) IS NOT NULL)
    );
INSERT INTO "queuectl_jobs" VALUES(1,'done2','default',0,'completed',NULL,0,'echo out; echo err >&2','/',NULL,1,2.0,86400.0,NULL,0.0,10.0,1048576,NULL,NULL,20,'k',NULL,0,1,1,0,NULL,NULL,0,1.79559577832566118239e+09,1.79559577832566118239e+09,1.79559577869995665548e+09,1.79559577869642758365e+09,1.79559577869995665548e+09,0,NULL);
INSERT INTO "queuectl_jobs" VALUES(2,'dead','mail',0,'dead',NULL,0,'exit 3','/',NULL,0,2.0,86400.0,NULL,0.0,10.0,1048576,NULL,NULL,20,NULL,NULL,0,1,1,0,NULL,NULL,0,1.79559577848845982554e+09,1.79559577848845982554e+09,1.79559577870189070701e+09,1.79559577870036172868e+09,1.79559577870189070701e+09,3,'exit 3');
INSERT INTO "queuectl_jobs" VALUES(3,'waits','default',3,'pending',NULL,1,'true','/',NULL,1,2.0,86400.0,NULL,0.0,10.0,1048576,NULL,NULL,20,NULL,NULL,0,0,0,0,NULL,NULL,0,1.79559577888667750355e+09,1.79559577888667750355e+09,1.79559577888667750355e+09,NULL,NULL,NULL,NULL);
INSERT INTO "queuectl_jobs" VALUES(4,'later','default',0,'pending',0,0,'printf %s ''a b''','/',NULL,1,2.0,86400.0,NULL,5.0,10.0,1048576,NULL,NULL,20,NULL,NULL,0,0,0,0,NULL,NULL,0,1.8042357790561797619e+09,1.79559577907919573789e+09,1.79559577907919573789e+09,NULL,NULL,NULL,NULL);
INSERT INTO "queuectl_jobs" VALUES(5,'ready','mail',0,'pending',1,0,'true','/',NULL,1,2.0,86400.0,NULL,0.0,10.0,1048576,NULL,NULL,20,NULL,NULL,0,0,0,0,NULL,NULL,0,1.7955957792397027016e+09,1.7955957792397027016e+09,1.7955957792397027016e+09,NULL,NULL,NULL,NULL);
INSERT INTO "queuectl_jobs" VALUES(6,'held','labelled',0,'pending',NULL,0,'true','/',NULL,1,2.0,86400.0,0.0,0.0,10.0,1048576,NULL,NULL,20,NULL,NULL,0,0,0,1,NULL,NULL,0,1.79593574813175582889e+09,1.79593574813175582889e+09,1.79593574813175582889e+09,NULL,NULL,NULL,NULL);
CREATE TABLE queuectl_labels (label TEXT NOT NULL, job INTEGER NOT NULL, PRIMARY KEY (label, job)) WITHOUT ROWID;
INSERT INTO "queuectl_labels" VALUES('x',6);
CREATE TABLE queuectl_meta (
            key TEXT PRIMARY KEY,
            value NOT NULL
        ) WITHOUT ROWID
        ;
INSERT INTO "queuectl_meta" VALUES('file','queuectl-file:3e13f8d5a6bb98c7');
INSERT INTO "queuectl_meta" VALUES('schema',3);
CREATE TABLE queuectl_output (
            job      INTEGER NOT NULL,
            attempt  INTEGER NOT NULL,
            position INTEGER NOT NULL,
            stream   INTEGER NOT NULL CHECK (stream IN (1, 2)),
            data     BLOB NOT NULL,
            PRIMARY KEY (job, attempt, position)
        ) WITHOUT ROWID
        ;
INSERT INTO "queuectl_output" VALUES(1,1,0,1,X'6F75740A');
INSERT INTO "queuectl_output" VALUES(1,1,4,2,X'6572720A');
CREATE TABLE queuectl_pruned (
        number INTEGER PRIMARY KEY,
        id     TEXT NOT NULL UNIQUE,
        state  TEXT NOT NULL
    );
CREATE TABLE "queuectl_queues" (
        name       TEXT PRIMARY KEY,
        mark       TEXT,
        paused     INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
        paused_because TEXT,  -- NULL if a user paused it.
        deaths     INTEGER NOT NULL DEFAULT 0,  -- In a row, if halt-on-dead is set.
        next_start REAL NOT NULL DEFAULT 0,
        pending INTEGER NOT NULL DEFAULT 0,
processing INTEGER NOT NULL DEFAULT 0,
completed INTEGER NOT NULL DEFAULT 0,
failed INTEGER NOT NULL DEFAULT 0,
dead INTEGER NOT NULL DEFAULT 0,
cancelled INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID
    ;
INSERT INTO "queuectl_queues" VALUES('default','queuectl-file:3e13f8d5a6bb98c7',0,NULL,0,0.0,2,0,1,0,0,0);
INSERT INTO "queuectl_queues" VALUES('labelled','queuectl-file:3e13f8d5a6bb98c7',0,NULL,0,0.0,1,0,0,0,0,0);
INSERT INTO "queuectl_queues" VALUES('mail','queuectl-file:3e13f8d5a6bb98c7',1,NULL,0,0.0,1,0,0,0,1,0);
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
    ;
INSERT INTO "queuectl_record" VALUES(60,1795935720,'labelled','added',0,1,0.0);
CREATE TABLE queuectl_schedules (
        seq         INTEGER PRIMARY KEY,
        name        TEXT NOT NULL UNIQUE CHECK (typeof(name) = 'text' AND length(name) BETWEEN 1 AND 200),
        kind        TEXT NOT NULL CHECK (kind IN ('cron', 'every', 'at')),
        expression  TEXT NOT NULL CHECK (typeof(expression) = 'text'),
        anchor      REAL NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400.0) CHECK (anchor BETWEEN 0 AND 253402300800),
        tz          TEXT CHECK (tz IS NULL OR typeof(tz) = 'text'),
        template    TEXT NOT NULL CHECK (typeof(template) = 'text'),
        missed      TEXT NOT NULL DEFAULT 'once' CHECK (missed IN ('once', 'skip', 'all')),
        overlap     TEXT NOT NULL DEFAULT 'skip' CHECK (overlap IN ('skip', 'queue', 'allow')),
        jitter      REAL NOT NULL DEFAULT 0 CHECK (jitter BETWEEN 0 AND 1e10),
        until       REAL CHECK (until BETWEEN 0 AND 253402300800),
        times_left  INTEGER CHECK (times_left IS NULL OR (typeof(times_left) = 'integer' AND times_left BETWEEN 0 AND 2147483647)),
        paused      INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
        fault       TEXT CHECK (fault IS NULL OR typeof(fault) = 'text'),
        since       REAL NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400.0) CHECK (since BETWEEN 0 AND 253402300800),
        next_at     REAL DEFAULT 0 CHECK (next_at BETWEEN 0 AND 253402300800),
        boot        TEXT CHECK (boot IS NULL OR typeof(boot) = 'text'),
        last_at     REAL CHECK (last_at BETWEEN 0 AND 253402300800),
        last_job    TEXT CHECK (last_job IS NULL OR typeof(last_job) = 'text'),
        runs        INTEGER NOT NULL DEFAULT 0 CHECK (runs >= 0),
        skipped     INTEGER NOT NULL DEFAULT 0 CHECK (skipped >= 0),
        skip_reason TEXT CHECK (skip_reason IS NULL OR typeof(skip_reason) = 'text'),
        created_at  REAL NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400.0) CHECK (created_at BETWEEN 0 AND 253402300800)
    );
INSERT INTO "queuectl_schedules" VALUES(1,'nightly','cron','0 3 * * *',1795935748.0,'UTC','{"command": "true", "cwd": "/"}','once','skip',0.0,NULL,NULL,1,NULL,1.79593574834314417842e+09,NULL,'960090be-435e-4385-be11-9ddb8276978e',NULL,NULL,0,0,NULL,1.79593574834314417842e+09);
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
        );
CREATE INDEX queuectl_jobs_ready ON queuectl_jobs (queue, priority DESC, seq) WHERE ready = 1;
CREATE INDEX queuectl_jobs_due ON queuectl_jobs (run_at) WHERE ready = 0;
CREATE INDEX queuectl_jobs_state ON queuectl_jobs (state, finished_at) WHERE state <> 'pending';
CREATE INDEX queuectl_jobs_blocked ON queuectl_jobs (seq) WHERE waits_for > 0 OR held = 1;
CREATE UNIQUE INDEX queuectl_jobs_unique ON queuectl_jobs (unique_key)
    WHERE unique_key IS NOT NULL AND (state = 'pending' OR state = 'processing' OR state = 'failed')
    ;
CREATE INDEX queuectl_dependents ON queuectl_dependencies (needs, job);
CREATE INDEX queuectl_labels_of_job ON queuectl_labels (job);
CREATE INDEX queuectl_schedules_due ON queuectl_schedules (next_at) WHERE paused = 0 AND next_at IS NOT NULL;
CREATE TRIGGER queuectl_mark AFTER INSERT ON queuectl_queues BEGIN
        UPDATE queuectl_queues SET mark = (SELECT value FROM queuectl_meta WHERE key = 'file') WHERE name = NEW.name;
    END;
CREATE TRIGGER queuectl_count_insert AFTER INSERT ON queuectl_jobs BEGIN
        INSERT INTO queuectl_queues (name, pending, processing, completed, failed, dead, cancelled) VALUES (NEW.queue, NEW.state = 'pending', NEW.state = 'processing', NEW.state = 'completed', NEW.state = 'failed', NEW.state = 'dead', NEW.state = 'cancelled')
            ON CONFLICT (name) DO UPDATE SET pending = pending + excluded.pending, processing = processing + excluded.processing, completed = completed + excluded.completed, failed = failed + excluded.failed, dead = dead + excluded.dead, cancelled = cancelled + excluded.cancelled;
    END;
CREATE TRIGGER queuectl_count_state AFTER UPDATE OF state ON queuectl_jobs
    WHEN OLD.state <> NEW.state BEGIN
        UPDATE queuectl_queues SET pending = pending + (NEW.state = 'pending') - (OLD.state = 'pending'), processing = processing + (NEW.state = 'processing') - (OLD.state = 'processing'), completed = completed + (NEW.state = 'completed') - (OLD.state = 'completed'), failed = failed + (NEW.state = 'failed') - (OLD.state = 'failed'), dead = dead + (NEW.state = 'dead') - (OLD.state = 'dead'), cancelled = cancelled + (NEW.state = 'cancelled') - (OLD.state = 'cancelled') WHERE name = NEW.queue;
    END;
CREATE TRIGGER queuectl_count_queue AFTER UPDATE OF queue ON queuectl_jobs
    WHEN OLD.queue <> NEW.queue BEGIN
        UPDATE queuectl_queues SET pending = pending - (OLD.state = 'pending'), processing = processing - (OLD.state = 'processing'), completed = completed - (OLD.state = 'completed'), failed = failed - (OLD.state = 'failed'), dead = dead - (OLD.state = 'dead'), cancelled = cancelled - (OLD.state = 'cancelled') WHERE name = OLD.queue;
        INSERT INTO queuectl_queues (name, pending, processing, completed, failed, dead, cancelled) VALUES (NEW.queue, NEW.state = 'pending', NEW.state = 'processing', NEW.state = 'completed', NEW.state = 'failed', NEW.state = 'dead', NEW.state = 'cancelled')
            ON CONFLICT (name) DO UPDATE SET pending = pending + excluded.pending, processing = processing + excluded.processing, completed = completed + excluded.completed, failed = failed + excluded.failed, dead = dead + excluded.dead, cancelled = cancelled + excluded.cancelled;
    END;
CREATE TRIGGER queuectl_finished AFTER UPDATE OF state ON queuectl_jobs
    WHEN (NEW.state = 'completed' OR NEW.state = 'dead' OR NEW.state = 'cancelled') AND EXISTS (SELECT 1 FROM queuectl_dependencies WHERE needs = NEW.seq AND met = 0) BEGIN
        UPDATE queuectl_jobs SET waits_for = waits_for - (waits_for > 0),
            ready = CASE WHEN waits_for <= 1 AND held = 0 AND state IN ('pending', 'failed') THEN run_at <= ((julianday('now') - 2440587.5) * 86400.0) END,
            run_at = max(run_at, ((julianday('now') - 2440587.5) * 86400.0))
        WHERE seq IN (SELECT job FROM queuectl_dependencies WHERE needs = NEW.seq AND met = 0 AND (CASE condition WHEN 'ok' THEN NEW.state = 'completed' WHEN 'notok' THEN NEW.state IN ('dead', 'cancelled') ELSE NEW.state IN ('completed', 'dead', 'cancelled') END));
        UPDATE queuectl_dependencies SET met = 1 WHERE needs = NEW.seq AND met = 0 AND (CASE condition WHEN 'ok' THEN NEW.state = 'completed' WHEN 'notok' THEN NEW.state IN ('dead', 'cancelled') ELSE NEW.state IN ('completed', 'dead', 'cancelled') END);
    END;
CREATE TRIGGER queuectl_delete AFTER DELETE ON queuectl_jobs BEGIN
        UPDATE queuectl_queues SET pending = pending - (OLD.state = 'pending'), processing = processing - (OLD.state = 'processing'), completed = completed - (OLD.state = 'completed'), failed = failed - (OLD.state = 'failed'), dead = dead - (OLD.state = 'dead'), cancelled = cancelled - (OLD.state = 'cancelled') WHERE name = OLD.queue;
        DELETE FROM queuectl_attempts WHERE job = OLD.seq;
        DELETE FROM queuectl_output WHERE job = OLD.seq;
        DELETE FROM queuectl_inputs WHERE job = OLD.seq;
        DELETE FROM queuectl_labels WHERE job = OLD.seq;
        DELETE FROM queuectl_dependencies WHERE job = OLD.seq OR needs = OLD.seq;
        INSERT OR REPLACE INTO queuectl_pruned (id, state) SELECT OLD.id, OLD.state WHERE OLD.state IN ('completed', 'dead', 'cancelled');
    END;
CREATE VIEW queuectl_list AS
    SELECT job.id, job.queue, job.priority, job.state, 
    CASE WHEN job.state NOT IN ('pending', 'failed') THEN NULL
    WHEN job.waits_for > 0 THEN 'after ' || (
        SELECT group_concat(id || CASE WHEN stuck THEN ' (' || state || ')' ELSE '' END, ', ') FROM (
            SELECT id, state, stuck FROM (
                SELECT needed.id AS id, needed.state AS state, needed.state IN ('dead', 'cancelled') AS stuck
                FROM queuectl_dependencies AS link JOIN queuectl_jobs AS needed ON needed.seq = link.needs
                WHERE link.job = job.seq AND link.met = 0 LIMIT 100)
            ORDER BY stuck DESC LIMIT 3)
        ) || CASE WHEN job.waits_for > 3 THEN ' and ' || (job.waits_for - 3) || ' more' ELSE '' END
    WHEN job.held THEN 'held'
    WHEN job.ready = 0 AND job.state = 'failed' THEN 'retrying'
    WHEN job.ready = 0 THEN 'delayed'
    WHEN EXISTS (SELECT 1 FROM queuectl_meta WHERE key = 'paused') THEN 'all paused'
    WHEN queue.paused THEN 'paused' || coalesce(', ' || queue.paused_because, '')
    WHEN queue.processing >= (SELECT value FROM queuectl_config WHERE key = queue.name || '.limit')
        THEN (SELECT 'limit ' || value FROM queuectl_config WHERE key = queue.name || '.limit')
    WHEN NOT EXISTS (SELECT 1 FROM queuectl_workers WHERE role = 'worker' AND wanted = 'run'
        AND (queues IS NULL OR instr(',' || queues || ',', ',' || job.queue || ',') > 0))
        THEN 'no worker'
    WHEN queue.next_start > ((julianday('now') - 2440587.5) * 86400.0)
        AND EXISTS (SELECT 1 FROM queuectl_config WHERE key = queue.name || '.rate')
        THEN (SELECT 'rate ' || value FROM queuectl_config WHERE key = queue.name || '.rate')
    ELSE 'workers busy' END
 AS reason, job.command, job.cwd,
        job.attempts, job.max_retries, job.exit_code, job.error, job.worker, job.unique_key,
        strftime('%Y-%m-%dT%H:%M:%fZ', job.created_at, 'unixepoch') AS created_at, strftime('%Y-%m-%dT%H:%M:%fZ', job.updated_at, 'unixepoch') AS updated_at, strftime('%Y-%m-%dT%H:%M:%fZ', job.run_at, 'unixepoch') AS run_at, strftime('%Y-%m-%dT%H:%M:%fZ', job.started_at, 'unixepoch') AS started_at, strftime('%Y-%m-%dT%H:%M:%fZ', job.finished_at, 'unixepoch') AS finished_at
    FROM queuectl_jobs AS job JOIN queuectl_queues AS queue ON queue.name = job.queue;
CREATE TRIGGER queuectl_file AFTER INSERT ON queuectl_jobs WHEN NEW.ready = 2 BEGIN
        UPDATE queuectl_jobs SET
            ready = CASE NEW.held WHEN 0 THEN NEW.run_at <= ((julianday('now') - 2440587.5) * 86400.0) END,
            max_retries = coalesce(NEW.max_retries, coalesce((SELECT value FROM queuectl_config WHERE key = NEW.queue || '.max-retries'), (SELECT value FROM queuectl_config WHERE key = 'max-retries'), 3)),
            backoff_base = coalesce(NEW.backoff_base, coalesce((SELECT value FROM queuectl_config WHERE key = NEW.queue || '.backoff-base'), (SELECT value FROM queuectl_config WHERE key = 'backoff-base'), 2)),
            backoff_max = coalesce(NEW.backoff_max, coalesce((SELECT value FROM queuectl_config WHERE key = NEW.queue || '.backoff-max'), (SELECT value FROM queuectl_config WHERE key = 'backoff-max'), 86400)),
            backoff_jitter = coalesce(NEW.backoff_jitter, coalesce((SELECT value FROM queuectl_config WHERE key = NEW.queue || '.backoff-jitter'), (SELECT value FROM queuectl_config WHERE key = 'backoff-jitter'), 0)),
            timeout = coalesce(NEW.timeout, coalesce((SELECT value FROM queuectl_config WHERE key = NEW.queue || '.timeout'), (SELECT value FROM queuectl_config WHERE key = 'timeout'), 0)),
            kill_grace = coalesce(NEW.kill_grace, coalesce((SELECT value FROM queuectl_config WHERE key = NEW.queue || '.kill-grace'), (SELECT value FROM queuectl_config WHERE key = 'kill-grace'), 10)),
            output_limit = coalesce(NEW.output_limit, coalesce((SELECT value FROM queuectl_config WHERE key = NEW.queue || '.output-limit'), (SELECT value FROM queuectl_config WHERE key = 'output-limit'), 1048576)),
            defer_limit = coalesce(NEW.defer_limit, coalesce((SELECT value FROM queuectl_config WHERE key = NEW.queue || '.defer-limit'), (SELECT value FROM queuectl_config WHERE key = 'defer-limit'), 20))
        WHERE seq = NEW.seq;
        INSERT INTO queuectl_record (tier, start, queue, kind, bucket, count, seconds)
        VALUES (60, CAST(((julianday('now') - 2440587.5) * 86400.0) AS INTEGER) / 60 * 60, NEW.queue, 'added', 0, 1, 0)
            ON CONFLICT (tier, start, queue, kind, bucket) DO UPDATE SET count = count + 1;
    END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('queuectl_workers',41);
COMMIT;
