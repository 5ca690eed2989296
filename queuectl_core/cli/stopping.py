"""Waits for workers to stop: which jobs hold them up, for how long, and when those will be killed."""

from __future__ import annotations

import time

from ..errors import WaitTimedOut
from ..suggestion import suggestion
from ..values import counted, span
from .progress import Progress
from .terminal import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ..records import Worker
    from ..store.reader import Reader

POLL = 0.02  # Seconds.
PATIENCE = 0.5  # Seconds before the first word.
MOST_LINES = 10
MOST_JOBS = 3  # In the line of progress.


def wait_for_end(store: Reader, workers: Sequence[Worker], timeout: float | None, now: bool) -> None:
    """Wait until these workers have stopped, printing each. `now`: they were asked to end their jobs.

    Raises WaitTimedOut after `timeout` seconds.
    """
    from ..workers import fleet

    left = {row.id: row for row in workers}
    announced = False
    with Progress(patience=PATIENCE) as progress:
        try:
            while left:
                checked_at = time.monotonic()
                present = {row.id for row in store.workers()}
                for id, row in list(left.items()):
                    if id not in present or not fleet.is_running(store, row):
                        progress.clear()
                        print(f"worker {id} stopped", flush=True)
                        del left[id]
                checked_for, waited = time.monotonic() - checked_at, progress.elapsed()
                if left and not announced and waited > PATIENCE:
                    announced = True
                    _announce(store, left, waited if now else None)
                if left and timeout is not None and waited >= timeout:
                    raise WaitTimedOut(f"still running after {span(timeout)}: {named(left)}")
                if left:
                    _show(store, left, progress, timeout, now)
                    # At most a tenth of the time: with a thousand workers, a check takes as long as stopping several.
                    time.sleep(max(POLL, 10 * checked_for))
        except KeyboardInterrupt:
            if progress.is_shown:
                tell(f"stopped waiting; {named(left)} will still stop")
            raise


def _announce(store: Reader, left: Collection[int], asked: float | None) -> None:
    """Say which jobs hold up the workers that are left. `asked`: how many seconds ago they were told to end them."""
    running = store.running()
    suspended = set() if asked is not None else set(store.running_ids(suspended=True))
    busy = sorted((id for id in left if id in running), key=lambda id: running[id][0] not in suspended)
    for id in busy[:MOST_LINES]:
        job, since = running[id]
        if job in suspended:
            line = suggestion("continue", job)
            tell(f"waiting for worker {id} to finish job {job}, which is suspended; run: {line}")
            continue
        verb = "finish" if asked is None else "end"
        end = "" if asked is None else f"; it will be killed in {_time_left(store, job, asked)}"
        tell(f"waiting for worker {id} to {verb} job {job} (running for {span(time.time() - since)}){end}")
    if len(busy) > MOST_LINES:
        tell(f"… and for {counted(len(busy) - MOST_LINES, 'more worker')}")
    elif busy and asked is None:
        ids = " ".join(map(str, busy))
        tell(f"to end {'its job' if len(busy) == 1 else 'their jobs'} now, run: queuectl worker stop --now {ids}")


def _show(store: Reader, left: Collection[int], progress: Progress, timeout: float | None, now: bool) -> None:
    """Draw a line with the jobs that hold up the workers, and the time left until they are killed or we give up."""
    if not progress.is_due():
        return
    running = store.running()
    jobs: list[str] = []
    for id in left:
        if id in running and len(jobs) < MOST_JOBS:
            job, since = running[id]
            time_left = _time_left(store, job, progress.elapsed()) if now else ""
            detail = f"killed in {time_left}" if now else span(time.time() - since)
            jobs.append(f"{job} ({detail})")
    busy = sum(id in running for id in left)
    more = f" and {busy - len(jobs):,} more" if busy > len(jobs) else ""
    end = "" if timeout is None else f"; giving up in {_seconds(timeout - progress.elapsed())}"
    progress.show(f"{counted(len(left), 'worker')} left{': ' if jobs else ''}{', '.join(jobs)}{more}{end}")


def _time_left(store: Reader, id: str, asked: float) -> str:
    """When a job that was told to end `asked` seconds ago will be killed."""
    job = store.find(id)
    grace = job.kill_grace if job and isinstance(job.kill_grace, (int, float)) else 0
    return _seconds(grace - asked)


def _seconds(number: float) -> str:
    return span(max(1.0, number))


def named(ids: Collection[int]) -> str:
    """Workers by their ids, such as "workers 1, 2"."""
    return f"worker{'' if len(ids) == 1 else 's'} {', '.join(map(str, ids))}"
