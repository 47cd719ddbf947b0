"""Greta, the backtester: runs a strategy over complete bars and fills its orders by the rules in docs/fills.md."""
