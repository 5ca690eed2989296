"""A background job queue for one machine, on one SQLite file. Standard library only.

As a library it is `from queuectl_core import Queue`: see queue.py.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .queue import Queue as Queue


def __getattr__(name: str) -> object:
    # Loaded when it is asked for: the command line does not need it, and is to start fast.
    if name == "Queue":
        from .queue import Queue

        return Queue
    raise AttributeError("module %r has no attribute %r" % (__name__, name))
