"""`weaver runs`: lists, shows, compares and deletes recorded runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weaver.cli.main import ExitCode, Stopped
from weaver.cli.output import echo, echo_text, json_text, sparkline, table
from weaver.cli.store import sure, with_store
from weaver.core.definitions import STATS_DEFINITIONS, definitions_of
from weaver.core.errors import DataError, InvalidRunId
from weaver.core.run_id import is_run_id, shown_run_id
from weaver.core.text import brief, visible

if TYPE_CHECKING:
    from weaver.glados.wiring import OpenStore
    from weaver.results.record import RunRecord
    from weaver.walle.runs import RunRow

__all__ = ["runs"]

_COMPARED = ("final_equity", "return", "cagr", "volatility", "sharpe", "sortino", "max_drawdown", "exposure", "trades",
             "win_rate", "profit_factor", "commissions", "fills")  # fmt: skip
_SHARES = frozenset(("return", "cagr", "volatility", "max_drawdown", "exposure", "win_rate"))


@click.group(short_help="List, show, compare and delete recorded runs.")
def runs() -> None:
    """List, show, compare and delete recorded runs. weaver backtest records each run unless --no-record is given.

    ID is the id of a run, the beginning of it, its last eight characters, or "last".
    """


@runs.command("list")
@click.option(
    "--limit", "-n", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Largest number of runs."
)
@click.option("--strategy", help="List runs of this strategy class only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def list_runs(limit: int, strategy: str | None, as_json: bool) -> None:
    """List recorded runs, newest first."""
    rows = with_store(lambda store: store.runs.newest(limit=limit, strategy=strategy))
    if as_json:
        for row in rows:
            echo(json_text(row))
        return
    if not rows:
        echo("no runs are recorded yet; weaver backtest records each run")
        return
    echo_text(
        table(
            [
                [
                    _short(row.id),
                    f"{row.created_at:%Y-%m-%d %H:%M:%S}",
                    row.strategy,
                    _few(row.config.get("symbols", [])),
                    f"{row.bars_done:,}",
                    f"{row.fills:,}",
                    _marked("return", row.stats),
                    _marked("sharpe", row.stats),
                    _marked("max_drawdown", row.stats),
                    row.status,
                ]
                for row in rows
            ],
            ["run", "started (UTC)", "strategy", "symbols", "bars", "fills", "return", "sharpe", "max dd", "status"],
        )
    )
    _explain_mark(rows)


@runs.command("show")
@click.argument("run", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_run(run: str, as_json: bool) -> None:
    """Show the results of a run."""

    async def work(store: OpenStore) -> tuple[RunRow, Any]:
        row = await _one(store, run)
        return row, await store.runs.result(row.id)

    row, result = with_store(work)
    if as_json:
        import msgspec

        echo(json_text({"run": msgspec.to_builtins(row), "result": msgspec.to_builtins(result)}))
        return
    problem: Exception | None = None
    try:
        text = _result_of(row)
    except (DataError, InvalidRunId, OSError) as error:
        text, problem = None, error
    echo_text(_stored_facts(row) if text is None else text)
    if result is not None and len(result.equity) > 1:
        equity = [value for _, value in result.equity]
        echo()
        echo(f"equity {min(equity):,.0f} {sparkline(equity, 64)} {max(equity):,.0f}")
    echo()
    echo(f"run     {shown_run_id(row.id)}")
    echo(f"status  {_status(row)}")
    if is_run_id(row.id):
        echo(f"events  weaver events tail --run {row.id}")
    if problem is not None:
        raise problem


@runs.command("report")
@click.argument("run", metavar="ID")
@click.option("--output", "-o", type=click.Path(), help="HTML file to write.  [default: reports/ID.html]")
def report_run(run: str, output: str | None) -> None:
    """Write the report of a recorded run, as --report does."""
    row = with_store(lambda store: _one(store, run))
    record = _record(row)
    if record is None:
        raise Stopped(
            f"run {row.id} ({row.status}) has no result to report: {_status(row)}; weaver runs show prints what is stored",
            ExitCode.FAILED,
        )
    from weaver.results.result import Result

    path = Path(output or f"reports/{row.id}.html").expanduser()
    echo(f"report: {Result(record).report(path)}")


@runs.command("compare")
@click.argument("first", metavar="ID")
@click.argument("second", metavar="ID")
def compare_runs(first: str, second: str) -> None:
    """Compare two runs: the settings that differ, and the results side by side."""

    async def work(store: OpenStore) -> list[RunRow]:
        return [await _one(store, first), await _one(store, second)]

    one, two = with_store(work)
    asked = [
        [name, _plain(a), _plain(b)]
        for name, a, b in _differences({"strategy": one.strategy} | one.config, {"strategy": two.strategy} | two.config)
    ]
    names = ["", _short(one.id), _short(two.id)]
    echo_text(
        table(asked, names)
        if asked
        else "both runs have the same settings, strategy source and instrument terms (their bars may differ)"
    )
    echo()
    came = [[name, _marked(name, one.stats), _marked(name, two.stats)] for name in _COMPARED]
    echo_text(table([["status", one.status, two.status], *came], names))
    _explain_mark([one, two])


@runs.command("delete")
@click.argument("run", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def delete_run(run: str, yes: bool) -> None:
    """Delete a run with its orders, fills, result and files. Its events stay in the log until they are pruned."""
    row = with_store(lambda store: _one(store, run))
    if row.status == "running":
        raise Stopped(f"run {shown_run_id(row.id)} is running; end it first", ExitCode.FAILED)
    if not yes:
        sure(f"delete run {shown_run_id(row.id)} ({row.strategy}, {row.status})?")
    from weaver.glados.wiring import run_folders
    from weaver.results.run_files import forget

    folders = run_folders()
    if not is_run_id(row.id):
        with_store(lambda store: store.runs.delete(row.id))
        echo(f"deleted: {shown_run_id(row.id)}, from the database only: an id that Weaver did not make has no files")
        return
    folders.refuse_links(row.id)  # before anything is deleted
    with_store(lambda store: store.runs.delete(row.id))
    forget(folders, row.id)
    echo(f"deleted: {row.id}")


async def _one(store: OpenStore, name: str) -> RunRow:
    found = await store.runs.newest(limit=1) if name == "last" else await store.runs.find(name)
    exact = [row for row in found if row.id == name]
    if len(exact or found) == 1 and (exact or name):
        return (exact or found)[0]
    if found:
        some = ", ".join(shown_run_id(row.id) for row in found[:4])
        raise Stopped(f"{brief(name)} matches {len(found)} runs ({some}, ...); give more of the id", ExitCode.USAGE)
    raise Stopped(f"there is no run {brief(name)}; weaver runs list prints all runs", ExitCode.USAGE)


def _record(row: RunRow) -> RunRecord | None:
    """Return the record in the run's files; None if it has none. Raises DataError or InvalidRunId."""
    from weaver.glados.wiring import run_folders
    from weaver.results.run_files import load

    folders = run_folders()
    if not folders.folder(row.id).is_dir() or (
        row.stats is None and not folders.file(row.id, "run.json").exists()  # a run that never had a result
    ):
        return None
    return load(folders, row.id)


def _result_of(row: RunRow) -> str | None:
    """Return the table of results, computed from the run's files; None if it has none."""
    from weaver.results.result import Result

    record = _record(row)
    return None if record is None else repr(Result(record))


def _stored_facts(row: RunRow) -> str:
    """Return what the database has of a run whose files are not there, or cannot be read."""
    config = row.config
    lines = [
        visible(f"{row.strategy} on {_few(config.get('symbols', []))}, {config.get('timeframe', '')}"),
        f"bars   {row.bars_done:,} of {row.bars_total or 0:,}",
        f"orders {row.orders:,}, fills {row.fills:,}",
    ]
    if row.stats:
        lines += ["", table([[name, _marked(name, row.stats)] for name in _COMPARED])]
    return "\n".join(lines)


def _short(run_id: str) -> str:
    """Return the last eight characters of a run id, by which commands find it; any other id in full, quoted."""
    return run_id.rpartition("-")[2] if is_run_id(run_id) else shown_run_id(run_id)


def _status(row: RunRow) -> str:
    match row.status:
        case "interrupted":
            done = f"{row.bars_done:,} of {row.bars_total:,} bars" if row.bars_total else f"{row.bars_done:,} bars"
            left = f"{row.orders:,} orders and {row.fills:,} fills"
            problem = _problem(row)
            if problem is not None:
                return f"not recorded whole: {problem}; {left} are stored, all of them are kept in its files"
            return f"interrupted: its process ended after about {done}; written by then were {left}"
        case "failed":
            return "failed: " + " | ".join((row.error or "").splitlines())
        case _ if row.ended_at is not None:
            return f"{row.status} {row.ended_at:%Y-%m-%d %H:%M:%S} UTC"
    return row.status


def _problem(row: RunRow) -> str | None:
    """Return why the end of a run is not in the database although its files are kept; None if that is not so."""
    from weaver.glados.backtest.run_ending import pending_of
    from weaver.glados.wiring import run_folders

    if not is_run_id(row.id):
        return None
    try:
        ending = pending_of(run_folders(), row.id)
    except DataError as error:
        return str(error)
    except PermissionError:  # the files of another user
        return None
    return None if ending is None else ending.problem or "its process ended while it was being written"


def _differences(one: Any, two: Any, where: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(two, dict):
        found = []
        for name in sorted({*one, *two}):
            found += _differences(one.get(name), two.get(name), f"{where}.{name}" if where else name)
        return found
    return [] if one == two else [(where, one, two)]


def _figure(name: str, stats: dict[str, Any] | None) -> str:
    value = (stats or {}).get(name)
    if value is None:
        return "-"
    if name in _SHARES:
        return f"{100 * value:,.2f} %"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _marked(name: str, stats: dict[str, Any] | None) -> str:
    """Return a statistic with a `*` if it was computed by other definitions than those in force."""
    figure = _figure(name, stats)
    return f"{figure}*" if figure != "-" and stats and definitions_of(stats) != STATS_DEFINITIONS else figure


def _explain_mark(rows: list[RunRow]) -> None:
    versions = {definitions_of(row.stats) for row in rows if row.stats} - {STATS_DEFINITIONS}
    if versions:
        listed = " and ".join(map(str, sorted(versions)))
        echo(
            f"* statistics by definitions {listed}; version {STATS_DEFINITIONS} is in force (docs/metrics.md). "
            "weaver runs show ID computes them again."
        )


def _few(symbols: list[str]) -> str:
    return ", ".join(symbols[:3]) + (f" +{len(symbols) - 3}" if len(symbols) > 3 else "")


def _plain(value: Any) -> str:
    return "-" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
