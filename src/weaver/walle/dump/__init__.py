"""Reads dumps of pg_dump and loads their data into Weaver's tables. Nothing in a dump is executed."""
