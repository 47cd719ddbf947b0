"""`weaver check`: the look-ahead check from the command line."""

from __future__ import annotations

import warnings
from typing import Any

import click

from weaver.cli.main import ExitCode, Stopped
from weaver.cli.options import RunArguments, run_options
from weaver.cli.output import echo_text, note
from weaver.cli.sources import FILE
from weaver.core.text import brief

__all__ = ["check"]

_RENAMED = {
    "history": "--history now adds bars before --start for the indicators, as in backtest; bars of a live run are "
    "--lookback",
    "seed": "--seed now seeds the strategy's self.random, as in backtest; the seed of the sample of cuts is --sample-seed",
}


@click.command(short_help="Check a strategy for look-ahead.")
@click.argument("strategy", type=FILE)
@run_options
@click.option("--cuts", type=int, help="Largest number of cuts.  [default: all bars up to 2,000, otherwise a sample]")
@click.option(
    "--lookback",
    type=int,
    metavar="BARS",
    help="Number of bars that a live run will have; indicators that depend on more are reported.",
)
@click.option("--sample-seed", type=int, default=0, show_default=True,
              help="Seed of the sample of cuts and of the scrambled bars.")  # fmt: skip
def check(strategy: str, cuts: int | None, lookback: int | None, sample_seed: int, **options: Any) -> ExitCode:
    """Remove and scramble the bars after each bar, and compare STRATEGY's earlier decisions.

    The check also compares repeated runs and restarts. The exit code is 5 when there is a finding. The options of the run
    are those of weaver backtest.
    """
    from weaver.glados.backtest.progress import Progress
    from weaver.glados.lookahead import check as run_check
    from weaver.marvin.loader import load_strategy, parse_params

    context = click.get_current_context()
    for name, sentence in _RENAMED.items():
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            note(sentence)
    arguments = RunArguments.of(options)
    cls = load_strategy(strategy, warn=note)
    with Progress(unit="cuts") as progress, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the notes above, for Python callers
        try:
            report = run_check(
                cls,
                arguments.bars,
                params=parse_params(cls, arguments.params),
                cuts=cuts,
                lookback=lookback,
                sample_seed=sample_seed,
                progress=progress,
                **arguments.settings,
            )
        except KeyboardInterrupt:
            raise Stopped(f"interrupted {progress}; nothing is proved", ExitCode.INTERRUPTED) from None
        except SystemExit as error:
            message = f"{cls.__name__} ended the program, by exit({brief(error.code)}), {progress}; nothing is proved"
            raise Stopped(message, ExitCode.STRATEGY) from None
    echo_text(str(report))
    return ExitCode.DONE if report.passed else ExitCode.CHECK
