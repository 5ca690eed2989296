"""The tests: `python3 -m unittest` from the top of the checkout, with nothing installed."""
