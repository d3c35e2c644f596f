"""Schemas that dead runs have left: dropped where it is sure that nobody will come back to them, named where it is not.

A load whose workers are killed cannot drop its own schema. It is sure once nobody holds the lock that every worker of
a run holds, no session of that run is there, and the time is over that the schema's comment says: a live load may be
without sessions for as long as a fault cuts it off, but never beyond its own end.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from chaosrunner.load.postgres.place import sessions_of
from chaosrunner.load.postgres.schema import LONGEST_NAME, MADE, OVER, PREFIX, drop

if TYPE_CHECKING:
    from chaosrunner.load.postgres.lines import Connection
    from chaosrunner.load.postgres.place import Place

MOST = 20
"""Schemas looked at; more than that are left to the next loads."""

THERE = """
SELECT oid, nspname AS name, coalesce(obj_description(oid, 'pg_namespace'), '') AS comment, clock_timestamp() AS now
FROM pg_namespace WHERE left(nspname, length($1)) = $1 AND nspname <> $2 ORDER BY oid LIMIT $3
"""

LOCK = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))"
UNLOCK = "SELECT pg_advisory_unlock(hashtextextended($1, 0))"

AT_WORK = """
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE left(application_name, length($1)) = $1)
"""
"""Everyone may see every session's application_name, as far as the server keeps it: as long as a name."""


async def sweep(place: Place, own: str, seconds: float) -> None:
    """Drop the schemas of runs that are surely over, and note what became of each that nobody seems to use.

    Args:
        place: whose server is asked, on its control session, and whose journal is told.
        own: the name of this load's own schema.
        seconds: for all of it.
    """

    async def look(connection: Connection) -> None:
        for row in await connection.fetch(THERE, PREFIX, own, MOST):
            name, comment = row["name"], row["comment"]
            why = await _end(connection, row["oid"], name, unsure(name, comment, row["now"]))
            if why is None:
                continue
            place.count(f"{place.name}.schemas_of_dead_runs")
            place.note("postgres schema of a dead run", schema=name, dropped=not why, why=why)

    await place.watch.use(look, seconds)


def unsure(name: str, comment: str, now: datetime) -> str:
    """Why a schema of such a name might not be a dead run's; empty if by its comment it is one's.

    Args:
        name: begins with `PREFIX`.
        comment: what the server keeps beside it.
        now: by the server's clock.
    """
    made, _, until = comment.rpartition(OVER)
    try:
        over = datetime.fromisoformat(until) <= now
    except (ValueError, TypeError):  # TypeError: an instant without a zone
        made, over = "", False
    if made != f"{MADE}{name.removeprefix(PREFIX)}":
        return "its comment does not say that it is ours, and until when"
    return "" if over else f"its run may last until {until}"


async def _end(connection: Connection, oid: int, name: str, doubt: str) -> str | None:
    """Why an unused schema stays, empty if it was dropped; None while a run uses it. Raises one of FAILURES."""
    if not await connection.fetchval(LOCK, name):
        return None
    try:
        # Its first worker makes it before it takes the lock: its session is there already.
        if await connection.fetchval(AT_WORK, sessions_of(name.removeprefix(PREFIX))[:LONGEST_NAME]):
            return None
        return doubt or await drop(connection, oid, name)
    finally:
        await connection.fetchval(UNLOCK, name)
