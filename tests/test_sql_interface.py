"""SQL is an interface: docs/sql.md is true, and a row is a job wherever it comes from."""

from tests.doc_runner import DocumentTestCase
class SqlDocumentTest(DocumentTestCase):
    def test_docs_sql_is_true(self):
        self.run_document("docs/sql.md")
