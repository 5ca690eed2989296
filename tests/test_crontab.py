"""Crontabs: every line is read as cron reads it, or rejected with its number and the reason."""

from __future__ import annotations

import random
import unittest

from queuectl_core.schedule.crontab import Entry, Rejected, parse_crontab, seem_to_name_users, suggest_name

# The jobs and settings of Debian's /etc/crontab, with its odd mixture of tabs and spaces.
SYSTEM = """\
# Jobs of the system; each line names a user.

SHELL=/bin/sh
#PATH=/usr/local/sbin:/usr/local/bin:/sbin:/bin:/usr/sbin:/usr/bin

# .---------------- minute (0 - 59)
# |  .------------- hour (0 - 23)
# *  *  *  *  * user-name command to be executed
17 *\t* * *\troot\tcd / && run-parts --report /etc/cron.hourly
25 6\t* * *\troot\ttest -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.daily; }
47 6\t* * 7\troot\ttest -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.weekly; }
52 6\t1 * *\troot\ttest -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.monthly; }
#
"""

# As on SUSE: a dash before a line means that it isn't logged.
SUSE = """\
SHELL=/bin/bash
MAILTO=root
#
-*/15 * * * *   root  test -x /usr/lib/cron/run-crons && /usr/lib/cron/run-crons >/dev/null 2>&1
"""

USER = """\
MAILTO="ops@example.org, dev@example.org"
 PATH = /usr/local/bin:$PATH\x20\x20
'NAME' = ' in quotes '
HALF="open
EMPTY=
# Every weekday
0 9 * * 1-5 /home/me/bin/report --date=$(date +\\%F)  # not a comment
\t*/5\t*\t*\t*\t*\tA=1 poll
@daily backup --all
CRON_TZ=Asia/Tokyo
MAILTO=
0 0 * * mon mail -s 'It is Monday' me%Dear me,%%it is 100\\% Monday.%
@reboot /usr/bin/tmux new -d
RANDOM_DELAY=45
HOME=/srv
SHELL=/bin/bash
5 4 * * sun echo C:\\\\tmp \\\\% data"""

ANACRON = """\
SHELL=/bin/sh
START_HOURS_RANGE=3-22
1\t5\tcron.daily\t\tnice run-parts /etc/cron.daily
7\t25\tcron.weekly\t\tnice run-parts /etc/cron.weekly
@monthly 45\tcron.monthly\t\tnice run-parts /etc/cron.monthly
"""


def entries(text: str, names_users: bool = False) -> list[Entry]:
    found = list(parse_crontab(text, names_users))
    assert not any(isinstance(line, Rejected) for line in found), found
    return found  # type: ignore[return-value]


class CrontabTest(unittest.TestCase):
    def reason(self, line: str, names_users: bool = False) -> str:
        """Why the second line of a crontab is rejected."""
        (found,) = parse_crontab(f"# Comment\n{line}\n", names_users)
        self.assertIsInstance(found, Rejected, line)
        self.assertEqual(found.number, 2)
        self.assertTrue(found.reason.startswith("line 2: "), found.reason)
        self.assertTrue(found.reason.isprintable(), found.reason)
        return found.reason

    def test_debians_own_crontab_is_read(self):
        found = entries(SYSTEM, names_users=True)
        self.assertEqual([entry.number for entry in found], [9, 10, 11, 12])
        self.assertEqual([entry.cron.text for entry in found], ["17 * * * *", "25 6 * * *", "47 6 * * 7", "52 6 1 * *"])
        self.assertEqual({entry.user for entry in found}, {"root"})
        self.assertEqual(found[0].command, "cd / && run-parts --report /etc/cron.hourly")
        self.assertEqual({entry.shell for entry in found}, {"/bin/sh"})

    def test_suses_own_crontab_is_read(self):
        (entry,) = entries(SUSE, names_users=True)
        self.assertEqual((entry.cron.text, entry.user, entry.mailto), ("*/15 * * * *", "root", "root"))
        self.assertEqual(entry.shell, "/bin/bash")

    def test_a_users_crontab_is_read_as_cron_reads_it(self):
        report, poll, backup, mail, tmux, echo = entries(USER)
        self.assertEqual(report.command, "/home/me/bin/report --date=$(date +%F)  # not a comment")
        self.assertEqual(report.mailto, "ops@example.org, dev@example.org")
        self.assertEqual(report.environment["PATH"], "/usr/local/bin:$PATH")
        self.assertEqual(report.environment["NAME"], " in quotes ")
        self.assertEqual(report.environment["HALF"], '"open')
        self.assertEqual(report.environment["EMPTY"], "")
        self.assertEqual((report.stdin, report.user, report.zone, report.shell), (None, None, None, "/bin/sh"))
        self.assertEqual((poll.cron.text, poll.command), ("*/5 * * * *", "A=1 poll"))
        self.assertEqual((backup.cron.text, backup.command), ("@daily", "backup --all"))
        self.assertEqual(mail.command, "mail -s 'It is Monday' me")
        self.assertEqual(mail.stdin, "Dear me,\n\nit is 100% Monday.\n")
        self.assertEqual((mail.zone, mail.mailto), ("Asia/Tokyo", ""))
        self.assertTrue(tmux.cron.at_boot)
        self.assertEqual((tmux.spread, echo.spread), (0, 2700))
        self.assertEqual((tmux.shell, echo.shell), ("/bin/sh", "/bin/bash"))
        self.assertEqual((tmux.home, echo.home), (None, "/srv"))
        self.assertEqual((echo.command, echo.stdin), ("echo C:\\\\tmp \\\\", " data\n"))

    def test_settings_apply_to_the_lines_after_them(self):
        first, second = entries("A=1\n* * * * * x\nA=2\n* * * * * y\nA=3\n")
        self.assertEqual((first.environment, second.environment), ({"A": "1"}, {"A": "2"}))

    def test_line_endings_and_byte_order_marks_do_not_matter(self):
        for text in ("A='1'\r\n* * * * * x\r\n", "\ufeffA=1\n* * * * * x", "\n\nA=1\n\n* * * * * x\n\n"):
            (entry,) = entries(text)
            self.assertEqual((entry.command, entry.environment), ("x", {"A": "1"}))
        self.assertEqual(entries("# Nothing\r\n\r\n"), [])
        self.assertEqual(entries(""), [])

    def test_what_cannot_be_imported_is_rejected_with_the_reason(self):
        for line, reason in (
            ("61 * * * * x", "minute '61' is not from 0 to 59"),
            ("0 0 31 2 * x", "never happens"),
            ("5/10 * * * * x", "write 5-59/10"),
            ("* * * * *", "a job, which needs five fields or a name such as @daily and a command"),
            ("@daily", "needs five fields"),
            ("nonsense", "needs five fields"),
            ("@fortnightly x", "no such name: '@fortnightly'"),
            ("*/5 * * * * * x", "has more than five fields"),
            ("@every 5m x", "--every"),
            ("* * * * * -q x", "options before the command"),
            ("* * * * * %input", "non-empty command"),
            ("* * * * * a\0b", "NUL"),
            ("A=a\0b", "NUL"),
            ("''=x", "needs a name"),
            ("RANDOM_DELAY=soon", "not a number of minutes: 'soon'"),
            ("* * * * * " + "x" * 200000, "longer than"),
            ("@daily 5 cron.daily run-parts /etc/cron.daily", "anacron"),
        ):
            self.assertIn(reason, self.reason(line), line[:80])
        for line, reason in (
            ("* * * * * root", "five fields or a name such as @daily, a user and a command"),
            ("@daily root", "a user and a command"),
            ("0 3 * * * /usr/bin/backup -a", "not a user: '/usr/bin/backup'"),
            ("0 0 3 * * * root x", "not a user: '*'"),
            ("0 3 * * * 5 root x", "has more than five fields"),
        ):
            self.assertIn(reason, self.reason(line, names_users=True), line)

    def test_anacrontabs_are_rejected_line_by_line(self):
        for names_users in (False, True):
            found = list(parse_crontab(ANACRON, names_users))
            self.assertEqual([line.number for line in found], [3, 4, 5])
            for line in found:
                self.assertIn("a line for anacron", line.reason)

    def test_no_line_is_lost_and_no_input_breaks_the_parser(self):
        generator = random.Random(3)
        pieces = [*"%\\=\"'#*@-/, \t\r\0\ufeffé\udcff\u00a0", "0 1 * * * ", "@daily ", "root ", "x", "A=", "CRON_TZ="]
        for _ in range(5000):
            lines = ["".join(generator.choices(pieces, k=generator.randrange(12))) for _ in range(3)]
            for names_users in (False, True):
                for line in parse_crontab("\n".join(lines), names_users):
                    self.assertIn(line.number, (1, 2, 3))
                    if isinstance(line, Rejected):
                        self.assertTrue(line.reason.startswith(f"line {line.number}: "))
                        self.assertTrue(line.reason.isprintable(), line.reason)
                    else:
                        self.assertTrue(line.command.strip())

    def test_a_crontab_of_the_system_is_recognized_when_read_as_a_users(self):
        self.assertTrue(seem_to_name_users(entries(SYSTEM), {"root", "me"}))
        self.assertFalse(seem_to_name_users(entries(USER), {"root", "me"}))
        self.assertFalse(seem_to_name_users([], {"root"}))

    def test_names_are_those_of_programs_and_unique(self):
        for command, name in (
            ("/opt/backup.sh --all >/dev/null 2>&1", "backup"),
            ("cd /srv/app && ./manage.py clear", "manage"),
            ("cd / && run-parts --report /etc/cron.hourly", "run-parts"),
            ("A=1 B='2' nice -n 19 /usr/bin/python3 /srv/report.py", "report"),
            ("[ -x /usr/sbin/x ] && true", "x"),
            ("bash -c 'sleep 5; sync-all'", "sync-all"),
            ("%%%", "job"),
            ("2>&1", "job"),
        ):
            self.assertEqual(suggest_name(command, ()), name, command)
        self.assertEqual(suggest_name("x", {"x", "x-2"}), "x-3")


