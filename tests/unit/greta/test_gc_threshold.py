"""The garbage collector is left as it was found, whoever finishes last."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from weaver.greta.gc_threshold import fewer_collections


@pytest.fixture
def threshold() -> Iterator[tuple[int, int, int]]:
    before = gc.get_threshold()
    gc.set_threshold(701, 11, 12)
    yield gc.get_threshold()
    gc.set_threshold(*before)


def test_passes_are_rarer_within_and_as_before_after_the_last_of_overlapping_runs(threshold) -> None:
    first, second = fewer_collections(), fewer_collections()
    first.__enter__()
    second.__enter__()
    assert gc.get_threshold()[0] > threshold[0]
    first.__exit__(None, None, None)
    assert gc.get_threshold()[0] > threshold[0]
    second.__exit__(None, None, None)
    assert gc.get_threshold() == threshold


def test_a_run_that_fails_gives_the_collector_back(threshold) -> None:
    with pytest.raises(ZeroDivisionError), fewer_collections():
        _ = 1 / 0
    assert gc.get_threshold() == threshold


def test_a_collector_that_is_switched_off_stays_off() -> None:
    before = gc.get_threshold()
    gc.set_threshold(0)
    try:
        with fewer_collections():
            assert gc.get_threshold()[0] == 0
    finally:
        gc.set_threshold(*before)
