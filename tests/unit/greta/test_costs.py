"""Costs are refused where they are made, by class, field and value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from weaver.core.errors import ConfigError
from weaver.costs import (
    Borrow,
    CommissionBps,
    CommissionFixed,
    CommissionPerShare,
    Financing,
    SlippageBps,
    SlippageSquareRoot,
    SlippageSteps,
)


@pytest.mark.parametrize(
    ("cost", "field"),
    [
        (CommissionBps, "bps"),
        (CommissionPerShare, "amount"),
        (CommissionFixed, "amount"),
        (SlippageBps, "bps"),
        (SlippageSteps, "steps"),
        (SlippageSquareRoot, "volatility"),
        (Borrow, "annual_rate"),
        (Financing, "annual_rate"),
    ],
)
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "5", None, True])
def test_what_is_no_cost_is_refused_by_name(cost: Any, field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{cost.__name__}\({field}=.*\): must be a number, zero or greater"):
        cost(value)


def test_a_rebate_may_be_negative_and_what_may_be_none_may_be() -> None:
    assert CommissionBps(10, maker=-1).cost(1, 1, 10_000, True) == -1
    assert CommissionBps(np.float32(10)).cost(1, 1, 10_000, True) == 10
    with pytest.raises(ConfigError, match=r"^CommissionBps\(maker='x'\): must be a number$"):
        CommissionBps(10, maker="x")  # type: ignore[arg-type]
