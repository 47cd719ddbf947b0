"""Home: the only reader of WEAVER_HOME, the folder of the catalog, the runs and the embedded database."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from weaver.core.errors import ConfigError

__all__ = ["data_folder", "no_account_advice"]


def data_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return $WEAVER_HOME if it is set, else the user's data folder (`~/.local/share/weaver` on Linux).

    Raises ConfigError where neither is known: a user id without an entry in /etc/passwd, as containers have it, has no home.
    """
    environment = os.environ if environment is None else environment
    named = environment.get("WEAVER_HOME")
    try:
        if named:
            return Path(named).expanduser().absolute()
        from platformdirs import user_data_path

        return user_data_path("weaver", appauthor=False).expanduser()
    except RuntimeError:
        raise ConfigError(
            f"no home folder is known: user id {os.geteuid()} has no entry in /etc/passwd, and HOME is not set; "
            f"{no_account_advice()}"
        ) from None


def no_account_advice() -> str:
    """Return the part of an error that says what a user id without an account can do."""
    return (
        "set WEAVER_HOME=DIR to a folder that it can write, and use a server of your own with DB_URL or give the user id a "
        "name with nss_wrapper (docs/docker.md)"
    )
