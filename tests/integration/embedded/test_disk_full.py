"""A disk that is full: a clear error, and an intact database when there is room again. Needs the right to mount a tmpfs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path

import pytest
from using import ask, on, psql, wait_until_stopped

from weaver.core.errors import DatabaseDiskFull
from weaver.walle.embedded import attach
from weaver.walle.embedded.binaries import find_programs
from weaver.walle.embedded.client import Client

FILL = "CREATE TABLE IF NOT EXISTS filler (t text); INSERT INTO filler SELECT repeat(md5(n::text), 60) FROM generate_series(1, 60000) n"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[int], None]]]:
    """A small disk, and a way to change its size in MB."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
        )

    try:
        made = mount("size=20m")
    except FileNotFoundError:
        pytest.skip("there is no program `mount` here")
    if made.returncode:
        pytest.skip(f"a small disk needs the right to mount one, which this user has not: {made.stderr.strip()}")

    def resize(megabytes: int) -> None:
        assert mount(f"remount,size={megabytes}m").returncode == 0

    yield folder, resize
    wait_until_stopped(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True)
    assert on(folder) == []


def fill(file: Path) -> None:
    """Take all the room there is."""
    with file.open("wb", buffering=0) as ballast, pytest.raises(OSError, match="No space left on device"):
        list(map(ballast.write, repeat(bytes(4096))))


def test_a_disk_that_is_full_is_said_so_and_the_database_is_intact_when_there_is_room(
    disk: tuple[Path, Callable[[int], None]], tmp_path: Path
) -> None:
    home, resize = disk
    with pytest.raises(DatabaseDiskFull, match=r"is full.*make room.*WEAVER_HOME=DIR"):
        attach(home)
    assert not list((home / "postgres").glob("pg*"))  # nothing half made is taken for a database later

    resize(100)
    with attach(home) as held:
        ask(held.url, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
        said = [psql(held.url, FILL).stderr for _ in range(3)]
        assert "No space left on device" in "".join(said)
    wait_until_stopped(home)

    fill(home / "ballast")
    try:
        attach(home).close()  # where it needs no room to start, it starts
        wait_until_stopped(home)
    except DatabaseDiskFull as error:
        said.append(str(error))
        assert "nothing is lost" in said[-1]

    (home / "ballast").unlink()
    resize(300)
    with attach(home) as held:
        assert ask(held.url, "SELECT count(*), sum(n) FROM kept") == "1000|500500"
        assert ask(held.url, "SELECT count(*) FROM pg_class WHERE relname = 'filler' AND relkind = 'r'") in "01"
        ask(held.url, "DROP TABLE IF EXISTS filler; CHECKPOINT")
        # A backup that does not fit leaves no file, and the one before it as it was.
        client = Client(held.url, find_programs())
        client.backup(home / "backup.dump", home / "runs", version="0")
        before = (home / "backup.dump").read_bytes()
        ask(
            held.url,
            "CREATE TABLE noise AS SELECT md5(n::text) || md5((n * 7)::text) AS t FROM generate_series(1, 300000) n",
        )
        ask(held.url, "CHECKPOINT")
        fill(home / "ballast")
        with pytest.raises(DatabaseDiskFull, match="backup was not written"):
            client.backup(home / "backup.dump", home / "runs", version="0")
        (home / "ballast").unlink()
        assert (home / "backup.dump").read_bytes() == before
        assert [path.name for path in home.glob("*.dump*")] == ["backup.dump"]
