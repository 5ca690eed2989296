#!/usr/bin/env python3
"""Run queuectl from a checkout: `python3 queuectl.py COMMAND ...`."""

import os
import sys

# `python3 -I` doesn't add the script's directory.
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from queuectl_core.entry import main

if __name__ == "__main__":
    main()
