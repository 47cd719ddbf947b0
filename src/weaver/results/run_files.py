"""Saves the record of a run in its folder, and loads it. A loaded record gives the same statistics and the same report.

`run.json` has the facts, Parquet files in the same folder the columns. The bars are in a folder that runs share, in files
named by the hash of their content, so that a thousand runs over the same bars store them once. Folders and files can be
read by their owner only, whatever the umask: `run.json` may have the strategy's source.

Loading trusts no file: names in it that are not of the expected form are refused, and every error names its file.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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
from weaver.core.errors import DataError, WeaverError
from weaver.core.files import make_private_folder, new_private_file, replacing
from weaver.core.instrument import Instrument
from weaver.core.jsonable import jsonable
from weaver.core.orders import Fill
from weaver.core.run_folders import RunFolders, is_digest
from weaver.core.text import storable
from weaver.core.timeframe import Timeframe
from weaver.results.record import OrderRecord, PlotSeries, RunRecord

__all__ = ["digest_of", "forget", "load", "remove_false_bars", "save"]

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


def save(record: RunRecord, folders: RunFolders) -> Path:
    """Write `record` to the folder of its run, whole or not at all, and its bars unless they are there already."""
    folder, part = folders.folder(record.run_id), folders.part(record.run_id)
    shutil.rmtree(part, ignore_errors=True)
    make_private_folder(folders.root)
    part.mkdir(mode=0o700)
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
    equity.write_parquet(new_private_file(part / "equity.parquet"), compression="lz4")
    _write_structs(part / "fills.parquet", record.fills, Fill)
    _write_structs(part / "orders.parquet", record.orders, OrderRecord)
    new_private_file(part / "run.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)
    # The bars come last: `forget` in another process moves them aside before it looks for runs that need them. Either it
    # sees this run and moves them back, or they are missing here and are written.
    make_private_folder(folders.bars_folder)
    for symbol, digest in digests.items():
        _keep_bars(record.series[symbol], folders.bars(digest))
    return folder


def load(folders: RunFolders, run_id: str) -> RunRecord:
    """Return the record of a run that `save` wrote.

    Raises DataError that names the file which is missing, or cannot be read; InvalidRunId.
    """
    path = folders.file(run_id, "run.json")
    with _named_errors(path, run_id):
        facts = json.loads(path.read_text(encoding="utf-8"))
        named: dict[str, Any] = {
            name: facts[name] for name in _FACTS if name not in ("symbols", "warnings", "notes", "run_id")
        }
        named |= {name: tuple(facts[name]) for name in ("symbols", "warnings", "notes")}
        named |= {"params": facts["params"], "settings": facts["settings"]}
        named["timeframe"] = Timeframe.of(facts["timeframe"])
        named["periods_per_year"] = facts.get("periods_per_year")  # absent from the files of version 0.1.0 and before
        series, plots = list(facts["series"]), list(facts["plots"])
        if facts["run_id"] != run_id:
            raise ValueError("it is the record of another run")
    with _columns_of(folders, run_id, "equity.parquet") as equity:
        columns: dict[str, Any] = {name: equity[name].to_numpy() for name in _EQUITY}
        columns["session_dates"] = equity["session_dates"].to_numpy() if "session_dates" in equity.columns else None
    with _columns_of(folders, run_id, "fills.parquet") as frame:
        columns["fills"] = msgspec.convert(frame.to_dicts(), list[Fill])
    with _columns_of(folders, run_id, "orders.parquet") as frame:
        columns["orders"] = msgspec.convert(frame.to_dicts(), list[OrderRecord])
    bars = [_bars(each, folders, path, run_id) for each in series]
    columns["plots"] = tuple(_plot(each, folders, run_id) for each in plots)
    with _named_errors(path, run_id):
        return RunRecord(run_id=run_id, **named, **columns, series={each.symbol: each for each in bars})


def forget(folders: RunFolders, run_id: str) -> None:
    """Remove the record of a run, what a killed recording left of it (`ID.part`), and bars that no other record needs.

    Bars stay where the record of another run cannot be read, because it may need them.
    """
    for folder in (folders.folder(run_id), folders.part(run_id)):
        shutil.rmtree(folder, ignore_errors=True)
    needed = _needed(folders)
    if needed is None:
        return
    for file in folders.bars_folder.glob("*.parquet"):
        if is_digest(file.stem) and file.stem not in needed:
            file.replace(file.with_suffix(".aside"))
    needed = _needed(folders)  # again, now that they are aside; see `save`
    for aside in folders.bars_folder.glob("*.aside"):
        if not is_digest(aside.stem):
            continue
        if (needed is None or aside.stem in needed) and not aside.with_suffix(".parquet").exists():
            aside.replace(aside.with_suffix(".parquet"))
        else:
            aside.unlink(missing_ok=True)


def remove_false_bars(folders: RunFolders) -> int:
    """Remove bars whose content is not the one of their digest, or that no record needs, and return their number.

    For the files of a backup: false bars would take the place of those of runs that are recorded later.
    """
    sound: set[str] = set()
    for run_id in folders.run_ids():
        path = folders.file(run_id, "run.json")
        try:
            with _named_errors(path, run_id):
                series = [each for each in json.loads(path.read_bytes())["series"] if each["digest"] not in sound]
            for each in series:
                with suppress(DataError):
                    _bars(each, folders, path, run_id)
                    sound.add(each["digest"])
        except DataError:
            continue
    false = [file for file in folders.bars_folder.glob("*") if file.stem not in sound]
    for file in false:
        file.unlink()
    return len(false)


def _needed(folders: RunFolders) -> set[str] | None:
    """Return the digests of the bars of every record in the folder; None where a record cannot be read."""
    digests: set[str] = set()
    for run_id in folders.run_ids():
        try:
            facts = json.loads(folders.file(run_id, "run.json").read_text(encoding="utf-8"))
            digests |= {str(each["digest"]) for each in facts["series"]}
        except FileNotFoundError:  # a run whose files are being written, or that has none
            continue
        except (OSError, ValueError, KeyError, TypeError, DataError):
            return None
    return digests


@contextmanager
def _named_errors(path: Path, run_id: str) -> Iterator[None]:
    """Raise DataError that names `path` for any error of reading it or of using its content."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path} is missing: the files of run {run_id} are not complete") from None
    except (
        pl.exceptions.PolarsError, pl.exceptions.PanicException, msgspec.MsgspecError, WeaverError, OSError, ValueError,
        LookupError, TypeError, AttributeError, ArithmeticError, RecursionError,
    ) as error:  # fmt: skip
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise DataError(f"{path} cannot be read: {type(error).__name__}: {reason:.200}") from error


@contextmanager
def _columns_of(folders: RunFolders, run_id: str, name: object) -> Iterator[pl.DataFrame]:
    """Yield the columns of a run's file; errors, those of the block too, name the file."""
    path = folders.file(run_id, name)
    with _named_errors(path, run_id):
        yield pl.read_parquet(path, glob=False)


def _keep_bars(series: BarSeries, path: Path) -> None:
    if not path.exists():
        columns = {"start": series.start, "end": series.end, **series.columns()}
        with replacing(path, mode=0o600) as temporary:
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


def _bars(facts: Mapping[str, Any], folders: RunFolders, record: Path, run_id: str) -> BarSeries:
    """Return the bars that the facts of a symbol, which are in the file `record`, describe."""
    with _named_errors(record, run_id):
        step = facts["price_step"]
        named: dict[str, Any] = {
            "symbol": facts["symbol"],
            "timeframe": Timeframe.of(facts["timeframe"]),
            "instrument": Instrument(
                Decimal(facts["lot"]), None if step is None else Decimal(step), facts["multiplier"], facts.get("quote")
            ),
            "source": facts["source"],
            "notes": tuple(facts["notes"]),
            "warnings": tuple(facts["warnings"]),
            "gaps": _gaps(facts.get("gaps")),  # absent from the files of version 0.1.0 and before
        }
        path = folders.bars(facts["digest"])
    with _named_errors(path, run_id):
        frame = pl.read_parquet(path, glob=False)
        columns = {name: frame[name].to_numpy().copy() for name in frame.columns}
        named |= {name: columns.pop(name) for name in ("start", "end", "open", "high", "low", "close", "volume")}
        series = BarSeries(**named, extra=columns)
        if digest_of(series) != path.stem:
            raise ValueError("its bars are not those that its name is the digest of")
        return series


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
        pl.DataFrame(columns).write_parquet(new_private_file(folder / file), compression="lz4")
        named = {name: getattr(plot, name) for name in ("symbol", "name", "overlay", "style")}
        kept.append(named | {"file": file})
    return kept


def _plot(facts: Mapping[str, Any], folders: RunFolders, run_id: str) -> PlotSeries:
    with _named_errors(folders.file(run_id, "run.json"), run_id):
        file, named = facts["file"], {name: facts[name] for name in ("symbol", "name", "overlay", "style")}
    with _columns_of(folders, run_id, file) as frame:
        return PlotSeries(
            **named,
            values=frame["values"].to_numpy(),
            ts=frame["ts"].to_numpy() if "ts" in frame.columns else None,
        )


def _write_structs(path: Path, structs: Iterable[msgspec.Struct], kind: type[msgspec.Struct]) -> None:
    """Write a column per field. Beyond ROWS_AT_ONCE in parts that are merged, so that the memory needed has a bound."""
    rest = iter(structs)
    first = list(islice(rest, ROWS_AT_ONCE))
    if len(first) < ROWS_AT_ONCE:
        _structs(first, kind).write_parquet(new_private_file(path))
        return
    parts: list[Path] = []
    while first:
        parts.append(new_private_file(path.with_name(f"{path.stem}-{len(parts)}.part")))
        _structs(first, kind).write_parquet(parts[-1], compression="lz4")
        first = list(islice(rest, ROWS_AT_ONCE))
    pl.scan_parquet(parts).sink_parquet(new_private_file(path), compression="lz4", row_group_size=ROWS_AT_ONCE)
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
