"""`config set`, `get`, `list`, `unset`."""

from __future__ import annotations

from .. import settings, values
from ..errors import BadInput
from ..grid import Column
from ..suggestion import suggestion
from .queue_file import open_client, open_reader
from .tables import table
from .terminal import print_json, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ..settings import Config

KEY_HELP = "a key from 'config list', or QUEUE.KEY for one queue"


NOTHING = ("", "none", "off", "no", "0", "-1", "never", "unlimited", "null", "default")  # What other tools call it.


def config_set_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY", help=KEY_HELP)
    parser.add_argument("value", metavar="VALUE", help="the new value, such as 5, 90s, 2h or 64k")


def config_set(args: Namespace) -> int:
    key = _key(args.key)
    if key is None:
        return 0
    setting = settings.SETTINGS[key.rpartition(".")[2]]
    try:
        value = settings.parse(key, args.value)
    except BadInput as error:
        if setting.default not in ("none", "forever") or args.value.lower() not in NOTHING:
            raise
        raise BadInput(f"{error}; to remove it, run: {suggestion('config unset', key)}") from None
    with open_client(args, creates=True) as store:
        if key.rpartition(".")[2] in settings.SHELL_LINES:
            _check_syntax(key, str(value), str(settings.of_queue(store.config(), settings.HOOK_QUEUE, "runner")))
        store.set_config(key, value)
    since = ", for jobs enqueued from now on" if setting.of_job else ", from now on"
    tell(f"{key} is off from now on" if value == "" else f"{key} = {value}{since}")
    return 0


def _check_syntax(key: str, line: str, runner: str) -> None:
    """Raise BadInput if this isn't a valid shell line. If a runner isn't a shell, anything goes."""
    if runner != settings.SETTINGS["runner"].default:
        return
    import subprocess

    try:
        argv = ["/bin/sh", "-n", "-c", line]
        checked = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError:
        return
    if checked.returncode:
        complaint = values.decode(checked.stderr).strip().partition("\n")[0]
        raise BadInput(f"{key}: not a valid shell line: {values.quote(line)} ({complaint})")


def _key(given: str) -> str | None:
    """The canonical spelling of a key; None, after a warning, for one that only other job queues need."""
    try:
        return settings.canonical(given)
    except BadInput:
        from .hints import not_needed  # Deferred: needed only for unknown keys.

        reason = not_needed(given)
        if reason is None:
            raise
    tell(f"queuectl: not needed: {given}: {reason}")
    return None


def config_get_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("key", nargs="?", metavar="KEY", help=f"{KEY_HELP} (default: list all)")


def config_get(args: Namespace) -> int:
    if args.key is None:
        args.json = False
        return config_list(args)
    key = _key(args.key)
    if key is None:
        return 0
    plain = key.rpartition(".")[2]
    with open_reader(args, may_be_unused=True) as store:
        config = store.config()
    print(config.get(key, config.get(plain, settings.SETTINGS[plain].default)))
    return 0


def config_list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def config_list(args: Namespace) -> int:
    with open_reader(args, may_be_unused=True) as store:
        config = store.config()
    if args.json:
        print_json({**_defaults(), **config})
    else:
        print_config(config)
    return 0


def _defaults() -> Config:
    return {key: setting.default for key, setting in settings.SETTINGS.items()}


def print_config(config: Config) -> None:
    """Print all settings; `config` has those that were set."""
    rows = []
    for key, value in {**_defaults(), **config}.items():
        origin = "set" if key in config else "default"
        setting = settings.SETTINGS.get(key.rpartition(".")[2])
        rows.append((key, value, origin, setting.help if setting else "no such key"))
    table((Column("KEY", least=20), ">VALUE", Column("FROM", drop=1), Column("MEANING", least=36)), rows)


def config_unset_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY", help=KEY_HELP)


def config_unset(args: Namespace) -> int:
    key: str | None = args.key
    try:
        key = _key(args.key)
    except BadInput:  # What another program or an older queuectl stored needn't be valid.
        with open_reader(args, may_be_unused=True) as reader:
            if args.key not in reader.config():
                raise
    if key is None:
        return 0
    with open_client(args) as store:
        if not store.unset_config(key):
            tell(f"{key} was not set")
    return 0
