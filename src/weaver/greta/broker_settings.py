"""BrokerSettings.

The costs, limits and assumptions of a simulated broker. They are validated here, and stored in every result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

from weaver.core.errors import ConfigError
from weaver.core.text import brief
from weaver.greta.costs import Commission, CommissionBps, Slippage, SlippageBps

__all__ = ["INTRABAR_RULES", "LIMIT_RULES", "BrokerSettings"]

INTRABAR_RULES = ("worst", "best", "drill")
LIMIT_RULES = ("touch", "through")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """The rules of the simulated venue and account; see docs/fills.md for each."""

    commission: Commission | None = None
    slippage: Slippage | None = None
    spread: float = 0.0
    leverage: float = 1.0
    cash_only: bool = False
    maintenance: float | None = None
    borrow_rate: float = 0.0
    financing_rate: float = 0.0
    volume_cap: float | None = None
    intrabar: str = "worst"
    limit_fill: str = "touch"

    def __post_init__(self) -> None:
        for name, value in (
            ("leverage", self.leverage),
            ("spread", self.spread),
            ("maintenance", self.maintenance),
            ("borrow", self.borrow_rate),
            ("financing", self.financing_rate),
            ("volume_cap", self.volume_cap),
        ):
            may_be_none = name in ("maintenance", "volume_cap")
            if not (value is None and may_be_none) and (isinstance(value, bool) or not isinstance(value, Real)):
                raise ConfigError(f"{name}={brief(value)}: must be a number{', or None' if may_be_none else ''}")
        if not isinstance(self.cash_only, bool):
            raise ConfigError(f"cash_only={brief(self.cash_only)}: must be True or False")
        if self.intrabar not in INTRABAR_RULES:
            raise ConfigError(f"intrabar={brief(self.intrabar)}: must be one of {', '.join(INTRABAR_RULES)}")
        if self.limit_fill not in LIMIT_RULES:
            raise ConfigError(f"limit_fill={brief(self.limit_fill)}: must be one of {', '.join(LIMIT_RULES)}")
        if not (math.isfinite(self.leverage) and self.leverage > 0):
            raise ConfigError(
                f"leverage={brief(self.leverage)}: must be greater than zero; 2.0 allows twice the equity"
            )
        if not 0 <= self.spread < 1:
            raise ConfigError(
                f"spread={brief(self.spread)}: a fraction of the price, so 0.0002 is 2 bps from bid to ask"
            )
        if self.volume_cap is not None and not 0 < self.volume_cap <= 1:
            raise ConfigError(
                f"volume_cap={brief(self.volume_cap)}: a share of a bar's volume, greater than 0, at most 1"
            )
        if self.maintenance is not None and not 0 <= self.maintenance < 1 / self.leverage:
            raise ConfigError(
                f"maintenance={brief(self.maintenance)}: a share of the gross position, 0 or more and below "
                f"1 / leverage = {1 / self.leverage:g}"
            )
        for name, rate in (("borrow", self.borrow_rate), ("financing", self.financing_rate)):
            if not (math.isfinite(rate) and rate >= 0):
                raise ConfigError(f"{name}={brief(rate)}: a yearly rate, zero or greater; 0.03 is 3 % a year")

    @property
    def maintenance_margin(self) -> float:
        """The share of the gross position that the equity must not fall below."""
        return 0.5 / self.leverage if self.maintenance is None else self.maintenance

    @property
    def commission_rate(self) -> float | None:
        """The commission as a fraction of the notional, None if it is anything else."""
        if self.commission is None:
            return 0.0
        if type(self.commission) is CommissionBps and self.commission.maker is None:
            return self.commission.bps / 10_000.0
        return None

    @property
    def slippage_rate(self) -> float | None:
        """Slippage and half the spread as a fraction of the price, None if slippage is anything else."""
        if self.slippage is None:
            return self.spread / 2
        if type(self.slippage) is SlippageBps:
            return self.slippage.bps / 10_000.0 + self.spread / 2
        return None

    def describe(self) -> dict[str, object]:
        """Return every setting, ready for JSON."""
        return {
            "commission": "none" if self.commission is None else self.commission.describe(),
            "slippage": "none" if self.slippage is None else self.slippage.describe(),
            "spread": self.spread,
            "leverage": self.leverage,
            "cash_only": self.cash_only,
            "maintenance": self.maintenance_margin,
            "borrow": self.borrow_rate,
            "financing": self.financing_rate,
            "volume_cap": self.volume_cap,
            "intrabar": self.intrabar,
            "limit_fill": self.limit_fill,
        }
