"""`python3 -m tests.bench [--json] [--long] [--against REV] [NAME …]`: measure, and print one table.

Peers that aren't installed are listed as missing. BENCH_PYTHON is a Python with huey, rq and redis.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from .benches import BENCHES, against
from .measure import Row


def main() -> None:
    """Run the benchmarks named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.bench", description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="of: {}".format(", ".join(BENCHES)))
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--long", action="store_true", help="also what takes many minutes: ten million jobs")
    parser.add_argument("--against", metavar="REV", help="only compare with another revision, in turn")
    args = parser.parse_args()
    unknown = set(args.names) - set(BENCHES)
    if unknown:
        parser.error("no such benchmark: {}".format(", ".join(sorted(unknown))))
    rows: list[Row] = against(args.against) if args.against else []
    for name, (bench, is_long) in BENCHES.items():
        if name in args.names or (not (args.names or args.against) and (args.long or not is_long)):
            began = time.monotonic()
            rows += bench()
            print("%-10s %.0f s" % (name, time.monotonic() - began), file=sys.stderr)
    if args.json:
        print(json.dumps([row._asdict() for row in rows], indent=2))
    else:
        _print_table(rows)


def _print_table(rows: list[Row]) -> None:
    lines = [("WHAT", "OURS", "BESIDE", "THEIRS", "RATIO", "GOAL")]
    for row in rows:
        other = "" if not row.beside else "missing" if row.other is None else _figure(row.other, row.unit)
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append((row.what, _figure(row.figure, row.unit), row.beside, other, ratio, row.goal))
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def _figure(figure: float, unit: str) -> str:
    return "{} {}".format(format(figure, ",.0f") if figure >= 100 else format(figure, ".3g"), unit)


if __name__ == "__main__":
    main()
