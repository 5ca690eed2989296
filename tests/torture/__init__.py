"""Long, random, and with real kills: `python3 -m tests.torture --seconds N [--seed S]`."""
