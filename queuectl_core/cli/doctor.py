"""`doctor`, `backup`: is the queue well, and a copy of it."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace

from ..errors import BadInput
from . import open_store, queue_path, tell


def doctor_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def doctor(args: Namespace) -> int:
    from .. import render
    from ..doctor import examine

    findings = examine(queue_path(args.db))
    is_well = all(finding.level != "wrong" for finding in findings)
    if args.json:
        render.print_json({"well": is_well, "findings": [finding._asdict() for finding in findings]})
        return 0 if is_well else 1
    for finding in findings:
        advice = "" if finding.advice is None else " → " + finding.advice
        print(render.escape("%-5s  %-7s  %s%s" % (finding.level, finding.check, finding.text, advice)))
    return 0 if is_well else 1


def backup_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="where the copy goes")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")


def backup(args: Namespace) -> int:
    if not args.file:
        raise BadInput("FILE: must not be empty")
    with open_store(args) as store:
        store.backup(args.file, args.force)
        target = os.path.abspath(args.file)
        tell("copied to %s; workers on both files would run the same jobs twice" % target)
    return 0
