"""Output of the commands: the only functions that print, and tables, sparklines and JSON for every command.

Values come from files, strategies and databases that others may write. Guarantees that none of them reaches the terminal
with characters that change or hide what it shows (`weaver.core.text.visible`), and that a value with a line feed cannot
forge a line: `echo` prints one line, `table` one line for each row. `echo_text` is for text that Weaver has laid out.

Does not apply to what a strategy prints itself, nor to psql.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import click

from weaver.core.text import cut, cut_middle, visible, visible_json

__all__ = ["LONGEST_CELL", "confirm", "echo", "echo_text", "json_text", "note", "sparkline", "table"]

LONGEST_CELL = 1_000
"""Characters of a cell of a table: every row is as wide as the longest cell, and names come from databases that others
write to."""

_NUMBER = re.compile(r"[+-]?[\d,.]+( %)?")


def echo(line: object = "", *, err: bool = False) -> None:
    """Print `line` as one line, on standard error if `err`; line feeds in it appear as \\n."""
    click.echo(visible(str(line)), err=err)  # noqa: TID251 - the only place


def echo_text(text: str, *, err: bool = False) -> None:
    """Print a text of several lines whose values cannot contain line feeds: a table, a result, a help text."""
    click.echo(visible(text, multiline=True), err=err)  # noqa: TID251 - the only place


def note(text: str) -> None:
    """Print a note as one line on standard error."""
    echo(f"note: {cut_middle(text)}", err=True)


def confirm(question: str) -> None:
    """Ask a question on standard error. Raises `click.Abort` where the answer is no."""
    click.confirm(visible(question), abort=True, err=True)  # noqa: TID251 - the only place


def table(rows: Iterable[Sequence[object]], header: Sequence[str] | None = None) -> str:
    """Return `rows` as text in aligned columns, two spaces apart; columns of numbers are aligned to the right.

    Every row has as many cells as the first one. A cell "-" or "" counts as a missing number. A cell is one line
    of at most LONGEST_CELL characters.
    """
    body = [[visible(cut(str(cell), LONGEST_CELL)) for cell in row] for row in rows]
    lines = body if header is None else [[visible(name) for name in header], *body]
    if not lines:
        return ""
    columns = range(len(lines[0]))
    widths = [max(len(line[column]) for line in lines) for column in columns]
    right = [header is not None and _is_numeric([row[column] for row in body]) for column in columns]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def _is_numeric(cells: Sequence[str]) -> bool:
    numbers = [cell for cell in cells if cell not in ("-", "", "...")]
    return all(_NUMBER.fullmatch(cell) for cell in numbers)


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """Return `values` as one line of at most `width` bars; each bar is the mean of its share of the values."""
    marks = "▁▂▃▄▅▆▇█" if "utf" in (getattr(sys.stdout, "encoding", None) or "utf-8").lower() else "_.-=+*#@"
    width = min(width, len(values))
    edges = [round(place * len(values) / width) for place in range(width + 1)]
    means = [sum(values[first:last]) / (last - first) for first, last in pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(marks) - 1) / (high - low) if high > low else 0.0
    return "".join(marks[round((mean - low) * scale)] for mean in means)


def json_text(value: Any) -> str:
    """Return `value` as one line of JSON without invisible characters; msgspec structs and aware datetimes are allowed."""
    import msgspec

    return visible_json(msgspec.json.encode(value).decode())
