"""The worker: claims a job, runs it, settles it and claims the next in the same transaction.

What is wanted of a worker is said in two places, and the stronger counts: its row (`worker stop`)
and the signals it got (SIGTERM or SIGINT: stop when the job is done; a second one: stop now). The
bell and the poll only make it look. The worker does not know the store's module: a store is
passed in, and so is the clock.
"""

from __future__ import annotations

import os
import select
import signal
import tempfile
import time
from collections import namedtuple

from . import runner, settings
from .bell import Bell
from .errors import DatabaseBusy, DatabaseFull, QueueError
from .identity import birth, end_leftovers
from .lifecycle import Job, Outcome, judge
from .process import CannotStart, Command, Output

POLL = 0.4  # Seconds between two looks of the lookout: for what foreign SQL did.
FIRST_RECORD = 0.05  # A job that runs for longer than this is worth a write of its own;
RECORD = 0.2  # new output is kept this soon from then on.
HEALTH_CHECK = 2.0  # Seconds between two looks for workers that died, and of the others.
LARGEST_BLOCK = 512 * 1024  # Bytes that are allocated and freed again and again, at most.
RETRY_WRITE = 0.5  # Seconds between two tries when there is no room to write.

STRENGTH = {"run": 0, "stop": 1, "stop-now": 2, None: 3}
SUCCESS = Outcome("exit", 0)
# What a command is ended for (an outcome's kind), by what is asked of the worker that runs it.
END_FOR = {"stop-now": "released", "cancelled": "cancelled", "evicted": "evicted"}

# The claim of a worker that was signalled to stop, without looking.
NoClaim = namedtuple("NoClaim", "job wanted next_due")
NO_CLAIM = NoClaim(None, "stop", None)

# What a fleet gives to each of its workers: its queues (comma-separated; None: all), whether to
# leave once nothing is left to do, the jobs' environment (bytes to bytes), and two callables:
# `rescue()` looks for dead workers (and says whether to look again soon), `say(line)` is told what
# happens.
Orders = namedtuple("Orders", "queues drain environment rescue say")


class Inbox:
    """All that can wake a worker: signals (SIGCHLD too), its bell, and the pipes of its job."""

    def __init__(self) -> None:
        self._bell: Bell | None = None
        self._pipes: list[int] = []
        self._poll = select.poll()
        self._signals = 0
        self._alarm, writer = os.pipe()
        for fd in (self._alarm, writer):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._count)
        signal.signal(signal.SIGINT, self._count)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # Its wake-up is all that is wanted of it.
        self._poll.register(self._alarm, select.POLLIN)

    def listen_to(self, bell: Bell) -> None:
        """From now on a ring of this bell ends a sleep too."""
        if bell.fd >= 0:
            self._bell = bell
            self._poll.register(bell.fd, select.POLLIN)

    def watch(self, pipes: list[int]) -> None:
        """From now on these pipes end a sleep too, and no longer those before."""
        for fd in self._pipes:
            self._poll.unregister(fd)
        for fd in pipes:
            self._poll.register(fd, select.POLLIN)
        self._pipes = pipes

    def _count(self, number: int, frame: object) -> None:
        self._signals += 1

    @property
    def wanted(self) -> str:
        """What the signals so far ask for."""
        return ("run", "stop", "stop-now")[min(self._signals, 2)]

    def wait(self, seconds: float) -> tuple[list[int], bool]:
        """Sleep until something happens: (the pipes that are readable, whether the bell rang)."""
        readable = []
        rang = False
        # Rounded up, so that what is due in a fraction of a millisecond does not spin.
        for fd, _ in self._poll.poll(int(seconds * 1000 + 0.999)):
            if fd == self._alarm:
                os.read(fd, 4096)  # What woke us is known: a SIGCHLD, or signals that are counted.
            elif self._bell is not None and fd == self._bell.fd:
                self._bell.silence()
                rang = True
            else:
                readable.append(fd)
        return readable, rang


class Worker:
    """One worker process; `run` is its life."""

    def __init__(self, store, id: int, orders: Orders, inbox: Inbox, clock=time.time) -> None:
        self._store = store
        self._id = id
        self._orders = orders
        self._inbox = inbox
        self._clock = clock
        self._next_health_check = 0.0
        self._nothing = os.open(os.devnull, os.O_RDONLY)
        # Once a block of this size is freed, glibc keeps twice as much instead of giving it back and
        # fetching it anew for each transaction (mallopt(3), M_MMAP_THRESHOLD): 13 µs a job.
        bytearray(LARGEST_BLOCK)

    def run(self) -> bool:
        """Work until asked to stop or, with `drain`, until nothing is left; False: evicted."""
        claim = self._claim()
        while True:
            if self._check_health():  # Also when there is always a next job.
                self._store.check_file()
            wanted = self._stronger(claim.wanted)
            if claim.job:
                # Whatever is wanted: a claimed job is run and settled. "Now" ends it at once.
                claim = self._work(claim.job, claim.config)
            elif wanted != "run":
                return wanted is not None
            elif self._orders.drain and self._persist(self._store.is_drained, self._orders.queues):
                return True
            else:
                claim = self._idle(claim)

    def _claim(self, idle: bool = False):
        if self._inbox.wanted != "run":
            return NO_CLAIM
        self._seen_version = self._persist(self._store.data_version)
        return self._persist(self._store.claim, self._id, self._orders.queues, idle)

    def _idle(self, claim):
        """Sleep until the bell rings, a job is due or the database changes; then claim.

        What foreign SQL did is looked for by one idle worker for all that take the same queues: did all,
        64 of them would cost 3 % of a core. When draining, each looks for the end.
        """
        os.chdir("/")  # Out of the last job's directory: it may have to be unmounted.
        queues = self._orders.queues
        is_lookout, is_noted = self._persist(self._store.lookout, self._id, queues)
        poll = POLL if is_lookout or self._orders.drain or not is_noted else HEALTH_CHECK
        due_in = poll if claim.next_due is None else claim.next_due - self._clock()
        _, rang = self._inbox.wait(max(0.0, min(poll, due_in)))
        is_due = claim.next_due is not None and claim.next_due <= self._clock()
        is_called = rang or not is_noted
        if is_called or is_due or self._persist(self._store.data_version) != self._seen_version:
            # Who rang marked us as busy: a full claim marks us as idle again if there is nothing.
            claim = self._claim(idle=not is_called)
            if claim.job:
                self._persist(self._store.hand_over, self._id, queues)
        return claim

    def _work(self, job: Job, config: dict):
        """Run one attempt, settle it, and return the next claim."""
        output = Output(job.output_limit)
        outcome = self._attempt(job, output, config)
        if outcome.kind != "unstarted" and outcome != SUCCESS:
            self._end_remote(job, config)
        verdict = judge(job, outcome, self._clock())
        fresh, stale = output.pending()
        settled, claim = self._persist(
            self._store.settle, job, outcome, verdict, fresh, stale, output.dropped,
            self._orders.queues if self._inbox.wanted == "run" else "",
        )  # fmt: skip
        if settled:
            self._orders.say("%s %s: %s" % (verdict.move, job.id, verdict.error or "exit 0"))
        else:
            self._orders.say("%s is not ours any more; what it did does not count" % job.id)
        return claim or self._claim()

    def _attempt(self, job: Job, output: Output, config: dict) -> Outcome:
        """Run the job's command to its end, keeping its output as it comes."""
        token = self._store.token(job)
        try:
            command = self._start(job, token, output, config)
        except CannotStart as error:
            return Outcome("unstarted", detail=str(error))
        self._inbox.watch(command.fds)
        try:
            outcome = self._watch(job, command)
        except BaseException:
            # We cannot settle, and are about to leave: nobody is left to end it but we.
            end_leftovers(token, command.pid, birth(command.pid))
            raise
        finally:
            self._inbox.watch([])
        if outcome.kind not in ("exit", "signal"):
            # It did not end by itself: what escaped its process group may not go on either.
            end_leftovers(token, None, None)
        return outcome

    def _watch(self, job: Job, command: Command) -> Outcome:
        """Keep its output and do what is asked of us until the command has ended."""
        identified = False
        look_at = command.started + FIRST_RECORD
        self._obey(command, self._inbox.wanted)
        while command.outcome is None:
            due = min(command.due_at(), look_at) - time.monotonic()
            readable, rang = self._inbox.wait(max(0.0, due))
            for fd in readable:
                command.read(fd)
            command.check()
            self._obey(command, self._inbox.wanted)
            now = time.monotonic()
            if command.outcome is None and (rang or now >= look_at):
                identified = self._record(job, command, identified)
                self._check_health()
                look_at = now + HEALTH_CHECK
            elif readable:
                look_at = min(look_at, now + RECORD)
        return command.outcome

    def _end_remote(self, job: Job, config: dict) -> None:
        """Run the queue's runner-kill, if there is one, until it succeeds.

        Raises QueueError when it failed and we are to stop at once: who starts next rescues the job.
        """
        told = None
        while True:
            line = settings.of_queue(config, job.queue, "runner-kill")
            failure = self._kill(line, job) if line else None
            if failure is None:
                return
            if failure != told:
                told = failure
                self._orders.say("%s %s; trying again" % (job.id, failure))
                self._persist(self._store.note, job, failure)
            if self._stronger(self._persist(self._store.wanted, self._id)) in ("stop-now", None):
                raise QueueError("%s is left as it is: it %s" % (job.id, failure))
            self._inbox.wait(HEALTH_CHECK)
            self._check_health()
            config = self._persist(self._store.config)  # Perhaps it has been mended.

    def _kill(self, line: str, job: Job) -> str | None:
        """Run a runner-kill once; returns why it failed, or None."""
        try:
            kill = runner.Kill(line, job, self._environment(job, self._store.token(job)))
        except CannotStart as error:
            return runner.failure(str(error))
        command = kill.command
        self._inbox.watch(command.fds)
        while command.outcome is None:
            due_in = command.due_at() - time.monotonic()
            for fd in self._inbox.wait(max(0.0, due_in))[0]:
                command.read(fd)
            command.check()
        self._inbox.watch([])
        return kill.failure

    def _start(self, job: Job, token: str, output: Output, config: dict) -> Command:
        stdin = self._nothing if job.stdin is None else self._stored_input(job)
        try:
            return Command(
                runner.argv(config, job, token),
                self._directory(job),
                self._environment(job, token),
                job.timeout,
                job.kill_grace,
                output,
                stdin,
            )
        finally:
            if stdin != self._nothing:
                os.close(stdin)

    def _stored_input(self, job: Job) -> int:
        """A descriptor to read the job's standard input from: a file without a name."""
        try:
            with tempfile.TemporaryFile() as file:
                file.write(self._store.input(job) or b"")
                file.seek(0)
                return os.dup(file.fileno())
        except OSError as error:
            raise CannotStart("its standard input: %s" % error.strerror) from None

    def _obey(self, command: Command, asked: str) -> None:
        if asked in END_FOR:
            command.end(END_FOR[asked])

    def _record(self, job: Job, command: Command, identified: bool) -> bool:
        """Keep what the job printed so far and, once, who its command is; do what is asked of us."""
        fresh, stale = command.output.pending()
        who: tuple[int | None, str | None] = (None, None)
        if not identified:
            who = (command.pid, birth(command.pid))
            self._orders.say("claim %s: attempt %d, pid %d" % (job.id, job.attempts, command.pid))
        try:
            if fresh or stale or not identified:
                self._store.record(job, fresh, stale, *who)
                command.output.stored()
            self._obey(command, self._store.asked(job))
        except (DatabaseBusy, DatabaseFull) as error:
            self._orders.say("%s; what %s prints is kept in memory" % (error, job.id))
            return identified
        return True

    def _environment(self, job: Job, token: str) -> dict[bytes, bytes]:
        return runner.environment(self._orders.environment, job, token, self._store.path)

    def _directory(self, job: Job) -> bytes:
        # A job that came by foreign SQL may name no directory.
        if job.cwd is None:
            return self._orders.environment.get(b"HOME") or b"/"
        return job.cwd.encode("utf-8", "surrogateescape")

    def _check_health(self) -> bool:
        """Now and then, rescue others and prune; whether it was time to."""
        now = time.monotonic()
        if now < self._next_health_check:
            return False
        self._next_health_check = now + HEALTH_CHECK
        try:
            if self._orders.rescue(self._store):
                self._next_health_check = now + RECORD
            self._store.retain()
        except (DatabaseBusy, DatabaseFull):
            pass  # At the next look.
        return True

    def _stronger(self, of_row: str | None) -> str | None:
        return max(of_row, self._inbox.wanted, key=STRENGTH.__getitem__)

    def _persist(self, verb, *arguments):
        """Do a store's verb, waiting while there is no room to write or the lock is held."""
        while True:
            try:
                return verb(*arguments)
            except (DatabaseBusy, DatabaseFull) as error:
                if self._inbox.wanted == "stop-now":
                    raise  # The job is left as it is: whoever starts next rescues it.
                self._orders.say("%s; trying again" % error)
                self._inbox.wait(RETRY_WRITE)
