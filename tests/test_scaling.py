"""docs/scaling.md is true: its recipes are configured literally, and jobs run through their runners."""

import os
import re
import shutil
import subprocess
import unittest

from tests import test_slurm
from tests.doc_runner import DocumentTestCase, blocks
from tests.harness import process_is_gone, wait_until

DOCUMENT = "docs/scaling.md"
SSHD = shutil.which("sshd", path=test_slurm.PATH)
# Records how it was called; an engine that runs something runs its last word.
ENGINE = """
echo "${0##*/} $*" >> %s
case $1 in run | --user) for last; do :; done; exec /bin/sh -c "$last" ;; esac
"""
SSHD_CONFIGURATION = """
Port %(port)d
ListenAddress 127.0.0.1
HostKey %(folder)s/host
AuthorizedKeysFile %(folder)s/user.pub
StrictModes no
PidFile none
UsePAM no
AcceptEnv QUEUECTL_*
"""
SSH_CONFIGURATION = """
Host h1 h2
    HostName 127.0.0.1
    Port %(port)d
    IdentityFile %(folder)s/user
    UserKnownHostsFile %(folder)s/known
    StrictHostKeyChecking no
    LogLevel ERROR
"""


class RecipeTestCase(DocumentTestCase):
    def follow(self, section: str) -> None:
        """Run a section; from then on the test uses its reader's queue."""
        self.run_document(DOCUMENT, section)
        self.db = os.path.join(self.home, ".local/state/queuectl/queue.db")

    def through(self, queue: str, command: str, *options) -> dict:
        """Run `command` once in a queue; returns its job."""
        id = self.enqueue("-q", queue, "--max-retries", "0", *options, "--", command)
        self.start_workers("--drain")
        self.wait_for_state(id, "completed", "dead")
        return self.job(id)


class ScalingTest(RecipeTestCase):
    def test_the_code_blocks_of_the_document_run(self):
        self.run_document(DOCUMENT)

    def test_each_engine_is_called_correctly(self):
        record = self.path("record")
        for engine in ("kubectl", "docker", "systemd-run"):
            self.put_on_path(engine, ENGINE % record)
        for section, queue, run, kill in (
            ("Kubernetes", "pods", "kubectl run q-T --rm -i ", "kubectl delete pod q-T "),
            ("Docker and Podman", "box", "docker run --rm -i --init --name=q-T ", "docker rm -f q-T\n"),
            ("Limits with systemd", "heavy", "systemd-run --user --scope -q --collect --unit=q-T ", ""),
        ):
            with self.subTest(section=section):
                self.follow(section)
                job = self.through(queue, "echo 'a  b'; exit 3")
                self.assertEqual((job["state"], job["error"]), ("dead", "exit 3"))
                self.assertEqual(self.run_cli("logs", job["id"]).stdout, "a  b\n")
                called = re.sub(r"[0-9a-f]{16}\.\d+\.1", "T", self.read("record"))
                self.assertIn(run, called)
                self.assertIn(kill, called)

    def test_the_slurm_recipe_is_the_one_that_is_tested_on_a_cluster(self):
        (recipe,) = [block.text for block in blocks(DOCUMENT) if block.section == "Slurm"]
        self.assertIn(test_slurm.RUNNER.replace("--export=ALL,QUEUECTL_TOKEN=there ", ""), recipe)
        self.assertIn(test_slurm.RUNNER_KILL.replace("sleep 0.2", "sleep 1"), recipe)


@unittest.skipUnless(SSHD, "needs sshd (Debian's package openssh-server)")
class SshTest(RecipeTestCase):
    """The recipe on a real sshd that plays two hosts."""

    def setUp(self) -> None:
        super().setUp()
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)  # sshd drops its privileges there.
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.path(key)], check=True)
        (port,) = test_slurm.free_ports(1)
        names = {"port": port, "folder": self.folder}
        configuration = self.write("sshd_config", SSHD_CONFIGURATION % names)
        words = [SSHD, "-D", "-f", configuration, "-E", self.path("log")]
        sshd = subprocess.Popen(words, env=self.environment)
        self._started.append(sshd)
        own = self.write("ssh_config", SSH_CONFIGURATION % names)
        self.put_on_path("ssh", 'exec {} -F {} "$@"'.format(shutil.which("ssh"), own))
        wait_until(lambda: "listening" in self.read("log"), message=lambda: self.read("log"))
        self.follow("ssh to a set of hosts")
        self.environment["PATH"] = os.path.join(self.home, "bin") + os.pathsep + self.environment["PATH"]

    def test_exit_code_output_and_token_pass_through_and_a_retry_goes_to_the_next_host(self):
        job = self.through("hosts", "echo \"$QUEUECTL_JOB_ID 'a  b'\"; exit 7", "--id", "a")
        self.assertEqual((job["state"], job["error"]), ("dead", "exit 7"))
        self.assertEqual(self.run_cli("logs", "a").stdout, "a 'a  b'\n")
        self.assertEqual([self.host(1, 1), self.host(1, 2), self.host(2, 1)], ["h1", "h2", "h2"])

    def host(self, job: int, attempt: int) -> str:
        """The host of an attempt of the file's n-th job."""
        token = f"f.{job}.{attempt}"
        environment = dict(self.environment, QUEUECTL_TOKEN=token, QUEUECTL_ATTEMPT=str(attempt))
        return subprocess.check_output(["job-host"], env=environment).decode().strip()

    def test_processes_left_by_a_lost_connection_are_ended_by_their_token(self):
        environment = dict(self.environment, QUEUECTL_TOKEN="f.1.1", QUEUECTL_ATTEMPT="1")
        line = "echo $$ > {}; sleep 60; sleep 61".format(self.path("pid"))
        words = ["ssh", "-T", "-o", "BatchMode=yes", "-o", "SendEnv=QUEUECTL_*", "h1", line]
        client = subprocess.Popen(words, env=environment)
        self._started.append(client)
        wait_until(lambda: self.read("pid").endswith("\n"), message="it did not start")
        client.kill()
        client.wait()
        pid = int(self.read("pid"))
        self.assertFalse(process_is_gone(pid), "the stand-in of a lost connection ends what it ran")
        subprocess.run(["end-job"], env=environment, check=True)
        self.assertTrue(process_is_gone(pid))


if __name__ == "__main__":
    unittest.main()
