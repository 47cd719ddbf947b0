"""Indicators: causal array functions; import them from `weaver.indicators`, which documents what they promise."""
