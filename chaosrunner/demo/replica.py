"""One API replica: HTTP and WebSocket in front of a service."""

from __future__ import annotations

import argparse
import os
import time
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from chaosrunner.demo.cache import CarefulCache, HastyCache
from chaosrunner.demo.cached import CachedService, HastyCachedService
from chaosrunner.demo.careful import CarefulService
from chaosrunner.demo.fragile import FragileService
from chaosrunner.demo.identity import Tokens, bearer
from chaosrunner.demo.metrics import CONTENT_TYPE, Metrics
from chaosrunner.demo.model_client import ModelClient
from chaosrunner.demo.options import CACHE_VARIABLE, DATABASE_VARIABLE, FRAGILE_VARIABLE, HOST, KEY_VARIABLE
from chaosrunner.demo.service import Agent, Fetched, NoSuchAgent
from chaosrunner.demo.serving import Served, serve_until_stopped
from chaosrunner.demo.sessions import CarefulSessions, DatabaseAddress, DatabaseAway, LeakySessions, wait_for_database
from chaosrunner.demo.sockets import Hub
from chaosrunner.demo.trail import HastyTrail, PatientTrail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from chaosrunner.demo.service import Service
    from chaosrunner.demo.trail import Trail

BOOT_PATIENCE_S = 10.0
MAX_BODY_BYTES = 256 * 1024
MAX_TEXT = 2000
_OPEN_PATHS = frozenset({"/login", "/ws", "/health", "/health/live", "/health/ready", "/metrics", "/pool"})
_RETRY_AFTER = {"Retry-After": "1"}
_STALE = {"Warning": '110 - "Response is Stale"'}
_USER = web.RequestKey("user", str)


class Api:
    """The routes of a replica.

    Args:
        service: What is behind them.
        tokens: Issues and verifies.
        trail: Where changes are noted; None: nowhere.
        careful_sockets: Whether slow WebSocket clients are sent away, and returning ones get what they missed.
    """

    def __init__(
        self, service: Service, tokens: Tokens, *, trail: Trail | None = None, careful_sockets: bool = True
    ) -> None:
        self._service = service
        self._tokens = tokens
        self._trail = trail
        self._metrics = Metrics()
        self._hub = Hub(careful=careful_sockets)
        self._draining = False

    def application(self) -> web.Application:
        """An application with all routes, measured and guarded."""
        app = web.Application(middlewares=[self._measure, self._authenticate], client_max_size=MAX_BODY_BYTES)
        app.add_routes(
            [
                web.post("/login", self.log_in),
                web.post("/agents", self.create),
                web.get("/agents", self.list),
                web.get(r"/agents/{id:\d{1,18}}", self.read),
                web.patch(r"/agents/{id:\d{1,18}}", self.update),
                web.delete(r"/agents/{id:\d{1,18}}", self.delete),
                web.post("/prompts", self.prompt),
                web.get("/ws", self.talk),
                web.get("/health", self.health),
                web.get("/health/live", self.health),
                web.get("/health/ready", self.ready),
                web.get("/metrics", self.metrics),
                web.get("/pool", self.pool),
            ]
        )
        app.on_shutdown.append(self._say_farewell)
        return app

    def drain(self) -> None:
        """No longer ready: the gateway shall send new requests elsewhere."""
        self._draining = True

    async def log_in(self, request: web.Request) -> web.Response:
        """`POST /login {user, password}` → `{token}`, or 401."""
        body = await _json_object(request)
        user, password = _text(body, "user"), _text(body, "password")
        if not await self._service.log_in(user, password):
            return web.json_response({"error": "wrong user or password"}, status=401)
        return web.json_response({"token": self._tokens.issue(user)})

    async def create(self, request: web.Request) -> web.Response:
        """`POST /agents {name}` → 201 `{id, name}`; the same `Idempotency-Key` again gives the same agent."""
        name = _text(await _json_object(request), "name")
        agent = await self._service.create(request[_USER], name, request.headers.get("Idempotency-Key"))
        self._note(request, "created", agent.id)
        return web.json_response(asdict(agent), status=201, headers={"Location": f"/agents/{agent.id}"})

    async def list(self, request: web.Request) -> web.Response:
        """`GET /agents` → `{agents: […]}`, newest first."""
        found = await self._service.list(request[_USER])
        return _fetched({"agents": [asdict(agent) for agent in found.value]}, found)

    async def read(self, request: web.Request) -> web.Response:
        """`GET /agents/{id}` → `{id, name}`, or 404."""
        found = await self._service.read(request[_USER], _agent_id(request))
        return _fetched(asdict(found.value), found)

    async def update(self, request: web.Request) -> web.Response:
        """`PATCH /agents/{id} {name}` → `{id, name}`, or 404."""
        name = _text(await _json_object(request), "name")
        agent: Agent = await self._service.update(request[_USER], _agent_id(request), name)
        self._note(request, "renamed", agent.id)
        return web.json_response(asdict(agent))

    async def delete(self, request: web.Request) -> web.Response:
        """`DELETE /agents/{id}` → 204, or 404."""
        await self._service.delete(request[_USER], _agent_id(request))
        self._note(request, "deleted", _agent_id(request))
        return web.Response(status=204)

    async def prompt(self, request: web.Request) -> web.Response:
        """`POST /prompts {text}` → `{answer, fallback}`; slow, because the model is."""
        text = _text(await _json_object(request), "text")
        answer = await self._service.prompt(request[_USER], text)
        return web.json_response({"answer": answer.text, "fallback": answer.fallback})

    async def talk(self, request: web.Request) -> web.StreamResponse:
        """`GET /ws?token=…`: the WebSocket."""
        if self._tokens_user(request.query.get("token")) is None:
            return _unauthorised()
        return await self._hub.talk(request)

    async def health(self, _: web.Request) -> web.Response:
        """`GET /health` and `/health/live` → 200 while the process answers."""
        return web.json_response({"status": "ok"})

    async def ready(self, _: web.Request) -> web.Response:
        """`GET /health/ready` → 200 when requests can be served in full, else 503."""
        if self._draining or not await self._service.ready():
            return web.json_response({"status": "not ready"}, status=503, headers=_RETRY_AFTER)
        return web.json_response({"status": "ready"})

    async def metrics(self, _: web.Request) -> web.Response:
        """`GET /metrics` in Prometheus' text format."""
        text = self._metrics.text(self._service.statistics(), sockets=len(self._hub), trail=self._trail)
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def pool(self, _: web.Request) -> web.Response:
        """`GET /pool` → the pool's statistics."""
        return web.json_response(asdict(self._service.statistics()))

    @web.middleware
    async def _measure(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        began_s = time.monotonic()
        try:
            response = await _answered(handler(request))
        except web.HTTPException as error:
            response = web.json_response({"error": error.text or error.reason}, status=error.status)
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "(none)"
        self._metrics.answered(request.method, route, response.status, time.monotonic() - began_s)
        return response

    @web.middleware
    async def _authenticate(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.path not in _OPEN_PATHS:
            user = self._tokens_user(bearer(request.headers.get("Authorization")))
            if user is None:
                return _unauthorised()
            request[_USER] = user
        return await handler(request)

    def _note(self, request: web.Request, did: str, agent: int) -> None:
        if self._trail is not None:
            self._trail.note(request[_USER], did, agent)

    def _tokens_user(self, token: str | None) -> str | None:
        return None if token is None else self._tokens.user_of(token)

    async def _say_farewell(self, _: web.Application) -> None:
        await self._hub.close()


async def _answered(answer: Awaitable[web.StreamResponse]) -> web.StreamResponse:
    """The answer, or what an exception of the service means in HTTP."""
    try:
        return await answer
    except web.HTTPException:
        raise
    except DatabaseAway:
        return web.json_response({"error": "the database is away"}, status=503, headers=_RETRY_AFTER)
    except NoSuchAgent:
        return web.json_response({"error": "no such agent"}, status=404)
    except Exception as error:  # the server's last line: one request fails, not the replica
        return web.json_response({"error": type(error).__name__}, status=500)


def _fetched(body: dict[str, Any], found: Fetched[Any]) -> web.Response:
    return web.json_response(body, headers=_STALE if found.stale else None)


def _unauthorised() -> web.Response:
    return web.json_response({"error": "log in first"}, status=401, headers={"WWW-Authenticate": "Bearer"})


async def _json_object(request: web.Request) -> dict[str, object]:
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="expected a JSON object")
    return body


def _text(body: dict[str, object], field: str) -> str:
    match body.get(field):
        case str(text) if 0 < len(text) <= MAX_TEXT and "\x00" not in text:
            return text
        case _:
            raise web.HTTPBadRequest(text=f"expected {field!r}: a text of 1 to {MAX_TEXT} characters")


def _agent_id(request: web.Request) -> int:
    return int(request.match_info["id"])


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; the main of `python -m chaosrunner.demo.replica`.

    The environment gives what must not be seen on a command line: the key of the tokens, the database's DSN and, if
    there is a cache, the URL of that.
    """
    parser = argparse.ArgumentParser(prog="chaosrunner.demo.replica", description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--host", default=HOST)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True, help="URL that answers prompts")
    parser.add_argument("--trail", type=Path, metavar="DIR", help="keep an audit trail there")
    parser.add_argument("--fragile", action="store_true", default=FRAGILE_VARIABLE in os.environ)
    options = parser.parse_args(argv)
    address = DatabaseAddress(dsn=os.environ[DATABASE_VARIABLE], application_name=f"shop/{options.name}")
    tokens = Tokens(os.environ[KEY_VARIABLE].encode())

    @asynccontextmanager
    async def build() -> AsyncIterator[Served]:
        # No cookies, no limit of its own: who may wait for the model, and how long, is decided by the service.
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as client:
            service = _service(address, ModelClient(client, options.model), fragile=options.fragile)
            await wait_for_database(service.open, patience_s=BOOT_PATIENCE_S)
            try:
                async with _trail(options.trail, options.name, fragile=options.fragile) as trail:
                    api = Api(service, tokens, trail=trail, careful_sockets=not options.fragile)
                    # A fragile server drops a request where it stands when its client gives up; it was not made for it.
                    yield Served(app=api.application(), cancel_abandoned=options.fragile, on_stop=api.drain)
            finally:
                await service.close()

    return serve_until_stopped(build, port=options.port, host=options.host)


@asynccontextmanager
async def _trail(directory: Path | None, name: str, *, fragile: bool) -> AsyncIterator[Trail | None]:
    if directory is None:
        yield None
    elif fragile:
        yield HastyTrail(directory / f"{name}.jsonl")
    else:
        trail = PatientTrail(directory / f"{name}.jsonl")
        async with trail.kept():
            yield trail


def _service(address: DatabaseAddress, model: ModelClient, *, fragile: bool) -> Service:
    cache, name = os.environ.get(CACHE_VARIABLE), address.application_name
    if fragile:
        leaky = LeakySessions(address)
        return HastyCachedService(leaky, model, HastyCache(cache, name=name)) if cache else FragileService(leaky, model)
    careful = CarefulSessions(address)
    return CachedService(careful, model, CarefulCache(cache, name=name)) if cache else CarefulService(careful, model)


if __name__ == "__main__":
    raise SystemExit(main())
