"""What must be known of a Postgres server before anything there is taken, and what it counts by itself meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaosrunner.errors import InjectorError
from fault_injectors.postgres_sessions import count, session

if TYPE_CHECKING:
    import asyncpg

OLDEST = 140000
"""From this version on a server ends idle sessions by itself, which holds our deadlines, and counts ended ones."""
STARTED_ANEW = "the server was started anew, and what was held went with it"

_FACTS = """SELECT current_user::text AS role, current_database()::text AS database,
    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS super,
    pg_has_role(current_user, 'pg_signal_backend', 'MEMBER')
        AND pg_has_role(current_user, 'pg_read_all_stats', 'MEMBER') AS may_end,
    EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_checkpoint' AND pg_has_role(current_user, oid, 'MEMBER'))
        AS may_checkpoint,
    current_setting('server_version_num')::int AS version,
    current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true), '0')::int AS slots,
    current_setting('superuser_reserved_connections')::int AS kept,
    (SELECT system_identifier FROM pg_control_system())::text AS identity,
    extract(epoch FROM pg_postmaster_start_time())::text AS started"""
_BEGAN = """SELECT concat_ws('/', extract(epoch FROM pg_postmaster_start_time()),
    (SELECT extract(epoch FROM min(backend_start)) FROM pg_stat_activity WHERE backend_type = 'checkpointer'))"""
_FILES = "SELECT current_setting('data_directory') || '=' || (pg_stat_file('PG_VERSION')).modification"
_TABLES = """SELECT format('%I.%I', n.nspname, c.relname) AS quoted
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND ($1 = c.relname OR $1 = n.nspname || '.' || c.relname) ORDER BY 1"""
_BUSIEST = """SELECT format('%I.%I', schemaname, relname) AS quoted
    FROM pg_stat_user_tables,
        LATERAL (SELECT seq_scan + coalesce(idx_scan, 0) + n_tup_ins + n_tup_upd + n_tup_del) AS uses(used)
    WHERE has_table_privilege(relid, 'UPDATE, DELETE, TRUNCATE') AND schemaname NOT LIKE 'chaosrunner/%' AND used > 0
    ORDER BY used DESC, 1 LIMIT $1"""
_COUNTERS = """SELECT sessions, sessions_killed AS killed, xact_rollback AS rolled_back,
    (SELECT {checkpoints}) AS checkpoints,
    CASE WHEN pg_is_in_recovery() THEN 0 ELSE pg_current_wal_lsn() - '0/0'::pg_lsn END AS wal
    FROM pg_stat_database WHERE datname = $1"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What of the application's database a fault needs to know."""

    tables: str = ""
    """Names of tables, by commas: `orders, shop.items`."""
    busiest: int = 0
    """Without names: so many of the tables that are read and written most."""
    where: str = ""
    """A condition on the rows of the one table; read by the server, not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What a server has counted since its statistics began."""

    sessions: int
    """Sessions of the database that were ever opened."""
    killed: int
    """Sessions of the database that somebody ended."""
    rolled_back: int
    """Transactions of the database that did not succeed."""
    checkpoints: int
    """Checkpoints of the whole server that somebody asked for."""
    wal: int
    """Bytes of write-ahead log ever written by the whole server; 0 on a standby, which writes none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server, the application's role there, and ours."""

    identity: str
    """The server's own identifier: the same under any name or port."""
    began: str
    """Another one after each start; see `began`."""
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
    admin_may_checkpoint: bool
    app: int
    """The application's sessions now."""
    tables: tuple[str, ...]
    """The tables wanted, quoted."""
    counters: Counters
    files: str
    """The data directory and when it was made, `path=time`; empty = the admin may not know."""

    @property
    def claim(self) -> str:
        """The server's slots and sessions, as a resource that a fault changes."""
        return f"postgres:{self.identity}"


async def look(dsn: str, admin: str, wanted: Wanted | None = None) -> Server:
    """Look at the server as the application and as the admin; changes nothing.

    Raises:
        InjectorError: one of them cannot get in, they reach different servers, the server is too old, a name is not
            that of one table, or the condition is not understood.
    """
    async with session(dsn, what="dsn") as application:
        app = await _facts(application)
        tables = await _tables(application, wanted or Wanted())
    async with session(admin, what="admin") as control:
        ours = await _facts(control)
        now = await count(control, role=app["role"], database=app["database"], tag="")
        counted = await counters(control, app["database"])
        start = await began(control)
        files = str(await control.fetchval(_FILES)) if ours["super"] else ""
    if (app["identity"], app["started"]) != (ours["identity"], ours["started"]):
        raise InjectorError("'dsn' and 'admin' reach different Postgres servers")
    if app["version"] < OLDEST:
        raise InjectorError(f"this server is Postgres {app['version'] // 10000}; {OLDEST // 10000} or newer is needed")
    return Server(
        identity=app["identity"],
        began=start,
        version=app["version"],
        slots=app["slots"],
        kept=app["kept"],
        role=app["role"],
        database=app["database"],
        role_is_super=app["super"],
        admin_is_super=ours["super"],
        admin_may_end=ours["super"] or ours["may_end"] or ours["role"] == app["role"],
        admin_may_checkpoint=ours["super"] or ours["may_checkpoint"],
        app=now.app,
        tables=tables,
        counters=counted,
        files=files,
    )


def require(seen: Server) -> None:
    """See that the application's sessions can be seen, and ours be ended.

    Raises:
        InjectorError: rights are missing.
    """
    if seen.role_is_super:
        raise InjectorError(
            f"the application's role {seen.role} is a superuser, and a superuser's sessions are not ended"
        )
    if not seen.admin_may_end:
        raise InjectorError("the role of 'admin' needs pg_signal_backend and pg_read_all_stats, or to be a superuser")


def require_way_in(seen: Server, *, reserve: int) -> None:
    """See that somebody can get in to undo it when only `reserve` slots are left free.

    Raises:
        InjectorError: nobody could.
    """
    if not 0 <= reserve < seen.slots:
        raise InjectorError(f"reserve {reserve}: it must be at least 0 and less than the server's {seen.slots} slots")
    way_in = reserve + (seen.kept if seen.admin_is_super else 0)
    if way_in < 1:
        raise InjectorError("no slot would be left for 'admin' to undo it by; say 'reserve: 3', or use a superuser")


def require_super(seen: Server, why: str) -> None:
    """See that the admin is a superuser. Raises InjectorError: it is not; `why` says what needs one."""
    if not seen.admin_is_super:
        raise InjectorError(f"the role of 'admin' must be a superuser: {why}")


async def began(control: asyncpg.Connection[Any]) -> str:
    """Since when the server has had its sessions: another one after a restart, and after a crash of one of them.

    The server survives such a crash, and the time it was started at stays; but it ends every session, and its
    checkpointer begins anew. Who may not see that (pg_read_all_stats) is told the first alone.
    """
    return str(await control.fetchval(_BEGAN))


async def counters(control: asyncpg.Connection[Any], database: str) -> Counters:
    """What the server has counted for a database until now. Raises InjectorError: there is no such database."""
    moved = await control.fetchval("SELECT to_regclass('pg_catalog.pg_stat_checkpointer') IS NOT NULL")
    checkpoints = "num_requested FROM pg_stat_checkpointer" if moved else "checkpoints_req FROM pg_stat_bgwriter"
    row = await control.fetchrow(_COUNTERS.format(checkpoints=checkpoints), database)
    if row is None:
        raise InjectorError(f"the server has no database {database} any more")
    return Counters(**{key: int(value) for key, value in row.items()})


async def databases(admin: str) -> list[str]:
    """Databases of the server that the admin can connect to."""
    ask = (
        "SELECT datname::text FROM pg_database WHERE datallowconn AND has_database_privilege(oid, 'CONNECT') ORDER BY 1"
    )
    async with session(admin, what="admin") as control:
        return [row["datname"] for row in await control.fetch(ask)]


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


async def _tables(connection: asyncpg.Connection[Any], wanted: Wanted) -> tuple[str, ...]:
    names = [name.strip() for name in wanted.tables.split(",") if name.strip()]
    if not names and wanted.busiest:
        found = await _busiest(connection, wanted.busiest)
    else:
        found = [await _table(connection, name) for name in names]
    if wanted.where:
        import asyncpg

        try:
            await connection.prepare(f"SELECT 1 FROM {found[0]} WHERE ({wanted.where}\n) FOR UPDATE")  # noqa: S608
        except asyncpg.PostgresError as error:
            raise InjectorError(f"where '{wanted.where}': {error}") from None
    return tuple(found)


async def _busiest(connection: asyncpg.Connection[Any], most: int) -> list[str]:
    found = [row["quoted"] for row in await connection.fetch(_BUSIEST, most)]
    if not found:
        raise InjectorError("the server has not seen the application use a table yet; name one")
    return found


async def _table(connection: asyncpg.Connection[Any], name: str) -> str:
    found = [row["quoted"] for row in await connection.fetch(_TABLES, name)]
    if len(found) != 1:
        raise InjectorError(f"table '{name}': expected one, found {', '.join(found) or 'none'}")
    return str(found[0])


def literal(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def quoted(names: Sequence[str]) -> str:
    """Names of ours as an identifier of SQL: `"chaosrunner/r1/0".churn`."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)
