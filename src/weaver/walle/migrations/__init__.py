"""Migrations of the database's tables, one revision for each file, forwards and back."""
