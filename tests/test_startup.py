"""What makes commands start fast behaves like what it replaces."""

from __future__ import annotations

import collections
import copy
import json
import pickle
import random
import shlex
import subprocess
import sys
import unittest

from queuectl_core import jobjson
from queuectl_core.cli import columns, enqueue, jobs
from queuectl_core.errors import BadInput
from queuectl_core.typed import NamedTuple, once
from tests.harness import ROOT


class Point(NamedTuple):
    """A place."""

    x: int
    y: int = 2
    z: int = 3

    @property
    def sum(self) -> int:
        return self.x + self.y + self.z


Plain = collections.namedtuple("Point", "x y z", defaults=(2, 3))


class NamedTupleTest(unittest.TestCase):
    def test_a_named_tuple_is_made_and_refused_as_by_collections(self):
        for given, named in (
            *(((1,), {}), ((1, 5), {}), ((1, 5, 6), {}), ((), {"x": 1}), ((1,), {"z": 4}), ((), {"y": 1, "x": 0})),
            *(((), {}), ((1, 2, 3, 4), {}), ((1,), {"x": 2}), ((1,), {"a": 2}), ((), {"y": 1}), ((), {"z": 1, "a": 0})),
            *(((1, 2, 3), {"z": 3}), ((1, 2, 3), {"a": 3}), ((1, 2, 3, 4), {"z": 1})),
        ):
            try:
                expected: object = tuple(Plain(*given, **named))
            except TypeError:
                with self.assertRaises(TypeError, msg=(given, named)):
                    Point(*given, **named)
                continue
            self.assertEqual(Point(*given, **named), expected, (given, named))

    def test_a_named_tuple_behaves_as_that_of_collections(self):
        ours, theirs = Point(1), Plain(1)
        self.assertEqual((ours, hash(ours), repr(ours)), (theirs, hash(theirs), repr(theirs)))
        self.assertEqual((ours._fields, ours._asdict()), (theirs._fields, theirs._asdict()))
        self.assertEqual((ours.x, ours.y, ours.z, ours.sum), (1, 2, 3, 6))
        self.assertEqual(ours._replace(y=7), (1, 7, 3))
        self.assertEqual(Point._make([4, 5, 6]), (4, 5, 6))
        self.assertEqual((Point.__name__, Point.__doc__, Point.__module__), ("Point", "A place.", __name__))
        self.assertIs(type(ours._replace(y=7)), Point)
        for wrong in (lambda: Point._make([1]), lambda: ours._replace(a=1), lambda: setattr(ours, "x", 2)):
            with self.assertRaises((TypeError, ValueError, AttributeError)):
                wrong()
        self.assertFalse(hasattr(ours, "__dict__"))
        for same in (pickle.loads(pickle.dumps(ours)), copy.copy(ours), copy.deepcopy(ours)):
            self.assertEqual((same, type(same)), (ours, Point))


class OnceTest(unittest.TestCase):
    def test_a_function_decorated_with_once_is_called_once_unless_it_fails(self):
        calls: list[int] = []

        @once
        def count() -> int:
            calls.append(1)
            return 1 // (len(calls) - 1)

        self.assertRaises(ZeroDivisionError, count)
        self.assertEqual([count(), count(), len(calls)], [1, 1, 2])


PIECES = (
    *('{"command": "true"}', '{"a": 1, "a": 2}', "{}", "[]", "null", "NaN", "-Infinity", '"x"', "1.5e3", "-0", "01"),
    *('{"a": {"b": [1, 2, {"c": null}]}}', '{"a": "\\ud83d"}', '{"a": "\ud83d"}', '{"a": "\n"}', '{"a": "\\x"}'),
    *(" ", "\t\r\n", "\x0b", "\ufeff", "\x00", ",", "{", "}", "é", "1" * 5000, "[" * 100_000, '{"a": 1,}'),
    *('{"a" 1}', "", "1.", "{a: 1}"),
)


class JsonTest(unittest.TestCase):
    def expected(self, text: str) -> tuple[object, bool]:
        """What the module json makes of a text, or what our hooks say is wrong with it; whether it finds it invalid."""
        try:
            return jobjson.object_from(jobjson.decoder().decode(text)), False
        except BadInput as error:
            return str(error), False
        except (ValueError, RecursionError):
            return None, True

    def test_json_is_decoded_as_by_the_module_json(self):
        chance = random.Random(15)
        texts = [*PIECES, *("".join(chance.choices(PIECES, k=chance.choice((2, 3, 5)))) for _ in range(3000))]
        for text in texts:
            expected, is_invalid = self.expected(text)
            try:
                found: object = jobjson.json_object(text)
            except BadInput as error:
                found = str(error)
            if is_invalid:
                self.assertRegex(str(found), "^not valid JSON: ", text[:100])
            else:
                self.assertEqual(found, expected, text[:100])

    def test_invalid_json_is_reported_with_its_position(self):
        for text in ('{"a": 1,}', '{"a" 1}', "{", '{"a": "\n"}', "  tru", '{"a": 1} x', ""):
            with self.assertRaises(json.JSONDecodeError) as caught:
                json.loads(text)
            words = f"not valid JSON: {caught.exception.msg} at character {caught.exception.pos + 1}"
            with self.assertRaises(BadInput) as refused:
                jobjson.json_object(text)
            self.assertEqual(str(refused.exception), words)


class QuotingTest(unittest.TestCase):
    def test_the_words_of_a_command_are_quoted_as_by_shlex(self):
        words = ["", " ", "a'b'", "$x", "é", "a\nb", "~", "x\udc80", "-", "a=b", "echo", *map(chr, range(1, 256))]
        self.assertEqual(enqueue.joined(words), shlex.join(words))


class ColumnsTest(unittest.TestCase):
    def test_list_names_all_columns_without_loading_them(self):
        self.assertEqual(list(jobs.COLUMNS), [*columns.COLUMNS, columns.LABELS])


class SqliteTest(unittest.TestCase):
    def run_python(self, script: str) -> str:
        """What a script prints, in a Python that has loaded nothing."""
        script = f"import sys; sys.path.insert(0, {ROOT!r})\n{script}"
        return subprocess.run(
            [sys.executable, "-IS", "-c", script], stdout=subprocess.PIPE, check=True, timeout=30, text=True
        ).stdout

    def test_a_module_that_was_put_in_place_of_sqlite3_is_used(self):
        script = (
            "import _sqlite3, types\n"
            "other = sys.modules['sqlite3'] = types.ModuleType('sqlite3')\n"
            "vars(other).update(vars(_sqlite3), sqlite_version='3.99.1')\n"
            "from queuectl_core.store import client, sqlite\n"
            "print(sqlite.sqlite3 is other, sqlite.SQLITE_VERSION)"
        )
        self.assertEqual(self.run_python(script), "True (3, 99, 1)\n")

    def test_a_python_without_sqlite_says_what_is_missing(self):
        script = (
            "sys.modules['_sqlite3'] = None\n"
            "from queuectl_core.cli import main\n"
            "sys.stderr, sys.argv = sys.stdout, ['queuectl', '--db', '/tmp/x.db', 'list']\n"
            "code = main._exit\n"
            "main._exit = lambda code: print(code)\n"
            "main._open_standard_streams = lambda: None\n"
            "main.main()"
        )
        says = r"^queuectl: \S+ lacks a module that queuectl needs: .*_sqlite3.*\n3\n$"
        self.assertRegex(self.run_python(script), says)


if __name__ == "__main__":
    unittest.main()
