"""`weaver check` finds each way to cheat, names its first bar and indicator, and proves that honest strategies are."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from weaver import Strategy, StrategyCrashed, StrategyError, backtest, check, synthetic_bars
from weaver.cli.main import ExitCode, main
from weaver.core.errors import ConfigError
from weaver.core.sessions import session_rows
from weaver.data.load_bars import load_bars
from weaver.glados.lookahead.cuts import choose_cuts, cut_off, scrambled
from weaver.glados.lookahead.outside_state import OutsideState
from weaver.glados.lookahead.report import CheckReport, FindingKind
from weaver.indicators import sma
from weaver.marvin.loader import load_strategy
from weaver.marvin.rounding import values_agree

ROOT = Path(__file__).parents[3]
STRATEGIES = ROOT / "tests" / "fixtures" / "strategies"
MISSING = slice(20, 24)


def bars_of(count: int = 120, seed: int = 1, timeframe: str = "1d") -> pl.DataFrame:
    return synthetic_bars(count, timeframe=timeframe, seed=seed, volatility=0.4).drop("symbol")


def with_signal(count: int = 120) -> pl.DataFrame:
    """A column whose values are missing once."""
    signal = np.sin(np.arange(count) + 1.0)
    signal[MISSING] = np.nan
    return bars_of(count).with_columns(signal=pl.Series(signal))


def several() -> dict[str, pl.DataFrame]:
    """Three symbols: one begins late, one has holes, one ends early."""
    holes = bars_of(120, seed=2).filter(pl.int_range(pl.len()) % 11 != 5)
    return {"A": bars_of(120, seed=1), "B": holes, "C": bars_of(110, seed=3)[9:]}


def nightly() -> pl.DataFrame:
    """Nine hours a day, so that every night is a gap."""
    return bars_of(240, timeframe="1h").filter(pl.int_range(pl.len()) % 24 < 9)


def checked(name: str, bars: object = None, **settings: object) -> CheckReport:
    return check(load_strategy(str(STRATEGIES / f"{name}.py")), bars_of() if bars is None else bars, **settings)  # type: ignore[arg-type]


# Cheats.


@pytest.mark.parametrize(
    ("name", "bars", "bar", "indicator"),
    [
        ("cheat_roll", bars_of, 0, "rolled(-1)"),
        ("cheat_centred", bars_of, 2, "centred(5)"),
        ("cheat_fill_backward", with_signal, MISSING.start, "filled"),
        ("cheat_fill_backward_pandas", with_signal, MISSING.start, "filled"),
        ("cheat_normalised", bars_of, 0, "share_of_highest"),
        ("cheat_zscore", bars_of, 0, "zscore"),
    ],
)
def test_an_indicator_that_cheats_is_named_with_its_first_bar(name, bars, bar, indicator):
    if "pandas" in name:
        pytest.importorskip("pandas")
    report = checked(name, bars())
    first = report.findings[0]
    assert (first.kind, first.bar, first.indicator) == (FindingKind.LOOK_AHEAD, bar, indicator)
    assert first.symbol == "ASSET"
    assert first.instant == datetime(2020, 1, 1 + bar, tzinfo=UTC)
    assert f"cheats: at bar {bar} (2020-01-{1 + bar:02}) indicator {indicator} changes when" in str(report)
    assert not report.ok
    assert not report.proved


def test_the_bars_whose_removal_changes_an_indicator_are_named():
    report = checked("cheat_centred")
    assert report.findings[0].text.startswith(
        "at bar 2 (2020-01-03) indicator centred(5) changes when bar 3 and later are removed (from "
    )


def test_an_honest_indicator_beside_a_cheating_one_is_not_accused_but_one_fed_by_it_is():
    accused = [finding.indicator for finding in checked("cheat_zscore").findings if finding.indicator]
    assert accused == ["zscore", "sma(3)"]
    assert [lookback.indicator for lookback in checked("cheat_zscore").lookbacks] == ["sma(3)"]


@pytest.mark.parametrize(
    ("name", "bars", "earliest"),
    [
        ("cheat_peeking", bars_of, 20),
        ("cheat_peeking_bluntly", bars_of, 0),
        ("cheat_global_frame", bars_of, 0),
        ("cheat_gap_timer", nightly, 8),
        ("cheat_base", nightly, 0),
    ],
)
def test_a_strategy_that_peeks_without_an_indicator_is_caught_by_its_orders(name, bars, earliest):
    report = checked(name, bars())
    (finding,) = report.findings
    assert finding.kind is FindingKind.LOOK_AHEAD
    assert finding.indicator is None
    assert finding.bar is not None
    assert finding.bar >= earliest
    assert "removed" in finding.text or "scrambled" in finding.text


def test_a_peeking_strategy_is_caught_no_later_than_at_the_first_order_that_it_owes_to_the_future():
    closes = bars_of()["close"].to_list()
    first = next(row for row in range(20, 119) if closes[row + 1] > closes[row])
    assert 20 <= checked("cheat_peeking").findings[0].bar <= first


def test_a_peek_that_shows_only_in_a_limit_price_is_caught():
    class Limits(Strategy):
        def on_bar(self, bar):
            column = self.bars.low._array
            row = len(self.bars.low)
            if row == 50:
                self.buy(1, limit=column[row] if row < len(column) else bar.low)

    report = check(Limits, bars_of())
    assert report.findings[0].bar == 49
    assert "buy 1 ASSET limit" in report.findings[0].text


def test_a_peek_that_shows_only_in_a_cancel_is_caught():
    class Cancels(Strategy):
        def on_start(self):
            self.order = None

        def on_bar(self, bar):
            column = self.bars.low._array
            row = len(self.bars.low)
            if row == 30:
                self.order = self.buy(1, limit=bar.close * 0.1)
            if row == 40 and row < len(column):
                self.order.cancel()

    (finding,) = check(Cancels, bars_of()).findings
    assert finding.bar == 39
    assert "it orders cancel order 1, but nothing when bar 40 and later are removed" in finding.text


def test_a_peek_at_a_symbol_that_has_not_begun_is_caught():
    class BeforeItBegins(Strategy):
        def on_bars(self, bars):
            later = self.bars["C"].close._array
            if len(self.bars["C"].close) == 0 and not self.positions["A"] and later[0] > 90:
                self.buy(1, symbol="A")

    bars = several()
    assert bars["C"]["close"][0] > 90
    report = check(BeforeItBegins, bars)
    assert report.findings[0].kind is FindingKind.LOOK_AHEAD


def test_an_indicator_on_resampled_bars_that_cheats_is_named_in_those_bars():
    def last(close):
        return np.full(len(close), close[-1]) if len(close) else close

    class Weekly(Strategy):
        def on_start(self):
            self.indicator(last, self.bars.resample("1w").close)

    (finding,) = check(Weekly, bars_of()).findings
    assert (finding.indicator, finding.timeframe, finding.bar) == ("last", "1w", 0)
    assert "of ASSET@1w" in finding.text


# Honest ones.


@pytest.mark.parametrize(
    ("name", "bars"),
    [
        ("honest_cross", bars_of),
        ("honest_weights", several),
        ("honest_resampled", several),
        ("honest_timers", bars_of),
        ("honest_rounded", bars_of),
    ],
)
def test_an_honest_strategy_is_proved_to_be(name, bars):
    report = checked(name, bars(), commission=0.001)
    assert report.findings == ()
    assert report.ok
    assert report.proved
    assert report.cuts == report.cuts_possible == 119
    assert report.orders > 0
    assert report.fills > 0
    assert str(report).endswith("proved: on these 120 bars no decision uses the future")


def test_the_same_check_twice_gives_the_same_report():
    assert checked("cheat_peeking").to_dict() == checked("cheat_peeking").to_dict()
    assert checked("honest_cross", bars_of(40)) == checked("honest_cross", bars_of(40))


def test_another_rounding_on_longer_columns_is_a_note_and_no_cheat():
    report = checked("honest_rounded")
    assert report.proved
    assert "indicator fft_average(6) rounds differently (by less than 1e-9)" in report.notes[0]


def test_values_agree_within_a_billionth_and_no_further():
    one = np.array([1.0, 1e-2, np.nan, np.inf, 0.0])
    assert values_agree(one, one.copy()).all()
    assert values_agree(one, one * (1 + 5e-10)).all()
    assert not values_agree(one, one * (1 + 5e-9))[:2].any()
    assert not values_agree(one, np.array([2.0, np.nan, 1.0, -np.inf, 1e-6])).any()


def test_a_strategy_without_orders_and_indicators_leaves_nothing_to_judge():
    class Nothing(Strategy):
        pass

    report = check(Nothing, bars_of(30))
    assert report.ok
    assert not report.proved
    assert report.verdict == ("nothing to judge: the strategy gave no order and created no indicator on these bars")


def test_a_strategy_with_indicators_and_no_order_is_judged_by_its_indicators():
    class Watches(Strategy):
        def on_start(self):
            self.mean = self.indicator(sma, self.bars.close, 3)

        def on_bar(self, bar):
            pass

    report = check(Watches, bars_of(30))
    assert report.proved
    assert report.notes == ("the strategy gave no order on these bars; only its indicators were judged",)


def test_the_seed_is_the_strategys_and_sample_seed_draws_the_cuts():
    class Draws(Strategy):
        def on_bar(self, bar):
            if self.random.random() < 0.3:
                self.buy(1)

    bars = bars_of(60)
    with pytest.warns(FutureWarning, match=r"check\(\): seed= now seeds .* is sample_seed="):
        seeded = check(Draws, bars, seed=7, cuts=5)
    assert seeded.fills == len(backtest(Draws, bars, seed=7).fills)
    assert seeded.fills != check(Draws, bars, sample_seed=7, cuts=5).fills
    assert [check(Draws, bars, sample_seed=n, cuts=5).sample_seed for n in (0, 7)] == [0, 7]


def test_finer_bars_are_cut_with_the_others():
    minutes = bars_of(600, timeframe="1m")
    hours = minutes.group_by_dynamic("timestamp", every="1h").agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.col("volume").sum(),
    )

    class Bracket(Strategy):
        def on_bar(self, bar):
            if not self.position and not self.orders:
                self.buy(1, stop_loss=bar.close * 0.999, take_profit=bar.close * 1.001)

    report = check(Bracket, hours, finer=minutes, finalize=True)
    assert report.proved
    assert report.fills == len(backtest(Bracket, hours, finer=minutes, finalize=True).fills) > 2


def test_old_names_of_the_report_warn():
    report = checked("honest_cross", bars_of(40), cuts=5, lookback=9)
    for old, new in (("memory", "lookbacks"), ("history", "lookback"), ("seed", "sample_seed")):
        with pytest.warns(DeprecationWarning, match=f"CheckReport.{old} is now CheckReport.{new}"):
            assert getattr(report, old) == getattr(report, new)


def test_an_at_close_order_in_a_session_whose_last_bars_are_missing_is_no_cheat():
    pytest.importorskip("exchange_calendars")

    class AtClose(Strategy):
        def on_bar(self, bar):
            if not self.position and not self.orders:
                self.buy(1, tif="at_close")

        def on_fill(self, fill):
            self.sell(1, limit=fill.price * 1.01, tif="day", tag=f"from {fill.price:g}")

    opens = [datetime(2024, 7, day, 13, 30, tzinfo=UTC) for day in (8, 9, 10, 11, 12)]
    stamps = [int(day.timestamp()) + minute * 60 for day in opens for minute in range(0, 390, 30)]
    times = pl.Series(stamps).cast(pl.Int64) * 1000
    bars = bars_of(len(stamps), timeframe="30m").with_columns(timestamp=times.cast(pl.Datetime("ms", "UTC")))
    bars = bars.filter(~pl.int_range(pl.len()).is_in([11, 12, 36, 37, 38]))
    assert check(AtClose, bars, calendar="XNYS").proved


class ReactsToItsAtCloseOrder(Strategy):
    def on_bar(self, bar):
        if not self.position and not self.orders:
            self.buy(1, tif="at_close")

    def on_fill(self, fill):
        if fill.side == "buy":
            self.close(tag="at once")


def hong_kong():
    """Half-hour bars of five sessions; the third one has no bars after lunch (12:00 to 13:00 there)."""
    opens = [datetime(2024, 7, day, 1, 30, tzinfo=UTC) for day in (8, 9, 10, 11, 12)]
    slots = [(place, minute) for place in range(5) for minute in (*range(0, 150, 30), *range(210, 390, 30))]
    stamps = [
        int(opens[place].timestamp()) + 60 * minute for place, minute in slots if (place, minute < 150) != (2, False)
    ]
    times = pl.Series(stamps).cast(pl.Int64) * 1000
    return bars_of(len(stamps), timeframe="30m").with_columns(timestamp=times.cast(pl.Datetime("ms", "UTC")))


def test_an_at_close_order_does_not_fill_before_lunch_where_the_afternoon_is_missing():
    pytest.importorskip("exchange_calendars")
    result = backtest(ReactsToItsAtCloseOrder, hong_kong(), calendar="XHKG")
    bought = result.fills.filter(pl.col("side") == "buy")["timestamp"].dt.strftime("%d %H:%M").to_list()
    assert bought
    assert all(text.endswith("07:30") for text in bought), "the last bar of a session begins at 15:30 in Hong Kong"
    assert "expired" in result.orders["status"].to_list()
    assert check(ReactsToItsAtCloseOrder, hong_kong(), calendar="XHKG").proved


def test_sessions_that_look_at_the_next_bar_are_caught(monkeypatch):
    """The control: the rule of version 0.1.0, by which a session closed with the last bar that the data had of it."""
    pytest.importorskip("exchange_calendars")

    def ends_with_its_last_bar(series, calendar):
        rows = session_rows(series, calendar)
        last_row = np.searchsorted(rows.ids, rows.ids, side="right") - 1
        followed = last_row < len(series) - 1
        return replace(rows, close=np.where(followed, series.end[last_row], rows.close))

    monkeypatch.setattr("weaver.greta.market.session_rows", ends_with_its_last_bar)
    result = backtest(ReactsToItsAtCloseOrder, hong_kong(), calendar="XHKG")
    assert "10 03:30" in result.fills["timestamp"].dt.strftime("%d %H:%M").to_list()
    report = check(ReactsToItsAtCloseOrder, hong_kong(), calendar="XHKG")
    assert not report.proved
    assert report.findings[0].kind is FindingKind.LOOK_AHEAD
    assert "at once" in report.findings[0].text


# Twice the same, and started again.


def test_state_on_the_class_is_found_and_named():
    (finding,) = checked("wrong_class_state").findings
    assert finding.kind is FindingKind.NOT_RESTARTABLE
    assert finding.bar == 0
    assert "a run changes the class attribute ClassState._trades; keep all state on self" in finding.text


def test_state_in_a_global_variable_is_found_and_named():
    (finding,) = checked("wrong_global_state").findings
    assert finding.kind is FindingKind.NOT_RESTARTABLE
    assert "the global variable SEEN" in finding.text


def test_state_in_a_closure_is_found_and_named():
    seen: list[float] = []

    class Closure(Strategy):
        def on_bar(self, bar):
            seen.append(bar.close)
            if len(seen) == 10:
                self.buy(1)

    (finding,) = check(Closure, bars_of(40)).findings
    assert finding.kind is FindingKind.NOT_RESTARTABLE
    assert "the variable seen around" in finding.text
    assert seen == []


def test_unseeded_random_orders_are_found_and_not_called_look_ahead():
    (finding,) = checked("wrong_random").findings
    assert finding.kind is FindingKind.NOT_REPEATABLE
    assert "draw from self.random" in finding.text


def test_an_unseeded_random_indicator_is_found_while_the_rest_is_still_judged():
    report = checked("wrong_random_indicator")
    (finding,) = report.findings
    assert finding.kind is FindingKind.NOT_REPEATABLE
    assert "indicator noisy" in finding.text
    assert report.cuts == report.cuts_possible


def test_chance_that_shows_only_on_a_cut_is_not_called_look_ahead():
    drawn = iter(range(10**9))

    class Rarely(Strategy):
        def on_bar(self, bar):
            if next(drawn) == 1_000:
                self.buy(1)

    kinds = {finding.kind for finding in check(Rarely, bars_of(60)).findings}
    assert kinds == {FindingKind.NOT_REPEATABLE}


def test_a_check_leaves_globals_and_classes_as_they_were():
    strategy = load_strategy(str(STRATEGIES / "cheat_global_frame.py"))
    space = strategy.on_bar.__globals__
    before = space["FRAME"]
    check(strategy, bars_of(20))
    assert space["FRAME"] is before
    assert before == {}


def test_outside_state_is_put_back_wherever_it_was_kept():
    ground = [1, [2, 3]]
    calls = 0

    class Keeps(Strategy):
        _count = 0
        _table = (1, 2)

        def on_bar(self, bar, memory={"bars": 0}):  # noqa: B006
            nonlocal calls
            calls += 1
            type(self)._count += 1
            type(self)._new = True
            memory["bars"] += 1
            ground[1].append(calls)
            DRAWN.random()

    outside = OutsideState(Keeps)
    state = DRAWN.bit_generator.state
    Keeps().on_bar(None)
    assert set(outside.changed()) == {
        "the class attribute Keeps._count",
        "the class attribute Keeps._new",
        "a default argument of " + Keeps.on_bar.__qualname__,
        "the variable calls around " + Keeps.on_bar.__qualname__,
        "the variable ground around " + Keeps.on_bar.__qualname__,
        "the global variable DRAWN",
    }
    outside.restore()
    assert outside.changed() == ()
    assert (Keeps._count, hasattr(Keeps, "_new"), calls, ground) == (0, False, 0, [1, [2, 3]])
    assert Keeps.on_bar.__defaults__ == ({"bars": 0},)
    assert DRAWN.bit_generator.state == state


DRAWN = np.random.default_rng(5)


# Failing.


def test_an_indicator_that_needs_a_longer_history_is_a_finding_with_its_message():
    report = checked("wrong_short_input", bars_of(60))
    (finding,) = report.findings
    assert finding.kind is FindingKind.FAILS
    assert finding.text.startswith("on the first 1 to 7 bars alone (7 of 59 cuts) on_start raises StrategyError: ")
    assert "it returned shape (15,) for 1 bars" in finding.text
    assert not report.proved


def test_a_strategy_that_fails_on_all_bars_raises_as_in_a_backtest():
    class Broken(Strategy):
        def on_bar(self, bar):
            raise ValueError("no")

    with pytest.raises(StrategyCrashed, match="ValueError: no"):
        check(Broken, bars_of(20))


def test_wrong_calls_are_refused_by_name():
    with pytest.raises(StrategyError, match="not a strategy class"):
        check(3, bars_of(20))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="cuts=0"):
        checked("honest_cross", cuts=0)
    for name, value in (("cuts", "9"), ("cuts", 2.5), ("lookback", True)):
        with pytest.raises(ConfigError, match=rf"^{name}={value!r}: must be a whole number$"):
            checked("honest_cross", **{name: value})
    with pytest.raises(ConfigError, match="cash=-1"):
        checked("honest_cross", cash=-1)


# Cuts.


def test_only_where_every_bar_was_cut_it_says_proved():
    report = checked("honest_cross", bars_of(200), cuts=40)
    assert report.ok
    assert not report.proved
    assert report.cuts == 40
    assert report.edges + report.sample == 40
    assert f"a sample of {report.sample} (seed 0)" in report.verdict
    assert "proved" not in str(report)


def test_every_edge_of_missing_values_is_cut_beyond_the_limit():
    bars = with_signal(2_600)
    series = load_bars(bars)
    ticks = np.unique(series["ASSET"].end)
    cuts = choose_cuts(series, ticks, [], None, None, 7)
    assert not cuts.complete
    assert {MISSING.start - 1, MISSING.start, MISSING.stop - 1, MISSING.stop} <= set(cuts.rows)
    assert cuts.sample == 200
    assert len(cuts.rows) == cuts.edges + cuts.sample
    assert choose_cuts(series, ticks, [], None, None, 7) == cuts
    assert choose_cuts(series, ticks, [], None, None, 8).rows != cuts.rows
    assert choose_cuts(series, ticks[:2_001], [], None, None, 7).complete


def test_gaps_and_symbols_that_come_and_go_are_edges():
    series = load_bars({"A": bars_of(), "B": bars_of().filter(pl.int_range(120) != 45), "C": bars_of()[60:110]})
    ticks = np.unique(np.concatenate([one.end for one in series.values()]))
    cuts = choose_cuts(series, ticks, [], None, 40, 0)
    assert {44, 45, 46} | {59, 60} | {109, 110} <= set(cuts.rows)
    assert cuts.edges == cuts.edges_found == 10 + 7


def test_a_cheat_at_one_rare_place_is_caught_in_a_sample():
    signal = np.ones(400)
    signal[300:303] = np.nan
    signal[303] = -1.0
    report = checked("cheat_fill_backward", bars_of(400).with_columns(signal=pl.Series(signal)), cuts=60)
    assert report.findings[0].bar == 300


@pytest.mark.parametrize("keep", [0, 1, 57, 119, 120])
def test_scrambled_bars_are_bars_and_leave_the_past_as_it_was(keep):
    series = load_bars(with_signal())
    one = series["ASSET"]
    tick = int(one.end[keep - 1]) if keep else int(one.start[0])
    made = scrambled(series, tick, np.random.default_rng(3))["ASSET"]
    for name, column in made.columns().items():
        assert column[:keep].tobytes() == one.columns()[name][:keep].tobytes()
    assert (made.start == one.start).all()
    assert (made.low > 0).all()
    assert (made.low <= np.minimum(made.open, made.close)).all()
    assert (made.high >= np.maximum(made.open, made.close)).all()
    assert (made.close[keep:] != one.close[keep:]).all()
    again = scrambled(series, tick, np.random.default_rng(3))["ASSET"]
    assert again.close.tobytes() == made.close.tobytes()


def test_scrambled_prices_may_be_negative_where_prices_are():
    frame = bars_of(60)
    one = load_bars(frame)["ASSET"]
    prices = {name: getattr(one, name) - one.close.mean() for name in ("open", "high", "low", "close")}
    series = {"ASSET": replace(one, **prices)}
    made = scrambled(series, int(series["ASSET"].end[20]), np.random.default_rng(3))["ASSET"]
    assert (made.low <= np.minimum(made.open, made.close)).all()
    assert np.isfinite(made.close).all()


def test_cut_bars_end_at_the_tick_and_a_symbol_to_come_keeps_a_bar_of_another_price():
    series = load_bars(several())
    tick = int(series["A"].end[4])
    left = cut_off(series, tick, np.random.default_rng(0))
    assert len(left["A"]) == 5
    assert len(left["C"]) == 1
    assert left["C"].start[0] == series["C"].start[0]
    assert left["C"].close[0] != series["C"].close[0]


# Lookback.


def test_how_much_history_indicators_need_is_told():
    report = checked("honest_memories", bars_of(400), cuts=5)
    needs = {lookback.indicator: lookback.bars for lookback in report.lookbacks}
    assert needs["sma(7)"] == 7
    assert 30 < needs["ema(5)"] < 80
    assert needs["cumsum"] is None
    assert needs["slow"] is None
    assert [lookback.indicator for lookback in report.lookbacks if lookback.short] == ["cumsum", "slow"]
    assert "more than these bars: cumsum, slow" in str(report)


def test_what_remembers_longer_than_the_history_given_is_named():
    report = checked("honest_memories", bars_of(400), cuts=5, lookback=20)
    assert [lookback.indicator for lookback in report.lookbacks if lookback.short] == ["ema(5)", "cumsum", "slow"]
    assert "more than the 20 bars of --lookback: ema(5)" in str(report)


def test_what_a_symbol_that_ends_early_or_is_short_needs_is_measured_where_it_has_bars():
    class Own(Strategy):
        def on_start(self):
            for symbol in self.symbols:
                self.indicator(sma, self.bars[symbol].close, 7, name=f"sma {symbol}")
                self.indicator(np.cumsum, self.bars[symbol].close, name=f"sum {symbol}")

    bars = {"LONG": bars_of(200), "ENDS": bars_of(200)[:120], "STARTS": bars_of(200)[90:], "SHORT": bars_of(200)[20:28]}
    needs = {lookback.indicator: lookback.bars for lookback in check(Own, bars, cuts=5).lookbacks}
    for symbol in ("LONG", "ENDS", "STARTS"):
        assert (needs[f"sma {symbol}"], needs[f"sum {symbol}"]) == (7, None)
    assert needs["sma SHORT"] is None, "eight bars, the last two of which need all that is before them"


def test_an_indicator_that_never_had_a_value_is_not_thought_to_need_one_bar():
    class Early(Strategy):
        def on_start(self):
            self.short = self.indicator(sma, self.bars.close, 3)
            self.long = self.indicator(sma, self.bars.close, 30)

    report = check(Early, bars_of(12))
    assert {lookback.indicator: lookback.bars for lookback in report.lookbacks} == {"sma(3)": 3, "sma(30)": None}
    assert "sma(30): all of these, or more" in str(report)
    assert "more than these bars: sma(30)" in str(report)


def test_a_signal_that_is_mostly_zero_is_not_thought_to_need_no_history():
    def crossed(close):
        above = np.nan_to_num(sma(close, 30), nan=np.inf) < close
        return np.r_[0.0, np.diff(above.astype(float))]

    class Signal(Strategy):
        def on_start(self):
            self.indicator(crossed, self.bars.close)
            self.mean = self.indicator(sma, self.bars.close, 30)

    needs = {lookback.indicator: lookback.bars for lookback in check(Signal, bars_of(300), cuts=5).lookbacks}
    assert needs["sma(30)"] == 30
    assert needs["crossed"] == 31  # today's average of 30 bars and yesterday's


# What a person and a program see.


def test_progress_goes_to_the_end():
    seen: list[tuple[int, int]] = []
    checked("honest_cross", bars_of(20), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 19) for done in range(1, 20)]


def test_what_a_strategy_prints_is_dropped(capsys):
    class Talks(Strategy):
        def on_bar(self, bar):
            print(bar)

    check(Talks, bars_of(10))
    assert capsys.readouterr().out == ""


def test_a_report_can_be_written_as_json():
    report = checked("cheat_centred")
    values = json.loads(json.dumps(report.to_dict()))
    assert values["ok"] is False
    assert values["params"] == {"width": 5}
    assert values["first"] == "2020-01-01T00:00:00Z"
    assert values["findings"][0]["kind"] == "look-ahead"
    assert values["findings"][0]["instant"] == "2020-01-03T00:00:00Z"
    assert values["verdict"] == report.verdict


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("cheat_roll", ExitCode.CHECK, "cheats: at bar 0 (2020-01-01) indicator rolled(-1)"),
        ("cheat_centred", ExitCode.CHECK, "cheats: at bar 2 (2020-01-03) indicator centred(5)"),
        ("cheat_fill_backward", ExitCode.CHECK, f"cheats: at bar {MISSING.start} (2020-01-21) indicator filled"),
        ("honest_cross", ExitCode.DONE, "proved: on these 120 bars no decision uses the future"),
    ],
)
def test_the_command_catches_cheats_and_passes_an_honest_strategy(name, code, says, tmp_path, capsys):
    path = tmp_path / "bars.parquet"
    with_signal().write_parquet(path)
    assert main(["check", str(STRATEGIES / f"{name}.py"), "--data", str(path)]) == code
    assert says in capsys.readouterr().out


DOCUMENTED = re.findall(
    r"```console\n\$ weaver ([^\n]*)\n(.*?)```", (ROOT / "docs" / "checking.md").read_text(), re.DOTALL
)


@pytest.mark.parametrize(("command", "output"), DOCUMENTED)
def test_what_the_documentation_shows_is_what_the_command_prints(command, output, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    main(command.split())
    assert capsys.readouterr().out == output
