"""Load bars in a new Python process, for a forked worker process that cannot use Polars (see `weaver.core.fork_safety`).

The rest of a backtest needs no thread of Polars. Paths, catalog selections and pandas frames are handed over; a Polars frame
cannot be, because writing it already needs the lost threads.
"""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from weaver.core.bars import BarSeries
from weaver.core.errors import DataError
from weaver.core.fork_safety import check_fork, polars_is_lost
from weaver.core.user_folders import is_user_entry

__all__ = ["load_in_new_process", "needs_new_process"]

_CHILD = (
    "import sys; sys.path += [entry for entry in sys.argv[1:] if entry not in sys.path]; "
    "from weaver.data.load_bars import load_bars; from weaver.data.loader_process import main; main(load_bars)"
)
"""Entries that only the parent has, such as the folder of its script, follow the standard library and site-packages."""


def needs_new_process(bars: object) -> bool:
    """Return whether loading `bars` would wait for ever in this process. Bars that are loaded already need no Polars."""
    return polars_is_lost() and not _is_loaded(bars)


def load_in_new_process(bars: object, arguments: Mapping[str, Any]) -> dict[str, BarSeries]:
    """Return `load_bars(bars, **arguments)` from a new process. Raises its errors, and UnsafeFork for a Polars frame."""
    if _has_polars_frame(bars):
        check_fork("loading a Polars frame")
    try:
        request = pickle.dumps((bars, dict(arguments)))
    except Exception:
        check_fork(f"loading bars from a {type(bars).__name__}")
        raise
    path = [entry for entry in sys.path if not is_user_entry(entry)]
    child = subprocess.run([sys.executable, "-P", "-c", _CHILD, *path], input=request, capture_output=True, check=False)
    if child.returncode:
        reason = child.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {child.returncode}"]
        raise DataError(f"loading the bars in a new process failed: {reason[0]}")
    loaded, answer = pickle.loads(child.stdout)
    if not loaded:
        raise answer
    return {symbol: replace(series) for symbol, series in answer.items()}  # its arrays are read-only again


def main(load_bars: Callable[..., dict[str, BarSeries]]) -> None:
    """Answer one request: read it from standard input, write the series or the error to standard output."""
    bars, arguments = pickle.load(sys.stdin.buffer)
    with contextlib.redirect_stdout(sys.stderr):
        try:
            answer: tuple[bool, object] = (True, load_bars(bars, **arguments))
        except Exception as error:  # noqa: BLE001 - travels to the parent, which raises it
            answer = (False, error)
    sys.stdout.buffer.write(pickle.dumps(answer))


def _is_loaded(bars: object) -> bool:
    if isinstance(bars, Mapping):
        return all(map(_is_loaded, bars.values()))
    return isinstance(bars, BarSeries)


def _has_polars_frame(bars: object) -> bool:
    if isinstance(bars, Mapping):
        return any(map(_has_polars_frame, bars.values()))
    return isinstance(bars, pl.DataFrame | pl.LazyFrame)
