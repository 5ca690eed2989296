"""The documents are complete, and their examples work: tests run them."""

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
    """The text of a file in the checkout."""
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


class ReadmeTest(DocumentTestCase):
    def test_every_example_in_the_readme_works(self):
        self.run_document("README.md")

    def test_every_block_of_the_readme_runs_or_says_why_not(self):
        languages = {block.language for block in blocks("README.md")}
        self.assertEqual(languages - {*RUN, "text"}, set())
        not_run = [block.text for block in blocks("README.md") if "not run" in block.notes]
        self.assertEqual(len(not_run), 2, not_run)

    def test_the_first_block_of_the_readme_enqueues_a_job_and_the_second_runs_the_tests(self):
        first, second = blocks("README.md")[:2]
        self.assertEqual(len(first.text.splitlines()), 1)
        self.assertIn("enqueue", first.text)
        self.assertEqual(second.text, "python3 -m unittest\n")

    def test_the_readme_has_the_lifecycle_diagram_of_the_code(self):
        diagram = lifecycle.__doc__.split("\n\n")[1]
        self.assertIn(diagram, text_of("README.md"))

    def test_the_readme_lists_every_command_module_and_package(self):
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

    def test_the_readme_has_fewer_than_250_lines(self):
        self.assertLess(len(text_of("README.md").splitlines()), 250)


class DocumentsTest(unittest.TestCase):
    def test_every_command_and_option_is_documented(self):
        self.assertEqual(
            text_of("docs/commands.md"),
            commands_document.document(),
            "outdated; run: python3 -m tests.commands_document",
        )

    def test_every_document_is_linked_and_no_link_is_broken(self):
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
    """The runner passes blocks whose output matches, and fails all others."""

    def document(self, *lines: str) -> str:
        return self.write("document.md", "".join(line + "\n" for line in lines))

    def run_lines(self, *lines: str) -> None:
        for block in blocks(self.document(*lines)):
            if block.language in RUN:
                self.run_block(block)

    def test_blocks_that_do_what_they_show_pass(self):
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
            "ID        STATE      TRIES  WHEN     TOOK  QUEUE    WHY  COMMAND",
            "4k7rm2xp  completed    1/4  2ms ago   1ms  default  -    echo one; …",
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
            "<!-- before: prepared=yes -->",
            "```sh",
            "test $prepared = yes",
            "```",
            "```text",
            "not run",
            "```",
            "```python",
            "from queuectl_core import errors",
            "```",
        )

    def test_blocks_that_fail_or_print_something_else_fail(self):
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

    def test_a_block_is_skipped_if_it_says_so_or_needs_a_missing_program(self):
        for note in ("<!-- needs: no-such-program -->", "<!-- not run: it would take a year -->"):
            with self.assertRaises(unittest.SkipTest):
                self.run_lines(note, "```sh", "false", "```")

    def test_programs_put_on_path_can_be_needed_and_run(self):
        self.put_on_path("convert", 'echo "converted $1"')
        self.run_lines("<!-- needs: convert -->", "```console", "$ convert a.png", "converted a.png", "```")

    def test_a_block_belongs_to_the_heading_above_it(self):
        one = ["## One", "```sh", "# comment", "```"]
        path = self.document(*one, "## Two", "```console", "$ a", "> b", "c", "```")
        first, second = blocks(path)
        self.assertEqual((first.section, second.section, second.line), ("One", "Two", 6))
        self.assertEqual(commands(second), [("a\nb\n", "c\n")])
