"""A cache in front of the demo's database: used while it answers, left alone while it does not, and never wrong."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import psutil
import pytest
from redis.asyncio import Redis

from chaosrunner.demo import schema
from chaosrunner.demo.binaries import NOBODY
from chaosrunner.demo.cache import CarefulCache, HastyCache
from chaosrunner.demo.cache_server import cache_command, find_redis, pinged
from chaosrunner.demo.cached import CachedService, HastyCachedService
from chaosrunner.demo.options import CACHE_VARIABLE, DemoOptions, DemoUnavailable, Ports, free_base_port
from chaosrunner.demo.parts import Blueprint
from chaosrunner.demo.running import running_demo
from chaosrunner.demo.service import Agent, NoSuchAgent
from chaosrunner.demo.sessions import DatabaseAway
from chaosrunner.demo.system_file import system_file

HERE = shutil.which("redis-server") is not None
WANTED = "redis-server is not installed; 'make packages' installs it"
needs_redis = pytest.mark.skipif(not HERE, reason=WANTED)
OWNER = "user01"


class Server:
    """A Redis as the demo starts it, that can be stopped like a hanging one."""

    def __init__(self, folder):
        with socket.create_server(("127.0.0.1", 0)) as place:
            self.port = place.getsockname()[1]
        self.command = cache_command(find_redis(), self.port, folder / "log")
        self.start()

    def start(self):
        with self.command.log.open("ab") as log:
            self.process = subprocess.Popen(self.command.argv, stdout=log, stderr=log)
        asyncio.run(asyncio.wait_for(pinged(self.port), 10))

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def hang(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def end(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if not HERE:
        pytest.skip(WANTED)
    one = Server(tmp_path_factory.mktemp("redis"))
    yield one
    one.end()


@pytest.fixture
async def redis(server):
    async with Redis.from_url(server.url) as client:
        await client.flushall()
        yield client


class Table:
    """The statements of the demo on agents in memory, in place of a database; counts who reads."""

    def __init__(self):
        self.agents = {}
        self.reads = 0
        self.away = False
        self.held = 0
        self.before_answer = None

    async def fetch(self, statement, *arguments):
        if self.away:
            raise DatabaseAway
        rows = self.answer(statement, *arguments)
        if self.before_answer is not None:
            await self.before_answer()
        return rows

    def answer(self, statement, owner, *rest):
        match statement:
            case schema.LIST_AGENTS:
                self.reads += 1
                return [{"id": n, "name": name} for (whose, n), name in sorted(self.agents.items()) if whose == owner]
            case schema.READ_AGENT:
                self.reads += 1
                name = self.agents.get((owner, rest[0]))
            case schema.CREATE_AGENT:
                name = self.agents[owner, len(self.agents) + 1] = rest[0]
                return [{"id": len(self.agents), "name": name}]
            case schema.UPDATE_AGENT:
                name = self.agents[owner, rest[0]] = rest[1]
            case schema.DELETE_AGENT:
                name = self.agents.pop((owner, rest[0]), None)
        return [] if name is None else [{"id": rest[0], "name": name}]

    async def acquire(self):
        self.held += 1
        return self

    def release(self, _):
        self.held -= 1

    async def close(self):
        pass


@asynccontextmanager
async def replica(server, table, kind=CachedService, cache=CarefulCache):
    service = kind(table, None, cache(server.url, name="test"))
    try:
        yield service
    finally:
        await service.close()


@pytest.fixture
async def pair(server, redis):
    """Two careful replicas on one table, which has one agent."""
    table = Table()
    async with replica(server, table) as one, replica(server, table) as other:
        await one.create(OWNER, "first", None)
        yield one, other, table


@pytest.fixture
async def looker(server, redis):
    """The cache as a third replica sees it, which has noticed nothing yet."""
    cache = CarefulCache(server.url, name="looker")
    yield cache
    await cache.close()


async def answering(cache):
    """Wait until the cache answers again; the ticket it gives."""
    async with asyncio.timeout(5):
        while True:
            _, ticket = await cache.look(OWNER, "nothing")
            if ticket is not None:
                return ticket
            await asyncio.sleep(0.01)


async def test_what_one_replica_has_read_another_need_not(pair):
    """A second look within the time that things are kept asks no database, whoever looks."""
    one, other, table = pair
    with_one = [(await one.list(OWNER)).value, (await one.read(OWNER, 1)).value]
    assert (with_one, table.reads) == ([[Agent(1, "first")], Agent(1, "first")], 2)
    assert [(await other.list(OWNER)).value, (await other.read(OWNER, 1)).value] == with_one
    assert table.reads == 2


async def test_every_change_is_seen_by_everybody_at_once(pair):
    """After a change was acknowledged by one replica, no other serves what was before."""
    one, other, _ = pair
    await other.list(OWNER)
    made = await one.create(OWNER, "second", None)
    assert made in (await other.list(OWNER)).value
    await other.read(OWNER, made.id)
    await one.update(OWNER, made.id, "renamed")
    assert (await other.read(OWNER, made.id)).value.name == "renamed"
    await one.delete(OWNER, made.id)
    with pytest.raises(NoSuchAgent):
        await other.read(OWNER, made.id)
    assert (await other.list(OWNER)).value == [Agent(1, "first")]


async def test_a_reader_who_is_overtaken_keeps_nothing(pair):
    """What was read before a change and put into the cache after it is served to nobody."""
    one, other, table = pair

    async def overtake():
        table.before_answer = None
        await other.update(OWNER, 1, "renamed")

    table.before_answer = overtake
    assert (await one.read(OWNER, 1)).value.name == "first"  # it was, when it was asked for
    assert (await one.read(OWNER, 1)).value.name == "renamed"


async def test_a_hanging_cache_costs_moments_and_then_nothing(pair, server):
    """While it hangs readers get their answers from the database, soon without asking it, until it is back."""
    one, _, table = pair
    server.hang()
    try:
        assert {(await one.list(OWNER)).value[0].name for _ in range(3)} == {"first"}
        began_s = time.monotonic()
        for _ in range(40):
            await one.list(OWNER)
        assert time.monotonic() - began_s < 40 * CarefulCache.DEADLINE_S
        assert table.reads == 43
    finally:
        server.go_on()
    async with asyncio.timeout(10):
        before = -1
        while table.reads > before:  # until one of them came from the cache
            before = table.reads
            await asyncio.sleep(0.1)
            await one.list(OWNER)


@pytest.mark.parametrize("seen", [False, True], ids=["nobody has seen it hang", "it is left alone already"])
async def test_nothing_old_is_served_after_it_hung(pair, looker, server, seen):
    """A change that the cache could not be told of is acknowledged when all that was kept before has expired."""
    one, other, _ = pair
    if seen:
        server.hang()
        for _ in range(3):
            await one.list(OWNER)
        server.go_on()
    async with asyncio.timeout(5):
        while (await looker.look(OWNER, "1"))[0] != [1, "first"]:
            await other.read(OWNER, 1)
    server.hang()
    await one.update(OWNER, 1, "renamed")
    server.go_on()
    await answering(looker)
    assert (await looker.look(OWNER, "1"))[0] is None
    assert (await other.read(OWNER, 1)).value.name == "renamed"


async def test_what_comes_late_is_not_kept(looker, server):
    """What was sent to a server that hung, and is done by it long afterwards, is past its time."""
    _, ticket = await looker.look(OWNER, "1")
    server.hang()
    await looker.keep(ticket, (1, "first"))
    await asyncio.sleep(CarefulCache.KEPT_S)
    server.go_on()
    await answering(looker)
    assert (await looker.look(OWNER, "1"))[0] is None


async def test_a_full_cache_is_like_none(pair, redis):
    """A cache that takes no more writes costs nobody an answer, and readers see every change."""
    one, other, _ = pair
    await other.read(OWNER, 1)
    before = await redis.config_get("maxmemory*")
    await redis.config_set("maxmemory", 1, "maxmemory-policy", "noeviction")
    try:
        await one.update(OWNER, 1, "renamed")
        assert (await other.read(OWNER, 1)).value.name == "renamed"
    finally:
        await redis.config_set("maxmemory", before["maxmemory"], "maxmemory-policy", before["maxmemory-policy"])


async def test_ended_connections_cost_nothing(pair, redis):
    """Connections that the server ended are made anew, and what is kept is served."""
    one, _, table = pair
    await one.list(OWNER)
    await redis.client_kill_filter(_type="normal", skipme=True)
    assert (await one.list(OWNER)).value == [Agent(1, "first")]
    assert table.reads == 1


async def test_an_old_answer_is_not_kept_as_a_new_one(pair, redis):
    """What is served for want of a database says that it may be old, and the cache never has it."""
    one, _, table = pair
    await one.list(OWNER)
    await redis.flushall()
    table.away = True
    assert (await one.list(OWNER)).stale
    assert (await one.read(OWNER, 1)).stale
    with pytest.raises(DatabaseAway):
        await one.update(OWNER, 1, "renamed")
    assert {key for key in await redis.keys() if not key.endswith(b":turn")} == set()


async def test_haste_is_right_while_all_is_well_and_hangs_with_the_cache(server, redis):
    """The fragile service reads through the cache as well; when that hangs, it keeps what it holds of the database."""
    table = Table()
    async with replica(server, table, HastyCachedService, HastyCache) as service:
        made = await service.create(OWNER, "first", None)
        assert [(await service.list(OWNER)).value for _ in range(2)] == [[made], [made]]
        assert [(await service.read(OWNER, made.id)).value for _ in range(2)] == [made, made]
        assert (table.reads, table.held) == (2, 0)
        await service.update(OWNER, made.id, "renamed")
        assert (await service.read(OWNER, made.id)).value.name == "renamed"
        await service.delete(OWNER, made.id)
        with pytest.raises(NoSuchAgent):
            await service.read(OWNER, made.id)
        assert (await service.list(OWNER)).value == []
        server.hang()
        try:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(service.list(OWNER), 0.3)
        finally:
            server.go_on()
        assert table.held == 1


async def test_a_cache_that_is_not_there_is_done_without(pair, server, redis):
    """While nobody listens reads and writes go on, and a server that is started anew is used again."""
    one, other, table = pair
    server.end()
    try:
        await one.update(OWNER, 1, "renamed")
        assert (await other.list(OWNER)).value == [Agent(1, "renamed")]
    finally:
        await asyncio.to_thread(server.start)
    async with asyncio.timeout(10):
        before = -1
        while table.reads > before:
            before = table.reads
            await asyncio.sleep(0.1)
            await other.list(OWNER)


def test_only_who_asks_for_a_cache_has_one(tmp_path):
    """With it there is one part more, one way through the proxy, and its URL for the replicas; all else is the same."""
    ports = Ports(20_000)
    said = {}
    for redis in (None, "/bin/redis-server"):
        blueprint = Blueprint(ports=ports, fragile=False, directory=tmp_path, database="x:1", dsn="", redis=redis)
        parts = {command.name: command for command in blueprint.commands()}
        routes = json.loads((tmp_path / "proxies.json").read_text())
        said[redis] = (
            {name: part.argv for name, part in parts.items()},
            {route["name"]: route["upstream"] for route in routes},
            parts["api-1"].environment.get(CACHE_VARIABLE),
        )
    (plain, ways, nothing), (with_one, more_ways, url) = said.values()
    assert (set(with_one) - set(plain), nothing, url) == ({"cache"}, None, f"redis://127.0.0.1:{ports.proxied_cache}/0")
    assert plain == {name: argv for name, argv in with_one.items() if name != "cache"}
    assert more_ways == ways | {"cache": f"127.0.0.1:{ports.cache}"}


def test_the_shipped_system_file_of_the_demo_with_a_cache_is_what_it_writes():
    """`experiments/systems/demo-cached.yaml` is what such a demo on the default ports writes, but for its comment."""
    path = Path(__file__).parents[2] / "experiments/systems/demo-cached.yaml"
    lines = path.read_text().splitlines(keepends=True)
    text = "".join(line for number, line in enumerate(lines) if number == 0 or not line.startswith("#"))
    assert text == system_file(Ports(18080), cached=True)


async def test_what_it_needs_is_said(monkeypatch):
    """Without redis-server the demo says in one line how to get it, and has started nothing."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DemoUnavailable, match="redis-server, which is not on PATH; install the package") as refusal:
        async with running_demo(DemoOptions(base_port=free_base_port(), cache=True)):
            pass
    assert "\n" not in str(refusal.value)


@needs_redis
@pytest.mark.postgres
async def test_a_demo_reads_through_its_cache_and_takes_it_along():
    """Replicas are in the list of its clients and find what they keep; it dies with a supervisor that is killed."""
    async with running_demo(DemoOptions(base_port=free_base_port(), cache=True)) as demo:
        async with aiohttp.ClientSession(demo.entry) as client:
            async with client.post("/login", json={"user": OWNER, "password": "pass01"}) as response:
                headers = {"Authorization": f"Bearer {(await response.json())['token']}"}
            async with Redis(port=demo.ports.cache) as redis, asyncio.timeout(10):
                while (await redis.info("stats"))["keyspace_hits"] < 5:
                    async with client.get("/agents", headers=headers) as response:
                        assert response.status == 200
                names = {one["name"] for one in await redis.client_list()}
        assert any(name.startswith("shop/api-") for name in names)
        cache = psutil.Process(demo.pid_of("cache"))
        assert cache.name() == "redis-server"
        assert cache.uids().real == (os.geteuid() or NOBODY)
        os.kill(demo.supervisor_pid, signal.SIGKILL)
    await asyncio.to_thread(cache.wait, 10)
