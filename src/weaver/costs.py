"""Costs for `backtest(...)`: commissions, slippage, borrow and financing. The classes document their numbers."""

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
