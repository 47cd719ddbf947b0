"""`weaver demo`: the example strategy on the prices that are included in Weaver. It needs no file and no network."""

from __future__ import annotations

import click

from weaver.cli.backtest import check_targets, records, run, show
from weaver.cli.sources import bars_of

__all__ = ["demo"]


@click.command(short_help="Backtest the example strategy on the included prices.")
@click.option("--report", "report_path", type=click.Path(), default="demo.html", show_default=True, help="Report file.")
@click.option(
    "--json",
    "json_path",
    type=click.Path(),
    metavar="FILE|-",
    help="Write the result as JSON; - writes to standard output.",
)
def demo(report_path: str, json_path: str | None) -> None:
    """Backtest a moving-average crossover on AAPL, 2000 to 2013, and write a report.

    The strategy is the one that `weaver new strategy` creates.
    """
    from weaver.cli.strategy_template import SmaCross

    check_targets(json_path, report_path)
    outcome = run(SmaCross, bars_of(["demo:AAPL"], [], None), {}, commission=0.001, record=records(None))
    show(outcome, json_path, report_path)
