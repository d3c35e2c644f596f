"""A modest open-model load for the demo's own tests: journeys on a schedule, every request remembered."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from chaosrunner.demo.identity import seed_users

STEPS = ("log in", "list", "create", "read", "update", "delete")


@dataclass(frozen=True, slots=True)
class Hit:
    """One request: when it was due (monotonic seconds), how long it took, whether it was right."""

    name: str
    due_s: float
    took_s: float
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Journeys a second, and every how manieth also asks the model (0 = none)."""

    journeys_per_s: float = 20.0
    prompt_every: int = 4
    timeout_s: float = 10.0


@dataclass(slots=True)
class Traffic:
    """What was asked and what came back."""

    hits: list[Hit] = field(default_factory=list)

    def between(self, begin_s: float, end_s: float, name: str | None = None) -> list[Hit]:
        """Requests that were due in an interval, of one step or of all."""
        return [hit for hit in self.hits if begin_s <= hit.due_s < end_s and name in (None, hit.name)]


def errors(hits: list[Hit]) -> float:
    """The share of wrong answers, 0..1; NaN when there was no request."""
    return sum(not hit.ok for hit in hits) / len(hits) if hits else math.nan


def p95_s(hits: list[Hit]) -> float:
    """The 95th percentile in seconds, a failure counting as infinitely slow; NaN when there was no request."""
    times = sorted(hit.took_s if hit.ok else math.inf for hit in hits)
    return times[math.ceil(0.95 * len(times)) - 1] if times else math.nan


@asynccontextmanager
async def traffic(entry: str, load: Load) -> AsyncIterator[Traffic]:
    """Send journeys to `entry` while the block runs; those still open at its end are cut and not counted."""
    seen = Traffic()
    connector = aiohttp.TCPConnector(limit=300)
    timeout = aiohttp.ClientTimeout(total=load.timeout_s)
    async with aiohttp.ClientSession(entry, connector=connector, timeout=timeout) as client:
        sender = asyncio.create_task(_send(client, load, seen))
        try:
            yield seen
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)


async def _send(client: aiohttp.ClientSession, load: Load, seen: Traffic) -> None:
    users = seed_users()
    began_s = time.monotonic()
    async with asyncio.TaskGroup() as journeys:
        for number in range(100_000):
            await asyncio.sleep(max(0.0, began_s + number / load.journeys_per_s - time.monotonic()))
            user, password = users[number % len(users)]
            with_prompt = bool(load.prompt_every) and number % load.prompt_every == 0
            journeys.create_task(_Journey(client, seen).run(user, password, with_prompt=with_prompt))


class _Journey:
    def __init__(self, client: aiohttp.ClientSession, seen: Traffic) -> None:
        self._client, self._seen = client, seen
        self._headers: dict[str, str] = {}

    async def run(self, user: str, password: str, *, with_prompt: bool) -> None:
        reply = await self._ask("log in", "POST", "/login", {"user": user, "password": password})
        if reply is None:
            return
        self._headers = {"Authorization": f"Bearer {reply['token']}"}
        await self._ask("list", "GET", "/agents")
        if with_prompt:
            await self._ask("prompt", "POST", "/prompts", {"text": "hello"})
        agent = await self._ask("create", "POST", "/agents", {"name": "probe"}, expect=201)
        if agent is None:
            return
        path = f"/agents/{agent['id']}"
        await self._ask("read", "GET", path, right=lambda found: found == agent)
        await self._ask("update", "PATCH", path, {"name": "renamed"}, right=lambda found: found["name"] == "renamed")
        await self._ask("delete", "DELETE", path, expect=204)

    async def _ask(
        self,
        name: str,
        method: str,
        path: str,
        body: object = None,
        *,
        expect: int = 200,
        right: Callable[[dict], bool] = lambda _: True,
    ) -> dict | None:
        due_s = time.monotonic()
        reply: dict | None = None
        try:
            async with self._client.request(method, path, json=body, headers=self._headers) as response:
                if response.status == expect:
                    reply = {} if expect == 204 else await response.json()
                else:
                    await response.read()
        except (aiohttp.ClientError, TimeoutError):
            pass
        ok = reply is not None and right(reply)
        self._seen.hits.append(Hit(name, due_s, time.monotonic() - due_s, ok))
        return reply if ok else None
