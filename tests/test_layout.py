"""The layout: imports go one way, modules and functions stay small, and each command loads only what it needs."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import unittest

from queuectl_core.program import bundle
from tests.harness import ROOT, QueueTestCase

PACKAGE = os.path.join(ROOT, "queuectl_core")

# The modules of each package, bottom to top. A module may import those on the lines above its own, and nothing else of
# its package. A package's __init__ is on top of it unless it is listed.
ORDER = {
    "": (
        "errors typed version cells histogram direct",
        "values lifecycle records template grid",
        "settings jobspec nodejs suggestion",
        "phrases",
        "jobjson",
        "jobtext",
        "program",
        "schedule",
        "store",
        "workers",
        "library schedule_transfer views",
        "transfer",
        "cli",
        "entry",
    ),
    "program": ("sources service importer stub", "bundle"),
    "schedule": ("__init__ cron zones", "times crontab", "plan"),
    "store": (
        "sql schedule_sql schema_parts bell sqlite",
        "connection queries hook_sql batch_sql machine",
        "schema upkeep borrowed filesystem wal",
        "migrations",
        "database",
        "copies",
        "reader",
        "roster search unused",
        "intake",
        "hooks",
        "firing",
        "schedules",
        "client claims",
        "store",
    ),
    "workers": (
        "log identity lifeline oom inbox output page slot",
        "leftovers",
        "fleet process",
        "runner shell",
        "rescue orphans",
        "suspension",
        "worker strays",
        "worker_process",
        "handover",
        "supervisor",
        "launch",
    ),
    "views": (
        "__init__ commands top_text top_log top_keys",
        "history schedules",
        "facts failures",
        "metrics",
        "top_actions",
        "top_data",
        "top_offers top_panels top_overlays top_terminal",
        "top_main top_job",
        "top_schedules",
        "top_screens",
        "top_app",
        "top",
        "dashboard",
    ),
    "views.dashboard": (
        "guard markup view live deadlines",
        "parts charts periods",
        "frame",
        "joblist",
        "jobpage overview workerpage failurepage schedulepage actions",
        "site",
        "server",
    ),
    "cli": (
        "__init__ terminal",
        "queue_file",
        "hints examples",
        "schedule_hints",
        "parser plain",
        "tables jobstream output progress obstacle",
        "bulk silence stopping",
        "columns",
        "enqueue jobs status stats failures report hold logs wait cancel queues prune workers schedules config doctor"
        " backup transfer install metrics completion manual top dashboard",
        "change dlq schedule_change schedule_import schedule_list",
        "main",
    ),
}
CATALOGS = ("store.sql", "store.queries", "store.upkeep", "store.schedule_sql", "store.hook_sql")
LONGEST_MODULE = 400  # lines
LONGEST_CATALOG = 500  # lines of sql.py and queries.py in store/, which are lists of statements
LONGEST_FUNCTION = 60  # lines
MOST_ARGUMENTS = 6  # positional ones, without self

# What commands must not load: the slowest modules that they are tempted by.
SLOW = {
    *("argparse", "dataclasses", "datetime", "enum", "importlib", "inspect", "json", "logging", "multiprocessing"),
    *("pathlib", "re", "select", "selectors", "shutil", "signal", "subprocess", "tempfile", "typing", "warnings"),
}
# What of the standard library plain commands load besides what every Python has loaded.
FEW = {
    *("__future__", "_collections", "_json", "_locale", "_bootlocale", "_operator", "_signal", "_sqlite3", "errno"),
    *("fcntl", "gc", "itertools", "math", "operator", "pwd"),
}
if sys.version_info >= (3, 10):  # _sqlite3 itself loads functools, which loads the rest.
    FEW |= {"_functools", "collections", "functools", "keyword", "reprlib", "types"}


def modules() -> dict[str, str]:
    """The path of each module of the package, by its dotted name below queuectl_core; "" is its __init__."""
    found = {}
    for folder, _, names in os.walk(PACKAGE):
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                parts = os.path.relpath(path, PACKAGE)[: -len(".py")].split(os.sep)
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def tree_of(path: str) -> ast.Module:
    with open(path, encoding="utf-8") as file:
        return ast.parse(file.read(), path)


def imports(name: str, path: str, tree: ast.AST | None = None) -> set[str]:
    """The modules of the package that a module (or the part `tree` of it) imports, also inside functions."""
    known = modules()
    here = name.split(".") if name else []
    package = here if os.path.basename(path) == "__init__.py" else here[:-1]
    found = set()
    for node in ast.walk(tree or tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - (node.level - 1)]
            module = ".".join([*base, *(node.module or "").split(".")]).rstrip(".")
            for alias in node.names:
                submodule = f"{module}.{alias.name}".lstrip(".")
                found.add(submodule if submodule in known else module)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("queuectl_core"):
            found.add((node.module or "").partition(".")[2])
        elif isinstance(node, ast.Import):
            found.update(
                alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("queuectl_core")
            )
    return found


def level(package: str, part: str) -> int:
    """How high a part of a package is."""
    levels = ORDER[package]
    return next((number for number, names in enumerate(levels) if part in names.split()), len(levels))


def may_import(importer: str, target: str) -> bool:
    """Whether ORDER lets one module import another."""
    ours, theirs = importer.split("."), target.split(".")
    package = ""
    while ours and theirs and ours[0] == theirs[0] and f"{package}.{ours[0]}".lstrip(".") in ORDER:
        package = f"{package}.{ours[0]}".lstrip(".")
        ours, theirs = ours[1:], theirs[1:]
    return level(package, theirs[0] if theirs else "__init__") < level(package, ours[0] if ours else "__init__")


class ImportsTest(unittest.TestCase):
    def test_every_module_is_in_the_order_and_everything_in_the_order_exists(self):
        known = {name for name in modules() if name}
        listed = {
            f"{package}.{name}".lstrip(".")
            for package, levels in ORDER.items()
            for names in levels
            for name in names.split()
            if name != "__init__"
        }
        self.assertEqual(known, listed)

    def test_imports_go_one_way_between_packages_and_inside_them(self):
        for name, path in modules().items():
            for target in imports(name, path):
                self.assertTrue(may_import(name, target), f"{name or '__init__'} imports {target or '__init__'}")

    def test_the_order_rejects_imports_that_go_up_or_sideways(self):
        for importer, target in (
            ("store.sql", "store.reader"),
            ("store.client", "store.claims"),
            ("store.client", "workers.fleet"),
            ("values", "lifecycle"),
            ("workers.runner", "cli.terminal"),
            ("cli.jobs", "cli.main"),
            ("cli", "cli.jobs"),
            ("library", "transfer"),
            ("store.client", "store"),
            ("program.sources", ""),
        ):
            self.assertFalse(may_import(importer, target), (importer, target))

    def test_only_the_store_contains_sql(self):
        for name, path in modules().items():
            if name.split(".")[0] == "store":
                continue
            self.assertFalse(imports(name, path) & set(CATALOGS), name)
            for node in ast.walk(tree_of(path)):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    self.assertNotRegex(
                        node.value, r"\b(SELECT .* FROM|INSERT INTO queuectl|UPDATE \w+ SET|DELETE FROM)\b", name
                    )

    def test_the_catalog_of_sql_contains_strings_only(self):
        for name in CATALOGS:
            tree = tree_of(modules()[name])
            self.assertEqual([node for node in ast.walk(tree) if isinstance(node, ast.Import)], [], name)

    def test_the_lifecycle_has_no_clock_and_no_files(self):
        tree = tree_of(os.path.join(PACKAGE, "lifecycle.py"))
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
            for node in ast.walk(tree_of(path)):
                if isinstance(node, ast.Import):
                    for alias in node.names:
                        self.assertIn(alias.name.split(".")[0], allowed, name)
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    self.assertIn(node.module.split(".")[0], allowed, name)


class LoadedTest(QueueTestCase):
    """What a command has in sys.modules, in its own process."""

    def loaded_by(self, *words) -> set:
        """The modules that a command has loaded when it ends."""
        script = (
            "import os, sys\n"
            "before = set(sys.modules)\n"
            "sys.path.insert(0, {!r})\n"
            "from queuectl_core.cli import main\n"
            "import queuectl_core.entry\n"
            "sys.argv = ['queuectl', *{!r}]\n"
            "def leave(code):\n"
            "    with open({!r}, 'w') as file:\n"
            "        file.write('\\n'.join(set(sys.modules) - before))\n"
            "    sys.stdout.flush()\n"
            "    leave_really(code)\n"
            "leave_really, os._exit = os._exit, leave\n"
            "main.main()\n"
        ).format(ROOT, list(words), self.path("loaded"))
        result = subprocess.run(
            [sys.executable, "-IS", "-c", script],  # Without what packages of this machine load into each Python.
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            timeout=30,
            check=False,
        )
        self.assertEqual(result.returncode, 0, result.stderr)
        return set(self.read("loaded").split())

    def test_enqueue_loads_no_process_machinery(self):
        heavy = SLOW | {
            *(f"queuectl_core.store.{name}" for name in ("claims", "schema", "filesystem", "bell")),
            *(f"queuectl_core.{name}" for name in ("records", "library", "workers", "program", "cli.tables")),
        }  # fmt: skip
        self.create_queue()
        for words in (
            ["enqueue", "true"],
            ["enqueue", '{"command": "true"}'],
            ["enqueue", "-q", "q", "-p", "5", "--timeout", "5m", "--delay", "1", "--id=job", "--", "echo", "a b"],
        ):
            loaded = self.loaded_by(*words)
            self.assertIn("queuectl_core.store.intake", loaded)
            self.assertEqual(loaded & heavy, set(), words)

    def test_read_only_commands_load_no_worker_code(self):
        workers = ("worker", "worker_process", "rescue", "runner", "process")
        heavy = {f"queuectl_core.workers.{name}" for name in workers}
        heavy |= {f"queuectl_core.store.{name}" for name in ("claims", "client", "schema")}
        self.enqueue("true")
        for words in (["status"], ["list"], ["worker", "list"]):
            self.assertEqual(self.loaded_by(*words) & (heavy | SLOW), set(), words)

    def test_plain_commands_load_little_of_the_standard_library_and_of_the_program(self):
        """Start-up time is mostly the number of modules. If this fails, defer an import rather than extend a list."""
        shared = {
            *("queuectl_core", "entry", "cli", "cli.main", "cli.plain", "cli.terminal", "cli.queue_file", "errors"),
            *("typed", "values", "lifecycle", "store", "store.database", "store.connection", "store.sqlite"),
            *("store.sql", "store.queries", "store.reader", "jobspec"),
        }
        shown = {"cells", "grid", "phrases", "cli.tables", "store.search"}
        fleet = {"workers", "workers.fleet", "workers.identity", "workers.lifeline", "store.bell"}
        added = {"cli.enqueue", "settings", "store.roster", "store.intake"}
        self.enqueue("true")
        for words, own in (
            (["enqueue", "--", "true"], added),
            (["enqueue", '{"command": "true"}'], added | {"jobjson"}),
            (["list"], shown | {"cli.jobs", "records"}),
            (["list", "-s", "dead", "--limit=5"], shown | {"cli.jobs", "records"}),
            (["status"], shown | {"cli.status", "records"}),
        ):
            loaded = self.loaded_by(*words)
            ours = {name for name in loaded if name.partition(".")[0] == "queuectl_core"}
            self.assertEqual(ours - bundle.HOT, set(), words)
            names = {name.partition(".")[2] or name for name in ours}
            self.assertEqual(names - shared - own, set(), words)
            self.assertEqual(loaded - ours - FEW, set(), words)
        self.start_workers()
        loaded = self.loaded_by("status")
        self.assertLessEqual({f"queuectl_core.{name}" for name in fleet}, loaded)
        self.assertEqual(loaded & SLOW, set())

    def test_a_worker_has_imported_everything_before_its_first_claim(self):
        """Replacing or deleting the program's files breaks no running worker."""
        copy = self.path("copy")
        shutil.copytree(PACKAGE, os.path.join(copy, "queuectl_core"))
        shutil.copy(os.path.join(ROOT, "queuectl.py"), copy)
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
            self.enqueue('{"id": "nowhere", "max_retries": 0, "cwd": "/no/such/folder", "command": "true"}'),
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

    def test_what_a_worker_imports_inside_functions_is_already_loaded(self):
        """Such imports speed up commands. A worker must find these modules in memory: the files may be replaced."""
        script = (
            f"import sys; sys.path.insert(0, {ROOT!r})\n"
            "import queuectl_core.cli.workers, queuectl_core.workers.launch\n"
            "print('\\n'.join(sys.modules))"
        )
        result = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, timeout=30, check=False)
        loaded = set(result.stdout.decode().split())
        for name, path in modules().items():
            if name.split(".")[0] not in ("store", "workers") or name in ("store", "store.borrowed"):
                continue
            for function in ast.walk(tree_of(path)):
                if isinstance(function, ast.FunctionDef):
                    for target in imports(name, path, function):
                        self.assertIn(f"queuectl_core.{target}", loaded, f"{name}: {function.name}")
                    for node in ast.walk(function):
                        if isinstance(node, ast.Import):
                            for alias in node.names:
                                self.assertIn(alias.name, loaded | {"subprocess"}, f"{name}: {function.name}")


class SizeTest(unittest.TestCase):
    def test_modules_are_short(self):
        for name, path in modules().items():
            with open(path, encoding="utf-8") as file:
                count = len(file.readlines())
            self.assertLessEqual(count, LONGEST_CATALOG if name in CATALOGS else LONGEST_MODULE, name)

    def test_functions_are_short_and_take_few_arguments(self):
        for name, path in modules().items():
            for node in ast.walk(tree_of(path)):
                if isinstance(node, ast.FunctionDef):
                    length = (node.end_lineno or 0) - node.lineno + 1
                    self.assertLessEqual(length, LONGEST_FUNCTION, f"{name}: {node.name}")
                    arguments = [*node.args.posonlyargs, *node.args.args]
                    count = len([argument for argument in arguments if argument.arg not in ("self", "cls")])
                    self.assertLessEqual(count, MOST_ARGUMENTS, f"{name}: {node.name}")

    def test_the_top_folder_has_only_files_that_tools_expect_there(self):
        allowed = {
            "queuectl.py", "queuectl_core", "tests", "setup.cfg", "README.md", "pyproject.toml", "LICENSE",
            "CHANGELOG.md", ".ci", ".gitignore", "docs", "build", "dist",
        }  # fmt: skip
        hidden = {name for name in os.listdir(ROOT) if name.startswith(".") or name == "__pycache__"}
        there = {name for name in os.listdir(ROOT) if not name.endswith(".egg-info")}
        self.assertEqual(there - allowed - hidden, set())
