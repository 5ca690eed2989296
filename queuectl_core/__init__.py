"""A background job queue for one machine, on one SQLite file. Standard library only.

For the Python API, `from queuectl_core import Queue`; see library.py.
"""

import sys

# Every entry point imports this file first, so old Pythons must be able to parse it.
if sys.version_info < (3, 8):
    sys.stderr.write("queuectl: needs Python 3.8 or later; this is %s\n" % sys.version.split()[0])
    sys.exit(3)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .library import Queue as Queue
    from .version import __version__ as __version__


def __getattr__(name):  # type: (str) -> object
    # Deferred: the command line starts faster without these.
    if name == "Queue":
        from .library import Queue

        return Queue
    if name == "__version__":
        from .version import __version__

        return __version__
    raise AttributeError("module %r has no attribute %r" % (__name__, name))
