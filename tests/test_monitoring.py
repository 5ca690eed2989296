"""docs/monitoring.md works: its commands, the alert rules, and the queries of the Grafana dashboard.

tests/test_systemd.py runs its timer.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import unittest
from typing import Any

from queuectl_core.cli import COMMANDS
from queuectl_core.lifecycle import STATES
from queuectl_core.views.history import RAN
from tests.doc_runner import DocumentTestCase
from tests.exposition import read
from tests.harness import ROOT, QueueTestCase
from tests.test_readme import text_of

PROMTOOL = shutil.which("promtool")
ALERTS = "docs/monitoring/alerts.yml"
GRAFANA = "docs/monitoring/grafana.json"
# What node_exporter adds, and Grafana's variables with values for a check.
FOREIGN = {"node_textfile_mtime_seconds", "node_textfile_scrape_error"}
VARIABLES = {"$__rate_interval": "5m", "$__range": "1d", "$instance": ".*", "$queue": ".*"}


def panels() -> list[dict[str, Any]]:
    return json.loads(text_of(GRAFANA))["panels"]


def queries() -> list[str]:
    """The expressions of the Grafana dashboard, without variables."""
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    for name, value in VARIABLES.items():
        found = [query.replace(name, value) for query in found]
    return found


class DocumentTest(DocumentTestCase):
    def test_every_example_works(self):
        self.run_document("docs/monitoring.md")
        written = os.path.join(self.home, "node-exporter", "queuectl.prom")
        with open(written, encoding="utf-8") as file:
            self.assertEqual(read(file.read(), False).value("queuectl_jobs", queue="mail", state="completed"), 1)

    def test_every_figure_is_in_the_table(self):
        self.enqueue("--", "true")
        families = read(self.run_cli("metrics", "--format", "prometheus").stdout, False).families
        listed = re.findall(r"^\| `(queuectl_\w+)` \| (\w+)", text_of("docs/monitoring.md"), re.MULTILINE)
        self.assertEqual({**dict(listed), "queuectl_build_info": "gauge"}, {n: f.kind for n, f in families.items()})
        self.assertEqual(len(listed), len(families))

    def test_a_queue_has_as_many_series_as_the_document_says(self):
        self.enqueue("--", "true")
        samples = read(self.run_cli("metrics").stdout, True).samples
        count = sum(("queue", "default") in labels for _, labels in samples)
        self.assertIn(f"about {count} series", text_of("docs/monitoring.md"))


class RulesTest(QueueTestCase):
    def test_rules_and_panels_ask_for_figures_and_labels_that_exist(self):
        self.enqueue("--", "true")
        self.run_cli("config", "set", "default.limit", "1")
        self.run_cli("schedule", "add", "s", "--every", "1h", "--", "true")
        samples = read(self.run_cli("metrics").stdout, True).samples
        labels = {name: {label for label, _ in pairs} for name, pairs in samples}
        rules = re.sub(r"#.*|summary:.*|description:.*", "", text_of(ALERTS))
        for text in (rules, *queries()):
            for name, matchers in re.findall(r"\b((?:queuectl|node)_\w+)(?:\{([^}]*)\})?", text):
                if name in FOREIGN:
                    continue
                self.assertIn(name, labels)
                for label, value in re.findall(r'(\w+)!?=~?"([^"]*)"', matchers):
                    self.assertIn(label, labels[name] | {"instance"}, name)
                    known = {"state": {*STATES, "idle", "busy", "stopping"}, "outcome": set(RAN)}.get(label)
                    if known:
                        self.assertLessEqual(set(value.split("|")), known, text)

    def test_each_alert_names_a_command_that_exists_or_a_file_to_check(self):
        alerts = re.findall(r"- alert: (\w+)\n(.*?)(?=\n\n|\Z)", text_of(ALERTS), re.DOTALL)
        self.assertEqual(len(alerts), 14)
        for name, text in alerts:
            description = re.search(r'description: "(.*)"', text)
            self.assertIsNotNone(description, name)
            found = re.findall(r"queuectl ([a-z]+)(?: ([a-z]+))?", description[1])
            self.assertTrue(found or "promtool" in description[1], name)
            for first, second in found:
                self.assertTrue(first in COMMANDS or f"{first} {second}" in COMMANDS, description[1])

    @unittest.skipUnless(PROMTOOL, "promtool is not installed")
    def test_prometheus_accepts_the_rules_and_the_queries(self):
        rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries())]
        self.write("queries.yml", json.dumps({"groups": [{"name": "panels", "rules": rules}]}))  # JSON is YAML.
        self.promtool("check", "rules", os.path.join(ROOT, ALERTS), "queries.yml")

    def test_each_alert_has_a_test_that_ci_runs(self):
        names = set(re.findall(r"- alert: (\w+)", text_of(ALERTS)))
        raised = set(re.findall(r"alertname: (\w+)\n +exp_alerts:", text_of("tests/alerts_test.yml")))
        self.assertEqual(names, raised)

    def promtool(self, *words: str) -> None:
        command = [PROMTOOL or "", *words]
        result = subprocess.run(command, cwd=self.folder, capture_output=True, timeout=60, check=False)
        self.assertEqual(result.returncode, 0, (result.stdout + result.stderr).decode())


class GrafanaTest(unittest.TestCase):
    def test_the_panels_are_complete_and_do_not_overlap(self):
        found = panels()
        ids = [panel["id"] for panel in found]
        self.assertEqual(len(set(ids)), len(ids))
        taken: set[tuple[int, int]] = set()
        for panel in found:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24)
            cells = {
                (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
            }
            self.assertFalse(cells & taken, panel["title"])
            taken |= cells
            self.assertEqual(panel["datasource"]["uid"], "${datasource}")
            self.assertTrue(panel["title"] and panel["description"] and panel["targets"])
            references = [target["refId"] for target in panel["targets"]]
            self.assertEqual(len(set(references)), len(references))
        asked = " ".join(queries())
        for part in (
            'queuectl_jobs{instance=~".*",queue=~".*",state=~"pending|processing|failed"}',
            "queuectl_jobs_added_total",
            "histogram_quantile(0.5, ", "histogram_quantile(0.95, ", "queuectl_job_wait_seconds_bucket",
            "queuectl_attempt_duration_seconds_bucket", 'outcome=~"failed|dead|lost"',
            "sum by (state) (queuectl_workers",
            "queuectl_queue_oldest_ready_seconds", "queuectl_database_bytes", "queuectl_wal_bytes",
        ):  # fmt: skip
            self.assertIn(part, asked)


if __name__ == "__main__":
    unittest.main()
