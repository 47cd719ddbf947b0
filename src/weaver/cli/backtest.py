"""`weaver backtest`: one run from the command line. It adds nothing to what `weaver.backtest` does but input and output."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weaver.cli.interrupt import Interrupt
from weaver.cli.main import ExitCode, Stopped
from weaver.cli.sources import DATA_HELP, FILE, bars_of, pairs_of
from weaver.core.errors import StrategyCrashed

if TYPE_CHECKING:
    from weaver.glados.backtest.run_recorder import RunRecorder
    from weaver.marvin.strategy import Strategy
    from weaver.results.result import Result

__all__ = ["Outcome", "aside", "backtest", "check_targets", "records", "run", "show"]


@click.command(short_help="Run a strategy on bars, and say what came of it.")
@click.argument("strategy", type=FILE)
@click.option("--data", "-d", "data", multiple=True, required=True, type=FILE, metavar="SOURCE", help=DATA_HELP)
@click.option("--symbol", "-s", "symbols", multiple=True, help="Only this symbol; repeat for several, in their order.")
@click.option("--timeframe", "-t", help="The length of a bar, such as 1m, 1h or 1d.  [default: from the data]")
@click.option("--start", help="First bar that is used: a date, or a time with its offset (2020-01-01T14:30Z).")
@click.option("--end", help="The bar that is no longer used.")
@click.option("--tz", metavar="ZONE", help="The time zone of bars that carry none, such as America/New_York.")
@click.option("--calendar", metavar="NAME", help="Bars follow this exchange's sessions, such as XNYS.")
@click.option("--cash", type=float, default=100_000, show_default=True, help="What the account starts with.")
@click.option("--commission", type=float, default=0.0, show_default=True, help="Share of the notional: 0.001 is 0.1 %.")
@click.option("--slippage-bps", type=float, default=0.0, show_default=True, help="Worse than the price, in 0.01 %.")
@click.option("--spread", type=float, help="Between bid and ask, as a share of the price.")
@click.option("--leverage", type=float, default=1.0, show_default=True, help="Positions up to this times the equity.")
@click.option("--cash-only", is_flag=True, help="Forbid shorts and borrowing.")
@click.option(
    "--borrow", type=float, default=0.0, show_default=True, help="What being short costs a year: 0.03 is 3 %."
)
@click.option("--financing", type=float, default=0.0, show_default=True, help="What borrowed cash costs a year.")
@click.option("--volume-cap", type=float, help="Fill at most this share of a bar's volume.  [default: no cap]")
@click.option("--limit-fill", type=click.Choice(["touch", "through"]), default="touch", show_default=True,
              help="Whether a limit fills at its price, or only beyond it.")  # fmt: skip
@click.option("--finalize", is_flag=True, help="Close what is open at the last bar's close.")
@click.option("--intrabar", type=click.Choice(["worst", "best"]), default="worst", show_default=True,
              help="Which of two exits fills where a bar could have reached both.")  # fmt: skip
@click.option("--lot", help="Smallest quantity, such as 1.  [default: 0.00000001]")
@click.option("--price-step", help="Smallest price change, such as 0.01.  [default: any]")
@click.option("--param", "-p", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the strategy.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seeds the strategy's self.random.")
@click.option("--record/--no-record", default=None, help="Keep the run: weaver runs list.  [default: keep it]")
@click.option(
    "--json", "json_path", type=click.Path(), metavar="FILE|-", help="Write the result as JSON; - is standard output."
)
@click.option(
    "--report",
    "report_path",
    type=click.Path(),
    metavar="FILE",
    help="Write the report, one HTML file that opens offline.",
)
def backtest(
    strategy: str,
    data: tuple[str, ...],
    symbols: tuple[str, ...],
    timeframe: str | None,
    params: tuple[str, ...],
    json_path: str | None,
    report_path: str | None,
    slippage_bps: float,
    lot: str | None,
    price_step: str | None,
    record: bool | None,
    **settings: Any,
) -> None:
    """Run STRATEGY on bars, and say what came of it.

    STRATEGY is file.py, file.py:Class or module:Class. Ctrl-C ends the run and shows what there is by then; a second
    one ends it where it stands.

    \b
    weaver backtest my_strategy.py --data demo:AAPL --report report.html
    weaver backtest my_strategy.py --data EURUSD=eurusd.csv --tz UTC -p fast=5 --json -
    """
    from weaver.marvin.loader import load_strategy

    check_targets(json_path, report_path)
    texts = pairs_of(params)
    bars = bars_of(data, symbols, timeframe)
    if slippage_bps:
        settings["slippage"] = slippage_bps / 10_000
    if lot is not None or price_step is not None:
        from weaver.core.instrument import Instrument

        settings["instrument"] = Instrument(lot=lot or "0.00000001", price_step=price_step)
    with aside(json_path):
        cls = load_strategy(strategy)
        outcome = run(
            cls, bars, texts, symbols=list(symbols) or None, timeframe=timeframe, record=records(record), **settings
        )
    show(outcome, json_path, report_path)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run left behind: its result, as far as it came, and what cut it short."""

    result: Result | None
    cut_short: Stopped | StrategyCrashed | None = None


def run(strategy: type[Strategy], bars: Any, params: dict[str, str], **settings: Any) -> Outcome:
    """`weaver.backtest` with text parameters, a progress bar and Ctrl-C. Raises for everything that is wrong beforehand."""
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
            told = f"{strategy.__name__} ended the program, by exit({error.code!r}), {progress}"
            return Outcome(None, Stopped(told, ExitCode.STRATEGY))
    if interrupt.happened:
        return Outcome(result, Stopped(f"interrupted {progress}", ExitCode.INTERRUPTED))
    return Outcome(result)


def records(asked: bool | None) -> bool:
    """Whether the run is kept: as asked, else as WEAVER_RECORD or weaver.toml say, else yes."""
    from weaver.config import Settings

    return Settings.load({"backtest.record": asked}).record


def aside(json_path: str | None) -> AbstractContextManager[object]:
    """While JSON has standard output, what a strategy prints goes to standard error, so that a program can read the JSON."""
    return redirect_stdout(sys.stderr) if json_path == "-" and sys.stderr is not None else nullcontext()


def show(outcome: Outcome, json_path: str | None, report_path: str | None) -> None:
    """Print the result and write what was asked for; then raise what cut the run short.

    Of a run that was cut short a person sees what there is, table and report; a program gets no JSON that looks complete.
    Files appear whole; missing folders are made.
    """
    result, cut_short = outcome.result, outcome.cut_short
    silent = json_path == "-" or isinstance(cut_short, StrategyCrashed)
    if result is not None:
        if json_path == "-" and cut_short is None:
            click.echo(result.to_json())
        elif not silent:
            click.echo(repr(result))
        if json_path not in (None, "-") and cut_short is None:
            path = _ready(json_path)
            _write_whole(path, result.to_json() + "\n")
            click.echo(f"result: {path}")
        if report_path is not None:
            click.echo(f"report: {result.report(_ready(report_path))}", err=silent)
        if sys.stderr is not None and sys.stderr.isatty() and result.elapsed_s > 0:
            rate = result.bars / result.elapsed_s
            click.echo(f"{result.bars:,} bars in {result.elapsed_s:.2f} s ({rate:,.0f} bars/s)", err=True)
    if result is not None and result.recording is not None:
        _tell_of(result.recording)
    if cut_short is not None:
        raise cut_short


def _tell_of(recording: RunRecorder) -> None:
    """Wait until the run is kept, and say how to find it again; a run that could not be kept is still a result."""
    if not recording.wait(2.0):
        click.echo("recording the run ...", err=True)
        recording.wait()
    if recording.error is None:
        click.echo(f"recorded: weaver runs show {recording.run_id.rpartition('-')[2]}", err=True)
    else:
        reason = str(recording.error).strip() or type(recording.error).__name__
        click.echo(f"not recorded: {reason} (--no-record leaves it out)", err=True)


def check_targets(json_path: str | None, report_path: str | None) -> None:
    """Raise `Stopped` where a file can never be written: better before a long run than after it."""
    for path in (json_path, report_path):
        _check_target(path)
    if json_path and report_path and Path(json_path).expanduser().resolve() == Path(report_path).expanduser().resolve():
        raise Stopped(f"--json and --report both name {json_path}; give each a file of its own", ExitCode.USAGE)


def _check_target(text: str | None) -> None:
    if text in (None, "-"):
        return
    path = Path(text or "").expanduser()
    if not text or path.is_dir():
        raise Stopped(f"{text!r} is a folder; name a file in it", ExitCode.FAILED)
    there = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    if not there.is_dir():
        raise Stopped(f"{path} cannot be written: {there} is a file, not a folder", ExitCode.FAILED)
    if not os.access(path if path.exists() else there, os.W_OK):
        raise Stopped(f"{path} cannot be written: no permission in {there}; name another place", ExitCode.FAILED)


def _write_whole(path: Path, text: str) -> None:
    """The old file or the new one, never half of either; but what cannot be replaced (a pipe, a device) is written to."""
    target = path.resolve()  # a link stays a link
    if target.exists() and not (target.is_file() and os.access(target.parent, os.W_OK)):
        target.write_text(text, encoding="utf-8")
        return
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


def _ready(text: str | None) -> Path:
    path = Path(text or "").expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
