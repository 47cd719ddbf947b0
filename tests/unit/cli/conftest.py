"""What the tests of the command line share: running it in this process, a small file of bars, a small strategy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from weaver.cli.main import main

STRATEGY = """
from weaver import Strategy


class BuyOnce(Strategy):
    size: float = 1.0

    def on_bar(self, bar):
        if not self.position:
            self.buy(quantity=self.size)
"""


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


@pytest.fixture
def weaver(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run `weaver ARGUMENTS...` in this process."""

    def run(*arguments: object) -> Ended:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


@pytest.fixture
def bars_csv(tmp_path: Path) -> Path:
    """Forty daily bars that rise by one a day, from 2024-01-01."""
    lines = ["date,open,high,low,close,volume"]
    for n in range(40):
        day = f"2024-01-{n + 1:02}" if n < 31 else f"2024-02-{n - 30:02}"
        lines.append(f"{day},{100 + n},{101 + n},{99 + n},{100.5 + n},1000")
    path = tmp_path / "rising.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def buy_once(tmp_path: Path) -> Path:
    """A strategy that buys `size` at the second bar's open and keeps it."""
    path = tmp_path / "buy_once.py"
    path.write_text(STRATEGY, encoding="utf-8")
    return path
