"""What must be known of a Postgres server before its slots or locks are taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaosrunner.errors import InjectorError
from fault_injectors.postgres_holder import ENDS_IDLE_SESSIONS
from fault_injectors.postgres_sessions import count, session

if TYPE_CHECKING:
    import asyncpg

_FACTS = """SELECT current_user::text AS role, current_database()::text AS database,
    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS super,
    pg_has_role(current_user, 'pg_signal_backend', 'MEMBER')
        AND pg_has_role(current_user, 'pg_read_all_stats', 'MEMBER') AS may_end,
    current_setting('server_version_num')::int AS version,
    current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true), '0')::int AS slots,
    current_setting('superuser_reserved_connections')::int AS kept,
    (SELECT system_identifier FROM pg_control_system())::text AS identity,
    pg_postmaster_start_time()::text AS started"""
_TABLES = """SELECT format('%I.%I', n.nspname, c.relname) AS quoted
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND ($1 = c.relname OR $1 = n.nspname || '.' || c.relname) ORDER BY 1"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server, the application's role there, and ours."""

    identity: str
    """The server's own identifier: the same under any name or port."""
    version: int
    slots: int
    """Slots that anybody may take; those kept for superusers are not among them."""
    kept: int
    """Slots kept for superusers."""
    role: str
    """The application's role."""
    database: str
    role_is_super: bool
    admin_is_super: bool
    admin_may_end: bool
    """Whether the admin role may see and end the application's sessions."""
    app: int
    """The application's sessions now."""
    table: str
    """The table to lock, quoted; empty = none."""

    @property
    def ends_idle_sessions(self) -> bool:
        """Whether the server itself can hold our deadline."""
        return self.version >= ENDS_IDLE_SESSIONS


async def look(dsn: str, admin: str, *, table: str = "") -> Server:
    """Look at the server as the application and as the admin; changes nothing.

    Raises:
        InjectorError: one of them cannot get in, they reach different servers, or the table is not one table.
    """
    async with session(dsn, what="dsn") as application:
        app = await _facts(application)
        found = await _table(application, table) if table else ""
    async with session(admin, what="admin") as control:
        ours = await _facts(control)
        now = await count(control, role=app["role"], database=app["database"], tag="")
    if (app["identity"], app["started"]) != (ours["identity"], ours["started"]):
        raise InjectorError("'dsn' and 'admin' reach different Postgres servers")
    return Server(
        identity=app["identity"],
        version=app["version"],
        slots=app["slots"],
        kept=app["kept"],
        role=app["role"],
        database=app["database"],
        role_is_super=app["super"],
        admin_is_super=ours["super"],
        admin_may_end=ours["super"] or ours["may_end"] or ours["role"] == app["role"],
        app=now.app,
        table=found,
    )


def require(seen: Server, *, reserve: int, slots: bool) -> None:
    """See that the fault can be done, and above all undone.

    Raises:
        InjectorError: rights are missing, or nobody could get in to undo it.
    """
    if seen.role_is_super:
        raise InjectorError(
            f"the application's role {seen.role} is a superuser, and a superuser's sessions are not ended"
        )
    if not seen.admin_may_end:
        raise InjectorError("the role of 'admin' needs pg_signal_backend and pg_read_all_stats, or to be a superuser")
    if not slots:
        return
    if not 0 <= reserve < seen.slots:
        raise InjectorError(f"reserve {reserve}: it must be at least 0 and less than the server's {seen.slots} slots")
    way_in = reserve + (seen.kept if seen.admin_is_super else 0)
    if way_in < 1:
        raise InjectorError("no slot would be left for 'admin' to undo it by; say 'reserve: 3', or use a superuser")


async def tags(admin: str) -> list[tuple[str, str]]:
    """Tags of ours that have sessions at the server, each with the server's identity."""
    async with session(admin, what="admin") as control:
        identity = (await _facts(control))["identity"]
        rows = await control.fetch(
            "SELECT DISTINCT application_name AS tag FROM pg_stat_activity WHERE application_name LIKE 'chaosrunner/%'"
        )
    return [(row["tag"], identity) for row in rows]


async def _facts(connection: asyncpg.Connection[Any]) -> asyncpg.Record:
    row: asyncpg.Record | None = await connection.fetchrow(_FACTS)
    assert row is not None
    return row


async def _table(connection: asyncpg.Connection[Any], name: str) -> str:
    found = [row["quoted"] for row in await connection.fetch(_TABLES, name)]
    if len(found) != 1:
        raise InjectorError(f"table '{name}': expected one, found {', '.join(found) or 'none'}")
    return str(found[0])
