"""Break one promise at a time, and see a test fail: `python3 -m tests.mutations`.

Each mutation is one change to a copy of the program, and the test module that must notice it. A mutation that survives
is printed, and the exit code is 1. It is not part of the suite: run it after changing what it breaks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import namedtuple

from tests.harness import ROOT

LONGEST_RUN = 300  # Seconds for one module; a mutant that hangs was noticed.

Mutation = namedtuple("Mutation", "promise file old new test")

CATALOG = (
    Mutation("an id is printed only once its job is on disk", "store/database.py",
             "{'FULL' if durable else 'NORMAL'}", "NORMAL", "test_faults_world"),
    Mutation("a job that always fails runs max-retries + 1 times", "lifecycle.py",
             "if job.attempts <= job.max_retries:", "if job.attempts < job.max_retries:", "test_lifecycle"),
    Mutation("a late writer changes no row", "store/sql.py",
             'WHERE seq = :job AND {guard("succeed")} AND worker = :worker AND last_attempt = :attempt',
             'WHERE seq = :job AND {guard("succeed")}', "test_store"),
    Mutation("a batch is counted", "store/batch_sql.py",
             "SET pending = pending + excluded.pending", "SET pending = pending", "test_store"),
    Mutation("jobs of other programs are counted", "store/schema.py",
             "WHEN NEW.ready = 2 OR NOT EXISTS", "WHEN NEW.ready = 2 AND NOT EXISTS", "test_store"),
    Mutation("a batch is counted right beside triggers of an application", "store/batch_sql.py",
             "WHERE type = 'trigger'", "WHERE type = 'none'", "test_store"),
    Mutation("a schedule knows when it last succeeded", "store/schedule_sql.py",
             "SET last_success_at = :now, failing_since", "SET failing_since", "test_schedules"),
    Mutation("a schedule fails from the first job that died on", "store/schedule_sql.py",
             "failing_since = coalesce(failing_since, :now)", "failing_since = :now", "test_schedules"),
    Mutation("top changes only the schedule that was seen", "views/top_actions.py",
             "!= (schedule.row.seq, schedule.row.created_at)", "!= (current.seq, current.created_at)",
             "test_schedule_views"),
    Mutation("leftovers of a lost attempt are ended before it runs again", "workers/rescue.py",
             "        if not is_over:", "        if False:", "test_faults_kill"),
    Mutation("what the job of a killed worker hid is ended before it runs again", "workers/strays.py",
             "return spared is not None and known not in spared", "return False", "test_faults_orphans"),
    Mutation("a daemon of an earlier job outlives its worker", "workers/page.py",
             "(before if token in lost else after).split()", "before.split()", "test_faults_orphans"),
    Mutation("a worker that died is replaced", "workers/supervisor.py",
             "slot.is_done = stopped_by_itself and not slot.is_old", "slot.is_done = True", "test_workers"),
    Mutation("a queue's runner is never bypassed", "workers/shell.py",
             'if "runner" in config or f"{job.queue}.runner" in config:', "if False:", "test_direct"),
    Mutation("a builtin is left to the shell", "workers/shell.py",
             'or not path.startswith(b"/"):', "or False:", "test_direct"),
    Mutation("after the stop timeout jobs return to the queue", "workers/supervisor.py",
             "            self._signals = max(self._signals, 2)", "            pass", "test_systemd"),
    Mutation("a cancelled job stays cancelled", "lifecycle.py",
             '(outcome.kind == "lost" and job.cancel)', "False", "test_lifecycle"),
    Mutation("a unit that is stopped lets jobs finish", "program/service.py",
             "KillMode=mixed\n", "KillMode=control-group\n", "test_systemd"),
    Mutation("a unit whose supervisor is killed starts again", "program/service.py",
             "Restart=on-failure", "Restart=no", "test_systemd"),
    Mutation("a time that clocks skip is due right after the change", "schedule/zones.py",
             "return max(wall - new, change)", "return wall - new", "test_schedule"),
    Mutation("a time that comes twice is due once", "schedule/zones.py",
             "return wall if change is None else max(wall, change - 1 + self.offset(change - 1))", "return wall",
             "test_schedule"),
    Mutation("a schedule that is looked at with an earlier clock repeats no time", "schedule/plan.py",
             "found.skipped, max(since, latest))", "found.skipped, latest)", "test_schedules"),
    Mutation("a schedule without overlap skips a run while the last one is unfinished", "store/firing.py",
             'if is_unfinished and not added and plan.overlap == "skip":', "if False:", "test_schedules"),
    Mutation("a schedule that cannot be advanced adds no job", "store/firing.py",
             "            with self._transaction():\n                queue, count = self._fire(row, times, now)",
             "            if True:\n                queue, count = self._fire(row, times, now)", "test_schedules"),
    Mutation("an idle worker knows when the next schedule is due", "store/sql.py",
             "coalesce(({NEXT_SCHEDULE}), 9e99)), 9e99)", "9e99), 9e99)", "test_schedules"),
    Mutation("a unit can be reloaded", "program/service.py",
             "-USR2", "-URG", "test_systemd"),
)  # fmt: skip


def survives(mutation: Mutation, folder: str) -> bool:
    """Whether no test of the module notices the mutation."""
    copy = os.path.join(folder, "copy")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", "__pycache__", ".*_cache"))
    try:
        path = os.path.join(copy, "queuectl_core", mutation.file)
        with open(path) as file:
            text = file.read()
        if text.count(mutation.old) != 1:
            raise SystemExit(f"{mutation.file}: found {text.count(mutation.old)} times, not once: {mutation.old}")
        with open(path, "w") as file:
            file.write(text.replace(mutation.old, mutation.new))
        # In a group of its own, so that a mutant that hangs can be ended with what it started.
        command = [sys.executable, "-m", "unittest", "--failfast", f"tests.{mutation.test}"]
        run = subprocess.Popen(
            command, cwd=copy, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            return run.wait(LONGEST_RUN) == 0
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, 15)
            run.wait()
            return False
    finally:
        shutil.rmtree(copy)


def main() -> int:
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        for mutation in CATALOG:
            began = time.monotonic()
            survived = survives(mutation, folder)
            survivors += survived
            verdict = "SURVIVED" if survived else "noticed"
            print(f"{verdict:9}{time.monotonic() - began:4.0f} s  {mutation.test:18}{mutation.promise}", flush=True)
    print(f"{len(CATALOG)} mutations, {survivors} survived")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
