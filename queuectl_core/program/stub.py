"""The text at the start of a bundle: a shell script, and the Python that it runs.

The script finds a suitable Python and starts it isolated (-I) and without `site` (-S), which would look for what is
installed on the machine. Running code from within the file, rather than the file, spares zipimport and runpy: 4 of
15 ms. The file consists of

    SHELL
    FAST or, if the bytecode isn't that of this Python, SLOW
    the bytecode of importer.py
    the index: the program's version, and where each module's bytecode is in the archive
    the archive: a zip with the bytecode and the source of all modules

so `python3 FILE` runs it too. With `bundle --python`, the archive follows a `#!` line.
"""

from __future__ import annotations

NEWEST = 16  # A later Python is found under the name python3 only.

SHELL = """\
#!/bin/sh -
# queuectl, a background job queue for one machine: a script that finds a Python, and the program as a zip archive with
# its sources. To see them: unzip -l FILE. To choose the Python: python3 FILE.
python=
if [ -z "$QUEUECTL_OLD_PYTHON" ] && command -v python3 >/dev/null; then
    python=python3
else
    for name in {names} \\
        /usr/local/bin/python3 /usr/bin/python3 /usr/libexec/platform-python; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null; then
            python=$name
            break
        fi
    done
fi
if [ -z "$python" ]; then
    echo "queuectl: needs Python 3.8 or later; found ${{QUEUECTL_OLD_PYTHON:-none}}" >&2
    exit 3
fi
exec "$python" -IS -c 'import sys; f = open(sys.argv[1], "rb"); f.seek({place}); exec(f.read({fast}))' "$0" "$@"
"""

FAST = """\
from _frozen_importlib_external import MAGIC_NUMBER
if MAGIC_NUMBER == {magic!r}:
    f.read({slow})
    import marshal
    exec(marshal.loads(f.read({importer})))
    start(f, {index}, {hot})
else:
    exec(f.read({slow}))
from queuectl_core.entry import main
main()
"""

# Old Pythons must be able to parse this and FAST.
SLOW = """\
import os
f.close()
del sys.argv[0]
if sys.version_info < (3, 8):
    os.environ["QUEUECTL_OLD_PYTHON"] = "only Python %d.%d" % sys.version_info[:2]
    os.execv("/bin/sh", ["/bin/sh", "-"] + sys.argv)
os.environ.pop("QUEUECTL_OLD_PYTHON", None)
sys.path.insert(0, sys.argv[0])
"""


def stub(magic: bytes, importer: int, index: int, hot: int) -> bytes:
    """What comes before the bytecode of importer.py.

    `magic` is the number of the bytecode's format. The others are sizes: of that bytecode, of the index, and of the
    start of the archive with the modules that most commands need.
    """
    fast = FAST.format(magic=magic, slow=len(SLOW), importer=importer, index=index, hot=hot)
    names = " ".join(f"python3.{minor}" for minor in range(NEWEST, 7, -1))
    place, shell = 0, ""
    while not place or place != len(shell):  # The script's length depends on the number of digits of its length.
        place = len(shell)
        shell = SHELL.format(names=names, place=place, fast=len(fast))
    return (shell + fast + SLOW).encode()
