"""WallE: everything that must last, in PostgreSQL: the event log, runs, consumers, and the embedded server itself."""
