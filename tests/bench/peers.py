"""What users would pick instead. Each peer runs a number of `true` jobs, two at a time.

A peer is a function of (folder, number of jobs) that returns the seconds from the first job's start to the last one's
end, without queueing if the tool allows that. It raises Missing if the tool isn't installed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

PEERS_PYTHON = os.environ.get("BENCH_PYTHON", sys.executable)  # A Python with huey, rq and redis.


class Missing(Exception):
    """The tool is not installed."""


def _program(*names: str) -> str:
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    raise Missing(names[0])


def _module(name: str) -> None:
    tried = subprocess.run([PEERS_PYTHON, "-c", "import " + name], check=False, stderr=subprocess.DEVNULL)
    if tried.returncode:
        raise Missing(name)


def _lines(folder: str, count: int, line: str = "true") -> str:
    path = os.path.join(folder, f"lines-{count}")
    with open(path, "w") as file:
        file.write(f"{line}\n" * count)
    return path


def _timed(argv: list[str], **options) -> float:
    began = time.perf_counter()
    subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, **options)
    return time.perf_counter() - began


def xargs(folder: str, count: int) -> float:
    """xargs -P2 -n1 sh -c true: keeps nothing."""
    with open(_lines(folder, count)) as lines:
        return _timed([_program("xargs"), "-P2", "-n1", "sh", "-c"], stdin=lines)


def xargs_line(folder: str, count: int) -> float:
    """xargs -P2 -I{} sh -c '{}': each line is a command, as for us."""
    with open(_lines(folder, count, "/bin/true")) as lines:
        return _timed([_program("xargs"), "-P2", "-I{}", "sh", "-c", "{}"], stdin=lines)


def xargs_program(folder: str, count: int) -> float:
    """xargs -P2 -n1 /bin/true: without a shell."""
    with open(_lines(folder, count)) as lines:
        return _timed([_program("xargs"), "-P2", "-n1", "/bin/true"], stdin=lines)


def xargs_sleep(folder: str, count: int) -> float:
    """xargs -P2 -n1 sh -c 'sleep 0.01'."""
    with open(_lines(folder, count, "'sleep 0.01'")) as lines:
        return _timed([_program("xargs"), "-P2", "-n1", "sh", "-c"], stdin=lines)


def parallel(folder: str, count: int) -> float:
    """GNU parallel -j2."""
    with open(_lines(folder, count)) as lines:
        return _timed([_program("parallel"), "-j2"], stdin=lines, env={**os.environ, "HOME": folder})


def task_spooler(folder: str, count: int) -> float:
    """tsp with two slots, which keeps each output in a file. It starts jobs while they are queued, so this
    includes queueing.
    """
    tsp = _program("tsp", "ts")
    own = {"TS_SOCKET": os.path.join(folder, "tsp"), "TMPDIR": folder, "TS_MAXFINISHED": "100"}
    environment = {**os.environ, **own}
    subprocess.run([tsp, "-S", "2"], env=environment, check=True)
    try:
        began = time.perf_counter()
        subprocess.run(
            f"for i in $(seq {count}); do {tsp} true; done; {tsp} -w",
            shell=True,
            env=environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return time.perf_counter() - began
    finally:
        subprocess.run([tsp, "-K"], env=environment, check=False)


def nq(folder: str, count: int) -> float:
    """nq, which runs one at a time; includes queueing."""
    program = _program("nq")
    environment = {**os.environ, "NQDIR": os.path.join(folder, "nq")}
    command = f"for i in $(seq {count}); do {program} -q true; done >/dev/null; {program} -w"
    return _timed(["/bin/sh", "-c", command], env=environment)


HUEY = """
import subprocess
from huey import SqliteHuey
huey = SqliteHuey(filename={path!r})
@huey.task()
def run(command):
    subprocess.run(["/bin/sh", "-c", command])
"""


def huey(folder: str, count: int) -> float:
    """huey on SQLite with two processes; a task runs sh -c true with subprocess."""
    _module("huey")
    path = os.path.join(folder, "huey.db")
    with open(os.path.join(folder, "hueytasks.py"), "w") as file:
        file.write(HUEY.format(path=path))
    add = f"import hueytasks\nfor i in range({count}): hueytasks.run('true')\n"
    subprocess.run([PEERS_PYTHON, "-c", add], cwd=folder, check=True)
    left = "import hueytasks; print(hueytasks.huey.pending_count())"
    consumer = "from huey.bin.huey_consumer import consumer_main; consumer_main()"
    began = time.perf_counter()
    process = subprocess.Popen(
        [PEERS_PYTHON, "-c", consumer, "hueytasks.huey", "-w", "2", "-k", "process", "-d", "0.01", "-q"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": folder},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while subprocess.check_output([PEERS_PYTHON, "-c", left], cwd=folder).strip() != b"0":
            time.sleep(0.05)
        return time.perf_counter() - began
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def rq(folder: str, count: int) -> float:
    """RQ on its own Redis with two workers; a job runs sh -c true with subprocess."""
    _module("rq")
    server = _program("redis-server")
    socket = os.path.join(folder, "redis.sock")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    redis = subprocess.Popen(
        [server, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", folder], **quiet
    )
    try:
        while not os.path.exists(socket):
            time.sleep(0.05)
        add = (
            "import redis, rq\nq = rq.Queue(connection=redis.Redis(unix_socket_path=%r))\n"
            "for i in range(%d): q.enqueue('subprocess.run', ['/bin/sh', '-c', 'true'])\n" % (socket, count)
        )
        subprocess.run([PEERS_PYTHON, "-c", add], check=True)
        work = (
            f"import redis, rq\nw = rq.Worker(['default'], connection=redis.Redis(unix_socket_path={socket!r}))\n"
            "w.work(burst=True)\n"
        )
        began = time.perf_counter()
        workers = [subprocess.Popen([PEERS_PYTHON, "-c", work], **quiet) for _ in range(2)]
        for worker in workers:
            worker.wait()
        return time.perf_counter() - began
    finally:
        redis.terminate()
        redis.wait()


# The same for jobs that need no shell.
PROGRAM_PEERS = {
    "xargs -P2 -I{} sh -c '{}'": (xargs_line, 4000),
    "xargs -P2 -n1 /bin/true": (xargs_program, 4000),
}
# How many jobs each gets: enough for a steady rate, few enough for the slow ones.
PEERS = {
    "xargs -P2": (xargs, 4000),
    "task-spooler": (task_spooler, 600),
    "huey, SQLite": (huey, 1500),
    "nq": (nq, 300),
    "GNU parallel": (parallel, 800),
    "RQ, Redis": (rq, 150),
}
