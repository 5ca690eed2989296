"""Simulates workers, rescuers and clients of one queue, step by step, to find interleavings that break a promise.

The real part: every step calls the real Store, with its SQL, schema and triggers, on a database in memory, and the real
`judge`. The modeled part: processes and time. A command is an entry in a set, which outlives its worker. The clock
moves only in a step of its own. A step is what is atomic in reality: one transaction, or one effect on processes.

    worker    claim -> start the command -> it ends, or is ended as the worker's row or job asks -> end what it left
              running -> settle, and claim the next job
    rescuer   find a worker that is gone -> end what its attempt left running -> settle it as lost -> remove the row
    client    enqueue, cancel, suspend, continue, retry, edit, prune, purge, pause, resume
    operator  start a worker, stop, stop --now, config

Between any two steps, a worker or a rescuer may be killed, and any of them may pause for as long as it likes, since the
scheduler need not choose it. A paused worker may even be taken for dead while its command runs or has ended: the
rescuer ends its command, and the guard of SETTLE must reject the worker's own result. Assumed, because nothing in the
database could prevent it: no worker is taken for dead between its claim and the start of the command.

Checked after each step (see checks.py): a command runs only during the attempt that its job is in, so two never
overlap; no acknowledged job is lost; nothing starts after an acknowledged cancel; attempts stay within max_retries; and
the audit of the tests passes. At the end, a fresh worker and enough time must finish every job that can run.

`explore` visits every state that two workers, a rescuer and a client can reach with one job. It goes depth first and
undoes a step by rolling back to a savepoint, so it needs no copies and no replays. `wander` takes random steps with
many jobs; its seed reproduces them.
"""
