"""The process that holds what a Postgres fault takes: `python -m fault_injectors.postgres_holder TAG`, orders on stdin.

It outlives whoever started it, but never its deadline, which it keeps itself; the server keeps it as well, by timeouts
of the sessions. It ends when it is killed, or, from any host, when one of its sessions is ended. It says one line of
JSON, `{"began": true}` or `{"error": …}`, and is silent from then on.

What is to be done is a job: `slots` takes slots, `scripts` runs statements in sessions and stays in them, `storm`
connects again and again, `fill` fills a tablespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaosrunner.errors import InjectorError
from fault_injectors import leased
from fault_injectors.leased import say
from fault_injectors.postgres_sessions import count, end_application, session

if TYPE_CHECKING:
    import asyncpg

TICK_S = 0.05
CALM_TICK_S = 0.2
"""How often to look once the application has no session and no slot is free."""
AT_ONCE = 64
"""Connections that are being opened at one time."""
CONNECT_S = 2.0
FIRST_S = 5.0
"""How long to wait for a lock; everybody else already waits behind us meanwhile."""
IDLE_S = 10.0
"""A session that has always something to do is ended by the server when it has been idle for so long."""
TRIES = 3
"""A deadlock with the application is somebody's to lose; when it was us we try again."""
FILL_ROWS = 4000
"""Rows written at a time, four a page of 8 KiB: 8 MB."""
ROW_BYTES = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What to do, and for how long. Arrives on stdin because it holds secrets."""

    dsn: str
    admin: str
    tag: str
    role: str
    database: str
    seconds: float
    job: Mapping[str, Any]
    """`do` says which of `JOBS`, the rest is its own."""


class Ended(Exception):
    """One of our sessions was ended by the server: an undo from anywhere, a deadline, or a restart."""


async def hold_slots(orders: Orders) -> None:
    """Take slots until `capacity` are used; with `end`, end the application's sessions for it, again and again."""
    held: list[asyncpg.Connection[Any]] = []
    async with session(orders.admin, what="admin", application_name=orders.tag) as control:
        await _deadline(control, orders.seconds, idle_s=IDLE_S)
        began = False
        while not any(connection.is_closed() for connection in held):
            now = await count(control, role=orders.role, database=orders.database, tag=orders.tag)
            ended = 0
            if now.app and orders.job["end"]:
                ended = await end_application(control, role=orders.role, database=orders.database)
            wanted = min(orders.job["capacity"] - now.used + ended, AT_ONCE)
            # All at once: whoever lost a session is knocking already, and slots go to whoever comes first.
            grabbed = await asyncio.gather(*(_grab(orders) for _ in range(wanted)))
            held += [connection for connection in grabbed if connection is not None]
            if not began:
                say({"began": True})
                began = True
            await asyncio.sleep(CALM_TICK_S if not ended and wanted <= 0 else TICK_S)
        raise Ended


async def run_scripts(orders: Orders) -> None:
    """Run each script's `first` statements in its own sessions, then its `again` statements over and over, or stay."""
    async with contextlib.AsyncExitStack() as stack:
        running = []
        for script in orders.job["scripts"]:
            for _ in range(script["copies"]):
                connection = await stack.enter_async_context(_script_session(orders, script))
                await _begin(connection, script)
                running.append((connection, script))
        say({"began": True})
        async with asyncio.TaskGroup() as group:
            for connection, script in running:
                group.create_task(_stay(connection, script, orders.seconds))


async def storm(orders: Orders) -> None:
    """Connect as the application `per_s` times a second, at most `at_once` at one time, and hang up at once."""
    knocking: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()
    async with session(orders.admin, what="admin", application_name=orders.tag) as control:
        await _deadline(control, orders.seconds, idle_s=orders.seconds)
        say({"began": True})
        due = loop.time()
        while not control.is_closed():
            await asyncio.sleep(max(0.0, due - loop.time()))
            due = max(due, loop.time() - 1.0) + 1 / orders.job["per_s"]
            if len(knocking) < orders.job["at_once"]:
                task = asyncio.create_task(_knock(orders))
                knocking.add(task)
                task.add_done_callback(knocking.discard)
        raise Ended


async def fill(orders: Orders) -> None:
    """Make a tablespace of ours on `path`, and fill a table in it until no more than `floor` bytes are free there."""
    import asyncpg

    job = orders.job
    admin = session(orders.admin, what="admin", application_name=orders.tag, database=orders.database)
    async with admin as connection:
        await _deadline(connection, orders.seconds, idle_s=IDLE_S)
        for statement in job["first"]:
            await connection.execute(statement, timeout=FIRST_S * 2)
        say({"began": True})
        while True:
            rows = min(free_bytes(job["path"]) - job["floor"], FILL_ROWS * ROW_BYTES) // ROW_BYTES
            try:
                if rows > 0:
                    await connection.execute(f"{job['again']} generate_series(1, {rows})", timeout=orders.seconds)
            except asyncpg.DiskFullError:
                rows = 0  # somebody else took the rest
            await asyncio.sleep(0.0 if rows > 0 else CALM_TICK_S)
            await connection.execute("SELECT 1")  # notices that we have been ended, and that we are not idle


JOBS: Mapping[str, Callable[[Orders], Awaitable[None]]] = {
    "slots": hold_slots,
    "scripts": run_scripts,
    "storm": storm,
    "fill": fill,
}


def free_bytes(path: str) -> int:
    """What others than root may still take of a file system."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def _script_session(orders: Orders, script: Mapping[str, Any]) -> contextlib.AbstractAsyncContextManager[Any]:
    if script["who"] == "dsn":
        return _timed(orders, script, session(orders.dsn, what="dsn", application_name=orders.tag))
    admin = session(orders.admin, what="admin", application_name=orders.tag, database=orders.database)
    return _timed(orders, script, admin)


@contextlib.asynccontextmanager
async def _timed(orders: Orders, script: Mapping[str, Any], opening: Any) -> Any:
    async with opening as connection:
        idle_s = script["every_s"] + IDLE_S if script["again"] else orders.seconds
        await _deadline(connection, orders.seconds, idle_s=min(idle_s, orders.seconds))
        yield connection


async def _deadline(connection: asyncpg.Connection[Any], seconds: float, *, idle_s: float) -> None:
    """Have the server itself end the session."""
    import asyncpg

    await connection.execute(f"SET statement_timeout = {int(seconds * 1000)}")
    await connection.execute(f"SET idle_session_timeout = {int(idle_s * 1000)}")
    await connection.execute(f"SET idle_in_transaction_session_timeout = {int(idle_s * 1000)}")
    try:
        await connection.execute("SET client_connection_check_interval = 500")
    except asyncpg.PostgresError:
        pass  # a server whose system cannot tell; a running statement then ends by its own timeout


async def _begin(connection: asyncpg.Connection[Any], script: Mapping[str, Any]) -> None:
    import asyncpg

    await connection.execute(f"SET lock_timeout = {int(FIRST_S * 1000)}")
    for left in reversed(range(TRIES)):
        try:
            said = await _run(connection, script["first"], FIRST_S * 2)
        except asyncpg.DeadlockDetectedError:
            await connection.execute("ROLLBACK")
            if not left:
                raise
        else:
            if script["nothing"] and said == "SELECT 0":
                raise InjectorError(script["nothing"])
            return


async def _stay(connection: asyncpg.Connection[Any], script: Mapping[str, Any], seconds: float) -> None:
    """Until the session is ended; then raises `Ended`."""
    import asyncpg

    ended = asyncio.Event()
    connection.add_termination_listener(lambda _: ended.set())
    while not connection.is_closed():
        try:
            await _turn(connection, script["again"], seconds)
            async with asyncio.timeout(script["every_s"] if script["again"] else None):
                await ended.wait()
        except TimeoutError:
            continue
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            break  # ended in the middle of it, or nothing that another turn would mend
    raise Ended


async def _turn(connection: asyncpg.Connection[Any], again: Sequence[str], seconds: float) -> None:
    import asyncpg

    try:
        await _run(connection, again, seconds + FIRST_S)
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
        await connection.execute("ROLLBACK")  # the application was there first: the next turn is ours


async def _run(connection: asyncpg.Connection[Any], statements: Sequence[str], timeout_s: float) -> str:
    """Run them one by one. Returns what the server says of the last one, such as `SELECT 3`."""
    said = ""
    for statement in statements:
        # `execute`: one message each. Between the messages of the extended protocol no timeout of the server counts.
        said = await connection.execute(statement, timeout=timeout_s)
    return said


async def _grab(orders: Orders) -> asyncpg.Connection[Any] | None:
    import asyncpg

    settings = {"application_name": orders.tag, "idle_session_timeout": str(int(orders.seconds * 1000))}
    try:
        return await asyncpg.connect(orders.dsn, timeout=CONNECT_S, statement_cache_size=0, server_settings=settings)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        return None  # somebody was quicker; the next round ends their session


async def _knock(orders: Orders) -> None:
    connection = await _grab(orders)
    if connection is not None:
        connection.terminate()


async def hold(words: dict[str, Any]) -> None:
    """Do the job. Raises InjectorError, one of those that the sessions of a job may meet."""
    orders, why = Orders(**words), ""
    try:
        await JOBS[orders.job["do"]](orders)
    except* Ended:
        pass
    except* InjectorError as errors:
        why = str(errors.exceptions[0])
    if why:
        raise InjectorError(why)


if __name__ == "__main__":
    leased.stay(hold)
