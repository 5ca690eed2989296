"""The worker: claims a job, runs it, then settles it and claims the next one in the same transaction.

A worker is asked to stop by its row (`worker stop`) or by signals (the first SIGTERM or SIGINT: stop when the job is
done; the second: stop now). It obeys the stronger request. The bell and the poll only make it check.
"""

from __future__ import annotations

import os
import time

from .. import settings
from ..errors import DatabaseBusy, DatabaseFull, QueueError, Refused
from ..lifecycle import Outcome, judge, malformed
from ..records import Identity
from ..store.claims import Claim
from ..typed import NamedTuple
from . import runner
from .identity import ended, identity_of
from .leftovers import described, end_leftovers
from .lifeline import Lifeline
from .log import halt_text
from .orphans import Orphans
from .output import Output
from .process import CannotStart, CannotStartNow, Command, Invocation
from .shell import Shell
from .suspension import Suspension

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from ..lifecycle import Job
    from ..settings import Config
    from ..store import Store
    from .inbox import Inbox
    from .log import Log
    from .page import Page
    from .rescue import Rescuer

    Result = TypeVar("Result")

POLL = 0.4  # Seconds between the lookout's checks for jobs that other programs inserted.
FIRST_RECORD = 0.05  # Seconds until a running job is first recorded. Shorter jobs save that write.
RECORD = 0.2  # After that, seconds until new output is stored.
HEALTH_CHECK = 2.0  # Seconds between checks for dead workers, and between the checks of other idle workers.
LARGEST_BLOCK = 512 * 1024  # Bytes. No larger block is allocated and freed repeatedly.
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0  # Seconds before the next claim if the machine can't start a job.
RETRY_WRITE = 0.5  # Seconds between attempts to write to the database while that fails.

STRENGTH = {"run": 0, "stop": 1, "stop-now": 2, None: 3}
SUCCESS = Outcome("exit", 0)
# What a worker is asked to do, and why it ends its command then (an Outcome's kind).
END_FOR = {"stop-now": "released", "cancelled": "cancelled", "evicted": "evicted"}

# For a worker that a signal asked to stop, without a query.
NO_CLAIM = Claim(None, "stop", None, {})


class Orders(NamedTuple):
    """What a worker is started with.

    `queues` is a comma-separated list, or None for all; with `drain` it exits once nothing is left to do.
    `environment` is that of its jobs, `page` where it notes daemons; see page.py.
    """

    queues: str | None
    drain: bool
    environment: dict[bytes, bytes]
    rescuer: Rescuer
    log: Log
    page: Page | None = None


class Worker:
    """One worker process. `run` is its whole life."""

    def __init__(
        self,
        store: Store,
        id: int,
        orders: Orders,
        inbox: Inbox,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._id = id
        self._orders = orders
        self._inbox = inbox
        self._clock = clock
        self._next_health_check = 0.0
        self._clock_ahead = clock() - time.monotonic()
        self._delay = 0.0  # Before the next claim, while the machine can't start jobs.
        self._null = os.open(os.devnull, os.O_RDONLY)
        self._lifeline = Lifeline(store.path, id)
        self._orphans = Orphans(orders.rescuer.kills, orders.page)
        self._shell = Shell(inbox, self._null)
        # Once a block of this size has been freed, glibc keeps twice as much instead of returning it to the system
        # after each transaction (mallopt(3), M_MMAP_THRESHOLD). Saves 13 µs per job.
        bytearray(LARGEST_BLOCK)

    def run(self) -> bool:
        """Work until asked to stop or, with `drain`, until nothing is left. False if it was taken for dead."""
        claim = self._claim()
        while True:
            if self._check_health():  # Here too: running short jobs, it never checks in _watch.
                self._store.check_file()
            wanted = self._stronger(claim.wanted)
            if claim.job:
                # A claimed job is always run and settled; "stop-now" ends it at once.
                claim = self._work(claim.job, claim.config)
            elif wanted != "run":
                return wanted is not None
            elif self._orders.drain and self._persist(self._store.is_drained, self._orders.queues):
                return True
            else:
                claim = self._idle(claim)

    def _claim(self, idle: bool = False) -> Claim:
        if self._inbox.wanted != "run":
            return NO_CLAIM
        self._seen_version = self._persist(self._store.data_version)
        return self._persist(self._store.claim, self._id, self._orders.queues, idle)

    def _idle(self, claim: Claim) -> Claim:
        """Sleep until the bell rings, a job is due or the database changes; then claim.

        Other programs' INSERTs ring no bell, so one idle worker per set of queues polls for the rest: 64 polling
        workers would take 3% of a core. When draining, each one polls for the end.
        """
        os.chdir("/")  # Not in the last job's directory, which a user may want to unmount.
        queues = self._orders.queues
        is_lookout, is_marked = self._persist(self._store.lookout, self._id, queues)
        poll = POLL if is_lookout or self._orders.drain or not is_marked else HEALTH_CHECK
        due_in = poll if claim.next_due is None else claim.next_due - self._clock()
        _, rang = self._inbox.wait(max(0.0, min(poll, due_in)))
        self._orphans.end("")  # Note on the page what has been adopted since.
        is_due = claim.next_due is not None and claim.next_due <= self._clock()
        is_called = rang or not is_marked
        if is_called or is_due or self._persist(self._store.data_version) != self._seen_version:
            # The process that rang marked us as busy; a full claim marks us as idle again if it finds no job.
            claim = self._claim(idle=not is_called)
            if claim.job:
                self._persist(self._store.hand_over, self._id, queues)
        return claim

    def _work(self, job: Job, config: Config) -> Claim:
        """Run one attempt, settle it, and return the next claim."""
        fault = malformed(job)
        output = Output(0 if fault else job.output_limit)
        outcome = Outcome("unrunnable", detail=fault) if fault else self._attempt(job, output, config)
        # Before it is settled: the next attempt must not meet this one's daemons.
        self._lifeline.end(may_be_shared=self._orphans.end(self._store.token(job)))
        if outcome.detail is None and outcome != SUCCESS:  # With a detail, nothing was started.
            self._end_remote(job, config)
        verdict = judge(job, outcome, self._clock())
        claim: Claim | None = None
        is_machine_busy = outcome.kind == "released" and outcome.detail is not None
        result = (job, outcome, verdict, output.pending())
        try:
            if self._inbox.wanted == "run" and not is_machine_busy:
                settled, claim = self._persist(self._store.settle_and_claim, *result, self._orders.queues)
            else:
                settled = self._persist(self._store.settle, *result)
        except Refused:
            settled = self._persist(self._store.settle_or_bury, *result)
        taken = f"{job.id} was taken from this worker; its result is discarded"
        self._orders.log(f"{verdict.move} {job.id}: {verdict.error or 'exit 0'}" if settled else taken)
        if self._store.halted:
            self._orders.log(halt_text(job, *self._store.halted))
        self._back_off(is_machine_busy)
        return claim or self._claim()

    def _back_off(self, is_machine_busy: bool) -> None:
        """While the machine can't start jobs, sleep longer each time, unless asked to stop."""
        self._delay = min(LONGEST_DELAY, max(FIRST_DELAY, self._delay * 2)) if is_machine_busy else 0.0
        until = time.monotonic() + self._delay
        while self._delay and self._inbox.wanted == "run" and time.monotonic() < until:
            self._inbox.wait(until - time.monotonic())
            if self._persist(self._store.wanted, self._id) != "run":
                return

    def _attempt(self, job: Job, output: Output, config: Config) -> Outcome:
        """Run the job's command to its end, storing its output as it comes."""
        token = self._store.token(job)
        self._obstacle: str | None = None
        try:
            self._orphans.begin()
            command = self._start(job, token, output, config)
        except (CannotStartNow, OSError) as error:
            return Outcome("released", detail=f"cannot start now: {error}")
        except CannotStart as error:
            return Outcome("unstarted", detail=str(error))
        except QueueError:
            raise
        except Exception as error:  # Nothing was started. Whatever is wrong with this job, others must run.
            return Outcome("unrunnable", detail=repr(error))
        self._inbox.watch(command.fds)
        self._suspension = Suspension(token, command, self._orphans)
        try:
            outcome = self._watch(job, command)
        except BaseException:
            # We can't settle it and are about to exit, and no other process would end it soon.
            end_leftovers(token, self._identity(command) or ended(command.pid), spared=self._orphans.spared)
            raise
        finally:
            self._inbox.watch([])
        if outcome.kind == "signal" and command.invocation.program:
            outcome, report = self._shell.killed(outcome.code, command.dumped_core, command.invocation)
            if report:
                output.add(2, report)
        if outcome.kind not in ("exit", "signal"):
            # It was ended, so what escaped its process group must end too.
            self._end_leftovers(job, token, command.pid)
        return outcome

    def _end_leftovers(self, job: Job, token: str, pid: int) -> None:
        """End what is left of an attempt whose command has ended, waiting for processes that we can't signal.

        Raises QueueError if we must stop now. The next worker to start rescues the job.
        """
        while self._orphans.reap():  # Without children, nothing can be left.
            try:
                left = end_leftovers(token, ended(pid), spared=self._orphans.spared)
                if not left:
                    if self._orphans.kill(token):
                        continue
                    return
                obstacle = described(left)
            except OSError as error:  # We are out of descriptors or memory.
                obstacle = f"may still run: cannot list processes: {error.strerror}"
            self._report_obstacle(job, obstacle)
            self._persist(self._store.withdraw_suspension, job)
            self._inbox.wait(HEALTH_CHECK)
            self._check_health()

    def _report_obstacle(self, job: Job, obstacle: str) -> None:
        """Record why a job isn't settled yet. Raises QueueError if we must stop now."""
        if obstacle != self._obstacle:
            self._obstacle = obstacle
            self._orders.log(f"{job.id} {obstacle}; waiting")
            self._persist(self._store.note, job, obstacle)
        if self._stronger(self._persist(self._store.wanted, self._id)) in ("stop-now", None):
            raise QueueError(f"{job.id} is not settled: it {obstacle}")

    def _watch(self, job: Job, command: Command) -> Outcome:
        """Store the command's output and obey requests until it has ended."""
        identified = False
        record_at = command.started + FIRST_RECORD
        self._obey(command, self._inbox.wanted)
        while command.outcome is None:
            due = min(command.due_at(), record_at) - time.monotonic()
            readable, rang = self._inbox.wait(max(0.0, due))
            for fd in readable:
                command.read(fd)
            command.check()
            self._obey(command, self._inbox.wanted)
            now = time.monotonic()
            if command.outcome is None and (rang or now >= record_at):
                identified = self._record(job, command, identified)
                if command.obstacle:
                    self._report_obstacle(job, command.obstacle)
                self._check_health(is_busy=True)
                self._orphans.reap(command.pid)
                record_at = now + HEALTH_CHECK
            elif readable:
                record_at = min(record_at, now + RECORD)
        return command.outcome

    def _end_remote(self, job: Job, config: Config) -> None:
        """Run the queue's runner-kill, if there is one, until it succeeds.

        Raises QueueError if it failed and we must stop now. The next worker to start rescues the job.
        """
        kills, token = self._orders.rescuer.kills, self._store.token(job)
        while True:
            line = str(settings.of_queue(config, job.queue, "runner-kill"))
            if not line or self._persist(kills.drive, self._store, job, line):
                return
            if kills.is_running(token):
                self._inbox.watch(kills.fds(token))
                self._inbox.wait(min(HEALTH_CHECK, kills.due_in(token)))
                self._inbox.watch([])
            elif self._stronger(self._persist(self._store.wanted, self._id)) in ("stop-now", None):
                raise QueueError(f"{job.id} is not settled: it {kills.failure(token)}")
            else:
                self._inbox.wait(HEALTH_CHECK)
            self._check_health()
            config = self._persist(self._store.config)  # A user may have fixed the runner-kill.

    def _start(self, job: Job, token: str, output: Output, config: Config) -> Command:
        stdin = self._null if job.stdin is None else runner.stored_input(self._store, job)
        try:
            invocation = Invocation(
                runner.argv(config, job, token),
                self._directory(job),
                runner.environment(self._orders.environment, job, token, self._store.path),
                stdin,
                self._lifeline.begin(),
            )
            direct = self._shell.bypass(config, job, invocation)
            try:
                return Command(direct or invocation, job.timeout, job.kill_grace, output)
            except CannotStart:
                if direct is None:
                    raise
            return Command(invocation, job.timeout, job.kill_grace, output)  # The shell says what is wrong.
        finally:
            if stdin != self._null:
                os.close(stdin)

    def _obey(self, command: Command, asked: str) -> None:
        if asked in END_FOR:
            command.end(END_FOR[asked])
        if command.is_ending:
            self._suspension.lift()

    def _record(self, job: Job, command: Command, identified: bool) -> bool:
        """Store new output and, once, the command's identity; obey requests. Returns whether the identity is stored."""
        output = command.output.pending()
        process: Identity | None = None
        if not identified:
            process = self._identity(command)
            self._orders.log(f"claim {job.id}: attempt {job.attempts}, pid {command.pid}")
        try:
            if output.fresh or output.stale or not identified:
                self._store.record(job, output, process)
                command.output.stored()
            asked = self._store.asked(job)
            self._obey(command, asked)
            self._suspension.follow(self._store, job, asked == "suspended")
        except (DatabaseBusy, DatabaseFull) as error:
            self._orders.log(f"{error}; keeping the output of {job.id} in memory")
            return identified
        return True

    @staticmethod
    def _identity(command: Command) -> Identity | None:
        try:
            return identity_of(command.pid)
        except OSError:
            return None  # We are out of descriptors or memory. Its token and its lock will do.

    def _directory(self, job: Job) -> bytes:
        # Jobs that other programs inserted may have none.
        if job.cwd is None:
            return self._orders.environment.get(b"HOME") or b"/"
        return job.cwd.encode("utf-8", "surrogateescape")

    def _check_health(self, is_busy: bool = False) -> bool:
        """Every few seconds, rescue the jobs of dead workers, and prune; returns whether it was time.

        A worker whose job is running for long (`is_busy`) fires schedules here, since it doesn't claim.
        """
        now = time.monotonic()
        if now < self._next_health_check:
            return False
        self._next_health_check = now + HEALTH_CHECK
        try:
            if self._orders.rescuer.look(self._store):
                self._next_health_check = now + RECORD
            self._store.retain()
            self._store.roll_up()
            if self._clock_was_set_back():
                self._store.realign()
            if is_busy:
                self._store.fire()
        except (DatabaseBusy, DatabaseFull):
            pass  # The next check tries again.
        return True

    def _clock_was_set_back(self) -> bool:
        """Whether the clock was set back by more than a second since the last call."""
        before, self._clock_ahead = self._clock_ahead, self._clock() - time.monotonic()
        return self._clock_ahead < before - 1

    def _stronger(self, row_wanted: str | None) -> str | None:
        return max(row_wanted, self._inbox.wanted, key=STRENGTH.__getitem__)

    def _persist(self, operation: Callable[..., Result], *arguments: Any) -> Result:
        """Run a store operation, retrying while the database is locked or can't be written."""
        while True:
            try:
                return operation(*arguments)
            except (DatabaseBusy, DatabaseFull) as error:
                if self._inbox.wanted == "stop-now":
                    raise  # The next worker to start rescues the job.
                self._orders.log(f"{error}; trying again")
                self._inbox.wait(RETRY_WRITE)
