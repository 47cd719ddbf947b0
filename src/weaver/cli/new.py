"""`weaver new`: creates a strategy file to start from. It never overwrites a file."""

from __future__ import annotations

import keyword
import re
import sys
from importlib.resources import files
from pathlib import Path

import click

from weaver.cli.main import ExitCode, Stopped
from weaver.cli.output import echo
from weaver.core.text import brief

__all__ = ["new", "render"]

TEMPLATE_CLASS, TEMPLATE_FILE = "SmaCross", "sma_cross"
# `python random.py` imports modules from the folder of the file first, so every import of `random` would find the strategy.
_TAKEN = sys.stdlib_module_names | {
    "weaver", "click", "msgspec", "narwhals", "numpy", "packaging", "pandas", "platformdirs", "plotly", "polars", "pyarrow",
    "talib", "tqdm", "tzdata",
}  # fmt: skip


@click.group(short_help="Create a strategy file to start from.")
def new() -> None:
    """Create a strategy file to start from."""


@new.command("strategy")
@click.argument("name")
def new_strategy(name: str) -> None:
    """Create NAME.py, a commented strategy that runs unchanged. NAME may be a path: ideas/breakout."""
    path = Path(name).expanduser()
    folder, stem = path.parent, path.name.removesuffix(".py")
    words = [word for word in re.split(r"[\W_]+|(?<=[a-z0-9])(?=[A-Z])", stem) if word]
    class_name = "".join(word[0].upper() + word[1:] for word in words)
    file_stem = "_".join(word.lower() for word in words)
    if not class_name.isidentifier() or keyword.iskeyword(class_name):
        raise click.UsageError(f"{brief(stem)} cannot be a class name; start with a letter, for example: my_strategy")
    if file_stem in _TAKEN:
        raise click.UsageError(
            f"{file_stem}.py would hide the module {brief(file_stem)} of Python or Weaver; choose another name, for "
            f"example: my_{file_stem}"
        )
    target = folder / f"{file_stem}.py"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(render(class_name, target.as_posix()))
    except FileExistsError:
        raise Stopped(f"{target} exists already; choose another name or move it away", ExitCode.USAGE) from None
    echo(f"created {target}; run it with: weaver backtest {target} --data demo:AAPL --report report.html")


def render(class_name: str, path: str) -> str:
    """Return the text of the file for a strategy class of that name at that path."""
    text = files("weaver.cli").joinpath("strategy_template.py").read_text(encoding="utf-8")
    return text.replace(TEMPLATE_CLASS, class_name).replace(f"{TEMPLATE_FILE}.py", path)
