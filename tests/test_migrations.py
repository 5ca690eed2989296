"""Files of older versions get exactly the schema of a new file, and keep every row and an application's objects."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess

from queuectl_core.store import Store
from tests.harness import ROOT
from tests.patched import patched
from tests.shell import ShellTestCase

# Dumps of files of older schema versions, with a few jobs.
SCHEMA_1 = os.path.join(ROOT, "tests", "schema_1.sql")
SCHEMA_2 = os.path.join(ROOT, "tests", "schema_2.sql")
SCHEMA_3 = os.path.join(ROOT, "tests", "schema_3.sql")

KILLED_IN_MIGRATION = """
from queuectl_core.store import migrations
real = migrations._rebuild
migrations._rebuild = lambda *arguments: (real(*arguments), os.kill(os.getpid(), signal.SIGKILL))
"""


def objects(path: str) -> dict[str, list[str]]:
    """The words of the definitions of all our objects, by name."""
    db = sqlite3.connect(path)
    rows = db.execute("SELECT name, sql FROM sqlite_master WHERE name LIKE 'queuectl%' AND sql IS NOT NULL").fetchall()
    db.close()
    return {name: re.sub(r"--.*", "", text).replace('"', "").replace("(", " ( ").split() for name, text in rows}


class MigrationTest(ShellTestCase):
    schema = SCHEMA_1

    def setUp(self) -> None:
        super().setUp()
        self.old = sqlite3.connect(self.db, isolation_level=None)
        self.addCleanup(self.old.close)
        with open(self.schema, encoding="utf-8") as file:
            self.old.executescript(file.read())

    def test_an_old_file_gets_the_schema_of_a_new_one_and_keeps_its_rows(self):
        columns = ", ".join(row[1] for row in self.old.execute("PRAGMA table_info(queuectl_jobs)"))
        jobs = self.old.execute(f"SELECT {columns} FROM queuectl_jobs").fetchall()
        output = self.run_cli("logs", "done2").stdout_bytes  # The first command migrates the file.
        with Store(os.path.join(self.folder, "new.db")) as new:
            self.assertEqual(objects(self.db), objects(new.path))
        self.assertEqual(output, b"out\nerr\n")
        self.assertEqual(self.rows(f"SELECT {columns} FROM queuectl_jobs"), [tuple(row) for row in jobs])
        ((mark,),) = self.rows("SELECT value FROM queuectl_meta WHERE key = 'file'")
        self.assertRegex(mark, "^queuectl-file:[0-9a-f]{16}$")
        self.assertEqual(set(self.rows("SELECT mark FROM queuectl_queues")), {(mark,)})
        self.sh("queuectl resume mail && queuectl worker start -q mail --drain --foreground")
        self.assertEqual(self.rows("SELECT id FROM queuectl_workers"), [])
        self.assertGreater(self.rows("SELECT seq FROM sqlite_sequence")[0][0], 41)  # No id is used twice.
        self.assertEqual(self.state("ready"), "completed")
        self.audit(["done2", "dead", "waits", "later", "ready"])

    def test_views_triggers_and_indexes_of_an_application_are_kept(self):
        self.old.executescript("""
            CREATE TABLE orders (job TEXT, shipped INTEGER DEFAULT 0);
            INSERT INTO orders (job) VALUES ('ready');
            CREATE VIEW open_orders AS SELECT * FROM queuectl_jobs JOIN orders ON job = id WHERE shipped = 0;
            CREATE INDEX by_command ON queuectl_jobs (command);
            CREATE TRIGGER ship AFTER UPDATE OF state ON queuectl_jobs WHEN NEW.state = 'completed' BEGIN
                UPDATE orders SET shipped = 1 WHERE job = NEW.id;
            END;
            CREATE TRIGGER submit AFTER INSERT ON orders BEGIN
                INSERT INTO queuectl_jobs (id, queue, command) VALUES (NEW.job, 'mail', 'true');
            END;
        """)
        self.run_cli("status")
        self.assertEqual([row[0] for row in self.rows("SELECT job FROM open_orders")], ["ready"])
        self.old.execute("INSERT INTO orders (job) VALUES ('bought')")
        self.sh("queuectl resume mail && queuectl worker start -q mail --drain --foreground")
        self.assertEqual(self.rows("SELECT job, shipped FROM orders ORDER BY job"), [("bought", 1), ("ready", 1)])
        self.assertEqual(self.rows("SELECT count(*) FROM sqlite_master WHERE name = 'by_command'"), [(1,)])

    def test_a_migration_that_is_killed_leaves_the_old_schema(self):
        before = objects(self.db)
        killed = subprocess.run(patched(KILLED_IN_MIGRATION, "status"), env=self.environment, check=False)
        self.assertEqual(killed.returncode, -9)
        self.assertEqual(objects(self.db), before)
        self.assertEqual(self.job("done2")["state"], "completed")

    def test_a_row_that_the_new_schema_rejects_is_kept(self):
        self.old.execute("PRAGMA ignore_check_constraints = ON")
        self.old.execute("UPDATE queuectl_jobs SET max_retries = -1 WHERE id = 'done2'")
        self.assertEqual(self.job("done2")["max_retries"], -1)


class MigrationFrom2Test(MigrationTest):
    schema = SCHEMA_2


class MigrationFrom3Test(MigrationTest):
    schema = SCHEMA_3
