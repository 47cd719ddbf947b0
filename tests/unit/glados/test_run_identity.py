"""What identifies a run: instrument terms, finer bars, history and the strategy's source are in its settings and RunConfig."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from weaver import Instrument, Strategy, backtest, synthetic_bars
from weaver.core.run_config import RunConfig
from weaver.glados.backtest.options import RunOptions
from weaver.glados.backtest.plan import plan_run
from weaver.glados.backtest.run_recorder import config_of
from weaver.marvin.loader import load_strategy
from weaver.marvin.source_hash import source_hash

BARS = synthetic_bars(20, timeframe="1h").drop("symbol")


class Hold(Strategy):
    def on_bar(self, bar):
        pass


def config(**options) -> RunConfig:
    return config_of(plan_run(Hold, BARS, RunOptions(**options)))


def test_the_terms_of_the_instrument_are_in_the_config_and_the_settings() -> None:
    terms = {"lot": "1", "price_step": "0.01", "multiplier": 1.0, "quote": None}
    assert config(instrument=Instrument(lot="1", price_step="0.01")).instruments == terms
    assert config() != config(instrument=Instrument(lot="1"))
    assert backtest(Hold, BARS, instrument=Instrument(lot="1", price_step="0.01")).settings["instruments"] == terms


def test_different_terms_are_listed_by_symbol() -> None:
    bars = {"A": BARS, "B": BARS}
    instruments = backtest(Hold, bars, instrument={"A": Instrument(lot="1")}).settings["instruments"]
    assert instruments["A"]["lot"] == "1"
    assert instruments["B"]["lot"] == "0.00000001"


def test_finer_bars_and_history_are_in_the_config() -> None:
    finer = synthetic_bars(1200, timeframe="1m").drop("symbol")
    assert (config().finer, config(finer=finer).finer) == (None, "1m")
    start = "2020-01-01T10:00Z"
    assert config(start=start).history is None
    assert config(start=start, history=3) != config(start=start)
    assert RunConfig.from_json(config(start=start, history=3).to_json()) == config(start=start, history=3)


def test_a_config_of_version_0_1_0_is_still_read() -> None:
    stored = json.loads(config().to_json())
    for name in ("instruments", "finer", "source"):
        del stored[name]
    old = RunConfig.from_json(json.dumps(stored))
    assert (old.instruments, old.finer, old.source) == ({}, None, None)
    assert old.symbols == config().symbols


SOURCE = "import helper\nfrom weaver import Strategy\n\n\nclass S(Strategy):\n    def on_bar(self, bar):\n        helper.f()\n"


def hash_of(folder: Path, **files: str) -> str | None:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return source_hash(load_strategy(folder / "strategy.py"))


def test_the_hash_follows_the_strategy_and_the_modules_that_it_imports_from_its_folder(tmp_path: Path) -> None:
    first = hash_of(
        tmp_path, strategy=SOURCE, helper="import deeper\n\ndef f():\n    pass\n", deeper="X = 1\n", other="Y = 1\n"
    )
    assert first == hash_of(tmp_path)
    assert first == hash_of(tmp_path, other="Y = 2\n"), "a module that is not imported does not count"
    seen = {first}
    for change in (
        {"deeper": "X = 2\n"},
        {"helper": "import deeper\n\ndef f():\n    return 1\n"},
        {"strategy": SOURCE + "# changed\n"},
    ):
        seen.add(hash_of(tmp_path, **change))
    assert len(seen) == 4


@pytest.mark.parametrize(
    "statement",
    ["from helper import f", "from . import helper", "from .helper import f", "from inner import part", "import inner.part",
     "def late():\n    import helper\n"],
)  # fmt: skip
def test_every_form_of_import_is_followed(tmp_path: Path, statement: str) -> None:
    source = (
        f"from weaver import Strategy\n{statement}\n\n\nclass S(Strategy):\n    def on_bar(self, bar):\n        pass\n"
    )
    files = {"strategy": source, "helper": "def f(): pass\n", "inner____init__": "", "inner__part": "A = 1\n"}
    files = {name.replace("inner____init__", "inner/__init__"): text for name, text in files.items()}
    before = hash_of(tmp_path, **files)
    after = hash_of(
        tmp_path, **({"inner__part": "A = 2\n"} if "inner" in statement else {"helper": "def f(): return 1\n"})
    )
    assert before != after


def test_a_class_without_a_source_has_no_hash() -> None:
    made = type("Made", (Strategy,), {"on_bar": lambda self, bar: None, "__module__": "nowhere"})
    assert source_hash(made) is None
    assert backtest(made, BARS).settings["source"] is None
