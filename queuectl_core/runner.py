"""A queue's runner: what its jobs run under, on this machine or, through it, on others.

The runner is a command prefix, `/bin/sh -c` by default; a job's command becomes its last argument.
So the process that we run is the runner's, and its exit code, output and signals are the job's.
`{token}` in a runner is the mark of the attempt, for a name to find its remote part by:

    srun -Q -n1 --job-name={token} sh -c

A remote part may outlive its runner: a lost connection, a SIGKILL after the grace, a killed worker.
What ends it for certain is the queue's runner-kill, with the same mark in its environment. It is
run after each attempt that did not exit 0, and before an attempt of a lost worker is settled, again
and again until it exits 0; which is to mean that nothing of this attempt runs any more.
"""

from __future__ import annotations

import os
import shlex
from functools import lru_cache

from .errors import BadInput
from .identity import TOKEN_VARIABLE
from .jobspec import variables
from .lifecycle import Job, describe
from .process import CannotStart, Command, Output
from .settings import of_queue

KILL_TIMEOUT = 60.0  # Seconds that a runner-kill has;
KILL_GRACE = 2.0  # and to end by itself then.
KILL_OUTPUT = 4096  # Bytes kept of what it prints; the last line tells why it failed.


def argv(config: dict, job: Job, token: str) -> list[bytes]:
    """The words to run for `job`: the runner of its queue, then its command."""
    runner = of_queue(config, job.queue, "runner")
    words = [word.replace("{token}", token).encode() for word in _split(runner)]
    return [*words, job.command.encode("utf-8", "surrogateescape")]


@lru_cache(maxsize=64)
def _split(runner: str) -> list[str]:
    return shlex.split(runner)  # It costs as much as writing a job's end: 25 µs.


def environment(base: dict[bytes, bytes], job: Job, token: str, database: str) -> dict[bytes, bytes]:
    """What a job and its queue's runner-kill have in their environment: `base`, and whose they are.

    Raises CannotStart where foreign SQL gave the job an `env` that is none.
    """
    made = dict(base)
    try:
        for key, value in variables(job.env).items():
            made[os.fsencode(key)] = value.encode("utf-8", "surrogateescape")
    except BadInput as error:
        raise CannotStart(str(error)) from None
    made[b"QUEUECTL_JOB_ID"] = job.id.encode("utf-8", "surrogateescape")
    made[b"QUEUECTL_ATTEMPT"] = b"%d" % job.last_attempt
    made[b"QUEUECTL_QUEUE"] = job.queue.encode("utf-8", "surrogateescape")
    made[b"QUEUECTL_DB"] = os.fsencode(database)
    made[TOKEN_VARIABLE.encode()] = token.encode()
    return made


class Kill:
    """One run of a runner-kill, for one attempt of `job`.

    Its `command` is to be read and checked until it has an outcome; then `failure` tells.
    """

    def __init__(self, line: str, job: Job, environment: dict[bytes, bytes]) -> None:
        """Start it. Raises CannotStart."""
        self._job = job._replace(timeout=KILL_TIMEOUT)
        self._output = Output(KILL_OUTPUT)
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            self.command = Command(
                [b"/bin/sh", b"-c", line.encode()],
                b"/",
                environment,
                KILL_TIMEOUT,
                KILL_GRACE,
                self._output,
                nothing,
            )
        finally:
            os.close(nothing)

    @property
    def failure(self) -> str | None:
        """Why what it was to end may still run, in words; None when it succeeded."""
        assert self.command.outcome
        why = describe(self._job, self.command.outcome)[1]
        if why is None:
            return None
        printed = b"".join(data for _, _, data in self._output.pending()[0])
        lines = printed.decode("utf-8", "replace").split("\n")
        last = [line.strip() for line in lines if line.strip()][-1:]
        return failure(why, *last)


def failure(why: str, *told: str) -> str:
    """What a user reads of a job whose runner-kill failed."""
    return ": ".join(("may still run: runner-kill", why, *told))
