"""The whole program as one executable file: a zip archive (PEP 441) behind a shell script that finds a Python.

It contains the source of every module and, since Python never caches bytecode for a zip, the bytecode of the Python
that built it. Any other Python sees that the bytecode isn't its own and compiles the source. Builds are reproducible:
the same sources and Python give the same bytes. stub.py describes what comes before the archive.
"""

from __future__ import annotations

import io
import json
import marshal
import os
import subprocess
import sys
import tempfile
import zipapp
import zipfile
from importlib.util import MAGIC_NUMBER, source_hash

from ..errors import BadInput, Refused
from .sources import PACKAGE, sources, version
from .stub import stub

IMPORTER = f"{PACKAGE}/program/importer.py"
# The modules of enqueue, list and status, which a bundle reads first.
HOT = {PACKAGE}
HOT.update(
    f"{PACKAGE}.{name}"
    for name in (
        "entry errors typed values lifecycle records settings jobspec jobjson cells grid phrases workers workers.fleet"
        " workers.identity workers.lifeline store store.sql store.queries store.sqlite store.connection store.database"
        " store.reader store.search store.roster store.intake store.bell cli cli.main cli.plain cli.terminal"
        " cli.queue_file cli.tables cli.enqueue cli.jobs cli.status"
    ).split()
)
MAIN = f"from {PACKAGE}.entry import main\n\nmain()\n"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO

    from .importer import Places

EPOCH = (1980, 1, 1, 0, 0, 0)  # The earliest time that a zip can store.
LOCAL_HEADER, PYC_HEADER = 30, 16  # Bytes before a name in a zip, and before the code in a .pyc file.
UNCHECKED_HASH = (1).to_bytes(4, "little")  # PEP 552: used without checking the source.

# Runs in a fresh process that always starts the same way, for reproducible builds: what marshal writes depends on
# reference counts, and the order of a frozenset on the hash seed. Leaves out what takes time to load: docstrings, and
# the import of __future__, whose annotations are a flag.
COMPILE = """
import __future__, ast, json, marshal, sys
for name, source in json.load(sys.stdin).items():
    tree = ast.parse(source, name)
    tree.body = [node for node in tree.body if getattr(node, "module", "") != "__future__"]
    flag = __future__.annotations.compiler_flag
    code = compile(tree, name, "exec", flag, dont_inherit=True, optimize=2)
    print(json.dumps([name, marshal.dumps(code).hex()]))
"""


def write_bundle(path: str, python: str | None) -> None:
    """Write the program to the file `path`.

    It starts with a script that finds a Python or, if `python` is given, with a `#!` line that names it. An existing
    file is replaced, never overwritten: it may be running. Raises BadInput for an invalid `python`, Refused if the
    file can't be written.
    """
    if python is not None and (not python.strip() or not python.isprintable()):
        raise BadInput("--python: must be one line: the path of a Python, and its options")
    texts = sources()
    codes = _compiled({name: text for name, text in texts.items() if name.endswith(".py")})
    bundle = io.BytesIO()
    if python is None:
        bundle.write(_head(codes))
        _write_archive(bundle, texts, codes)
    else:
        archive = io.BytesIO()
        _write_archive(archive, texts, codes)
        zipapp.create_archive(io.BytesIO(archive.getvalue()), bundle, python)
    try:
        _replace(path, bundle.getvalue())
    except OSError as error:
        raise Refused(f"{path}: cannot be written: {error.strerror}") from None


def _head(codes: Mapping[str, bytes]) -> bytes:
    """What comes before the archive."""
    places: Places = {}
    end = hot = 0
    for file, code in codes.items():
        start = end + LOCAL_HEADER + len(file + "c") + PYC_HEADER
        end = start + len(code)
        name = _module(file)
        places[name] = (start, len(code), file.endswith("/__init__.py"))
        if name in HOT:
            hot = end
    index = marshal.dumps((version(), places), 2)  # Version 2 doesn't depend on reference counts.
    importer = codes[IMPORTER]
    return stub(MAGIC_NUMBER, len(importer), len(index), hot) + importer + index


def _module(file: str) -> str:
    """The name of the module in a file such as queuectl_core/cli/__init__.py."""
    name = file[: -len(".py")].replace("/", ".")
    return name[: -len(".__init__")] if name.endswith(".__init__") else name


def _write_archive(file: IO[bytes], texts: Mapping[str, bytes], codes: Mapping[str, bytes]) -> None:
    """Append the archive to `file`, the bytecode first."""
    files = {
        name + "c": MAGIC_NUMBER + UNCHECKED_HASH + source_hash(texts[name]) + code for name, code in codes.items()
    }
    files.update(texts)
    files["__main__.py"] = MAIN.encode()
    with zipfile.ZipFile(file, "a") as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)  # Not compressed: starts faster.


def _compiled(texts: dict[str, bytes]) -> dict[str, bytes]:
    """The bytecode of each source, by its path; the hot modules first."""
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
    pairs = sorted(map(json.loads, process.stdout.splitlines()), key=lambda pair: (_module(pair[0]) not in HOT, pair))
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
