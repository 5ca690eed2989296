"""The program itself, wherever it runs from: a checkout, an installed package, a bundle."""

from __future__ import annotations

import os
import sys
from binascii import crc32

from . import __version__

PACKAGE = __name__.partition(".")[0]

try:
    START_FOLDER = os.getcwd()  # sys.argv[0] may be relative to it.
except OSError:  # It has been removed.
    START_FOLDER = "/"


def sources() -> dict[str, bytes]:
    """The source of each module, by its path (`queuectl_core/cli/__init__.py`), in a fixed order."""
    folder = os.path.dirname(__file__)
    loader = __loader__  # type: ignore[name-defined]  # Also of a zip (PEP 302).
    return {
        os.path.join(PACKAGE, name).replace(os.sep, "/"): loader.get_data(os.path.join(folder, name))
        for name in sorted(_names(folder, loader))
    }


def _names(folder: str, loader) -> list[str]:
    if hasattr(loader, "archive"):
        import zipimport

        # As pkgutil of the standard library does it: zipimport has no other list.
        names = zipimport._zip_directory_cache[loader.archive]  # type: ignore[attr-defined]
        return [name[len(PACKAGE) + 1 :] for name in names if _is_ours(name)]
    return [
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, _, names in os.walk(folder)
        for name in names
        if name.endswith(".py")
    ]


def _is_ours(name: str) -> bool:
    return name.startswith(PACKAGE + os.sep) and name.endswith(".py")


def version() -> str:
    """The version of exactly this code, as in 0.1.0+5f3a2c1d: the latter changes with any source."""
    sum = 0
    for name, source in sources().items():
        sum = crc32(source, crc32(name.encode(), sum))
    return "%s+%08x" % (__version__, sum)


def program() -> list[str]:
    """The words that start this program again, or what is at its place by then."""
    # Python's own options, such as -I: only Python 3.10 and later can tell.
    options = getattr(sys, "orig_argv", [])[1 : -len(sys.argv)]
    return [sys.executable, *options, os.path.join(START_FOLDER, sys.argv[0])]
