"""Random commands from several processes, and random SIGKILLs, against a model of the lifecycle.

    python3 -m tests.torture --seconds 60 [--seed 7]

Clients (clients.py) enqueue, list, cancel, suspend, retry, pause and prune, insert odd rows in plain SQL, and are
sometimes killed themselves. A killer (kills.py) ends workers, supervisors or everything, stops workers for a while,
puts a backup in place of the file, and starts new fleets: some in PID namespaces of their own, as in containers, and
some with signals that their caller blocked or ignored. At the end everything may finish, and then (verdict.py):

    lost         each id that an enqueue printed exists, unless prune printed it too, and finished as
                 its kind of job must; no job completed without running;
    overlapping  each attempt takes a lock that all of its processes inherit, including those that
                 escaped; an attempt that finds it held says so;
    ticks        a schedule has a job for each time at which it was due, and only one;
    left         no process is left;
    audit        everything that tests.harness.audit checks.

A seed repeats the choices, but not their timing. A recovery is timed from the SIGKILL (or, if no process was left to
notice it, from the next `worker start`) until the database shows the lost attempt as settled. Exits 1 on any failure,
with the seed and the last steps; the folder, which is kept then, has all of them.
"""
