"""The process that holds what `postgres.pool` takes: `python -m fault_injectors.postgres_holder TAG`, orders on stdin.

It outlives whoever started it, but never its deadline, which it keeps itself; newer servers keep it as well, by a
session timeout. It ends when it is killed, or, from any host, when one of its sessions is ended. It says one line of
JSON, `{"began": true}` or `{"error": …}`, and is silent from then on.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chaosrunner.errors import InjectorError
from fault_injectors.postgres_sessions import count, end_application, session

if TYPE_CHECKING:
    import asyncpg

TICK_S = 0.05
CALM_TICK_S = 0.2
"""How often to look once the application has no session and no slot is free."""
GRABS_AT_ONCE = 64
GRAB_S = 2.0
LOCK_S = 5.0
"""How long to wait for the lock; everybody else already waits behind us meanwhile."""
ENDS_IDLE_SESSIONS = 140000
"""First server version (as a number) that ends idle sessions by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What to take, and for how long. Arrives on stdin because it holds secrets."""

    dsn: str
    admin: str
    tag: str
    role: str
    database: str
    capacity: int
    """Take slots until so many are used in all."""
    table: str
    """Quoted name of the table to lock; empty = take slots."""
    seconds: float
    version: int


class Ended(Exception):
    """One of our sessions was ended by the server: an undo from anywhere, a deadline, or a restart."""


async def hold_slots(orders: Orders) -> None:
    """End the application's sessions and take their slots, again and again, until it has none."""
    held: list[asyncpg.Connection[Any]] = []
    async with session(orders.admin, what="admin", application_name=orders.tag) as control:
        began = False
        while not any(connection.is_closed() for connection in held):
            now = await count(control, role=orders.role, database=orders.database, tag=orders.tag)
            ended = await end_application(control, role=orders.role, database=orders.database) if now.app else 0
            wanted = min(orders.capacity - now.used + ended, GRABS_AT_ONCE)
            # All at once: whoever lost a session is knocking already, and slots go to whoever comes first.
            grabbed = await asyncio.gather(*(_grab(orders) for _ in range(wanted)))
            held += [connection for connection in grabbed if connection is not None]
            if not began:
                _say({"began": True})
                began = True
            await asyncio.sleep(CALM_TICK_S if not ended and wanted <= 0 else TICK_S)
        raise Ended


async def hold_lock(orders: Orders) -> None:
    """Lock the table against everybody."""
    async with session(orders.dsn, what="dsn", application_name=orders.tag) as connection:
        await connection.execute("SET statement_timeout = 0")
        await connection.execute(f"SET lock_timeout = {int(LOCK_S * 1000)}")
        await connection.execute(f"SET idle_in_transaction_session_timeout = {int(orders.seconds * 1000)}")
        await connection.execute("BEGIN")
        await connection.execute(f"LOCK TABLE {orders.table} IN ACCESS EXCLUSIVE MODE", timeout=LOCK_S * 2)
        _say({"began": True})
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        if not connection.is_closed():
            await ended.wait()
        raise Ended


async def _grab(orders: Orders) -> asyncpg.Connection[Any] | None:
    import asyncpg

    settings = {"application_name": orders.tag}
    if orders.version >= ENDS_IDLE_SESSIONS:
        settings["idle_session_timeout"] = str(int(orders.seconds * 1000))
    try:
        return await asyncpg.connect(orders.dsn, timeout=GRAB_S, statement_cache_size=0, server_settings=settings)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return None  # somebody was quicker; the next round ends their session


async def _hold(orders: Orders) -> None:
    try:
        async with asyncio.timeout(orders.seconds):
            await (hold_lock(orders) if orders.table else hold_slots(orders))
    except (TimeoutError, Ended):
        pass
    except InjectorError as error:
        _say({"error": str(error)})


def _say(answer: Mapping[str, object]) -> None:
    try:
        print(json.dumps(answer), flush=True)
    except OSError:
        return  # whoever asked is gone; the deadline stays
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.close(quiet)


def main() -> None:
    """Read the orders, leave the family of whoever gave them, and hold."""
    text = sys.stdin.read()
    try:
        orders = Orders(**json.loads(text))
    except (ValueError, TypeError):
        _say({"error": "the orders did not arrive whole"})
        return
    if os.fork():
        os._exit(0)  # so that nobody has to wait for us: init does
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.alarm(int(orders.seconds) + 2)  # should the loop ever hang
    asyncio.run(_hold(orders))


if __name__ == "__main__":
    main()
