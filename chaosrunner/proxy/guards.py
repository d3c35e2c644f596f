"""Who may use the control API: no browser, no stranger, nobody without the token where one is set."""

import hmac
import ipaddress
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import hdrs, web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
# What an aiohttp application takes; its own alias is private.
Middleware = Any


@dataclass(frozen=True, slots=True)
class Guard:
    """What is asked of a request.

    Attributes:
        token: Bearer token that every call must carry; None asks for none, and then only loopback names are served.
    """

    token: str | None = field(default=None, repr=False)

    def objection(self, request: web.Request) -> tuple[int, str] | None:
        """Status and sentence of what speaks against a request, or None."""
        if request.headers.get(hdrs.USER_AGENT, "").startswith("Mozilla/"):
            return 403, "User agent not allowed"
        if hdrs.ORIGIN in request.headers:
            return 403, "Requests from web pages are not allowed"
        if self.token is None:
            # A page that rebinds its own name to 127.0.0.1 still sends that name.
            return None if _names_loopback(request.host) else (403, "Host not allowed without --token")
        given = request.headers.get(hdrs.AUTHORIZATION, "")
        if hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
            return None
        return 401, "a bearer token is needed"


def guards(guard: Guard) -> list[Middleware]:
    """The middlewares that ask what `guard` says, and answer what no handler answers, as Toxiproxy does."""

    @web.middleware
    async def let_in(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer an objection, or let the request through."""
        objection = guard.objection(request)
        if objection is not None:
            status, sentence = objection
            return web.Response(status=status, text=f"{sentence}\n", headers=_challenge(status))
        return await handler(request)

    return [_number_requests, let_in, _say_unknown]


@web.middleware
async def _number_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    response.headers["X-Toxiproxy-Request-Id"] = uuid.uuid4().hex
    return response


@web.middleware
async def _say_unknown(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return web.Response(status=404, text="404 page not found\n")
    except web.HTTPMethodNotAllowed as error:
        return web.Response(status=405, headers={hdrs.ALLOW: error.headers.get(hdrs.ALLOW, "")})


def _challenge(status: int) -> dict[str, str]:
    return {hdrs.WWW_AUTHENTICATE: "Bearer"} if status == 401 else {}


def _names_loopback(host_header: str) -> bool:
    host = host_header.rpartition(":")[0] if host_header.rpartition(":")[2].isdigit() else host_header
    host = host.removeprefix("[").removesuffix("]").lower()
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
