"""Saves the record of a run in a folder, and loads it. A loaded record gives the same statistics and the same report.

`run.json` has the facts, Parquet files in the same folder the columns. The bars are in a folder that runs share, in files
named by the hash of their content, so that a thousand runs over the same bars store them once.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from weaver.core.bars import BarSeries, GapSummary
from weaver.core.errors import DataError
from weaver.core.files import replacing
from weaver.core.instrument import Instrument
from weaver.core.jsonable import jsonable
from weaver.core.orders import Fill
from weaver.core.text import storable
from weaver.core.timeframe import Timeframe
from weaver.results.record import OrderRecord, PlotSeries, RunRecord

__all__ = ["digest_of", "forget", "load", "save"]

MOST_PLOT_ROWS = 1_000_000
"""Values of indicators that are stored. They are only drawn, and can be computed again from the bars."""

ROWS_AT_ONCE = 50_000
"""Orders or fills that are converted to columns at once."""

_EQUITY = ("equity_start", "equity_end", "equity", "cash", "gross_exposure", "net_exposure")
_FACTS = ("run_id", "strategy", "source", "symbols", "initial_cash", "seed", "elapsed_s", "bars", "finished",
          "holding_costs", "calendar", "warnings", "notes")  # fmt: skip


def digest_of(series: BarSeries) -> str:
    """Return 32 hex digits that identify the bars: equal columns have equal digests."""
    made = hashlib.blake2b(digest_size=16)
    made.update(f"{series.timeframe}".encode())
    for name, column in {"start": series.start, "end": series.end, **series.columns()}.items():
        made.update(name.encode())
        made.update(np.ascontiguousarray(column).data)
    return made.hexdigest()


def save(record: RunRecord, folder: Path, bars_folder: Path) -> Path:
    """Write `record` to `folder`, whole or not at all, and its bars to `bars_folder` unless they are there already."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    bars_folder.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {name: jsonable(getattr(record, name)) for name in _FACTS}
    facts["format"] = 1
    facts["timeframe"] = str(record.timeframe)
    facts["params"], facts["settings"] = jsonable(record.params), jsonable(record.settings)
    digests = {symbol: digest_of(record.series[symbol]) for symbol in record.symbols}
    facts["series"] = [_facts_of(record.series[symbol], digests[symbol]) for symbol in record.symbols]
    facts["plots"] = _keep_plots(record.plots, part)
    facts["periods_per_year"] = record.periods_per_year
    equity = pl.DataFrame({name: getattr(record, name) for name in _EQUITY})
    if record.session_dates is not None:
        equity = equity.with_columns(pl.Series("session_dates", record.session_dates))
    equity.write_parquet(part / "equity.parquet", compression="lz4")
    _write_structs(part / "fills.parquet", record.fills, Fill)
    _write_structs(part / "orders.parquet", record.orders, OrderRecord)
    (part / "run.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)
    # The bars come last: `forget` in another process moves them aside before it looks for runs that need them. Either it
    # sees this run and moves them back, or they are missing here and are written.
    for symbol, digest in digests.items():
        _keep_bars(record.series[symbol], bars_folder / f"{digest}.parquet")
    return folder


def load(folder: Path, bars_folder: Path) -> RunRecord:
    """Return the record that `save` wrote. Raises DataError that names the file which is missing or cannot be read."""
    try:
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        equity = pl.read_parquet(folder / "equity.parquet")
        columns: dict[str, Any] = {name: equity[name].to_numpy() for name in _EQUITY}
        series = {each["symbol"]: _bars(each, bars_folder) for each in facts["series"]}
        return RunRecord(
            **{name: facts[name] for name in _FACTS if name not in ("symbols", "warnings", "notes")},
            symbols=tuple(facts["symbols"]),
            warnings=tuple(facts["warnings"]),
            notes=tuple(facts["notes"]),
            params=facts["params"],
            settings=facts["settings"],
            timeframe=Timeframe.of(facts["timeframe"]),
            series=series,
            **columns,
            session_dates=equity["session_dates"].to_numpy() if "session_dates" in equity.columns else None,
            periods_per_year=facts.get("periods_per_year"),  # absent from the files of version 0.1.0 and before
            fills=msgspec.convert(pl.read_parquet(folder / "fills.parquet").to_dicts(), list[Fill]),
            orders=msgspec.convert(pl.read_parquet(folder / "orders.parquet").to_dicts(), list[OrderRecord]),
            plots=tuple(_plot(each, folder) for each in facts["plots"]),
        )
    except FileNotFoundError as error:
        raise DataError(
            f"{error.filename} is missing: the record of run {folder.name} is not whole any more"
        ) from error
    except (pl.exceptions.PolarsError, ValueError, KeyError, OSError) as error:
        raise DataError(f"{folder} cannot be read: {error}") from error


def forget(folder: Path, bars_folder: Path) -> None:
    """Remove the record in `folder`, what a killed recording left of it (`ID.part`), and bars that no other record needs."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(folder.with_name(f"{folder.name}.part"), ignore_errors=True)
    for file in bars_folder.glob("*.parquet"):
        if file.stem not in _needed(folder.parent):
            aside = file.with_suffix(".aside")
            file.replace(aside)
    needed = _needed(folder.parent)  # again, now that they are aside; see `save`
    for aside in bars_folder.glob("*.aside"):
        if aside.stem in needed and not aside.with_suffix(".parquet").exists():
            aside.replace(aside.with_suffix(".parquet"))
        else:
            aside.unlink(missing_ok=True)


def _needed(runs_folder: Path) -> set[str]:
    """Return the digests of the bars of every record in the folder."""
    return {
        each["digest"]
        for facts in runs_folder.glob("*/run.json")
        for each in json.loads(facts.read_text(encoding="utf-8"))["series"]
    }


def _keep_bars(series: BarSeries, path: Path) -> None:
    if not path.exists():
        columns = {"start": series.start, "end": series.end, **series.columns()}
        with replacing(path) as temporary:
            pl.DataFrame(columns).write_parquet(temporary, compression="lz4")


def _facts_of(series: BarSeries, digest: str) -> dict[str, object]:
    instrument = series.instrument
    return {
        "symbol": series.symbol,
        "timeframe": str(series.timeframe),
        "digest": digest,
        "source": series.source,
        "notes": list(series.notes),
        "warnings": list(series.warnings),
        "gaps": None if series.gaps is None else asdict(series.gaps),
        "lot": str(instrument.lot),
        "price_step": None if instrument.price_step is None else str(instrument.price_step),
        "multiplier": instrument.multiplier,
        "quote": instrument.quote,
    }


def _bars(facts: Mapping[str, Any], folder: Path) -> BarSeries:
    frame = pl.read_parquet(folder / f"{facts['digest']}.parquet")
    columns = {name: frame[name].to_numpy().copy() for name in frame.columns}
    named: dict[str, Any] = {
        name: columns.pop(name) for name in ("start", "end", "open", "high", "low", "close", "volume")
    }
    step = facts["price_step"]
    return BarSeries(
        symbol=facts["symbol"],
        timeframe=Timeframe.of(facts["timeframe"]),
        **named,
        extra=columns,
        instrument=Instrument(
            Decimal(facts["lot"]), None if step is None else Decimal(step), facts["multiplier"], facts.get("quote")
        ),
        source=facts["source"],
        notes=tuple(facts["notes"]),
        warnings=tuple(facts["warnings"]),
        gaps=_gaps(facts.get("gaps")),  # absent from the files of version 0.1.0 and before
    )


def _gaps(facts: Mapping[str, Any] | None) -> GapSummary | None:
    if facts is None:
        return None
    first, largest = facts["first"], facts["largest"]
    return GapSummary(count=facts["count"], first=(first[0], first[1]), largest=(largest[0], largest[1]))


def _keep_plots(plots: Sequence[PlotSeries], folder: Path) -> list[dict[str, object]]:
    kept: list[dict[str, object]] = []
    room = MOST_PLOT_ROWS
    for number, plot in enumerate(plots):
        room -= len(plot.values)
        if room < 0:
            break
        columns = {"values": plot.values} | ({} if plot.ts is None else {"ts": plot.ts})
        file = f"plot-{number}.parquet"
        pl.DataFrame(columns).write_parquet(folder / file, compression="lz4")
        named = {name: getattr(plot, name) for name in ("symbol", "name", "overlay", "style")}
        kept.append(named | {"file": file})
    return kept


def _plot(facts: Mapping[str, Any], folder: Path) -> PlotSeries:
    frame = pl.read_parquet(folder / facts["file"])
    return PlotSeries(
        symbol=facts["symbol"],
        name=facts["name"],
        overlay=facts["overlay"],
        style=facts["style"],
        values=frame["values"].to_numpy(),
        ts=frame["ts"].to_numpy() if "ts" in frame.columns else None,
    )


def _write_structs(path: Path, structs: Iterable[msgspec.Struct], kind: type[msgspec.Struct]) -> None:
    """Write a column per field. Beyond ROWS_AT_ONCE in parts that are merged, so that the memory needed has a bound."""
    rest = iter(structs)
    first = list(islice(rest, ROWS_AT_ONCE))
    if len(first) < ROWS_AT_ONCE:
        _structs(first, kind).write_parquet(path)
        return
    parts: list[Path] = []
    while first:
        parts.append(path.with_name(f"{path.stem}-{len(parts)}.part"))
        _structs(first, kind).write_parquet(parts[-1], compression="lz4")
        first = list(islice(rest, ROWS_AT_ONCE))
    pl.scan_parquet(parts).sink_parquet(path, compression="lz4", row_group_size=ROWS_AT_ONCE)
    for part in parts:
        part.unlink()


_TYPES: dict[object, Any] = {int: pl.Int64, float: pl.Float64, str: pl.String, bool: pl.Boolean}


def _structs(structs: Sequence[msgspec.Struct], kind: type[msgspec.Struct]) -> pl.DataFrame:
    """Return a column per field; enums as their text, lone surrogates as escapes."""
    columns = {}
    for field in msgspec.structs.fields(kind):
        column_type = _column_type(field.type)
        values = list(map(attrgetter(field.name), structs))
        try:
            column = pl.Series(field.encode_name, values, dtype=column_type, strict=False)
        except UnicodeEncodeError:  # rare, and looking at every text would take most of the time
            column = pl.Series(field.encode_name, list(map(storable, values)), dtype=column_type, strict=False)
        columns[field.encode_name] = column
    return pl.DataFrame(columns)


def _column_type(annotation: Any) -> Any:
    options = [each for each in getattr(annotation, "__args__", (annotation,)) if each is not type(None)]
    return _TYPES.get(options[0], pl.String)
