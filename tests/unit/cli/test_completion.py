"""`weaver completion`: a script for the shell, and the completions that the script asks for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from weaver.cli.main import ExitCode


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(weaver, shell: str) -> None:
    ended = weaver("completion", shell)
    assert ended.code == 0
    assert f"_WEAVER_COMPLETE={shell}_complete" in ended.out


def test_no_program_is_started_for_the_script(weaver, monkeypatch, tmp_path) -> None:
    program = tmp_path / "bash"
    program.write_text(f"#!/bin/sh\n>{tmp_path}/executed\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", ":/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    assert "_WEAVER_COMPLETE=bash_complete" in weaver("completion", "bash").out
    assert not (tmp_path / "executed").exists()


def test_the_users_shell_is_the_default(weaver, monkeypatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert "#compdef weaver" in weaver("completion").out
    monkeypatch.setenv("SHELL", "/usr/bin/nu")
    ended = weaver("completion")
    assert ended.code == ExitCode.USAGE
    assert "bash, zsh, fish" in ended.err


def test_the_script_is_answered_with_commands_and_options() -> None:
    def ask(*words: str) -> str:
        code = "import sys; from weaver.cli.main import main; sys.exit(main([]))"
        environment = {
            "_WEAVER_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(words),
            "COMP_CWORD": str(len(words) - 1),
        }
        return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stdout

    assert "plain,backtest" in ask("weaver", "back")
    assert "plain,--commission" in ask("weaver", "backtest", "--comm")
