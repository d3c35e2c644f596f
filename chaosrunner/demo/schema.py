"""The tables of the demo and every statement its replicas send."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from chaosrunner.demo.identity import digest, seed_users
from chaosrunner.demo.options import DemoFailed, DemoUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SCHEMA = "chaosrunner_demo"

_TABLES = """
CREATE TABLE IF NOT EXISTS users (
  name   text PRIMARY KEY,
  salt   bytea NOT NULL,
  digest bytea NOT NULL,
  tone   text  NOT NULL DEFAULT 'plain'
);
CREATE TABLE IF NOT EXISTS agents (
  id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  owner           text NOT NULL REFERENCES users (name),
  name            text NOT NULL,
  idempotency_key text UNIQUE
);
CREATE INDEX IF NOT EXISTS agents_by_owner ON agents (owner, id);
"""

READ_USER = "SELECT name, salt, digest, tone FROM users WHERE name = $1"
READ_USERS = "SELECT name, salt, digest, tone FROM users ORDER BY name LIMIT 1000"
CREATE_AGENT = """
INSERT INTO agents (owner, name, idempotency_key) SELECT $1::text, $2::text, $3::text WHERE $1 <> ''
ON CONFLICT (idempotency_key) DO UPDATE SET idempotency_key = excluded.idempotency_key RETURNING id, name"""
"""A repeated key answers with the row of the first time, so a create may be sent again."""
LIST_LIMIT = 20
LIST_AGENTS = f"SELECT id, name FROM agents WHERE owner = $1 ORDER BY id DESC LIMIT {LIST_LIMIT}"  # noqa: S608 - a constant of ours
READ_AGENT = "SELECT id, name FROM agents WHERE owner = $1 AND id = $2"
UPDATE_AGENT = "UPDATE agents SET name = $3 WHERE owner = $1 AND id = $2 RETURNING id, name"
DELETE_AGENT = "DELETE FROM agents WHERE owner = $1 AND id = $2 RETURNING id"
ALIVE = "SELECT 1"

WARM_UP = (
    (CREATE_AGENT, ("", "", None)),
    (LIST_AGENTS, ("",)),
    (READ_AGENT, ("", 0)),
    (UPDATE_AGENT, ("", 0, "")),
    (DELETE_AGENT, ("", 0)),
    (READ_USER, ("",)),
    (ALIVE, ()),
)
"""Statements that touch no row: run once, they are prepared, and later cost one round trip instead of two."""


@asynccontextmanager
async def demo_schema(dsn: str) -> AsyncIterator[None]:
    """The demo's schema in a database that is not ours; dropped on the way out only if it was made here.

    Raises:
        DemoUnavailable: The database cannot be reached, or refuses.
        DemoFailed: The schema could not be dropped and is still there.
    """
    import asyncpg

    broken = (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError)
    try:
        ours = await create_schema(dsn)
    except broken as error:
        raise DemoUnavailable(f"the given database cannot be used: {error or type(error).__name__}") from error
    try:
        yield
    finally:
        if ours:
            try:
                await _drop(dsn)
            except broken as error:
                raise DemoFailed(f"the schema {SCHEMA} could not be dropped, it is still there: {error}") from error


async def create_schema(dsn: str) -> bool:
    """Make the schema with its tables and seed users, or complete one that exists.

    Args:
        dsn: A role that may create a schema in that database.

    Returns:
        Whether the schema is new.

    Raises:
        asyncpg.PostgresError: The database refused.
        OSError: It cannot be reached.
    """
    import asyncpg

    salt = os.urandom(8)
    users = [(name, salt, digest(password, salt)) for name, password in seed_users()]
    connection = await asyncpg.connect(dsn, timeout=5)
    try:
        async with connection.transaction():
            existed = await connection.fetchval("SELECT true FROM pg_namespace WHERE nspname = $1", SCHEMA)
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}; SET LOCAL search_path = {SCHEMA}")
            await connection.execute(_TABLES)
            await connection.executemany(
                "INSERT INTO users (name, salt, digest) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", users
            )
        return not existed
    finally:
        await connection.close()


async def _drop(dsn: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(dsn, timeout=5)
    try:
        await connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE", timeout=10)
    finally:
        await connection.close()
