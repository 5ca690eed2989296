"""The program's own source code, wherever it runs from: a checkout, an installed package or a bundle."""

from __future__ import annotations

import os
import sys
from binascii import crc32

from ..version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

PACKAGE = __name__.partition(".")[0]
SUFFIXES = (".py", ".css", ".js", ".svg")

try:
    START_FOLDER = os.getcwd()  # sys.argv[0] may be relative to it.
except OSError:  # The folder was removed.
    START_FOLDER = "/"


def sources() -> dict[str, bytes]:
    """Each module and each file of the dashboard, by path (such as queuectl_core/cli/__init__.py), sorted."""
    folder = os.path.dirname(os.path.dirname(__file__))
    loader = __loader__  # type: ignore[name-defined]  # Zip importers have get_data too (PEP 302).
    return {
        os.path.join(PACKAGE, name).replace(os.sep, "/"): loader.get_data(os.path.join(folder, name))
        for name in sorted(_names(folder, loader))
    }


def _names(folder: str, loader: Any) -> Iterable[str]:
    if hasattr(loader, "archive"):
        import zipimport

        zipimport.zipimporter(loader.archive)  # Fills the cache.
        # pkgutil uses this too: zipimport has no public list of its files.
        names = zipimport._zip_directory_cache[loader.archive]  # type: ignore[attr-defined]
        return [name[len(PACKAGE) + 1 :] for name in names if _is_ours(name)]
    return [
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, _, names in os.walk(folder)
        for name in names
        if name.endswith(SUFFIXES)
    ]


def _is_ours(name: str) -> bool:
    return name.startswith(PACKAGE + os.sep) and name.endswith(SUFFIXES)


def version() -> str:
    """The version of exactly this code, such as 0.1.0+5f3a2c1d. The part after + is a checksum of all sources."""
    built: str | None = getattr(__loader__, "version", None)  # type: ignore[name-defined]
    if built is not None:  # In a bundle; reading all sources takes 5 ms.
        return built
    checksum = 0
    for name, source in sources().items():
        checksum = crc32(source, crc32(name.encode(), checksum))
    return f"{__version__}+{checksum:08x}"


def program() -> list[str]:
    """The command line that starts this program again, or the version that has replaced it."""
    if hasattr(__loader__, "version"):  # type: ignore[name-defined]  # A bundle that its shell script has started.
        return [sys.executable, "-IS", os.path.join(START_FOLDER, sys.argv[0])]
    # Python's own options, such as -I. Unknown before Python 3.10.
    options = getattr(sys, "orig_argv", [])[1 : -len(sys.argv)]
    return [sys.executable, *options, os.path.join(START_FOLDER, sys.argv[0])]
