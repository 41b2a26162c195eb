"""Settings and places: flag > ``DECKLOG_*`` > config.toml > default, each value with its origin.

Read at the faces and handed down as a value; this module imports nothing heavy.
"""

from __future__ import annotations

import os
import sys

from decklog.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SETTINGS: dict[str, tuple[object, str]] = {
    "tz": ("", "IANA time zone for days, weeks and months; empty: the system's"),
    "jobs": (0, "processes that read transcripts; 0: one for each core"),
    "sync": (True, "look for new records before answering"),
    "archive": (True, "keep a compressed copy of every transcript that is read"),
    "relay": (False, "start agents through a relay, which hears what they tell their terminal"),
}
"""Name to (default, meaning)."""


class Config:
    """All settings, where each came from, and where our own files are."""

    __slots__ = (
        "archive", "config_file", "data_dir", "env", "jobs", "origins", "relay", "sync", "tz"
    )  # fmt: skip

    def __init__(
        self,
        *,
        data_dir: str,
        config_file: str = "",
        tz: str = "",
        jobs: int = 0,
        sync: bool = True,
        archive: bool = True,
        relay: bool = False,
        env: Mapping[str, str] | None = None,
        origins: dict[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.config_file = config_file
        self.tz = tz
        self.jobs = jobs
        self.sync = sync
        self.archive = archive
        self.relay = relay
        self.env: Mapping[str, str] = env or {}
        """Environment that decides where agents keep their transcripts; always has HOME."""
        self.origins = origins or {}


def places(env: Mapping[str, str]) -> tuple[str, str]:
    """(data folder, config file) for an environment; ``DECKLOG_HOME`` moves both."""
    own = env.get("DECKLOG_HOME")
    if own:
        own = os.path.abspath(os.path.expanduser(own))
        return own, f"{own}/config.toml"
    home = env["HOME"]
    if sys.platform == "darwin":
        import platformdirs

        data, config = (
            platformdirs.user_data_dir("decklog"),
            platformdirs.user_config_dir("decklog"),
        )
    else:  # the XDG base directories, by hand: this runs before every warm command
        data = f"{env.get('XDG_DATA_HOME') or home + '/.local/share'}/decklog"
        config = f"{env.get('XDG_CONFIG_HOME') or home + '/.config'}/decklog"
    return data, f"{config}/config.toml"


def load(env: Mapping[str, str], flags: Mapping[str, object] | None = None) -> Config:
    """The settings in force.

    Raises `decklog.errors.UsageError` for an unknown key or a value of the wrong type, naming
    the place it stands in.
    """
    env = dict(env)
    env.setdefault("HOME", os.path.expanduser("~"))
    data_dir, config_file = places(env)
    env["HOME"] = _sessions_home(env)
    file = _read(config_file)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, (default, _) in SETTINGS.items():
        variable = f"DECKLOG_{name.upper()}"
        if flags and flags.get(name) is not None:
            value, origin = flags[name], f"--{name}"
        elif env.get(variable):
            value, origin = _parse(env[variable], default, variable), variable
        elif name in file:
            value, origin = file[name], config_file
        else:
            value, origin = default, "default"
        if type(value) is not type(default):
            kind = type(default).__name__
            raise UsageError(f"{origin}: {name} must be of type {kind}, not {value!r}")
        values[name], origins[name] = value, origin
    unknown = sorted(set(file) - set(SETTINGS))
    if unknown:
        raise UsageError(
            f"{config_file}: unknown key {unknown[0]!r}",
            hint=f"known keys: {', '.join(SETTINGS)}",
        )
    return Config(data_dir=data_dir, config_file=config_file, env=env, origins=origins, **values)


def _sessions_home(env: Mapping[str, str], passwd: str = "/etc/passwd") -> str:
    """Whose sessions are looked at: under sudo those of the user who called it."""
    user = env.get("SUDO_USER")
    if user:
        try:
            with open(passwd, encoding="utf-8", errors="surrogateescape") as lines:
                for line in lines:
                    fields = line.rstrip("\n").split(":")
                    if fields[0] == user and len(fields) > 5 and fields[5]:
                        return fields[5]
        except OSError:
            pass
    return env["HOME"]


def _parse(text: str, default: object, origin: str) -> object:
    if isinstance(default, bool):
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off"):
            return False
        raise UsageError(f"{origin}: expected true or false, not {text!r}")
    if isinstance(default, int):
        try:
            return int(text)
        except ValueError:
            raise UsageError(f"{origin}: expected a number, not {text!r}") from None
    return text


def _read(path: str) -> dict[str, object]:
    try:
        with open(path, "rb") as f:
            data = f.read()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    import tomllib

    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, or beyond all measure
        raise UsageError(f"{path}: {error}", hint="mend the file, or move it away") from None
