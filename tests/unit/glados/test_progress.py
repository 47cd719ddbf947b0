"""Progress: a bar on a terminal, silence in a pipe, the count in both."""

from __future__ import annotations

from weaver.glados.backtest.progress import Progress


def test_a_pipe_sees_nothing_and_the_count_is_kept(capsys) -> None:
    with Progress() as progress:
        progress(250, 1000)
        assert str(progress) == "after 250 of 1,000 bars (25 %)"
    assert capsys.readouterr() == ("", "")


def test_a_terminal_sees_the_rate_and_the_remaining_time_on_standard_error(capsys) -> None:
    with Progress(draw=True) as progress:
        progress(250, 1000)
        progress(1000, 1000)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "1.00k" in captured.err
    assert "bars/s" in captured.err
    assert "<" in captured.err  # tqdm: elapsed<remaining


def test_before_the_first_bar_there_is_nothing_to_count() -> None:
    assert str(Progress(draw=False)) == "before any bars"
    assert str(Progress(draw=False, unit="cuts")) == "before any cuts"
