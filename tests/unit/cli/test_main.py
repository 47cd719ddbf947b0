"""`weaver` itself: help, version, exit codes, errors in one line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import click
import pytest

from weaver import __version__
from weaver.cli import main as module
from weaver.cli.main import ExitCode, Stopped, WeaverCommands, cli, main
from weaver.core.errors import ClockRunning, DataError, ParameterError, StrategyCrashed, UnknownSymbol


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Make the command `weaver demo` raise."""

    def make(error: BaseException) -> None:
        @click.command()
        def command() -> None:
            raise error

        monkeypatch.setattr(WeaverCommands, "get_command", lambda self, ctx, name: command)

    return make


def test_help_names_every_command_and_the_exit_codes(weaver) -> None:
    ended = weaver("--help")
    assert ended.code == 0
    for name in WeaverCommands.lazy:
        assert f"  {name} " in ended.out
    for code in ExitCode:
        assert f"{code.value} " in " ".join(ended.out.split())


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from weaver.cli.main import main; main(['--help'])\n"
        "heavy = ('numpy', 'polars', 'pandas', 'plotly', 'msgspec', 'tqdm', 'asyncio', 'weaver.cli.b', 'weaver.walle')\n"
        "print([m for m in sys.modules if m.startswith(heavy)])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_the_version_is_the_packages(weaver) -> None:
    assert weaver("--version").out.strip() == f"weaver, version {__version__}"


@pytest.mark.parametrize("name", list(WeaverCommands.lazy))
def test_every_command_has_help_and_offers_the_traceback(weaver, name: str) -> None:
    ended = weaver(name, "--help")
    assert ended.code == 0
    assert "--debug" in ended.out


def test_python_dash_m_weaver_is_the_same_command() -> None:
    found = subprocess.run([sys.executable, "-m", "weaver", "--version"], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == f"weaver, version {__version__}"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ParameterError("p"), ExitCode.USAGE),
        (UnknownSymbol("s"), ExitCode.DATA),
        (DataError("d"), ExitCode.DATA),
        (StrategyCrashed("c"), ExitCode.STRATEGY),
        (ClockRunning("r"), ExitCode.FAILED),
        (PermissionError(13, "Permission denied", "out.json"), ExitCode.FAILED),
        (ZeroDivisionError("z"), ExitCode.FAILED),
        (Stopped("s", ExitCode.CHECK), ExitCode.CHECK),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (click.UsageError("u"), ExitCode.USAGE),
        (click.ClickException("e"), ExitCode.FAILED),
    ],
)
def test_every_error_is_one_line_and_its_exit_code(weaver, failing, error: BaseException, code: ExitCode) -> None:
    failing(error)
    ended = weaver("demo")
    assert ended.code == code
    assert ended.out == ""
    assert ended.err.lstrip().startswith("error: ")  # after ^C the terminal is given a new line first
    assert ended.err.strip().count("\n") == 0


def test_a_message_of_several_lines_becomes_one(weaver, failing) -> None:
    failing(StrategyCrashed("first\n  second\n\nthird"))
    assert weaver("demo").err == "error: first | second | third\n"


def test_an_operating_system_error_names_the_file(weaver, failing) -> None:
    failing(FileNotFoundError(2, "No such file or directory", "out/x.json"))
    assert weaver("demo").err == "error: out/x.json: No such file or directory\n"


def test_debug_shows_the_traceback_and_without_it_there_is_none(weaver, failing) -> None:
    failing(ZeroDivisionError("z"))
    assert "Traceback" not in weaver("demo").err
    assert "--debug" in weaver("demo").err
    shown = weaver("--debug", "demo")
    assert "Traceback" in shown.err
    assert "ZeroDivisionError: z" in shown.err
    assert shown.code == ExitCode.FAILED


def test_an_unknown_command_and_an_unknown_option_are_usage_errors(weaver) -> None:
    assert weaver("backtset").code == ExitCode.USAGE
    ended = weaver("backtest", "--dta", "x")
    assert ended.code == ExitCode.USAGE
    assert "--dta" in ended.err
    assert "weaver backtest --help" in ended.err


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    code = "import sys; from weaver.cli.main import main; sys.exit(main(['--help']))"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.close()
    _, err = child.communicate()
    assert err == ""


def test_main_takes_the_arguments_of_the_process(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["weaver", "--version"])
    assert main() == 0
    assert __version__ in capsys.readouterr().out


def test_an_exit_code_that_a_command_returns_is_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def command() -> ExitCode:
        return ExitCode.CHECK

    monkeypatch.setattr(module.WeaverCommands, "get_command", lambda self, ctx, name: command)
    assert main(["check"]) == ExitCode.CHECK
    assert cli.name is not None


@pytest.mark.parametrize("arguments", [(), ("data",), ("new",)])
def test_without_a_command_the_help_is_shown_as_it_is(weaver, arguments: tuple[str, ...]) -> None:
    ended = weaver(*arguments)
    shown = ended.err or ended.out  # older versions of click print it to standard output
    assert shown.startswith("Usage: weaver ")
    assert shown.count("\n") > 5
    assert "error" not in shown.splitlines()[0]


def test_a_mistyped_command_is_answered_with_the_nearest_one(weaver) -> None:
    assert "Did you mean 'backtest'?" in weaver("backtset").err
    assert "Did you mean" not in weaver("qqq").err
