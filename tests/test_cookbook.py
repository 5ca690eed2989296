"""Every recipe of the cookbook runs, with stubs for programs that not every system has."""

import os

from tests.doc_runner import DocumentTestCase, blocks

STUBS = {
    # convert IN -resize N OUT
    "convert": '[ -f "$1" ] && : >"$4"',
    # curl --fail --silent -o OUT URL, or a ping
    "curl": 'case $1 in --fail) echo "page of $5" >"$4" ;; *) echo "$*" >>"$HOME/demo/pings" ;; esac',
    # The network is down on the first attempt.
    "ping": "[ -e network ] || { : >network; exit 1; }",
    "rclone": '[ "$1 $3" = "copy remote:backup" ] && [ -f "$2" ]',
    # mail -s SUBJECT TO
    "mail": '{ echo "To: $3, Subject: $2"; cat; } >"$HOME/demo/mailbox"',
    # Reports two files, one after the other.
    "inotifywait": "mkdir inbox; for n in one two; do echo 1 >inbox/$n.csv; echo inbox/$n.csv; sleep 0.1;"
    " done",
}


class CookbookTest(DocumentTestCase):
    def test_every_recipe_works(self):
        for name, script in STUBS.items():
            self.put_on_path(name, script)
        self.environment["TMPDIR"] = self.folder
        self.run_document("docs/cookbook.md")
        recipes = {block.section for block in blocks("docs/cookbook.md")} - {"Cookbook"}
        self.assertGreaterEqual(len(recipes), 10)
        self.db = os.path.join(self.home, ".local/state/queuectl/queue.db")
        self.audit()
