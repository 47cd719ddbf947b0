"""RunAnalysis: from the record of a run to columns, and from columns to statistics.

Everything is computed on first use and kept. `Result`, the printed table, the figure and the report all read from here,
so that a number is computed in one place. Equal records give equal columns and statistics, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

from weaver.core.bars import Floats
from weaver.core.orders import OrderStatus
from weaver.core.suggest import suggest
from weaver.core.text import brief, visible
from weaver.results import metrics, run_warnings
from weaver.results.fill_columns import FillColumns, fill_columns
from weaver.results.record import LazyOrders, OrderRecord, RunRecord
from weaver.results.stats import buy_and_hold_curve, compute_stats
from weaver.results.trade_columns import TradeColumns, fifo_columns, trade_columns

__all__ = ["RunAnalysis", "StatsView"]


class StatsView(Mapping[str, "float | int"]):
    """The statistics, read-only and in a fixed order; prints as a table. docs/metrics.md defines every key."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, float | int]) -> None:
        self._values = dict(values)

    def __getitem__(self, key: str) -> float | int:
        try:
            return self._values[key]
        except KeyError:
            hint = suggest(key, self._values, f"there are: {', '.join(self._values)}")
            raise KeyError(f"{brief(key)} is not a statistic; {hint}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        width = max(map(len, self._values), default=0)
        return "\n".join(f"{key:<{width}}  {value:>16,.6g}" for key, value in self._values.items())


class RunAnalysis:
    """The columns and statistics of one `RunRecord`."""

    def __init__(self, record: RunRecord) -> None:
        self.record = record

    @cached_property
    def fills(self) -> FillColumns:
        """The fills in the order they happened."""
        return fill_columns(self.record)

    @property
    def trades(self) -> TradeColumns:
        """The closed trades, from flat to flat, ordered by exit."""
        return self._all_trades[0]

    @property
    def open_trades(self) -> TradeColumns:
        """The trades still open at the end, valued at their symbol's last close."""
        return self._all_trades[1]

    @cached_property
    def fifo_trades(self) -> TradeColumns:
        """The closed FIFO pairs of fills, ordered by exit."""
        return fifo_columns(self.record, self.fills)

    @cached_property
    def _all_trades(self) -> tuple[TradeColumns, TradeColumns]:
        return trade_columns(self.record, self.fills)

    @cached_property
    def rejected_orders(self) -> list[OrderRecord]:
        """The rejected orders, in the order they were given."""
        orders = self.record.orders
        if isinstance(orders, LazyOrders):
            return orders.rejected()
        return [order for order in orders if order.status is OrderStatus.REJECTED]

    @cached_property
    def liquidation_orders(self) -> list[OrderRecord]:
        """The orders that the broker gave to liquidate the account, in the order they were given."""
        orders = self.record.orders
        return (
            orders.liquidations()
            if isinstance(orders, LazyOrders)
            else [order for order in orders if order.liquidation]
        )

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about the result, each in one line: the warnings of the record, then those that follow from it."""
        derived = (
            run_warnings.unfilled_text(self.record),
            run_warnings.rejections_text(self.record, self.rejected_orders),
            run_warnings.liquidations_text(self.liquidation_orders),
            run_warnings.gaps_text(self.record),
            self.open_positions,
        )
        return tuple(visible(text) for text in (*self.record.warnings, *filter(None, derived)))

    @cached_property
    def open_positions(self) -> str | None:
        """A sentence about the positions open at the end and their unrealised profit, or None."""
        return run_warnings.open_positions_text(self.open_trades)

    @cached_property
    def drawdown(self) -> Floats:
        """One fraction <= 0 per equity row: equity over its highest value so far, minus 1."""
        return metrics.drawdown_curve(self.record.equity, self.record.initial_cash)

    @cached_property
    def buy_and_hold(self) -> Floats | None:
        """Buy-and-hold equity, one value per equity row; None where a close is not positive or there are no rows."""
        return buy_and_hold_curve(self.record)

    @cached_property
    def stats(self) -> StatsView:
        """The statistics; docs/metrics.md has definitions and units. NaN: not defined."""
        stats = compute_stats(
            self.record,
            self.fills,
            self.trades,
            self.open_trades,
            rejected_orders=len(self.rejected_orders),
            liquidations=len({order.submitted_ns for order in self.liquidation_orders}),
        )
        return StatsView(stats)
