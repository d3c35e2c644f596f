"""Cookie jars: one a journey, in the closed model one a user, as aiohttp's jar keeps them (RFC 6265)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from chaosrunner.load.users import Users

if TYPE_CHECKING:
    from aiohttp import CookieJar
    from yarl import URL

    from chaosrunner.load.http.pool import Origin
    from chaosrunner.load.http.script import Message
    from chaosrunner.load.journey import Journey


class Jars:
    """All jars of a worker."""

    def __init__(self) -> None:
        # A cookie that is none is left out; a line for each on stderr would cost more than the request.
        logging.getLogger("aiohttp.internal").setLevel(logging.ERROR)
        self._jars: dict[tuple[int, int], CookieJar] = {}
        """(source, arrival or user) → jar."""

    def added(self, message: Message, origin: Origin, journey: Journey) -> Message:
        """A request with the cookies that belong to it, behind those that the step has of its own."""
        jar = self._jars.get((id(journey.source), journey.who))
        cookies = jar.filter_cookies(_url(origin, message.path)) if jar is not None else {}
        if not cookies:
            return message
        own = [value for name, value in message.headers if name.lower() == "cookie"]
        rest = tuple(header for header in message.headers if header[0].lower() != "cookie")
        text = "; ".join([*own, *(f"{name}={morsel.coded_value}" for name, morsel in cookies.items())])
        return replace(message, headers=(*rest, ("Cookie", text)))

    def learn(self, headers: Mapping[str, str], origin: Origin, path: str, journey: Journey) -> None:
        """Take in the cookies that a reply sets."""
        given = headers.get("set-cookie")
        if given is None:
            return
        key = (id(journey.source), journey.who)
        jar = self._jars.get(key)
        if jar is None:
            jar = self._jars[key] = _new_jar()
            if not isinstance(journey.source, Users):
                journey.hold(_Forget(self._jars, key))
        jar.update_cookies_from_headers(given.split("\n"), _url(origin, path))


class _Forget:
    """Ends a jar with its journey."""

    def __init__(self, jars: dict[tuple[int, int], CookieJar], key: tuple[int, int]) -> None:
        self._jars = jars
        self._key = key

    def close(self) -> None:
        """Nobody has it any more."""
        self._jars.pop(self._key, None)


def _new_jar() -> CookieJar:
    from aiohttp import CookieJar

    return CookieJar(unsafe=True)  # targets are often plain addresses


def _url(origin: Origin, path: str) -> URL:
    from yarl import URL

    return URL(origin.url + path, encoded=True)
