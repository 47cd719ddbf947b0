"""Bars on disk and at the door: catalog, importer, repairs, adjusting, synthetic data, what a user passes as bars."""
