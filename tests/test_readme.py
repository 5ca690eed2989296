"""The documents are true and complete: what they show is executed."""

from __future__ import annotations

import glob
import os
import re
import unittest

from queuectl_core import cli, lifecycle
from tests import commands_document
from tests.doc_runner import RUN, DocumentTestCase, blocks, commands
from tests.harness import ROOT


def text_of(path: str) -> str:
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


class ReadmeTest(DocumentTestCase):
    def test_the_readme_is_true(self):
        self.run_document("README.md")

    def test_every_block_of_commands_is_run_or_says_why_not(self):
        languages = {block.language for block in blocks("README.md")}
        self.assertEqual(languages - {*RUN, "text"}, set())
        left_out = [block.text for block in blocks("README.md") if "not run" in block.notes]
        self.assertEqual(len(left_out), 2, left_out)

    def test_its_first_two_commands_run_the_main_job_and_the_tests(self):
        first, second = blocks("README.md")[:2]
        self.assertEqual(len(first.text.splitlines()), 1)
        self.assertIn("enqueue", first.text)
        self.assertEqual(second.text, "python3 -m unittest\n")

    def test_the_readme_draws_the_lifecycle_of_the_code(self):
        drawing = lifecycle.__doc__.split("\n\n")[1]
        self.assertIn(drawing, text_of("README.md"))

    def test_the_readme_names_every_command_module_and_package(self):
        readme = text_of("README.md")
        rows = [set(re.findall(r"\w+", line)) for line in readme.splitlines() if line.startswith("| `")]
        for name in cli.COMMANDS:
            self.assertTrue(any(set(name.split()) <= row for row in rows), name)
        folder = os.path.join(ROOT, "queuectl_core")
        for entry in os.listdir(folder):
            if entry.endswith(".py") and entry != "__init__.py":
                self.assertIn(f"`{entry}`", readme)
            elif os.path.isdir(os.path.join(folder, entry)) and entry != "__pycache__":
                self.assertIn(f"`{entry}/`", readme)

    def test_the_readme_is_short(self):
        self.assertLess(len(text_of("README.md").splitlines()), 250)


class DocumentsTest(unittest.TestCase):
    def test_every_command_and_option_is_documented(self):
        self.assertEqual(
            text_of("docs/commands.md"),
            commands_document.document(),
            "outdated; run: python3 -m tests.commands_document",
        )

    def test_the_readme_leads_to_every_document_and_no_link_is_dead(self):
        documents = [os.path.relpath(path, ROOT) for path in glob.glob(os.path.join(ROOT, "docs", "*.md"))]
        linked = set()
        for document in ["README.md", "CHANGELOG.md", *documents]:
            for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text_of(document)):
                if "://" not in target:
                    path = os.path.normpath(os.path.join(os.path.dirname(document), target))
                    self.assertTrue(os.path.exists(os.path.join(ROOT, path)), f"{document}: {target}")
                    linked.add(path)
        self.assertEqual(set(documents) - linked, set())


class RunnerTest(DocumentTestCase):
    """The runner of documents notices anything that isn't true."""

    def document(self, *lines: str) -> str:
        return self.write("document.md", "".join(line + "\n" for line in lines))

    def run_lines(self, *lines: str) -> None:
        for block in blocks(self.document(*lines)):
            if block.language in RUN:
                self.run_block(block)

    def test_a_true_transcript_passes(self):
        self.run_lines(
            "# Some text",
            "```console",
            "$ queuectl enqueue 'echo one; echo two; echo three'",
            "4k7rm2xp",
            "$ queuectl worker start --drain --foreground",
            "08:00:00 worker 1: started, pid 12345",
            "08:00:00 worker 1: succeed 4k7rm2xp: exit 0",
            "…",
            "$ queuectl list",
            "ID        STATE      TRIES  WHEN     WHY  COMMAND",
            "4k7rm2xp  completed    1/4  2ms ago  -    echo one; …",
            "$ queuectl logs 4k7rm2xp",
            "one",
            "…",
            "$ cd / && false",
            "$ echo $? $PWD",
            "1 /",
            "$ cat <<END",
            "> here",
            "> END",
            "here",
            "```",
            "<!-- before: made=yes -->",
            "```sh",
            "test $made = yes",
            "```",
            "```text",
            "not run",
            "```",
            "```python",
            "from queuectl_core import errors",
            "```",
        )

    def test_a_false_transcript_fails(self):
        for lines in (
            ["```console", "$ echo one", "two", "```"],
            ["```console", "$ echo one", "```"],
            ["```console", "$ true", "one", "```"],
            ["```console", "$ printf 'one\\ntwo\\n'", "one", "```"],
            ["```console", "$ queuectl enqueue true", "4k7rm2xp", "$ echo 9z7rm2xp", "4k7rm2xp", "```"],
            ["```console", "one", "```"],
            ["```sh", "false", "true", "```"],
            ["```python", "raise AssertionError", "```"],
        ):
            with self.assertRaises(AssertionError, msg=lines):
                self.run_lines(*lines)

    def test_a_block_with_a_missing_requirement_is_skipped(self):
        for note in ("<!-- needs: no-such-program -->", "<!-- not run: it would take a year -->"):
            with self.assertRaises(unittest.SkipTest):
                self.run_lines(note, "```sh", "false", "```")

    def test_stand_ins_come_first_on_the_path(self):
        self.stand_in("convert", 'echo "converted $1"')
        self.run_lines("<!-- needs: convert -->", "```console", "$ convert a.png", "converted a.png", "```")

    def test_a_block_belongs_to_the_heading_above_it(self):
        one = ["## One", "```sh", "# comment", "```"]
        path = self.document(*one, "## Two", "```console", "$ a", "> b", "c", "```")
        first, second = blocks(path)
        self.assertEqual((first.section, second.section, second.line), ("One", "Two", 6))
        self.assertEqual(commands(second), [("a\nb\n", "c\n")])
