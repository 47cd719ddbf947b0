"""Files are replaced whole or not at all, whatever stops the write."""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
from pathlib import Path

import pytest

import weaver
from weaver.core.files import replacing, write_whole

posix = pytest.mark.skipif(os.name != "posix", reason="permissions, links and pipes of POSIX")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("content", ["new ü", b"new \xfc"])
@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_created_or_replaced(tmp_path: Path, content: str | bytes, durable: bool) -> None:
    path = tmp_path / "a.txt"
    for _ in range(2):
        write_whole(path, content, durable=durable)
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
        assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyError("x"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("locked", [False, True])
def test_the_old_file_stays_when_the_write_fails(tmp_path: Path, error: BaseException, locked: bool) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path, locked=locked) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]
    if isinstance(error, OSError):
        assert caught.value.filename == str(path), "the message names the target, not the temporary file"


@pytest.mark.parametrize("step", ["written", "flushed"])
def test_the_old_file_stays_until_the_last_step(tmp_path: Path, step: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def stop(at: str) -> None:
        assert path.read_text() == "old"
        if at == step:
            raise ZeroDivisionError

    def write() -> None:
        with replacing(path, durable=True, at_step=stop) as temporary:
            temporary.write_text("new")

    with pytest.raises(ZeroDivisionError):
        write()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no/a\.txt"):
        write_whole(tmp_path / "no" / "a.txt", "x")


@posix
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "real" / "a.txt")
    for text in ("one", "two"):
        write_whole(link, text)
        assert link.is_symlink()
        assert (tmp_path / "real" / "a.txt").read_text() == text
    assert names(tmp_path / "real") == ["a.txt"]


@posix
def test_permissions_are_kept_or_given_from_the_first_byte_on(tmp_path: Path) -> None:
    path, secret = tmp_path / "a.txt", tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o640)
    write_whole(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    with replacing(secret, mode=0o600) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


@posix
def test_a_device_or_pipe_is_written_to(tmp_path: Path) -> None:
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()))
    reader.start()
    write_whole(pipe, "through")
    reader.join(10)
    assert received == ["through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    write_whole(Path("/dev/null"), "gone")


def test_the_rest_of_a_killed_writer_is_reused_under_a_lock(tmp_path: Path) -> None:
    (tmp_path / ".a.txt.new").write_text("half of a killed write")
    write_whole(tmp_path / "a.txt", "x", locked=True)
    assert names(tmp_path) == ["a.txt"]


def test_two_writers_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with replacing(path) as first, replacing(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first", "the outer block ends last"


@pytest.mark.parametrize("name", ["a" * 255, "ü" * 127, ".hidden", "a b"])
def test_any_name_can_be_written(tmp_path: Path, name: str) -> None:
    write_whole(tmp_path / name, "x")
    assert names(tmp_path) == [name]


def test_there_is_one_copy() -> None:
    """A file is moved into place by core/files alone; folders and the server's own data are not files."""
    source = Path(weaver.__file__).parent
    allowed = {
        "core/files.py",
        "results/run_files.py",
        "walle/embedded/server.py",
        "walle/embedded/client.py",
    }
    users = {
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if re.search(r"os\.replace\(|\b(new|part|temporary|aside)\.replace\(", path.read_text())
    }
    assert users <= allowed, "use weaver.core.files"


def test_a_file_system_without_permissions_takes_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fchmod(descriptor: int, mode: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "fchmod", fchmod)
    write_whole(tmp_path / "file", "text", mode=0o644)
    assert (tmp_path / "file").read_text() == "text"
