"""Toxiproxy's HTTP API (version 2), and ours beside it: stats, owners, leases."""

import asyncio
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs, web

from chaosrunner.proxy import API_VERSION, decode
from chaosrunner.proxy.api import openapi
from chaosrunner.proxy.api.guards import Guard, Handler, Middleware, guards
from chaosrunner.proxy.api.metrics import Metrics, exposition
from chaosrunner.proxy.control import Control
from chaosrunner.proxy.leases import Place
from chaosrunner.proxy.proxies import Proxy, Settings
from chaosrunner.proxy.refusals import RefusedError, bad_body
from chaosrunner.proxy.stats import AppliedToxic

BODY_LIMIT_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Manner:
    """How the API answers.

    Attributes:
        like_toxiproxy: Whether refusals are sent as Toxiproxy sends them: JSON that calls itself plain text.
        metrics: What `GET /metrics` shows; nothing makes it unknown.
        body_timeout_s: Time a client has to send the body it announced.
    """

    like_toxiproxy: bool = False
    metrics: Collection[Metrics] = ()
    body_timeout_s: float = 10.0


def make_app(control: Control, guard: Guard, manner: Manner) -> web.Application:
    """The API over `control`, let in by `guard`."""
    app = web.Application(
        client_max_size=BODY_LIMIT_BYTES, middlewares=[*guards(guard), _saying_refusals(manner.like_toxiproxy)]
    )
    app.add_routes(_Calls(control, manner).routes())
    return app


class _Calls:
    """One method a call; their docstrings are what the OpenAPI document says of them."""

    def __init__(self, control: Control, manner: Manner) -> None:
        self._control = control
        self._manner = manner

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
            web.get("/openapi.json", self.show_document, allow_head=False),
            *([web.get("/metrics", self.show_metrics, allow_head=False)] if self._manner.metrics else []),
        ]

    async def version(self, _request: web.Request) -> web.Response:
        """The version of Toxiproxy whose API this is."""
        # Clients of Toxiproxy before 2.7 compare these bytes.
        return web.Response(
            body=f'{{"version": "{API_VERSION}"}}\n'.encode(),
            headers={hdrs.CONTENT_TYPE: "application/json;charset=utf-8"},
        )

    async def reset(self, _request: web.Request) -> web.Response:
        """Enable every proxy and remove every toxic, all or none."""
        self._control.reset()
        return web.Response(status=204)

    async def populate(self, request: web.Request) -> web.Response:
        """Create or replace proxies, all or none; one with the same addresses stays as it is."""
        try:
            proxies = await self._control.populate(decode.read_list(await self._body(request)))
        except RefusedError as refusal:
            return _json({**_refusal_json(refusal), "proxies": []}, refusal.status)
        return _json({"proxies": [self._proxy_json(proxy) for proxy in proxies]}, 201)

    async def list_proxies(self, _request: web.Request) -> web.Response:
        """All proxies by name."""
        return _json({proxy.name: self._proxy_json(proxy) for proxy in self._control.proxies()})

    async def create_proxy(self, request: web.Request) -> web.Response:
        """Create a proxy; without `listen` at a free local port."""
        proxy = await self._control.create(decode.read_object(await self._body(request)))
        return _json(self._proxy_json(proxy), 201)

    async def show_proxy(self, request: web.Request) -> web.Response:
        """One proxy."""
        return _json(self._proxy_json(self._proxy(request)))

    async def update_proxy(self, request: web.Request) -> web.Response:
        """Change what is given of a proxy; if it cannot listen at a new address it stays at the old one."""
        self._proxy(request)
        fields = decode.read_object(await self._body(request))
        proxy = await self._control.update(request.match_info["proxy"], fields)
        return _json(self._proxy_json(proxy))

    async def delete_proxy(self, request: web.Request) -> web.Response:
        """Delete a proxy and reset its connections."""
        self._control.delete(request.match_info["proxy"])
        return web.Response(status=204)

    async def show_stats(self, request: web.Request) -> web.Response:
        """Live counters of a proxy and of each of its toxics."""
        return _json(self._proxy(request).stats_json())

    async def list_toxics(self, request: web.Request) -> web.Response:
        """The toxics of a proxy, upstream before downstream, each stream in order."""
        return _json(self._toxics_json(self._proxy(request)))

    async def add_toxic(self, request: web.Request) -> web.Response:
        """Add a toxic behind the others of its stream, on open connections at once."""
        proxy = self._proxy(request)
        fields = decode.read_object(await self._body(request))
        applied = self._control.add_toxic(proxy.name, fields)
        return _json(self._toxic_json(proxy, applied))

    async def show_toxic(self, request: web.Request) -> web.Response:
        """One toxic."""
        proxy = self._proxy(request)
        return _json(self._toxic_json(proxy, proxy.find_toxic(request.match_info["toxic"])))

    async def change_toxic(self, request: web.Request) -> web.Response:
        """Change what is given of the attributes and toxicity of a toxic, on open connections at once."""
        proxy = self._proxy(request)
        proxy.find_toxic(request.match_info["toxic"])
        fields = decode.read_object(await self._body(request))
        applied = self._control.change_toxic(proxy.name, request.match_info["toxic"], fields)
        return _json(self._toxic_json(proxy, applied))

    async def remove_toxic(self, request: web.Request) -> web.Response:
        """Remove a toxic; what it holds back is delivered at once."""
        self._control.remove_toxic(request.match_info["proxy"], request.match_info["toxic"])
        return web.Response(status=204)

    async def list_owners(self, _request: web.Request) -> web.Response:
        """Owners and their open leases, oldest first."""
        return _json(self._control.leases.owners())

    async def end_owner(self, request: web.Request) -> web.Response:
        """Undo every change of an owner now, newest first; what was undone."""
        return _json(self._control.leases.end_owner(request.match_info["owner"]))

    async def show_document(self, request: web.Request) -> web.Response:
        """This API as an OpenAPI document."""
        return _json(openapi.document(request.app.router.routes()))

    async def show_metrics(self, request: web.Request) -> web.Response:
        """Counters for Prometheus."""
        text, content_type = exposition(self._control, self._manner.metrics, request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=text, headers={hdrs.CONTENT_TYPE: content_type})

    async def _body(self, request: web.Request) -> bytes:
        try:
            async with asyncio.timeout(self._manner.body_timeout_s):
                return await request.read()
        except TimeoutError:
            raise RefusedError(408, "the request body did not arrive in time") from None
        except web.HTTPRequestEntityTooLarge:
            raise RefusedError(413, f"the request body is larger than {BODY_LIMIT_BYTES} bytes") from None
        except web.RequestPayloadError:
            raise bad_body("it is not encoded as its headers say") from None
        except OSError:  # the client is gone: nobody reads the answer, and nothing went wrong here
            raise bad_body("it ended too early") from None

    def _proxy(self, request: web.Request) -> Proxy:
        return self._control.find(request.match_info["proxy"])

    def _proxy_json(self, proxy: Proxy) -> dict[str, Any]:
        return {
            "name": proxy.name,
            "listen": str(proxy.settings.listen.address),
            "upstream": str(proxy.settings.upstream),
            "enabled": proxy.settings.enabled,
            "toxics": self._toxics_json(proxy),
            **_unusual(proxy.settings),
            **self._lease_json(Place(proxy.name)),
        }

    def _toxics_json(self, proxy: Proxy) -> list[dict[str, Any]]:
        # As Toxiproxy lists them: one stream after the other, each in the order its bytes meet them.
        shown = sorted(proxy.toxics(), key=lambda applied: applied.toxic.stream, reverse=True)
        return [self._toxic_json(proxy, applied) for applied in shown]

    def _toxic_json(self, proxy: Proxy, applied: AppliedToxic) -> dict[str, Any]:
        return {**applied.toxic.as_json(), **self._lease_json(Place(proxy.name, applied.toxic.name))}

    def _lease_json(self, place: Place) -> dict[str, object]:
        lease = self._control.leases.next_at(place)
        return {} if lease is None else lease.shown()


def _json(value: object, status: int = 200) -> web.Response:
    # Toxiproxy names no charset, and some clients compare the whole header.
    return web.Response(
        status=status, body=json.dumps(value, separators=(",", ":")).encode(), content_type="application/json"
    )


def _unusual(settings: Settings) -> dict[str, object]:
    """What Toxiproxy has no word for, where it was given: its clients see nothing they do not know."""
    protocol = {} if settings.protocol == "tcp" else {"protocol": settings.protocol}
    return {**protocol, **({} if settings.tls is None else {"tls": settings.tls.as_json()})}


def _refusal_json(refusal: RefusedError) -> dict[str, object]:
    return {"error": refusal.sentence, "status": refusal.status}


def _saying_refusals(like_toxiproxy: bool) -> Middleware:
    @web.middleware
    async def say_refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except RefusedError as refusal:
            answer = _json(_refusal_json(refusal), refusal.status)
            if like_toxiproxy:
                answer.headers[hdrs.CONTENT_TYPE] = "text/plain; charset=utf-8"
            return answer

    return say_refusals
