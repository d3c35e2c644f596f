"""The process that holds a Redis fault: `python -m fault_injectors.redis_holder TAG`, orders on stdin.

What it does is a job: `pause` makes the server wait, `block` keeps it busy, `kill` ends connections, `slots` takes
them. It ends with its deadline, when it is killed, or, from any host, when one of its connections is ended.
"""

from __future__ import annotations

import asyncio
import random
import resource
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from fault_injectors import leased
from fault_injectors import redis_server as server
from fault_injectors.redis_server import Choice, session

if TYPE_CHECKING:
    from redis.asyncio import Redis

WRITES_MS = 600
"""Writes wait so long at a time, so that a holder that is late on a busy host lets none through."""
WRITES_TICK_S = 0.15
"""How often that is asked for again."""
TICK_S = 0.05
CALM_TICK_S = 0.2
"""How often to look once no slot is free and nobody was ended."""
AT_ONCE = 64
"""Connections that are being opened at one time."""
BUSY = "for turn = 1, tonumber(ARGV[1]) do end return 1"
"""Counts, and touches no key."""
FEW_TURNS = 20_000
"""A fraction of a millisecond."""
FASTER = 4.0
"""A block is at most so many times as far counted as the one before, which may have been disturbed."""

Orders = dict[str, Any]
"""`url`, `tag`, `seconds`, and the `job`, whose `do` says which of `JOBS`; the rest of it is its own."""


async def pause(orders: Orders) -> None:
    """Make every command wait, slice of `slice_ms` after slice.

    All slices are sent at once. A server that has just paused has already read the next of them, which is therefore the
    first to go on when the slice is over, before anybody who waits: there is no gap. It also ends when we are gone: a
    connection that is closed is forgotten with all that waits in it.
    """
    slice_ms = orders["job"]["slice_ms"]
    async with session(orders["url"], name=orders["tag"], answer_s=orders["seconds"]) as client:
        connection = client.connection
        assert connection is not None
        slices = int(orders["seconds"] * 1000 / slice_ms)
        one = ("CLIENT", "PAUSE", slice_ms, "ALL")
        await connection.send_packed_command(connection.pack_commands([one] * slices))
        for nth in range(slices):
            await connection.read_response()
            if not nth:
                leased.say({"began": True})


async def pause_writes(orders: Orders) -> None:
    """Make commands that write wait; whoever reads is served, and so are we.

    Asked for again well before it ends. Slices sent at once, with what waits as writes do in between, have been seen to
    let a write of somebody else through between two of them.
    """
    async with session(orders["url"], name=orders["tag"]) as client:
        await client.execute_command("CLIENT PAUSE", WRITES_MS, "WRITE")
        leased.say({"began": True})
        while True:
            await asyncio.sleep(WRITES_TICK_S)
            await client.execute_command("CLIENT PAUSE", WRITES_MS, "WRITE")


async def block(orders: Orders) -> None:
    """Keep the server's only thread busy for `block_s`, every `every_s`.

    A script has no clock that every version lets it look at, so it counts. How far, is learned from how long it took.
    """
    job = orders["job"]
    async with session(orders["url"], name=orders["tag"]) as client:
        loop = asyncio.get_running_loop()
        turns, began, due = FEW_TURNS, False, loop.time()
        while True:
            asked = loop.time()
            await client.execute_command("EVAL", BUSY, 0, turns)
            took_s = loop.time() - asked
            turns = max(FEW_TURNS, int(turns * min(FASTER, job["block_s"] / took_s)))
            if not began and took_s < job["block_s"] / 2:
                continue  # still learning
            if not began:
                leased.say({"began": True})
                began, due = True, asked
            due = max(due + job["every_s"], loop.time())
            await asyncio.sleep(due - loop.time())


async def kill(orders: Orders) -> None:
    """End a share of the application's connections, every `every_s`."""
    job, choice = orders["job"], Choice(**orders["job"]["whose"])
    async with session(orders["url"], name=orders["tag"]) as control:
        began = False
        while True:
            there = choice.of(await server.clients(control))
            if there:
                await server.end(control, random.sample(there, max(1, int(len(there) * job["share"]))))
            if not began:
                leased.say({"began": True})
                began = True
            await asyncio.sleep(job["every_s"])


async def slots(orders: Orders) -> None:
    """Take slots until `leave` are free; with `end`, end the application's connections for it, again and again."""
    job, choice = orders["job"], Choice(**orders["job"]["whose"])
    held: list[Redis] = []
    spared, began = 0, False
    _as_many_files_as_allowed()
    async with session(orders["url"], name=orders["tag"]) as control:
        while True:
            connected, most = server.places(await server.info(control, *server.PLACES))
            others, ended = connected - len(held), 0
            if job["end"] and others > spared:  # who is connected is a long list: it is not asked for without need
                ended = await server.end(control, choice.of(await server.clients(control)))
                spared = others - ended
            wanted = min(most - connected + ended - job["leave"], AT_ONCE)
            # All at once: whoever lost a connection is knocking already, and slots go to whoever comes first.
            grabbed = await asyncio.gather(*(_grab(orders) for _ in range(wanted)))
            held += [one for one in grabbed if one is not None]
            if not began and wanted < AT_ONCE:
                leased.say({"began": True})
                began = True
            await asyncio.sleep(TICK_S if ended or wanted > 0 else CALM_TICK_S)


async def _grab(orders: Orders) -> Redis | None:
    from redis.exceptions import RedisError

    try:
        client = server.connecting(orders["url"], orders["tag"], server.ANSWER_S)
        await client.execute_command("PING")
    except (RedisError, OSError):
        return None  # somebody was quicker; the next round ends their connection
    return client


def _as_many_files_as_allowed() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


JOBS: dict[str, Callable[[Orders], Awaitable[None]]] = {
    "pause": pause,
    "pause writes": pause_writes,
    "block": block,
    "kill": kill,
    "slots": slots,
}


async def hold(orders: Orders) -> None:
    """Do the job."""
    await JOBS[orders["job"]["do"]](orders)


if __name__ == "__main__":
    leased.stay(hold)
