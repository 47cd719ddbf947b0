"""`weaver check`: an honest strategy passes, a cheating one ends with exit code 5 and is named."""

from __future__ import annotations

from pathlib import Path

from weaver.cli.main import ExitCode

CHEATING = """
import numpy as np
from weaver import Strategy


def tomorrow(close):
    return np.roll(close, -1)


class Cheating(Strategy):
    def on_start(self):
        self.next_close = self.indicator(tomorrow, self.bars.close)

    def on_bar(self, bar):
        if self.next_close[-1] > bar.close and not self.position:
            self.buy(quantity=1)
"""


def test_an_honest_strategy_passes(weaver, buy_once: Path, bars_csv: Path) -> None:
    ended = weaver("check", buy_once, "--data", bars_csv)
    assert (ended.code, ended.err) == (ExitCode.DONE, "")
    assert "proved" in ended.out


def test_a_strategy_that_looks_ahead_is_caught_and_named(weaver, tmp_path: Path, bars_csv: Path) -> None:
    strategy = tmp_path / "cheating.py"
    strategy.write_text(CHEATING, encoding="utf-8")
    ended = weaver("check", strategy, "--data", bars_csv)
    assert ended.code == ExitCode.CHECK
    assert "tomorrow" in ended.out


def test_its_settings_reach_the_check(weaver, buy_once: Path, bars_csv: Path) -> None:
    assert weaver("check", buy_once, "--data", bars_csv, "--param", "sise=1").code == ExitCode.USAGE
    assert weaver("check", buy_once, "--data", f"UP={bars_csv}", "--symbol", "PU").code == ExitCode.DATA
    assert weaver("check", buy_once, "--data", bars_csv, "--timeframe", "1d", "--param", "size=2").code == 0


def test_renamed_options_print_their_new_name_once(weaver, buy_once: Path, bars_csv: Path) -> None:
    ended = weaver("check", buy_once, "--data", bars_csv, "--seed", "3")
    assert ended.code == ExitCode.DONE
    assert ended.err.splitlines() == [
        "note: --seed now seeds the strategy's self.random, as in backtest; the seed of the sample of cuts is --sample-seed"
    ]
    quiet = weaver("check", buy_once, "--data", bars_csv, "--sample-seed", "3", "--lookback", "5")
    assert (quiet.code, quiet.err) == (ExitCode.DONE, "")


def test_a_strategy_without_callbacks_leaves_nothing_to_judge(weaver, tmp_path: Path, bars_csv: Path) -> None:
    path = tmp_path / "empty.py"
    path.write_text("from weaver import Strategy\n\n\nclass Empty(Strategy):\n    pass\n", encoding="utf-8")
    ended = weaver("check", path, "--data", bars_csv)
    assert ended.code == ExitCode.DONE
    assert "nothing to judge" in ended.out
    assert "proved" not in ended.out
