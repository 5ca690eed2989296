"""Runs queuectl with parts of it patched.

Tests can kill a worker inside a transaction, or give it another version of the schema, without hooks in the product.
"""

from __future__ import annotations

from tests.harness import PYTHON, ROOT

SCRIPT = """
import os, signal, sys
sys.path.insert(0, %r)
from queuectl_core.cli import main
from queuectl_core.store import schema, sql
from queuectl_core.store import Store

def once(marker):
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False

def die(marker):
    if once(marker):
        os.kill(os.getpid(), signal.SIGKILL)

def owner_of(name):
    return next(owner for owner in Store.__mro__ if name in vars(owner))

def kill_before(name, marker):
    owner = owner_of(name)
    real = getattr(owner, name)
    def method(*arguments, **options):
        die(marker)
        return real(*arguments, **options)
    setattr(owner, name, method)

def kill_after(name, marker):
    owner = owner_of(name)
    real = getattr(owner, name)
    def method(*arguments, **options):
        result = real(*arguments, **options)
        die(marker)
        return result
    setattr(owner, name, method)

%s
sys.argv = ["queuectl", *%r]
main.main()
"""


def patched(patch: str, *words: object) -> list[str]:
    """The command line that executes `patch`, then runs `queuectl WORDS …`.

    After `kill_before(METHOD, MARKER)` or `kill_after(METHOD, MARKER)`, the first process to call that method of Store
    creates the file MARKER and kills itself.
    """
    return [*PYTHON, "-c", SCRIPT % (ROOT, patch, [str(word) for word in words])]
