"""Agreement with TA-Lib on real prices; where the two differ on purpose, the test says how."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from weaver.indicators import (
    adx,
    atr,
    bollinger,
    cci,
    directional,
    donchian,
    ema,
    highest,
    lowest,
    macd,
    momentum,
    obv,
    roc,
    rsi,
    sma,
    stdev,
    stochastic,
    true_range,
    wma,
)

talib = pytest.importorskip("talib")
Columns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
FILES = ("us_daily_GOOG_2004_2013", "crypto_BTCPERP_1m_2022_01", "walk")


@pytest.fixture(params=FILES)
def bars(request: pytest.FixtureRequest) -> Columns:
    """high, low, close, volume; the synthetic walk is there on every machine."""
    if request.param == "walk":
        rng = np.random.default_rng(5)
        close = 1000.0 + np.cumsum(rng.normal(size=3000))
        return close + rng.random(3000), close - rng.random(3000), close, rng.random(3000) * 1000.0
    folder: Path = request.getfixturevalue("test_data")
    frame = pl.read_parquet(folder / "clean" / f"{request.param}.parquet").head(20_000)
    high, low, close, volume = (frame[name].to_numpy() for name in ("high", "low", "close", "volume"))
    return high, low, close, volume


def agree(ours: np.ndarray, theirs: np.ndarray, *, rel: float = 1e-9, offset: float = 1e-7) -> None:
    """The same warm-up and the same numbers."""
    np.testing.assert_allclose(ours, theirs, rtol=rel, atol=offset, equal_nan=True)


@pytest.mark.parametrize("period", [2, 10, 30, 200])
def test_averages_and_extremes_agree_from_the_first_value_on(bars: Columns, period: int) -> None:
    _, _, close, _ = bars
    agree(sma(close, period), talib.SMA(close, period))
    agree(ema(close, period), talib.EMA(close, period))
    agree(wma(close, period), talib.WMA(close, period))
    agree(highest(close, period), talib.MAX(close, period))
    agree(lowest(close, period), talib.MIN(close, period))
    agree(momentum(close, period), talib.MOM(close, period))
    agree(roc(close, period), talib.ROC(close, period))


@pytest.mark.parametrize("period", [5, 20, 50])
def test_deviations_agree_from_the_first_value_on_within_what_talib_loses(bars: Columns, period: int) -> None:
    _, _, close, _ = bars
    # TA-Lib's E[x^2] - E[x]^2 keeps about 1e-16 * price^2 of variance, the square root of that in the deviation.
    lost = 1e-7 * float(close.max())
    agree(stdev(close, period), talib.STDDEV(close, period), offset=lost)
    for ours, theirs in zip(bollinger(close, period, 2.5), talib.BBANDS(close, period, 2.5, 2.5), strict=True):
        agree(ours, theirs, offset=3 * lost)


@pytest.mark.parametrize("period", [2, 14, 30])
def test_wilders_averages_agree_from_the_first_value_on(bars: Columns, period: int) -> None:
    high, low, close, _ = bars
    agree(rsi(close, period), talib.RSI(close, period))
    agree(atr(high, low, close, period), talib.ATR(high, low, close, period))
    agree(true_range(high, low, close), talib.TRANGE(high, low, close))


def test_donchian_agrees_with_the_extremes_of_talib(bars: Columns) -> None:
    high, low, _, _ = bars
    upper, middle, lower = donchian(high, low, 20)
    agree(upper, talib.MAX(high, 20))
    agree(lower, talib.MIN(low, 20))
    agree(middle, talib.MIDPRICE(high, low, 20))


def test_obv_agrees_from_the_first_value_on(bars: Columns) -> None:
    _, _, close, volume = bars
    agree(obv(close, volume), talib.OBV(close, volume), offset=1e-3)


def test_stochastic_agrees_except_where_the_window_has_no_range(bars: Columns) -> None:
    high, low, close, _ = bars
    k, d = stochastic(high, low, close, 14, 3, 3)
    their_k, their_d = talib.STOCH(high, low, close, 14, 3, 0, 3, 0)
    flat = highest(high, 14) == lowest(low, 14)
    near_flat = np.convolve(flat, np.ones(5), mode="full")[: len(flat)] > 0  # 3 bars of %K and 3 of %D see it
    show = ~np.isnan(their_k) & ~near_flat
    agree(k[show], their_k[show], offset=1e-6)
    agree(d[show], their_d[show], offset=1e-6)
    assert int(np.isnan(k).sum()) == 15  # TA-Lib hides %K until %D is there, two bars later


def test_cci_agrees_wherever_the_window_is_not_flat_but_for_rounding(bars: Columns) -> None:
    high, low, close, _ = bars
    ours, theirs = cci(high, low, close, 20), talib.CCI(high, low, close, 20)
    flat = highest(high, 20) - lowest(low, 20) < 1e-9 * close
    agree(np.where(flat, 0.0, ours), np.where(flat, 0.0, theirs), offset=1e-5)


def test_macd_starts_its_fast_average_earlier_and_agrees_once_the_start_has_faded(bars: Columns) -> None:
    _, _, close, _ = bars
    later = slice(400, None)
    for ours, theirs in zip(macd(close), talib.MACD(close), strict=True):
        agree(ours[later], theirs[later])
    assert int(np.isnan(macd(close)[0]).sum()) == 25
    assert int(np.isnan(talib.MACD(close)[0]).sum()) == 33


def test_adx_starts_from_one_value_more_and_agrees_once_the_start_has_faded(bars: Columns) -> None:
    high, low, close, _ = bars
    later = slice(700, None)
    plus, minus = directional(high, low, close, 14)
    agree(plus[later], talib.PLUS_DI(high, low, close, 14)[later])
    agree(minus[later], talib.MINUS_DI(high, low, close, 14)[later])
    agree(adx(high, low, close, 14)[later], talib.ADX(high, low, close, 14)[later])
    assert np.isnan(adx(high, low, close, 14)[:27]).all()
    assert np.isnan(talib.ADX(high, low, close, 14)[:27]).all()
    assert not np.isnan(adx(high, low, close, 14)[27:]).any()


def test_where_nothing_moves_talib_says_zero_and_ours_says_the_middle() -> None:
    flat = np.full(40, 7.0)
    assert (rsi(flat, 14)[-1], talib.RSI(flat, 14)[-1]) == (50.0, 0.0)
    assert (stochastic(flat, flat, flat)[0][-1], talib.STOCH(flat, flat, flat, 14, 3, 0, 3, 0)[0][-1]) == (50.0, 0.0)
