"""Imports the modules of a bundle that its shell script has started: see stub.py. Faster than zipimport by 4 ms.

Runs in the module __main__, before anything else of the program.
"""

from __future__ import annotations

import os
import sys
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import BinaryIO, Dict, Tuple

    # Where a module's bytecode starts in the archive, how long it is, and whether the module is a package.
    Places = Dict[str, Tuple[int, int, bool]]


class Importer:
    """Finds and loads modules, as sys.meta_path and importlib ask for them."""

    def __init__(self, file: BinaryIO, index: int, hot: int) -> None:
        """Read the index of this many bytes, and the start of the archive with the modules that most commands need."""
        self.version: str
        self._places: Places
        self.version, self._places = loads(file.read(index))
        self.archive = os.path.abspath(file.name)
        self._start = file.tell()
        self._code = file.read(hot)
        self._file = os.fstat(file.fileno())

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """How to load a module; None for those of others."""
        if name not in self._places:
            return None
        is_package = self._places[name][2]
        file = f"{self.archive}/{name.replace('.', '/')}{'/__init__' if is_package else ''}.py"
        spec: ModuleSpec = type(sys.__spec__)(name, self, origin=file, is_package=is_package)  # type: ignore
        spec.has_location = True  # So the module gets a __file__.
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave that to importlib."""

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's code in it."""
        start, size, _ = self._places[module.__name__]
        if start + size > len(self._code):
            self._read_all()
        exec(loads(self._code[start : start + size]), vars(module))

    def _read_all(self) -> None:
        """Read all code. From then on, replacing the file doesn't matter."""
        with open(self.archive, "rb") as file:
            if not os.path.samestat(os.fstat(file.fileno()), self._file):
                raise ImportError(f"{self.archive} was replaced while it was running")
            file.seek(self._start)
            self._code = file.read(max(start + size for start, size, _ in self._places.values()))

    def get_data(self, path: str) -> bytes:
        """The contents of a file in the bundle."""
        from zipimport import zipimporter

        return zipimporter(self.archive).get_data(path)


def start(file: BinaryIO, index: int, hot: int) -> None:
    """Have the program's modules imported from the bundle that is open as `file`, at its index. See Importer."""
    del sys.argv[0]
    os.environ.pop("QUEUECTL_OLD_PYTHON", None)
    if sys.argv[1:3] == ["worker", "start"] and sys.executable:
        # Workers run for long, so they get a command line that is easy to read in `ps`.
        os.execv(sys.executable, [sys.executable, "-IS", *sys.argv])
    sys.meta_path.insert(0, Importer(file, index, hot))
    file.close()
