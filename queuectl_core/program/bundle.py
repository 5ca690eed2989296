"""The whole program as one executable file: a zip archive behind a `#!` line (PEP 441).

It contains the source of every module and, since Python never caches bytecode for a zip, the bytecode of the Python
that built it. Any other Python sees that the bytecode isn't its own and compiles the source. Builds are reproducible:
the same sources and Python give the same bytes.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import zipapp
import zipfile
from importlib.util import MAGIC_NUMBER, source_hash

from ..errors import BadInput, Refused
from .sources import PACKAGE, sources

MAIN = f"from {PACKAGE}.cli.main import main\n\nmain()\n"

EPOCH = (1980, 1, 1, 0, 0, 0)  # The earliest time that a zip can store.
UNCHECKED_HASH = (1).to_bytes(4, "little")  # PEP 552: used without checking the source.

# Runs in a fresh process that always starts the same way, for reproducible builds: what marshal writes depends on
# reference counts, and the order of a frozenset on the hash seed.
COMPILE = """
import json, marshal, sys
for name, source in json.load(sys.stdin).items():
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    print(json.dumps([name, marshal.dumps(code).hex()]))
"""


def write_bundle(path: str, python: str) -> None:
    """Write the program to the file `path`, with `python` after the `#!` in its first line.

    An existing file is replaced, never overwritten: it may be running. Raises BadInput for an invalid `python`, Refused
    if the file can't be written.
    """
    if not python.strip() or not python.isprintable():
        raise BadInput("--python: must be one line: the path of a Python, and its options")
    bundle = io.BytesIO()
    zipapp.create_archive(io.BytesIO(_archive()), bundle, python)
    try:
        _replace(path, bundle.getvalue())
    except OSError as error:
        raise Refused(f"{path}: cannot be written: {error.strerror}") from None


def _archive() -> bytes:
    files = {"__main__.py": MAIN.encode()}
    texts = sources()
    code = _compiled({name: text for name, text in texts.items() if name.endswith(".py")})
    for name, text in texts.items():
        if name in code:
            files[name + "c"] = MAGIC_NUMBER + UNCHECKED_HASH + source_hash(text) + code[name]
        files[name] = text
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)  # Not compressed: starts faster.
    return buffer.getvalue()


def _compiled(texts: dict[str, bytes]) -> dict[str, bytes]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
    }
    environment.update(PYTHONHASHSEED="0")
    process = subprocess.run(
        [sys.executable, "-S", "-s", "-c", COMPILE],
        input=json.dumps({name: text.decode() for name, text in texts.items()}).encode(),
        stdout=subprocess.PIPE,
        env=environment,
        cwd="/",
        check=True,
    )
    pairs = map(json.loads, process.stdout.splitlines())
    return {name: bytes.fromhex(code) for name, code in pairs}


def _replace(path: str, data: bytes) -> None:
    folder = os.path.dirname(os.path.abspath(path))
    fd, temporary = tempfile.mkstemp(prefix=".queuectl-", dir=folder)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            mask = os.umask(0)
            os.umask(mask)
            os.fchmod(fd, 0o777 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
