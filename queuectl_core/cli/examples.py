"""Examples of each command, for its --help. Imported only to print that."""

from __future__ import annotations

EXAMPLES = {
    "enqueue": (
        "queuectl enqueue 'sleep 2; echo done'",
        "queuectl enqueue --timeout 5m --max-retries 1 -- convert 'My Cat.jpg' cat.png",
        """queuectl enqueue '{"id": "job1", "command": "sleep 2", "priority": 5}'""",
        "find . -name '*.log' | queuectl enqueue --each 'gzip {}'",
        "queuectl enqueue --file pages | queuectl enqueue --after - -- ./make-index",
    ),
    "worker start": (
        "queuectl worker start -c 4",
        "queuectl worker start -q mail -q reports",
        "queuectl worker start --foreground --drain  # In a script: until all is done.",
    ),
    "worker stop": (
        "queuectl worker stop",
        "queuectl worker stop --now 3",
    ),
    "worker restart": ("queuectl worker restart  # After an update of queuectl.",),
    "worker list": ("queuectl worker list",),
    "status": (
        "queuectl status",
        "queuectl status --watch",
        "queuectl status --json | jq .jobs.dead",
    ),
    "top": ("queuectl top",),
    "list": (
        "queuectl list --state failed",
        "queuectl list --since 7d --schedule backup --exit 1-127",
        "queuectl list --sort took --reverse --columns id,took,command",
    ),
    "show": (
        "queuectl show job1",
        "queuectl show job1 --json | jq .history",
    ),
    "logs": (
        "queuectl logs job1",
        "queuectl logs -f  # The output of all running jobs.",
        "queuectl logs job1 --all-attempts --stderr",
    ),
    "stats": (
        "queuectl stats --since 7d",
        "queuectl stats --by hour --queue mail",
    ),
    "failures": ("queuectl failures --since 1d",),
    "progress": ("queuectl progress 40 'page 12 of 30'",),
    "wait": (
        "queuectl wait job1 && echo it completed",
        "queuectl enqueue --each 'gzip {}' --file names | queuectl wait -",
        "queuectl wait --queue mail --timeout 10m",
    ),
    "cancel": (
        "queuectl cancel job1 job2",
        "queuectl cancel --queue mail",
    ),
    "retry": (
        "queuectl retry job1",
        "queuectl retry --label nightly",
    ),
    "edit": (
        "queuectl edit job1 --priority 10 --delay 0",
        "queuectl edit --from mail --queue bulk --priority -5",
    ),
    "hold": (
        "queuectl hold job1",
        "queuectl hold --label nightly",
        "queuectl list --grep ffmpeg --json | jq -r '.[].id' | queuectl hold -",
    ),
    "release": (
        "queuectl release job1",
        "queuectl release --all",
    ),
    "suspend": (
        "queuectl suspend job1",
        "queuectl suspend --queue encode  # All of its running jobs.",
    ),
    "continue": (
        "queuectl continue job1",
        "queuectl continue --all",
    ),
    "pause": (
        "queuectl pause mail",
        "queuectl pause  # All queues.",
    ),
    "resume": (
        "queuectl resume mail",
        "queuectl resume  # All queues.",
    ),
    "prune": (
        "queuectl prune --older-than 7d",
        "queuectl prune --state dead --keep 100 --dry-run",
        "queuectl prune --compact  # Deletes no job.",
    ),
    "dlq list": ("queuectl dlq list --since 1d",),
    "dlq retry": (
        "queuectl dlq retry job1",
        "queuectl dlq retry --all",
    ),
    "dlq purge": (
        "queuectl dlq purge --queue mail --dry-run",
        "queuectl dlq purge job1",
    ),
    "schedule add": (
        "queuectl schedule add backup --cron '30 2 * * *' --tz Asia/Tokyo -- ./backup",
        "queuectl schedule add poll --every 10m --timeout 5m -- ./fetch-feed",
        "queuectl schedule add sync --cron @hourly --missed skip --label net -- ./sync",
    ),
    "schedule list": ("queuectl schedule list", "queuectl schedule list --json"),
    "schedule show": ("queuectl schedule show backup",),
    "schedule next": ("queuectl schedule next --cron '30 2 * * 1-5' -n 3",),
    "schedule edit": ("queuectl schedule edit backup --cron '0 3 * * *'",),
    "schedule pause": ("queuectl schedule pause backup",),
    "schedule resume": ("queuectl schedule resume backup",),
    "schedule run": ("queuectl schedule run backup",),
    "schedule import": (
        "crontab -l | queuectl schedule import --dry-run",
        "queuectl schedule import --system /etc/cron.d/certbot",
    ),
    "schedule remove": ("queuectl schedule remove backup",),
    "metrics": (
        "queuectl metrics",
        "queuectl metrics --textfile /var/lib/node_exporter/queuectl.prom",
    ),
    "dashboard": (
        "queuectl dashboard --open",
        "queuectl dashboard --port 8080 --read-write",
    ),
    "doctor": (
        "queuectl doctor",
        "queuectl doctor --repair",
    ),
    "backup": ("queuectl backup /mnt/backup/queue.db --force",),
    "restore": ("queuectl worker stop && queuectl restore /mnt/backup/queue.db",),
    "config set": (
        "queuectl config set max-retries 5",
        "queuectl config set mail.limit 2  # Only in the queue mail.",
        "queuectl config set keep-completed 7d",
    ),
    "config get": ("queuectl config get mail.limit",),
    "config list": ("queuectl config list",),
    "config unset": ("queuectl config unset mail.limit",),
    "export": ("queuectl export > jobs.jsonl",),
    "import": (
        "queuectl import jobs.jsonl",
        "queuectl export | ssh host queuectl import",
    ),
    "bundle": ("queuectl bundle ~/.local/bin/queuectl",),
    "completion": ("queuectl completion bash > ~/.local/share/bash-completion/completions/queuectl",),
    "manual": ("queuectl manual | man -l -",),
    "service": (
        "queuectl service -c 4 > ~/.config/systemd/user/queuectl.service",
        "queuectl service --cron",
    ),
}


def epilog(name: str) -> str | None:
    """What --help prints last; None for a command without examples."""
    lines = EXAMPLES.get(name)
    return None if lines is None else "examples:\n" + "".join(f"  {line}\n" for line in lines)
