"""A home with a database, one for all the tests here, that runs before no test and after none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from using import User, on, wait_until_stopped

from weaver.walle.embedded import Attachment, attach


@pytest.fixture(autouse=True)
def _no_database_of_the_developer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DB_URL", "PGPORT", "PGHOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose database exists, used by all these tests one after the other."""
    home = tmp_path_factory.mktemp("home")
    attach(home).close()
    wait_until_stopped(home)
    yield home
    wait_until_stopped(home)
    assert on(home) == []


@pytest.fixture
def home(made: Path) -> Iterator[Path]:
    """That home, with nothing running before and after."""
    yield made
    for user in User.there:  # of a test that failed
        user.kill()
    User.there.clear()
    wait_until_stopped(made)
    assert on(made) == []


@pytest.fixture
def holding(home: Path) -> Iterator[Attachment]:
    with attach(home) as held:
        yield held
