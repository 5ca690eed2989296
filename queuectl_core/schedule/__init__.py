"""When jobs are due: cron expressions, intervals and single times.

`cron` knows expressions and calendars, `zones` knows clocks, `times` puts them together, and `crontab` reads crontabs.
All times are arguments: nothing here reads the current time.
"""
