"""Commands that run without a shell do exactly what they do with one, only faster.

Each shell on this machine takes the place of /bin/sh, under the name sh, since bash behaves differently then.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
import unittest
from typing import Iterator, NamedTuple

from queuectl_core import direct
from queuectl_core.lifecycle import Job, Outcome
from queuectl_core.workers import shell
from queuectl_core.workers.identity import LINUX
from queuectl_core.workers.output import Output
from queuectl_core.workers.process import CannotStart, Command, Invocation
from tests.doc_runner import blocks
from tests.harness import QueueTestCase, process_is_gone, wait_until
from tests.patched import patched

SHELLS = ("dash", "bash", "busybox")  # That are /bin/sh on most systems.
OTHERS = ("mksh", "ksh", "zsh", "yash")
EMPTY = Job(**dict.fromkeys(Job._fields))._replace(queue="default")

# Lines that only a shell can run, or whose program is a builtin or a reserved word of some shell.
FOR_THE_SHELL = """
true
false
: a
. ./script
./script >out
./script | cat
./script; ./script
./script &
(./script)
A=1 ./script
A.B=1 ./script
./script $HOME
./script ~
./script *
./script sc?ipt
./script [a-z]*
./script {a,b}
./script \\a
./script "a b"
./script #a
'./script
%1
-c
+x
!
! ./script
{ ./script
}
[ a = a ]
[[ a = a ]]
alias
bg
bind -l
break
builtin cd
caller
case a
cd /
chdir /
command -v ls
compgen -k
continue
coproc cat
declare -p A
dirs
disown
do
done
echo -n a
echo -e 'a\\tb'
echo 'a\\tb' -n
elif
else
enable
esac
eval ls
exec ./script
exit 3
export A
fc -l
fg
fi
for a
function a
getopts a b
hash
help cd
history
if ./script
in a
jobs
kill -l 9
kill -0 1
let 1
let 0
local a
logout
mapfile
popd
printf '%s\\n' a
printf '%q\\n' 'a b'
print a
pushd /
pwd
pwd -P
read a
readonly A
return 4
select a
set -e
shift
shopt
source ./script
suspend
test -d /
test a = b
then
time ./script
times
trap
trap - INT
type ls
typeset A
ulimit -n
umask
unalias a
unset A
until ./script
wait
whence ls
which ls
while ./script
""".strip().split("\n")

# Simple commands: what can go wrong, and what a process sees of how it was started.
SIMPLE = [
    *r"""
./script
./script a 'b c' '' "'" 'it'"'"'s' a'b'c %+=:,.@-
'./script' -x --long=1
'./with space'
./plain a
plain a
./not-executable
./broken
./folder
./missing/file
folder
not-executable
hidden
twice
missing
missing-'é'
/
sh ./script
sh -c 'exit 7'
sh -c 'echo out; echo err >&2; exit 255'
env -i ./script
env A.B=2 env -0
cat
cat missing
ls /proc/self/fd
cat /proc/self/limits
cat /proc/self/cmdline
readlink /proc/self/cwd /proc/self/exe
grep -E '^(Sig[BIC]|Umask|Seccomp|NoNewPrivs|Cap)' /proc/self/status
awk '{ print $5 == $6, $7, $8, $18, $19 }' /proc/self/stat
seq 3
sleep 0
sleep a
""".strip("\n").split("\n"),
    *(f"sh -c 'kill -{number} $$'" for number in range(1, 32) if number not in (17, 18, 19, 20, 21, 22, 23, 28)),
    "./script 'a\nb\n'\t  c ",
    "'missing\n'",
    "./script " + "x" * (direct.LONGEST - 9),
]  # fmt: skip


class SplitTest(QueueTestCase):
    """What needs no shell, decided by the text alone."""

    def test_every_short_line_that_is_split_is_split_as_shells_do(self):
        lines = ["".join(line) for size in range(1, 6) for line in itertools.product("a=' \"\t-%$", repeat=size)]
        splits = {line: direct.split(line) for line in lines}
        simple = {line: words for line, words in splits.items() if words}
        self.assertGreater(len(simple), 2000)
        self.write("lines", "".join(f"{line}\n" for line in simple))
        expected = "".join("\0".join([str(len(words)), *words, ""]) for words in simple.values())
        script = 'while IFS= read -r line; do eval "set -- $line"; printf "%s\\0" "$#" "$@"; done <lines'
        for words in (["dash"], ["bash"], ["busybox", "sh"], ["mksh"], ["zsh", "--emulate", "sh"]):
            if not shutil.which(words[0]):
                continue
            printed = subprocess.run(
                [*words, "-c", script], cwd=self.folder, stdout=subprocess.PIPE, timeout=60, check=True
            ).stdout
            self.assertEqual(printed.decode().split("\0"), expected.split("\0"), words)

    def test_what_shlex_quotes_is_split_into_the_same_words(self):
        chance = random.Random(1)
        for _ in range(2000):
            size = chance.randrange(8)
            words = ["".join(chance.choices("ab'\"$\\ \t\n*~#é\udcff=;|", k=chance.randrange(6))) for _ in range(size)]
            line = " ".join(map(shlex.quote, ["./a", *words]))
            self.assertEqual(direct.split(line), ["./a", *words])

    def test_lines_with_any_other_character_outside_quotes_go_to_the_shell(self):
        for code in [*range(1, 256), 0x2003, 0x3000, 0xDCFF]:
            harmless = re.fullmatch(r"[A-Za-z0-9_@%+=:,./\- \t]", chr(code))
            self.assertEqual(direct.split(f"a b{chr(code)}c") is not None, harmless is not None, repr(chr(code)))
            if chr(code) != "'":
                self.assertEqual(direct.split(f"a '{chr(code)}'"), ["a", chr(code)])

    def test_a_line_that_starts_with_an_assignment_an_option_or_a_job_goes_to_the_shell(self):
        assignments = ("a=b", "a=b c", "a=", "=", "=a", "a+=b", "'a=b' c")
        self.assertIsNone(direct.split("nice setsid a"))
        for line in (*assignments, "-a", "'-'a", "+a", "%1", "%", "@a", ",", "", "''", " "):
            self.assertIsNone(direct.split(line), line)

    def test_long_lines_take_linear_time_and_very_long_ones_go_to_the_shell(self):
        self.assertEqual(direct.split("a" * direct.LONGEST), ["a" * direct.LONGEST])
        self.assertIsNone(direct.split("a" * (direct.LONGEST + 1)))
        began = time.process_time()
        for piece in ("a", "a ", "'a'", "' ", '"', "\"'\""):
            direct.split((piece * direct.LONGEST)[: direct.LONGEST - 1] + "$")
        self.assertLess(time.process_time() - began, 1)


class Wait:
    """Takes the place of a worker's Inbox, without its signal handlers."""

    def watch(self, fds: list[int]) -> None:
        self._poll = select.poll()
        for fd in fds:
            self._poll.register(fd, select.POLLIN)

    def wait(self, seconds: float) -> tuple[list[int], bool]:
        return [fd for fd, _ in self._poll.poll(min(1, int(seconds * 1000)))], False


class Run(NamedTuple):
    """How a command ended, and what it printed to stdout and stderr."""

    outcome: Outcome
    stdout: bytes
    stderr: bytes


class ShellTestCase(QueueTestCase):
    """Runs lines both ways, in a folder with files of all kinds."""

    def setUp(self) -> None:
        super().setUp()
        self.work = self.path("work")
        for folder in ("work", "work/folder", "bin", "bin2", "bin2/twice", "bin/folder"):
            os.mkdir(self.path(folder))
        os.symlink("work", self.path("link"))
        script = '#!/bin/sh\nprintf "[%s]" "$0" "$@"; printf "\\n"\n'
        for name, text, mode in (
            ("work/script", script, 0o755),
            ("work/with space", script, 0o755),
            ("work/plain", "echo plain $1\n", 0o755),
            ("work/not-executable", script, 0o644),
            ("work/broken", "#!/no/such/interpreter\n", 0o755),
            ("bin/plain", "echo plain $1\n", 0o755),
            ("bin/not-executable", script, 0o644),
            ("bin/hidden", script, 0o644),
            ("bin2/hidden", script, 0o755),
            ("bin/twice", script, 0o755),
        ):
            os.chmod(self.write(name, text), mode)
        os.symlink("loop", self.path("work/loop"))
        self.path_variable = ":".join([self.path("bin2"), self.path("bin"), self.path("bin2"), "/usr/bin", "/bin"])
        self.environment = {
            "PATH": self.path_variable, "HOME": self.home, "PWD": self.folder, "OLDPWD": "/", "SHLVL": "1", "LANG": "C",
            **{name: value for name, value in self.environment.items() if name == "QUEUECTL_TEST"},
        }  # fmt: skip
        self.null = os.open(os.devnull, os.O_RDONLY)
        self.addCleanup(os.close, self.null)
        self.addCleanup(os.chdir, os.getcwd())
        self.addCleanup(setattr, shell, "SHELL", shell.SHELL)

    def each_shell(self, names: tuple[str, ...] = SHELLS) -> Iterator[tuple[str, shell.Shell]]:
        """Let each shell be /bin/sh in turn; yields its name, and a Shell that has been told nothing yet."""
        for name in filter(shutil.which, names):
            folder = self.path(f"shells-{name}")
            os.mkdir(folder)
            sh = os.path.join(folder, "sh")
            os.symlink(os.path.realpath(shutil.which(name) or ""), sh)
            shell.SHELL = os.fsencode(sh)
            yield name, shell.Shell(Wait(), self.null)

    def invocation(self, line: str, changes: dict[str, str | None] | None = None) -> Invocation:
        """How to run `line` with the shell; `changes` are to the environment."""
        environment = {**self.environment, **(changes or {})}
        encoded = {os.fsencode(key): os.fsencode(value) for key, value in environment.items() if value is not None}
        argv = [shell.SHELL, b"-c", line.encode("utf-8", "surrogateescape")]
        return Invocation(argv, os.fsencode(self.work), encoded, self.null)

    def bypass(self, asked: shell.Shell, line: str, invocation: Invocation) -> Invocation | None:
        """How to run `line` without the shell, once that has been asked about it."""
        job = EMPTY._replace(command=line, env=repr(sorted(invocation.environment.items())))
        asked.bypass({}, job, invocation)  # Without variables of its own, once would be enough.
        return asked.bypass({}, job, invocation)

    def run_to_end(self, invocation: Invocation) -> Run:
        output = Output(1 << 20)
        command = Command(invocation, 10, 1, output)
        waiting = Wait()
        waiting.watch(command.fds)
        while command.outcome is None:
            waiting.wait(1)
            command.read_all()
            command.check()
        chunks = output.pending().fresh
        return Run(
            command.outcome,
            b"".join(data for _, stream, data in chunks if stream == 1),
            b"".join(data for _, stream, data in chunks if stream == 2),
        )

    def compare(self, asked: shell.Shell, line: str, changes: dict[str, str | None] | None = None) -> bool:
        """Check that `line` does the same without the shell; returns whether it doesn't need the shell."""
        invocation = self.invocation(line, changes)
        bypass = self.bypass(asked, line, invocation)
        if bypass is None:
            return False
        try:
            without = self.run_to_end(bypass)
            if without.outcome.kind == "signal":
                outcome, report = asked.killed(without.outcome.code, False, bypass)
                without = Run(outcome, without.stdout, without.stderr + report)
        except CannotStart:
            return False  # The shell takes over.
        expected = self.run_to_end(invocation)
        if "\0" in expected.stdout.decode("latin-1"):  # An environment. Its order and `_` don't matter.
            expected, without = map(sorted_variables, (expected, without))
        self.assertEqual(without, expected, (shell.SHELL, line[:200], changes))
        return True


def sorted_variables(run: Run) -> Run:
    variables = [item for item in run.stdout.split(b"\0") if not item.startswith(b"_=")]
    return run._replace(stdout=b"\0".join(sorted(variables)))


@unittest.skipUnless(LINUX, "the commands are Linux's")
class EquivalenceTest(ShellTestCase):
    def test_simple_commands_do_the_same_without_the_shell(self):
        chance = random.Random(2)
        letters = "ab'\"$`\\ \t\n*?~#!&;|<>(){}[]^=%é\x7f\x01\udc80\udc81\udc88\udcff"
        for name, asked in self.each_shell(SHELLS + OTHERS):
            # busybox's shell ignores SIGQUIT, and so does what it runs.
            lines = [line for line in SIMPLE if name != "busybox" or not re.search(r"Sig\[BIC\]|kill -3 ", line)]
            without = {line for line in lines if self.compare(asked, line)}
            if name in SHELLS:
                self.assertLess({"./script", "twice", "hidden", SIMPLE[-1]}, without, name)
            if name in ("dash", "bash"):  # busybox runs its own programs.
                self.assertLess({"cat", "seq 3", "sh -c 'kill -9 $$'", "sh -c 'exit 7'"}, without, name)
            for _ in range(100):
                words = ["".join(chance.choices(letters, k=chance.randrange(12))) for _ in range(chance.randrange(5))]
                self.compare(asked, " ".join(map(shlex.quote, ["./script", *words])))

    def test_what_only_the_shell_can_run_is_left_to_it(self):
        for name, asked in self.each_shell():
            for line in FOR_THE_SHELL:
                if line.split()[0] not in ("which", "time", "print"):  # Programs, on some machines.
                    self.assertFalse(self.compare(asked, line), (name, line))

    def test_a_command_gets_the_environment_that_the_shell_would_pass_on(self):
        link, work = self.path("link"), self.path("work")
        cases: list[dict[str, str | None]] = [
            {},
            *({"PWD": value} for value in (None, "", ".", "/", "/nowhere", link, work, f"{work}/", f"{work}/.")),
            *({"PWD": value} for value in (f"{work}/folder/..", f"/{work}", f"{link}/../work", "work", self.folder)),
            *({"OLDPWD": value} for value in (None, "", "/nowhere", work)),
            *({"SHLVL": value} for value in (None, "", "0", "7", "-3", "x", "1000", "999999999999999999999")),
            *({name: "1"} for name in ("A.B", "A-B", "1", "é", "A B", "A%%", "A()")),
            *({"A": value} for value in ("", "=", "a\nb", "é\udcff", "'", "\\", "$HOME")),
            *({name: "7"} for name in "IFS PS1 PS2 PS4 UID EUID PPID SECONDS LINENO OPTIND OPTARG".split()),
            *({name: "7"} for name in "_ LINES COLUMNS HISTSIZE GROUPS DIRSTACK POSIXLY_CORRECT".split()),
            *({name: "7"} for name in ("HOSTNAME", "HOSTTYPE", "BASH", "BASH_VERSION", "KSH_VERSION", "ZSH_VERSION")),
            *({name: "/"} for name in ("CDPATH", "MAIL", "MAILPATH", "FPATH", "TMPDIR", "ZDOTDIR")),
            *({name: f"{work}/plain"} for name in ("ENV", "BASH_ENV", "SHELL", "FCEDIT")),
            *({name: "xx_XX"} for name in ("LANG", "LC_ALL", "LC_CTYPE")),
            {"BASH_FUNC_twice%%": "() {  echo function\n}"},
            {"BASH_FUNC_seq%%": "() {  echo function\n}", "twice": "() { echo old; }"},
            {"SHELLOPTS": "xtrace"}, {"SHELLOPTS": "noglob"}, {"BASHOPTS": "xpg_echo"}, {"HOME": None}, {"TMOUT": "1"},
            {"LANG": None, "SHLVL": None, "PWD": None, "OLDPWD": None, "HOME": None},
        ]  # fmt: skip
        for name, asked in self.each_shell(SHELLS + OTHERS):
            count = sum(self.compare(asked, "/usr/bin/env -0", case) for case in cases)
            if name in SHELLS:
                for case in cases:
                    self.compare(asked, "twice a", case)
                self.assertGreater(count, len(cases) - 20, name)

    def test_a_program_is_found_in_the_jobs_own_path(self):
        work, own, other = self.path("work"), self.path("bin"), self.path("bin2")
        for name, asked in self.each_shell():
            for path in (
                None, "", ":", ".", "%", "/usr/bin:/bin", work, own, f"{own}:", f":{own}", f"{own}::{other}",
                f"{other}:{own}", "folder/..", f"%func:{own}", f"~:{own}", f"{own}/../bin", f"/nowhere:{own}",
                f"{work}/script:{own}",
            ):  # fmt: skip
                tools = f"{path}:/usr/bin:/bin" if path else path
                for line in ("twice a", "hidden", "script", "plain b", "missing", "folder", "not-executable"):
                    self.compare(asked, line, {"PATH": path})
                    self.compare(asked, line, {"PATH": tools})
            if name in ("dash", "bash"):
                self.assertTrue(self.compare(asked, "hidden", {"PATH": f"{own}:{other}:/usr/bin:/bin"}))

    def test_what_the_documents_run_does_the_same_without_the_shell(self):
        for name in ("queuectl", "convert", "curl", "rclone", "mail", "inotifywait"):
            os.chmod(self.write(f"bin/{name}", '#!/bin/sh\necho "$0 $@"\n'), 0o755)
        for name in "cat cp date df echo env expr head printf seq sleep sort true wc".split():
            os.symlink(shutil.which(name) or "", self.path(f"bin/{name}"))
        lines = set()
        for document in ("README.md", "docs/cookbook.md"):
            for block in blocks(document):
                for line in block.text.split("\n"):
                    line = re.sub(r"^[$>] ", "", line)
                    lines |= {line, *re.findall(r"enqueue .*?-- (.*?)(?: \||\)|$)", line)}
        for name, asked in self.each_shell():
            count = sum(self.compare(asked, line, {"PATH": self.path("bin")}) for line in sorted(lines))
            self.assertGreater(count, 20 if name in ("dash", "bash") else -1)


# Logs what a fleet executes.
LOGGED = """
import os
real = os.posix_spawnp
def logged(program, argv, *arguments, **options):
    with open({!r}, "ab") as file:
        file.write(b" ".join([program, *argv[1:]]) + b"\\n")
    return real(program, argv, *arguments, **options)
os.posix_spawnp = logged
"""


class WorkerTest(QueueTestCase):
    """Workers that run commands without the shell."""

    def setUp(self) -> None:
        super().setUp()
        script = "#!/bin/sh\nprintf '%s|' \"$QUEUECTL_JOB_ID\" \"$A\" \"$PWD\" \"$@\"; exec cat\n"
        os.chmod(self.write("script", script), 0o755)

    def start(self, *words: str) -> None:
        """Start a worker that logs what it executes."""
        words = tuple(patched(LOGGED.format(self.path("log")), "worker", "start", *words))
        subprocess.run(words, env=self.environment, cwd=self.folder, stdout=subprocess.DEVNULL, check=True)

    def executed(self) -> list[str]:
        """What it has executed since the last call, but for questions to the shell."""
        lines = self.read("log").splitlines()
        os.unlink(self.path("log"))
        return [line for line in lines if not line.endswith("exec env -0")]

    def run_job(self, *words: str) -> list[str]:
        """Run a job to its end; returns what was executed."""
        self.id = self.enqueue("--max-retries", "0", *words)
        self.wait_for_state(self.id, "completed", "dead")
        self.output = self.run_cli("logs", self.id).stdout
        return self.executed()

    def test_simple_commands_run_without_the_shell_and_others_with_it(self):
        self.start()
        script = self.path("script")
        self.assertEqual(self.run_job("--", script, "a b", "c"), [f"{script} a b c"])
        self.assertEqual(self.output, f"{self.id}||{self.folder}|a b|c|")
        self.assertEqual(self.run_job("./script a"), ["./script a"])
        self.assertEqual(self.run_job("sleep 0"), [f"{shutil.which('sleep')} 0"])
        for line in ("true", "./script $A", "./script; ./script", "A=1 ./script"):
            self.assertEqual(self.run_job(line), [f"/bin/sh -c {line}"])

    def test_a_job_with_variables_of_its_own_runs_without_the_shell_from_the_second_time_on(self):
        self.start()
        own = self.path("own")
        os.mkdir(own)
        os.rename(self.path("script"), os.path.join(own, "sleep"))
        job = ("-e", "A=1", "-e", f"PATH={own}:/usr/bin:/bin", "--", "sleep", "0")
        self.assertEqual(self.run_job(*job), ["/bin/sh -c sleep 0"])
        self.assertEqual(self.run_job(*job), [f"{own}/sleep 0"])
        self.assertEqual(self.output, f"{self.id}|1|{self.folder}|0|")
        self.assertEqual(self.run_job("sleep 0"), [f"{shutil.which('sleep')} 0"])
        self.assertEqual(self.run_job("-e", "A=2", "--", "sleep", "0"), ["/bin/sh -c sleep 0"])

    def test_config_set_direct_off_gives_all_commands_or_a_queues_to_the_shell(self):
        self.run_cli("config", "set", "shelled.direct", "off")
        self.start()
        for _ in range(2):
            self.assertEqual(self.run_job("-q", "shelled", "./script"), ["/bin/sh -c ./script"])
        self.assertEqual(self.run_job("./script"), ["./script"])
        self.run_cli("config", "set", "direct", "off")
        self.run_cli("config", "set", "shelled.direct", "on")
        self.assertEqual(self.run_job("./script"), ["/bin/sh -c ./script"])
        self.assertEqual(self.run_job("-q", "shelled", "./script"), ["./script"])
        result = self.run_cli("config", "set", "direct", "maybe", code=2)
        self.assertEqual(result.stderr, "queuectl: direct: must be on or off, not 'maybe'\n")

    def test_a_queues_runner_is_never_bypassed(self):
        self.run_cli("config", "set", "far.runner", "env A=runner /bin/sh -c")
        self.run_cli("config", "set", "near.runner", "/bin/sh -c")
        self.start()
        self.assertEqual(self.run_job("-q", "far", "./script"), ["env A=runner /bin/sh -c ./script"])
        self.assertIn("|runner|", self.output)
        self.assertEqual(self.run_job("-q", "near", "./script"), ["/bin/sh -c ./script"])
        self.run_cli("config", "set", "runner", "/bin/sh -c")
        self.assertEqual(self.run_job("./script"), ["/bin/sh -c ./script"])

    def test_what_cannot_be_executed_fails_as_it_does_in_the_shell(self):
        os.chmod(self.write("plain", "echo plain $1\n"), 0o755)
        os.chmod(self.write("broken", "#!/no/such/interpreter\n"), 0o755)
        self.write("data", "echo no\n")
        lines = ("./plain a", "./broken", "./data", "./missing", "missing", ".", "./", "./script " + "a" * 31_000)
        self.start()
        without = [self.seen(line) for line in lines]
        self.run_cli("config", "set", "direct", "off")
        self.assertEqual(without, [self.seen(line) for line in lines])
        self.assertEqual(without[0], ("completed", 0, None, "plain a\n"))
        self.assertEqual(without[3][:3], ("dead", 127, "exit 127 (command not found)"))

    def seen(self, line: str) -> tuple[str, int, str, str]:
        """What a user sees of a job."""
        self.run_job(line)
        job = self.job(self.id)
        return job["state"], job["exit_code"], job["error"], self.output.replace(self.id, "ID")

    def test_a_death_by_a_signal_is_reported_as_the_shell_does(self):
        os.chmod(self.write("die", "#!/bin/sh\necho dying; kill -$1 $$\n"), 0o755)
        self.start()
        without = [self.seen(f"./die {number}") for number in (1, 2, 9, 13, 15)]
        self.assertEqual(self.rows("SELECT count(*) FROM queuectl_output WHERE length(data) = 0"), [(0,)])
        self.run_cli("config", "set", "direct", "off")
        self.assertEqual(without, [self.seen(f"./die {number}") for number in (1, 2, 9, 13, 15)])
        id = self.enqueue("--bury-on", "137", "--", "./die", "9")
        self.wait_for_state(id, "dead", "failed")
        expected = self.state(id)
        self.run_cli("config", "unset", "direct")
        id = self.enqueue("--bury-on", "137", "--", "./die", "9")
        self.wait_for_state(id, "dead", "failed")
        self.assertEqual(self.state(id), expected)

    def test_standard_input_reaches_the_command(self):
        self.start()
        for _ in range(2):
            self.id = self.enqueue("--stdin", "--", "./script", input="in\n")
            self.wait_for_state(self.id, "completed")
            self.assertEqual(self.run_cli("logs", self.id).stdout, f"{self.id}||{self.folder}|in\n")


@unittest.skipUnless(LINUX, "only Linux lets a worker adopt orphans and shows who holds a lock")
class FencingTest(QueueTestCase):
    """A command without a shell is as well fenced as one with a shell."""

    # Reports its PID, then leaves its group, its session and its environment behind, twice.
    SCRIPT = f"""#!{sys.executable}
import os, sys, time
marks = [os.readlink(f"/proc/self/fd/{{fd}}").endswith(".run") for fd in os.listdir("/proc/self/fd") if int(fd) > 100]
with open("started", "a") as file:
    print(os.getpid(), os.getpid() == os.getsid(0) == os.getpgid(0), sum(marks), file=file)
for number in range(2):
    if os.fork() == 0:
        if number:
            os.setsid()
        if os.fork():
            os._exit(0)
        os.closerange(3, 256)
        os.execve("/bin/sh", ["sh", "-c", "echo $$ >>left; exec sleep 300"], {{}})
while not os.path.exists("done"):
    time.sleep(0.01)
"""

    def setUp(self) -> None:
        super().setUp()
        os.chmod(self.write("script", self.SCRIPT), 0o755)

    def started(self, count: int) -> tuple[int, list[int]]:
        """The PIDs of the command and of what escaped from it, once there have been `count` attempts."""
        wait_until(lambda: self.read("left").count("\n") == 2 * count)
        self.assertEqual(self.read("started").split()[1::3], ["True"] * count, "it leads its session and group")
        self.assertEqual(self.read("started").split()[2::3], ["1"] * count, "it inherits the lock")
        left = [int(pid) for pid in self.read("left").split()]
        self.addCleanup(lambda: [os.kill(pid, signal.SIGKILL) for pid in left if not process_is_gone(pid)])
        return int(self.read("started").split()[-3]), left

    def test_a_timeout_ends_the_command_and_escaped_processes(self):
        self.start_workers()
        id = self.enqueue("--max-retries", "0", "--timeout", "3s", "--", "./script")
        command, left = self.started(1)
        self.wait_for_state(id, "dead")
        self.assertEqual(self.job(id)["error"], "timed out after 3s")
        for pid in (command, *left):
            self.assertTrue(process_is_gone(pid))
        self.audit([id])

    def test_cancel_and_stop_now_end_the_command_and_escaped_processes(self):
        self.start_workers()
        id = self.enqueue("./script")
        first, left = self.started(1)
        self.run_cli("cancel", id)
        self.wait_for_state(id, "cancelled")
        other = self.enqueue("./script")
        second, left = self.started(2)
        self.stop_workers("--now")
        self.assertEqual(self.state(other), "pending")
        for pid in (first, second, *left):
            self.assertTrue(process_is_gone(pid))
        self.audit([id, other])

    def test_the_job_of_a_killed_worker_runs_again_after_everything_has_ended(self):
        self.start_workers()
        id = self.enqueue("--backoff-base", "0", "--", "./script")
        first, left = self.started(1)
        wait_until(lambda: self.rows("SELECT pid FROM queuectl_attempts WHERE pid IS NOT NULL"))
        os.kill(self.owner(id), signal.SIGKILL)
        second, left = self.started(2)
        self.assertNotEqual(first, second)
        self.assertTrue(process_is_gone(first))
        in_session = [pid for pid in left[:2] if not process_is_gone(pid)]
        self.assertLessEqual(len(in_session), 1, "only what cleared every mark may escape a dead worker")
        self.write("done", "")
        self.wait_for_state(id, "completed")
        self.audit([id])
