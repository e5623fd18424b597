"""The tables of the history, release by release (alembic). What is there is never taken away: an operator that is a
release older writes to what a newer one has migrated."""
