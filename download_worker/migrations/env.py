"""Alembic's entry: runs inside the one transaction that `database.py` has begun, on its connection."""

from alembic import context

from download_worker.jobs.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=False)
context.run_migrations()
