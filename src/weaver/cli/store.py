"""What the commands that ask the store share: opening it, and saying what takes long."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from weaver.cli.main import ExitCode, Stopped

if TYPE_CHECKING:
    from weaver.glados.wiring import OpenStore

__all__ = ["sure", "table", "with_store"]

_T = TypeVar("_T")


def with_store(work: Callable[[OpenStore], Awaitable[_T]]) -> _T:
    """What `work` makes of the open store. The store is closed before this returns."""
    from weaver.glados.wiring import open_store

    async def go() -> _T:
        async with open_store(say=lambda line: click.echo(line, err=True)) as store:
            return await work(store)

    return asyncio.run(go())


def sure(question: str) -> None:
    """Ask before something is gone for good; raises where the answer is no, or nobody is there to give one."""
    if not sys.stdin.isatty():
        raise Stopped(f"{question} nobody is there to answer; --yes says so beforehand", ExitCode.USAGE)
    click.confirm(question, abort=True, err=True)


def table(header: list[str], rows: list[list[Any]]) -> str:
    """Columns as wide as they must be; numbers to the right."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in [header, *texts]) for index in range(len(header))]
    right = [all(_is_number(row[index]) for row in rows) for index in range(len(header))]

    def line(cells: list[str]) -> str:
        columns = zip(cells, widths, right, strict=True)
        return "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in columns
        ).rstrip()

    return "\n".join([line(header), *map(line, texts)])


def _is_number(cell: object) -> bool:
    if isinstance(cell, int | float):
        return True
    return isinstance(cell, str) and (cell == "-" or re.fullmatch(r"[+-]?[\d,.]+( %)?", cell) is not None)
