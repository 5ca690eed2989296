"""Starting a fleet with the system: the text of a systemd unit or a crontab line."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

# Privileges that ordinary jobs don't need. A unit with User= has none of its own; these lines deny what set-user-ID
# programs would grant.
SANDBOX = """\
# Delete these lines if jobs call sudo, or send mail through a set-user-ID program.
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

# KillMode=mixed: only the supervisor gets SIGTERM. It lets jobs finish and, after --stop-timeout, returns them to the
# queue. What is left after TimeoutStopSec is killed, and those attempts count. OOMPolicy=continue: one job that is out
# of memory doesn't stop the rest.
UNIT = """\
# {hint}
[Unit]
Description={description}

[Service]
Type=notify
ExecStart={command}
ExecReload=/bin/kill -USR2 $MAINPID
KillMode=mixed
TimeoutStopSec={patience}
Restart=on-failure
RestartSec=5
OOMPolicy=continue
{user}
[Install]
WantedBy={target}
"""

RETURN = 30  # Seconds after --stop-timeout to end the jobs that are left. Longer than the usual kill-grace.

FOR_USER = """\
~/.config/systemd/user/queuectl.service (start it with: systemctl --user enable --now queuectl;
# to keep it running while you are logged out: loginctl enable-linger)"""
FOR_SYSTEM = "/etc/systemd/system/queuectl.service (start it with: systemctl enable --now queuectl)"


def unit(words: Sequence[str], database: str, patience: float, user: str | None) -> str:
    """A systemd unit that runs `words`, which must stay in the foreground.

    `patience` is their --stop-timeout, the seconds that jobs get to finish when the unit stops. `user` is the account
    that a system unit runs as; None makes a unit for a user's own service manager.
    """
    return UNIT.format(
        hint=FOR_USER if user is None else FOR_SYSTEM,
        description=_escape_percent("queuectl workers for " + database),
        command=" ".join(map(_systemd_word, words)),
        patience=math.ceil(patience) + RETURN,
        user="" if user is None else f"User={user}\n{SANDBOX}",
        target="default.target" if user is None else "multi-user.target",
    )


def _systemd_word(word: str) -> str:
    """Quote one word of ExecStart= (see systemd.service(5))."""
    text = _escape_percent(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return text if text and not set(text) & set(" ;'\"\\") else f'"{text}"'


def _escape_percent(text: str) -> str:
    return text.replace("%", "%%")


def crontab(words: Sequence[str]) -> str:
    """A crontab line that runs `words` every minute."""
    # In a crontab, % ends the command, even inside quotes.
    command = " ".join(map(shlex.quote, words)).replace("%", "\\%")
    return f"* * * * * {command} >/dev/null\n"
