"""A backtest runs in a script, inside a running event loop, in a thread and in a worker process, with the same result."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weaver import Result, StrategyCrashed, backtest
from weaver.data.synthetic import synthetic_bars
from weaver.marvin.loader import load_strategy

STRATEGY = """\
from weaver import Strategy
from weaver.indicators import sma


class Cross(Strategy):
    fast: int = 5
    slow: int = 20

    def on_start(self):
        self.fast_ma = self.indicator(sma, self.bars.close, self.fast)
        self.slow_ma = self.indicator(sma, self.bars.close, self.slow)
        self.every("day", lambda: self.random.random())

    def on_bar(self, bar):
        if self.fast_ma[-1] > self.slow_ma[-1] and not self.position:
            self.buy(1 + self.random.integers(0, 5), stop_loss=bar.close * 0.97)
        elif self.fast_ma[-1] < self.slow_ma[-1] and self.position:
            self.close()
"""
FAILS = """\
from weaver import Strategy


class Fails(Strategy):
    def on_bar(self, bar):
        if len(self.bars.close) == 3:
            raise RuntimeError("enough")
"""
WORKER = """\
from pathlib import Path

from weaver import backtest
from weaver.marvin.loader import load_strategy

FOLDER = Path(__file__).parent


def work(file, params):
    kind = load_strategy(FOLDER / file)
    return backtest(kind, FOLDER / "bars.parquet", params=params, cash=10_000, commission=0.001, seed=5)
"""
SETTINGS: dict[str, Any] = {"cash": 10_000, "commission": 0.001, "seed": 5}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with bars and two strategies."""
    synthetic_bars(3_000, timeframe="1h", seed=1).write_parquet(tmp_path / "bars.parquet")
    (tmp_path / "cross.py").write_text(STRATEGY, encoding="utf-8")
    (tmp_path / "worker_for_test.py").write_text(WORKER, encoding="utf-8")
    (tmp_path / "fails.py").write_text(FAILS, encoding="utf-8")
    return tmp_path


def run(folder: Path, fast: int = 5) -> Result:
    """One run of the strategy in `folder`, as a worker does it."""
    kind = load_strategy(folder / "cross.py")
    return backtest(kind, folder / "bars.parquet", params={"fast": fast}, **SETTINGS)


def facts(result: Result) -> tuple[Any, ...]:
    """What has to be equal, wherever the run was."""
    return (
        result.fills.rows(), result.orders.rows(), result.trades.rows(), result.record.equity.tobytes(),
        np.array(list(result.stats.values()), dtype=np.float64).tobytes(), result.params, result.warnings,
    )  # fmt: skip


@pytest.fixture
def alone(folder: Path) -> tuple[Any, ...]:
    result = run(folder)
    assert result.fills.height > 20
    return facts(result)


def test_inside_a_running_event_loop(folder: Path, alone: tuple[Any, ...]) -> None:
    async def notebook() -> Result:
        before = asyncio.all_tasks()
        result = run(folder)
        assert asyncio.all_tasks() == before
        return result

    assert facts(asyncio.run(notebook())) == alone


def test_beside_a_running_event_loop_in_a_thread_of_it(folder: Path, alone: tuple[Any, ...]) -> None:
    async def service() -> Result:
        return await asyncio.to_thread(run, folder)

    assert facts(asyncio.run(service())) == alone


def test_in_a_thread(folder: Path, alone: tuple[Any, ...]) -> None:
    found: list[Result] = []
    thread = threading.Thread(target=lambda: found.append(run(folder)))
    thread.start()
    thread.join()
    assert facts(found[0]) == alone


def test_in_two_threads_at_once(folder: Path, alone: tuple[Any, ...]) -> None:
    # The two are inside their runs at the same time: each waits, once, for the other in its progress.
    kind = load_strategy(folder / "cross.py")
    meet = threading.Barrier(2, timeout=60)

    def one(fast: int) -> Result:
        waits = [True]

        def progress(done: int, total: int) -> None:
            if waits and done < total:
                waits.clear()
                meet.wait()

        return backtest(kind, folder / "bars.parquet", params={"fast": fast}, progress=progress, **SETTINGS)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(one, (5, 8))
    assert facts(first) == alone
    assert facts(second) == facts(run(folder, fast=8)) != alone


def test_in_worker_processes(folder: Path, alone: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    # What a worker is given and gives back travels by pickle; the class goes as its file.
    monkeypatch.syspath_prepend(str(folder))
    worker = import_module("worker_for_test")
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        results = list(pool.map(worker.work, ["cross.py"] * 2, [{"fast": 5}, {"fast": 8}]))
        failed = pool.submit(worker.work, "fails.py", {})
        with pytest.raises(StrategyCrashed, match=r"Fails\.on_bar raised RuntimeError: enough") as caught:
            failed.result()
    assert facts(results[0]) == alone
    assert facts(results[1]) == facts(run(folder, fast=8))
    assert caught.value.result.bars == 3


def test_in_a_script_whose_class_goes_to_workers_by_itself(folder: Path, alone: tuple[Any, ...]) -> None:
    script = folder / "sweep.py"
    script.write_text(
        STRATEGY
        + """

if __name__ == "__main__":
    from concurrent.futures import ProcessPoolExecutor
    from functools import partial
    from multiprocessing import get_context

    from weaver import backtest

    settings = dict(cash=10_000, commission=0.001, seed=5)
    one = partial(backtest, Cross, "bars.parquet", **settings)
    here = one()
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        there = pool.submit(one).result()
    assert here.fills.equals(there.fills) and here.equity.equals(there.equity)
    print(len(there.fills), repr(there.final_equity))
""",
        encoding="utf-8",
    )
    environment = os.environ | {"PYTHONWARNINGS": "error"}
    ended = subprocess.run([sys.executable, script.name], cwd=folder, env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    result = run(folder)
    assert ended.stdout == f"{result.fills.height} {result.final_equity!r}\n"


def test_a_run_leaves_no_thread_and_no_event_loop_behind(folder: Path) -> None:
    threads = set(threading.enumerate())
    run(folder)
    assert set(threading.enumerate()) == threads
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
