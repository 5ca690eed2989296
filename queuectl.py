#!/usr/bin/env python3
"""Run queuectl from a checkout: `python3 queuectl.py COMMAND …`."""

import os
import sys

if sys.version_info < (3, 8):
    sys.exit("queuectl: needs Python 3.8 or later; this is %s" % sys.version.split()[0])

# `python3 -I` leaves the script's folder out.
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from queuectl_core.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
