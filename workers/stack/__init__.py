"""Brings up real servers on this machine: Temporal, PostgreSQL, and our own processes."""
