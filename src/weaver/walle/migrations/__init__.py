"""Migrations: how a database becomes what the models say, one revision a file, forwards and back."""
