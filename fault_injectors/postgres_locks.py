"""Lock what a Postgres application's statements need, or keep a transaction open beside them.

Evidence is who waits for whom, by the server's own lock table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chaosrunner.model.fault import Evidence, Recipe
from chaosrunner.model.units import Seconds, human_duration
from fault_injectors.postgres_held import Held, Plan, number, script, who
from fault_injectors.postgres_server import Server, Wanted
from fault_injectors.postgres_sessions import Count, waiting_for

if TYPE_CHECKING:
    import asyncpg

MOST_ROWS = 100_000
MOST_SESSIONS = 100


def lock_statements(tables: Sequence[str], mode: str = "access exclusive") -> list[str]:
    """Statements after which a session holds the tables."""
    return ["BEGIN", f"LOCK TABLE {', '.join(tables)} IN {mode.upper()} MODE"]


async def waiting_evidence(control: asyncpg.Connection[Any], recipe: Recipe) -> Evidence:
    """The application's sessions that wait for ours."""
    waiting = await waiting_for(control, **who(recipe), tag=str(recipe.data["tag"]))
    says = f"{waiting} of the application's sessions wait for {recipe.data['what']}, which we hold"
    return Evidence(ok=True if waiting else None, says=says, data={"waiting": waiting})


class LockTable(Held):
    """Locks whole tables, throughout or in turns."""

    name: ClassVar[str] = "postgres.lock_table"
    about: ClassVar[str] = (
        "Locks tables, as a migration or a backup does: statements that need them wait, or, with `pulse`, are slow; "
        "undone by ending the holder."
    )

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """Which, and how."""

        tables: str = field(
            default="", metadata={"help": "Names, by commas: orders, shop.items; the application's busiest."}
        )
        busiest: int = field(default=1, metadata={"help": "Without tables: so many of the busiest."})
        mode: Literal["access exclusive", "exclusive", "share"] = field(
            default="access exclusive",
            metadata={"help": "access exclusive: nobody reads or writes; exclusive, share: nobody writes."},
        )
        pulse: Seconds = field(
            default=Seconds(0.0),
            metadata={"help": "Hold for so long, let go for as long, and so on; 0s holds throughout."},
        )

        def __post_init__(self) -> None:
            """A number and a time."""
            if self.busiest < 1:
                raise ValueError("'busiest' is at least 1")
            if self.pulse and self.pulse < 0.01:
                raise ValueError("'pulse' is 0s, or at least 10ms")

    def wanted(self, params: object) -> Wanted:
        """The tables."""
        assert isinstance(params, LockTable.Params)
        return Wanted(tables=params.tables, busiest=params.busiest)

    def plan(self, params: object, seen: Server, tag: str) -> Plan:
        """One session that locks."""
        assert isinstance(params, LockTable.Params)
        lock, what = lock_statements(seen.tables, params.mode), ", ".join(seen.tables)
        held = script("dsn", lock)
        how = ""
        if params.pulse:
            # Whoever waits for a lock makes others wait behind it: no longer than a pulse.
            patience = f"SET lock_timeout = {int(params.pulse * 1000)}"
            pulse = [*lock, f"SELECT pg_sleep({params.pulse})", "COMMIT"]
            held = script("dsn", [patience], again=pulse, every_s=params.pulse)
            how = f" {human_duration(params.pulse)} out of every {human_duration(2 * params.pulse)}"
        return Plan(
            says=f"{what} locked in {params.mode} mode{how}",
            job={"do": "scripts", "scripts": [held]},
            claims=tuple(f"{seen.claim}:table:{table}" for table in seen.tables),
            memory={"what": what},
        )

    async def evidence(self, control: asyncpg.Connection[Any], recipe: Recipe, now: Count) -> Evidence:
        """Who waits for us."""
        return await waiting_evidence(control, recipe)


class LockRows(Held):
    """Locks some rows of a table, as a forgotten transaction does."""

    name: ClassVar[str] = "postgres.lock_rows"
    about: ClassVar[str] = (
        "Locks rows of a table as an update that never commits: whoever writes them waits, reads go on; undone by "
        "ending the holder."
    )

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """Which."""

        table: str = field(default="", metadata={"help": "Its name; the application's busiest."})
        where: str = field(default="true", metadata={"help": "A condition in SQL on its rows, such as id < 10."})
        rows: int = field(default=1000, metadata={"help": f"So many at most, no more than {MOST_ROWS:,}."})

        def __post_init__(self) -> None:
            """Some rows."""
            if not 1 <= self.rows <= MOST_ROWS:
                raise ValueError(f"'rows' is at least 1 and at most {MOST_ROWS:,}")

    def wanted(self, params: object) -> Wanted:
        """The table, and whether the server understands the condition."""
        assert isinstance(params, LockRows.Params)
        return Wanted(tables=params.table, busiest=1, where=params.where)

    def plan(self, params: object, seen: Server, tag: str) -> Plan:
        """One session that locks."""
        assert isinstance(params, LockRows.Params)
        [table] = seen.tables
        lock = f"SELECT 1 FROM {table} WHERE ({params.where}\n) LIMIT {params.rows} FOR UPDATE"  # noqa: S608
        nothing = f"no row of {table} where {params.where}"
        what = f"rows of {table} where {params.where}"
        return Plan(
            says=f"at most {params.rows} {what} locked",
            job={"do": "scripts", "scripts": [script("dsn", ["BEGIN", lock], nothing=nothing)]},
            claims=(f"{seen.claim}:table:{table}",),
            memory={"what": what},
        )

    async def evidence(self, control: asyncpg.Connection[Any], recipe: Recipe, now: Count) -> Evidence:
        """Who waits for us."""
        return await waiting_evidence(control, recipe)


class IdleInTransaction(Held):
    """Keeps transactions open that do nothing."""

    name: ClassVar[str] = "postgres.idle_in_transaction"
    about: ClassVar[str] = (
        "Keeps sessions idle in a transaction, each with its snapshot: rows that the application updates or deletes "
        "meanwhile cannot be vacuumed; undone by ending the holder."
    )

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How many."""

        sessions: int = field(default=3, metadata={"help": "Each takes a slot as well."})

        def __post_init__(self) -> None:
            """Some."""
            if not 1 <= self.sessions <= MOST_SESSIONS:
                raise ValueError(f"'sessions' is at least 1 and at most {MOST_SESSIONS}")

    def plan(self, params: object, seen: Server, tag: str) -> Plan:
        """Sessions that stay in their transaction."""
        assert isinstance(params, IdleInTransaction.Params)
        stay = script("dsn", ["BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT 1"], copies=params.sessions)
        return Plan(
            says=f"{params.sessions} sessions of {seen.role} kept idle in a transaction",
            job={"do": "scripts", "scripts": [stay]},
            claims=(f"{seen.claim}:snapshot",),
            memory={"sessions": params.sessions},
        )

    async def evidence(self, control: asyncpg.Connection[Any], recipe: Recipe, now: Count) -> Evidence:
        """They are idle in their transactions, and transactions that wrote have come after their snapshots."""
        idle, behind = await snapshots(control, str(recipe.data["tag"]))
        says = f"{idle} sessions idle in a transaction; {behind} writing transactions have begun since their snapshot"
        enough = idle >= number(recipe.data["sessions"]) and behind > 0
        return Evidence(ok=True if enough else None, says=says, data={"idle": idle, "behind": behind})


async def snapshots(control: asyncpg.Connection[Any], tag: str) -> tuple[int, int]:
    """How many sessions of the tag keep a snapshot, and how many transaction numbers the oldest is behind."""
    row = await control.fetchrow(
        """SELECT count(*) AS idle, coalesce(max(age(backend_xmin)), 0) AS behind FROM pg_stat_activity
            WHERE application_name = $1 AND state = 'idle in transaction' AND backend_xmin IS NOT NULL""",
        tag,
    )
    assert row is not None
    return row["idle"], row["behind"]
