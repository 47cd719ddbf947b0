"""Currencies: which names say their quote, and that one account has one."""

from __future__ import annotations

import pytest

from weaver import ConfigError, DataError, Instrument, Strategy, backtest
from weaver.core.currencies import quote_of
from weaver.data.load_bars import load_bars
from weaver.data.synthetic import synthetic_bars

BARS = synthetic_bars(10).drop("symbol")


@pytest.mark.parametrize(
    ("symbol", "quote"),
    [
        *(
            (name, "USD")
            for name in ("EURUSD", "EUR/USD", "EUR_USD", "EUR-USD", "EUR.USD", "EURUSD=X", "eurusd", "XAUUSD")
        ),
        *(
            (name, "JPY")
            for name in ("USDJPY", "JPY=X", "FX:USDJPY", "OANDA:USD_JPY", "USDJPY.pro", "USDJPYm", "USDJPY_SB")
        ),
        *(
            (name, None)
            for name in ("AAPL", "BTCUSD", "BTC/USD", "EURUSDT", "ALL", "ES=F", "USDUSD", "GOOGL", "EUR", "")
        ),
    ],
)
def test_a_name_of_two_currency_codes_says_its_quote(symbol: str, quote: str | None) -> None:
    assert quote_of(symbol) == quote


class Nothing(Strategy):
    pass


@pytest.mark.parametrize("pair", [("EURUSD", "USDJPY"), ("EUR/USD", "JPY=X"), ("USD_JPY", "GBPUSD=X")])
def test_two_currencies_in_one_account_are_refused_by_name(pair: tuple[str, str]) -> None:
    first, second = pair
    told = f"{first} is quoted in ... and {second} in ...: one account has one currency"
    with pytest.raises(DataError, match=told):
        backtest(Nothing, {first: BARS, "AAPL": BARS, second: BARS})


def test_symbols_of_one_quote_run_together_and_know_it() -> None:
    series = load_bars({"EURUSD": BARS, "AAPL": BARS, "GBPUSD=X": BARS})
    assert [one.instrument.quote for one in series.values()] == ["USD", None, "USD"]
    lots = load_bars({"EURUSD": BARS}, instrument=Instrument(lot=1000))["EURUSD"].instrument
    assert (lots.lot, lots.quote) == (1000, "USD")


def test_an_instrument_that_names_its_quote_is_believed() -> None:
    series = load_bars({"EURUSD": BARS, "USDJPY": BARS}, instrument={"USDJPY": Instrument(quote="usd")})
    assert [one.instrument.quote for one in series.values()] == ["USD", "USD"]
    with pytest.raises(DataError, match="BTCUSDT is quoted in USDT and BTCEUR in EUR"):
        load_bars(
            {"BTCUSDT": BARS, "BTCEUR": BARS},
            instrument={"BTCUSDT": Instrument(quote="USDT"), "BTCEUR": Instrument(quote="EUR")},
        )


def test_a_series_keeps_its_quote_and_mixed_series_are_refused() -> None:
    euro = load_bars({"SAP": BARS}, instrument=Instrument(quote="EUR"))["SAP"]
    assert load_bars(euro)["SAP"].instrument.quote == "EUR"
    with pytest.raises(DataError, match="SAP is quoted in EUR and EURUSD in USD"):
        load_bars({"SAP": euro, "EURUSD": BARS})


@pytest.mark.parametrize("quote", ["", "US D", 5])
def test_a_quote_is_the_code_of_a_currency(quote: object) -> None:
    with pytest.raises(ConfigError, match="give the code of a currency"):
        Instrument(quote=quote)  # type: ignore[arg-type]


def test_pence_are_not_pounds() -> None:
    assert Instrument(quote="GBp").quote == "GBX"
