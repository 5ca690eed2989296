"""The documents are true: what they show is run, and what there is to know is in them."""

from __future__ import annotations

import unittest

from tests.doc_runner import RUN, DocumentTestCase, blocks, commands


class RunnerTest(DocumentTestCase):
    """What runs the documents notices what is not so."""

    def document(self, *lines: str) -> str:
        return self.write("document.md", "".join(line + "\n" for line in lines))

    def run_lines(self, *lines: str) -> None:
        for block in blocks(self.document(*lines)):
            if block.language in RUN:
                self.run_block(block)

    def test_a_transcript_that_is_true_passes(self):
        self.run_lines(
            "# Some text",
            "```console",
            "$ queuectl enqueue 'echo one; echo two; echo three'",
            "4k7rm2xp",
            "$ queuectl worker start --drain --foreground",
            "08:00:00 worker 1: started, pid 12345",
            "08:00:00 worker 1: claim 4k7rm2xp (attempt 1)",
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

    def test_what_is_not_true_fails(self):
        for lines in (
            ["```console", "$ echo one", "two", "```"],
            ["```console", "$ echo one", "```"],
            ["```console", "$ true", "one", "```"],
            ["```console", "$ printf 'one\\ntwo\\n'", "one", "```"],
            ["```console", "$ queuectl enqueue true", "4k7rm2xp", "$ echo 9z7rm2xp", "4k7rm2xp", "```"],
            ["```console", "one", "```"],
            ["```sh", "false", "true", "```"],
            ["```python", "assert False", "```"],
        ):
            with self.assertRaises(AssertionError, msg=lines):
                self.run_lines(*lines)

    def test_a_block_that_needs_what_is_not_there_is_skipped(self):
        for note in ("<!-- needs: no-such-program -->", "<!-- not run: it would take a year -->"):
            with self.assertRaises(unittest.SkipTest):
                self.run_lines(note, "```sh", "false", "```")

    def test_a_stand_in_comes_first(self):
        self.stand_in("convert", 'echo "converted $1"')
        self.run_lines("<!-- needs: convert -->", "```console", "$ convert a.png", "converted a.png", "```")

    def test_a_block_belongs_to_the_heading_above_it(self):
        one = ["## One", "```sh", "# comment", "```"]
        path = self.document(*one, "## Two", "```console", "$ a", "> b", "c", "```")
        first, second = blocks(path)
        self.assertEqual((first.section, second.section, second.line), ("One", "Two", 6))
        self.assertEqual(commands(second), [("a\nb\n", "c\n")])
