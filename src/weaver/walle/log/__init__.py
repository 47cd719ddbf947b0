"""Event log in PostgreSQL: appending, reading in commit order, notifications, queries and pruning."""
