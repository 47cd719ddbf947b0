"""history=: bars before the start feed indicators and views; on_bar, orders, equity and statistics begin at the start."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from weaver import ConfigError, NaiveDatetimeError, Strategy, backtest, check, shipped_bars, synthetic_bars
from weaver.cli.main import main
from weaver.indicators import sma

BARS = synthetic_bars(120, timeframe="1d", seed=3, start=datetime(2024, 1, 1, tzinfo=UTC)).drop("symbol")
START = datetime(2024, 3, 1, tzinfo=UTC)  # row 60


class Watch(Strategy):
    """Records each call; buys once, at the first bar it is called for."""

    days: int = 50

    def on_start(self):
        self.seen = []
        self.average = self.indicator(sma, self.bars.close, self.days)
        self.weekly = self.bars.resample("1w")
        self.at_start = (len(self.bars.close), self.average[-1] if len(self.average) else None, len(self.weekly.close))

    def on_bar(self, bar):
        self.seen.append((bar.ts, len(self.bars.close), self.average[-1]))
        if not self.position:
            self.buy(1)

    def on_stop(self):
        type(self)._last = self  # for the tests


def run(**options):
    result = backtest(Watch, options.pop("bars", BARS), start=START, **options)
    return result, Watch._last


def test_history_feeds_indicators_and_on_bar_is_not_called_for_it() -> None:
    result, strategy = run(history=50)
    closes = BARS["close"].to_numpy()
    first_ts, length, average = strategy.seen[0]
    assert first_ts == START
    assert length == 51
    assert average == pytest.approx(closes[11:61].mean(), rel=1e-12)
    assert strategy.at_start[:2] == (50, pytest.approx(closes[10:60].mean(), rel=1e-12))
    assert strategy.at_start[2] > 0
    assert [ts for ts, _, _ in strategy.seen][-1] == datetime(2024, 4, 29, tzinfo=UTC)
    assert len(strategy.seen) == 60 == result.bars
    assert not any("history" in warning for warning in result.warnings)


def test_the_result_covers_the_run_and_not_its_history() -> None:
    result, _ = run(history=50)
    assert len(result.equity) == 60
    assert min(fill.ts for fill in result.record.fills) >= START
    series = result.record.series["ASSET"]
    assert len(series) == 60
    assert all(len(plot.values) == (60 if plot.ts is None else len(plot.ts)) for plot in result.record.plots)


def test_without_history_the_indicators_warm_up_in_the_run_and_a_warning_names_the_cure() -> None:
    result, strategy = run()
    assert strategy.seen[0][0] == datetime(2024, 4, 19, tzinfo=UTC)
    (warning,) = [warning for warning in result.warnings if "history=" in warning]
    assert warning.startswith("indicators needed the first 49 bars of ASSET after start=")
    assert "history=49 (--history 49)" in warning


def test_an_instant_and_a_number_that_mean_the_same_give_the_same_run() -> None:
    by_number, _ = run(history=50)
    for instant in (datetime(2024, 1, 11, tzinfo=UTC), "2024-01-11", "2024-01-11T00:00Z"):
        by_instant, _ = run(history=instant)
        assert by_instant.equity.equals(by_number.equity)
        assert by_instant.settings["history"] == by_number.settings["history"] == "2024-01-11T00:00:00Z"


def test_history_longer_than_the_bars_takes_what_there_is() -> None:
    result, strategy = run(history=10_000)
    assert strategy.seen[0][1] == 61
    assert result.settings["history"] == "2024-01-01T00:00:00Z"


def test_history_of_nothing_is_the_same_as_none() -> None:
    none, _ = run()
    zero, _ = run(history=0)
    assert zero.equity.equals(none.equity)


def test_several_symbols_each_have_their_history_and_one_that_starts_late_has_less() -> None:
    class Both(Strategy):
        def on_start(self):
            self.lengths = {symbol: len(self.bars[symbol].close) for symbol in self.symbols}
            self.first = {}

        def on_bar(self, bar):
            self.first.setdefault(bar.symbol, (bar.ts, len(self.bars[bar.symbol].close)))

        def on_bars(self, bars):
            self.target_weights({symbol: 0.4 for symbol in self.symbols if len(self.bars[symbol].close)})

        def on_stop(self):
            type(self)._last = self

    bars = {"A": BARS, "B": BARS[50:], "C": BARS[70:]}
    result = backtest(Both, bars, start=START, history=30)
    strategy = Both._last
    assert strategy.lengths == {"A": 30, "B": 10, "C": 0}
    assert strategy.first == {
        "A": (START, 31),
        "B": (START, 11),
        "C": (datetime(2024, 3, 11, tzinfo=UTC), 1),
    }
    assert result.bars == 60 + 60 + 50
    assert min(fill.ts for fill in result.record.fills) >= START


def test_orders_of_on_start_fill_at_the_first_bar_of_the_run() -> None:
    class Early(Strategy):
        def on_start(self):
            self.target(weight=0.5)

        def on_bar(self, bar):
            pass

    (fill,) = backtest(Early, BARS, start=START, history=5).record.fills
    assert fill.price == BARS["open"][60]
    assert fill.ts == START


def test_a_moving_average_of_200_days_trades_from_the_start_with_history() -> None:
    class Trend(Strategy):
        def on_start(self):
            self.average = self.indicator(sma, self.bars.close, 200)

        def on_bar(self, bar):
            if bar.close > self.average[-1] and not self.position:
                self.target(weight=1.0)
            elif bar.close < self.average[-1] and self.position:
                self.close()

    late = backtest(Trend, shipped_bars("AAPL"), start="2010-01-01")
    early = backtest(Trend, shipped_bars("AAPL"), start="2010-01-01", history=200)
    assert late.record.fills[0].ts >= datetime(2010, 10, 1, tzinfo=UTC)
    assert early.record.fills[0].ts == datetime(2010, 1, 5, tzinfo=UTC)


def test_check_judges_a_run_with_history() -> None:
    class Peeks(Strategy):
        def on_start(self):
            closes = self.indicator(lambda close: np.r_[close[1:], close[-1]], self.bars.close, name="next")
            self.average = self.indicator(sma, closes, 3)

        def on_bar(self, bar):
            if self.average[-1] > bar.close and not self.position:
                self.buy(1)

    with pytest.warns(FutureWarning, match=r"check\(\): history= now adds bars before start="):
        honest = check(Watch, BARS, start=START, history=50)
    assert honest.proved
    assert honest.bars == 60
    with pytest.warns(FutureWarning):
        assert not check(Peeks, BARS, start=START, history=50).ok


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"history": 5}, "history=5 is the bars before start=, which is missing"),
        ({"history": -1, "start": START}, "history=-1: give a number of bars"),
        ({"history": True, "start": START}, "history=True: give a number of bars"),
        ({"history": "2025-01-01", "start": START}, "is after start="),
    ],
)
def test_a_history_that_cannot_be_is_refused(options, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        backtest(Watch, BARS, **options)


def test_a_naive_instant_is_refused() -> None:
    with pytest.raises(NaiveDatetimeError):
        backtest(Watch, BARS, start=START, history=datetime(2024, 1, 11))


@pytest.mark.parametrize(("text", "first"), [("50", "2024-01-11"), ("2024-01-21", "2024-01-21")])
def test_the_command_line_takes_a_number_or_a_time(text: str, first: str, tmp_path, capsys) -> None:
    path = tmp_path / "watch.py"
    path.write_text(
        "from weaver import Strategy\n\nclass Buy(Strategy):\n    def on_bar(self, bar):\n        self.target(quantity=1)\n"
    )
    BARS.write_parquet(tmp_path / "bars.parquet")
    arguments = ["--data", str(tmp_path / "bars.parquet"), "--start", "2024-03-01", "--history", text]
    assert main(["backtest", str(path), *arguments, "--no-record", "--json", "-"]) == 0
    assert f'"history":"{first}T00:00:00Z"' in capsys.readouterr().out.replace(": ", ":")
    assert main(["check", str(path), *arguments, "--cuts", "3"]) == 0
    assert capsys.readouterr().err.startswith("note: --history now adds bars before --start")
