"""`bundle`: queuectl on other machines."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace


def bundle_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="the file to write; one that is there is replaced")
    parser.add_argument(
        "--python",
        metavar="COMMAND",
        default="/usr/bin/env python3",
        help="what runs the file, in its first line (default: %(default)s)",
    )


def bundle(args: Namespace) -> int:
    from ..bundle import write_bundle

    write_bundle(args.path, args.python)
    print(args.path)
    return 0
