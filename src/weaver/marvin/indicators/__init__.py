"""Indicators: causal array functions. Import them from `weaver.indicators`, which documents their guarantees."""
