"""The meaning of column names in headers and frames, whatever their case, language and punctuation.

Guarantees that no two columns are silently taken for the same one. It looks at names only, never at values.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

from weaver.core.errors import DataError
from weaver.core.text import brief
from weaver.data.limits import check_columns

__all__ = ["PRICES", "ColumnMap", "map_columns", "meaning_of", "simplify"]

PRICES = ("open", "high", "low", "close")

# Best name first: where a file has several, the first one is the time and the others are left as further columns.
_TIME = (
    "timestamp", "time_stamp", "datetime", "date_time", "open_time", "opentime", "time_open", "bar_start", "start_time",
    "start", "ts", "date", "time", "datum", "zeit", "zeitstempel", "zeitpunkt", "datum_zeit", "fecha", "data", "horodatage",
    "unix", "unix_time", "unix_timestamp", "epoch", "unixtime", "gmt_time", "local_time", "timestamp_utc", "index",
)  # fmt: skip
_ALIASES: dict[str, tuple[str, ...]] = {
    "open": ("open", "o", "open_price", "opening_price", "price_open", "px_open", "eroffnung", "eroffnungskurs",
             "erster", "ouverture", "apertura", "bid_open", "openbid"),
    "high": ("high", "h", "high_price", "highest", "price_high", "px_high", "max", "hoch", "hochst", "hochstkurs",
             "plus_haut", "haut", "maximo", "bid_high"),
    "low": ("low", "l", "low_price", "lowest", "price_low", "px_low", "min", "tief", "tiefst", "tiefstkurs", "tagestief",
            "plus_bas", "bas", "minimo", "bid_low"),
    "close": ("close", "c", "close_price", "closing_price", "price_close", "px_last", "px_close", "last", "schluss",
              "schlusskurs", "schlusspreis", "cloture", "dernier", "cierre", "close_last", "bid_close"),
    "volume": ("volume", "v", "vol", "volumen", "base_volume", "tick_volume", "tickvol", "tick_vol", "umsatz", "stuck",
               "px_volume", "volume_base"),
    "adj_close": ("adj_close", "adjclose", "adjusted_close", "adjusted_closing_price", "close_adj", "adj_closing_price",
                  "closeadj"),
    "symbol": ("symbol", "ticker", "instrument", "pair", "asset", "kurzel"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Indexes of the columns by their meaning. `clock` is a second column with the time of day."""

    time: int | None
    prices: dict[str, int]
    volume: int | None = None
    symbol: int | None = None
    clock: int | None = None
    extra: dict[str, int] = field(default_factory=dict)

    @property
    def missing(self) -> tuple[str, ...]:
        """Columns that a bar needs and that no name means."""
        return (("timestamp",) if self.time is None else ()) + tuple(name for name in PRICES if name not in self.prices)


def simplify(name: str) -> str:
    """Return `name` in lower case, without accents, every run of blanks and punctuation one underscore ("Vol." is "vol")."""
    text = unicodedata.normalize("NFKD", str(name).strip().replace("ß", "ss"))
    text = "".join(char for char in text if not unicodedata.combining(char))
    # Camel case is two words, unless it is all capitals: "OpenPrice", but "HIGH".
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)
    return re.sub(r"[^0-9a-z]+", "_", text.lower()).strip("_")


def meaning_of(name: str) -> str | None:
    """Return the plain name of a column ("timestamp", "open", "volume", "adj_close", "symbol", ...); None for others."""
    simple = simplify(name)
    if simple in _TIME:
        return "timestamp"
    return next((meaning for meaning, aliases in _ALIASES.items() if simple in aliases), None)


def map_columns(names: Iterable[str], *, where: str) -> ColumnMap:
    """Return the meaning of the columns called `names`. Unknown names are `extra`, in lower case.

    Raises DataError for more than MOST_COLUMNS columns, where two columns mean the same and neither has the plain name, and
    where two further columns have the same name in lower case; `where` names the frame or file.
    """
    originals = [str(name) for name in names]
    check_columns(len(originals), where)
    simple = [simplify(name) for name in originals]
    taken: dict[str, int] = {}
    for meaning, aliases in _ALIASES.items():
        matches = [index for index, name in enumerate(simple) if name in aliases]
        exact = [index for index in matches if simple[index] == meaning]
        best = exact or matches
        if len(best) > 1:
            shown = " and ".join(brief(originals[index]) for index in best[:5])
            raise DataError(f"{where}: the columns {shown} could both be {meaning!r}; rename or remove all but one")
        if best:
            taken[meaning] = best[0]
    by_rank = [
        index for alias in _TIME for index, name in enumerate(simple) if name == alias and index not in taken.values()
    ]
    time = by_rank[0] if by_rank else None
    clock = None
    if (
        time is not None
        and simple[time] in ("date", "datum")
        and any(simple[index] in ("time", "zeit") for index in by_rank)
    ):
        clock = next(index for index in by_rank if simple[index] in ("time", "zeit"))
    used = {*taken.values(), time, clock}
    extra: dict[str, int] = {}
    for index, name in enumerate(simple):
        if index not in used:
            key = name or f"column_{index + 1}"
            if key in extra:
                shown = f"{brief(originals[extra[key]])} and {brief(originals[index])}"
                raise DataError(f"{where}: the columns {shown} would both be {brief(key)}; rename or remove one")
            extra[key] = index
    if "adj_close" in taken:
        extra["adj_close"] = taken["adj_close"]
    return ColumnMap(
        time=time,
        prices={name: taken[name] for name in PRICES if name in taken},
        volume=taken.get("volume"),
        symbol=taken.get("symbol"),
        clock=clock,
        extra=extra,
    )
