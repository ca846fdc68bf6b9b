"""The ledger through its versions (alembic). Each script is frozen once it has been released."""
