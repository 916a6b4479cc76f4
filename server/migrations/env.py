"""Alembic's way in: it works on the connection that ``server.migrations`` hands over, in its transaction."""

from __future__ import annotations

from alembic import context

from fengsui.database import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
    compare_type=True,
)
context.run_migrations()
