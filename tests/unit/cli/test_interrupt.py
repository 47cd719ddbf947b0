"""Ctrl-C: the first asks, the second insists, and afterwards all is as it was."""

from __future__ import annotations

import signal

import pytest

from weaver.cli.interrupt import Interrupt


def test_the_first_asks_and_the_second_raises() -> None:
    with Interrupt() as interrupt:
        assert interrupt() is False
        signal.raise_signal(signal.SIGINT)
        assert interrupt() is True
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_handler_of_before_is_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupt():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
