"""Jobs on a real Slurm cluster: its controller and two nodes, on this machine's loopback.

The whole cluster is in a temporary folder, with its own ports and munge daemon. Its nodes are this machine, but to
queuectl they are remote: RUNNER hides the token by which it would find the jobs' processes here.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

from tests.harness import IS_ROOT, processes_with, wait_until
from tests.test_runner import RemoteTestCase

DAEMONS = ("munged", "slurmctld", "slurmd")
PATH = "/usr/local/sbin:/usr/sbin:/sbin:" + os.environ.get("PATH", "")
CONFIGURATION = """
ClusterName=test
SlurmctldHost=%(host)s(127.0.0.1)
SlurmctldPort=%(controller)d
AuthType=auth/munge
AuthInfo=socket=%(folder)s/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation=%(folder)s/state
SlurmdSpoolDir=%(folder)s/spool.%%n
SlurmdPidFile=%(folder)s/slurmd.%%n.pid
SlurmctldPidFile=%(folder)s/slurmctld.pid
SlurmdLogFile=%(folder)s/slurmd.%%n.log
SlurmctldLogFile=%(folder)s/slurmctld.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
ReturnToService=2
SwitchType=switch/none
MpiDefault=none
# How long a command looks for the controller (seconds), and a job has between SIGTERM and SIGKILL.
MessageTimeout=2
KillWait=1
NodeName=n1 NodeHostname=%(host)s NodeAddr=127.0.0.1 Port=%(n1)d CPUs=2 State=UNKNOWN
NodeName=n2 NodeHostname=%(host)s NodeAddr=127.0.0.1 Port=%(n2)d CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""
RUNNER = "srun -Q -n1 --job-name={token} --export=ALL,QUEUECTL_TOKEN=there sh -c"
# As in docs/scaling.md.
RUNNER_KILL = (
    'scancel --name="$QUEUECTL_TOKEN" &&'
    ' while left=$(squeue -h --name="$QUEUECTL_TOKEN") || exit 1; [ "$left" ]; do sleep 0.2; done'
)


class Cluster:
    """The daemons of a cluster, in their own folder."""

    def __init__(self) -> None:
        self.folder = os.path.realpath(tempfile.mkdtemp(prefix="q-slurm-"))
        self.conf = os.path.join(self.folder, "slurm.conf")
        self._environment = dict(os.environ, SLURM_CONF=self.conf, PATH=PATH)
        self._daemons = {}
        os.mkdir(os.path.join(self.folder, "state"))
        with open(os.path.join(self.folder, "munge.key"), "wb") as file:
            os.fchmod(file.fileno(), 0o400)
            file.write(os.urandom(1024))
        ports = dict(zip(("controller", "n1", "n2"), free_ports(3)))
        host = socket.gethostname().partition(".")[0]
        with open(self.conf, "w") as file:
            file.write(CONFIGURATION % dict(ports, host=host, folder=self.folder))

    def start(self) -> None:
        """Start all; returns when both nodes are idle."""
        files = ("socket", "key-file", "pid-file", "log-file", "seed-file")
        # --force: munge complains about a folder that other users can't read.
        own = ["--{}={}/munge.{}".format(file, self.folder, file.partition("-")[0]) for file in files]
        self._start("munge", "munged", "--foreground", "--force", *own)
        self.start_controller()
        for node in ("n1", "n2"):
            self._start(node, "slurmd", "-D", "-N", node)
        wait_until(
            lambda: self.run("sinfo", "-h", "-t", "idle", "-o", "%D") == "2\n", 30, "no node became idle"
        )

    def start_controller(self) -> None:
        """Start the controller, with the state that an earlier one left."""
        self._start("controller", "slurmctld", "-D")

    def stop_controller(self) -> None:
        self._daemons["controller"].terminate()
        self._daemons["controller"].wait()

    def run(self, *words) -> str:
        """Run one of Slurm's commands; returns what it prints on stdout."""
        result = subprocess.run(
            words, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
        )
        return result.stdout.decode()

    def stop(self) -> None:
        """Stop all, and remove everything."""
        for daemon in self._daemons.values():
            daemon.kill()
            daemon.wait()
        for pid in processes_with("SLURM_CONF", self.conf, exact=True):  # Processes of job steps.
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, name: str, *words) -> None:
        self._daemons[name] = subprocess.Popen(
            words,
            env=self._environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def free_ports(count: int) -> list:
    """Unused TCP ports."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@unittest.skipUnless(
    all(shutil.which(name, path=PATH) for name in (*DAEMONS, "srun")),
    "needs Slurm (Debian's packages slurm-wlm and munge)",
)
@unittest.skipUnless(IS_ROOT, "needs root: Slurm's daemons run jobs as any user")
class SlurmTest(RemoteTestCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.cluster = Cluster()
        cls.addClassCleanup(cls.cluster.stop)
        cls.cluster.start()

    def setUp(self) -> None:
        super().setUp()
        self.environment["SLURM_CONF"] = self.cluster.conf
        self.run_cli("config", "set", "runner", RUNNER)
        self.set_kill(RUNNER_KILL)
        self.addCleanup(self.cluster.run, "scancel", "--user=root")

    def test_exit_code_output_input_and_environment_pass_through(self):
        self.run_cli("enqueue", "--id", "a", "--stdin", "cat; pwd; echo $WORD $QUEUECTL_JOB_ID",
                     "-e", "WORD=word", "--cwd", self.folder, input=b"in\xff\n")  # fmt: skip
        self.run_cli("enqueue", "--id", "b", "--max-retries", "0", "echo out; echo err >&2; exit 7")
        self.start_workers("-c", "2", "--drain")
        self.wait_until_all_finished()
        printed = self.run_cli("logs", "a").stdout_bytes
        self.assertEqual(printed, b"in\xff\n%s\nword a\n" % self.folder.encode())
        job = self.job("b")
        self.assertEqual((job["state"], job["exit_code"], job["error"]), ("dead", 7, "exit 7"))
        self.assertEqual(self.run_cli("logs", "b", "--stdout").stdout, "out\n")
        self.assertIn("err\n", self.run_cli("logs", "b", "--stderr").stdout)
        self.audit(["a", "b"])

    def test_jobs_are_spread_over_the_nodes(self):
        meet = "touch $QUEUECTL_JOB_ID; until [ -e a ] && [ -e b ]; do sleep 0.05; done"
        self.run_cli("config", "set", "runner", RUNNER.replace("srun", "srun --exclusive"))
        for id in ("a", "b"):
            self.run_cli("enqueue", "--id", id, "--cwd", self.folder, meet + "; echo $SLURMD_NODENAME")
        self.start_workers("-c", "2", "--drain")
        self.wait_until_all_finished()
        self.assertEqual(sorted(self.run_cli("logs", id).stdout for id in ("a", "b")), ["n1\n", "n2\n"])

    def test_a_timeout_or_cancel_ends_the_step_before_the_job_continues(self):
        self.start_workers()
        first = self.remote("--timeout", "1s", "--max-retries", "9")
        self.pid(attempt=2)
        self.assert_ended_in_time(first)
        self.assertEqual(self.job("a")["history"][0]["error"], "timed out after 1s")
        self.run_cli("cancel", "a")
        for pid in map(int, self.read("pids").split()):
            self.assert_ended_in_time(pid)
        self.assertEqual(self.cluster.run("squeue", "-h"), "")
        self.audit()

    def test_the_step_of_a_killed_worker_is_ended_before_the_job_runs_again(self):
        self.start_workers()
        first = self.remote()
        os.kill(self.owner("a"), signal.SIGKILL)
        self.pid(attempt=2)
        self.assert_ended_in_time(first)
        self.assertEqual(self.job("a")["history"][0]["error"], "worker lost")
        self.stop_workers("--now")
        self.assert_ended_in_time(self.pid(attempt=2))
        self.assertEqual(self.state("a"), "pending")
        self.audit()

    def test_jobs_wait_for_a_cluster_that_is_down_and_none_is_lost(self):
        self.cluster.stop_controller()
        ids = [self.enqueue("--backoff-base", "0.5", "echo done") for _ in range(3)]
        self.start_workers("-c", "2")
        wait_until(
            lambda: any("Unable to contact" in str(job["error"]) for job in self.jobs().values()),
            message="no job says that the cluster is gone",
        )
        self.cluster.start_controller()
        self.wait_until_all_finished(timeout=90)
        for id in ids:
            self.assertEqual((self.state(id), self.run_cli("logs", id).stdout), ("completed", "done\n"))
        retried = [id for id in ids if self.job(id)["attempts"] == 2]
        self.assertEqual(self.job(retried[0])["history"][0]["error"], "exit 1")
        self.audit(ids)


if __name__ == "__main__":
    unittest.main()
