#!/usr/bin/env python3
"""Run queuectl from a checkout: `python3 queuectl.py COMMAND …`."""

import sys

if sys.version_info < (3, 8):
    sys.exit("queuectl: needs Python 3.8 or later; this is %s" % sys.version.split()[0])

from queuectl_core.cli import main

if __name__ == "__main__":
    main()
