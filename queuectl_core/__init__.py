"""A background job queue for one machine, on one SQLite file. Standard library only."""

__version__ = "0.1.0"
