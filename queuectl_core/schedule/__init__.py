"""When jobs are due: cron expressions, intervals and single times.

`cron` knows expressions and calendars, `zones` knows clocks, and `times` puts them together. All times are arguments:
nothing here reads the current time.
"""
