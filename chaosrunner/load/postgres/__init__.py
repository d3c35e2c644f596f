"""Postgres under load: a pool of its own over asyncpg, and everything that is measured around it."""
