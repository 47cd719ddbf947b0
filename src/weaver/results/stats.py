"""The statistics of a run under fixed keys, units and order; docs/metrics.md defines each of them.

Rates are fractions, not percent; money is in the account's currency; a number that is not defined is NaN (JSON: null).
"""

from __future__ import annotations

import math

import numpy as np

from weaver.core.bars import Floats
from weaver.results import metrics
from weaver.results.fill_columns import FillColumns
from weaver.results.record import RunRecord
from weaver.results.trade_columns import TradeColumns

__all__ = ["Stats", "buy_and_hold_curve", "compute_stats"]

Stats = dict[str, float | int]
NAN = math.nan


def compute_stats(
    record: RunRecord,
    fills: FillColumns,
    trades: TradeColumns,
    open_trades: TradeColumns,
    *,
    rejected_orders: int = 0,
    liquidations: int = 0,
) -> Stats:
    """Return every statistic of the run, from its columns."""
    start_ns = int(record.equity_start[0]) if len(record.equity_start) else 0
    end_ns = int(record.equity_end[-1]) if len(record.equity_end) else 0
    years = metrics.years_between(start_ns, end_ns)
    sampled = metrics.sampling(
        record.equity_start,
        record.equity_end,
        record.timeframe.ns,
        session_dates=record.session_dates,
        per_year=record.periods_per_year,
    )
    stats = _curve(record.equity, record.initial_cash, record, sampled, years)
    stats["periods_per_year"] = sampled.per_year
    stats |= _activity(record, fills, years, rejected_orders, liquidations)
    stats |= _trading(trades)
    stats["open_trades"] = len(open_trades)
    stats["unrealised_profit"] = float(open_trades.unrealised.sum())
    beside = _beside(record, sampled, years)
    for key in ("final_equity", "return", "cagr", "volatility", "sharpe", "max_drawdown"):
        stats[f"buy_and_hold_{key}"] = beside.get(key, NAN)
    return {key: _finite(value) for key, value in stats.items()}


def buy_and_hold_curve(record: RunRecord) -> Floats | None:
    """Return the equity of the starting cash split evenly over the symbols, each bought at its first close and kept.

    One value per equity row, without costs; the part of a symbol that starts late stays in cash until then. None if there
    are no rows or a close is not positive (a future below zero), where the share to buy is not defined.
    """
    rows = len(record.equity_end)
    share = record.initial_cash / len(record.symbols) if record.symbols else 0.0
    total = np.zeros(rows)
    for symbol in record.symbols:
        bars = record.series[symbol]
        if not len(bars):
            total += share
            continue
        if not bars.close[0] > 0 or not bars.close.min() > 0:
            return None
        units = share / float(bars.close[0])
        if len(bars) == rows and (bars.end is record.equity_end or np.array_equal(bars.end, record.equity_end)):
            total += bars.close * units
            continue
        at = np.searchsorted(bars.end, record.equity_end, side="right") - 1
        total += np.where(at >= 0, bars.close[at] * units, share)
    return total if rows else None


def _beside(record: RunRecord, sampled: metrics.Sampling, years: float) -> Stats:
    """Return the statistics of buy-and-hold. With one symbol, its closes are that curve up to a constant factor."""
    bars = record.series[record.symbols[0]] if len(record.symbols) == 1 else None
    if bars is not None and len(bars) and len(bars) == len(record.equity) and bars.close.min() > 0:
        first = float(bars.close[0])
        scaled = _curve(bars.close, first, record, sampled, years)
        scaled["final_equity"] *= record.initial_cash / first
        return scaled
    curve = buy_and_hold_curve(record)
    return {} if curve is None else _curve(curve, record.initial_cash, record, sampled, years)


def _curve(equity: Floats, initial: float, record: RunRecord, sampled: metrics.Sampling, years: float) -> Stats:
    final = float(equity[-1]) if len(equity) else initial
    start_ns = int(record.equity_start[0]) if len(equity) else 0
    returns = metrics.period_returns(equity, sampled.rows, initial)
    fall = metrics.drawdown(equity, initial, start_ns, record.equity_end)
    growth = metrics.cagr(initial, final, years)
    return {
        "initial_equity": initial,
        "final_equity": final,
        "return": metrics.total_return(initial, final),
        "cagr": growth,
        "volatility": metrics.volatility(returns, sampled.per_year),
        "sharpe": metrics.sharpe(returns, sampled.per_year),
        "sortino": metrics.sortino(returns, sampled.per_year),
        "calmar": metrics.calmar(growth, fall.depth),
        "max_drawdown": fall.depth,
        "max_drawdown_days": fall.longest_ns / metrics.DAY_NS,
    }


def _activity(record: RunRecord, fills: FillColumns, years: float, rejected_orders: int, liquidations: int) -> Stats:
    rows = len(record.equity)
    traded = float(np.sum(np.abs(fills.price) * fills.quantity * fills.multiplier))
    mean_equity = float(record.equity.mean()) if rows else NAN
    turnover = traded / mean_equity if mean_equity > 0 else NAN
    return {
        "exposure": float(np.count_nonzero(record.gross_exposure)) / rows if rows else NAN,
        "fills": len(fills),
        "orders": len(record.orders),
        "rejected_orders": rejected_orders,
        "liquidations": liquidations,
        "traded_value": traded,
        "turnover": turnover,
        "turnover_per_year": turnover / years if years > 0 else NAN,
        "commissions": float(fills.commission.sum()),
        "holding_costs": float(record.holding_costs),
    }


def _trading(trades: TradeColumns) -> Stats:
    count = len(trades)
    # A profit that is only rounding is zero: neither won nor lost. Without a notional there is no return to judge it by.
    pnl = np.where(np.abs(trades.returns) <= metrics.ROUNDING, 0.0, trades.pnl)
    wins, losses = pnl[pnl > 0], pnl[pnl < 0]

    def mean(values: Floats) -> float:
        return float(values.mean()) if len(values) else NAN

    return {
        "trades": count,
        "win_rate": len(wins) / count if count else NAN,
        "profit_factor": metrics.profit_factor(pnl),
        "expectancy": mean(pnl),
        "average_win": mean(wins),
        "average_loss": mean(losses),
        "average_trade_return": mean(trades.returns),
        "best_trade": float(pnl.max()) if count else NAN,
        "worst_trade": float(pnl.min()) if count else NAN,
        "average_bars_held": mean(trades.bars_held.astype(np.float64)),
    }


def _finite(value: float | int) -> float | int:
    return value if isinstance(value, int) or math.isfinite(value) else NAN
