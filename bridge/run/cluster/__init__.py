"""Runs that several processes share: DBOS keeps them in PostgreSQL. Imported only where `runs.store` names one."""
