"""Marvin, the strategies: the class a user writes, what it sees (bars, indicators, account) and what it can do (orders)."""
