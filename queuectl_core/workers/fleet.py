"""Find out which workers are running, and ask them to stop. Kept small: read-only commands import it."""

from __future__ import annotations

from ..errors import DatabaseBusy, DatabaseFull
from ..store import bell
from . import lifeline
from .identity import is_alive, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..records import Worker
    from ..store.reader import Reader
    from ..store.roster import Roster


def is_running(store: Reader, row: Worker) -> bool:
    """Whether the process of a worker's row is running."""
    alive = is_alive(row.identity)
    if alive is None:
        # It is hidden, or in another PID namespace (a container). Without its lock, assume that it is alive.
        alive = lifeline.is_held(lifeline.alive_path(store.path, row.id)) is not False
    return alive


def live_workers(store: Reader) -> list[Worker]:
    """The workers that are running."""
    return [row for row in store.workers() if row.role == "worker" and is_running(store, row)]


def stop(store: Roster, rows: Sequence[Worker], now: bool) -> str | None:
    """Ask these workers or supervisors to stop, when their jobs are done or `now`.

    With `now`, continues those that SIGSTOP has stopped, so that they can obey. If it can't write their rows, it asks
    by signal alone and returns why, otherwise None. Without `now` that raises: a second signal would mean "now".
    """
    import signal  # Deferred: status never sends signals, and its enums take 0.5 ms.

    unwritten = None
    signals = [signal.SIGTERM]
    try:
        asked = set(store.want([row.id for row in rows], "stop-now" if now else "stop"))
    except (DatabaseBusy, DatabaseFull) as error:
        if not now:
            raise
        unwritten = str(error)
        asked = {row.id for row in rows}
        # The second signal means "now". Not SIGTERM twice: the kernel merges equal signals that are pending.
        signals = [signal.SIGTERM, signal.SIGINT]
    for row in rows:
        numbers = (signals if row.id in asked else []) + ([signal.SIGCONT] if now else [])
        try:
            for number in numbers:
                send(row.identity, number)
        except PermissionError:
            pass  # Another user's worker reads its row.
        bell.ring(store.path, row.id)
    return unwritten
