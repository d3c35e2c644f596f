"""Toxiproxy's HTTP API (version 2), and ours beside it: stats, owners, leases."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from chaosrunner.proxy import decode
from chaosrunner.proxy.control import Control
from chaosrunner.proxy.guards import Guard, guards
from chaosrunner.proxy.leases import Place
from chaosrunner.proxy.proxies import Proxy
from chaosrunner.proxy.refusals import RefusedError
from chaosrunner.proxy.stats import AppliedToxic

# The Toxiproxy release whose API this is; clients choose their calls by it.
API_VERSION = "2.12.0"
BODY_LIMIT_BYTES = 1024 * 1024
# A client that does not send the body it announced is not waited for.
BODY_TIMEOUT_S = 10.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(control: Control, guard: Guard) -> web.Application:
    """The API over `control`, let in by `guard`."""
    app = web.Application(client_max_size=BODY_LIMIT_BYTES, middlewares=[*guards(guard), _say_refusals])
    app.add_routes(_Calls(control).routes())
    return app


class _Calls:
    """One method a call."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def routes(self) -> list[web.RouteDef]:
        toxic = "/proxies/{proxy}/toxics/{toxic}"
        return [
            web.get("/version", self.version, allow_head=False),
            web.post("/reset", self.reset),
            web.post("/populate", self.populate),
            web.get("/proxies", self.list_proxies, allow_head=False),
            web.post("/proxies", self.create_proxy),
            web.get("/proxies/{proxy}", self.show_proxy, allow_head=False),
            web.patch("/proxies/{proxy}", self.update_proxy),
            web.post("/proxies/{proxy}", self.update_proxy),
            web.delete("/proxies/{proxy}", self.delete_proxy),
            web.get("/proxies/{proxy}/stats", self.show_stats, allow_head=False),
            web.get("/proxies/{proxy}/toxics", self.list_toxics, allow_head=False),
            web.post("/proxies/{proxy}/toxics", self.add_toxic),
            web.get(toxic, self.show_toxic, allow_head=False),
            web.patch(toxic, self.change_toxic),
            web.post(toxic, self.change_toxic),
            web.delete(toxic, self.remove_toxic),
            web.get("/owners", self.list_owners, allow_head=False),
            web.delete("/owners/{owner}", self.end_owner),
        ]

    async def version(self, _request: web.Request) -> web.Response:
        return web.json_response({"version": API_VERSION})

    async def reset(self, _request: web.Request) -> web.Response:
        self._control.reset()
        return web.Response(status=204)

    async def populate(self, request: web.Request) -> web.Response:
        proxies = await self._control.populate(decode.read_list(await _body(request)))
        return web.json_response({"proxies": [self._proxy_json(proxy) for proxy in proxies]}, status=201)

    async def list_proxies(self, _request: web.Request) -> web.Response:
        return web.json_response({proxy.name: self._proxy_json(proxy) for proxy in self._control.proxies()})

    async def create_proxy(self, request: web.Request) -> web.Response:
        proxy = await self._control.create(decode.read_object(await _body(request)))
        return web.json_response(self._proxy_json(proxy), status=201)

    async def show_proxy(self, request: web.Request) -> web.Response:
        return web.json_response(self._proxy_json(self._proxy(request)))

    async def update_proxy(self, request: web.Request) -> web.Response:
        self._proxy(request)
        fields = decode.read_object(await _body(request))
        proxy = await self._control.update(request.match_info["proxy"], fields)
        return web.json_response(self._proxy_json(proxy))

    async def delete_proxy(self, request: web.Request) -> web.Response:
        self._control.delete(request.match_info["proxy"])
        return web.Response(status=204)

    async def show_stats(self, request: web.Request) -> web.Response:
        return web.json_response(self._proxy(request).stats_json())

    async def list_toxics(self, request: web.Request) -> web.Response:
        return web.json_response(self._toxics_json(self._proxy(request)))

    async def add_toxic(self, request: web.Request) -> web.Response:
        proxy = self._proxy(request)
        fields = decode.read_object(await _body(request))
        applied = self._control.add_toxic(proxy.name, fields)
        return web.json_response(self._toxic_json(proxy, applied))

    async def show_toxic(self, request: web.Request) -> web.Response:
        proxy = self._proxy(request)
        return web.json_response(self._toxic_json(proxy, proxy.find_toxic(request.match_info["toxic"])))

    async def change_toxic(self, request: web.Request) -> web.Response:
        proxy = self._proxy(request)
        proxy.find_toxic(request.match_info["toxic"])
        fields = decode.read_object(await _body(request))
        applied = self._control.change_toxic(proxy.name, request.match_info["toxic"], fields)
        return web.json_response(self._toxic_json(proxy, applied))

    async def remove_toxic(self, request: web.Request) -> web.Response:
        self._control.remove_toxic(request.match_info["proxy"], request.match_info["toxic"])
        return web.Response(status=204)

    async def list_owners(self, _request: web.Request) -> web.Response:
        return web.json_response(self._control.leases.owners())

    async def end_owner(self, request: web.Request) -> web.Response:
        return web.json_response(self._control.leases.end_owner(request.match_info["owner"]))

    def _proxy(self, request: web.Request) -> Proxy:
        return self._control.find(request.match_info["proxy"])

    def _proxy_json(self, proxy: Proxy) -> dict[str, Any]:
        return {
            "name": proxy.name,
            "listen": str(proxy.settings.listen.address),
            "upstream": str(proxy.settings.upstream),
            "enabled": proxy.settings.enabled,
            "toxics": self._toxics_json(proxy),
            **self._lease_json(Place(proxy.name)),
        }

    def _toxics_json(self, proxy: Proxy) -> list[dict[str, Any]]:
        return [self._toxic_json(proxy, applied) for applied in proxy.toxics()]

    def _toxic_json(self, proxy: Proxy, applied: AppliedToxic) -> dict[str, Any]:
        return {**applied.toxic.as_json(), **self._lease_json(Place(proxy.name, applied.toxic.name))}

    def _lease_json(self, place: Place) -> dict[str, object]:
        lease = self._control.leases.get(place)
        return {} if lease is None else lease.shown()


@web.middleware
async def _say_refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RefusedError as refusal:
        answer = {"error": refusal.sentence, "status": refusal.status}
        return web.json_response(answer, status=refusal.status)


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        raise RefusedError(408, "the request body did not arrive in time") from None
    except web.HTTPRequestEntityTooLarge:
        raise RefusedError(413, f"the request body is larger than {BODY_LIMIT_BYTES} bytes") from None
