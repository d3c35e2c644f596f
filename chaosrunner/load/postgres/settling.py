"""What only the end of a load can tell of a place: plans of the slowest statements, and what was left behind."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import TYPE_CHECKING, Any

import asyncpg

from chaosrunner.load.postgres.watch import DEADLOCKS, sessions
from chaosrunner.model.load import Outcome
from chaosrunner.model.postgres_step import reads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaosrunner.load.postgres.asking import Ask
    from chaosrunner.load.postgres.lines import Connection
    from chaosrunner.load.postgres.place import Place
    from chaosrunner.load.postgres.said import Said

ANSWER_S, EXPLAIN_S, LEAVE_S = 0.5, 0.6, 0.4
"""Together less than a driver may take to settle."""

PLANS = 20
PLAN_BYTES = 6_000
"""A longer plan is cut to its outermost node."""


async def answers(place: Place) -> bool:
    """Whether the server can still be asked."""

    async def ask(connection: Connection) -> None:
        """Something it can hardly refuse."""
        await connection.fetchval("SELECT 1")

    return await place.watch.use(ask, ANSWER_S)


async def explain(place: Place, seconds: float) -> None:
    """Note the plan of each statement with the arguments of its slowest run.

    A statement that only reads is run once more for it, in a read-only transaction that is rolled back; any other is
    planned and not run.
    """
    said = [(ask, said) for ask in place.asks for said in ask.said if said.slowest.took_ns]
    slowest = sorted(said, key=lambda pair: -pair[1].slowest.took_ns)[:PLANS]
    deadline = time.monotonic() + seconds
    for ask, one in slowest:

        async def plan(connection: Connection, ask: Ask = ask, one: Said = one) -> None:
            """Of one statement."""
            if place.schema is not None:
                await place.schema.look_here_first(connection)
            place.note(
                "postgres plan of the slowest",
                step=ask.name,
                sql=one.sql[:500],
                took_ms=round(one.slowest.took_ns / 1e6, 3),
                plan=await _plan(connection, one),
            )

        if time.monotonic() >= deadline or not await place.watch.use(plan, deadline - time.monotonic()):
            place.note("postgres plan of the slowest", step=ask.name, sql=one.sql[:500], plan="not asked: out of time")
            return


async def _plan(connection: Connection, said: Said) -> object:
    """Raises one of FAILURES but for what the server has against the statement itself."""
    reading = reads(said.sql)
    options = "ANALYZE, BUFFERS, FORMAT JSON" if reading else "FORMAT JSON"
    transaction = connection.transaction(readonly=reading)
    await transaction.start()
    try:
        text = await connection.fetchval(f"EXPLAIN ({options}) {said.sql}", *said.slowest.args)
    except asyncpg.PostgresError as error:
        if isinstance(error, asyncpg.PostgresConnectionError):
            raise
        return f"cannot be explained: SQLSTATE {error.sqlstate}"  # its message may quote an argument
    finally:
        if not connection.is_closed():
            await transaction.rollback()
    plan = without_values(json.loads(text)[0], said.slowest.args)
    if len(text) > PLAN_BYTES:
        plan["Plan"] = {key: value for key, value in plan["Plan"].items() if key != "Plans"}
        plan["cut"] = "the plan is longer than a note may be"
    return plan


def without_values(plan: Any, args: Sequence[object]) -> Any:
    """A plan without what its conditions compare with: arguments may be secrets, and the journal may hold none.

    Every quoted literal becomes `'…'`, and an argument that is written bare, such as a number, the `$n` it stands for.
    """
    match plan:
        case dict():
            return {key: without_values(value, args) for key, value in plan.items()}
        case list():
            return [without_values(value, args) for value in plan]
        case str():
            bare = re.sub(r"'(?:[^']|'')*'", "'…'", plan)
            for n, value in enumerate(args, 1):
                if str(value):
                    bare = re.sub(rf"(?<![\w.$]){re.escape(str(value))}(?![\w.])", f"${n}", bare)
            return bare
        case _:
            return plan


async def leave(place: Place, seconds: float) -> None:
    """Close the pool, see that the server has none of our sessions left, and drop what is ours."""
    now_ns = time.monotonic_ns()
    unended = place.outages.unended(now_ns)
    if unended is not None:
        place.note("postgres outage", **unended.told(place.bench.ledger.epoch_ns, now_ns))
        ask = next((ask for ask in place.asks if ask.outage is not None), None)
        if ask is not None and ask.outage is not None:
            place.observe(ask.outage, now_ns, unended.lasted_ns(now_ns), Outcome.UNFINISHED)
    place.note("postgres pool", opened=place.pool.opened, curve=place.crowding.curve())
    held = place.leases.all()
    counters = {"open": len(place.pool.lines), "idle": len(place.pool.idle), "busy": place.pool.busy}
    await place.pool.close()
    left: list[dict[str, object]] = []
    done = await place.watch.use(lambda connection: _count_out(place, connection, left, seconds), seconds + 0.5)
    place.note(
        "postgres sessions at the end",
        pool=counters,
        kept=[lease.told(now_ns) for lease in held[:5]],
        kept_in_all=len(held),
        left_at_the_server=left if done else "unknown: the server could not be asked",
    )
    place.count(f"{place.name}.kept_at_the_end", len(held))
    place.count(f"{place.name}.sessions_left", len(left))


async def _count_out(place: Place, connection: Connection, left: list[dict[str, object]], seconds: float) -> None:
    """Wait until none of our sessions is left, and count the deadlocks. Raises one of FAILURES."""
    deadline = time.monotonic() + seconds
    while True:
        found = await sessions(connection, place.prefix)
        if not found or time.monotonic() >= deadline:
            break
        await asyncio.sleep(0.02)  # the server tells nobody when a session is gone
    left[:] = [{"pid": one.pid, "session": one.number, "state": one.state, "for_s": one.for_s} for one in found]
    if place.bench.orders.shard == 0 and place.watch.deadlocks is not None:
        now = int(await connection.fetchval(DEADLOCKS))
        before = place.watch.deadlocks if now >= place.watch.deadlocks else 0  # a crash sets it back
        place.count(f"{place.name}.deadlocks", now - before)


async def drop_schema(place: Place, seconds: float) -> None:
    """Drop our schema if this is the last worker that uses it; what stays is named."""
    schema, place.schema = place.schema, None
    if schema is None:
        return
    why = "the server could not be asked"

    async def drop(connection: Connection) -> None:
        """Or leave it to the last one."""
        nonlocal why
        why = await schema.leave(connection)

    await place.watch.use(drop, seconds)
    if why:
        place.count(f"{place.name}.schema_left")
        place.note("postgres schema left behind", schema=schema.name, why=why)
