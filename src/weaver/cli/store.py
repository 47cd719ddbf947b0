"""Shared by the commands that use the database: opening it, and asking for confirmation."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from weaver.cli.main import ExitCode, Stopped
from weaver.cli.output import confirm, echo

if TYPE_CHECKING:
    from weaver.glados.wiring import OpenStore

__all__ = ["sure", "with_store"]

_T = TypeVar("_T")


def with_store(work: Callable[[OpenStore], Awaitable[_T]]) -> _T:
    """Open the store, record the runs that an earlier process could not, run `work`, and return its result."""
    from weaver.glados.wiring import has_pending_runs, open_store, run_folders

    pending = has_pending_runs()

    async def go() -> _T:
        async with open_store(say=lambda line: echo(line, err=True)) as store:
            if pending:
                from weaver.glados.backtest.run_ending import store_pending

                for line in await store_pending(store, run_folders()):
                    echo(line, err=True)
            return await work(store)

    return asyncio.run(go())


def sure(question: str) -> None:
    """Ask for confirmation of a deletion; raise where the answer is no or standard input is not a terminal."""
    if not sys.stdin.isatty():
        raise Stopped(f"{question} there is no terminal to answer at; pass --yes to confirm", ExitCode.USAGE)
    confirm(question)
