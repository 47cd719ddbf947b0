"""Another local user cannot take the place of the embedded server, prepare its folders, or receive its password."""

from __future__ import annotations

import asyncio
import hashlib
import os
import pwd
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_postgres import CLEARTEXT, LOGGED_IN, MD5, serve_as
from second_user import SecondUser, open_folder, second_user
from using import User, ask, kill, on, wait_until_stopped

from weaver.cli.main import main
from weaver.core.errors import DatabaseStartError, StoreError
from weaver.walle.connection import Connector
from weaver.walle.embedded import Attachment, attach
from weaver.walle.embedded.attachment import stop
from weaver.walle.embedded.binaries import find_programs
from weaver.walle.embedded.client import Client
from weaver.walle.embedded.paths import DatabasePaths

__all__ = ["open_folder", "second_user"]

LONG = "a-folder-whose-name-is-too-long-for-a-socket-" * 3


@pytest.fixture(autouse=True)
def _no_folder_of_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("TMPDIR", raising=False)


@pytest.fixture(scope="module")
def far_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a database, whose path is too long for a socket."""
    home = tmp_path_factory.mktemp("far") / LONG
    attach(home).close()
    wait_until_stopped(home)
    return home


@pytest.fixture
def far(far_made: Path) -> Iterator[Path]:
    """That home, with nothing running before and after."""
    yield far_made
    stop(DatabasePaths(far_made), force=True)
    wait_until_stopped(far_made)
    DatabasePaths(far_made).stopped.unlink(missing_ok=True)


def socket_folder(home: Path) -> Path:
    return DatabasePaths(home).folder / "run"


def owner_of(path: Path) -> int:
    return path.lstat().st_uid


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def server_uid(holding: Attachment) -> int:
    user = holding.server["user"]
    return os.geteuid() if user is None else pwd.getpwnam(user).pw_uid


# --- names that another user takes first -----------------------------------------------------------------------------

SQUATS = {
    "a folder": "path.mkdir(mode=0o700)",
    "an open folder": "path.mkdir(); path.chmod(0o777)",
    "a dangling link": "path.symlink_to('/nonexistent/weaver')",
    "a link to a folder": "path.with_name(path.name + '.x').mkdir(); path.symlink_to(path.with_name(path.name + '.x'))",
    "a file": "path.write_text('')",
}


@pytest.mark.parametrize("kind", SQUATS)
def test_a_name_that_another_user_has_taken_prevents_no_start(far: Path, second_user: SecondUser, kind: str) -> None:
    """The name was predictable once: the user id of the one who starts it, and a hash of the folder."""
    mark = hashlib.sha256(os.fsencode(DatabasePaths(far).folder)).hexdigest()[:12]
    taken = Path("/tmp") / f"weaver-{os.geteuid()}-{mark}"
    done = second_user.run(f"path = pathlib.Path(sys.argv[1])\n{SQUATS[kind]}", taken)
    assert done.returncode == 0, done.stderr
    try:
        with attach(far) as holding:
            folder = Path(holding.server["socket"])
            assert ask(holding.url, "SELECT 1") == "1"
            assert (owner_of(folder), mode_of(folder)) == (server_uid(holding), 0o700)
            assert folder != taken
            assert owner_of(taken) == second_user.uid
            assert not second_user.can_read(folder)
        wait_until_stopped(far)
        assert not folder.exists()
        assert not (DatabasePaths(far).folder / "socket").exists()
        assert owner_of(taken) == second_user.uid
    finally:
        for path in (taken, taken.with_name(taken.name + ".x")):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def test_the_folder_of_the_socket_has_another_name_at_each_start_and_is_removed_after_a_crash(far: Path) -> None:
    first = User(far)
    folder = Path(first.url.partition("host=")[2].partition("&")[0])
    assert folder.is_dir()
    kill(first.keeper)
    kill(first.server)
    with attach(far) as holding:
        assert not folder.exists()
        assert Path(holding.server["socket"]) != folder
        assert ask(holding.url, "SELECT 1") == "1"
    first.kill()


def test_a_leftover_is_removed_only_where_it_is_ours(far: Path, second_user: SecondUser) -> None:
    theirs = Path("/tmp") / f"weaver-of-a-crash-{os.getpid()}"
    done = second_user.run("path = pathlib.Path(sys.argv[1]); path.mkdir(); (path / '.s.PGSQL.1').touch()", theirs)
    assert done.returncode == 0, done.stderr
    try:
        for noted in (theirs, Path("/etc"), Path("weaver-relative")):
            (DatabasePaths(far).folder / "socket").write_text(str(noted))
            with attach(far) as holding:
                assert ask(holding.url, "SELECT 1") == "1"
            wait_until_stopped(far)
            assert (theirs / ".s.PGSQL.1").exists()
    finally:
        shutil.rmtree(theirs)


def test_a_folder_of_another_user_holds_no_socket(
    far: Path, second_user: SecondUser, monkeypatch: pytest.MonkeyPatch, open_folder: Path
) -> None:
    """`sudo` may pass on XDG_RUNTIME_DIR and TMPDIR, whose owner could replace the folder of the socket."""
    theirs, everyone = open_folder / "theirs", open_folder / "everyone"
    for folder in (theirs, everyone):
        folder.mkdir()
        folder.chmod(0o777)
    os.chown(theirs, second_user.uid, second_user.gid)
    theirs.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(theirs))
    monkeypatch.setenv("TMPDIR", str(everyone))
    with attach(far) as holding:
        assert Path(holding.server["socket"]).parent in (Path("/run"), Path("/tmp"))
        assert list(theirs.iterdir()) == list(everyone.iterdir()) == []


# --- folders that another user could enter or replace ----------------------------------------------------------------


@pytest.mark.parametrize("change", ["mode", "owner", "link"])
def test_a_folder_of_the_socket_that_was_changed_is_refused_and_mended_by_the_next_start(
    home: Path, second_user: SecondUser, change: str
) -> None:
    user = User(home)
    folder = socket_folder(home)
    owner = owner_of(folder)
    if change == "mode":
        folder.chmod(0o777)
    elif change == "owner":
        os.chown(folder, second_user.uid, second_user.gid)
    else:
        folder.rename(folder.with_name("moved"))
        folder.symlink_to(folder.with_name("moved"))
    reason = {"mode": "has mode 0777", "owner": f"belongs to user {second_user.name}", "link": "not a folder"}[change]
    with pytest.raises(DatabaseStartError, match=f"{folder} {'is ' if change == 'link' else ''}{reason}"):
        attach(home).close()
    if change == "owner":
        os.chown(folder, owner, -1)
    elif change == "link":
        folder.unlink()
        folder.with_name("moved").rename(folder)
    user.leave()
    wait_until_stopped(home)
    with attach(home) as holding:
        assert mode_of(folder) == 0o700
        assert ask(holding.url, "SELECT 1") == "1"


@pytest.mark.parametrize("kind", ["of another user", "a link", "a file"])
def test_a_start_does_not_take_over_a_folder_of_another_user(home: Path, second_user: SecondUser, kind: str) -> None:
    folder = socket_folder(home)
    aside = folder.with_name("run.aside")
    folder.rename(aside)
    try:
        if kind == "a link":
            folder.symlink_to(aside)
        elif kind == "a file":
            folder.write_text("")
        else:
            folder.mkdir(mode=0o777)
            os.chown(folder, second_user.uid, second_user.gid)
        before = folder.lstat()
        with pytest.raises(DatabaseStartError, match=str(folder)):
            attach(home).close()
        assert (folder.lstat().st_uid, folder.lstat().st_mode) == (before.st_uid, before.st_mode)
        wait_until_stopped(home)
    finally:
        if folder.is_dir() and not folder.is_symlink():
            folder.rmdir()
        else:
            folder.unlink()
        aside.rename(folder)


def test_open_modes_of_existing_folders_are_closed(home: Path) -> None:
    place = DatabasePaths(home)
    place.folder.chmod(0o755)
    socket_folder(home).chmod(0o777)
    with attach(home):
        assert (mode_of(place.folder), mode_of(socket_folder(home))) == (0o700, 0o700)


PLACES: dict[str, Callable[[Path, SecondUser], Path]] = {
    "a folder of another user": lambda folder, user: _made(folder / "theirs", owner=user, mode=0o755) / "home",
    "deep in a folder of another user": lambda folder, user: (
        _made(folder / "theirs", owner=user, mode=0o755) / "a" / "b"
    ),
    "a folder that all may write to": lambda folder, user: _made(folder / "open", owner=None, mode=0o777) / "home",
    "a link of another user": lambda folder, user: _linked(folder, user) / "home",
}


def _made(folder: Path, *, owner: SecondUser | None, mode: int) -> Path:
    folder.mkdir()
    if owner is not None:
        os.chown(folder, owner.uid, owner.gid)
    folder.chmod(mode)
    return folder


def _linked(folder: Path, user: SecondUser) -> Path:
    _made(folder / "shared", owner=None, mode=0o1777)
    (folder / "target").mkdir()
    done = user.run("os.symlink(sys.argv[1], sys.argv[2])", folder / "target", folder / "shared" / "link")
    assert done.returncode == 0, done.stderr
    return folder / "shared" / "link"


@pytest.mark.parametrize("kind", PLACES)
def test_root_keeps_no_database_where_another_user_can_replace_it(
    open_folder: Path, second_user: SecondUser, kind: str
) -> None:
    home = PLACES[kind](open_folder, second_user)
    with pytest.raises(DatabaseStartError, match=r"another folder in the place of .*WEAVER_HOME=DIR"):
        attach(home).close()
    assert not home.exists()


def test_a_folder_like_tmp_is_no_danger(open_folder: Path) -> None:
    sticky = _made(open_folder / "tmp", owner=None, mode=0o1777)
    DatabasePaths(sticky / "home").make()


# --- a server of another user on the socket --------------------------------------------------------------------------


@pytest.fixture
def swapped(home: Path, second_user: SecondUser, open_folder: Path, request: pytest.FixtureRequest) -> Iterator[object]:
    """A running server whose socket was replaced by one of the second user, as only a fault of ours would allow."""
    theirs = _made(open_folder / "theirs", owner=second_user, mode=0o755) / "socket"
    with attach(home) as holding, serve_as(second_user, theirs, request.param) as server:
        socket = socket_folder(home) / ".s.PGSQL.5432"
        aside = socket.with_name("aside")
        socket.rename(aside)
        theirs.rename(socket)
        try:
            yield holding, server
        finally:
            aside.replace(socket)


COMMANDS = (
    ("runs", "list"),
    ("events", "stats"),
    ("db", "upgrade"),
    ("db", "psql", "-c", "SELECT 1"),
    ("db", "backup", "all.backup"),
)
ANSWERS = pytest.mark.parametrize(
    "swapped", [CLEARTEXT, MD5, LOGGED_IN], ids=["cleartext", "md5", "none"], indirect=True
)


@ANSWERS
def test_a_server_of_another_user_on_the_socket_receives_no_password(
    home: Path, swapped: tuple[Attachment, object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    holding, server = swapped
    monkeypatch.setenv("WEAVER_HOME", str(home))
    monkeypatch.setattr(os, "execve", _refuse_to_become)
    for command in COMMANDS:
        assert main(command) == 1, command
        error = capsys.readouterr().err
        assert "is that of user weaver-test-" in error
        assert holding.password not in error
    assert server.received() == b""  # type: ignore[attr-defined]


def _refuse_to_become(program: str, *_: object) -> None:
    raise AssertionError(f"{program} was started")


@ANSWERS
def test_a_connection_that_meets_it_sends_nothing_either(swapped: tuple[Attachment, object]) -> None:
    """Were the socket replaced after the check that `attach` makes: the driver and psql check their own connection."""
    holding, server = swapped

    async def connect() -> None:
        await Connector(holding.guarded_url).connect()

    with pytest.raises(StoreError, match="nothing was sent"):
        asyncio.run(connect())
    client = Client(holding.guarded_url, find_programs())
    with pytest.raises(StoreError, match="requirepeer"):
        client.ask("SELECT 1")
    with pytest.raises(StoreError, match="requirepeer"):
        client.backup(holding.place.home / "all.backup", holding.place.home / "runs", version="0")
    received = server.received()  # type: ignore[attr-defined]
    assert holding.password.encode() not in received
    assert b"md5" not in received


def test_every_connection_of_weaver_to_the_embedded_server_is_guarded(holding: Attachment) -> None:
    environment = Client(holding.guarded_url, find_programs()).environment()
    assert environment["PGREQUIREAUTH"] == "scram-sha-256"
    assert environment["PGREQUIREPEER"] == pwd.getpwuid(server_uid(holding)).pw_name
    assert Client(holding.guarded_url, find_programs()).ask("SELECT 1") == "1"
    assert "require" not in holding.url, "other programs know neither parameter"


# --- 127.0.0.1 ------------------------------------------------------------------------------------------------------


def test_on_tcp_a_login_that_does_not_end_is_cut_after_five_seconds(home: Path) -> None:
    with attach(home) as holding:
        assert ask(holding.url, "SHOW authentication_timeout") == "1min"
    wait_until_stopped(home)
    with attach(home, tcp=_free_port()) as holding:
        assert ask(holding.url, "SHOW authentication_timeout") == "5s"
    wait_until_stopped(home)
    assert on(home) == []


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
