"""Kills and arrivals at every named step of a keeper's life: each is held there by a pipe, so that nothing is left to luck."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from using import Stop, User, ask, kill, on, wait_until_stopped

from weaver.walle.embedded import Attachment, attach, attachment, startup

NEVER_MADE = ("making", "made")


@pytest.mark.parametrize("step", ["making", "made", "launched", "ready", "users gone", "stopping"])
def test_a_keeper_killed_at_any_step_leaves_a_database_that_starts(home: Path, tmp_path: Path, step: str) -> None:
    where = tmp_path / "new" if step in NEVER_MADE else home
    stop = Stop(tmp_path, step)
    user = User(where, stop.code, waits=step in ("users gone", "stopping"))
    if step in ("users gone", "stopping"):
        user.leave()
    keeper = stop.reached()
    kill(keeper)
    with attach(where) as held:
        assert str(held.server["keeper"]) != keeper
        assert ask(held.url, "SELECT 1") == "1"
    user.kill()
    wait_until_stopped(where)
    assert on(where) == []


@pytest.mark.parametrize("step", ["making", "launched"])
def test_a_user_killed_while_it_starts_the_server_leaves_nothing_running(home: Path, tmp_path: Path, step: str) -> None:
    where = tmp_path / "new" if step in NEVER_MADE else home
    stop = Stop(tmp_path, step)
    user = User(where, stop.code, waits=False)
    stop.reached()
    user.kill()
    second = User(where, waits=False)  # finds a keeper that is on its way up, and waits for it
    stop.go()
    second.hear()
    assert ask(second.url, "SELECT 1") == "1"
    second.leave()
    wait_until_stopped(where)
    assert on(where) == []


def test_who_comes_when_the_last_has_just_left_keeps_the_server(home: Path, tmp_path: Path) -> None:
    stop = Stop(tmp_path, "users gone")
    first = User(home, stop.code)
    first.leave()
    stop.reached()
    with attach(home) as held:
        stop.go()
        assert str(held.server["pid"]) == first.server
        assert ask(held.url, "SELECT 1") == "1"


def test_who_comes_while_it_is_being_stopped_gets_a_new_one(home: Path, tmp_path: Path) -> None:
    stop = Stop(tmp_path, "stopping")
    first = User(home, stop.code)
    first.leave()
    stop.reached()
    got: list[Attachment] = []
    asked = threading.Thread(target=lambda: got.append(attach(home)))
    asked.start()
    stop.go()
    asked.join()
    with got[0] as held:
        assert str(held.server["pid"]) != first.server
        assert ask(held.url, "SELECT 1") == "1"


def test_without_the_lock_on_starting_the_server_would_be_stopped_under_its_user(home: Path, tmp_path: Path) -> None:
    """The control: a user that takes no part in start.lock comes between the keeper's last look and the stop."""
    stop = Stop(tmp_path, "stopping")
    first = User(home, stop.code)
    server = startup.read_server_facts(attachment.DatabasePaths(home))
    first.leave()
    stop.reached()
    assert server is not None
    assert attachment._answers(server)  # this is what such a user would see and rely on
    stop.go()
    wait_until_stopped(home)
    assert not attachment._answers(server)


def test_while_it_lingers_it_is_there_for_the_next_user_and_stop_does_not_wait(home: Path) -> None:
    with attach(home, linger=600) as held:
        first = held.server
    with attach(home) as held:
        assert held.server == first
    assert attachment.stop(held.place)
    wait_until_stopped(home)
    assert not attachment.stop(held.place)


def test_stop_waits_for_a_keeper_that_is_still_on_its_way_up(home: Path, tmp_path: Path) -> None:
    stop = Stop(tmp_path, "launched")
    user = User(home, stop.code, waits=False)
    stop.reached()
    user.kill()
    asked = threading.Thread(target=attachment.stop, args=(attachment.DatabasePaths(home),))
    asked.start()
    stop.go()
    asked.join()
    assert on(home) == []


def test_a_server_killed_while_it_lingers_ends_its_keeper(home: Path) -> None:
    with attach(home, linger=600) as held:
        pass
    kill(str(held.server["pid"]))
    wait_until_stopped(home)


def test_a_server_told_to_stop_from_outside_ends_its_keeper(home: Path) -> None:
    user = User(home)
    ask(user.url, "SELECT 1")
    os.kill(int(user.server), signal.SIGTERM)
    wait_until_stopped(home)
    user.leave()
