"""`weaver check`: the proof that a strategy does not look ahead, from the command line."""

from __future__ import annotations

from typing import Any

import click

from weaver.cli.main import ExitCode, Stopped
from weaver.cli.sources import DATA_HELP, FILE, bars_of, pairs_of

__all__ = ["check"]


@click.command(short_help="Prove on data that a strategy does not look ahead.")
@click.argument("strategy", type=FILE)
@click.option("--data", "-d", "data", multiple=True, required=True, type=FILE, metavar="SOURCE", help=DATA_HELP)
@click.option("--symbol", "-s", "symbols", multiple=True, help="Only this symbol; repeat for several, in their order.")
@click.option("--timeframe", "-t", help="The length of a bar, such as 1m, 1h or 1d.  [default: from the data]")
@click.option("--start", help="First bar that is used: a date, or a time with its offset (2020-01-01T14:30Z).")
@click.option("--end", help="The bar that is no longer used.")
@click.option("--tz", metavar="ZONE", help="The time zone of bars that carry none, such as America/New_York.")
@click.option("--calendar", metavar="NAME", help="Bars follow this exchange's sessions, such as XNYS.")
@click.option("--cash", type=float, default=100_000, show_default=True, help="What the account starts with.")
@click.option("--param", "-p", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the strategy.")
@click.option("--cuts", type=int, help="At most so many cuts.  [default: every bar up to 2,000, then a sample]")
@click.option("--history", type=int, help="How many bars a live run would be shown: what remembers longer is reported.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seeds the sample and the made-up future.")
def check(
    strategy: str,
    data: tuple[str, ...],
    symbols: tuple[str, ...],
    timeframe: str | None,
    params: tuple[str, ...],
    **settings: Any,
) -> ExitCode:
    """Cut off and scramble the future, and see whether STRATEGY's past changes.

    Also: two runs must agree, and a restart must find the same state. Ends with exit code 5 where something is wrong.
    """
    from weaver.glados.backtest.progress import Progress
    from weaver.glados.lookahead import check as run_check
    from weaver.marvin.loader import load_strategy, parse_params

    texts = pairs_of(params)
    cls = load_strategy(strategy)
    bars = bars_of(data, symbols, timeframe)
    with Progress(unit="cuts") as progress:
        try:
            found = run_check(
                cls,
                bars,
                params=parse_params(cls, texts),
                symbols=list(symbols) or None,
                timeframe=timeframe,
                progress=progress,
                **settings,
            )
        except KeyboardInterrupt:
            raise Stopped(f"interrupted {progress}; nothing is proved", ExitCode.INTERRUPTED) from None
        except SystemExit as error:
            told = f"{cls.__name__} ended the program, by exit({error.code!r}), {progress}; nothing is proved"
            raise Stopped(told, ExitCode.STRATEGY) from None
    click.echo(str(found))
    return ExitCode.DONE if found.passed else ExitCode.CHECK
