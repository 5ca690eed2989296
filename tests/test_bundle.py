"""The bundle: one file that runs anywhere like the checkout it was made from."""

from __future__ import annotations

import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import unittest
import zipfile

from tests.harness import (
    IS_ROOT,
    LONGEST_RUN,
    ROOT,
    CommandResult,
    QueueTestCase,
    process_is_gone,
    wait_until,
)

PYENV = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")


def other_pythons() -> dict[tuple[int, ...], str]:
    """The other Pythons on this machine, by (major, minor), including unsupported ones."""
    found = {}
    paths = glob.glob("/usr/bin/python[23].[0-9]*") + glob.glob(PYENV + "/versions/*/bin/python[23].[0-9]*")
    for path in sorted(paths):
        version = os.path.basename(path)[len("python") :]
        if version.replace(".", "").isdigit():
            found[tuple(map(int, version.split(".")))] = path
    found.pop(sys.version_info[:2], None)
    return found


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class BundleTestCase(QueueTestCase):
    _built: bytes | None = None  # The bundle without options. Building it takes almost a second.

    def bundle(self, name: str = "queuectl", *options: str) -> str:
        """Write a bundle to the test's folder; returns its path."""
        path = self.path(name)
        if BundleTestCase._built is not None and not options:
            with open(path, "wb") as file:
                file.write(BundleTestCase._built)
            os.chmod(path, 0o777 & ~_umask())
            return path
        result = self.run_cli("bundle", path, *options)
        self.assertEqual(result.lines, [path])
        if not options:
            with open(path, "rb") as file:
                BundleTestCase._built = file.read()
        return path

    def run_program(
        self, *words: str, code: int | None = 0, env: dict[str, str] | None = None, cwd: str | None = None
    ) -> CommandResult:
        """Run a program and check its exit code (None: any); `env` adds to the test's environment."""
        process = subprocess.run(
            words,
            env={**self.environment, **(env or {})},
            cwd=cwd or self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=LONGEST_RUN,
        )
        result = CommandResult(process.returncode, process.stdout, process.stderr)
        self.assertNotIn("Traceback", result.stderr)
        if code is not None:
            self.assertEqual(result.code, code, result)
        return result


class ReproducibleTest(BundleTestCase):
    def test_a_checkout_a_bundle_and_a_package_build_the_same_file(self):
        first = self.bundle()
        elsewhere = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
        self.run_program(sys.executable, first, "bundle", "from-bundle", env=elsewhere)
        package = self.path("site")
        shutil.copytree(os.path.join(ROOT, "queuectl_core"), os.path.join(package, "queuectl_core"))
        start = "import sys; sys.argv[0] = 'queuectl'; from queuectl_core.entry import main; main()"
        self.run_program(
            sys.executable, "-O", "-c", start, "bundle", "from-package", env={"PYTHONPATH": package}
        )
        for other in ("from-bundle", "from-package"):
            with open(first, "rb") as one, open(self.path(other), "rb") as two:
                self.assertTrue(one.read() == two.read(), other)

    def test_a_changed_source_changes_the_file_and_its_version(self):
        copy = self.path("copy")
        shutil.copytree(os.path.join(ROOT, "queuectl_core"), os.path.join(copy, "queuectl_core"))
        with open(os.path.join(copy, "queuectl_core", "store", "bell.py"), "a") as file:
            file.write("# Changed.\n")
        print_version = "from queuectl_core.program.sources import version; print(version())"
        versions = [
            self.run_program(sys.executable, "-c", print_version, env={"PYTHONPATH": path}).stdout
            for path in (ROOT, self.bundle(), copy)
        ]
        self.assertEqual(versions[0], versions[1])
        self.assertNotEqual(versions[0], versions[2])

    def test_a_bundle_contains_the_source_and_bytecode_of_every_module(self):
        names = set(zipfile.ZipFile(self.bundle()).namelist())
        for folder, _, files in os.walk(os.path.join(ROOT, "queuectl_core")):
            for name in files:
                if name.endswith(".py"):
                    source = os.path.relpath(os.path.join(folder, name), ROOT)
                    self.assertLessEqual({source, source + "c"}, names)

    def test_a_bundle_runs_from_its_bytecode(self):
        print_file = "import queuectl_core.store as store; print(store.__file__)"
        loaded = self.run_program(sys.executable, "-c", print_file, env={"PYTHONPATH": self.bundle()})
        self.assertTrue(loaded.stdout.endswith("queuectl_core/store/__init__.pyc\n"), loaded.stdout)


class AnywhereTest(BundleTestCase):
    def check_it_works(self, *program: str) -> None:
        """Run one job with `program`."""
        id = self.run_program(*program, "enqueue", "--", "echo", "it works").lines[0]
        self.run_program(*program, "worker", "start", "--drain", "--foreground")
        self.assertEqual(self.run_program(*program, "logs", id).stdout, "it works\n")

    def test_a_bundle_runs_under_any_name_and_through_a_symlink(self):
        python = os.path.join(self.folder, "bin")
        os.mkdir(python)
        os.symlink(sys.executable, os.path.join(python, "python3"))
        self.environment["PATH"] = python + ":" + self.environment["PATH"]
        os.rename(self.bundle(), self.path("any other name"))
        os.symlink("any other name", self.path("q"))
        self.check_it_works(self.path("any other name"))
        self.check_it_works("./q")

    def test_the_python_option_sets_the_shebang_line(self):
        bundle = self.bundle("queuectl", "--python", sys.executable + " -I")
        with open(bundle, "rb") as file:
            self.assertEqual(file.readline().decode(), f"#!{sys.executable} -I\n")
        self.check_it_works(bundle)
        self.run_cli("bundle", self.path("x"), "--python", "a\nb", code=2)
        self.run_cli("bundle", self.path("no/such/folder"), code=1)

    def test_a_bundle_runs_on_every_supported_python_and_refuses_older_ones_clearly(self):
        bundle = self.bundle()
        pythons = other_pythons()
        if not pythons:
            self.skipTest("no other Python is installed")
        for version, python in pythons.items():
            with self.subTest(python=python):
                if version >= (3, 8):
                    self.check_it_works(python, bundle)
                    continue
                for program in (bundle, os.path.join(ROOT, "queuectl.py")):
                    result = self.run_program(python, program, "list", code=3)
                    self.assertRegex(
                        result.stderr, r"^queuectl: needs Python 3\.8 or later; this is [\d.]+\n$"
                    )

    def test_a_bundle_needs_no_writable_home_or_folder(self):
        folder = self.path("readonly")
        os.mkdir(folder)
        shutil.copy(self.bundle(), folder)
        os.chmod(folder, 0o500)
        os.chmod(self.home, 0o500)
        self.check_it_works(sys.executable, os.path.join(folder, "queuectl"))
        self.assertEqual(os.listdir(folder) + os.listdir(self.home), ["queuectl"])

    @unittest.skipUnless(IS_ROOT and shutil.which("unshare"), "needs root and unshare, to mount")
    def test_a_bundle_runs_from_a_read_only_file_system(self):
        folder = self.path("mounted")
        os.mkdir(folder)
        script = (
            'mount -t tmpfs tmpfs "$1" && cp "$2" "$1" && mount -o remount,ro "$1"'
            ' && "$3" "$1/queuectl" enqueue --id here true'
            ' && "$3" "$1/queuectl" worker start --drain --foreground'
        )
        words = ("sh", folder, self.bundle(), sys.executable)
        result = self.run_program("unshare", "--mount", "sh", "-c", script, *words, code=None)
        if "mount:" in result.stderr:
            self.skipTest("not allowed to mount")
        self.assertEqual(result.code, 0, result)
        self.assertEqual(self.state("here"), "completed")


class StubTest(BundleTestCase):
    """The shell script at the start of a bundle."""

    def path_with(self, **pythons: str) -> dict[str, str]:
        """An environment whose PATH has just these programs, by name (with _ for .), and what a shell needs."""
        folder = os.path.join(self.folder, "bin")
        os.makedirs(folder)
        for name, target in {**pythons, "sh": "/bin/sh"}.items():
            os.symlink(target, os.path.join(folder, name.replace("_", ".")))
        return {"PATH": folder}

    def lonely_bundle(self) -> str:
        """A bundle that doesn't find the Pythons of this machine which aren't on PATH."""
        path = self.bundle()
        with open(path, "rb") as file:
            data = file.read()
        for python in (b"/usr/bin/python3", b"/usr/local/bin/python3", b"/usr/libexec/platform-python"):
            self.assertEqual(data.count(b" " + python, 0, 2000), 1, python)
            data = data.replace(b" " + python, b" /missing".ljust(len(python) + 1, b"n"), 1)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def test_a_bundle_runs_wherever_it_is_and_however_it_is_called(self):
        folder = self.path("it's a \"folder\" $HOME")
        os.mkdir(folder)
        os.rename(self.bundle(), os.path.join(folder, "-q"))
        os.symlink(os.path.join(folder, "-q"), self.path("queuectl link"))
        path = {"PATH": os.pathsep + os.environ["PATH"]}  # An empty part is the working directory.
        for number, (words, cwd) in enumerate((
            ([os.path.join(folder, "-q")], "/"),
            (["./-q"], folder),
            (["sh", "./-q"], folder),
            ([self.path("queuectl link")], "/"),
            ([sys.executable, os.path.join(folder, "-q")], "/"),
            (["-q"], folder),
        )):  # fmt: skip
            id = f"job{number}"
            result = self.run_program(*words, "enqueue", "--id", id, "--", "echo", "a  'b'", "", cwd=cwd, env=path)
            self.assertEqual(result.lines, [id], words)
            self.assertEqual(self.job(id)["command"], "echo 'a  '\"'\"'b'\"'\"'' ''")
            self.assertEqual(self.job(id)["cwd"], cwd)

    def test_output_is_the_same_whether_the_script_or_python_starts_it(self):
        bundle = self.bundle()
        self.enqueue("--id", "a", "--delay", "1h", "true")
        path = self.path_with(python3=sys.executable)
        for words in (
            *(["status"], ["show", "a", "--json"], ["list", "--json"], ["config", "list"], ["list", "--nope"]),
            *(["nope"], ["show", "b"], ["--help"], ["enqueue", "{"], ["completion", "bash"], ["manual"], []),
            *(["--version"], ["status", "--watch"]),
        ):
            one = self.run_program(bundle, *words, code=None, env=path)
            two = self.run_program(sys.executable, bundle, *words, code=None)
            three = self.run_cli(*words, code=None)
            self.assertEqual(one, two, words)
            self.assertEqual((one.code, one.stderr), (three.code, three.stderr), words)

    def test_a_python_under_another_name_is_found(self):
        bundle = self.lonely_bundle()
        result = self.run_program(bundle, "enqueue", "true", env=self.path_with(python3_9=sys.executable))
        self.assertEqual(len(result.lines), 1)

    def test_without_a_python_a_bundle_says_what_is_missing(self):
        result = self.run_program(self.lonely_bundle(), "list", env=self.path_with(), code=3)
        self.assertEqual((result.stdout, result.stderr), ("", "queuectl: needs Python 3.8 or later; found none\n"))

    def test_an_old_python_is_passed_over(self):
        old = {version: python for version, python in other_pythons().items() if (3, 4) <= version < (3, 8)}
        if not old:
            self.skipTest("no old Python is installed")
        (version, python), bundle = next(iter(old.items())), self.lonely_bundle()
        result = self.run_program(bundle, "list", env=self.path_with(python3=python), code=3)
        found = "only Python %d.%d" % version
        self.assertEqual(result.stderr, f"queuectl: needs Python 3.8 or later; found {found}\n")
        path = {"PATH": os.path.join(self.folder, "bin")}
        others = [python for version, python in other_pythons().items() if version >= (3, 8)]
        for number, python in enumerate([sys.executable, *others[:1]]):
            os.symlink(python, os.path.join(self.folder, "bin", f"python3.{12 + number}"))
            command = "echo ${QUEUECTL_OLD_PYTHON-unset}"
            self.run_program(bundle, "enqueue", "--id", f"a{number}", "--", command, env=path)
            # Without the fast path's own start over.
            self.run_program(bundle, "--quiet", "worker", "start", "--drain", "--foreground", env=path)
            self.assertEqual(self.run_program(bundle, "logs", f"a{number}", env=path).stdout, "unset\n")

    def test_a_python_of_another_version_compiles_the_sources(self):
        bundle = self.lonely_bundle()
        for version, python in other_pythons().items():
            if version < (3, 8):
                continue
            with self.subTest(python=python):
                shutil.rmtree(os.path.join(self.folder, "bin"), ignore_errors=True)
                path = self.path_with(python3=python)
                result = self.run_program(bundle, "enqueue", "true", env=path)
                self.assertEqual(len(result.lines), 1)

    def test_nothing_but_the_standard_library_is_loaded(self):
        for name in ("sqlite3", "json", "sitecustomize", "usercustomize", "queuectl_core", "argparse"):
            self.write(f"{name}.py", "raise SystemExit('not this one')")
        bundle = self.bundle()
        for words in (["enqueue", "true"], ["list", "--json"], ["list", "-n5"]):
            self.run_program(bundle, *words, env={"PYTHONPATH": self.folder, "PYTHONHOME": "/nowhere"})

    def test_workers_run_under_the_same_python_and_have_a_readable_command_line(self):
        bundle = self.bundle()
        path = self.path_with(python3=sys.executable)
        self.run_program(bundle, "worker", "start", "-c", "2", env=path)
        python = os.path.join(path["PATH"], "python3")
        for pid, *_ in self.rows("SELECT pid FROM queuectl_workers"):
            with open(f"/proc/{pid}/cmdline") as file:
                self.assertEqual(file.read().split("\0")[:-1], [python, "-IS", bundle, "worker", "start", "-c", "2"])
        unit = self.run_program(bundle, "service", env=path).stdout
        self.assertIn(f"ExecStart={python} -IS {bundle} --db", unit)
        self.run_program(bundle, "worker", "restart", env=path)
        ids = [self.enqueue("--id", "a", "echo it works")]
        self.wait_until_all_finished()
        self.stop_workers()
        self.audit(ids)

    def test_a_closed_standard_input_is_not_the_bundle(self):
        result = self.run_program("sh", "-c", '"$0" enqueue - <&-', self.bundle())
        self.assertEqual((result.stdout, result.stderr), ("", ""))

    def test_replacing_the_file_breaks_no_running_command(self):
        bundle = self.bundle()
        environment = {**self.environment, **self.path_with(python3=sys.executable)}
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen([bundle, "enqueue", "-"], env=environment, cwd=self.folder, **streams)
        assert process.stdin and process.stdout
        process.stdin.write(b"true\n")
        process.stdin.flush()
        self.assertTrue(process.stdout.readline())
        self.write("new", "not a bundle")
        os.rename(self.path("new"), bundle)
        stdout, _ = process.communicate(b'{"command": "true"}\n{"command":\n"false"}\n', timeout=LONGEST_RUN)
        self.assertEqual((process.returncode, len(stdout.split())), (0, 2))

    def test_a_replaced_file_is_never_read_as_the_old_one(self):
        bundle = self.bundle()
        script = (
            "import sys, os\n"
            f"sys.path.insert(0, {bundle!r})\n"
            "from queuectl_core.program.importer import Importer\n"
            f"with open({bundle!r}, 'rb') as file:\n"
            "    start = file.read(4000).index(b'start(f, ')\n"
            "    file.seek(start)\n"
            "    index, hot = eval(file.readline().split(b'f,')[1].split(b')')[0])\n"
            "    head = file.seek(0) or file.read(200_000)\n"
            "    file.seek(head.index(b'PK\\3\\4') - index)\n"
            "    importer = Importer(file, index, hot)\n"
            f"os.rename({bundle!r}, {bundle!r} + '.old')\n"
            f"os.link({self.write('new', 'x' * 3_000_000)!r}, {bundle!r})\n"
            f"sys.path.remove({bundle!r})\n"
            "sys.meta_path.insert(0, importer)\n"
            "import queuectl_core.cli.jobs\n"
            "try:\n"
            "    import queuectl_core.cli.hints\n"
            "except ImportError as error:\n"
            "    print(error)\n"
        )
        result = self.run_program(sys.executable, "-c", script)
        self.assertEqual(result.stdout, f"{bundle} was replaced while it was running\n", result)


class UpgradeTest(BundleTestCase):
    def test_replacing_the_file_breaks_no_running_worker(self):
        bundle = self.bundle()
        self.run_program(sys.executable, bundle, "worker", "start", "-c", "2")
        # In another zip, all offsets are different: a module loaded from it now would be garbage.
        with zipfile.ZipFile(self.path("new"), "w") as archive:
            archive.writestr("__main__.py", "raise SystemExit('the new one')\n" * 1000)
        os.rename(self.path("new"), bundle)
        self.run_program(sys.executable, bundle, "list", code=1)
        ids = [
            self.enqueue("--id", "ok", "-e", "A=1", "--stdin", "cat; echo $A", input="in\n"),
            self.enqueue("--id", "bad", "--max-retries", "1", "--backoff-base", "0.1", "--", "exit 1"),
            self.enqueue("--id", "slow", "--max-retries", "0", "--timeout", "0.2", "--", "sleep 60"),
            self.enqueue('{"id": "nowhere", "max_retries": 0, "cwd": "/no/such/folder", "command": "true"}'),
            self.enqueue("--id", "killer", "--max-retries", "0", "--", "kill -9 $PPID; sleep 60"),
        ]
        self.wait_until_all_finished()
        self.assertEqual(self.job("killer")["error"], "worker lost")
        self.assertEqual(self.run_cli("logs", "ok").stdout, "in\n1\n")
        wait_until(lambda: len(self.run_cli("worker", "list", "--json").json) == 2)
        self.stop_workers()
        self.audit(ids)

    def test_replacing_the_file_breaks_no_waiting_command(self):
        bundle = self.bundle()
        self.enqueue("--id", "a", "--delay", "1h", "true")
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        wait = self.start_cli("wait", "--json", "a", program=bundle, **streams)
        self.wait_until_open(wait.pid)
        self.write("new", "not a zip file")
        os.rename(self.path("new"), bundle)
        self.run_cli("cancel", "a")
        stdout, _ = wait.communicate(timeout=LONGEST_RUN)
        self.assertEqual((wait.returncode, json.loads(stdout)["state"]), (1, "cancelled"))

    def copy_program(self) -> str:
        """Copy the program; returns the path of its queuectl.py."""
        copy = self.path("copy")
        shutil.copytree(os.path.join(ROOT, "queuectl_core"), os.path.join(copy, "queuectl_core"))
        shutil.copy(os.path.join(ROOT, "queuectl.py"), copy)
        return os.path.join(copy, "queuectl.py")

    def change_copy(self) -> None:
        """Change the version of the copy."""
        with open(self.path("copy/queuectl_core/store/bell.py"), "a") as file:
            file.write("# Changed.\n")

    def supervisors(self) -> list[tuple[int, int, str]]:
        """The id, PID and version of each supervisor."""
        return self.rows("SELECT id, pid, version FROM queuectl_workers WHERE role = 'supervisor'")

    def test_status_names_workers_of_another_version(self):
        program = self.copy_program()
        self.run_program(sys.executable, program, "worker", "start")
        self.assertNotIn("restart", self.run_cli("status").stdout)
        self.change_copy()
        status = self.run_program(sys.executable, program, "status")
        self.assertRegex(status.stdout, r"Workers run 0\.[\d.]+\+\w{8}, but this is 0\.[\d.]+\+\w{8}")
        shown = self.run_program(sys.executable, program, "status", "--json").json
        self.assertNotEqual(shown["version"], shown["workers"][0]["version"])

    def test_restart_moves_a_fleet_to_new_code_without_losing_jobs(self):
        program = self.copy_program()
        secret = self.write("secrets", f"SECRET=hush\nBIG={'x' * 100000}\n")
        words = ("worker", "start", "-c", "2", "-q", "a", "-q", "b", "--env-file", secret)
        self.run_program(sys.executable, "queuectl.py", *words, cwd=os.path.dirname(program))
        os.unlink(secret)
        before, workers = self.supervisors(), self.run_cli("worker", "list", "--json").json
        ids = self.enqueue_lines(["sleep 0.1"] * 20, "-q", "a")
        ids.append(self.enqueue("--id", "secret", "-q", "b", "--", "echo $SECRET ${#BIG}"))
        self.enqueue("--id", "other", "-q", "c", "true")
        self.change_copy()
        result = self.run_program(sys.executable, program, "worker", "restart")
        stopped = [f"worker {worker['id']} stopped" for worker in workers]
        self.assertEqual(sorted(result.lines[:2]), sorted(stopped))
        self.assertEqual([line.split()[2] for line in result.lines[2:]], ["started,"] * 2)
        after = self.run_program(sys.executable, program, "status", "--json").json
        self.assertEqual({w["version"] for w in after["workers"]}, {after["version"]})
        self.assertEqual([w["queues"] for w in after["workers"]], [["a", "b"]] * 2)
        self.assertEqual([row[:2] for row in self.supervisors()], [row[:2] for row in before])
        self.run_cli("wait", *ids)
        self.assertEqual(self.run_cli("logs", "secret").stdout, "hush 100000\n")
        self.assertEqual(self.state("other"), "pending")
        attempts = self.rows("SELECT started_at, finished_at FROM queuectl_attempts")
        self.assertEqual(len(attempts), 21)
        for start, _ in attempts:
            self.assertLessEqual(sum(began <= start < ended for began, ended in attempts), 2)
        self.stop_workers()
        self.audit([*ids, "other"])

    def test_restart_in_the_foreground_keeps_the_process_and_its_exit_code(self):
        program = self.copy_program()
        self.enqueue("--id", "first", "until [ -e go ]; do sleep 0.02; done")
        self.enqueue("--id", "last", "--max-retries", "0", "--", "exit 1")
        process = self.start_cli(
            "worker", "start", "--foreground", "--drain", program=program, stderr=subprocess.PIPE
        )
        self.wait_for_state("first", "processing")
        ((_, pid, version),) = self.supervisors()
        self.assertEqual(pid, process.pid)
        self.change_copy()
        self.run_program(sys.executable, program, "worker", "restart", "--no-wait")
        ((_, pid, new_version),) = self.supervisors()
        self.assertEqual(pid, process.pid)
        self.assertNotEqual(new_version, version)
        self.write("go", "")
        _, stderr = process.communicate(timeout=LONGEST_RUN)
        self.assertEqual(process.returncode, 1, stderr)
        self.assertEqual([self.state(id) for id in ("first", "last")], ["completed", "dead"])
        self.audit(["first", "last"])

    def test_a_stop_during_a_restart_is_not_lost(self):
        self.start_workers("-c", "2")
        ((_, pid, _),) = self.supervisors()
        os.kill(pid, signal.SIGUSR2)
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: process_is_gone(pid))
        self.assertEqual(self.rows("SELECT * FROM queuectl_workers"), [])

    def test_a_fleet_whose_program_was_deleted_keeps_working(self):
        program = self.copy_program()
        with open(self.path("log"), "wb") as log:
            process = self.start_cli("worker", "start", "--foreground", program=program, stderr=log)
        wait_until(lambda: "started" in self.read("log"))
        shutil.rmtree(self.path("copy"))
        process.send_signal(signal.SIGUSR2)
        wait_until(lambda: "cannot restart" in self.read("log"))
        self.enqueue("--id", "after", "true")
        self.wait_for_state("after", "completed")

    def test_restart_does_not_bring_back_stopped_workers(self):
        workers = self.start_workers("-c", "3")
        self.stop_workers(workers[1][0])
        result = self.run_cli("worker", "restart")
        self.assertEqual(len([line for line in result.lines if "started" in line]), 2)
        self.assertEqual(len(self.run_cli("worker", "list", "--json").json), 2)
        # Any signal wakes the supervisor, which would now replace missing workers.
        ((_, pid, _),) = self.supervisors()
        os.kill(pid, signal.SIGCHLD)
        self.enqueue("--id", "a", "true")
        self.wait_for_state("a", "completed")
        self.assertEqual(len(self.run_cli("worker", "list", "--json").json), 2)

    def test_restart_names_workers_without_a_supervisor(self):
        ((id, _),) = self.start_workers()
        ((_, pid, _),) = self.supervisors()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: process_is_gone(pid))
        result = self.run_cli("worker", "restart", code=1)
        advice = f"queuectl: worker {id}: its supervisor is dead; run: queuectl worker stop {id}\n"
        self.assertTrue(result.stderr.startswith(advice), result.stderr)


if __name__ == "__main__":
    unittest.main()
