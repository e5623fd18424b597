"""What alembic runs: the connection comes from `commands.history`, which has opened it."""

from __future__ import annotations

from alembic import context

from export_operator.adapters.history import SCHEMA

context.configure(connection=context.config.attributes["connection"], version_table_schema=SCHEMA)
with context.begin_transaction():
    context.run_migrations()
