"""A background job queue for one machine, on one SQLite file. Standard library only.

As a library it is `from queuectl_core import Queue`: see queue.py.
"""

import sys

__version__ = "0.1.0"

# Here, since every way in comes by. (So nothing in this file may be too new for an old Python.)
if sys.version_info < (3, 8):
    sys.stderr.write("queuectl: needs Python 3.8 or later; this is %s\n" % sys.version.split()[0])
    sys.exit(3)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .queue import Queue as Queue


def __getattr__(name):
    # Loaded when it is asked for: the command line does not need it, and is to start fast.
    if name == "Queue":
        from .queue import Queue

        return Queue
    raise AttributeError("module %r has no attribute %r" % (__name__, name))
