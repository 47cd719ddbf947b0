"""`weaver completion`: prints the shell completion script, which click generates."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import ShellComplete, get_completion_class

from weaver.cli.output import echo_text

__all__ = ["completion"]

_SHELLS = ("bash", "zsh", "fish")


@click.command(short_help="Print the shell completion script.")
@click.argument("shell", required=False, type=click.Choice(_SHELLS))
def completion(shell: str | None) -> None:
    """Print the completion script for SHELL (default: the shell in $SHELL).

    \b
    bash:  weaver completion bash >> ~/.bashrc
    zsh:   weaver completion zsh >> ~/.zshrc
    fish:  weaver completion fish > ~/.config/fish/completions/weaver.fish
    """
    from weaver.cli.main import cli

    name = shell or Path(os.environ.get("SHELL", "")).name
    if name not in _SHELLS:
        raise click.UsageError(f"$SHELL is {name or 'not set'!s}; name one of {', '.join(_SHELLS)}")
    kind = get_completion_class(name)
    assert kind is not None, name
    # The base's `source`: that for bash starts the first bash of PATH, which may be one in the current folder.
    echo_text(ShellComplete.source(kind(cli, {}, "weaver", "_WEAVER_COMPLETE")))
