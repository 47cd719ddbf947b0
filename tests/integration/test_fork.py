"""Worker processes: spawned and forked workers run backtests after a run in the parent, or refuse at once and say why.

The forked cases run in a process of their own, with a limit, because the fault that they guard against is a hang.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PREPARE = """
    from weaver.data.load_bars import load_bars

    FRAME = synthetic_bars(20)
    run_import()
    LOADED = load_bars(FRAME)
    run_backtest()
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="fork is the default on Linux only")

PARENT = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import weaver
from weaver import Catalog, Strategy, backtest, check, shipped_bars, synthetic_bars
from weaver.core.errors import UnsafeFork


class Buy(Strategy):
    def on_bar(self, bar):
        if not self.position:
            self.buy(1)


def job(work):
    try:
        return WORK[work]()
    except UnsafeFork as error:
        return str(error)


def bars_file():
    path = Path("bars.csv")
    rows = [f"2024-01-{day:02},{day},{day + 1},{day},{day},9" for day in range(1, 29)]
    path.write_text("date,open,high,low,close,volume\\n" + "\\n".join(rows))
    return path


def run_backtest(bars=None, **options):
    return backtest(Buy, bars_file() if bars is None else bars, **options).final_equity


def times_file():
    path = Path("times.csv")
    rows = [f"2024-07-01 {hour:02}:00,{hour + 1},{hour + 2},{hour + 1},{hour + 1},9" for hour in range(24)]
    path.write_text("time,open,high,low,close,volume\\n" + "\\n".join(rows))
    return path


def run_import(**options):
    from weaver.data.importer.importer import ImportOptions, import_files

    return import_files([bars_file()], Catalog("catalog"), ImportOptions(symbol="X", **options))


def with_pandas():
    import pandas

    return run_backtest(pandas.read_csv(bars_file(), index_col="date", parse_dates=True))


def wrong_file(**options):
    try:
        run_backtest(bars_file(), **(options or {"start": "2030-01-01"}))
    except weaver.WeaverError as error:
        return f"{type(error).__name__}: {error}"


WORK = {
    "path": run_backtest,
    "mapping": lambda: run_backtest({"A": bars_file()}),
    "shipped": lambda: run_backtest(shipped_bars("IBM")),
    "pandas": with_pandas,
    "loaded": lambda: run_backtest(LOADED),
    "wrong file": wrong_file,
    "check": lambda: check(Buy, bars_file(), cuts=2).ok,
    "frame": lambda: run_backtest(FRAME),
    "frame in a mapping": lambda: run_backtest({"A": FRAME}),
    "synthetic": lambda: synthetic_bars(20),
    "import": run_import,
    "import with a zone": lambda: run_import(tz="UTC"),
    "wrong zone": lambda: wrong_file(tz="Mars/Olympus"),
    "time zone": lambda: run_backtest(times_file(), tz="America/New_York"),
    "catalog": lambda: run_backtest(Catalog("catalog").select("X")),
}

if __name__ == "__main__":
    PREPARE
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("METHOD")) as pool:
        print(pool.submit(job, sys.argv[1]).result())
"""


def pool(tmp_path: Path, work: str, *, method: str = "fork", prepare: str = PREPARE) -> str:
    path = tmp_path / "parent.py"
    path.write_text(PARENT.replace("PREPARE", prepare).replace("METHOD", method), encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", path, work],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@pytest.mark.parametrize("work", ["path", "mapping", "shipped", "pandas", "time zone"])
def test_a_worker_forked_after_a_run_gives_the_result_of_the_parent(tmp_path: Path, work: str) -> None:
    if work == "pandas":
        pytest.importorskip("pandas")
    assert float(pool(tmp_path, work)) == float(pool(tmp_path, work, method="spawn", prepare=PREPARE))


def test_bars_that_are_loaded_already_need_no_new_process(tmp_path: Path) -> None:
    assert float(pool(tmp_path, "loaded")) > 0


def test_a_worker_forked_after_a_run_checks_a_strategy(tmp_path: Path) -> None:
    assert pool(tmp_path, "check") == "True"


def test_an_error_of_loading_is_the_same_error_in_a_forked_worker(tmp_path: Path) -> None:
    assert pool(tmp_path, "wrong file") == pool(tmp_path, "wrong file", method="spawn")
    assert pool(tmp_path, "wrong file").startswith("NoBars: ")
    assert pool(tmp_path, "wrong zone").startswith("ConfigError: tz='Mars/Olympus' is not a time zone")


@pytest.mark.parametrize(
    "work",
    ["frame", "frame in a mapping", "synthetic", "import", "import with a zone", "catalog"],
)
def test_work_that_needs_the_lost_threads_is_refused_at_once_with_the_way_out(tmp_path: Path, work: str) -> None:
    answer = pool(tmp_path, work)
    assert "it was forked after Polars had started its threads" in answer
    assert 'start the workers with "spawn" or "forkserver"' in answer


def test_a_parent_that_used_polars_only_is_recognised_too(tmp_path: Path) -> None:
    prepare = 'import polars; FRAME = polars.DataFrame({"a": [2, 1]}).lazy().sort("a").collect()'
    assert "it was forked after Polars had started its threads" in pool(tmp_path, "frame", prepare=prepare)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_spawned_workers_run_after_a_run_in_the_parent(tmp_path: Path, method: str) -> None:
    assert float(pool(tmp_path, "path", method=method)) > 0


def test_a_worker_that_is_forked_before_any_run_works(tmp_path: Path) -> None:
    assert float(pool(tmp_path, "path", prepare="pass")) > 0


def test_weaver_imported_only_in_the_forked_child_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "late.py"
    path.write_text(
        "import multiprocessing\n"
        "import polars\n\n"
        "def job():\n"
        "    from weaver import Strategy, backtest, synthetic_bars\n"
        "    class Buy(Strategy):\n"
        "        def on_bar(self, bar):\n"
        "            pass\n"
        "    try:\n"
        "        backtest(Buy, {'A': polars.DataFrame()})\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__, flush=True)\n\n"
        'if __name__ == "__main__":\n'
        '    polars.DataFrame({"a": [2, 1]}).sort("a")\n'
        '    child = multiprocessing.get_context("fork").Process(target=job)\n'
        "    child.start()\n"
        "    child.join(30)\n"
        "    child.kill()\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-W", "ignore::DeprecationWarning", path]
    assert (
        subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip() == "UnsafeFork"
    )
