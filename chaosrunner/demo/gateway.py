"""The gateway: one entry in front of all replicas, over HTTP and WebSocket."""

from __future__ import annotations

import argparse
import asyncio
import os
import uuid
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from yarl import URL

from chaosrunner.demo.identity import bearer
from chaosrunner.demo.options import FRAGILE_VARIABLE, HOST
from chaosrunner.demo.rotation import BlindRotation, CarefulRotation, Condition, Replica
from chaosrunner.demo.serving import Served, serve_until_stopped
from chaosrunner.demo.socket_relay import relay_socket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from multidict import CIMultiDict

    from chaosrunner.demo.rotation import Rotation

MAX_BODY_BYTES = 1024 * 1024
PROBE_EVERY_S = 1.0
PROBE_TIMEOUT_S = 0.9
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
     "upgrade", "host", "content-length"}
)  # fmt: skip
_REPEATABLE = frozenset({"GET", "HEAD", "PATCH", "DELETE", "OPTIONS"})
_REPEATABLE_POSTS = frozenset({"/login", "/prompts", "/agents"})
"""Posts that may be sent twice: two change nothing, and an agent's key makes the second create answer as the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long and how often the gateway tries.

    Attributes:
        tries: Replicas asked for one request, at most.
        per_try_s: Seconds one of them may take.
        total_s: Seconds a user waits, at most.
    """

    tries: int
    per_try_s: float
    total_s: float


CAREFUL = Patience(tries=3, per_try_s=0.95, total_s=2.5)
"""A try takes a little longer than a living replica ever takes to give up by itself."""
BLIND = Patience(tries=1, per_try_s=10.0, total_s=10.0)


@dataclass(frozen=True, slots=True)
class _Forward:
    """A request as it is sent on."""

    method: str
    path: str
    headers: CIMultiDict[str]
    body: bytes


class Gateway:
    """Sends every request on to a replica and the answer back.

    Args:
        rotation: Chooses the replica.
        patience: How long and how often to try.
        client: Client session towards the replicas.
    """

    def __init__(self, rotation: Rotation, patience: Patience, client: aiohttp.ClientSession) -> None:
        self._rotation = rotation
        self._patience = patience
        self._client = client

    def application(self) -> web.Application:
        """A catch-all route, the WebSocket, and what the gateway says of itself."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/gateway/replicas", self.conditions)
        app.router.add_get("/gateway/ready", self.ready)
        app.router.add_get("/ws", self.socket)
        app.router.add_route("*", "/{path:.*}", self.forward)
        return app

    async def conditions(self, _: web.Request) -> web.Response:
        """`GET /gateway/replicas` → name and condition of each, as the gateway sees them."""
        return web.json_response({replica.name: replica.condition.name.lower() for replica in self._rotation.replicas})

    async def ready(self, _: web.Request) -> web.Response:
        """`GET /gateway/ready` → 200 when every replica, asked now, says that it is ready."""
        await self.probe()
        ready = all(replica.condition is Condition.READY for replica in self._rotation.replicas)
        return web.Response(status=200 if ready else 503)

    async def forward(self, request: web.Request) -> web.Response:
        """Send one request on; 502 or 504 when no replica answered."""
        headers = request.headers.copy()
        for name in _HOP_BY_HOP:
            headers.popall(name, None)
        if request.method == "POST" and request.path == "/agents":
            headers.setdefault("Idempotency-Key", uuid.uuid4().hex)
        forwarded = _Forward(request.method, request.rel_url.raw_path_qs, headers, await request.read())
        repeatable = request.method in _REPEATABLE or request.path in _REPEATABLE_POSTS
        return await self._try_in_turn(forwarded, self._order(request), repeatable=repeatable)

    async def socket(self, request: web.Request) -> web.StreamResponse:
        """Relay a WebSocket to the first replica that takes it."""
        order = self._order(request)[: self._patience.tries]
        return await relay_socket(request, order, self._client, timeout_s=self._patience.per_try_s)

    async def probe(self) -> None:
        """Ask every replica once whether it is ready, and remember the answers."""
        await asyncio.gather(*(self._probe(replica) for replica in self._rotation.replicas))

    async def _probe(self, replica: Replica) -> None:
        timeout = aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S)
        try:
            async with self._client.get(f"{replica.url}/health/ready", timeout=timeout) as response:
                replica.condition = Condition.READY if response.status == 200 else Condition.UNREADY
        except (aiohttp.ClientError, TimeoutError):
            replica.condition = Condition.GONE

    def _order(self, request: web.Request) -> list[Replica]:
        token = bearer(request.headers.get("Authorization")) or request.query.get("token")
        # A token begins with its user, and a user's requests belong together. Only a hint: replicas verify it.
        return self._rotation.order(token.partition(".")[0] if token else None)

    async def _try_in_turn(self, forwarded: _Forward, order: list[Replica], *, repeatable: bool) -> web.Response:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._patience.total_s
        failure = web.json_response({"error": "no replica answered"}, status=502)
        for attempt, replica in enumerate(order[: self._patience.tries]):
            left_s = min(self._patience.per_try_s, deadline_s - loop.time())
            if left_s <= 0:
                break
            try:
                response = await self._try(forwarded, replica, timeout_s=left_s)
            except aiohttp.ClientConnectorError:  # refused: surely not processed
                replica.condition = Condition.GONE
            except (aiohttp.ClientError, TimeoutError) as error:
                replica.condition = Condition.GONE
                if isinstance(error, TimeoutError):
                    failure = web.json_response({"error": "no replica answered in time"}, status=504)
                if not repeatable:
                    break
            else:
                if forwarded.method == "DELETE" and response.status == 404 and attempt:
                    return web.Response(status=204)  # an earlier try did delete it, only its answer was lost
                if response.status != 503 or forwarded.method != "GET":
                    return response
                failure = response  # another replica may remember what this one cannot look up
        return failure

    async def _try(self, forwarded: _Forward, replica: Replica, *, timeout_s: float) -> web.Response:
        async with self._client.request(
            forwarded.method,
            URL(f"{replica.url}{forwarded.path}", encoded=True),  # as it came, not tidied up
            headers=forwarded.headers,
            data=forwarded.body or None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout_s),
        ) as response:
            body = await response.read()
        headers = response.headers.copy()
        for name in _HOP_BY_HOP:
            headers.popall(name, None)
        return web.Response(status=response.status, headers=headers, body=body or None)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; the main of `python -m chaosrunner.demo.gateway`."""
    parser = argparse.ArgumentParser(prog="chaosrunner.demo.gateway", description=__doc__)
    parser.add_argument("--host", default=HOST)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--replica", action="append", required=True, metavar="NAME=URL", dest="replicas")
    parser.add_argument("--fragile", action="store_true", default=FRAGILE_VARIABLE in os.environ)
    options = parser.parse_args(argv)
    replicas = [Replica(name, url) for name, _, url in (given.partition("=") for given in options.replicas)]

    @asynccontextmanager
    async def build() -> AsyncIterator[Served]:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=15)
        jar = aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(connector=connector, cookie_jar=jar, auto_decompress=False) as client:
            if options.fragile:
                gateway = Gateway(BlindRotation(replicas), BLIND, client)
                yield Served(app=gateway.application(), cancel_abandoned=True)
            else:
                gateway = Gateway(CarefulRotation(replicas), CAREFUL, client)
                async with _probing(gateway):
                    yield Served(app=gateway.application())

    return serve_until_stopped(build, port=options.port, host=options.host)


@asynccontextmanager
async def _probing(gateway: Gateway) -> AsyncIterator[None]:
    async def probe_for_ever() -> None:
        while True:
            await gateway.probe()
            await asyncio.sleep(PROBE_EVERY_S)

    prober = asyncio.create_task(probe_for_ever())
    try:
        yield
    finally:
        prober.cancel()
        with suppress(asyncio.CancelledError):
            await prober


if __name__ == "__main__":
    raise SystemExit(main())
