"""The layout holds: imports point one way, and each program loads what it needs and no more."""

import ast
import os
import sys
import unittest

from tests.harness import ROOT, QueueTestCase

PACKAGE = os.path.join(ROOT, "queuectl_core")

# From what knows nothing to what knows all: a module may import those of the lines above its own.
# (`database`, where it is there, is the part of the store that opens the file.)
ORDER = (
    "errors",
    "values",
    "lifecycle",
    "settings strictjson identity bell sources",
    "jobspec",
    "sql process",
    "database runner",
    "store",
    "worker render",
    "fleet",
    "rescue",
    "worker_process",
    "supervisor bundle doctor service moving",
    "cli",
)
IN_WORKERS = (
    "supervisor worker_process rescue fleet worker runner process bell identity store database".split()
)
LEVELS = {name: level for level, names in enumerate(ORDER) for name in names.split()}


def modules() -> dict:
    """The path of each module of the package, by its dotted name without the package's."""
    found = {}
    for folder, _, names in os.walk(PACKAGE):
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                dotted = os.path.relpath(path, PACKAGE)[: -len(".py")].replace(os.sep, ".")
                dotted = dotted[: -len(".__init__")] if dotted.endswith(".__init__") else dotted
                found["" if dotted == "__init__" else dotted] = path
    return found


def imports(name: str, path: str) -> set:
    """The modules of the package that a module imports, at its top or inside its functions."""
    with open(path) as file:
        tree = ast.parse(file.read(), path)
    is_package = os.path.basename(path) == "__init__.py"
    here = name.split(".") if name else []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here if is_package else here[:-1]
            base = base[: len(base) - (node.level - 1)]
            if node.module:
                found.add(".".join([*base, node.module]))
            else:
                found.update(".".join([*base, alias.name]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("queuectl_core"):
            found.add(node.module.partition(".")[2])
        elif isinstance(node, ast.Import):
            found.update(
                alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("queuectl_core")
            )
    return {target for target in found if target in modules() or target.split(".")[0] in LEVELS}


def room(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


class ImportsTest(unittest.TestCase):
    def test_imports_only_point_up_the_list(self):
        for name, path in modules().items():
            if room(name) not in LEVELS:
                continue  # A further room, of a further capability: it may import all that is here.
            for target in imports(name, path):
                if target == "" or room(target) == room(name):
                    continue
                self.assertIn(
                    room(target), LEVELS, "%s imports %s, which is not in the list" % (name, target)
                )
                self.assertLess(LEVELS[room(target)], LEVELS[room(name)], "%s imports %s" % (name, target))

    def test_every_module_of_the_design_is_there(self):
        there = {room(name) for name in modules()}
        expected = "errors lifecycle sql store process worker fleet render cli".split()
        self.assertEqual(set(expected) - there, set())

    def test_the_worker_and_the_store_do_not_know_each_other(self):
        found = modules()
        for name, path in found.items():
            if room(name) == "worker":
                self.assertFalse(
                    {room(target) for target in imports(name, path)} & {"store", "sql", "database"}
                )
            if room(name) in ("store", "database"):
                self.assertNotIn("worker", {room(target) for target in imports(name, path)})

    def test_the_command_line_knows_no_sql(self):
        for name, path in modules().items():
            if room(name) in ("cli", "render", "fleet", "worker"):
                self.assertNotIn("sql", {room(target) for target in imports(name, path)}, name)
                with open(path) as file:
                    tree = ast.parse(file.read())
                texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
                for text in texts:
                    if isinstance(text, str):
                        self.assertNotRegex(
                            text, r"\b(SELECT .* FROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM)\b", name
                        )

    def test_the_sql_holds_strings_only(self):
        with open(os.path.join(PACKAGE, "sql.py")) as file:
            tree = ast.parse(file.read())
        imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
        self.assertEqual(imported, [])
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                self.assertTrue(node.name.startswith("_"), node.name)

    def test_the_lifecycle_has_no_clock_and_no_files(self):
        with open(os.path.join(PACKAGE, "lifecycle.py")) as file:
            tree = ast.parse(file.read())
        names = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module)
        self.assertEqual(names & {"time", "os", "sqlite3", "datetime", "subprocess", "random"}, set())

    def test_only_the_standard_library_is_imported(self):
        allowed = set(getattr(sys, "stdlib_module_names", ())) | {"queuectl_core", "__future__"}
        if len(allowed) < 10:
            self.skipTest("this Python has no list of its own modules")
        for name, path in modules().items():
            with open(path) as file:
                tree = ast.parse(file.read())
            for node in ast.walk(tree):
                if isinstance(node, ast.Import):
                    for alias in node.names:
                        self.assertIn(alias.name.split(".")[0], allowed, name)
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    self.assertIn(node.module.split(".")[0], allowed, name)


class LoadedTest(QueueTestCase):
    """What is in sys.modules, in a process of its own."""

    def loaded_by(self, *words) -> set:
        """Run a command and tell all modules that it has loaded when it ends."""
        script = (
            "import os, sys\n"
            "before = set(sys.modules)\n"
            "sys.path.insert(0, %r)\n"
            "from queuectl_core import cli\n"
            "sys.argv = ['queuectl', *%r]\n"
            "def leave(code):\n"
            "    with open(%r, 'w') as file:\n"
            "        file.write('\\n'.join(set(sys.modules) - before))\n"
            "    sys.stdout.flush()\n"
            "    leave_really(code)\n"
            "leave_really, os._exit = os._exit, leave\n"
            "cli.main()\n"
        ) % (ROOT, list(words), self.path("loaded"))
        import subprocess

        result = subprocess.run(
            [sys.executable, "-c", script],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
        self.assertEqual(result.returncode, 0, result.stderr)
        return set(self.read("loaded").split())

    def test_enqueue_loads_no_process_machinery(self):
        heavy = {
            "subprocess", "multiprocessing", "logging", "selectors", "select",
            "queuectl_core.worker", "queuectl_core.fleet", "queuectl_core.process", "queuectl_core.render",
            "queuectl_core.identity", "queuectl_core.queue", "queuectl_core.cli.workers",
            "queuectl_core.cli.looking",
        }  # fmt: skip
        self.run_cli("status")  # The file is there: the schema is not made each time.
        for words in (
            ["enqueue", "true"],
            ["enqueue", '{"command": "true"}'],
            ["enqueue", "-q", "q", "-p", "5", "--timeout", "5m", "--delay", "1", "--", "echo", "a b"],
        ):
            loaded = self.loaded_by(*words)
            self.assertIn("queuectl_core.store", loaded)
            self.assertEqual(loaded & heavy, set(), words)

    def test_looking_loads_no_worker(self):
        heavy = {"queuectl_core." + name for name in "worker worker_process rescue runner process".split()}
        self.enqueue("true")
        for words in (["status"], ["list"], ["worker", "list"]):
            self.assertEqual(self.loaded_by(*words) & (heavy | {"subprocess"}), set(), words)

    def test_a_worker_has_imported_everything_before_its_first_claim(self):
        """A file that is replaced or gone on disk breaks no worker that runs."""
        copy = self.path("copy")
        import shutil

        shutil.copytree(PACKAGE, os.path.join(copy, "queuectl_core"))
        shutil.copy(os.path.join(ROOT, "queuectl.py"), copy)
        import subprocess

        process = subprocess.Popen(
            [sys.executable, os.path.join(copy, "queuectl.py"), "worker", "start", "-c", "2"],
            env=self.environment,
            stdout=subprocess.PIPE,
        )
        process.communicate(timeout=30)
        self.assertEqual(process.returncode, 0)
        shutil.rmtree(copy)
        ids = [
            self.enqueue("--id", "ok", "-e", "A=1", "echo $A"),
            self.enqueue("--id", "bad", "--max-retries", "1", "--backoff-base", "0.1", "--", "exit 1"),
            self.enqueue("--id", "slow", "--max-retries", "0", "--timeout", "0.2", "--", "sleep 60"),
            self.enqueue("--id", "nowhere", "--max-retries", "0", "--cwd", "/no/such/folder", "true"),
            self.enqueue("--id", "killer", "--max-retries", "0", "--", "kill -9 $PPID; sleep 60"),
        ]
        self.wait_for_state("killer", "dead")
        self.wait_until_all_finished()
        self.assertEqual(self.job("killer")["error"], "worker lost")
        ids.append(self.enqueue("--id", "after", "true"))  # Its worker is a replacement, or the other.
        self.wait_for_state("after", "completed")
        cancelled = self.enqueue("--id", "cancelled", "sleep 60")
        self.wait_for_state(cancelled, "processing")
        self.run_cli("cancel", cancelled)
        self.stop_workers()
        self.audit([*ids, cancelled])

    def test_what_a_worker_imports_late_is_loaded_by_then(self):
        """Imports inside functions are for commands: a worker must find their modules in memory."""
        import subprocess

        result = subprocess.run(
            [
                sys.executable, "-c",
                "import sys; sys.path.insert(0, %r)\n"
                "import queuectl_core.cli.workers, queuectl_core.supervisor\n"
                "print('\\n'.join(sys.modules))" % ROOT,
            ],
            stdout=subprocess.PIPE,
            timeout=30,
            check=False,
        )  # fmt: skip
        loaded = set(result.stdout.decode().split())
        for name, path in modules().items():
            if room(name) not in IN_WORKERS:
                continue
            with open(path) as file:
                tree = ast.parse(file.read(), path)
            for function in ast.walk(tree):
                if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    for target in _imported_in(function):
                        self.assertIn(target, loaded, "%s: %s" % (name, function.name))


def _imported_in(function) -> set:
    found = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            prefix = "queuectl_core." if node.level else ""
            found.update([prefix + node.module] if node.module else [prefix + a.name for a in node.names])
    return found


class SizeTest(unittest.TestCase):
    def test_only_what_tools_insist_on_stands_at_the_top(self):
        allowed = {
            "queuectl.py", "queuectl_core", "tests", "setup.cfg", "README.md", "pyproject.toml", "LICENSE",
            "CHANGELOG.md", ".ci", ".gitignore", "docs", "build", "dist",
        }  # fmt: skip
        hidden = {name for name in os.listdir(ROOT) if name.startswith(".") or name == "__pycache__"}
        there = {name for name in os.listdir(ROOT) if not name.endswith(".egg-info")}
        self.assertEqual(there - allowed - hidden, set())
