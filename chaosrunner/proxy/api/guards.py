"""Who may use the control API: no browser, no stranger, nobody without the token where one is set."""

import base64
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
        token: What every call must carry, as bearer token or as the password of a URL (`http://any:token@host`), since
            no Toxiproxy client knows tokens; None asks for none, and then only loopback names are served.
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
        if hmac.compare_digest(_credential(request.headers.get(hdrs.AUTHORIZATION, "")), _raw(self.token)):
            return None
        return 401, "a token is needed, as bearer token or as the password of the URL"


def guards(guard: Guard) -> list[Middleware]:
    """The middlewares that ask what `guard` says, and answer what no handler answers, as Toxiproxy does."""
    merge_slashes = web.normalize_path_middleware(
        append_slash=False, merge_slashes=True, redirect_class=web.HTTPPermanentRedirect
    )

    @web.middleware
    async def let_in(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer an objection, or let the request through."""
        objection = guard.objection(request)
        if objection is not None:
            status, sentence = objection
            return web.Response(status=status, text=f"{sentence}\n", headers=_challenge(status))
        return await handler(request)

    return [_number_requests, let_in, _say_unknown, merge_slashes]


@web.middleware
async def _number_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    response.headers["X-Toxiproxy-Request-Id"] = uuid.uuid4().hex
    if response.status >= 400:
        response.headers["X-Content-Type-Options"] = "nosniff"
    return response


@web.middleware
async def _say_unknown(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return web.Response(status=404, text="404 page not found\n")
    except web.HTTPMethodNotAllowed as error:
        return web.Response(status=405, headers={hdrs.ALLOW: error.headers.get(hdrs.ALLOW, "")})
    except web.HTTPPermanentRedirect as error:  # of a client whose base URL ends in a slash
        return web.Response(status=308, headers={hdrs.LOCATION: error.headers[hdrs.LOCATION]})


def _challenge(status: int) -> dict[str, str]:
    return {hdrs.WWW_AUTHENTICATE: 'Basic realm="fault proxy", charset="UTF-8"'} if status == 401 else {}


def _credential(header: str) -> bytes:
    """The token in an Authorization header: as it is after Bearer, the password after Basic (RFC 7617)."""
    scheme, _, credential = header.partition(" ")
    if scheme.lower() != "basic":
        return _raw(credential.strip()) if scheme.lower() == "bearer" else b""
    try:
        return base64.b64decode(credential.encode(), validate=True).partition(b":")[2]
    except ValueError:
        return b""


def _raw(text: str) -> bytes:
    # Headers, and the command line, keep bytes that are no UTF-8 as lone surrogates.
    return text.encode(errors="surrogateescape")


def _names_loopback(host_header: str) -> bool:
    host = host_header.rpartition(":")[0] if host_header.rpartition(":")[2].isdigit() else host_header
    host = host.removeprefix("[").removesuffix("]").lower()
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
