"""Redis faults on a real server: what is refused, what a scan finds, and who is left alone."""

from __future__ import annotations

import asyncio
import random
import signal
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from contract_rig import fault_of, system_of
from redis.exceptions import RedisError
from redis_bench import PASSWORD, RedisServer, launch_redis

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Context, Recipe, Target
from chaosrunner.model.secret import Secret
from chaosrunner.model.system import Component
from chaosrunner.model.units import Seconds, Share
from chaosrunner.world.injectors import RealTools
from fault_injectors import leased, processes
from fault_injectors.redis import Block, Connections, KillConnections, Pause
from fault_injectors.redis_held import HOLDER
from fault_injectors.redis_settings import Changed, Eviction, OutOfMemory, ReadOnly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

    from chaosrunner.model.fault import Injector

RIGHTS = ("+ping", "+info", "+client", "+config|get", "+pfcount", "%R~chaosrunner-control", "+eval")
SETTING_RIGHTS = ("+config|set", "+acl")
TOOLS = RealTools({"CONTRACT_PASSWORD": PASSWORD})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisServer]:
    """One Redis for all."""
    async with launch_redis(tmp_path_factory.mktemp("redis"), "--maxclients", "40") as server:
        yield server


@pytest.fixture
async def admin(server: RedisServer) -> AsyncIterator[Redis]:
    """Somebody who looks after it."""
    client = server.client("admin")
    yield client
    await client.aclose()


def component(server: RedisServer) -> Component:
    return Component(name="cache", redis=Secret(server.template))


async def prepared(server: RedisServer, injector: Injector, run: str = "one", **params: object) -> Recipe:
    return await prepared_at(component(server), injector, run, **params)


async def prepared_at(where: Component, injector: Injector, run: str = "one", **params: object) -> Recipe:
    context = Context(run=run, system=system_of(where), tools=TOOLS, rng=random.Random(1), spare=frozenset)
    return await injector.prepare(fault_of(injector, Target(component="cache"), **params), context)


@asynccontextmanager
async def in_effect(server: RedisServer, injector: Injector, **params: object) -> AsyncIterator[Recipe]:
    recipe = await prepared(server, injector, **params)
    try:
        await injector.inject(recipe, TOOLS)
        yield recipe
    finally:
        await injector.undo(recipe, TOOLS)


@pytest.mark.parametrize(
    ("kind", "params", "why"),
    [
        (Block, {"lasts": Seconds(3)}, "at most 2s"),
        (Block, {"every": Seconds(0.2)}, "to stop everybody use redis.pause"),
        (KillConnections, {"share": Share(0)}, "'share' is above 0 %"),
        (KillConnections, {"every": Seconds(0.01)}, "'every' is at least 50ms"),
        (Connections, {"leave": -1}, "'leave' is at least 0"),
        (Connections, {"name": "shop"}, "they go with 'end: true'"),
        (Eviction, {"lose_keys": False}, "say 'lose_keys: true'"),
        (Eviction, {"lose_keys": True, "keep": Share(1)}, "below 100 %"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_is_written(kind: type[Injector], params: dict, why: str) -> None:
    """A parameter out of bounds, or data lost unasked, is a mistake of the file and names the rule."""
    with pytest.raises(ValueError, match=why):
        kind.Params(**params)


async def test_what_this_server_cannot_do_is_refused_before_anything_is_touched(
    server: RedisServer, admin: Redis
) -> None:
    """Nobody to end, nothing to take, a limit that would turn waiting into errors: each is refused and says why."""
    with pytest.raises(InjectorError, match="nobody is connected called nobody-"):
        await prepared(server, KillConnections(), name="nobody-*")
    with pytest.raises(InjectorError, match="of 40 connections are free already"):
        await prepared(server, Connections(), leave=40)
    await admin.config_set("busy-reply-threshold", "300")
    try:
        with pytest.raises(InjectorError, match=r"after 300 ms \(busy-reply-threshold\) this server answers BUSY"):
            await prepared(server, Block(), lasts=Seconds(0.2))
    finally:
        await admin.config_set("busy-reply-threshold", "5000")
    await admin.config_set("min-replicas-max-lag", "0")
    try:
        with pytest.raises(InjectorError, match="min-replicas-max-lag is 0"):
            await prepared(server, ReadOnly())
    finally:
        await admin.config_set("min-replicas-max-lag", "10")


async def test_a_server_that_is_not_there_or_lets_nobody_in_is_an_error_without_the_password(
    server: RedisServer,
) -> None:
    """A wrong password and a closed port are told, and no message holds the URL."""
    for template, why in (
        ("redis://:not-it-at-all@127.0.0.1:{}", "invalid"),
        ("redis://:not-it-at-all@127.0.0.1:1", "connect"),
    ):
        wrong = Component(name="cache", redis=Secret(template.format(server.port)))
        with pytest.raises(InjectorError, match=why) as caught:
            await prepared_at(wrong, Pause())
        assert "not-it-at-all" not in str(caught.value)


async def test_a_setting_that_somebody_else_has_changed_meanwhile_is_left_to_them(
    server: RedisServer, admin: Redis
) -> None:
    """An undo writes back what still is ours: here the policy, and not the memory that an operator has raised."""
    await admin.config_set("maxmemory-policy", "volatile-ttl")
    async with in_effect(server, OutOfMemory()):
        now = await admin.config_get("maxmemory", "maxmemory-policy")
        assert now == {"maxmemory": "1", "maxmemory-policy": "noeviction"}
        await admin.config_set("maxmemory", "500000000")
    assert (await admin.config_get("maxmemory"))["maxmemory"] == "500000000"
    assert (await admin.config_get("maxmemory-policy"))["maxmemory-policy"] == "volatile-ttl"
    await admin.config_set("maxmemory", "0")
    await admin.config_set("maxmemory-policy", "noeviction")


async def test_the_same_setting_is_not_changed_twice(server: RedisServer) -> None:
    """While one run has changed the memory no other may, whichever fault it would be."""
    async with in_effect(server, OutOfMemory()):
        with pytest.raises(InjectorError, match=r"redis.out_of_memory of chaosrunner/one/0 is at work there already"):
            await prepared(server, Eviction(), run="two", lose_keys=True)


async def test_out_of_memory_loses_nothing_and_reads_go_on(server: RedisServer, admin: Redis) -> None:
    """A cache that would evict is told not to first: who writes gets OOM, and every key is still there afterwards."""
    await admin.config_set("maxmemory-policy", "allkeys-lru")
    await admin.mset({f"kept:{n}": "x" * 100 for n in range(500)})
    before = await admin.dbsize()
    async with in_effect(server, OutOfMemory()) as recipe:
        with pytest.raises(RedisError, match="maxmemory"):
            await admin.set("one", "more")
        assert await admin.get("kept:7") == "x" * 100
        assert (await OutOfMemory().verify(recipe, TOOLS)).ok
    assert await admin.dbsize() == before
    assert (await admin.info("stats"))["evicted_keys"] == 0
    assert await admin.set("one", "more")
    await admin.config_set("maxmemory-policy", "noeviction")
    await admin.flushall()


@pytest.mark.parametrize("injector", [OutOfMemory(), ReadOnly()])
async def test_a_scan_finds_what_was_changed_when_every_journal_is_gone(
    server: RedisServer, admin: Redis, injector: Changed
) -> None:
    """The note at the server is enough to write the value back, whichever run has left it."""
    before = await admin.config_get("*")
    recipe = await prepared(server, injector, run="gone")
    await injector.inject(recipe, TOOLS)
    [found] = await injector.scan(system_of(component(server)), TOOLS)
    assert "chaosrunner/gone/0" in found.says
    await injector.undo(found, TOOLS)
    assert (await injector.absent(recipe, TOOLS)).ok
    assert await admin.config_get("*") == before
    assert await injector.scan(system_of(component(server)), TOOLS) == []


async def test_a_scan_finds_connections_that_are_held_and_an_undo_from_elsewhere_ends_their_holder(
    server: RedisServer,
) -> None:
    """Whoever sees no process of ours ends its connections at the server, and it ends itself."""
    recipe = await prepared(server, Connections(), leave=5)
    await Connections().inject(recipe, TOOLS)
    [found] = await Pause().scan(system_of(component(server)), TOOLS)
    tag = str(found.data["tag"])
    assert tag == "chaosrunner/one/0"
    async with asyncio.timeout(20):
        while leased.holders(HOLDER, tag):
            await _end_at_the_server(server, tag)
    assert (await Connections().absent(recipe, TOOLS)).ok


async def _end_at_the_server(server: RedisServer, tag: str) -> None:
    client = server.client("elsewhere")
    for one in await client.client_list():
        if one["name"] == tag:
            await client.client_kill_filter(_id=one["id"])
    await client.aclose()
    await asyncio.sleep(0.1)


async def test_only_connections_that_are_meant_are_ended(server: RedisServer, admin: Redis) -> None:
    """By name and user: those of the shop go, the others keep theirs."""
    shop, billing = server.client("shop-1"), server.client("billing")
    ids = [await client.client_id() for client in (admin, billing)]
    old = await shop.client_id()
    async with in_effect(server, KillConnections(), name="shop-*", user="default", every=Seconds(0.1)) as recipe:
        async with asyncio.timeout(10):
            while not (await KillConnections().verify(recipe, TOOLS)).ok:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.05)
    there = {int(one["id"]) for one in await admin.client_list()}
    assert old not in there
    assert set(ids) <= there
    for client in (shop, billing):
        await client.aclose()


async def test_a_paused_server_comes_back_by_itself_when_nobody_undoes_it(server: RedisServer, admin: Redis) -> None:
    """The server has the end of a pause from the beginning: a holder that is stopped for good changes nothing of it."""
    recipe = await prepared(server, Pause())
    short = replace(recipe, data={**recipe.data, "seconds": 2.0})
    await Pause().inject(short, TOOLS)
    for holder in leased.holders(HOLDER, str(short.data["tag"])):
        processes.send(holder, signal.SIGSTOP)
    try:
        assert (await Pause().verify(short, TOOLS)).ok
        async with asyncio.timeout(10):
            while True:
                try:
                    assert await admin.ping()
                except RedisError:
                    continue
                break
    finally:
        await Pause().undo(short, TOOLS)
    async with asyncio.timeout(10):
        while not (await Pause().absent(short, TOOLS)).ok:  # noqa: ASYNC110 - a process that is killed needs a moment
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("commands", "asked", "answered"), [("all", b"PING", b"+PONG\r\n"), ("writes", b"SET a b", b"+OK\r\n")]
)
async def test_no_command_slips_through_between_the_slices_of_a_pause(
    server: RedisServer, commands: str, asked: bytes, answered: bytes
) -> None:
    """Who asks throughout ten slices, or two of writes, has no answer until the undo, and then all of them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"AUTH {PASSWORD}\r\n".encode())
    assert await reader.readline() == b"+OK\r\n"
    async with in_effect(server, Pause(), commands=commands):
        for _ in range(10):
            writer.write(asked + b"\r\n")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.1)
    async with asyncio.timeout(10):
        assert await reader.readexactly(10 * len(answered)) == answered * 10
    writer.close()


async def test_a_pause_that_somebody_else_has_begun_meanwhile_is_left_to_them(
    server: RedisServer, admin: Redis
) -> None:
    """A server knows no owner of a pause, so an undo ends only what we would have added to it."""
    async with in_effect(server, Pause(), commands="writes"):
        await admin.execute_command("CLIENT PAUSE", 60_000, "WRITE")
    assert await admin.ping()
    with pytest.raises(RedisError, match="Timeout"):
        await admin.set("written", "too early")
    await admin.execute_command("CLIENT UNPAUSE")
    assert await admin.set("written", "at last")


@pytest.mark.parametrize("injector", [Pause(), Block(), KillConnections(), Connections(), OutOfMemory(), ReadOnly()])
async def test_a_user_with_the_documented_rights_is_enough(
    server: RedisServer, admin: Redis, injector: Injector
) -> None:
    """Who may do what the reference lists, and nothing else, can look, do harm and put it back."""
    rights = RIGHTS + (SETTING_RIGHTS if isinstance(injector, Changed) else ())
    await admin.execute_command("ACL SETUSER", "ops", "reset", "on", f">{PASSWORD}", *rights)
    where = Component(name="cache", redis=Secret(server.template.replace("redis://", "redis://ops")))
    recipe = await prepared_at(where, injector)
    await injector.inject(recipe, TOOLS)
    await injector.undo(recipe, TOOLS)
    async with asyncio.timeout(10):
        while not (await injector.absent(recipe, TOOLS)).ok:
            await injector.undo(recipe, TOOLS)
    await admin.execute_command("ACL DELUSER", "ops")


@pytest.mark.parametrize("injector", [Pause(), Connections(), OutOfMemory()])
async def test_what_went_with_a_server_that_started_anew_has_ended_by_itself(
    server: RedisServer, injector: Injector
) -> None:
    """A restart takes the fault with it; an operator who ends it does not, and a server that is away says nothing."""
    recipe = await prepared(server, injector)
    await injector.inject(recipe, TOOLS)
    await injector.undo(recipe, TOOLS)
    assert await _lost(injector, recipe) is False
    await injector.inject(recipe, TOOLS)
    await server.stop()
    try:
        async with asyncio.timeout(20):
            while leased.holders(HOLDER, str(recipe.data["tag"])):  # noqa: ASYNC110 - the kernel tells nobody
                await asyncio.sleep(0.02)
        with pytest.raises(InjectorError, match="Connect call failed"):
            await injector.verify(recipe, TOOLS)
    finally:
        await server.start()
    assert await _lost(injector, recipe) is True
    before = {key: value for key, value in recipe.data.items() if key != "began"}
    assert await _lost(injector, replace(recipe, data=before)) is False


async def _lost(injector: Injector, recipe: Recipe) -> bool:
    """The fault is seen not to be in effect; whether that is because its server was started anew."""
    evidence = await injector.verify(recipe, TOOLS)
    assert evidence.ok is False
    assert evidence.ended is ("was started anew" in evidence.says)
    return evidence.ended
