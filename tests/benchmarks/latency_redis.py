"""Latencies of the redis family, on a server of our own that an application is connected to, beside redis-cli."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from contract_rig import system_of
from latency_ways import OURS, Faults, Kept, Step, Way, after, nothing, ours, program
from redis.asyncio import Redis
from redis.exceptions import RedisError
from redis_bench import PAGE_BYTES, PAGES, PASSWORD, RedisServer, launch_redis

from chaosrunner.model.secret import Secret
from chaosrunner.model.system import Component, System
from fault_injectors.redis import Block, Connections, KillConnections, Pause
from fault_injectors.redis_settings import LEAST_MEMORY, MANY_REPLICAS, Eviction, OutOfMemory, ReadOnly

CONNECTIONS, LEAVE, MOST = 3, 4, 40
WHOLE_WITHIN_S = 10.0
KEEP = 0.5
PAUSED_MS = "20000"


@asynccontextmanager
async def redis_faults() -> AsyncIterator[Faults]:
    """Faults of one server; before each, the application has all its connections and pages, and asks nothing."""
    with tempfile.TemporaryDirectory(prefix="chaosrunner-latency-") as folder:
        async with launch_redis(Path(folder), "--maxclients", str(MOST)) as server:
            clients = [server.client("shop") for _ in range(CONNECTIONS)]

            async def whole() -> None:
                async with asyncio.timeout(WHOLE_WITHIN_S):
                    while not all([await _answers(client) for client in clients]):  # noqa: ASYNC110 - nobody tells
                        await asyncio.sleep(0.02)
                    await _filled(clients[0])

            await whole()
            url = server.template.replace("${CONTRACT_PASSWORD}", PASSWORD)
            system = system_of(Component(name="target", redis=Secret(url)))
            faults = {**_held(system, server), **_written(system, server, await _evicting(clients[0]))}
            yield {fault: after(whole, ways) for fault, ways in faults.items()}
            for client in clients:
                await client.aclose()


def _held(system: System, server: RedisServer) -> dict[str, list[Way]]:
    """What a process of ours holds."""
    pause = Way(
        "redis-cli, writes",
        _cli(server, "CLIENT", "PAUSE", PAUSED_MS, "WRITE"),
        _cli(server, "CLIENT", "UNPAUSE"),
        nothing,
    )
    idle = str(MOST - CONNECTIONS - LEAVE)
    kept = Kept("redis-benchmark", "-I", "-c", idle, "-p", str(server.port), "-a", PASSWORD, says=f"clients: {idle}")

    async def end() -> None:
        await kept.end(signal.SIGINT)

    kill = Way("redis-cli", _cli(server, "CLIENT", "KILL", "TYPE", "normal"), nothing, nothing)
    return {
        "redis.pause": [
            ours(f"{OURS}, all", Pause(), system),
            ours(f"{OURS}, writes", Pause(), system, commands="writes"),
            pause,
        ],
        "redis.block": [ours(OURS, Block(), system, lasts=0.1)],
        "redis.kill_connections": [ours(OURS, KillConnections(), system, name="shop", every=60.0), kill],
        "redis.connections": [
            ours(OURS, Connections(), system, leave=LEAVE),
            Way("redis-benchmark", kept.begin, end, nothing),
        ],
    }


def _written(system: System, server: RedisServer, evicting: str) -> dict[str, list[Way]]:
    """What is written into the server's settings."""

    def set_by_hand(there: str, back: str) -> Way:
        config = ("CONFIG", "SET")
        return Way("redis-cli", _cli(server, *config, *there.split()), _cli(server, *config, *back.split()), nothing)

    before = "maxmemory 0 maxmemory-policy noeviction"
    return {
        "redis.out_of_memory": [
            ours(OURS, OutOfMemory(), system),
            set_by_hand(f"maxmemory-policy noeviction maxmemory {LEAST_MEMORY}", before),
        ],
        "redis.read_only": [
            ours(OURS, ReadOnly(), system),
            set_by_hand(f"min-replicas-to-write {MANY_REPLICAS}", "min-replicas-to-write 0"),
        ],
        "redis.eviction": [
            ours(OURS, Eviction(), system, lose_keys=True, keep=KEEP),
            set_by_hand(f"maxmemory-policy allkeys-lru maxmemory {evicting}", before),
        ],
    }


async def _answers(client: Redis) -> bool:
    with suppress(RedisError, OSError):
        return bool(await client.ping())
    return False


async def _filled(client: Redis) -> None:
    """As much data as before, all of which may be lost."""
    if await client.dbsize() < PAGES:
        await client.mset({f"page:{number}": "x" * PAGE_BYTES for number in range(PAGES)})


async def _evicting(client: Redis) -> str:
    """Bytes with which the server keeps as much of its data as with our fault."""
    found = await client.info("memory")
    return str(found["used_memory"] - round(found["used_memory_dataset"] * (1 - KEEP)))


def _cli(server: RedisServer, *words: str) -> Step:
    return program("redis-cli", "-e", "-p", str(server.port), "-a", PASSWORD, "--no-auth-warning", *words)
