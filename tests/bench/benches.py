"""The benchmarks. Each returns rows of the table."""

from __future__ import annotations

import functools
import os
import re
import select
import subprocess
import sys
import tempfile
import time

from .measure import (
    PROGRAM,
    Row,
    children_seconds,
    cpu_seconds,
    in_turn,
    memory,
    percentile,
    processor_seconds,
    processor_usage,
    queue,
    revision,
    row,
    seconds,
)
from .peers import PEERS, PROGRAM_PEERS, Missing, xargs_sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MILLION = 1_000_000


def dispatch() -> list[Row]:
    """Short jobs drained by two workers, with all guarantees, compared with each peer in turn."""
    goals = {"xargs -P2": ">= 0.92", "task-spooler": ">= 2.5", "huey, SQLite": ">= 2"}
    program_goals = dict(zip(PROGRAM_PEERS, (">= 1.3", ">= 0.85")))
    rows = []
    for command, peers, wanted in (("/bin/true", PROGRAM_PEERS, program_goals), ("true", PEERS, goals)):
        for name, (peer, count) in peers.items():
            try:
                with tempfile.TemporaryDirectory() as folder:
                    mine, theirs = in_turn(
                        3,
                        lambda command=command: _drained(command),
                        lambda peer=peer, count=count, folder=folder: count / peer(folder, count),
                    )
            except Missing:
                rows.append(row(f"dispatch of {command}", 0, "jobs/s", name))
                continue
            rows.append(row(f"dispatch of {command}", mine, "jobs/s", name, theirs, wanted.get(name, "")))
    return rows


def _drained(command: str, program: str = PROGRAM) -> float:
    """How many of these jobs per second two workers run."""
    with queue(program) as ours:
        ours.run("enqueue", "-", input=f"{command}\n".encode() * 4000)
        return 4000 / ours.drain(2)


def processor() -> list[Row]:
    """What a job costs the worker itself, without its command; and a fleet, compared with xargs."""

    def fleet() -> float:
        with queue() as ours:
            ours.run("enqueue", "-", input=b"sleep 0.01\n" * 1000)
            return children_seconds(lambda: ours.drain(2))

    by_shell, direct = in_turn(5, lambda: _own("true"), lambda: _own("/bin/true"))
    with tempfile.TemporaryDirectory() as folder:
        ours_cpu, theirs = in_turn(3, fleet, lambda: children_seconds(lambda: xargs_sleep(folder, 1000)))
    return [
        row("the worker's own CPU per job, true", by_shell, "ms", goal="<= 0.24"),
        row("  /bin/true", direct, "ms"),
        row("CPU of 1,000 jobs of 10 ms, two workers", ours_cpu, "s", "xargs -P2 sh -c", theirs, "<= 1.5"),
    ]


def _own(command: str, program: str = PROGRAM) -> float:
    """Milliseconds of CPU that a worker itself uses per job."""
    with queue(program) as ours:
        ours.run("pause", "default")
        ours.run("enqueue", "-", input=f"{command}\n".encode() * 3000)
        ours.run("enqueue", "--id", "last", command)
        ours.start(1)
        pids = ours.pids("worker")
        before = cpu_seconds(pids)
        ours.run("resume", "default")
        ours.run("wait", "last")
        return 1000 * (cpu_seconds(pids) - before) / 3001


def stopping() -> list[Row]:
    """`worker stop --now` with a thousand busy workers."""
    with queue() as ours:
        ours.run("enqueue", "-", input=b"sleep 600\n" * 1000)
        ours.start(1000)
        with ours.store() as store:
            while sum(queue["processing"] for queue in store.counts().values()) < 1000:
                time.sleep(0.1)
        time.sleep(2)
        took = seconds(ours.argv("worker", "stop", "--now"), ours.environment)
    return [row("worker stop --now, 1,000 busy workers", took, "s", goal="<= 5")]


def against(name: str) -> list[Row]:
    """Alternates with another revision: dispatch, and the CPU time of what other benchmarks time."""
    rows = []
    with revision(name) as program:

        def compare(what: str, unit: str, runs: int, measure: Callable[[str], float]) -> None:
            mine, theirs = in_turn(runs, lambda: measure(PROGRAM), lambda: measure(program))
            rows.append(row(what, mine, unit, name, theirs))

        for command in ("true", "/bin/true"):
            compare(f"dispatch of {command}", "jobs/s", 7, lambda other, c=command: _drained(c, other))
            compare("  the worker's own CPU per job", "ms", 5, lambda other, c=command: _own(c, other))
        for kind, line in (("shell", SHELL_LINE), ("JSON", JSON_LINE)):
            compare(f"batch, {kind} lines", "jobs per CPU s", 5, lambda other, t=line: _batch(t, 200_000, other)[0])
        for words in START_UPS.values():
            compare(" ".join(words), "ms of CPU", 20, lambda other, w=words: _start_up(w, other))
    return rows


SHELL_LINE = "echo hello world\n"
JSON_LINE = '{"command": "echo hello world", "priority": 3}\n'
START_UPS = {
    "enqueue -- true": ["enqueue", "--", "true"],
    "enqueue JSON": ["enqueue", '{"command": "true"}'],
    "status": ["status"],
    "list": ["list", "-n", "10"],
}


def _start_up(words: list[str], program: str) -> float:
    """Milliseconds of CPU that a command takes in a small queue."""
    with queue(program) as ours:
        ours.run("enqueue", "-", input=b"true\n" * 10)
        return 1000 * processor_seconds(ours.argv(*words), ours.environment)


def _batch(line: str, count: int, program: str = PROGRAM) -> tuple[float, float]:
    """Jobs per CPU second of one `enqueue -`, and its peak memory in MB."""
    with queue(program) as ours:
        path = os.path.join(ours.folder, "lines")
        with open(path, "w") as file:
            file.writelines(line for _ in range(count))
        used, peak = processor_usage(ours.argv("enqueue", "-"), ours.environment, path)
        return count / used, peak


def startup() -> list[Row]:
    """CPU of whole commands compared with the bare interpreter, from the checkout and from a bundle."""
    with queue() as ours:
        ours.add(10)
        bundle = os.path.join(ours.folder, "queuectl")
        ours.run("bundle", bundle)
        os.symlink(sys.executable, os.path.join(ours.folder, "python3"))
        path = {**ours.environment, "PATH": ours.folder + os.pathsep + os.environ["PATH"]}
        goals = ("<= 1.6", "<= 1.65", "<= 1.65", "<= 1.7", "<= 1.45", "", "", "")
        names = [*START_UPS, *(f"{name}, bundle" for name in START_UPS)]
        lines = [ours.argv(*words) for words in START_UPS.values()]
        lines += [[bundle, *words] for words in START_UPS.values()]
        bare, *figures = in_turn(
            20,
            lambda: 1000 * processor_seconds([sys.executable, "-c", "pass"], ours.environment),
            *[lambda line=line: 1000 * processor_seconds(line, path) for line in lines],
        )
        return [
            row(name, figure, "ms of CPU", "python3 -c pass", bare, goal)
            for name, goal, figure in zip(names, goals, figures)
        ]


def batch() -> list[Row]:
    """`enqueue -` from a file of lines, with its memory."""
    rows = []
    for kind, line, count, goal in (
        ("shell lines", SHELL_LINE, 500_000, ">= 150,000"),
        ("JSON lines", JSON_LINE, 300_000, ">= 105,000"),
        ("2 million shell lines", SHELL_LINE, 2_000_000, ">= 150,000"),
    ):
        rate, peak = _batch(line, count)
        rows.append(row("batch, " + kind, rate, "jobs per CPU s", goal=goal))
        rows.append(row("  its peak memory", peak, "MB"))
    return rows


def latency() -> list[Row]:
    """From enqueue's return to the job's first instruction, with an idle worker."""
    waits = []
    with queue() as ours:
        fifo = os.path.join(ours.folder, "fifo")
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        ours.start(2)
        for _ in range(100):
            ours.run("enqueue", "--", "echo >" + fifo)
            began = time.perf_counter()
            select.select([reader], [], [], 10)
            waits.append(1000 * (time.perf_counter() - began))
            os.read(reader, 100)
            time.sleep(0.01)
        os.close(reader)
    return [
        row("enqueue to first instruction, p50", percentile(waits, 0.5), "ms", goal="<= 5"),
        row("enqueue to first instruction, p95", percentile(waits, 0.95), "ms", goal="<= 20"),
    ]


def idle() -> list[Row]:
    """What idle fleets cost."""
    rows, used = [], []
    for count, cpu_goal, memory_goal in ((4, "<= 0.5", "<= 30"), (64, "<= 2", "<= 250")):
        with queue() as ours:
            pids = ours.start(count)
            time.sleep(1)
            before = cpu_seconds(pids)
            time.sleep(10)
            share = 100 * (cpu_seconds(pids) - before) / 10
            rows.append(row(f"idle, {count} workers", share, "% of a core", goal=cpu_goal))
            used.append(memory(pids))
            rows.append(row("  their memory (PSS)", used[-1], "MB", goal=memory_goal))
    rows.append(row("  of each additional worker", (used[1] - used[0]) / 60, "MB", goal="<= 2.6"))
    return rows


def depth() -> list[Row]:
    """Dispatch with a large file, compared with a small queue."""

    def waiting(ours) -> None:
        """600,000 higher-priority jobs that can't run."""
        ours.add(1, "sleep 600", id="blocker", queue="other")
        ours.run("pause", "paused")
        ours.run("config", "set", "limited.limit", "1")
        ours.add(150_000, priority=9, run_at=time.time() + 86400)
        ours.add(150_000, priority=9, queue="paused")
        ours.add(150_000, priority=9, queue="limited", command="sleep 600")
        ours.run("worker", "start", "-c", "1", "-q", "limited")  # It takes the one that can run.
        ours.run("pause", "other")
        ours.add(150_000, priority=9, after="blocker")

    def rate(ours) -> float:
        ours.add(4000)
        last = f"last{time.monotonic_ns()}"
        ours.add(1, "true", id=last)
        began = time.perf_counter()
        started = ours.run("worker", "start", "-c", "2", text=True).stdout
        ours.run("wait", last)
        took = time.perf_counter() - began
        ours.run("worker", "stop", *re.findall(r"worker (\d+) started", started))
        return 4001 / took

    with queue() as small, queue() as large, queue() as behind:
        large.add_finished(MILLION)
        waiting(behind)
        few, after_million, ahead = in_turn(5, *(functools.partial(rate, ours) for ours in (small, large, behind)))
    return [
        row("dispatch, 1,000,000 finished", after_million, "jobs/s", "small queue", few, ">= 0.9"),
        row("dispatch, 600,000 waiting ahead", ahead, "jobs/s", "small queue", few, ">= 0.97"),
    ]


def looking() -> list[Row]:
    """Commands with a million jobs in the file, compared with a small queue."""
    commands = {
        "status": ["status"],
        "list": ["list", "--limit", "20"],  # As on a terminal.
        "show": ["show", "one"],
        "logs": ["logs", "one"],
        "enqueue": ["enqueue", "--", "true"],
        "list --state pending": ["list", "--state", "pending"],
        "list --state dead": ["list", "--state", "dead"],
    }
    with queue() as small, queue() as large:
        large.add_finished(MILLION)
        for ours in (small, large):
            ours.add(1, "echo one", id="one")
            ours.drain(1)
        rows = []
        for name, words in commands.items():
            a, b = in_turn(
                9,
                lambda words=words: 1000 * seconds(small.argv(*words), small.environment),
                lambda words=words: 1000 * seconds(large.argv(*words), large.environment),
            )
            rows.append(row(f"{name}, a million jobs", b, "ms", "small queue", a, "<= 1.5"))
        return rows


def sleepers() -> list[Row]:
    """64 workers on jobs that sleep for 0.1 s; the ideal is 640 per second."""
    with queue() as ours:
        ours.add(6400, "sleep 0.1")
        ours.add(1, "true", id="last")
        ours.start(64)
        began = time.perf_counter()
        ours.run("wait", "last")
        rate = 6400 / (time.perf_counter() - began)
    return [row("64 workers, sleep 0.1", rate, "jobs/s", "ideal", 640, ">= 0.9")]


def output() -> list[Row]:
    """A job that prints 1 GB."""
    with queue() as ours:
        pids = ours.start(1)
        quiet = max(memory([pid], "Rss") for pid in pids)
        ours.run("enqueue", "--id", "big", "--", "head -c 1000000000 /dev/zero")
        began = time.perf_counter()
        process = subprocess.Popen(ours.argv("wait", "big"), env=ours.environment)
        most = 0.0
        while process.poll() is None:
            most = max([most, *(memory([pid], "Rss") for pid in pids)])
            time.sleep(0.02)
        took = time.perf_counter() - began
    return [
        row("a job that prints 1 GB", 1000 / took, "MB/s", goal=">= 500"),
        row("  its worker's memory above idle", most - quiet, "MB", goal="<= 32"),
    ]


def waiting() -> list[Row]:
    """From a job's last instruction to the return of `wait ID`, as a whole process."""
    late = []
    with queue() as ours:
        ours.start(1)
        stamp = os.path.join(ours.folder, "stamp")
        for number in range(15):
            id = f"job{number}"
            ours.run("enqueue", "--id", id, "--", f"sleep 0.3; : >{stamp}")
            ours.run("wait", id)
            late.append(1000 * (time.time() - os.stat(stamp).st_mtime))
    return [row("wait ID after the job's end, median", percentile(late, 0.5), "ms", goal="<= 10")]


def ten_million() -> list[Row]:
    """Ten million jobs enqueued in batches: claims at the end compared with claims at the start."""
    with queue() as ours:
        ours.add(2000)
        start = 2000 / ours.drain(2)
        began = time.perf_counter()
        ours.add(10 * MILLION)
        added = 10 * MILLION / (time.perf_counter() - began)
        size = os.path.getsize(ours.database) / (10 * MILLION)
        ours.start(2)
        time.sleep(1)
        count = lambda: sum(queue["completed"] for queue in ours_store.counts().values())  # noqa: E731
        with ours.store() as ours_store:
            first, began = count(), time.perf_counter()
            time.sleep(5)
            end = (count() - first) / (time.perf_counter() - began)
    return [
        row("10 million: enqueued", added, "jobs/s"),
        row("  bytes per job", size, "bytes"),
        row("  dispatch then", end, "jobs/s", "at the start", start, ">= 0.9"),
    ]


# Name: (benchmark, whether it takes many minutes).
BENCHES = {
    "dispatch": (dispatch, False),
    "processor": (processor, False),
    "startup": (startup, False),
    "batch": (batch, False),
    "latency": (latency, False),
    "idle": (idle, False),
    "depth": (depth, False),
    "looking": (looking, False),
    "sleepers": (sleepers, False),
    "stopping": (stopping, False),
    "output": (output, False),
    "waiting": (waiting, False),
    "tenmillion": (ten_million, True),
}

