"""The options of a run on the command line, listed once for every command that runs a strategy.

Each entry of `RUN_OPTIONS` names the argument of `weaver.backtest` and `weaver.check` that the option sets. A test compares
these names with both signatures, so that a new argument cannot be forgotten here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from weaver.cli.sources import DATA_HELP, FILE, bars_of, pairs_of

__all__ = ["RUN_OPTIONS", "RunArguments", "run_options"]

_Command = Callable[..., Any]

TIME_UNITS = ("s", "ms", "us", "ns", "excel", "matlab")
"""Values of `weaver.data.numeric_times.TimeUnit`, written out so that a help text loads no data module."""

RUN_OPTIONS: Sequence[tuple[str, Callable[[_Command], _Command]]] = (
    ("bars", click.option("--data", "-d", "data", multiple=True, required=True, type=FILE, metavar="SOURCE",
                          help=DATA_HELP)),
    ("symbols", click.option("--symbol", "-s", "symbols", multiple=True, metavar="SYMBOL",
                             help="Use this symbol only. Repeat for several, in the order of the run.")),
    ("timeframe", click.option("--timeframe", "-t", metavar="TIMEFRAME",
                               help="Length of a bar, such as 1m, 1h or 1d.  [default: from the data]")),
    ("start", click.option("--start", metavar="TIME",
                           help="Start of the period, inclusive: a date, or a time with its offset (2020-01-01T14:30Z).")),
    ("history", click.option("--history", metavar="BARS|TIME",
                             help="Bars before --start that indicators include: a number, or the time of the first one.")),
    ("end", click.option("--end", metavar="TIME", help="End of the period, exclusive.")),
    ("tz", click.option("--tz", metavar="ZONE", help="Time zone of timestamps without one, such as America/New_York.")),
    ("time_unit", click.option("--time-unit", type=click.Choice(TIME_UNITS), metavar="UNIT",
                               help="Unit of timestamps that are numbers: s, ms, us, ns, excel or matlab.  "
                                    "[default: by their size, where clear]")),
    ("calendar", click.option("--calendar", metavar="NAME", help="Exchange whose sessions the bars follow, such as XNYS.")),
    ("cash", click.option("--cash", type=float, default=100_000, show_default=True, help="Starting cash.")),
    ("commission", click.option("--commission", type=float, default=0.0, show_default=True,
                                help="Commission as a fraction of the notional: 0.001 is 0.1 %.")),
    ("slippage", click.option("--slippage-bps", type=float, default=0.0, show_default=True,
                              help="Slippage of market and stop orders, in basis points (0.01 %).")),
    ("spread", click.option("--spread", type=float, help="Bid-ask spread as a fraction of the price.  [default: 0]")),
    ("leverage", click.option("--leverage", type=float, default=1.0, show_default=True,
                              help="Largest gross exposure, as a multiple of equity.")),
    ("cash_only", click.option("--cash-only", is_flag=True, help="Forbid short positions and borrowing.")),
    ("maintenance", click.option("--maintenance", type=float,
                                 help="Liquidate when equity falls below this fraction of the exposure.  [default: off]")),
    ("borrow", click.option("--borrow", type=float, default=0.0, show_default=True,
                            help="Yearly rate for short positions: 0.03 is 3 %.")),
    ("financing", click.option("--financing", type=float, default=0.0, show_default=True,
                               help="Yearly rate for borrowed cash.")),
    ("volume_cap", click.option("--volume-cap", type=float,
                                help="Fill at most this fraction of a bar's volume.  [default: no cap]")),
    ("limit_fill", click.option("--limit-fill", type=click.Choice(["touch", "through"]), default="touch",
                                show_default=True, help="Fill a limit order at its price, or only beyond it.")),
    ("intrabar", click.option("--intrabar", type=click.Choice(["worst", "best"]), default="worst", show_default=True,
                              help="Exit that fills where a bar reached two of them.")),
    ("finer", click.option("--finer", multiple=True, type=FILE, metavar="SOURCE",
                           help="Bars of a smaller timeframe that decide which of two exits was reached first.")),
    ("finalize", click.option("--finalize", is_flag=True, help="Close open positions at the last close.")),
    ("instrument", click.option("--lot", metavar="SIZE", help="Smallest quantity, such as 1.  [default: 0.00000001]")),
    ("instrument", click.option("--price-step", metavar="SIZE",
                                help="Smallest price change, such as 0.01.  [default: any]")),
    ("instrument", click.option("--quote", metavar="CURRENCY",
                                help="Currency of the prices, such as USD.  [default: from a name such as EURUSD]")),
    ("periods_per_year", click.option("--periods-per-year", type=float, metavar="NUMBER",
                                      help="Sessions in a year, for annualised statistics.  [default: from the data]")),
    ("params", click.option("--param", "-p", "params", multiple=True, metavar="NAME=VALUE",
                            help="Set a parameter of the strategy. Repeat for several.")),
    ("seed", click.option("--seed", type=int, default=0, show_default=True, help="Seed of the strategy's self.random.")),
)  # fmt: skip
"""(argument of `weaver.backtest`, option that sets it), in the order of the help text."""


def run_options(command: _Command) -> _Command:
    """Add all options of `RUN_OPTIONS` to a click command."""
    for _, option in reversed(RUN_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class RunArguments:
    """The arguments of `weaver.backtest` or `weaver.check` that the options of one command line stand for.

    `params` are still text: only the strategy class knows their types.
    """

    bars: Any
    params: Mapping[str, str]
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> RunArguments:
        """Convert the values of the options in `RUN_OPTIONS`. Raises `click.UsageError` for sources that do not combine."""
        settings = dict(options)
        data, symbols, finer = settings.pop("data"), settings.pop("symbols"), settings.pop("finer")
        params = pairs_of(settings.pop("params"))
        lot, price_step, quote = settings.pop("lot"), settings.pop("price_step"), settings.pop("quote")
        if lot is not None or price_step is not None or quote is not None:
            from weaver.core.instrument import Instrument

            settings["instrument"] = Instrument(lot=lot or "0.00000001", price_step=price_step, quote=quote)
        slippage_bps = settings.pop("slippage_bps")
        if slippage_bps:
            settings["slippage"] = slippage_bps / 10_000
        if finer:
            settings["finer"] = bars_of(finer, symbols, None)
        history = settings["history"]
        if history is not None and history.strip().isdecimal():
            settings["history"] = int(history)
        settings["symbols"] = list(symbols) or None
        return cls(bars_of(data, symbols, settings["timeframe"]), params, settings)
