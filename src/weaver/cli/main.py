"""The command `weaver`: runs a subcommand and turns an error into one line and an exit code.

Imports nothing heavy. docs/cli.md lists the exit codes, which `ExitCode` defines.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from enum import IntEnum
from importlib import import_module

import click

from weaver import __version__
from weaver.cli.output import echo, echo_text
from weaver.core.errors import ConfigError, DataError, StrategyError, WeaverError
from weaver.core.suggest import nearest
from weaver.core.text import brief, cut_middle, describe_error, visible

__all__ = ["LONGEST_TRACEBACK", "ExitCode", "Stopped", "cli", "main"]

LONGEST_TRACEBACK = 100_000
"""Characters that --debug prints of an error: the texts of its causes may have megabytes."""


class ExitCode(IntEnum):
    """The exit codes."""

    DONE = 0
    FAILED = 1  # anything else: a file that cannot be written, an error inside Weaver
    USAGE = 2  # the call or a setting is wrong
    STRATEGY = 3  # the strategy cannot be loaded, or it raised
    DATA = 4  # the bars cannot be read, or are wrong
    CHECK = 5  # `weaver check` reports a finding
    INTERRUPTED = 130  # Ctrl-C


class Stopped(Exception):
    """Ends a command with a message and an exit code."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used: name -> (module:attribute, help line)."""

    lazy: Mapping[str, tuple[str, str]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy:
            return None
        module, _, attribute = self.lazy[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        _offer_debug(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.lazy and (near := nearest(args[0], self.lazy)):
            ctx.fail(f"No such command {brief(args[0])}. Did you mean {brief(near[0])}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):  # without importing any of them
            formatter.write_dl([(name, line) for name, (_, line) in self.lazy.items()])


def _offer_debug(command: click.Command) -> None:
    if not any(option.name == "debug" for option in command.params):
        command.params.append(
            click.Option(["--debug"], is_flag=True, expose_value=False, help="Print the traceback of an error.")
        )
    if isinstance(command, click.Group):
        for child in command.commands.values():
            _offer_debug(child)


class WeaverCommands(LazyGroup):
    """The commands, in the order of the help text."""

    lazy: Mapping[str, tuple[str, str]] = {
        "demo": ("weaver.cli.demo:demo", "Backtest the example strategy on the included prices."),
        "new": ("weaver.cli.new:new", "Create a strategy file to start from."),
        "backtest": ("weaver.cli.backtest:backtest", "Backtest a strategy and print the results."),
        "check": ("weaver.cli.check:check", "Check a strategy for look-ahead."),
        "data": ("weaver.cli.data:data", "Import, list, check and show bars."),
        "runs": ("weaver.cli.runs:runs", "List, show, compare and delete recorded runs."),
        "events": ("weaver.cli.events:events", "Follow, show and prune the event log."),
        "db": ("weaver.cli.db:db", "Start, stop, inspect and back up the database."),
        "completion": ("weaver.cli.completion:completion", "Print the shell completion script."),
    }


@click.command(
    cls=WeaverCommands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 success, 1 failure, 2 wrong call or setting, 3 strategy, 4 data, 5 look-ahead finding, "
    "130 interrupted.",
)
@click.version_option(__version__, prog_name="weaver")
@click.option("--debug", is_flag=True, expose_value=False, help="Print the traceback of an error.")
def cli() -> None:
    """Backtest trading strategies: write a strategy as one Python class and run it bar by bar."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. `arguments` defaults to those of the process."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_before, warnings.formatwarning = warnings.formatwarning, _format_warning
    try:
        return _run(given, debug="--debug" in given)
    finally:
        warnings.formatwarning = as_before


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Return a warning as one line; libraries warn with names from files and servers."""
    return f"{visible(f'{category.__name__}: {cut_middle(str(message))} ({filename}:{lineno})')}\n"


def _run(given: list[str], *, debug: bool) -> int:
    try:
        ended = cli.main(given, prog_name="weaver", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _complain("interrupted", ExitCode.INTERRUPTED)
    except click.UsageError as error:
        if error.ctx and error.message == error.ctx.get_help():  # a group without a command prints its help
            echo_text(error.message, err=True)
            return ExitCode.USAGE
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        return _complain(error.format_message() + hint, ExitCode.USAGE)
    except click.ClickException as error:
        return _complain(error.format_message(), error.exit_code)
    except Stopped as error:
        return _complain(str(error), error.code)
    except Exception as error:  # noqa: BLE001 - the supervisor of the command line
        if debug:
            import traceback

            text = cut_middle("".join(traceback.format_exception(error)).rstrip(), LONGEST_TRACEBACK)
            echo_text(cut_middle(visible(text, multiline=True), LONGEST_TRACEBACK), err=True)
        return _complain(*_explain(error, debug=debug))
    return ended if isinstance(ended, int) else ExitCode.DONE


def _explain(error: Exception, *, debug: bool) -> tuple[str, int]:
    if isinstance(error, StrategyError):
        return str(error), ExitCode.STRATEGY
    if isinstance(error, DataError):
        return str(error), ExitCode.DATA
    if isinstance(error, ConfigError):
        return str(error), ExitCode.USAGE
    if isinstance(error, WeaverError):
        return str(error), ExitCode.FAILED
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}", ExitCode.FAILED
    from weaver.core.replaced_modules import replaced_module_note

    hints = (replaced_module_note(error), None if debug else "--debug prints the traceback")
    return "; ".join(filter(None, (f"unexpected {describe_error(error)}", *hints))), ExitCode.FAILED


def _complain(message: str, code: int) -> int:
    """Print the message as one line, so that logs and shell scripts can read it."""
    lines = cut_middle(message).split("\n")
    echo("error: " + " | ".join(line.strip() for line in lines if line.strip()), err=True)
    return code
