"""What every test may use: the real data files, where the machine has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# A test that wants its run kept says so; the others leave no trace in anybody's store.
os.environ["WEAVER_RECORD"] = "0"

SKIP_REASON = "WEAVER_TEST_DATA is not set"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real market data that the environment variable WEAVER_TEST_DATA names."""
    folder = os.environ.get("WEAVER_TEST_DATA")
    if not folder:
        pytest.skip(SKIP_REASON)
    return Path(folder).resolve()
