"""Runs test files in parallel: they wait more than they compute.

`python3 -m unittest` gets here through `load_tests` in tests/__init__.py. A forked process runs each file's tests, in
order, and the parent reports their results as unittest does. A single file (`python3 -m unittest tests.test_store`)
runs as usual.

Only unittest's progress may reach the terminal: a test fails if it, or a process it starts, prints anything.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import tempfile
import traceback
import unittest
from typing import Union

Suite = Union[unittest.TestSuite, unittest.TestCase]
AT_ONCE = 3 * (os.cpu_count() or 2)
# These start first, or one of them would still be running alone at the end.
LONGEST = tuple(f"tests.test_{name}" for name in "faults_kill workers dashboard file sql_interface systemd".split())


class ParallelSuite(unittest.TestSuite):
    """Runs its suites in a process each, AT_ONCE at a time."""

    def run(self, result: unittest.TestResult, debug: bool = False) -> unittest.TestResult:
        """Run all suites and report to `result`."""
        waiting = [suite for suite in self if suite.countTestCases()]
        waiting.sort(key=lambda suite: _name(suite) not in LONGEST)
        running: dict[int, tuple[int, str, list[bytes], int]] = {}
        try:
            while (waiting and not result.shouldStop) or running:
                while waiting and len(running) < AT_ONCE and not result.shouldStop:
                    suite = waiting.pop(0)
                    printed = _unnamed_file()
                    pid, pipe = _fork(suite, printed)
                    running[pipe] = (pid, _name(suite), [], printed)
                for pipe in select.select(list(running), [], [])[0]:
                    pid, name, pieces, printed = running[pipe]
                    piece = os.read(pipe, 65536)
                    pieces.append(piece)
                    if not piece:
                        os.close(pipe)
                        os.waitpid(pid, 0)
                        del running[pipe]
                        _report(name, b"".join(pieces), printed, result)
                        os.close(printed)
        finally:
            for pid, *_ in running.values():  # Interrupted.
                os.kill(pid, signal.SIGTERM)
                os.waitpid(pid, 0)
        return result


def _unnamed_file() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _fork(suite: Suite, printed: int) -> tuple[int, int]:
    """Run a suite in a child; return its PID and the pipe it reports to.

    The child and its descendants write stdout and stderr to the file `printed`.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    try:
        os.close(reader)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        record, name = _Record(printed), _name(suite)
        suite.run(record)
        record.check_printed(name)  # For output after the last test, as in tearDownClass.
        with os.fdopen(writer, "wb") as file:
            pickle.dump(record.events, file)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)


class _Record(unittest.TestResult):
    """Records results as picklable events: (name, method, text or None)."""

    def __init__(self, printed: int) -> None:
        super().__init__()
        self.events: list[tuple[str, str, str | None]] = []
        self._printed = printed
        self._checked = 0  # Bytes of `printed` that were checked.

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        self.check_printed(test)

    def check_printed(self, test: object) -> None:
        """Record a failure if `printed` grew since the last check."""
        sys.stdout.flush()
        sys.stderr.flush()
        text = _read(self._printed, self._checked)
        if text:
            self._checked = os.fstat(self._printed).st_size
            self._add(test, "addFailure", f"printed to stdout or stderr:\n{text}")

    def _add(self, test: object, method: str, text: str | None = None) -> None:
        self.events.append((str(test), method, text))

    def addSuccess(self, test):
        self._add(test, "addSuccess")

    def addError(self, test, err):
        self._add(test, "addError", self._exc_info_to_string(err, test))

    def addFailure(self, test, err):
        self._add(test, "addFailure", self._exc_info_to_string(err, test))

    def addSkip(self, test, reason):
        self._add(test, "addSkip", reason)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            is_failure = issubclass(err[0], test.failureException)
            text = self._exc_info_to_string(err, test)
            self._add(subtest, "addFailure" if is_failure else "addError", text)


class _RemoteTest(unittest.TestCase):
    """The name of a test that ran in a child."""

    def __init__(self, name: str) -> None:
        super().__init__("runTest")
        self._name = name

    def runTest(self):
        raise NotImplementedError

    def id(self) -> str:
        return self._name

    __str__ = id


class RemoteError(Exception):
    """The text of an exception that a child caught."""


def _name(suite: Suite) -> str:
    """The module of a file's tests, of which there is at least one."""
    while isinstance(suite, unittest.TestSuite):
        suite = next(part for part in suite if part.countTestCases())
    return type(suite).__module__


def _read(file: int, start: int) -> str:
    return os.pread(file, os.fstat(file).st_size - start, start).decode("utf-8", "replace")


def _report(name: str, events: bytes, printed: int, result: unittest.TestResult) -> None:
    if not events:
        lost = _RemoteTest(name)
        result.startTest(lost)
        error = RemoteError(f"its process died\n{_read(printed, 0)}")
        result.addError(lost, (RemoteError, error, None))
        result.stopTest(lost)
        return
    for name, method, text in pickle.loads(events):
        test = _RemoteTest(name)
        result.startTest(test)
        if method == "addSuccess":
            result.addSuccess(test)
        elif method == "addSkip":
            result.addSkip(test, text)
        else:
            error = RemoteError("\n" + (text or ""))
            getattr(result, method)(test, (RemoteError, error, None))
        result.stopTest(test)
