"""A long day of a fault proxy in short: random changes of every sort, and users who come, talk and go meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from proxy_rig import Client, port_of

from chaosrunner.proxy.refusals import RefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy_rig import Api

    from chaosrunner.proxy.control import Control

Fields = dict[str, Any]
PROXIES = ["p0", "p1", "p2", "p3"]
TOXICS = [f"t{number}" for number in range(6)]
OWNERS = ["ann", "bob"]
USERS = 6
# A user who gets no answer in this time gives up, as toxics may keep him waiting for ever.
PATIENCE_S = 0.03
LONG_MS = 600_000

ATTRIBUTES: dict[str, list[Fields]] = {
    "noop": [{}],
    "latency": [{"latency": 1, "jitter": 1}, {"latency": LONG_MS, "distribution": "pareto"}],
    "bandwidth": [{"rate": 0}, {"rate": 1000}],
    "slicer": [{"average_size": 0, "delay": 100}, {"average_size": 9, "size_variation": 5}],
    "slow_close": [{"delay": 1}, {"delay": LONG_MS}],
    "timeout": [{"timeout": 0}, {"timeout": 2}],
    "reset_peer": [{"timeout": 0}, {"timeout": LONG_MS}],
    "limit_data": [{"bytes": 100}],
    "corrupt": [{"probability": 0}],
    "drop": [{}],
    "silence": [{}],
    "refuse_connect": [{}],
    "delay_connect": [{"latency": 1, "jitter": 1}, {"latency": LONG_MS}],
    "limit_connections": [{"connections": 2}],
}


class Changes(Protocol):
    """Everything that can be changed, in process or over HTTP; refusals that say "not there" or "taken" are False."""

    async def create(self, fields: Fields) -> bool:
        """Create a proxy."""
        ...

    async def update(self, proxy: str, fields: Fields) -> bool:
        """Change its settings."""
        ...

    async def delete(self, proxy: str) -> bool:
        """Delete it."""
        ...

    async def populate(self, entries: list[Fields]) -> bool:
        """Create or replace some."""
        ...

    async def reset(self) -> bool:
        """Enable all, remove all toxics."""
        ...

    async def add_toxic(self, proxy: str, fields: Fields) -> bool:
        """Add a toxic."""
        ...

    async def change_toxic(self, proxy: str, toxic: str, fields: Fields) -> bool:
        """Change one."""
        ...

    async def remove_toxic(self, proxy: str, toxic: str) -> bool:
        """Remove one."""
        ...

    async def end_owner(self, owner: str) -> bool:
        """Undo all that an owner changed."""
        ...

    async def ports(self) -> dict[str, int]:
        """Where the proxies listen."""
        ...


class InProcess:
    """Changes made by calling the control itself."""

    def __init__(self, control: Control) -> None:
        self.control = control

    async def create(self, fields: Fields) -> bool:
        return await _done(lambda: self.control.create(fields))

    async def update(self, proxy: str, fields: Fields) -> bool:
        return await _done(lambda: self.control.update(proxy, fields))

    async def delete(self, proxy: str) -> bool:
        return await _done(lambda: self.control.delete(proxy))

    async def populate(self, entries: list[Fields]) -> bool:
        return await _done(lambda: self.control.populate(entries))

    async def reset(self) -> bool:
        return await _done(self.control.reset)

    async def add_toxic(self, proxy: str, fields: Fields) -> bool:
        return await _done(lambda: self.control.add_toxic(proxy, fields))

    async def change_toxic(self, proxy: str, toxic: str, fields: Fields) -> bool:
        return await _done(lambda: self.control.change_toxic(proxy, toxic, fields))

    async def remove_toxic(self, proxy: str, toxic: str) -> bool:
        return await _done(lambda: self.control.remove_toxic(proxy, toxic))

    async def end_owner(self, owner: str) -> bool:
        return await _done(lambda: self.control.leases.end_owner(owner))

    async def ports(self) -> dict[str, int]:
        return {proxy.name: proxy.settings.listen.address.port for proxy in self.control.proxies()}


async def _done(change: Callable[[], Awaitable[object] | object]) -> bool:
    try:
        result = change()
        if asyncio.iscoroutine(result):
            await result
    except RefusedError as refusal:
        if refusal.status in {404, 409}:
            return False
        raise
    return True


class ByHttp:
    """Changes made over the API."""

    def __init__(self, api: Api) -> None:
        self.api = api

    async def create(self, fields: Fields) -> bool:
        return await self._done("POST", "/proxies", fields)

    async def update(self, proxy: str, fields: Fields) -> bool:
        return await self._done("PATCH", f"/proxies/{proxy}", fields)

    async def delete(self, proxy: str) -> bool:
        return await self._done("DELETE", f"/proxies/{proxy}")

    async def populate(self, entries: list[Fields]) -> bool:
        return await self._done("POST", "/populate", entries)

    async def reset(self) -> bool:
        return await self._done("POST", "/reset")

    async def add_toxic(self, proxy: str, fields: Fields) -> bool:
        return await self._done("POST", f"/proxies/{proxy}/toxics", fields)

    async def change_toxic(self, proxy: str, toxic: str, fields: Fields) -> bool:
        return await self._done("PATCH", f"/proxies/{proxy}/toxics/{toxic}", fields)

    async def remove_toxic(self, proxy: str, toxic: str) -> bool:
        return await self._done("DELETE", f"/proxies/{proxy}/toxics/{toxic}")

    async def end_owner(self, owner: str) -> bool:
        return await self._done("DELETE", f"/owners/{owner}")

    async def ports(self) -> dict[str, int]:
        return {name: port_of(proxy) for name, proxy in (await self.api.ok("GET", "/proxies")).items()}

    async def _done(self, method: str, path: str, body: Any = None) -> bool:
        status, answer = await self.api.call(method, path, body)
        assert status < 300 or status in {404, 409}, (method, path, body, status, answer)
        return status < 300


class Day:
    """Changes, one after the other, and users meanwhile.

    Attributes:
        done: How often each sort of change was made.
        echoed_bytes: What users got back.
        visits: How many connections users made.
    """

    def __init__(self, changes: Changes, upstreams: list[int], seed: int) -> None:
        self.done: Counter[str] = Counter()
        self.echoed_bytes = 0
        self.visits = 0
        self._changes = changes
        self._upstreams = [f"127.0.0.1:{port}" for port in upstreams]
        self._random = Random(seed)
        self._ports: dict[str, int] = {}
        self._sorts: list[tuple[int, str, Callable[[], Awaitable[bool]]]] = [
            (300, "toxic added", self._add),
            (250, "toxic changed", self._change),
            (200, "toxic removed", self._remove),
            (60, "proxy changed", self._update),
            (60, "proxy created", self._create),
            (10, "proxy deleted", self._delete),
            (5, "populated", self._populate),
            (5, "reset", self._reset),
            (10, "owner ended", self._end_owner),
        ]

    async def live(self, changes: int) -> None:
        """Make so many changes while users come and go; nobody is left at the end, and no proxy either."""
        users = [asyncio.create_task(self._use(Random(number))) for number in range(USERS)]
        try:
            for _ in range(changes):
                await self._one()
        finally:
            for user in users:
                user.cancel()
            await asyncio.gather(*users, return_exceptions=True)
        for name in await self._changes.ports():
            await self._changes.delete(name)

    async def _one(self) -> None:
        weights = [weight for weight, _, _ in self._sorts]
        _, name, change = self._random.choices(self._sorts, weights)[0]
        self.done[name if await change() else "refused"] += 1
        if self.done.total() % 5 == 0:
            self._ports = await self._changes.ports()
        await asyncio.sleep(0)

    async def _use(self, random: Random) -> None:
        while True:
            await asyncio.sleep(0.001)
            if not self._ports:
                continue
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._visit(random)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                pass  # toxics are at work

    async def _visit(self, random: Random) -> None:
        port = random.choice(list(self._ports.values()))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        self.visits += 1
        try:
            client = Client(reader, writer)
            for _ in range(random.randint(1, 5)):
                size = random.choice([1, 100, 5000])
                client.writer.write(bytes(size))
                self.echoed_bytes += len(await client.reader.readexactly(size))
            if random.random() < 0.5:
                client.writer.write_eof()
                await client.reader.read()
        finally:
            writer.transport.abort()

    def _term(self) -> Fields:
        """For some changes a few milliseconds to live, for some an owner, for some both."""
        lives = {"ttl": self._random.choice([0.001, 0.01, 0.05])} if self._random.random() < 0.4 else {}
        owned = {"owner": self._random.choice(OWNERS)} if self._random.random() < 0.3 else {}
        return lives | owned

    def _toxic(self) -> Fields:
        kind = self._random.choice(list(ATTRIBUTES))
        return {"type": kind, "attributes": self._random.choice(ATTRIBUTES[kind])}

    async def _add(self) -> bool:
        return await self._changes.add_toxic(
            self._random.choice(PROXIES),
            {
                **self._toxic(),
                **self._term(),
                "name": self._random.choice(TOXICS),
                "stream": self._random.choice(["upstream", "downstream"]),
                "toxicity": self._random.choice([1, 1, 0.5]),
            },
        )

    async def _change(self) -> bool:
        fields = {"toxicity": self._random.choice([0, 0.5, 1]), **self._term()}
        return await self._changes.change_toxic(self._random.choice(PROXIES), self._random.choice(TOXICS), fields)

    async def _remove(self) -> bool:
        return await self._changes.remove_toxic(self._random.choice(PROXIES), self._random.choice(TOXICS))

    async def _update(self) -> bool:
        fields = self._random.choice([{"enabled": False}, {"enabled": True}, {"upstream": self._upstream()}])
        return await self._changes.update(self._random.choice(PROXIES), {**fields, **self._term()})

    async def _create(self) -> bool:
        return await self._changes.create({**self._wanted(self._random.choice(PROXIES)), **self._term()})

    async def _delete(self) -> bool:
        return await self._changes.delete(self._random.choice(PROXIES))

    async def _populate(self) -> bool:
        return await self._changes.populate([self._wanted(name) for name in PROXIES])

    async def _reset(self) -> bool:
        return await self._changes.reset()

    async def _end_owner(self) -> bool:
        return await self._changes.end_owner(self._random.choice(OWNERS))

    def _wanted(self, name: str) -> Fields:
        return {"name": name, "listen": "127.0.0.1:0", "upstream": self._upstream()}

    def _upstream(self) -> str:
        return self._random.choice(self._upstreams)
