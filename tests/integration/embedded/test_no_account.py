"""A user id without an entry in /etc/passwd, as containers have it: the errors name the ways out."""

from __future__ import annotations

import os
import pwd
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from weaver.config import Settings
from weaver.core.errors import ConfigError, DatabaseStartError
from weaver.home import data_folder
from weaver.walle.embedded import attach, run_as_user, startup  # noqa: F401 - imported before the child changes its user

WAYS_OUT = ("WEAVER_HOME=DIR", "DB_URL", "nss_wrapper")


def in_child(uid: int, work: Callable[[], str]) -> str:
    """Return what `work` returns in a forked child that runs as `uid` and has no HOME."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        text = ""
        try:
            os.close(reader)
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            for name in ("HOME", "WEAVER_HOME", "XDG_DATA_HOME", "DB_URL"):
                os.environ.pop(name, None)
            text = work()
        except BaseException:
            text = traceback.format_exc()
        finally:
            os.write(writer, text.encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as output:
        text = output.read().decode()
    os.waitpid(child, 0)
    return text


def nameless_uid() -> int:
    known = {entry.pw_uid for entry in pwd.getpwall()}
    return next(uid for uid in range(54321 + os.getpid() % 1000, 60000) if uid not in known)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_random_user_id_hears_of_every_way_out(tmp_path: Path) -> None:
    import platformdirs.unix  # noqa: F401 - its folder may be closed to the child

    uid = nameless_uid()
    home = Path("/tmp") / f"weaver-nameless-{uid}"
    home.mkdir(mode=0o700)
    os.chown(home, uid, uid)

    def without_home() -> str:
        try:
            Settings.load(folder=home)
        except ConfigError as error:
            return str(error)
        return "nothing"

    def with_home() -> str:
        try:
            attach(home)
        except DatabaseStartError as error:
            return str(error)
        return "nothing"

    try:
        for work in (without_home, with_home):
            message = in_child(uid, work)
            assert str(uid) in message
            assert "/etc/passwd" in message
            assert all(way in message for way in WAYS_OUT), message
    finally:
        for path in sorted(home.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        home.rmdir()


def test_without_an_account_and_a_home_the_error_names_the_ways_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "WEAVER_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError) as refused:
        data_folder()
    assert all(way in str(refused.value) for way in WAYS_OUT)
    with pytest.raises(DatabaseStartError) as refused_start:
        attach(tmp_path / "new")
    assert all(way in str(refused_start.value) for way in WAYS_OUT)
    monkeypatch.setenv("WEAVER_HOME", str(tmp_path))
    assert data_folder() == tmp_path
