"""`weaver backtest`: one run from the command line. It adds input, output and Ctrl-C to `weaver.backtest`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weaver.cli.interrupt import Interrupt
from weaver.cli.main import ExitCode, Stopped
from weaver.cli.options import RunArguments, run_options
from weaver.cli.output import echo, echo_text, note
from weaver.cli.sources import FILE
from weaver.core.errors import StrategyCrashed
from weaver.core.files import write_whole
from weaver.core.text import brief

if TYPE_CHECKING:
    from weaver.glados.backtest.run_recorder import RunRecorder
    from weaver.marvin.strategy import Strategy
    from weaver.results.result import Result

__all__ = ["Outcome", "aside", "backtest", "check_targets", "records", "run", "show"]


@click.command(short_help="Backtest a strategy and print the results.")
@click.argument("strategy", type=FILE)
@run_options
@click.option(
    "--record/--no-record", default=None, help="Store the run in the database (weaver runs list).  [default: record]"
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(),
    metavar="FILE|-",
    help="Write the result as JSON; - writes to standard output.",
)
@click.option(
    "--report",
    "report_path",
    type=click.Path(),
    metavar="FILE",
    help="Write the report, one HTML file that opens offline.",
)
def backtest(
    strategy: str, record: bool | None, json_path: str | None, report_path: str | None, **options: Any
) -> None:  # fmt: skip
    """Backtest STRATEGY and print the results.

    STRATEGY is file.py, file.py:Class or module:Class. Ctrl-C stops the run and prints the results so far; a second Ctrl-C
    ends the program at once.

    \b
    weaver backtest my_strategy.py --data demo:AAPL --report report.html
    weaver backtest my_strategy.py --data EURUSD=eurusd.csv --tz UTC -p fast=5 --json -
    """
    from weaver.marvin.loader import load_strategy

    check_targets(json_path, report_path)
    arguments = RunArguments.of(options)
    with aside(json_path):
        cls = load_strategy(strategy, warn=note)
        outcome = run(cls, arguments.bars, arguments.params, record=records(record), **arguments.settings)
    show(outcome, json_path, report_path)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Return the result of a run (None if it has none) and the reason why it ended early."""

    result: Result | None
    cut_short: Stopped | StrategyCrashed | None = None


def run(strategy: type[Strategy], bars: Any, params: Mapping[str, str], **settings: Any) -> Outcome:
    """Run `weaver.backtest` with parameters as text, a progress bar and Ctrl-C. Raises the errors that precede a run."""
    from weaver.glados.backtest import backtest as run_backtest
    from weaver.glados.backtest.progress import Progress
    from weaver.marvin.loader import parse_params

    values = parse_params(strategy, params)
    with Progress() as progress, Interrupt() as interrupt:
        try:
            result = run_backtest(strategy, bars, params=values, progress=progress, should_stop=interrupt, **settings)
        except StrategyCrashed as error:
            return Outcome(error.result, error)
        except KeyboardInterrupt:
            return Outcome(None, Stopped(f"interrupted {progress}", ExitCode.INTERRUPTED))
        except SystemExit as error:
            message = f"{strategy.__name__} ended the program, by exit({brief(error.code)}), {progress}"
            return Outcome(None, Stopped(message, ExitCode.STRATEGY))
    if interrupt.happened:
        return Outcome(result, Stopped(f"interrupted {progress}", ExitCode.INTERRUPTED))
    return Outcome(result)


def records(record: bool | None) -> bool:
    """Return whether the run is stored: `record` if given, else WEAVER_RECORD, else weaver.toml, else True."""
    from weaver.config import Settings

    return Settings.load({"backtest.record": record}).record


def aside(json_path: str | None) -> AbstractContextManager[object]:
    """Redirect the strategy's output to standard error while standard output carries JSON."""
    return redirect_stdout(sys.stderr) if json_path == "-" and sys.stderr is not None else nullcontext()


def show(outcome: Outcome, json_path: str | None, report_path: str | None) -> None:
    """Print the result, write the files, and then raise the reason why the run ended early, if it did.

    A run that ended early still prints its table and writes its report, but no JSON, since a program would take it for a
    complete run. Files are written whole or not at all; missing folders are created.
    """
    result, cut_short = outcome.result, outcome.cut_short
    silent = json_path == "-" or isinstance(cut_short, StrategyCrashed)
    if result is not None:
        if json_path == "-" and cut_short is None:
            echo_text(result.to_json())
        elif not silent:
            echo_text(repr(result))
        if json_path not in (None, "-") and cut_short is None:
            path = _ready(json_path)
            write_whole(path, result.to_json() + "\n")
            echo(f"result: {path}")
        if report_path is not None:
            echo(f"report: {result.report(_ready(report_path))}", err=silent)
        if sys.stderr is not None and sys.stderr.isatty() and result.elapsed_s > 0:
            rate = result.bars / result.elapsed_s
            echo(f"{result.bars:,} bars in {result.elapsed_s:.2f} s ({rate:,.0f} bars/s)", err=True)
    if result is not None and result.recording is not None:
        _report_recording(result.recording)
    if cut_short is not None:
        raise cut_short


def _report_recording(recording: RunRecorder) -> None:
    """Wait until the run is stored and print its name. A run that could not be stored is no error."""
    if not recording.wait(2.0):
        echo("recording the run ...", err=True)
        recording.wait()
    if recording.error is None:
        echo(
            f"recorded: weaver runs show {recording.run_id.rpartition('-')[2]}{_unexpected_database(recording)}",
            err=True,
        )
    else:
        reason = str(recording.error).strip() or type(recording.error).__name__
        echo(f"not recorded: {reason} (--no-record leaves it out)", err=True)


def _unexpected_database(recording: RunRecorder) -> str:
    """Return where the run was recorded if a weaver.toml in the current folder chose the database, which is easy to miss."""
    from weaver.config import FILE_NAME, Settings

    source = Settings.load().sources["database.url"]
    return f", in {recording.database} ({source})" if source.startswith(str(Path.cwd() / FILE_NAME)) else ""


def check_targets(json_path: str | None, report_path: str | None) -> None:
    """Raise `Stopped` before the run where a file can never be written."""
    for path in (json_path, report_path):
        _check_target(path)
    if json_path and report_path and Path(json_path).expanduser().resolve() == Path(report_path).expanduser().resolve():
        raise Stopped(f"--json and --report both name {json_path}; give them different files", ExitCode.USAGE)


def _check_target(text: str | None) -> None:
    if text in (None, "-"):
        return
    path = Path(text or "").expanduser()
    if not text or path.is_dir():
        raise Stopped(f"{brief(text)} is a folder; name a file in it", ExitCode.FAILED)
    folder = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    if not folder.is_dir():
        raise Stopped(f"{path} cannot be written: {folder} is a file, not a folder", ExitCode.FAILED)
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise Stopped(f"{path} cannot be written: no permission in {folder}; choose another folder", ExitCode.FAILED)


def _ready(text: str | None) -> Path:
    path = Path(text or "").expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
