"""One list of run options: the command line, `backtest()`, `check()` and `RunOptions` name the same arguments."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path

import click
import pytest

import weaver as public
from weaver.cli.backtest import backtest as backtest_command
from weaver.cli.check import check as check_command
from weaver.cli.options import RUN_OPTIONS
from weaver.glados.backtest.options import RunOptions

CONTROL = {"backtest": {"progress", "should_stop", "record"}, "check": {"progress", "cuts", "lookback", "sample_seed"}}
"""Arguments that do not change the run itself."""


def arguments_of(name: str) -> dict[str, object]:
    """Argument -> default of a public function, without the strategy, the bars and the control arguments."""
    parameters = inspect.signature(getattr(public, name)).parameters.values()
    return {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.name not in {"strategy", "bars", *CONTROL[name]}
    }


@pytest.mark.parametrize("name", ["backtest", "check"])
def test_each_signature_has_the_fields_and_defaults_of_run_options(name: str) -> None:
    assert arguments_of(name) == {field.name: field.default for field in fields(RunOptions)}


@pytest.mark.parametrize("name", ["backtest", "check"])
def test_each_signature_matches_the_options_of_the_command_line(name: str) -> None:
    assert {argument for argument, _ in RUN_OPTIONS} == {"bars", *arguments_of(name)}


@pytest.mark.parametrize("command", [backtest_command, check_command], ids=["backtest", "check"])
def test_each_command_offers_every_option_of_the_list(command: click.Command) -> None:
    @click.command()
    def empty() -> None:
        pass

    for _, option in RUN_OPTIONS:
        option(empty)
    wanted = {flag: (option.default, option.help) for option in empty.params for flag in option.opts}
    offered = {
        flag: (option.default, getattr(option, "help", None)) for option in command.params for flag in option.opts
    }
    assert {flag: offered.get(flag) for flag in wanted} == wanted


def test_every_option_reaches_the_run(weaver, buy_once: Path, bars_csv: Path, tmp_path: Path) -> None:
    hours = tmp_path / "hours.csv"
    rows = [f"2024-01-{day:02}T{hour:02}:00Z,100,101,99,100,1" for day in range(1, 11) for hour in range(24)]
    hours.write_text("date,open,high,low,close,volume\n" + "\n".join(rows) + "\n", encoding="utf-8")
    result = tmp_path / "result.json"
    ended = weaver(
        "backtest", buy_once, "--data", bars_csv, "--no-record", "--json", result, "--finer", hours,
        "--maintenance", "0.2", "--leverage", "2", "--spread", "0.001", "--slippage-bps", "10", "--periods-per-year", "250",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    text = result.read_text(encoding="utf-8")
    for part in (
        '"maintenance":0.2',
        '"leverage":2.0',
        '"spread":0.001',
        "drill into 1h bars",
        '"periods_per_year":250.0',
    ):
        assert part in text.replace(": ", ":") or part in text, part
