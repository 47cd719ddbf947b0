"""Costs for `backtest(...)`: commissions, slippage, borrow and financing. See the classes for what each number means."""

from weaver.greta.costs import (
    Borrow,
    CommissionBps,
    CommissionFixed,
    CommissionPerShare,
    Financing,
    SlippageBps,
    SlippageSquareRoot,
    SlippageSteps,
    SlippageVolumeShare,
)

__all__ = [
    "Borrow",
    "CommissionBps",
    "CommissionFixed",
    "CommissionPerShare",
    "Financing",
    "SlippageBps",
    "SlippageSquareRoot",
    "SlippageSteps",
    "SlippageVolumeShare",
]
