"""A fleet that the system starts: the text of a systemd unit or a crontab line."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

# What jobs, which are anybody's commands, do not need. A unit with User= has no privileges to lose;
# these take away what set-user-ID programs would give.
SANDBOX = """\
# Jobs that call sudo, or send mail by a set-ID program, need these lines deleted.
NoNewPrivileges=yes
ProtectSystem=full
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
"""

# mixed: at a stop only the supervisor is told, and lets the jobs finish; who is left at the end of
# TimeoutStopSec is killed, and its job runs again. OOMPolicy: one job too big does not stop the rest.
UNIT = """\
# {hint}
[Unit]
Description={description}

[Service]
Type=notify
ExecStart={command}
ExecReload=/bin/kill -USR2 $MAINPID
KillMode=mixed
TimeoutStopSec={patience:g}
Restart=on-failure
RestartSec=5
OOMPolicy=continue
{user}
[Install]
WantedBy={target}
"""

FOR_USER = """\
~/.config/systemd/user/queuectl.service (start it with: systemctl --user enable --now queuectl;
# to have it run while you are logged out: loginctl enable-linger)"""
FOR_SYSTEM = "/etc/systemd/system/queuectl.service (start it with: systemctl enable --now queuectl)"


def unit(words: Sequence[str], database: str, patience: float, user: str | None) -> str:
    """A systemd unit that runs `words`, which must stay in the foreground.

    `patience`: seconds that jobs get to finish at a stop. `user`: who runs it in a unit of the
    system; None makes a unit of a user's own service manager.
    """
    return UNIT.format(
        hint=FOR_USER if user is None else FOR_SYSTEM,
        description=_specifiers("Workers of " + database),
        command=" ".join(map(_systemd_word, words)),
        patience=patience,
        user="" if user is None else f"User={user}\n{SANDBOX}",
        target="default.target" if user is None else "multi-user.target",
    )


def _systemd_word(word: str) -> str:
    """One word of ExecStart=, as systemd.service(5) wants it."""
    text = _specifiers(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return text if text and not set(text) & set(" ;'\"\\") else f'"{text}"'


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")


def crontab(words: Sequence[str]) -> str:
    """A line of a crontab that runs `words` every minute."""
    # To cron a % ends the command, even in quotes.
    command = " ".join(map(shlex.quote, words)).replace("%", "\\%")
    return f"* * * * * {command} >/dev/null\n"
