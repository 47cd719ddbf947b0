"""Currencies: the codes of ISO 4217, and the quote currency that the name of a symbol says.

A name says its quote only where it holds two codes (EURUSD, EUR/USD, EUR_USD, EURUSD=X); BTCUSD does not, since BTC is
not a code of ISO 4217. It knows no exchange rates: converting an account is not done yet.
"""

from __future__ import annotations

import re

__all__ = ["CURRENCY_CODES", "quote_of"]

_CODES = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLF "
    "CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF "
    "IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK "
    "MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR "
    "SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED "
    "VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG "
    "XAG XAU XPD XPT "  # metals, by the ounce
    "CNH "  # the renminbi outside China, which ISO does not list and every broker quotes
    "ATS BEF DEM ESP FIM FRF GRD IEP ITL NLG PTE HRK"  # before the euro
)
CURRENCY_CODES = frozenset(_CODES.split())
"""Codes of ISO 4217, those of metals and of currencies before the euro included, and CNH."""

# A prefix of the source ("FX:", "C:", "OANDA:"), the pair with or without a separator, and a suffix of the source: Yahoo's
# "=X", a broker's ".pro", "_SB" or "m".
_PAIR = re.compile(r"(?:\w+:)?([A-Z]{3})[-/_. ]?([A-Z]{3})(?:=X|[-._# ].*|(?-i:(?<=[A-Z])[a-z]{1,3}))?", re.IGNORECASE)
# Yahoo calls USD/JPY "JPY=X".
_YAHOO = re.compile(r"([A-Z]{3})=X", re.IGNORECASE)


def quote_of(symbol: str) -> str | None:
    """Return the currency that the prices of `symbol` are in, where its name holds two codes; otherwise None."""
    pair = _PAIR.fullmatch(symbol)
    if pair is not None:
        base, quote = pair[1].upper(), pair[2].upper()
        return quote if base != quote and {base, quote} <= CURRENCY_CODES else None
    single = _YAHOO.fullmatch(symbol)
    return single[1].upper() if single is not None and single[1].upper() in CURRENCY_CODES else None
