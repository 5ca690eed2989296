"""Every SQL statement about schedules, named. When the next one is due is in sql.py, since every claim asks that."""

from __future__ import annotations

COLUMNS = (
    "seq name kind expression anchor tz template missed overlap jitter until times_left paused fault since next_at"
    " boot last_at last_job last_success_at failing_since runs skipped skip_reason created_at"
).split()
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM queuectl_schedules"

ALL = _SELECT + " ORDER BY name"
BY_NAME = _SELECT + " WHERE name = :name"
NAMES = "SELECT name FROM queuectl_schedules"
# At most 200, as in sql.PROMOTE: no single claim pays for a thousand.
DUE = _SELECT + " WHERE paused = 0 AND next_at <= :now ORDER BY next_at LIMIT 200"
# Those whose times have all been dealt with until some time in the future: the clock was set back.
AHEAD = _SELECT + " WHERE paused = 0 AND since > :limit"
# Those that are due once per boot, and that haven't been for this one.
AT_BOOT = _SELECT + " WHERE paused = 0 AND kind = 'cron' AND expression = '@reboot' AND boot IS NOT :boot"

_PLACES = ", ".join(":" + column for column in COLUMNS[1:])
ADD = f"INSERT INTO queuectl_schedules ({', '.join(COLUMNS[1:])}) VALUES ({_PLACES})"
# The name stays: the jitter follows from it, and jobs have it in their environment.
_ASSIGNED = ", ".join(f"{column} = :{column}" for column in COLUMNS[2:])
EDIT = f"UPDATE queuectl_schedules SET {_ASSIGNED} WHERE seq = :seq"
REMOVE = "DELETE FROM queuectl_schedules WHERE name = :name"
# A worker has handled the times until :since. In the same transaction as the jobs.
ADVANCE = """
    UPDATE queuectl_schedules SET since = :since, anchor = :anchor, next_at = :next_at, boot = :boot,
        times_left = :times_left, last_at = coalesce(:last_at, last_at), last_job = coalesce(:last_job, last_job),
        runs = runs + :runs, skipped = skipped + :skipped, skip_reason = coalesce(:skip_reason, skip_reason)
    WHERE seq = :seq
"""
# Garbage from foreign SQL must not be found due forever. Works for any row, even one that was stored with
# CHECKs off: an UPDATE checks only the columns that it sets.
SET_ASIDE = "UPDATE queuectl_schedules SET paused = 1, next_at = NULL, fault = :fault WHERE seq = :seq"

# A job of the schedule completed, or died. In the transaction that settles it.
SUCCEED = "UPDATE queuectl_schedules SET last_success_at = :now, failing_since = NULL WHERE name = :name"
DIE = "UPDATE queuectl_schedules SET failing_since = coalesce(failing_since, :now) WHERE name = :name"

STATE = "SELECT state FROM queuectl_jobs WHERE id = :id"
# The last job of each schedule that has one that still exists.
LAST_JOBS = """
    SELECT schedule.name, job.state, job.exit_code, job.error, job.finished_at
    FROM queuectl_schedules AS schedule JOIN queuectl_jobs AS job ON job.id = schedule.last_job
"""
